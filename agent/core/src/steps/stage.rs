//! The kubeadm package.

use crate::act::Tool;
use crate::api::TurnKind;
use crate::decide::Next;
use crate::decide::context::{Context, HOST_AGE, Look};
use crate::judge::claim::{bars_holder, bars_replanned};
use crate::memory::{Packages, Plan, Step, Turn};
use crate::observed::{HostSeen, ToolState};

use super::cordon::second_look;
use super::gate::{Marked, gate};
use super::tool::{self, MAX_ATTEMPTS, is_begun, is_installed};
use super::{Gate, Rules};

pub(super) struct Staging;

fn forward(turn: &Turn) -> Tool {
    Tool::InstallKubeadm { packages: turn.plan.to.clone(), back: false }
}

/// The planned package, or a newer one of the same minor that a person has installed: kubeadm serves what is older than itself, and
/// nothing is downgraded (rule 5).
fn has_kubeadm(host: &HostSeen, turn: &Turn) -> bool {
    let target = turn.plan.target;
    let newer = host
        .packages
        .get("kubeadm")
        .filter(|seen| seen.configured)
        .and_then(|seen| seen.version.kubernetes());
    is_installed(host, "kubeadm", &turn.plan.to.kubeadm)
        || newer.is_some_and(|newer| newer > target && newer.minors_ahead_of(target) == 0)
}

/// A person has installed it since the turn was planned: it is what the turn found, and it stays where the turn goes back.
fn found_installed(cx: &Context<'_>, turn: &Turn, host: &HostSeen) -> Look<()> {
    let Some(found) = host.version("kubeadm").filter(|found| **found != turn.plan.from.kubeadm) else {
        return Ok(());
    };
    let from = Packages { kubeadm: found.clone(), ..turn.plan.from.clone() };
    Err(cx.remember(Turn { plan: Plan { from, ..turn.plan.clone() }, ..turn.clone() }))
}

impl Rules for Staging {
    fn done(&self, cx: &Context<'_>, turn: &Turn) -> Look<bool> {
        // Past the point of no return nothing more is asked of kubeadm.
        let past = match turn.kind {
            TurnKind::ControlPlane => turn.reached > Step::Applying,
            TurnKind::Kubelet => turn.reached >= Step::Installing,
        };
        if past {
            return Ok(true);
        }
        let host = cx.host(HOST_AGE)?;
        if turn.reached < Step::Staging && has_kubeadm(host, turn) {
            found_installed(cx, turn, host)?;
        }
        Ok(has_kubeadm(host, turn))
    }

    /// In turn A nothing was asked since the claim; it waits for slots here, without its mark. In turn B the cordon has asked.
    fn may_start(&self, cx: &Context<'_>, turn: &Turn) -> Look<Gate> {
        let me = &turn.holder;
        match turn.kind {
            TurnKind::ControlPlane if turn.changed => gate(cx, turn, Marked::Stands, bars_replanned),
            TurnKind::ControlPlane if turn.reached > Step::Staging => {
                gate(cx, turn, Marked::Stands, |_, _, _| None)
            }
            TurnKind::ControlPlane => {
                if turn.reached < Step::Staging {
                    second_look(cx, turn)?;
                }
                gate(cx, turn, Marked::Stands, |who, fleet, local| bars_holder(who, me, fleet, local))
            }
            TurnKind::Kubelet => gate(cx, turn, Marked::Stands, |_, _, _| None),
        }
    }

    fn runs(&self, cx: &Context<'_>, turn: &Turn) -> bool {
        is_begun(cx, turn, &forward(turn))
    }

    fn act(&self, cx: &Context<'_>, turn: &Turn) -> Look<Next> {
        tool::run(cx, turn, forward(turn), self)
    }

    /// Only what this turn installed is taken back; what cannot be put back stays, and the node goes back into service all the
    /// same: a kubeadm that is newer than its node does no harm.
    fn undo(&self, cx: &Context<'_>, turn: &Turn) -> Look<()> {
        let host = cx.host(HOST_AGE)?;
        let (from, to) = (&turn.plan.from.kubeadm, &turn.plan.to.kubeadm);
        let ours = from != to
            && host.packages.get("kubeadm").is_some_and(|seen| seen.version == *to || !seen.configured);
        let tool = Tool::InstallKubeadm { packages: turn.plan.from.clone(), back: true };
        // What stands there after it was put back is a person's.
        let put_back = !turn.is_forward()
            && host.tools.get(&tool.unit(&turn.holder.turn, turn.unit_serial)) == Some(&ToolState::Ended(0));
        if !ours
            || put_back
            || cx.since.cleaned_up
            || !turn.plan.can_restore_packages
            || turn.attempts() >= MAX_ATTEMPTS
        {
            return Ok(());
        }
        Err(tool::run(cx, turn, tool, self)?)
    }
}
