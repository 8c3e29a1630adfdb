//! The pods of the own node, and the CSI drivers registered on it.

use std::collections::BTreeSet;

use k8s_openapi::api::storage::v1::CSINode;
use kube::Api;
use kube::api::ListParams;
use upgrade_core::act::ActResult;
use upgrade_core::observed::{Observation, PodSeen, PodsSeen};

use super::Cluster;
use super::client::Listed;
use super::convert::pod_seen;
use super::error::{Error, ended};
use super::small_pod::Pod;

/// Pods per page: those of one node come in one, for a kubelet takes 110 by default.
const PAGE: u32 = 125;

impl Cluster {
    /// Lists the pods and CSI drivers of this node, consistently.
    pub async fn look_at_pods(&self) -> ActResult {
        ended(self.pods_seen().await.map(|pods| vec![Observation::Pods(pods)]))
    }

    pub(super) async fn pods_seen(&self) -> Result<PodsSeen, Error> {
        let at = self.inner.clock.now().mono;
        Ok(PodsSeen { at, pods: self.list_pods("").await?.kept, csi_drivers: self.csi_drivers().await? })
    }

    /// The field selector that makes a list of pods ours to read.
    pub(super) fn own_pods(&self) -> String {
        format!("spec.nodeName={}", self.node_name())
    }

    /// All pods bound to this node that a label selector picks; an empty one picks all.
    pub(super) async fn list_pods(&self, labels: &str) -> Result<Listed<PodSeen>, Error> {
        let doing = format!("listing the pods of node {}", self.node_name());
        let mut params = ListParams::default().fields(&self.own_pods()).limit(PAGE);
        if !labels.is_empty() {
            params = params.labels(labels);
        }
        self.inner.kubelet.list_at(&doing, Api::<Pod>::all, &params, |pod| Some(pod_seen(pod))).await
    }

    async fn csi_drivers(&self) -> Result<BTreeSet<String>, Error> {
        let doing = format!("reading CSINode {}", self.node_name());
        let name = self.node_name().to_owned();
        let node = self
            .inner
            .kubelet
            .call(&doing, |client| async move { Api::<CSINode>::all(client).get_opt(&name).await })
            .await?;
        Ok(node.into_iter().flat_map(|node| node.spec.drivers).map(|driver| driver.name).collect())
    }
}
