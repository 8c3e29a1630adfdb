//! The cluster all scenarios share, and the words they are written in.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail, ensure};
use lab::{Cluster, DEFAULT_AGENT_CONFIG, Node, Options, versions, wait_for, wait_until};
use serde_json::Value;
use upgrade_core::api::annotations::{CURRENT, PHASE, RETRY, SKIP_CHECKS, STATUS, TARGET};
use upgrade_core::api::{Phase, Report};
use upgrade_core::oracle::{End, Event, Violation, What, check, ends};

use crate::{hold, readme};

pub(crate) const AGENT: &str = "node-upgrade-agent.service";
/// Longer than any phase of a worker takes.
pub(crate) const SOON: Duration = Duration::from_mins(2);
/// A control plane takes two turns, on a machine that is shared with all the others.
pub(crate) const UPGRADE: Duration = Duration::from_mins(10);
const KUBELET_FLAGS: &str = "/etc/default/kubelet";

pub(crate) fn old() -> String {
    format!("v{}", versions::KUBERNETES_OLD)
}

pub(crate) fn new() -> String {
    format!("v{}", versions::KUBERNETES_NEW)
}

/// A cluster with agents on all nodes.
pub(crate) struct Fleet {
    pub(crate) cluster: Cluster,
    began: Cell<SystemTime>,
    withdrawn: Cell<bool>,
}

impl Fleet {
    /// The cluster that all scenarios share.
    pub(crate) fn boot() -> Result<Self> {
        match std::env::var("UPGRADE_TEST_CLUSTER") {
            Ok(name) => Self::prepare(Cluster::open(&name)?, &package()?),
            Err(_) => Self::boot_as_documented(),
        }
    }

    /// A cluster on which the agents are installed as README.md says.
    fn boot_as_documented() -> Result<Self> {
        let package = package()?;
        let cluster = Cluster::boot(&Options::default())?;
        cluster.deploy_tutorial()?;
        readme::install(&cluster, &package)?;
        Self::of(cluster)
    }

    /// A cluster for one scenario, which ends with it.
    pub(crate) fn boot_another(options: &Options) -> Result<Self> {
        // Looked for first: a cluster that nothing can be installed on need not be booted.
        Self::boot_with(options, &package()?)
    }

    /// The same with another package of the agent.
    pub(crate) fn boot_with(options: &Options, package: &Path) -> Result<Self> {
        Self::prepare(Cluster::boot(options)?, package)
    }

    /// Deploys the tutorial's web servers and installs the agents.
    fn prepare(cluster: Cluster, package: &Path) -> Result<Self> {
        cluster.deploy_tutorial()?;
        cluster.install_agent(package, DEFAULT_AGENT_CONFIG)?;
        Self::of(cluster)
    }

    fn of(cluster: Cluster) -> Result<Self> {
        let fleet = Self { cluster, began: Cell::new(SystemTime::now()), withdrawn: Cell::new(false) };
        fleet.tidy()?;
        Ok(fleet)
    }

    /// A scenario begins: only what happens from now on is held against it.
    pub(crate) fn begin(&self) {
        self.began.set(SystemTime::now());
    }

