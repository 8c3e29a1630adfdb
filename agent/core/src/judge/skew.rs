//! Whether a kubelet may go past the API servers it talks to (rule 2; <https://kubernetes.io/releases/version-skew-policy/>).

use super::claim::{Bar, Claimant, control_planes, give_way};
use crate::api::Check;
use crate::api::Reason;
use crate::observed::FleetSeen;

/// The API server that bars this kubelet: one of an older minor, or one whose version is not known. Patches do not count. People may
/// pass over what is not known, never over what is known to be older.
pub(super) fn bars(who: Claimant<'_>, fleet: &FleetSeen) -> Option<Bar> {
    let mut servers = control_planes(fleet)
        .filter(|node| !who.own_server || node.name == who.node)
        .map(|node| (&node.name, fleet.api_server(&node.name)))
        .peekable();
    if servers.peek().is_none() {
        return Some(give_way(
            Reason::WaitingForTurn,
            "no control-plane node is seen, so no API server's version is known",
        ));
    }
    servers.find_map(|(node, runs)| match runs {
        None if who.skip.contains(&Check::ApiServers) => None,
        None => Some(give_way(
            Reason::WaitingForTurn,
            format!("what the API server on {node} runs is not known, and a kubelet must not be newer"),
        )),
        Some(runs) if who.target.minors_ahead_of(runs) > 0 => Some(give_way(
            Reason::WaitingForTurn,
            format!(
                "the API server on {node} runs {runs}, and a kubelet of {} must not be newer: set the target of the control-plane \
                 nodes first",
                who.target
            ),
        )),
        Some(_) => None,
    })
}
