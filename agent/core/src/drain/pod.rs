//! One pod that has to go, and how its eviction stands.

use core::time::Duration;

use super::engine::{BudgetKey, OwnerKey};
use super::{DrainOptions, EvictionResponse, is_overdue};
use crate::api::Blocked;
use crate::backoff::Pauses;
use crate::observed::PodSeen;
use crate::time::{Mono, Now, Unix};

/// The pause before an eviction is tried again that something else than a budget known by name refused, as in
/// `kubectl drain`; it is doubled with each refusal. The server may ask for a longer one than the longest of our own.
const PAUSES: Pauses = Pauses { first: Duration::from_secs(5), factor: 2, cap: Duration::from_secs(30) };
/// An accepted eviction shows as a deletion time within seconds; if it does not for so long, it is asked for again.
const ACCEPTED_MUST_SHOW: Duration = Duration::from_mins(1);

/// What is known of a pod from one list to the next.
#[derive(Debug, Clone)]
pub(super) struct Pod {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) owner: Option<OwnerKey>,
    /// Which time round its controller put it here.
    pub(super) round: u32,
    /// Seconds it may take to end.
    pub(super) grace: u64,
    /// Whether the system leans on it.
    pub(super) critical: bool,
    /// Whether it is Ready, as of the last list.
    pub(super) ready: bool,
    /// Its deletion time, as of the last list.
    deletion: Option<Unix>,
    /// What must happen before it may vanish, as of the last list.
    finalizers: Vec<String>,
    standing: Standing,
    /// Refusals of its eviction in a row.
    refusals: u32,
    /// The last refusal, kept while the next try is under way.
    block: Option<Block>,
}

#[derive(Debug, Clone)]
enum Standing {
    /// To be evicted, not before this moment.
    Due(Mono),
    /// The eviction was accepted at this moment.
    Accepted(Mono),
    /// The server said that it is gone, or forbade it as it does for pods that are: the next fresh LIST must agree.
    Gone(Option<String>),
}

#[derive(Debug, Clone)]
struct Block {
    by_budget: bool,
    budget: Option<String>,
    message: String,
}

impl Pod {
    /// A pod that was not in the last list.
    pub(super) fn new(now: Now, seen: &PodSeen, owner: Option<OwnerKey>, round: u32) -> Self {
        Self {
            namespace: seen.namespace.clone(),
            name: seen.name.clone(),
            owner,
            round,
            grace: seen.grace,
            critical: seen.critical,
            ready: seen.ready,
            deletion: seen.deletion,
            finalizers: seen.finalizers.clone(),
            standing: Standing::Due(now.mono),
            refusals: 0,
            block: None,
        }
    }

    /// As the next list shows it.
    pub(super) fn seen_again(self, seen: &PodSeen) -> Self {
        let block = self.block.filter(|_| seen.deletion.is_none());
        Self {
            ready: seen.ready,
            deletion: seen.deletion,
            finalizers: seen.finalizers.clone(),
            block,
            ..self
        }
    }

    /// A fresh list shows it, so it is not gone, whatever was said.
    pub(super) fn stands_after_all(&mut self, now: Now) {
        match &self.standing {
            Standing::Gone(None) => self.standing = Standing::Due(now.mono.plus(PAUSES.first)),
            Standing::Gone(Some(message)) => {
                let block = Block { by_budget: false, budget: None, message: message.clone() };
                self.refuse(now, None, block);
            }
            Standing::Due(_) | Standing::Accepted(_) => {}
        }
    }

    /// What the server said to its eviction.
    pub(super) fn answer(&mut self, now: Now, answer: EvictionResponse) {
        match answer {
            EvictionResponse::Accepted => self.settle(Standing::Accepted(now.mono)),
            EvictionResponse::Gone => self.settle(Standing::Gone(None)),
            EvictionResponse::Forbidden(message) => self.standing = Standing::Gone(Some(message)),
            // When it is tried again is the budget's affair.
            EvictionResponse::Blocked { budget: Some(budget), message, .. } => {
                self.standing = Standing::Due(now.mono);
                self.refused(Block { by_budget: true, budget: Some(budget), message });
            }
            EvictionResponse::Blocked { budget: None, message, retry_after } => {
                self.refuse(now, retry_after, Block { by_budget: true, budget: None, message });
            }
            EvictionResponse::Busy { retry_after } => {
                let message = "the API server has too much to do and asks to try again later".to_owned();
                self.refuse(now, retry_after, Block { by_budget: false, budget: None, message });
            }
            EvictionResponse::Failed(message) => {
                self.refuse(now, None, Block { by_budget: false, budget: None, message });
            }
        }
    }

