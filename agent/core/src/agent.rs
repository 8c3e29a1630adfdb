//! Inputs to outputs: takes observations in, asks [`crate::decide`], stores before it acts, and runs one act at a time.

use core::time::Duration;
use std::collections::BTreeMap;

use crate::act::{Act, ActResult, FaultClass};
use crate::api::{Explanation, Reason, Report, TurnId};
use crate::backoff::Pauses;
use crate::decide::{Next, Settings, decide, renew};
use crate::decide::{derive, is_another_turn};
use crate::memory::{Memory, Stage, Turn, Verdict};
use crate::observed::{LeaseSeen, Observation, Observed};
use crate::since::Since;
use crate::time::{Mono, Now, Unix};

/// Names one start of one act.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ActId(pub u64);

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// Something was observed.
    Observed(Observation),
    /// The memory last handed out is durable.
    Stored,
    /// An act ended, by itself or because it was stopped.
    Ended(ActId, ActResult),
    /// A moment asked for by [`Output::WakeAt`] has come, or the agent has just started.
    Tick,
}

/// What to do now, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Make this durable, then say [`Input::Stored`]. No act runs meanwhile.
    Store(Box<Memory>),
    /// Start this act; say [`Input::Ended`] when it ends.
    Start(ActId, Act),
    /// Stop this act; it still ends with [`Input::Ended`].
    Stop(ActId),
    /// Tell people.
    Report(Box<Report>),
    /// Say [`Input::Tick`] at this moment; a later one replaces it.
    WakeAt(Mono),
}

/// Pauses after transient faults.
const PAUSES: Pauses = Pauses { first: Duration::from_secs(1), factor: 2, cap: Duration::from_secs(30) };

/// The agent: memory, observation, and at most one act.
#[derive(Debug)]
pub struct Agent {
    settings: Settings,
    memory: Memory,
    observed: Observed,
    since: Since,
    storing: Option<Box<Memory>>,
    running: Option<Running>,
    started: u64,
    faults: BTreeMap<&'static str, Setback>,
    told: Option<Box<Report>>,
}

#[derive(Debug)]
struct Running {
    id: ActId,
    act: Act,
    stopping: bool,
}

/// An act that did not come to its end, and when it may be tried again.
#[derive(Debug)]
struct Setback {
    count: u32,
    again: Mono,
    message: String,
}

impl Agent {
    /// An agent with what its journal holds; [`Memory::default`] where there is none.
    pub fn new(settings: Settings, memory: Memory) -> Self {
        Self {
            settings,
            memory,
            observed: Observed::default(),
            since: Since::default(),
            storing: None,
            running: None,
            started: 0,
            faults: BTreeMap::new(),
            told: None,
        }
    }

    /// What is remembered: durable, except while a [`Output::Store`] is under way.
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// The renewal that runs beside the acts, once a minute, so that people see that the holder lives; its answer is
    /// fed in as an observation. None while no Lease is known to be ours.
    pub fn heartbeat(&self) -> Option<Act> {
        let turn = self.memory.turn.as_ref()?;
        let ours = matches!(self.observed.lease, Some(LeaseSeen::Held { .. }));
        (ours && !matches!(turn.stage, Stage::Returning(_))).then(|| renew(turn))
    }

    /// Takes one input in and says what follows.
    pub fn on(&mut self, now: Now, input: Input) -> Vec<Output> {
        match input {
            Input::Observed(observation) => {
                self.recovered(&observation);
                self.take(observation, now.mono);
            }
            Input::Stored => self.stored(),
            Input::Ended(id, ended) => self.ended(now, id, ended),
            Input::Tick => {}
        }
        let mut outputs = Vec::new();
        let next = self.step(now, &mut outputs);
        self.report(now, &next, &mut outputs);
        outputs
    }

    fn take(&mut self, observation: Observation, at: Mono) {
        if let Observation::Node(node) = &observation {
            self.since.look(node.as_ref());
        }
        self.observed.take(observation, at);
    }

    /// An act that lasts and tells something has got over what stopped it before.
    fn recovered(&mut self, observation: &Observation) {
        match observation {
            Observation::Turn(_) => self.faults.remove(Act::AwaitTurn.word()),
            Observation::Drain(_) => {
                self.running.as_ref().and_then(|running| self.faults.remove(running.act.word()))
            }
            _ => None,
        };
    }

