//! The pacing of evictions: pods and answers in, orders out. No clock, no I/O; the same inputs give the same orders.

use std::collections::{BTreeMap, BTreeSet};

use super::{Blocked, DrainOptions, DrainState, Progress, Sort, sort};
use crate::job::{Reason, Trouble};
use crate::seen::{Owner, PodSeen};
use crate::time::{Mono, Now, Unix};

/// How many evictions may await their answer at one time.
pub const MAX_IN_FLIGHT: usize = 16;
/// The pause before a refused eviction is tried again, as in `kubectl drain`; doubled with each refusal.
const FIRST_PAUSE: u64 = 5_000;
/// The longest pause of our own; the server may ask for a longer one.
const LONGEST_PAUSE: u64 = 30_000;
/// After so long a fresh LIST is asked for again: the last one failed, or was lost.
const LIST_AGAIN: u64 = 10_000;
/// The least pause between two fresh LISTs, when a watch keeps showing an end that they do not confirm.
const LIST_PAUSE: u64 = 1_000;
/// A fresh LIST at least so often, because a watch can go quiet for hours without breaking.
const LIST_AT_LEAST: u64 = 60_000;
/// An accepted eviction shows as a deletion time within seconds; if it does not for so long, it is asked for again.
const ACCEPTED_MUST_SHOW: u64 = 60_000;
/// So many times a controller's pods are evicted again after it put new ones onto the cordoned node.
const MAX_ROUNDS: u32 = 3;
/// So many pods are named in a message.
const NAMED: usize = 10;

/// An eviction to send, with the UID as its precondition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// The pod's UID.
    pub uid: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// What the API server said to one eviction. Every order is answered once, also when nothing came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// 2xx: the pod is terminating.
    Accepted,
    /// 404, or the UID precondition failed: this pod is gone.
    Gone,
    /// 429 with the cause `DisruptionBudget`.
    Blocked {
        /// The budget, where the server names it.
        budget: Option<String>,
        /// The server's words.
        message: String,
        /// Its Retry-After, in milliseconds.
        retry_after: Option<u64>,
    },
    /// 429 without that cause: the server has too much to do.
    Busy {
        /// Its Retry-After, in milliseconds.
        retry_after: Option<u64>,
    },
    /// Everything else, including no answer: the whole chain of causes.
    Failed(String),
}

/// What to do now.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Next {
    /// Evictions to send. Answer each with [`Engine::answer`].
    pub evict: Vec<Order>,
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
    /// Pods left here because they come back, by UID, as `namespace/name`.
    returning: BTreeMap<String, String>,
    /// How often each controller's pods were evicted and new ones came.
    rounds: BTreeMap<OwnerKey, u32>,
    /// When the last fresh LIST was taken in.
    confirmed: Option<Mono>,
    /// When a fresh LIST was asked for that has not come yet.
    asked: Option<Mono>,
}

/// A controller: namespace, kind and name.
type OwnerKey = (String, String, String);

#[derive(Debug, Clone)]
struct Pod {
    namespace: String,
    name: String,
    owner: Option<OwnerKey>,
    /// Its deletion time, as of the last list.
    deletion: Option<Unix>,
    /// Which time round its controller put it here.
    round: u32,
    standing: Standing,
    /// Refusals of its eviction in a row.
    refusals: u32,
    /// The last refusal, kept while the next try is under way.
    blocked: Option<Block>,
}

#[derive(Debug, Clone)]
enum Standing {
    /// To be evicted, not before this moment.
    Due(Mono),
    /// The eviction was accepted at this moment.
    Accepted(Mono),
    /// The server said that it is gone; the next fresh LIST must agree.
    Gone,
}

#[derive(Debug, Clone)]
struct Block {
    by_budget: bool,
    budget: Option<String>,
    message: String,
}