    fn settle(&mut self, standing: Standing) {
        self.standing = standing;
        self.refusals = 0;
        self.block = None;
    }

    fn refuse(&mut self, now: Now, retry_after: Option<Duration>, block: Block) {
        let pause = PAUSES.after(self.refusals.saturating_add(1));
        self.standing = Standing::Due(now.mono.plus(pause.max(retry_after.unwrap_or_default())));
        self.refused(block);
    }

    fn refused(&mut self, block: Block) {
        self.refusals = self.refusals.saturating_add(1);
        self.block = Some(block);
    }

    /// The budget that refused it last, where the server named it.
    pub(super) fn budget(&self) -> Option<BudgetKey> {
        Some(self.key_of(self.block.as_ref()?.budget.as_ref()?))
    }

    /// This budget as it is asked for this pod.
    pub(super) fn key_of(&self, budget: &str) -> BudgetKey {
        (self.namespace.clone(), budget.to_owned(), self.ready)
    }

    /// When it is to be evicted; none while it is going or gone.
    pub(super) fn due(&self) -> Option<Mono> {
        match self.standing {
            _ if self.deletion.is_some() => None,
            Standing::Due(at) => Some(at),
            Standing::Accepted(at) => Some(at.plus(ACCEPTED_MUST_SHOW)),
            Standing::Gone(_) => None,
        }
    }

    /// Whether the last try was refused.
    pub(super) fn is_refused(&self) -> bool {
        self.refusals > 0
    }

    /// Whether it still has to be waited for.
    pub(super) fn is_left(&self, options: &DrainOptions, now: Now) -> bool {
        let skipped = self.deletion.is_some_and(|end| is_overdue(end, options, now.unix));
        !skipped && !matches!(self.standing, Standing::Gone(_))
    }

    /// The moment from which on it is not waited for any more.
    pub(super) fn skipped_from(&self, options: &DrainOptions, now: Now) -> Option<Mono> {
        let patience = Some(options.skip_wait_for_delete_timeout).filter(|patience| !patience.is_zero())?;
        self.grace_ends(now).map(|end| end.plus(patience.saturating_add(Duration::from_secs(1))))
    }

    /// When its grace period ends or ended, once it is terminating.
    pub(super) fn grace_ends(&self, now: Now) -> Option<Mono> {
        let end = self.deletion?;
        Some(now.mono.minus(now.unix.since(end)).plus(end.since(now.unix)))
    }

    /// `namespace/name`.
    pub(super) fn label(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// Whether a budget refused its eviction.
    pub(super) fn is_blocked_by_budget(&self) -> bool {
        self.block.as_ref().is_some_and(|block| block.by_budget)
    }

    /// Its eviction's last refusal.
    pub(super) fn blocked(&self) -> Option<Blocked> {
        let block = self.block.as_ref()?;
        Some(Blocked { pod: self.label(), budget: block.budget.clone(), message: block.message.clone() })
    }

    /// The pod and what keeps it, for people.
    pub(super) fn why_left(&self, now: Now) -> String {
        let why = match (self.deletion, self.blocked()) {
            (Some(end), _) => self.why_terminating(end, now),
            (None, Some(Blocked { budget: Some(budget), message, .. })) => {
                format!("disruption budget {budget}: {message}")
            }
            (None, Some(Blocked { budget: None, message, .. })) => message,
            (None, None) => match self.standing {
                Standing::Due(_) => "not evicted yet".to_owned(),
                Standing::Accepted(_) => "evicted, not gone yet".to_owned(),
                Standing::Gone(_) => "gone, says the API server, not yet its list".to_owned(),
            },
        };
        format!("{} ({why})", self.label())
    }

    fn why_terminating(&self, end: Unix, now: Now) -> String {
        if now.unix <= end {
            return "still terminating".to_owned();
        }
        let late = now.unix.since(end).as_secs();
        let holds = match &self.finalizers[..] {
            [] => "its kubelet or container runtime has not ended it".to_owned(),
            finalizers => format!("held by its finalizers {}", finalizers.join(", ")),
        };
        format!("still terminating, {late} s past its grace period: {holds}")
    }
}
