//! A running cluster: booted, joined, and taken away again.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

use crate::build::Artefacts;
use crate::cache::Cache;
use crate::http_server::HttpServer;
use crate::instance::{Claim, Instance, cgroup_name};
use crate::network::Network;
use crate::node::Node;
use crate::process::{command, run_command};
use crate::repository::Repository;
use crate::{cgroup::Cgroup, kubeadm, wait_until};

/// etcd, API server, controller manager and scheduler.
const STATIC_PODS: usize = 4;

const READY_LIMIT: Duration = Duration::from_secs(90);

/// Which cluster to boot.
#[derive(Debug, Clone)]
pub struct Options {
    /// Name by which `lab` finds it; one that nobody else uses if not given.
    pub name: Option<String>,
    /// Number of control-plane nodes, `cp1` and so on, with stacked etcd.
    pub control_planes: u8,
    /// Number of workers, `worker1` and so on.
    pub workers: u8,
    /// Whether a cluster that failed to come up stays, to be looked at and ended with `lab down`.
    pub keep_failed: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { name: None, control_planes: 1, workers: 2, keep_failed: false }
    }
}

/// A running cluster. Dropping it removes it entirely, unless it is kept.
#[derive(Debug)]
pub struct Cluster {
    instance: Instance,
    nodes: Vec<Node>,
    server: Option<HttpServer>,
}

impl Cluster {
    /// Boots a cluster at [`crate::versions::KUBERNETES_OLD`] and waits until all its nodes are Ready.
    ///
    /// Builds what is not in the cache yet, which takes minutes the first time on a machine.
    ///
    /// # Errors
    /// If something cannot be built, booted or joined. What was started by then is removed.
    pub fn boot(options: &Options) -> Result<Self> {
        let cache = Cache::open()?;
        let artefacts = Artefacts::build(&cache)?;
        let start = Instant::now();
        let mut nodes: Vec<String> =
            (1..=options.control_planes).map(|number| format!("cp{number}")).collect();
        nodes.extend((1..=options.workers).map(|number| format!("worker{number}")));
        let name = options.name.clone().unwrap_or_else(unique_name);
        let claim = Claim { name: name.clone(), nodes, control_planes: usize::from(options.control_planes) };
        // From here on its Drop removes whatever exists.
        let mut cluster = Self::of(Instance::claim(&cache, claim)?)?;
        if let Err(error) = cluster.start(&artefacts) {
            if options.keep_failed {
                cluster.instance.keep()?;
            }
            return Err(error);
        }
        crate::progress(&format!("cluster {name} is ready after {:.1} s", start.elapsed().as_secs_f64()));
        Ok(cluster)
    }

    /// A running cluster that was kept; dropping this handle leaves it running.
    ///
    /// # Errors
    /// If there is none of that name.
    pub fn open(name: &str) -> Result<Self> {
        Self::of(Instance::open(name)?)
    }

    fn start(&mut self, artefacts: &Artefacts) -> Result<()> {
        crate::limits::raise()?;
        self.create(artefacts)?;
        self.boot_nodes()?;
        self.join_nodes()
    }

    fn of(instance: Instance) -> Result<Self> {
        let count = u8::try_from(instance.record.nodes.len()).context("too many nodes")?;
        let nodes = (1..=count).map(|number| Node::of(&instance.record, number)).collect::<Result<_>>()?;
        Ok(Self { instance, nodes, server: None })
    }

    /// Disks, cables and the package repository.
    fn create(&mut self, artefacts: &Artefacts) -> Result<()> {
        let network = self.network();
        // Beside the cluster: whoever opens it later need not know which build it was started with.
        symlink(artefacts.new.path("kubectl"), self.kubectl_program()).context("cannot link kubectl")?;
        network.create()?;
        let repository = self.repository();
        repository.create(&artefacts.packages)?;
        self.server = Some(HttpServer::start(&repository.served(), repository.listen())?);
        let hosts: Vec<_> = self.nodes.iter().map(|node| (node.name().to_owned(), node.address())).collect();
        let hosts = kubeadm::hosts(&hosts);
        let source = repository.source();
        for (number, node) in (1..).zip(&self.nodes) {
            node.create_disk(&artefacts.node_layers, &artefacts.containerd)?;
            node.write_file("/etc/hosts", &hosts, 0o644)?;
            // Nobody answers there; kubelet wants the file to exist, and names of nodes stand in /etc/hosts.
            node.write_file("/etc/resolv.conf", format!("nameserver {}\n", network.host()), 0o644)?;
            node.write_file("/etc/apt/sources.list.d/kubernetes.list", format!("{source}\n"), 0o644)?;
            kubeadm::prepare(node, network, number)?;
            network.connect(number, u8::try_from(self.nodes.len())?)?;
        }
        Ok(())
    }

    fn boot_nodes(&self) -> Result<()> {
        for node in &self.nodes {
            node.launch()?;
        }
        self.nodes.iter().try_for_each(|node| node.wait_booted(None))
    }

    fn join_nodes(&self) -> Result<()> {
        let control_planes = self.instance.record.control_planes;
        let Some((control_planes, workers)) = self.nodes.split_at_checked(control_planes) else {
            bail!("the record of {} has fewer nodes than control-plane nodes", self.name())
        };
        let [control_plane, others @ ..] = control_planes else {
            bail!("a cluster needs a control-plane node")
        };
        kubeadm::init(control_plane, &self.instance.record.name)?;
        let kubeconfig = control_plane.read_file("/etc/kubernetes/admin.conf")?;
        fs::write(self.kubeconfig(), kubeconfig).context("cannot write the admin's kubeconfig")?;
        fs::set_permissions(self.kubeconfig(), fs::Permissions::from_mode(0o600))
            .context("cannot protect the admin's kubeconfig")?;
        let invitation = kubeadm::invite(control_plane, !others.is_empty())?;
        // One after the other: etcd takes in one member at a time.
        others.iter().try_for_each(|node| kubeadm::join(node, &invitation, true))?;
        in_parallel(workers, |node| kubeadm::join(node, &invitation, false))?;
        // As on a node an administrator has set up: apt knows the packages there are.
        in_parallel(&self.nodes, |node| node.run(&["apt-get", "update"]).map(drop))?;
        self.wait_ready()
    }

