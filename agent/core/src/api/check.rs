//! The checks of preflight, by their words.

use std::fmt;

use serde::{Deserialize, Serialize};

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
