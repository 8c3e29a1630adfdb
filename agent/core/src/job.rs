//! The agent's memory: only what cannot be seen again. The journal holds exactly this.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::preflight::Check;
use crate::text;
use crate::time::Unix;
use crate::version::{PackageVersion, Version};

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

/// Names one job on one node; part of the Lease's holder and of every unit name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JobId(pub String);

impl JobId {
    /// A job for `target` begun at `since`: unique on one node, which is all it needs to be, because the
    /// holder also names the Node and its UID.
    pub fn new(target: Version, since: Unix) -> Self {
        Self(format!("{target}-{:x}", since.0))
    }

    /// Whether it can be part of the names of units and directories.
    pub fn is_plain(&self) -> bool {
        is_plain(&self.0) && !self.0.starts_with(['-', '.'])
    }
}

/// Who holds a Lease: node name, Node UID and job (design rule 12).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Holder {
    /// Name of the Node.
    pub node: String,
    /// UID of the Node object: a re-created Node is somebody else.
    pub uid: String,
    /// The job it is held for.
    pub job: JobId,
}

impl Holder {
    /// Reads a Lease's holderIdentity; none if it was not written by an agent.
    ///
    /// The admission policy lets agents write nothing else. A lost journal's job is named after its Lease, and its units
    /// and directories after the job, so a job's name must be able to be part of both.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('/');
        let (node, uid, job) = (parts.next()?, parts.next()?, parts.next()?);
        let lower = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b);
        let whole = parts.next().is_none()
            && (1..=253).contains(&node.len())
            && node.bytes().all(lower)
            && is_plain(uid);
        let job = JobId(job.to_owned());
        (whole && job.is_plain()).then(|| Self { node: node.to_owned(), uid: uid.to_owned(), job })
    }
}

/// Short, and nothing but letters, digits, hyphens and dots.
fn is_plain(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.".contains(&b))
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.node, self.uid, self.job.0)
    }
}

/// The Leases agents share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum LeaseName {
    /// Held by the one control-plane node that is being upgraded.
    ControlPlane,
    /// One of the slots workers share.
    Slot(u32),
}

impl LeaseName {
    /// The name of the Lease a text stands for; none for Leases that are not ours.
    pub fn parse(name: &str) -> Option<Self> {
        if name == "control-plane" {
            return Some(Self::ControlPlane);
        }
        let number = name.strip_prefix("slot-")?;
        let slot = number.parse().ok().map(Self::Slot)?;
        (slot.to_string() == name).then_some(slot)
    }
}

impl fmt::Display for LeaseName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ControlPlane => f.write_str("control-plane"),
            Self::Slot(number) => write!(f, "slot-{number}"),
        }
    }
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

/// kubeadm's verb for this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verb {
    /// `kubeadm upgrade apply`: the first control-plane node.
    Apply,
    /// `kubeadm upgrade node` on another control-plane node.
    NodeControlPlane,
    /// `kubeadm upgrade node` on a worker.
    NodeWorker,
}

impl Verb {
    /// Whether the node carries a control plane.
    pub const fn is_control_plane(self) -> bool {
        matches!(self, Self::Apply | Self::NodeControlPlane)
    }
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
        why: Trouble,
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
    Back(Trouble),
}

/// How a job that returns its node to service ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// In service at the target.
    Done,
    /// In service at the old version.
    BackedOut(Trouble),
}

/// A fixed word for scripts and alerts, and a sentence for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trouble {
    /// The fixed word.
    pub reason: Reason,
    /// What failed, on what, why, and what to do next.
    pub message: String,
}

impl Trouble {
    /// A reason with its sentence, which is kept within [`text::MESSAGE`]: it goes into the journal, onto the Node and
    /// to peers.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: text::shortened(&message.into(), text::MESSAGE) }
    }
}

/// The fixed words of reports, Events and the Node condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Reason {
    /// At the target and in service, or nothing asked.
    Idle,
    /// The target annotation cannot be read.
    InvalidTarget,
    /// A preflight check said no.
    PreflightFailed,
    /// Something that comes right by itself is awaited before the claim.
    PreflightPending,
    /// Another node has the Lease, or it is another node's turn.
    WaitingForTurn,
    /// The budget of unavailable nodes is used up.
    BudgetExhausted,
    /// The fleet's policy says pause.
    Paused,
    /// On the way.
    Progressing,
    /// Evictions are refused by disruption budgets.
    DrainBlocked,
    /// The drain did not end in its time.
    DrainTimedOut,
    /// The drain was given up several times; a person must look.
    DrainGivenUp,
    /// A drain ended with pods left on the node; of an Event alone.
    PodsPassedOver,
    /// The target was removed or changed before the point of no return.
    Cancelled,
    /// Another holder's name stands in our Lease, or the Lease is gone.
    LeaseLost,
    /// A tool (apt, dpkg, kubeadm) failed.
    ToolFailed,
    /// The node did not come to serve at the target in its time.
    NotVerified,
    /// kubelet is not Ready, so the node is not returned to service.
    NotReady,
    /// The journal was lost while a Lease was ours.
    JournalLost,
    /// The node has no coordination credential; an administrator has to approve its request.
    WaitingForApproval,
    /// The node's request for a coordination credential was denied.
    EnrolmentDenied,
    /// Retreated a short while ago; waiting before the next try.
    BackingOff,
    /// Something outside did not answer; tried again.
    Retrying,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 22] = [
        Self::Idle,
        Self::InvalidTarget,
        Self::PreflightFailed,
        Self::PreflightPending,
        Self::WaitingForTurn,
        Self::BudgetExhausted,
        Self::Paused,
        Self::Progressing,
        Self::DrainBlocked,
        Self::DrainTimedOut,
        Self::DrainGivenUp,
        Self::PodsPassedOver,
        Self::Cancelled,
        Self::LeaseLost,
        Self::ToolFailed,
        Self::NotVerified,
        Self::NotReady,
        Self::JournalLost,
        Self::WaitingForApproval,
        Self::EnrolmentDenied,
        Self::BackingOff,
        Self::Retrying,
    ];
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
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
    pub why: Trouble,
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
    pub why: Trouble,
}

/// After so many retreats in a row a target is refused until `retry` (design rule 8).
pub const MAX_RETREATS: u32 = 3;
/// After so many failures of one step's tool the job turns back or is degraded.
pub const MAX_TRIES: u32 = 3;
