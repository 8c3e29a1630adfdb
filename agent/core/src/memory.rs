//! The agent's memory: only what cannot be seen again. The journal holds exactly this.

mod count;
mod plan;
mod refusal;
mod turn;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

pub use plan::{Packages, Plan, lease_of};
pub use refusal::{Backoff, MAX_RETREATS, Refusal};
pub use turn::{Direction, Run, Step, Turn};

/// What is remembered across restarts.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Memory {
    /// Whether this memory is known to be whole: false until a first look at the cluster has shown that no Lease
    /// or cordon of ours is left over from a journal that was lost.
    pub known: bool,
    /// The turn under way.
    pub turn: Option<Turn>,
    /// A target that will not be tried again until something a person controls changes.
    pub refused: Option<Refusal>,
    /// Retreats from a drain, and until when to leave the node alone.
    pub backoff: Option<Backoff>,
    /// Packages of ours that were held when we came; the hold is re-asserted after every transaction.
    pub held: BTreeSet<String>,
    /// Whether the fleet's policy was ever seen to exist: one that is gone then bars claims (rule 2), and an absent one does not
    /// tell that it was there. Journals of before this was kept do not have it.
    #[serde(default)]
    pub policy_seen: bool,
}
