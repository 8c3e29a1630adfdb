//! Own traces that no memory explains become a turn, and the turn's own rules do the rest.

use super::*;
use crate::act::UNIT_PREFIX;
use crate::api::LeaseName;
use crate::judge::control_plane::STATIC_PODS;
use crate::memory::Packages;

type Change = fn(&mut Case);

/// A node whose memory is lost, with nothing left of a turn.
fn lost(control_plane: bool) -> Case {
    let mut case = Case::idle(control_plane);
    case.memory = Memory::default();
    case.since.read_at = NOW.mono;
    case.host().manifests = STATIC_PODS.map(|component| (component.to_owned(), OLD)).into();
    case
}

fn static_pods_run(case: &mut Case, version: Version) {
    case.seen.pods.as_mut().unwrap().pods = static_pods(version);
    case.host().manifests.values_mut().for_each(|manifest| *manifest = version);
    *case.fleet() = fleet_at(version);
}

fn cordon(case: &mut Case) {
    case.node().cordon_note = Some(false);
    case.node().unschedulable = true;
}

fn marked(case: &mut Case, kind: TurnKind) {
    case.node().in_hand = Some(InHand { id: Some(TurnId("m1".into())), ..at_work(kind, NEW) });
}

fn unit(case: &mut Case, word: &str, state: ToolState) {
    case.host().tools.insert(format!("{UNIT_PREFIX}v1.36.3-abc-12-{word}.service"), state);
}

/// What becomes of it: the turn, its step, and `back`, `forward` or `degraded`.
fn becomes(case: &Case) -> (TurnKind, Step, &'static str) {
    let turn = case.becomes();
    let way = match (&turn.degraded, &turn.direction) {
        (Some(_), _) => "degraded",
        (None, Direction::Back(_)) => "back",
        (None, Direction::Forward) => "forward",
    };
    (turn.kind, turn.reached, way)
}

#[test]
fn without_traces_a_new_journal_is_whole() {
    for control_plane in [false, true] {
        assert_eq!(lost(control_plane).remembers(), Memory { known: true, ..Memory::default() });
    }
}

#[test]
fn a_repair_of_dpkg_that_no_turn_has_asked_for_is_no_trace_of_one() {
    let mut case = lost(true);
    let unit = Tool::RepairDpkg.unit(&TurnId("lost".into()), 0);
    case.host().tools.insert(unit, ToolState::Ended(1));
    assert_eq!(case.remembers().turn, None);
}

#[test]
fn a_new_journal_is_not_trusted_before_node_fleet_and_host_were_read_in_this_life() {
    let looks: [(&str, Change); 6] = [
        ("look-at-node", |case| case.since.read_at = Mono::default()),
        ("look-at-fleet", |case| case.seen.fleet = None),
        ("look-at-host", |case| case.host().at = ago(seconds(16))),
        // What was seen before the last turn's end may show what that has taken away.
        ("look-at-node", |case| case.since.quiet_since = NOW.mono.plus(seconds(1))),
        ("look-at-fleet", |case| {
            case.since.quiet_since = NOW.mono;
            case.fleet().at = ago(seconds(1));
        }),
        ("look-at-host", |case| {
            case.since.quiet_since = NOW.mono;
            case.host().at = ago(seconds(1));
        }),
    ];
    for (word, change) in looks {
        assert_eq!(lost(false).with(change).says(), word);
    }
}

#[test]
fn a_known_memory_without_traces_asks_nothing_and_with_some_takes_them_up() {
    let known = |change: Change| lost(false).with(|case| case.memory.known = true).with(change);
    let unread: Change = |case| case.since.read_at = Mono::default();
    assert_eq!(known(unread).says(), "Claiming");
    let traces: [Change; 3] = [
        |case| marked(case, TurnKind::Kubelet),
        |case| cordon(case),
        |case| case.fleet().leases.push(held(LeaseName::Slot(0), "w1")),
    ];
    for trace in traces {
        assert_eq!(known(trace).with(unread).says(), "look-at-node");
        assert_eq!(known(trace).becomes().kind, TurnKind::Kubelet);
    }
    let runs: Change = |case| unit(case, "hold", ToolState::Running);
    assert_eq!(known(runs).with(unread).says(), "look-at-node");
    assert_eq!(known(runs).says(), "await");
    let others = known(|case| case.fleet().leases.push(held(LeaseName::Slot(1), "w2")));
    assert_eq!(others.says(), "Claiming");
    let restored = known(|case| {
        case.since.restored = true;
        case.since.quiet_since = NOW.mono;
        case.fleet().at = ago(seconds(1));
    });
    assert_eq!(restored.says(), "look-at-fleet", "an API server put back to an older state");
    assert_eq!(known(|case| case.since.restored = true).says(), "look-at-fleet", "and no look has followed");
}

