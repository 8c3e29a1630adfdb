//! Random clusters and random schedules, each from a seed.

use upgrade_core::preflight::Check;
use upgrade_core::verify::STATIC_PODS;
use upgrade_core::version::Version;

use crate::coverage::{OBSERVATIONS, Place, places};
use crate::fault::{ByHand, Failure, Fault, Identity};
use crate::rng::Rng;
use crate::schedule::{Planned, Schedule, When};
use crate::setup::{Endpoint, Setup};
use crate::world::World;

/// The words of all faults.
pub const FAULTS: [&str; 43] = [
    "kill",
    "power-cut",
    "journal-lost",
    "disk-full",
    "clock-jumps",
    "clock-drifts",
    "watch-lag",
    "watch-silent",
    "lost-answers",
    "outage",
    "partition",
    "kubelet-credential-fails",
    "coordination-credential-fails",
    "heartbeat-fails",
    "etcd-backed-up",
    "etcd-restored",
    "etcd-member-sick",
    "etcd-member-removed",
    "kubelet-sick",
    "kubelet-crash-loops",
    "daemon-pods-sick",
    "daemon-set-deleted",
    "csi-driver-gone",
    "static-pod-sick",
    "tool-fails",
    "repository-down",
    "version-withdrawn",
    "foreign-package-broken",
    "budget-blocks",
    "evictions-denied",
    "paused",
    "policy-garbled",
    "min-ready",
    "target",
    "retry",
    "skip-checks",
    "ignore",
    "person-cordons",
    "person-uncordons",
    "lease-freed",
    "upgraded-by-hand",
    "node-deleted",
    "agent-purged",
];

/// So many faults of a seed are placed at acts and observations.
const PLACED: u64 = 3;
/// A fleet without faults takes about so long for each node.
const SPAN: u64 = 60_000;

/// A small cluster to begin with.
pub fn random_setup(seed: u64) -> Setup {
    let mut rng = Rng::new(seed ^ 0x5e7_0b5e);
    let control_planes = rng.pick(&[1, 1, 1, 2, 3]).copied().unwrap_or(1);
    let most = usize::try_from(rng.below(4)).unwrap_or(1).min(4 - control_planes.min(3));
    let workers = if rng.once_in(12) { 0 } else { most.max(1) };
    let minor = rng.once_in(if control_planes == 1 { 3 } else { 6 });
    Setup {
        control_planes,
        workers,
        from: if minor { Version::new(1, 35, 4) } else { Version::new(1, 36, 2) },
        target: Version::new(1, 36, 3),
        endpoint: if rng.once_in(2) { Endpoint::Shared } else { Endpoint::Local },
        package_restarts: rng.once_in(2),
        tainted_workers: rng.once_in(8),
        budget: rng.once_in(3),
        slots: 1,
        undrained: false,
        cgroup_v1: false,
        unasked: rng.once_in(8),
        probed: if rng.once_in(4) { 20_000 } else { 4_000 },
        seed,
    }
}

/// Some faults at random times, and some placed at acts and observations that such a run has.
pub fn random_schedule(setup: &Setup, seed: u64) -> Schedule {
    let mut rng = Rng::new(seed);
    let mut schedule: Schedule = (0..rng.below(4)).map(|_| at_some_time(&mut rng, setup)).collect();
    if setup.unasked {
        schedule.extend(asked_in_any_order(&mut rng, setup));
    }
    if rng.once_in(8) {
        return schedule;
    }
    let shown = World::run(setup, &schedule);
    let all = places();
    for number in 0..=rng.below(PLACED) {
        // Consecutive seeds go through all places one after the other.
        let index = usize::try_from(seed.wrapping_mul(PLACED).wrapping_add(number)).unwrap_or_default();
        let place = all.get(index % all.len().max(1)).copied();
        schedule.extend(place.and_then(|place| placed(&mut rng, setup, &shown, place)));
    }
    schedule
}

fn at_some_time(rng: &mut Rng, setup: &Setup) -> Planned {
    let nodes = setup.nodes();
    let node = rng.pick(&nodes).cloned().unwrap_or_default();
    let at = 2_000 + rng.below(SPAN * (1 + u64::try_from(nodes.len()).unwrap_or(1)));
    let word = rng.pick(&FAULTS).copied().unwrap_or_default();
    Planned { when: When::At(at), faults: faults(rng, &node, setup, word) }
}

/// People annotate node after node, in an order of their own.
fn asked_in_any_order(rng: &mut Rng, setup: &Setup) -> Vec<Planned> {
    let mut nodes = setup.nodes();
    let mut schedule = Vec::new();
    let mut at = 4_000;
    while !nodes.is_empty() {
        let index = usize::try_from(rng.below(u64::try_from(nodes.len()).unwrap_or(1))).unwrap_or_default();
        let node = nodes.remove(index);
        schedule.push(Planned::at(at, Fault::Target { node, target: Some(setup.target) }));
        at += rng.below(60_000);
    }
    schedule
}

/// This fault at this place, or at another one where the run has no such place.
fn placed(rng: &mut Rng, setup: &Setup, shown: &World, (what, fault, point): Place) -> Option<Planned> {
    let (node, when) = if OBSERVATIONS.contains(&what) {
        let such: Vec<_> = shown.seen.iter().filter(|(_, word, _)| *word == what).collect();
        let (node, fact, nth) = rng.pick(&such).copied().cloned()?;
        (node.clone(), When::Seen { node, fact, nth, point })
    } else {
        let such: Vec<_> = shown.steps.iter().filter(|step| step.word == what).collect();
        let any: Vec<_> = shown.steps.iter().collect();
        let step = rng.pick(if such.is_empty() { &any } else { &such }).copied()?;
        (step.node.clone(), When::act(&step.node, step.word, step.nth, point))
    };
    // What goes wrong may go wrong on another node than the one whose act it is.
    let nodes = setup.nodes();
    let victim = if rng.once_in(4) { rng.pick(&nodes).cloned()? } else { node };
    Some(Planned { when, faults: faults(rng, &victim, setup, fault) })
}

/// A fault, and what belongs to it: the world changes while an agent is dead, and what was deleted or cancelled is asked for
/// again.
fn faults(rng: &mut Rng, node: &str, setup: &Setup, word: &str) -> Vec<(u64, Fault)> {
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
            let speeds = [-100_000, -500, 500, 100_000];
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
        // Nobody removes the only member.
        "etcd-member-removed" if setup.control_planes > 1 => {
            Fault::EtcdMemberRemoved { node: plane(rng, setup) }
        }
        "etcd-member-removed" => Fault::EtcdMemberSick { node, lasts },
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
