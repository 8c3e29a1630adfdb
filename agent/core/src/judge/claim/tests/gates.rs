//! The rest of the gates: the other control-plane nodes and etcd, skew, the budget, and what is asked past the point of no return.

use super::*;
use crate::api::ApiServerNote;
use crate::judge::tests::{NOTHING, members};
use crate::observed::{ControlPlanePod, EtcdSeen};

fn without(fleet: &mut FleetSeen, component: &str) {
    fleet.pods.retain(|pod| pod.node != "cp2" || pod.component != component);
}

fn unready(fleet: &mut FleetSeen, component: &str) {
    let theirs = |pod: &&mut ControlPlanePod| pod.node == "cp2" && pod.component == component;
    fleet.pods.iter_mut().filter(theirs).for_each(|pod| pod.ready = false);
}

/// What makes the other control-plane node less than whole.
const BROKEN: [(&str, Change); 10] = [
    ("control-plane node cp2 is not Ready", |fleet| fleet.nodes[CP2].ready = false),
    ("cp2 is in the middle", |fleet| fleet.nodes[CP2].in_hand = Some(InHand::default())),
    ("cp2 is in the middle", |fleet| fleet.nodes[CP2].cordon_note = true),
    ("the API server on cp2 is not Ready", |fleet| without(fleet, "kube-apiserver")),
    ("the API server on cp2 is not Ready", |fleet| fleet.pods[4].ready = false),
    ("etcd on cp2 is not Ready", |fleet| without(fleet, "etcd")),
    ("static pod kube-scheduler on cp2 is not Ready", |fleet| without(fleet, "kube-scheduler")),
    ("static pod kube-scheduler on cp2 is not Ready", |fleet| unready(fleet, "kube-scheduler")),
    ("static pod kube-controller-manager on cp2 is not Ready", |fleet| {
        without(fleet, "kube-controller-manager");
    }),
    ("two versions, v1.36.3 and v1.36.2", |fleet| fleet.pods[6].version = Some(OLD)),
];

#[test]
fn both_turns_of_a_control_plane_node_want_the_others_of_it_whole() {
    for who in [turn_a(), turn_b()] {
        for (words, change) in BROKEN {
            let broken = changed(change);
            let step = bars_step(who, &broken, Some(&local()));
            for bar in both(who, &broken).into_iter().chain([step]) {
                is_barred(bar.as_ref(), BarKind::GiveWay, Reason::WaitingForTurn, words);
            }
        }
    }
}

#[test]
fn a_worker_is_no_part_of_the_control_plane_and_waits_for_none_of_it() {
    let workers: [(&str, Change); 2] = [
        ("etcd", |fleet| without(fleet, "etcd")),
        ("the scheduler", |fleet| without(fleet, "kube-scheduler")),
    ];
    none_bars(worker(), &workers);
}

#[test]
fn one_of_two_static_pods_that_are_of_one_version_may_be_of_any() {
    let older: Change = |fleet| {
        fleet.pods.retain(|pod| pod.node != "cp2");
        fleet.pods.extend(fleet_pods("cp2", OLD));
    };
    none_bars(turn_a(), &[("all of cp2 is older", older)]);
}

#[test]
fn a_dead_control_plane_node_whose_member_is_dead_too_needs_a_person_unless_one_is_at_work() {
    let broken = changed(|fleet| fleet.nodes[CP2].ready = false);
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let etcd = |count, unhealthy: &[&str]| {
        let etcd = Some(EtcdSeen {
            healthy: true,
            members: members(count),
            unhealthy: names(unhealthy),
            ..EtcdSeen::default()
        });
        bars_claim(turn_a(), &broken, Some(&LocalControlPlane { etcd, ..local() }))
    };
    is_barred(
        etcd(2, &["cp2"]).as_ref(),
        BarKind::Refuse,
        Reason::ControlPlaneDown,
        "kubectl delete node cp2",
    );
    for (members, unhealthy) in [(2, [].as_slice()), (2, &["cp1"]), (0, &[])] {
        let bar = etcd(members, unhealthy);
        is_barred(bar.as_ref(), BarKind::GiveWay, Reason::WaitingForTurn, "cp2 is not Ready");
    }
    let mut at_work = broken.clone();
    at_work.nodes[CP1].in_hand = Some(InHand::default());
    let etcd = Some(EtcdSeen {
        healthy: true,
        members: members(2),
        unhealthy: names(&["cp2"]),
        ..EtcdSeen::default()
    });
    let bar = bars_step(turn_a(), &at_work, Some(&LocalControlPlane { etcd, ..local() }));
    is_barred(bar.as_ref(), BarKind::GiveWay, Reason::WaitingForTurn, "cp2 is not Ready");
}

