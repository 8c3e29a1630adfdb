//! What the rows are made of: clusters, schedules, cells.

use upgrade_core::api::{Reason, Version};

use super::{Cell, Runs, Stand, State};
use crate::fault::{ByHand, Failure, Fault};
use crate::schedule::{Planned, Point, Schedule, When};
use crate::setup::Setup;

impl State {
    /// A fault lies with another node.
    pub(super) fn of(self, at_fault: &'static str) -> Self {
        Self { at_fault, ..self }
    }

    /// It needs another cluster.
    pub(super) fn with(self, setup: Setup) -> Self {
        Self { setup, ..self }
    }

    /// This is what puts it right.
    pub(super) fn mend(self, mend: Vec<Fault>) -> Self {
        Self { mend, ..self }
    }
}

pub(super) const MINUTE: u64 = 60_000;
/// When people ask.
pub(super) const ASKS: u64 = crate::world::ASKED;
/// What clusters come from, what they are asked for, and the patch after it.
pub(super) const FROM: Version = Setup::small().from;
pub(super) const TARGET: Version = Setup::small().target;
pub(super) const NEXT: Version = Setup::small().next();

/// A control-plane node and two workers, of whom people ask what the schedule says.
pub(super) const fn cluster() -> Setup {
    Setup { workers: 2, unasked: true, ..Setup::small() }
}

pub(super) fn state(
    name: &'static str,
    node: &'static str,
    schedule: Schedule,
    is: Stand,
    cells: [Cell; 8],
) -> State {
    let (setup, mend) = (cluster(), Vec::new());
    State { name, node, at_fault: node, setup, schedule, is, mend, cells }
}

/// People ask these nodes to go to the target.
pub(super) fn asked<const N: usize>(nodes: [&str; N]) -> Planned {
    let faults = nodes.iter().map(|node| (0, target(node, TARGET))).collect();
    Planned { when: When::At(ASKS), faults }
}

/// The control plane and one worker are asked at once, the other as soon as that has its slot.
pub(super) fn in_turn() -> Schedule {
    vec![asked(["cp1", "w1"]), Planned::act("w1", "claim", Point::Answered, target("w2", TARGET))]
}

/// And this besides.
pub(super) fn and<const N: usize>(schedule: Schedule, more: [Planned; N]) -> Schedule {
    schedule.into_iter().chain(more).collect()
}

pub(super) fn target(node: &str, target: impl Into<Option<Version>>) -> Fault {
    Fault::Target { node: node.to_owned(), target: target.into() }
}

pub(super) fn retry(node: &str) -> Fault {
    Fault::Retry { node: node.to_owned() }
}

pub(super) fn by_hand(node: &str, version: Version) -> Fault {
    Fault::UpgradedByHand { node: node.to_owned(), version, how: ByHand::Whole }
}

pub(super) fn fails(node: &str, tool: &'static str, times: u32, how: Failure) -> Fault {
    Fault::ToolFails { node: node.to_owned(), tool, times, how }
}

/// Its kubelet is not Ready.
pub(super) fn sick(node: &str, lasts: u64) -> Fault {
    Fault::KubeletSick { node: node.to_owned(), lasts }
}

/// A kubelet of this version ends again and again.
pub(super) fn crashes(node: &str, version: Version, lasts: u64) -> Fault {
    Fault::KubeletCrashLoops { node: node.to_owned(), version: Some(version), lasts }
}

/// The scheduler does not run.
pub(super) fn scheduler(lasts: u64) -> Fault {
    Fault::StaticPodSick { node: "cp1".to_owned(), component: "kube-scheduler", lasts }
}

/// A fault before the act of this number.
pub(super) fn before(node: &str, act: &'static str, nth: usize, fault: Fault) -> Planned {
    Planned { when: When::act(node, act, nth, Point::Before), faults: vec![(0, fault)] }
}

/// The tool fails so many times, from its run of this number on.
pub(super) fn tool(node: &str, tool: &'static str, nth: usize, times: u32) -> Planned {
    before(node, tool, nth, fails(node, tool, times, Failure::AtOnce))
}

pub(super) fn done(minutes: u64) -> Cell {
    Cell::Comes(Stand::Done(TARGET), minutes)
}

pub(super) fn next(minutes: u64) -> Cell {
    Cell::Comes(Stand::Done(NEXT), minutes)
}

pub(super) fn refused(reason: Reason, runs: Runs, minutes: u64) -> Cell {
    Cell::Comes(Stand::Refused(reason, runs), minutes)
}

/// Nothing is asked of it any more.
pub(super) const fn idle(runs: Runs) -> Cell {
    Cell::Comes(Stand::Idle(runs), 2)
}

pub(super) const fn again(minutes: u64) -> Cell {
    Cell::Again(minutes)
}

pub(super) const fn not(why: &'static str) -> Cell {
    Cell::CannotBe(why)
}

pub(super) const STAYS: Cell = Cell::Stays;
/// Nothing of what was wrong is left to be put right.
pub(super) const PASSED: Cell = not("it has passed by itself");
/// There is no Lease to free.
pub(super) const HOLDS_NONE: Cell = not("it holds none");
/// A newer version changes nothing.
pub(super) const AS_ILL: Cell = not("it is as ill there");
/// And nobody can put it right.
pub(super) const NO_WAY: Cell = not("only another target mends it");
/// The newer target was set to come here.
pub(super) const CAME_SO: Cell = not("that is how it came here");
/// The budget holds the newer version up too.
pub(super) const HOLDS_UP: Cell = not("the budget holds that up too");
/// Idle, as it was; and at rest.
pub(super) const IDLE: Cell = idle(Runs::Old);
pub(super) const AT_REST: Cell = idle(Runs::Half);
