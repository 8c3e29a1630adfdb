//! One fault of a kind, with what is left to chance drawn.

use upgrade_core::api::Check;
use upgrade_core::judge::control_plane::STATIC_PODS;

use super::FAULTS;
use crate::fault::{ByHand, Failure, Fault, Identity};
use crate::rng::Rng;
use crate::setup::Setup;

/// A fault, and what belongs to it: the world changes while an agent is dead, and what was deleted or cancelled is asked for
/// again.
pub(super) fn faults(rng: &mut Rng, node: &str, setup: &Setup, word: &str) -> Vec<(u64, Fault)> {
    let first = fault(rng, node, setup, word);
    let mut faults = vec![(0, first.clone())];
    let asked = || Fault::Target { node: node.to_owned(), target: Some(setup.target) };
    match first {
        Fault::Kill { restart, .. } if rng.once_in(2) => {
            let other = rng.pick(&FAULTS).copied().unwrap_or_default();
            faults.push((rng.below(restart), fault(rng, node, setup, other)));
        }
        Fault::NodeDeleted { back, .. } => faults.push((back + 30_000, asked())),
        Fault::Target { .. } if rng.once_in(2) => faults.push((rng.below(120_000), asked())),
        Fault::SkipChecks { .. } if rng.once_in(2) => {
            faults.push((0, Fault::KubeletSick { node: node.to_owned(), lasts: 1_000 + rng.below(900_000) }));
        }
        // What left a node degraded is answered by a person, by one of the ways out.
        Fault::ToolFails { .. } | Fault::KubeletCrashLoops { .. } if rng.once_in(2) => {
            let node = node.to_owned();
            let after = 60_000 + rng.below(900_000);
            let newer = Fault::Target { node: node.clone(), target: Some(setup.next()) };
            faults.push((after, if rng.once_in(2) { newer } else { Fault::Retry { node } }));
        }
        Fault::EtcdBackedUp => faults.push((rng.below(120_000), Fault::EtcdRestored)),
        _ => {}
    }
    faults
}

fn fault(rng: &mut Rng, node: &str, setup: &Setup, word: &str) -> Fault {
    let node = node.to_owned();
    let lasts = 1_000 + rng.below(90_000);
    match word {
        "kill" => Fault::Kill { node, restart: 500 + rng.below(20_000) },
        "power-cut" => Fault::PowerCut { node, boot: 15_000 + rng.below(90_000) },
        "journal-lost" => Fault::JournalLost { node },
        "disk-full" => Fault::DiskFull { node, lasts },
        "clock-jumps" => {
            let jumps = [-86_400, -600, -30, 30, 1_200, 86_400];
            Fault::ClockJumps { node, seconds: rng.pick(&jumps).copied().unwrap_or(30) }
        }
        "clock-drifts" => {
            let speeds = [500, -500, 200, -200];
            Fault::ClockDrifts { node, ppm: rng.pick(&speeds).copied().unwrap_or(500) }
        }
        "watch-lag" => Fault::WatchLag { node, lag: 200 + rng.below(8_000), lasts },
        "watch-silent" => Fault::WatchSilent { node, lasts: lasts * 4 },
        "lost-answers" => Fault::LostAnswers { node, lasts },
        "outage" => Fault::Outage { lasts },
        "partition" => Fault::Partition { node, lasts: lasts * 2 },
        "kubelet-credential-fails" => {
            Fault::CredentialFails { node, identity: Identity::Kubelet, lasts: lasts * 10 }
        }
        "coordination-credential-fails" => {
            Fault::CredentialFails { node, identity: Identity::Coordination, lasts: lasts * 10 }
        }
        "heartbeat-fails" => Fault::HeartbeatFails { node, lasts: lasts * 10 },
        "etcd-backed-up" => Fault::EtcdBackedUp,
        "etcd-restored" => Fault::EtcdRestored,
        "etcd-member-sick" => Fault::EtcdMemberSick { node: plane(rng, setup), lasts },
        // etcd refuses to remove its only member: there the fault does nothing.
        "etcd-member-removed" => Fault::EtcdMemberRemoved { node: plane(rng, setup) },
        "repository-down" => Fault::RepositoryDown { node, lasts: lasts * 4 },
        "version-withdrawn" => Fault::VersionWithdrawn { version: setup.target },
        "foreign-package-broken" => Fault::ForeignPackageBroken { node },
        "budget-blocks" => Fault::BudgetBlocks { lasts: lasts * 5 },
        "evictions-denied" => Fault::EvictionsDenied { lasts: lasts * 5 },
        "tool-fails" => tool_fails(rng, node),
        other => of_kubelets_or_people(rng, node, setup, other),
    }
}

