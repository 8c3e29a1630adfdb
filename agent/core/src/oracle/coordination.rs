//! Rules 1, 2, 8, 12 and 13: what the nodes owe each other.

use super::{Judged, Rule, Violation, What, Who};
use crate::job::LeaseName;

/// After this time without its Node a holder may be replaced, in milliseconds.
const ABSENT_LONG_ENOUGH: u64 = 600_000;

pub(super) fn judge(judged: &Judged<'_>) -> Vec<Violation> {
    match &judged.event.what {
        What::Cordoned { by: Who::Agent(_) } => {
            [own_node(judged), budget(judged), alone(judged), first(judged), cordons_with_lease(judged)]
                .into_iter()
                .flatten()
                .collect()
        }
        What::Uncordoned { .. } | What::Evicted { .. } => own_node(judged).into_iter().collect(),
        What::LeaseTaken { lease, .. } => stolen(judged, *lease).into_iter().collect(),
        What::LeaseReleased { by: Who::Agent(by), .. } => {
            [own_node(judged), released_last(judged, by)].into_iter().flatten().collect()
        }
        _ => Vec::new(),
    }
}

fn own_node(judged: &Judged<'_>) -> Option<Violation> {
    let (What::Cordoned { by }
    | What::Uncordoned { by }
    | What::Evicted { by, .. }
    | What::LeaseReleased { by, .. }) = &judged.event.what
    else {
        return None;
    };
    match by {
        Who::Agent(agent) if *agent != judged.event.node => {
            Some(judged.broken(Rule::OwnNode, format!("the agent of {agent} changed another node"), &[]))
        }
        _ => None,
    }
}

/// A second cordon of a node that is being worked on takes nothing more out of service.
fn goes_on(judged: &Judged<'_>) -> bool {
    let node = judged.fleet.node(&judged.event.node);
    node.was_cordoned_by_agent && node.tenure.as_ref().is_some_and(|tenure| tenure.lost.is_none())
}

/// Workers that are down use up the slots of workers; a control-plane node looks at its own kind alone.
fn budget(judged: &Judged<'_>) -> Option<Violation> {
    if goes_on(judged) {
        return None;
    }
    let control_plane = judged.fleet.node(&judged.event.node).control_plane;
    let mut out = Vec::new();
    for (_, other) in judged.fleet.others(&judged.event.node) {
        let counts = other.control_plane || !control_plane;
        let down = other.ready.filter(|ready| counts && !ready.is.0 && !judged.unnoticed(ready.by));
        out.extend(other.cordoned_by_agent().map(|cordon| cordon.by).or(down.map(|ready| ready.by)));
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

fn alone(judged: &Judged<'_>) -> Option<Violation> {
    let control_plane = judged.fleet.node(&judged.event.node).control_plane;
    let (name, other) = judged
        .fleet
        .others(&judged.event.node)
        .find(|(_, other)| other.cordoned_by_agent().is_some() && (control_plane || other.control_plane))?;
    let message = format!("{name} is out of service, and a control-plane node is upgraded alone");
    Some(judged.broken(Rule::ControlPlaneAlone, message, &[other.cordoned_by_agent().map(|c| c.by)]))
}

fn first(judged: &Judged<'_>) -> Option<Violation> {
    if judged.fleet.node(&judged.event.node).control_plane || goes_on(judged) {
        return None;
    }
    let unnoticed = |by| judged.unnoticed(by);
    let (name, unmet) = judged.fleet.others(&judged.event.node).find_map(|(name, other)| {
        let unmet = other.unmet_target().filter(|_| other.control_plane)?;
        (!unnoticed(unmet.by)).then_some((name, unmet))
    })?;
    let message = format!("control-plane node {name} has not yet reached its target {}", unmet.is);
    Some(judged.broken(Rule::ControlPlaneFirst, message, &[Some(unmet.by)]))
}

fn cordons_with_lease(judged: &Judged<'_>) -> Option<Violation> {
    super::host::without_lease(judged, "it was cordoned")
}

fn stolen(judged: &Judged<'_>, lease: LeaseName) -> Option<Violation> {
    let held = judged.fleet.leases.get(&lease).filter(|held| held.node != judged.event.node)?;
    let gone = judged.fleet.node(&held.node).deleted;
    let absent = gone.is_some_and(|index| judged.age(index) >= ABSENT_LONG_ENOUGH);
    if absent && lease != LeaseName::ControlPlane {
        return None;
    }
    let message = format!("{lease} was taken while {} held it", held.node);
    Some(judged.broken(Rule::LeaseStolen, message, &[Some(held.by), gone]))
}

fn released_last(judged: &Judged<'_>, by: &str) -> Option<Violation> {
    let cordon = judged.fleet.node(by).cordoned_by_agent()?;
    let message = "the Lease was given back while its own cordon stood";
    Some(judged.broken(Rule::ReleaseLast, message, &[Some(cordon.by)]))
}
