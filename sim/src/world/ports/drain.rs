//! A drain under way: the production engine, with the simulated API server under it.

use upgrade_core::act::ActResult;
use upgrade_core::agent::ActId;
use upgrade_core::drain::{DrainOptions, Engine, EvictionResponse};
use upgrade_core::observed::{DrainState, Observation, Progress};
use upgrade_core::oracle::{What, Who};
use upgrade_core::time::{Mono, Now, Unix};

use super::Caller;
use crate::fault::Identity;
use crate::schedule::Point;
use crate::world::process::TRAVEL;
use crate::world::{Happening, World};

/// How long a pod takes to end.
pub(in crate::world) const GRACE: u64 = 3_000;

/// The API server has gone away under a drain.
fn cut_off(engine: &Engine, now: Now) -> ActResult {
    let progress = Progress { state: DrainState::CutOff, ..engine.progress(now) };
    let fault = super::transient("the API server does not answer").fault;
    ActResult { observations: vec![Observation::Drain(progress)], fault }
}

impl World {
    pub(super) fn begin_drain(&mut self, caller: &Caller, options: &DrainOptions, until: Mono) {
        let Caller { node, life: number, id: Some(id) } = caller else { return };
        let now = self.clock(node);
        let options = DrainOptions { timeout: until.since(now.mono), ..options.clone() };
        if !self.reaches(node, Identity::Kubelet) {
            return self.reply(caller, cut_off(&Engine::new(options, now), now));
        }
        self.requests(node, 2);
        let Some(life) =
            self.life(node, *number).filter(|life| life.acts.contains_key(id) && life.stopped != Some(*id))
        else {
            return;
        };
        life.drain = Some((*id, Engine::new(options, now), 0));
        self.drains(node, *number, *id);
    }

    /// Asks the engine what to do, and does it.
    pub(in crate::world) fn drains(&mut self, node: &str, number: u64, id: ActId) {
        let clock = self.clock(node);
        let Some(life) = self.life(node, number) else { return };
        let Some((_, engine, wake)) = life.drain.as_mut().filter(|(of, ..)| *of == id) else { return };
        let next = engine.next(clock);
        let progress = engine.progress(clock);
        let known = *wake;
        let due = next.wake.map(|at| life.when(at));
        if let Some((_, _, wake)) = &mut life.drain {
            *wake = due.unwrap_or_default();
        }
        let (name, now) = (node.to_owned(), self.now);
        if progress.state != DrainState::Draining {
            if let Some(life) = self.life(node, number) {
                life.drain = None;
            }
            let caller = Caller { node: name, life: number, id: Some(id) };
            return self.reply(&caller, ActResult::ok(vec![Observation::Drain(progress)]));
        }
        for order in next.evict {
            self.later(
                now + TRAVEL,
                Happening::Evicts { node: name.clone(), life: number, id, pod: order.uid },
            );
        }
        if next.list {
            self.later(now + TRAVEL, Happening::Lists { node: name.clone(), life: number, id });
        }
        if let Some(at) = due.filter(|due| *due != known) {
            self.later(at, Happening::Drains { node: name.clone(), life: number, id });
        }
        self.later(
            now,
            Happening::Saw { node: name, life: number, fact: Box::new(Observation::Drain(progress)) },
        );
    }

    /// Its watch of the pods has broken, and nothing answers.
    pub(in crate::world) fn cuts_drain_off(&mut self, node: &str) {
        let now = self.clock(node);
        let life = self.machines.get_mut(node).and_then(|machine| machine.life.as_mut());
        let Some((life, (id, engine, _))) = life.and_then(|life| Some((life.number, life.drain.take()?)))
        else {
            return;
        };
        let ended = Box::new(cut_off(&engine, now));
        self.later(self.now + TRAVEL, Happening::Answer { node: node.to_owned(), life, id, ended });
    }

