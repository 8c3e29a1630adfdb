//! `kubeadm upgrade`. In turn A it changes the static pods, in turn B kubelet's files.

use crate::act::{Act, Tool};
use crate::api::KubeadmCommand;
use crate::api::TurnKind;
use crate::api::Version;
use crate::api::{Explanation, Reason};
use crate::decide::Next;
use crate::decide::context::{Context, HOST_AGE, Look, lease_lost, wait};
use crate::judge::claim::{bars_holder, bars_resumption, bars_step};
use crate::judge::control_plane::uniform_static_pods;
use crate::judge::verb;
use crate::memory::{Plan, Run, Turn};
use crate::observed::FleetSeen;
use crate::observed::LeaseSeen;
use crate::observed::{Copy, HostSeen, ToolState};

use super::gate::{Marked, gate};
use super::tool::{self, failed, failure};
use super::{Failure, Gate, Rules, can_turn_back};

/// How old the pods and the fleet may be from which a control plane is said to be upgraded.
const SEEN_AGE: std::time::Duration = std::time::Duration::from_secs(10);

pub(super) struct Applying;

fn tool(turn: &Turn, run: Run) -> Tool {
    Tool::Kubeadm { command: run.command, target: turn.plan.target }
}

fn state(host: &HostSeen, turn: &Turn, run: Run) -> Option<ToolState> {
    host.tools.get(&tool(turn, run).unit(&turn.holder.turn, turn.unit_serial)).copied()
}

/// Whether a run of kubeadm was begun in this turn, by what this host shows.
pub(crate) fn has_run_kubeadm(cx: &Context<'_>, turn: &Turn) -> bool {
    let run = turn.run.filter(|_| turn.reached >= crate::memory::Step::Applying);
    let host = cx.observed.host.as_ref();
    let begun = |run| host.is_some_and(|host| state(host, turn, run).is_some());
    let changed =
        host.is_some_and(|host| !host.changed_manifests.is_empty() || !host.missing_manifests.is_empty());
    run.is_some_and(|run| run.succeeded || changed || begun(run) || turn.attempts() > 0)
}

impl Rules for Applying {
    /// Turn B: a run of ours ended with 0. Turn A (rule 3): kubeadm-config and the static pods are at the target, no run that was
    /// begun for it lacks its exit 0, and that of `apply` is noted for the others. What a person upgraded by hand needs no run.
    fn done(&self, cx: &Context<'_>, turn: &Turn) -> Look<bool> {
        if turn.reached > crate::memory::Step::Applying {
            return Ok(true);
        }
        match (turn.kind, turn.run) {
            (_, Some(Run { succeeded: false, .. })) | (TurnKind::Kubelet, None) => Ok(false),
            (TurnKind::Kubelet, Some(_)) => Ok(true),
            (TurnKind::ControlPlane, None) => is_at_target(cx, turn),
            (TurnKind::ControlPlane, Some(run)) => Ok(is_at_target(cx, turn)? && is_noted(cx, turn, run)),
        }
    }

    fn may_start(&self, cx: &Context<'_>, turn: &Turn) -> Look<Gate> {
        match turn.kind {
            TurnKind::Kubelet => may_configure(cx, turn),
            TurnKind::ControlPlane => may_apply(cx, turn),
        }
    }

    fn runs(&self, cx: &Context<'_>, turn: &Turn) -> bool {
        let host = cx.observed.host.as_ref();
        turn.run.is_some_and(|run| run.succeeded || host.is_some_and(|host| state(host, turn, run).is_some()))
    }

    fn act(&self, cx: &Context<'_>, turn: &Turn) -> Look<Next> {
        let host = cx.host(HOST_AGE)?;
        match turn.run {
            Some(run) if run.succeeded => prove(cx, turn, run),
            Some(run) => match state(host, turn, run) {
                Some(ToolState::Ended(0)) => {
                    let run = Some(Run { succeeded: true, ..run });
                    Ok(cx.remember(Turn { run, ..turn.clone() }))
                }
                Some(ToolState::Ended(status)) => ended_badly(cx, turn, run, host, status),
                Some(ToolState::Running) | None => begin(cx, turn, host),
            },
            None => begin(cx, turn, host),
        }
    }

    fn failed(&self) -> Failure {
        Failure::BackOut
    }