    pub(crate) fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        self.cluster.kubectl(arguments)
    }

    /// Annotates a Node with a target.
    pub(crate) fn ask(&self, node: &str, target: &str) -> Result<()> {
        self.kubectl(&["annotate", "--overwrite", "node", node, &format!("{TARGET}={target}")]).map(drop)
    }

    pub(crate) fn ask_no_more(&self, node: &str) -> Result<()> {
        let keys = [TARGET, RETRY, SKIP_CHECKS].map(|key| format!("{key}-"));
        let [target, retry, skip] = &keys;
        self.kubectl(&["annotate", "node", node, target, retry, skip]).map(drop)
    }

    /// The Node as the API server has it.
    pub(crate) fn node(&self, name: &str) -> Result<Value> {
        Ok(serde_json::from_str(&self.kubectl(&["get", "node", name, "-o", "json"])?)?)
    }

    /// The report in the annotation `status`.
    pub(crate) fn report(&self, node: &str) -> Result<Report> {
        let node = self.node(node)?;
        let status = node["metadata"]["annotations"][STATUS].as_str().context("no status yet")?;
        serde_json::from_str(status).with_context(|| format!("the status {status}"))
    }

    /// Waits until the agent of `node` reports `phase` and `more` holds of the report.
    pub(crate) fn wait_report(
        &self,
        node: &str,
        phase: Phase,
        more: impl Fn(&Report) -> bool,
    ) -> Result<Report> {
        let what = format!("{node} to report phase {phase}");
        wait_for(&what, SOON, || {
            let report = self.report(node)?;
            let holds = report.phase == phase && more(&report);
            if !holds {
                // The last one seen is part of the report if time runs out.
                bail!("it reports {}: {}", report.phase, report.message);
            }
            Ok(Some(report))
        })
    }

    pub(crate) fn wait_phase(&self, node: &str, phase: Phase) -> Result<()> {
        self.wait_report(node, phase, |_| true).map(drop)
    }

    /// Waits until `node` says it is in service at `version`, and everything else that goes with the end of an upgrade.
    pub(crate) fn wait_done(&self, node: &str, version: &str) -> Result<()> {
        self.wait_current(node, version)?;
        self.check_in_service(node, version)
    }

    /// Waits until `node` says it is in service at `version` and has nothing to do.
    pub(crate) fn wait_current(&self, node: &str, version: &str) -> Result<()> {
        wait_until(&format!("{node} to be in service at {version}"), UPGRADE, || {
            let seen = self.node(node)?;
            let annotation = |key: &str| seen["metadata"]["annotations"][key].as_str().unwrap_or_default();
            let (current, phase) = (annotation(CURRENT), annotation(PHASE));
            ensure!(current == version && phase == Phase::Idle.word(), "it says {current}, {phase}");
            Ok(true)
        })
    }

    /// Reads back from the API server and from the node that it serves at `version` and nothing is left over.
    pub(crate) fn check_in_service(&self, name: &str, version: &str) -> Result<()> {
        let node = self.node(name)?;
        let kubelet = &node["status"]["nodeInfo"]["kubeletVersion"];
        ensure!(kubelet == version, "the API server knows kubelet {kubelet} on {name}, not {version}");
        ensure!(node["spec"]["unschedulable"] != true, "{name} is left cordoned");
        let host = self.cluster.node(name)?;
        let told = host.run(&["kubelet", "--version"])?;
        ensure!(told.trim() == format!("Kubernetes {version}"), "kubelet on {name} says {told}");
        let package = versions::package_version(version.trim_start_matches('v'));
        for name in ["kubeadm", "kubelet", "kubectl"] {
            let query = "--showformat=${Version} ${db:Status-Want} ${db:Status-Status}";
            let installed = host.run(&["dpkg-query", "--show", query, name])?;
            ensure!(installed == format!("{package} hold installed"), "package {name} is {installed}");
        }
        let holder = self.holders()?;
        ensure!(!holder.contains(&format!("{name}/")), "{name} still holds a Lease: {holder}");
        Ok(())
    }

    /// The holders of all Leases.
    pub(crate) fn holders(&self) -> Result<String> {
        let query = "jsonpath={.items[*].spec.holderIdentity}";
        self.kubectl(&["get", "leases", "-n", "node-upgrade-agent", "-o", query])
    }

    /// The nodes on which the pods of `app` run.
    pub(crate) fn pods_by_node(&self, app: &str) -> Result<Vec<(String, String)>> {
        let query =
            "jsonpath={range .items[*]}{.metadata.name} {.spec.nodeName} {.status.phase}{\"\\n\"}{end}";
        let selector = format!("app={app}");
        let answer = self.kubectl(&["get", "pods", "-l", &selector, "-o", query])?;
        let pods = answer.lines().filter_map(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            let [name, node, "Running"] = words.as_slice() else { return None };
            Some(((*name).to_owned(), (*node).to_owned()))
        });
        Ok(pods.collect())
    }

    /// Withdraws the new version from the repository until the scenario is over.
    pub(crate) fn withdraw_new(&self) -> Result<()> {
        self.withdrawn.set(true);
        self.cluster.repository().remove_version(versions::KUBERNETES_NEW)
    }

    /// A worker at the old version, under a control plane at the new one.
    pub(crate) fn old_worker(&self, name: &str) -> Result<&Node> {
        self.raise_control_plane()?;
        let node = self.cluster.node(name)?;
        if self.node(name)?["status"]["nodeInfo"]["kubeletVersion"] != old().as_str() {
            self.lower(node)?;
        }
        let current =
            || -> Result<bool> { Ok(self.node(name)?["metadata"]["annotations"][CURRENT] == old().as_str()) };
        wait_until(&format!("{name} to be in service at {}", old()), SOON, current)?;
        self.began.set(SystemTime::now());
        Ok(node)
    }

    /// Where the first scenario was not played, its part that the others need is.
    fn raise_control_plane(&self) -> Result<()> {
        let name = self.cluster.control_plane()?.name();
        if self.node(name)?["status"]["nodeInfo"]["kubeletVersion"] == new().as_str() {
            return Ok(());
        }
        self.ask(name, &new())?;
        self.wait_done(name, &new())
    }

    /// Puts the old packages back, as an administrator would: a kubelet may be older than the API server.
    fn lower(&self, node: &Node) -> Result<()> {
        let version = versions::package_version(versions::KUBERNETES_OLD);
        let packages = ["kubeadm", "kubelet", "kubectl"];
        let wanted = packages.map(|package| format!("{package}={version}"));
        let options = ["apt-get", "install", "-y", "--allow-downgrades", "--allow-change-held-packages"];
        node.run(&options.into_iter().chain(wanted.iter().map(String::as_str)).collect::<Vec<_>>())?;
        node.run(&[&["apt-mark", "hold"], packages.as_slice()].concat())?;
        node.run(&["systemctl", "daemon-reload"])?;
        node.run(&["systemctl", "restart", "kubelet"])?;
        wait_until(&format!("{} to run {}", node.name(), old()), SOON, || {
            Ok(self.node(node.name())?["status"]["nodeInfo"]["kubeletVersion"] == old().as_str())
        })?;
        self.cluster.wait_ready()
    }

    /// What happened since the scenario began.
    pub(crate) fn events(&self) -> Result<Vec<Event>> {
        let history = upgrade_history::of_cluster(&self.cluster)?;
        let began = history.moment(self.began.get())?;
        Ok(history.events.into_iter().filter(|event| event.at >= began).collect())
    }

    /// Asks the oracle: no rule was broken since the scenario began, and these nodes ended like this.
    pub(crate) fn judge(&self, expected: &[(&str, End)]) -> Result<()> {
        self.judge_but(expected, |_| false)
    }

    /// The same where some of what was broken is excused.
    pub(crate) fn judge_but(
        &self,
        expected: &[(&str, End)],
        excused: impl Fn(&Violation) -> bool,
    ) -> Result<()> {
        let history = upgrade_history::of_cluster(&self.cluster)?;
        let began = history.moment(self.began.get())?;
        let violations = check(&history.events, &upgrade_history::expectations());
        let violations: Vec<_> =
            violations.iter().filter(|violation| violation.at >= began && !excused(violation)).collect();
        if let Some(first) = violations.first() {
            let rules: Vec<_> =
                violations.iter().map(|violation| (&violation.node, violation.rule)).collect();
            bail!("{} violations, {rules:?}, the first: {first}", violations.len());
        }
        let ends = ends(&history.events);
        for (node, expected) in expected {
            let end = ends.get(*node).with_context(|| format!("the history knows no node {node}"))?;
            ensure!(end == expected, "{node} ended {end:?}, not {expected:?}");
        }
        Ok(())
    }

    /// Undoes what scenarios did outside the rules, and asks for nothing any more.
    pub(crate) fn tidy(&self) -> Result<()> {
        let resources = ["delete", "--ignore-not-found", "--wait=false"];
        self.kubectl(&[resources.as_slice(), &["pdb,deployment,job", "-l", "scenario"]].concat())?;
        if self.withdrawn.replace(false) {
            self.cluster.repository().restore()?;
        }
        for node in self.cluster.nodes() {
            if !node.is_running() {
                node.power_on()?;
            }
            hold::remove_hooks(node)?;
            node.write_file(KUBELET_FLAGS, "KUBELET_EXTRA_ARGS=\n", 0o644)?;
            self.ask_no_more(node.name())?;
        }
        for node in self.cluster.nodes() {
            self.wait_phase(node.name(), Phase::Idle)?;
        }
        Ok(())
    }

    /// Plays a part of a scenario on this cluster, which ends with it: what happened on it is told before.
    pub(crate) fn explained(&self, play: impl FnOnce(&Self) -> Result<()>) -> Result<()> {
        let outcome = play(self);
        if outcome.is_err() {
            self.show_evidence();
        }
        outcome
    }

    /// Prints what happened since a scenario that failed began, and what the agents said of it.
    pub(crate) fn show_evidence(&self) {
        match self.events() {
            Ok(events) => events.iter().for_each(|event| println!("  {event}")),
            Err(error) => println!("  no history: {error:#}"),
        }
        for node in self.cluster.nodes() {
            let journal = node.journal(AGENT).unwrap_or_default();
            let lines: Vec<&str> = journal.lines().collect();
            let last = lines.len().saturating_sub(30);
            println!("  the agent of {}:", node.name());
            lines[last..].iter().for_each(|line| println!("    {line}"));
        }
    }
}

/// How often something happened to a node.
pub(crate) fn count(events: &[Event], node: &str, what: impl Fn(&What) -> bool) -> usize {
    events.iter().filter(|event| event.node == node && what(&event.what)).count()
}

/// The agent's Debian package: `NODE_UPGRADE_AGENT_DEB`, else what `make deb` left beside this test.
pub(crate) fn package() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("NODE_UPGRADE_AGENT_DEB") {
        let path = PathBuf::from(path);
        ensure!(path.is_file(), "NODE_UPGRADE_AGENT_DEB names no file: {}", path.display());
        return Ok(path);
    }
    let packages = target_directory()?.join("deb");
    let entries = std::fs::read_dir(&packages).into_iter().flatten().flatten().map(|entry| entry.path());
    let found = entries.filter(|path| path.extension().is_some_and(|end| end == "deb")).max();
    found.with_context(|| format!("there is no package in {}: make deb builds it", packages.display()))
}

/// Cargo's target directory, in which this test was built.
pub(crate) fn target_directory() -> Result<PathBuf> {
    let this = std::env::current_exe().context("where is this test?")?;
    Ok(this.ancestors().nth(3).context("this test is in no target directory")?.to_owned())
}