#[test]
fn what_is_left_on_a_worker_says_how_far_it_had_come() {
    let at_target: Change = |case| {
        cordon(case);
        case.host().packages = host(NEW, NEW).packages;
        case.node().kubelet = Some(NEW);
    };
    let rows: [(&str, Change, Step, &str); 8] = [
        ("cordoned", cordon, Step::Applying, "back"),
        ("marked", |case| marked(case, TurnKind::Kubelet), Step::Applying, "back"),
        (
            "its Lease alone",
            |case| case.fleet().leases.push(held(LeaseName::Slot(0), "w1")),
            Step::Applying,
            "back",
        ),
        ("at the target", at_target, Step::Verifying, "forward"),
        (
            "a new package, the old kubelet",
            |case| {
                cordon(case);
                case.host().packages = host(NEW, NEW).packages;
            },
            Step::Installing,
            "degraded",
        ),
        (
            "a package half there",
            |case| {
                cordon(case);
                case.host().packages.get_mut("kubelet").unwrap().configured = false;
            },
            Step::Installing,
            "degraded",
        ),
        (
            "a new kubelet, the old kubeadm",
            |case| {
                cordon(case);
                case.host().packages = host(OLD, NEW).packages;
                case.node().kubelet = Some(NEW);
            },
            Step::Applying,
            "back",
        ),
        ("a tool ended", |case| unit(case, "install-kubeadm", ToolState::Ended(0)), Step::Applying, "back"),
    ];
    for (what, change, reached, way) in rows {
        assert_eq!(becomes(&lost(false).with(change)), (TurnKind::Kubelet, reached, way), "{what}");
    }
}

#[test]
fn a_node_that_is_not_ready_is_judged_once_its_kubelet_has_said_what_it_runs_or_had_its_time() {
    let down =
        |change: Change| lost(false).with(cordon).with(|case| case.node().ready = Ready::False).with(change);
    assert_eq!(down(|_| {}).says(), "wait JournalLost");
    let late = down(|case| {
        case.since.waits(Some(Reason::JournalLost), Now { mono: ago(seconds(601)), ..NOW });
    });
    assert_eq!(becomes(&late), (TurnKind::Kubelet, Step::Installing, "degraded"));
    let put_back = |seconds: u64| {
        let told: Change = |case| {
            cordon(case);
            case.host().packages.get_mut("kubelet").unwrap().configured = false;
        };
        lost(false).with(told).with(|case| case.node().heartbeat.0 += seconds).says()
    };
    assert_eq!(put_back(0), "degraded JournalLost");
    assert_eq!(put_back(86_400), "wait JournalLost", "told before this host's clock was set back");
    let untouched = lost(false).with(|case| {
        case.node().ready = Ready::False;
        marked(case, TurnKind::Kubelet);
    });
    assert_eq!(becomes(&untouched), (TurnKind::Kubelet, Step::Applying, "back"), "it was found down");
}

#[test]
fn a_node_that_an_etcd_has_just_put_back_is_judged_once_its_kubelet_has_had_time_to_write_it_again() {
    let put_back = |before| {
        let case = lost(false).with(cordon).with(|case| {
            case.host().packages = host(NEW, NEW).packages;
            case.since.restored_at = Some(ago(seconds(before)));
        });
        case.says()
    };
    assert_eq!([put_back(59), put_back(60)], ["wait JournalLost", "degraded JournalLost"]);
}

#[test]
fn what_is_left_on_a_control_plane_that_is_as_before_or_upgraded_goes_back() {
    let (a, b) = (TurnKind::ControlPlane, TurnKind::Kubelet);
    let leased: Change = |case| case.fleet().leases.push(held(LeaseName::ControlPlane, "cp1"));
    let upgraded: Change = |case| {
        static_pods_run(case, NEW);
        case.fleet().leases.push(held(LeaseName::ControlPlane, "cp1"));
    };
    let rows: [(&str, Change, TurnKind); 5] = [
        ("A by its mark", |case| marked(case, TurnKind::ControlPlane), a),
        ("B by its mark", |case| marked(case, TurnKind::Kubelet), b),
        ("B by its cordon", cordon, b),
        ("the Lease alone, nothing changed", leased, a),
        ("the Lease alone, all upgraded", upgraded, a),
    ];
    for (what, change, kind) in rows {
        assert_eq!(becomes(&lost(true).with(change)), (kind, Step::Applying, "back"), "{what}");
    }
}

