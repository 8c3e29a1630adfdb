//! The pacing of evictions: pods and answers in, orders out. No clock, no I/O; the same inputs give the same orders.

use core::time::Duration;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::gate::Gate;
use super::pod::Pod;
use super::{Disposition, DrainOptions, filter};
use crate::api::{Explanation, PassedOver, Reason, text};
use crate::observed::{DrainState, Owner, PodSeen, Progress};
use crate::time::{Mono, Now};

/// How many evictions may await their answer at one time.
pub const MAX_IN_FLIGHT: usize = 16;
/// After so long a fresh LIST is asked for again: the last one failed, or was lost.
const LIST_AGAIN: Duration = Duration::from_secs(10);
/// The least pause between two fresh LISTs, when a watch keeps showing an end that they do not confirm.
const LIST_PAUSE: Duration = Duration::from_secs(1);
/// A fresh LIST at least so often, because a watch can go quiet for hours without breaking.
const LIST_AT_LEAST: Duration = Duration::from_mins(1);
/// So many times a controller's pods are evicted again after it put new ones onto the cordoned node.
const MAX_ROUNDS: u32 = 3;
/// So many pods are named in a message.
const NAMED: usize = 10;

/// An eviction to send, with the UID as its precondition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Eviction {
    /// The pod's UID.
    pub uid: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// What the API server said to one eviction. Every order is answered once, also when nothing came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EvictionResponse {
    /// 2xx: the pod is terminating.
    Accepted,
    /// 404, or the UID precondition failed: this pod is gone.
    Gone,
    /// 403 that no budget explains: to a kubelet a pod that is gone is forbidden, and so is what it may not do. The
    /// whole chain of causes, for the case that a fresh list still shows the pod.
    Forbidden(String),
    /// 429 with the cause `DisruptionBudget`.
    Blocked {
        /// The budget, where the server names it.
        budget: Option<String>,
        /// The server's words.
        message: String,
        /// Its Retry-After.
        retry_after: Option<Duration>,
    },
    /// 429 without that cause: the server has too much to do.
    Busy {
        /// Its Retry-After.
        retry_after: Option<Duration>,
    },
    /// Everything else, including no answer: the whole chain of causes.
    Failed(String),
}

/// What to do now.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Next {
    /// Evictions to send. Answer each with [`Engine::answer`].
    pub evict: Vec<Eviction>,
    /// Whether a fresh LIST is wanted. Answer with [`Engine::confirmed`]; a LIST that fails needs no answer.
    pub list: bool,
    /// Ask again at this moment at the latest; none once the drain has ended.
    pub wake: Option<Mono>,
}

/// One drain, from its first list to its end. An ended drain stays as it ended.
#[derive(Debug, Clone)]
pub struct Engine {
    options: DrainOptions,
    deadline: Mono,
    state: DrainState,
    /// What has to go, by UID, as of the last list.
    pods: BTreeMap<String, Pod>,
    /// Orders without an answer. Kept beside `pods`, because a pod can vanish from a list before its answer comes.
    in_flight: BTreeSet<String>,
    /// Pods that must not be evicted: with one of them nothing is, as in `kubectl drain`.
    refusals: Vec<String>,
    /// Pods left here, by UID.
    passed_over: BTreeMap<String, PassedOver>,
    /// The budgets that have refused a pod.
    gates: BTreeMap<BudgetKey, Gate>,
    /// The budget that last refused a pod of this controller, of those that are Ready or of those that are not.
    over: BTreeMap<(OwnerKey, bool), BudgetKey>,
    /// How often each controller's pods were evicted and new ones came.
    rounds: BTreeMap<OwnerKey, u32>,
    /// When a pod was last seen to have gone, or agreed to.
    progressed: Mono,
    /// Whether any eviction was accepted.
    evicted: bool,
    /// When the last fresh LIST was taken in.
    confirmed: Option<Mono>,
    /// When a fresh LIST was asked for that has not come yet.
    asked: Option<Mono>,
}

