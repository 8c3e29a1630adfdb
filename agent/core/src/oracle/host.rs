//! Rules 2 to 5, 7, 9 and 10: what may run on a host and what may be installed.

use super::record::{KUBELET_BEHIND, Node};
use super::{Judged, Rule, Violation, What, Who};
use crate::api::{KubeadmCommand, PackageVersion, Version};

/// Whether a tool changes what runs on the host; repairing dpkg and holding packages do not.
pub(super) fn changes(tool: &str) -> bool {
    matches!(tool, "install-kubeadm" | "install-kubelet" | "kubeadm-upgrade")
}

/// Turn B's `kubeadm upgrade node` on a control plane writes kubelet's files alone.
pub(super) fn writes_files_alone(kubeadm: Option<(KubeadmCommand, Version)>) -> bool {
    kubeadm.is_some_and(|(command, _)| command == KubeadmCommand::NodeKubelet)
}

/// Whether there is no simple way back once this tool has begun: kubelet's files alone can be put back.
pub(super) fn is_irreversible(node: &Node, tool: &str, kubeadm: Option<(KubeadmCommand, Version)>) -> bool {
    let brings = tool == "kubeadm-upgrade" && node.control_plane && !writes_files_alone(kubeadm);
    tool == "install-kubelet" || brings
}

/// A turn A that has reached its target, but may lack its exit 0, runs once more, whatever became of target, Lease or Node meanwhile.
pub(super) fn runs_once_more(node: &Node, kubeadm: Option<(KubeadmCommand, Version)>) -> bool {
    let Some((command, version)) = kubeadm else { return false };
    matches!(command, KubeadmCommand::Apply | KubeadmCommand::NodeControlPlane)
        && !node.brings_static_pods(version)
}

pub(super) fn judge(judged: &Judged<'_>) -> Vec<Violation> {
    let broken = match &judged.event.what {
        What::ToolStarted { tool, kubeadm } => {
            let mut broken = vec![one_tool(judged)];
            if changes(tool) {
                broken.extend([in_service(judged, tool, *kubeadm), undrained(judged, tool, *kubeadm)]);
            }
            if let Some((command, target)) = kubeadm {
                broken.extend([wrong_verb(judged, *command, *target), hop(judged, *target)]);
                broken.extend([config_back(judged, *command, *target), leaves_behind(judged, *target)]);
            }
            broken
        }
        What::PackageInstalled { package, version, by: Who::Agent(_) } => {
            let mut broken = vec![downgrade(judged, package, version)];
            if let Some(version) = version.kubernetes().filter(|_| package == "kubelet") {
                broken.extend([newer_than_api_servers(judged, version), kubelet_hop(judged, version)]);
            }
            broken
        }
        _ => Vec::new(),
    };
    broken.into_iter().flatten().collect()
}

fn one_tool(judged: &Judged<'_>) -> Option<Violation> {
    judged.node().tool_at?;
    judged.arose(Rule::OneTool);
    let running = judged.node().tool?;
    let message = format!("a tool was started while {} still ran", running.is);
    Some(judged.broken(Rule::OneTool, message, &[Some(running.by)]))
}

/// Once the host is being changed, somebody else's uncordon is left be. A control plane is upgraded in service or out of
/// it, for its static pods are not drained; kubelet never in service.
fn in_service(
    judged: &Judged<'_>,
    tool: &str,
    kubeadm: Option<(KubeadmCommand, Version)>,
) -> Option<Violation> {
    let node = judged.node();
    if !node.must_be_cordoned(tool, kubeadm) {
        return None;
    }
    judged.arose(Rule::ChangedInService);
    // With its Node the cordon went too; where there is none nothing is in service.
    if node.cordon.is_some() || node.deleted.is_some() {
        return None;
    }
    let staged = node.tenure.as_ref().and_then(|tenure| tenure.staged);
    let by_person = node.uncordoned.as_ref().filter(|uncordoned| uncordoned.is == Who::Person);
    let begun = |u: usize| {
        staged.is_some_and(|s| s < u || judged.age(u) - judged.age(s) <= judged.expectations.notice)
    };
    let left_be = by_person.is_some_and(|u| begun(u.by) || judged.unnoticed(u.by));
    (!left_be).then(|| {
        let shown = node.uncordoned.as_ref().map(|uncordoned| uncordoned.by);
        judged.broken(Rule::ChangedInService, "a tool was started on a node in service", &[shown])
    })
}

