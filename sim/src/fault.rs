//! What goes wrong, and what people do. Durations are milliseconds unless said otherwise.

use upgrade_core::api::{Check, Version};

/// A duration that does not end within a run.
pub const FOR_EVER: u64 = u64::MAX;

/// One of an agent's two credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Identity {
    /// The kubelet's own.
    Kubelet,
    /// The one for what agents share.
    Coordination,
}

/// How a tool fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// Before it does anything.
    AtOnce,
    /// After all its work but the last piece.
    Late,
    /// Killed before this piece of its work, counted from zero: nothing is put back.
    Killed(usize),
    /// kubeadm alone: this static pod does not come up, and kubeadm puts all but etcd back.
    RolledBack(&'static str),
}

/// How much of an upgrade a person does by hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ByHand {
    /// The kubelet package alone, with its restart: as unattended-upgrades does.
    Kubelet,
    /// The kubeadm package alone.
    Kubeadm,
    /// All packages and the restart, without `kubeadm upgrade`.
    Packages,
    /// kubeadm and `kubeadm upgrade`, as far as the API server: static pods of two versions.
    HalfControlPlane,
    /// Everything the documentation says.
    Whole,
}

/// One thing that goes wrong, or that somebody does.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "a variant's own words say what its fields are")]
pub enum Fault {
    /// The agent's process is killed and started again after `restart`; tools go on.
    Kill { node: String, restart: u64 },
    /// The host loses its power and boots after `boot`; tools die.
    PowerCut { node: String, boot: u64 },
    /// The agent's journal is lost; the agent is killed and started again.
    JournalLost { node: String },
    /// The disk is full: nothing can be written, by the agent or a tool.
    DiskFull { node: String, lasts: u64 },
    /// Somebody sets the host's wall clock so many seconds ahead, or back.
    ClockJumps { node: String, seconds: i64 },
    /// The host's wall clock runs fast by so many parts in a million, or slow.
    ClockDrifts { node: String, ppm: i64 },

    /// What the agent watches reaches it `lag` late.
    WatchLag { node: String, lag: u64, lasts: u64 },
    /// A half-open watch: nothing reaches the agent, and no error either.
    WatchSilent { node: String, lasts: u64 },
    /// Requests have their effect, and their answers are lost.
    LostAnswers { node: String, lasts: u64 },
    /// No API server answers anybody.
    Outage { lasts: u64 },
    /// This host reaches no API server.
    Partition { node: String, lasts: u64 },
    /// One credential is refused.
    CredentialFails { node: String, identity: Identity, lasts: u64 },
    /// The renewals beside the acts come to nothing.
    HeartbeatFails { node: String, lasts: u64 },
    /// Everything the API server stores is copied aside.
    EtcdBackedUp,
    /// And put back as it was then, or as it was at the beginning.
    EtcdRestored,
    /// This node's member of etcd does not answer.
    EtcdMemberSick { node: String, lasts: u64 },
    /// A person removes this node's member from etcd.
    EtcdMemberRemoved { node: String },