/// A controller: namespace, kind and name.
pub(super) type OwnerKey = (String, String, String);
/// A disruption budget: namespace and name, and whether it is asked for Ready pods. Others may go where those may not
/// (`unhealthyPodEvictionPolicy`).
pub(super) type BudgetKey = (String, String, bool);

impl Engine {
    /// Begins a drain now. With draining switched off it has ended already.
    pub fn new(options: DrainOptions, now: Now) -> Self {
        let state = if options.enabled { DrainState::Draining } else { DrainState::Drained };
        Self {
            deadline: now.mono.plus(options.timeout),
            options,
            state,
            pods: BTreeMap::new(),
            in_flight: BTreeSet::new(),
            refusals: Vec::new(),
            passed_over: BTreeMap::new(),
            gates: BTreeMap::new(),
            over: BTreeMap::new(),
            rounds: BTreeMap::new(),
            progressed: now.mono,
            evicted: false,
            confirmed: None,
            asked: None,
        }
    }

    /// Takes in all pods of this node as a watch shows them. What it shows may be old, so it ends nothing.
    pub fn list(&mut self, now: Now, pods: &[PodSeen]) {
        self.expire(now);
        if self.state == DrainState::Draining {
            self.take(now, pods);
        }
    }

    /// Takes in all pods of this node from a consistent LIST: only this ends a drain before its time.
    pub fn confirmed(&mut self, now: Now, pods: &[PodSeen]) {
        self.expire(now);
        if self.state != DrainState::Draining {
            return;
        }
        self.asked = None;
        self.confirmed = Some(now.mono);
        self.take(now, pods);
        self.pods.values_mut().for_each(|pod| pod.stands_after_all(now));
        if !self.refusals.is_empty() {
            self.state = DrainState::GivenUp(Explanation::new(
                Reason::DrainBlocked,
                text::some_of(NAMED, "; ", &self.refusals),
            ));
        } else if self.pods.is_empty() {
            self.state = DrainState::Drained;
        }
    }

    /// The watch broke: what it would have shown, a fresh list must.
    pub fn lost_sight(&mut self) {
        self.confirmed = None;
    }

    /// Replaces what has to go by what this list holds; what is known of a pod stays with its UID.
    fn take(&mut self, now: Now, listed: &[PodSeen]) {
        let mut before = std::mem::take(&mut self.pods);
        self.refusals.clear();
        self.passed_over.clear();
        for seen in listed {
            let sorted = filter(seen, &self.options, now.unix);
            match &sorted {
                Disposition::Skip(_) => continue,
                Disposition::Overdue(why) => {
                    self.pass_over(seen, why);
                    continue;
                }
                Disposition::Error(text) => {
                    self.refusals.push(text.clone());
                    continue;
                }
                Disposition::Evict | Disposition::Terminating => {}
            }
            let pod = before.remove(&seen.uid).unwrap_or_else(|| self.new_pod(now, seen));
            if pod.round >= MAX_ROUNDS && sorted == Disposition::Evict {
                self.pass_over(
                    seen,
                    "its controller puts it back onto the cordoned node: it tolerates the cordon",
                );
            } else {
                self.pods.insert(seen.uid.clone(), pod.seen_again(seen));
            }
        }
        self.refusals.sort();
        if !before.is_empty() {
            self.progressed = now.mono;
        }
    }

    fn pass_over(&mut self, seen: &PodSeen, why: &str) {
        let pod = format!("{}/{}", seen.namespace, seen.name);
        self.passed_over.insert(seen.uid.clone(), PassedOver { pod, why: why.to_owned() });
    }

    fn new_pod(&self, now: Now, seen: &PodSeen) -> Pod {
        let owner = seen.controller.as_ref().map(|owner| key(&seen.namespace, owner));
        let round = owner.as_ref().and_then(|owner| self.rounds.get(owner)).copied().unwrap_or_default();
        Pod::new(now, seen, owner, round)
    }

