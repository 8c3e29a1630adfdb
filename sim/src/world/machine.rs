//! A host with its disk and the lives of its agent: carries outputs out and feeds answers in.

use std::collections::BTreeMap;

use upgrade_core::act::{Act, Ended, Fault as ActFault, FaultClass};
use upgrade_core::agent::{ActId, Agent, Input, Output};
use upgrade_core::drain::Engine;
use upgrade_core::job::Memory;
use upgrade_core::oracle::What;
use upgrade_core::report::{Phase, Report};
use upgrade_core::request::{PHASE, STATUS};
use upgrade_core::seen::Fact;
use upgrade_core::time::{Mono, Now};

use super::host::Host;
use super::{Fault, Happening, Point, Step, When, World};

/// A minute passes between two renewals.
const HEARTBEAT: u64 = 60_000;

/// A host, what is on its disk, and its agent while that lives.
pub(super) struct Machine {
    pub(super) host: Host,
    /// The journal, as bytes on a disk are: what does not survive being written is lost.
    pub(super) journal: Option<String>,
    pub(super) life: Option<Life>,
    pub(super) lives: u64,
    pub(super) steps: usize,
    pub(super) lag: u64,
    pub(super) lag_until: u64,
    pub(super) mute_until: u64,
    pub(super) cut_off_until: u64,
    /// Whether its kubelet has yet to write its status since it was started.
    pub(super) unreported: bool,
    pub(super) recreated: u64,
}

impl Machine {
    pub(super) fn new(host: Host) -> Self {
        Self {
            host,
            journal: None,
            life: None,
            lives: 0,
            steps: 0,
            lag: 0,
            lag_until: 0,
            mute_until: 0,
            cut_off_until: 0,
            unreported: false,
            recreated: 0,
        }
    }
}

/// One process.
pub(super) struct Life {
    pub(super) number: u64,
    pub(super) began: u64,
    pub(super) agent: Agent,
    /// Steps of acts under way.
    pub(super) acts: BTreeMap<ActId, usize>,
    /// The last moment asked for.
    pub(super) wake: Option<u64>,
    /// When the last event of its watches reaches it.
    pub(super) told_at: u64,
    pub(super) awaits_turn: Option<ActId>,
    pub(super) drain: Option<(ActId, Engine, u64)>,
    /// A report that the API server has yet to take.
    pub(super) report: Option<Box<Report>>,
    /// Which unit an act awaits.
    pub(super) awaited: BTreeMap<ActId, String>,
}

impl Life {
    /// This process's own clock.
    pub(super) fn mono(&self, now: u64) -> Mono {
        Mono(now.saturating_sub(self.began) + 1_000)
    }
}

/// Something outside did not answer.
pub(super) fn transient(message: &str) -> Ended {
    Ended::badly(ActFault { class: FaultClass::Transient, message: message.to_owned() })
}

impl World {
    /// The process of this number, if it still lives.
    pub(super) fn life(&mut self, node: &str, number: u64) -> Option<&mut Life> {
        self.machines.get_mut(node)?.life.as_mut().filter(|life| life.number == number)
    }

    pub(super) fn clock(&self, node: &str) -> Now {
        let life = self.machines.get(node).and_then(|machine| machine.life.as_ref());
        Now { mono: life.map_or(Mono(0), |life| life.mono(self.now)), unix: self.unix() }
    }

