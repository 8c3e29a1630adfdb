//! Rule 9 and section 4: what was seen of a node whose kubelet was changed, before it went back into service.

use super::record::Node;
use super::tenure::Tenure;
use super::{Judged, Rule, Violation, What, Who};
use crate::api::{PackageVersion, Phase, Version};

/// Hosts tell when kubelet was started in whole seconds, so that a soak may look longer by one.
pub(super) const CLOCK_GRAIN: u64 = 1_000;

pub(super) fn judge(judged: &Judged<'_>) -> Vec<Violation> {
    let node = judged.node();
    let Some(tenure) = node.tenure.as_ref().filter(|tenure| ends_with(judged, tenure)) else {
        return Vec::new();
    };
    judged.arose(Rule::VerifiedBeforeService);
    let lacks = [
        lacks_version(judged, node, tenure),
        lacks_soak(judged, node),
        lacks_daemon_pod(judged, node, tenure),
        lacks_control_plane(judged, node),
        lacks_files(judged, node),
    ];
    let broken = |(lack, by): (String, usize)| {
        let message = format!("it went back into service, and {lack}");
        judged.broken(Rule::VerifiedBeforeService, message, &[tenure.kubelet_installed, Some(by)])
    };
    lacks.into_iter().flatten().map(broken).collect()
}

/// Whether this is the first word of its agent that a node serves whose kubelet was changed. Where people have cordoned or
/// uncordoned it, that is `current` or the end of its Lease.
pub(super) fn ends_with(judged: &Judged<'_>, tenure: &Tenure) -> bool {
    let says = match &judged.event.what {
        What::Uncordoned { by: Who::Agent(_) } => true,
        What::CurrentWritten { .. } => tenure.returned.is_none(),
        // Of one that does not serve any more nothing is said by that.
        What::LeaseReleased { by: Who::Agent(_), .. } => {
            tenure.returned.is_none() && judged.node().is_ready()
        }
        _ => false,
    };
    says && tenure.changed.contains("kubelet")
}

/// The agent has restarted kubelet before it verifies: a restart in the middle of that is somebody else's, and may be
/// too fresh to be noticed.
pub(super) fn restarted_by_others(judged: &Judged<'_>, node: &Node) -> bool {
    let verifying = node.phase.filter(|phase| phase.is == Phase::Verifying).map(|phase| phase.by);
    node.restarted.is_some_and(|at| verifying.is_some_and(|from| from < at) && judged.unnoticed(at))
}

/// kubelet was restarted after its package changed and reports that version.
fn lacks_version(judged: &Judged<'_>, node: &Node, tenure: &Tenure) -> Option<(String, usize)> {
    let installed = tenure.kubelet_installed?;
    if node.restarted.is_none_or(|restarted| restarted < installed) {
        return Some(("its kubelet was not restarted since its package changed".to_owned(), installed));
    }
    let (version, ready) = (node.installed.get("kubelet").and_then(PackageVersion::kubernetes)?, node.ready?);
    let by_hand = judged.just_installed_by_hand();
    (ready.is.1 != version && !by_hand && !judged.unnoticed(ready.by))
        .then(|| (format!("its kubelet reports {}, where {version} is installed", ready.is.1), ready.by))
}

fn lacks_soak(judged: &Judged<'_>, node: &Node) -> Option<(String, usize)> {
    let restarted = node.restarted?;
    let by_hand = judged.just_installed_by_hand();
    let soaked = judged.age(restarted) + CLOCK_GRAIN >= judged.expectations.soak;
    (!soaked && !by_hand && !restarted_by_others(judged, node))
        .then(|| ("its kubelet had been restarted a moment ago".to_owned(), restarted))
}

/// A pod that was Ready before and is still wanted here was told Ready after the restart: since 1.35 kubelet carries
/// the old answer over.
fn lacks_daemon_pod(judged: &Judged<'_>, node: &Node, tenure: &Tenure) -> Option<(String, usize)> {
    let restarted = node.restarted.filter(|_| !restarted_by_others(judged, node))?;
    // What became Ready just before the claim was not seen to be.
    let seen =
        |since: usize| judged.fleet.at(tenure.taken) - judged.fleet.at(since) > judged.expectations.notice;
    tenure.daemon_sets.iter().filter(|(_, since)| seen(**since)).find_map(|(name, _)| {
        let pod = node.daemon_pods.get(name)?;
        let proven = pod.ready_by.is_some_and(|by| by > restarted);
        let lost = pod.is == Some(false) && !judged.unnoticed(pod.by);
        (pod.is.is_some() && (!proven || lost))
            .then(|| (format!("the pod of DaemonSet {name} is not Ready again"), pod.by))
    })
}

/// kubelet's files are those that the kubeadm of its own version wrote. What kubeadm-config names may be another patch: on a control
/// plane always, on a worker as long as no API server ran a newer one by then, for such a configuration came from an etcd that was
/// put back.
fn lacks_files(judged: &Judged<'_>, node: &Node) -> Option<(String, usize)> {
    let files = node.files.filter(|_| !judged.just_installed_by_hand())?;
    let installed = node.installed.get("kubelet").and_then(PackageVersion::kubernetes)?;
    let mut servers = judged.fleet.nodes.values().filter_map(|node| node.api_server);
    let put_back = servers.any(|server| server.is > files.is && server.by < files.by);
    // The name may have changed since they were written.
    let before = node.tenure.as_ref().and_then(|tenure| tenure.config_before);
    let named = [node.config, before].contains(&Some(files.is));
    let as_named = node.control_plane || named && !put_back;
    let as_installed = files.is == installed || same_minor(files.is, installed) && as_named;
    (!as_installed).then(|| (format!("its kubelet's files are those of {}", files.is), files.by))
}

/// A control-plane node whose kubelet is down takes the kubelet of a newer patch before its static pods: they need a kubelet.
fn same_minor(one: Version, other: Version) -> bool {
    (one.major, one.minor) == (other.major, other.minor)
}

/// Whether etcd and all static pods run is proven under the Lease, after a kubelet of a new minor has restarted them.
fn lacks_control_plane(judged: &Judged<'_>, node: &Node) -> Option<(String, usize)> {
    let kubelet = node.kubelet().filter(|_| node.control_plane)?;
    let mut pods = node.static_pods.iter().filter(|(_, pod)| !judged.unnoticed(pod.by));
    let (component, pod) =
        pods.find(|(_, pod)| pod.is.is_some_and(|runs| runs < kubelet && !same_minor(runs, kubelet)))?;
    Some((format!("its {component} is older than its kubelet"), pod.by))
}
