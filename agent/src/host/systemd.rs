//! systemd over D-Bus (org.freedesktop.systemd1(5)).
//!
//! zbus does not reconnect: a connection that broke is dropped, and reads are tried once more on a new one. What
//! changes something is not tried again blindly; its caller looks first.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::time::Duration;

use tokio::sync::Mutex;
use upgrade_core::act::UNIT_PREFIX;
use upgrade_core::observed::ToolState;
use zbus::export::futures_core::Stream;
use zbus::{Connection, Error, OwnedObjectPath, OwnedVariant, Variant};

use super::KUBELET;
use super::process::ENVIRONMENT;
use super::tools::CommandLine;

/// No call of ours takes long except daemon-reload, which answers when it is done.
const CALL_LIMIT: Duration = Duration::from_mins(1);

const DESTINATION: &str = "org.freedesktop.systemd1";

/// A row of `ListUnits`: name, description, load, active and sub state, followed unit, path, job.
type UnitRow =
    (String, String, String, String, String, String, OwnedObjectPath, u32, String, OwnedObjectPath);
/// A property of a transient unit.
type Property<'a> = (&'a str, Variant<'a>);

#[zbus::proxy(
    interface = "org.freedesktop.systemd1.Manager",
    default_service = "org.freedesktop.systemd1",
    default_path = "/org/freedesktop/systemd1"
)]
trait Manager {
    fn subscribe(&self) -> zbus::Result<()>;
    fn reload(&self) -> zbus::Result<()>;
    fn load_unit(&self, name: &str) -> zbus::Result<OwnedObjectPath>;
    fn restart_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;
    fn stop_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;
    fn reset_failed_unit(&self, name: &str) -> zbus::Result<()>;
    fn list_units_by_patterns(&self, states: &[&str], patterns: &[&str]) -> zbus::Result<Vec<UnitRow>>;
    fn start_transient_unit(
        &self,
        name: &str,
        mode: &str,
        properties: &[Property<'_>],
        aux: &[(&str, &[Property<'_>])],
    ) -> zbus::Result<OwnedObjectPath>;
    #[zbus(signal)]
    fn job_removed(&self, id: u32, job: OwnedObjectPath, unit: String, result: String) -> zbus::Result<()>;
}

/// How to reach the bus; tests put a peer-to-peer connection here.
pub(super) type Connect =
    Box<dyn Fn() -> Pin<Box<dyn Future<Output = zbus::Result<Connection>> + Send>> + Send + Sync>;

type Answer<'a, T> = Pin<Box<dyn Future<Output = zbus::Result<T>> + Send + 'a>>;

/// The manager of this host's units.
pub(super) struct Systemd {
    connect: Connect,
    connection: Mutex<Option<Connection>>,
}

/// A unit, all properties of one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Unit {
    /// `active`, `activating`, `failed`, ….
    pub(super) active_state: String,
    /// `running`, `auto-restart`, `exited`, ….
    pub(super) sub_state: String,
    /// In hexadecimal; a new one with every start.
    pub(super) invocation: String,
    /// When it last became active, in microseconds of `CLOCK_MONOTONIC`.
    pub(super) active_since: u64,
}

impl Unit {
    /// Whether it is in service; kubelet in a crash loop is `activating`.
    pub(super) fn is_active(&self) -> bool {
        self.active_state == "active"
    }
}

/// Why a tool's unit was not started.
#[derive(Debug)]
pub(super) enum NotStarted {
    /// A unit of this name exists: adopt it.
    Exists,
    /// Anything else.
    Failed(Error),
}

impl Systemd {
    /// The system bus of this host.
    pub(super) fn system() -> Self {
        let builder = || zbus::connection::Builder::system().method_timeout(CALL_LIMIT).build();
        Self::over(Box::new(move || Box::pin(builder())))
    }

    /// Any other way to a manager.
    pub(super) fn over(connect: Connect) -> Self {
        Self { connect, connection: Mutex::new(None) }
    }

    /// The manager over the present connection, or over a new one.
    async fn manager(&self) -> zbus::Result<ManagerProxy<'static>> {
        let mut present = self.connection.lock().await;
        if let Some(connection) = &*present {
            return ManagerProxy::new(connection).await;
        }
        let connection = (self.connect)().await?;
        let manager = ManagerProxy::new(&connection).await?;
        // systemd sends signals only while somebody has subscribed, and forgets it with the connection.
        manager.subscribe().await?;
        *present = Some(connection);
        Ok(manager)
    }

    /// Drops a connection that broke. An answer, even a refusal, shows that it did not.
    pub(super) async fn note(&self, error: &Error) {
        if !answered(error) {
            *self.connection.lock().await = None;
        }
    }

    /// Asks, and asks once more over a new connection if the first one turns out to be broken.
    async fn read<'a, T>(&self, ask: impl Fn(ManagerProxy<'static>) -> Answer<'a, T>) -> zbus::Result<T> {
        match self.once(&ask).await {
            Err(error) if !answered(&error) => self.once(&ask).await,
            answer => answer,
        }
    }

