//! The lab's command line.

use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{ExitCode, Stdio};

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use lab::{Artefacts, Cache, Cluster, Demo, HostControlPlane, HttpServer, Options};
use nix::sys::signal::{SigSet, Signal};

/// Real kubeadm clusters of systemd-nspawn nodes on this machine.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Verb,
}

/// Which cluster is meant.
#[derive(Debug, clap::Args)]
struct Which {
    /// Name of the cluster.
    #[arg(long, default_value = "lab")]
    name: String,
}

/// Which cluster to boot.
#[derive(Debug, clap::Args)]
struct Size {
    /// Number of control-plane nodes, with stacked etcd.
    #[arg(long, default_value_t = 1)]
    control_planes: u8,
    /// Number of workers.
    #[arg(long, default_value_t = 2)]
    workers: u8,
    /// Leave a cluster that failed to come up, to look at it.
    #[arg(long)]
    keep_failed: bool,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Build what is not in the cache yet: programs, images, packages, nodes.
    Build,
    /// Boot a cluster and keep it running.
    Up {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        size: Size,
    },
    /// End a cluster and remove everything of it.
    Down {
        #[command(flatten)]
        which: Which,
        /// All kept clusters, and what clusters of dead owners left.
        #[arg(long)]
        all: bool,
    },
    /// Boot a cluster, install the agent, and watch the cluster upgrade itself.
    Demo {
        #[command(flatten)]
        which: Which,
        /// The agent's Debian package.
        #[arg(long)]
        agent: PathBuf,
        /// Remove the cluster at the end, instead of leaving it to play on with.
        #[arg(long)]
        down: bool,
    },
    /// List running clusters and their nodes.
    Status,
    /// Say how to reach a running cluster.
    HowTo {
        #[command(flatten)]
        which: Which,
    },
    /// Say what this machine lacks to boot clusters; fails if it lacks something.
    Check,
    /// Run a command on a node.
    Exec {
        #[command(flatten)]
        which: Which,
        node: String,
        #[arg(last = true, required = true)]
        argv: Vec<String>,
    },
    /// Open a shell on a node.
    Shell {
        #[command(flatten)]
        which: Which,
        node: String,
    },
    /// Run kubectl as the cluster's administrator.
    Kubectl {
        #[command(flatten)]
        which: Which,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        argv: Vec<String>,
    },
    /// Kill a node as a power cut does.
    PowerCut {
        #[command(flatten)]
        which: Which,
        node: String,
    },
    /// Switch a node on.
    PowerOn {
        #[command(flatten)]
        which: Which,
        node: String,
    },
    /// Reboot a node properly.
    Reboot {
        #[command(flatten)]
        which: Which,
        node: String,
    },
    /// Deploy the tutorial's ten web servers and wait until they are ready.
    DeployTutorial {
        #[command(flatten)]
        which: Which,
    },
    /// Install the agent on every node and start it.
    InstallAgent {
        #[command(flatten)]
        which: Which,
        /// The agent's Debian package.
        package: PathBuf,
        /// Its configuration file; what the lab needs if not given.
        #[arg(long)]
        config: Option<PathBuf>,
    },
    /// Change what the nodes' package repository offers, and how fast.
    Packages {
        #[command(flatten)]
        which: Which,
        #[command(subcommand)]
        change: Change,
    },
    /// Run a control plane without nodes on loopback until interrupted.
    ControlPlane {
        /// Make kubeconfigs for the kubelet and the agent of these nodes.
        #[arg(long)]
        node: Vec<String>,
    },
    /// Serve a directory over HTTP, as the package repository is.
    Serve {
        #[arg(long)]
        dir: PathBuf,
        #[arg(long)]
        listen: SocketAddr,
        /// Limit of all downloads together, in bytes per second.
        #[arg(long)]
        rate_bytes: Option<u64>,
    },
}

