//! Tools as transient systemd units of fixed names: they outlive the agent, and a restarted agent finds them again.
//! At most one runs at a time.

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::Path;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use upgrade_core::act::{ActResult, Tool, UNIT_PREFIX};
use upgrade_core::api::TurnId;
use upgrade_core::api::text::last_lines;
use upgrade_core::observed::ToolState;

use super::fault::{Doing, Failed};
use super::systemd::NotStarted;
use super::tools::{CommandLine, command_line};
use super::{Host, backup, dpkg, etcd_copies};
use crate::chain::chain;

/// Signals tell when a tool ends; this is for the one that was missed.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How long the bus may be away before the act ends with a fault (and is decided for again).
const BUS_PATIENCE: Duration = Duration::from_mins(1);
/// Pause between two tries to reach the bus, or to find dpkg's lock free.
const PAUSE: Duration = Duration::from_secs(1);
/// How long ended units may take to go after they were told to.
const GOING_LIMIT: Duration = Duration::from_secs(10);
/// How much of a tool's output is quoted.
const TAIL_LINES: usize = 12;
const TAIL_BYTES: u64 = 8 * 1024;

impl Host {
    /// Starts `tool` in `unit`, or adopts that unit if it exists, and awaits its end. While another tool of ours
    /// runs, that one is awaited first. Ends with what is then seen, the tool's exit status in it; a tool that failed is
    /// no fault of this act.
    pub async fn run(&self, unit: &str, tool: &Tool) -> ActResult {
        let done = self.run_to_end(unit, tool, dpkg::LOCK_LIMIT).await;
        self.end(turn_of(unit).as_ref(), done).await
    }

    /// Awaits the end of a unit of ours that runs. Ends with what is then seen.
    pub async fn await_tool(&self, unit: &str) -> ActResult {
        let done = self.await_end(unit).await;
        self.end(turn_of(unit).as_ref(), done).await
    }

    async fn run_to_end(&self, unit: &str, tool: &Tool, lock_limit: Duration) -> Result<(), Failed> {
        check_name(unit)?;
        let line = command_line(tool, self.settings())?;
        let start = Instant::now();
        loop {
            let doing = || format!("find out whether a tool runs before {unit} is started");
            let tools = self.systemd().tools().await.doing(doing)?;
            match tools.get(unit) {
                Some(ToolState::Ended(_)) => return Ok(()),
                Some(ToolState::Running) => return self.await_end(unit).await,
                None => {}
            }
            if let Some((other, _)) = tools.iter().find(|(_, state)| **state == ToolState::Running) {
                tracing::info!(unit, other, "another tool runs; waiting for its end");
                self.await_end(other).await?;
                continue;
            }
            if line.locks_dpkg {
                self.await_dpkg_lock(lock_limit).await?;
            }
            if self.start(unit, &line).await? {
                return self.await_end(unit).await;
            }
            // It exists after all: started a moment ago, or stopped by somebody and about to go.
            if start.elapsed() > lock_limit + GOING_LIMIT {
                return Err(Failed::new(format!("{unit} exists and neither runs nor has ended")));
            }
            sleep(PAUSE).await;
        }
    }

    /// Starts the unit; false if it exists already.
    async fn start(&self, unit: &str, line: &CommandLine) -> Result<bool, Failed> {
        let log = self.settings().log(unit);
        let logs = self.settings().logs();
        self.blocking(move |_| fs::create_dir_all(&logs).doing(|| format!("create {}", logs.display())))
            .await?;
        match self.systemd().start(unit, line, &log.display().to_string()).await {
            Ok(()) => {
                tracing::info!(unit, program = line.program, args = ?line.args, "started");
                Ok(true)
            }
            Err(NotStarted::Exists) => Ok(false),
            Err(NotStarted::Failed(error)) => Err(error).doing(|| format!("start {unit}")),
        }
    }

    /// Returns when `unit` runs no more. Signals are listened for before the unit is looked at, so none is missed.
    async fn await_end(&self, unit: &str) -> Result<(), Failed> {
        let mut last_answer = Instant::now();
        loop {
            match self.await_end_on_one_connection(unit, &mut last_answer).await {
                Ok(()) => return Ok(()),
                Err(error) if last_answer.elapsed() < BUS_PATIENCE => {
                    tracing::warn!(unit, %error, "lost the system bus while a tool runs; reconnecting");
                    sleep(PAUSE).await;
                }
                Err(error) => return Err(error).doing(|| format!("await the end of {unit}")),
            }
        }
    }

