//! Changing the host, forward to the target or back before the point of no return.

use core::time::Duration;

use crate::act::{Act, Tool};
use crate::api::{Explanation, PackageVersion, Reason};
use crate::backoff::Pauses;
use crate::memory::{Direction, MAX_ATTEMPTS, Packages, Plan, Stage, Step, Turn, Verdict};
use crate::observed::{HostSeen, ToolState};

use super::{Context, Next, PROOF, Proof, lease_lost, verifying, wait};

/// How old the look at the host may be from which a step is judged done.
const HOST_AGE: Duration = Duration::from_secs(30);
/// How old it may be where a tool is started.
const START_AGE: Duration = Duration::from_secs(2);
/// Before a failed tool's second try, and before the third.
const TOOL_PAUSES: Pauses =
    Pauses { first: Duration::from_secs(15), factor: 4, cap: Duration::from_secs(135) };

pub(super) fn forward(context: &Context<'_>, turn: &Turn, step: &Step) -> Next {
    if *step == Step::Verifying {
        return verifying::decide(context, turn);
    }
    let host = match context.host(Some(turn), HOST_AGE) {
        Ok(host) => host,
        Err(look) => return look,
    };
    if let Some(repair) = repair(context, turn, step, host) {
        return repair;
    }
    if can_turn_back(turn, step)
        && let Some(why) = context.cancelled(turn)
    {
        return turn_back(context, turn, step, why);
    }
    if let Some(passed) = passed_by(host, turn, step) {
        return passed_by_hand(context, turn, step, passed);
    }
    let to = &turn.plan.to;
    match step {
        Step::Staging if is_installed(host, "kubeadm", &to.kubeadm) => {
            past_gate(context, turn, step, Step::Applying)
        }
        Step::Staging => {
            run(context, turn, step, host, Tool::InstallKubeadm { packages: to.clone(), back: false })
        }
        Step::Applying => applying(context, turn, step, host),
        Step::Installing if has_kubelet(host, to) => {
            context.step(turn, Step::Restarting { before: host.kubelet.invocation.clone() })
        }
        Step::Installing => run(context, turn, step, host, Tool::InstallKubelet { packages: to.clone() }),
        Step::Restarting { before } if host.kubelet.invocation == *before => Next::Do(Act::RestartKubelet),
        Step::Restarting { .. } | Step::Verifying => context.step(turn, Step::Verifying),
    }
}

/// Goes back to the packages the turn came from; only reached before the point of no return.
pub(super) fn back(context: &Context<'_>, turn: &Turn, step: &Step, why: &Explanation) -> Next {
    let host = match context.host(Some(turn), HOST_AGE) {
        Ok(host) => host,
        Err(look) => return look,
    };
    let returning = |why: Explanation| context.enter(turn, Stage::Returning(Verdict::BackedOut(why)));
    if turn.attempts < MAX_ATTEMPTS
        && let Some(repair) = repair(context, turn, step, host)
    {
        return repair;
    }
    if host.backup.as_ref() == Some(&turn.holder.turn) && host.kubelet_config_changed {
        return Next::Do(Act::RestoreKubeletConfig { turn: turn.holder.turn.clone() });
    }
    let from = &turn.plan.from;
    if is_installed(host, "kubeadm", &from.kubeadm) {
        return returning(why.clone());
    }
    // Only what this turn installed is taken back: anything else is somebody's own doing.
    if !is_installed(host, "kubeadm", &turn.plan.to.kubeadm) && !host.dpkg_interrupted && turn.attempts == 0 {
        return returning(why.clone());
    }
    if !turn.plan.can_restore_packages || turn.attempts >= MAX_ATTEMPTS {
        let message = format!(
            "{}; kubeadm stays at its new version, because {} could not be put back",
            why.message, from.kubeadm
        );
        return returning(Explanation::new(why.reason, message));
    }
    run(context, turn, step, host, Tool::InstallKubeadm { packages: from.clone(), back: true })
}

/// The package of this step that somebody has taken past the target meanwhile.
fn passed_by<'a>(host: &'a HostSeen, turn: &Turn, step: &Step) -> Option<&'a PackageVersion> {
    let package = match step {
        Step::Staging => "kubeadm",
        Step::Installing => "kubelet",
        Step::Applying | Step::Restarting { .. } | Step::Verifying => return None,
    };
    host.version(package)
        .filter(|version| version.kubernetes().is_some_and(|version| version > turn.plan.target))
}

/// Rule 5: nothing is taken back that somebody else installed.
fn passed_by_hand(context: &Context<'_>, turn: &Turn, step: &Step, version: &PackageVersion) -> Next {
    let message = format!(
        "somebody installed {version}, which is past the target {}, in the middle of the upgrade: set the target to \
         that version, or put the packages back",
        turn.plan.target
    );
    let why = Explanation::new(Reason::PreflightFailed, message);
    if can_turn_back(turn, step) {
        turn_back(context, turn, step, why)
    } else {
        context.enter(turn, Stage::Degraded { step: step.clone(), why })
    }
}

