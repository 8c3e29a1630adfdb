//! Inputs to outputs: takes observations in, asks [`crate::decide`], stores before it acts, and runs one act at a time.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::act::{Act, ActResult, FaultClass};
use crate::api::{Explanation, Phase, Reason, Report};
use crate::backoff::Pauses;
use crate::decide::report::{derive, gives_way};
use crate::decide::{Next, Settings, decide, mark, renew};
use crate::memory::{Direction, Memory, Step, Turn};
use crate::observed::{LeaseSeen, NodeSeen, Observation, Observed};
use crate::since::Since;
use crate::time::{Mono, Now, Unix};

/// Names one start of one act.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ActId(pub u64);

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "each is taken in at once")]
pub enum Input {
    /// Something was observed.
    Observed(Observation),
    /// The memory last handed out is durable.
    Stored,
    /// It could not be made durable, for this.
    NotStored(String),
    /// An act ended, by itself or because it was stopped.
    Ended(ActId, ActResult),
    /// A moment asked for by [`Output::WakeAt`] has come, or the agent has just started.
    Tick,
}

/// What to do now, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Make this durable, then say [`Input::Stored`], or [`Input::NotStored`]. No act runs meanwhile.
    Store(Box<Memory>),
    /// Start this act; say [`Input::Ended`] when it ends.
    Start(ActId, Act),
    /// Stop this act; it still ends with [`Input::Ended`].
    Stop(ActId),
    /// Watch what agents share (Leases, control-plane Nodes, the policy), or no longer; the own Node is watched always.
    Watch(bool),
    /// Tell people.
    Report(Box<Report>),
    /// Say [`Input::Tick`] at this moment; a later one replaces it.
    WakeAt(Mono),
}

/// Pauses after transient faults, in the middle of a turn and without one: a node that only waits asks no more often than it looks.
const FAULTS: Pauses = Pauses { first: Duration::from_secs(1), factor: 2, cap: Duration::from_mins(1) };
const IDLE_FAULTS: Pauses = Pauses { cap: Duration::from_mins(5), ..FAULTS };

/// Stands among the acts that failed for the journal.
const STORE: &str = "store";

/// A Node that does not show what was told so long ago shows something else. A watch may lag.
const TOLD: Duration = Duration::from_mins(1);

