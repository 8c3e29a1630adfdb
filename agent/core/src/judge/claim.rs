//! Whose turn it is: the Leases agents share, the control plane first and alone (design rules 1, 2, 12).
//!
//! Both sides claim first and check after on a consistent read, so two agents that claim at once see each other:
//! the worker then gives its slot back and the control-plane node keeps its Lease and waits.

use crate::api::{Explanation, Holder, LeaseName, Reason, Version};
use crate::observed::{EtcdSeen, FleetLease, FleetNode, FleetSeen, LocalControlPlane, TurnSeen};

/// How many workers may be upgraded at once. One, until the fleet policy brings `maxUnavailable`.
pub const SLOTS: u32 = 1;

/// Whether a claim may stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClaimStanding {
    /// Go on and cordon.
    Holds,
    /// Keep the Lease and look again later.
    KeepAndWait(Explanation),
    /// Give the Lease back and wait.
    GiveBack(Explanation),
}

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'a> {
    /// This node's name.
    pub node: &'a str,
    /// Which Lease it needs.
    pub lease: LeaseName,
    /// The version it goes to.
    pub target: Version,
    /// Whether the drain needs another node to move pods to.
    pub drains: bool,
}

fn waits(message: impl Into<String>) -> Explanation {
    Explanation::new(Reason::WaitingForTurn, message)
}

/// Why it is not worth claiming yet, from what a waiting agent's watches show.
pub fn may_claim(who: Candidate<'_>, turn: &TurnSeen) -> Option<Explanation> {
    let held = |lease: &&FleetLease| lease.holder.is_some();
    if let Some(lease) = turn.leases.iter().find(|lease| lease.degraded.is_some()) {
        return Some(halted(lease));
    }
    if let Some(node) = turn.control_planes.iter().find(|node| is_stuck(who, node)) {
        return Some(degraded(node));
    }
    match who.lease {
        LeaseName::ControlPlane => turn.leases.iter().find(held).map(|lease| waits(in_use(lease))),
        LeaseName::Slot(_) => turn
            .leases
            .iter()
            .filter(|lease| lease.name == who.lease || lease.name == LeaseName::ControlPlane)
            .find(held)
            .map(|lease| waits(in_use(lease)))
            .or_else(|| control_plane_first(&turn.control_planes)),
    }
}

/// Whether a Lease that was claimed may be used, from a consistent read made after the claim.
pub fn claim_stands(
    who: Candidate<'_>,
    me: &Holder,
    fleet: &FleetSeen,
    local: Option<&LocalControlPlane>,
) -> ClaimStanding {
    let others = || fleet.leases.iter().filter(|lease| lease.held_by_other_than(me));
    if let Some(lease) = others().find(|lease| lease.degraded.is_some()) {
        return ClaimStanding::GiveBack(halted(lease));
    }
    if let Some(node) = fleet.nodes.iter().find(|node| is_stuck(who, node)) {
        return ClaimStanding::GiveBack(degraded(node));
    }
    let verdict = match who.lease {
        LeaseName::ControlPlane => {
            if let Some(lease) = others().next() {
                return ClaimStanding::KeepAndWait(waits(in_use(lease)));
            }
            if let Some(node) =
                fleet.nodes.iter().find(|node| node.mid_upgrade && node.name != who.node && !node.ignored)
            {
                return ClaimStanding::KeepAndWait(waits(format!(
                    "{} is in the middle of its upgrade",
                    node.name
                )));
            }
            control_plane_is_whole(who.node, fleet, local)
        }
        LeaseName::Slot(number) => others()
            .find(|lease| lease.name == LeaseName::ControlPlane)
            .map(|lease| waits(in_use(lease)))
            .or_else(|| control_plane_first(fleet.nodes.iter().filter(|node| node.control_plane)))
            .or_else(|| api_server_behind(who.target, fleet))
            .or_else(|| over_budget(who.node, number, fleet)),
    };
    match verdict.or_else(|| nowhere_to_go(who, fleet)) {
        None => ClaimStanding::Holds,
        Some(trouble) => ClaimStanding::GiveBack(trouble),
    }
}

fn in_use(lease: &FleetLease) -> String {
    let holder = lease.holder.as_deref().unwrap_or("nobody");
    let node = Holder::parse(holder).map_or_else(|| holder.to_owned(), |holder| holder.node);
    format!("{node} holds the Lease {}", lease.name)
}

fn halted(lease: &FleetLease) -> Explanation {
    let why = lease.degraded.as_deref().unwrap_or_default();
    Explanation::new(
        Reason::BudgetExhausted,
        format!("{} and is degraded, which halts new claims: {why}", in_use(lease)),
    )
}

