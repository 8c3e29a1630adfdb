//! What comes next for a node without a turn: nothing, a refusal, a wait whose reason stands all the time, or a turn.

use std::time::Duration;

use super::Next;
use super::context::{Context, Look, START_AGE, wait};
use crate::act::Act;
use crate::api::Check;
use crate::api::TurnKind;
use crate::api::Version;
use crate::api::{Explanation, Reason};
use crate::api::{Holder, TurnId};
use crate::backoff::Pauses;
use crate::judge::claim::{BarKind, bars_claim};
use crate::judge::next_turn::{NextTurn, Runs, next_turn};
use crate::judge::preflight::{Verdict, judge};
use crate::judge::service::daemon_sets;
use crate::memory::Memory;
use crate::memory::Plan;
use crate::memory::Refusal;
use crate::memory::{Direction, Step, Turn};
use crate::observed::Findings;
use crate::observed::FleetSeen;
use crate::time::{Mono, NotBefore, Stopwatch};

/// After this long a preflight no longer says anything about the present.
const FINDINGS_AGE: Duration = Duration::from_hours(1);
/// The first and the last pause between two looks at what is waited for; in between they grow with the time waited.
const FIRST_PAUSE: Duration = Duration::from_secs(15);
const LAST_PAUSE: Duration = Duration::from_mins(5);

/// Kubelets compare their Node and pods with what is stored every ten seconds; agents do so as often.
const TOLD_AGAIN: Duration = Duration::from_mins(1);

/// Between two claims that led to nothing; different for each node, so that two that gave way to each other do not meet again.
const GAVE_WAY: Pauses = Pauses { first: Duration::from_secs(15), factor: 2, cap: LAST_PAUSE };

fn gave_way_pause(count: u32, node: &str) -> Duration {
    let hash = node.bytes().fold(0_u64, |hash, byte| hash.wrapping_mul(31).wrapping_add(byte.into()));
    GAVE_WAY.after(count) + Duration::from_millis(hash % 10_000)
}

pub(super) fn decide(cx: &Context<'_>) -> Look<Next> {
    let target = match &cx.node.request.target {
        None => return Ok(forget_or(cx, wait(Reason::Idle, "no target is set", None))),
        Some(Err(error)) => return Ok(wait(Reason::InvalidTarget, format!("target: {error}"), None)),
        Some(Ok(target)) => *target,
    };
    if let Some(refusal) = standing_refusal(cx) {
        // Somebody may have upgraded it by hand meanwhile.
        let there = cx.node.kubelet == Some(target);
        if !there || next(cx, LAST_PAUSE)? != NextTurn::Nothing {
            let until = there.then(|| cx.in_(LAST_PAUSE));
            return Ok(Next::Wait { why: refusal.why.clone(), until });
        }
    }
    if cx.memory.refused.is_some() {
        // Whoever asks for the same again after something else asks anew.
        return Ok(Next::Remember(Box::new(Memory { refused: None, ..cx.memory.clone() })));
    }
    if cx.node.current == Some(target) && next(cx, Duration::MAX)? == NextTurn::Nothing {
        return Ok(forget_or(cx, wait(Reason::Idle, format!("in service at {target}"), None)));
    }
    let pause = pause(cx);
    match next(cx, pause)? {
        NextTurn::Nothing => Ok(forget_or(cx, wait(Reason::Idle, format!("in service at {target}"), None))),
        NextTurn::Refused(why) => Ok(refuse(cx, why)),
        NextTurn::Pending(why) => Ok(Next::Wait { why, until: Some(cx.in_(pause)) }),
        NextTurn::Turn(kind) => prepare(cx, target, kind),
    }
}

/// How old may be what a waiting node knows: the longer it has waited for one reason, the more seldom it looks.
fn pause(cx: &Context<'_>) -> Duration {
    cx.since.waited(cx.now).clamp(FIRST_PAUSE, LAST_PAUSE)
}

/// The same for a whole preflight, which asks much.
fn preflight_pause(cx: &Context<'_>) -> Duration {
    (cx.since.waited(cx.now) / 2).clamp(FIRST_PAUSE, 2 * LAST_PAUSE)
}

/// The turn that comes next, from what was seen at most `age` ago.
pub(super) fn next(cx: &Context<'_>, age: Duration) -> Look<NextTurn> {
    let Some(target) = cx.node.request.wanted() else { return Ok(NextTurn::Nothing) };
    let host = cx.host(age)?;
    let pods = if host.control_plane { cx.pods(age)?.pods.as_slice() } else { &[] };
    let kubeadm_config = cx.fleet(age)?.kubeadm_config;
    Ok(next_turn(&Runs { node: cx.node, host, pods, kubeadm_config }, target))
}

