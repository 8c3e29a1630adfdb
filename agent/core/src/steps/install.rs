//! The kubelet and kubectl packages: the point of no return of turn B.

use std::collections::BTreeMap;

use crate::act::{Act, Tool};
use crate::api::{KubeadmCommand, PackageVersion, TurnKind, Version};
use crate::decide::Next;
use crate::decide::context::{Context, HOST_AGE, Look};
use crate::judge::claim::{bars_resumption, bars_step};
use crate::memory::Packages;
use crate::memory::{Step, Turn};
use crate::observed::HostSeen;

use super::gate::{Marked, gate};
use super::tool::{self, is_begun, is_installed};
use super::{Failure, Gate, Rules};

pub(super) struct Installing;

fn install(turn: &Turn) -> Tool {
    Tool::InstallKubelet { packages: turn.plan.to.clone() }
}

fn has(host: &HostSeen, packages: &Packages) -> bool {
    is_installed(host, "kubelet", &packages.kubelet)
        && packages.kubectl.as_ref().is_none_or(|version| is_installed(host, "kubectl", version))
}

impl Rules for Installing {
    fn done(&self, cx: &Context<'_>, turn: &Turn) -> Look<bool> {
        Ok(turn.reached > Step::Installing || has(cx.host(HOST_AGE)?, &turn.plan.to))
    }

    /// The last gate of turn B: the mark, the Lease, the control plane, and no API server that this kubelet would go past. The
    /// pods are gone already, so it waits here rather than giving way; but for a bounded time.
    fn may_start(&self, cx: &Context<'_>, turn: &Turn) -> Look<Gate> {
        if !can_turn_back(cx, turn)? {
            let who = cx.claimant(turn.kind, &turn.plan);
            let fleet = cx.observed.fleet.as_ref();
            let bar = fleet.and_then(|fleet| bars_resumption(who, true, fleet, None));
            return Ok(bar.map_or(Gate::Open, |bar| Gate::Wait(bar.why)));
        }
        let lost = matches!(
            cx.proof(turn)?,
            crate::decide::context::Proof::Free | crate::decide::context::Proof::Theirs
        );
        Ok(match gate(cx, turn, Marked::Stands, bars_step)? {
            Gate::GiveWay(why) if !lost => Gate::Wait(why),
            gate => gate,
        })
    }

    fn runs(&self, cx: &Context<'_>, turn: &Turn) -> bool {
        is_begun(cx, turn, &install(turn))
    }

    fn act(&self, cx: &Context<'_>, turn: &Turn) -> Look<Next> {
        tool::run(cx, turn, install(turn), self)
    }

    fn failed(&self) -> Failure {
        Failure::Degraded
    }
}

/// Whether the turn can still go back (rule 9). It is observed, not remembered: a step that was begun and changed nothing has a
/// way back.
pub(crate) fn can_turn_back(cx: &Context<'_>, turn: &Turn) -> Look<bool> {
    match turn.kind {
        TurnKind::ControlPlane if turn.changed || turn.reached > Step::Applying => Ok(false),
        TurnKind::ControlPlane => Ok(turn.run.is_none() || is_as_before(cx, turn)?),
        TurnKind::Kubelet if turn.changed => Ok(false),
        TurnKind::Kubelet if turn.reached < Step::Installing => Ok(true),
        TurnKind::Kubelet if turn.kubelet_before.is_some() => Ok(false),
        TurnKind::Kubelet => {
            let host = cx.host(HOST_AGE)?;
            let word = install(turn).word();
            Ok(has(host, &turn.plan.from) && !host.tools.keys().any(|unit| unit.contains(word)))
        }
    }
}

/// Whether a run of kubeadm left the control plane as it was before: API server, controller manager, scheduler and
/// kubeadm-config. kubeadm rolls those back itself, and never etcd. What is not known is not as before.
fn is_as_before(cx: &Context<'_>, turn: &Turn) -> Look<bool> {
    let host = cx.host(HOST_AGE)?;
    let copied = host.copies.iter().any(|copy| copy.turn == turn.holder.turn);
    let changed = !host.changed_manifests.is_empty() || !host.missing_manifests.is_empty();
    if host.runs_a_tool() || changed || !copied {
        return Ok(false);
    }
    // `node` does not write it.
    if turn.run.is_some_and(|run| run.command != KubeadmCommand::Apply) {
        return Ok(true);
    }
    let config = cx.observed.fleet.as_ref().filter(|fleet| fleet.at >= cx.since.tool_ended_at);
    let Some(fleet) = config else { return Err(Next::Do(Act::LookAtFleet)) };
    Ok(fleet.kubeadm_config.is_some() && fleet.kubeadm_config == turn.plan.kubeadm_config)
}

/// The versions a node may serve at while this turn is under way.
pub(super) fn chosen(turn: &Turn, running: Option<Version>) -> bool {
    let [from, to] = [&turn.plan.from.kubelet, &turn.plan.to.kubelet].map(PackageVersion::kubernetes);
    running.is_some() && [from, to, Some(turn.plan.target)].contains(&running)
}

/// Held packages that a transaction has set free.
pub(super) fn unheld<'a>(held: impl IntoIterator<Item = &'a String>, host: &HostSeen) -> bool {
    let packages: &BTreeMap<_, _> = &host.packages;
    held.into_iter().any(|name| packages.get(name).is_some_and(|package| !package.held))
}