#[test]
fn a_turn_a_whose_kubeadm_may_have_been_cut_short_runs_it_once_more() {
    let staged =
        |change: Change| lost(true).with(|case| case.host().packages = host(NEW, OLD).packages).with(change);
    let rows: [(&str, Change); 2] = [
        ("at its target", |case| {
            static_pods_run(case, NEW);
            marked(case, TurnKind::ControlPlane);
        }),
        ("kubeadm ended badly", |case| {
            static_pods_run(case, NEW);
            unit(case, "kubeadm-upgrade", ToolState::Ended(1));
        }),
    ];
    for (what, change) in rows {
        let case = staged(change);
        assert_eq!(becomes(&case), (TurnKind::ControlPlane, Step::Applying, "forward"), "{what}");
        let turn = case.becomes();
        assert_eq!((turn.changed, turn.run.map(|run| run.succeeded)), (true, Some(false)), "{what}");
    }
}

#[test]
fn a_control_plane_that_kubeadm_may_have_changed_is_proven_before_its_lease_is_given_back() {
    let run = |change: Change| lost(true).with(change).becomes().run.is_some();
    assert!(run(|case| unit(case, "kubeadm-upgrade", ToolState::Ended(1))));
    assert!(run(|case| case.host().copies = vec![Copy { turn: TurnId("c1".into()), run: 1 }]));
    assert!(!run(|case| case.fleet().leases.push(held(LeaseName::ControlPlane, "cp1"))));
}

#[test]
fn static_pods_of_one_version_are_at_rest_where_nobody_asks_for_more() {
    let cut_short: Change = |case| {
        static_pods_run(case, NEW);
        case.host().packages = host(NEW, OLD).packages;
        case.host().copies = vec![Copy { turn: TurnId("c1".into()), run: 1 }];
    };
    let asked = lost(true).with(cut_short);
    assert_eq!(becomes(&asked), (TurnKind::ControlPlane, Step::Applying, "forward"));
    let unasked = asked.with(|case| case.target(None));
    assert_eq!(becomes(&unasked), (TurnKind::ControlPlane, Step::Applying, "back"));
}

#[test]
fn static_pods_of_one_old_version_go_back_even_where_kubeadm_config_is_newer() {
    let mut case = lost(true).with(|case| marked(case, TurnKind::ControlPlane));
    case.host().packages = host(NEW, OLD).packages;
    case.fleet().kubeadm_config = Some(NEW);
    assert_eq!(becomes(&case), (TurnKind::ControlPlane, Step::Applying, "back"));
}

#[test]
fn a_tool_that_runs_is_awaited_before_anything_is_made_of_its_traces() {
    for (control_plane, word) in [(false, "install-kubelet"), (true, "kubeadm-upgrade"), (false, "hold")] {
        let case = lost(control_plane).with(|case| unit(case, word, ToolState::Running));
        let runs = format!("{UNIT_PREFIX}v1.36.3-abc-12-{word}.service");
        assert_eq!(case.does(), Act::Await { unit: runs.clone() });
        let ended = case.with(|case| case.host().tools = [(runs, ToolState::Ended(0))].into());
        assert_eq!(ended.becomes().unit_serial, 12);
    }
}

#[test]
fn copies_alone_are_a_trace_for_a_memory_that_is_new_and_for_no_other() {
    let copy = Copy { turn: TurnId("c1".into()), run: 3 };
    for control_plane in [false, true] {
        let case = lost(control_plane).with(|case| case.host().copies = vec![copy.clone()]);
        let turn = case.becomes();
        assert_eq!((turn.reached, turn.is_forward(), &turn.holder.turn), (Step::Applying, false, &copy.turn));
        assert_ne!(case.with(|case| case.memory.known = true).says(), "back JournalLost");
    }
}

#[test]
fn a_worker_at_its_target_that_nobody_asked_to_go_there_is_not_verified() {
    let upgraded: Change = |case| {
        case.host().packages = host(NEW, NEW).packages;
        case.node().kubelet = Some(NEW);
        cordon(case);
    };
    let unasked = lost(false).with(upgraded).with(|case| case.target(None));
    assert_eq!(becomes(&unasked), (TurnKind::Kubelet, Step::Applying, "back"));
    let asked = unasked.clone().with(|case| unit(case, "install-kubelet", ToolState::Ended(0)));
    assert_eq!(becomes(&asked), (TurnKind::Kubelet, Step::Verifying, "forward"));
    let newer_kubeadm = lost(false).with(upgraded).with(|case| {
        case.host().packages = host(NEWER, NEW).packages;
    });
    assert_eq!(becomes(&newer_kubeadm), (TurnKind::Kubelet, Step::Verifying, "forward"));
}

