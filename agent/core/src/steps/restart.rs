//! Restarting kubelet, whether or not its package's scripts did: done when its unit runs with another invocation.

use crate::act::Act;
use crate::decide::Next;
use crate::decide::context::{Context, HOST_AGE, Look};
use crate::memory::{Step, Turn};

use super::{Failure, Rules};

pub(super) struct Restarting;

impl Rules for Restarting {
    fn done(&self, cx: &Context<'_>, turn: &Turn) -> Look<bool> {
        let Some(before) = turn.kubelet_before.as_ref().filter(|_| turn.reached >= Step::Restarting) else {
            return Ok(false);
        };
        Ok(turn.reached > Step::Restarting || cx.host(HOST_AGE)?.kubelet.invocation != *before)
    }

    fn act(&self, cx: &Context<'_>, turn: &Turn) -> Look<Next> {
        if turn.kubelet_before.is_some() {
            return Ok(Next::Do(Act::RestartKubelet));
        }
        let kubelet_before = Some(cx.host(HOST_AGE)?.kubelet.invocation.clone());
        Ok(cx.remember(Turn { kubelet_before, ..turn.clone() }))
    }

    fn failed(&self) -> Failure {
        Failure::Degraded
    }
}
