//! Which turn a node has to take next, judged from what runs (rules 2, 3 and 4): done is what is observed.

use crate::api::Check;
use crate::api::TurnKind;
use crate::api::{Explanation, Reason};
use crate::api::{PackageVersion, Version, reachable};
use crate::observed::HostSeen;
use crate::observed::PodSeen;
use crate::observed::{NodeSeen, Ready};

use super::control_plane::{newest_static_pod, oldest_static_pod};

/// What comes next for a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NextTurn {
    /// Everything is at the target.
    Nothing,
    /// This turn.
    Turn(TurnKind),
    /// It cannot be said yet, or something else comes first.
    Pending(Explanation),
    /// The target cannot be reached; only a person can change that.
    Refused(Explanation),
}

/// What a node shows of itself.
#[derive(Debug, Clone, Copy)]
pub struct Runs<'a> {
    /// The own Node.
    pub node: &'a NodeSeen,
    /// This host.
    pub host: &'a HostSeen,
    /// The pods of this node, on a control plane.
    pub pods: &'a [PodSeen],
    /// The version kubeadm-config names.
    pub kubeadm_config: Option<Version>,
}

fn refused(check: Check, message: &str) -> NextTurn {
    NextTurn::Refused(Explanation::new(Reason::PreflightFailed, format!("{check}: {message}")))
}

fn pending(message: impl Into<String>) -> NextTurn {
    NextTurn::Pending(Explanation::new(Reason::PreflightPending, message))
}

/// The turn that comes next on the way to `target`.
pub fn next_turn(runs: &Runs<'_>, target: Version) -> NextTurn {
    let Some(kubelet) = runs.node.kubelet else {
        return pending("the Node does not say which version its kubelet runs");
    };
    let control_plane = runs.host.control_plane;
    if let Err(why) = reachable(kubelet, target, control_plane) {
        return refused(Check::Reachable, &format!("{target} cannot be reached: {why}"));
    }
    if let Some(why) = past_target(runs.host, target) {
        return refused(Check::Reachable, &why);
    }
    let Some(config) = runs.kubeadm_config else {
        return pending("ConfigMap kube-system/kubeadm-config names no version");
    };
    if control_plane && let Some(next) = control_plane_turn(runs, kubelet, config, target) {
        return next;
    }
    kubelet_turn(runs, kubelet, config, target)
}

/// Rule 5: packages that somebody has taken past the target are not taken back.
fn past_target(host: &HostSeen, target: Version) -> Option<String> {
    let name = "kubelet";
    let version = host.version(name)?;
    version.kubernetes().is_some_and(|version| version > target).then(|| {
        format!(
            "{name} {version} is installed, which is past the target {target}: set the target to that version, or put the package \
             back"
        )
    })
}

/// Turn A where it is not done; none where it is. A run of ours without its exit 0 belongs to a turn that is not over.
fn control_plane_turn(
    runs: &Runs<'_>,
    kubelet: Version,
    config: Version,
    target: Version,
) -> Option<NextTurn> {
    let Some(oldest) = oldest_static_pod(runs.pods) else {
        return Some(pending(
            "the static pods of this node are not all seen, or their images name no version",
        ));
    };
    if let Some(newest) = newest_static_pod(runs.pods).filter(|newest| *newest > target) {
        return Some(refused(
            Check::Reachable,
            &format!(
                "a static pod of this node runs {newest} already, and nothing goes back: set the target to it"
            ),
        ));
    }
    if oldest >= target && config >= target {
        return None;
    }
    if config > target {
        return Some(refused(
            Check::Reachable,
            &format!(
                "ConfigMap kube-system/kubeadm-config names {config}, which another control-plane node has applied: set the target \
                 {target} of this node to {config}"
            ),
        ));
    }
    let dead = runs.node.ready != Ready::True && kubelet < target && kubelet.minor == target.minor;
    Some(NextTurn::Turn(if dead && oldest.minor == target.minor {
        TurnKind::Kubelet
    } else {
        TurnKind::ControlPlane
    }))
}

/// Turn B where it is not done.
fn kubelet_turn(runs: &Runs<'_>, kubelet: Version, config: Version, target: Version) -> NextTurn {
    let kubeadm = runs.host.version("kubeadm").and_then(PackageVersion::kubernetes);
    let staged = kubeadm.is_some_and(|kubeadm| kubeadm >= target);
    // What was proven is not asked again for the times of files.
    let configured = !runs.host.kubelet_config_stale || runs.node.current == Some(target);
    if kubelet == target && staged && configured {
        return NextTurn::Nothing;
    }
    if config.minors_ahead_of(target) > 0 {
        return refused(
            Check::Reachable,
            &format!(
                "ConfigMap kube-system/kubeadm-config names {config}, a newer minor: set the target to it"
            ),
        );
    }
    NextTurn::Turn(TurnKind::Kubelet)
}

#[cfg(test)]
mod tests;
