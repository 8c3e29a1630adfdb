//! Without a job: announce what runs, find out what can be known, wait for the turn.

use std::collections::BTreeSet;

use crate::act::Act;
use crate::api::{
    Check, Explanation, Holder, JobId, LeaseName, PackageVersion, Reason, Verb, Version, reachable,
};
use crate::judge::claim::{self, Candidate};
use crate::judge::preflight;
use crate::judge::service::static_pods_version;
use crate::memory::{Hop, Job, Memory, Packages, Refusal, Stage, Step, Verdict};
use crate::observed::{Access, Findings, FleetSeen, HostSeen, Ready};
use crate::time::Unix;

use super::{Next, Scene, wait};

/// After this long a preflight no longer says anything about the present.
const FINDINGS_AGE: u64 = 3_600_000;
/// Pause before asking again for what comes right by itself.
const PENDING_PAUSE: u64 = 30_000;
/// Pause after a Lease was given back.
const GAVE_BACK_PAUSE: u64 = 15_000;
/// How old the pods may be from which a control plane's version is announced.
const PODS_AGE: u64 = 60_000;

pub(super) fn decide(scene: &Scene<'_>) -> Next {
    let missing = match &scene.observed.access {
        Access::Usable { .. } => None,
        Access::Missing(why) => Some(Next::Wait { why: why.clone(), until: None }),
    };
    if !scene.memory.known {
        return missing.unwrap_or_else(|| adopt(scene));
    }
    if let Some(next) = announce(scene) {
        return next;
    }
    if let Some(wait) = missing {
        return wait;
    }
    let target = match &scene.request.target {
        None => return forget_or(scene, wait(Reason::Idle, "no target is set", None)),
        Some(Err(error)) => return wait(Reason::InvalidTarget, format!("target: {error}"), None),
        Some(Ok(target)) => *target,
    };
    if scene.node.current == Some(target) {
        return forget_or(scene, wait(Reason::Idle, format!("in service at {target}"), None));
    }
    if let Some(refusal) = standing_refusal(scene) {
        return Next::Wait { why: refusal.why.clone(), until: None };
    }
    if let Some(why) = scene.observed.policy.forbids_claims() {
        return wait(Reason::Paused, why, None);
    }
    if let Some(backoff) = scene.memory.backoff.as_ref().filter(|backoff| backoff.target == target)
        && backoff.until > scene.now.unix
        && backoff.retry == scene.request.retry
    {
        let message = format!("waiting before the next try; the last one: {}", backoff.why.message);
        return wait(Reason::BackingOff, message, Some(scene.moment(backoff.until)));
    }
    prepare(scene, target)
}

/// Writes `current` where it does not say what this node runs in service.
fn announce(scene: &Scene<'_>) -> Option<Next> {
    let node = scene.node;
    let in_service = node.ready == Ready::True && node.cordon_note.is_none();
    let kubelet = node.kubelet.filter(|_| in_service)?;
    if !node.control_plane {
        return (scene.node.current != Some(kubelet)).then_some(Next::Do(Act::Announce { current: kubelet }));
    }
    let Some(pods) = &scene.observed.pods else { return Some(Next::Do(Act::LookAtPods)) };
    let runs = static_pods_version(&pods.pods).map_or(kubelet, |version| version.min(kubelet));
    if scene.node.current == Some(runs) {
        return None;
    }
    let fresh = scene.is_fresh(pods.at, PODS_AGE);
    Some(Next::Do(if fresh { Act::Announce { current: runs } } else { Act::LookAtPods }))
}

/// Drops a refusal and a backoff that no longer answer anything.
fn forget_or(scene: &Scene<'_>, next: Next) -> Next {
    let nothing = scene.memory.refused.is_none() && scene.memory.backoff.is_none();
    if nothing {
        next
    } else {
        Next::Remember(Box::new(Memory { refused: None, backoff: None, ..scene.memory.clone() }))
    }
}