    pub(super) fn agent_starts(&mut self, node: &str, boot: u64, lives: u64) {
        let now = self.now;
        let Some(machine) = self.machines.get_mut(node) else { return };
        if !machine.host.powered
            || machine.host.boot != boot
            || machine.lives != lives
            || machine.life.is_some()
        {
            return;
        }
        machine.lives += 1;
        let number = machine.lives;
        let journal = machine.journal.as_deref().and_then(|text| serde_json::from_str::<Memory>(text).ok());
        let agent = Agent::new(Self::settings(node), journal.unwrap_or_default());
        machine.life = Some(Life {
            number,
            began: now,
            agent,
            acts: BTreeMap::new(),
            wake: None,
            told_at: now,
            awaits_turn: None,
            drain: None,
            report: None,
            awaited: BTreeMap::new(),
        });
        self.record(node, What::AgentStarted);
        self.tell_node(node);
        self.tell_policy();
        self.later(now + HEARTBEAT, Happening::Heartbeat { node: node.to_owned(), life: number });
        self.input(node, number, Input::Tick);
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
    pub(super) fn input(&mut self, node: &str, number: u64, input: Input) {
        let outputs = self.ask(node, number, input);
        self.carry_out(node, number, outputs);
    }

    fn ask(&mut self, node: &str, number: u64, input: Input) -> Vec<Output> {
        let clock = self.clock(node);
        self.life(node, number).map(|life| life.agent.on(clock, input)).unwrap_or_default()
    }

    pub(super) fn carry_out(&mut self, node: &str, life: u64, outputs: Vec<Output>) {
        for output in outputs {
            if self.life(node, life).is_none() {
                return;
            }
            match output {
                Output::Store(memory) => self.store(node, life, memory),
                Output::Start(id, act) => self.start(node, life, id, act),
                Output::Stop(id) => self.stop(node, life, id),
                Output::Report(report) => self.report(node, life, report),
                Output::WakeAt(at) => self.wake_at(node, life, at),
            }
        }
    }

    fn wake_at(&mut self, node: &str, number: u64, moment: Mono) {
        let Some(life) = self.life(node, number) else { return };
        let at = life.began + moment.0.saturating_sub(1_000);
        life.wake = Some(at);
        self.later(at, Happening::Tick { node: node.to_owned(), life: number, at });
    }

    pub(super) fn tick(&mut self, node: &str, number: u64, at: u64) {
        if self.life(node, number).is_some_and(|life| life.wake == Some(at)) {
            self.input(node, number, Input::Tick);
        }
    }

    pub(super) fn saw(&mut self, node: &str, number: u64, fact: Fact) {
        self.input(node, number, Input::Saw(fact));
    }

    /// Counts a step; none if the agent did not live to take it.
    fn step(&mut self, node: &str, word: &'static str) -> Option<usize> {
        let machine = self.machines.get_mut(node)?;
        let number = machine.steps;
        machine.steps += 1;
        self.steps.push(Step { node: node.to_owned(), number, word, at: self.now });
        (!self.cut(node, number, Point::Before)).then_some(number)
    }

    /// Strikes where a schedule cuts this point; says whether it did.
    pub(super) fn cut(&mut self, node: &str, step: usize, point: Point) -> bool {
        let here = When::Cut { node: node.to_owned(), step, point };
        let Some(index) = self.cuts.iter().position(|planned| planned.when == here) else { return false };
        let planned = self.cuts.remove(index);
        for (delay, fault) in &planned.faults {
            self.calm_from = self.calm_from.max(self.now + delay + fault.lasts());
            let dies = matches!(fault, Fault::Kill { node: of, .. } | Fault::PowerCut { node: of, .. } if of == node);
            if *delay == 0 && dies {
                self.strikes(fault);
            } else {
                self.later(self.now + delay, Happening::Strikes(Box::new(fault.clone())));
            }
        }
        true
    }

    fn store(&mut self, node: &str, life: u64, memory: Box<Memory>) {
        let Some(step) = self.step(node, "store") else { return };
        let node = node.to_owned();
        self.later(self.now + 5, Happening::Renamed { node: node.clone(), life, step, memory });
        self.cut(&node, step, Point::Sent);
    }

    pub(super) fn renamed(&mut self, node: &str, life: u64, step: usize, memory: &Memory) {
        if self.life(node, life).is_none() {
            return;
        }
        if let Some(machine) = self.machines.get_mut(node) {
            machine.journal = serde_json::to_string(memory).ok();
        }
        self.later(self.now + 5, Happening::Stored { node: node.to_owned(), life, step });
        self.cut(node, step, Point::Done);
    }

    pub(super) fn stored(&mut self, node: &str, life: u64, step: usize) {
        let outputs = self.ask(node, life, Input::Stored);
        if !outputs.is_empty() && self.cut(node, step, Point::Answered) {
            return;
        }
        self.carry_out(node, life, outputs);
    }

    fn start(&mut self, node: &str, number: u64, id: ActId, act: Act) {
        let Some(step) = self.step(node, act.word()) else { return };
        let sent = self.clock(node).mono.0;
        if let Some(life) = self.life(node, number) {
            life.acts.insert(id, step);
        }
        let (node, act) = (node.to_owned(), Box::new(act));
        self.later(self.now + 20, Happening::Effect { node: node.clone(), life: number, id, act, sent });
        self.cut(&node, step, Point::Sent);
    }

    fn stop(&mut self, node: &str, number: u64, id: ActId) {
        let Some(life) = self.life(node, number) else { return };
        life.awaits_turn.take_if(|awaits| *awaits == id);
        life.drain.take_if(|(drain, ..)| *drain == id);
        let message = "stopped because something else is wanted".to_owned();
        let ended = Ended::badly(ActFault { class: FaultClass::Stopped, message });
        self.later(
            self.now + 10,
            Happening::Answer { node: node.to_owned(), life: number, id, ended: Box::new(ended) },
        );
    }

    /// Sends the answer to an act on its way; lost answers end in a deadline.
    pub(super) fn reply(&mut self, node: &str, life: u64, id: ActId, ended: Ended) {
        let step = self.life(node, life).and_then(|life| life.acts.get(&id).copied());
        let mute = self.machines.get(node).is_some_and(|machine| machine.mute_until > self.now);
        let (after, ended) =
            if mute { (10_000, transient("the request was sent and not answered")) } else { (20, ended) };
        let ended = Box::new(ended);
        self.later(self.now + after, Happening::Answer { node: node.to_owned(), life, id, ended });
        if let Some(step) = step {
            self.cut(node, step, Point::Done);
        }
    }

    pub(super) fn answer(&mut self, node: &str, number: u64, id: ActId, ended: Ended) {
        let Some(step) = self.life(node, number).and_then(|life| life.acts.remove(&id)) else { return };
        let outputs = self.ask(node, number, Input::Ended(id, ended));
        if !self.cut(node, step, Point::Answered) {
            self.carry_out(node, number, outputs);
        }
    }

    /// The renewal beside the acts: a request like any other, whose answer is a fact.
    pub(super) fn heartbeat(&mut self, node: &str, number: u64) {
        let Some(life) = self.life(node, number) else { return };
        let act = life.agent.heartbeat();
        let name = node.to_owned();
        self.later(self.now + HEARTBEAT, Happening::Heartbeat { node: name.clone(), life: number });
        let Some(act) = act.filter(|_| self.reaches_api(node)) else { return };
        let at = self.clock(node).mono;
        let facts = self.lease_act(node, &act, at).map(|ended| ended.facts).unwrap_or_default();
        for fact in facts {
            self.later(
                self.now + 40,
                Happening::Saw { node: name.clone(), life: number, fact: Box::new(fact) },
            );
        }
    }

    fn report(&mut self, node: &str, number: u64, report: Box<Report>) {
        let Some(life) = self.life(node, number) else { return };
        life.report = Some(report);
        self.later(self.now + 30, Happening::Told { node: node.to_owned(), life: number });
    }

    pub(super) fn told(&mut self, node: &str, number: u64) {
        if !self.reaches_api(node) {
            self.later(self.now + 5_000, Happening::Told { node: node.to_owned(), life: number });
            return;
        }
        let Some(report) = self.life(node, number).and_then(|life| life.report.take()) else { return };
        let before = self.phase_of(node);
        if before.as_deref() != Some(report.phase.word()) {
            self.record(node, What::Reported { phase: report.phase, reason: report.reason });
        }
        let status = serde_json::to_string(&report).unwrap_or_default();
        self.change_node(node, |seen| {
            seen.annotations.insert(PHASE.to_owned(), report.phase.word().to_owned());
            seen.annotations.insert(STATUS.to_owned(), status);
        });
    }

    pub(super) fn phase_of(&self, node: &str) -> Option<String> {
        self.api.nodes.get(node)?.annotations.get(PHASE).cloned()
    }

    pub(super) fn is_in_phase(&self, node: &str, phase: Phase) -> bool {
        self.phase_of(node).as_deref() == Some(phase.word())
    }
}
