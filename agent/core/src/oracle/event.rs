//! What a history is made of.

use std::collections::BTreeSet;
use std::fmt;

use crate::api::{Check, KubeadmCommand, LeaseName, PackageVersion, Phase, Reason, Version};

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Milliseconds since the history began; never decreases within a history.
    pub at: u64,
    /// The node it happened to; [`FLEET`] for what concerns all of them.
    pub node: String,
    /// What happened.
    pub what: What,
}

/// What [`What::WentWrong`] says where etcd was put back from a backup: the events of the same moment are what stands then, and
/// nobody's doing.
pub const ETCD_RESTORED: &str = "etcd restored from a backup";

/// Stands for a node's name where something concerns the whole fleet.
pub const FLEET: &str = "";

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let node = if self.node == FLEET { "fleet" } else { &self.node };
        write!(f, "{:>10} ms  {node}: {:?}", self.at, self.what)
    }
}

/// Who did something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Who {
    /// The agent of this node.
    Agent(String),
    /// A person, or any other program.
    Person,
}

/// What can be seen from outside. Only changes are events: a write that changed nothing is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// The Node object came to be.
    Joined {
        /// Whether it carries the control-plane role.
        control_plane: bool,
        /// Its UID: another one is another Node.
        uid: String,
    },
    /// The Node object was deleted.
    Deleted,
    /// People set, changed or removed the target.
    TargetSet(Option<Version>),
    /// People asked for another try.
    Asked,
    /// People named other checks to pass over: these.
    Skips(BTreeSet<Check>),
    /// People set the annotation `ignore`, or took it away.
    Ignored(bool),
    /// The kubelet (or the node controller in its place) said whether the node is Ready, at which version.
    Ready {
        /// Whether the condition is True.
        ready: bool,
        /// The version the kubelet reports.
        kubelet: Version,
    },
    /// A static pod of this node's control plane began to run this version, or runs no more.
    StaticPod {
        /// One of [`crate::judge::control_plane::STATIC_PODS`].
        component: &'static str,
        /// The version of the running image; none while it does not run.
        version: Option<Version>,
    },
    /// This node's member of etcd began or ceased to answer as healthy.
    EtcdMember {
        /// Whether it answers.
        healthy: bool,
    },
    /// Of the fleet: kubeadm-config came to name another version.
    KubeadmConfig {
        /// This one.
        version: Version,
    },
    /// Of the fleet: `CoreDNS` and kube-proxy came to be those of this version.
    Addons {
        /// This one.
        version: Version,
    },
    /// Of the fleet: what the policy says now.
    PolicySet {
        /// Whether it bars claims: it pauses the fleet, is of a later protocol, has a value that cannot be read, or is gone.
        bars: bool,
    },
    /// The node became unschedulable.
    Cordoned {
        /// By whom.
        by: Who,
    },
    /// The node became schedulable.
    Uncordoned {
        /// By whom.
        by: Who,
    },
    /// The agent of this node put its name into a Lease that did not hold it.
    LeaseTaken {
        /// Which.
        lease: LeaseName,
        /// The Node's UID as the holder names it.
        uid: String,
        /// The turn it is held for, as the holder names it.
        turn: String,
    },
    /// Of the fleet: a person put a name into a Lease, in the place of whoever held it.
    LeaseGiven {
        /// Which.
        lease: LeaseName,
        /// A node's name, or whatever else was written there.
        holder: String,
    },
    /// This node's name was taken out of a Lease.
    LeaseReleased {
        /// Which.
        lease: LeaseName,
        /// By whom.
        by: Who,
    },
    /// The mark that says a holder is degraded was set or cleared.
    LeaseMarked {
        /// Which.
        lease: LeaseName,
        /// Whether it stands now.
        degraded: bool,
    },
    /// A pod that a drain has to move was bound to this node.
    PodBound {
        /// Its UID.
        pod: String,
    },
    /// Such a pod is gone from this node.
    PodGone {
        /// Its UID.
        pod: String,
    },
    /// A pod of this node was evicted.
    Evicted {
        /// Its UID.
        pod: String,
        /// By whom.
        by: Who,
    },
    /// An eviction of a pod of this node, asked for by its agent, was refused.
    EvictionRefused {
        /// Its UID.
        pod: String,
    },
    /// A DaemonSet's pod on this node became Ready or not.
    DaemonPod {
        /// `namespace/name` of the DaemonSet.
        daemon_set: String,
        /// Whether it is Ready; none where the DaemonSet is gone or no longer wants this node.
        ready: Option<bool>,
    },
    /// A tool of ours began to run on this host.
    ToolStarted {
        /// [`crate::act::Tool::word`].
        tool: &'static str,
        /// kubeadm's verb and target.
        kubeadm: Option<(KubeadmCommand, Version)>,
    },
    /// It ended, or died with its host.
    ToolEnded {
        /// [`crate::act::Tool::word`].
        tool: &'static str,
        /// Whether it exited with 0.
        ok: bool,
    },
    /// dpkg's database came to name another version.
    PackageInstalled {
        /// `kubelet`.
        package: String,
        /// The version.
        version: PackageVersion,
        /// By whom.
        by: Who,
    },
    /// The files kubelet is configured by became those of this version.
    KubeletFiles {
        /// The version of the kubeadm that wrote them.
        version: Version,
    },
    /// Of a control-plane node: its kubelet came to talk to its own API server, or to whichever answers; it does the latter as
    /// long as nothing is told.
    KubeletServer {
        /// Whether to its own.
        own: bool,
    },
    /// kubelet began to run anew: restarted by somebody, or with its host.
    KubeletRestarted,
    /// The agent wrote another phase, or another reason for it.
    Reported {
        /// The phase.
        phase: Phase,
        /// The fixed word beside it.
        reason: Reason,
    },
    /// The agent wrote another `current`.
    CurrentWritten {
        /// The version it says it has verified.
        version: Version,
    },
    /// The agent sent so many requests to the API server within the minute that ends here; none is told where there were none.
    Requested {
        /// By both its identities together, watches counted by their beginnings.
        requests: u32,
    },
    /// The agent's process began.
    AgentStarted,
    /// The agent's process ended, whatever ended it.
    AgentDied,
    /// The host came up after its power was cut or it was rebooted; whatever ran on it is gone.
    Booted,
    /// Something from outside went wrong here that no other event shows and that an upgrade may fail for: a disk that lost the
    /// agent's memory, or is full.
    WentWrong {
        /// A fixed word for it.
        what: &'static str,
    },
    /// What went wrong under this word is so no more.
    PutRight {
        /// The fixed word.
        what: &'static str,
    },
    /// Of the fleet: no repository offers this version any more.
    Withdrawn {
        /// The version.
        version: Version,
    },
}
