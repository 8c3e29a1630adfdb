use super::*;
use crate::api::{Check, InHand, Policy};
use crate::judge::tests::{
    NEW, NEWER, NEXT_MINOR, OLD, at_work, fleet, fleet_pods, held, holder, local, turn_a, turn_b, worker,
};
use crate::observed::LeaseMark;

mod gates;

type Change = fn(&mut FleetSeen);

/// Positions in [`fleet`].
const CP1: usize = 0;
const CP2: usize = 1;
const W1: usize = 2;
const W2: usize = 3;

const SLOT: LeaseName = LeaseName::Slot(0);

fn changed(change: Change) -> FleetSeen {
    let mut fleet = fleet();
    change(&mut fleet);
    fleet
}

/// What bars a claim, and what bars whoever has claimed, in a fleet that was changed so.
fn both(who: Claimant<'_>, fleet: &FleetSeen) -> [Option<Bar>; 2] {
    let local = local();
    let local = Some(&local).filter(|_| who.control_plane);
    [bars_claim(who, fleet, local), bars_holder(who, &holder(who.node), fleet, local)]
}

#[track_caller]
fn is_barred(bar: Option<&Bar>, kind: BarKind, reason: Reason, words: &str) {
    let bar = bar.unwrap_or_else(|| panic!("nothing bars: {words}"));
    assert!(
        (bar.kind, bar.why.reason) == (kind, reason) && bar.why.message.contains(words),
        "{kind:?} {reason} {words}: {bar:?}"
    );
}

/// Each change bars the claim, and whoever has claimed gives way.
#[track_caller]
fn all_give_way(who: Claimant<'_>, rows: &[(Reason, &str, Change)]) {
    for (reason, words, change) in rows {
        for bar in both(who, &changed(*change)) {
            is_barred(bar.as_ref(), BarKind::GiveWay, *reason, words);
        }
    }
}

#[track_caller]
fn none_bars(who: Claimant<'_>, rows: &[(&str, Change)]) {
    for (what, change) in rows {
        assert_eq!(both(who, &changed(*change)), [None, None], "{what}");
    }
}

fn degraded(fleet: &mut FleetSeen, node: usize, to: Version) {
    let mark = at_work(TurnKind::Kubelet, to);
    fleet.nodes[node].in_hand = Some(InHand { degraded: Some("disk".into()), ..mark });
}

fn marked(by: &str, target: Option<Version>) -> FleetLease {
    FleetLease { mark: Some(LeaseMark { target, why: "disk".into() }), ..held(LeaseName::Slot(1), by) }
}

fn everybody() -> [Claimant<'static>; 3] {
    [worker(), turn_a(), turn_b()]
}

#[test]
fn nobody_is_barred_where_nothing_stands_in_the_way() {
    for who in everybody() {
        none_bars(who, &[("a quiet fleet", |_| {})]);
    }
}

#[test]
fn a_policy_that_pauses_or_cannot_be_obeyed_bars_every_claim() {
    for who in everybody() {
        all_give_way(
            who,
            &[
                (Reason::Paused, "key paused", |fleet| fleet.policy.policy.paused = true),
                (Reason::Paused, "minReady", |fleet| fleet.policy.policy.wrong.push("minReady".into())),
                (Reason::Paused, "upgrade the agent", |fleet| {
                    fleet.policy.policy = Policy { protocol: 2, ..Policy::default() };
                }),
            ],
        );
    }
}

#[test]
fn a_degraded_node_halts_claims_to_the_target_it_failed_at() {
    for who in everybody() {
        all_give_way(
            who,
            &[
                (Reason::Halted, "disk", |fleet| fleet.leases.push(marked("w2", Some(NEW)))),
                (Reason::Halted, "disk", |fleet| fleet.leases.push(marked("w2", None))),
                (Reason::Halted, "w2 is in the middle", |fleet| degraded(fleet, W2, NEW)),
            ],
        );
    }
}

