//! Cordoning, with the marks in the same fenced PATCH.

use crate::act::Act;
use crate::api::{Explanation, Reason};
use crate::decide::Next;
use crate::decide::context::{Context, Look, prove};
use crate::judge::node_patch::is_cordoned_by_us;
use crate::memory::{Step, Turn};
use crate::observed::{LeaseSeen, ToolState};

use super::gate::{Marked, disturbance};
use super::tool::{is_installed, repair_dpkg};
use super::uncordon::put_back_into_service;
use super::{Gate, Rules, can_turn_back};

/// How old the second look at the host may be.
const HOST_AGE: std::time::Duration = std::time::Duration::from_secs(15);

pub(super) struct Cordoning;

impl Rules for Cordoning {
    /// Before the host has changed, a cordon that somebody lifted is made again; later it is theirs (rule 11).
    fn done(&self, cx: &Context<'_>, turn: &Turn) -> Look<bool> {
        if turn.reached >= Step::Installing && !can_turn_back(cx, turn)? {
            forget_lifted(cx)?;
            return Ok(true);
        }
        // Cordoned again by somebody, it was found so.
        if cx.node.unschedulable {
            forget_lifted(cx)?;
        }
        let marked = cx.node.in_hand.as_ref().is_some_and(|mark| mark.id.as_ref() == Some(&turn.holder.turn));
        Ok(is_cordoned_by_us(cx.node) && marked)
    }

    fn may_start(&self, cx: &Context<'_>, turn: &Turn) -> Look<Gate> {
        if turn.reached < Step::Staging {
            second_look(cx, turn)?;
        }
        // Who has lifted our cordon may have freed the Lease with it.
        if let (Some(lifted), Some(LeaseSeen::Held { at, .. })) = (cx.since.cordon_lifted, &cx.observed.lease)
            && *at <= lifted
        {
            return Err(Next::Do(prove(turn)));
        }
        disturbance(cx, turn, Marked::NotYet)
    }

    fn act(&self, cx: &Context<'_>, turn: &Turn) -> Look<Next> {
        Ok(Next::Do(Act::Cordon { mark: cx.mark(turn) }))
    }

    fn undo(&self, cx: &Context<'_>, turn: &Turn) -> Look<()> {
        put_back_into_service(cx, turn)
    }
}

/// Drops our note of a cordon that somebody lifted: what stands since then is theirs. Not while a tool runs.
pub(super) fn forget_lifted(cx: &Context<'_>) -> Look<()> {
    let runs = cx
        .observed
        .host
        .as_ref()
        .is_some_and(|host| host.tools.values().any(|state| *state == ToolState::Running));
    if cx.since.cordon_lifted.is_some() && !runs { Err(Next::Do(Act::ForgetCordon)) } else { Ok(()) }
}

/// Whether the host is as preflight found it (rule 6: asked again, cheaply, between claim and disturbance). A dpkg that was
/// interrupted is repaired before anything is disturbed.
pub(super) fn second_look(cx: &Context<'_>, turn: &Turn) -> Look<()> {
    let host = cx.host(HOST_AGE)?;
    if host.dpkg_interrupted {
        return Err(repair_dpkg(cx, turn)?);
    }
    let from = &turn.plan.from;
    if is_installed(host, "kubeadm", &from.kubeadm) && is_installed(host, "kubelet", &from.kubelet) {
        return Ok(());
    }
    let why =
        Explanation::new(Reason::PreflightPending, "packages changed since preflight, which is made anew");
    Err(cx.remember(turn.clone().back(why, cx.now)))
}