#[derive(Debug, Subcommand)]
enum Change {
    /// Withdraw a Kubernetes version.
    Remove { version: String },
    /// Offer everything again.
    Restore,
    /// Limit all downloads together to this many bytes per second; 0 lifts the limit.
    Rate { bytes_per_second: u64 },
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("lab: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(verb: Verb) -> Result<ExitCode> {
    match verb {
        Verb::Build => {
            let artefacts = Artefacts::build(&Cache::open()?)?;
            println!("built: Kubernetes {} and {}", artefacts.old.version(), artefacts.new.version());
        }
        Verb::Up { which, size } => up(&which.name, &size)?,
        Verb::Down { all: true, .. } => lab::remove_all()?,
        Verb::Down { which, all: false } => Cluster::open(&which.name)?.down()?,
        Verb::Demo { which, agent, down } => {
            let good = Demo { name: which.name, agent, down }.run()?;
            return Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        Verb::Status => print!("{}", lab::status()?),
        Verb::HowTo { which } => println!("{}", Cluster::open(&which.name)?.how_to()),
        Verb::Check => return Ok(check()),
        Verb::Exec { which, node, argv } => return exec(&which.name, &node, &argv),
        Verb::Shell { which, node } => return exec(&which.name, &node, &["bash".into(), "-l".into()]),
        Verb::Kubectl { which, argv } => {
            let cluster = Cluster::open(&which.name)?;
            let mut kubectl = std::process::Command::new(cluster.kubectl_program());
            return Err(kubectl.args(argv).env("KUBECONFIG", cluster.kubeconfig()).exec())
                .context("cannot run kubectl");
        }
        Verb::PowerCut { which, node } => Cluster::open(&which.name)?.node(&node)?.power_cut()?,
        Verb::PowerOn { which, node } => Cluster::open(&which.name)?.node(&node)?.power_on()?,
        Verb::Reboot { which, node } => Cluster::open(&which.name)?.node(&node)?.reboot()?,
        Verb::DeployTutorial { which } => Cluster::open(&which.name)?.deploy_tutorial()?,
        Verb::InstallAgent { which, package, config } => {
            let config = match config {
                Some(path) => std::fs::read_to_string(&path)
                    .with_context(|| format!("cannot read {}", path.display()))?,
                None => lab::DEFAULT_AGENT_CONFIG.to_owned(),
            };
            Cluster::open(&which.name)?.install_agent(&package, &config)?;
        }
        Verb::Packages { which, change } => {
            let repository = Cluster::open(&which.name)?.repository();
            match change {
                Change::Remove { version } => repository.remove_version(&version)?,
                Change::Restore => repository.restore()?,
                Change::Rate { bytes_per_second } => repository.set_rate(Some(bytes_per_second))?,
            }
        }
        Verb::ControlPlane { node } => control_plane(&node)?,
        Verb::Serve { dir, listen, rate_bytes } => {
            if rate_bytes.is_some() {
                lab::set_rate(&dir, rate_bytes)?;
            }
            HttpServer::start(&dir, listen)?.serve_forever();
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn own_program() -> Result<PathBuf> {
    std::env::current_exe().context("cannot find the lab's own program")
}

fn check() -> ExitCode {
    let lacks = lab::lacks();
    if lacks.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!("This machine lacks, to boot clusters:");
    for what in lacks {
        println!("  {what}");
    }
    ExitCode::FAILURE
}

fn up(name: &str, size: &Size) -> Result<()> {
    let program = own_program()?;
    let cluster = Cluster::boot(&Options {
        name: Some(name.to_owned()),
        control_planes: size.control_planes,
        workers: size.workers,
        keep_failed: size.keep_failed,
    })?;
    let kubeconfig = cluster.kubeconfig();
    let audit_logs = cluster.audit_logs();
    cluster.keep(&program)?;
    let option = if name == "lab" { String::new() } else { format!(" --name {name}") };
    println!("export KUBECONFIG={}", kubeconfig.display());
    for log in audit_logs {
        println!("# audit log: {}", log.display());
    }
    println!(
        "# lab kubectl{option} get nodes; lab shell{option} worker1; lab exec{option} cp1 -- COMMAND; lab down{option}"
    );
    Ok(())
}

/// Runs a control plane until this process is interrupted or asked to end.
fn control_plane(nodes: &[String]) -> Result<()> {
    let control_plane = HostControlPlane::start()?;
    control_plane.apply_rbac()?;
    println!("export KUBECONFIG={}", control_plane.kubeconfig().display());
    println!("# audit log: {}", control_plane.audit_log().display());
    for node in nodes {
        println!("# kubelet of {node}: {}", control_plane.kubelet_kubeconfig(node)?.display());
        println!("# agent of {node}: {}", control_plane.coordination_kubeconfig(node)?.display());
    }
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGINT);
    signals.add(Signal::SIGTERM);
    signals.thread_block().context("cannot hold back signals")?;
    signals.wait().context("cannot wait for a signal")?;
    Ok(())
}

/// Runs a command on a node with this process's input and output, and passes its exit status on.
fn exec(cluster: &str, node: &str, argv: &[String]) -> Result<ExitCode> {
    let argv: Vec<&str> = argv.iter().map(String::as_str).collect();
    let mut command = Cluster::open(cluster)?.node(node)?.command(&argv)?;
    command.stdin(Stdio::inherit()).env("TERM", std::env::var_os("TERM").unwrap_or_default());
    Err(command.exec()).with_context(|| format!("cannot run {argv:?} on node {node}"))
}
