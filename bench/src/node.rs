//! Upgrading a node, by the agent or by a script, and taking it back to be upgraded again.

use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use jiff::Timestamp;

use super::Lab;
use super::daemon::UNIT;
use super::outage::{By, Upgrade};
use lab::Node;
use lab::audit::{Outage, node_writes, outages, seconds};
use lab::script;
use lab::{UPGRADE_CONFIG, versions, wait_until};

const LIMIT: Duration = Duration::from_mins(10);
const ANNOTATION: &str = "node-upgrade-agent/target";

impl Lab<'_> {
    /// Upgrades a node that is at the old version, and says how long it was out of service.
    ///
    /// # Errors
    /// If it does not end in service at the new version.
    pub(super) fn upgrade(&self, name: &str, by: By) -> Result<Upgrade> {
        let node = self.cluster.node(name)?;
        self.prepare(node)?;
        let pods = self.web_servers(&[&format!("--field-selector=spec.nodeName={name}")])?;
        let start = Timestamp::now();
        let steps = match by {
            By::Agent => self.by_agent(name).map(|()| None)?,
            By::Script(order) => Some(self.cluster.upgrade_by_script(self.program, name, order)?),
        };
        let end = Timestamp::now();
        if self.version(name)? != versions::KUBERNETES_NEW {
            bail!("{name} was upgraded by {by}, but does not run {}", versions::KUBERNETES_NEW);
        }
        let mut outage = self.outage(name, start)?;
        if let Some(steps) = steps {
            outage.phases = script::phases(&steps, &outage);
        }
        let before = seconds(start, outage.from);
        Ok(Upgrade { by, pods, before, outage, total: seconds(start, end) })
    }

    /// The time out of service that an upgrade brought which began at `start`.
    fn outage(&self, name: &str, start: Timestamp) -> Result<Outage> {
        let writes = node_writes(&self.cluster.audit_log()?)?;
        let found: Vec<Outage> =
            outages(&writes, name).into_iter().filter(|outage| outage.from >= start).collect();
        let [outage] = <[Outage; 1]>::try_from(found).map_err(|found| {
            anyhow!("{name} was cordoned and uncordoned {} times in one upgrade, and not once", found.len())
        })?;
        Ok(outage)
    }

    /// Upgrades a node, which is taken back before if it has been upgraded already.
    ///
    /// # Errors
    /// As [`Self::upgrade`] and [`Self::take_back`].
    pub(super) fn upgrade_anew(&self, name: &str, by: By) -> Result<Upgrade> {
        if self.version(name)? != versions::KUBERNETES_OLD {
            self.take_back(name)?;
        }
        let upgrade = self.upgrade(name, by)?;
        lab::progress(&format!("{name} by {by}: {:.1} s", upgrade.outage.seconds()));
        Ok(upgrade)
    }

    /// What the kubelet of a node reports, without its `v`.
    pub(super) fn version(&self, name: &str) -> Result<String> {
        let query = "jsonpath={.status.nodeInfo.kubeletVersion}";
        let version = self.cluster.kubectl(&["get", "node", name, "-o", query])?;
        Ok(version.trim_start_matches('v').to_owned())
    }

    /// The same start for both: nothing downloaded yet, and the web servers spread over both workers.
    fn prepare(&self, node: &Node) -> Result<()> {
        node.run(&["apt-get", "clean"])?;
        node.run(&["systemctl", "stop", UNIT])?;
        node.run(&["rm", "-rf", "/var/lib/node-upgrade-agent/apt"])?;
        node.run(&["systemctl", "start", UNIT])?;
        self.cluster.kubectl(&["rollout", "restart", "deployment/hello"])?;
        self.cluster.kubectl(&["rollout", "status", "deployment/hello", "--timeout=3m"])?;
        let only_new = || Ok(self.web_servers(&[])? == 10);
        wait_until("the web servers of before to be gone", LIMIT, only_new)
    }

    /// How many of the tutorial's web servers there are.
    ///
    /// # Errors
    /// If kubectl fails.
    pub(super) fn web_servers(&self, filter: &[&str]) -> Result<usize> {
        let query = [&["get", "pods", "-l", "app=hello", "-o", "name"], filter].concat();
        Ok(self.cluster.kubectl(&query)?.lines().count())
    }

    /// Has the agent of a node upgrade it, and waits until it is back in service.
    ///
    /// # Errors
    /// If that takes too long.
    pub(super) fn by_agent(&self, name: &str) -> Result<()> {
        self.ask_agent(name)?;
        self.wait_for_agent(name)
    }

    /// Tells the agent of a node the version that the node shall run.
    ///
    /// # Errors
    /// If kubectl fails.
    pub(super) fn ask_agent(&self, name: &str) -> Result<()> {
        let target = format!("{ANNOTATION}=v{}", versions::KUBERNETES_NEW);
        self.cluster.kubectl(&["annotate", "--overwrite", "node", name, &target]).map(drop)
    }

    /// Waits until the agent of a node says that the version it was told is in service.
    ///
    /// # Errors
    /// If that takes too long.
    pub(super) fn wait_for_agent(&self, name: &str) -> Result<()> {
        let query = "jsonpath={.metadata.annotations.node-upgrade-agent/current} \
                     {.metadata.annotations.node-upgrade-agent/phase}";
        let done = format!("v{} idle", versions::KUBERNETES_NEW);
        wait_until(&format!("{name} to upgrade itself"), LIMIT, || {
            Ok(self.cluster.kubectl(&["get", "node", name, "-o", query])? == done)
        })
    }

    /// Takes a node that is in service at the new version back to the old one.
    ///
    /// # Errors
    /// If a step fails, or the agent does not see it in time.
    pub(super) fn take_back(&self, name: &str) -> Result<()> {
        let node = self.cluster.node(name)?;
        let old = versions::KUBERNETES_OLD;
        self.cluster.kubectl(&["annotate", "node", name, &format!("{ANNOTATION}-")])?;
        let package = versions::package_version(old);
        let wanted = ["kubeadm", "kubelet", "kubectl"].map(|name| format!("{name}={package}"));
        let mut install =
            vec!["apt-get", "install", "-y", "--allow-downgrades", "--allow-change-held-packages"];
        install.extend(wanted.iter().map(String::as_str));
        node.run(&install)?;
        if name == "cp1" {
            take_control_plane_back(node)?;
        }
        node.run(&["apt-mark", "hold", "kubeadm", "kubelet", "kubectl"])?;
        node.run(&["systemctl", "daemon-reload"])?;
        node.run(&["systemctl", "restart", "kubelet"])?;
        wait_until(&format!("{name} to be back at {old}"), LIMIT, || Ok(self.version(name)? == old))?;
        self.cluster.wait_ready()
    }
}

/// kubeadm goes back only when forced, and takes that from its file alone once it has one.
fn take_control_plane_back(node: &Node) -> Result<()> {
    const FORCED: &str = "/etc/kubernetes/kubeadm-take-back.yaml";
    let config = String::from_utf8(node.read_file(UPGRADE_CONFIG)?).context("kubeadm's file is no text")?;
    node.write_file(FORCED, config.replace("\napply:\n", "\napply:\n  forceUpgrade: true\n"), 0o644)?;
    let version = format!("v{}", versions::KUBERNETES_OLD);
    node.run(&["kubeadm", "upgrade", "apply", &version, "-y", "--config", FORCED]).map(drop)
}