#[test]
fn a_degraded_node_halts_neither_a_turn_to_another_target_nor_anybody_once_its_lease_was_freed() {
    for who in everybody() {
        none_bars(
            who,
            &[
                ("the mark of another target", |fleet| fleet.leases.push(marked("w2", Some(NEWER)))),
                ("a mark nobody holds", |fleet| {
                    fleet.leases.push(FleetLease { holder: None, ..marked("w2", Some(NEW)) });
                }),
                ("a dead machine that people ignore", |fleet| {
                    degraded(fleet, W2, NEW);
                    fleet.nodes[W2].ignored = true;
                }),
            ],
        );
    }
}

#[test]
fn ones_own_marks_halt_nobody_oneself() {
    let mut own = changed(|fleet| degraded(fleet, W1, NEW));
    own.leases.push(FleetLease { name: SLOT, ..marked("w1", Some(NEW)) });
    assert_eq!(bars_holder(worker(), &holder("w1"), &own, None), None);
}

#[test]
fn a_lease_that_is_held_bars_the_claim_and_says_where_its_node_is_gone() {
    for (who, lease) in
        [(worker(), SLOT), (turn_a(), LeaseName::ControlPlane), (turn_b(), LeaseName::ControlPlane)]
    {
        let mut taken = fleet();
        taken.leases.push(held(lease, "w2"));
        let bar = bars_claim(who, &taken, Some(&local()));
        is_barred(bar.as_ref(), BarKind::GiveWay, Reason::WaitingForTurn, "w2 holds the Lease");
        assert!(!bar.unwrap().why.message.contains("gone"));
        taken.leases[0] = held(lease, "another");
        let bar = bars_claim(who, &taken, Some(&local()));
        is_barred(bar.as_ref(), BarKind::GiveWay, Reason::WaitingForTurn, "its Node is gone");
    }
}

#[test]
fn the_lease_of_an_earlier_turn_of_this_node_is_not_this_turns() {
    let earlier = Holder { turn: crate::api::TurnId("k".into()), ..holder("cp1") };
    let mut taken = fleet();
    taken
        .leases
        .push(FleetLease { holder: Some(earlier.to_string()), ..held(LeaseName::ControlPlane, "cp1") });
    is_barred(
        bars_claim(turn_a(), &taken, Some(&local())).as_ref(),
        BarKind::GiveWay,
        Reason::WaitingForTurn,
        "cp1 holds the Lease control-plane",
    );
    taken.leases[0].mark = Some(LeaseMark { target: Some(NEW), why: "disk".into() });
    let barred = bars_holder(turn_a(), &holder("cp1"), &taken, Some(&local()));
    is_barred(barred.as_ref(), BarKind::GiveWay, Reason::Halted, "disk");
    assert_eq!(bars_holder(turn_a(), &earlier, &taken, Some(&local())), None);
}

#[test]
fn workers_wait_for_the_control_plane_and_say_for_whom() {
    all_give_way(
        worker(),
        &[
            (Reason::WaitingForTurn, "cp1 holds the Lease control-plane", |fleet| {
                fleet.leases.push(held(LeaseName::ControlPlane, "cp1"));
            }),
            (Reason::WaitingForTurn, "cp2 is in the middle", |fleet| {
                fleet.nodes[CP2].in_hand = Some(InHand::default());
            }),
            (Reason::WaitingForTurn, "cp1 goes to v1.36.3 first", |fleet| {
                fleet.nodes[CP1].kubelet = Some(OLD);
            }),
            (Reason::WaitingForTurn, "cp1 goes to v1.36.3 first, and no agent", |fleet| {
                fleet.nodes[CP1].kubelet = None;
                fleet.nodes[CP1].current = None;
            }),
            (Reason::WaitingForTurn, "cp2 goes to v1.36.3 first", |fleet| {
                fleet.pods.retain(|pod| pod.node != "cp2");
                fleet.pods.extend(fleet_pods("cp2", OLD));
            }),
            (Reason::WaitingForTurn, "cp2 goes to v1.36.3 first", |fleet| {
                fleet.nodes[CP2].refused = true;
                fleet.pods.retain(|pod| pod.node != "cp2");
                fleet.pods.extend(fleet_pods("cp2", OLD));
            }),
        ],
    );
}

