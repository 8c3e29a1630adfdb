//! Without a turn: publish what runs, find out what can be known, wait for the Lease.

use core::time::Duration;
use std::collections::BTreeSet;

use crate::act::Act;
use crate::api::{
    Check, Explanation, Holder, KubeadmCommand, LeaseName, PackageVersion, Reason, TurnId, Version, reachable,
};
use crate::judge::claim::{self, Candidate};
use crate::judge::preflight;
use crate::judge::service::static_pods_version;
use crate::memory::{Memory, Packages, Plan, Refusal, Stage, Step, Turn, Verdict};
use crate::observed::{Access, Findings, FleetSeen, HostSeen, Ready};
use crate::time::Unix;

use super::{Context, GRAIN, Next, wait};

/// After this long a preflight no longer says anything about the present.
const FINDINGS_AGE: Duration = Duration::from_hours(1);
/// Pause before asking again for what comes right by itself.
const PENDING_PAUSE: Duration = Duration::from_secs(30);
/// Pause after a Lease was given back.
const GAVE_BACK_PAUSE: Duration = Duration::from_secs(15);
/// How old the pods may be from which a control plane's version is announced.
const PODS_AGE: Duration = Duration::from_mins(1);

pub(super) fn decide(context: &Context<'_>) -> Next {
    let missing = match &context.observed.access {
        Access::Usable { .. } => None,
        Access::Missing(why) => Some(Next::Wait { why: why.clone(), until: None }),
    };
    if !context.memory.known {
        return missing.unwrap_or_else(|| adopt(context));
    }
    if let Some(next) = publish_current(context) {
        return next;
    }
    if let Some(wait) = missing {
        return wait;
    }
    let target = match &context.request.target {
        None => return forget_or(context, wait(Reason::Idle, "no target is set", None)),
        Some(Err(error)) => return wait(Reason::InvalidTarget, format!("target: {error}"), None),
        Some(Ok(target)) => *target,
    };
    if context.node.current == Some(target) {
        return forget_or(context, wait(Reason::Idle, format!("in service at {target}"), None));
    }
    if let Some(refusal) = standing_refusal(context) {
        return Next::Wait { why: refusal.why.clone(), until: None };
    }
    if let Some(why) = context.observed.policy.forbids_claims() {
        return wait(Reason::Paused, why, None);
    }
    if let Some(backoff) = context.memory.backoff.as_ref().filter(|backoff| backoff.target == target)
        && backoff.until > context.now.unix
        && backoff.retry == context.request.retry
    {
        let message = format!("waiting before the next try; the last one: {}", backoff.why.message);
        return wait(Reason::BackingOff, message, Some(context.moment(backoff.until)));
    }
    prepare(context, target)
}

/// Writes `current` where it does not say what this node runs in service.
fn publish_current(context: &Context<'_>) -> Option<Next> {
    let node = context.node;
    let in_service = node.ready == Ready::True && node.cordon_note.is_none();
    let kubelet = node.kubelet.filter(|_| in_service)?;
    if !node.control_plane {
        return (context.node.current != Some(kubelet))
            .then_some(Next::Do(Act::PublishCurrent { current: kubelet }));
    }
    let Some(pods) = &context.observed.pods else { return Some(Next::Do(Act::LookAtPods)) };
    let runs = static_pods_version(&pods.pods).map_or(kubelet, |version| version.min(kubelet));
    if context.node.current == Some(runs) {
        return None;
    }
    let fresh = context.is_fresh(pods.at, PODS_AGE);
    Some(Next::Do(if fresh { Act::PublishCurrent { current: runs } } else { Act::LookAtPods }))
}

/// Drops a refusal and a backoff that no longer answer anything.
fn forget_or(context: &Context<'_>, next: Next) -> Next {
    let nothing = context.memory.refused.is_none() && context.memory.backoff.is_none();
    if nothing {
        next
    } else {
        Next::Remember(Box::new(Memory { refused: None, backoff: None, ..context.memory.clone() }))
    }
}