/// The refusal that still answers the request: same target, no new `retry`, same `skip-checks`.
fn standing_refusal<'a>(scene: &'a Scene<'_>) -> Option<&'a Refusal> {
    let refusal = scene.memory.refused.as_ref()?;
    let asked = refusal_for(scene, refusal.why.clone())?;
    (*refusal == asked).then_some(refusal)
}

fn refusal_for(scene: &Scene<'_>, why: Explanation) -> Option<Refusal> {
    let target = scene.request.wanted()?.to_string();
    let skip = scene.request.skip.iter().map(|check| check.word().to_owned()).collect();
    Some(Refusal { target, retry: scene.request.retry.clone(), skip, why })
}

fn refuse(scene: &Scene<'_>, why: Explanation) -> Next {
    let refused = refusal_for(scene, why);
    Next::Remember(Box::new(Memory { refused, backoff: None, ..scene.memory.clone() }))
}

fn prepare(scene: &Scene<'_>, target: Version) -> Next {
    if let Some(Err(why)) =
        scene.node.kubelet.map(|running| reachable(running, target, scene.node.control_plane))
    {
        let message = format!("{}: {target} cannot be reached: {why}", Check::Reachable);
        return refuse(scene, Explanation::new(Reason::PreflightFailed, message));
    }
    let Some(findings) = usable(scene, target) else { return Next::Do(Act::Preflight { target }) };
    match preflight::judge(findings, &scene.request.skip) {
        preflight::Verdict::Refuse { message, .. } => {
            refuse(scene, Explanation::new(Reason::PreflightFailed, message))
        }
        preflight::Verdict::NotYet(message) if scene.is_fresh(findings.at, PENDING_PAUSE) => {
            wait(Reason::PreflightPending, message, Some(findings.at.plus(PENDING_PAUSE + 1)))
        }
        preflight::Verdict::NotYet(_) => Next::Do(Act::Preflight { target }),
        preflight::Verdict::Go { hop, skipped } => match past_target(&hop) {
            Some(why) => refuse(scene, why),
            None => take_turn(scene, *hop, skipped),
        },
    }
}

/// Rule 5: packages that somebody has taken past the target are not taken back.
fn past_target(hop: &Hop) -> Option<Explanation> {
    let installed = [("kubeadm", &hop.from.kubeadm), ("kubelet", &hop.from.kubelet)];
    let past = |version: &PackageVersion| version.kubernetes().is_some_and(|version| version > hop.target);
    let (name, version) = installed.into_iter().find(|(_, version)| past(version))?;
    let message = format!(
        "{}: {name} {version} is installed, which is past the target {}: set the target to that version, or put the \
         package back",
        Check::Reachable,
        hop.target
    );
    Some(Explanation::new(Reason::PreflightFailed, message))
}

/// Findings for this target that still say something.
fn usable<'a>(scene: &'a Scene<'_>, target: Version) -> Option<&'a Findings> {
    let findings = scene.observed.preflight.as_ref()?;
    (findings.target == target && scene.is_fresh(findings.at, FINDINGS_AGE)).then_some(findings)
}

fn take_turn(scene: &Scene<'_>, hop: Hop, skipped: Vec<Check>) -> Next {
    if let Some(at) = scene.since.gave_back.filter(|at| scene.is_fresh(*at, GAVE_BACK_PAUSE)) {
        let until = Some(at.plus(GAVE_BACK_PAUSE + 1));
        return wait(Reason::WaitingForTurn, "gave the Lease back; waiting before the next claim", until);
    }
    let lease = if hop.verb.is_control_plane() { LeaseName::ControlPlane } else { LeaseName::Slot(0) };
    let who = candidate(scene, lease, &hop);
    let awaits = scene.observed.turn.as_ref().is_none_or(|turn| claim::may_claim(who, turn).is_some());
    if awaits {
        return Next::Do(Act::AwaitTurn);
    }
    let host = match scene.host(None, PODS_AGE) {
        Ok(host) => host,
        Err(look) => return look,
    };
    let since = scene.now.unix;
    let holder = Holder {
        node: scene.settings.node.clone(),
        uid: scene.node.uid.clone(),
        job: JobId::new(hop.target, since),
    };
    let job = Job {
        holder,
        lease,
        hop,
        stage: Stage::Clearing { disturbed: None },
        tries: 0,
        runs: 0,
        entered: since,
        not_before: Unix::default(),
        skipped: skipped.into_iter().collect(),
        retry: scene.request.retry.clone(),
        since,
    };
    let held =
        host.packages.iter().filter(|(_, package)| package.held).map(|(name, _)| name.clone()).collect();
    Next::Remember(Box::new(Memory { job: Some(job), refused: None, held, ..scene.memory.clone() }))
}

