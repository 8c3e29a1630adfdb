//! Histories: what once went wrong, or would. Each is a schedule with the number and the sentence that people know it by, and
//! says how it stands on the present core: it holds, it fails as expected, it waits for what is not built yet, or
//! another test shows it. `docs/internals/histories.md` lists them.

mod defects;
mod pinned;
mod survives;

use std::collections::BTreeSet;

use upgrade_core::oracle::{End, What};

use crate::schedule::Schedule;
use crate::setup::Setup;
use crate::verdict::Verdict;
use crate::world::World;

/// One history.
#[derive(Debug, Clone)]
pub struct History {
    /// `A1`: its number in the list of defects, or `E1` in that of histories that must be survived.
    pub number: &'static str,
    /// What is right, in one sentence.
    pub sentence: &'static str,
    /// How it stands.
    pub standing: Standing,
    /// How it goes; none where no run shows it.
    pub runs: Vec<Run>,
}

/// A run and what is wanted of it, besides that no rule is broken and every node comes to an end.
#[derive(Debug, Clone)]
pub struct Run {
    /// The cluster.
    pub setup: Setup,
    /// What goes wrong and what people do.
    pub schedule: Schedule,
    /// What else has to come of it.
    pub wants: Vec<Want>,
}

/// How a history stands on the present core.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It comes out right.
    Holds,
    /// It goes wrong in these ways, for the reason its sentence is about; [`failures`] names them.
    Red(&'static [&'static str]),
    /// It cannot be told yet: what it is about is not built.
    Waits(&'static str),
    /// Another test shows it.
    Shown {
        /// The file, from the top of the repository.
        file: &'static str,
        /// The test's name. On a core that goes wrong it is marked `should_panic`.
        test: &'static str,
        /// Whether it goes wrong today.
        red: bool,
    },
}

impl Standing {
    /// In one cell of a table, with what each run shows today.
    fn words(&self, runs: &[&[&str]]) -> String {
        let wrong = runs.iter().filter(|kinds| !kinds.is_empty()).count();
        let of = if runs.len() == 1 { String::new() } else { format!(" in {wrong} of {} runs", runs.len()) };
        match self {
            Self::Holds | Self::Shown { red: false, .. } => "holds".to_owned(),
            Self::Red(kinds) => {
                let all: BTreeSet<&str> = runs.iter().copied().flatten().copied().collect();
                let beside = all.into_iter().filter(|kind| !kinds.contains(kind));
                let beside = beside.map(told).collect::<Vec<_>>().join(", ");
                let beside = if beside.is_empty() { beside } else { format!("; also {beside}") };
                format!(
                    "red{of}: {}{beside}",
                    kinds.iter().map(|kind| told(kind)).collect::<Vec<_>>().join(", ")
                )
            }
            Self::Waits(what) => format!("waits: {what}"),
            Self::Shown { red: true, .. } => "red".to_owned(),
        }
    }
}

/// Stands before what happens and must not.
const BUT: &str = "but ";

/// What was wanted and does not come about is told by what was wanted.
fn told(kind: &str) -> String {
    if kind.contains(' ') && !kind.starts_with(BUT) { format!("not: {kind}") } else { kind.to_owned() }
}

impl History {
    /// In which ways each of its runs goes wrong today, where it does not hold: pinned, so that no run comes out right and none
    /// goes wrong in a new way behind the others.
    pub fn pinned(&self) -> &'static [&'static [&'static str]] {
        pinned::PINNED.iter().find(|(number, _)| *number == self.number).map_or(&[], |(_, runs)| *runs)
    }

    /// Its row in `docs/internals/histories.md`.
    pub fn row(&self) -> String {
        let Self { number, sentence, standing, runs } = self;
        let shown = match (standing, runs.len()) {
            (Standing::Shown { file, test, .. }, _) => format!("`{test}` in {file}"),
            (_, 0) => "nothing yet".to_owned(),
            (_, 1) => "a run".to_owned(),
            (_, count) => format!("{count} runs"),
        };
        format!("| {number} | {sentence} | {shown} | {} |", standing.words(self.pinned()))
    }
}

/// Something that must come of a run.
#[derive(Debug, Clone)]
pub enum Want {
    /// The node ends like this.
    End(&'static str, End),
    /// Such an event happens to the node.
    Happens(&'static str, &'static str, fn(&What) -> bool),
    /// Such an event never happens to it after this millisecond.
    NeverAfter(u64, &'static str, &'static str, fn(&What) -> bool),
    /// Such events happen to it so many times at the most.
    AtMost(usize, &'static str, &'static str, fn(&What) -> bool),
    /// The last event that says anything of it says yes.
    Last(&'static str, &'static str, fn(&What) -> Option<bool>),
    /// The whole run is like this.
    Comes(&'static str, fn(&World) -> bool),
}

impl Want {
    /// What is missing, in words that name it.
    fn failure(&self, world: &World, verdict: &Verdict) -> Option<String> {
        let events = |node: &'static str| world.history.iter().filter(move |event| event.node == node);
        match self {
            Self::End(node, end) => (verdict.end(node) != Some(end)).then(|| format!("{node} ends {end:?}")),
            Self::Happens(node, words, is) => {
                let happens = events(node).any(|event| is(&event.what));
                (!happens).then(|| format!("{node} {words}"))
            }
            Self::NeverAfter(from, node, words, is) => {
                let happens = events(node).any(|event| event.at > *from && is(&event.what));
                happens.then(|| format!("{BUT}{node} {words}"))
            }
            Self::AtMost(most, node, words, is) => {
                let count = events(node).filter(|event| is(&event.what)).count();
                let more = if *most == 0 { String::new() } else { format!(" more than {most} times") };
                (count > *most).then(|| format!("{BUT}{node} {words}{more}"))
            }
            Self::Last(node, words, says) => {
                let last = events(node).filter_map(|event| says(&event.what)).next_back();
                (last != Some(true)).then(|| format!("{node} {words} in the end"))
            }
            Self::Comes(words, is) => (!is(world)).then(|| (*words).to_owned()),
        }
    }
}

/// In which ways a run goes wrong: the rules it breaks, `Unfinished`, and the wants that do not come about.
pub fn failures(run: &Run) -> BTreeSet<String> {
    let world = World::run(&run.setup, &run.schedule);
    run.failures(&world, &world.verdict())
}

/// The numbers for which it is pinned how their runs go wrong.
pub fn pinned_numbers() -> impl Iterator<Item = &'static str> {
    pinned::PINNED.iter().map(|(number, _)| *number)
}

/// All of them, in the order of their numbers.
pub fn all() -> Vec<History> {
    defects::all().into_iter().chain(survives::all()).collect()
}

/// A run of this setup with this schedule, of which nothing else is wanted.
fn run(setup: Setup, schedule: Schedule) -> Run {
    Run { setup, schedule, wants: Vec::new() }
}

impl Run {
    /// The same of a world that this run came to.
    pub fn failures(&self, world: &World, verdict: &Verdict) -> BTreeSet<String> {
        let missing = self.wants.iter().filter_map(|want| want.failure(world, verdict));
        verdict.kinds().into_iter().chain(missing).collect()
    }

    fn wants(mut self, want: Want) -> Self {
        self.wants.push(want);
        self
    }
}