fn of_kubelets_or_people(rng: &mut Rng, node: String, setup: &Setup, word: &str) -> Fault {
    let lasts = 1_000 + rng.below(90_000);
    let next = setup.next();
    match word {
        "kubelet-sick" => Fault::KubeletSick { node, lasts: lasts * 5 },
        "kubelet-crash-loops" => {
            let versions = [None, Some(setup.target)];
            Fault::KubeletCrashLoops {
                node,
                version: rng.pick(&versions).copied().flatten(),
                lasts: lasts * 5,
            }
        }
        "daemon-pods-sick" => Fault::DaemonPodsSick { node, lasts },
        "daemon-set-deleted" => Fault::DaemonSetDeleted,
        "csi-driver-gone" => Fault::CsiDriverGone { node },
        "static-pod-sick" => {
            let component = rng.pick(&STATIC_PODS).copied().unwrap_or("kube-scheduler");
            Fault::StaticPodSick { node: plane(rng, setup), component, lasts }
        }
        "paused" => Fault::Paused { lasts: lasts * 3 },
        "policy-garbled" => Fault::PolicyGarbled { lasts },
        "min-ready" => {
            let seconds = [0, 30, 400];
            Fault::MinReady { seconds: rng.pick(&seconds).copied().unwrap_or(30) }
        }
        "target" => {
            let targets = [None, Some(setup.from), Some(next)];
            Fault::Target { node, target: rng.pick(&targets).copied().flatten() }
        }
        "retry" => Fault::Retry { node },
        "skip-checks" => {
            let checks = [Check::NodeReady, Check::Etcd, Check::OtherNodes, Check::Pods, Check::DiskSpace];
            Fault::SkipChecks { node, checks: rng.pick(&checks).copied().into_iter().collect() }
        }
        "ignore" => Fault::Ignore { node, on: !rng.once_in(4) },
        "person-cordons" => Fault::PersonCordons { node },
        "person-uncordons" => Fault::PersonUncordons { node },
        "lease-freed" => Fault::LeaseFreed { node },
        "upgraded-by-hand" => {
            let version = rng.pick(&[setup.target, next]).copied().unwrap_or(next);
            Fault::UpgradedByHand { node, version, how: by_hand(rng) }
        }
        "node-deleted" => Fault::NodeDeleted { node, back: lasts },
        _ => Fault::AgentPurged { node, back: lasts * 2 },
    }
}

fn by_hand(rng: &mut Rng) -> ByHand {
    let ways = [
        ByHand::Kubelet,
        ByHand::Kubeadm,
        ByHand::Packages,
        ByHand::HalfControlPlane,
        ByHand::Whole,
        ByHand::Whole,
    ];
    rng.pick(&ways).copied().unwrap_or(ByHand::Whole)
}

fn tool_fails(rng: &mut Rng, node: String) -> Fault {
    let tools = ["install-kubeadm", "kubeadm-upgrade", "kubeadm-upgrade", "install-kubelet", "repair-dpkg"];
    let tool = rng.pick(&tools).copied().unwrap_or_default();
    let component = rng.pick(&STATIC_PODS).copied().unwrap_or("kube-scheduler");
    let pieces = usize::try_from(rng.below(12)).unwrap_or_default();
    let ways = [Failure::AtOnce, Failure::Late, Failure::Killed(pieces), Failure::RolledBack(component)];
    let how = rng.pick(&ways).copied().unwrap_or(Failure::AtOnce);
    Fault::ToolFails { node, tool, times: 1 + u32::try_from(rng.below(4)).unwrap_or(0), how }
}

fn plane(rng: &mut Rng, setup: &Setup) -> String {
    let number = 1 + rng.below(u64::try_from(setup.control_planes).unwrap_or(1));
    format!("cp{number}")
}
