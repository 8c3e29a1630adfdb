//! Rules 2 to 5, 7, 9, 10 and 12: what may run on a host and what may be installed.

use super::{Judged, Rule, Violation, What, Who};
use crate::job::Verb;
use crate::version::{PackageVersion, Version, reachable};

/// Whether a tool changes what runs on the host; repairing dpkg and holding packages do not.
pub(super) fn changes(tool: &str) -> bool {
    matches!(tool, "install-kubeadm" | "install-kubelet" | "kubeadm-upgrade")
}

pub(super) fn judge(judged: &Judged<'_>) -> Vec<Violation> {
    match &judged.event.what {
        What::ToolStarted { tool, kubeadm } => {
            let mut broken: Vec<_> = one_tool(judged).into_iter().collect();
            if changes(tool) {
                broken.extend(
                    [in_service(judged), undrained(judged), tool_without_lease(judged, tool)]
                        .into_iter()
                        .flatten(),
                );
            }
            if let Some((verb, target)) = kubeadm {
                broken
                    .extend([wrong_verb(judged, *verb, *target), hop(judged, *target)].into_iter().flatten());
            }
            broken
        }
        What::PackageInstalled { package, version, by: Who::Agent(_) } => {
            let mut broken: Vec<_> = downgrade(judged, package, version).into_iter().collect();
            if let Some(version) = version.kubernetes().filter(|_| package == "kubelet") {
                broken.extend(newer_than_api_servers(judged, version));
                broken.extend(kubelet_hop(judged, version));
            }
            broken
        }
        What::Ready { kubelet, .. } => {
            let tenure = judged.fleet.node(&judged.event.node).tenure.as_ref();
            let ours = tenure.is_some_and(|tenure| tenure.changed.contains("kubelet"));
            newer_than_api_servers(judged, *kubelet).filter(|_| ours).into_iter().collect()
        }
        _ => Vec::new(),
    }
}

fn one_tool(judged: &Judged<'_>) -> Option<Violation> {
    let running = judged.fleet.node(&judged.event.node).tool?;
    let message = format!("a tool was started while {} still ran", running.is);
    Some(judged.broken(Rule::OneTool, message, &[Some(running.by)]))
}

/// Once the host is being changed, somebody else's uncordon is left be.
fn in_service(judged: &Judged<'_>) -> Option<Violation> {
    let node = judged.fleet.node(&judged.event.node);
    if node.cordon.is_some() {
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

fn undrained(judged: &Judged<'_>) -> Option<Violation> {
    let node = judged.fleet.node(&judged.event.node);
    let begun = node.tenure.as_ref().is_some_and(|tenure| tenure.staged.is_some());
    if begun || !judged.expectations.drain {
        return None;
    }
    let (pod, bound) = node.pods.iter().find(|(_, bound)| !judged.unnoticed(**bound))?;
    let message = format!("the host was changed while pod {pod} was still on it");
    Some(judged.broken(Rule::Drain, message, &[Some(*bound)]))
}

/// Nothing disturbing is begun without the Lease; after the point of no return what was begun is finished.
pub(super) fn without_lease(judged: &Judged<'_>, what: &str) -> Option<Violation> {
    let tenure = judged.fleet.node(&judged.event.node).tenure.as_ref();
    let Some(tenure) = tenure else {
        return Some(judged.broken(Rule::LeaseHeld, format!("{what} without a Lease"), &[]));
    };
    let lost = tenure.lost.filter(|&lost| judged.age(lost) > judged.expectations.renewal)?;
    if tenure.past_return.is_some() {
        return None;
    }
    Some(judged.broken(
        Rule::LeaseHeld,
        format!("{what} after its Lease was lost"),
        &[Some(tenure.taken), Some(lost)],
    ))
}

/// kubeadm's own package may be put back without the Lease: that is how a node backs out.
fn tool_without_lease(judged: &Judged<'_>, tool: &str) -> Option<Violation> {
    let begun = judged.fleet.node(&judged.event.node).tenure.as_ref().is_some_and(|t| t.staged.is_some());
    let backing_out = begun && tool == "install-kubeadm";
    without_lease(judged, "a tool was started").filter(|_| !backing_out)
}

fn wrong_verb(judged: &Judged<'_>, verb: Verb, target: Version) -> Option<Violation> {
    let node = judged.fleet.node(&judged.event.node);
    if verb.is_control_plane() != node.control_plane {
        return Some(judged.broken(Rule::Verb, format!("{verb:?} does not fit this kind of node"), &[]));
    }
    if let Some((first, done)) =
        judged.fleet.applied.get(&target).filter(|(first, _)| *first != judged.event.node)
        && verb == Verb::Apply
    {
        let message =
            format!("{first} has applied {target} already, so this node must run `kubeadm upgrade node`");
        return Some(judged.broken(Rule::Verb, message, &[Some(*done)]));
    }
    let begun = node.tenure.as_ref().and_then(|tenure| tenure.verb)?;
    (begun.is != (verb, target)).then(|| {
        let message = format!("{:?} to {} was begun and has not succeeded", begun.is.0, begun.is.1);
        judged.broken(Rule::Verb, message, &[Some(begun.by)])
    })
}

fn hop(judged: &Judged<'_>, target: Version) -> Option<Violation> {
    if !judged.fleet.node(&judged.event.node).control_plane {
        return None;
    }
    let behind = judged.fleet.nodes.values().filter_map(|node| node.api_server);
    let behind = behind.into_iter().find(|server| target.minors_ahead_of(server.is) > 1)?;
    let message =
        format!("kubeadm takes the control plane to {target} while an API server runs {}", behind.is);
    Some(judged.broken(Rule::Hops, message, &[Some(behind.by)]))
}

fn kubelet_hop(judged: &Judged<'_>, version: Version) -> Option<Violation> {
    let node = judged.fleet.node(&judged.event.node);
    let before = node.installed.get("kubelet").and_then(PackageVersion::kubernetes)?;
    let unreachable = reachable(before, version, node.control_plane).err();
    let skips = unreachable.filter(|_| version > before)?;
    Some(judged.broken(Rule::Hops, format!("from {before} to {version}: {skips}"), &[]))
}

/// Kubernetes' own rule counts minors, which lets a control-plane node finish a patch before the others begin it;
/// workers come after all of them and have no reason to be newer by a patch either.
fn newer_than_api_servers(judged: &Judged<'_>, kubelet: Version) -> Option<Violation> {
    let by_minor = judged.fleet.node(&judged.event.node).control_plane;
    let newer = |server: Version| server < kubelet && (!by_minor || kubelet.minors_ahead_of(server) > 0);
    let nodes = judged.fleet.nodes.values().filter(|node| node.deleted.is_none());
    let older = nodes.filter_map(|node| node.api_server).find(|server| newer(server.is))?;
    let message = format!("kubelet {kubelet} is newer than an API server, which runs {}", older.is);
    Some(judged.broken(Rule::KubeletNotNewer, message, &[Some(older.by)]))
}

fn downgrade(judged: &Judged<'_>, package: &str, version: &PackageVersion) -> Option<Violation> {
    let node = judged.fleet.node(&judged.event.node);
    let installed = node.installed.get(package)?;
    let (was, is) = (installed.kubernetes()?, version.kubernetes()?);
    let way_back = node
        .tenure
        .as_ref()
        .is_some_and(|tenure| tenure.changed.contains(package) && tenure.from.get(package) == Some(version));
    (is < was && !way_back).then(|| {
        judged.broken(Rule::NoDowngrade, format!("{package} went from {installed} to {version}"), &[])
    })
}
