//! How each node ended.

use std::collections::BTreeMap;

use super::fleet::Fleet;
use super::record::Node;
use super::{Event, What, Who};
use crate::api::{LeaseName, Phase};

/// How a node stands at the end of a history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// In service at its target, and it says so.
    Done,
    /// Its target is refused; in service as it was.
    Refused,
    /// It went back before its point of no return; in service.
    BackedOut,
    /// It went back after its point of no return; in service.
    RolledBack,
    /// Stopped for a person, and said so: by its report, by the mark on its Lease, or both.
    Degraded,
    /// Nothing was asked of it, or it still waits for its turn; in service as it was.
    Untouched,
    /// None of these, because of this.
    Unfinished(String),
}

/// Says of every node in the history how it ended.
pub fn ends(history: &[Event]) -> BTreeMap<String, End> {
    let mut fleet = Fleet::new(history);
    let mut touched: BTreeMap<&str, bool> = BTreeMap::new();
    for (index, event) in history.iter().enumerate() {
        match &event.what {
            What::LeaseTaken { .. } => {
                touched.insert(&event.node, true);
            }
            What::TargetSet(_) if fleet.node(&event.node).tenure.is_none() => {
                touched.insert(&event.node, false);
            }
            _ => {}
        }
        fleet.take(index, event);
    }
    let existing = fleet.nodes.iter().filter(|(_, node)| node.deleted.is_none());
    existing
        .map(|(name, node)| {
            let touched = touched.get(name.as_str()).copied().unwrap_or_default();
            (name.clone(), end(&fleet, name, node, touched))
        })
        .collect()
}

fn end(fleet: &Fleet<'_>, name: &str, node: &Node, touched: bool) -> End {
    let held = fleet.held_by(name);
    let phase = node.phase.map_or(Phase::Idle, |phase| phase.is);
    let uncordoned_by_person =
        node.uncordoned.as_ref().is_some_and(|uncordoned| uncordoned.is == Who::Person);
    if phase == Phase::Degraded {
        return match held {
            // The turn of a control plane itself cordons nothing.
            _ if node.cordon.is_none() && !uncordoned_by_person && !node.control_plane => {
                End::Unfinished("degraded, but not cordoned".to_owned())
            }
            Some((lease, held)) if held.degraded.is_none() => {
                End::Unfinished(format!("degraded, but {lease} is not marked"))
            }
            None if waits_for_lease(fleet, node) => End::Degraded,
            None if node.tenure.as_ref().is_none_or(|tenure| tenure.lost.is_none()) => {
                End::Unfinished("degraded, but without its Lease".to_owned())
            }
            _ => End::Degraded,
        };
    }
    // Whose own API server is dead can tell nothing on its Node.
    let told_by_mark = node.control_plane && !node.is_ready();
    if held.is_some_and(|(_, held)| held.degraded.is_some() && told_by_mark) {
        return End::Degraded;
    }
    if let Some((lease, _)) = fleet.seen_held_by(name) {
        return End::Unfinished(format!("still holds {lease} in phase {phase}"));
    }
    if node.cordoned_by_agent().is_some() {
        return End::Unfinished(format!("still cordoned by its agent in phase {phase}"));
    }
    if let Some(tool) = node.tool {
        return End::Unfinished(format!("{} still runs", tool.is));
    }
    in_service(node, phase, touched)
}

/// Whether it was degraded by what its agent found without memory while another holds the one Lease for it: it has nothing to mark
/// until that is free.
fn waits_for_lease(fleet: &Fleet<'_>, node: &Node) -> bool {
    node.control_plane && node.causes.lost_memory() && fleet.leases.contains_key(&LeaseName::ControlPlane)
}

/// In service, without a Lease. Whether an unmet target may wait like this for ever, the caller must judge: it is
/// right behind a degraded node or a pause, and wrong otherwise.
fn in_service(node: &Node, phase: Phase, touched: bool) -> End {
    let went_back = match (touched, node.went_past_return) {
        (false, _) => End::Untouched,
        (true, false) => End::BackedOut,
        (true, true) => End::RolledBack,
    };
    // Whose kubelet was upgraded by hand alone waits for its control plane.
    let served = |target| node.api_server.is_none_or(|runs| runs.is >= target);
    match node.target.and_then(|target| target.is) {
        _ if phase == Phase::Refused => End::Refused,
        Some(target) if node.kubelet() == Some(target) && node.is_ready() && served(target) => {
            match node.current {
                Some(current) if current == target => End::Done,
                // What a person installed still lacks its turn.
                _ if matches!(phase, Phase::Preflight | Phase::Claiming) => went_back,
                current => End::Unfinished(format!("runs its target, but `current` says {current:?}")),
            }
        }
        _ if matches!(phase, Phase::Idle | Phase::Preflight | Phase::Claiming) => went_back,
        _ => End::Unfinished(format!("without a Lease in phase {phase}")),
    }
}
