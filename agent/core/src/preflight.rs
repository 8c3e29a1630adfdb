//! What can be known before anything is touched (design section 5), and what follows from it.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::job::Hop;
use crate::time::Mono;
use crate::version::Version;

/// One thing preflight looks at. The words are what `skip-checks` takes and what reports name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Check {
    /// The target can be reached by the version skew rules.
    Reachable,
    /// The packages exist in the private sources and are downloaded.
    Packages,
    /// apt's simulation changes our packages alone and removes nothing.
    Simulation,
    /// Space for packages, images and an etcd copy.
    DiskSpace,
    /// dpkg is sane or can be repaired.
    Dpkg,
    /// The new kubelet accepts this node's flags.
    KubeletFlags,
    /// The new kubeadm's own preflight phase.
    Kubeadm,
    /// cgroup v2, where the target insists on it.
    Cgroups,
    /// The container runtime tells its configuration (`RuntimeConfig`), where the target insists on it.
    ContainerRuntime,
    /// The kubelet unit is healthy.
    KubeletUnit,
    /// The Node is Ready.
    NodeReady,
    /// Every pod can be drained by the configured rules.
    Pods,
    /// Another Ready, schedulable node can take the pods.
    OtherNodes,
    /// No kubelet goes past an API server.
    ApiServers,
    /// etcd is whole: all members healthy, no learner, no alarm.
    Etcd,
    /// No other tool (kured, cluster autoscaler) is at work on this node.
    OtherTools,
}

impl Check {
    /// Every check, in the order preflight reports them.
    pub const ALL: [Self; 16] = [
        Self::Reachable,
        Self::ApiServers,
        Self::NodeReady,
        Self::KubeletUnit,
        Self::OtherTools,
        Self::OtherNodes,
        Self::Pods,
        Self::Dpkg,
        Self::Packages,
        Self::Simulation,
        Self::DiskSpace,
        Self::Cgroups,
        Self::ContainerRuntime,
        Self::KubeletFlags,
        Self::Kubeadm,
        Self::Etcd,
    ];

    /// The word people write and read.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Reachable => "Reachable",
            Self::Packages => "Packages",
            Self::Simulation => "Simulation",
            Self::DiskSpace => "DiskSpace",
            Self::Dpkg => "Dpkg",
            Self::KubeletFlags => "KubeletFlags",
            Self::Kubeadm => "Kubeadm",
            Self::Cgroups => "Cgroups",
            Self::ContainerRuntime => "ContainerRuntime",
            Self::KubeletUnit => "KubeletUnit",
            Self::NodeReady => "NodeReady",
            Self::Pods => "Pods",
            Self::OtherNodes => "OtherNodes",
            Self::ApiServers => "ApiServers",
            Self::Etcd => "Etcd",
            Self::OtherTools => "OtherTools",
        }
    }

    /// The check a word names.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|check| check.word() == word)
    }

    /// Whether an administrator may pass over it: what guards a rule of section 3 cannot be skipped, because
    /// without it there is nothing to install or the cluster breaks.
    pub const fn may_be_skipped(self) -> bool {
        !matches!(self, Self::Reachable | Self::Packages | Self::ApiServers)
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// What one check came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing stands in the way; the text says what was seen.
    Passed(String),
    /// It will not go right until a person changes something; the text says what and how.
    Failed(String),
    /// It will come right by itself (another node is not ready yet); asked again later.
    Pending(String),
}

/// A check and what it came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What was looked at.
    pub check: Check,
    /// What was seen.
    pub outcome: Outcome,
}

/// What one run of preflight saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Findings {
    /// The target it was run for.
    pub target: Version,
    /// When it ended.
    pub at: Mono,
    /// The packages, resolved to exact versions; none where they could not be.
    pub hop: Option<Hop>,
    /// Every check that was made.
    pub findings: Vec<Finding>,
}

/// What follows from a run of preflight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Go on with these packages; `skipped` failed but were asked to be passed over.
    Go {
        /// The resolved packages.
        hop: Box<Hop>,
        /// Failed checks that `skip-checks` named.
        skipped: Vec<Check>,
    },
    /// A person must act: the first failed check and everything that failed.
    Refuse {
        /// The check whose word becomes the reason.
        check: Check,
        /// All failures in one text.
        message: String,
    },
    /// Ask again later.
    NotYet(String),
}

/// Judges findings: failures refuse unless skipped, pending ones wait, and only a resolved hop goes on.
pub fn judge(findings: &Findings, skip: &BTreeSet<Check>) -> Verdict {
    let mut failures: Vec<(Check, &str)> = Vec::new();
    let mut pending: Vec<&str> = Vec::new();
    let mut skipped = Vec::new();
    for Finding { check, outcome } in &findings.findings {
        let skips = skip.contains(check) && check.may_be_skipped();
        match outcome {
            Outcome::Passed(_) => {}
            Outcome::Failed(_) | Outcome::Pending(_) if skips => skipped.push(*check),
            Outcome::Failed(text) => failures.push((*check, text)),
            Outcome::Pending(text) => pending.push(text),
        }
    }
    if let Some(&(check, _)) = failures.first() {
        let message =
            failures.iter().map(|(check, text)| format!("{check}: {text}")).collect::<Vec<_>>().join("; ");
        return Verdict::Refuse { check, message };
    }
    if !pending.is_empty() {
        return Verdict::NotYet(pending.join("; "));
    }
    match &findings.hop {
        Some(hop) => Verdict::Go { hop: Box::new(hop.clone()), skipped },
        None => Verdict::Refuse {
            check: Check::Packages,
            message: format!("Packages: no packages for {} were resolved", findings.target),
        },
    }
}
