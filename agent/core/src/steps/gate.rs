//! What stands before each disturbance and each step without a way back, in one place and one order (rule 9): the mark on the Node,
//! the Lease compared and swapped by this process, the fleet on a consistent read after that, then the act.

use crate::act::Act;
use crate::decide::Next;
use crate::decide::context::{Context, Look, Proof, lease_lost, prove};
use crate::judge::claim::{Bar, BarKind, Claimant, bars_holder, bars_step};
use crate::memory::{Step, Turn};
use crate::observed::LeaseSeen;
use crate::observed::{FleetSeen, LocalControlPlane};

use super::Gate;

/// Whether the mark has to stand, and the Lease to be proven after it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Marked {
    /// It comes with what begins.
    NotYet,
    /// It stands before what begins.
    Stands,
}

/// How old what people ask for may be when something begins for them: a watch can be quiet for hours without being well.
const ASKED_AGAIN: std::time::Duration = std::time::Duration::from_secs(15);

/// Asks `bars` of a fleet that was read after the Lease was proven.
pub(super) fn gate(
    cx: &Context<'_>,
    turn: &Turn,
    marked: Marked,
    bars: impl FnOnce(Claimant<'_>, &FleetSeen, Option<&LocalControlPlane>) -> Option<Bar>,
) -> Look<Gate> {
    cx.node(ASKED_AGAIN)?;
    if turn.plan.control_plane {
        cx.api_server_is_noted(ASKED_AGAIN)?;
    }
    let Proof::Ours(fleet) = cx.proof(turn)? else { return Ok(Gate::GiveWay(lease_lost(turn))) };
    let who = cx.claimant(turn.kind, &turn.plan);
    if let Some(bar) = bars(who, fleet, cx.observed.local.as_ref()) {
        return Ok(Gate::from(bar));
    }
    if marked == Marked::Stands {
        mark_stands(cx, turn)?;
        if proven_at(cx) < cx.since.marked_at {
            return Err(Next::Do(prove(turn)));
        }
    }
    Ok(Gate::Open)
}

/// What stands before cordon and drain. Others are asked before the drain begins; what is under way goes on whatever they do, for the
/// pods evicted so far were moved for it. Past the point of no return only the skew bars.
pub(super) fn disturbance(cx: &Context<'_>, turn: &Turn, marked: Marked) -> Look<Gate> {
    if turn.changed {
        return gate(cx, turn, marked, bars_step);
    }
    if turn.reached >= Step::Draining {
        return gate(cx, turn, marked, |_, _, _| None);
    }
    first_disturbance(cx, turn, marked)
}

/// The same while nobody was disturbed yet.
pub(super) fn first_disturbance(cx: &Context<'_>, turn: &Turn, marked: Marked) -> Look<Gate> {
    gate(cx, turn, marked, |who, fleet, local| bars_holder(who, &turn.holder, fleet, local))
}

/// The mark as it has to stand, read or written.
pub(crate) fn mark_stands(cx: &Context<'_>, turn: &Turn) -> Look<()> {
    let mark = cx.mark(turn);
    if cx.node.in_hand.as_ref() == Some(&mark) { Ok(()) } else { Err(Next::Do(Act::Mark { mark })) }
}

fn proven_at(cx: &Context<'_>) -> crate::time::Mono {
    match cx.observed.lease {
        Some(LeaseSeen::Held { at, .. }) => at,
        _ => crate::time::Mono::default(),
    }
}

impl From<Bar> for Gate {
    fn from(bar: Bar) -> Self {
        match bar.kind {
            BarKind::Keep => Self::Wait(bar.why),
            BarKind::GiveWay | BarKind::Refuse => Self::GiveWay(bar.why),
        }
    }
}
