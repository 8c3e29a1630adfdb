//! Installing the agent on a running cluster, as its install guide tells an administrator to.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::cluster::Cluster;
use crate::kubeadm;
use crate::node::Node;

/// What the lab's agents need beyond their defaults: kubeadm's leniency towards nodes without resource controllers.
pub const DEFAULT_AGENT_CONFIG: &str = "[kubeadm]\nconfig = \"/etc/kubernetes/kubeadm-upgrade.yaml\"\n";

const UNIT: &str = "node-upgrade-agent.service";

/// A path of the repository this lab was built from.
pub(crate) fn repository_path(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

impl Cluster {
    /// Installs and starts the agent on every node: program, unit, configuration, RBAC and coordination credential.
    ///
    /// `config` is the text of config.toml; [`DEFAULT_AGENT_CONFIG`] is what the lab needs.
    /// Installing again replaces program and configuration and restarts the agents.
    ///
    /// # Errors
    /// If `program` or the repository's unit file cannot be read, or a node refuses a step.
    pub fn install_agent(&self, program: &Path, config: &str) -> Result<()> {
        let bytes = fs::read(program).with_context(|| {
            format!("cannot read the agent's program {}; build it first", program.display())
        })?;
        let unit = repository_path("systemd").join(UNIT);
        let unit =
            fs::read(&unit).with_context(|| format!("cannot read the agent's unit {}", unit.display()))?;
        self.apply_rbac()?;
        self.nodes().iter().try_for_each(|node| self.install_on(node, &bytes, &unit, config))
    }

    /// Applies the agents' namespace and RBAC rules.
    ///
    /// # Errors
    /// If kubectl fails.
    pub fn apply_rbac(&self) -> Result<()> {
        let manifests = repository_path("packaging/kubernetes").display().to_string();
        self.kubectl(&["apply", "-k", &manifests]).map(drop)
    }

    fn install_on(&self, node: &Node, program: &[u8], unit: &[u8], config: &str) -> Result<()> {
        node.write_file("/usr/bin/node-upgrade-agent", program, 0o755)?;
        node.write_file("/etc/node-upgrade-agent/config.toml", config, 0o644)?;
        let credential = self.coordination_kubeconfig(node.name())?;
        node.write_file("/etc/node-upgrade-agent/coordination.kubeconfig", credential, 0o600)?;
        node.write_file(&format!("/usr/lib/systemd/system/{UNIT}"), unit, 0o644)?;
        node.run(&["systemctl", "daemon-reload"])?;
        node.run(&["systemctl", "enable", UNIT])?;
        node.run(&["systemctl", "restart", UNIT]).map(drop).with_context(|| {
            let journal = node.journal(UNIT).unwrap_or_default();
            format!("the agent does not start on node {}:\n{journal}", node.name())
        })
    }

    /// A kubeconfig with the coordination credential of a node's agent, made by kubeadm.
    ///
    /// # Errors
    /// If kubeadm fails.
    pub fn coordination_kubeconfig(&self, node: &str) -> Result<String> {
        kubeadm::user_kubeconfig(
            self.control_plane()?,
            "node-upgrade-agents",
            &format!("node-upgrade-agent:{node}"),
        )
    }
}
