//! Whether one more node may be out of service (rules 1 and 7).

use super::claim::{Bar, Claimant, give_way, held_by_others, holder_of, is_ignored};
use crate::api::Check;
use crate::api::Reason;
use crate::api::TurnKind;
use crate::api::{Holder, LeaseName};
use crate::observed::{FleetLease, FleetNode, FleetSeen};

/// How many nodes may be out of service at once. One, until the fleet policy brings `maxUnavailable`.
const SLOTS: usize = 1;

/// Rule 1: the slots that come before this one, and the nodes out of service without a slot, leave room for another one. A node
/// that is down itself takes nothing away: for it only slots count.
pub(super) fn bars(who: Claimant<'_>, me: Option<&Holder>, fleet: &FleetSeen) -> Option<Bar> {
    let slots: Vec<String> = held_by_others(me, fleet)
        .filter(|lease| comes_before(lease, who, holder(fleet, &holder_of(lease))))
        .map(holder_of)
        .collect();
    let holds_slot = |node: &&FleetNode| {
        held_by_others(me, fleet)
            .any(|lease| is_slot(lease.name, holder(fleet, &node.name)) && holder_of(lease) == node.name)
    };
    let down = fleet
        .nodes
        .iter()
        .filter(|node| who.serves && node.name != who.node && !is_ignored(node))
        .filter(|node| is_out_of_service(node) && !holds_slot(node))
        .map(|node| node.name.clone());
    let before: Vec<String> = slots.into_iter().chain(down).collect();
    (before.len() >= SLOTS).then(|| {
        let names = before.join(", ");
        let are = if before.len() == 1 { "is" } else { "are" };
        give_way(
            Reason::BudgetExhausted,
            format!("{names} {are} out of service, and no more than {SLOTS} node may be: repair it, or set {IGNORE} on it"),
        )
    })
}

const IGNORE: &str = crate::api::annotations::IGNORE;

fn holder<'a>(fleet: &'a FleetSeen, name: &str) -> Option<&'a FleetNode> {
    fleet.nodes.iter().find(|node| node.name == name)
}

/// Out of service is who is not Ready, or cordoned by a turn. A degraded node that serves is no loss of service.
fn is_out_of_service(node: &FleetNode) -> bool {
    !node.ready || (node.unschedulable && node.cordon_note)
}

/// Whether a Lease stands for a node out of service: that of a control plane does in turn B alone.
fn is_slot(lease: LeaseName, holder: Option<&FleetNode>) -> bool {
    match lease {
        LeaseName::Slot(_) => true,
        LeaseName::ControlPlane => holder.is_some_and(|node| {
            node.in_hand.as_ref().map_or(node.cordon_note, |mark| mark.turn == Some(TurnKind::Kubelet))
        }),
    }
}

/// Slots with a lower number, and those whose holder is at work. A control-plane node's turn B counts as slot 0, waits with its
/// Lease for slots that will fall free, and is barred by those that will not.
fn comes_before(lease: &FleetLease, who: Claimant<'_>, holder: Option<&FleetNode>) -> bool {
    let LeaseName::Slot(number) = lease.name else { return false };
    match who.lease {
        LeaseName::Slot(own) => {
            number < own || (number != own && holder.is_some_and(|node| node.in_hand.is_some()))
        }
        LeaseName::ControlPlane => holder.is_none_or(|node| {
            let told = node.in_hand.as_ref().is_some_and(|mark| mark.degraded.is_some());
            let degraded = told || lease.mark.is_some();
            is_out_of_service(node) && (!node.ready || degraded)
        }),
    }
}

/// Rule 7: a drain needs another Ready, schedulable node.
pub(super) fn nowhere_to_go(who: Claimant<'_>, fleet: &FleetSeen) -> Option<Bar> {
    if !who.drains || who.skips(Check::OtherNodes) {
        return None;
    }
    let elsewhere = fleet.nodes.iter().any(|node| node.name != who.node && node.ready && !node.unschedulable);
    (!elsewhere).then(|| {
        give_way(
            Reason::PreflightPending,
            "no other node is Ready and schedulable, so evicted pods could run nowhere",
        )
    })
}
