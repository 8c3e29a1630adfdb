//! Whose turn it is (rules 1, 2, 9, 12): what bars a claim, asked before it on cheap reads and after it on a consistent one.
//!
//! Both sides claim first and check after, so two agents that claim at once see each other: the worker then gives its slot back,
//! and the control-plane node keeps its Lease and waits.

use std::collections::BTreeSet;

use super::budget;
use super::control_plane::{self, others_whole};
use super::skew;
use crate::api::Check;
use crate::api::TurnKind;
use crate::api::Version;
use crate::api::{Explanation, Reason};
use crate::api::{Holder, LeaseName};
use crate::observed::{FleetLease, FleetNode, FleetSeen, LocalControlPlane};

/// Who asks, for which turn.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct Claimant<'a> {
    /// This node's name.
    pub node: &'a str,
    /// The turn it wants.
    pub kind: TurnKind,
    /// Whether it carries a control plane.
    pub control_plane: bool,
    /// Whether its Node is Ready.
    pub serves: bool,
    /// The Lease it needs.
    pub lease: LeaseName,
    /// The version it goes to.
    pub target: Version,
    /// Whether its pods have to find room elsewhere.
    pub drains: bool,
    /// Whether its kubelet talks to the API server of its own node alone.
    pub own_server: bool,
    /// Checks that people asked to pass over.
    pub skip: &'a BTreeSet<Check>,
}

impl Claimant<'_> {
    /// Whether people asked to pass over this check, and may.
    pub fn skips(&self, check: Check) -> bool {
        check.may_be_skipped() && self.skip.contains(&check)
    }
}

/// Something that stands in the way of a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bar {
    /// What, and whose.
    pub why: Explanation,
    /// What follows from it.
    pub kind: BarKind,
}

/// What follows from a bar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BarKind {
    /// Bars no claim: whoever has the Lease keeps it and waits, while nobody else claims anew.
    Keep,
    /// Bars a claim; whoever has claimed gives way. It may change by itself.
    GiveWay,
    /// The same, but only a person can change it.
    Refuse,
}

fn keep(message: impl Into<String>) -> Bar {
    Bar { why: Explanation::new(Reason::WaitingForTurn, message), kind: BarKind::Keep }
}

fn waits(message: impl Into<String>) -> Bar {
    give_way(Reason::WaitingForTurn, message)
}

/// A bar of the kind that may change by itself.
pub(super) fn give_way(reason: Reason, message: impl Into<String>) -> Bar {
    Bar { why: Explanation::new(reason, message), kind: BarKind::GiveWay }
}

/// What bars a claim, judged on reads that need not be consistent; none if it may be made.
pub fn bars_claim(who: Claimant<'_>, fleet: &FleetSeen, local: Option<&LocalControlPlane>) -> Option<Bar> {
    bars(who, None, fleet, local)
        .into_iter()
        .find(|bar| bar.kind != BarKind::Keep)
        .or_else(|| lease_is_held(who, fleet))
}

/// What stands in the way of whoever holds the Lease as `me`, judged on a consistent read made after its claim.
pub fn bars_holder(
    who: Claimant<'_>,
    me: &Holder,
    fleet: &FleetSeen,
    local: Option<&LocalControlPlane>,
) -> Option<Bar> {
    bars(who, Some(me), fleet, local).into_iter().next()
}

/// What still bars a turn that is past its point of no return (rule 9): neither policy nor budget, halting, slots or order.
///
/// In turn A another's mark, as long as this node has not got the Lease, and etcd; in turn B an API server of an older minor.
pub fn bars_resumption(
    who: Claimant<'_>,
    holds: bool,
    fleet: &FleetSeen,
    local: Option<&LocalControlPlane>,
) -> Option<Bar> {
    match who.kind {
        TurnKind::Kubelet => skew::bars(who, fleet),
        TurnKind::ControlPlane => {
            let marked = control_planes(fleet).find(|node| node.name != who.node && node.in_hand.is_some());
            let marked = marked.filter(|_| !holds).map(|node| waits(in_the_middle(node)));
            marked.or_else(|| control_plane::etcd_bars(who, fleet, local))
        }
    }
}

/// Of several control-plane nodes that are in the middle of their upgrade, none of which has got the Lease, the first by name goes on:
/// each would wait for the others.
pub fn goes_first_of_marked(who: Claimant<'_>, fleet: &FleetSeen) -> bool {
    let held = held_by_others(None, fleet).any(|lease| lease.name == LeaseName::ControlPlane);
    let mut marked = control_planes(fleet).filter(|node| node.in_hand.is_some());
    !held && marked.all(|node| who.node <= node.name.as_str())
}

/// What bars the step without a way back of whoever holds the Lease: neither policy nor budget, which were asked before.
pub fn bars_step(who: Claimant<'_>, fleet: &FleetSeen, local: Option<&LocalControlPlane>) -> Option<Bar> {
    let whole = if who.control_plane { others_whole(who, fleet, local) } else { None };
    whole.or_else(|| (who.kind == TurnKind::Kubelet).then(|| kubelet_is_ahead(who, fleet)).flatten())
}

