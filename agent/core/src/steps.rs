//! The steps of a turn. Each is one small file that answers the same five questions: is it done, may its next tool or disturbance
//! begin, what is to be done for it, what follows where it fails, how is it taken back.

mod apply;
mod claim;
mod cordon;
mod drain;
mod gate;
mod install;
mod release;
mod restart;
mod stage;
mod tool;
mod uncordon;
mod verify;

use crate::api::Explanation;
use crate::decide::Next;
use crate::decide::context::{Context, Look};
use crate::memory::{Step, Turn};

pub(crate) use apply::{has_run_kubeadm, put_back_kubelets_files};
pub(crate) use gate::mark_stands;
pub(crate) use install::can_turn_back;
pub(crate) use release::{has_its_old_kubelet, is_whole, is_whole_as_before, tidy};
pub(crate) use tool::{MAX_ATTEMPTS, repair_dpkg};
pub(crate) use uncordon::serves;
pub(crate) use verify::lacks;

/// What follows where a step's tool has failed once too often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The turn goes back.
    BackOut,
    /// A person has to look.
    Degraded,
}

/// What a gate says to a step whose next tool or disturbance would begin now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Gate {
    /// It may.
    Open,
    /// Not yet; the turn keeps what it has and waits.
    Wait(Explanation),
    /// No: the turn goes back.
    GiveWay(Explanation),
}

/// What each step answers.
pub(crate) trait Rules {
    /// Whether it is done, by what was observed.
    fn done(&self, cx: &Context<'_>, turn: &Turn) -> Look<bool>;

    /// Whether its next tool or disturbance may begin. Not asked of what runs already.
    fn may_start(&self, _cx: &Context<'_>, _turn: &Turn) -> Look<Gate> {
        Ok(Gate::Open)
    }

    /// Whether something of it runs that is awaited rather than begun.
    fn runs(&self, _cx: &Context<'_>, _turn: &Turn) -> bool {
        false
    }

    /// What is to be done for it.
    fn act(&self, cx: &Context<'_>, turn: &Turn) -> Look<Next>;

    /// What follows where it has failed for good.
    fn failed(&self) -> Failure {
        Failure::BackOut
    }

    /// Takes it back, where something of it is there: what is to be done first, if anything.
    fn undo(&self, _cx: &Context<'_>, _turn: &Turn) -> Look<()> {
        Ok(())
    }
}

/// In this order they are taken back: first what kubelet starts from; the host is as it was when the node serves again.
pub(crate) const UNDONE_IN_ORDER: [Step; 4] =
    [Step::Applying, Step::Staging, Step::Cordoning, Step::Claiming];

/// The rules of a step.
pub(crate) const fn rules(step: Step) -> &'static dyn Rules {
    match step {
        Step::Claiming => &claim::Claiming,
        Step::Cordoning => &cordon::Cordoning,
        Step::Draining => &drain::Draining,
        Step::Staging => &stage::Staging,
        Step::Applying => &apply::Applying,
        Step::Installing => &install::Installing,
        Step::Restarting => &restart::Restarting,
        Step::Verifying => &verify::Verifying,
        Step::Uncordoning => &uncordon::Uncordoning,
        Step::Releasing => &release::Releasing,
    }
}