#[test]
fn etcd_has_exactly_a_healthy_member_for_each_control_plane_node_no_learner_and_no_alarm() {
    let skip = BTreeSet::from([Check::Etcd]);
    for (count, unhealthy, learners, alarms) in
        [(0, 0, 0, 0), (1, 0, 0, 0), (3, 0, 0, 0), (2, 1, 0, 0), (2, 0, 1, 0), (2, 0, 0, 1)]
    {
        let unhealthy = ["cp2".to_owned()].into_iter().take(unhealthy).collect();
        let etcd = Some(EtcdSeen { healthy: true, members: members(count), learners, alarms, unhealthy });
        let local = LocalControlPlane { etcd, ..local() };
        for who in [turn_a(), turn_b()] {
            let bar = bars_holder(who, &holder("cp1"), &fleet(), Some(&local));
            is_barred(bar.as_ref(), BarKind::GiveWay, Reason::WaitingForTurn, "etcd");
            let skipped = Claimant { skip: &skip, ..who };
            assert_eq!(bars_holder(skipped, &holder("cp1"), &fleet(), Some(&local)), None);
        }
    }
    let external = LocalControlPlane { etcd: None, ..local() };
    assert_eq!(bars_claim(turn_a(), &fleet(), Some(&external)), None);
}

#[test]
fn a_member_of_no_node_does_not_stand_for_that_of_another() {
    let named = |names: [&str; 2]| {
        let members = names.map(str::to_owned).into();
        let local = LocalControlPlane {
            etcd: Some(EtcdSeen { healthy: true, members, ..EtcdSeen::default() }),
            ..local()
        };
        bars_holder(turn_a(), &holder("cp1"), &fleet(), Some(&local))
    };
    assert_eq!(named(["cp1", "cp2"]), None);
    let bar = named(["cp1", "cp3"]);
    is_barred(
        bar.as_ref(),
        BarKind::GiveWay,
        Reason::WaitingForTurn,
        "its member cp3 is of no control-plane node",
    );
    assert_eq!(named(["infra0", "infra1"]), None, "names that somebody has chosen say nothing of nodes");
}

fn with_servers(cp1: Version, cp2: Version) -> FleetSeen {
    let pods = [fleet_pods("cp1", cp1), fleet_pods("cp2", cp2)].concat();
    let mut fleet = FleetSeen { pods, kubeadm_config: Some(NEXT_MINOR), ..fleet() };
    fleet.nodes[CP1].target = None;
    fleet.nodes[CP2].target = None;
    fleet
}

#[test]
fn no_kubelet_goes_past_the_minor_of_an_api_server_that_it_can_reach() {
    let to = |target, own_server| Claimant { target, own_server, ..turn_b() };
    let mixed = with_servers(NEXT_MINOR, NEW);
    for bar in both(to(NEXT_MINOR, false), &mixed) {
        is_barred(bar.as_ref(), BarKind::GiveWay, Reason::WaitingForTurn, "cp2 runs v1.36.3");
    }
    assert_eq!(both(to(NEXT_MINOR, true), &mixed), [None, None], "in local mode its own alone");
    let own_is_old = with_servers(NEW, NEXT_MINOR);
    for bar in both(to(NEXT_MINOR, true), &own_is_old) {
        is_barred(bar.as_ref(), BarKind::GiveWay, Reason::WaitingForTurn, "cp1 runs v1.36.3");
    }
    assert_eq!(both(to(NEW, false), &with_servers(OLD, OLD)), [None, None], "patches do not count");
}