/// This node as a candidate for its Lease.
pub(super) fn candidate<'a>(scene: &'a Scene<'_>, lease: LeaseName, hop: &Hop) -> Candidate<'a> {
    Candidate { node: &scene.settings.node, lease, target: hop.target, drains: scene.settings.drain.enabled }
}

/// A journal that is new or was lost: find out whether a Lease or a cordon of ours says that there was a job.
fn adopt(scene: &Scene<'_>) -> Next {
    let Some(fleet) = &scene.observed.fleet else { return Next::Do(Act::LookAtFleet) };
    let host = match scene.host(None, u64::MAX) {
        Ok(host) => host,
        Err(look) => return look,
    };
    let job = left_over(scene, fleet).and_then(|(lease, holder)| orphan(scene, host, lease, holder));
    Next::Remember(Box::new(Memory { known: true, job, ..scene.memory.clone() }))
}

fn left_over(scene: &Scene<'_>, fleet: &FleetSeen) -> Option<(LeaseName, Holder)> {
    let ours = |holder: &Holder| holder.node == scene.settings.node && holder.uid == scene.node.uid;
    let held = fleet.leases.iter().find_map(|lease| {
        let holder = lease.holder.as_deref().and_then(Holder::parse).filter(ours)?;
        Some((lease.name, holder))
    });
    let lease = if scene.node.control_plane { LeaseName::ControlPlane } else { LeaseName::Slot(0) };
    let unnamed = Holder {
        node: scene.settings.node.clone(),
        uid: scene.node.uid.clone(),
        job: JobId("lost".to_owned()),
    };
    held.or_else(|| scene.node.cordon_note.map(|_| (lease, unnamed)))
}

/// A job that nobody remembers: degraded, which ends by itself where the node is found Ready at its target.
fn orphan(scene: &Scene<'_>, host: &HostSeen, lease: LeaseName, holder: Holder) -> Option<Job> {
    let installed = Packages {
        kubeadm: host.version("kubeadm")?.clone(),
        kubelet: host.version("kubelet")?.clone(),
        kubectl: host.version("kubectl").cloned(),
    };
    let target = scene.request.wanted().or_else(|| installed.kubelet.kubernetes()).or(scene.node.kubelet)?;
    let verb = if host.control_plane { Verb::Apply } else { Verb::NodeWorker };
    let hop = Hop {
        from: installed.clone(),
        to: installed,
        verb,
        target,
        way_back: false,
        daemon_sets: BTreeSet::new(),
        csi_drivers: BTreeSet::new(),
    };
    let message = "the journal was lost in the middle of an upgrade: check the node, then set a new value of the \
                   annotation node-upgrade-agent/retry, or bring the node to its target by hand";
    let why = Explanation::new(Reason::JournalLost, message);
    // Without our cordon nothing is disturbed: either it was not yet, or not any more.
    let stage = match scene.node.cordon_note {
        Some(_) => Stage::Degraded { step: Step::Installing, why },
        None => Stage::Returning(Verdict::BackedOut(why)),
    };
    Some(Job {
        holder,
        lease,
        hop,
        stage,
        tries: 0,
        runs: 0,
        entered: scene.now.unix,
        not_before: Unix::default(),
        skipped: BTreeSet::new(),
        retry: scene.request.retry.clone(),
        since: scene.now.unix,
    })
}
