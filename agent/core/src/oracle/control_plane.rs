//! Rules 2, 3 and 11: the control plane is whole before and after each turn of one of its nodes.

use super::record::Node;
use super::since::Since;
use super::verified::CLOCK_GRAIN;
use super::{Judged, Rule, Violation, What, Who};
use crate::api::{Check, KubeadmCommand, LeaseName, Phase, Version};

/// By this time after its start a kubelet has restarted what it will restart, in milliseconds: measured were 2 to 4 seconds
/// after it was Ready, which it is within twenty.
const RESTARTS_WITHIN: u64 = 30_000;

pub(super) fn judge(judged: &Judged<'_>) -> Vec<Violation> {
    let node = judged.node();
    if !node.control_plane {
        return Vec::new();
    }
    let mut broken = match &judged.event.what {
        What::LeaseReleased { lease: LeaseName::ControlPlane, by: Who::Agent(_) }
            if node.tenure.as_ref().is_some_and(|tenure| !tenure.irreversible.is_empty()) =>
        {
            vec![whole_after(judged), at_one_version(judged), addons(judged)]
        }
        What::ToolStarted { tool, kubeadm } => {
            vec![whole_before_step(judged, tool, *kubeadm), out_of_service(judged, *kubeadm)]
        }
        What::CurrentWritten { version }
            if node.holding().is_some() && node.current.is_some_and(|current| current != *version) =>
        {
            vec![whole_after(judged), announced(judged, *version)]
        }
        What::CurrentWritten { version } => vec![announced(judged, *version)],
        What::StaticPod { version: None, .. } => vec![restarted_after(judged)],
        _ => Vec::new(),
    };
    broken.push(half_done(judged));
    broken.into_iter().flatten().collect()
}

/// What a control-plane node lacks, and the event that shows it. What was never told of is not known and lacks nothing;
/// what changed just now could not be noticed.
pub(super) fn lacks(judged: &Judged<'_>, node: &Node) -> Option<(String, usize)> {
    sick_etcd(judged, node).or_else(|| dead(judged, node))
}

fn sick_etcd(judged: &Judged<'_>, node: &Node) -> Option<(String, usize)> {
    let etcd = node.etcd.filter(|etcd| !etcd.is && !judged.unnoticed(etcd.by))?;
    Some(("its member of etcd is not healthy".to_owned(), etcd.by))
}

/// A kubelet that talks to its own API server alone says nothing more when that is dead, and one that is cut off says nothing at all,
/// until its Node is no longer Ready.
fn dead(judged: &Judged<'_>, node: &Node) -> Option<(String, usize)> {
    let api_server = node.static_pods.get("kube-apiserver").is_some_and(|pod| pod.is.is_none());
    let told = node.ready.is_some_and(|ready| !ready.is.0 && !judged.unnoticed(ready.by));
    let mute = node.own_server.is_some() && api_server || node.cut_off.is_some();
    if mute && !told {
        return None;
    }
    let dead = node.static_pods.iter().find(|(_, pod)| pod.is.is_none() && !judged.unnoticed(pod.by));
    dead.map(|(component, pod)| (format!("its {component} does not run"), pod.by))
}

/// As others see it: a kubelet that started a moment ago has not said yet what stopped before. While it is down it says nothing, and
/// its node is no longer Ready soon.
fn told_dead(judged: &Judged<'_>, node: &Node) -> Option<(String, usize)> {
    let (lack, by) = dead(judged, node)?;
    let untold = node.restarted.is_some_and(|restarted| by < restarted && judged.unnoticed(restarted));
    (!untold).then_some((lack, by))
}

/// Two versions among the static pods that run here, neither of them new.
fn mixed(judged: &Judged<'_>, node: &Node) -> Option<(String, usize)> {
    let known = node.static_pods.iter().filter(|(_, pod)| !judged.unnoticed(pod.by));
    let mut known = known.filter_map(|(component, pod)| Some((component, pod.is?, pod.by)));
    let (one, version, _) = known.next()?;
    let (other, differs, by) = known.find(|(_, other, _)| *other != version)?;
    Some((format!("its {one} runs {version} and its {other} {differs}"), by))
}

