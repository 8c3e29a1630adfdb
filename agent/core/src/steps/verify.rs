//! Waiting until the node serves at its target, cheapest questions first.

use std::time::Duration;

use crate::api::{Explanation, Reason};
use crate::decide::Next;
use crate::decide::context::{Context, Look, PACE, wait};
use crate::judge::service::{Patience, node_lacks, pods_lack, unit_lacks};
use crate::memory::{Step, Turn};
use crate::time::Mono;

use super::{Failure, Rules};

pub(super) struct Verifying;

impl Rules for Verifying {
    fn done(&self, cx: &Context<'_>, turn: &Turn) -> Look<bool> {
        if turn.reached > Step::Verifying {
            return Ok(true);
        }
        // Waited for ever less often, and proven by what was seen just now.
        Ok(turn.reached == Step::Verifying
            && lacks(cx, turn, cx.pace(turn))?.is_none()
            && lacks(cx, turn, PACE)?.is_none()
            && !(policy_is_unread(cx) && turn.stopwatch.spent(cx.now) < limit(cx)))
    }

    fn act(&self, cx: &Context<'_>, turn: &Turn) -> Look<Next> {
        let Some(lack) = lacks(cx, turn, cx.pace(turn))? else {
            let message = "the fleet's policy was not read since the agent was started: it may ask for more time (minReadySeconds)";
            let message = if policy_is_unread(cx) { message } else { "" };
            return Ok(wait(Reason::Progressing, message, Some(cx.in_(cx.pace(turn)))));
        };
        let limit = limit(cx);
        let given = if only_soaks(cx, turn)? { limit + patience(cx).wanted() } else { limit };
        if turn.stopwatch.spent(cx.now) < given {
            return Ok(wait(Reason::Progressing, lack, Some(cx.in_(cx.pace(turn)))));
        }
        let message = format!(
            "the node did not come to serve at {} in {} s: {lack}. Look at journalctl -u kubelet; then set a new value of the \
             annotation node-upgrade-agent/retry",
            turn.plan.target,
            limit.as_secs()
        );
        let degraded = Some(Explanation::new(Reason::NotVerified, message));
        Ok(cx.remember(Turn { degraded, ..turn.clone() }))
    }

    fn failed(&self) -> Failure {
        Failure::Degraded
    }
}

/// The time-out of verification, to which the fleet's `minReadySeconds` is added.
pub(super) fn limit(cx: &Context<'_>) -> Duration {
    cx.settings.verify_timeout + cx.observed.policy.policy.min_ready
}

/// Whether there was a policy, and this process has not seen it yet.
fn policy_is_unread(cx: &Context<'_>) -> bool {
    cx.memory.policy_seen && cx.observed.policy.at == Mono::default()
}

fn patience(cx: &Context<'_>) -> Patience {
    Patience { soak: cx.settings.soak, min_ready: cx.observed.policy.policy.min_ready }
}

/// Whether the Node is Ready and its kubelet only has not run for long enough, which passes by itself: it came up late.
fn only_soaks(cx: &Context<'_>, turn: &Turn) -> Look<bool> {
    let kubelet = &cx.host(cx.pace(turn))?.kubelet;
    let none = Patience { soak: Duration::ZERO, min_ready: Duration::ZERO };
    Ok(node_lacks(&turn.plan, cx.node, kubelet, cx.since.clock_set_at, cx.now).is_none()
        && unit_lacks(kubelet, none, cx.now).is_none()
        && unit_lacks(kubelet, patience(cx), cx.now).is_some())
}

/// What a node at its target still lacks, from observations at most `age` old.
pub(crate) fn lacks(cx: &Context<'_>, turn: &Turn, age: Duration) -> Look<Option<String>> {
    let host = cx.host(age)?;
    if let Some(lack) = node_lacks(&turn.plan, cx.node, &host.kubelet, cx.since.clock_set_at, cx.now) {
        // A half-open watch can be quiet for minutes, so what it has not told is read.
        return cx.node(age).map(|_| Some(lack));
    }
    if let Some(lack) = unit_lacks(&host.kubelet, patience(cx), cx.now) {
        return Ok(Some(lack));
    }
    Ok(pods_lack(&turn.plan, cx.pods(age)?, host))
}
