//! Installing the agent on a running cluster, as its install guide tells an administrator to.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::cluster::{Cluster, in_parallel};
use crate::node::Node;
use crate::process::{command, run_command};
use crate::wait_until;

/// What the lab's agents need beyond their defaults: kubeadm's leniency towards nodes without resource controllers.
pub const DEFAULT_AGENT_CONFIG: &str = "[kubeadm]\nconfig = \"/etc/kubernetes/kubeadm-upgrade.yaml\"\n";

const UNIT: &str = "node-upgrade-agent.service";
/// What an agent keeps once its enrolment was approved.
const CREDENTIAL: &str = "var/lib/node-upgrade-agent/coordination/current.pem";
const ENROLMENT: Duration = Duration::from_mins(2);
/// Where apt's unprivileged user can read it.
const PACKAGE: &str = "/var/tmp/node-upgrade-agent.deb";

/// A path of the repository this lab was built from.
pub(crate) fn repository_path(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

impl Cluster {
    /// Installs the agent on every node: RBAC, package, configuration, approval of its enrolment.
    ///
    /// `package` is the agent's Debian package; `config` is the text of config.toml, [`DEFAULT_AGENT_CONFIG`] is what
    /// the lab needs. Installing again replaces both and restarts the agents.
    ///
    /// # Errors
    /// If the package cannot be read, or a node refuses a step.
    pub fn install_agent(&self, package: &Path, config: &str) -> Result<()> {
        self.apply_rbac()?;
        self.install_agent_on(self.nodes(), package, config)
    }

    /// The same on some nodes of a cluster that has the RBAC rules.
    ///
    /// # Errors
    /// As of [`Cluster::install_agent`].
    pub fn install_agent_on(&self, nodes: &[Node], package: &Path, config: &str) -> Result<()> {
        in_parallel(nodes, |node| {
            node.install_package(package)?;
            // After the installation, as administrators do: dpkg asks nothing about a file that came later.
            node.write_file("/etc/node-upgrade-agent/config.toml", config, 0o644)
        })?;
        in_parallel(nodes, restart)?;
        self.enrol_agents(nodes)
    }

    /// Applies the agents' namespace and RBAC rules.
    ///
    /// # Errors
    /// If kubectl fails.
    pub fn apply_rbac(&self) -> Result<()> {
        let manifests = repository_path("packaging/kubernetes").display().to_string();
        self.kubectl(&["apply", "-k", &manifests]).map(drop)
    }

    /// Approves what the agents of `nodes` ask for, as an administrator does on a machine of their own, until each
    /// agent has its coordination credential.
    fn enrol_agents(&self, nodes: &[Node]) -> Result<()> {
        let Some(program) = nodes.first().map(|node| node.root().join("usr/bin/node-upgrade-agent")) else {
            return Ok(());
        };
        let program = program.display().to_string();
        wait_until("the agents to be enrolled", ENROLMENT, || {
            run_command(command(&program, &["approve", "--all"]).env("KUBECONFIG", self.kubeconfig()))?;
            Ok(nodes.iter().all(|node| node.root().join(CREDENTIAL).exists()))
        })
    }
}

impl Node {
    /// Installs a Debian package of the host's, as an administrator would, and returns what apt said. Fails where
    /// anything would be asked: there is no input.
    ///
    /// # Errors
    /// If the package cannot be read or apt refuses.
    pub fn install_package(&self, package: &Path) -> Result<String> {
        let bytes = std::fs::read(package)
            .with_context(|| format!("cannot read the package {}; build it first", package.display()))?;
        self.write_file(PACKAGE, bytes, 0o644)?;
        self.run(&["apt-get", "install", "--yes", "--reinstall", "--allow-downgrades", PACKAGE])
    }
}

fn restart(node: &Node) -> Result<()> {
    node.run(&["systemctl", "restart", UNIT]).map(drop).with_context(|| {
        let journal = node.journal(UNIT).unwrap_or_default();
        format!("the agent does not start on node {}:\n{journal}", node.name())
    })
}