    /// Takes in the answer to an order; one that was not awaited changes nothing.
    pub fn answer(&mut self, now: Now, uid: &str, answer: EvictionResponse) {
        self.expire(now);
        if !self.in_flight.remove(uid) {
            return;
        }
        let Some(pod) = self.pods.get(uid) else { return };
        let gate = self.gate_of(pod);
        let Some(pod) = self.pods.get_mut(uid) else { return };
        if let EvictionResponse::Blocked { budget: Some(budget), retry_after, .. } = &answer {
            let key = pod.key_of(budget);
            if let Some(owner) = &pod.owner {
                self.over.insert((owner.clone(), pod.ready), key.clone());
            }
            self.gates.entry(key).or_default().refused(now.mono, *retry_after);
        }
        if answer == EvictionResponse::Accepted {
            self.progressed = now.mono;
            self.evicted = true;
            if let Some(gate) = gate.and_then(|key| self.gates.get_mut(&key)) {
                gate.let_go(now.mono);
            }
            if let Some(owner) = &pod.owner {
                let round = self.rounds.entry(owner.clone()).or_default();
                *round = (*round).max(pod.round + 1);
            }
        }
        pod.answer(now, answer);
    }

    /// The budget a pod has to wait for: the one that refused it, or its controller's other pods, for they carry the same
    /// labels.
    fn gate_of(&self, pod: &Pod) -> Option<BudgetKey> {
        let others = || Some(self.over.get(&(pod.owner.clone()?, pod.ready))?.clone());
        pod.budget().or_else(others)
    }

    /// What to do now. Ask after every list and answer, and when the moment of the last [`Next::wake`] has come.
    pub fn next(&mut self, now: Now) -> Next {
        self.expire(now);
        if self.state != DrainState::Draining {
            return Next::default();
        }
        let list = self.list_due(now) <= now.mono;
        if list {
            self.asked = Some(now.mono);
        }
        let evict = self.orders(now);
        self.in_flight.extend(evict.iter().map(|order| order.uid.clone()));
        Next { evict, list, wake: Some(self.wake(now)) }
    }

    /// The pods that are due, those never refused first, because a blocked one holds up nobody; of several the
    /// slowest to stop first, because the drain is over when the last has stopped. Of those that wait for one budget
    /// the one that has not asked for longest asks for all.
    fn orders(&self, now: Now) -> Vec<Eviction> {
        if !self.refusals.is_empty() {
            return Vec::new();
        }
        let mut asked: BTreeSet<BudgetKey> =
            self.in_flight.iter().filter_map(|uid| self.gate_of(self.pods.get(uid)?)).collect();
        let held = self.critical_wait();
        let due = self.waiting().filter(|(_, pod)| !(held && pod.critical));
        let due = due.filter(|(_, pod)| self.due(pod).is_some_and(|at| at <= now.mono));
        let in_turn: BTreeMap<_, _> = due
            .map(|(uid, pod)| {
                let slowest = Reverse(self.options.grace_period.map_or(pod.grace, u64::from));
                ((pod.is_refused(), pod.due(), slowest, &pod.namespace, &pod.name, uid), pod)
            })
            .collect();
        let in_turn = in_turn.into_iter().map(|((.., uid), pod)| (uid, pod));
        let in_turn = in_turn.filter(|(_, pod)| self.gate_of(pod).is_none_or(|key| asked.insert(key)));
        let order = |(uid, pod): (&String, &Pod)| Eviction {
            uid: uid.clone(),
            namespace: pod.namespace.clone(),
            name: pod.name.clone(),
        };
        in_turn.take(MAX_IN_FLIGHT.saturating_sub(self.in_flight.len())).map(order).collect()
    }

    /// When this pod is to be evicted; none while it is going or gone.
    fn due(&self, pod: &Pod) -> Option<Mono> {
        let gate = self.gate_of(pod).and_then(|key| self.gates.get(&key));
        pod.due().map(|at| gate.map_or(at, |gate| at.max(gate.due())))
    }

    /// Whether the system's critical pods wait for others to be gone.
    fn critical_wait(&self) -> bool {
        self.options.critical_last && self.pods.values().any(|pod| !pod.critical)
    }