/// Own etcd, and everything of the other control-plane nodes, as far as people do not pass over it. Its own static pods may be of two
/// versions: that is what a turn may be there to repair.
pub(super) fn whole_before(judged: &Judged<'_>, what: &str) -> Option<Violation> {
    let node = judged.node();
    if !node.control_plane {
        return None;
    }
    let mut peers = judged.fleet.others(&judged.event.node);
    if node.etcd.is_some() || peers.any(|(_, other)| other.control_plane) {
        judged.arose(Rule::ControlPlaneWholeBefore);
    }
    let broken = |lack: String, by: usize| {
        Some(judged.broken(Rule::ControlPlaneWholeBefore, format!("{what} while {lack}"), &[Some(by)]))
    };
    let asks = |check| !node.skips.contains(&check);
    if let Some((lack, by)) = sick_etcd(judged, node).filter(|_| asks(Check::Etcd)) {
        return broken(lack, by);
    }
    let mut others = judged.fleet.others(&judged.event.node).filter(|(_, other)| other.control_plane);
    let (name, (lack, by)) = others.find_map(|(name, other)| {
        let etcd = sick_etcd(judged, other).filter(|_| asks(Check::Etcd));
        let serves =
            || is_down(judged, other).or_else(|| told_dead(judged, other)).or_else(|| mixed(judged, other));
        let lack = etcd.or_else(|| serves().filter(|_| asks(Check::OtherNodes)))?;
        Some((name, lack))
    })?;
    broken(format!("of control-plane node {name} {lack}"), by)
}

fn is_down(judged: &Judged<'_>, node: &Node) -> Option<(String, usize)> {
    let down = node.ready.filter(|ready| !ready.is.0 && !judged.unnoticed(ready.by))?;
    Some(("it is not Ready".to_owned(), down.by))
}

/// What is visible at the target is not all that kubeadm does: a run that was cut may have left the rest undone.
fn half_done(judged: &Judged<'_>) -> Option<Violation> {
    let node = judged.node();
    let run = node.half_done()?;
    let version = run.is.version;
    // A run that changed no static pods, or was rolled back by kubeadm, may be given up.
    let stays = run.is.for_static_pods && node.api_server.is_some_and(|server| server.is == version);
    let message = match &judged.event.what {
        What::LeaseReleased { by: Who::Agent(_), .. } if stays => "its turn ended",
        What::CurrentWritten { version: written } if stays && *written == version => "`current` was written",
        What::ToolStarted { tool: "install-kubelet", .. } => "kubelet is installed",
        _ => return None,
    };
    judged.arose(Rule::Verb);
    let message = format!("{message}, and no run of kubeadm for {version} has succeeded");
    Some(judged.broken(Rule::Verb, message, &[Some(run.by)]))
}

/// Before each step without a way back it is looked again, for the drain may have taken an hour. What was begun is gone on
/// with, for that may be what makes the control plane whole; kubeadm alone, which may restart etcd again, waits for etcd.
fn whole_before_step(
    judged: &Judged<'_>,
    tool: &str,
    kubeadm: Option<(KubeadmCommand, Version)>,
) -> Option<Violation> {
    let node = judged.node();
    let tenure = node.tenure.as_ref()?;
    // Where it is the first of all, it is the turn's beginning and judged as that.
    if tenure.begun.is_none() || !super::host::is_irreversible(node, tool, kubeadm) {
        return None;
    }
    // What kubeadm has brought to its target is past its return, whoever took the Lease meanwhile.
    let again = kubeadm.is_some_and(|(command, version)| {
        command != KubeadmCommand::NodeKubelet && node.control_plane && !node.brings_static_pods(version)
    });
    // A kubelet that a person has begun to install meanwhile is finished.
    if tool == "install-kubelet" && node.by_hand > Some(tenure.taken) {
        return None;
    }
    if !again && (tenure.past_return.is_none() || !tenure.irreversible.contains(tool)) {
        return whole_before(judged, &format!("{tool} is started"));
    }
    if tool == "kubeadm-upgrade" { etcd_before(judged) } else { None }
}

/// Static pods are not drained: nothing is cordoned or evicted for them.
fn out_of_service(judged: &Judged<'_>, kubeadm: Option<(KubeadmCommand, Version)>) -> Option<Violation> {
    let node = judged.node();
    let (command, to) = kubeadm?;
    if command == KubeadmCommand::NodeKubelet || !node.brings_static_pods(to) {
        return None;
    }
    // A degraded kubelet's node goes to a newer target as it stands.
    if node.failed_at.is_some_and(|failed| failed < to) {
        return None;
    }
    judged.arose(Rule::ControlPlaneInService);
    if !judged.expectations.two_turns {
        return None;
    }
    let evicted = node.tenure.as_ref().and_then(|tenure| tenure.evicted);
    let by = node.cordoned_by_agent().map(|cordon| cordon.by).or(evicted)?;
    let message = "its control plane is upgraded while it is out of service for that";
    Some(judged.broken(Rule::ControlPlaneInService, message, &[Some(by)]))
}

