//! Evicting what the drain's rules say.

use crate::act::Act;
use crate::decide::Next;
use crate::decide::context::{Context, Look, prove};
use crate::memory::{Step, Turn};
use crate::observed::{DrainState, LeaseSeen, Progress, Ready};

use super::gate::{Marked, disturbance, first_disturbance};
use super::{Gate, Rules, can_turn_back};

/// How long after its grace period a pod of a node that is down is given.
const NOT_WAITED_FOR: std::time::Duration = std::time::Duration::from_secs(1);

pub(super) struct Draining;

impl Rules for Draining {
    /// Drained is what this process has seen to be so since the last cordon. An etcd that was put back brings pods back too.
    fn done(&self, cx: &Context<'_>, turn: &Turn) -> Look<bool> {
        if turn.reached >= Step::Installing && !can_turn_back(cx, turn)? {
            return Ok(true);
        }
        let since = cx.since.cordoned_at.max(cx.since.restored_at.unwrap_or_default());
        let drain = cx.observed.drain.as_ref();
        Ok(drain.is_some_and(|drain| drain.state == DrainState::Drained && drain.at >= since))
    }

    fn may_start(&self, cx: &Context<'_>, turn: &Turn) -> Look<Gate> {
        // Meanwhile the node may have been uncordoned, or the Lease freed.
        if let Some(drain) = cut_off(cx) {
            if cx.observed.node_at <= drain.at {
                return Err(Next::Do(Act::LookAtNode));
            }
            if matches!(cx.observed.lease, Some(LeaseSeen::Held { at, .. }) if at <= drain.at) {
                return Err(Next::Do(prove(turn)));
            }
            if !drain.evicted {
                return first_disturbance(cx, turn, Marked::Stands);
            }
        }
        disturbance(cx, turn, Marked::Stands)
    }

    /// It keeps its patience and what it has found out only as long as nothing interrupts it.
    fn runs(&self, cx: &Context<'_>, turn: &Turn) -> bool {
        turn.reached == Step::Draining && is_under_way(cx)
    }

    fn act(&self, cx: &Context<'_>, turn: &Turn) -> Look<Next> {
        if let Some(DrainState::GivenUp(why)) = cx.observed.drain.as_ref().map(|drain| &drain.state) {
            if can_turn_back(cx, turn)? {
                return Ok(cx.remember(turn.clone().back(why.clone(), cx.now)));
            }
            // It was drained for a turn past its point of no return, and pods came back meanwhile.
            return Ok(cx.remember(Turn { degraded: Some(why.clone()), ..turn.clone() }));
        }
        let mut options = cx.settings.drain.clone();
        // On a node that was down when its turn was planned, and still is, no pod can end: it is asked for, and not waited for,
        // because the upgrade may be the repair.
        if turn.plan.found_down && cx.node.ready != Ready::True {
            options.skip_wait_for_delete_timeout = NOT_WAITED_FOR;
        }
        let until = turn.stopwatch.reaches(options.timeout, cx.now);
        Ok(Next::Do(Act::Drain { options, until }))
    }
}

/// The drain under which the API server went away.
fn cut_off<'a>(cx: &Context<'a>) -> Option<&'a Progress> {
    cx.observed.drain.as_ref().filter(|drain| drain.state == DrainState::CutOff)
}

fn is_under_way(cx: &Context<'_>) -> bool {
    cx.observed.drain.as_ref().is_some_and(|drain| drain.state == DrainState::Draining)
}
