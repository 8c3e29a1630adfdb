//! The end of a turn (rule 11): the control plane proven whole over a soak, one PATCH that takes the mark away and says what is in
//! service, the Lease, and whatever is left on the host.

use std::time::Duration;

use crate::act::{Act, Tool};
use crate::api::{Explanation, Reason};
use crate::api::{PackageVersion, TurnKind, Version};
use crate::decide::Next;
use crate::decide::context::{Context, HOST_AGE, Look, PACE, START_AGE, wait};
use crate::judge::control_plane;
use crate::memory::{Plan, Step, Turn};
use crate::observed::ToolState;
use crate::observed::{LeaseSeen, Ready};

use super::apply::put_back_kubelets_files;
use super::install::unheld;
use super::tool::MAX_ATTEMPTS;
use super::verify::{lacks, limit};
use super::{Failure, Rules};

/// How long a control plane has to be whole at least before its turn ends: a kubelet of a new minor restarts all static pods some
/// seconds after it is Ready.
const SOAK: Duration = Duration::from_secs(10);
/// Between two tries to hold the packages again.
const PAUSE: Duration = Duration::from_secs(30);
/// How old the pods may be from which a control plane is said to be whole.
const PODS_AGE: Duration = Duration::from_secs(5);
/// For how long the API has to tell of a control plane that is not whole before anybody is, and how often it is asked meanwhile.
const TOLD_AGAIN: Duration = Duration::from_mins(1);
const LATE_PACE: Duration = Duration::from_secs(10);
/// An API that comes and goes all the time is not waited for any longer.
const LATEST: Duration = Duration::from_mins(15);
/// How old may be what the own Node shows of cordon and marks when its Lease is given back: a watch can be quiet without being well.
const TOLD: Duration = Duration::from_secs(15);

pub(super) struct Releasing;

impl Rules for Releasing {
    /// Never seen to be done: what is left to do ends with the turn.
    fn done(&self, cx: &Context<'_>, turn: &Turn) -> Look<bool> {
        if turn.reached < Step::Releasing {
            return Ok(false);
        }
        // Where the marks and the Lease are given back, it was proven before, and what comes later is no longer this turn's.
        if is_given_back(cx) {
            hand_back(cx, turn, None)?;
            return Ok(true);
        }
        proven(cx, turn, Some(serves_at(turn)))?;
        if turn.kind == TurnKind::ControlPlane && cx.node.cordon_note.is_some() {
            // It was degraded in turn B, and its new target wanted turn A first.
            let plan = Plan {
                static_pods: Some(turn.plan.target),
                kubeadm_config: Some(turn.plan.target),
                // kubeadm may have made it so in this very turn.
                own_server: cx.host(cx.pace(turn))?.own_server,
                ..turn.plan.clone()
            };
            let kubelet = Turn { kind: TurnKind::Kubelet, run: None, plan, ..turn.clone() };
            return Err(cx.remember(kubelet.at(Step::Staging, cx.now)));
        }
        if turn.kind == TurnKind::ControlPlane && has_its_old_kubelet(cx, turn)? {
            // Taken up without memory, it may have been a turn B before, which has written them.
            put_back_kubelets_files(cx, turn)?;
        }
        let current = in_service(cx, turn)?;
        // The Lease may be long in going: an etcd that was put back meanwhile has brought the cordon back.
        cx.node(TOLD)?;
        hand_back(cx, turn, current)?;
        Ok(true)
    }

    fn act(&self, _cx: &Context<'_>, _turn: &Turn) -> Look<Next> {
        Ok(wait(Reason::Progressing, "", None))
    }

    fn failed(&self) -> Failure {
        Failure::Degraded
    }
}

fn is_given_back(cx: &Context<'_>) -> bool {
    cx.node.in_hand.is_none() && matches!(cx.observed.lease, Some(LeaseSeen::Free | LeaseSeen::Other(_)))
}

/// Whether kubelet's package is the one from before the turn, and not yet the target's.
pub(crate) fn has_its_old_kubelet(cx: &Context<'_>, turn: &Turn) -> Look<bool> {
    let installed = cx.host(HOST_AGE)?.version("kubelet");
    let is_before = installed == Some(&turn.plan.from.kubelet);
    Ok(is_before && installed.and_then(PackageVersion::kubernetes) != Some(turn.plan.target))
}

/// The version a node is in service at after its turn: its kubelet may have gone before its static pods, being down.
fn serves_at(turn: &Turn) -> Version {
    let before = turn.plan.static_pods.filter(|_| turn.kind == TurnKind::Kubelet);
    before.map_or(turn.plan.target, |version| version.min(turn.plan.target))
}

/// What is in service and proven; after turn A nothing else than before, but where an earlier turn B
/// has not come to say so. Proven once more just before it is
/// said: a Node may have been made anew since, or come from an etcd that was put back, which its kubelet mends soon; or a person was at
/// work.
fn in_service(cx: &Context<'_>, turn: &Turn) -> Look<Option<Version>> {
    if turn.kind == TurnKind::ControlPlane {
        let kubelet = cx.node.kubelet.filter(|_| cx.node.ready == Ready::True);
        let runs = control_plane::uniform_static_pods(&cx.pods(PODS_AGE)?.pods);
        let oldest = kubelet.zip(runs).map(|(kubelet, runs)| kubelet.min(runs));
        return Ok(oldest.filter(|version| cx.node.current != Some(*version)));
    }
    let serves = oldest_part(cx, turn)?;
    let written = cx.node.in_hand.is_none() && cx.node.current == Some(serves);
    let lack = if written { None } else { lacks(cx, turn, START_AGE)? };
    let Some(message) = lack else { return Ok(Some(serves)) };
    if turn.stopwatch.spent(cx.now) > limit(cx) {
        // Somebody has taken it further: what that serves as is theirs to say.
        if cx.node.kubelet > Some(turn.plan.target) {
            return Ok(None);
        }
        let message = format!(
            "the node is back in service and does not serve: {message}. It goes on by itself once that is right; else set a new value of \
             the annotation node-upgrade-agent/retry"
        );
        let degraded = Some(Explanation::new(Reason::NotVerified, message));
        return Err(cx.remember(Turn { degraded, ..turn.clone() }));
    }
    cx.node(cx.pace(turn))?;
    Err(wait(Reason::Progressing, message, Some(cx.in_(cx.pace(turn)))))
}

