//! A new target for a degraded node, or another try of a turn whose packages were never resolved: planned anew with what the turn has.

use std::collections::BTreeMap;

use super::context::{Context, Look};
use super::{Next, plan};
use crate::act::Act;
use crate::api::{Check, Explanation, Reason, TurnKind, Version};
use crate::judge::claim::bars_replanned;
use crate::judge::next_turn::NextTurn;
use crate::judge::preflight::{Verdict, judge};
use crate::memory::{Direction, Plan, Step, Turn};
use crate::observed::Findings;
use crate::steps::{can_turn_back, has_its_old_kubelet, put_back_kubelets_files};

/// The turn that comes next for the new target; none where somebody has done it all by hand.
fn turn_to(cx: &Context<'_>, turn: &Turn, why: &Explanation) -> Look<Option<TurnKind>> {
    match plan::next(cx, cx.pace(turn))? {
        NextTurn::Turn(kind) => Ok(Some(kind)),
        NextTurn::Nothing => Ok(None),
        NextTurn::Pending(next) | NextTurn::Refused(next) => {
            let message = format!("{}; the new target: {}", why.message, next.message);
            let why = Explanation::new(next.reason, message);
            Err(Next::Wait { why, until: Some(cx.in_(cx.pace(turn))) })
        }
    }
}

/// Planned anew for `target`. The mark of the old one stands until nothing refuses or bars the new one.
pub(super) fn decide(cx: &Context<'_>, turn: &Turn, target: Version, why: &Explanation) -> Look<Next> {
    // The same target once more is the same turn: a run of kubeadm that lacks its exit 0 is not passed over.
    let next = if target == turn.plan.target { Some(turn.kind) } else { turn_to(cx, turn, why)? };
    let Some(kind) = next else {
        if has_its_old_kubelet(cx, turn)? {
            put_back_kubelets_files(cx, turn)?;
        }
        return Ok(cx.remember(whole(cx, turn, target)));
    };
    cx.cri_socket_is_noted(cx.host(cx.pace(turn))?)?;
    let Some(findings) = findings(cx, target, kind) else {
        return Err(Next::Do(Act::Preflight { target, kind }));
    };
    // That it is down is what the new target is for.
    let mut skip = cx.node.request.skip.clone();
    skip.extend([Check::NodeReady, Check::KubeletUnit]);
    match judge(findings, &skip) {
        Verdict::Go { plan, skipped } => begin(cx, (turn, why), kind, *plan, skipped),
        Verdict::Refuse { message, .. } => {
            let message = format!("{}; the new target {target} is refused: {message}", why.message);
            let why = Explanation::new(Reason::PreflightFailed, message);
            Ok(Next::Wait { why, until: Some(cx.in_(cx.pace(turn))) })
        }
        Verdict::NotYet(_) if !cx.is_fresh(findings.at, cx.pace(turn)) => {
            Err(Next::Do(Act::Preflight { target, kind }))
        }
        Verdict::NotYet(message) => {
            Ok(waits(cx, (turn, why), target, &Explanation::new(Reason::PreflightPending, message)))
        }
    }
}

/// Somebody has brought it to the target by hand: that is proven, and ends it.
fn whole(cx: &Context<'_>, turn: &Turn, target: Version) -> Turn {
    let plan = Plan { target, ..turn.plan.clone() };
    let (kind, direction) = (TurnKind::Kubelet, Direction::Forward);
    let whole = Turn { plan, kind, direction, degraded: None, changed: true, ..turn.clone() };
    whole.at(Step::Verifying, cx.now)
}

/// What preflight found since people last asked: a refusal is an answer to `retry` too.
fn findings<'a>(cx: &Context<'a>, target: Version, kind: TurnKind) -> Option<&'a Findings> {
    let retry = &cx.node.request.retry;
    let asked = |found: &&Findings| found.target == target && found.kind == kind && found.retry == *retry;
    cx.observed.preflight.as_ref().filter(asked)
}

fn waits(cx: &Context<'_>, (turn, why): (&Turn, &Explanation), target: Version, bar: &Explanation) -> Next {
    let message = format!("{}; the new target {target} waits: {}", why.message, bar.message);
    Next::Wait { why: Explanation::new(bar.reason, message), until: Some(cx.in_(cx.pace(turn))) }
}

/// From the packages on, where nothing bars it. What has to serve again is what did before the turn.
fn begin(
    cx: &Context<'_>,
    (turn, why): (&Turn, &Explanation),
    kind: TurnKind,
    plan: Plan,
    skipped: Vec<Check>,
) -> Look<Next> {
    let Plan { from, daemon_sets, csi_drivers, .. } = turn.plan.clone();
    let plan = Plan { from, daemon_sets, csi_drivers, ..plan };
    let target = plan.target;
    if plan.control_plane {
        cx.api_server_is_noted(cx.pace(turn))?;
    }
    let fleet = cx.fleet(cx.pace(turn))?;
    let who = cx.claimant(kind, &plan);
    if let Some(bar) = bars_replanned(who, fleet, cx.observed.local.as_ref()) {
        return Ok(waits(cx, (turn, why), target, &bar.why));
    }
    let again = Turn {
        plan,
        kind,
        skipped: skipped.into_iter().filter(|check| cx.node.request.skip.contains(check)).collect(),
        degraded: None,
        direction: Direction::Forward,
        run: turn.run.filter(|run| !run.succeeded && kind == turn.kind && turn.plan.target == target),
        kubelet_before: None,
        attempts: BTreeMap::new(),
        changed: turn.changed || !can_turn_back(cx, turn)?,
        retry: cx.node.request.retry.clone(),
        ..turn.clone()
    };
    Ok(cx.remember(again.at(Step::Staging, cx.now)))
}
