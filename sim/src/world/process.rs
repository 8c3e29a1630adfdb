//! A host with its disk and the lives of its agent: carries outputs out and feeds answers in.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::time::Duration;

use upgrade_core::act::{Act, ActResult, Fault as ActFault, FaultClass};
use upgrade_core::agent::{ActId, Agent, Input, Output};
use upgrade_core::api::annotations::{PHASE, STATUS};
use upgrade_core::api::{Phase, Report};
use upgrade_core::backoff::Pauses;
use upgrade_core::drain::Engine;
use upgrade_core::judge::mark::Mark;
use upgrade_core::memory::Memory;
use upgrade_core::observed::Observation;
use upgrade_core::oracle::What;
use upgrade_core::time::{BootId, Mono, Now, Unix};

use super::host::Host;
use super::ports::Caller;
use super::{Happening, Step, World};
use crate::fault::Identity;
use crate::schedule::Point;

/// A minute passes between two renewals.
const HEARTBEAT: u64 = 60_000;
/// A request takes so long to come to where it has its effect, and so long back.
pub(super) const TRAVEL: u64 = 20;
/// After so long without an answer an adapter gives up.
const DEADLINE: u64 = 10_000;
/// Between two writes of the same phase.
const REPORT_PACE: u64 = 5_000;
/// A watch that was cut tries again so often.
const WATCH_AGAIN: u64 = 1_000;
/// An agent that finds no API server at its start looks for one again so much later: its pauses grow to thirty seconds.
const LOOKS_AGAIN: u64 = 15_000;
/// A report that was not taken is written again so much later.
const REPORT_AGAIN: Pauses = Pauses { first: Duration::from_secs(5), factor: 2, cap: Duration::from_mins(2) };

/// A host, what is on its disk, and its agent while that lives.
pub(super) struct Machine {
    pub(super) host: Host,
    /// The journal, as bytes on a disk are: what does not survive being written is lost.
    pub(super) journal: Option<String>,
    pub(super) life: Option<Life>,
    pub(super) lives: u64,
    /// Steps of each word so far, and what each step was.
    pub(super) words: BTreeMap<&'static str, usize>,
    pub(super) steps: Vec<(&'static str, usize)>,
    pub(super) lag: u64,
    pub(super) lag_until: u64,
    pub(super) silent_until: u64,
    pub(super) mute_until: u64,
    pub(super) cut_off_until: u64,
    pub(super) heartbeats_fail_until: u64,
    /// Until when each credential is refused.
    pub(super) refused_until: BTreeMap<Identity, u64>,
    /// When people last asked something of this node.
    pub(super) asked_at: u64,
    /// Requests since they were last told.
    pub(super) requests: u32,
    /// Whether its kubelet has something to say that it has not said yet.
    pub(super) unreported: bool,
    /// When its kubelet last wrote its status.
    pub(super) reported_at: u64,
    /// Whether its kubelet makes a Node where there is none: it does so at its start.
    pub(super) registers: bool,
    pub(super) recreated: u64,
    /// Whether the agent's package was removed.
    pub(super) purged: bool,
    /// Since when a run of kubeadm, by its unit, waits for an API server.
    pub(super) kubeadm_waits: BTreeMap<String, u64>,
}

impl Machine {
    pub(super) fn new(host: Host) -> Self {
        Self {
            host,
            journal: None,
            life: None,
            lives: 0,
            words: BTreeMap::new(),
            steps: Vec::new(),
            lag: 0,
            lag_until: 0,
            silent_until: 0,
            mute_until: 0,
            cut_off_until: 0,
            heartbeats_fail_until: 0,
            refused_until: BTreeMap::new(),
            asked_at: 0,
            requests: 0,
            unreported: false,
            reported_at: 0,
            registers: true,
            recreated: 0,
            purged: false,
            kubeadm_waits: BTreeMap::new(),
        }
    }
}

/// One process.
pub(super) struct Life {
    pub(super) number: u64,
    booted_at: u64,
    pub(super) agent: Agent,
    /// Steps of acts under way.
    pub(super) acts: BTreeMap<ActId, usize>,
    /// The last moment asked for.
    wake: Option<u64>,
    /// When the last event of its watches reaches it.
    pub(super) told_at: u64,
    /// And what agents share.
    pub(super) shared_at: u64,
    /// Whether it watches what agents share.
    pub(super) watches: bool,
    pub(super) drain: Option<(ActId, Engine, u64)>,
    /// The act that was stopped last: it does not begin any more.
    pub(super) stopped: Option<ActId>,
    /// A report that the API server has yet to take.
    report: Option<Box<Report>>,
    /// The phase of the last one it took, and when.
    wrote_report: Option<(Phase, u64)>,
    /// Which unit an act awaits.
    pub(super) awaited: BTreeMap<ActId, String>,
    /// Whether a watch of it was cut and tries to begin anew.
    lists_anew: bool,
    reports_failed: u32,
    /// What is news of its own Node.
    pub(super) mark: Mark,
    /// Whether a policy was ever seen, in this life or as the journal has it.
    pub(super) policy_seen: Cell<bool>,
}

impl Life {
    /// When its host's boot clock shows a moment.
    pub(super) fn when(&self, moment: Mono) -> u64 {
        self.booted_at + moment.0.saturating_sub(1_000)
    }
}

/// Whose watch tells this; none of what is no watch's.
const fn watched_by(fact: &Observation) -> Option<Identity> {
    match fact {
        Observation::Node(_) => Some(Identity::Kubelet),
        Observation::Turn(_) | Observation::Policy(_) => Some(Identity::Coordination),
        _ => None,
    }
}

/// Something outside did not answer.
pub(super) fn transient(message: &str) -> ActResult {
    ActResult::failed(ActFault { class: FaultClass::Transient, message: message.to_owned() })
}

impl World {
    /// The process of this number, if it still lives.
    pub(super) fn life(&mut self, node: &str, number: u64) -> Option<&mut Life> {
        self.machines.get_mut(node)?.life.as_mut().filter(|life| life.number == number)
    }