    async fn await_end_on_one_connection(&self, unit: &str, last_answer: &mut Instant) -> zbus::Result<()> {
        let mut jobs = self.systemd().jobs().await?;
        loop {
            let tools = self.systemd().tools().await?;
            *last_answer = Instant::now();
            if tools.get(unit) != Some(&ToolState::Running) {
                return Ok(());
            }
            if let Ok(None) = timeout(LOOK_EVERY, jobs.next()).await {
                // The stream ended with its connection: take a new one, at a measured pace.
                sleep(PAUSE).await;
                jobs = self.systemd().jobs().await?;
            }
        }
    }

    /// Waits, with a limit, until no other package manager works: `dpkg --configure` and `apt-mark` would fail at
    /// once, and a lock held by unattended-upgrades is no failure of ours.
    async fn await_dpkg_lock(&self, limit: Duration) -> Result<(), Failed> {
        let start = Instant::now();
        while let Some(holder) = self.blocking(dpkg::lock_holder).await? {
            if start.elapsed() >= limit {
                return Err(Failed::new(format!(
                    "dpkg's lock is held by {holder} for longer than {limit:?}"
                )));
            }
            sleep(PAUSE).await;
        }
        Ok(())
    }

    /// The last lines a tool wrote, for messages; empty if it wrote none.
    pub fn tail(&self, unit: &str) -> String {
        if check_name(unit).is_err() {
            return String::new();
        }
        tail(&self.settings().log(unit)).unwrap_or_default()
    }

    /// Forgets our ended units and drops copies, tools' output, downloaded and unpacked packages, and what kubeadm's runs have left
    /// too much.
    pub async fn clean_up(&self) -> ActResult {
        let done = self.forget_all().await;
        self.end(None, done).await
    }

    async fn forget_all(&self) -> Result<(), Failed> {
        let start = Instant::now();
        let mut jobs = self.systemd().jobs().await.doing(|| "listen to systemd")?;
        loop {
            let tools = self.systemd().tools().await.doing(|| "list the units of ended tools")?;
            let ended: Vec<_> = tools
                .into_iter()
                .filter_map(|(unit, state)| match state {
                    ToolState::Ended(status) => Some((unit, status == 0)),
                    ToolState::Running => None,
                })
                .collect();
            let Some((first, _)) = ended.first() else { break };
            if start.elapsed() > GOING_LIMIT {
                return Err(Failed::new(format!("{first} is still there after it was stopped")));
            }
            for (unit, succeeded) in &ended {
                self.systemd().forget(unit, *succeeded).await.doing(|| format!("forget {unit}"))?;
            }
            // Whether a job ended or nothing came: the list tells.
            let _ = timeout(PAUSE, jobs.next()).await;
        }
        // Before the copies of ours that tell which are this turn's.
        if let Err(failed) = self.blocking(etcd_copies::drop_superseded).await {
            tracing::warn!("{}", chain(&failed));
        }
        self.blocking(backup::drop_all).await
    }
}

/// Unit names are made by the core; this keeps a damaged journal from naming other units or files.
fn check_name(unit: &str) -> Result<(), Failed> {
    let ours = unit.starts_with(UNIT_PREFIX)
        && Path::new(unit).extension().is_some_and(|end| end == "service")
        && unit.len() < 200
        && unit.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
    if ours { Ok(()) } else { Err(Failed::new(format!("{unit:?} is not the name of a unit of ours"))) }
}

/// The turn in a unit's name, see [`Tool::unit`]: what its tool has changed is told against that turn's first copy.
fn turn_of(unit: &str) -> Option<TurnId> {
    let name = unit.strip_prefix(UNIT_PREFIX)?.strip_suffix(".service")?;
    let (turn, _serial) =
        Tool::WORDS.iter().find_map(|word| name.strip_suffix(word)?.strip_suffix('-')?.rsplit_once('-'))?;
    Some(TurnId(turn.to_owned())).filter(TurnId::is_plain)
}

fn tail(log: &Path) -> std::io::Result<String> {
    let mut file = match File::open(log) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(String::new()),
        other => other?,
    };
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
    let mut end = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut end)?;
    Ok(last_lines(&String::from_utf8_lossy(&end), TAIL_LINES).join("\n"))
}

#[cfg(test)]
#[path = "units/tests.rs"]
mod tests;