    /// Waits until every node and every static pod of the control plane is Ready: an upgrade refuses to start before.
    ///
    /// # Errors
    /// If one is not in time.
    pub fn wait_ready(&self) -> Result<()> {
        let pods = STATIC_PODS * self.instance.record.control_planes;
        let ready = |arguments: &[&str]| -> Result<usize> {
            let query = "jsonpath={.items[*].status.conditions[?(@.type==\"Ready\")].status}";
            let answer = self.kubectl(&[&["get", "-o", query], arguments].concat())?;
            Ok(answer.split_whitespace().filter(|status| *status == "True").count())
        };
        wait_until("all nodes to be Ready", READY_LIMIT, || Ok(ready(&["nodes"])? == self.nodes.len()))?;
        wait_until("the control plane's pods to be Ready", READY_LIMIT, || {
            Ok(ready(&["pods", "-n", "kube-system", "-l", "tier=control-plane"])? == pods)
        })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.instance.record.name
    }

    /// All nodes, the control plane first.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The node of this name.
    ///
    /// # Errors
    /// If there is none.
    pub fn node(&self, name: &str) -> Result<&Node> {
        self.nodes.iter().find(|node| node.name() == name).with_context(|| {
            let names: Vec<&str> = self.nodes.iter().map(Node::name).collect();
            format!("the cluster {} has no node {name}; it has {names:?}", self.name())
        })
    }

    /// The first control-plane node.
    ///
    /// # Errors
    /// If the cluster has no nodes.
    pub fn control_plane(&self) -> Result<&Node> {
        self.nodes.first().ok_or_else(|| anyhow!("the cluster {} has no nodes", self.name()))
    }

    /// Path of the administrator's kubeconfig, which works from the host.
    pub fn kubeconfig(&self) -> PathBuf {
        self.instance.record.state.join("admin.conf")
    }

    /// Path of the host's kubectl.
    pub fn kubectl_program(&self) -> PathBuf {
        self.instance.record.state.join("kubectl")
    }

    /// Runs kubectl as the administrator and returns its standard output.
    ///
    /// # Errors
    /// If kubectl fails; the error quotes it.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        let program = self.kubectl_program().display().to_string();
        run_command(command(&program, arguments).env("KUBECONFIG", self.kubeconfig()))
    }

    /// Path of the first API server's audit log: JSON lines, appended while the cluster runs.
    ///
    /// # Errors
    /// If the cluster has no nodes.
    pub fn audit_log(&self) -> Result<PathBuf> {
        Ok(self.control_plane()?.root().join(kubeadm::AUDIT_LOG.trim_start_matches('/')))
    }

    /// The audit logs of all API servers, the first one's first: each has what it was asked itself.
    pub fn audit_logs(&self) -> Vec<PathBuf> {
        let servers = self.nodes.iter().take(self.instance.record.control_planes);
        servers.map(|node| node.root().join(kubeadm::AUDIT_LOG.trim_start_matches('/'))).collect()
    }

    /// Its package repository, to withdraw versions from and to slow down.
    pub fn repository(&self) -> Repository {
        Repository::of(&self.instance.record.state, self.network().host())
    }

    /// Leaves the cluster running after this process; `lab` (its path) then serves the packages.
    ///
    /// # Errors
    /// If the server cannot be started.
    pub fn keep(mut self, lab: &Path) -> Result<()> {
        let repository = self.repository();
        self.server = None;
        let cgroup = Cgroup::create(&cgroup_name(self.instance.record.index, "repository"))?;
        let served = repository.served().display().to_string();
        let listen = repository.listen().to_string();
        let lab = lab.display().to_string();
        let arguments = ["--fork", &lab, "serve", "--dir", &served, "--listen", &listen];
        // In a cgroup of the cluster, so that it ends with it.
        run_command(cgroup.command("setsid", &arguments).stdout(Stdio::null()).stderr(Stdio::null()))?;
        self.instance.keep()
    }

    /// Ends the cluster and removes everything of it.
    ///
    /// # Errors
    /// If something could not be removed.
    pub fn down(mut self) -> Result<()> {
        self.server = None;
        self.instance.remove()
    }

    fn network(&self) -> Network {
        Network::new(self.instance.record.index)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.server = None;
        if self.instance.is_owned()
            && let Err(error) = self.instance.remove()
        {
            crate::progress(&format!("the cluster {} is not entirely removed: {error:#}", self.name()));
        }
    }
}

/// Runs `act` on all nodes at once and fails with the first failure.
pub(crate) fn in_parallel(nodes: &[Node], act: impl Fn(&Node) -> Result<()> + Sync) -> Result<()> {
    thread::scope(|scope| {
        let threads: Vec<_> = nodes.iter().map(|node| scope.spawn(|| act(node))).collect();
        let results: Vec<_> = threads.into_iter().map(thread::ScopedJoinHandle::join).collect();
        results
            .into_iter()
            .try_for_each(|result| result.unwrap_or_else(|_| bail!("a thread of the lab panicked")))
    })
}

fn unique_name() -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(1);
    format!("test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}
