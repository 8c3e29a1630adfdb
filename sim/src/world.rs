//! A run: a few nodes in memory, in virtual time, driven by the production rules.
//!
//! One event queue, ordered maps, seeded numbers: the same setup and the same schedule give the same history, to the
//! byte. The world carries out the acts of [`upgrade_core::act`] as the adapters do, request by request, and writes down
//! what could be seen from outside, for the oracle.
//!
//! - `api`, `watch`: the objects, and who learns of their changes; `backup`: etcd put back as it was.
//! - `host`, `clock`, `static_pods`, `kubelet`, `tools`, `kubeadm`: one machine and what runs on it.
//! - `process`: the lives of an agent; `strike`: where faults are placed in them.
//! - `ports`: what each act comes to.
//! - `faults`, `people`, `by_hand`: what goes wrong and what people do.
//! - `settled`: whether anything is left to do; `stands`: how one node stands.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use upgrade_core::act::{Act, ActResult};
use upgrade_core::agent::ActId;
use upgrade_core::api::annotations::STATUS;
use upgrade_core::api::{PackageVersion, Report, Version};
use upgrade_core::decide::Settings;
use upgrade_core::drain::DrainOptions;
use upgrade_core::memory::Memory;
use upgrade_core::observed::{LeaseSeen, Observation};
use upgrade_core::oracle::{Event, FLEET, What, Who};

mod api;
mod backup;
mod by_hand;
mod clock;
mod faults;
mod host;
mod kubeadm;
mod kubelet;
mod mirrors;
mod people;
mod ports;
mod process;
mod settled;
mod stands;
mod static_pods;
mod strike;
mod tools;
mod waits;
mod watch;

use crate::fault::Fault;
use crate::rng::Rng;
use crate::schedule::{Planned, Point, Schedule, When};
use crate::setup::Setup;
use api::Api;
pub(crate) use api::PATCH_BETWEEN;
use host::Host;
use ports::{Caller, Write};
use process::Machine;
pub use stands::Stands;

/// What the hosts' clocks show when a run begins, in seconds since 1970.
const EPOCH: u64 = 1_800_000_000;
/// When everybody is given a target.
pub const ASKED: u64 = 5_000;
/// So long after the last fault every node must have come to an end: longer than every time-out of the product in a row.
const PATIENCE: u64 = 3 * 3_600_000;
/// A world in which nothing is left to do is watched for so long, to see that nothing begins anew.
const QUIET: u64 = 90_000;
/// How long no API server answers while etcd is put back from a backup.
pub(crate) const RESTORE: u64 = 20_000;
/// More steps than this are no upgrade any more: somebody turns in a circle.
pub(crate) const BUSY: usize = 20_000;
/// How often it is looked whether anything is left to do.
const LOOK: u64 = 1_000;
/// How often requests are counted.
const MINUTE: u64 = 60_000;