    /// Kubelet's files go back; the static pods were put back by kubeadm before this is asked, or the turn could not go back.
    fn undo(&self, cx: &Context<'_>, turn: &Turn) -> Look<()> {
        put_back_kubelets_files(cx, turn)
    }
}

/// Puts kubelet's files back as they were before the turn.
pub(crate) fn put_back_kubelets_files(cx: &Context<'_>, turn: &Turn) -> Look<()> {
    let host = cx.host(HOST_AGE)?;
    let ours = host.copies.iter().any(|copy| copy.turn == turn.holder.turn);
    if ours && host.kubelet_config_changed {
        return Err(Next::Do(Act::RestoreKubeletConfig { turn: turn.holder.turn.clone() }));
    }
    Ok(())
}

/// Turn B's configuration is the target's (rule 3). A newer minor was passed by meanwhile: the target has to follow.
fn may_configure(cx: &Context<'_>, turn: &Turn) -> Look<Gate> {
    let target = turn.plan.target;
    let mut newer = None;
    let judged = gate(cx, turn, Marked::Stands, |who, fleet, local| {
        newer = fleet.kubeadm_config.filter(|config| config.minors_ahead_of(target) > 0);
        bars_step(who, fleet, local)
    })?;
    let lost = judged == Gate::GiveWay(lease_lost(turn));
    Ok(match (newer, judged) {
        (Some(config), _) => Gate::GiveWay(past(config, target)),
        // The pods are gone already.
        (None, Gate::GiveWay(why)) if !lost => Gate::Wait(why),
        (None, judged) => judged,
    })
}

fn past(config: Version, target: Version) -> Explanation {
    let message = format!(
        "ConfigMap kube-system/kubeadm-config names {config}, which another control-plane node has applied: set the target {target} \
         of this node to {config}"
    );
    Explanation::new(Reason::PreflightFailed, message)
}

/// The last gate of turn A. Past its point of no return only etcd is asked, and what kubeadm-config names: it never goes back.
fn may_apply(cx: &Context<'_>, turn: &Turn) -> Look<Gate> {
    let (target, me) = (turn.plan.target, &turn.holder);
    let goes_back = |fleet: &FleetSeen| fleet.kubeadm_config.filter(|config| *config > target);
    let resumes = !can_turn_back(cx, turn)?;
    let mut newer = None;
    let judged = gate(cx, turn, Marked::Stands, |who, fleet, local| {
        newer = goes_back(fleet);
        match resumes {
            true => bars_resumption(who, true, fleet, local),
            // kubeadm's package may have been there, so that nothing was asked since the claim.
            false if !turn.changed => bars_holder(who, me, fleet, local),
            false => bars_step(who, fleet, local),
        }
    })?;
    Ok(match (newer, judged) {
        (Some(config), _) => Gate::GiveWay(past(config, target)),
        (None, Gate::GiveWay(why)) if resumes => Gate::Wait(why),
        (None, judged) => judged,
    })
}

/// Copies what kubeadm will change, notes what is run, runs it. Each run gets its own copy and its own unit.
fn begin(cx: &Context<'_>, turn: &Turn, host: &HostSeen) -> Look<Next> {
    cx.cri_socket_is_noted(host)?;
    let copy = Copy { turn: turn.holder.turn.clone(), run: turn.unit_serial };
    if !host.copies.contains(&copy) {
        return Ok(Next::Do(Act::BackUp { copy }));
    }
    let run = Run { command: command(cx, turn), succeeded: false };
    if turn.run != Some(run) {
        let plan = as_it_stands(cx, turn)?;
        return Ok(cx.remember(Turn { run: Some(run), plan, ..turn.clone() }));
    }
    tool::run(cx, turn, tool(turn, run), &Applying)
}

/// What a first run that fails is compared with: preflight may be an hour old.
fn as_it_stands(cx: &Context<'_>, turn: &Turn) -> Look<Plan> {
    let plan = turn.plan.clone();
    if turn.kind == TurnKind::Kubelet || turn.changed || turn.run.is_some() {
        return Ok(plan);
    }
    let static_pods = uniform_static_pods(&cx.pods(SEEN_AGE)?.pods).or(plan.static_pods);
    let kubeadm_config = cx.observed.fleet.as_ref().and_then(|fleet| fleet.kubeadm_config);
    Ok(Plan { static_pods, kubeadm_config, ..plan })
}

