//! A turn that waits for a person: its Lease is held and marked, or its mark on the Node says so. It keeps its step and direction, and
//! goes on by `retry`, by a new target, or by being found whole, whoever repaired it (rule 9).

use std::collections::BTreeMap;
use std::time::Duration;

use super::context::{Context, Look, renew};
use super::{Next, replan};
use crate::act::Act;
use crate::api::Holder;
use crate::api::TurnKind;
use crate::api::{Explanation, Reason};
use crate::memory::{Direction, Step, Turn};
use crate::observed::{FleetLease, LeaseSeen, Ready};
use crate::steps::{self, can_turn_back, lacks, rules};

/// How old the fleet may be by which another still holds its Lease.
const TAKEN: Duration = Duration::from_mins(5);
/// How often its Lease is renewed with the mark.
const HEARTBEAT: Duration = Duration::from_mins(1);

pub(super) fn decide(cx: &Context<'_>, turn: &Turn, why: &Explanation) -> Look<Next> {
    marked(cx, turn)?;
    if let Some(cancelled) = cx.cancelled(turn).filter(|_| turn.is_forward())
        && is_asked_back(cx, turn)
        && can_turn_back(cx, turn)?
    {
        return Ok(cx.remember(Turn { degraded: None, ..turn.clone().back(cancelled, cx.now) }));
    }
    if let Some(target) = cx.node.request.wanted().filter(|target| *target != turn.plan.target) {
        return replan::decide(cx, turn, target, why);
    }
    if cx.node.request.retry.is_some() && cx.node.request.retry != turn.retry {
        if !resolved(turn) {
            return replan::decide(cx, turn, turn.plan.target, why);
        }
        let ran = turn.kind == TurnKind::ControlPlane && turn.run.is_some();
        if !turn.is_forward() && ran && !can_turn_back(cx, turn)? {
            // A person took its static pods further meanwhile.
            return Ok(cx.remember(retried(cx, &Turn { direction: Direction::Forward, ..turn.clone() })?));
        }
        return Ok(cx.remember(retried(cx, turn)?));
    }
    if let Some(turn) = found_whole(cx, turn)? {
        return Ok(cx.remember(turn));
    }
    Ok(Next::Wait { why: why.clone(), until: Some(cx.in_(cx.pace(turn))) })
}

/// Nobody asks for a target any more, or for what the node came from.
fn is_asked_back(cx: &Context<'_>, turn: &Turn) -> bool {
    let from = turn.plan.from.kubelet.kubernetes();
    cx.node.request.wanted().is_none_or(|target| Some(target) == from)
}

/// Whether its packages are known: a turn that was read from its traces has only seen what is installed.
fn resolved(turn: &Turn) -> bool {
    turn.plan.to.kubelet.kubernetes() == Some(turn.plan.target)
}

/// First of all the mark, which halts other claims: on the Lease, or on the Node where that was lost; one that is free is claimed.
fn marked(cx: &Context<'_>, turn: &Turn) -> Look<()> {
    lease_is_marked(cx, turn)?;
    let mark = cx.mark(turn);
    if cx.node.in_hand.as_ref() == Some(&mark) { Ok(()) } else { Err(Next::Do(Act::Mark { mark })) }
}

/// The mark on the Lease, as far as that is this node's: it can be told where the own API server is dead.
pub(super) fn lease_is_marked(cx: &Context<'_>, turn: &Turn) -> Look<()> {
    match &cx.observed.lease {
        // A claim writes no mark; the renewal after it does.
        Some(LeaseSeen::Held { at, turn: held, .. })
            if *held == turn.holder.turn && cx.is_fresh(*at, HEARTBEAT) && *at > cx.since.claimed_at => {}
        Some(LeaseSeen::Free) => {
            return Err(Next::Do(Act::Claim { lease: turn.lease, holder: turn.holder.clone() }));
        }
        Some(LeaseSeen::Other(held)) => return is_left_to(cx, turn, Holder::parse(held)),
        Some(LeaseSeen::Held { .. }) | None => return Err(Next::Do(renew(turn))),
    }
    Ok(())
}