#[test]
fn workers_do_not_wait_for_a_control_plane_node_without_target_or_refused_with_its_api_server_there() {
    none_bars(
        worker(),
        &[
            ("no target", |fleet| {
                fleet.nodes[CP1].target = None;
                fleet.nodes[CP1].kubelet = Some(OLD);
            }),
            ("refused, its API server at the target", |fleet| {
                fleet.nodes[CP1].kubelet = Some(OLD);
                fleet.nodes[CP1].refused = true;
            }),
            ("an older target", |fleet| fleet.nodes[CP1].target = Some(OLD)),
        ],
    );
}

#[test]
fn workers_wait_until_kubeadm_config_names_the_minor_of_their_target() {
    let patch: [(&str, Change); 3] = [
        ("a newer patch", |fleet| fleet.kubeadm_config = Some(NEWER)),
        ("an older patch, as that of every API server", |fleet| {
            fleet.pods = [fleet_pods("cp1", OLD), fleet_pods("cp2", OLD)].concat();
            fleet.kubeadm_config = Some(OLD);
            fleet.nodes.iter_mut().for_each(|node| node.target = None);
        }),
        ("older than an API server, but not than the target", |fleet| {
            fleet.pods = [fleet_pods("cp1", NEWER), fleet_pods("cp2", NEWER)].concat();
        }),
    ];
    none_bars(worker(), &patch);
    all_give_way(
        worker(),
        &[(Reason::WaitingForTurn, "names no version", |fleet| fleet.kubeadm_config = None)],
    );
    let next = Claimant { target: NEXT_MINOR, ..worker() };
    let minor: [(Reason, &str, Change); 1] =
        [(Reason::WaitingForTurn, "names v1.36.3, which is older", |fleet| {
            fleet.pods = [fleet_pods("cp1", NEXT_MINOR), fleet_pods("cp2", NEXT_MINOR)].concat();
        })];
    all_give_way(next, &minor);
}

#[test]
fn a_kubeadm_config_that_is_older_than_an_api_server_was_put_back_and_workers_wait_for_it() {
    let put_back: Change = |fleet| fleet.kubeadm_config = Some(OLD);
    all_give_way(worker(), &[(Reason::WaitingForTurn, "names v1.36.2, which is older", put_back)]);
    none_bars(turn_b(), &[("the kubelet of a control plane", put_back)]);
}

#[test]
fn workers_wait_where_it_is_not_known_what_an_api_server_with_a_target_runs() {
    let unknown: Change = |fleet| fleet.pods.retain(|pod| pod.node != "cp2");
    let words = "what the API server of control-plane node cp2 runs is not known";
    all_give_way(worker(), &[(Reason::WaitingForTurn, words, unknown)]);
    let down = Claimant { serves: false, ..worker() };
    let bar = bars_holder(down, &holder("w1"), &changed(unknown), None);
    is_barred(bar.as_ref(), BarKind::GiveWay, Reason::WaitingForTurn, words);
}

#[test]
fn what_an_api_server_with_a_target_runs_can_be_passed_over_where_it_is_not_known() {
    let skip = BTreeSet::from([Check::ApiServers]);
    let unknown: Change = |fleet| fleet.pods.retain(|pod| pod.node != "cp2");
    none_bars(Claimant { skip: &skip, ..worker() }, &[("skipped", unknown)]);
}

#[test]
fn workers_are_told_that_the_node_they_wait_for_is_refused() {
    let refused: Change = |fleet| {
        fleet.nodes[CP2].refused = true;
        fleet.pods.retain(|pod| pod.node != "cp2");
        fleet.pods.extend(fleet_pods("cp2", OLD));
    };
    let words = "cp2 goes to v1.36.3 first, which is refused there";
    all_give_way(worker(), &[(Reason::WaitingForTurn, words, refused)]);
}

