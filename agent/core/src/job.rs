//! The agent's memory: only what cannot be seen again. The journal holds exactly this.

use crate::api::{Check, Explanation, Holder, LeaseName, PackageVersion, Verb, Version};
use crate::time::Unix;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// What is remembered across restarts.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Memory {
    /// Whether this memory is known to be whole: false until a first look at the cluster has shown that no Lease
    /// or cordon of ours is left over from a journal that was lost.
    pub known: bool,
    /// The upgrade under way.
    pub job: Option<Job>,
    /// A target that will not be tried again until something a person controls changes.
    pub refused: Option<Refusal>,
    /// Retreats from a drain, and until when to leave the node alone.
    pub backoff: Option<Backoff>,
    /// Packages of ours that were held when we came; the hold is re-asserted after every transaction.
    pub held: BTreeSet<String>,
}

/// One upgrade of this node, from the claim of a Lease to its release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Job {
    /// Who holds the Lease: this node in this life, for this upgrade.
    pub holder: Holder,
    /// The Lease this job needs.
    pub lease: LeaseName,
    /// What is installed and how; resolved once, never re-derived.
    pub hop: Hop,
    /// How far it has come; only ever goes forward or turns back once.
    pub stage: Stage,
    /// How often the tool of the present step has failed.
    pub tries: u32,
    /// Counts every step entered and every tool that failed; a number in unit names, so that no two runs of a tool
    /// share a name.
    pub runs: u32,
    /// When the present stage or step was entered, on this host's own clock.
    pub entered: Unix,
    /// The tool of the present step is not tried again before this time, on this host's own clock.
    pub not_before: Unix,
    /// Failed checks that `skip-checks` asked to pass over; reported as long as the job goes on.
    pub skipped: BTreeSet<Check>,
    /// The value of `retry` this job has already answered.
    pub retry: Option<String>,
    /// When it was taken up.
    pub since: Unix,
}

/// What a hop installs, and with which verb of kubeadm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hop {
    /// What is installed now: the way back.
    pub from: Packages,
    /// What shall be installed.
    pub to: Packages,
    /// Decided once and journaled: after a crash the cluster would give the wrong answer (design rule 3).
    pub verb: Verb,
    /// The target's version.
    pub target: Version,
    /// Whether the present packages were fetched too, so that backing out can put kubeadm back.
    pub way_back: bool,
    /// DaemonSets whose pods here were Ready, as `namespace/name`: they must be Ready again.
    pub daemon_sets: BTreeSet<String>,
    /// CSI drivers registered here: they must register again.
    pub csi_drivers: BTreeSet<String>,
}

/// Exact versions of the packages a hop changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Packages {
    /// The kubeadm package.
    pub kubeadm: PackageVersion,
    /// The kubelet package.
    pub kubelet: PackageVersion,
    /// The kubectl package, where it is installed.
    pub kubectl: Option<PackageVersion>,
}

/// How far a job has come.
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
        way: Way,
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
pub enum Way {
    /// To the target.
    Forward,
    /// Back to the packages we came from, because of this.
    Back(Explanation),
}

/// How a job that returns its node to service ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// In service at the target.
    Done,
    /// In service at the old version.
    BackedOut(Explanation),
}

/// A target that was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refusal {
    /// The target as it was asked for.
    pub target: String,
    /// The value of `retry` at that time.
    pub retry: Option<String>,
    /// The value of `skip-checks` at that time, as sorted words.
    pub skip: BTreeSet<String>,
    /// Why.
    pub why: Explanation,
}

/// Leaving the node alone after a retreat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Backoff {
    /// The target that was retreated from.
    pub target: Version,
    /// How often in a row.
    pub retreats: u32,
    /// Not before this time, on this host's own clock.
    pub until: Unix,
    /// The value of `retry` then; a new one ends the wait.
    pub retry: Option<String>,
    /// Why the last retreat was made.
    pub why: Explanation,
}

/// After so many retreats in a row a target is refused until `retry` (design rule 8).
pub const MAX_RETREATS: u32 = 3;
/// After so many failures of one step's tool the job turns back or is degraded.
pub const MAX_TRIES: u32 = 3;