/// Drops a refusal and a backoff that no longer answer anything.
fn forget_or(cx: &Context<'_>, next: Next) -> Next {
    if cx.memory.refused.is_none() && cx.memory.backoff.is_none() {
        return next;
    }
    Next::Remember(Box::new(Memory { refused: None, backoff: None, ..cx.memory.clone() }))
}

/// The refusal that still answers the request: same target, no new `retry`, same `skip-checks`.
fn standing_refusal<'a>(cx: &Context<'a>) -> Option<&'a Refusal> {
    let refusal = cx.memory.refused.as_ref()?;
    let asked = refusal_for(cx, refusal.why.clone())?;
    let retried = asked.retry.is_some() && asked.retry != refusal.retry;
    (refusal.target == asked.target && refusal.skip == asked.skip && !retried).then_some(refusal)
}

fn refusal_for(cx: &Context<'_>, why: Explanation) -> Option<Refusal> {
    let target = cx.node.request.wanted()?.to_string();
    let skip = cx.node.request.skip.iter().map(|check| check.word().to_owned()).collect();
    Some(Refusal { target, retry: cx.node.request.retry.clone(), skip, why })
}

fn refuse(cx: &Context<'_>, why: Explanation) -> Next {
    let refused = refusal_for(cx, why);
    Next::Remember(Box::new(Memory { refused, backoff: None, ..cx.memory.clone() }))
}

fn prepare(cx: &Context<'_>, target: Version, kind: TurnKind) -> Look<Next> {
    if let Some(backing_off) = backing_off(cx, target) {
        return Ok(backing_off);
    }
    cx.cri_socket_is_noted(cx.host(Duration::MAX)?)?;
    let Some(findings) = usable(cx, target, kind) else {
        return Err(Next::Do(Act::Preflight { target, kind }));
    };
    match judge(findings, &cx.node.request.skip) {
        // A refusal stands until people ask again, so it rests on what was seen just now.
        Verdict::Refuse { .. } if !cx.is_fresh(findings.at, FIRST_PAUSE) => {
            Err(Next::Do(Act::Preflight { target, kind }))
        }
        Verdict::Refuse { message, .. } => Ok(refuse_as_asked(cx, findings, &message)),
        Verdict::NotYet(message) => {
            let pause = preflight_pause(cx);
            if let Some(why) = only_a_person_can(cx, target, kind, pause)? {
                return Ok(Next::Wait { why, until: Some(cx.in_(pause)) });
            }
            if !cx.is_fresh(findings.at, pause) {
                return Err(Next::Do(Act::Preflight { target, kind }));
            }
            let until = Some(findings.at.plus(pause + Duration::from_millis(1)));
            Ok(wait(Reason::PreflightPending, message, until))
        }
        Verdict::Go { plan, skipped } => take_turn(cx, kind, *plan, skipped),
    }
}

/// What bars the claim and only a person can change, which explains what preflight waits for.
fn only_a_person_can(
    cx: &Context<'_>,
    target: Version,
    kind: TurnKind,
    pause: Duration,
) -> Look<Option<Explanation>> {
    let host = cx.host(pause)?;
    if !host.control_plane {
        return Ok(None);
    }
    let who = cx.claimant_for(kind, target, true, host.own_server);
    let bar = bars_claim(who, cx.fleet(pause)?, Some(cx.local(pause)?));
    let Some(bar) = bar.filter(|bar| bar.kind == BarKind::Refuse) else { return Ok(None) };
    asked_since_down(cx)?;
    Ok(Some(bar.why))
}

/// What etcd says of a node that is down was asked after it went down.
fn asked_since_down(cx: &Context<'_>) -> Look<()> {
    let local = cx.observed.local.as_ref().map(|local| local.at);
    if local >= cx.since.peer_down_at { Ok(()) } else { Err(Next::Do(Act::LookAtControlPlane)) }
}

/// A `retry` that was set while preflight ran asks for another one.
fn refuse_as_asked(cx: &Context<'_>, findings: &Findings, message: &str) -> Next {
    let why = Explanation::new(Reason::PreflightFailed, message);
    let refused = refusal_for(cx, why).map(|refusal| Refusal { retry: findings.retry.clone(), ..refusal });
    Next::Remember(Box::new(Memory { refused, backoff: None, ..cx.memory.clone() }))
}

fn backing_off(cx: &Context<'_>, target: Version) -> Option<Next> {
    let backoff = cx.memory.backoff.as_ref().filter(|backoff| backoff.target == target)?;
    let until = backoff.until.pending(cx.now).filter(|_| backoff.retry == cx.node.request.retry)?;
    let message = format!("waiting before the next try; the last one: {}", backoff.why.message);
    Some(wait(Reason::BackingOff, message, Some(until)))
}