/// What happens next in the world.
#[derive(Debug)]
enum Happening {
    /// The agent sees something. Like everything of a process, it ends with that process's life.
    Saw { node: String, life: u64, fact: Box<Observation> },
    /// A watch of the agent that was cut tries to begin anew.
    ListsAnew { node: String, life: u64 },
    /// A moment the agent asked for.
    Tick { node: String, life: u64, at: u64 },
    /// The journal's rename.
    Renamed { node: String, life: u64, step: usize, memory: Box<Memory> },
    /// The journal is durable; without a step it could not be written.
    Stored { node: String, life: u64, step: Option<usize> },
    /// A request of an act comes to where it has its effect, also if who sent it is dead by then.
    Effect { caller: Caller, act: Box<Act>, sent: u64 },
    /// The agent has read what it is going to write, if it still lives.
    Writes { caller: Caller, write: Box<Write> },
    /// A write comes to the API server.
    Written { caller: Caller, write: Box<Write> },
    /// A Lease was proven, and what follows it is read.
    Proves { caller: Caller, lease: LeaseSeen, control_plane: bool },
    /// What took its time has ended, and is told.
    Replies { caller: Caller, ended: Box<ActResult> },
    /// The answer to an act.
    Answer { node: String, life: u64, id: ActId, ended: Box<ActResult> },
    /// The once-a-minute renewal.
    Heartbeat { node: String, life: u64 },
    /// A report comes to the API server.
    Told { node: String, life: u64 },
    /// A drain looks after itself.
    Drains { node: String, life: u64, id: ActId },
    /// An eviction comes to the API server.
    Evicts { node: String, life: u64, id: ActId, pod: String },
    /// A drain's list is answered.
    Lists { node: String, life: u64, id: ActId },
    /// The grace period of a pod is over.
    PodGone { pod: String },
    /// A pod that was bound becomes Ready.
    PodReady { pod: String },
    /// Pods that wait are bound.
    Schedules,
    /// A tool does its next piece of work.
    Works { node: String, boot: u64, unit: String },
    /// A kubelet writes its status.
    Kubelet { node: String, starts: u64 },
    /// A kubelet that cannot run ends, or systemd starts it once more.
    KubeletEnds { node: String, starts: u64 },
    /// A kubelet probes the DaemonSet pods here once more.
    Probes { node: String, starts: u64 },
    /// A kubelet of a new minor finds its static pods changed.
    RestartsStaticPods { node: String, starts: u64 },
    /// A static pod begins to run.
    PodRuns { node: String, boot: u64, component: &'static str },
    /// A kubelet tells what its static pods have become.
    Mirrors { node: String },
    /// The node controller looks at a node.
    Controller { node: String },
    /// Power is back.
    Boots { node: String, boot: u64 },
    /// An agent that has not seen its Node yet looks for it.
    Looks { node: String, life: u64 },
    /// systemd starts the agent.
    AgentStarts { node: String, boot: u64, lives: u64 },
    /// A fault strikes.
    Strikes(Box<Fault>),
    /// A fault that lasted is over.
    Over(Box<Fault>),
    /// Requests are counted.
    Minute,
}

/// One step of a node: something its agent wanted carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Whose.
    pub node: String,
    /// Counted over all lives of this node's agent.
    pub number: usize,
    /// The act's word, or `store`.
    pub word: &'static str,
    /// How many of this word this node had before.
    pub nth: usize,
    /// When, in milliseconds.
    pub at: u64,
}

/// A world under way.
pub struct World {
    setup: Setup,
    now: u64,
    sequence: u64,
    queue: BTreeMap<(u64, u64), Happening>,
    rng: Rng,
    api: Api,
    machines: BTreeMap<String, Machine>,
    placed: Vec<Planned>,
    calm_from: u64,
    /// What could be seen from outside.
    pub history: Vec<Event>,
    /// What the agents wanted carried out.
    pub steps: Vec<Step>,
    /// Where placed faults struck: act or observation, fault, point.
    pub struck: BTreeSet<(&'static str, &'static str, Point)>,
}

impl World {
    /// Runs a setup under a schedule until nothing is left to do, or patience ends.
    pub fn run(setup: &Setup, schedule: &Schedule) -> Self {
        let mut world = Self::new(setup, schedule);
        world.runs_out();
        world
    }

    /// Runs on until nothing is left to do, or patience ends.
    pub fn runs_out(&mut self) {
        let (mut quiet_since, mut look) = (None, self.now);
        while let Some(((at, _), happening)) = self.queue.pop_first() {
            if at > self.calm_from + PATIENCE || self.steps.len() > BUSY {
                break;
            }
            if quiet_since.is_some_and(|since| at > since + QUIET) {
                break;
            }
            self.now = at;
            self.happen(happening);
            if at <= self.calm_from {
                // Something has begun to go wrong that lasts.
                quiet_since = None;
            } else if at >= look {
                look = at + LOOK;
                let settled = Some(at).filter(|_| self.is_settled());
                quiet_since = settled.map(|_| quiet_since.unwrap_or(at));
            }
        }
    }

    /// Runs on until this millisecond.
    pub fn runs_until(&mut self, until: u64) {
        while self.queue.first_key_value().is_some_and(|((at, _), _)| *at <= until) {
            let Some(((at, _), happening)) = self.queue.pop_first() else { break };
            self.now = at;
            self.happen(happening);
        }
        self.now = self.now.max(until);
    }

