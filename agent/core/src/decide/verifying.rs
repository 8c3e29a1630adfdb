//! Waiting until the node serves at its target, cheapest questions first.

use core::time::Duration;

use crate::act::Act;
use crate::api::{Explanation, Reason};
use crate::judge::service::{Patience, control_plane_lacks, node_lacks, pods_lack, unit_lacks};
use crate::memory::{Stage, Step, Turn, Verdict};

use super::{Context, Next, wait};

/// How often what is not pushed to us is looked at.
const PACE: Duration = Duration::from_secs(1);

pub(super) fn decide(context: &Context<'_>, turn: &Turn) -> Next {
    match lacks(context, turn, PACE) {
        Lacks::Nothing => context.enter(turn, Stage::Returning(Verdict::Done)),
        Lacks::Look(next) => next,
        Lacks::This(lack) if context.now.unix.since(turn.entered) < context.settings.verify_timeout => {
            wait(Reason::Progressing, lack, Some(context.later(PACE)))
        }
        Lacks::This(lack) => {
            let message = format!(
                "the node did not come to serve at {} in {} s: {lack}. Look at journalctl -u kubelet; then set a new \
                 value of the annotation node-upgrade-agent/retry",
                turn.plan.target,
                context.settings.verify_timeout.as_secs()
            );
            let why = Explanation::new(Reason::NotVerified, message);
            context.enter(turn, Stage::Degraded { step: Step::Verifying, why })
        }
    }
}

/// What verification still lacks.
pub(super) enum Lacks {
    /// Nothing: it serves.
    Nothing,
    /// This was seen to be missing.
    This(String),
    /// This has to be looked at first.
    Look(Next),
}

/// What a node at its target still lacks, from observations at most `age` old.
pub(super) fn lacks(context: &Context<'_>, turn: &Turn, age: Duration) -> Lacks {
    let host = match context.host(Some(turn), age) {
        Ok(host) => host,
        Err(look) => return Lacks::Look(look),
    };
    if let Some(lack) = node_lacks(&turn.plan, context.node, host.kubelet.since) {
        // A half-open watch can be quiet for minutes, so what it has not told is read.
        let told = context.is_fresh(context.observed.node_at, age);
        return if told { Lacks::This(lack) } else { Lacks::Look(Next::Do(Act::LookAtNode)) };
    }
    let patience = Patience { soak: context.settings.soak, min_ready: context.observed.policy.min_ready };
    if let Some(lack) = unit_lacks(host, patience, context.now) {
        return Lacks::This(lack);
    }
    if turn.plan.command.is_control_plane() {
        match context.observed.local.as_ref().filter(|local| context.is_fresh(local.at, age)) {
            None => return Lacks::Look(Next::Do(Act::LookAtControlPlane)),
            Some(local) => {
                if let Some(lack) = control_plane_lacks(local) {
                    return Lacks::This(lack);
                }
            }
        }
    }
    match context.observed.pods.as_ref().filter(|pods| context.is_fresh(pods.at, age)) {
        None => Lacks::Look(Next::Do(Act::LookAtPods)),
        Some(pods) => pods_lack(&turn.plan, pods).map_or(Lacks::Nothing, Lacks::This),
    }
}
