//! Rules 8, 12 and 13: whose Lease it is, and what may be done with it.

use super::fleet::Held;
use super::{Judged, Rule, Violation, What, Who};
use crate::api::{KubeadmCommand, LeaseName, Phase, Version};

/// After this time without its Node a holder may be replaced, in milliseconds.
const ABSENT_LONG_ENOUGH: u64 = 600_000;

/// How old a proof of the Lease may be where there is no way back, in milliseconds: the Lease is compared and swapped
/// just before, within fifteen seconds, and a tool takes some seconds to be seen started.
pub(super) const PROOF_AGE: u64 = 20_000;

pub(super) fn judge(judged: &Judged<'_>) -> Vec<Violation> {
    let broken = match &judged.event.what {
        // Where the rule is kept nobody takes what is held: its premise is that somebody would.
        What::Reported { phase: Phase::Claiming, .. } if is_held_by_another(judged) => {
            judged.arose(Rule::LeaseStolen);
            Vec::new()
        }
        What::Cordoned { by: Who::Agent(_) } => vec![own_node(judged), stranger(judged, "it was cordoned")],
        What::Evicted { by: Who::Agent(_), .. } => {
            vec![
                own_node(judged),
                stranger(judged, "a pod was evicted"),
                without_lease(judged, "a pod was evicted"),
            ]
        }
        What::Uncordoned { by: Who::Agent(_) } => vec![own_node(judged)],
        What::ToolStarted { tool, kubeadm } if super::host::changes(tool) => {
            vec![tool_without_lease(judged, tool, *kubeadm), tool_of_a_stranger(judged, tool, *kubeadm)]
        }
        What::PackageInstalled { package, by: Who::Agent(_), .. } => {
            let since = judged.goes_forward_since(package);
            let tolerance = judged.expectations.renewal;
            let what = "kubeadm was installed";
            vec![
                since.and_then(|since| lost_for(judged, what, tolerance + since)),
                since.and_then(|_| stranger(judged, what)),
            ]
        }
        What::LeaseTaken { lease, uid, turn } => {
            vec![stolen(judged, *lease, uid), names_nobody(judged, *lease, uid, turn)]
        }
        What::LeaseReleased { by: Who::Agent(by), .. } => vec![own_node(judged), released_last(judged, by)],
        _ => Vec::new(),
    };
    broken.into_iter().flatten().collect()
}

fn own_node(judged: &Judged<'_>) -> Option<Violation> {
    let (What::Cordoned { by }
    | What::Uncordoned { by }
    | What::Evicted { by, .. }
    | What::LeaseReleased { by, .. }) = &judged.event.what
    else {
        return None;
    };
    judged.arose(Rule::OwnNode);
    match by {
        Who::Agent(agent) if *agent != judged.event.node => {
            Some(judged.broken(Rule::OwnNode, format!("the agent of {agent} changed another node"), &[]))
        }
        _ => None,
    }
}

/// Whether another holds a Lease of the kind that this node claims.
fn is_held_by_another(judged: &Judged<'_>) -> bool {
    let claims = |lease: &LeaseName| (*lease == LeaseName::ControlPlane) == judged.node().control_plane;
    judged.fleet.leases.iter().any(|(lease, held)| claims(lease) && held.node != judged.event.node)
}

/// A Node that was made anew has another UID: neither is it its predecessor, nor is that one there any more.
fn stolen(judged: &Judged<'_>, lease: LeaseName, uid: &str) -> Option<Violation> {
    let another = |held: &Held| held.node != judged.event.node || held.uid != uid;
    let held = judged.fleet.leases.get(&lease).filter(|held| another(held))?;
    judged.arose(Rule::LeaseStolen);
    let gone = judged.fleet.node(&held.node).gone_since(&held.uid, held.by);
    let absent = gone.is_some_and(|index| judged.age(index) >= ABSENT_LONG_ENOUGH);
    if absent && lease != LeaseName::ControlPlane {
        return None;
    }
    let message = format!("{lease} was taken while {} held it, the Node of UID {}", held.node, held.uid);
    Some(judged.broken(Rule::LeaseStolen, message, &[Some(held.by), gone]))
}

fn released_last(judged: &Judged<'_>, by: &str) -> Option<Violation> {
    judged.arose(Rule::ReleaseLast);
    let node = judged.fleet.node(by);
    if let Some(tool) = node.tool.filter(|tool| super::host::changes(tool.is)) {
        let message = format!("the Lease was given back while {} still ran", tool.is);
        return Some(judged.broken(Rule::ReleaseLast, message, &[Some(tool.by)]));
    }
    let cordon = node.cordoned_by_agent()?;
    let message = "the Lease was given back while its own cordon stood";
    Some(judged.broken(Rule::ReleaseLast, message, &[Some(cordon.by)]))
}