/// Rule 3, from the fleet that the gate has just judged.
fn command(cx: &Context<'_>, turn: &Turn) -> KubeadmCommand {
    let fleet = cx.observed.fleet.as_ref();
    match turn.kind {
        TurnKind::ControlPlane => verb::control_plane(fleet, turn.plan.target),
        TurnKind::Kubelet if turn.plan.control_plane => KubeadmCommand::NodeKubelet,
        TurnKind::Kubelet => KubeadmCommand::NodeWorker,
    }
}

/// kubeadm that failed. Where it put everything back, the turn goes back at once: the same run would fail again. Else it is tried
/// again, for a control plane of two versions is worth more than one try.
fn ended_badly(cx: &Context<'_>, turn: &Turn, run: Run, host: &HostSeen, status: i32) -> Look<Next> {
    let tool = tool(turn, run);
    let unit = tool.unit(&turn.holder.turn, turn.unit_serial);
    let what = failure(host, &tool, &unit, status);
    if turn.kind == TurnKind::ControlPlane {
        if can_turn_back(cx, turn)? {
            let words = host.last_words.get(&unit).map(String::as_str).unwrap_or_default();
            let why = crate::judge::checks::kubeadm::failed_run(&what, words);
            return Ok(cx.remember(turn.clone().back(why, cx.now)));
        }
        return Ok(failed(cx, turn, &what, &Mixed));
    }
    Ok(failed(cx, turn, &what, &Applying))
}

/// A control plane that kubeadm left half upgraded.
struct Mixed;

impl Rules for Mixed {
    fn done(&self, cx: &Context<'_>, turn: &Turn) -> Look<bool> {
        Applying.done(cx, turn)
    }

    fn act(&self, cx: &Context<'_>, turn: &Turn) -> Look<Next> {
        Applying.act(cx, turn)
    }

    fn failed(&self) -> Failure {
        Failure::Degraded
    }
}

/// kubeadm ended with 0: what it says is awaited as an observation, for a bounded time, and `apply` is noted on the Lease.
fn prove(cx: &Context<'_>, turn: &Turn, run: Run) -> Look<Next> {
    if run.command == KubeadmCommand::Apply && !is_noted(cx, turn, run) {
        return Ok(Next::Do(Act::Renew {
            lease: turn.lease,
            holder: turn.holder.clone(),
            mark: None,
            applied: Some(turn.plan.target),
        }));
    }
    let target = turn.plan.target;
    let fleet = cx.fleet(SEEN_AGE)?;
    if fleet.at >= cx.since.tool_ended_at && fleet.kubeadm_config.is_some_and(|config| config < target) {
        // What it wrote is gone: etcd was put back from a backup.
        let again = Turn { run: None, changed: true, ..turn.clone() };
        return Ok(failed(cx, &again, "kubeadm-config does not name what kubeadm wrote", &Mixed));
    }
    let limit = cx.settings.verify_timeout;
    if turn.stopwatch.spent(cx.now) > limit + APPLY {
        let message = format!(
            "kubeadm upgrade ended well, but the static pods or kubeadm-config do not show {}: look at `crictl ps` and \
             `kubectl -n kube-system get pods`; then set a new value of the annotation node-upgrade-agent/retry",
            turn.plan.target
        );
        let degraded = Some(Explanation::new(Reason::NotVerified, message));
        return Ok(cx.remember(Turn { degraded, ..turn.clone() }));
    }
    let message = format!("waiting until the static pods and kubeadm-config show {}", turn.plan.target);
    Ok(wait(Reason::Progressing, message, Some(cx.in_(cx.pace(turn)))))
}

/// What a run of kubeadm may take, beside the time for its proof.
const APPLY: std::time::Duration = std::time::Duration::from_mins(20);

fn is_noted(cx: &Context<'_>, turn: &Turn, run: Run) -> bool {
    let noted = matches!(cx.observed.lease, Some(LeaseSeen::Held { applied, .. }) if applied == Some(turn.plan.target));
    run.command != KubeadmCommand::Apply || noted
}

/// Whether kubeadm-config names the target or a newer version, and the static pods here are at one version that is no older.
fn is_at_target(cx: &Context<'_>, turn: &Turn) -> Look<bool> {
    let target = turn.plan.target;
    let fleet = cx.fleet(SEEN_AGE)?;
    if fleet.kubeadm_config.is_none_or(|config| config < target) {
        return Ok(false);
    }
    Ok(uniform_static_pods(&cx.pods(SEEN_AGE)?.pods).is_some_and(|version| version >= target))
}