#[test]
fn what_an_api_server_runs_is_said_by_its_note_as_long_as_its_pod_is_the_one_that_was_asked() {
    let who = Claimant { target: NEXT_MINOR, ..worker() };
    let noted = |hash: &str, version| {
        let mut fleet = with_servers(NEXT_MINOR, NEXT_MINOR);
        fleet.nodes[CP2].api_server = Some(ApiServerNote { version, hash: hash.into() });
        both(who, &fleet)
    };
    assert_eq!(noted("hash-cp2", NEXT_MINOR), [None, None]);
    for (bars, words) in
        [(noted("hash-cp2", NEW), "cp2 runs v1.36.3"), (noted("before", NEXT_MINOR), "not known")]
    {
        for bar in bars {
            is_barred(bar.as_ref(), BarKind::GiveWay, Reason::WaitingForTurn, words);
        }
    }
    let mut unseen = fleet();
    unseen.nodes.retain(|node| !node.control_plane);
    for bar in both(worker(), &unseen) {
        is_barred(bar.as_ref(), BarKind::GiveWay, Reason::WaitingForTurn, "no control-plane node is seen");
    }
}

#[test]
fn another_node_out_of_service_uses_up_the_budget_of_everybody_whose_kubelet_goes() {
    let rows: [(Reason, &str, Change); 2] = [
        (Reason::BudgetExhausted, "w2 is out of service", |fleet| fleet.nodes[W2].ready = false),
        (Reason::BudgetExhausted, "w2 is out of service", |fleet| {
            fleet.nodes[W2].unschedulable = true;
            fleet.nodes[W2].cordon_note = true;
        }),
    ];
    let spared: [(&str, Change); 3] = [
        ("cordoned by people", |fleet| fleet.nodes[W2].unschedulable = true),
        ("a note without cordon", |fleet| fleet.nodes[W2].cordon_note = true),
        ("ignored", |fleet| {
            fleet.nodes[W2].ready = false;
            fleet.nodes[W2].ignored = true;
        }),
    ];
    for who in [worker(), turn_b()] {
        all_give_way(who, &rows);
        none_bars(who, &spared);
        none_bars(Claimant { serves: false, ..who }, &rows.map(|(_, what, change)| (what, change)));
    }
    none_bars(turn_a(), &rows.map(|(_, what, change)| (what, change)));
}

#[test]
fn a_control_plane_node_counts_in_the_budget_even_where_people_want_it_ignored() {
    let down: Change = |fleet| {
        fleet.nodes[CP2].ready = false;
        fleet.nodes[CP2].ignored = true;
    };
    all_give_way(worker(), &[(Reason::BudgetExhausted, "cp2 is out of service", down)]);
}

#[test]
fn a_slot_counts_with_a_lower_number_or_a_holder_at_work() {
    let second = Claimant { lease: LeaseName::Slot(1), ..worker() };
    let with = |who, slot, in_hand| {
        let mut fleet = fleet();
        fleet.leases.push(held(slot, "w2"));
        fleet.nodes[W2].in_hand = in_hand;
        bars_holder(who, &holder("w1"), &fleet, None)
    };
    let mark = || Some(at_work(TurnKind::Kubelet, NEW));
    for bar in [with(second, SLOT, None), with(worker(), LeaseName::Slot(1), mark())] {
        is_barred(bar.as_ref(), BarKind::GiveWay, Reason::BudgetExhausted, "w2 is out of service");
    }
    assert_eq!(with(worker(), LeaseName::Slot(1), None), None);
}

