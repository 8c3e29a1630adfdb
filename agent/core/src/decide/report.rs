//! What the agent says about itself: derived from memory and observation, never read back as state.

use crate::act::Act;
use crate::api::{Blocked, DrainReport, Explanation, PassedOver, Phase, Reason, Report, Request, text};
use crate::decide::Next;
use crate::memory::{Direction, Memory, Step, Turn};
use crate::observed::{Access, Observed};
use crate::time::Unix;

/// Derives the report from what is remembered, observed and decided; none before the own Node was seen.
///
/// `setback` is why the act that runs now did not come to its end before.
pub fn derive(memory: &Memory, observed: &Observed, next: &Next, setback: Option<&str>) -> Option<Report> {
    let node = observed.node.as_ref()?;
    let turn = memory.turn.as_ref();
    let phase = phase(memory, observed, next);
    let why = why(memory, next, setback);
    let attempts =
        turn.map_or_else(|| memory.backoff.as_ref().map_or(0, |backoff| backoff.retreats), Turn::attempts);
    let drain = observed.drain.as_ref().filter(|_| phase == Phase::Draining).map(|progress| DrainReport {
        pods_left: progress.left,
        blocked: progress.blocked.clone(),
        passed_over: progress.passed_over.clone(),
    });
    Some(bounded(Report {
        target: node.target_text.clone(),
        hop: turn.map(|turn| format!("{} → {}", turn.plan.from.kubelet, turn.plan.to.kubelet)),
        phase,
        since: Unix::default(),
        attempts,
        reason: why.reason,
        message: message(phase, why.message, drain.as_ref()),
        drain,
        notes: notes(turn, &node.request, &observed.access),
        slot: turn.map(|turn| turn.lease.to_string()),
        current: node.current,
    }))
}

/// So many of a list are told, and then how many more there are where it is said at all.
const TOLD: usize = 20;

/// The report at a length that always fits onto the Node: all its annotations together may have 256 KiB, and the API
/// server would refuse every later report too.
fn bounded(report: Report) -> Report {
    let drain = report.drain.map(|drain| DrainReport {
        pods_left: drain.pods_left,
        blocked: drain.blocked.into_iter().take(TOLD).map(told).collect(),
        passed_over: drain.passed_over.iter().take(TOLD).map(left).collect(),
    });
    Report {
        target: report.target.map(|target| text::shortened(&target, text::WORD)),
        message: text::shortened(&report.message, text::MESSAGE),
        notes: report
            .notes
            .into_iter()
            .take(TOLD)
            .map(|note| text::shortened(&note, 2 * text::WORD))
            .collect(),
        drain,
        ..report
    }
}

/// The longest `namespace/name`.
const LABEL: usize = 63 + 1 + 253;

fn left(pod: &PassedOver) -> PassedOver {
    PassedOver { pod: text::shortened(&pod.pod, LABEL), why: text::shortened(&pod.why, text::NOTE) }
}

fn told(blocked: Blocked) -> Blocked {
    Blocked {
        pod: text::shortened(&blocked.pod, LABEL),
        budget: blocked.budget.map(|budget| text::shortened(&budget, LABEL)),
        message: text::shortened(&blocked.message, text::NOTE),
    }
}

fn notes(turn: Option<&Turn>, request: &Request, access: &Access) -> Vec<String> {
    let skipped = turn.into_iter().flat_map(|turn| &turn.skipped);
    let skipped = skipped.map(|check| format!("{check} failed and is passed over, as skip-checks asks"));
    let access = match access {
        Access::Usable { note } => note.clone(),
        // Without a turn it is the message itself.
        Access::Missing(why) => turn.map(|_| why.message.clone()),
    };
    skipped.chain(request.vain_skips()).chain(access).collect()
}

/// The phase a memory and a decision stand for.
pub fn phase(memory: &Memory, observed: &Observed, next: &Next) -> Phase {
    let Some(turn) = &memory.turn else { return idle_phase(memory, observed, next) };
    if turn.degraded.is_some() {
        return Phase::Degraded;
    }
    match &turn.direction {
        Direction::Back(why) if turn.reached == Step::Claiming && gives_way(why.reason) => Phase::Claiming,
        Direction::Back(_) => Phase::BackingOut,
        Direction::Forward => match (turn.reached, next) {
            // It is told while it happens: the step is over as soon as it is done.
            (Step::Claiming, Next::Do(Act::Cordon { .. })) => Phase::Cordoning,
            (reached, _) => step_phase(reached),
        },
    }
}

/// The word for a step of a turn that goes forward.
pub const fn step_phase(step: Step) -> Phase {
    match step {
        Step::Claiming => Phase::Claiming,
        Step::Cordoning => Phase::Cordoning,
        Step::Draining => Phase::Draining,
        Step::Staging => Phase::Staging,
        Step::Applying => Phase::Applying,
        Step::Installing => Phase::Installing,
        Step::Restarting => Phase::Restarting,
        Step::Verifying => Phase::Verifying,
        Step::Uncordoning => Phase::Uncordoning,
        Step::Releasing => Phase::Releasing,
    }
}

