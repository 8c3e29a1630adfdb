//! A cluster that upgrades itself, to watch: `lab demo`.

mod board;
mod fleet;
mod read_back;
mod summary;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use nix::sys::signal::{SigSet, Signal};

use self::board::Board;
use self::fleet::{Fleet, NodeView};
use crate::cluster::{Cluster, Options};
use crate::{DEFAULT_AGENT_CONFIG, versions};

/// How often the API server is asked: the shortest phases last about so long.
const PAUSE: Duration = Duration::from_secs(1);

/// After this long something is wrong, even on a slow machine.
const LIMIT: Duration = Duration::from_mins(30);

/// Lines of an agent's log that are shown when its node stops.
const LOG_LINES: usize = 25;

const UNIT: &str = "node-upgrade-agent.service";

/// The demo, and what shall be left of it.
#[derive(Debug, Clone)]
pub struct Demo {
    /// Name of the cluster.
    pub name: String,
    /// The agent's Debian package.
    pub agent: PathBuf,
    /// Whether the cluster is removed at the end, however it ends.
    pub down: bool,
}

impl Demo {
    /// Boots a cluster, lets it upgrade itself, and shows how it goes; true if its end state was read back as promised.
    ///
    /// # Errors
    /// If the cluster does not come up, a node refuses or is degraded, the time is over, or somebody interrupts.
    pub fn run(&self) -> Result<bool> {
        if !self.agent.is_file() {
            bail!("the agent's package {} does not exist; `make deb` builds it", self.agent.display());
        }
        let interrupted = listen_for_interrupts()?;
        println!(
            "A real kubeadm cluster of three nodes upgrades itself from v{} to v{}.\n\
             (v{} is the source of {} with another version string: a patch upgrade runs the same code.)\n",
            versions::KUBERNETES_OLD,
            versions::KUBERNETES_NEW,
            versions::KUBERNETES_OLD,
            versions::KUBERNETES_SOURCE
        );
        let cluster = self.boot(&interrupted).map_err(|error| {
            // What an interrupted program says of its end would hide why it ended.
            unless(&interrupted).err().unwrap_or(error)
        })?;
        let outcome = upgrade(&cluster, &interrupted);
        if self.down {
            cluster.down()?;
            crate::progress(&format!("the cluster {} is removed", self.name));
        } else {
            println!("\n{}", cluster.how_to());
        }
        outcome
    }

    /// Up to here an interrupted demo leaves nothing; from here on the cluster stays, under its name.
    fn boot(&self, interrupted: &AtomicBool) -> Result<Cluster> {
        let options = Options { name: Some(self.name.clone()), ..Options::default() };
        let cluster = Cluster::boot(&options)?;
        unless(interrupted)?;
        crate::progress("deploying ten web servers");
        cluster.deploy_tutorial()?;
        crate::progress("installing the agent on every node");
        cluster.install_agent(&self.agent, DEFAULT_AGENT_CONFIG)?;
        unless(interrupted)?;
        cluster.keep(&std::env::current_exe().context("cannot find the lab's own program")?)?;
        Cluster::open(&self.name)
    }
}

/// From the annotation to the end state that was read back.
fn upgrade(cluster: &Cluster, interrupted: &AtomicBool) -> Result<bool> {
    let target = format!("v{}", versions::KUBERNETES_NEW);
    let annotation = format!("node-upgrade-agent/target={target}");
    println!("\n$ kubectl annotate node --all {annotation}\n");
    let start = Timestamp::now();
    cluster.kubectl(&["annotate", "node", "--all", &annotation])?;
    watch(cluster, &target, interrupted)?;

    let names: Vec<&str> = cluster.nodes().iter().map(crate::Node::name).collect();
    println!("\nTime out of service, from cordon to uncordon, from the API server's audit log:\n");
    for line in summary::summary(&cluster.audit_log()?, &names, start)? {
        println!("{line}");
    }
    println!("\nRead back from the API server and the nodes:\n");
    let findings = read_back::read_back(cluster, versions::KUBERNETES_NEW)?;
    for finding in &findings {
        let verdict = if finding.good { "ok " } else { "BAD" };
        println!("{verdict} {}: {}", finding.what, finding.saw);
    }
    Ok(findings.iter().all(|finding| finding.good))
}

/// Shows the table until all nodes say they are done.
fn watch(cluster: &Cluster, target: &str, interrupted: &AtomicBool) -> Result<()> {
    let start = Instant::now();
    let mut board = Board::new();
    loop {
        let fleet = Fleet::read(cluster);
        board.show(fleet.as_ref().ok(), Timestamp::now());
        unless(interrupted)?;
        match &fleet {
            Ok(fleet) if fleet.is_done(target) => return Ok(()),
            Ok(fleet) => fleet.stopped().map_or(Ok(()), |node| Err(stopped(cluster, node)))?,
            Err(_) => {}
        }
        if start.elapsed() >= LIMIT {
            let last = fleet.err().map_or_else(String::new, |error| format!("; {error:#}"));
            bail!("the nodes are not done after {} minutes{last}", LIMIT.as_secs() / 60);
        }
        thread::sleep(PAUSE);
    }
}

/// Why a node does not go on, in its own words and its log's.
fn stopped(cluster: &Cluster, node: &NodeView) -> anyhow::Error {
    let journal = cluster.node(&node.name).and_then(|node| node.journal(UNIT));
    let journal = journal.unwrap_or_else(|error| format!("its log cannot be read: {error:#}"));
    let lines: Vec<&str> = journal.lines().collect();
    let last = lines[lines.len().saturating_sub(LOG_LINES)..].join("\n    ");
    anyhow::anyhow!(
        "node {} is {} ({}): {}\n  the last lines of its agent's log:\n    {last}",
        node.name,
        node.phase,
        node.reason,
        node.message
    )
}

/// Turns Ctrl-C into a flag, so that a cluster is never left half made.
///
/// Programs that are running for us get the terminal's signal as well and end, which ends a boot at once.
fn listen_for_interrupts() -> Result<Arc<AtomicBool>> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGINT);
    signals.add(Signal::SIGTERM);
    // Before any other thread is started, which inherit it.
    signals.thread_block().context("cannot hold back signals")?;
    let interrupted = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&interrupted);
    thread::spawn(move || {
        if signals.wait().is_ok() {
            flag.store(true, Ordering::SeqCst);
            crate::progress("interrupted; tidying up");
        }
    });
    Ok(interrupted)
}

fn unless(interrupted: &AtomicBool) -> Result<()> {
    if interrupted.load(Ordering::SeqCst) {
        bail!("interrupted");
    }
    Ok(())
}
