//! What the cluster says to a plan, before anything is touched.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Node, Taint};
use upgrade_core::act::Fault;
use upgrade_core::drain::DrainOptions;
use upgrade_core::preflight::{Check, Finding, Outcome};
use upgrade_core::seen::{EtcdSeen, FleetSeen, NodeSeen, Ready};
use upgrade_core::verify::daemon_sets;
use upgrade_core::version::Version;

use super::Cluster;
use super::convert::node_seen;

/// kured's note that it is about to reboot the node.
const KURED_AT_WORK: &str = "weave.works/kured-reboot-in-progress";
/// The cluster autoscaler's mark on a node it is deleting, as a taint.
const AUTOSCALER_AT_WORK: &str = "ToBeDeletedByClusterAutoscaler";

/// What the cluster says to an upgrade of this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterPreflight {
    /// One finding per check that needs the API.
    pub findings: Vec<Finding>,
    /// DaemonSets whose pods here are Ready, as `namespace/name`.
    pub daemon_sets: BTreeSet<String>,
    /// CSI drivers registered here.
    pub csi_drivers: BTreeSet<String>,
}

impl Cluster {
    /// Every check that the API can answer, changing nothing.
    ///
    /// # Errors
    /// When something could not be read; no check was failed by that.
    pub async fn preflight_findings(
        &self,
        control_plane: bool,
        target: Version,
        options: &DrainOptions,
    ) -> Result<ClusterPreflight, Fault> {
        let node = self.get_node().await?.ok_or_else(|| self.no_node())?;
        let fleet = self.fleet_seen().await?;
        let pods = self.pods_seen().await?;
        let tools = other_tools(&node);
        let node = node_seen(node);
        let mut outcomes = vec![
            (Check::ApiServers, api_servers(&fleet, &node.name, control_plane, target)),
            (Check::NodeReady, node_ready(&node)),
            (Check::OtherTools, tools),
            (Check::OtherNodes, other_nodes(&fleet, &node.name, options)),
            (Check::Pods, self.drainable(options).await?),
        ];
        if control_plane {
            let local = self.local_control_plane().await?;
            outcomes.push((Check::Etcd, etcd(local.etcd.as_ref(), &fleet)));
        }
        Ok(ClusterPreflight {
            findings: outcomes.into_iter().map(|(check, outcome)| Finding { check, outcome }).collect(),
            daemon_sets: daemon_sets(&pods.pods),
            csi_drivers: pods.csi_drivers,
        })
    }
}

fn api_servers(fleet: &FleetSeen, own: &str, control_plane: bool, target: Version) -> Outcome {
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

fn node_ready(node: &NodeSeen) -> Outcome {
    match node.ready {
        Ready::True => Outcome::Passed("the Node is Ready".to_owned()),
        Ready::False | Ready::Unknown => {
            Outcome::Pending(format!("Node {} is not Ready; see why its kubelet is not", node.name))
        }
    }
}

fn other_tools(node: &Node) -> Outcome {
    let noted = |key: &str| node.metadata.annotations.as_ref().is_some_and(|notes| notes.contains_key(key));
    let taints: &[Taint] = node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default();
    if noted(KURED_AT_WORK) {
        Outcome::Pending(format!("kured is rebooting this node (annotation {KURED_AT_WORK})"))
    } else if taints.iter().any(|taint| taint.key == AUTOSCALER_AT_WORK) {
        Outcome::Pending(format!("the cluster autoscaler is deleting this node (taint {AUTOSCALER_AT_WORK})"))
    } else {
        Outcome::Passed("neither kured nor the cluster autoscaler is at work on this node".to_owned())
    }
}

fn other_nodes(fleet: &FleetSeen, own: &str, options: &DrainOptions) -> Outcome {
    if !options.enabled {
        return Outcome::Passed("draining is switched off".to_owned());
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

fn etcd(seen: Option<&EtcdSeen>, fleet: &FleetSeen) -> Outcome {
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