#[test]
fn the_kubelet_of_a_control_plane_is_barred_by_slots_that_will_not_fall_free() {
    let gone: Change = |fleet| fleet.leases.push(held(SLOT, "another"));
    let dead: Change = |fleet| {
        fleet.leases.push(held(SLOT, "w1"));
        fleet.nodes[W1].ready = false;
    };
    let cordoned_for_good: Change = |fleet| {
        fleet.leases.push(held(SLOT, "w1"));
        degraded(fleet, W1, NEWER);
        fleet.nodes[W1].unschedulable = true;
        fleet.nodes[W1].cordon_note = true;
    };
    all_give_way(
        turn_b(),
        &[
            (Reason::BudgetExhausted, "another is out of service", gone),
            (Reason::BudgetExhausted, "w1 is out of service", dead),
            (Reason::BudgetExhausted, "w1 is out of service", cordoned_for_good),
        ],
    );
}

#[test]
fn the_budget_sees_the_mark_on_the_lease_of_a_degraded_node_that_stays_cordoned() {
    let slot = |fleet: &mut FleetSeen, cordoned: bool| {
        fleet.leases.push(FleetLease { name: SLOT, ..marked("w1", Some(NEWER)) });
        fleet.nodes[W1].in_hand = Some(at_work(TurnKind::Kubelet, NEWER));
        fleet.nodes[W1].unschedulable = cordoned;
        fleet.nodes[W1].cordon_note = cordoned;
    };
    let with = |cordoned| {
        let mut fleet = fleet();
        slot(&mut fleet, cordoned);
        both(turn_b(), &fleet)
    };
    for bar in with(true) {
        is_barred(bar.as_ref(), BarKind::GiveWay, Reason::BudgetExhausted, "w1 is out of service");
    }
    assert_eq!(with(false), [None, None], "one that serves is no loss of service");
}

#[test]
fn a_drain_needs_another_ready_schedulable_node_unless_it_is_off_or_skipped() {
    let cordoned: Change = |fleet| fleet.nodes.iter_mut().for_each(|node| node.unschedulable = true);
    let skip = BTreeSet::from([Check::OtherNodes]);
    for who in [worker(), turn_b()] {
        all_give_way(who, &[(Reason::PreflightPending, "no other node", cordoned)]);
        none_bars(Claimant { drains: false, ..who }, &[("no drain", cordoned)]);
        none_bars(Claimant { skip: &skip, ..who }, &[("skipped", cordoned)]);
    }
    none_bars(turn_a(), &[("nothing is drained", cordoned)]);
}

/// Everything that bars a claim of any kind.
fn all_bars() -> FleetSeen {
    let mut fleet = with_servers(NEW, NEW);
    fleet.kubeadm_config = Some(OLD);
    fleet.policy.policy.paused = true;
    fleet.leases = vec![held(SLOT, "w2"), marked("w2", Some(NEW))];
    fleet.nodes[W2].ready = false;
    fleet.nodes[CP2].ready = false;
    fleet.nodes[CP1].unschedulable = true;
    fleet
}

#[test]
fn past_the_point_of_no_return_turn_b_waits_for_an_api_server_of_an_older_minor_alone() {
    for who in [worker(), turn_b()] {
        assert_eq!(bars_resumption(who, false, &all_bars(), Some(&local())), None);
        let next = Claimant { target: NEXT_MINOR, ..who };
        let bar = bars_resumption(next, true, &all_bars(), None);
        is_barred(bar.as_ref(), BarKind::GiveWay, Reason::WaitingForTurn, "runs v1.36.3");
    }
}

#[test]
fn past_the_point_of_no_return_turn_a_waits_for_etcd_and_without_its_lease_for_anothers_mark() {
    let resumes = |holds, fleet: &FleetSeen, local: &LocalControlPlane| {
        bars_resumption(turn_a(), holds, fleet, Some(local))
    };
    assert_eq!(resumes(false, &all_bars(), &local()), None);
    let mut own = all_bars();
    own.nodes[CP1].in_hand = Some(InHand::default());
    assert_eq!(resumes(false, &own, &local()), None);
    let mut marked = all_bars();
    marked.nodes[CP2].in_hand = Some(InHand::default());
    assert_eq!(resumes(true, &marked, &local()), None, "of two, the Lease's holder goes");
    let bar = resumes(false, &marked, &local());
    is_barred(bar.as_ref(), BarKind::GiveWay, Reason::WaitingForTurn, "cp2 is in the middle");
    let sick = LocalControlPlane { etcd: Some(EtcdSeen::default()), ..local() };
    is_barred(resumes(true, &fleet(), &sick).as_ref(), BarKind::GiveWay, Reason::WaitingForTurn, "etcd");
}

