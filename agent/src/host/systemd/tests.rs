//! A manager of units over a peer-to-peer connection, and what is read from it.
#![expect(
    clippy::needless_pass_by_value,
    clippy::unused_self,
    reason = "signatures are those of the D-Bus interface"
)]

use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex as StdMutex, MutexGuard};

use zbus::object_server::SignalEmitter;
use zbus::{Guid, ObjectServer, fdo};

use super::*;
use crate::host::KUBELET;

const MANAGER: &str = "/org/freedesktop/systemd1";

/// What happens to a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::host) enum Restart {
    /// It is made, and its job ends like this.
    Ends(&'static str),
    /// It is asked for and nothing more is heard.
    Hangs,
    /// It is made, and the bus goes away before its end is told.
    CutsTheBus,
}

#[derive(Debug, Clone)]
pub(in crate::host) struct FakeUnit {
    pub(in crate::host) active: &'static str,
    pub(in crate::host) starts: u8,
    pub(in crate::host) code: i32,
    pub(in crate::host) status: i32,
    pub(in crate::host) job: u32,
}

impl FakeUnit {
    pub(in crate::host) fn new(active: &'static str) -> Self {
        Self { active, starts: 1, code: 0, status: 0, job: 0 }
    }
}

struct State {
    units: BTreeMap<String, FakeUnit>,
    restart: Restart,
    calls: Vec<String>,
    properties: Vec<(String, OwnedVariant)>,
    connections: Vec<Connection>,
    /// Units that end by themselves as soon as they are started, with this status.
    ends_at_once: Option<i32>,
}

/// A systemd of our own.
#[derive(Clone)]
pub(in crate::host) struct Fake {
    state: Arc<StdMutex<State>>,
    /// Told on every call.
    pub(in crate::host) called: Arc<tokio::sync::Notify>,
}