#[test]
fn a_worker_that_was_made_anew_at_its_target_is_verified_for_what_its_lease_was_claimed() {
    let claimed_for = |turn: &str| {
        let mut case = lost(false).with(|case| case.target(None));
        case.host().packages = host(NEW, NEW).packages;
        case.node().kubelet = Some(NEW);
        let holder = Holder { uid: "earlier".into(), turn: TurnId(turn.into()), ..holder("w1") };
        case.fleet().leases.push(crate::observed::FleetLease {
            holder: Some(holder.to_string()),
            ..held(LeaseName::Slot(0), "w1")
        });
        becomes(&case)
    };
    assert_eq!(claimed_for("v1.36.3-abc"), (TurnKind::Kubelet, Step::Verifying, "forward"));
    for other in ["v1.36.4-abc", "lost"] {
        assert_eq!(claimed_for(other), (TurnKind::Kubelet, Step::Applying, "back"), "{other}");
    }
}

#[test]
fn static_pods_of_two_versions_are_a_turn_a_whatever_a_mark_says() {
    let mixed = |kubeadm: Version| {
        let mut case = lost(true);
        case.seen.pods.as_mut().unwrap().pods[0] = static_pods(NEW)[0].clone();
        case.host().manifests.insert("kube-apiserver".into(), NEW);
        marked(&mut case, TurnKind::Kubelet);
        case.host().packages = host(kubeadm, OLD).packages;
        case.since.waits(Some(Reason::JournalLost), Now { mono: ago(seconds(601)), ..NOW });
        becomes(&case)
    };
    assert_eq!(mixed(NEW), (TurnKind::ControlPlane, Step::Applying, "forward"));
    assert_eq!(mixed(OLD), (TurnKind::ControlPlane, Step::Applying, "degraded"));
}

#[test]
fn mirrors_that_are_older_than_their_manifests_are_waited_for() {
    let mut case = lost(true).with(|case| marked(case, TurnKind::ControlPlane));
    case.host().manifests.values_mut().for_each(|manifest| *manifest = NEW);
    assert_eq!(case.says(), "wait JournalLost");
}

#[test]
fn a_turn_that_was_taken_up_has_the_name_that_its_lease_or_unit_or_mark_gives_it() {
    let name = |change: Change| lost(false).with(cordon).with(change).becomes().holder.turn.0;
    assert_eq!(name(|_| {}), "lost");
    let mark: Change = |case| marked(case, TurnKind::Kubelet);
    assert_eq!(name(mark), "m1");
    let ended: Change = |case| {
        marked(case, TurnKind::Kubelet);
        unit(case, "repair-dpkg", ToolState::Ended(0));
    };
    assert_eq!(name(ended), "v1.36.3-abc");
    let lease: Change = |case| {
        marked(case, TurnKind::Kubelet);
        case.fleet().leases.push(held(LeaseName::Slot(0), "w1"));
    };
    assert_eq!(name(lease), "j1");
    let turn = lost(false).with(ended).becomes();
    assert_eq!((turn.unit_serial, turn.plan.target), (12, NEW));
}

#[test]
fn the_lease_of_an_earlier_life_of_this_node_is_taken_up_to_be_given_back() {
    let earlier = Holder { uid: "earlier".into(), ..holder("w1") };
    let mut case = lost(false);
    case.fleet().leases.push(crate::observed::FleetLease {
        holder: Some(earlier.to_string()),
        ..held(LeaseName::Slot(0), "w1")
    });
    assert_eq!(case.becomes().holder, earlier);
}

#[test]
fn a_turn_that_was_taken_up_leaves_all_packages_as_they_are() {
    let staged: Change = |case| {
        cordon(case);
        case.host().packages = host(NEW, OLD).packages;
    };
    for control_plane in [false, true] {
        let mut case = lost(control_plane).with(staged);
        let turn = case.becomes();
        let installed = Packages { kubeadm: packages(NEW).kubeadm, ..packages(OLD) };
        assert_eq!((&turn.plan.from, &turn.plan.to), (&installed, &installed));
        assert!(!turn.plan.can_restore_packages && !turn.is_forward());
        case.memory = case.remembers();
        case.leased(NOW.mono);
        assert_eq!(case.says(), "uncordon", "nothing is installed on the way");
    }
}

#[test]
fn holds_that_stand_are_kept_for_the_turn_that_was_taken_up() {
    let held = lost(false).with(cordon).remembers().held;
    assert_eq!(held, ["kubeadm", "kubectl", "kubelet"].map(String::from).into());
    assert!(lost(false).remembers().held.is_empty());
}

#[test]
fn holds_that_an_older_journal_names_are_kept_where_a_transaction_has_set_them_free() {
    let remembers = |case: Case| {
        let named = case.with(|case| case.memory.held = ["kubeadm".to_owned()].into());
        let free =
            named.with(|case| case.host().packages.values_mut().for_each(|package| package.held = false));
        free.remembers().held
    };
    assert_eq!(remembers(lost(false).with(cordon)), ["kubeadm".to_owned()].into());
    assert!(remembers(lost(false)).is_empty(), "where nothing was begun nothing was set free");
}
