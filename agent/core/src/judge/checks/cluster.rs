//! What the cluster says to an upgrade of one of its nodes.

use super::pods::not_drained;
use crate::api::TurnKind;
use crate::drain::DrainOptions;
use crate::judge::claim::Claimant;
use crate::judge::control_plane::etcd_lacks;
use crate::judge::skew;
use crate::observed::{EtcdSeen, FleetSeen, NodeSeen, Outcome, Ready};

/// Annotation: kured's note that it is about to reboot the node.
pub const KURED_AT_WORK: &str = "weave.works/kured-reboot-in-progress";
/// Key of a taint: the cluster autoscaler's mark on a node it is deleting.
pub const AUTOSCALER_AT_WORK: &str = "ToBeDeletedByClusterAutoscaler";

/// Other tools at work on a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OtherTools {
    /// Whether [`KURED_AT_WORK`] stands on the Node.
    pub kured: bool,
    /// Whether the Node has a taint [`AUTOSCALER_AT_WORK`].
    pub autoscaler: bool,
}

/// No kubelet goes past an API server. What holds it up changes by itself, and is told by the claim that waits for it.
pub fn api_servers(who: Claimant<'_>, fleet: &FleetSeen) -> Outcome {
    match skew::bars(who, fleet) {
        _ if who.kind == TurnKind::ControlPlane => {
            Outcome::Passed("no kubelet is upgraded in this turn".to_owned())
        }
        None => Outcome::Passed(format!("no API server is of an older minor than {}", who.target)),
        Some(bar) => Outcome::Noted(bar.why.message),
    }
}

/// The Node is Ready.
pub fn node_ready(node: &NodeSeen) -> Outcome {
    match node.ready {
        Ready::True => Outcome::Passed("the Node is Ready".to_owned()),
        Ready::False | Ready::Unknown => {
            Outcome::Pending(format!("Node {} is not Ready; see why its kubelet is not", node.name))
        }
    }
}

/// No other tool is at work on the node.
pub fn other_tools(tools: OtherTools) -> Outcome {
    if tools.kured {
        Outcome::Pending(format!("kured is rebooting this node (annotation {KURED_AT_WORK})"))
    } else if tools.autoscaler {
        Outcome::Pending(format!("the cluster autoscaler is deleting this node (taint {AUTOSCALER_AT_WORK})"))
    } else {
        Outcome::Passed("neither kured nor the cluster autoscaler is at work on this node".to_owned())
    }
}

/// Another node can take what is evicted from `own`.
pub fn other_nodes(fleet: &FleetSeen, own: &str, options: &DrainOptions) -> Outcome {
    if let Some(outcome) = not_drained(options) {
        return outcome;
    }
    let others = || fleet.nodes.iter().filter(|node| node.name != own);
    let takes = || others().filter(|node| node.ready && !node.unschedulable);
    let fit = takes().count();
    match others().count() {
        0 => Outcome::Failed(
            "there is no other node, so what is evicted here can run nowhere; add one, or set enabled = false in \
             [drain] of config.toml"
                .to_owned(),
        ),
        count if fit == 0 => Outcome::Pending(format!(
            "none of the other nodes, {count} in number, is Ready and schedulable, so what is evicted here could run \
             nowhere; make one so"
        )),
        _ if takes().all(|node| node.tainted) => Outcome::Noted(format!(
            "all other nodes that are Ready and schedulable, {fit} in number, have a taint: pods that do not tolerate it run nowhere \
             until this node is back"
        )),
        _ => Outcome::Passed(format!("{fit} other nodes are Ready and schedulable")),
    }
}

/// etcd is whole, as a control-plane node asks it; none where it is not stacked. What may come right by itself is told by the
/// claim that waits for it.
pub fn etcd(seen: Option<&EtcdSeen>, fleet: &FleetSeen) -> Outcome {
    let Some(etcd) = seen else {
        return Outcome::Passed("etcd is not stacked on this host".to_owned());
    };
    if etcd.alarms > 0 {
        return Outcome::Failed(format!(
            "etcd has {} alarms: see `etcdctl alarm list`, and make space or repair it first",
            etcd.alarms
        ));
    }
    let control_planes = fleet.nodes.iter().filter(|node| node.control_plane);
    match etcd_lacks(etcd, &control_planes.map(|node| node.name.as_str()).collect()) {
        Some(lack) => Outcome::Noted(lack),
        None => Outcome::Passed(format!("all {} members of etcd are healthy", etcd.members.len())),
    }
}

#[cfg(test)]
mod tests;
