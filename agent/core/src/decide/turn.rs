//! The walk through the steps of a turn.

use std::time::Duration;

use super::context::{Context, Look, PROOF, renew, wait};
use super::{Next, degraded, ended};
use crate::act::Act;
use crate::api::Holder;
use crate::api::TurnKind;
use crate::api::{Explanation, Reason};
use crate::memory::{Direction, Step, Turn};
use crate::observed::LeaseSeen;
use crate::steps::{self, Failure, Gate, MAX_ATTEMPTS, can_turn_back, rules};

/// How long a cordoned node waits for a gate before its turn goes back, or is degraded where it cannot (rule 8). A drain has
/// time-outs of its own, to which this is added.
const CORDONED_WAIT: Duration = Duration::from_mins(15);

pub(super) fn decide(cx: &Context<'_>, turn: &Turn) -> Look<Next> {
    if turn.stopwatch.is_of_another_boot(cx.now) {
        return Ok(booted(cx, turn));
    }
    if let Some(why) = &turn.degraded {
        return degraded::decide(cx, turn, why);
    }
    let next = match &turn.direction {
        Direction::Forward => forward(cx, turn),
        Direction::Back(why) => back(cx, turn, why),
    };
    match &next {
        Ok(Next::Do(act)) | Err(Next::Do(act)) if act.asks_as_kubelet() && is_unread(cx, turn) => {
            unseen(cx, turn, next)
        }
        _ => next,
    }
}

/// A boot within a step counts as an attempt, so that a node that keeps rebooting comes to an end (rule 14).
fn booted(cx: &Context<'_>, turn: &Turn) -> Next {
    let noted = Turn { stopwatch: turn.stopwatch.noted(cx.now), ..turn.clone() };
    // What was verified before the boot says nothing of what runs after it.
    if turn.degraded.is_none()
        && turn.is_forward()
        && turn.kind == TurnKind::Kubelet
        && turn.reached == Step::Uncordoning
    {
        return cx.remember(noted.at(Step::Verifying, cx.now));
    }
    let changes = turn.reached >= Step::Staging && turn.reached < Step::Uncordoning;
    if turn.degraded.is_some() || !changes || !turn.is_forward() {
        return cx.remember(noted);
    }
    let failed = noted.failed(Duration::ZERO, cx.now);
    if failed.attempts() < MAX_ATTEMPTS {
        return cx.remember(failed);
    }
    let message = format!(
        "the host was booted again and again while its upgrade was {}: find out why, then set a new value of the annotation \
         node-upgrade-agent/retry",
        super::report::step_phase(turn.reached)
    );
    let why = Explanation::new(Reason::ToolFailed, message);
    let goes_back =
        rules(turn.reached).failed() == Failure::BackOut && can_turn_back(cx, &failed).unwrap_or(false);
    cx.remember(if goes_back { failed.back(why, cx.now) } else { Turn { degraded: Some(why), ..failed } })
}

fn forward(cx: &Context<'_>, turn: &Turn) -> Look<Next> {
    if let Some(why) = cancelled(cx, turn)? {
        return Ok(cx.remember(turn.clone().back(why, cx.now)));
    }
    keep_mark(cx, turn)?;
    match walk(cx, turn) {
        Ok(Next::Wait { why, until }) => Ok(bounded(cx, turn, why, until)?),
        Err(first) if is_overdue(cx, turn) && can_turn_back(cx, turn)? => {
            Ok(give_up_waiting(cx, turn, first))
        }
        Err(Next::Do(act)) if act.is_look() && is_unproven(cx, turn) => Ok(unproven(cx, turn)),
        other => other,
    }
}

/// Past the point of no return the mark stands all the time, also on a Node that was made anew. Where nothing answers the turn goes on
/// without it.
fn keep_mark(cx: &Context<'_>, turn: &Turn) -> Look<()> {
    let told = cx.observed.node.is_some() && cx.is_fresh(cx.observed.node_at, PROOF);
    if !told || turn.reached == Step::Releasing || can_turn_back(cx, turn)? {
        return Ok(());
    }
    steps::mark_stands(cx, turn)
}

/// Before the point of no return a target that was removed or changed takes the turn back.
fn cancelled(cx: &Context<'_>, turn: &Turn) -> Look<Option<Explanation>> {
    match cx.cancelled(turn) {
        Some(why) if can_turn_back(cx, turn)? => Ok(Some(why)),
        _ => Ok(None),
    }
}

