//! One upgrade of this node, and how far it has come.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::api::{Check, Explanation, Holder, LeaseName};
use crate::memory::Plan;
use crate::time::Unix;

/// One upgrade of this node, from the claim of a Lease to its release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Turn {
    /// Who holds the Lease: this node in this life, for this upgrade.
    pub holder: Holder,
    /// The Lease this turn needs.
    pub lease: LeaseName,
    /// What is installed and how; resolved once, never re-derived.
    pub plan: Plan,
    /// How far it has come; only ever goes forward or turns back once.
    pub stage: Stage,
    /// How often the tool of the present step has failed.
    pub attempts: u32,
    /// Counts every step entered and every tool that failed; a number in unit names, so that no two runs of a tool
    /// share a name.
    pub unit_serial: u32,
    /// When the present stage or step was entered, on this host's own clock.
    pub entered: Unix,
    /// The tool of the present step is not tried again before this time, on this host's own clock.
    pub not_before: Unix,
    /// Failed checks that `skip-checks` asked to pass over; reported as long as the turn goes on.
    pub skipped: BTreeSet<Check>,
    /// The value of `retry` this turn has already answered.
    pub retry: Option<String>,
    /// When it was taken up.
    pub since: Unix,
}

/// How far a turn has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    /// Taking the Lease, cordoning, draining: nothing on the host has changed.
    Clearing {
        /// When the disturbance was about to begin; the drain's time counts from here, across restarts.
        disturbed: Option<Unix>,
    },
    /// The host is being changed.
    Changing {
        /// What is being done.
        step: Step,
        /// Forward to the target, or back to where we came from.
        direction: Direction,
    },
    /// Uncordon and give the Lease back.
    Returning(Verdict),
    /// Stopped: cordoned, the Lease held and marked, a person told.
    Degraded {
        /// The step that did not come right; where a retry goes on.
        step: Step,
        /// Why.
        why: Explanation,
    },
}

/// The steps that change the host, in their order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// The kubeadm package.
    Staging,
    /// `kubeadm upgrade`.
    Applying,
    /// The kubelet and kubectl packages.
    Installing,
    /// Restarting kubelet: done when its unit is active with another invocation than this one.
    Restarting {
        /// systemd's invocation ID of kubelet after the packages were installed.
        before: String,
    },
    /// Waiting until the node serves again at the target.
    Verifying,
}

/// Which way a change goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Direction {
    /// To the target.
    Forward,
    /// Back to the packages we came from, because of this.
    Back(Explanation),
}

/// How a turn that returns its node to service ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// In service at the target.
    Done,
    /// In service at the old version.
    BackedOut(Explanation),
}

/// After so many failures of one step's tool the turn turns back or is degraded.
pub const MAX_ATTEMPTS: u32 = 3;
