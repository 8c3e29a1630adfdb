//! The rules: what the agent remembers and what it sees decide the next act.
//!
//! A restart is not a special case. Every act follows from the memory and fresh observation, so being killed between any two steps
//! leaves only states that are met without a crash too.
//!
//! - `context`: what a decision is taken from. `host_first`: what brings this host back, before anything else.
//! - `idle`: no turn; `plan`: finding out what comes next; `adopt`: traces of a turn that nobody remembers.
//! - `turn`: the walk through the steps of a turn, forward and back; `degraded`: a turn that waits for a person; `replan`: its new
//!   target; `ended`: what is remembered of one that is over.
//! - `report`: what people are told.

mod adopt;
pub(crate) mod context;
mod degraded;
mod ended;
mod host_first;
mod idle;
mod plan;
mod replan;
pub mod report;
mod turn;

use std::collections::BTreeSet;
use std::time::Duration;

use crate::act::Act;
use crate::api::{Explanation, Holder, Reason, TurnKind};
use crate::drain::DrainOptions;
use crate::memory::Memory;
use crate::memory::{Step, Turn};
use crate::observed::LeaseSeen;
use crate::observed::NodeSeen;
use crate::observed::Observed;
use crate::since::Since;
use crate::steps::{can_turn_back, rules, tidy};
use crate::time::{Mono, Now};

use context::{Context, Look, wait};
pub(crate) use context::{mark, renew};

/// What this host's configuration adds to the rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The name of the own Node.
    pub node: String,
    /// How to drain.
    pub drain: DrainOptions,
    /// How long kubelet must run without another restart before it counts as verified.
    pub soak: Duration,
    /// After this a node that does not come to serve is degraded.
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

/// After so long a Node that is gone takes its turn with it (rule 12).
const GONE: Duration = Duration::from_mins(10);

/// Decides. Called on every new observation, and cheap.
pub fn decide(settings: &Settings, memory: &Memory, observed: &Observed, since: &Since, now: Now) -> Next {
    decided(settings, memory, observed, since, now).unwrap_or_else(|first| first)
}

fn decided(settings: &Settings, memory: &Memory, observed: &Observed, since: &Since, now: Now) -> Look<Next> {
    let unseen = NodeSeen::default();
    let node = observed.node.as_ref().unwrap_or(&unseen);
    let cx = Context { settings, memory, observed, since, node, now };
    host_first::bring_back(&cx)?;
    match &memory.turn {
        None if observed.node.is_none() => Ok(not_seen(None)),
        None => idle::decide(&cx),
        Some(turn) if observed.node.is_none() => without_node(&cx, turn),
        Some(turn) if turn.holder.uid != node.uid && can_turn_back(&cx, turn)? => leave(&cx, turn),
        // What is claimed anew is claimed for the Node that is there now.
        Some(turn) if turn.holder.uid != node.uid && is_lost(observed) => {
            let holder = Holder { uid: node.uid.clone(), ..turn.holder.clone() };
            Ok(cx.remember(Turn { holder, ..turn.clone() }))
        }
        Some(turn) => turn::decide(&cx, turn),
    }
}

fn is_lost(observed: &Observed) -> bool {
    matches!(observed.lease, Some(LeaseSeen::Free | LeaseSeen::Other(_)))
}

fn not_seen(until: Option<Mono>) -> Next {
    wait(Reason::Retrying, "the own Node has not been seen yet, or it does not exist", until)
}

/// How often the host is looked at in a turn while nothing answers: what brings it back needs no API.
const UNSEEN_PACE: Duration = Duration::from_secs(10);

/// Nothing answers, or the Node is gone. A turn B past its point of no return goes on with what needs no API; the others wait, and
/// leave if the Node does not come back.
fn without_node(cx: &Context<'_>, turn: &Turn) -> Look<Next> {
    if turn.stopwatch.is_of_another_boot(cx.now) {
        return turn::decide(cx, turn);
    }
    if turn.kind == TurnKind::Kubelet
        && turn.reached >= Step::Installing
        && cx.since.node_gone_since.is_none()
        && !can_turn_back(cx, turn)?
    {
        return turn::decide(cx, turn);
    }
    let Some(gone) = cx.since.node_gone_since else {
        let next = not_seen(Some(cx.in_(UNSEEN_PACE)));
        return match &turn.degraded {
            Some(_) => degraded::lease_is_marked(cx, turn).map(|()| next),
            None => turn::told_elsewhere(cx, turn, Ok(next)),
        };
    };
    if cx.is_fresh(gone, GONE) {
        let message = "this Node was deleted in the middle of its upgrade; if it does not come back, the upgrade is given up";
        return Ok(wait(Reason::NodeGone, message, Some(gone.plus(GONE + Duration::from_millis(1)))));
    }
    leave(cx, turn)
}

/// A Node that is gone, or another one of the same name: the turn was of the Node that was. The host goes back, then the Lease. Past its
/// point of no return a turn gives the Lease back and is kept: it goes on for the Node that comes.
fn leave(cx: &Context<'_>, turn: &Turn) -> Look<Next> {
    let goes_back = can_turn_back(cx, turn)?;
    if goes_back && turn.is_forward() {
        let why = Explanation::new(Reason::NodeGone, "the Node it was of is gone");
        return Ok(cx.remember(turn.clone().back(why, cx.now)));
    }
    let undone = if goes_back { [Step::Applying, Step::Staging].as_slice() } else { &[] };
    for step in undone.iter().filter(|step| **step <= turn.reached) {
        rules(*step).undo(cx, turn)?;
    }
    if !matches!(cx.observed.lease, Some(LeaseSeen::Free | LeaseSeen::Other(_))) {
        return Err(Next::Do(Act::Release { lease: turn.lease, holder: turn.holder.clone() }));
    }
    if !goes_back {
        let message = "this Node is gone and its host is half upgraded; the upgrade goes on when the Node is there again";
        return Ok(wait(Reason::NodeGone, message, None));
    }
    tidy(cx, turn)?;
    Ok(Next::Remember(Box::new(Memory { turn: None, held: BTreeSet::new(), ..cx.memory.clone() })))
}

#[cfg(test)]
mod tests;