#[test]
fn of_several_marked_nodes_without_the_lease_the_first_by_name_goes_on() {
    let first = |change: fn(&mut FleetSeen)| {
        let mut fleet = changed(|fleet| {
            for node in [CP1, CP2] {
                fleet.nodes[node].in_hand = Some(InHand::default());
            }
        });
        change(&mut fleet);
        ["cp1", "cp2"].map(|node| goes_first_of_marked(Claimant { node, ..turn_a() }, &fleet))
    };
    assert_eq!(first(|_| {}), [true, false]);
    assert_eq!(first(|fleet| fleet.nodes[CP1].in_hand = None), [true, true]);
    assert_eq!(first(|fleet| fleet.leases.push(held(LeaseName::ControlPlane, "cp2"))), [false, false]);
}

#[test]
fn a_step_without_a_way_back_asks_neither_policy_nor_budget_nor_order() {
    let mut busy = fleet();
    busy.policy.policy.paused = true;
    busy.leases = vec![held(SLOT, "w2"), marked("w2", Some(NEW)), held(LeaseName::ControlPlane, "cp1")];
    busy.nodes[W2].ready = false;
    for who in everybody() {
        assert_eq!(bars_step(who, &busy, Some(&local())), None, "{who:?}");
    }
    for who in [worker(), Claimant { target: NEXT_MINOR, ..turn_b() }] {
        let bar = bars_step(who, &changed(|fleet| fleet.kubeadm_config = None), Some(&local()));
        assert!(bar.is_some(), "{who:?}");
    }
    assert_eq!(bars_step(turn_a(), &changed(|fleet| fleet.kubeadm_config = None), Some(&local())), None);
}

#[test]
fn a_degraded_turn_with_a_new_target_waits_for_its_order_and_for_skew_and_for_nothing_else() {
    let mut busy = fleet();
    busy.policy.policy.paused = true;
    busy.leases = vec![held(SLOT, "w1"), marked("w2", Some(NEW))];
    busy.nodes[W2].ready = false;
    for who in everybody() {
        assert_eq!(bars_replanned(who, &busy, Some(&local())), None, "{who:?}");
    }
    let waits: [(&str, Change); 4] = [
        ("cp1 holds", |fleet| fleet.leases.push(held(LeaseName::ControlPlane, "cp1"))),
        ("cp2 is in the middle", |fleet| fleet.nodes[CP2].in_hand = Some(InHand::default())),
        ("cp2 goes to", |fleet| {
            fleet.pods.retain(|pod| pod.node != "cp2");
            fleet.pods.extend(fleet_pods("cp2", OLD));
        }),
        ("names no version", |fleet| fleet.kubeadm_config = None),
    ];
    let behind = changed(|fleet| fleet.nodes[CP1].kubelet = Some(OLD));
    assert_eq!(
        bars_replanned(worker(), &behind, None),
        None,
        "a kubelet of the control plane may wait for this very node"
    );
    for (words, change) in waits {
        let bar = bars_replanned(worker(), &changed(change), None);
        is_barred(bar.as_ref(), BarKind::GiveWay, Reason::WaitingForTurn, words);
    }
    for (words, change) in BROKEN {
        let bar = bars_replanned(turn_a(), &changed(change), Some(&local()));
        is_barred(bar.as_ref(), BarKind::GiveWay, Reason::WaitingForTurn, words);
    }
}

#[test]
fn what_guards_the_cluster_cannot_be_skipped() {
    let skip = BTreeSet::from([Check::ApiServers, Check::Etcd]);
    let who = Claimant { skip: &skip, ..worker() };
    assert!(who.skips(Check::Etcd) && !who.skips(Check::ApiServers) && !worker().skips(Check::Etcd));
    assert!(NOTHING.is_empty());
}
