//! Changing the host, forward to the target or back before the point of no return.

use crate::act::{Act, Tool};
use crate::api::{Explanation, PackageVersion, Reason};
use crate::memory::{Hop, Job, MAX_TRIES, Packages, Stage, Step, Verdict, Way};
use crate::observed::{HostSeen, ToolState};
use crate::time::Unix;

use super::{Next, PROOF, Proof, Scene, lease_lost, verifying, wait};

/// How old the look at the host may be from which a step is judged done.
const HOST_AGE: u64 = 30_000;
/// How old it may be where a tool is started.
const START_AGE: u64 = 2_000;
/// Seconds before a failed tool's second try; the third waits four times as long.
const TOOL_PAUSE: u64 = 15;

pub(super) fn forward(scene: &Scene<'_>, job: &Job, step: &Step) -> Next {
    if *step == Step::Verifying {
        return verifying::decide(scene, job);
    }
    let host = match scene.host(Some(job), HOST_AGE) {
        Ok(host) => host,
        Err(look) => return look,
    };
    if let Some(repair) = repair(scene, job, step, host) {
        return repair;
    }
    if can_turn_back(job, step)
        && let Some(why) = scene.cancelled(job)
    {
        return turn_back(scene, job, step, why);
    }
    if let Some(passed) = passed_by(host, job, step) {
        return passed_by_hand(scene, job, step, passed);
    }
    let to = &job.hop.to;
    match step {
        Step::Staging if is_installed(host, "kubeadm", &to.kubeadm) => {
            past_gate(scene, job, step, Step::Applying)
        }
        Step::Staging => {
            run(scene, job, step, host, Tool::InstallKubeadm { packages: to.clone(), back: false })
        }
        Step::Applying => applying(scene, job, step, host),
        Step::Installing if has_kubelet(host, to) => {
            scene.step(job, Step::Restarting { before: host.kubelet.invocation.clone() })
        }
        Step::Installing => run(scene, job, step, host, Tool::InstallKubelet { packages: to.clone() }),
        Step::Restarting { before } if host.kubelet.invocation == *before => Next::Do(Act::RestartKubelet),
        Step::Restarting { .. } | Step::Verifying => scene.step(job, Step::Verifying),
    }
}

/// Goes back to the packages the job came from; only reached before the point of no return.
pub(super) fn back(scene: &Scene<'_>, job: &Job, step: &Step, why: &Explanation) -> Next {
    let host = match scene.host(Some(job), HOST_AGE) {
        Ok(host) => host,
        Err(look) => return look,
    };
    let returning = |why: Explanation| scene.enter(job, Stage::Returning(Verdict::BackedOut(why)));
    if job.tries < MAX_TRIES
        && let Some(repair) = repair(scene, job, step, host)
    {
        return repair;
    }
    if host.backup.as_ref() == Some(&job.holder.job) && host.kubelet_config_changed {
        return Next::Do(Act::RestoreKubeletConfig { job: job.holder.job.clone() });
    }
    let from = &job.hop.from;
    if is_installed(host, "kubeadm", &from.kubeadm) {
        return returning(why.clone());
    }
    // Only what this job installed is taken back: anything else is somebody's own doing.
    if !is_installed(host, "kubeadm", &job.hop.to.kubeadm) && !host.dpkg_interrupted && job.tries == 0 {
        return returning(why.clone());
    }
    if !job.hop.way_back || job.tries >= MAX_TRIES {
        let message = format!(
            "{}; kubeadm stays at its new version, because {} could not be put back",
            why.message, from.kubeadm
        );
        return returning(Explanation::new(why.reason, message));
    }
    run(scene, job, step, host, Tool::InstallKubeadm { packages: from.clone(), back: true })
}

/// The package of this step that somebody has taken past the target meanwhile.
fn passed_by<'a>(host: &'a HostSeen, job: &Job, step: &Step) -> Option<&'a PackageVersion> {
    let package = match step {
        Step::Staging => "kubeadm",
        Step::Installing => "kubelet",
        Step::Applying | Step::Restarting { .. } | Step::Verifying => return None,
    };
    host.version(package)
        .filter(|version| version.kubernetes().is_some_and(|version| version > job.hop.target))
}