    pub(super) fn lives(&self, node: &str, number: u64) -> bool {
        let life = self.machines.get(node).and_then(|machine| machine.life.as_ref());
        life.is_some_and(|life| life.number == number)
    }

    pub(super) fn clock(&self, node: &str) -> Now {
        let Some(machine) = self.machines.get(node) else { return Now::default() };
        let boot = BootId(u128::from(machine.host.boot) + 1);
        Now { mono: machine.host.mono(self.now), boot, unix: self.unix(node) }
    }

    /// What a host's wall clock shows.
    pub(super) fn unix(&self, node: &str) -> Unix {
        self.machines.get(node).map(|machine| machine.host.clock.shows(self.now)).unwrap_or_default()
    }

    pub(super) fn agent_starts(&mut self, node: &str, boot: u64, lives: u64) {
        let (now, settings) = (self.now, self.settings_of(node));
        let Some(machine) = self.machines.get_mut(node) else { return };
        let stands = machine.host.powered && machine.host.boot == boot && machine.lives == lives;
        if !stands || machine.life.is_some() || machine.purged {
            return;
        }
        machine.lives += 1;
        let (number, booted_at) = (machine.lives, machine.host.booted_at);
        let journal = machine.journal.as_deref().and_then(|text| serde_json::from_str::<Memory>(text).ok());
        let memory = journal.unwrap_or_default();
        let policy_seen = Cell::new(memory.policy_seen);
        let agent = Agent::new(settings, memory);
        machine.life = Some(Life {
            number,
            booted_at,
            agent,
            acts: BTreeMap::new(),
            wake: None,
            told_at: now,
            shared_at: now,
            watches: false,
            drain: None,
            stopped: None,
            report: None,
            wrote_report: None,
            awaited: BTreeMap::new(),
            lists_anew: false,
            reports_failed: 0,
            mark: Mark::default(),
            policy_seen,
        });
        self.record(node, What::AgentStarted);
        self.looks(node, number);
        self.later(now + HEARTBEAT, Happening::Heartbeat { node: node.to_owned(), life: number });
        self.input(node, number, Input::Tick);
    }

