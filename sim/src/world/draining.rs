//! A drain under way: the production engine, with the simulated API server under it.

use upgrade_core::act::Ended;
use upgrade_core::agent::ActId;
use upgrade_core::drain::{Answer, DrainOptions, DrainState, Engine};
use upgrade_core::oracle::{What, Who};
use upgrade_core::seen::Fact;
use upgrade_core::time::Unix;

use super::{Happening, Point, World};

/// How long a pod takes to end.
const GRACE: u64 = 3_000;

impl World {
    pub(super) fn begin_drain(
        &mut self,
        node: &str,
        number: u64,
        id: ActId,
        options: &DrainOptions,
        until: Unix,
    ) {
        let now = self.clock(node);
        let options = DrainOptions { timeout: until.since(now.unix), ..options.clone() };
        let Some(life) = self.life(node, number).filter(|life| life.acts.contains_key(&id)) else { return };
        life.drain = Some((id, Engine::new(options, now), 0));
        self.drains(node, number, id);
    }

    /// Asks the engine what to do, and does it.
    pub(super) fn drains(&mut self, node: &str, number: u64, id: ActId) {
        let clock = self.clock(node);
        let began = self.life(node, number).map_or(0, |life| life.began);
        let Some((_, engine, wake)) = self.drain_of(node, number, id) else { return };
        let next = engine.next(clock);
        let progress = engine.progress(clock);
        let due = next.wake.map(|at| began + at.0.saturating_sub(1_000));
        let again = due.filter(|due| *due != *wake);
        *wake = due.unwrap_or_default();
        let (name, now) = (node.to_owned(), self.now);
        if progress.state != DrainState::Draining {
            if let Some(life) = self.life(node, number) {
                life.drain = None;
            }
            return self.reply(node, number, id, Ended::well(vec![Fact::Drain(progress)]));
        }
        for order in next.evict {
            self.later(now + 20, Happening::Evicts { node: name.clone(), life: number, id, pod: order.uid });
        }
        if next.list {
            self.later(now + 20, Happening::Lists { node: name.clone(), life: number, id });
        }
        if let Some(at) = again {
            self.later(at, Happening::Drains { node: name.clone(), life: number, id });
        }
        self.later(now, Happening::Saw { node: name, life: number, fact: Box::new(Fact::Drain(progress)) });
    }

    fn drain_of(&mut self, node: &str, number: u64, id: ActId) -> Option<&mut (ActId, Engine, u64)> {
        self.life(node, number)?.drain.as_mut().filter(|(of, ..)| *of == id)
    }

    /// An eviction on its way comes about even if its drain was stopped or its agent died.
    pub(super) fn evicts(&mut self, node: &str, number: u64, id: ActId, pod: &str) {
        let (clock, unix) = (self.clock(node), self.unix());
        let answer = if self.reaches_api(node) {
            self.evict(node, pod, unix)
        } else {
            Answer::Failed("the API server does not answer".to_owned())
        };
        let mute = self.machines.get(node).is_some_and(|machine| machine.mute_until > self.now);
        if let Some((_, engine, _)) = self.drain_of(node, number, id) {
            let answer = if mute { Answer::Failed("not answered".to_owned()) } else { answer };
            engine.answer(clock, pod, answer);
            let step = self.life(node, number).and_then(|life| life.acts.get(&id).copied());
            if !step.is_some_and(|step| self.cut(node, step, Point::Done)) {
                self.drains(node, number, id);
            }
        }
    }

    fn evict(&mut self, node: &str, uid: &str, unix: Unix) -> Answer {
        if self.api.blocked_until > self.now {
            let message = "Cannot evict pod as it would violate the pod's disruption budget.".to_owned();
            return Answer::Blocked { budget: Some("web".to_owned()), message, retry_after: None };
        }
        let Some(pod) = self.api.pods.get_mut(uid) else { return Answer::Gone };
        if pod.seen.deletion.is_none() {
            pod.seen.deletion = Some(Unix(unix.0 + GRACE / 1000));
            let bound = pod.node.clone();
            self.record(&bound, What::Evicted { pod: uid.to_owned(), by: Who::Agent(node.to_owned()) });
            self.later(self.now + GRACE, Happening::PodGone { pod: uid.to_owned() });
        }
        Answer::Accepted
    }

    /// The drain's watch of its pods shows a change.
    pub(super) fn tell_drain(&mut self, node: &str) {
        let reaches = self.reaches_api(node);
        let clock = self.clock(node);
        let pods = self.pods_of(node, clock.mono).pods;
        let life = self.machines.get_mut(node).and_then(|machine| machine.life.as_mut());
        let Some(life) = life.filter(|_| reaches) else { return };
        let number = life.number;
        if let Some((id, engine, _)) = &mut life.drain {
            let id = *id;
            engine.list(clock, &pods);
            self.later(self.now + 40, Happening::Drains { node: node.to_owned(), life: number, id });
        }
    }

    pub(super) fn lists(&mut self, node: &str, number: u64, id: ActId) {
        if !self.reaches_api(node) {
            return;
        }
        let clock = self.clock(node);
        let pods = self.pods_of(node, clock.mono).pods;
        if let Some((_, engine, _)) = self.drain_of(node, number, id) {
            engine.confirmed(clock, &pods);
            self.drains(node, number, id);
        }
    }
}
