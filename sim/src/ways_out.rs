//! Each state that a person has to help a node out of, and what comes of each way out: one table, as data.
//!
//! A state is a small cluster and the schedule that brings one node of it there. A way out is what people do then, two minutes
//! later, when all is quiet. A cell is what the design wants to come of it, or why there is no such thing.
//!
//! - `stand`: how a node can stand, and whether it does; `judge`: one cell played and judged.
//! - `control_plane`, `kubelet` (degraded in turn A, in turn B), `refused`, `waits`: the rows; `words`: what they are made of.
//! - `complete`: which rows there have to be.

mod complete;
mod control_plane;
mod judge;
mod kubelet;
mod refused;
mod stand;
mod waits;
mod words;

pub use complete::{Class, STEPS, rows_of_reason, rows_of_step};
pub use judge::{Judged, judge, print};
pub use stand::{Runs, Stand};

use crate::fault::Fault;
use crate::schedule::Schedule;
use crate::setup::Setup;
use words::{NEXT, TARGET, by_hand, retry, target};

/// What people do about a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// What was wrong is put right, and they set a new `retry`.
    Retry,
    /// They set a new `retry`, and what was wrong stays.
    InVain,
    /// They set a newer target, on every node.
    NewTarget,
    /// They take the target away.
    Removed,
    /// What was wrong is put right, and nobody asks for anything.
    Mended,
    /// They upgrade the node to its target by hand, as the documentation of Kubernetes says.
    ByHand,
    /// They free the Lease of the node at fault.
    Freed,
    /// They set `ignore` on the node at fault.
    Ignored,
}

impl Way {
    /// All of them, in the order of a row's cells.
    pub const ALL: [Self; 8] = [
        Self::Retry,
        Self::InVain,
        Self::NewTarget,
        Self::Removed,
        Self::Mended,
        Self::ByHand,
        Self::Freed,
        Self::Ignored,
    ];

    /// The head of its column.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Retry => "`retry`, mended",
            Self::InVain => "`retry` alone",
            Self::NewTarget => "new target",
            Self::Removed => "target removed",
            Self::Mended => "mended alone",
            Self::ByHand => "upgraded by hand",
            Self::Freed => "Lease freed",
            Self::Ignored => "`ignore`",
        }
    }
}

/// What comes of a way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cell {
    /// The node stands like this within so many minutes, and then on.
    Comes(Stand, u64),
    /// It takes that up, and is in its state again within so many minutes.
    Again(u64),
    /// Nothing: it stays as it is, its journal too.
    Stays,
    /// It cannot be, because of this.
    CannotBe(&'static str),
}

impl Cell {
    /// In one cell of a table.
    pub fn words(&self) -> String {
        match self {
            Self::Comes(stand, minutes) => format!("{stand}, {minutes} min"),
            Self::Again(minutes) => format!("the same again, {minutes} min"),
            Self::Stays => "stays".to_owned(),
            Self::CannotBe(why) => format!("– {why}"),
        }
    }
}

/// A state of one node.
#[derive(Debug, Clone)]
pub struct State {
    /// How it came about.
    pub name: &'static str,
    /// The node.
    pub node: &'static str,
    /// The node at fault: mostly the same.
    pub at_fault: &'static str,
    /// The cluster.
    pub setup: Setup,
    /// How it comes about.
    pub schedule: Schedule,
    /// How the node stands then.
    pub is: Stand,
    /// What puts right what was wrong; nothing where it has passed.
    pub mend: Vec<Fault>,
    /// What comes of each way out, in the order of [`Way::ALL`].
    pub cells: [Cell; Way::ALL.len()],
}

impl State {
    /// What people do on this way, each with its delay in milliseconds: they ask when they have put right what was wrong.
    pub fn faults(&self, way: Way) -> Vec<(u64, Fault)> {
        let mended = || self.mend.iter().map(|fault| (0, fault.clone()));
        let with = |last: Fault| mended().chain([(1_000, last)]).collect();
        let once = |fault: Fault| vec![(0, fault)];
        match way {
            Way::Retry => with(retry(self.node)),
            Way::InVain => once(retry(self.node)),
            Way::NewTarget => self.setup.nodes().iter().map(|node| (0, target(node, NEXT))).collect(),
            Way::Removed => once(target(self.node, None)),
            Way::Mended => mended().collect(),
            // Whoever takes a degraded node in hand puts right what is wrong there.
            Way::ByHand if matches!(self.is, Stand::Degraded { .. }) => with(by_hand(self.node, TARGET)),
            Way::ByHand => once(by_hand(self.node, TARGET)),
            Way::Freed => once(Fault::LeaseFreed { node: self.at_fault.to_owned() }),
            Way::Ignored => once(Fault::Ignore { node: self.at_fault.to_owned(), on: true }),
        }
    }

    /// The row of the table.
    pub fn row(&self) -> String {
        let cells: Vec<String> = self.cells.iter().map(Cell::words).collect();
        format!("| {} | {} | {} |", self.name, self.is, cells.join(" | "))
    }
}

/// Every row.
pub fn table() -> Vec<State> {
    [control_plane::rows(), kubelet::rows(), refused::rows(), waits::rows()].concat()
}
