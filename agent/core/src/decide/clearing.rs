//! Taking the Lease, cordoning, draining. Nothing on the host has changed yet.

use core::time::Duration;

use crate::act::Act;
use crate::api::{Explanation, KubeadmCommand, Reason, Version};
use crate::judge::claim::{self, ClaimStanding};
use crate::judge::cordon::is_cordoned_by_us;
use crate::memory::{Memory, Plan, Stage, Step, Turn, Verdict};
use crate::observed::{DrainState, FleetSeen, LeaseSeen, Observed};
use crate::time::{Mono, Unix};

use super::changing::is_installed;
use super::idle::candidate;
use super::{Context, GRAIN, Next, PROOF, PROOF_WHILE_DRAINING, Proof, lease_lost, renew};

/// How old the consistent read may be on which a cordon rests.
const FLEET_AGE: Duration = Duration::from_secs(10);

pub(super) fn decide(context: &Context<'_>, turn: &Turn, disturbed: Option<Unix>) -> Next {
    if let Some(cancelled) = context.cancelled(turn) {
        return back_out(context, turn, cancelled);
    }
    let cordoned = context.node.cordon_note.is_some();
    match &context.observed.lease {
        None => Next::Do(renew(turn)),
        Some(LeaseSeen::Free | LeaseSeen::Other(_)) if cordoned => back_out(context, turn, lease_lost(turn)),
        Some(LeaseSeen::Free) if is_prepared(context, turn) => {
            Next::Do(Act::Claim { lease: turn.lease, holder: turn.holder.clone() })
        }
        Some(LeaseSeen::Free | LeaseSeen::Other(_)) => forget(context),
        Some(LeaseSeen::Held { turn: held, .. }) if *held != turn.holder.turn => Next::Do(renew(turn)),
        Some(LeaseSeen::Held { at, .. }) => match disturbed {
            Some(since) if cordoned => drain(context, turn, since),
            _ => may_cordon(context, turn, *at, disturbed),
        },
    }
}

/// Whether preflight for this turn's target was made in this life of the agent.
fn is_prepared(context: &Context<'_>, turn: &Turn) -> bool {
    context.observed.preflight.as_ref().is_some_and(|findings| findings.target == turn.plan.target)
}

/// The claim was lost, or what preflight found is gone with the agent's last life: nothing was touched, begin anew.
fn forget(context: &Context<'_>) -> Next {
    Next::Remember(Box::new(Memory { turn: None, ..context.memory.clone() }))
}

fn back_out(context: &Context<'_>, turn: &Turn, why: Explanation) -> Next {
    context.enter(turn, Stage::Returning(Verdict::BackedOut(why)))
}

/// Between claim and cordon: the fleet on a consistent read, the host once more.
fn may_cordon(context: &Context<'_>, turn: &Turn, claimed: Mono, disturbed: Option<Unix>) -> Next {
    let host = match context.host(Some(turn), FLEET_AGE) {
        Ok(host) => host,
        Err(look) => return look,
    };
    let from = &turn.plan.from;
    let as_found = is_installed(host, "kubeadm", &from.kubeadm)
        && is_installed(host, "kubelet", &from.kubelet)
        && !host.dpkg_interrupted;
    if !as_found {
        let message = "packages changed, or dpkg was interrupted, between preflight and cordon";
        return back_out(context, turn, Explanation::new(Reason::PreflightPending, message));
    }
    let local = context.observed.local.as_ref().filter(|local| context.is_fresh(local.at, FLEET_AGE));
    if turn.plan.command.is_control_plane() && local.is_none() {
        return Next::Do(Act::LookAtControlPlane);
    }
    let Some(fleet) = context
        .observed
        .fleet
        .as_ref()
        .filter(|fleet| fleet.at >= claimed && context.is_fresh(fleet.at, FLEET_AGE))
    else {
        return Next::Do(Act::LookAtFleet);
    };
    match claim::claim_stands(candidate(context, turn.lease, &turn.plan), &turn.holder, fleet, local) {
        ClaimStanding::Holds if disturbed.is_none() => {
            if let Some(why) = cluster_is_past(fleet, turn) {
                return back_out(context, turn, why);
            }
            let command = command(turn.plan.command, fleet, turn.plan.target);
            let decided = Turn { plan: Plan { command, ..turn.plan.clone() }, ..turn.clone() };
            context.enter(&decided, Stage::Clearing { disturbed: Some(context.now.unix) })
        }
        ClaimStanding::Holds => match context.proof(turn, PROOF) {
            Proof::Ours => Next::Do(Act::Cordon),
            Proof::Ask(renew) => renew,
            Proof::Lost => back_out(context, turn, lease_lost(turn)),
        },
        ClaimStanding::KeepAndWait(why) => Next::Wait { why, until: Some(fleet.at.plus(FLEET_AGE + GRAIN)) },
        ClaimStanding::GiveBack(why) => back_out(context, turn, why),
    }
}

/// kubeadm-config past a control plane's target: `apply` would take it back, and `node` would go past the target.
fn cluster_is_past(fleet: &FleetSeen, turn: &Turn) -> Option<Explanation> {
    let (named, target) = (fleet.kubeadm_config?, turn.plan.target);
    (turn.plan.command.is_control_plane() && named > target).then(|| {
        let message = format!(
            "ConfigMap kube-system/kubeadm-config names {named}, which another control-plane node has applied: set the \
             target {target} of this node to {named}"
        );
        Explanation::new(Reason::PreflightFailed, message)
    })
}

/// The first control-plane node of a version runs `apply`, which writes kubeadm-config; the others run `node`
/// (rule 3). Decided once, with the control plane's Lease in hand and before anything is touched: earlier another
/// node may still be first, later the answer would be wrong.
fn command(planned: KubeadmCommand, fleet: &FleetSeen, target: Version) -> KubeadmCommand {
    match planned {
        KubeadmCommand::NodeWorker => KubeadmCommand::NodeWorker,
        KubeadmCommand::Apply | KubeadmCommand::NodeControlPlane if fleet.kubeadm_config == Some(target) => {
            KubeadmCommand::NodeControlPlane
        }
        KubeadmCommand::Apply | KubeadmCommand::NodeControlPlane => KubeadmCommand::Apply,
    }
}

fn drain(context: &Context<'_>, turn: &Turn, since: Unix) -> Next {
    if !is_cordoned_by_us(context.node) {
        return Next::Do(Act::Cordon);
    }
    let age = if drains(context.observed) { PROOF_WHILE_DRAINING } else { PROOF };
    match context.proof(turn, age) {
        Proof::Ours => {}
        Proof::Ask(renew) => return renew,
        Proof::Lost => return back_out(context, turn, lease_lost(turn)),
    }
    match context.observed.drain.as_ref().map(|drain| (&drain.state, drain.at)) {
        Some((DrainState::Drained, at)) if context.is_fresh(at, PROOF) => context.step(turn, Step::Staging),
        Some((DrainState::GivenUp(why), _)) => back_out(context, turn, why.clone()),
        Some((DrainState::Draining | DrainState::Drained, _)) | None => {
            let options = context.settings.drain.clone();
            let until = since.plus(options.timeout);
            Next::Do(Act::Drain { options, until })
        }
    }
}

fn drains(observed: &Observed) -> bool {
    observed.drain.as_ref().is_some_and(|drain| drain.state == DrainState::Draining)
}
