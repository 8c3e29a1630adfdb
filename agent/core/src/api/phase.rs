//! The phases of an upgrade, as they are reported.

use std::fmt;

use serde::{Deserialize, Serialize};

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
