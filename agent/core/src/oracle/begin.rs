//! Rules 1, 2 and 9 and the policy: what must hold when a node begins, that is, cordons itself anew or starts its first
//! changing tool without a cordon of its own.

use super::record::{KUBELET_BEHIND, Node};
use super::{Judged, Rule, Violation, What, Who};
use crate::api::{Check, LeaseName, Phase, Reason, Version};

pub(super) fn judge(judged: &Judged<'_>) -> Vec<Violation> {
    let node = judged.node();
    let cordons = matches!(judged.event.what, What::Cordoned { by: Who::Agent(_) });
    let mut broken = Vec::new();
    if cordons {
        broken.extend([alone(judged), super::lease::without_lease(judged, "it was cordoned")]);
    }
    if cordons && !goes_on(node) {
        broken.extend([
            budget(judged),
            first(judged),
            super::control_plane::whole_before(judged, "it begins"),
        ]);
        broken.extend([halt(judged), paused(judged), super::turn::asked_for(judged)]);
    } else if begins_without_a_cordon(judged) {
        broken.extend([
            alone(judged),
            first(judged),
            super::control_plane::whole_before(judged, "it begins"),
        ]);
        broken.extend([halt(judged), paused(judged)]);
    }
    if matches!(judged.event.what, What::Evicted { by: Who::Agent(_), .. } | What::EvictionRefused { .. })
        && node.tenure.as_ref().is_some_and(|tenure| tenure.asked.is_none())
    {
        broken.extend([budget(judged), nowhere(judged)]);
    }
    premises(judged);
    broken.into_iter().flatten().collect()
}

/// A second cordon of a node that is being worked on takes nothing more out of service.
fn goes_on(node: &Node) -> bool {
    node.was_cordoned_by_agent && node.holding().is_some()
}

/// With a tool, or with a drain where somebody else had cordoned the node.
fn begins_without_a_cordon(judged: &Judged<'_>) -> bool {
    let begins = match &judged.event.what {
        What::ToolStarted { tool, .. } => super::host::changes(tool),
        What::Evicted { by: Who::Agent(_), .. } | What::EvictionRefused { .. } => true,
        _ => false,
    };
    let again = matches!(&judged.event.what, What::ToolStarted { kubeadm, .. }
        if super::host::runs_once_more(judged.node(), *kubeadm));
    begins && !again && judged.node().tenure.as_ref().is_none_or(|tenure| tenure.begun.is_none())
}

/// What keeps a node from its turn, apart from the Leases of others.
pub(super) fn bar(judged: &Judged<'_>) -> Option<Violation> {
    let control_plane = || super::control_plane::whole_before(judged, "it begins");
    paused(judged)
        .or_else(|| halt(judged))
        .or_else(|| first(judged))
        .or_else(control_plane)
        .or_else(|| no_room(judged))
}

/// Where these rules are kept nothing begins, so their premises are counted where a bar comes up before somebody who
/// would begin.
fn premises(judged: &Judged<'_>) {
    let wants = |node: &Node| node.deleted.is_none() && node.unmet_target().is_some();
    match &judged.event.what {
        What::PolicySet { bars: true } if judged.fleet.nodes.values().any(wants) => {
            judged.arose(Rule::Paused);
        }
        What::Reported { phase: Phase::Degraded, .. } | What::LeaseMarked { degraded: true, .. } => {
            let node = judged.node();
            let towards = node.tenure.as_ref().and_then(|tenure| tenure.towards).or(node.asks_for());
            let mut others = judged.fleet.others(&judged.event.node);
            if others.any(|(_, other)| wants(other) && other.asks_for() == towards) {
                judged.arose(Rule::HaltOnDegraded);
            }
        }
        _ => {}
    }
}

/// Pods are evicted only while another node takes them, unless people pass over that.
fn nowhere(judged: &Judged<'_>) -> Option<Violation> {
    if judged.node().skips.contains(&Check::OtherNodes) {
        return None;
    }
    judged.arose(Rule::Drain);
    let takes = |other: &Node| {
        let is_new = other.ready.is_some_and(|ready| judged.unnoticed(ready.by))
            || other.cordon.as_ref().is_some_and(|cordon| judged.unnoticed(cordon.by));
        is_new || other.is_ready() && other.cordon.is_none()
    };
    let there = |other: &Node| other.deleted.is_none_or(|gone| judged.unnoticed(gone));
    let mut others =
        judged.fleet.nodes.iter().filter(|(name, other)| **name != judged.event.node && there(other));
    let nobody = !others.any(|(_, other)| other.deleted.is_some() || takes(other));
    nobody.then(|| judged.broken(Rule::Drain, "a pod was evicted, and no other node takes pods", &[]))
}

