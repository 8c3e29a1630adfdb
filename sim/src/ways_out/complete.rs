//! Which rows there have to be: by every reason that can be told of a node, and by every step in which a turn can stop. Both are
//! matched exhaustively, so that a new one does not compile before somebody has said where its row is, or why it has none.

use upgrade_core::api::{Reason, TurnKind};
use upgrade_core::memory::Step;

/// The kinds of state that people help a node out of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Degraded.
    Degraded,
    /// Refused.
    Refused,
    /// Waiting before a claim, or at rest.
    Waits,
}

/// In which classes a reason is told for longer than a moment; none, and why.
pub const fn rows_of_reason(reason: Reason) -> Result<&'static [Class], &'static str> {
    match reason {
        Reason::InvalidTarget | Reason::ControlPlaneDown | Reason::DrainGivenUp => Ok(&[Class::Refused]),
        Reason::PreflightFailed | Reason::ToolFailed => Ok(&[Class::Degraded, Class::Refused]),
        Reason::NotVerified | Reason::NotReady | Reason::JournalLost => Ok(&[Class::Degraded]),
        Reason::Retrying => Ok(&[Class::Degraded, Class::Waits]),
        Reason::PreflightPending
        | Reason::WaitingForTurn
        | Reason::BudgetExhausted
        | Reason::Halted
        | Reason::Paused
        | Reason::BackingOff => Ok(&[Class::Waits]),
        Reason::Idle | Reason::Progressing => Err("nobody has to help"),
        Reason::DrainBlocked | Reason::DrainTimedOut | Reason::ToolPending | Reason::LeaseLost => {
            Err("after the way back it is told as BackingOff")
        }
        Reason::TimedOut => Err(
            "after the way back it is told as BackingOff; degraded for it is a turn B that waits behind an API server which went \
             back a minor, and none does in the simulator",
        ),
        Reason::Cancelled => Err("the way back ends idle, or in a preflight for what is asked now"),
        Reason::PodsPassedOver | Reason::CordonedAgain => Err("of an Event alone"),
        Reason::NodeGone => Err("there is no Node on which people could ask; it ends after ten minutes"),
        Reason::WaitingForApproval | Reason::EnrolmentDenied => {
            Err("of the second loop, which the simulator does not run: upgrade-core's enrol/tests.rs")
        }
    }
}

/// Whether a turn can be degraded in this step; where not, why.
pub const fn rows_of_step(kind: TurnKind, step: Step) -> Result<(), &'static str> {
    match (kind, step) {
        (_, Step::Claiming) => Err("nothing is held yet: it goes back"),
        (
            TurnKind::ControlPlane,
            Step::Cordoning
            | Step::Draining
            | Step::Installing
            | Step::Restarting
            | Step::Verifying
            | Step::Uncordoning,
        ) => Err("no step of turn A"),
        (TurnKind::Kubelet, Step::Cordoning | Step::Draining) => Err("nothing is changed yet: it goes back"),
        (TurnKind::Kubelet, Step::Restarting) => {
            Err("a boot restarts kubelet too, and nothing else is asked")
        }
        (TurnKind::ControlPlane, Step::Staging | Step::Applying | Step::Releasing)
        | (
            TurnKind::Kubelet,
            Step::Staging
            | Step::Applying
            | Step::Installing
            | Step::Verifying
            | Step::Uncordoning
            | Step::Releasing,
        ) => Ok(()),
    }
}

/// Every step.
pub const STEPS: [Step; 10] = [
    Step::Claiming,
    Step::Cordoning,
    Step::Draining,
    Step::Staging,
    Step::Applying,
    Step::Installing,
    Step::Restarting,
    Step::Verifying,
    Step::Uncordoning,
    Step::Releasing,
];
