//! Why: a fixed word, and a sentence beside it.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::text;

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
    /// Another node is degraded at the target.
    Halted,
    /// Another control-plane node and its member of etcd do not answer.
    ControlPlaneDown,
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
    /// The node was cordoned again after somebody had uncordoned it in its turn; of an Event alone.
    CordonedAgain,
    /// The target was removed or changed before the point of no return.
    Cancelled,
    /// Another holder's name stands in our Lease, or the Lease is gone.
    LeaseLost,
    /// A cordoned node waited for too long.
    TimedOut,
    /// A tool (apt, dpkg, kubeadm) failed.
    ToolFailed,
    /// kubeadm failed for a reason that may pass by itself.
    ToolPending,
    /// The Node object was deleted in the middle of an upgrade.
    NodeGone,
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
    pub const ALL: [Self; 28] = [
        Self::Idle,
        Self::InvalidTarget,
        Self::PreflightFailed,
        Self::PreflightPending,
        Self::WaitingForTurn,
        Self::BudgetExhausted,
        Self::Halted,
        Self::ControlPlaneDown,
        Self::Paused,
        Self::Progressing,
        Self::DrainBlocked,
        Self::DrainTimedOut,
        Self::DrainGivenUp,
        Self::PodsPassedOver,
        Self::CordonedAgain,
        Self::Cancelled,
        Self::LeaseLost,
        Self::TimedOut,
        Self::ToolFailed,
        Self::ToolPending,
        Self::NodeGone,
        Self::NotVerified,
        Self::NotReady,
        Self::JournalLost,
        Self::WaitingForApproval,
        Self::EnrolmentDenied,
        Self::BackingOff,
        Self::Retrying,
    ];

    /// Whether it comes right by itself or by others, and its message changes with what they do.
    pub const fn is_awaited(self) -> bool {
        matches!(
            self,
            Self::PreflightPending
                | Self::WaitingForTurn
                | Self::BudgetExhausted
                | Self::Halted
                | Self::Paused
                | Self::ControlPlaneDown
        )
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A fixed word for scripts and alerts, and a sentence for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Explanation {
    /// The fixed word.
    pub reason: Reason,
    /// What failed, on what, why, and what to do next.
    pub message: String,
}

impl Explanation {
    /// A reason with its sentence, which is kept within [`text::MESSAGE`]: it goes into the journal, onto the Node and
    /// to peers.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: text::shortened(&message.into(), text::MESSAGE) }
    }
}