fn undrained(
    judged: &Judged<'_>,
    tool: &str,
    kubeadm: Option<(KubeadmCommand, Version)>,
) -> Option<Violation> {
    let node = judged.node();
    let begun = node.tenure.as_ref().is_some_and(|tenure| tenure.drained.is_some());
    if begun || !judged.expectations.drain || !node.must_be_drained(tool, kubeadm) {
        return None;
    }
    judged.arose(Rule::Drain);
    // A kubelet that is down ends no pod; what was asked to go has gone as far as it can.
    let down = node.ready.is_some_and(|ready| !ready.is.0);
    let left = |pod: &String| !(down && node.asked_to_go.contains(pod));
    let (pod, bound) = node.pods.iter().find(|(pod, bound)| left(pod) && !judged.unnoticed(**bound))?;
    let message = format!("the host was changed while pod {pod} was still on it");
    Some(judged.broken(Rule::Drain, message, &[Some(*bound)]))
}

fn wrong_verb(judged: &Judged<'_>, command: KubeadmCommand, target: Version) -> Option<Violation> {
    judged.arose(Rule::Verb);
    let broken = |message: String, by| Some(judged.broken(Rule::Verb, message, &[by]));
    let node = judged.node();
    if command.is_control_plane() != node.control_plane {
        return broken(format!("{command:?} does not fit this kind of node"), None);
    }
    let applied = judged.fleet.applied.get(&target);
    if let Some((first, done)) = applied.filter(|(first, _)| *first != judged.event.node)
        && command == KubeadmCommand::Apply
    {
        let message =
            format!("{first} has applied {target} already, so this node must run `kubeadm upgrade node`");
        return broken(message, Some(*done));
    }
    // For kubelet alone the minor counts, for static pods the version.
    let kubelet_alone = command == KubeadmCommand::NodeWorker || writes_files_alone(Some((command, target)));
    let minor = |version: Version| (version.major, version.minor);
    let differs = |is: Version| if kubelet_alone { minor(is) != minor(target) } else { is != target };
    let config = judged.fleet.config.filter(|config| differs(config.is) && !judged.unnoticed(config.by));
    if let Some(config) = config.filter(|_| command != KubeadmCommand::Apply) {
        let message = format!("`kubeadm upgrade node` for {target}, and kubeadm-config names {}", config.is);
        return broken(message, Some(config.by));
    }
    // Whoever asks for another version asks for a run of its own.
    let asked_for = node.target.is_some_and(|asked| asked.is == Some(target));
    if let Some(begun) = node.tenure.as_ref().and_then(|tenure| tenure.command)
        && begun.is != (command, target)
        && (begun.is.1 == target || !asked_for)
        && applied.is_none_or(|(_, done)| *done < begun.by)
        // What the first one had written is gone with an etcd that was put back.
        && !judged.fleet.config.is_some_and(|config| config.by > begun.by && judged.fleet.was_restored_at(config.by))
    {
        let message = format!("{:?} to {} was begun and has not succeeded", begun.is.0, begun.is.1);
        return broken(message, Some(begun.by));
    }
    // kubeadm-config names the target long before `apply` has done all of its work.
    let tried = judged.fleet.tried.contains(&target) && !judged.fleet.unnoted.contains(&target);
    if command == KubeadmCommand::NodeControlPlane && !kubelet_alone && applied.is_none() && tried {
        return broken(format!("`kubeadm upgrade apply` to {target} was begun and never succeeded"), None);
    }
    None
}

