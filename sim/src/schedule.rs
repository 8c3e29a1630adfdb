//! When what goes wrong, as data: a schedule can be printed, replayed and shrunk.

use crate::fault::Fault;

/// Faults, and when they strike.
pub type Schedule = Vec<Planned>;

/// Some faults that belong together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// When the first can strike.
    pub when: When,
    /// Each with its delay after that moment, in milliseconds.
    pub faults: Vec<(u64, Fault)>,
}

impl Planned {
    /// One fault at one time.
    pub fn at(millis: u64, fault: Fault) -> Self {
        Self { when: When::At(millis), faults: vec![(0, fault)] }
    }

    /// One fault at a point of the first such act of a node.
    pub fn act(node: &str, act: &'static str, point: Point, fault: Fault) -> Self {
        Self { when: When::act(node, act, 0, point), faults: vec![(0, fault)] }
    }

    /// The same, so many milliseconds later.
    #[must_use]
    pub fn after(mut self, delay: u64) -> Self {
        self.faults.iter_mut().for_each(|(at, _)| *at += delay);
        self
    }

    /// And this fault so many milliseconds after the moment.
    #[must_use]
    pub fn and(mut self, delay: u64, fault: Fault) -> Self {
        self.faults.push((delay, fault));
        self
    }
}

/// When something strikes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum When {
    /// At this millisecond of the run.
    At(u64),
    /// At this point of one step of one node: the steps are what its agents are asked to carry out, counted over all its
    /// lives.
    Step {
        /// The node.
        node: String,
        /// Counted from zero.
        step: usize,
        /// Where in the step.
        point: Point,
    },
    /// At this point of an act of one node: acts of one word are counted over all its lives.
    Act {
        /// The node.
        node: String,
        /// [`upgrade_core::act::Act::word`], with the tool's word behind `run`; or `store`.
        act: &'static str,
        /// Counted from zero.
        nth: usize,
        /// Where in the act.
        point: Point,
    },
    /// Before or after one node's agent takes an observation in that it did not ask for.
    Seen {
        /// The node.
        node: String,
        /// [`upgrade_core::observed::Observation::word`].
        fact: &'static str,
        /// Counted from zero.
        nth: usize,
        /// [`Point::Before`] or [`Point::Answered`].
        point: Point,
    },
}

impl When {
    /// At a point of an act.
    pub fn act(node: &str, act: &'static str, nth: usize, point: Point) -> Self {
        Self::Act { node: node.to_owned(), act, nth, point }
    }
}

/// Where in a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Point {
    /// Nothing of it has been done.
    Before,
    /// It was asked for; it may still come about.
    Sent,
    /// Its effect has come about (a tool or a drain has begun); nobody was told.
    Done,
    /// The agent was told, and what it then wanted to do is not done.
    Answered,
}

impl Point {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Before, Self::Sent, Self::Done, Self::Answered];
}
