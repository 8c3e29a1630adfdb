//! Taking the Lease, cordoning, draining. Nothing on the host has changed yet.

use crate::act::Act;
use crate::api::{Explanation, Reason, Verb, Version};
use crate::judge::claim::{self, ClaimStanding};
use crate::judge::cordon::is_cordoned_by_us;
use crate::memory::{Hop, Job, Memory, Stage, Step, Verdict};
use crate::observed::{DrainState, FleetSeen, LeaseSeen, Observed};
use crate::time::{Mono, Unix};

use super::changing::is_installed;
use super::idle::candidate;
use super::{Next, PROOF, PROOF_WHILE_DRAINING, Proof, Scene, lease_lost, renew};

/// How old the consistent read may be on which a cordon rests.
const FLEET_AGE: u64 = 10_000;

pub(super) fn decide(scene: &Scene<'_>, job: &Job, disturbed: Option<Unix>) -> Next {
    if let Some(cancelled) = scene.cancelled(job) {
        return back_out(scene, job, cancelled);
    }
    let cordoned = scene.node.cordon_note.is_some();
    match &scene.observed.lease {
        None => Next::Do(renew(job)),
        Some(LeaseSeen::Free | LeaseSeen::Other(_)) if cordoned => back_out(scene, job, lease_lost(job)),
        Some(LeaseSeen::Free) if is_prepared(scene, job) => {
            Next::Do(Act::Claim { lease: job.lease, holder: job.holder.clone() })
        }
        Some(LeaseSeen::Free | LeaseSeen::Other(_)) => forget(scene),
        Some(LeaseSeen::Held { job: held, .. }) if *held != job.holder.job => Next::Do(renew(job)),
        Some(LeaseSeen::Held { at, .. }) => match disturbed {
            Some(since) if cordoned => drain(scene, job, since),
            _ => may_cordon(scene, job, *at, disturbed),
        },
    }
}

/// Whether preflight for this job's target was made in this life of the agent.
fn is_prepared(scene: &Scene<'_>, job: &Job) -> bool {
    scene.observed.preflight.as_ref().is_some_and(|findings| findings.target == job.hop.target)
}

/// The claim was lost, or what preflight found is gone with the agent's last life: nothing was touched, begin anew.
fn forget(scene: &Scene<'_>) -> Next {
    Next::Remember(Box::new(Memory { job: None, ..scene.memory.clone() }))
}

fn back_out(scene: &Scene<'_>, job: &Job, why: Explanation) -> Next {
    scene.enter(job, Stage::Returning(Verdict::BackedOut(why)))
}

/// Between claim and cordon: the fleet on a consistent read, the host once more.
fn may_cordon(scene: &Scene<'_>, job: &Job, claimed: Mono, disturbed: Option<Unix>) -> Next {
    let host = match scene.host(Some(job), FLEET_AGE) {
        Ok(host) => host,
        Err(look) => return look,
    };
    let from = &job.hop.from;
    let as_found = is_installed(host, "kubeadm", &from.kubeadm)
        && is_installed(host, "kubelet", &from.kubelet)
        && !host.dpkg_interrupted;
    if !as_found {
        let message = "packages changed, or dpkg was interrupted, between preflight and cordon";
        return back_out(scene, job, Explanation::new(Reason::PreflightPending, message));
    }
    let local = scene.observed.local.as_ref().filter(|local| scene.is_fresh(local.at, FLEET_AGE));
    if job.hop.verb.is_control_plane() && local.is_none() {
        return Next::Do(Act::LookAtControlPlane);
    }
    let Some(fleet) = scene
        .observed
        .fleet
        .as_ref()
        .filter(|fleet| fleet.at >= claimed && scene.is_fresh(fleet.at, FLEET_AGE))
    else {
        return Next::Do(Act::LookAtFleet);
    };
    match claim::claim_stands(candidate(scene, job.lease, &job.hop), &job.holder, fleet, local) {
        ClaimStanding::Holds if disturbed.is_none() => {
            if let Some(why) = cluster_is_past(fleet, job) {
                return back_out(scene, job, why);
            }
            let verb = verb(job.hop.verb, fleet, job.hop.target);
            let decided = Job { hop: Hop { verb, ..job.hop.clone() }, ..job.clone() };
            scene.enter(&decided, Stage::Clearing { disturbed: Some(scene.now.unix) })
        }
        ClaimStanding::Holds => match scene.proof(job, PROOF) {
            Proof::Ours => Next::Do(Act::Cordon),
            Proof::Ask(renew) => renew,
            Proof::Lost => back_out(scene, job, lease_lost(job)),
        },
        ClaimStanding::KeepAndWait(why) => Next::Wait { why, until: Some(fleet.at.plus(FLEET_AGE + 1)) },
        ClaimStanding::GiveBack(why) => back_out(scene, job, why),
    }
}

/// kubeadm-config past a control plane's target: `apply` would take it back, and `node` would go past the target.
fn cluster_is_past(fleet: &FleetSeen, job: &Job) -> Option<Explanation> {
    let (named, target) = (fleet.kubeadm_config?, job.hop.target);
    (job.hop.verb.is_control_plane() && named > target).then(|| {
        let message = format!(
            "ConfigMap kube-system/kubeadm-config names {named}, which another control-plane node has applied: set the \
             target {target} of this node to {named}"
        );
        Explanation::new(Reason::PreflightFailed, message)
    })
}

/// The first control-plane node of a version runs `apply`, which writes kubeadm-config; the others run `node`
/// (rule 3). Decided once, with the control plane's Lease in hand and before anything is touched: earlier another
/// node may still be first, later the answer would be wrong.
fn verb(planned: Verb, fleet: &FleetSeen, target: Version) -> Verb {
    match planned {
        Verb::NodeWorker => Verb::NodeWorker,
        Verb::Apply | Verb::NodeControlPlane if fleet.kubeadm_config == Some(target) => {
            Verb::NodeControlPlane
        }
        Verb::Apply | Verb::NodeControlPlane => Verb::Apply,
    }
}

fn drain(scene: &Scene<'_>, job: &Job, since: Unix) -> Next {
    if !is_cordoned_by_us(scene.node) {
        return Next::Do(Act::Cordon);
    }
    let age = if drains(scene.observed) { PROOF_WHILE_DRAINING } else { PROOF };
    match scene.proof(job, age) {
        Proof::Ours => {}
        Proof::Ask(renew) => return renew,
        Proof::Lost => return back_out(scene, job, lease_lost(job)),
    }
    match scene.observed.drain.as_ref().map(|drain| (&drain.state, drain.at)) {
        Some((DrainState::Drained, at)) if scene.is_fresh(at, PROOF) => scene.step(job, Step::Staging),
        Some((DrainState::GivenUp(why), _)) => back_out(scene, job, why.clone()),
        Some((DrainState::Draining | DrainState::Drained, _)) | None => {
            let options = scene.settings.drain.clone();
            let until = Unix(since.0.saturating_add(options.timeout));
            Next::Do(Act::Drain { options, until })
        }
    }
}

fn drains(observed: &Observed) -> bool {
    observed.drain.as_ref().is_some_and(|drain| drain.state == DrainState::Draining)
}
