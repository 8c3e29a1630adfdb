//! What brings this host's API server or kubelet back, before everything else: it needs neither API nor Lease, in whatever state the
//! node is (rule 9).

use std::time::Duration;

use super::Next;
use super::context::{Context, HOST_AGE, Look};
use crate::act::{Act, Tool};
use crate::api::TurnId;
use crate::api::TurnKind;
use crate::api::{Explanation, Reason};
use crate::memory::{Direction, Step, Turn};
use crate::observed::{HostSeen, ToolState};
use crate::steps;

/// kubeadm gives a static pod five minutes before it puts the manifests back; so do we, where it was cut before it could.
const ROLL_BACK_AFTER: Duration = Duration::from_mins(6);

/// What is to be done first, if anything.
pub(super) fn bring_back(cx: &Context<'_>) -> Look<()> {
    let Some(turn) = &cx.memory.turn else {
        let Some(host) = &cx.observed.host else { return Err(Next::Do(Act::LookAtHost { turn: None })) };
        // Copies outlive a lost memory.
        manifests(host, None)?;
        return half_installed(cx, host);
    };
    // Before the host is changed nothing of it can be broken by this turn.
    let untouched = turn.reached < Step::Staging;
    let host = cx.host(if untouched { Duration::MAX } else { HOST_AGE })?;
    if let Some((unit, _)) = host.tools.iter().find(|(_, state)| **state == ToolState::Running) {
        return Err(Next::Do(Act::Await { unit: unit.clone() }));
    }
    if untouched {
        return Ok(());
    }
    manifests(host, Some(turn))?;
    repair(cx, turn, host)?;
    roll_back(cx, turn, host)?;
    kubelet_config(cx, turn, host)
}

/// A static pod manifest that is missing is put back from our newest copy that has it.
fn manifests(host: &HostSeen, turn: Option<&Turn>) -> Look<()> {
    let runs = host.tools.values().any(|state| *state == ToolState::Running);
    let copy = turn
        .map(|turn| turn.holder.turn.clone())
        .or_else(|| host.copies.last().map(|copy| copy.turn.clone()));
    match copy {
        Some(turn) if !host.missing_manifests.is_empty() && !runs => {
            Err(Next::Do(Act::RestoreManifests { turn }))
        }
        _ => Ok(()),
    }
}

/// A control plane whose kubelet was half installed when power and memory were lost: nothing answers that could tell its agent of its
/// turn. dpkg is finished once a boot; what is left then is for people.
fn half_installed(cx: &Context<'_>, host: &HostSeen) -> Look<()> {
    if cx.memory.known || !host.control_plane || !host.dpkg_interrupted || !is_unseen(cx) {
        return Ok(());
    }
    let unit = repair_without_turn();
    let host = cx.host(HOST_AGE)?;
    if host.runs_a_tool() || host.tools.contains_key(&unit) || !host.dpkg_interrupted {
        return Ok(());
    }
    Err(Next::Do(Act::Run { unit, tool: Tool::RepairDpkg }))
}

/// The unit of that repair. It is no trace of a turn: any package that was interrupted brings it about, on a new node too.
pub(super) fn repair_without_turn() -> String {
    Tool::RepairDpkg.unit(&TurnId("lost".to_owned()), 0)
}

/// An interrupted dpkg is repaired, as often as a step may fail, while packages of this turn are still to be installed or put back.
fn repair(cx: &Context<'_>, turn: &Turn, host: &HostSeen) -> Look<()> {
    let last = match turn.kind {
        TurnKind::ControlPlane => Step::Staging,
        TurnKind::Kubelet => Step::Installing,
    };
    let over = turn.reached == Step::Releasing || (turn.is_forward() && turn.reached > last);
    if !host.dpkg_interrupted
        || over
        || turn.attempts() >= steps::MAX_ATTEMPTS
        || turn.not_before.pending(cx.now).is_some()
    {
        return Ok(());
    }
    Err(steps::repair_dpkg(cx, turn)?)
}

/// kubeadm's own roll-back, where it was cut before the new API server was Ready and that does not come up: our three manifests,
/// never etcd's, whose data may be the newer version's.
fn roll_back(cx: &Context<'_>, turn: &Turn, host: &HostSeen) -> Look<()> {
    let cut = turn.kind == TurnKind::ControlPlane && turn.run.is_some_and(|run| !run.succeeded);
    let changed = cut && !host.changed_manifests.is_empty();
    let dead = cx.since.api_server_dead_for(cx.now).is_some_and(|dead| dead > ROLL_BACK_AFTER);
    if !changed {
        return Ok(());
    }
    if is_unseen(cx) {
        // Nothing else asks it while nothing answers.
        cx.local(UNSEEN_PACE)?;
    }
    if dead { Err(Next::Do(Act::RollBackManifests { turn: turn.holder.turn.clone() })) } else { Ok(()) }
}

/// How often the control plane is asked while nothing answers.
const UNSEEN_PACE: Duration = Duration::from_secs(10);

/// Whether the own Node was not told or read for a while.
fn is_unseen(cx: &Context<'_>) -> bool {
    cx.observed.node.is_none() || !cx.is_fresh(cx.observed.node_at, HOST_AGE)
}

/// kubelet's files, where the old kubelet may not come up with the new ones and nothing answers since: back before the point of no
/// return, which needs no API.
fn kubelet_config(cx: &Context<'_>, turn: &Turn, host: &HostSeen) -> Look<()> {
    let before =
        turn.kind == TurnKind::Kubelet && turn.reached == Step::Applying && host.kubelet_config_changed;
    let unseen = cx.observed.node.is_none() || !cx.is_fresh(cx.observed.node_at, ROLL_BACK_AFTER);
    if !before || !unseen || !steps::can_turn_back(cx, turn)? {
        return Ok(());
    }
    match turn.direction {
        Direction::Back(_) => Err(Next::Do(Act::RestoreKubeletConfig { turn: turn.holder.turn.clone() })),
        Direction::Forward if turn.degraded.is_some() || turn.stopwatch.spent(cx.now) <= ROLL_BACK_AFTER => {
            Ok(())
        }
        Direction::Forward => {
            let message = "the API server does not answer since kubeadm has written kubelet's files, which were put back";
            Err(cx.remember(turn.clone().back(Explanation::new(Reason::TimedOut, message), cx.now)))
        }
    }
}
