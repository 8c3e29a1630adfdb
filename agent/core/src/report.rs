//! What the agent says about itself: derived from memory and observation, never read back as state.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::drain::Blocked;
use crate::job::Reason;
use crate::time::Unix;
use crate::version::Version;

/// The phases of design section 4: a derived report, not a program counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Nothing to do.
    Idle,
    /// Finding out what can be known before anything is touched.
    Preflight,
    /// Waiting for, or taking, the Lease.
    Claiming,
    /// Making the node unschedulable.
    Cordoning,
    /// Evicting pods.
    Draining,
    /// Installing the kubeadm package.
    Staging,
    /// Running kubeadm upgrade.
    Applying,
    /// Installing the kubelet and kubectl packages.
    Installing,
    /// Restarting kubelet.
    Restarting,
    /// Waiting until the node serves at the target.
    Verifying,
    /// Making the node schedulable again.
    Uncordoning,
    /// Giving the Lease back.
    Releasing,
    /// The target is refused; the node is untouched.
    Refused,
    /// Going back before the point of no return.
    BackingOut,
    /// Going back after it.
    RollingBack,
    /// Stopped; needs a person.
    Degraded,
}

impl Phase {
    /// Every phase, in the order of an upgrade, then the ways out of it.
    pub const ALL: [Self; 16] = [
        Self::Idle,
        Self::Preflight,
        Self::Claiming,
        Self::Cordoning,
        Self::Draining,
        Self::Staging,
        Self::Applying,
        Self::Installing,
        Self::Restarting,
        Self::Verifying,
        Self::Uncordoning,
        Self::Releasing,
        Self::Refused,
        Self::BackingOut,
        Self::RollingBack,
        Self::Degraded,
    ];

    /// The word of the contract.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Preflight => "preflight",
            Self::Claiming => "claiming",
            Self::Cordoning => "cordoning",
            Self::Draining => "draining",
            Self::Staging => "staging",
            Self::Applying => "applying",
            Self::Installing => "installing",
            Self::Restarting => "restarting",
            Self::Verifying => "verifying",
            Self::Uncordoning => "uncordoning",
            Self::Releasing => "releasing",
            Self::Refused => "refused",
            Self::BackingOut => "backing-out",
            Self::RollingBack => "rolling-back",
            Self::Degraded => "degraded",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

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
    /// The Lease held or waited for.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub slot: Option<String>,
    /// The version last verified in service.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub current: Option<Version>,
}

/// How the drain stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DrainReport {
    /// Pods that still have to go.
    pub pods_left: usize,
    /// Pods that budgets hold.
    pub blocked: Vec<Blocked>,
}
