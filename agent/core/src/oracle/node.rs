//! Rules 6, 7, 9, 11 and the contract's `current`: what a node's agent may do to its Node and pods.

use super::{Judged, Rule, Violation, What, Who};
use crate::api::{Phase, Version};

pub(super) fn judge(judged: &Judged<'_>) -> Vec<Violation> {
    match &judged.event.what {
        What::Uncordoned { by: Who::Agent(_) } => {
            [others_cordon(judged), ready_for_service(judged)].into_iter().flatten().collect()
        }
        What::Evicted { by: Who::Agent(_), .. } => evicted(judged).into_iter().collect(),
        What::Reported { phase: Phase::Refused, .. } => refused(judged).into_iter().collect(),
        What::CurrentWritten { version } => {
            [current(judged, *version), serves_unseen(judged)].into_iter().flatten().collect()
        }
        What::LeaseReleased { by: Who::Agent(_), .. } => {
            [current_late(judged), serves_unseen(judged)].into_iter().flatten().collect()
        }
        _ => Vec::new(),
    }
}

fn others_cordon(judged: &Judged<'_>) -> Option<Violation> {
    judged.arose(Rule::OthersCordons);
    let cordon = judged.node().cordon.as_ref().filter(|cordon| !cordon.by_agent)?;
    let message = "an agent took back a cordon that somebody else had made";
    Some(judged.broken(Rule::OthersCordons, message, &[Some(cordon.by)]))
}

/// Before anything was changed that its kubelet depends on, a retreat leaves the node as it was found, Ready or not.
fn ready_for_service(judged: &Judged<'_>) -> Option<Violation> {
    let node = judged.node();
    let tenure = node.tenure.as_ref()?;
    let staged = tenure.staged?;
    let files = node.files.is_some_and(|files| files.by > tenure.taken);
    if !files && !tenure.changed.contains("kubelet") {
        return None;
    }
    judged.arose(Rule::ReadyBeforeService);
    let broken = |message: String, by: Option<usize>| {
        Some(judged.broken(Rule::ReadyBeforeService, message, &[Some(staged), by]))
    };
    let Some(ready) = node.ready else {
        return broken("it was never seen Ready".to_owned(), None);
    };
    let by_hand = judged.just_installed_by_hand();
    let by_others = super::verified::restarted_by_others(judged, node);
    if node.restarted.is_some_and(|restarted| restarted > ready.by) && !by_hand && !by_others {
        return broken(
            "its kubelet was restarted and has not said since that it is Ready".to_owned(),
            node.restarted,
        );
    }
    let was_ready = judged.unnoticed(ready.by)
        && node
            .ready_before
            .is_some_and(|before| before.is.0 && node.restarted.is_none_or(|r| r < before.by));
    if !ready.is.0 && !was_ready {
        return broken("its kubelet is not Ready".to_owned(), Some(ready.by));
    }
    let before = node.tenure.as_ref().and_then(|tenure| tenure.kubelet_before);
    let chosen =
        before == Some(ready.is.1) || node.targets.contains(&ready.is.1) || is_between(judged, ready.is.1);
    let installed = node.causes.was_by_hand();
    if !chosen && !installed && !judged.unnoticed(ready.by) {
        let message =
            format!("its kubelet runs {}, which is neither where it came from nor a target", ready.is.1);
        return broken(message, Some(ready.by));
    }
    None
}

/// A hop on the way to the target: kubelets go to what the control plane has come to.
fn is_between(judged: &Judged<'_>, version: Version) -> bool {
    let servers = judged.fleet.nodes.values().filter_map(|node| node.api_server).map(|server| server.is);
    let known = judged.node().config.into_iter().chain(servers);
    known.into_iter().any(|known| known == version) && judged.node().asks_for() >= Some(version)
}

/// The same where nobody uncordons it: people have, or keep it cordoned.
fn serves_unseen(judged: &Judged<'_>) -> Option<Violation> {
    let tenure = judged.node().tenure.as_ref()?;
    if super::verified::ends_with(judged, tenure) { ready_for_service(judged) } else { None }
}

fn evicted(judged: &Judged<'_>) -> Option<Violation> {
    judged.arose(Rule::Drain);
    let node = judged.node();
    let uncordoned = node.uncordoned.as_ref().map(|uncordoned| uncordoned.by);
    // With a Node that is deleted its cordon is gone too.
    let lifted = uncordoned.max(node.deleted);
    let in_service = node.cordon.is_none() && lifted.is_none_or(|by| !judged.unnoticed(by));
    in_service.then(|| {
        judged.broken(Rule::Drain, "a pod was evicted from a node that was in service", &[uncordoned])
    })
}

fn refused(judged: &Judged<'_>) -> Option<Violation> {
    judged.arose(Rule::RefusedUntouched);
    let node = judged.node();
    let cordon = node.cordoned_by_agent().map(|cordon| cordon.by);
    let lease = node.tenure.as_ref().filter(|tenure| tenure.lost.is_none()).map(|tenure| tenure.taken);
    // What an older state brought back is not seen at once, least of all by whose API server starts again, and what stood there
    // before is told again.
    let recent = |by: usize| judged.age(by) <= judged.expectations.renewal;
    let is_new = |by: &usize| !(judged.fleet.was_restored_at(*by) && recent(*by));
    let (cordon, lease) = (cordon.filter(is_new), lease.filter(is_new));
    (cordon.is_some() || lease.is_some()).then(|| {
        let message = "a refused node must be in service and hold no Lease";
        judged.broken(Rule::RefusedUntouched, message, &[cordon, lease])
    })
}

/// What is written at the start says what runs; a new version is written when the node serves, under its Lease or
/// after it.
fn current(judged: &Judged<'_>, version: Version) -> Option<Violation> {
    judged.arose(Rule::CurrentLast);
    let node = judged.node();
    let ready = node.ready.map(|ready| ready.by);
    let broken = |message: &str, by| Some(judged.broken(Rule::CurrentLast, message, &[by, ready]));
    if node.kubelet() != Some(version)
        && node.runs() != Some(version)
        && ready.is_none_or(|by| !judged.unnoticed(by))
    {
        return broken("`current` names a version the kubelet does not run", None);
    }
    // A cordon that an older state brought back is not seen at once.
    let is_new =
        |by: usize| judged.fleet.was_restored_at(by) && judged.age(by) <= judged.expectations.renewal;
    let cordon = node.cordoned_by_agent().filter(|cordon| !is_new(cordon.by))?;
    broken("`current` was written before the node was back in service", Some(cordon.by))
}

/// Whoever went back into service with another kubelet says so before the Lease goes.
fn current_late(judged: &Judged<'_>) -> Option<Violation> {
    let node = judged.node();
    let exists = node.deleted.is_none();
    if !judged.expectations.two_turns || !exists || !node.is_back_with_another_kubelet() {
        return None;
    }
    judged.arose(Rule::CurrentLast);
    (node.current != node.kubelet() && node.current != node.runs()).then(|| {
        let message = "the Lease was given back before `current` was written";
        judged.broken(Rule::CurrentLast, message, &[node.ready.map(|ready| ready.by)])
    })
}