/// Where there is a way back, a heartbeat each minute is proof enough.
pub(super) fn without_lease(judged: &Judged<'_>, what: &str) -> Option<Violation> {
    lost_for(judged, what, judged.expectations.renewal)
}

/// Nothing disturbing is begun without the Lease. Once kubelet's package was begun the node finishes all the same; a control
/// plane's own upgrade wants a new claim before it is gone on with.
fn lost_for(judged: &Judged<'_>, what: &str, tolerance: u64) -> Option<Violation> {
    let Some(tenure) = &judged.node().tenure else {
        judged.arose(Rule::LeaseHeld);
        return Some(judged.broken(Rule::LeaseHeld, format!("{what} without a Lease"), &[]));
    };
    let lost = tenure.lost?;
    judged.arose(Rule::LeaseHeld);
    if judged.age(lost) <= tolerance || tenure.irreversible.contains("install-kubelet") {
        return None;
    }
    Some(judged.broken(
        Rule::LeaseHeld,
        format!("{what} after its Lease was lost"),
        &[Some(tenure.taken), Some(lost)],
    ))
}

/// kubeadm's own package may be put back without the Lease: that is how a node backs out.
fn tool_without_lease(
    judged: &Judged<'_>,
    tool: &str,
    kubeadm: Option<(KubeadmCommand, Version)>,
) -> Option<Violation> {
    if judged.may_put_back(tool) {
        return None;
    }
    let irreversible = super::host::is_irreversible(judged.node(), tool, kubeadm);
    let tolerance = if irreversible { PROOF_AGE } else { judged.expectations.renewal };
    lost_for(judged, &format!("{tool} was started"), tolerance)
}

/// The holder is a Node of this name with another UID: it is somebody else, and so is a turn without a name.
fn names_nobody(judged: &Judged<'_>, lease: LeaseName, uid: &str, turn: &str) -> Option<Violation> {
    judged.arose(Rule::LeaseIdentity);
    let broken = |message: &str, by| Some(judged.broken(Rule::LeaseIdentity, message, &[by]));
    let node = judged.node();
    if turn.is_empty() {
        return broken("a Lease was taken for no turn", None);
    }
    if node.uid.is_some() && node.control_plane != (lease == LeaseName::ControlPlane) {
        return broken("a Lease was taken that is for another kind of node", None);
    }
    if let Some(deleted) = node.deleted.filter(|&deleted| !judged.unnoticed(deleted)) {
        return broken("a Lease was taken for a Node that does not exist", Some(deleted));
    }
    // An etcd that was put back has brought an earlier Node; whoever reads it through a server without its member is not told.
    let unread = node.own_server.is_some() && node.etcd.is_some_and(|etcd| !etcd.is);
    let exists = node.uid.as_ref().filter(|is| is.is != uid && !judged.unnoticed(is.by))?;
    if unread && node.gone.contains_key(uid) {
        return None;
    }
    broken("a Lease was taken with the UID of another Node", Some(exists.by))
}

/// Disturbing a Node under a Lease that was taken for an earlier one of its name.
fn stranger(judged: &Judged<'_>, what: &str) -> Option<Violation> {
    let node = judged.node();
    let (tenure, uid) = (node.tenure.as_ref()?, node.uid.as_ref()?);
    judged.arose(Rule::LeaseIdentity);
    // Past its point of no return, also where a person took it there, a turn goes on for the Node that is there now.
    let past = tenure.past_return.is_some() || node.by_hand > Some(tenure.taken);
    let another = tenure.uid != uid.is && !judged.unnoticed(uid.by) && !past;
    another.then(|| {
        let message = format!("{what} under a Lease that an earlier Node of this name holds");
        judged.broken(Rule::LeaseIdentity, message, &[Some(tenure.taken), Some(uid.by)])
    })
}

fn tool_of_a_stranger(
    judged: &Judged<'_>,
    tool: &str,
    kubeadm: Option<(KubeadmCommand, Version)>,
) -> Option<Violation> {
    if judged.may_put_back(tool) || super::host::runs_once_more(judged.node(), kubeadm) {
        return None;
    }
    stranger(judged, &format!("{tool} was started"))
}
