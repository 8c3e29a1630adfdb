//! What the cluster says to a plan, before anything is touched.

use k8s_openapi::api::core::v1::{Node, Taint};
use upgrade_core::act::Fault;
use upgrade_core::api::{TurnKind, Version};
use upgrade_core::drain::DrainOptions;
use upgrade_core::judge::checks::cluster::{AUTOSCALER_AT_WORK, KURED_AT_WORK, OtherTools};
use upgrade_core::judge::claim::Claimant;
use upgrade_core::judge::control_plane::uniform_static_pods;
use upgrade_core::judge::preflight::{ClusterPreflight, ClusterSeen, cluster_findings};
use upgrade_core::memory::lease_of;
use upgrade_core::observed::{NodeSeen, PodsSeen, Ready};

use super::Cluster;
use super::convert::node_seen;

/// What a run of preflight is about.
#[derive(Debug, Clone, Copy)]
pub struct Question {
    /// The target.
    pub target: Version,
    /// The turn.
    pub kind: TurnKind,
    /// Whether this host carries a control plane.
    pub control_plane: bool,
    /// Whether its kubelet talks to its own API server alone.
    pub own_server: bool,
}

/// What the cluster says to it, and what it shows of the node.
#[derive(Debug, Clone)]
pub struct ClusterAnswer {
    /// The checks.
    pub preflight: ClusterPreflight,
    /// The own Node when they were begun.
    pub node: NodeSeen,
    /// The one version of this node's static pods, if there is one.
    pub static_pods: Option<Version>,
    /// The version that kubeadm-config names.
    pub kubeadm_config: Option<Version>,
}

impl Cluster {
    /// The pods and CSI drivers of this node, consistently.
    ///
    /// # Errors
    /// When they could not be read.
    pub async fn own_pods_seen(&self) -> Result<PodsSeen, Fault> {
        Ok(self.pods_seen().await?)
    }

    /// The version that kubeadm-config names.
    ///
    /// # Errors
    /// When it could not be read.
    pub async fn kubeadm_config(&self) -> Result<Option<Version>, Fault> {
        Ok(self.kubeadm_config_version().await?)
    }

    /// Every check that the API can answer, changing nothing.
    ///
    /// # Errors
    /// When something could not be read; no check was failed by that.
    pub async fn preflight(&self, asked: Question, options: &DrainOptions) -> Result<ClusterAnswer, Fault> {
        let node = self.get_node().await?.ok_or_else(|| self.no_node())?;
        let fleet = self.fleet_seen().await?;
        let pods = self.pods_seen().await?;
        let tools = other_tools(&node);
        let node = node_seen(node);
        let drainable = self.drainable(options).await?;
        let etcd = if asked.control_plane { self.local_control_plane().await?.etcd } else { None };
        let seen = ClusterSeen { node: &node, fleet: &fleet, tools, pods: drainable, etcd };
        let preflight =
            ClusterPreflight { findings: cluster_findings(&seen, claimant(asked, &node, options), options) };
        let static_pods = uniform_static_pods(&pods.pods);
        Ok(ClusterAnswer { preflight, node, static_pods, kubeadm_config: fleet.kubeadm_config })
    }
}

/// This node as one that wants a Lease.
fn claimant<'a>(asked: Question, node: &'a NodeSeen, options: &DrainOptions) -> Claimant<'a> {
    let Question { target, kind, control_plane, own_server } = asked;
    Claimant {
        node: &node.name,
        kind,
        control_plane,
        serves: node.ready == Ready::True,
        lease: lease_of(control_plane),
        target,
        drains: options.enabled,
        own_server,
        skip: &node.request.skip,
    }
}

fn other_tools(node: &Node) -> OtherTools {
    let notes = node.metadata.annotations.as_ref();
    let taints: &[Taint] = node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default();
    OtherTools {
        kured: notes.is_some_and(|notes| notes.contains_key(KURED_AT_WORK)),
        autoscaler: taints.iter().any(|taint| taint.key == AUTOSCALER_AT_WORK),
    }
}
