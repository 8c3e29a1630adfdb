//! The figures of `docs/performance.md`, measured: `make bench`. Separate from tests, for they judge and this only tells.

mod daemon;
mod drain;
mod idle;
mod log;
mod machine;
mod node;
mod outage;
mod waiting;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};
use lab::script::Order;
use lab::{Cluster, DEFAULT_AGENT_CONFIG, Options};

use self::drain::{Matrix, Stop};
use self::idle::Idle;
use self::outage::{By, Upgrade};
use self::waiting::Bar;

/// Bytes per second of a slow package mirror.
const SLOW: u64 = 5_000_000;

const WORKERS: [&str; 2] = ["worker1", "worker2"];

/// What the agent's time out of service may be, as a part of the drain-first script's.
const GOAL_CONTROL_PLANE: f64 = 0.15;
const GOAL_WORKERS: f64 = 1.25;
const GOAL_SLOW: f64 = 0.7;

/// What can be measured alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// What an agent costs that has nothing to do.
    Idle,
    /// How long nodes are out of service.
    Outages,
    /// Drains, beside kubectl's.
    Drains,
    /// What agents cost that have a target and are barred; in a cluster of its own.
    Waiting,
}

/// Measure the agent beside the upgrade by hand, and print the figures as Markdown.
#[derive(Debug, Parser)]
#[command(version)]
struct Bench {
    /// Name of the cluster.
    #[arg(long, default_value = "bench")]
    name: String,
    /// The agent's Debian package.
    #[arg(long)]
    agent: PathBuf,
    /// The lab's program, through which the scripts reach nodes.
    #[arg(long)]
    lab: PathBuf,
    /// Seconds of the idle period; the watch's renewal every five minutes wants several of them.
    #[arg(long, default_value_t = 600)]
    idle: u64,
    /// Upgrades of each worker, by the agent and by the drain-first script in turn, with a local repository; half as many
    /// with a slow one.
    #[arg(long, default_value_t = 2)]
    rounds: u32,
    /// Measure this alone.
    #[arg(long)]
    only: Option<Part>,
    /// Numbers of pods to drain.
    #[arg(long, value_delimiter = ',', default_value = "10,50,100")]
    drain_pods: Vec<usize>,
    /// How the drained pods' processes take SIGTERM; those that stop at once are drained with a budget as well.
    #[arg(long, value_delimiter = ',', default_value = "at-once,5s,never")]
    drain_stops: Vec<Stop>,
    /// Minutes of waiting behind a node that is down; a third of them behind a policy that pauses. A waiting agent looks every
    /// five minutes: few minutes say little.
    #[arg(long, default_value_t = 30)]
    minutes: u64,
    /// What bars the waiting.
    #[arg(long, value_delimiter = ',', default_value = "down,paused")]
    bars: Vec<Bar>,
}

fn main() -> ExitCode {
    match Bench::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

impl Bench {
    /// Measures everything and prints it as Markdown; says on standard error how it goes.
    ///
    /// # Errors
    /// If the cluster does not come up or an upgrade does not end as it must: then there are no figures to print.
    fn run(&self) -> Result<()> {
        println!("{}\n", machine::facts()?);
        if self.measures(Part::Waiting) {
            waiting::strace_is_there()?;
        }
        if self.only != Some(Part::Waiting) {
            self.at_work()?;
        }
        if self.measures(Part::Waiting) {
            self.waiting()?;
        }
        Ok(())
    }

    /// What is measured in a cluster of two workers.
    fn at_work(&self) -> Result<()> {
        let package = size(&self.agent)?;
        let options = Options { name: Some(self.name.clone()), ..Options::default() };
        let cluster = Cluster::boot(&options)?;
        cluster.deploy_tutorial()?;
        cluster.install_agent(&self.agent, DEFAULT_AGENT_CONFIG)?;
        let program = size(&cluster.control_plane()?.root().join("usr/bin/node-upgrade-agent"))?;
        println!("Binary: {:.2} MB ({program} bytes)", megabytes(program));
        println!("Package: {:.2} MB ({package} bytes)\n", megabytes(package));
        if self.measures(Part::Idle) {
            let before = Idle::measure(&cluster, Duration::from_secs(self.idle))?;
            println!("Idle, before any upgrade:\n\n{before}");
        }
        if self.measures(Part::Outages) {
            self.outages(&cluster)?;
        }
        if self.only.is_none() {
            let after = Idle::measure(&cluster, Duration::from_secs(self.idle / 4))?;
            println!("Idle, after these upgrades:\n\n{after}");
        }
        if self.measures(Part::Drains) {
            let drains = Matrix { pods: self.drain_pods.clone(), stops: self.drain_stops.clone() };
            Lab { cluster: &cluster, program: &self.lab }.drains(&drains)?;
        }
        cluster.down()
    }

    fn waiting(&self) -> Result<()> {
        let options =
            Options { name: Some(self.name.clone()), workers: waiting::WORKERS, ..Options::default() };
        let cluster = Cluster::boot(&options)?;
        cluster.install_agent(&self.agent, DEFAULT_AGENT_CONFIG)?;
        let lab = Lab { cluster: &cluster, program: &self.lab };
        lab.waiting(&self.bars, Duration::from_mins(self.minutes))?;
        cluster.down()
    }

    fn measures(&self, part: Part) -> bool {
        self.only.is_none_or(|only| only == part)
    }

    fn outages(&self, cluster: &Cluster) -> Result<()> {
        let lab = Lab { cluster, program: &self.lab };
        // The control plane goes first, for workers may not be newer.
        let control_plane: Vec<Upgrade> =
            By::ALL.into_iter().map(|by| lab.upgrade_anew("cp1", by)).collect::<Result<_>>()?;
        println!("Control plane, local repository:\n\n{}", outage::table(&control_plane, GOAL_CONTROL_PLANE));
        let mut local = lab.alternate(self.rounds)?;
        for worker in WORKERS {
            local.push(lab.upgrade_anew(worker, By::Script(Order::Documentation))?);
        }
        println!("Workers, local repository:\n\n{}", outage::table(&local, GOAL_WORKERS));
        cluster.repository().set_rate(Some(SLOW))?;
        let slow = lab.alternate(self.rounds.div_ceil(2))?;
        let table = outage::table(&slow, GOAL_SLOW);
        println!("Workers, repository limited to {:.0} MB/s:\n\n{table}", megabytes(SLOW));
        cluster.repository().set_rate(None)
    }
}

/// The cluster that is upgraded over and over.
struct Lab<'a> {
    cluster: &'a Cluster,
    program: &'a Path,
}

impl Lab<'_> {
    /// Both workers, each by the agent and by the drain-first script, so that neither way has the better node nor the
    /// better moment.
    fn alternate(&self, rounds: u32) -> Result<Vec<Upgrade>> {
        let mut upgrades = Vec::new();
        for round in 0..rounds {
            for (number, worker) in WORKERS.into_iter().enumerate() {
                let scripted = (round as usize + number).is_multiple_of(2);
                let by = if scripted { By::Script(Order::DrainFirst) } else { By::Agent };
                upgrades.push(self.upgrade_anew(worker, by)?);
            }
        }
        Ok(upgrades)
    }
}

fn size(file: &Path) -> Result<u64> {
    let size = fs::metadata(file).with_context(|| format!("{} cannot be measured", file.display()))?;
    Ok(size.len())
}

/// Megabytes as disks and networks count them.
#[expect(clippy::cast_precision_loss, reason = "shown with two digits")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
