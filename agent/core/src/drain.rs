//! Draining: which pods go, in kubectl's words, and how evictions are paced.

use serde::{Deserialize, Serialize};

use crate::job::Trouble;
use crate::seen::PodSeen;
use crate::time::Mono;

/// The rules of a drain, in the words of `kubectl drain`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainOptions {
    /// Whether to drain at all; off only for single-node clusters and patch upgrades.
    pub enabled: bool,
    /// Evict pods that nothing would re-create.
    pub force: bool,
    /// Give up the emptyDir data of pods a controller re-creates.
    pub delete_emptydir_data: bool,
    /// Seconds of grace for every pod instead of its own.
    pub grace_period: Option<u32>,
    /// Seconds after which the drain is given up and the node uncordoned.
    pub timeout: u64,
}

impl Default for DrainOptions {
    fn default() -> Self {
        Self { enabled: true, force: false, delete_emptydir_data: true, grace_period: None, timeout: 3600 }
    }
}

/// What a drain makes of one pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sort {
    /// It is evicted.
    Evict,
    /// It stays, for this reason.
    Stays(&'static str),
    /// The drain must not begin: what stands in the way and how to allow it.
    Refuses(String),
}

/// A pod whose eviction a disruption budget (or the server) refuses for now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blocked {
    /// `namespace/name` of the pod.
    pub pod: String,
    /// The budget, where the server names it.
    pub budget: Option<String>,
    /// The server's words.
    pub message: String,
}

/// How a drain stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// When this was seen.
    pub at: Mono,
    /// Pods that still have to go.
    pub left: usize,
    /// Those whose eviction is refused for now.
    pub blocked: Vec<Blocked>,
    /// Where it stands.
    pub state: DrainState,
}

/// Where a drain stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DrainState {
    /// Under way.
    Draining,
    /// A fresh list of this node's pods held nothing more to evict.
    Drained,
    /// It cannot go on, or its time is over.
    GivenUp(Trouble),
}

/// Sorts one pod.
pub fn sort(_pod: &PodSeen, _options: &DrainOptions) -> Sort {
    Sort::Evict
}