/// The refusal that still answers the request: same target, no new `retry`, same `skip-checks`.
fn standing_refusal<'a>(context: &'a Context<'_>) -> Option<&'a Refusal> {
    let refusal = context.memory.refused.as_ref()?;
    let asked = refusal_for(context, refusal.why.clone())?;
    (*refusal == asked).then_some(refusal)
}

fn refusal_for(context: &Context<'_>, why: Explanation) -> Option<Refusal> {
    let target = context.request.wanted()?.to_string();
    let skip = context.request.skip.iter().map(|check| check.word().to_owned()).collect();
    Some(Refusal { target, retry: context.request.retry.clone(), skip, why })
}

fn refuse(context: &Context<'_>, why: Explanation) -> Next {
    let refused = refusal_for(context, why);
    Next::Remember(Box::new(Memory { refused, backoff: None, ..context.memory.clone() }))
}

fn prepare(context: &Context<'_>, target: Version) -> Next {
    if let Some(Err(why)) =
        context.node.kubelet.map(|running| reachable(running, target, context.node.control_plane))
    {
        let message = format!("{}: {target} cannot be reached: {why}", Check::Reachable);
        return refuse(context, Explanation::new(Reason::PreflightFailed, message));
    }
    let Some(findings) = usable(context, target) else { return Next::Do(Act::Preflight { target }) };
    match preflight::judge(findings, &context.request.skip) {
        preflight::Verdict::Refuse { message, .. } => {
            refuse(context, Explanation::new(Reason::PreflightFailed, message))
        }
        preflight::Verdict::NotYet(message) if context.is_fresh(findings.at, PENDING_PAUSE) => {
            wait(Reason::PreflightPending, message, Some(findings.at.plus(PENDING_PAUSE + GRAIN)))
        }
        preflight::Verdict::NotYet(_) => Next::Do(Act::Preflight { target }),
        preflight::Verdict::Go { plan, skipped } => match past_target(&plan) {
            Some(why) => refuse(context, why),
            None => take_turn(context, *plan, skipped),
        },
    }
}

/// Rule 5: packages that somebody has taken past the target are not taken back.
fn past_target(plan: &Plan) -> Option<Explanation> {
    let installed = [("kubeadm", &plan.from.kubeadm), ("kubelet", &plan.from.kubelet)];
    let past = |version: &PackageVersion| version.kubernetes().is_some_and(|version| version > plan.target);
    let (name, version) = installed.into_iter().find(|(_, version)| past(version))?;
    let message = format!(
        "{}: {name} {version} is installed, which is past the target {}: set the target to that version, or put the \
         package back",
        Check::Reachable,
        plan.target
    );
    Some(Explanation::new(Reason::PreflightFailed, message))
}

/// Findings for this target that still say something.
fn usable<'a>(context: &'a Context<'_>, target: Version) -> Option<&'a Findings> {
    let findings = context.observed.preflight.as_ref()?;
    (findings.target == target && context.is_fresh(findings.at, FINDINGS_AGE)).then_some(findings)
}

fn take_turn(context: &Context<'_>, plan: Plan, skipped: Vec<Check>) -> Next {
    if let Some(at) = context.since.gave_back.filter(|at| context.is_fresh(*at, GAVE_BACK_PAUSE)) {
        let until = Some(at.plus(GAVE_BACK_PAUSE + GRAIN));
        return wait(Reason::WaitingForTurn, "gave the Lease back; waiting before the next claim", until);
    }
    let lease = if plan.command.is_control_plane() { LeaseName::ControlPlane } else { LeaseName::Slot(0) };
    let who = candidate(context, lease, &plan);
    let awaits = context.observed.turn.as_ref().is_none_or(|turn| claim::may_claim(who, turn).is_some());
    if awaits {
        return Next::Do(Act::AwaitTurn);
    }
    let host = match context.host(None, PODS_AGE) {
        Ok(host) => host,
        Err(look) => return look,
    };
    let since = context.now.unix;
    let holder = Holder {
        node: context.settings.node.clone(),
        uid: context.node.uid.clone(),
        turn: TurnId::new(plan.target, since),
    };
    let turn = Turn {
        holder,
        lease,
        plan,
        stage: Stage::Clearing { disturbed: None },
        attempts: 0,
        unit_serial: 0,
        entered: since,
        not_before: Unix::default(),
        skipped: skipped.into_iter().collect(),
        retry: context.request.retry.clone(),
        since,
    };
    let held =
        host.packages.iter().filter(|(_, package)| package.held).map(|(name, _)| name.clone()).collect();
    Next::Remember(Box::new(Memory { turn: Some(turn), refused: None, held, ..context.memory.clone() }))
}