/// How long the own Node may stay unread while others can be reached.
const UNREAD: Duration = Duration::from_mins(15);
/// How old the Lease may be for that; it is renewed once a minute.
const REACHED: Duration = Duration::from_mins(3);

/// A turn that went back because nothing answered has waited already.
fn is_unread(cx: &Context<'_>, turn: &Turn) -> bool {
    let waits = if turn.is_forward() { UNREAD } else { REACHED };
    cx.now.mono.since(cx.observed.node_at) > UNREAD && turn.stopwatch.spent(cx.now) > waits
}

/// The same for a turn whose Node was never seen by this process.
pub(super) fn told_elsewhere(cx: &Context<'_>, turn: &Turn, next: Look<Next>) -> Look<Next> {
    if is_unread(cx, turn) { unseen(cx, turn, next) } else { next }
}

/// This node's own API server is gone for it. Where the Lease can be renewed through another one, that says so; in an outage of the
/// whole cluster it is waited for.
fn unseen(cx: &Context<'_>, turn: &Turn, next: Look<Next>) -> Look<Next> {
    match &cx.observed.lease {
        Some(LeaseSeen::Held { at, .. }) if cx.is_fresh(*at, REACHED) => {}
        // Past its point of no return it claims the Lease that was lost, to say so there.
        Some(LeaseSeen::Free | LeaseSeen::Other(_)) if !can_turn_back(cx, turn)? => {}
        Some(LeaseSeen::Other(held)) => {
            // An etcd that was put back has given it to an earlier turn of this node: nobody else would free it.
            let own = Holder::parse(held).filter(|holder| holder.is_of_same_node(&turn.holder));
            return own.map_or(next, |holder| Err(Next::Do(Act::Release { lease: turn.lease, holder })));
        }
        Some(LeaseSeen::Free) => return next,
        Some(LeaseSeen::Held { .. }) | None => return Err(Next::Do(renew(turn))),
    }
    let message = format!(
        "the API server that kubelet.conf names has not answered here for {} min, while others do: repair it; the upgrade goes on by \
         itself when it answers",
        UNREAD.as_secs() / 60
    );
    let why = Explanation::new(Reason::Retrying, message);
    if turn.reached > Step::Claiming {
        return Ok(cx.remember(Turn { degraded: Some(why), ..turn.clone() }));
    }
    if turn.is_forward() {
        return Ok(cx.remember(turn.clone().back(why, cx.now)));
    }
    Err(Next::Do(Act::Release { lease: turn.lease, holder: turn.holder.clone() }))
}

/// The first step that is not done: its gate, where something of it would begin now; then the ratchet; then its act.
fn walk(cx: &Context<'_>, turn: &Turn) -> Look<Next> {
    let given_back = turn.reached == Step::Releasing
        && matches!(cx.observed.lease, Some(LeaseSeen::Free | LeaseSeen::Other(_)));
    for &step in turn.steps() {
        // What others change after the Lease was given back is no longer this turn's.
        if given_back && step < Step::Releasing {
            continue;
        }
        let rules = rules(step);
        if rules.done(cx, turn)? {
            continue;
        }
        if let Some(at) = turn.not_before.pending(cx.now).filter(|_| step == turn.reached) {
            return Ok(wait(Reason::ToolFailed, "what failed is tried again soon", Some(at)));
        }
        if !rules.runs(cx, turn) {
            match rules.may_start(cx, turn)? {
                Gate::Open => {}
                Gate::Wait(why) => return Ok(Next::Wait { why, until: Some(cx.in_(gate_pace(cx, turn))) }),
                Gate::GiveWay(why) => return give_way(cx, turn, why),
            }
        }
        if turn.reached < step {
            return Ok(cx.remember(turn.clone().at(step, cx.now)));
        }
        return rules.act(cx, turn);
    }
    Ok(ended::remember(cx, turn, None))
}

/// How often a gate is asked that did not open. A node that is in service may wait for a person, and asks less and less often.
const GATE_PACE: Duration = Duration::from_secs(10);
const SLOWEST_GATE_PACE: Duration = Duration::from_mins(5);

fn gate_pace(cx: &Context<'_>, turn: &Turn) -> Duration {
    let slowest = if cx.node.cordon_note.is_some() { GATE_PACE } else { SLOWEST_GATE_PACE };
    (turn.stopwatch.spent(cx.now) / 4).clamp(GATE_PACE, slowest)
}

