//! Evicting what the drain's rules say.

use crate::act::Act;
use crate::decide::Next;
use crate::decide::context::{Context, Look};
use crate::judge::claim::bars_holder;
use crate::memory::{Step, Turn};
use crate::observed::DrainState;
use crate::observed::Ready;

use super::gate::{Marked, gate};
use super::{Gate, Rules, can_turn_back};

/// How long after its grace period a pod of a node that is down is given.
const NOT_WAITED_FOR: std::time::Duration = std::time::Duration::from_secs(1);

/// How old the fleet may be that is asked about a drain under way: another node may have gone out of service meanwhile.
const JUDGED_AGAIN: std::time::Duration = std::time::Duration::from_secs(15);

pub(super) struct Draining;

impl Rules for Draining {
    /// Drained is what this process has seen to be so since the last cordon.
    fn done(&self, cx: &Context<'_>, turn: &Turn) -> Look<bool> {
        if turn.reached >= Step::Installing && !can_turn_back(cx, turn)? {
            return Ok(true);
        }
        Ok(cx
            .observed
            .drain
            .as_ref()
            .is_some_and(|drain| drain.state == DrainState::Drained && drain.at >= cx.since.cordoned_at))
    }

    /// Asked of a drain under way too, of the fleet as it was read not long ago.
    fn may_start(&self, cx: &Context<'_>, turn: &Turn) -> Look<Gate> {
        let me = &turn.holder;
        let fleet = cx
            .observed
            .fleet
            .as_ref()
            .filter(|fleet| is_under_way(cx) && cx.is_fresh(fleet.at, JUDGED_AGAIN));
        if let Some(fleet) = fleet {
            let bar = bars_holder(cx.claimant(turn.kind, &turn.plan), me, fleet, cx.observed.local.as_ref());
            return Ok(bar.map_or(Gate::Open, Gate::from));
        }
        gate(cx, turn, Marked::Stands, |who, fleet, local| bars_holder(who, me, fleet, local))
    }

    fn act(&self, cx: &Context<'_>, turn: &Turn) -> Look<Next> {
        if let Some(DrainState::GivenUp(why)) = cx.observed.drain.as_ref().map(|drain| &drain.state) {
            return Ok(cx.remember(turn.clone().back(why.clone(), cx.now)));
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

fn is_under_way(cx: &Context<'_>) -> bool {
    cx.observed.drain.as_ref().is_some_and(|drain| drain.state == DrainState::Draining)
}