impl Fake {
    pub(in crate::host) fn new(restart: Restart) -> Self {
        let state = State {
            units: BTreeMap::from([(KUBELET.to_owned(), FakeUnit::new("active"))]),
            restart,
            calls: Vec::new(),
            properties: Vec::new(),
            connections: Vec::new(),
            ends_at_once: None,
        };
        Self { state: Arc::new(StdMutex::new(state)), called: Arc::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(in crate::host) fn systemd(&self) -> Systemd {
        let fake = self.clone();
        Systemd::over(Box::new(move || Box::pin(fake.clone().connect())))
    }

    async fn connect(self) -> zbus::Result<Connection> {
        let (ours, theirs) = UnixStream::pair()?;
        let manager = Manager { fake: self.clone() };
        let server = zbus::connection::Builder::unix_stream(theirs)
            .server(Guid::generate())
            .p2p()
            .serve_at(MANAGER, manager)
            .build();
        let client =
            zbus::connection::Builder::unix_stream(ours).p2p().method_timeout(Duration::from_secs(5)).build();
        let (server, client) = tokio::join!(server, client);
        self.state().connections.push(server?);
        client
    }

    pub(in crate::host) fn calls(&self) -> Vec<String> {
        self.state().calls.clone()
    }

    pub(in crate::host) fn connections_made(&self) -> usize {
        self.calls().iter().filter(|call| *call == "Subscribe").count()
    }

    pub(in crate::host) fn property<T: TryFrom<OwnedVariant>>(&self, name: &str) -> Option<T> {
        let state = self.state();
        let (_, value) = state.properties.iter().find(|(key, _)| key == name)?;
        T::try_from(value.try_clone().unwrap()).ok()
    }

    pub(in crate::host) fn put(&self, unit: &str, seen: FakeUnit) {
        self.state().units.insert(unit.to_owned(), seen);
    }

    pub(in crate::host) fn end_at_once(&self, status: i32) {
        self.state().ends_at_once = Some(status);
    }

    /// Waits until the calls made so far are these.
    pub(in crate::host) async fn await_calls(&self, these: impl Fn(&[String]) -> bool) {
        loop {
            let called = self.called.notified();
            if these(&self.calls()) {
                return;
            }
            called.await;
        }
    }

    /// A running tool ends: its state changes, then its job's end is told.
    pub(in crate::host) async fn end(&self, unit: &str, status: i32) {
        let connections = {
            let mut state = self.state();
            let seen = state.units.get_mut(unit).unwrap();
            (seen.active, seen.code, seen.status) =
                (if status == 0 { "active" } else { "failed" }, 1, status);
            state.connections.clone()
        };
        for connection in connections {
            let emitter = SignalEmitter::new(&connection, MANAGER).unwrap();
            let _ = Manager::job_removed(&emitter, 7, path("job/7"), unit, "done").await;
        }
    }

    /// The bus goes away; a new connection finds everything as it is.
    pub(in crate::host) async fn cut(&self) {
        let connections = std::mem::take(&mut self.state().connections);
        for connection in connections {
            let _ = connection.close().await;
        }
    }
}

fn path(of: &str) -> OwnedObjectPath {
    OwnedObjectPath::try_from(format!("/org/freedesktop/systemd1/{of}")).unwrap()
}

fn unit_path(name: &str) -> OwnedObjectPath {
    path(&format!("unit/{}", name.replace(['.', '-'], "_")))
}

struct Manager {
    fake: Fake,
}

impl Manager {
    fn note(&self, call: impl Into<String>) {
        self.fake.state().calls.push(call.into());
        self.fake.called.notify_waiters();
    }
}

#[zbus::interface(name = "org.freedesktop.systemd1.Manager")]
impl Manager {
    fn subscribe(&self) {
        self.note("Subscribe");
    }

    fn reload(&self) {
        self.note("Reload");
    }

    async fn load_unit(
        &self,
        name: String,
        #[zbus(object_server)] server: &ObjectServer,
    ) -> fdo::Result<OwnedObjectPath> {
        let place = unit_path(&name);
        let view = View { fake: self.fake.clone(), name };
        server.at(&place, UnitView(view.clone())).await?;
        server.at(&place, ServiceView(view)).await?;
        Ok(place)
    }

    async fn restart_unit(
        &self,
        #[zbus(signal_emitter)] emitter: SignalEmitter<'_>,
        name: &str,
        mode: &str,
    ) -> fdo::Result<OwnedObjectPath> {
        self.note(format!("RestartUnit {name} {mode}"));
        let job = path("job/1");
        // Somebody else's job ends first.
        Self::job_removed(&emitter, 9, path("job/9"), "other.service", "failed").await?;
        let restart = self.fake.state().restart;
        if restart != Restart::Hangs {
            self.fake.state().units.get_mut(name).unwrap().starts += 1;
        }
        match restart {
            Restart::Ends(result) => Self::job_removed(&emitter, 1, job.clone(), name, result).await?,
            Restart::Hangs => {}
            Restart::CutsTheBus => self.fake.cut().await,
        }
        Ok(job)
    }

    fn list_units_by_patterns(&self, states: Vec<&str>, patterns: Vec<&str>) -> Vec<UnitRow> {
        assert!(states.is_empty());
        self.note("ListUnitsByPatterns");
        assert_eq!(patterns, ["node-upgrade-agent-tool-*.service"]);
        let state = self.fake.state();
        let ours = state.units.iter().filter(|(name, _)| name.starts_with(UNIT_PREFIX));
        ours.map(|(name, unit)| {
            let text = || String::new();
            let (active, none) = (unit.active.to_owned(), path("job"));
            (name.clone(), text(), text(), active, text(), text(), unit_path(name), unit.job, text(), none)
        })
        .collect()
    }

    fn start_transient_unit(
        &self,
        name: String,
        mode: &str,
        properties: Vec<(String, OwnedVariant)>,
        aux: Vec<(String, Vec<(String, OwnedVariant)>)>,
    ) -> Result<OwnedObjectPath, FakeError> {
        assert!(aux.is_empty());
        self.note(format!("StartTransientUnit {mode}"));
        let mut state = self.fake.state();
        if state.units.contains_key(&name) {
            return Err(FakeError::UnitExists("it exists".to_owned()));
        }
        let mut unit = FakeUnit::new("activating");
        if let Some(status) = state.ends_at_once {
            (unit.active, unit.code, unit.status) =
                (if status == 0 { "active" } else { "failed" }, 1, status);
        }
        state.units.insert(name, unit);
        state.properties = properties;
        Ok(path("job/7"))
    }

    fn stop_unit(&self, name: &str, mode: &str) -> OwnedObjectPath {
        self.note(format!("StopUnit {name} {mode}"));
        self.fake.state().units.remove(name);
        path("job/2")
    }

    fn reset_failed_unit(&self, name: &str) {
        self.note(format!("ResetFailedUnit {name}"));
        self.fake.state().units.remove(name);
    }

    #[zbus(signal)]
    async fn job_removed(
        emitter: &SignalEmitter<'_>,
        id: u32,
        job: OwnedObjectPath,
        unit: &str,
        result: &str,
    ) -> zbus::Result<()>;
}

#[derive(Debug, zbus::DBusError)]
#[zbus(prefix = "org.freedesktop.systemd1")]
enum FakeError {
    #[zbus(error)]
    ZBus(Error),
    UnitExists(String),
}

#[derive(Clone)]
struct View {
    fake: Fake,
    name: String,
}

impl View {
    fn unit(&self) -> FakeUnit {
        self.fake.state().units.get(&self.name).cloned().unwrap_or_else(|| FakeUnit::new("inactive"))
    }
}

struct UnitView(View);

#[zbus::interface(name = "org.freedesktop.systemd1.Unit")]
impl UnitView {
    #[zbus(property)]
    fn active_state(&self) -> String {
        self.0.unit().active.to_owned()
    }

    #[zbus(property)]
    fn sub_state(&self) -> String {
        "running".to_owned()
    }

    #[zbus(property, name = "InvocationID")]
    fn invocation_id(&self) -> Vec<u8> {
        vec![self.0.unit().starts; 2]
    }

    #[zbus(property)]
    fn active_enter_timestamp_monotonic(&self) -> u64 {
        5_000_999
    }
}

struct ServiceView(View);

#[zbus::interface(name = "org.freedesktop.systemd1.Service")]
impl ServiceView {
    #[zbus(property)]
    fn exec_main_code(&self) -> i32 {
        self.0.unit().code
    }

    #[zbus(property)]
    fn exec_main_status(&self) -> i32 {
        self.0.unit().status
    }

    #[zbus(property, name = "MainPID")]
    fn main_pid(&self) -> u32 {
        42
    }
}

#[tokio::test]
async fn a_unit_is_read_with_its_invocation_and_the_moment_it_became_active() {
    let fake = Fake::new(Restart::Hangs);
    let unit = fake.systemd().unit(KUBELET).await.unwrap();
    assert!(unit.is_active());
    assert_eq!((unit.invocation.as_str(), unit.active_since), ("0101", 5_000_999));
    assert_eq!(fake.systemd().main_pid(KUBELET).await.unwrap(), Some(42));
}

#[tokio::test]
async fn a_failed_tool_never_counts_as_status_0() {
    let fake = Fake::new(Restart::Hangs);
    let cases =
        [("exited", 1, 100, 100), ("killed", 2, 15, 143), ("dumped", 3, 6, 134), ("no-process", 0, 0, 255)];
    for (name, code, status, _) in cases {
        let unit = format!("{UNIT_PREFIX}{name}.service");
        fake.put(&unit, FakeUnit { code, status, ..FakeUnit::new("failed") });
    }
    let tools = fake.systemd().tools().await.unwrap();
    for (name, _, _, expected) in cases {
        assert_eq!(tools[&format!("{UNIT_PREFIX}{name}.service")], ToolState::Ended(expected), "{name}");
    }
}

#[tokio::test]
async fn a_tool_that_waits_for_its_start_counts_as_running_and_one_that_went_not_at_all() {
    let fake = Fake::new(Restart::Hangs);
    let [queued, gone, stopping] =
        ["queued", "gone", "stopping"].map(|name| format!("{UNIT_PREFIX}{name}.service"));
    fake.put(&queued, FakeUnit { job: 3, ..FakeUnit::new("inactive") });
    fake.put(&gone, FakeUnit::new("inactive"));
    fake.put(&stopping, FakeUnit::new("deactivating"));
    let tools = fake.systemd().tools().await.unwrap();
    assert_eq!(tools.keys().collect::<Vec<_>>(), [&queued, &stopping]);
    assert!(tools.values().all(|state| *state == ToolState::Running));
}

#[tokio::test]
async fn a_broken_connection_is_replaced_and_subscribed_again() {
    let fake = Fake::new(Restart::Hangs);
    let systemd = fake.systemd();
    systemd.tools().await.unwrap();
    fake.cut().await;
    systemd.tools().await.unwrap();
    assert_eq!(fake.connections_made(), 2);
}
