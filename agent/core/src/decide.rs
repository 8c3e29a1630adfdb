//! The rules: what the agent remembers and what it sees decide the next act.
//!
//! A restart is not a special case. Every act follows from the memory and fresh observation, so being killed
//! between any two steps leaves only states that are met without a crash too.

mod changing;
mod clearing;
mod degraded;
mod idle;
mod report;
mod returning;
mod verifying;

use core::time::Duration;

use crate::act::Act;
use crate::api::{Explanation, Reason, Request};
use crate::drain::DrainOptions;
use crate::memory::{Direction, Memory, Stage, Step, Turn};
use crate::observed::{HostSeen, LeaseSeen, NodeSeen, Observed, ToolState};
use crate::since::Since;
use crate::time::{Mono, Now, Unix};

pub use report::derive;
pub(crate) use report::is_another_turn;

/// What this host's configuration adds to the rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The name of the own Node.
    pub node: String,
    /// How to drain.
    pub drain: DrainOptions,
    /// How long kubelet must run without another restart before it counts as verified.
    pub soak: Duration,
    /// After this long a node that does not come to serve is degraded.
    pub verify_timeout: Duration,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Make this memory durable; nothing else happens meanwhile.
    Remember(Box<Memory>),
    /// Do this, or go on doing it.
    Do(Act),
    /// Nothing, until something is seen or this moment comes.
    Wait {
        /// What is waited for.
        why: Explanation,
        /// When to look again.
        until: Option<Mono>,
    },
}

/// How old a proof that the Lease is ours may be where a disturbance begins.
const PROOF: Duration = Duration::from_secs(15);
/// How old it may grow while a drain goes on; the heartbeat renews every minute.
const PROOF_WHILE_DRAINING: Duration = Duration::from_mins(5);

/// The least that a clock moves on: what is fresh for so long is no more so that much later.
const GRAIN: Duration = Duration::from_millis(1);

/// Decides. Called on every new observation, and cheap.
pub fn decide(settings: &Settings, memory: &Memory, observed: &Observed, since: &Since, now: Now) -> Next {
    let Some(node) = &observed.node else {
        return wait(Reason::Retrying, "the own Node has not been seen yet, or it does not exist", None);
    };
    let context = Context { settings, memory, observed, since, node, request: &node.request, now };
    let Some(turn) = &memory.turn else {
        return idle::decide(&context);
    };
    if since.cordon_lifted && !matches!(turn.stage, Stage::Clearing { .. }) && !runs_a_tool(observed) {
        return Next::Do(Act::ForgetCordon);
    }
    match &turn.stage {
        Stage::Clearing { disturbed } => clearing::decide(&context, turn, *disturbed),
        Stage::Changing { step, direction: Direction::Forward } => changing::forward(&context, turn, step),
        Stage::Changing { step, direction: Direction::Back(why) } => {
            changing::back(&context, turn, step, why)
        }
        Stage::Returning(verdict) => returning::decide(&context, turn, verdict),
        Stage::Degraded { step, why } => degraded::decide(&context, turn, step, why),
    }
}

/// A tool is awaited before anything else is done.
fn runs_a_tool(observed: &Observed) -> bool {
    observed.host.as_ref().is_some_and(|host| host.tools.values().any(|state| *state == ToolState::Running))
}

/// What one decision is taken from.
struct Context<'a> {
    settings: &'a Settings,
    memory: &'a Memory,
    observed: &'a Observed,
    since: &'a Since,
    node: &'a NodeSeen,
    request: &'a Request,
    now: Now,
}

fn wait(reason: Reason, message: impl Into<String>, until: Option<Mono>) -> Next {
    Next::Wait { why: Explanation::new(reason, message), until }
}

impl Context<'_> {
    /// This host as seen at most `age` ago, or the act that looks at it.
    fn host(&self, turn: Option<&Turn>, age: Duration) -> Result<&HostSeen, Next> {
        match &self.observed.host {
            Some(host) if self.is_fresh(host.at, age) => Ok(host),
            _ => Err(Next::Do(Act::LookAtHost { turn: turn.map(|turn| turn.holder.turn.clone()) })),
        }
    }

    fn is_fresh(&self, at: Mono, age: Duration) -> bool {
        self.now.mono.since(at) <= age
    }

    /// A proof not older than `age` that the Lease is ours, the act that gets one, or none if it is lost.
    fn proof(&self, turn: &Turn, age: Duration) -> Proof {
        match &self.observed.lease {
            Some(LeaseSeen::Held { at, turn: held })
                if self.is_fresh(*at, age) && *held == turn.holder.turn =>
            {
                Proof::Ours
            }
            Some(LeaseSeen::Free | LeaseSeen::Other(_)) => Proof::Lost,
            Some(LeaseSeen::Held { .. }) | None => Proof::Ask(Next::Do(renew(turn))),
        }
    }

    /// Whether the request the turn serves is still there.
    fn cancelled(&self, turn: &Turn) -> Option<Explanation> {
        let wanted = self.request.wanted();
        if wanted == Some(turn.plan.target) {
            return None;
        }
        let now_asks = wanted.map_or_else(|| "removed".to_owned(), |target| format!("changed to {target}"));
        Some(Explanation::new(Reason::Cancelled, format!("the target {} was {now_asks}", turn.plan.target)))
    }

    fn remember(&self, turn: Turn) -> Next {
        Next::Remember(Box::new(Memory { turn: Some(turn), ..self.memory.clone() }))
    }

    /// The turn at another stage, entered now.
    fn enter(&self, turn: &Turn, stage: Stage) -> Next {
        let unit_serial = turn.unit_serial + 1;
        let entered = self.now.unix;
        self.remember(Turn {
            stage,
            attempts: 0,
            unit_serial,
            entered,
            not_before: Unix::default(),
            ..turn.clone()
        })
    }

    fn step(&self, turn: &Turn, step: Step) -> Next {
        self.enter(turn, Stage::Changing { step, direction: Direction::Forward })
    }

    /// The moment on this process's clock at which the host's clock shows `unix`.
    fn moment(&self, unix: Unix) -> Mono {
        self.now.mono.plus(unix.since(self.now.unix))
    }

    /// The moment on it that comes so much later.
    fn later(&self, by: Duration) -> Mono {
        self.now.mono.plus(by)
    }
}

/// What is known of the Lease.
enum Proof {
    Ours,
    Lost,
    Ask(Next),
}

/// Proves the Lease, with the mark that belongs to the turn's stage.
pub fn renew(turn: &Turn) -> Act {
    let degraded = match &turn.stage {
        Stage::Degraded { why, .. } => Some(why.message.clone()),
        Stage::Clearing { .. } | Stage::Changing { .. } | Stage::Returning(_) => None,
    };
    Act::Renew { lease: turn.lease, holder: turn.holder.clone(), degraded }
}

fn lease_lost(turn: &Turn) -> Explanation {
    let message =
        format!("the Lease {} no longer names this node's job; somebody released or took it", turn.lease);
    Explanation::new(Reason::LeaseLost, message)
}

#[cfg(test)]
mod tests;