fn give_way(cx: &Context<'_>, turn: &Turn, why: Explanation) -> Look<Next> {
    if can_turn_back(cx, turn)? {
        return Ok(cx.remember(turn.clone().back(why, cx.now)));
    }
    // Past its point of no return it keeps what it has until the others are done.
    if super::report::gives_way(why.reason) {
        return Ok(Next::Wait { why, until: Some(cx.in_(gate_pace(cx, turn))) });
    }
    // Nobody else has its Lease, which somebody freed: it is claimed again.
    if why.reason == Reason::LeaseLost && matches!(cx.observed.lease, Some(LeaseSeen::Free)) {
        return Err(Next::Do(Act::Claim { lease: turn.lease, holder: turn.holder.clone() }));
    }
    let degraded = Some(why);
    Ok(cx.remember(Turn { degraded, ..turn.clone() }))
}

/// Whether a cordoned node has waited for too long for what its present step needs.
fn is_overdue(cx: &Context<'_>, turn: &Turn) -> bool {
    let drains = if turn.reached == Step::Draining { cx.settings.drain.timeout } else { Duration::ZERO };
    let begun = cx.node.cordon_note.is_some() || turn.reached == Step::Cordoning;
    turn.kind == TurnKind::Kubelet
        && turn.reached < Step::Verifying
        && begun
        && turn.stopwatch.spent(cx.now) > CORDONED_WAIT + drains
}

/// How long a control plane that kubeadm has changed may stay without proof; kubeadm itself may take twenty minutes.
const UNPROVEN: Duration = Duration::from_mins(20);

/// How old what the API tells may be while it answers.
const UNANSWERED: Duration = Duration::from_mins(5);

/// Whether nobody answers any more whether the control plane is whole that kubeadm has begun to change.
fn is_unproven(cx: &Context<'_>, turn: &Turn) -> bool {
    turn.kind == TurnKind::ControlPlane
        && steps::has_run_kubeadm(cx, turn)
        && turn.stopwatch.spent(cx.now) > UNPROVEN + cx.settings.verify_timeout
        && is_unanswered(cx)
}

/// Whether the API has not answered for a while: nothing that only it tells is new.
fn is_unanswered(cx: &Context<'_>) -> bool {
    let fleet = cx.observed.fleet.as_ref().map(|fleet| fleet.at);
    let pods = cx.observed.pods.as_ref().map(|pods| pods.at);
    let told = [Some(cx.observed.node_at), fleet, pods];
    told.into_iter().flatten().all(|at| !cx.is_fresh(at, UNANSWERED))
}

fn unproven(cx: &Context<'_>, turn: &Turn) -> Next {
    let message = "kubeadm has changed the control plane on this node, and its API server does not answer since: look at \
                   `crictl ps -a` and /var/log/pods; then set a new value of the annotation node-upgrade-agent/retry";
    let degraded = Some(Explanation::new(Reason::NotVerified, message));
    cx.remember(Turn { degraded, ..turn.clone() })
}

fn give_up_waiting(cx: &Context<'_>, turn: &Turn, first: Next) -> Next {
    match first {
        Next::Remember(_) => first,
        Next::Do(_) | Next::Wait { .. } => {
            let what = "what has to be known before the upgrade goes on could not be found out";
            cx.remember(turn.clone().back(timed_out(what), cx.now))
        }
    }
}

fn bounded(cx: &Context<'_>, turn: &Turn, why: Explanation, until: Option<crate::time::Mono>) -> Look<Next> {
    if !is_overdue(cx, turn) {
        return Ok(Next::Wait { why, until });
    }
    give_way(cx, turn, timed_out(&why.message))
}

fn timed_out(what: &str) -> Explanation {
    let minutes = CORDONED_WAIT.as_secs() / 60;
    Explanation::new(
        Reason::TimedOut,
        format!(
            "the upgrade waited for more than {minutes} min, the node being cordoned or about to be: {what}"
        ),
    )
}

/// Walks back through the steps that were begun; then the turn is over.
fn back(cx: &Context<'_>, turn: &Turn, why: &Explanation) -> Look<Next> {
    for step in &steps::UNDONE_IN_ORDER {
        // A turn A that was planned for a node degraded in turn B has its cordon.
        let cordoned = *step == Step::Cordoning && cx.node.cordon_note.is_some();
        // Planned anew it begins with the packages again, and has what it had changed before.
        let begun = *step <= turn.reached || turn.changed;
        if (turn.steps().contains(step) || cordoned) && begun {
            rules(*step).undo(cx, turn)?;
        }
    }
    Ok(ended::remember(cx, turn, Some(why)))
}