/// Another node that stopped in the middle of its upgrade and needs a person, with or without its Lease.
fn is_stuck(who: Candidate<'_>, node: &FleetNode) -> bool {
    node.mid_upgrade && node.degraded && node.name != who.node && !node.ignored
}

fn degraded(node: &FleetNode) -> Explanation {
    Explanation::new(Reason::BudgetExhausted, format!("{} is degraded, which halts new claims", node.name))
}

fn control_plane_first<'a>(nodes: impl IntoIterator<Item = &'a FleetNode>) -> Option<Explanation> {
    let unmet = nodes.into_iter().find(|node| node.has_unmet_target())?;
    let target = unmet.target.map(|target| target.to_string()).unwrap_or_default();
    Some(waits(format!("control-plane node {} goes to {target} first", unmet.name)))
}

/// No kubelet goes past an API server, judged by what the running API servers' images say.
fn api_server_behind(target: Version, fleet: &FleetSeen) -> Option<Explanation> {
    let mut servers = fleet.pods.iter().filter(|pod| pod.component == "kube-apiserver").peekable();
    if servers.peek().is_none() {
        return Some(waits("no kube-apiserver pod is to be seen in kube-system, so its version is unknown"));
    }
    let behind = servers.find(|pod| pod.version.is_none_or(|version| version < target))?;
    let runs = behind.version.map_or_else(|| "an unknown version".to_owned(), |version| version.to_string());
    Some(waits(format!(
        "the API server on {} runs {runs}, and no kubelet goes past it to {target}",
        behind.node
    )))
}

/// Rule 1: slot *i* counts only while *i* is below the slots left by nodes that are down for other reasons.
fn over_budget(me: &str, slot: u32, fleet: &FleetSeen) -> Option<Explanation> {
    let holds_slot = |node: &FleetNode| {
        let holder = |lease: &FleetLease| lease.holder.as_deref().and_then(Holder::parse);
        fleet.leases.iter().filter_map(holder).any(|holder| holder.node == node.name)
    };
    let down: Vec<&str> = fleet
        .nodes
        .iter()
        .filter(|node| node.name != me && !node.ignored && !holds_slot(node))
        .filter(|node| !node.ready || node.degraded || node.mid_upgrade)
        .map(|node| node.name.as_str())
        .collect();
    let left = SLOTS.saturating_sub(u32::try_from(down.len()).unwrap_or(u32::MAX));
    (slot >= left).then(|| {
        let names = down.join(", ");
        Explanation::new(
            Reason::BudgetExhausted,
            format!("the budget of {SLOTS} unavailable node is used by {names}"),
        )
    })
}

/// Rule 2: every other control-plane node Ready with its API server and etcd, and etcd whole.
fn control_plane_is_whole(
    me: &str,
    fleet: &FleetSeen,
    local: Option<&LocalControlPlane>,
) -> Option<Explanation> {
    let planes: Vec<&FleetNode> =
        fleet.nodes.iter().filter(|node| node.control_plane && !node.ignored).collect();
    for node in planes.iter().filter(|node| node.name != me) {
        if !node.ready {
            return Some(waits(format!("control-plane node {} is not Ready", node.name)));
        }
        let ready =
            |component| fleet.pods.iter().any(|p| p.node == node.name && p.component == component && p.ready);
        if !ready("kube-apiserver") {
            return Some(waits(format!("the API server on {} is not Ready", node.name)));
        }
        if local.is_some_and(|local| local.etcd.is_some()) && !ready("etcd") {
            return Some(waits(format!("etcd on {} is not Ready", node.name)));
        }
    }
    local.and_then(|local| local.etcd.as_ref()).and_then(|etcd| etcd_trouble(etcd, planes.len()))
}

/// What is wrong with etcd, if anything: exactly the members that there are control-plane nodes, all healthy.
pub fn etcd_trouble(etcd: &EtcdSeen, control_planes: usize) -> Option<Explanation> {
    let EtcdSeen { members, healthy, learners, alarms } = *etcd;
    if members == control_planes && healthy == members && learners == 0 && alarms == 0 {
        return None;
    }
    Some(waits(format!(
        "etcd is not whole: {members} members for {control_planes} control-plane nodes, {healthy} healthy, \
         {learners} learners, {alarms} alarms"
    )))
}

/// Rule 7: a drain needs another Ready, schedulable node.
fn nowhere_to_go(who: Candidate<'_>, fleet: &FleetSeen) -> Option<Explanation> {
    let elsewhere = fleet.nodes.iter().any(|node| node.name != who.node && node.ready && !node.unschedulable);
    (who.drains && !elsewhere).then(|| {
        Explanation::new(Reason::PreflightPending, "no other Ready, schedulable node can take the pods")
    })
}

#[cfg(test)]
mod tests;