fn config_back(judged: &Judged<'_>, command: KubeadmCommand, target: Version) -> Option<Violation> {
    let config = judged.fleet.config.filter(|_| command == KubeadmCommand::Apply)?;
    judged.arose(Rule::ConfigNeverBack);
    (target < config.is && !judged.unnoticed(config.by)).then(|| {
        let message = format!("`apply` to {target} takes kubeadm-config back, which names {}", config.is);
        judged.broken(Rule::ConfigNeverBack, message, &[Some(config.by)])
    })
}

fn hop(judged: &Judged<'_>, target: Version) -> Option<Violation> {
    if !judged.node().control_plane {
        return None;
    }
    judged.arose(Rule::Hops);
    let there = judged.fleet.nodes.values().filter(|node| node.deleted.is_none());
    let behind = there.filter_map(|node| node.api_server);
    let behind = behind.into_iter().find(|server| target.minors_ahead_of(server.is) > 1)?;
    let message =
        format!("kubeadm takes the control plane to {target} while an API server runs {}", behind.is);
    Some(judged.broken(Rule::Hops, message, &[Some(behind.by)]))
}

/// A kubelet that would fall too far behind goes first.
fn leaves_behind(judged: &Judged<'_>, target: Version) -> Option<Violation> {
    let own = judged.node();
    if !own.control_plane || !own.brings_static_pods(target) {
        return None;
    }
    let nodes = judged.fleet.nodes.iter().filter(|(_, node)| node.deleted.is_none());
    let (name, ready) = nodes.into_iter().find_map(|(name, node)| {
        let ready = node.ready.filter(|ready| target.minors_ahead_of(ready.is.1) > KUBELET_BEHIND)?;
        Some((name, ready))
    })?;
    let message = format!(
        "kubeadm takes the control plane to {target} while the kubelet of {name} runs {}",
        ready.is.1
    );
    Some(judged.broken(Rule::Hops, message, &[Some(ready.by)]))
}

fn kubelet_hop(judged: &Judged<'_>, version: Version) -> Option<Violation> {
    judged.arose(Rule::Hops);
    let node = judged.node();
    let before = node.installed.get("kubelet").and_then(PackageVersion::kubernetes)?;
    // What is between is left out on a control plane too, where its API server went through it.
    let minors = version.minors_ahead_of(before);
    let message = format!("kubelet went from {before} to {version}, by {minors} minors");
    (version > before && minors > KUBELET_BEHIND).then(|| judged.broken(Rule::Hops, message, &[]))
}

/// Minors count, patches do not: kubernetes.io/releases/version-skew-policy.
fn newer_than_api_servers(judged: &Judged<'_>, kubelet: Version) -> Option<Violation> {
    judged.arose(Rule::KubeletNotNewer);
    let own_server = judged.node().own_server.is_some();
    let newer = |server: Version| kubelet.minors_ahead_of(server) > 0;
    let talks_to = |name: &str| !own_server || name == judged.event.node;
    let nodes = judged.fleet.nodes.iter().filter(|(name, node)| node.deleted.is_none() && talks_to(name));
    let older = nodes.filter_map(|(_, node)| node.api_server).find(|server| newer(server.is))?;
    let message = format!("kubelet {kubelet} is newer than an API server, which runs {}", older.is);
    Some(judged.broken(Rule::KubeletNotNewer, message, &[Some(older.by)]))
}

fn downgrade(judged: &Judged<'_>, package: &str, version: &PackageVersion) -> Option<Violation> {
    judged.arose(Rule::NoDowngrade);
    let node = judged.node();
    let installed = node.installed.get(package)?;
    let (was, is) = (installed.kubernetes()?, version.kubernetes()?);
    let can_restore_packages = node
        .tenure
        .as_ref()
        .is_some_and(|tenure| tenure.changed.contains(package) && tenure.from.get(package) == Some(version));
    // Nobody can look and install at one moment.
    (is < was && !can_restore_packages && !judged.just_installed_by_hand()).then(|| {
        judged.broken(Rule::NoDowngrade, format!("{package} went from {installed} to {version}"), &[])
    })
}
