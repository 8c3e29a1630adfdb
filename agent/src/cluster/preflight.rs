//! What the cluster says to a plan, before anything is touched.

use k8s_openapi::api::core::v1::{Node, Taint};
use upgrade_core::act::Fault;
use upgrade_core::api::Version;
use upgrade_core::drain::DrainOptions;
use upgrade_core::judge::checks::cluster::{AUTOSCALER_AT_WORK, KURED_AT_WORK, OtherTools};
use upgrade_core::judge::preflight::{ClusterPreflight, ClusterSeen, cluster_findings};
use upgrade_core::judge::service::daemon_sets;

use super::Cluster;
use super::convert::node_seen;

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
        let drainable = self.drainable(options).await?;
        let etcd = if control_plane { self.local_control_plane().await?.etcd } else { None };
        let seen = ClusterSeen { node: &node, fleet: &fleet, tools, pods: drainable, control_plane, etcd };
        Ok(ClusterPreflight {
            findings: cluster_findings(&seen, target, options),
            daemon_sets: daemon_sets(&pods.pods),
            csi_drivers: pods.csi_drivers,
        })
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
