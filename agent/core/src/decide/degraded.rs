//! A turn that waits for a person: its Lease is held and marked, or its mark on the Node says so. It keeps its step and direction, and
//! goes on by `retry`, by a new target, or by being found whole, whoever repaired it (rule 9).

use std::collections::BTreeMap;
use std::time::Duration;

use super::context::{Context, Look, renew};
use super::{Next, plan};
use crate::act::Act;
use crate::api::TurnKind;
use crate::api::Version;
use crate::api::{Check, Explanation, Reason};
use crate::judge::claim::bars_replanned;
use crate::judge::next_turn::NextTurn;
use crate::judge::preflight::{Verdict, judge};
use crate::memory::Plan;
use crate::memory::{Direction, Step, Turn};
use crate::observed::LeaseSeen;
use crate::observed::Ready;
use crate::steps::{self, can_turn_back, lacks, rules};

/// How often a degraded node is looked at.
const PACE: Duration = Duration::from_secs(30);
/// How often its Lease is renewed with the mark.
const HEARTBEAT: Duration = Duration::from_mins(1);

pub(super) fn decide(cx: &Context<'_>, turn: &Turn, why: &Explanation) -> Look<Next> {
    marked(cx, turn)?;
    if cx.node.request.retry.is_some() && cx.node.request.retry != turn.retry {
        return Ok(cx.remember(retried(cx, turn)));
    }
    if let Some(target) = cx.node.request.wanted().filter(|target| *target != turn.plan.target) {
        return replan(cx, turn, target, why);
    }
    if let Some(turn) = found_whole(cx, turn)? {
        return Ok(cx.remember(turn));
    }
    Ok(Next::Wait { why: why.clone(), until: Some(cx.in_(PACE)) })
}

/// First of all the mark, which halts other claims: on the Lease, or on the Node where that was lost; one that is free is claimed.
fn marked(cx: &Context<'_>, turn: &Turn) -> Look<()> {
    match &cx.observed.lease {
        Some(LeaseSeen::Held { at, turn: held, .. })
            if *held == turn.holder.turn && cx.is_fresh(*at, HEARTBEAT) => {}
        Some(LeaseSeen::Free) => {
            return Err(Next::Do(Act::Claim { lease: turn.lease, holder: turn.holder.clone() }));
        }
        Some(LeaseSeen::Other(_)) => {}
        Some(LeaseSeen::Held { .. }) | None => return Err(Next::Do(renew(turn))),
    }
    let mark = cx.mark(turn);
    if cx.node.in_hand.as_ref() == Some(&mark) { Ok(()) } else { Err(Next::Do(Act::Mark { mark })) }
}

/// The same direction and step, every gate judged again. What a person may have changed is asked again from the packages on.
fn retried(cx: &Context<'_>, turn: &Turn) -> Turn {
    let forward = turn.is_forward() && turn.kind == TurnKind::Kubelet;
    let reached = if forward { turn.reached.min(Step::Installing) } else { turn.reached };
    let turn = Turn {
        degraded: None,
        attempts: BTreeMap::new(),
        retry: cx.node.request.retry.clone(),
        kubelet_before: None,
        changed: turn.changed || forward && turn.reached >= Step::Installing,
        ..turn.clone()
    };
    turn.at(reached, cx.now)
}