/// A Lease that is given back because it is another node's turn, or preflight has to be made anew, is no retreat.
pub(crate) fn gives_way(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::WaitingForTurn
            | Reason::BudgetExhausted
            | Reason::Halted
            | Reason::Paused
            | Reason::ControlPlaneDown
            | Reason::PreflightPending
    )
}

/// What only a person can change.
fn is_refusal(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::InvalidTarget
            | Reason::PreflightFailed
            | Reason::ToolFailed
            | Reason::NotVerified
            | Reason::DrainGivenUp
            | Reason::ControlPlaneDown
    )
}

fn idle_phase(memory: &Memory, observed: &Observed, next: &Next) -> Phase {
    match next {
        Next::Do(Act::Preflight { .. }) => Phase::Preflight,
        Next::Remember(remembered) if remembered.turn.is_some() && memory.known => Phase::Claiming,
        Next::Remember(remembered) if remembered.refused.is_some() => Phase::Refused,
        Next::Wait { why, .. } if is_refusal(why.reason) => Phase::Refused,
        Next::Wait { why, .. } => match why.reason {
            Reason::PreflightPending => Phase::Preflight,
            Reason::WaitingForTurn | Reason::BudgetExhausted | Reason::Halted | Reason::Paused => {
                Phase::Claiming
            }
            // What did not answer is asked again in the phase it was asked in.
            Reason::Retrying => underway(observed),
            _ => Phase::Idle,
        },
        Next::Do(_) | Next::Remember(_) => underway(observed),
    }
}

/// How far a node without a turn has come, where the decision alone does not tell.
fn underway(observed: &Observed) -> Phase {
    let Some(node) = &observed.node else { return Phase::Idle };
    let wanted = node.request.wanted();
    if wanted.is_none() || wanted == node.current {
        return Phase::Idle;
    }
    let prepared =
        observed.preflight.as_ref().is_some_and(|found| Some(found.target) == wanted && found.plan.is_some());
    if prepared { Phase::Claiming } else { Phase::Preflight }
}

fn why(memory: &Memory, next: &Next, setback: Option<&str>) -> Explanation {
    let turn = memory.turn.as_ref();
    if let Some(why) = turn.and_then(|turn| turn.degraded.as_ref()) {
        // What keeps a new target waiting is told with the reason of the old one.
        let waits = if let Next::Wait { why, .. } = next { Some(why) } else { None };
        // That it is being proven whole again says less than what it is degraded for.
        return waits.filter(|waits| waits.reason != Reason::Progressing).unwrap_or(why).clone();
    }
    match (next, setback) {
        (Next::Wait { why, .. }, _) => why.clone(),
        (_, Some(setback)) => Explanation::new(Reason::Retrying, setback),
        (Next::Remember(remembered), None) if remembered.refused.is_some() => {
            remembered.refused.as_ref().map_or_else(progressing, |refusal| refusal.why.clone())
        }
        (Next::Remember(_) | Next::Do(_), None) => match turn.map(|turn| &turn.direction) {
            Some(Direction::Back(why)) => why.clone(),
            _ => progressing(),
        },
    }
}

fn progressing() -> Explanation {
    Explanation::new(Reason::Progressing, "")
}

/// A sentence for people where the decision has none of its own.
fn message(phase: Phase, given: String, drain: Option<&DrainReport>) -> String {
    if !given.is_empty() {
        return given;
    }
    match (phase, drain) {
        (Phase::Draining, Some(drain)) => match drain.blocked.first() {
            Some(blocked) => {
                let budget = blocked.budget.as_deref().unwrap_or("the server");
                let more = drain.blocked.len() - 1;
                let others = if more == 0 { String::new() } else { format!(" and {more} more") };
                format!(
                    "{} pods left; {budget} holds {}{others}: {}",
                    drain.pods_left, blocked.pod, blocked.message
                )
            }
            None => format!("{} pods left", drain.pods_left),
        },
        (Phase::Preflight, _) => "finding out what can be known before anything is touched".to_owned(),
        (Phase::Claiming, _) => "waiting for the Lease".to_owned(),
        (Phase::Cordoning, _) => "making the node unschedulable".to_owned(),
        (Phase::Draining, None) => "evicting pods".to_owned(),
        (Phase::Staging, _) => "installing the kubeadm package".to_owned(),
        (Phase::Applying, _) => "running kubeadm upgrade".to_owned(),
        (Phase::Installing, _) => "installing the kubelet and kubectl packages".to_owned(),
        (Phase::Restarting, _) => "restarting kubelet".to_owned(),
        (Phase::Verifying, _) => "waiting until the node serves at its target".to_owned(),
        (Phase::Uncordoning, _) => "making the node schedulable again".to_owned(),
        (Phase::Releasing, _) => "giving the Lease back".to_owned(),
        (Phase::BackingOut | Phase::RollingBack, _) => "going back".to_owned(),
        (Phase::Idle, _) => "in service".to_owned(),
        (Phase::Refused | Phase::Degraded, _) => phase.word().to_owned(),
    }
}
