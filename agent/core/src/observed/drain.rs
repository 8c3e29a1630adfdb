//! How a drain stands.

use crate::api::{Blocked, Explanation, PassedOver};
use crate::time::Mono;

/// How a drain stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// When this was seen.
    pub at: Mono,
    /// Pods that still have to go.
    pub left: usize,
    /// Those whose eviction is refused for now.
    pub blocked: Vec<Blocked>,
    /// Pods that should go and are left here all the same.
    pub passed_over: Vec<PassedOver>,
    /// Whether any eviction was accepted: somebody was disturbed.
    pub evicted: bool,
    /// Where it stands.
    pub state: DrainState,
}

/// Where a drain stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DrainState {
    /// Under way.
    Draining,
    /// The API server went away under it. What people and others did meanwhile is not known yet.
    CutOff,
    /// A fresh list of this node's pods held nothing more to evict.
    Drained,
    /// It cannot go on, or its time is over.
    GivenUp(Explanation),
}