    /// The watch of the own Node is begun, again and again until an API server answers.
    pub(super) fn looks(&mut self, node: &str, life: u64) {
        if !self.lives(node, life) {
            return;
        }
        self.requests(node, 1);
        if self.reaches(node, Identity::Kubelet) {
            self.requests(node, 1);
            self.tell_node(node);
        } else {
            self.later(self.now + LOOKS_AGAIN, Happening::Looks { node: node.to_owned(), life });
        }
    }

    /// So many requests are sent to the API server.
    pub(super) fn requests(&mut self, node: &str, count: u32) {
        if let Some(machine) = self.machines.get_mut(node) {
            machine.requests += count;
        }
    }

    /// The process is gone; what it asked of others goes on.
    pub(super) fn kill(&mut self, node: &str, restart: u64) {
        let Some(machine) = self.machines.get_mut(node) else { return };
        let (boot, lives) = (machine.host.boot, machine.lives);
        if machine.life.take().is_some() {
            self.record(node, What::AgentDied);
            let at = self.now + restart;
            self.later(at, Happening::AgentStarts { node: node.to_owned(), boot, lives });
        }
    }

    /// Feeds an input in and carries out what follows.
    fn input(&mut self, node: &str, number: u64, input: Input) {
        let outputs = self.ask(node, number, input);
        self.carry_out(node, number, outputs);
    }

    fn ask(&mut self, node: &str, number: u64, input: Input) -> Vec<Output> {
        let clock = self.clock(node);
        self.life(node, number).map(|life| life.agent.on(clock, input)).unwrap_or_default()
    }

    fn carry_out(&mut self, node: &str, life: u64, outputs: Vec<Output>) {
        for output in outputs {
            if !self.lives(node, life) {
                return;
            }
            match output {
                Output::Store(memory) => self.store(node, life, memory),
                Output::Start(id, act) => self.start(node, life, id, act),
                Output::Stop(id) => self.stop(node, life, id),
                Output::Watch(on) => self.watches(node, life, on),
                Output::Report(report) => self.report(node, life, report),
                Output::WakeAt(at) => self.wake_at(node, life, at),
            }
        }
    }

    fn wake_at(&mut self, node: &str, number: u64, moment: Mono) {
        let Some(life) = self.life(node, number) else { return };
        let at = life.when(moment);
        life.wake = Some(at);
        self.later(at, Happening::Tick { node: node.to_owned(), life: number, at });
    }

    pub(super) fn tick(&mut self, node: &str, number: u64, at: u64) {
        if self.life(node, number).is_some_and(|life| life.wake == Some(at)) {
            self.input(node, number, Input::Tick);
        }
    }

    pub(super) fn saw(&mut self, node: &str, number: u64, fact: Observation) {
        if let Some(identity) = watched_by(&fact)
            && !self.reaches(node, identity)
        {
            return self.watch_broke(node, number);
        }
        let Some(life) = self.life(node, number) else { return };
        if let Observation::Node(Some(seen)) = &fact
            && life.mark.outdates(&seen.resource_version)
        {
            return;
        }
        let word = fact.word();
        let nth = self.observed(node, word);
        self.strike_seen(node, word, nth, Point::Before);
        let outputs = self.ask(node, number, Input::Observed(fact));
        self.strike_seen(node, word, nth, Point::Answered);
        self.carry_out(node, number, outputs);
    }

    /// A watch that is cut begins anew, with what stands then, as soon as somebody answers.
    pub(super) fn watch_broke(&mut self, node: &str, number: u64) {
        let at = self.now + WATCH_AGAIN;
        if self.life(node, number).is_some_and(|life| !std::mem::replace(&mut life.lists_anew, true)) {
            self.later(at, Happening::ListsAnew { node: node.to_owned(), life: number });
        }
    }