/// What bars a degraded turn that was planned anew for another target: the order in which nodes go, and the skew.
pub fn bars_replanned(
    who: Claimant<'_>,
    fleet: &FleetSeen,
    local: Option<&LocalControlPlane>,
) -> Option<Bar> {
    if who.control_plane {
        return bars_step(who, fleet, local);
    }
    // Being out of service for its turn already, it is what a kubelet of the control plane may wait for.
    let out = Claimant { serves: false, ..who };
    let order = control_plane_at_work(who, None, fleet).or_else(|| control_plane_first(out, fleet));
    order.or_else(|| kubelet_is_ahead(who, fleet))
}

/// Whether this kubelet would go ahead of an API server, or of the configuration it is to have.
fn kubelet_is_ahead(who: Claimant<'_>, fleet: &FleetSeen) -> Option<Bar> {
    skew::bars(who, fleet).or_else(|| config_is_older(who, fleet))
}

/// Everything that stands in the way, in the order in which people are told.
fn bars(
    who: Claimant<'_>,
    me: Option<&Holder>,
    fleet: &FleetSeen,
    local: Option<&LocalControlPlane>,
) -> Vec<Bar> {
    let bars = [halted(who, me, fleet), paused(fleet)];
    let order = match (who.kind, who.control_plane) {
        (TurnKind::ControlPlane, _) => {
            [others_whole(who, fleet, local), workers_at_work(me, fleet), None, None]
        }
        (TurnKind::Kubelet, true) => [
            others_whole(who, fleet, local),
            kubelet_is_ahead(who, fleet),
            budget::bars(who, me, fleet),
            workers_at_work(me, fleet),
        ],
        (TurnKind::Kubelet, false) => [
            control_plane_at_work(who, me, fleet),
            control_plane_first(who, fleet),
            kubelet_is_ahead(who, fleet),
            budget::bars(who, me, fleet),
        ],
    };
    let room = (who.kind == TurnKind::Kubelet).then(|| budget::nowhere_to_go(who, fleet)).flatten();
    bars.into_iter().chain(order).chain([room]).flatten().collect()
}

fn paused(fleet: &FleetSeen) -> Option<Bar> {
    let why = fleet.policy.policy.forbids_claims()?;
    Some(give_way(Reason::Paused, why))
}

/// The node that holds a Lease, or whatever is written there.
pub(super) fn holder_of(lease: &FleetLease) -> String {
    let holder = lease.holder.as_deref().unwrap_or("nobody");
    Holder::parse(holder).map_or_else(|| holder.to_owned(), |holder| holder.node)
}

fn in_use(lease: &FleetLease) -> String {
    format!("{} holds the Lease {}", holder_of(lease), lease.name)
}

/// What a turn past its point of no return waits for, whose Lease somebody else has taken.
pub fn held_by_another(lease: &FleetLease) -> Explanation {
    Explanation::new(Reason::WaitingForTurn, in_use(lease))
}

fn in_the_middle(node: &FleetNode) -> String {
    format!("{} is in the middle of its upgrade", node.name)
}

/// Leases that somebody other than `me` holds.
pub(super) fn held_by_others<'a>(
    me: Option<&'a Holder>,
    fleet: &'a FleetSeen,
) -> impl Iterator<Item = &'a FleetLease> {
    fleet.leases.iter().filter(move |lease| match me {
        Some(me) => lease.held_by_other_than(me),
        None => lease.holder.is_some(),
    })
}

pub(super) fn control_planes(fleet: &FleetSeen) -> impl Iterator<Item = &FleetNode> {
    fleet.nodes.iter().filter(|node| node.control_plane)
}

fn lease_is_held(who: Claimant<'_>, fleet: &FleetSeen) -> Option<Bar> {
    let held = held_by_others(None, fleet).find(|lease| lease.name == who.lease)?;
    let gone = Holder::parse(held.holder.as_deref().unwrap_or_default())
        .is_some_and(|holder| !fleet.nodes.iter().any(|node| node.uid == holder.uid));
    let note = if gone { ", and its Node is gone: see the manual on freeing a Lease" } else { "" };
    Some(waits(format!("{}{note}", in_use(held))))
}