fn etcd_before(judged: &Judged<'_>) -> Option<Violation> {
    if judged.node().skips.contains(&Check::Etcd) {
        return None;
    }
    let existing = judged.fleet.nodes.iter().filter(|(_, node)| node.control_plane && node.deleted.is_none());
    let (name, (lack, by)) =
        existing.into_iter().find_map(|(name, node)| Some((name, sick_etcd(judged, node)?)))?;
    let message = format!("kubeadm is run again while of control-plane node {name} {lack}");
    Some(judged.broken(Rule::ControlPlaneWholeBefore, message, &[Some(by)]))
}

fn whole_after(judged: &Judged<'_>) -> Option<Violation> {
    judged.arose(Rule::ControlPlaneWholeAfter);
    let (lack, by) = lacks(judged, judged.node())?;
    // What was so before a turn that has changed nothing is not its affair.
    if judged.node().is_in(Phase::BackingOut) && judged.node().tenure.as_ref().is_some_and(|t| by < t.taken) {
        return None;
    }
    Some(judged.broken(Rule::ControlPlaneWholeAfter, format!("its turn ended while {lack}"), &[Some(by)]))
}

/// A kubelet of a new minor restarts all static pods of its node some seconds after it is Ready: the turn lasts until that
/// is over. Two of them that stop together, but not with the host, are taken for it.
fn restarted_after(judged: &Judged<'_>) -> Option<Violation> {
    let node = judged.node();
    let restarted = node.restarted.filter(|&by| {
        judged.fleet.history.get(by).is_some_and(|event| event.what == What::KubeletRestarted)
    })?;
    let released = node.released.filter(|&released| restarted < released)?;
    let at = |index: usize| judged.fleet.history.get(index).map(|event| event.at);
    if node.by_hand.is_some_and(|by_hand| at(by_hand) == at(restarted)) {
        return None;
    }
    let cut = node.died.is_some_and(|died| judged.age(died) <= CLOCK_GRAIN);
    let just_stopped = |pod: &Since<Option<Version>>| pod.is.is_none() && judged.age(pod.by) <= CLOCK_GRAIN;
    let together = node.static_pods.values().filter(|pod| just_stopped(pod)).count() == 1;
    let soon = judged.age(restarted) <= RESTARTS_WITHIN;
    (together && soon && !cut).then(|| {
        let message = "its turn had ended when its new kubelet restarted its static pods";
        judged.broken(Rule::ControlPlaneWholeAfter, message, &[Some(restarted), Some(released)])
    })
}

/// kubeadm skips them, and exits with 0, while any API server is old; whoever ends last finds them new.
fn addons(judged: &Judged<'_>) -> Option<Violation> {
    let addons = judged.fleet.addons?;
    let version = judged.node().kubelet().filter(|_| judged.node().deleted.is_none())?;
    // A node that was deleted since kubeadm ran here was one of them then.
    let ran = judged.node().api_server.map_or(0, |server| server.by);
    let counts = |node: &&Node| node.control_plane && node.deleted.is_none_or(|gone| gone > ran);
    let mut planes = judged.fleet.nodes.values().filter(counts);
    let at_it = |node: &Node| {
        node.kubelet() == Some(version) && node.api_server.is_some_and(|runs| runs.is == version)
    };
    // Where an etcd that was put back has forgotten it, the control plane's turn comes once more.
    let forgotten = judged.fleet.config.is_some_and(|config| config.is < version)
        || judged.fleet.was_restored_at(addons.by);
    if !planes.all(at_it) || forgotten {
        return None;
    }
    judged.arose(Rule::AddonsLast);
    (addons.is != version && !judged.unnoticed(addons.by)).then(|| {
        let message = format!(
            "the last control-plane node has ended at {version}, and CoreDNS and kube-proxy are those of {}",
            addons.is
        );
        judged.broken(Rule::AddonsLast, message, &[Some(addons.by)])
    })
}

fn at_one_version(judged: &Judged<'_>) -> Option<Violation> {
    let node = judged.node();
    if node.cordoned_by_agent().is_some() {
        return None;
    }
    judged.arose(Rule::StaticPodsAtOneVersion);
    let (mixed, by) = mixed(judged, node)?;
    Some(judged.broken(Rule::StaticPodsAtOneVersion, format!("its turn ended while {mixed}"), &[Some(by)]))
}

/// Newer static pods than `current` says are those of a node whose kubelet is still to come.
fn announced(judged: &Judged<'_>, version: Version) -> Option<Violation> {
    judged.arose(Rule::StaticPodsAtOneVersion);
    let pods = judged.node().static_pods.iter().filter(|(_, pod)| !judged.unnoticed(pod.by));
    let mut running = pods.filter_map(|(component, pod)| Some((component, pod.is?, pod.by)));
    let (component, runs, by) = running.find(|(_, runs, _)| *runs < version)?;
    let message = format!("`current` says {version}, and its {component} runs {runs}");
    Some(judged.broken(Rule::StaticPodsAtOneVersion, message, &[Some(by)]))
}