    /// Asks once.
    async fn once<'a, T>(&self, ask: impl Fn(ManagerProxy<'static>) -> Answer<'a, T>) -> zbus::Result<T> {
        let answer = async { ask(self.manager().await?).await }.await;
        if let Err(error) = &answer {
            self.note(error).await;
        }
        answer
    }

    /// The state of a unit, loaded if need be.
    pub(super) async fn unit(&self, name: &str) -> zbus::Result<Unit> {
        let all = self.properties(name, "org.freedesktop.systemd1.Unit").await?;
        Ok(Unit {
            active_state: text(&all, "ActiveState")?,
            sub_state: text(&all, "SubState")?,
            invocation: bytes(&all, "InvocationID").iter().fold(String::new(), |mut hex, byte| {
                let _ = write!(hex, "{byte:02x}");
                hex
            }),
            active_since: number(&all, "ActiveEnterTimestampMonotonic"),
        })
    }

    /// The main process of a service, if one runs.
    pub(super) async fn main_pid(&self, name: &str) -> zbus::Result<Option<u32>> {
        let all = self.properties(name, "org.freedesktop.systemd1.Service").await?;
        let pid = all.get("MainPID").and_then(|value| u32::try_from(value).ok());
        Ok(pid.filter(|&pid| pid != 0))
    }

    /// Every property of one interface in one answer, so that they are of one moment.
    async fn properties(
        &self,
        unit: &str,
        interface: &'static str,
    ) -> zbus::Result<HashMap<String, OwnedVariant>> {
        self.read(|manager| {
            let unit = unit.to_owned();
            Box::pin(async move {
                let path = manager.load_unit(&unit).await?;
                let bus = manager.inner().connection();
                let of = Some("org.freedesktop.DBus.Properties");
                bus.call_method(Some(DESTINATION), &path, of, "GetAll", &interface)
                    .await?
                    .body()
                    .deserialize()
            })
        })
        .await
    }

    /// Our transient units that run or have ended.
    pub(super) async fn tools(&self) -> zbus::Result<BTreeMap<String, ToolState>> {
        let pattern = format!("{UNIT_PREFIX}*.service");
        let rows = self
            .read(|manager| {
                let pattern = pattern.clone();
                Box::pin(async move { manager.list_units_by_patterns(&[], &[&pattern]).await })
            })
            .await?;
        let mut tools = BTreeMap::new();
        for (name, _, _, active, _, _, _, job, _, _) in rows {
            match active.as_str() {
                "active" => tools.insert(name, ToolState::Ended(0)),
                "failed" => {
                    let status = self.failure(&name).await?;
                    tools.insert(name, ToolState::Ended(status))
                }
                // Not started yet, or stopped by somebody and about to go.
                "inactive" if job == 0 => None,
                _ => tools.insert(name, ToolState::Running),
            };
        }
        Ok(tools)
    }

    /// The exit status of a failed unit, never 0: a unit can also fail without its process having failed.
    async fn failure(&self, name: &str) -> zbus::Result<i32> {
        const CLD_EXITED: i32 = 1;
        let all = self.properties(name, "org.freedesktop.systemd1.Service").await?;
        let read = |key| all.get(key).and_then(|value| i32::try_from(value).ok()).unwrap_or_default();
        let (code, status) = (read("ExecMainCode"), read("ExecMainStatus"));
        Ok(match (code, status) {
            (_, 0) => 255,
            (CLD_EXITED, status) => status,
            (_, signal) => 128 + signal,
        })
    }

    /// Starts a tool in a unit of its own.
    pub(super) async fn start(&self, unit: &str, line: &CommandLine, log: &str) -> Result<(), NotStarted> {
        let started = self
            .once(|manager| {
                let (unit, properties) = (unit.to_owned(), properties(line, log));
                Box::pin(async move {
                    manager.start_transient_unit(&unit, "fail", &properties, &[]).await?;
                    Ok(())
                })
            })
            .await;
        started.map_err(|error| match &error {
            Error::MethodError(name, ..) if name.as_str() == "org.freedesktop.systemd1.UnitExists" => {
                NotStarted::Exists
            }
            _ => NotStarted::Failed(error),
        })
    }

    /// Reads unit files and drop-ins again.
    pub(super) async fn reload(&self) -> zbus::Result<()> {
        self.once(|manager| Box::pin(async move { manager.reload().await })).await
    }

    /// Asks for a restart; its end is told by [`Jobs`].
    pub(super) async fn restart(&self, unit: &str) -> zbus::Result<OwnedObjectPath> {
        self.once(|manager| {
            let unit = unit.to_owned();
            Box::pin(async move { manager.restart_unit(&unit, "replace").await })
        })
        .await
    }

    /// Forgets an ended unit: one that succeeded is stopped, one that failed is reset. Gone already is fine.
    pub(super) async fn forget(&self, unit: &str, succeeded: bool) -> zbus::Result<()> {
        let gone = self
            .once(|manager| {
                let unit = unit.to_owned();
                Box::pin(async move {
                    if succeeded {
                        manager.stop_unit(&unit, "fail").await.map(drop)
                    } else {
                        manager.reset_failed_unit(&unit).await
                    }
                })
            })
            .await;
        match gone {
            Err(Error::MethodError(name, ..)) if name.as_str() == "org.freedesktop.systemd1.NoSuchUnit" => {
                Ok(())
            }
            other => other,
        }
    }

    /// Listens for ends of jobs. To be called before a job is asked for.
    pub(super) async fn jobs(&self) -> zbus::Result<Jobs> {
        self.read(|manager| Box::pin(async move { Ok(Jobs(Box::pin(manager.receive_job_removed().await?))) }))
            .await
    }
}