    /// The kubelet runs and is not Ready.
    KubeletSick { node: String, lasts: u64 },
    /// The kubelet ends soon after each start, if it is of this version, or whichever it is.
    KubeletCrashLoops { node: String, version: Option<Version>, lasts: u64 },
    /// DaemonSet pods of this node are not Ready once they are probed again.
    DaemonPodsSick { node: String, lasts: u64 },
    /// A DaemonSet is deleted.
    DaemonSetDeleted,
    /// The driver of volumes on this node is removed.
    CsiDriverGone { node: String },
    /// A static pod of this node does not run.
    StaticPodSick { node: String, component: &'static str, lasts: u64 },

    /// A tool ([`upgrade_core::act::Tool::word`]) fails so many times.
    ToolFails { node: String, tool: &'static str, times: u32, how: Failure },
    /// The package repository does not answer this host.
    RepositoryDown { node: String, lasts: u64 },
    /// The repository no longer has this version.
    VersionWithdrawn { version: Version },
    /// A package that is not ours is half configured, and `dpkg --configure -a` does not mend it.
    ForeignPackageBroken { node: String },

    /// A disruption budget lets nothing go.
    BudgetBlocks { lasts: u64 },
    /// A webhook denies every eviction.
    EvictionsDenied { lasts: u64 },

    /// The fleet's policy says pause.
    Paused { lasts: u64 },
    /// The fleet's policy cannot be read.
    PolicyGarbled { lasts: u64 },
    /// Somebody deletes the fleet's policy, and applies it again without keys.
    PolicyGone { lasts: u64 },
    /// The fleet's policy wants kubelet to have run for so many seconds.
    MinReady { seconds: u64 },
    /// Somebody sets, changes or removes the target.
    Target { node: String, target: Option<Version> },
    /// Somebody sets a target that cannot be read.
    TargetGarbled { node: String },
    /// Somebody asks for another try.
    Retry { node: String },
    /// Somebody sets `skip-checks` to these, or removes it.
    SkipChecks { node: String, checks: Vec<Check> },
    /// Somebody sets the annotation `ignore`, or takes it away.
    Ignore { node: String, on: bool },
    /// `kubectl cordon`.
    PersonCordons { node: String },
    /// `kubectl uncordon`.
    PersonUncordons { node: String },
    /// Somebody clears the holder of whatever Lease this node holds, as the manual says.
    LeaseFreed { node: String },
    /// Somebody upgrades this host by hand.
    UpgradedByHand { node: String, version: Version, how: ByHand },
    /// Somebody takes away what an agent noted on its Node, as the administrators' command does.
    NotesRemoved { node: String },
    /// The Node object is deleted; it comes back as another one when its kubelet is restarted after `back`.
    NodeDeleted { node: String, back: u64 },
    /// The agent is stopped and its package and state are removed; it is installed again after `back`.
    AgentPurged { node: String, back: u64 },
}

impl Fault {
    /// How long after its moment it still works; none where that has no end within the run.
    pub fn ends_after(&self) -> Option<u64> {
        Some(self.lasts()).filter(|lasts| *lasts != FOR_EVER)
    }

    fn lasts(&self) -> u64 {
        match self {
            Self::Kill { restart: lasts, .. }
            | Self::PowerCut { boot: lasts, .. }
            | Self::NodeDeleted { back: lasts, .. }
            | Self::AgentPurged { back: lasts, .. }
            | Self::DiskFull { lasts, .. }
            | Self::WatchSilent { lasts, .. }
            | Self::LostAnswers { lasts, .. }
            | Self::Outage { lasts }
            | Self::Partition { lasts, .. }
            | Self::CredentialFails { lasts, .. }
            | Self::HeartbeatFails { lasts, .. }
            | Self::EtcdMemberSick { lasts, .. }
            | Self::KubeletSick { lasts, .. }
            | Self::KubeletCrashLoops { lasts, .. }
            | Self::DaemonPodsSick { lasts, .. }
            | Self::StaticPodSick { lasts, .. }
            | Self::RepositoryDown { lasts, .. }
            | Self::BudgetBlocks { lasts }
            | Self::EvictionsDenied { lasts }
            | Self::Paused { lasts }
            | Self::PolicyGarbled { lasts }
            | Self::PolicyGone { lasts } => *lasts,
            Self::WatchLag { lasts, lag, .. } => lasts.saturating_add(*lag),
            Self::EtcdRestored => crate::world::RESTORE,
            _ => 0,
        }
    }

    /// Whether it is a request that somebody sends to the API.
    pub const fn is_asked_of_the_api(&self) -> bool {
        matches!(
            self,
            Self::EtcdMemberRemoved { .. }
                | Self::Paused { .. }
                | Self::PolicyGarbled { .. }
                | Self::PolicyGone { .. }
                | Self::MinReady { .. }
                | Self::Target { .. }
                | Self::TargetGarbled { .. }
                | Self::Retry { .. }
                | Self::SkipChecks { .. }
                | Self::Ignore { .. }
                | Self::PersonCordons { .. }
                | Self::PersonUncordons { .. }
                | Self::LeaseFreed { .. }
                | Self::NotesRemoved { .. }
                | Self::DaemonSetDeleted
                | Self::NodeDeleted { .. }
        )
    }

    /// A fixed word, for counting.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Kill { .. } => "kill",
            Self::PowerCut { .. } => "power-cut",
            Self::JournalLost { .. } => "journal-lost",
            Self::DiskFull { .. } => "disk-full",
            Self::ClockJumps { .. } => "clock-jumps",
            Self::ClockDrifts { .. } => "clock-drifts",
            Self::WatchLag { .. } => "watch-lag",
            Self::WatchSilent { .. } => "watch-silent",
            Self::LostAnswers { .. } => "lost-answers",
            Self::Outage { .. } => "outage",
            Self::Partition { .. } => "partition",
            Self::CredentialFails { identity: Identity::Kubelet, .. } => "kubelet-credential-fails",
            Self::CredentialFails { identity: Identity::Coordination, .. } => "coordination-credential-fails",
            Self::HeartbeatFails { .. } => "heartbeat-fails",
            Self::EtcdBackedUp => "etcd-backed-up",
            Self::EtcdRestored => "etcd-restored",
            Self::EtcdMemberSick { .. } => "etcd-member-sick",
            Self::EtcdMemberRemoved { .. } => "etcd-member-removed",
            Self::KubeletSick { .. } => "kubelet-sick",
            Self::KubeletCrashLoops { .. } => "kubelet-crash-loops",
            Self::DaemonPodsSick { .. } => "daemon-pods-sick",
            Self::DaemonSetDeleted => "daemon-set-deleted",
            Self::CsiDriverGone { .. } => "csi-driver-gone",
            Self::StaticPodSick { .. } => "static-pod-sick",
            Self::ToolFails { .. } => "tool-fails",
            Self::RepositoryDown { .. } => "repository-down",
            Self::VersionWithdrawn { .. } => "version-withdrawn",
            Self::ForeignPackageBroken { .. } => "foreign-package-broken",
            Self::BudgetBlocks { .. } => "budget-blocks",
            Self::EvictionsDenied { .. } => "evictions-denied",
            Self::Paused { .. } => "paused",
            Self::PolicyGarbled { .. } => "policy-garbled",
            Self::PolicyGone { .. } => "policy-gone",
            Self::MinReady { .. } => "min-ready",
            Self::Target { .. } => "target",
            Self::TargetGarbled { .. } => "target-garbled",
            Self::Retry { .. } => "retry",
            Self::SkipChecks { .. } => "skip-checks",
            Self::Ignore { .. } => "ignore",
            Self::PersonCordons { .. } => "person-cordons",
            Self::PersonUncordons { .. } => "person-uncordons",
            Self::LeaseFreed { .. } => "lease-freed",
            Self::UpgradedByHand { .. } => "upgraded-by-hand",
            Self::NotesRemoved { .. } => "notes-removed",
            Self::NodeDeleted { .. } => "node-deleted",
            Self::AgentPurged { .. } => "agent-purged",
        }
    }
}