#[test]
fn the_kubelet_of_a_control_plane_needs_only_the_minor_in_kubeadm_config() {
    none_bars(turn_b(), &[("an older patch", |fleet| fleet.kubeadm_config = Some(OLD))]);
    let next = Claimant { target: NEXT_MINOR, ..turn_b() };
    let mut upgraded = fleet();
    upgraded.pods = [fleet_pods("cp1", NEXT_MINOR), fleet_pods("cp2", NEXT_MINOR)].concat();
    for bar in both(next, &upgraded) {
        is_barred(bar.as_ref(), BarKind::GiveWay, Reason::WaitingForTurn, "names v1.36.3, which is older");
    }
    upgraded.kubeadm_config = Some(NEXT_MINOR);
    assert_eq!(both(next, &upgraded), [None, None]);
}

#[test]
fn a_worker_that_is_down_keeps_its_slot_and_waits_for_api_servers_alone() {
    let down = Claimant { serves: false, ..worker() };
    let me = holder("w1");
    let at_work = changed(|fleet| {
        fleet.leases.push(held(LeaseName::ControlPlane, "cp1"));
        fleet.nodes[CP1].kubelet = Some(OLD);
    });
    assert_eq!(bars_holder(down, &me, &at_work, None), None);
    is_barred(
        bars_claim(down, &at_work, None).as_ref(),
        BarKind::GiveWay,
        Reason::WaitingForTurn,
        "cp1 holds",
    );
    let behind = changed(|fleet| {
        fleet.pods.retain(|pod| pod.node != "cp2");
        fleet.pods.extend(fleet_pods("cp2", OLD));
    });
    let bar = bars_holder(down, &me, &behind, None);
    is_barred(bar.as_ref(), BarKind::GiveWay, Reason::WaitingForTurn, "cp2 goes to v1.36.3 first");
}

#[test]
fn the_control_plane_waits_with_its_lease_for_workers_at_work_and_is_not_kept_from_claiming() {
    let rows: [(&str, Change); 3] = [
        ("w1 holds the Lease slot-0", |fleet| fleet.leases.push(held(SLOT, "w1"))),
        ("w1 is in the middle", |fleet| fleet.nodes[W1].in_hand = Some(at_work(TurnKind::Kubelet, NEW))),
        ("w1 holds the Lease slot-0", |fleet| {
            fleet.leases.push(held(SLOT, "w1"));
            let cordoned = FleetNode { unschedulable: true, cordon_note: true, ..fleet.nodes[W1].clone() };
            fleet.nodes[W1] = FleetNode { in_hand: Some(at_work(TurnKind::Kubelet, NEW)), ..cordoned };
        }),
    ];
    for who in [turn_a(), turn_b()] {
        for (words, change) in rows {
            let [claim, holder] = both(who, &changed(change));
            assert_eq!(claim, None, "{words}");
            is_barred(holder.as_ref(), BarKind::Keep, Reason::WaitingForTurn, words);
        }
    }
}

#[test]
fn a_degraded_or_ignored_worker_bars_no_gate_of_order() {
    none_bars(
        turn_a(),
        &[
            ("degraded at another target", |fleet| {
                fleet.leases.push(FleetLease { name: SLOT, ..marked("w1", Some(NEWER)) });
                fleet.nodes[W1].in_hand = Some(at_work(TurnKind::Kubelet, NEWER));
            }),
            ("degraded, its Lease lost", |fleet| degraded(fleet, W1, NEWER)),
            ("ignored, with its Lease", |fleet| {
                fleet.leases.push(held(SLOT, "w1"));
                fleet.nodes[W1].ignored = true;
            }),
            ("ignored, in hand", |fleet| {
                fleet.nodes[W1].in_hand = Some(InHand::default());
                fleet.nodes[W1].ignored = true;
            }),
        ],
    );
}