    /// These faults strike, each with its delay from now.
    pub fn strike(&mut self, faults: &[(u64, Fault)]) {
        self.plan(self.now, faults);
    }

    /// Until when it was watched, in milliseconds.
    pub fn until(&self) -> u64 {
        self.now
    }

    /// What it began with.
    pub(crate) fn setup(&self) -> &Setup {
        &self.setup
    }

    /// The message in what a node's agent last told.
    pub fn message(&self, node: &str) -> String {
        let report = self.annotation(node, STATUS).and_then(|text| serde_json::from_str::<Report>(text).ok());
        report.map(|report| report.message).unwrap_or_default()
    }

    /// Of which version `CoreDNS` and kube-proxy are.
    pub fn addons(&self) -> Version {
        self.api.stored.addons
    }

    /// A world in which nothing has happened yet.
    pub fn new(setup: &Setup, schedule: &Schedule) -> Self {
        let mut world = Self {
            setup: setup.clone(),
            now: 0,
            sequence: 0,
            queue: BTreeMap::new(),
            rng: Rng::new(setup.seed),
            api: Api::new(setup),
            machines: BTreeMap::new(),
            placed: Vec::new(),
            calm_from: ASKED,
            history: Vec::new(),
            steps: Vec::new(),
            struck: BTreeSet::new(),
        };
        world.record(FLEET, What::KubeadmConfig { version: setup.from });
        world.record(FLEET, What::Addons { version: setup.from });
        world.record(FLEET, What::PolicySet { bars: false });
        for name in setup.nodes() {
            world.add_node(&name, name.starts_with("cp"));
        }
        world.api.back_up();
        if !setup.unasked {
            for node in setup.nodes() {
                let target = Some(setup.target);
                world.later(ASKED, Happening::Strikes(Box::new(Fault::Target { node, target })));
            }
        }
        for planned in schedule {
            match planned.when {
                When::At(at) => world.plan(at, &planned.faults),
                When::Step { .. } | When::Act { .. } | When::Seen { .. } => {
                    world.placed.push(planned.clone());
                }
            }
        }
        world.later(MINUTE, Happening::Minute);
        world
    }

    fn add_node(&mut self, name: &str, control_plane: bool) {
        let version = self.setup.from;
        let host = Host::new(&self.setup, control_plane);
        let packages: Vec<(String, PackageVersion)> =
            host.packages.iter().map(|(name, seen)| (name.clone(), seen.version.clone())).collect();
        let components: Vec<_> =
            host.pods.iter().map(|(component, version)| (*component, *version)).collect();
        self.machines.insert(name.to_owned(), Machine::new(host));
        self.api.add_node(name, control_plane, version);
        self.record(name, What::Joined { control_plane, uid: format!("{name}-uid-0") });
        self.record(name, What::Ready { ready: true, kubelet: version });
        self.record(name, What::KubeletFiles { version });
        self.record_kubelet_server(name);
        if self.setup.cgroup_v1 {
            self.record(name, What::WentWrong { what: "a host with cgroup v1" });
        }
        for (package, version) in packages {
            self.record(name, What::PackageInstalled { package, version, by: Who::Person });
        }
        for (component, version) in components {
            self.record_static_pod(name, component, version);
        }
        self.record(name, What::DaemonPod { daemon_set: api::DAEMON_SET.to_owned(), ready: Some(true) });
        self.first_mirrors(name);
        self.bind_pod(name);
        self.bind_pod(name);
        self.later(1_000, Happening::AgentStarts { node: name.to_owned(), boot: 0, lives: 0 });
        self.later(5_000, Happening::Kubelet { node: name.to_owned(), starts: 0 });
        self.later(10_000, Happening::Controller { node: name.to_owned() });
    }