/// The older of kubelet and static pods, as they are now: what the plan says of these may come from an etcd that was put back.
fn oldest_part(cx: &Context<'_>, turn: &Turn) -> Look<Version> {
    if !turn.plan.control_plane {
        return Ok(turn.plan.target);
    }
    let runs = control_plane::uniform_static_pods(&cx.pods(PODS_AGE)?.pods);
    Ok(runs.map_or(serves_at(turn), |runs| runs.min(turn.plan.target)))
}

/// Waits until this node's control plane is whole at `version`, and has been for the soak; for a bounded time.
pub(super) fn proven(cx: &Context<'_>, turn: &Turn, version: Option<Version>) -> Look<()> {
    let Some(version) = version.filter(|_| turn.plan.control_plane) else { return Ok(()) };
    let soak = SOAK.max(cx.settings.soak);
    let late = turn.stopwatch.spent(cx.now) >= limit(cx) + soak;
    let pace = cx.pace(turn);
    let lack = control_plane::lacks(&cx.pods(pace.max(PODS_AGE))?.pods, cx.local(pace)?, version);
    let Some(message) = lack else {
        let lacks = control_plane::lacks(&cx.pods(PODS_AGE)?.pods, cx.local(PACE)?, version);
        let whole = cx.since.whole_for(cx.now);
        if whole >= soak && lacks.is_none() {
            return Ok(());
        }
        let message =
            format!("the control plane has been whole for {} s of {} s", whole.as_secs(), soak.as_secs());
        return Err(wait(Reason::Progressing, message, Some(cx.in_(PACE))));
    };
    // The time may have gone by while nothing answered: what a kubelet has not told yet comes soon after.
    if !late {
        return Err(wait(Reason::Progressing, message, Some(cx.in_(pace))));
    }
    let too_late = turn.stopwatch.spent(cx.now) >= limit(cx) + soak + LATEST;
    if cx.since.told_for(cx.now) < TOLD_AGAIN && !too_late {
        cx.pods(LATE_PACE)?;
        return Err(wait(Reason::Progressing, message, Some(cx.in_(LATE_PACE))));
    }
    let message = format!(
        "the control plane on this node is not whole: {message}. Look at `crictl ps -a`; then set a new value of the annotation \
         node-upgrade-agent/retry"
    );
    let degraded = Some(Explanation::new(Reason::NotVerified, message));
    Err(cx.remember(Turn { degraded, ..turn.clone() }))
}

/// Whether this node's control plane is whole at the turn's target and has been for the soak.
pub(crate) fn is_whole(cx: &Context<'_>, turn: &Turn, age: Duration) -> Look<bool> {
    let (local, pods) = (cx.local(age)?, cx.pods(age)?);
    let lacks = control_plane::lacks(&pods.pods, local, serves_at(turn));
    Ok(lacks.is_none())
}

/// The same for the version it had before a turn A that goes back.
pub(crate) fn is_whole_as_before(cx: &Context<'_>, turn: &Turn, age: Duration) -> Look<bool> {
    let Some(version) = turn.plan.static_pods.filter(|_| turn.kind == TurnKind::ControlPlane) else {
        return Ok(true);
    };
    Ok(control_plane::lacks(&cx.pods(age)?.pods, cx.local(age)?, version).is_none())
}

/// Gives back what the turn has: marks, Lease, holds, units and copies. `current` is what is in service and proven.
pub(super) fn hand_back(cx: &Context<'_>, turn: &Turn, current: Option<Version>) -> Look<()> {
    let stale = current.is_some_and(|version| cx.node.current != Some(version));
    if cx.node.in_hand.is_some() || stale {
        return Err(Next::Do(Act::Unmark { current }));
    }
    if !matches!(cx.observed.lease, Some(LeaseSeen::Free | LeaseSeen::Other(_))) {
        return Err(Next::Do(Act::Release { lease: turn.lease, holder: turn.holder.clone() }));
    }
    tidy(cx, turn)
}

/// What is left on the host: holds are set again, units and copies go.
pub(crate) fn tidy(cx: &Context<'_>, turn: &Turn) -> Look<()> {
    let host = cx.host(Duration::MAX)?;
    let hold = Tool::Hold { packages: cx.memory.held.clone() };
    let unit = hold.unit(&turn.holder.turn, turn.unit_serial);
    if unheld(&cx.memory.held, host) && turn.attempts_in(Step::Releasing) < MAX_ATTEMPTS {
        return Err(match (host.tools.get(&unit), turn.not_before.pending(cx.now)) {
            (Some(ToolState::Ended(_)), _) => {
                cx.remember(turn.clone().failed_in(Step::Releasing, PAUSE, cx.now))
            }
            (_, Some(at)) => wait(Reason::ToolFailed, "the packages are held again soon", Some(at)),
            _ => Next::Do(Act::Run { unit, tool: hold }),
        });
    }
    if !host.copies.is_empty() || !host.tools.is_empty() {
        return Err(Next::Do(Act::CleanUp));
    }
    Ok(())
}
