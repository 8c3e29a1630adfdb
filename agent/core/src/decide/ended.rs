//! What is remembered of a turn that is over.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Next;
use super::context::Context;
use crate::api::{Explanation, Reason};
use crate::backoff::Pauses;
use crate::memory::Memory;
use crate::memory::Turn;
use crate::memory::{Backoff, MAX_RETREATS, Refusal};
use crate::time::NotBefore;

/// How long a node is left alone whose Lease somebody took away.
const LEASE_LOST_PAUSE: Duration = Duration::from_mins(1);

/// How long a node is left alone after a retreat.
const RETREATS: Pauses = Pauses { first: Duration::from_mins(5), factor: 2, cap: Duration::from_mins(20) };

/// The memory without the turn; `why` it went back, if it did.
pub(super) fn remember(cx: &Context<'_>, turn: &Turn, why: Option<&Explanation>) -> Next {
    let over = Memory { turn: None, held: BTreeSet::new(), ..cx.memory.clone() };
    let Some(why) = why else {
        return Next::Remember(Box::new(Memory { backoff: None, refused: None, ..over }));
    };
    Next::Remember(Box::new(match why.reason {
        Reason::DrainBlocked | Reason::DrainTimedOut | Reason::TimedOut => retreated(cx, turn, why, over),
        Reason::ToolFailed | Reason::PreflightFailed | Reason::NotVerified => {
            Memory { refused: Some(refusal(cx, turn, why.clone())), backoff: None, ..over }
        }
        Reason::ToolPending if retreats(cx, turn) + 1 >= MAX_RETREATS => {
            let message =
                format!("{}. Then set a new value of the annotation node-upgrade-agent/retry", why.message);
            let why = Explanation::new(Reason::ToolFailed, message);
            Memory { refused: Some(refusal(cx, turn, why)), backoff: None, ..over }
        }
        Reason::ToolPending => {
            let retreats = retreats(cx, turn) + 1;
            Memory { backoff: Some(backoff(cx, turn, why, retreats, RETREATS.after(retreats))), ..over }
        }
        Reason::LeaseLost => {
            let retreats = cx.memory.backoff.as_ref().map_or(0, |backoff| backoff.retreats);
            Memory { backoff: Some(backoff(cx, turn, why, retreats, LEASE_LOST_PAUSE)), ..over }
        }
        _ => over,
    }))
}

/// How often turns to this target have gone back already.
fn retreats(cx: &Context<'_>, turn: &Turn) -> u32 {
    let before = cx.memory.backoff.as_ref().filter(|backoff| backoff.target == turn.plan.target);
    before.map_or(0, |backoff| backoff.retreats)
}

fn retreated(cx: &Context<'_>, turn: &Turn, why: &Explanation, over: Memory) -> Memory {
    let retreats = retreats(cx, turn) + 1;
    if retreats >= MAX_RETREATS {
        let message = format!(
            "the drain was given up {retreats} times: {}. Then set a new value of the annotation node-upgrade-agent/retry",
            why.message
        );
        let refused = Some(refusal(cx, turn, Explanation::new(Reason::DrainGivenUp, message)));
        return Memory { refused, backoff: None, ..over };
    }
    Memory { backoff: Some(backoff(cx, turn, why, retreats, RETREATS.after(retreats))), ..over }
}

/// Both name the value of `retry` that the turn has answered: one set meanwhile is an answer to what people are told now.
fn backoff(cx: &Context<'_>, turn: &Turn, why: &Explanation, retreats: u32, pause: Duration) -> Backoff {
    let until = NotBefore::after(pause, cx.now);
    Backoff { target: turn.plan.target, retreats, until, retry: turn.retry.clone(), why: why.clone() }
}

fn refusal(cx: &Context<'_>, turn: &Turn, why: Explanation) -> Refusal {
    let skip = cx.node.request.skip.iter().map(|check| check.word().to_owned()).collect();
    Refusal { target: turn.plan.target.to_string(), retry: turn.retry.clone(), skip, why }
}
