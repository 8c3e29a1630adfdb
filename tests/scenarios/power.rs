//! The power of a worker is cut while its packages are installed.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use lab::Node;
use upgrade_core::oracle::{End, What};

use crate::fleet::{Fleet, count, new};
use crate::hold::{Hold, Point};

const LIMIT: Duration = Duration::from_mins(1);

pub(crate) fn cut_while_configuring(fleet: &Fleet) -> Result<()> {
    let name = "worker2";
    let node = fleet.old_worker(name)?;
    let hold = Hold::set(node, Point::Configure, "install-kubelet")?;
    fleet.ask(name, &new())?;
    hold.wait_reached()?;
    node.power_cut()?;
    hold.release();
    // What was unpacked is configured, and nothing is installed a second time.
    repaired(fleet, node, &[("repair-dpkg", 1), ("install-kubelet", 1)])
}

pub(crate) fn cut_while_unpacking(fleet: &Fleet) -> Result<()> {
    let name = "worker2";
    let node = fleet.old_worker(name)?;
    let log = node.root().join("var/log/dpkg.log");
    let before = fs::metadata(&log)?.len();
    fleet.ask(name, &new())?;
    wait_unpacking(&log, usize::try_from(before)?)?;
    node.power_cut()?;
    // dpkg cannot configure what it has not unpacked whole: that is installed again.
    repaired(fleet, node, &[("install-kubelet", 2)])
}

/// Returns at the instant at which dpkg has begun to replace kubelet's files, which it is at for tenths of a second.
fn wait_unpacking(log: &std::path::Path, before: usize) -> Result<()> {
    let start = Instant::now();
    while start.elapsed() < LIMIT {
        let text = fs::read_to_string(log)?;
        if text.get(before..).is_some_and(|news| news.contains("status half-installed kubelet")) {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    bail!("dpkg never began to unpack kubelet")
}

/// After the cut dpkg is in the middle of its work; with power back the agent finishes it.
fn repaired(fleet: &Fleet, node: &Node, tools: &[(&str, usize)]) -> Result<()> {
    let name = node.name();
    let journal = fs::read_dir(node.root().join("var/lib/dpkg/updates"))?.count();
    let status = String::from_utf8(node.read_file("/var/lib/dpkg/status")?)?;
    let half_done = ["install ok unpacked", "half-configured", "half-installed"];
    let interrupted = journal > 0 || half_done.iter().any(|state| status.contains(state));
    ensure!(interrupted, "dpkg was done when the power was cut: nothing is shown");
    node.power_on()?;
    fleet.wait_done(name, &new())?;
    let audit = node.run(&["dpkg", "--audit"])?;
    ensure!(audit.is_empty(), "dpkg still complains: {audit}");
    let events = fleet.events()?;
    ensure!(count(&events, name, |what| *what == What::Booted) == 1, "{name} was not cut off");
    for (word, expected) in tools {
        let runs =
            count(&events, name, |what| matches!(what, What::ToolStarted { tool, .. } if tool == word));
        ensure!(runs == *expected, "{word} ran {runs} times, not {expected}");
    }
    fleet.judge(&[(name, End::Done)])
}