/// Whether another node's Lease stands in the way of ours.
fn is_left_to(cx: &Context<'_>, turn: &Turn, holder: Option<Holder>) -> Look<()> {
    let claim = Err(Next::Do(Act::Claim { lease: turn.lease, holder: turn.holder.clone() }));
    match holder {
        // What an earlier turn of this node holds is claimed over.
        Some(holder) if holder.is_of_same_node(&turn.holder) => claim,
        // An etcd that was put back has given it to an earlier Node of this name: nobody else would free it.
        Some(holder) if holder.node == turn.holder.node && cx.observed.node.is_some() => {
            Err(Next::Do(Act::Release { lease: turn.lease, holder }))
        }
        _ => {
            let fleet = cx.fleet(TAKEN)?;
            if fleet.at < cx.since.claimed_at {
                return Err(Next::Do(Act::LookAtFleet));
            }
            let theirs =
                |lease: &FleetLease| lease.name == turn.lease && lease.held_by_another_node(&turn.holder);
            if fleet.leases.iter().any(theirs) { Ok(()) } else { claim }
        }
    }
}

/// The same direction and step, every gate judged again. What a person may have changed is asked again from the packages on.
fn retried(cx: &Context<'_>, turn: &Turn) -> Look<Turn> {
    // Back in service, nothing is installed any more.
    let drained = turn.is_forward() && turn.kind == TurnKind::Kubelet && turn.reached < Step::Releasing;
    let reached = if drained { turn.reached.min(Step::Installing) } else { turn.reached };
    let turn = Turn {
        degraded: None,
        attempts: BTreeMap::new(),
        retry: cx.node.request.retry.clone(),
        kubelet_before: None,
        changed: turn.changed || turn.is_forward() && !can_turn_back(cx, turn)?,
        // A run that ended well and does not show any more is made once more.
        run: turn.run.filter(|run| !run.succeeded),
        ..turn.clone()
    };
    Ok(turn.at(reached, cx.now))
}

/// A node that is found whole goes on by itself. While a run of kubeadm lacks its exit 0, being whole at the target does not suffice.
fn found_whole(cx: &Context<'_>, turn: &Turn) -> Look<Option<Turn>> {
    let on = |turn: Turn| Ok(Some(Turn { degraded: None, ..turn }));
    if turn.degraded.as_ref().is_some_and(|why| why.reason == Reason::Retrying) {
        cx.node(cx.pace(turn))?;
        return on(turn.clone().resumed(cx.now));
    }
    match (&turn.direction, turn.kind) {
        (Direction::Back(_), TurnKind::Kubelet) if is_at_target(cx, turn, cx.pace(turn))? => {
            let forward = Turn { direction: Direction::Forward, changed: true, ..turn.clone() };
            on(forward.at(Step::Verifying, cx.now))
        }
        (Direction::Back(_), TurnKind::ControlPlane)
            if turn.run.is_some() && steps::is_whole(cx, turn, cx.pace(turn))? =>
        {
            // A person has brought it to the target; kubeadm's run still lacks its exit 0.
            let forward = Turn { direction: Direction::Forward, changed: true, ..turn.clone() };
            on(forward.at(Step::Applying, cx.now))
        }
        (Direction::Back(_), _) => {
            let whole = turn.run.is_none() || steps::is_whole_as_before(cx, turn, cx.pace(turn))?;
            if whole && steps::serves(cx, turn)? { on(turn.clone().resumed(cx.now)) } else { Ok(None) }
        }
        (Direction::Forward, TurnKind::Kubelet) => {
            if turn.reached < Step::Installing || !is_at_target(cx, turn, cx.pace(turn))? {
                return Ok(None);
            }
            if turn.reached == Step::Releasing
                && turn.plan.control_plane
                && !steps::is_whole(cx, turn, cx.pace(turn))?
            {
                return Ok(None);
            }
            let reached = turn.reached.max(Step::Verifying);
            on(turn.clone().at(reached, cx.now))
        }
        (Direction::Forward, TurnKind::ControlPlane) if turn.reached == Step::Releasing => {
            let whole = steps::is_whole(cx, turn, cx.pace(turn))?;
            if whole { on(turn.clone().entered(cx.now)) } else { Ok(None) }
        }
        (Direction::Forward, TurnKind::ControlPlane) => {
            if rules(Step::Applying).done(cx, turn)? {
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

/// Whether kubelet and node serve at the target.
fn is_at_target(cx: &Context<'_>, turn: &Turn, age: Duration) -> Look<bool> {
    let runs = cx.node.kubelet == Some(turn.plan.target) && cx.node.ready == Ready::True;
    Ok(runs && lacks(cx, turn, age)?.is_none())
}
