//! Stopped, cordoned, the Lease held and marked. Three ways out: `retry`, a new target, or being found Ready at
//! the target, whoever repaired it (rule 9).

use core::time::Duration;

use crate::act::Act;
use crate::api::{Explanation, Reason};
use crate::judge::preflight;
use crate::memory::{Direction, Stage, Step, Turn, Verdict};

use super::verifying::{Lacks, lacks};
use super::{Context, Next, Proof};

/// How often a degraded node is looked at.
const PACE: Duration = Duration::from_secs(30);
/// How often its Lease is renewed with the mark.
const HEARTBEAT: Duration = Duration::from_mins(1);

pub(super) fn decide(context: &Context<'_>, turn: &Turn, step: &Step, why: &Explanation) -> Next {
    // First of all the mark, which halts other claims.
    if let Proof::Ask(renew) = context.proof(turn, HEARTBEAT) {
        return renew;
    }
    if context.request.retry.is_some() && context.request.retry != turn.retry {
        let again = Turn { retry: context.request.retry.clone(), ..turn.clone() };
        return context.step(&again, again_from(step));
    }
    if let Some(target) = context.request.wanted().filter(|target| *target != turn.plan.target) {
        return replan(context, turn, target, why);
    }
    if context.node.kubelet == Some(turn.plan.target) && context.node.ready == crate::observed::Ready::True {
        match lacks(context, turn, PACE) {
            Lacks::Nothing => return context.enter(turn, Stage::Returning(Verdict::Done)),
            Lacks::Look(next) => return next,
            Lacks::This(_) => {}
        }
    }
    Next::Wait { why: why.clone(), until: Some(context.later(PACE)) }
}

/// Verification that failed is repeated from the packages on, because a person may have changed anything.
fn again_from(step: &Step) -> Step {
    match step {
        Step::Staging => Step::Staging,
        Step::Applying => Step::Applying,
        Step::Installing | Step::Restarting { .. } | Step::Verifying => Step::Installing,
    }
}

/// A new target while degraded: preflight for it, then from the start of the changes with the Lease still held.
fn replan(context: &Context<'_>, turn: &Turn, target: crate::api::Version, why: &Explanation) -> Next {
    let Some(findings) = context.observed.preflight.as_ref().filter(|found| found.target == target) else {
        return Next::Do(Act::Preflight { target });
    };
    match preflight::judge(findings, &context.request.skip) {
        preflight::Verdict::Go { plan, skipped } => {
            let command = turn.plan.command;
            let planned = Turn {
                plan: crate::memory::Plan { command, ..*plan },
                skipped: skipped.into_iter().collect(),
                ..turn.clone()
            };
            context.enter(&planned, Stage::Changing { step: Step::Staging, direction: Direction::Forward })
        }
        preflight::Verdict::Refuse { message, .. } => {
            let message = format!("{}; the new target {target} is refused: {message}", why.message);
            Next::Wait {
                why: Explanation::new(Reason::PreflightFailed, message),
                until: Some(context.later(PACE)),
            }
        }
        preflight::Verdict::NotYet(_) if !context.is_fresh(findings.at, PACE) => {
            Next::Do(Act::Preflight { target })
        }
        preflight::Verdict::NotYet(message) => {
            let message = format!("{}; the new target {target} waits: {message}", why.message);
            Next::Wait {
                why: Explanation::new(Reason::PreflightPending, message),
                until: Some(context.later(PACE)),
            }
        }
    }
}
