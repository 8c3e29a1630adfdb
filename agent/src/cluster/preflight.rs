//! What the cluster says to a plan, before anything is touched.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Node, Taint};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::ListParams;
use kube::core::{Selector, SelectorExt};
use kube::{Api, ResourceExt};
use upgrade_core::act::Fault;
use upgrade_core::drain::{DrainOptions, Sort, sort};
use upgrade_core::preflight::{Check, Finding, Outcome};
use upgrade_core::seen::{EtcdSeen, FleetSeen, NodeSeen, PodSeen, PodsSeen, Ready};
use upgrade_core::verify::daemon_sets;
use upgrade_core::version::Version;

use super::Cluster;
use super::convert::node_seen;
use super::error::Error;

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

/// A disruption budget, in a small form.
struct Budget {
    namespace: String,
    name: String,
    selector: Selector,
    allowed: i32,
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
        let budgets = if options.enabled { self.budgets().await? } else { Vec::new() };
        let tools = other_tools(&node);
        let node = node_seen(node);
        let mut outcomes = vec![
            (Check::ApiServers, api_servers(&fleet, &node.name, control_plane, target)),
            (Check::NodeReady, node_ready(&node)),
            (Check::OtherTools, tools),
            (Check::OtherNodes, other_nodes(&fleet, &node.name, options)),
            (Check::Pods, drainable(&pods, &budgets, options)),
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

    async fn budgets(&self) -> Result<Vec<Budget>, Error> {
        let all = ListParams::default();
        let doing = "listing PodDisruptionBudgets";
        self.inner.shared.list(doing, Api::<PodDisruptionBudget>::all, &all, small_budget).await
    }
}

fn small_budget(budget: PodDisruptionBudget) -> Option<Budget> {
    Some(Budget {
        namespace: budget.namespace()?,
        name: budget.name_any(),
        // A budget without a selector covers no pod.
        selector: budget.spec?.selector?.try_into().ok()?,
        allowed: budget.status.map(|status| status.disruptions_allowed).unwrap_or_default(),
    })
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
    let fit = fleet.nodes.iter().filter(|node| node.name != own && node.ready && !node.unschedulable).count();
    if fit > 0 {
        Outcome::Passed(format!("{fit} other nodes are Ready and schedulable"))
    } else {
        Outcome::Failed(
            "no other node is Ready and schedulable, so what is evicted here can run nowhere; make one so, or \
             for a cluster of one node set enabled = false in [drain] of config.toml"
                .to_owned(),
        )
    }
}

fn drainable(seen: &PodsSeen, budgets: &[Budget], options: &DrainOptions) -> Outcome {
    if !options.enabled {
        return Outcome::Passed("draining is switched off".to_owned());
    }
    let (mut refused, mut evicted, mut blocking) = (Vec::new(), 0_usize, BTreeSet::new());
    for pod in &seen.pods {
        match sort(pod, options) {
            Sort::Refuses(why) => refused.push(why),
            Sort::Evict => evicted += 1,
            Sort::Going | Sort::Stays(_) => continue,
        }
        // The server ignores budgets for pods that have ended.
        let covering: Vec<_> = budgets.iter().filter(|budget| !pod.finished && budget.covers(pod)).collect();
        match covering[..] {
            [budget] if budget.allowed <= 0 => {
                blocking.insert(format!("{}/{}", budget.namespace, budget.name));
            }
            [] | [_] => {}
            _ => refused.push(two_budgets(pod, &covering)),
        }
    }
    if !refused.is_empty() {
        return Outcome::Failed(refused.join("; "));
    }
    let blocks = blocking.into_iter().collect::<Vec<_>>().join(", ");
    Outcome::Passed(match blocks.as_str() {
        "" => format!("{evicted} pods would be evicted"),
        _ => format!("{evicted} pods would be evicted; disruption budgets that allow nothing now: {blocks}"),
    })
}

impl Budget {
    fn covers(&self, pod: &PodSeen) -> bool {
        self.namespace == pod.namespace && self.selector.matches(&pod.labels)
    }
}

fn two_budgets(pod: &PodSeen, budgets: &[&Budget]) -> String {
    let names: Vec<_> = budgets.iter().map(|budget| budget.name.as_str()).collect();
    format!(
        "pod {}/{} is covered by several disruption budgets ({}), so the API server never evicts it: leave it one",
        pod.namespace,
        pod.name,
        names.join(", ")
    )
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
