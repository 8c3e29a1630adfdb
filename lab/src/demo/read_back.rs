//! Whether the cluster really is where the agents say it is: asked of the API server and of every node.

use anyhow::{Context, Result};

use super::fleet::{Fleet, NodeView};
use crate::cluster::Cluster;
use crate::node::Node;
use crate::versions;

const PACKAGES: [&str; 3] = ["kubeadm", "kubelet", "kubectl"];

/// One thing that was looked at.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) what: String,
    pub(super) saw: String,
    pub(super) good: bool,
}

impl Finding {
    fn new(what: impl Into<String>, saw: impl Into<String>, good: bool) -> Self {
        Self { what: what.into(), saw: saw.into(), good }
    }
}

/// Looks at everything that the demo promises.
///
/// # Errors
/// If the API server or a node does not answer.
pub(super) fn read_back(cluster: &Cluster, version: &str) -> Result<Vec<Finding>> {
    let target = format!("v{version}");
    let fleet = Fleet::read(cluster).context("cannot read the end state from the API server")?;
    let mut findings = Vec::new();
    for node in cluster.nodes() {
        let seen = fleet.nodes.iter().find(|seen| seen.name == node.name());
        findings.push(in_service(node.name(), seen, &target));
        findings.push(kubelet(node, &target)?);
        findings.push(packages(node, version)?);
    }
    findings.push(control_plane(cluster, &target)?);
    findings.push(leases(&fleet));
    let (ready, wanted) = fleet.tutorial;
    findings.push(Finding::new(
        "web servers",
        format!("{ready} of {wanted} ready"),
        ready == 10 && wanted == 10,
    ));
    Ok(findings)
}

fn in_service(name: &str, seen: Option<&NodeView>, target: &str) -> Finding {
    let what = format!("Node {name}");
    let Some(seen) = seen else { return Finding::new(what, "is gone", false) };
    let ready = if seen.ready { "Ready" } else { "not Ready" };
    let schedulable = if seen.schedulable { "schedulable" } else { "cordoned" };
    let saw = format!("{}, {ready}, {schedulable}, current {}", seen.version, seen.current);
    let good = seen.ready && seen.schedulable && seen.version == target && seen.current == target;
    Finding::new(what, saw, good)
}

/// The program on the disk, and whether the one that runs is the same file.
fn kubelet(node: &Node, target: &str) -> Result<Finding> {
    let answer = node.run(&["kubelet", "--version"])?;
    let answer = answer.trim();
    let pid = node.run(&["systemctl", "show", "--property=MainPID", "--value", "kubelet"])?;
    let running = node.run(&["readlink", &format!("/proc/{}/exe", pid.trim())])?;
    // Linux marks the program of a process whose file was replaced.
    let good = answer == format!("Kubernetes {target}") && running.trim() == "/usr/bin/kubelet";
    Ok(Finding::new(
        format!("{} kubelet --version", node.name()),
        format!("{answer}, running {}", running.trim()),
        good,
    ))
}

fn packages(node: &Node, version: &str) -> Result<Finding> {
    let format = "--showformat=${db:Status-Abbrev} ${Package} ${Version}\\n";
    let answer = node.run(&[["dpkg-query", "--show", format].as_slice(), &PACKAGES].concat())?;
    let wanted = versions::package_version(version);
    // Held, as they were before, and installed.
    let as_wanted = |package: &str| answer.lines().any(|line| line == format!("hi  {package} {wanted}"));
    let saw: Vec<&str> = answer.lines().map(str::trim).collect();
    Ok(Finding::new(
        format!("{} dpkg", node.name()),
        saw.join(", "),
        PACKAGES.iter().all(|package| as_wanted(package)),
    ))
}

/// Images of the control plane's static pods, as the API server sees them, and what it says of itself.
fn control_plane(cluster: &Cluster, target: &str) -> Result<Finding> {
    let query = "jsonpath={.items[*].status.containerStatuses[*].image}";
    let pods = ["get", "pods", "-n", "kube-system", "-l", "tier=control-plane", "-o", query];
    let images = cluster.kubectl(&pods)?;
    let versioned = |image: &&str| !image.contains("/etcd:");
    let good = images.split_whitespace().filter(versioned).all(|image| image.ends_with(target));
    let server = cluster.kubectl(&["get", "--raw", "/version"])?;
    let server: serde_json::Value = serde_json::from_str(&server).context("/version is no JSON")?;
    let server = server.pointer("/gitVersion").and_then(serde_json::Value::as_str).unwrap_or("nothing");
    let names: Vec<&str> =
        images.split_whitespace().map(|image| image.rsplit('/').next().unwrap_or(image)).collect();
    let saw = format!("API server says {server}; {}", names.join(", "));
    Ok(Finding::new("control plane", saw, good && server == target && names.len() >= 4))
}

fn leases(fleet: &Fleet) -> Finding {
    let saw: Vec<String> = fleet
        .leases
        .iter()
        .map(|(name, holder)| format!("{name} {}", holder.as_deref().unwrap_or("free")))
        .collect();
    let free = fleet.leases.iter().all(|(_, holder)| holder.is_none());
    Finding::new("Leases", saw.join(", "), free && !fleet.leases.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_in_service_only_when_ready_schedulable_and_at_the_target() {
        let node = NodeView {
            name: "a".to_owned(),
            control_plane: false,
            version: "v2".to_owned(),
            ready: true,
            schedulable: true,
            current: "v2".to_owned(),
            phase: "idle".to_owned(),
            since: None,
            reason: String::new(),
            message: String::new(),
            pods_left: None,
        };
        let good = |node: &NodeView| in_service("a", Some(node), "v2").good;
        assert!(good(&node));
        assert!(!good(&NodeView { ready: false, ..node.clone() }));
        assert!(!good(&NodeView { schedulable: false, ..node.clone() }));
        assert!(!good(&NodeView { version: "v1".to_owned(), ..node.clone() }));
        assert!(!good(&NodeView { current: "v1".to_owned(), ..node.clone() }));
        assert!(!in_service("a", None, "v2").good);
    }
}