    /// The rules' settings of one node: short enough to see their ends.
    pub(crate) fn settings(name: &str) -> Settings {
        let drain = DrainOptions { timeout: Duration::from_mins(3), ..DrainOptions::default() };
        Settings {
            node: name.to_owned(),
            drain,
            soak: Duration::from_secs(10),
            verify_timeout: Duration::from_mins(5),
        }
    }

    /// The same, as this setup has it.
    fn settings_of(&self, name: &str) -> Settings {
        let mut settings = Self::settings(name);
        settings.drain.enabled = !self.setup.undrained;
        settings
    }

    fn names(&self) -> Vec<String> {
        self.machines.keys().cloned().collect()
    }

    fn later(&mut self, at: u64, happening: Happening) {
        self.sequence += 1;
        self.queue.insert((at.max(self.now), self.sequence), happening);
    }

    fn plan(&mut self, at: u64, faults: &[(u64, Fault)]) {
        for (delay, fault) in faults {
            self.calm_from = self.calm_from.max(at + delay + fault.ends_after().unwrap_or_default());
            self.later(at + delay, Happening::Strikes(Box::new(fault.clone())));
        }
    }

    fn record(&mut self, node: &str, what: What) {
        self.history.push(Event { at: self.now, node: node.to_owned(), what });
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Saw { node, life, fact } => self.saw(&node, life, *fact),
            Happening::ListsAnew { node, life } => self.lists_anew(&node, life),
            Happening::Tick { node, life, at } => self.tick(&node, life, at),
            Happening::Renamed { node, life, step, memory } => self.renamed(&node, life, step, &memory),
            Happening::Stored { node, life, step } => self.stored(&node, life, step),
            Happening::Effect { caller, act, sent } => self.effect(&caller, *act, sent),
            Happening::Writes { caller, write } => self.writes(caller, write),
            Happening::Written { caller, write } => self.written(&caller, *write),
            Happening::Proves { caller, lease, control_plane } => self.proves(&caller, lease, control_plane),
            Happening::Replies { caller, ended } => self.reply(&caller, *ended),
            Happening::Answer { node, life, id, ended } => self.answer(&node, life, id, *ended),
            Happening::Heartbeat { node, life } => self.heartbeat(&node, life),
            Happening::Told { node, life } => self.told(&node, life),
            Happening::Drains { node, life, id } => self.drains(&node, life, id),
            Happening::Evicts { node, life, id, pod } => self.evicts(&node, life, id, &pod),
            Happening::Lists { node, life, id } => self.lists(&node, life, id),
            Happening::PodGone { pod } => self.pod_gone(&pod),
            Happening::PodReady { pod } => self.pod_ready(&pod),
            Happening::Schedules => self.schedule_pods(),
            Happening::Works { node, boot, unit } => self.works(&node, boot, &unit),
            Happening::Kubelet { node, starts } => self.kubelet(&node, starts),
            Happening::KubeletEnds { node, starts } => self.kubelet_ends(&node, starts),
            Happening::Probes { node, starts } => self.probes(&node, starts),
            Happening::RestartsStaticPods { node, starts } => self.restarts_static_pods(&node, starts),
            Happening::Mirrors { node } => self.mirrors(&node),
            Happening::PodRuns { node, boot, component } => self.pod_runs(&node, boot, component),
            Happening::Controller { node } => self.controller(&node),
            Happening::Boots { node, boot } => self.boots(&node, boot),
            Happening::Looks { node, life } => self.looks(&node, life),
            Happening::AgentStarts { node, boot, lives } => self.agent_starts(&node, boot, lives),
            Happening::Strikes(fault) => self.strikes(&fault),
            Happening::Over(fault) => self.over(&fault),
            Happening::Minute => self.minute(),
        }
    }

    /// Tells how many requests each agent sent within the last minute.
    fn minute(&mut self) {
        let counted: Vec<(String, u32)> = self
            .machines
            .iter_mut()
            .map(|(name, machine)| (name.clone(), std::mem::take(&mut machine.requests)))
            .collect();
        for (node, requests) in counted.into_iter().filter(|(_, requests)| *requests > 0) {
            self.record(&node, What::Requested { requests });
        }
        self.later(self.now + MINUTE, Happening::Minute);
    }
}
