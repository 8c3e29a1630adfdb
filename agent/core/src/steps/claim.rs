//! Taking the Lease. The turn is planned only where nothing bars the claim, so what is left here is the swap itself; and, past the
//! point of no return, the claim of a Lease that was lost.

use crate::act::Act;
use crate::api::Holder;
use crate::api::TurnKind;
use crate::api::{Explanation, Reason};
use crate::decide::Next;
use crate::decide::context::{Context, Look, PROOF_WHILE_DRAINING, lease_lost, renew};
use crate::judge::claim::{bars_resumption, goes_first_of_marked, held_by_another};
use crate::memory::{Step, Turn};
use crate::observed::DrainState;
use crate::observed::{FleetLease, FleetSeen, LeaseSeen};

use super::release::{hand_back, proven};
use super::{Gate, Rules, can_turn_back};

/// How old the fleet may be on which a turn past its point of no return claims again.
const FLEET_AGE: std::time::Duration = std::time::Duration::from_secs(30);

/// After so long a kubeadm that runs without its Lease has ended.
const ENDED: std::time::Duration = std::time::Duration::from_mins(20);

/// How long a claim that finds no answer is tried again: what it rests on grows old.
const CLAIM_AGE: std::time::Duration = std::time::Duration::from_secs(15);

pub(super) struct Claiming;

impl Rules for Claiming {
    /// Turn B past its point of no return goes on without a Lease, and no turn needs one to end.
    fn done(&self, cx: &Context<'_>, turn: &Turn) -> Look<bool> {
        if turn.reached == Step::Releasing {
            return Ok(true);
        }
        match &cx.observed.lease {
            Some(LeaseSeen::Held { at, turn: held, .. }) if *held == turn.holder.turn => {
                let stale = is_draining(cx) && !cx.is_fresh(*at, PROOF_WHILE_DRAINING);
                if stale { Err(Next::Do(renew(turn))) } else { Ok(true) }
            }
            _ if turn.kind == TurnKind::Kubelet && !can_turn_back(cx, turn)? => Ok(true),
            None if !begins_in_this_life(cx, turn) => Err(Next::Do(renew(turn))),
            Some(LeaseSeen::Held { .. }) => Err(Next::Do(renew(turn))),
            Some(LeaseSeen::Free | LeaseSeen::Other(_)) | None => Ok(false),
        }
    }

    fn may_start(&self, cx: &Context<'_>, turn: &Turn) -> Look<Gate> {
        if !can_turn_back(cx, turn)? {
            let who = cx.claimant(turn.kind, &turn.plan);
            let (fleet, local) = (cx.fleet(FLEET_AGE)?, cx.local(FLEET_AGE)?);
            // A race that was lost is seen only by a later look.
            if fleet.at < cx.since.claimed_at {
                return Err(Next::Do(Act::LookAtFleet));
            }
            frees_its_own(fleet, turn)?;
            let theirs =
                |lease: &&FleetLease| lease.name == turn.lease && lease.held_by_another_node(&turn.holder);
            if let Some(lease) = fleet.leases.iter().find(theirs) {
                return Ok(Gate::Wait(held_by_another(lease)));
            }
            let first = turn.stopwatch.spent(cx.now) > ENDED && goes_first_of_marked(who, fleet);
            return Ok(match bars_resumption(who, first, fleet, Some(local)) {
                Some(bar) => Gate::Wait(bar.why),
                None => Gate::Open,
            });
        }
        Ok(match &cx.observed.lease {
            None if turn.stopwatch.spent(cx.now) > CLAIM_AGE => Gate::GiveWay(Explanation::new(
                Reason::WaitingForTurn,
                format!("the Lease {} could not be claimed; whether it may be is judged anew", turn.lease),
            )),
            None => Gate::Open,
            Some(_) if turn.reached > Step::Claiming => Gate::GiveWay(lease_lost(turn)),
            Some(_) => Gate::GiveWay(Explanation::new(
                Reason::WaitingForTurn,
                format!("another node was quicker to take the Lease {}", turn.lease),
            )),
        })
    }

    fn act(&self, _cx: &Context<'_>, turn: &Turn) -> Look<Next> {
        Ok(Next::Do(Act::Claim { lease: turn.lease, holder: turn.holder.clone() }))
    }

    fn undo(&self, cx: &Context<'_>, turn: &Turn) -> Look<()> {
        // kubeadm has put back what it began: that is proven as the end of any other turn is.
        if turn.kind == TurnKind::ControlPlane && turn.run.is_some() {
            proven(cx, turn, turn.plan.static_pods)?;
        }
        hand_back(cx, turn, None)
    }
}

/// An etcd that was put back may bring back what an earlier Node of this name held: nobody else would free it.
fn frees_its_own(fleet: &FleetSeen, turn: &Turn) -> Look<()> {
    let of_this_turn = fleet.leases.iter().filter(|lease| lease.name == turn.lease);
    let mut holders = of_this_turn.filter_map(|lease| lease.holder.as_deref().and_then(Holder::parse));
    let earlier = |holder: &Holder| holder.node == turn.holder.node && !holder.is_of_same_node(&turn.holder);
    match holders.find(earlier) {
        Some(holder) => Err(Next::Do(Act::Release { lease: turn.lease, holder })),
        None => Ok(()),
    }
}

/// A turn found in the journal may have claimed or not: the Lease is asked, and if it is not ours the plan is made anew.
fn begins_in_this_life(cx: &Context<'_>, turn: &Turn) -> bool {
    let found = cx.observed.preflight.as_ref();
    turn.reached == Step::Claiming
        && found.is_some_and(|found| found.target == turn.plan.target && found.kind == turn.kind)
}

fn is_draining(cx: &Context<'_>) -> bool {
    cx.observed.drain.as_ref().is_some_and(|drain| drain.state == DrainState::Draining)
}