/// A Node that was not told for so long.
const SILENCE: Duration = Duration::from_secs(30);

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
    watches: bool,
    shown: Option<Next>,
    told: Option<Box<Report>>,
    told_at: Mono,
    /// What was told has to be told once more, for the Node does not show it.
    tells_again: bool,
    /// Whether the Node has shown it since.
    is_shown: bool,
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
            watches: false,
            shown: None,
            told: None,
            told_at: Mono::default(),
            tells_again: false,
            is_shown: false,
        }
    }

    /// What is remembered: durable, except while a [`Output::Store`] is under way.
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// What runs beside the acts, once a minute; its answer is fed in as an observation. Where the Lease is ours it is renewed, so
    /// that people see that the holder lives. A tool that runs on after an etcd restored from a backup has lost mark and Lease gets
    /// both again, for they keep the peers away.
    pub fn heartbeat(&self) -> Option<Act> {
        let turn = self.memory.turn.as_ref()?;
        if turn.reached == Step::Releasing || matches!(turn.direction, Direction::Back(_)) {
            return None;
        }
        let runs = self.running.as_ref().is_some_and(|running| running.act.runs_a_tool());
        let mark = mark(turn, self.observed.lease.as_ref());
        let unmarked = self.observed.node.as_ref().is_some_and(|node| node.in_hand.as_ref() != Some(&mark));
        match self.observed.lease {
            Some(LeaseSeen::Held { .. } | LeaseSeen::Free) if runs && unmarked => Some(Act::Mark { mark }),
            Some(LeaseSeen::Held { .. }) => Some(renew(turn)),
            Some(LeaseSeen::Free) if runs => {
                Some(Act::Claim { lease: turn.lease, holder: turn.holder.clone() })
            }
            Some(LeaseSeen::Free | LeaseSeen::Other(_)) | None => None,
        }
    }

    /// Takes one input in and says what follows.
    pub fn on(&mut self, now: Now, input: Input) -> Vec<Output> {
        self.since.passed(now);
        match input {
            Input::Observed(observation) => {
                self.recovered(&observation, now);
                self.take(&observation, now);
            }
            Input::Stored => self.stored(now),
            Input::NotStored(why) => {
                let message = format!(
                    "the journal cannot be written, and nothing is done that is not remembered: {why}"
                );
                self.failed(STORE, message, FAULTS, now);
            }
            Input::Ended(id, ended) => self.ended(now, id, ended),
            Input::Tick => {}
        }
        let mut outputs = Vec::new();
        let next = self.step(now, &mut outputs);
        let waits = match &next {
            Next::Wait { why, .. } if self.memory.turn.is_none() => Some(why.reason),
            Next::Wait { .. } | Next::Remember(_) => None,
            // What is looked at for the sake of a wait does not end it.
            Next::Do(_) => self.since.waits_for(),
        };
        self.since.waits(waits.filter(|reason| !matches!(reason, Reason::Retrying | Reason::Idle)), now);
        self.watch(&mut outputs);
        self.report(now, &next, &mut outputs);
        outputs
    }

    fn take(&mut self, observation: &Observation, now: Now) {
        let restored_at = self.since.restored_at;
        self.observed.take(observation.clone(), now.mono);
        self.since.observed(observation, &self.observed, now);
        if self.since.restored_at != restored_at {
            // What was told is gone with the newer state.
            self.told = None;
        }
        if let Observation::Node(Some(node)) = observation {
            self.look_for_what_was_told(node, now);
        }
    }

    /// A Node that shows something else than what was told comes from an etcd that was put back, whatever its revision, or somebody has
    /// changed it. What never stood there may still come.
    fn look_for_what_was_told(&mut self, node: &NodeSeen, now: Now) {
        if !self.is_told_otherwise(node) {
            self.is_shown = self.told.is_some();
        } else if std::mem::take(&mut self.is_shown) {
            self.since.put_back(now);
            self.tells_again = true;
        } else {
            self.tells_again |= now.mono.since(self.told_at) > TOLD;
        }
    }

    /// Whether the Node says something else than was told last.
    fn is_told_otherwise(&self, node: &NodeSeen) -> bool {
        let shown = node.status.as_deref().and_then(|text| serde_json::from_str::<Report>(text).ok());
        let says = |told: &Report| {
            shown.as_ref().is_some_and(|shown| (shown.phase, shown.reason) == (told.phase, told.reason))
        };
        self.told.as_deref().is_some_and(|told| !says(told))
    }

    /// A drain that tells something has got over what stopped it before. A Node that is told again after a silence shows an API
    /// server that answers: what failed is asked at once.
    fn recovered(&mut self, observation: &Observation, now: Now) {
        match (observation, &self.running) {
            (Observation::Drain(_), Some(running)) => {
                self.faults.remove(running.act.word());
            }
            (Observation::Node(Some(_)), _) if now.mono.since(self.observed.node_at) > SILENCE => {
                self.faults.values_mut().for_each(|setback| setback.again = now.mono);
            }
            _ => {}
        }
    }

    fn stored(&mut self, now: Now) {
        self.faults.remove(STORE);
        let Some(memory) = self.storing.take() else { return };
        let (before, after) = (self.memory.turn.as_ref(), memory.turn.as_ref());
        let id = |turn: Option<&Turn>| turn.map(|turn| turn.holder.turn.clone());
        // Another turn has another Lease to prove, and one that is or was degraded another mark to write.
        let mark = |turn: Option<&Turn>| turn.is_some_and(|turn| turn.degraded.is_some());
        if id(before) != id(after) || mark(before) != mark(after) {
            self.observed.lease = None;
            self.observed.drain = None;
        }
        // What has changed on the host is told relative to a turn's copy.
        if id(before) != id(after) {
            self.observed.host = None;
        }
        let refused = memory.refused.is_some() && memory.refused != self.memory.refused;
        if let Some(turn) = before.filter(|_| after.is_none()) {
            let gave_way = matches!(&turn.direction, Direction::Back(why) if gives_way(why.reason));
            let untouched = turn.reached <= Step::Claiming;
            let is_stale =
                matches!(&turn.direction, Direction::Back(why) if why.reason == Reason::PreflightPending);
            if !(untouched && gave_way) || is_stale {
                self.observed.preflight = None;
            }
            self.since.turn_ended(gave_way, now);
        }
        // A refusal is answered by a person who changed something: whoever asks again is told how it is then.
        if refused {
            self.observed.preflight = None;
        }
        self.memory = *memory;
    }

    fn ended(&mut self, now: Now, id: ActId, ended: ActResult) {
        let Some(running) = self.running.take_if(|running| running.id == id) else { return };
        let word = running.act.word();
        if ended.fault.is_some() {
            self.since.may_have_done(&running.act);
            self.observed.host = self.observed.host.take().filter(|_| !running.act.changes_host());
        }
        for observation in &ended.observations {
            self.take(observation, now);
        }
        match ended.fault {
            None => {
                self.faults.remove(word);
                self.since.did(&running.act, &self.observed, now);
            }
            Some(fault) if fault.class == FaultClass::Transient => {
                let pauses = if self.memory.turn.is_some() { FAULTS } else { IDLE_FAULTS };
                self.failed(word, fault.message, pauses, now);
            }
            Some(_) => {}
        }
    }

    fn failed(&mut self, word: &'static str, message: String, pauses: Pauses, now: Now) {
        let count = self.faults.get(word).map_or(0, |setback| setback.count) + 1;
        self.faults.insert(word, Setback { count, again: now.mono.plus(pauses.after(count)), message });
    }

    /// Decides, and turns the decision into outputs.
    fn step(&mut self, now: Now, outputs: &mut Vec<Output>) -> Next {
        if let Some(memory) = self.storing.clone() {
            return self.stores(memory, now, outputs);
        }
        let next = decide(&self.settings, &self.memory, &self.observed, &self.since, now);
        match &next {
            Next::Remember(memory) if self.is_idle_or_stopped(outputs) => {
                self.storing = Some(memory.clone());
                outputs.push(Output::Store(memory.clone()));
            }
            Next::Do(act) if self.running.as_ref().is_some_and(|running| running.act == *act) => {}
            // A preflight may take longer than what it began from stays fresh: begun anew each time it would never end.
            Next::Do(act) if act.is_look() && self.runs_preflight() => {}
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

    /// Waits until the memory is durable; what could not be written is handed out again after a pause.
    fn stores(&mut self, memory: Box<Memory>, now: Now, outputs: &mut Vec<Output>) -> Next {
        let Some(setback) = self.faults.get_mut(STORE) else {
            return Next::Wait {
                why: Explanation::new(Reason::Progressing, "writing the journal"),
                until: None,
            };
        };
        if setback.again <= now.mono {
            outputs.push(Output::Store(memory));
            // Until its answer comes.
            setback.again = now.mono.plus(FAULTS.cap);
        }
        outputs.push(Output::WakeAt(setback.again));
        let why = Explanation::new(Reason::Retrying, setback.message.clone());
        Next::Wait { why, until: Some(setback.again) }
    }

    fn runs_preflight(&self) -> bool {
        self.running.as_ref().is_some_and(|running| matches!(running.act, Act::Preflight { .. }))
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
        if matches!(act, Act::Cordon { .. } | Act::Drain { .. }) {
            self.observed.drain = None;
        }
        self.started += 1;
        let id = ActId(self.started);
        self.running = Some(Running { id, act: act.clone(), stopping: false });
        outputs.push(Output::Start(id, act.clone()));
        Next::Do(act)
    }

    /// A node with a target that it has not reached, or in the middle of a turn, watches what agents share.
    fn watch(&mut self, outputs: &mut Vec<Output>) {
        let wanted = self
            .observed
            .node
            .as_ref()
            .is_some_and(|node| node.request.wanted().is_some_and(|target| node.current != Some(target)));
        let usable = matches!(self.observed.access, crate::observed::Access::Usable { .. });
        let watches = usable && (wanted || self.memory.turn.is_some());
        if std::mem::replace(&mut self.watches, watches) != watches {
            outputs.push(Output::Watch(watches));
        }
    }

    fn report(&mut self, now: Now, next: &Next, outputs: &mut Vec<Output>) {
        let setback = self.running.as_ref().and_then(|running| self.faults.get(running.act.word()));
        let setback = setback.map(|setback| setback.message.as_str());
        // What is looked at or published on the way changes nothing of what is waited for.
        if !self.is_on_the_way(next) || self.shown.is_none() {
            self.shown = Some(next.clone());
        }
        let shown = self.shown.as_ref().unwrap_or(next);
        let Some(mut report) = derive(&self.memory, &self.observed, shown, setback) else { return };
        report.since = self.since(now.unix, &report);
        if self.told.as_deref() != Some(&report) || std::mem::take(&mut self.tells_again) {
            (self.told, self.told_at) = (Some(Box::new(report.clone())), now.mono);
            self.is_shown = false;
            outputs.push(Output::Report(Box::new(report)));
        }
    }

    fn is_on_the_way(&self, next: &Next) -> bool {
        // The reason of a wait stands also while preflight is made once more for it.
        let waits = |shown: &Next| matches!(shown, Next::Wait { why, .. } if why.reason.is_awaited());
        match next {
            Next::Do(Act::Preflight { .. }) => self.shown.as_ref().is_some_and(waits),
            Next::Do(Act::PublishApiServer { .. } | Act::PublishCurrent { .. }) => true,
            Next::Do(act) => act.is_look(),
            Next::Remember(_) | Next::Wait { .. } => false,
        }
    }

    /// Since when this is said: a phase and a reason that were told before go on since then.
    fn since(&self, now: Unix, report: &Report) -> Unix {
        // A second refusal answers something else.
        let answers = matches!(report.phase, Phase::Refused | Phase::Degraded);
        let same = |told: &&Report| {
            let alike = told.phase == report.phase && told.reason == report.reason;
            alike && (!answers || told.message == report.message)
        };
        self.told.as_deref().filter(same).map_or(now, |told| told.since)
    }
}

#[cfg(test)]
mod tests;