/// Rule 5: nothing is taken back that somebody else installed.
fn passed_by_hand(scene: &Scene<'_>, job: &Job, step: &Step, version: &PackageVersion) -> Next {
    let message = format!(
        "somebody installed {version}, which is past the target {}, in the middle of the upgrade: set the target to \
         that version, or put the packages back",
        job.hop.target
    );
    let why = Explanation::new(Reason::PreflightFailed, message);
    if can_turn_back(job, step) {
        turn_back(scene, job, step, why)
    } else {
        scene.enter(job, Stage::Degraded { step: step.clone(), why })
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
fn can_turn_back(job: &Job, step: &Step) -> bool {
    match step {
        Step::Staging => true,
        Step::Applying => !job.hop.verb.is_control_plane(),
        Step::Installing | Step::Restarting { .. } | Step::Verifying => false,
    }
}

fn turn_back(scene: &Scene<'_>, job: &Job, step: &Step, why: Explanation) -> Next {
    scene.enter(job, Stage::Changing { step: step.clone(), way: Way::Back(why) })
}

/// The next step, where a Lease proved just now is needed because it may be the last before the point of no return.
fn past_gate(scene: &Scene<'_>, job: &Job, step: &Step, next: Step) -> Next {
    match scene.proof(job, PROOF) {
        Proof::Ours => scene.step(job, next),
        Proof::Ask(renew) => renew,
        Proof::Lost => turn_back(scene, job, step, lease_lost(job)),
    }
}

/// A tool of ours that still runs is awaited before anything else, and an interrupted dpkg is repaired.
fn repair(scene: &Scene<'_>, job: &Job, step: &Step, host: &HostSeen) -> Option<Next> {
    if let Some(unit) =
        host.tools.iter().find(|(_, state)| **state == ToolState::Running).map(|(unit, _)| unit)
    {
        return Some(Next::Do(Act::Await { unit: unit.clone() }));
    }
    host.dpkg_interrupted.then(|| run(scene, job, step, host, Tool::RepairDpkg))
}

fn applying(scene: &Scene<'_>, job: &Job, step: &Step, host: &HostSeen) -> Next {
    let id = &job.holder.job;
    if host.backup.as_ref() != Some(id) {
        return Next::Do(Act::BackUp { job: id.clone() });
    }
    let Hop { verb, target, .. } = job.hop;
    let tool = Tool::Kubeadm { verb, target };
    if host.tools.get(&tool.unit(id, job.runs)) == Some(&ToolState::Ended(0)) {
        return if verb.is_control_plane() {
            scene.step(job, Step::Installing)
        } else {
            past_gate(scene, job, step, Step::Installing)
        };
    }
    if !host.missing_manifests.is_empty() {
        return Next::Do(Act::RestoreManifests { job: id.clone() });
    }
    run(scene, job, step, host, tool)
}

/// Starts a tool: where there is a way back only with a Lease proved just now, for a long wait may lie behind.
fn start(scene: &Scene<'_>, job: &Job, step: &Step, unit: String, tool: Tool) -> Next {
    if can_turn_back(job, step) && !is_turning_back(job) {
        match scene.proof(job, PROOF) {
            Proof::Ours => {}
            Proof::Ask(renew) => return renew,
            Proof::Lost => return turn_back(scene, job, step, lease_lost(job)),
        }
    }
    // What is installed is looked at once more: people install packages too.
    scene.host(Some(job), START_AGE).map_or_else(|look| look, |_| Next::Do(Act::Run { unit, tool }))
}

fn is_turning_back(job: &Job) -> bool {
    matches!(job.stage, Stage::Changing { way: Way::Back(_), .. })
}

/// Runs a tool of the present step, or counts its failure: each try has a unit of its own name, so a try that
/// ended is told from one that never began.
fn run(scene: &Scene<'_>, job: &Job, step: &Step, host: &HostSeen, tool: Tool) -> Next {
    let unit = tool.unit(&job.holder.job, job.runs);
    let status = match host.tools.get(&unit) {
        Some(ToolState::Ended(status)) => *status,
        Some(ToolState::Running) | None if job.not_before > scene.now.unix => {
            let message = format!("{} failed; waiting before it is tried again", tool.word());
            return wait(Reason::ToolFailed, message, Some(scene.moment(job.not_before)));
        }
        Some(ToolState::Running) | None => return start(scene, job, step, unit, tool),
    };
    let tries = job.tries + 1;
    if tries < MAX_TRIES || is_turning_back(job) {
        let pause = TOOL_PAUSE.saturating_mul(u64::from(tries * tries));
        let not_before = Unix(scene.now.unix.0.saturating_add(pause));
        return scene.remember(Job { tries, runs: job.runs + 1, not_before, ..job.clone() });
    }
    let words = host.last_words.get(&unit).map_or_else(String::new, |words| format!(": {words}"));
    let message = format!(
        "{} failed {tries} times, last with exit status {status}{words}; its full output: journalctl -u {unit}",
        tool.word()
    );
    let why = Explanation::new(Reason::ToolFailed, message);
    if can_turn_back(job, step) {
        turn_back(scene, job, step, why)
    } else {
        scene.enter(job, Stage::Degraded { step: step.clone(), why })
    }
}
