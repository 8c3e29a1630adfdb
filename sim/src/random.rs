//! Random clusters and random schedules, each from a seed.

mod draw;

use upgrade_core::api::Version;

use crate::coverage::{OBSERVATIONS, Place, places};
use crate::fault::Fault;
use crate::rng::Rng;
use crate::schedule::{Planned, Point, Schedule, When};
use crate::setup::{Endpoint, Setup};
use draw::faults;

/// The words of all faults that chance draws. `notes-removed` is for histories alone: no event tells it, and to the oracle the
/// cordon of which a person took the note away would still be the agent's. Nor is `target-garbled` drawn: to the oracle it is no
/// target.
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

/// So many faults of a seed are placed at acts and observations; not all of them come to pass.
const PLACED: u64 = 5;
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

/// Some faults at random times, and some placed at acts and observations.
///
/// It depends on setup and seed alone: what the agents do under it has no say in it.
pub fn random_schedule(setup: &Setup, seed: u64) -> Schedule {
    let mut rng = Rng::new(seed);
    let mut schedule: Schedule = (0..rng.below(4)).map(|_| at_some_time(&mut rng, setup)).collect();
    if setup.unasked {
        schedule.extend(asked_in_any_order(&mut rng, setup));
    }
    let all = places();
    for number in 0..PLACED {
        // Consecutive seeds go through all places one after the other.
        let index = usize::try_from(seed.wrapping_mul(PLACED).wrapping_add(number)).unwrap_or_default();
        if let Some(place) = all.get(index % all.len().max(1)).copied() {
            schedule.extend(placed(&mut rng, setup, place));
        }
    }
    schedule
}

/// This fault at this place and nothing else, in a cluster that is asked to upgrade by itself.
pub fn aimed_at(place: Place, seed: u64) -> (Setup, Schedule) {
    let setup = Setup { unasked: false, tainted_workers: false, ..random_setup(seed) };
    let schedule = placed(&mut Rng::new(seed), &setup, place);
    (setup, schedule)
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

/// This fault at this place, on a node that may come there, with what leads there where an upgrade seldom does.
fn placed(rng: &mut Rng, setup: &Setup, (what, fault, point): Place) -> Vec<Planned> {
    let nodes = setup.nodes();
    let of_control_planes = CONTROL_PLANE_ACTS.contains(&what);
    let fit: Vec<&String> =
        nodes.iter().filter(|node| !of_control_planes || node.starts_with("cp")).collect();
    // What is seldom done is waited for everywhere.
    let Some(chosen) = rng.pick(&fit).copied() else { return Vec::new() };
    let chosen = if SELDOM.contains(&what) { fit.clone() } else { vec![chosen] };
    chosen.into_iter().flat_map(|node| placed_at(rng, setup, node, (what, fault, point))).collect()
}

fn placed_at(rng: &mut Rng, setup: &Setup, node: &str, (what, fault, point): Place) -> Vec<Planned> {
    let nodes = setup.nodes();
    let nth = if rng.once_in(4) { rng.pick(&[1, 2, 5]).copied().unwrap_or_default() } else { 0 };
    let when = if OBSERVATIONS.contains(&what) {
        When::Seen { node: node.to_owned(), fact: what, nth, point }
    } else {
        When::act(node, what, if SELDOM.contains(&what) { 0 } else { nth }, point)
    };
    // What goes wrong may go wrong on another node than the one whose act it is.
    let other = rng.once_in(4).then(|| rng.pick(&nodes)).flatten();
    let victim = other.map_or(node, String::as_str);
    let planned = Planned { when, faults: faults(rng, victim, setup, fault) };
    leads_to(rng, node, what).into_iter().chain([planned]).collect()
}

/// What only a control-plane node does.
const CONTROL_PLANE_ACTS: [&str; 2] = ["look-at-control-plane", "restore-manifests"];
/// What an upgrade without faults does once, or never.
const SELDOM: [&str; 9] = [
    "look-at-node",
    "forget-cordon",
    "repair-dpkg",
    "await",
    "restore-manifests",
    "restore-kubelet-config",
    "hold",
    "clean-up",
    "back-up",
];

/// What makes a node do something that it seldom does.
fn leads_to(rng: &mut Rng, node: &str, act: &str) -> Option<Planned> {
    let node_name = || node.to_owned();
    let begun = |act, fault| Some(Planned::act(node, act, Point::Done, fault));
    match act {
        "look-at-node" => begun("install-kubelet", Fault::WatchSilent { node: node_name(), lasts: 120_000 }),
        "forget-cordon" => begun("install-kubelet", Fault::PersonUncordons { node: node_name() }),
        "repair-dpkg" => begun("install-kubelet", Fault::PowerCut { node: node_name(), boot: 20_000 }),
        "await" => begun("install-kubelet", Fault::Kill { node: node_name(), restart: 1_000 }),
        "restore-kubelet-config" => {
            begun("kubeadm-upgrade", Fault::Target { node: node_name(), target: None })
        }
        // A moment after kubeadm has taken the first manifest out and before it has put the new one in.
        "restore-manifests" => {
            let cut = Fault::PowerCut { node: node_name(), boot: 20_000 };
            begun("kubeadm-upgrade", cut).map(|planned| planned.after(1_010 + rng.below(30)))
        }
        // A drain that lasts is renewed beside.
        "observed-lease" | "renew" => {
            Some(Planned::act(node, "drain", Point::Before, Fault::BudgetBlocks { lasts: 150_000 }))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_is_drawn_by_its_word() {
        for word in FAULTS {
            let drawn = faults(&mut Rng::new(1), "cp1", &Setup::small(), word);
            assert_eq!(drawn.first().map(|(_, fault)| fault.word()), Some(word));
        }
    }
}
