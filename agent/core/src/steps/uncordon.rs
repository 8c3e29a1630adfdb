//! Back into service: only ours is taken back, and only of a node whose kubelet is Ready at a version that was chosen (rule 9).

use crate::act::Act;
use crate::api::{Explanation, Reason};
use crate::decide::Next;
use crate::decide::context::{Context, HOST_AGE, Look, wait};
use crate::memory::{Step, Turn};
use crate::observed::HostSeen;
use crate::observed::Ready;

use super::cordon::forget_lifted;
use super::install::chosen;
use super::verify::{lacks, limit};
use super::{Failure, Rules};

pub(super) struct Uncordoning;

impl Rules for Uncordoning {
    fn done(&self, cx: &Context<'_>, turn: &Turn) -> Look<bool> {
        Ok(turn.reached >= Step::Uncordoning && cx.node.cordon_note.is_none())
    }

    fn act(&self, cx: &Context<'_>, turn: &Turn) -> Look<Next> {
        put_back_into_service(cx, turn)?;
        Ok(wait(Reason::Progressing, "", None))
    }

    fn failed(&self) -> Failure {
        Failure::Degraded
    }
}

/// Takes our cordon back, as soon as the node serves; for a bounded time it is waited for.
pub(super) fn put_back_into_service(cx: &Context<'_>, turn: &Turn) -> Look<()> {
    let Some(found_cordoned) = cx.node.cordon_note else { return Ok(()) };
    forget_lifted(cx)?;
    let untouched = turn.reached < Step::Applying && !turn.changed;
    if found_cordoned || !cx.node.unschedulable || untouched {
        return Err(Next::Do(Act::Uncordon));
    }
    let host = cx.host(cx.pace(turn))?;
    let lack = match service_lacks(cx, host, turn) {
        Some(lack) => Some(lack.to_owned()),
        // Since it was verified its kubelet may have been started once more.
        None if turn.is_forward() && cx.node.kubelet == Some(turn.plan.target) => {
            lacks(cx, turn, cx.pace(turn))?
        }
        None => None,
    };
    // A watch that was cut off shows first what was so then.
    let read = cx.is_fresh(cx.since.read_at, HOST_AGE);
    let Some(lack) = lack else {
        return Err(Next::Do(if read { Act::Uncordon } else { Act::LookAtNode }));
    };
    cx.node(cx.pace(turn))?;
    let message = format!("{lack}, so the node stays cordoned: look at journalctl -u kubelet");
    if turn.stopwatch.spent(cx.now) < limit(cx) {
        return Err(wait(Reason::NotReady, message, Some(cx.in_(cx.pace(turn)))));
    }
    if !read {
        return Err(Next::Do(Act::LookAtNode));
    }
    let degraded = Some(Explanation::new(Reason::NotReady, message));
    Err(cx.remember(Turn { degraded, ..turn.clone() }))
}

/// What keeps the node out of service. A Ready from before kubelet's last start says nothing of it: after a power cut the Node
/// stays Ready for a while.
fn service_lacks(cx: &Context<'_>, host: &HostSeen, turn: &Turn) -> Option<&'static str> {
    let node = cx.node;
    if node.ready != Ready::True {
        Some("the Node is not Ready")
    } else if !chosen(turn, node.kubelet) {
        Some("kubelet does not run a version this upgrade chose")
    } else if !host.kubelet.active || !node.has_told_since(host.kubelet.since, cx.since.clock_set_at, cx.now)
    {
        Some("kubelet has not said that it is Ready since it was started")
    } else {
        None
    }
}

/// Whether a node that goes back serves, so that a turn that was degraded on its way back can end.
pub(crate) fn serves(cx: &Context<'_>, turn: &Turn) -> Look<bool> {
    let host = cx.host(HOST_AGE)?;
    Ok(cx.node.cordon_note.is_none() || !cx.node.unschedulable || service_lacks(cx, host, turn).is_none())
}
