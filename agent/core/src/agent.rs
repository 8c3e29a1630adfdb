//! Inputs to outputs: takes facts in, asks [`crate::decide`], stores before it acts, and runs one act at a time.

use crate::act::{Act, Ended};
use crate::job::Memory;
use crate::seen::Fact;

/// Names one start of one act.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ActId(pub u64);

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// Something was observed.
    Saw(Fact),
    /// The memory last handed out is durable.
    Stored,
    /// An act ended, by itself or because it was stopped.
    Ended(ActId, Ended),
    /// A moment asked for by [`Output::WakeAt`] has come.
    Tick,
}

/// What to do now, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Make this durable, then say [`Input::Stored`]. No act runs meanwhile.
    Store(Memory),
    /// Start this act; say [`Input::Ended`] when it ends.
    Start(ActId, Act),
    /// Stop this act; it still ends with [`Input::Ended`].
    Stop(ActId),
    /// Tell people.
    Report(crate::report::Report),
    /// Say [`Input::Tick`] at this moment; a later one replaces it.
    WakeAt(crate::time::Mono),
}
