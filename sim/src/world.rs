//! The simulator: a few nodes in memory, in virtual time, driven by the production rules.
//!
//! One event queue, ordered maps, seeded numbers: the same setup and the same schedule give the same history, to the
//! byte. The world interprets the acts of [`upgrade_core::act`] as the adapters do, and writes down what could be
//! seen from outside, for the oracle in [`upgrade_core::oracle`].

use std::collections::BTreeMap;

use upgrade_core::act::{Act, Ended};
use upgrade_core::agent::ActId;
use upgrade_core::decide::Settings;
use upgrade_core::drain::DrainOptions;
use upgrade_core::job::Memory;
use upgrade_core::oracle::{Event, What, Who};
use upgrade_core::seen::{Fact, NodeSeen, Ready};
use upgrade_core::time::Unix;
use upgrade_core::version::{PackageVersion, Version};

mod acts;
mod api;
mod draining;
mod explore;
mod host;
mod judge;
mod kubelet;
mod machine;
mod people;
mod preflight;
mod schedule;
mod shrink;
mod tools;

use crate::rng::Rng;
use api::Api;
pub use explore::{Cuts, every_cut, random_schedule, random_setup, second_cut};
use host::Host;
pub use judge::{Verdict, judge};
use machine::Machine;
pub use schedule::{Fault, Planned, Point, Schedule, When};
pub use shrink::shrink;

/// What the hosts' clocks show when a run begins, in seconds since 1970.
const EPOCH: u64 = 1_800_000_000;
/// When everybody is given a target.
const ASKED: u64 = 5_000;
/// So long after the last fault every node must have come to an end.
const PATIENCE: u64 = 3 * 3_600_000;
/// A world in which nothing is left to do is watched for so long.
const QUIET: u64 = 90_000;

/// The cluster a run begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setup {
    /// How many control-plane nodes: `cp1`, `cp2`, ….
    pub control_planes: usize,
    /// How many workers: `w1`, `w2`, ….
    pub workers: usize,
    /// What runs.
    pub from: Version,
    /// What everybody is asked to run.
    pub target: Version,
    /// Whether the kubelet package's scripts restart kubelet.
    pub package_restarts: bool,
    /// Seeds what is left to chance, such as where pods go.
    pub seed: u64,
}

/// What happens next in the world.
#[derive(Debug)]
enum Happening {
    /// The agent sees something. Like everything of a process, it ends with that process's life.
    Saw { node: String, life: u64, fact: Box<Fact> },
    /// A moment the agent asked for.
    Tick { node: String, life: u64, at: u64 },
    /// The journal's rename.
    Renamed { node: String, life: u64, step: usize, memory: Box<Memory> },
    /// The journal is durable.
    Stored { node: String, life: u64, step: usize },
    /// A request of an act comes to where it has its effect, also if who sent it is dead by then.
    Effect { node: String, life: u64, id: ActId, act: Box<Act>, sent: u64 },
    /// The answer to an act.
    Answer { node: String, life: u64, id: ActId, ended: Box<Ended> },
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
    /// Pods that wait are bound.
    Schedules,
    /// A tool does its next piece of work.
    Works { node: String, boot: u64, unit: String },
    /// A kubelet writes its status.
    Kubelet { node: String, starts: u64 },
    /// A static pod begins to run.
    PodRuns { node: String, boot: u64, component: &'static str, version: Version },
    /// The node controller looks at a node.
    Controller { node: String },
    /// Power is back.
    Boots { node: String, boot: u64 },
    /// systemd starts the agent.
    AgentStarts { node: String, boot: u64, lives: u64 },
    /// A fault strikes.
    Strikes(Box<Fault>),
    /// A fault that lasted is over.
    Over(Box<Fault>),
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
    cuts: Vec<Planned>,
    calm_from: u64,
    /// What could be seen from outside.
    pub history: Vec<Event>,
    /// What the agents wanted carried out.
    pub steps: Vec<Step>,
}

impl World {
    /// Runs a setup under a schedule until nothing is left to do, or patience ends.
    pub fn run(setup: &Setup, schedule: &Schedule) -> Self {
        let mut world = Self::new(setup, schedule);
        let mut quiet_since = None;
        while let Some(((at, _), happening)) = world.queue.pop_first() {
            if at > world.calm_from + PATIENCE {
                break;
            }
            if quiet_since.is_some_and(|since| at > since + QUIET) {
                break;
            }
            world.now = at;
            world.happen(happening);
            let settled = at > world.calm_from && world.is_settled();
            quiet_since = quiet_since.filter(|_| settled).or(Some(at).filter(|_| settled));
        }
        world
    }