/// Workers that are down and hold no slot use up the budget of workers.
fn no_room(judged: &Judged<'_>) -> Option<Violation> {
    let node = judged.node();
    if node.control_plane || !node.is_ready() {
        return None;
    }
    let uses_up = |(name, other): (&String, &Node)| {
        let down = other.ready.filter(|ready| !ready.is.0 && !judged.unnoticed(ready.by))?;
        let counts = !other.is_ignored() && judged.fleet.held_by(name).is_none();
        counts.then_some(Some(down.by))
    };
    let down: Vec<_> = judged.fleet.others(&judged.event.node).filter_map(uses_up).collect();
    let message = format!("{} other nodes are down", down.len());
    (down.len() >= judged.expectations.slots).then(|| judged.broken(Rule::Budget, message, &down))
}

/// Asked at the cordon and where the first eviction is asked for: what is under way then goes on. For a node that is down itself only
/// slots count: its own turn takes nothing away.
fn budget(judged: &Judged<'_>) -> Option<Violation> {
    judged.arose(Rule::Budget);
    let node = judged.node();
    let is_down = node.ready.is_some_and(|ready| !ready.is.0);
    let mut out = Vec::new();
    for (name, other) in judged.fleet.others(&judged.event.node) {
        if other.is_ignored() {
            continue;
        }
        let down = other.ready.filter(|ready| !is_down && !ready.is.0 && !judged.unnoticed(ready.by));
        // An etcd that was put back brings a cordon back that is over.
        let put_back = |by| judged.fleet.was_restored_at(by) && judged.unnoticed(by);
        let cordoned = other.cordoned_by_agent().filter(|cordon| !put_back(cordon.by));
        let cordoned = cordoned.filter(|_| !is_down || judged.fleet.held_by(name).is_some());
        out.extend(cordoned.map(|cordon| cordon.by).or(down.map(|ready| ready.by)));
    }
    (out.len() >= judged.expectations.slots).then(|| {
        let shown: Vec<_> = out.iter().copied().map(Some).collect();
        let slots = judged.expectations.slots;
        judged.broken(
            Rule::Budget,
            format!("{} other nodes are out of service, {slots} may be", out.len()),
            &shown,
        )
    })
}

/// Nobody is at work beside a control-plane node.
fn alone(judged: &Judged<'_>) -> Option<Violation> {
    let node = judged.node();
    // A control-plane node's tool runs on also where its Lease was taken away; an etcd that was put back, or a Node that was made
    // anew, has hidden it, mark and all, until its agent says so again.
    let recent = |at: u64| judged.event.at - at <= judged.expectations.renewal;
    let restored = judged.fleet.restored.is_some_and(recent);
    let made_anew = |other: &Node| {
        let uid = other.uid.as_ref().filter(|_| !other.gone.is_empty());
        uid.is_some_and(|uid| recent(judged.fleet.at(uid.by)))
    };
    let runs = |other: &Node| {
        let tool = other.tool.filter(|tool| super::host::changes(tool.is));
        let shown = other.control_plane && !restored && !made_anew(other);
        tool.filter(|_| shown || other.holding().is_some()).map(|tool| tool.by)
    };
    let at_work = |other: &Node| other.cordoned_by_agent().map(|cordon| cordon.by).or(runs(other));
    let concerns = |other: &Node| node.control_plane || other.control_plane;
    let others: Vec<_> =
        judged.fleet.others(&judged.event.node).filter(|(_, other)| concerns(other)).collect();
    let is_peer = |other: &Node| node.control_plane && other.control_plane;
    if others.iter().any(|(_, other)| is_peer(other) || at_work(other).is_some()) {
        judged.arose(Rule::ControlPlaneAlone);
    }
    let (name, by) = others.into_iter().find_map(|(name, other)| {
        let by = at_work(other).or(claims(judged, name, other));
        let by = by.filter(|_| !is_passed_over(judged, name, other))?;
        Some((name, by))
    })?;
    let message = format!("{name} is at work or out of service, and a control-plane node is upgraded alone");
    Some(judged.broken(Rule::ControlPlaneAlone, message, &[Some(by)]))
}

