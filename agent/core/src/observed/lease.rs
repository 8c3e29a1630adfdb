//! The Lease of this node's turn.

use crate::api::{TurnId, Version};
use crate::time::Mono;

/// The Lease of the present turn, as of a read or the answer to a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeaseSeen {
    /// Ours: a compare-and-swap succeeded at this moment.
    Held {
        /// When.
        at: Mono,
        /// For this turn: an answer that arrives late says nothing of another one.
        turn: TurnId,
        /// The version for which it carries the note that `kubeadm upgrade apply` has ended well.
        applied: Option<Version>,
    },
    /// Free, or absent: nobody holds it.
    Free,
    /// Somebody else's name stands in it.
    Other(String),
}