    fn drain_of(&mut self, node: &str, number: u64, id: ActId) -> Option<&mut (ActId, Engine, u64)> {
        self.life(node, number)?.drain.as_mut().filter(|(of, ..)| *of == id)
    }

    /// An eviction on its way comes about even if its drain was stopped or its agent died.
    pub(in crate::world) fn evicts(&mut self, node: &str, number: u64, id: ActId, pod: &str) {
        self.requests(node, 1);
        let clock = self.clock(node);
        if !self.reaches(node, Identity::Kubelet) {
            return self.cuts_drain_off(node);
        }
        let answer = self.evict(node, pod);
        let mute = self.machines.get(node).is_some_and(|machine| machine.mute_until > self.now);
        let Some((_, engine, _)) = self.drain_of(node, number, id) else { return };
        let answer = if mute { EvictionResponse::Failed("not answered".to_owned()) } else { answer };
        engine.answer(clock, pod, answer);
        if let Some(step) = self.life(node, number).and_then(|life| life.acts.get(&id).copied()) {
            self.strike_at(node, step, Point::Done);
        }
        self.drains(node, number, id);
    }

    /// The eviction API: budgets first, then whatever webhooks say.
    fn evict(&mut self, node: &str, uid: &str) -> EvictionResponse {
        let now = self.now;
        let Some(pod) = self.api.stored.pods.get(uid) else { return EvictionResponse::Gone };
        if pod.node != node {
            return EvictionResponse::Forbidden(
                "pods is forbidden: no relationship found between node and pod".to_owned(),
            );
        }
        if pod.seen.deletion.is_some() {
            return EvictionResponse::Accepted;
        }
        let budget = self.api.budget(now).filter(|budget| budget.disruptions_allowed <= 0);
        if budget.is_some() || self.api.denied_until > now {
            self.record(node, What::EvictionRefused { pod: uid.to_owned() });
        }
        if let Some(budget) = budget {
            let message = "Cannot evict pod as it would violate the pod's disruption budget.".to_owned();
            return EvictionResponse::Blocked { budget: Some(budget.name), message, retry_after: None };
        }
        if self.api.denied_until > now {
            return EvictionResponse::Failed("admission webhook denied the request".to_owned());
        }
        let ends = Unix(self.unix(node).0 + GRACE / 1_000);
        if let Some(pod) = self.api.stored.pods.get_mut(uid) {
            pod.seen.deletion = Some(ends);
            pod.seen.ready = false;
        }
        self.record(node, What::Evicted { pod: uid.to_owned(), by: Who::Agent(node.to_owned()) });
        self.later(now + GRACE, Happening::PodGone { pod: uid.to_owned() });
        EvictionResponse::Accepted
    }

    /// The drain's watch of its pods shows a change.
    pub(in crate::world) fn tell_drain(&mut self, node: &str) {
        let reaches = self.reaches(node, Identity::Kubelet);
        let clock = self.clock(node);
        let pods = self.pods_of(node, clock.mono).pods;
        let silent = self.machines.get(node).is_some_and(|machine| machine.silent_until > self.now);
        let life = self.machines.get_mut(node).and_then(|machine| machine.life.as_mut());
        let Some(life) = life.filter(|_| reaches && !silent) else { return };
        let number = life.number;
        if let Some((id, engine, _)) = &mut life.drain {
            let id = *id;
            engine.list(clock, &pods);
            self.later(self.now + 40, Happening::Drains { node: node.to_owned(), life: number, id });
        }
    }

    pub(in crate::world) fn lists(&mut self, node: &str, number: u64, id: ActId) {
        self.requests(node, 1);
        if !self.reaches(node, Identity::Kubelet) {
            return self.cuts_drain_off(node);
        }
        let clock = self.clock(node);
        let pods = self.pods_of(node, clock.mono).pods;
        if let Some((_, engine, _)) = self.drain_of(node, number, id) {
            engine.confirmed(clock, &pods);
            self.drains(node, number, id);
        }
    }
}