/// Whoever holds the Lease of the other kind, and has for so long that it was seen, goes first: a control-plane node waits for
/// slots, and a worker gives its own back before its drain unless it is down or has to go first.
fn claims(judged: &Judged<'_>, name: &str, other: &Node) -> Option<usize> {
    let node = judged.node();
    let (lease, held) = judged.fleet.held_by(name).filter(|(_, held)| !judged.unnoticed(held.by))?;
    let bars = if node.control_plane {
        !other.control_plane && *lease != LeaseName::ControlPlane
    } else {
        *lease == LeaseName::ControlPlane && node.is_ready() && !goes_first(node, other.asks_for())
    };
    bars.then_some(held.by)
}

/// A worker that the control plane's target would leave too far behind.
fn goes_first(node: &Node, target: Option<Version>) -> bool {
    node.kubelet()
        .zip(target)
        .is_some_and(|(kubelet, target)| target.minors_ahead_of(kubelet) > KUBELET_BEHIND)
}

/// Who keeps no control-plane node from its turn: a worker that is ignored or whose slot is marked, and whoever is degraded
/// at an older target, for a newer one is the way forward. Whether there is room for a cordon beside them, the budget says.
fn is_passed_over(judged: &Judged<'_>, name: &str, other: &Node) -> bool {
    let node = judged.node();
    let marked = judged
        .fleet
        .held_by(name)
        .is_some_and(|(lease, held)| *lease != LeaseName::ControlPlane && held.degraded.is_some());
    let older = judged.fleet.degraded(name).is_some()
        && node.asks_for().is_some_and(|target| other.failed_at < Some(target));
    node.control_plane && (older || !other.control_plane && (marked || other.is_ignored()))
}

fn first(judged: &Judged<'_>) -> Option<Violation> {
    let node = judged.node();
    if node.control_plane {
        return None;
    }
    judged.arose(Rule::ControlPlaneFirst);
    let (name, unmet) = judged.fleet.others(&judged.event.node).find_map(|(name, other)| {
        let unmet = other.unmet_target().filter(|unmet| other.control_plane && !other.runs_all(unmet.is))?;
        // Of a control plane that runs its target only the kubelet is still to come: that holds up neither where it was
        // refused, nor the worker that is down and uses up the budget its drain waits for.
        let serves = other.api_server.is_some_and(|server| server.is >= unmet.is);
        let down = node.ready.is_none_or(|ready| !ready.is.0 || judged.unnoticed(ready.by));
        let left_refused = other.refused_until.is_some_and(|until| judged.unnoticed(until));
        let at_rest = serves && (other.is_in(Phase::Refused) || left_refused || down);
        let too_far = goes_first(node, Some(unmet.is));
        (!judged.unnoticed(unmet.by) && !at_rest && !too_far).then_some((name, unmet))
    })?;
    let message = format!("control-plane node {name} has not yet reached its target {}", unmet.is);
    Some(judged.broken(Rule::ControlPlaneFirst, message, &[Some(unmet.by)]))
}

/// Only the version that was failed at is halted: a newer one is the way forward.
fn halt(judged: &Judged<'_>) -> Option<Violation> {
    let target = judged.node().target.filter(|target| !judged.unnoticed(target.by))?;
    let halts = |name: &str, other: &Node| {
        let since = judged.fleet.degraded(name).filter(|&since| !judged.unnoticed(since))?;
        let same = other.failed_at.is_some() && other.failed_at == target.is;
        // One whose Lease a person freed, and whom the API refuses it since, has nowhere to say so.
        let mute = other.reason == Some(Reason::Retrying) && judged.fleet.held_by(name).is_none();
        (same && !other.is_ignored() && !mute).then_some(since)
    };
    let degraded: Vec<_> = judged
        .fleet
        .others(&judged.event.node)
        .filter_map(|(name, other)| Some((name, halts(name, other)?)))
        .collect();
    let (name, _) = degraded.first().filter(|_| degraded.len() >= judged.expectations.halt_after)?;
    let shown: Vec<_> = degraded.iter().map(|(_, since)| Some(*since)).collect();
    let message = format!("it begins towards the version that {name} is degraded at");
    Some(judged.broken(Rule::HaltOnDegraded, message, &shown))
}

fn paused(judged: &Judged<'_>) -> Option<Violation> {
    let barred = judged.fleet.barred.filter(|barred| barred.is && !judged.unnoticed(barred.by))?;
    // What is past its point of no return is finished.
    let past = judged.node().tenure.as_ref().is_some_and(|tenure| tenure.past_return.is_some());
    let finishes = past && !judged.node().control_plane;
    (!finishes)
        .then(|| judged.broken(Rule::Paused, "it begins while the policy bars claims", &[Some(barred.by)]))
}
