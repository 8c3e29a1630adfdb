//! Uncordon first, then give the Lease back, then tidy up: whatever fails, the node serves.

use core::time::Duration;
use std::collections::BTreeSet;

use crate::act::{Act, Tool};
use crate::api::{Explanation, PackageVersion, Reason};
use crate::backoff::Pauses;
use crate::memory::{Backoff, MAX_RETREATS, Memory, Refusal, Stage, Step, Turn, Verdict};
use crate::observed::{HostSeen, LeaseSeen, NodeSeen, Ready, ToolState};

use super::{Context, Next, wait};

/// How often what is not pushed to us is looked at.
const PACE: Duration = Duration::from_secs(1);
/// How long to leave a node alone after each retreat.
const RETREATS: Pauses = Pauses { first: Duration::from_mins(5), factor: 2, cap: Duration::from_hours(1) };
/// How long to leave a node alone whose Lease somebody took away.
const LEASE_LOST_BACKOFF: Duration = Duration::from_mins(1);

pub(super) fn decide(context: &Context<'_>, turn: &Turn, verdict: &Verdict) -> Next {
    if let Some(found) = context.node.cordon_note {
        return uncordon(context, turn, found);
    }
    if !matches!(context.observed.lease, Some(LeaseSeen::Free | LeaseSeen::Other(_))) {
        return Next::Do(Act::Release { lease: turn.lease, holder: turn.holder.clone() });
    }
    let host = match context.host(Some(turn), Duration::MAX) {
        Ok(host) => host,
        Err(look) => return look,
    };
    let unheld =
        context.memory.held.iter().any(|name| host.packages.get(name).is_some_and(|package| !package.held));
    let hold = Tool::Hold { packages: context.memory.held.clone() };
    let unit = hold.unit(&turn.holder.turn, turn.unit_serial);
    if unheld && !matches!(host.tools.get(&unit), Some(ToolState::Ended(_))) {
        return Next::Do(Act::Run { unit, tool: hold });
    }
    if host.backup.as_ref() == Some(&turn.holder.turn) || !host.tools.is_empty() {
        return Next::Do(Act::CleanUp);
    }
    Next::Remember(Box::new(ended(context, turn, verdict)))
}

/// Only a node whose kubelet is Ready at a version we chose goes back into service (rule 9).
fn uncordon(context: &Context<'_>, turn: &Turn, found_cordoned: bool) -> Next {
    if found_cordoned || !context.node.unschedulable {
        return Next::Do(Act::Uncordon);
    }
    let host = match context.host(Some(turn), PACE) {
        Ok(host) => host,
        Err(look) => return look,
    };
    let Some(lack) = service_lacks(context.node, host, turn) else { return Next::Do(Act::Uncordon) };
    if !context.is_fresh(context.observed.node_at, PACE) {
        return Next::Do(Act::LookAtNode);
    }
    let message = format!("{lack}, so the node stays cordoned: look at journalctl -u kubelet");
    if context.now.unix.since(turn.entered) < context.settings.verify_timeout {
        return wait(Reason::NotReady, message, Some(context.later(PACE)));
    }
    context.enter(
        turn,
        Stage::Degraded { step: Step::Verifying, why: Explanation::new(Reason::NotReady, message) },
    )
}

/// What keeps the node out of service. A Ready from before kubelet's last start says nothing of it: after a power
/// cut the Node stays Ready for a while.
fn service_lacks(node: &NodeSeen, host: &HostSeen, turn: &Turn) -> Option<&'static str> {
    let [from, to] = [&turn.plan.from.kubelet, &turn.plan.to.kubelet].map(PackageVersion::kubernetes);
    let chosen = [from, to, Some(turn.plan.target)];
    if node.ready != Ready::True {
        Some("the Node is not Ready")
    } else if node.kubelet.is_none() || !chosen.contains(&node.kubelet) {
        Some("kubelet does not run a version this upgrade chose")
    } else if !host.kubelet.active || node.heartbeat < host.kubelet.since {
        Some("kubelet has not said that it is Ready since it was started")
    } else {
        None
    }
}

/// The memory once a turn is over.
fn ended(context: &Context<'_>, turn: &Turn, verdict: &Verdict) -> Memory {
    let over = Memory { turn: None, held: BTreeSet::new(), ..context.memory.clone() };
    let Verdict::BackedOut(why) = verdict else {
        return Memory { backoff: None, refused: None, ..over };
    };
    match why.reason {
        Reason::DrainBlocked | Reason::DrainTimedOut => retreated(context, turn, why, over),
        Reason::ToolFailed | Reason::PreflightFailed => {
            Memory { refused: Some(refusal(context, turn, why.clone())), backoff: None, ..over }
        }
        Reason::LeaseLost => {
            let retreats = context.memory.backoff.as_ref().map_or(0, |backoff| backoff.retreats);
            Memory { backoff: Some(backoff(context, turn, why, retreats, LEASE_LOST_BACKOFF)), ..over }
        }
        _ => over,
    }
}

fn retreated(context: &Context<'_>, turn: &Turn, why: &Explanation, over: Memory) -> Memory {
    let before = context.memory.backoff.as_ref().filter(|backoff| backoff.target == turn.plan.target);
    let retreats = before.map_or(0, |backoff| backoff.retreats) + 1;
    if retreats >= MAX_RETREATS {
        let message = format!(
            "the drain was given up {retreats} times: {}. Then set a new value of the annotation \
             node-upgrade-agent/retry",
            why.message
        );
        let refused = Some(refusal(context, turn, Explanation::new(Reason::DrainGivenUp, message)));
        return Memory { refused, backoff: None, ..over };
    }
    let pause = RETREATS.after(retreats);
    Memory { backoff: Some(backoff(context, turn, why, retreats, pause)), ..over }
}

fn backoff(context: &Context<'_>, turn: &Turn, why: &Explanation, retreats: u32, pause: Duration) -> Backoff {
    let until = context.now.unix.plus(pause);
    Backoff {
        target: turn.plan.target,
        retreats,
        until,
        retry: context.request.retry.clone(),
        why: why.clone(),
    }
}

fn refusal(context: &Context<'_>, turn: &Turn, why: Explanation) -> Refusal {
    let skip = context.request.skip.iter().map(|check| check.word().to_owned()).collect();
    Refusal { target: turn.plan.target.to_string(), retry: context.request.retry.clone(), skip, why }
}