/// Another node is degraded at this target, which halts claims to it; a newer one is the way forward.
fn halted(who: Claimant<'_>, me: Option<&Holder>, fleet: &FleetSeen) -> Option<Bar> {
    let at_this = |target: Option<Version>| target.is_none_or(|target| target == who.target);
    let ignored =
        |lease: &FleetLease| fleet.nodes.iter().any(|node| node.name == holder_of(lease) && is_ignored(node));
    let leases = held_by_others(me, fleet).filter(|lease| !ignored(lease)).filter_map(|lease| {
        let mark = lease.mark.as_ref().filter(|mark| at_this(mark.target))?;
        Some((in_use(lease), mark.why.as_str()))
    });
    let nodes = fleet.nodes.iter().filter(|node| node.name != who.node && !is_ignored(node));
    let nodes = nodes.filter_map(|node| {
        let mark = node.in_hand.as_ref()?;
        let why = mark.degraded.as_deref().filter(|_| at_this(mark.to))?;
        Some((in_the_middle(node), why))
    });
    let (who_is, why) = leases.chain(nodes).next()?;
    Some(give_way(
        Reason::Halted,
        format!("{who_is} and is degraded, which halts upgrades to {}: {why}", who.target),
    ))
}

/// `ignore` is for workers alone: a control-plane node counts in every gate.
pub(super) fn is_ignored(node: &FleetNode) -> bool {
    node.ignored && !node.control_plane
}

/// A worker that holds a slot or is in the middle of its turn. One that is degraded or ignored bars no gate of order.
fn workers_at_work(me: Option<&Holder>, fleet: &FleetSeen) -> Option<Bar> {
    let node = |name: &str| fleet.nodes.iter().find(|node| node.name == name);
    let slots = held_by_others(me, fleet).filter(|lease| {
        let ignored = node(&holder_of(lease)).is_some_and(is_ignored);
        matches!(lease.name, LeaseName::Slot(_)) && lease.mark.is_none() && !ignored
    });
    let is_degraded = |node: &&FleetNode| {
        let mut held = held_by_others(me, fleet).filter(|lease| lease.mark.is_some());
        held.any(|lease| holder_of(lease) == node.name)
    };
    let marked =
        fleet.nodes.iter().filter(|node| !node.control_plane && !is_ignored(node) && !is_degraded(node));
    let marked = marked.filter(|node| node.in_hand.as_ref().is_some_and(|mark| mark.degraded.is_none()));
    slots.map(in_use).chain(marked.map(in_the_middle)).next().map(keep)
}

/// A control-plane node has a turn. A worker that has claimed gives its slot back, but never one that is down: its upgrade may be
/// its repair.
fn control_plane_at_work(who: Claimant<'_>, me: Option<&Holder>, fleet: &FleetSeen) -> Option<Bar> {
    if me.is_some() && !who.serves {
        return None;
    }
    let leases = held_by_others(None, fleet).filter(|lease| lease.name == LeaseName::ControlPlane);
    let leases = leases.map(in_use);
    let marked = control_planes(fleet).filter(|node| node.in_hand.is_some()).map(in_the_middle);
    leases.chain(marked).next().map(waits)
}

/// `kubeadm upgrade node` writes the kubelet's files that kubeadm-config stands for: it has to name the target's minor. Where it is
/// older than an API server, etcd was put back from a backup or a turn A is not over, and workers wait for it.
fn config_is_older(who: Claimant<'_>, fleet: &FleetSeen) -> Option<Bar> {
    let target = who.target;
    let Some(config) = fleet.kubeadm_config else {
        return Some(waits("ConfigMap kube-system/kubeadm-config names no version"));
    };
    let servers = control_planes(fleet).filter_map(|node| fleet.api_server(&node.name));
    let put_back = !who.control_plane && config < target && servers.into_iter().any(|server| server > config);
    let older = target.minors_ahead_of(config) > 0 || put_back;
    older.then(|| {
        waits(
            format!(
                "ConfigMap kube-system/kubeadm-config names {config}, which is older than {target}: set the target of the \
                 control-plane nodes to {target} first"
            ),
        )
    })
}

/// Workers wait for control-plane nodes with an unmet target. A worker that is down waits for API servers alone: its upgrade may
/// be its repair, and what a kubelet of the control plane waits for may be this very worker.
fn control_plane_first(who: Claimant<'_>, fleet: &FleetSeen) -> Option<Bar> {
    control_planes(fleet).find_map(|node| {
        let target = node.target?;
        let runs = fleet.api_server(&node.name);
        if runs.is_none() && !who.skip.contains(&Check::ApiServers) {
            return Some(waits(format!(
                "what the API server of control-plane node {} runs is not known: see that its agent runs, or set {}={} on this node",
                node.name,
                crate::api::annotations::SKIP_CHECKS,
                Check::ApiServers,
            )));
        }
        let server_lacks = runs.is_some_and(|runs| runs < target);
        let kubelet_lacks = node.kubelet.is_none_or(|kubelet| kubelet < target);
        let counts = server_lacks || (kubelet_lacks && !node.refused && who.serves);
        counts.then(|| {
            let note = match (node.current, node.refused) {
                (None, _) => ", and no agent is seen there",
                (Some(_), true) => ", which is refused there: its status says why",
                (Some(_), false) => "",
            };
            waits(format!("control-plane node {} goes to {target} first{note}", node.name))
        })
    })
}

#[cfg(test)]
mod tests;