    fn stored(&mut self) {
        let Some(memory) = self.storing.take() else { return };
        let key = |memory: &Memory| -> Option<(TurnId, bool)> {
            let turn = memory.turn.as_ref()?;
            Some((turn.holder.turn.clone(), matches!(turn.stage, Stage::Degraded { .. })))
        };
        // Another turn has another Lease to prove, and a turn that enters or leaves `degraded` another mark to write.
        if key(&memory) != key(&self.memory) {
            self.observed.lease = None;
            self.observed.drain = None;
        }
        // What was found before a turn says nothing of the host after it, unless the turn touched nothing.
        let touched = |turn: &Turn| match &turn.stage {
            Stage::Clearing { disturbed } => disturbed.is_some(),
            Stage::Returning(Verdict::BackedOut(why)) => !is_another_turn(why.reason),
            Stage::Changing { .. } | Stage::Returning(Verdict::Done) | Stage::Degraded { .. } => true,
        };
        let over = self.memory.turn.as_ref().is_some_and(touched) && memory.turn.is_none();
        // A refusal is answered by a person who changed something: whoever asks again is told how it is then.
        let refused = memory.refused.is_some() && memory.refused != self.memory.refused;
        if over || refused {
            self.observed.preflight = None;
        }
        // Somebody else was quicker: what said that it is our turn is out of date.
        if self.memory.turn.is_some() && memory.turn.is_none() {
            self.observed.turn = None;
        }
        self.memory = *memory;
    }

    fn ended(&mut self, now: Now, id: ActId, ended: ActResult) {
        let Some(running) = self.running.take_if(|running| running.id == id) else { return };
        let word = running.act.word();
        for observation in ended.observations {
            self.take(observation, now.mono);
        }
        match ended.fault {
            None => {
                self.faults.remove(word);
                self.since.did(&running.act, &self.observed, now.mono);
            }
            Some(fault) if fault.class == FaultClass::Transient => {
                let count = self.faults.get(word).map_or(0, |setback| setback.count) + 1;
                let again = now.mono.plus(PAUSES.after(count));
                self.faults.insert(word, Setback { count, again, message: fault.message });
            }
            Some(_) => {}
        }
    }

    /// Decides, and turns the decision into outputs.
    fn step(&mut self, now: Now, outputs: &mut Vec<Output>) -> Next {
        if self.storing.is_some() {
            let why = Explanation::new(Reason::Progressing, "writing the journal");
            return Next::Wait { why, until: None };
        }
        let next = decide(&self.settings, &self.memory, &self.observed, &self.since, now);
        match &next {
            Next::Remember(memory) if self.is_idle_or_stopped(outputs) => {
                self.storing = Some(memory.clone());
                outputs.push(Output::Store(memory.clone()));
            }
            Next::Do(act) if self.running.as_ref().is_some_and(|running| running.act == *act) => {}
            Next::Do(act) if self.is_idle_or_stopped(outputs) => {
                return self.start(now, act.clone(), outputs);
            }
            Next::Wait { until, .. } if self.is_idle_or_stopped(outputs) => {
                outputs.extend(until.map(Output::WakeAt));
            }
            Next::Remember(_) | Next::Do(_) | Next::Wait { .. } => {}
        }
        next
    }

    /// True if no act runs; otherwise the one that runs is stopped where it can be, and awaited.
    fn is_idle_or_stopped(&mut self, outputs: &mut Vec<Output>) -> bool {
        let Some(running) = &mut self.running else { return true };
        if running.act.can_be_stopped() && !running.stopping {
            running.stopping = true;
            outputs.push(Output::Stop(running.id));
        }
        false
    }

    fn start(&mut self, now: Now, act: Act, outputs: &mut Vec<Output>) -> Next {
        if let Some(setback) = self.faults.get(act.word()).filter(|setback| setback.again > now.mono) {
            outputs.push(Output::WakeAt(setback.again));
            let why = Explanation::new(Reason::Retrying, setback.message.clone());
            return Next::Wait { why, until: Some(setback.again) };
        }
        match &act {
            Act::Claim { .. } => self.observed.turn = None,
            Act::Cordon | Act::Drain { .. } => self.observed.drain = None,
            _ => {}
        }
        self.started += 1;
        let id = ActId(self.started);
        self.running = Some(Running { id, act: act.clone(), stopping: false });
        outputs.push(Output::Start(id, act.clone()));
        Next::Do(act)
    }

    fn report(&mut self, now: Now, next: &Next, outputs: &mut Vec<Output>) {
        let setback = self.running.as_ref().and_then(|running| self.faults.get(running.act.word()));
        let Some(mut report) =
            derive(&self.memory, &self.observed, next, setback.map(|setback| setback.message.as_str()))
        else {
            return;
        };
        report.since = self.entered(now.unix, &report);
        if self.told.as_deref() != Some(&report) {
            self.told = Some(Box::new(report.clone()));
            outputs.push(Output::Report(Box::new(report)));
        }
    }

    /// When the phase was entered: a phase that was told before goes on since then.
    fn entered(&self, now: Unix, report: &Report) -> Unix {
        self.told.as_ref().filter(|told| told.phase == report.phase).map_or(now, |told| told.since)
    }
}

#[cfg(test)]
mod tests;