/// A node that is found whole goes on by itself. While a run of kubeadm lacks its exit 0, being whole at the target does not suffice.
fn found_whole(cx: &Context<'_>, turn: &Turn) -> Look<Option<Turn>> {
    let on = |turn: Turn| Ok(Some(Turn { degraded: None, ..turn }));
    if turn.degraded.as_ref().is_some_and(|why| why.reason == Reason::Retrying) {
        cx.node(PACE)?;
        return on(turn.clone().entered(cx.now));
    }
    match (&turn.direction, turn.kind) {
        (Direction::Back(_), _) => {
            let whole = turn.run.is_none() || steps::is_whole_as_before(cx, turn, PACE)?;
            if whole && steps::serves(cx, turn)? { on(turn.clone().entered(cx.now)) } else { Ok(None) }
        }
        (Direction::Forward, TurnKind::Kubelet) => {
            let at_target = cx.node.kubelet == Some(turn.plan.target) && cx.node.ready == Ready::True;
            if !at_target || turn.reached < Step::Installing || lacks(cx, turn, PACE)?.is_some() {
                return Ok(None);
            }
            let reached = turn.reached.max(Step::Verifying);
            on(turn.clone().at(reached, cx.now))
        }
        (Direction::Forward, TurnKind::ControlPlane) if turn.reached == Step::Releasing => {
            let whole = steps::is_whole(cx, turn, PACE)?;
            if whole { on(turn.clone().entered(cx.now)) } else { Ok(None) }
        }
        (Direction::Forward, TurnKind::ControlPlane) => {
            if turn.run.is_none_or(|run| run.succeeded) && rules(Step::Applying).done(cx, turn)? {
                return on(turn.clone().entered(cx.now));
            }
            if can_turn_back(cx, turn)? {
                let message = "the control plane was found as it was before: set a new value of the annotation \
                               node-upgrade-agent/retry to try again";
                return on(turn.clone().back(Explanation::new(Reason::ToolFailed, message), cx.now));
            }
            Ok(None)
        }
    }
}

/// The turn that comes next for the new target; turn B where nothing else is left.
fn turn_to(cx: &Context<'_>, why: &Explanation) -> Look<TurnKind> {
    match plan::next(cx, PACE)? {
        NextTurn::Turn(kind) => Ok(kind),
        NextTurn::Nothing => Ok(TurnKind::Kubelet),
        NextTurn::Pending(next) | NextTurn::Refused(next) => {
            let message = format!("{}; the new target: {}", why.message, next.message);
            let why = Explanation::new(next.reason, message);
            Err(Next::Wait { why, until: Some(cx.in_(PACE)) })
        }
    }
}

/// A new target: planned anew with what the turn has. The mark of the old one stands until nothing refuses or bars the new one.
fn replan(cx: &Context<'_>, turn: &Turn, target: Version, why: &Explanation) -> Look<Next> {
    let kind = turn_to(cx, why)?;
    let findings =
        cx.observed.preflight.as_ref().filter(|found| found.target == target && found.kind == kind);
    let Some(findings) = findings else { return Err(Next::Do(Act::Preflight { target, kind })) };
    let waits = |reason, message: String| {
        let message = format!("{}; the new target {target} waits: {message}", why.message);
        Next::Wait { why: Explanation::new(reason, message), until: Some(cx.in_(PACE)) }
    };
    // That it is down is what the new target is for.
    let mut skip = cx.node.request.skip.clone();
    skip.extend([Check::NodeReady, Check::KubeletUnit]);
    match judge(findings, &skip) {
        Verdict::Go { plan, skipped } => {
            let plan = Plan { from: turn.plan.from.clone(), ..*plan };
            if plan.control_plane {
                cx.api_server_is_noted(PACE)?;
            }
            let fleet = cx.fleet(PACE)?;
            let who = cx.claimant(kind, &plan);
            if let Some(bar) = bars_replanned(who, fleet, cx.observed.local.as_ref()) {
                return Ok(waits(bar.why.reason, bar.why.message));
            }
            let again = Turn {
                plan,
                kind,
                skipped: skipped.into_iter().filter(|check| cx.node.request.skip.contains(check)).collect(),
                degraded: None,
                direction: Direction::Forward,
                run: None,
                kubelet_before: None,
                attempts: BTreeMap::new(),
                changed: true,
                ..turn.clone()
            };
            Ok(cx.remember(again.at(Step::Staging, cx.now)))
        }
        Verdict::Refuse { message, .. } => {
            let message = format!("{}; the new target {target} is refused: {message}", why.message);
            let why = Explanation::new(Reason::PreflightFailed, message);
            Ok(Next::Wait { why, until: Some(cx.in_(PACE)) })
        }
        Verdict::NotYet(_) if !cx.is_fresh(findings.at, PACE) => {
            Err(Next::Do(Act::Preflight { target, kind }))
        }
        Verdict::NotYet(message) => Ok(waits(Reason::PreflightPending, message)),
    }
}