/// The stream of ended jobs.
pub(super) struct Jobs(Pin<Box<JobRemovedStream>>);

/// A job that ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct JobEnd {
    /// Which job.
    pub(super) job: OwnedObjectPath,
    /// `done`, `failed`, `timeout`, `canceled`, ….
    pub(super) result: String,
}

impl Jobs {
    /// The next job that ends; none when the bus is gone.
    pub(super) async fn next(&mut self) -> Option<JobEnd> {
        loop {
            let signal = poll_fn(|context| self.0.as_mut().poll_next(context)).await?;
            if let Ok(args) = signal.args() {
                return Some(JobEnd { job: args.job, result: args.result });
            }
        }
    }
}

/// Whether an error came as an answer over a working connection.
pub(super) fn answered(error: &Error) -> bool {
    matches!(error, Error::MethodError(..) | Error::FDO(_))
}

/// What a tool's unit is made of (systemd.service(5), systemd.exec(5), systemd.kill(5)).
fn properties<'a>(line: &CommandLine, log: &str) -> Vec<Property<'a>> {
    let argv: Vec<String> =
        std::iter::once(line.program.to_owned()).chain(line.args.iter().cloned()).collect();
    let environment: Vec<String> = ENVIRONMENT.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let infinity = u64::MAX;
    let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(infinity);
    // At shutdown units stop in reverse: the tool may end before what it works with is taken away.
    let after = ["dbus.service", "containerd.service", KUBELET, "network-online.target"].map(str::to_owned);
    vec![
        ("Description", Variant::from(line.description.clone())),
        ("Type", Variant::from("oneshot")),
        // Its result stays readable until we have read it, however long the agent is away.
        ("RemainAfterExit", Variant::from(true)),
        ("ExecStart", Variant::from(vec![(line.program.to_owned(), argv, false)])),
        ("Environment", Variant::from(environment)),
        ("WorkingDirectory", Variant::from("/")),
        ("StandardOutputFileToAppend", Variant::from(log.to_owned())),
        ("StandardError", Variant::from("inherit")),
        ("TimeoutStartUSec", Variant::from(line.limit.map_or(infinity, micros))),
        ("TimeoutStopUSec", Variant::from(micros(line.grace))),
        // Nobody is interrupted half-way: a stop asks nothing of the tool (SIGCONT is ignored), it waits for its
        // end, and only past the grace time is it killed.
        ("KillSignal", Variant::from(nix::libc::SIGCONT)),
        ("After", Variant::from(after.to_vec())),
    ]
}

fn text(all: &HashMap<String, OwnedVariant>, key: &str) -> zbus::Result<String> {
    let value = all.get(key).ok_or_else(|| Error::Failure(format!("systemd tells no {key}")))?;
    Ok(<&str>::try_from(value)?.to_owned())
}

fn number(all: &HashMap<String, OwnedVariant>, key: &str) -> u64 {
    all.get(key).and_then(|value| u64::try_from(value).ok()).unwrap_or_default()
}

fn bytes(all: &HashMap<String, OwnedVariant>, key: &str) -> Vec<u8> {
    all.get(key)
        .and_then(|value| value.try_clone().ok())
        .and_then(|value| Vec::<u8>::try_from(value).ok())
        .unwrap_or_default()
}

#[cfg(test)]
#[path = "systemd/tests.rs"]
pub(super) mod tests;
