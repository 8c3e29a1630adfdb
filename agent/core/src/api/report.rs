//! The annotation `status`: what the agent says of itself, as it is written and read.

use serde::{Deserialize, Serialize};

use super::{Phase, Reason, Version};
use crate::time::Unix;

/// The JSON of the annotation `status`, and the source of phase, condition and Events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// What is asked for, as written.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub target: Option<String>,
    /// The packages under way, `1.36.2-1.1 → 1.36.3-1.1`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub hop: Option<String>,
    /// Where the upgrade is.
    pub phase: Phase,
    /// Since when it is in this phase.
    pub since: Unix,
    /// Failed tries of the present step, or retreats.
    pub attempts: u32,
    /// The fixed word.
    pub reason: Reason,
    /// What goes on, for people.
    pub message: String,
    /// The drain, while there is one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub drain: Option<DrainReport>,
    /// What deserves a second look: checks passed over, words that name no check, a credential about to expire.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub notes: Vec<String>,
    /// The Lease held or waited for.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub slot: Option<String>,
    /// The version last verified in service.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub current: Option<Version>,
}

impl Report {
    /// What is answered here to what a person asked, or said of a node that waits for one: another answer is news within a phase too.
    /// What counts seconds, or did not answer, is none; of what a degraded node's new target waits for the word alone is.
    pub fn answer(&self) -> Option<(Reason, &str)> {
        match (self.phase, self.reason) {
            (Phase::Degraded, Reason::Progressing | Reason::Retrying) => None,
            (Phase::Degraded, reason) if reason.is_awaited() => Some((reason, "")),
            (Phase::Refused | Phase::Degraded, reason) => Some((reason, &self.message)),
            _ => None,
        }
    }
}

/// How the drain stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DrainReport {
    /// Pods that still have to go.
    pub pods_left: usize,
    /// Pods that budgets hold.
    pub blocked: Vec<Blocked>,
    /// Pods left here all the same.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub passed_over: Vec<PassedOver>,
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

/// A pod that should go and is left here all the same: it does not end, or it comes back whenever it is evicted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PassedOver {
    /// `namespace/name` of the pod.
    pub pod: String,
    /// Why, for people.
    pub why: String,
}
