//! Preflight: what the cluster says and what this machine says, in one set of findings.

use upgrade_core::act::Fault;
use upgrade_core::api::{TurnKind, Version};
use upgrade_core::judge::next_turn::{NextTurn, Runs, next_turn};
use upgrade_core::judge::preflight::{self, About};
use upgrade_core::observed::{Findings, NodeSeen, Ready};

use crate::adapters::Adapters;
use crate::cluster::Question;

/// The turn that comes next for this node on its way to `target`.
///
/// # Errors
/// When something that must be asked did not answer.
pub async fn next(adapters: &Adapters, node: &NodeSeen, target: Version) -> Result<NextTurn, Fault> {
    let host = adapters.host.look(None).await?;
    let pods = if host.control_plane { adapters.cluster.own_pods_seen().await?.pods } else { Vec::new() };
    let kubeadm_config = adapters.cluster.kubeadm_config().await?;
    Ok(next_turn(&Runs { node, host: &host, pods: &pods, kubeadm_config }, target))
}

/// Looks at everything that can be known before anything is touched; changes nothing but the agent's own directory.
///
/// # Errors
/// When something that must be asked did not answer: the API server, the package repository.
pub async fn run(adapters: &Adapters, target: Version, kind: TurnKind) -> Result<Findings, Fault> {
    let seen = adapters.host.look(None).await?;
    let (control_plane, own_server) = (seen.control_plane, seen.own_server);
    let asked = Question { target, kind, control_plane, own_server };
    let cluster = adapters.cluster.preflight(asked, &adapters.drain).await?;
    let command = preflight::command(kind, control_plane);
    let host = if preflight::asks_host(kind, &cluster.preflight.findings, &cluster.node.request.skip) {
        Some(adapters.host.preflight(target, command).await?)
    } else {
        None
    };
    let about = About {
        target,
        kind,
        retry: cluster.node.request.retry.clone(),
        at: adapters.clock.now().mono,
        control_plane,
        static_pods: cluster.static_pods,
        kubeadm_config: cluster.kubeadm_config,
        found_down: cluster.node.ready != Ready::True,
        own_server,
    };
    Ok(preflight::findings(about, cluster.preflight, host))
}
