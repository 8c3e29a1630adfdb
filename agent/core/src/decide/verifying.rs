//! Waiting until the node serves at its target, cheapest questions first.

use crate::act::Act;
use crate::api::{Explanation, Reason};
use crate::judge::service::{Patience, control_plane_lacks, node_lacks, pods_lack, unit_lacks};
use crate::memory::{Job, Stage, Step, Verdict};

use super::{Next, Scene, wait};

/// How often what is not pushed to us is looked at, in milliseconds.
const PACE: u64 = 1_000;

pub(super) fn decide(scene: &Scene<'_>, job: &Job) -> Next {
    match lacks(scene, job, PACE) {
        Lacks::Nothing => scene.enter(job, Stage::Returning(Verdict::Done)),
        Lacks::Look(next) => next,
        Lacks::This(lack) if scene.now.unix.since(job.entered) < scene.settings.verify_timeout => {
            wait(Reason::Progressing, lack, Some(scene.in_millis(PACE)))
        }
        Lacks::This(lack) => {
            let message = format!(
                "the node did not come to serve at {} in {} s: {lack}. Look at journalctl -u kubelet; then set a new \
                 value of the annotation node-upgrade-agent/retry",
                job.hop.target, scene.settings.verify_timeout
            );
            let why = Explanation::new(Reason::NotVerified, message);
            scene.enter(job, Stage::Degraded { step: Step::Verifying, why })
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

/// What a node at its target still lacks, from observations at most `age` milliseconds old.
pub(super) fn lacks(scene: &Scene<'_>, job: &Job, age: u64) -> Lacks {
    let host = match scene.host(Some(job), age) {
        Ok(host) => host,
        Err(look) => return Lacks::Look(look),
    };
    if let Some(lack) = node_lacks(&job.hop, scene.node, host.kubelet.since) {
        // A half-open watch can be quiet for minutes, so what it has not told is read.
        let told = scene.is_fresh(scene.observed.node_at, age);
        return if told { Lacks::This(lack) } else { Lacks::Look(Next::Do(Act::LookAtNode)) };
    }
    let patience = Patience { soak: scene.settings.soak, min_ready: scene.observed.policy.min_ready_seconds };
    if let Some(lack) = unit_lacks(host, patience, scene.now) {
        return Lacks::This(lack);
    }
    if job.hop.verb.is_control_plane() {
        match scene.observed.local.as_ref().filter(|local| scene.is_fresh(local.at, age)) {
            None => return Lacks::Look(Next::Do(Act::LookAtControlPlane)),
            Some(local) => {
                if let Some(lack) = control_plane_lacks(local) {
                    return Lacks::This(lack);
                }
            }
        }
    }
    match scene.observed.pods.as_ref().filter(|pods| scene.is_fresh(pods.at, age)) {
        None => Lacks::Look(Next::Do(Act::LookAtPods)),
        Some(pods) => pods_lack(&job.hop, pods).map_or(Lacks::Nothing, Lacks::This),
    }
}
