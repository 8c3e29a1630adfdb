//! The fleet: read consistently by whoever claims or holds a Lease, watched by whoever has a target or a turn.

use futures::join;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Node;
use kube::api::ListParams;
use kube::runtime::watcher;
use kube::{Api, Client};
use tokio::time::timeout;
use upgrade_core::act::ActResult;
use upgrade_core::observed::{FleetLease, FleetNode, FleetSeen, Observation, TurnSeen};

use super::Cluster;
use super::client::{Pause, WATCH_LIFE, watch};
use super::convert::{CONTROL_PLANE_LABEL, control_plane_pod, fleet_lease, fleet_node};
use super::error::{Error, ended};
use super::known::Known;
use super::small_pod::Pod;

/// Where kubeadm runs the control plane.
pub(super) const KUBE_SYSTEM: &str = "kube-system";
/// What kubeadm labels its static pods with.
const CONTROL_PLANE_PODS: &str = "tier=control-plane";

fn nodes(client: Client) -> Api<Node> {
    Api::all(client)
}

impl Cluster {
    /// Reads every Node, Lease and control-plane pod, and the policy. All reads are consistent, and begin after `at`.
    pub async fn look_at_fleet(&self) -> ActResult {
        ended(self.fleet_seen().await.map(|fleet| vec![Observation::Fleet(fleet)]))
    }

    pub(super) async fn fleet_seen(&self) -> Result<FleetSeen, Error> {
        let at = self.inner.clock.now().mono;
        let (coordination, all) = (&self.inner.coordination, ListParams::default());
        let namespace = self.inner.settings.namespace.clone();
        let leases = |client| Api::<Lease>::namespaced(client, &namespace);
        let leases = coordination.list("listing Leases", leases, &all, |lease| fleet_lease(&lease)).await?;
        let nodes = coordination.list("listing Nodes", nodes, &all, |node| Some(fleet_node(node))).await?;
        let pods = |client| Api::<Pod>::namespaced(client, KUBE_SYSTEM);
        let tier = all.labels(CONTROL_PLANE_PODS);
        let pods = coordination
            .list("listing control-plane pods", pods, &tier, |pod| control_plane_pod(&pod))
            .await?;
        let kubeadm_config = self.kubeadm_config_version().await?;
        let policy = self.policy_seen().await?;
        Ok(FleetSeen { at, nodes, leases, pods, kubeadm_config, policy })
    }

    /// Watches what agents share, for ever: Leases and control-plane Nodes, telling [`Observation::Turn`] at each change that matters,
    /// and the policy, telling [`Observation::Policy`].
    pub async fn watch_fleet(&self, tell: impl Fn(Observation)) {
        join!(self.watch_turn(&tell), self.watch_policy(&tell));
    }

    async fn watch_turn(&self, tell: &impl Fn(Observation)) {
        let mut pause = Pause::default();
        loop {
            if let Ok(error) = timeout(WATCH_LIFE, self.follow_turn(tell, &mut pause)).await {
                tracing::warn!("{}; the watch is begun again", error.chain());
                pause.wait().await;
            }
        }
    }

    /// Until something goes wrong.
    async fn follow_turn(&self, tell: &impl Fn(Observation), pause: &mut Pause) -> Error {
        let coordination = &self.inner.coordination;
        let client = match coordination.client().await {
            Ok(client) => client,
            Err(error) => return error,
        };
        let leases = Api::<Lease>::namespaced(client.clone(), &self.inner.settings.namespace);
        let mut leases = watch(leases, watcher::Config::default());
        let control_plane = watcher::Config::default().labels(CONTROL_PLANE_LABEL);
        let mut nodes = watch(nodes(client), control_plane);
        let (mut known_leases, mut known_nodes) =
            (Known::<FleetLease>::default(), Known::<FleetNode>::default());
        let mut told = None;
        loop {
            let changed = tokio::select! {
                event = coordination.next("watching Leases", known_leases.listed, &mut leases) =>
                    event.map(|event| known_leases.take(event, |lease| fleet_lease(&lease))),
                event = coordination.next("watching control-plane Nodes", known_nodes.listed, &mut nodes) =>
                    event.map(|event| known_nodes.take(event, |node| Some(fleet_node(node)))),
            };
            if let Err(error) = changed {
                return error;
            }
            if !known_leases.listed || !known_nodes.listed {
                continue;
            }
            pause.reset();
            let now = (known_leases.values(), known_nodes.values());
            // A renewal changes nothing that a waiting agent asks about.
            if told.as_ref() != Some(&now) {
                let (leases, control_planes) = now.clone();
                tell(Observation::Turn(TurnSeen { at: self.inner.clock.now().mono, leases, control_planes }));
                told = Some(now);
            }
        }
    }
}
