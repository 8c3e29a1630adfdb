//! Errors of this module: what was attempted, on what, and why it failed.

use std::error::Error;

use upgrade_core::act::{Fault, FaultClass};

use crate::chain::chain;

/// Something that was attempted and failed.
#[derive(Debug, thiserror::Error)]
#[error("{doing}")]
pub(super) struct Failed {
    doing: String,
    #[source]
    cause: Option<Box<dyn Error + Send + Sync>>,
}

impl Failed {
    /// A failure that nothing below explains further.
    pub(super) fn new(what: impl Into<String>) -> Self {
        Self { doing: what.into(), cause: None }
    }
}

/// Says what was attempted when an error passes by.
pub(super) trait Doing<T> {
    /// `doing` completes the sentence "could not …".
    fn doing<S: Into<String>>(self, doing: impl FnOnce() -> S) -> Result<T, Failed>;
}

impl<T, E: Into<Box<dyn Error + Send + Sync>>> Doing<T> for Result<T, E> {
    fn doing<S: Into<String>>(self, doing: impl FnOnce() -> S) -> Result<T, Failed> {
        self.map_err(|error| Failed {
            doing: format!("could not {}", doing().into()),
            cause: Some(error.into()),
        })
    }
}

impl From<Failed> for Fault {
    /// Every fault of this host's tools is transient: what is for people to settle is a finding of preflight or
    /// the exit status of a tool, and neither is an error here.
    fn from(failed: Failed) -> Self {
        Self { class: FaultClass::Transient, message: chain(&failed) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_tells_what_was_attempted_and_the_whole_chain() {
        let low: Result<(), _> = Err(std::io::Error::other("disk full"));
        let middle = low.doing(|| "write the copy");
        let Err(top) = middle.doing(|| "back up job v1.36.3-1") else { panic!("not an error") };
        assert_eq!(
            Fault::from(top).message,
            "could not back up job v1.36.3-1: could not write the copy: disk full"
        );
    }
}