    fn new(setup: &Setup, schedule: &Schedule) -> Self {
        let mut world = Self {
            setup: setup.clone(),
            now: 0,
            sequence: 0,
            queue: BTreeMap::new(),
            rng: Rng::new(setup.seed),
            api: Api::new(setup.from),
            machines: BTreeMap::new(),
            cuts: Vec::new(),
            calm_from: ASKED,
            history: Vec::new(),
            steps: Vec::new(),
        };
        for number in 1..=setup.control_planes {
            world.add_node(&format!("cp{number}"), true);
        }
        for number in 1..=setup.workers {
            world.add_node(&format!("w{number}"), false);
        }
        for name in world.names() {
            let target = Some(setup.target);
            world.later(ASKED, Happening::Strikes(Box::new(Fault::Target { node: name, target })));
        }
        for planned in schedule {
            match planned.when {
                When::At(at) => world.plan(at, &planned.faults),
                When::Cut { .. } => world.cuts.push(planned.clone()),
            }
        }
        world
    }

    fn add_node(&mut self, name: &str, control_plane: bool) {
        let version = self.setup.from;
        let host = Host::new(version, control_plane, self.setup.package_restarts);
        let packages: Vec<(String, PackageVersion)> =
            host.packages.iter().map(|(name, seen)| (name.clone(), seen.version.clone())).collect();
        self.machines.insert(name.to_owned(), Machine::new(host));
        self.api.nodes.insert(
            name.to_owned(),
            NodeSeen {
                name: name.to_owned(),
                uid: format!("{name}-uid-0"),
                ready: Ready::True,
                heartbeat: Unix(EPOCH),
                kubelet: Some(version),
                control_plane,
                ..NodeSeen::default()
            },
        );
        self.record(name, What::Joined { control_plane, uid: format!("{name}-uid-0") });
        self.record(name, What::Ready { ready: true, kubelet: version });
        for (package, version) in packages {
            self.record(name, What::PackageInstalled { package, version, by: Who::Person });
        }
        if control_plane {
            self.record(name, What::StaticPod { component: "kube-apiserver", version: Some(version) });
        }
        self.bind_pod(name);
        self.bind_pod(name);
        self.later(1_000, Happening::AgentStarts { node: name.to_owned(), boot: 0, lives: 0 });
        self.later(5_000, Happening::Kubelet { node: name.to_owned(), starts: 0 });
    }

    /// The rules' settings of one node: short enough to see their ends.
    fn settings(name: &str) -> Settings {
        let drain = DrainOptions { timeout: 180, ..DrainOptions::default() };
        Settings { node: name.to_owned(), drain, soak: 10, verify_timeout: 300 }
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
            self.calm_from = self.calm_from.max(at + delay + fault.lasts());
            self.later(at + delay, Happening::Strikes(Box::new(fault.clone())));
        }
    }

    fn record(&mut self, node: &str, what: What) {
        self.history.push(Event { at: self.now, node: node.to_owned(), what });
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Saw { node, life, fact } => self.saw(&node, life, *fact),
            Happening::Tick { node, life, at } => self.tick(&node, life, at),
            Happening::Renamed { node, life, step, memory } => self.renamed(&node, life, step, &memory),
            Happening::Stored { node, life, step } => self.stored(&node, life, step),
            Happening::Effect { node, life, id, act, sent } => self.effect(&node, life, id, *act, sent),
            Happening::Answer { node, life, id, ended } => self.answer(&node, life, id, *ended),
            Happening::Heartbeat { node, life } => self.heartbeat(&node, life),
            Happening::Told { node, life } => self.told(&node, life),
            Happening::Drains { node, life, id } => self.drains(&node, life, id),
            Happening::Evicts { node, life, id, pod } => self.evicts(&node, life, id, &pod),
            Happening::Lists { node, life, id } => self.lists(&node, life, id),
            Happening::PodGone { pod } => self.pod_gone(&pod),
            Happening::Schedules => self.schedule_pods(),
            Happening::Works { node, boot, unit } => self.works(&node, boot, &unit),
            Happening::Kubelet { node, starts } => self.kubelet(&node, starts),
            Happening::PodRuns { node, boot, component, version } => {
                self.pod_runs(&node, boot, component, version);
            }
            Happening::Controller { node } => self.controller(&node),
            Happening::Boots { node, boot } => self.boots(&node, boot),
            Happening::AgentStarts { node, boot, lives } => self.agent_starts(&node, boot, lives),
            Happening::Strikes(fault) => self.strikes(&fault),
            Happening::Over(fault) => self.over(&fault),
        }
    }
}