    pub(super) fn lists_anew(&mut self, node: &str, number: u64) {
        let answered = self.reaches(node, Identity::Kubelet) && self.reaches(node, Identity::Coordination);
        let at = self.now + WATCH_AGAIN;
        let Some(life) = self.life(node, number) else { return };
        if !answered {
            self.later(at, Happening::ListsAnew { node: node.to_owned(), life: number });
            return;
        }
        life.lists_anew = false;
        self.requests(node, 2);
        self.lists_node(node);
        self.tell_turn();
        self.tell_policy();
    }

    /// Counts a step; none if the agent did not live to take it.
    fn step(&mut self, node: &str, life: u64, word: &'static str) -> Option<usize> {
        let machine = self.machines.get_mut(node)?;
        let number = machine.steps.len();
        let count = machine.words.entry(word).or_default();
        let nth = *count;
        *count += 1;
        machine.steps.push((word, nth));
        self.steps.push(Step { node: node.to_owned(), number, word, nth, at: self.now });
        self.strike_at(node, number, Point::Before);
        self.lives(node, life).then_some(number)
    }

    fn store(&mut self, node: &str, life: u64, memory: Box<Memory>) {
        let full = self.machines.get(node).is_some_and(|machine| machine.host.disk_full_until > self.now);
        if full {
            return self.later(self.now + 5, Happening::Stored { node: node.to_owned(), life, step: None });
        }
        let Some(step) = self.step(node, life, "store") else { return };
        let node = node.to_owned();
        self.later(self.now + 5, Happening::Renamed { node: node.clone(), life, step, memory });
        self.strike_at(&node, step, Point::Sent);
    }

    pub(super) fn renamed(&mut self, node: &str, life: u64, step: usize, memory: &Memory) {
        if !self.lives(node, life) {
            return;
        }
        if let Some(machine) = self.machines.get_mut(node) {
            machine.journal = serde_json::to_string(memory).ok();
        }
        self.later(self.now + 5, Happening::Stored { node: node.to_owned(), life, step: Some(step) });
        self.strike_at(node, step, Point::Done);
    }

    pub(super) fn stored(&mut self, node: &str, life: u64, step: Option<usize>) {
        let Some(step) = step else {
            return self.input(node, life, Input::NotStored("no space left on device".to_owned()));
        };
        let outputs = self.ask(node, life, Input::Stored);
        if !outputs.is_empty() {
            self.strike_at(node, step, Point::Answered);
        }
        self.carry_out(node, life, outputs);
    }

    fn start(&mut self, node: &str, number: u64, id: ActId, act: Act) {
        let word = match &act {
            Act::Run { tool, .. } => tool.word(),
            other => other.word(),
        };
        let Some(step) = self.step(node, number, word) else { return };
        let sent = self.clock(node).mono.0;
        if let Some(life) = self.life(node, number) {
            life.acts.insert(id, step);
        }
        let caller = Caller { node: node.to_owned(), life: number, id: Some(id) };
        self.later(self.now + TRAVEL, Happening::Effect { caller, act: Box::new(act), sent });
        self.strike_at(node, step, Point::Sent);
    }

    fn stop(&mut self, node: &str, number: u64, id: ActId) {
        let Some(life) = self.life(node, number) else { return };
        life.drain.take_if(|(drain, ..)| *drain == id);
        life.stopped = Some(id);
        let message = "stopped because something else is wanted".to_owned();
        let ended = Box::new(ActResult::failed(ActFault { class: FaultClass::Stopped, message }));
        self.later(self.now + 10, Happening::Answer { node: node.to_owned(), life: number, id, ended });
    }