/// Whether this version is there whole, neither half-installed nor unconfigured.
pub(super) fn is_installed(host: &HostSeen, package: &str, version: &PackageVersion) -> bool {
    host.packages.get(package).is_some_and(|seen| seen.configured && seen.version == *version)
}

fn has_kubelet(host: &HostSeen, to: &Packages) -> bool {
    is_installed(host, "kubelet", &to.kubelet)
        && to.kubectl.as_ref().is_none_or(|version| is_installed(host, "kubectl", version))
}

/// The point of no return is the start of `applying` on a control plane and of `installing` on a worker (rule 9).
fn can_turn_back(turn: &Turn, step: &Step) -> bool {
    match step {
        Step::Staging => true,
        Step::Applying => !turn.plan.command.is_control_plane(),
        Step::Installing | Step::Restarting { .. } | Step::Verifying => false,
    }
}

fn turn_back(context: &Context<'_>, turn: &Turn, step: &Step, why: Explanation) -> Next {
    context.enter(turn, Stage::Changing { step: step.clone(), direction: Direction::Back(why) })
}

/// The next step, where a Lease proved just now is needed because it may be the last before the point of no return.
fn past_gate(context: &Context<'_>, turn: &Turn, step: &Step, next: Step) -> Next {
    match context.proof(turn, PROOF) {
        Proof::Ours => context.step(turn, next),
        Proof::Ask(renew) => renew,
        Proof::Lost => turn_back(context, turn, step, lease_lost(turn)),
    }
}

/// A tool of ours that still runs is awaited before anything else, and an interrupted dpkg is repaired.
fn repair(context: &Context<'_>, turn: &Turn, step: &Step, host: &HostSeen) -> Option<Next> {
    if let Some(unit) =
        host.tools.iter().find(|(_, state)| **state == ToolState::Running).map(|(unit, _)| unit)
    {
        return Some(Next::Do(Act::Await { unit: unit.clone() }));
    }
    host.dpkg_interrupted.then(|| run(context, turn, step, host, Tool::RepairDpkg))
}

fn applying(context: &Context<'_>, turn: &Turn, step: &Step, host: &HostSeen) -> Next {
    let id = &turn.holder.turn;
    if host.backup.as_ref() != Some(id) {
        return Next::Do(Act::BackUp { turn: id.clone() });
    }
    let Plan { command, target, .. } = turn.plan;
    let tool = Tool::Kubeadm { command, target };
    if host.tools.get(&tool.unit(id, turn.unit_serial)) == Some(&ToolState::Ended(0)) {
        return if command.is_control_plane() {
            context.step(turn, Step::Installing)
        } else {
            past_gate(context, turn, step, Step::Installing)
        };
    }
    if !host.missing_manifests.is_empty() {
        return Next::Do(Act::RestoreManifests { turn: id.clone() });
    }
    run(context, turn, step, host, tool)
}

/// Starts a tool: where there is a way back only with a Lease proved just now, for a long wait may lie behind.
fn start(context: &Context<'_>, turn: &Turn, step: &Step, unit: String, tool: Tool) -> Next {
    if can_turn_back(turn, step) && !is_turning_back(turn) {
        match context.proof(turn, PROOF) {
            Proof::Ours => {}
            Proof::Ask(renew) => return renew,
            Proof::Lost => return turn_back(context, turn, step, lease_lost(turn)),
        }
    }
    // What is installed is looked at once more: people install packages too.
    context.host(Some(turn), START_AGE).map_or_else(|look| look, |_| Next::Do(Act::Run { unit, tool }))
}

fn is_turning_back(turn: &Turn) -> bool {
    matches!(turn.stage, Stage::Changing { direction: Direction::Back(_), .. })
}

/// Runs a tool of the present step, or counts its failure: each try has a unit of its own name, so a try that
/// ended is told from one that never began.
fn run(context: &Context<'_>, turn: &Turn, step: &Step, host: &HostSeen, tool: Tool) -> Next {
    let unit = tool.unit(&turn.holder.turn, turn.unit_serial);
    let status = match host.tools.get(&unit) {
        Some(ToolState::Ended(status)) => *status,
        Some(ToolState::Running) | None if turn.not_before > context.now.unix => {
            let message = format!("{} failed; waiting before it is tried again", tool.word());
            return wait(Reason::ToolFailed, message, Some(context.moment(turn.not_before)));
        }
        Some(ToolState::Running) | None => return start(context, turn, step, unit, tool),
    };
    let attempts = turn.attempts + 1;
    if attempts < MAX_ATTEMPTS || is_turning_back(turn) {
        let not_before = context.now.unix.plus(TOOL_PAUSES.after(attempts));
        return context.remember(Turn {
            attempts,
            unit_serial: turn.unit_serial + 1,
            not_before,
            ..turn.clone()
        });
    }
    let words = host.last_words.get(&unit).map_or_else(String::new, |words| format!(": {words}"));
    let message = format!(
        "{} failed {attempts} times, last with exit status {status}{words}; its full output: journalctl -u {unit}",
        tool.word()
    );
    let why = Explanation::new(Reason::ToolFailed, message);
    if can_turn_back(turn, step) {
        turn_back(context, turn, step, why)
    } else {
        context.enter(turn, Stage::Degraded { step: step.clone(), why })
    }
}
