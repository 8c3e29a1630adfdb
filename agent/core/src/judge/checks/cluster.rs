//! What the cluster says to an upgrade of one of its nodes.

use super::pods::not_drained;
use crate::api::Version;
use crate::drain::DrainOptions;
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

/// No kubelet goes past an API server; `own` is the node that asks, which on a control plane brings its own along.
pub fn api_servers(fleet: &FleetSeen, own: &str, control_plane: bool, target: Version) -> Outcome {
    let servers: Vec<_> = fleet.pods.iter().filter(|pod| pod.component == "kube-apiserver").collect();
    if servers.is_empty() {
        return Outcome::Failed(
            "no kube-apiserver pod with the label tier=control-plane is in kube-system: this agent upgrades \
             clusters made by kubeadm"
                .to_owned(),
        );
    }
    let others = servers.iter().filter(|pod| !control_plane || pod.node != own);
    let mut behind = Vec::new();
    for server in others {
        let Some(version) = server.version else {
            return Outcome::Failed(format!(
                "the image of the running API server on {} names no version, so no kubelet can be compared with it",
                server.node
            ));
        };
        let is_behind = if control_plane { target.minors_ahead_of(version) > 0 } else { version < target };
        if is_behind {
            behind.push(format!("{} runs {version}", server.node));
        }
    }
    if behind.is_empty() {
        return Outcome::Passed(format!("no API server is older than {target}"));
    }
    let text = format!("a kubelet is never newer than an API server, and {}", behind.join(", "));
    let coming = fleet.nodes.iter().any(|node| {
        node.control_plane && node.name != own && node.target.is_some_and(|wanted| wanted >= target)
    });
    if coming && !control_plane {
        // Whose turn it is is watched, not asked again and again: this node waits for its Lease.
        Outcome::Passed(format!("{text}; the control plane goes to {target} first"))
    } else {
        Outcome::Failed(format!("{text}: upgrade the control plane to {target} first"))
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
    let fit = others().filter(|node| node.ready && !node.unschedulable).count();
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
        _ => Outcome::Passed(format!("{fit} other nodes are Ready and schedulable")),
    }
}

/// etcd is whole, as a control-plane node asks it; none where it is not stacked.
pub fn etcd(seen: Option<&EtcdSeen>, fleet: &FleetSeen) -> Outcome {
    let Some(etcd) = seen else {
        return Outcome::Passed("etcd is not stacked on this host".to_owned());
    };
    let all = etcd.members + etcd.learners;
    let control_planes = fleet.nodes.iter().filter(|node| node.control_plane).count();
    if all == 0 {
        Outcome::Pending("etcd on this host does not answer, or has no quorum".to_owned())
    } else if etcd.alarms > 0 {
        Outcome::Failed(format!(
            "etcd has {} alarms: see `etcdctl alarm list`, and make space or repair it first",
            etcd.alarms
        ))
    } else if etcd.learners > 0 {
        Outcome::Pending(format!("{} members of etcd are learners still", etcd.learners))
    } else if etcd.healthy < all {
        Outcome::Pending(format!("{} of {all} members of etcd are healthy", etcd.healthy))
    } else if etcd.members != control_planes {
        Outcome::Failed(format!(
            "etcd has {} members and the cluster {control_planes} control-plane nodes: remove what is gone, or \
             label what is one",
            etcd.members
        ))
    } else {
        Outcome::Passed(format!("all {} members of etcd are healthy", etcd.members))
    }
}

#[cfg(test)]
mod tests;