/// This node as a candidate for its Lease.
pub(super) fn candidate<'a>(context: &'a Context<'_>, lease: LeaseName, plan: &Plan) -> Candidate<'a> {
    Candidate {
        node: &context.settings.node,
        lease,
        target: plan.target,
        drains: context.settings.drain.enabled,
    }
}

/// A journal that is new or was lost: find out whether a Lease or a cordon of ours says that there was a turn.
fn adopt(context: &Context<'_>) -> Next {
    let Some(fleet) = &context.observed.fleet else { return Next::Do(Act::LookAtFleet) };
    let host = match context.host(None, Duration::MAX) {
        Ok(host) => host,
        Err(look) => return look,
    };
    let turn = left_over(context, fleet).and_then(|(lease, holder)| orphan(context, host, lease, holder));
    Next::Remember(Box::new(Memory { known: true, turn, ..context.memory.clone() }))
}

fn left_over(context: &Context<'_>, fleet: &FleetSeen) -> Option<(LeaseName, Holder)> {
    let ours = |holder: &Holder| holder.node == context.settings.node && holder.uid == context.node.uid;
    let held = fleet.leases.iter().find_map(|lease| {
        let holder = lease.holder.as_deref().and_then(Holder::parse).filter(ours)?;
        Some((lease.name, holder))
    });
    let lease = if context.node.control_plane { LeaseName::ControlPlane } else { LeaseName::Slot(0) };
    let unnamed = Holder {
        node: context.settings.node.clone(),
        uid: context.node.uid.clone(),
        turn: TurnId("lost".to_owned()),
    };
    held.or_else(|| context.node.cordon_note.map(|_| (lease, unnamed)))
}

/// A turn that nobody remembers: degraded, which ends by itself where the node is found Ready at its target.
fn orphan(context: &Context<'_>, host: &HostSeen, lease: LeaseName, holder: Holder) -> Option<Turn> {
    let installed = Packages {
        kubeadm: host.version("kubeadm")?.clone(),
        kubelet: host.version("kubelet")?.clone(),
        kubectl: host.version("kubectl").cloned(),
    };
    let target =
        context.request.wanted().or_else(|| installed.kubelet.kubernetes()).or(context.node.kubelet)?;
    let command = if host.control_plane { KubeadmCommand::Apply } else { KubeadmCommand::NodeWorker };
    let plan = Plan {
        from: installed.clone(),
        to: installed,
        command,
        target,
        can_restore_packages: false,
        daemon_sets: BTreeSet::new(),
        csi_drivers: BTreeSet::new(),
    };
    let message = "the journal was lost in the middle of an upgrade: check the node, then set a new value of the \
                   annotation node-upgrade-agent/retry, or bring the node to its target by hand";
    let why = Explanation::new(Reason::JournalLost, message);
    // Without our cordon nothing is disturbed: either it was not yet, or not any more.
    let stage = match context.node.cordon_note {
        Some(_) => Stage::Degraded { step: Step::Installing, why },
        None => Stage::Returning(Verdict::BackedOut(why)),
    };
    Some(Turn {
        holder,
        lease,
        plan,
        stage,
        attempts: 0,
        unit_serial: 0,
        entered: context.now.unix,
        not_before: Unix::default(),
        skipped: BTreeSet::new(),
        retry: context.request.retry.clone(),
        since: context.now.unix,
    })
}