/// Findings for this turn that still say something.
fn usable<'a>(cx: &Context<'a>, target: Version, kind: TurnKind) -> Option<&'a Findings> {
    let findings = cx.observed.preflight.as_ref()?;
    let fits = findings.target == target && findings.kind == kind && cx.is_fresh(findings.at, FINDINGS_AGE);
    fits.then_some(findings)
}

/// What etcd shows of others, once it was put back from a backup, is old until their kubelets and agents have written it again.
pub(super) fn untold(cx: &Context<'_>) -> Option<Mono> {
    cx.since.restored_at.map(|at| at.plus(TOLD_AGAIN)).filter(|until| *until > cx.now.mono)
}

/// Begins the turn where nothing bars its claim; who is barred does not claim (rule 12).
fn take_turn(cx: &Context<'_>, kind: TurnKind, plan: Plan, skipped: Vec<Check>) -> Look<Next> {
    let pause = pause(cx);
    if let Some(until) = cx.since.gave_way.and_then(|(at, count)| {
        let until = at.plus(gave_way_pause(count, &cx.settings.node));
        (until > cx.now.mono).then_some(until)
    }) {
        return Ok(wait(
            Reason::WaitingForTurn,
            "gave the Lease back; waiting before the next claim",
            Some(until),
        ));
    }
    if let Some(until) = untold(cx) {
        let message = "etcd was put back to an older state; waiting until the other nodes have told of themselves again";
        return Ok(wait(Reason::WaitingForTurn, message, Some(until)));
    }
    let fleet = merged(cx, cx.fleet(pause)?);
    let local = if plan.control_plane { Some(cx.local(pause)?) } else { None };
    let who = cx.claimant(kind, &plan);
    if let Some(bar) = bars_claim(who, &fleet, local) {
        if bar.kind == BarKind::Refuse {
            asked_since_down(cx)?;
        }
        // kubeadm-config is not watched: before people are told that it is behind, it is read again.
        let caught_up = FleetSeen { kubeadm_config: Some(plan.target), ..fleet.clone() };
        let is_old = cx.observed.waiting.as_ref().is_some_and(|turn| turn.at > fleet.at);
        if is_old && bars_claim(who, &caught_up, local).is_none_or(|other| other != bar) {
            cx.fleet(FIRST_PAUSE)?;
        }
        let until = Some(cx.in_(pause));
        return Ok(Next::Wait { why: bar.why, until });
    }
    // A claim rests on what was seen just now, however seldom a node that waits looks.
    cx.fleet(FIRST_PAUSE)?;
    if plan.control_plane {
        cx.local(FIRST_PAUSE)?;
    }
    let pods = cx.pods(START_AGE)?;
    let plan = Plan { daemon_sets: daemon_sets(&pods.pods), csi_drivers: pods.csi_drivers.clone(), ..plan };
    let host = cx.host(FIRST_PAUSE)?;
    let held =
        host.packages.iter().filter(|(_, package)| package.held).map(|(name, _)| name.clone()).collect();
    let turn = Some(begin(cx, kind, plan, skipped));
    Ok(Next::Remember(Box::new(Memory { turn, refused: None, held, ..cx.memory.clone() })))
}

fn begin(cx: &Context<'_>, kind: TurnKind, plan: Plan, skipped: Vec<Check>) -> Turn {
    let since = cx.now.unix;
    let holder = Holder {
        node: cx.settings.node.clone(),
        uid: cx.node.uid.clone(),
        turn: TurnId::new(plan.target, since),
    };
    Turn {
        holder,
        kind,
        lease: plan.lease(),
        plan,
        reached: Step::Claiming,
        direction: Direction::Forward,
        degraded: None,
        run: None,
        attempts: std::collections::BTreeMap::new(),
        unit_serial: 0,
        stopwatch: Stopwatch::started(cx.now),
        not_before: NotBefore::default(),
        kubelet_before: None,
        changed: false,
        skipped: skipped.into_iter().collect(),
        retry: cx.node.request.retry.clone(),
        since,
    }
}

/// The fleet as it was last read, with what the watches have told of Leases, control-plane Nodes and the policy since.
fn merged(cx: &Context<'_>, fleet: &FleetSeen) -> FleetSeen {
    let mut fleet = fleet.clone();
    if let Some(turn) = cx.observed.waiting.as_ref().filter(|turn| turn.at > fleet.at) {
        fleet.leases.clone_from(&turn.leases);
        fleet.nodes.retain(|node| !node.control_plane);
        fleet.nodes.extend(turn.control_planes.iter().cloned());
    }
    if cx.observed.policy.at > fleet.policy.at {
        fleet.policy = cx.observed.policy.clone();
    }
    fleet
}
