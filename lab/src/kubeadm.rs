//! Making a cluster of booted nodes, the way an administrator does: `kubeadm init`, `kubeadm join`.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::network::Network;
use crate::node::Node;
use crate::versions;
use crate::wait::wait_for;

const INIT: &str = include_str!("../kubeadm/init.yaml");
const JOIN: &str = include_str!("../kubeadm/join.yaml");
const JOIN_CONTROL_PLANE: &str = include_str!("../kubeadm/join-control-plane.yaml");
const UPGRADE: &str = include_str!("../kubeadm/upgrade.yaml");
pub(crate) const AUDIT_POLICY: &str = include_str!("../kubeadm/audit-policy.yaml");
const POD_NETWORK: &str = include_str!("../kubeadm/pod-network.json");

/// File given to `kubeadm upgrade` as `--config`, on every node.
pub const UPGRADE_CONFIG: &str = "/etc/kubernetes/kubeadm-upgrade.yaml";

/// Audit log of the API server, on the first control-plane node.
pub(crate) const AUDIT_LOG: &str = "/var/log/kubernetes/audit.log";

const INIT_CONFIG: &str = "/etc/kubernetes/kubeadm-init.yaml";
const JOIN_CONFIG: &str = "/etc/kubernetes/kubeadm-join.yaml";

/// Writes what a node needs before kubeadm runs: its pod network and the files of the upgrade.
pub(crate) fn prepare(node: &Node, network: Network, number: u8) -> Result<()> {
    let pods = POD_NETWORK.replace("${POD_SUBNET}", &network.pods(number));
    node.write_file("/etc/cni/net.d/10-pods.conflist", pods, 0o644)?;
    node.write_file(UPGRADE_CONFIG, UPGRADE, 0o644)?;
    node.write_file("/etc/kubernetes/audit/policy.yaml", AUDIT_POLICY, 0o644)
}

/// Makes `node` the first control-plane node.
pub(crate) fn init(node: &Node, cluster: &str) -> Result<()> {
    let config = fill(
        INIT,
        &[
            ("ADDRESS", &node.address().to_string()),
            ("NODE", node.name()),
            ("CLUSTER", cluster),
            ("VERSION", versions::KUBERNETES_OLD),
            ("IMAGE_REPOSITORY", versions::IMAGE_REPOSITORY),
        ],
    );
    node.write_file(INIT_CONFIG, config, 0o600)?;
    wait_for_containerd(node)?;
    node.run(&["kubeadm", "init", "--config", INIT_CONFIG]).map(drop)
}

/// What a node needs to join.
pub(crate) struct Invitation {
    endpoint: String,
    token: String,
    ca_hash: String,
    /// Key of the uploaded certificates, for control-plane nodes.
    certificate_key: Option<String>,
}

/// Asks the first control-plane node for an invitation; with `control_planes`, also for further ones of its kind.
pub(crate) fn invite(control_plane: &Node, control_planes: bool) -> Result<Invitation> {
    let mut certificate_key = None;
    if control_planes {
        let answer = control_plane.run(&[
            "kubeadm",
            "init",
            "phase",
            "upload-certs",
            "--upload-certs",
            "--config",
            INIT_CONFIG,
        ])?;
        certificate_key = answer.split_whitespace().last().map(str::to_owned);
    }
    let answer = control_plane.run(&["kubeadm", "token", "create", "--print-join-command"])?;
    let words: Vec<&str> = answer.split_whitespace().collect();
    let after = |word: &str| {
        words
            .iter()
            .position(|candidate| *candidate == word)
            .and_then(|position| words.get(position + 1))
            .map(|value| (*value).to_owned())
            .with_context(|| format!("kubeadm's join command has no {word}: {answer}"))
    };
    Ok(Invitation {
        endpoint: after("join")?,
        token: after("--token")?,
        ca_hash: after("--discovery-token-ca-cert-hash")?,
        certificate_key,
    })
}

/// Makes `node` a worker of the cluster, or a further control-plane node.
pub(crate) fn join(node: &Node, invitation: &Invitation, as_control_plane: bool) -> Result<()> {
    let mut config = fill(
        JOIN,
        &[
            ("ENDPOINT", &invitation.endpoint),
            ("TOKEN", &invitation.token),
            ("CA_HASH", &invitation.ca_hash),
            ("NODE", node.name()),
        ],
    );
    if as_control_plane {
        let key =
            invitation.certificate_key.as_deref().context("no certificates were uploaded to join with")?;
        config.push_str(&fill(
            JOIN_CONTROL_PLANE,
            &[("CERTIFICATE_KEY", key), ("ADDRESS", &node.address().to_string())],
        ));
    }
    node.write_file(JOIN_CONFIG, config, 0o600)?;
    wait_for_containerd(node)?;
    node.run(&["kubeadm", "join", "--config", JOIN_CONFIG]).map(drop)
}

/// kubeadm looks for containerd once, and a booted systemd says nothing about its socket.
fn wait_for_containerd(node: &Node) -> Result<()> {
    let what = format!("containerd on node {}", node.name());
    wait_for(&what, Duration::from_secs(30), || node.run(&["ctr", "version"]).map(Some)).map(drop)
}

/// The lines of /etc/hosts that all nodes of a cluster share.
pub(crate) fn hosts(nodes: &[(String, Ipv4Addr)]) -> String {
    let lines = nodes.iter().map(|(name, address)| format!("{address} {name}\n"));
    std::iter::once("127.0.0.1 localhost\n".to_owned()).chain(lines).collect()
}

/// Replaces `${NAME}` in a template.
pub(crate) fn fill(template: &str, values: &[(&str, &str)]) -> String {
    values
        .iter()
        .fold(template.to_owned(), |text, (name, value)| text.replace(&format!("${{{name}}}"), value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_placeholder_is_left_in_the_templates() {
        let init = fill(
            INIT,
            &[("ADDRESS", "a"), ("NODE", "n"), ("CLUSTER", "c"), ("VERSION", "v"), ("IMAGE_REPOSITORY", "r")],
        );
        let join = fill(JOIN, &[("ENDPOINT", "e"), ("TOKEN", "t"), ("CA_HASH", "h"), ("NODE", "n")]);
        assert!(!init.contains("${"), "{init}");
        assert!(!join.contains("${"), "{join}");
    }
}
