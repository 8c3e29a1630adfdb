//! Stopped, cordoned, the Lease held and marked. Three ways out: `retry`, a new target, or being found Ready at
//! the target, whoever repaired it (rule 9).

use crate::act::Act;
use crate::api::{Explanation, Reason};
use crate::judge::preflight;
use crate::memory::{Job, Stage, Step, Verdict, Way};

use super::verifying::{Lacks, lacks};
use super::{Next, Proof, Scene};

/// How often a degraded node is looked at, in milliseconds.
const PACE: u64 = 30_000;
/// How often its Lease is renewed with the mark, in milliseconds.
const HEARTBEAT: u64 = 60_000;

pub(super) fn decide(scene: &Scene<'_>, job: &Job, step: &Step, why: &Explanation) -> Next {
    // First of all the mark, which halts other claims.
    if let Proof::Ask(renew) = scene.proof(job, HEARTBEAT) {
        return renew;
    }
    if scene.request.retry.is_some() && scene.request.retry != job.retry {
        let again = Job { retry: scene.request.retry.clone(), ..job.clone() };
        return scene.step(&again, again_from(step));
    }
    if let Some(target) = scene.request.wanted().filter(|target| *target != job.hop.target) {
        return replan(scene, job, target, why);
    }
    if scene.node.kubelet == Some(job.hop.target) && scene.node.ready == crate::observed::Ready::True {
        match lacks(scene, job, PACE) {
            Lacks::Nothing => return scene.enter(job, Stage::Returning(Verdict::Done)),
            Lacks::Look(next) => return next,
            Lacks::This(_) => {}
        }
    }
    Next::Wait { why: why.clone(), until: Some(scene.in_millis(PACE)) }
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
fn replan(scene: &Scene<'_>, job: &Job, target: crate::api::Version, why: &Explanation) -> Next {
    let Some(findings) = scene.observed.preflight.as_ref().filter(|found| found.target == target) else {
        return Next::Do(Act::Preflight { target });
    };
    match preflight::judge(findings, &scene.request.skip) {
        preflight::Verdict::Go { hop, skipped } => {
            let verb = job.hop.verb;
            let planned = Job {
                hop: crate::memory::Hop { verb, ..*hop },
                skipped: skipped.into_iter().collect(),
                ..job.clone()
            };
            scene.enter(&planned, Stage::Changing { step: Step::Staging, way: Way::Forward })
        }
        preflight::Verdict::Refuse { message, .. } => {
            let message = format!("{}; the new target {target} is refused: {message}", why.message);
            Next::Wait {
                why: Explanation::new(Reason::PreflightFailed, message),
                until: Some(scene.in_millis(PACE)),
            }
        }
        preflight::Verdict::NotYet(_) if !scene.is_fresh(findings.at, PACE) => {
            Next::Do(Act::Preflight { target })
        }
        preflight::Verdict::NotYet(message) => {
            let message = format!("{}; the new target {target} waits: {message}", why.message);
            Next::Wait {
                why: Explanation::new(Reason::PreflightPending, message),
                until: Some(scene.in_millis(PACE)),
            }
        }
    }
}