impl Engine {
    /// Begins a drain now. With draining switched off it has ended already.
    pub fn new(options: DrainOptions, now: Now) -> Self {
        let state = if options.enabled { DrainState::Draining } else { DrainState::Drained };
        Self {
            deadline: now.mono.plus(options.timeout.saturating_mul(1000)),
            options,
            state,
            pods: BTreeMap::new(),
            in_flight: BTreeSet::new(),
            refusals: Vec::new(),
            returning: BTreeMap::new(),
            rounds: BTreeMap::new(),
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
        for pod in self.pods.values_mut().filter(|pod| matches!(pod.standing, Standing::Gone)) {
            pod.standing = Standing::Due(now.mono.plus(FIRST_PAUSE));
        }
        if !self.refusals.is_empty() {
            self.state =
                DrainState::GivenUp(Trouble::new(Reason::DrainBlocked, some_of(&self.refusals, "; ")));
        } else if self.pods.is_empty() {
            self.state = DrainState::Drained;
        }
    }

    /// Replaces what has to go by what this list holds; what is known of a pod stays with its UID.
    fn take(&mut self, now: Now, listed: &[PodSeen]) {
        let mut before = std::mem::take(&mut self.pods);
        self.refusals.clear();
        self.returning.clear();
        for seen in listed {
            let sorted = sort(seen, &self.options);
            match &sorted {
                Sort::Stays(_) => continue,
                Sort::Refuses(text) => {
                    self.refusals.push(text.clone());
                    continue;
                }
                Sort::Evict | Sort::Going => {}
            }
            let pod = before.remove(&seen.uid).unwrap_or_else(|| self.new_pod(now, seen));
            if pod.round >= MAX_ROUNDS && sorted == Sort::Evict {
                self.returning.insert(seen.uid.clone(), pod.label());
            } else {
                let blocked = pod.blocked.filter(|_| seen.deletion.is_none());
                self.pods.insert(seen.uid.clone(), Pod { deletion: seen.deletion, blocked, ..pod });
            }
        }
        self.refusals.sort();
    }

    fn new_pod(&self, now: Now, seen: &PodSeen) -> Pod {
        let owner = seen.controller.as_ref().map(|owner| key(&seen.namespace, owner));
        Pod {
            namespace: seen.namespace.clone(),
            name: seen.name.clone(),
            round: owner.as_ref().and_then(|owner| self.rounds.get(owner)).copied().unwrap_or_default(),
            owner,
            deletion: seen.deletion,
            standing: Standing::Due(now.mono),
            refusals: 0,
            blocked: None,
        }
    }

    /// Takes in the answer to an order; one that was not awaited changes nothing.
    pub fn answer(&mut self, now: Now, uid: &str, answer: Answer) {
        self.expire(now);
        if !self.in_flight.remove(uid) {
            return;
        }
        let Some(pod) = self.pods.get_mut(uid) else { return };
        match answer {
            Answer::Accepted => {
                pod.settle(Standing::Accepted(now.mono));
                if let Some(owner) = &pod.owner {
                    let round = self.rounds.entry(owner.clone()).or_default();
                    *round = (*round).max(pod.round + 1);
                }
            }
            Answer::Gone => pod.settle(Standing::Gone),
            Answer::Blocked { budget, message, retry_after } => {
                pod.refuse(now, retry_after, Block { by_budget: true, budget, message });
            }
            Answer::Busy { retry_after } => {
                let message = "the API server has too much to do and asks to try again later".to_owned();
                pod.refuse(now, retry_after, Block { by_budget: false, budget: None, message });
            }
            Answer::Failed(message) => {
                pod.refuse(now, None, Block { by_budget: false, budget: None, message });
            }
        }
    }

    /// What to do now. Ask after every list and answer, and when the moment of the last [`Next::wake`] has come.
    pub fn next(&mut self, now: Now) -> Next {
        self.expire(now);
        if self.state != DrainState::Draining {
            return Next::default();
        }
        let list = self.list_due() <= now.mono;
        if list {
            self.asked = Some(now.mono);
        }
        let evict = self.orders(now);
        self.in_flight.extend(evict.iter().map(|order| order.uid.clone()));
        Next { evict, list, wake: Some(self.wake(now)) }
    }

    /// The pods that are due, those never refused first: a blocked one holds up nobody.
    fn orders(&self, now: Now) -> Vec<Order> {
        if !self.refusals.is_empty() {
            return Vec::new();
        }
        let free = MAX_IN_FLIGHT.saturating_sub(self.in_flight.len());
        let waiting = self.pods.iter().filter(|(uid, _)| !self.in_flight.contains(*uid));
        let due = waiting.filter_map(|(uid, pod)| Some((pod.due()?, uid, pod)));
        let in_turn: BTreeMap<_, _> = due
            .filter(|(at, ..)| *at <= now.mono)
            .map(|(at, uid, pod)| ((pod.refusals > 0, at, &pod.namespace, &pod.name, uid), pod))
            .collect();
        let order = |((.., uid), pod): ((_, _, _, _, &String), &Pod)| Order {
            uid: uid.clone(),
            namespace: pod.namespace.clone(),
            name: pod.name.clone(),
        };
        in_turn.into_iter().take(free).map(order).collect()
    }

    /// When a fresh LIST is wanted.
    fn list_due(&self) -> Mono {
        let over = self.left() == 0 || !self.refusals.is_empty();
        let wanted = match self.confirmed {
            None => Mono(0),
            Some(at) => at.plus(if over { LIST_PAUSE } else { LIST_AT_LEAST }),
        };
        self.asked.map_or(wanted, |asked| wanted.max(asked.plus(LIST_AGAIN)))
    }

    /// The next moment at which time alone changes something.
    fn wake(&self, now: Now) -> Mono {
        let waiting = self.pods.iter().filter(|(uid, _)| !self.in_flight.contains(*uid));
        let retries = waiting.filter_map(|(_, pod)| pod.due()).filter(|at| *at > now.mono);
        retries.chain([self.list_due()]).min().unwrap_or(self.deadline).min(self.deadline)
    }

    /// How the drain stands.
    pub fn progress(&self, now: Now) -> Progress {
        let mut blocked: Vec<_> = self.pods.values().filter_map(Pod::blocked).collect();
        blocked.sort_by(|left, right| left.pod.cmp(&right.pod));
        Progress {
            at: now.mono,
            left: self.left(),
            blocked,
            returning: self.returning.values().cloned().collect(),
            state: self.overdue(now).map_or_else(|| self.state.clone(), DrainState::GivenUp),
        }
    }

    fn left(&self) -> usize {
        self.pods.values().filter(|pod| !matches!(pod.standing, Standing::Gone)).count()
    }

    fn expire(&mut self, now: Now) {
        if let Some(trouble) = self.overdue(now) {
            self.state = DrainState::GivenUp(trouble);
        }
    }

    /// Why the drain is given up, if its time is over.
    fn overdue(&self, now: Now) -> Option<Trouble> {
        if self.state != DrainState::Draining || now.mono < self.deadline {
            return None;
        }
        let by_budget = |pod: &Pod| pod.blocked.as_ref().is_some_and(|block| block.by_budget);
        let mut left: Vec<_> = self.pods.values().map(|pod| (!by_budget(pod), pod.why_left(now))).collect();
        left.sort();
        let (reason, advice) = match left.first() {
            Some((false, _)) => {
                (Reason::DrainBlocked, "give their budgets room, for instance with another replica")
            }
            Some((true, _)) | None => (Reason::DrainTimedOut, "see why they do not end"),
        };
        let pods: Vec<_> = left.into_iter().map(|(_, why)| why).collect();
        let seconds = self.options.timeout;
        let message = if pods.is_empty() {
            format!(
                "the API server gave no fresh list of this node's pods within the {seconds} s of the drain"
            )
        } else {
            let pods = some_of(&pods, ", ");
            format!("still here after {seconds} s: {pods}; {advice}, or raise timeout in [drain]")
        };
        Some(Trouble::new(reason, message))
    }
}

impl Pod {
    fn label(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// When it is to be evicted; none while it is going or gone.
    fn due(&self) -> Option<Mono> {
        match self.standing {
            _ if self.deletion.is_some() => None,
            Standing::Due(at) => Some(at),
            Standing::Accepted(at) => Some(at.plus(ACCEPTED_MUST_SHOW)),
            Standing::Gone => None,
        }
    }

    fn settle(&mut self, standing: Standing) {
        self.standing = standing;
        self.refusals = 0;
        self.blocked = None;
    }

    fn refuse(&mut self, now: Now, retry_after: Option<u64>, block: Block) {
        let pause = LONGEST_PAUSE.min(FIRST_PAUSE << self.refusals.min(8));
        self.standing = Standing::Due(now.mono.plus(pause.max(retry_after.unwrap_or_default())));
        self.refusals = self.refusals.saturating_add(1);
        self.blocked = Some(block);
    }

    fn blocked(&self) -> Option<Blocked> {
        let block = self.blocked.as_ref()?;
        Some(Blocked { pod: self.label(), budget: block.budget.clone(), message: block.message.clone() })
    }

    /// The pod and what keeps it, for people.
    fn why_left(&self, now: Now) -> String {
        let why = match (self.deletion, self.blocked()) {
            (Some(end), _) if now.unix > end => {
                format!("still terminating, {} s past its grace period", now.unix.since(end))
            }
            (Some(_), _) => "still terminating".to_owned(),
            (None, Some(Blocked { budget: Some(budget), message, .. })) => {
                format!("disruption budget {budget}: {message}")
            }
            (None, Some(Blocked { budget: None, message, .. })) => message,
            (None, None) => match self.standing {
                Standing::Due(_) => "not evicted yet".to_owned(),
                Standing::Accepted(_) => "evicted, not gone yet".to_owned(),
                Standing::Gone => "gone, says the API server, not yet its list".to_owned(),
            },
        };
        format!("{} ({why})", self.label())
    }
}

fn key(namespace: &str, owner: &Owner) -> OwnerKey {
    (namespace.to_owned(), owner.kind.clone(), owner.name.clone())
}

/// The first few, and how many more there are.
fn some_of(texts: &[String], between: &str) -> String {
    let named = texts.iter().take(NAMED).cloned().collect::<Vec<_>>().join(between);
    match texts.len().saturating_sub(NAMED) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}
