//! How often an agent's process has the disk written out, counted by strace from the host.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use jiff::Timestamp;

use super::super::daemon::property;
use super::super::machine::value;
use lab::process::{command, run};
use lab::{Node, wait_until};

const CALLS: [&str; 3] = ["fsync", "fdatasync", "sync_file_range"];
const LIMIT: Duration = Duration::from_secs(10);

/// Fails where strace is missing, before an hour is spent.
///
/// # Errors
/// If it does not run.
pub(crate) fn strace_is_there() -> Result<()> {
    let missing = "strace is missing, which counts the agents' fsyncs: `apt-get install strace`";
    run("strace", &["--version"]).context(missing).map(drop)
}

/// A process that is being watched. Dropping it ends that, not the process.
#[derive(Debug)]
pub(super) struct Syncs {
    tracer: Child,
    /// What strace says. No pipe: one that is full would hold strace up, and the agent with it.
    output: PathBuf,
}

impl Syncs {
    /// Begins to watch the agent of a node with all its threads and the programs it starts itself.
    ///
    /// # Errors
    /// If it does not run, or may not be watched.
    pub(super) fn trace(node: &Node) -> Result<Self> {
        let pid = host_pid(node)?.to_string();
        let only = format!("trace={}", CALLS.join(","));
        let output = std::env::temp_dir().join(format!("bench-syncs-{}-{pid}", std::process::id()));
        let mut strace = command("strace", &["-f", "-qq", "-ttt", "-e", &only, "-e", "signal=none"]);
        strace.args(["-p", &pid, "-o"]).arg(&output).stdout(Stdio::null());
        let mut syncs = Self { tracer: strace.spawn().context("cannot start strace")?, output };
        let status = Path::new("/proc").join(pid).join("status");
        wait_until("strace to watch the agent", LIMIT, || {
            syncs.must_run()?;
            let status = fs::read_to_string(&status)?;
            Ok(value(&status, "TracerPid").is_some_and(|tracer| tracer != "0"))
        })?;
        Ok(syncs)
    }

    /// Ends it, and returns when each call was made.
    ///
    /// # Errors
    /// If the agent ended meanwhile: what was counted is not of one process.
    pub(super) fn end(mut self) -> Result<Vec<Timestamp>> {
        self.must_run()?;
        // It lets the process go, and writes out what it still has.
        run("kill", &["-TERM", &self.tracer.id().to_string()])?;
        self.tracer.wait().context("cannot wait for strace")?;
        let told = fs::read_to_string(&self.output);
        calls(&told.with_context(|| format!("cannot read {}", self.output.display()))?)
    }

    fn must_run(&mut self) -> Result<()> {
        match self.tracer.try_wait().context("cannot ask for strace")? {
            None => Ok(()),
            Some(status) => bail!("strace has ended ({status}): the agent did, or strace may not watch it"),
        }
    }
}

impl Drop for Syncs {
    fn drop(&mut self) {
        // Where it has ended already, nothing is left to do.
        let _ = self.tracer.kill();
        let _ = self.tracer.wait();
        let _ = fs::remove_file(&self.output);
    }
}

/// The agent's process in the host's numbering.
fn host_pid(node: &Node) -> Result<u32> {
    let inside = property(node, "MainPID")?;
    let space = node.run(&["readlink", "/proc/1/ns/pid"])?;
    let is_it = |process: &Path| {
        let link = fs::read_link(process.join("ns/pid")).unwrap_or_default();
        let status = fs::read_to_string(process.join("status")).unwrap_or_default();
        let innermost = value(&status, "NSpid").and_then(|pids| pids.split_whitespace().last());
        link == Path::new(space.trim()) && innermost == Some(inside.as_str())
    };
    for process in fs::read_dir("/proc").context("cannot read /proc")? {
        let process = process?;
        let pid = process.file_name().to_str().and_then(|name| name.parse().ok());
        if let Some(pid) = pid.filter(|_| is_it(&process.path())) {
            return Ok(pid);
        }
    }
    bail!("the agent of {} does not run", node.name())
}

/// The moments of the calls that strace tells, each at its begin: one that is interrupted by another thread's takes two lines.
fn calls(told: &str) -> Result<Vec<Timestamp>> {
    let begins = told.lines().filter_map(|line| {
        let (before, _) = CALLS.iter().find_map(|call| line.split_once(&format!(" {call}(")))?;
        before.split_whitespace().last()
    });
    let moment = |text: &str| -> Result<Timestamp> {
        let (seconds, parts) = text.split_once('.').context("no time")?;
        let micros: i64 = format!("{seconds}{parts:0<6}").parse()?;
        Ok(Timestamp::from_microsecond(micros)?)
    };
    begins.map(|text| moment(text).with_context(|| format!("strace says a call was at {text}"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_call_counts_once_at_its_begin() {
        let told = "8     1700000000.250000 fsync(10) = 0\n\
                    7     1700000001.000001 fdatasync(3 <unfinished ...>\n\
                    8     1700000001.500000 sync_file_range(3, 0, 0, 0) = 0\n\
                    7     1700000001.600000 <... fdatasync resumed>) = 0\n\
                    8     1700000002.000000 +++ exited with 0 +++\n";
        let micros: Vec<i64> = calls(told).unwrap().iter().map(|at| at.as_microsecond()).collect();
        assert_eq!(micros, [1_700_000_000_250_000, 1_700_000_001_000_001, 1_700_000_001_500_000]);
    }
}