    fn waiting(&self) -> impl Iterator<Item = (&String, &Pod)> {
        self.pods.iter().filter(|(uid, _)| !self.in_flight.contains(*uid))
    }

    /// When a fresh LIST is wanted.
    fn list_due(&self, now: Now) -> Mono {
        let over = self.left(now) == 0 || !self.refusals.is_empty();
        let wanted = match self.confirmed {
            None => Mono(0),
            Some(at) => at.plus(if over { LIST_PAUSE } else { LIST_AT_LEAST }),
        };
        self.asked.map_or(wanted, |asked| wanted.max(asked.plus(LIST_AGAIN)))
    }

    /// The next moment at which time alone changes something.
    fn wake(&self, now: Now) -> Mono {
        let retries = self.waiting().filter_map(|(_, pod)| self.due(pod));
        let skips = self.pods.values().filter_map(|pod| pod.skipped_from(&self.options, now));
        let stuck = self.stuck_from(now);
        let moments = retries.chain(skips).chain(stuck).filter(|at| *at > now.mono);
        moments.chain([self.list_due(now)]).min().unwrap_or(self.deadline).min(self.deadline)
    }

    /// How the drain stands.
    pub fn progress(&self, now: Now) -> Progress {
        let mut blocked: Vec<_> = self.pods.values().filter_map(Pod::blocked).collect();
        blocked.sort_by(|left, right| left.pod.cmp(&right.pod));
        Progress {
            at: now.mono,
            left: self.left(now),
            blocked,
            passed_over: self.passed_over.values().cloned().collect(),
            evicted: self.evicted,
            state: self.overdue(now).map_or_else(|| self.state.clone(), DrainState::GivenUp),
        }
    }

    fn left(&self, now: Now) -> usize {
        self.pods.values().filter(|pod| pod.is_left(&self.options, now)).count()
    }

    fn expire(&mut self, now: Now) {
        if let Some(trouble) = self.overdue(now) {
            self.state = DrainState::GivenUp(trouble);
        }
    }

    /// The moment from which on the drain counts as stuck: nothing went for long, and no pod is within its grace.
    fn stuck_from(&self, now: Now) -> Option<Mono> {
        let patience = Some(self.options.no_progress_timeout).filter(|patience| !patience.is_zero())?;
        let grace = self.pods.values().filter_map(|pod| pod.grace_ends(now)).max();
        Some(grace.map_or(self.progressed, |end| end.max(self.progressed)).plus(patience))
    }

    /// Why the drain is given up, if its time is over or nothing goes any more.
    fn overdue(&self, now: Now) -> Option<Explanation> {
        if self.state != DrainState::Draining {
            return None;
        }
        let (how_long, key) = if now.mono >= self.deadline {
            (format!("after {} s", self.options.timeout.as_secs()), "timeout")
        } else if self.stuck_from(now).is_some_and(|stuck| stuck <= now.mono) {
            (
                format!("after {} s in which none went", self.options.no_progress_timeout.as_secs()),
                "no-progress-timeout",
            )
        } else {
            return None;
        };
        let mut left: Vec<_> =
            self.pods.values().map(|pod| (!pod.is_blocked_by_budget(), pod.why_left(now))).collect();
        left.sort();
        let (reason, advice) = match left.first() {
            Some((false, _)) => {
                (Reason::DrainBlocked, "give their budgets room, for instance with another replica")
            }
            Some((true, _)) | None => (Reason::DrainTimedOut, "see why they do not end"),
        };
        let pods: Vec<_> = left.into_iter().map(|(_, why)| why).collect();
        let message = if pods.is_empty() {
            format!("the API server gave no fresh list of this node's pods {how_long} of the drain")
        } else {
            format!(
                "still here {how_long}: {}; {advice}, or raise {key} in [drain]",
                text::some_of(NAMED, ", ", &pods)
            )
        };
        Some(Explanation::new(reason, message))
    }
}

fn key(namespace: &str, owner: &Owner) -> OwnerKey {
    (namespace.to_owned(), owner.kind.clone(), owner.name.clone())
}