    /// Sends an answer on its way; lost ones end in a deadline. What a renewal beside the acts brings is an observation.
    pub(super) fn reply(&mut self, caller: &Caller, ended: ActResult) {
        let Caller { node, life, id } = caller;
        let came_about = ended.fault.is_none();
        let mute = self.machines.get(node).is_some_and(|machine| machine.mute_until > self.now);
        let Some(id) = *id else {
            for fact in ended.observations.into_iter().filter(|_| !mute) {
                let fact = Box::new(fact);
                self.later(self.now + TRAVEL, Happening::Saw { node: node.clone(), life: *life, fact });
            }
            return;
        };
        let (after, ended) = if mute {
            (DEADLINE, transient("the request was sent and not answered"))
        } else {
            (TRAVEL, ended)
        };
        let step = self.life(node, *life).and_then(|life| life.acts.get(&id).copied());
        let ended = Box::new(ended);
        self.later(self.now + after, Happening::Answer { node: node.clone(), life: *life, id, ended });
        if let Some(step) = step.filter(|_| came_about) {
            self.strike_at(node, step, Point::Done);
        }
    }

    pub(super) fn answer(&mut self, node: &str, number: u64, id: ActId, ended: ActResult) {
        let Some(step) = self.life(node, number).and_then(|life| life.acts.remove(&id)) else { return };
        let outputs = self.ask(node, number, Input::Ended(id, ended));
        self.strike_at(node, step, Point::Answered);
        self.carry_out(node, number, outputs);
    }

    /// The renewal beside the acts: requests like any other, whose answer is a fact.
    pub(super) fn heartbeat(&mut self, node: &str, number: u64) {
        let Some(life) = self.life(node, number) else { return };
        let act = life.agent.heartbeat();
        self.later(self.now + HEARTBEAT, Happening::Heartbeat { node: node.to_owned(), life: number });
        let fails = self.machines.get(node).is_some_and(|machine| machine.heartbeats_fail_until > self.now);
        let Some(act) = act.filter(|_| !fails) else { return };
        let sent = self.clock(node).mono.0;
        let caller = Caller { node: node.to_owned(), life: number, id: None };
        self.later(self.now + TRAVEL, Happening::Effect { caller, act: Box::new(act), sent });
    }

    fn report(&mut self, node: &str, number: u64, report: Box<Report>) {
        let Some(life) = self.life(node, number) else { return };
        // Only the newest counts: what was not told yet is replaced, and what says the same phase once more waits a moment.
        let again = life
            .wrote_report
            .filter(|(phase, _)| *phase == report.phase)
            .map_or(0, |(_, at)| at + REPORT_PACE);
        if life.report.replace(report).is_none() {
            let at = again.max(self.now + 30);
            self.later(at, Happening::Told { node: node.to_owned(), life: number });
        }
    }

    pub(super) fn told(&mut self, node: &str, number: u64) {
        if self.life(node, number).is_none_or(|life| life.report.is_none()) {
            return;
        }
        self.requests(node, 1);
        if !self.reaches(node, Identity::Kubelet) {
            let Some(life) = self.life(node, number) else { return };
            life.reports_failed += 1;
            let pause =
                u64::try_from(REPORT_AGAIN.after(life.reports_failed).as_millis()).unwrap_or(u64::MAX);
            self.later(self.now + pause, Happening::Told { node: node.to_owned(), life: number });
            return;
        }
        let now = self.now;
        let Some(life) = self.life(node, number) else { return };
        life.reports_failed = 0;
        let Some(report) = life.report.take() else { return };
        life.wrote_report = Some((report.phase, now));
        let before = self.annotation(node, STATUS).and_then(|text| serde_json::from_str::<Report>(text).ok());
        let (phase, reason) = (report.phase, report.reason);
        if before.as_ref().is_none_or(|before| before.phase != phase) {
            // An Event.
            self.requests(node, 1);
        }
        if before.is_none_or(|before| (before.phase, before.reason) != (phase, reason)) {
            self.record(node, What::Reported { phase, reason });
        }
        let status = serde_json::to_string(&report).unwrap_or_default();
        self.change_node(node, |seen| {
            seen.annotations.insert(PHASE.to_owned(), phase.word().to_owned());
            seen.annotations.insert(STATUS.to_owned(), status);
        });
        self.own_write(node, number);
    }

    pub(crate) fn is_in_phase(&self, node: &str, phase: Phase) -> bool {
        self.annotation(node, PHASE).map(String::as_str) == Some(phase.word())
    }
}
