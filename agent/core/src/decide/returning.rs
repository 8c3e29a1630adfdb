//! Uncordon first, then give the Lease back, then tidy up: whatever fails, the node serves.

use std::collections::BTreeSet;

use crate::act::{Act, Tool};
use crate::api::{Explanation, PackageVersion, Reason};
use crate::memory::{Backoff, Job, MAX_RETREATS, Memory, Refusal, Stage, Step, Verdict};
use crate::observed::{HostSeen, LeaseSeen, NodeSeen, Ready, ToolState};
use crate::time::Unix;

use super::{Next, Scene, wait};

/// How often what is not pushed to us is looked at, in milliseconds.
const PACE: u64 = 1_000;
/// Seconds to leave a node alone after its first retreat; doubled with each further one.
const FIRST_BACKOFF: u64 = 300;
/// Seconds to leave a node alone whose Lease somebody took away.
const LEASE_LOST_BACKOFF: u64 = 60;

pub(super) fn decide(scene: &Scene<'_>, job: &Job, verdict: &Verdict) -> Next {
    if let Some(found) = scene.node.cordon_note {
        return uncordon(scene, job, found);
    }
    if !matches!(scene.observed.lease, Some(LeaseSeen::Free | LeaseSeen::Other(_))) {
        return Next::Do(Act::Release { lease: job.lease, holder: job.holder.clone() });
    }
    let host = match scene.host(Some(job), u64::MAX) {
        Ok(host) => host,
        Err(look) => return look,
    };
    let unheld =
        scene.memory.held.iter().any(|name| host.packages.get(name).is_some_and(|package| !package.held));
    let hold = Tool::Hold { packages: scene.memory.held.clone() };
    let unit = hold.unit(&job.holder.job, job.runs);
    if unheld && !matches!(host.tools.get(&unit), Some(ToolState::Ended(_))) {
        return Next::Do(Act::Run { unit, tool: hold });
    }
    if host.backup.as_ref() == Some(&job.holder.job) || !host.tools.is_empty() {
        return Next::Do(Act::Tidy);
    }
    Next::Remember(Box::new(ended(scene, job, verdict)))
}

/// Only a node whose kubelet is Ready at a version we chose goes back into service (rule 9).
fn uncordon(scene: &Scene<'_>, job: &Job, found_cordoned: bool) -> Next {
    if found_cordoned || !scene.node.unschedulable {
        return Next::Do(Act::Uncordon);
    }
    let host = match scene.host(Some(job), PACE) {
        Ok(host) => host,
        Err(look) => return look,
    };
    let Some(lack) = service_lacks(scene.node, host, job) else { return Next::Do(Act::Uncordon) };
    if !scene.is_fresh(scene.observed.node_at, PACE) {
        return Next::Do(Act::LookAtNode);
    }
    let message = format!("{lack}, so the node stays cordoned: look at journalctl -u kubelet");
    if scene.now.unix.since(job.entered) < scene.settings.verify_timeout {
        return wait(Reason::NotReady, message, Some(scene.in_millis(PACE)));
    }
    scene.enter(
        job,
        Stage::Degraded { step: Step::Verifying, why: Explanation::new(Reason::NotReady, message) },
    )
}

/// What keeps the node out of service. A Ready from before kubelet's last start says nothing of it: after a power
/// cut the Node stays Ready for a while.
fn service_lacks(node: &NodeSeen, host: &HostSeen, job: &Job) -> Option<&'static str> {
    let [from, to] = [&job.hop.from.kubelet, &job.hop.to.kubelet].map(PackageVersion::kubernetes);
    let chosen = [from, to, Some(job.hop.target)];
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

/// The memory once a job is over.
fn ended(scene: &Scene<'_>, job: &Job, verdict: &Verdict) -> Memory {
    let over = Memory { job: None, held: BTreeSet::new(), ..scene.memory.clone() };
    let Verdict::BackedOut(why) = verdict else {
        return Memory { backoff: None, refused: None, ..over };
    };
    match why.reason {
        Reason::DrainBlocked | Reason::DrainTimedOut => retreated(scene, job, why, over),
        Reason::ToolFailed | Reason::PreflightFailed => {
            Memory { refused: Some(refusal(scene, job, why.clone())), backoff: None, ..over }
        }
        Reason::LeaseLost => {
            let retreats = scene.memory.backoff.as_ref().map_or(0, |backoff| backoff.retreats);
            Memory { backoff: Some(backoff(scene, job, why, retreats, LEASE_LOST_BACKOFF)), ..over }
        }
        _ => over,
    }
}

fn retreated(scene: &Scene<'_>, job: &Job, why: &Explanation, over: Memory) -> Memory {
    let before = scene.memory.backoff.as_ref().filter(|backoff| backoff.target == job.hop.target);
    let retreats = before.map_or(0, |backoff| backoff.retreats) + 1;
    if retreats >= MAX_RETREATS {
        let message = format!(
            "the drain was given up {retreats} times: {}. Then set a new value of the annotation \
             node-upgrade-agent/retry",
            why.message
        );
        let refused = Some(refusal(scene, job, Explanation::new(Reason::DrainGivenUp, message)));
        return Memory { refused, backoff: None, ..over };
    }
    let seconds = FIRST_BACKOFF << (retreats - 1);
    Memory { backoff: Some(backoff(scene, job, why, retreats, seconds)), ..over }
}

fn backoff(scene: &Scene<'_>, job: &Job, why: &Explanation, retreats: u32, seconds: u64) -> Backoff {
    let until = Unix(scene.now.unix.0.saturating_add(seconds));
    Backoff { target: job.hop.target, retreats, until, retry: scene.request.retry.clone(), why: why.clone() }
}

fn refusal(scene: &Scene<'_>, job: &Job, why: Explanation) -> Refusal {
    let skip = scene.request.skip.iter().map(|check| check.word().to_owned()).collect();
    Refusal { target: job.hop.target.to_string(), retry: scene.request.retry.clone(), skip, why }
}
