//! From the new kubelet to the end of a turn; and turns whose Node is gone.

use super::*;

type Change = fn(&mut Case);

#[test]
fn a_node_is_verified_only_when_nothing_is_lacking() {
    assert_eq!(Case::worker(Step::Verifying).says(), "Uncordoning");
    let breaks: [(&str, Change); 5] = [
        ("kubelet reports v1.36.2", |case| case.node().kubelet = Some(OLD)),
        ("not Ready", |case| case.node().ready = Ready::Unknown),
        ("older than kubelet's restart", |case| case.node().heartbeat = Unix(48_999)),
        ("has run for 2 s", |case| case.host().kubelet.since = ago(seconds(2))),
        ("kube-system/kube-proxy", |case| {
            let name = "kube-system/kube-proxy".to_owned();
            case.turn().plan.daemon_sets.insert(name);
            let owner = crate::observed::Owner {
                kind: "DaemonSet".into(),
                name: "kube-proxy".into(),
                ..Default::default()
            };
            let pod = crate::observed::PodSeen {
                namespace: "kube-system".into(),
                controller: Some(owner),
                ..Default::default()
            };
            case.seen.pods.as_mut().unwrap().pods.push(pod);
        }),
    ];
    for (words, breaks) in breaks {
        let wait = Case::worker(Step::Verifying).with(breaks).waits();
        assert!(wait.reason == Reason::Progressing && wait.message.contains(words), "{words}: {wait:?}");
    }
}

#[test]
fn what_was_seen_too_long_ago_is_looked_at_before_a_node_is_verified() {
    let ages: [(&str, Change); 3] = [
        ("look-at-host", |case| case.host().at = Mono(NOW.mono.0 - 1_001)),
        ("look-at-pods", |case| case.seen.pods.as_mut().unwrap().at = Mono(NOW.mono.0 - 1_001)),
        // A half-open watch is quiet: a lack is told of a Node that was read.
        ("look-at-node", |case| {
            case.node().kubelet = Some(OLD);
            case.seen.node_at = Mono(NOW.mono.0 - 1_001);
        }),
    ];
    for (word, age) in ages {
        assert_eq!(Case::worker(Step::Verifying).with(age).says(), word);
    }
}

#[test]
fn a_node_that_never_serves_is_degraded_after_its_time_to_which_min_ready_seconds_are_added() {
    let stuck = Case::worker(Step::Verifying).with(|case| case.node().kubelet = Some(OLD));
    let after = |case: &Case, minutes| case.clone().later(Duration::from_mins(minutes)).says();
    assert_eq!([after(&stuck, 9), after(&stuck, 10)], ["wait Progressing", "degraded NotVerified"]);
    let patient = stuck.with(|case| case.seen.policy.policy.min_ready = Duration::from_mins(5));
    assert_eq!([after(&patient, 14), after(&patient, 15)], ["wait Progressing", "degraded NotVerified"]);
}

#[test]
fn a_node_whose_kubelet_came_up_late_is_given_the_time_it_has_to_run_once_more() {
    let late =
        Case::worker(Step::Verifying).with(|case| case.seen.policy.policy.min_ready = Duration::from_mins(5));
    let after = |minutes, change: Change| {
        let case = late.clone().later(Duration::from_mins(minutes)).with(|case| {
            case.host().kubelet.since = case.now.mono.minus(Duration::from_mins(1));
            case.node().heartbeat = case.now.unix;
        });
        case.with(change).says()
    };
    assert_eq!([after(15, |_| {}), after(19, |_| {})], ["wait Progressing", "wait Progressing"]);
    assert_eq!(after(20, |_| {}), "degraded NotVerified");
    let lacks_more: [Change; 2] =
        [|case| case.node().ready = Ready::False, |case| case.host().kubelet.active = false];
    for lacks in lacks_more {
        assert_eq!(after(15, lacks), "degraded NotVerified");
    }
}

#[test]
fn the_fleets_min_ready_seconds_are_waited_for_where_they_are_longer_than_the_soak() {
    let patient =
        Case::worker(Step::Verifying).with(|case| case.seen.policy.policy.min_ready = seconds(1_001));
    assert!(patient.waits().message.contains("1000 s of 1001 s"));
}

#[test]
fn a_node_is_uncordoned_only_while_kubelet_is_ready_at_a_version_that_was_chosen() {
    let uncordoning = Case::worker(Step::Uncordoning);
    assert_eq!(uncordoning.says(), "uncordon");
    for kubelet in [OLD, NEW] {
        assert_eq!(uncordoning.clone().with(|case| case.node().kubelet = Some(kubelet)).says(), "uncordon");
    }
    let read =
        |millis| uncordoning.clone().with(|case| case.since.read_at = Mono(NOW.mono.0 - millis)).says();
    assert_eq!(
        [read(30_000), read(30_001)],
        ["uncordon", "look-at-node"],
        "a watch that was cut off shows old news first"
    );
    let started_again = uncordoning.clone().with(|case| {
        case.host().kubelet.since = ago(seconds(2));
        case.node().heartbeat = NOW.unix;
    });
    assert!(started_again.waits().message.contains("has run for 2 s"));
    let by_hand = started_again.with(|case| case.node().kubelet = Some(OLD));
    assert_eq!(by_hand.says(), "uncordon", "another version that was chosen");
    let breaks: [Change; 4] = [
        |case| case.node().ready = Ready::False,
        |case| case.node().kubelet = Some(Version::new(1, 35, 0)),
        |case| case.host().kubelet.active = false,
        |case| case.node().heartbeat = Unix(48_999),
    ];
    for breaks in breaks {
        let broken = uncordoning.clone().with(breaks);
        assert_eq!(broken.says(), "wait NotReady");
        let late = broken.clone().later(Duration::from_mins(11));
        assert_eq!(late.says(), "degraded NotReady");
        assert_eq!(late.with(|case| case.since.read_at = NOW.mono).says(), "look-at-node");
        let theirs = broken.with(|case| case.node().cordon_note = Some(true));
        assert_eq!(theirs.says(), "uncordon", "only the note goes: it was cordoned before");
    }
}

#[test]
fn a_worker_ends_with_one_patch_then_its_lease_then_its_holds_then_what_is_left() {
    let mut case = Case::worker(Step::Releasing);
    case.memory.held = ["kubelet".to_owned()].into();
    case.host().packages.get_mut("kubelet").unwrap().held = false;
    assert_eq!(case.does(), Act::Unmark { current: Some(NEW) });
    case.node().in_hand = None;
    assert_eq!(case.does(), Act::Unmark { current: Some(NEW) }, "current is still to come");
    case.node().current = Some(NEW);
    assert_eq!(case.says(), "release");
    case.seen.lease = None;
    assert_eq!(case.says(), "release");
    case.seen.lease = Some(LeaseSeen::Free);
    assert_eq!(case.says(), "run hold");
    for attempt in 1..=3 {
        case.ran(&Tool::Hold { packages: case.memory.held.clone() }, ToolState::Ended(1));
        case.memory = case.remembers();
        assert_eq!(case.turn().attempts_in(Step::Releasing), attempt);
        if attempt < 3 {
            assert_eq!(case.clone().later(seconds(29)).says(), "wait ToolFailed");
            case = case.later(seconds(30));
            assert_eq!(case.says(), "run hold");
        }
    }
    assert_eq!(case.says(), "clean-up", "a hold that failed three times is left");
    case.host().packages.get_mut("kubelet").unwrap().held = true;
    case.host().tools.clear();
    assert_eq!(case.says(), "clean-up");
    case.host().copies.clear();
    assert_eq!(case.says(), "over");
}

#[test]
fn a_lease_that_is_long_in_going_is_given_back_by_a_node_that_was_told_just_now() {
    let told = |before| {
        let case = Case::worker(Step::Releasing).with(|case| {
            case.node().in_hand = None;
            case.node().current = Some(NEW);
            case.seen.node_at = ago(seconds(before));
        });
        case.says()
    };
    assert_eq!([told(15), told(16)], ["release", "look-at-node"]);
}

#[test]
fn a_turn_whose_lease_was_given_back_is_over_whatever_others_do_meanwhile() {
    let mut case = Case::worker(Step::Releasing);
    case.seen.lease = Some(LeaseSeen::Free);
    case.node().in_hand = None;
    case.node().current = Some(NEW);
    case.host().copies.clear();
    case.host().packages = host(NEWER, NEWER).packages;
    case.node().unschedulable = true;
    assert_eq!(case.says(), "over");
}

#[test]
fn a_control_plane_that_gave_its_lease_back_asks_nothing_more() {
    for case in [Case::plane(Step::Releasing), Case::plane_b(Step::Releasing)] {
        let mut over = case.with(|case| {
            case.seen.lease = Some(LeaseSeen::Other("cp2/u/j".into()));
            case.node().in_hand = None;
            case.node().kubelet = Some(NEWER);
            case.seen.local = None;
            case.seen.pods = None;
            case.seen.fleet = None;
        });
        assert_eq!(over.says(), "clean-up");
        over.host().copies.clear();
        assert_eq!(over.says(), "over");
        over.node().in_hand = Some(InHand::default());
        assert_eq!(over.says(), "look-at-pods", "the mark is still to be taken away");
    }
}

#[test]
fn that_a_node_is_in_service_is_proven_once_more_just_before_it_is_said() {
    let breaks: [Change; 3] = [
        |case| case.node().kubelet = Some(OLD),
        |case| case.node().ready = Ready::False,
        |case| case.host().kubelet.active = false,
    ];
    for breaks in breaks {
        let broken = Case::worker(Step::Releasing).with(breaks);
        assert_eq!(broken.says(), "wait Progressing");
        let late = broken.clone().later(Duration::from_mins(11));
        assert_eq!(late.says(), "degraded NotVerified", "its Lease is not given back unproven");
        let further = late.with(|case| case.node().kubelet = Some(NEWER));
        assert_eq!(further.does(), Act::Unmark { current: None }, "somebody took it further");
        let said = broken.with(|case| {
            case.node().in_hand = None;
            case.node().current = Some(NEW);
        });
        assert_eq!(said.says(), "release", "what was said before is not taken back");
    }
    let old =
        Case::worker(Step::Releasing).with(|case| case.seen.pods.as_mut().unwrap().at = ago(seconds(6)));
    assert_eq!(old.says(), "look-at-pods");
}

#[test]
fn past_the_point_of_no_return_the_mark_stands_on_a_node_that_was_made_anew_too() {
    let bare: Change = |case| case.node().in_hand = None;
    let past = [
        Case::worker(Step::Restarting),
        Case::worker(Step::Verifying),
        Case::worker(Step::Installing).with(|case| case.turn().changed = true),
        Case::plane(Step::Applying).with(|case| case.turn().changed = true),
    ];
    for case in past {
        let mark = mark(case.memory.turn.as_ref().unwrap());
        let marked = case.with(bare);
        assert_eq!(marked.does(), Act::Mark { mark });
        let unheard = marked.clone().with(|case| case.seen.node_at = Mono(NOW.mono.0 - 15_001));
        assert_ne!(unheard.says(), "mark", "of a Node that was not seen just now nothing is known");
        let alone = marked.with(|case| case.seen.node = None);
        assert_ne!(alone.says(), "mark");
    }
    assert_ne!(Case::worker(Step::Releasing).with(bare).says(), "mark", "it is taken away there");
}

/// The end of a turn on a control-plane node that has been whole for so long.
fn whole_for(case: Case, soak: u64) -> Case {
    case.with(|case| {
        for second in 0..=soak {
            let at = ago(seconds(soak - second));
            case.seen.local = Some(LocalControlPlane { at, ..local() });
            case.seen.pods.as_mut().unwrap().at = at;
            let (seen, local) = (case.seen.clone(), case.seen.local.clone().unwrap());
            case.since.observed(&crate::observed::Observation::Local(local), &seen, Now { mono: at, ..NOW });
        }
    })
}

/// The API has told of the pods for so long.
fn told_for(case: Case, long: u64) -> Case {
    case.with(|case| {
        for at in [case.now.mono.minus(seconds(long)), case.now.mono] {
            let seen = crate::observed::Observation::Pods(PodsSeen { at, ..PodsSeen::default() });
            case.since.observed(&seen, &case.seen.clone(), Now { mono: at, ..NOW });
        }
    })
}

#[test]
fn a_control_plane_is_proven_over_a_soak_still_under_its_lease() {
    for case in [Case::plane(Step::Releasing), Case::plane_b(Step::Releasing)] {
        assert_eq!(whole_for(case.clone(), 9).says(), "wait Progressing");
        assert_eq!(whole_for(case.clone(), 10).says(), "unmark");
        let breaks: [Change; 4] = [
            |case| case.seen.local.as_mut().unwrap().api_server_ready = false,
            |case| {
                let etcd = case.seen.local.as_mut().unwrap().etcd.as_mut().unwrap();
                etcd.healthy = false;
            },
            |case| drop(case.seen.pods.as_mut().unwrap().pods.pop()),
            |case| case.seen.pods.as_mut().unwrap().pods[0].ready = false,
        ];
        for breaks in breaks {
            let broken = whole_for(case.clone(), 10).with(breaks);
            assert_eq!(broken.says(), "wait Progressing");
            let late = broken.later(Duration::from_mins(11));
            assert_eq!(
                told_for(late.clone(), 59).says(),
                "wait Progressing",
                "nothing may have answered before"
            );
            assert_eq!(told_for(late.clone(), 60).says(), "degraded NotVerified");
            let flaps = told_for(late.later(Duration::from_mins(14)), 9);
            assert_eq!(flaps.says(), "wait Progressing");
            let flaps = told_for(flaps.later(Duration::from_mins(1)), 9);
            assert_eq!(flaps.says(), "degraded NotVerified", "an API that comes and goes");
        }
        let unasked = whole_for(case, 10).with(|case| case.seen.local.as_mut().unwrap().at = ago(seconds(2)));
        assert_eq!(unasked.says(), "look-at-control-plane");
    }
}

#[test]
fn current_is_written_where_it_is_another_one_and_names_the_oldest_part() {
    let says = |case| whole_for(case, 10).does();
    let turn_a = |kubelet, current| {
        says(Case::plane(Step::Releasing).with(|case| {
            case.node().kubelet = Some(kubelet);
            case.node().current = Some(current);
        }))
    };
    assert_eq!(turn_a(OLD, OLD), Act::Unmark { current: None });
    assert_eq!(turn_a(NEW, OLD), Act::Unmark { current: Some(NEW) });
    assert_eq!(turn_a(NEWER, OLD), Act::Unmark { current: Some(NEW) }, "the static pods are older");
    let down = Case::plane(Step::Releasing).with(|case| {
        case.node().kubelet = Some(NEW);
        case.node().ready = Ready::Unknown;
    });
    assert_eq!(says(down), Act::Unmark { current: None });
    assert_eq!(says(Case::plane_b(Step::Releasing)), Act::Unmark { current: Some(NEW) });
    let kubelet_first = Case::plane_b(Step::Releasing).with(|case| {
        case.turn().plan.static_pods = Some(OLD);
        case.seen.pods.as_mut().unwrap().pods = static_pods(OLD);
    });
    assert_eq!(says(kubelet_first), Act::Unmark { current: Some(OLD) });
}

#[test]
fn a_turn_a_leaves_kubelets_files_as_they_were_unless_they_are_those_of_its_kubelet() {
    let changed = |kubelet, from| {
        let case = Case::plane(Step::Releasing).with(|case| {
            case.host().packages = host(NEW, kubelet).packages;
            case.turn().plan.from = packages(from);
            case.host().kubelet_config_changed = true;
        });
        whole_for(case, 10).says()
    };
    assert_eq!(changed(OLD, OLD), "restore-kubelet-config");
    assert_eq!(changed(NEW, NEW), "unmark", "taken up with the new kubelet");
    assert_eq!(changed(NEWER, OLD), "unmark", "a kubelet that an earlier turn installed");
}

#[test]
fn a_turn_b_that_a_new_target_made_a_turn_a_of_goes_on_as_b_when_a_is_done() {
    let mut case = Case::plane(Step::Releasing);
    case.node().cordon_note = Some(false);
    case.node().unschedulable = true;
    case.host().own_server = true;
    let turn = whole_for(case, 10).becomes();
    assert_eq!((turn.kind, turn.reached, turn.run), (TurnKind::Kubelet, Step::Staging, None));
    assert!(turn.plan.own_server, "kubeadm may have made it so in this very turn");
}

/// The same when what the turn had changed on the host is as it was: kubelet's files, then the kubeadm package.
#[track_caller]
fn put_back(mut case: Case) -> Case {
    if case.turn().reached >= Step::Applying {
        case.host().kubelet_config_changed = true;
        assert_eq!(case.says(), "restore-kubelet-config");
        case.host().kubelet_config_changed = false;
        assert_eq!(case.says(), "run install-kubeadm");
        case.host().packages = host(OLD, OLD).packages;
    }
    case
}

fn gone(case: Case, minutes: u64) -> Case {
    case.with(|case| {
        case.seen.node = None;
        case.since.node_gone_since = Some(ago(Duration::from_mins(minutes)));
    })
}

#[test]
fn a_turn_whose_node_is_gone_looks_again_when_its_time_is_over() {
    let case = gone(Case::worker(Step::Draining), 3);
    let Next::Wait { until: Some(until), why } = case.next() else { panic!("not waited for") };
    assert_eq!(why.reason, Reason::NodeGone);
    assert!(until > case.since.node_gone_since.unwrap().plus(Duration::from_mins(10)), "not before");
    let nobody = Case::idle(false).with(|case| case.seen.node = None);
    assert_eq!(nobody.says(), "wait Retrying", "and without a turn there is nothing to look at");
}

/// The turn is walked back from here on, so that what a person does meanwhile is not taken for its own.
fn goes_back(case: Case) -> Case {
    assert_eq!(case.says(), "back NodeGone");
    let memory = case.remembers();
    case.with(|case| case.memory = memory)
}

#[test]
fn a_turn_whose_node_is_gone_puts_its_host_back_and_then_its_lease_after_ten_minutes() {
    for case in [Case::worker(Step::Draining), Case::plane(Step::Applying), Case::worker(Step::Applying)] {
        let case = case.with(|case| case.memory.held = ["kubelet".to_owned()].into());
        assert_eq!(gone(case.clone(), 10).says(), "wait NodeGone");
        let over = put_back(goes_back(gone(case, 11)));
        assert_eq!(over.says(), "release");
        for lease in [LeaseSeen::Free, LeaseSeen::Other("w2/u/j".into())] {
            let mut over = over.clone().with(|case| case.seen.lease = Some(lease));
            if !over.host().copies.is_empty() {
                assert_eq!(over.says(), "clean-up");
                over.host().copies.clear();
            }
            assert_eq!(over.says(), "over");
            assert!(over.remembers().held.is_empty());
        }
    }
}

#[test]
fn a_node_of_the_same_name_is_another_one_and_a_turn_that_can_go_back_is_left() {
    let reborn: Change = |case| case.node().uid = "another".into();
    assert_eq!(goes_back(Case::worker(Step::Draining).with(reborn)).says(), "release");
    assert_eq!(put_back(goes_back(Case::plane(Step::Applying).with(reborn))).says(), "release");
}

#[test]
fn a_turn_past_its_point_of_no_return_goes_on_for_the_node_that_is_there_now() {
    let reborn: Change = |case| case.node().uid = "another".into();
    let case = Case::worker(Step::Verifying).with(reborn);
    assert_eq!(case.says(), "Uncordoning");
    for lease in [LeaseSeen::Free, LeaseSeen::Other("w9".into())] {
        let lost = case.clone().with(|case| case.seen.lease = Some(lease));
        let turn = lost.becomes();
        assert_eq!((turn.holder.uid.as_str(), turn.reached), ("another", Step::Verifying));
    }
}

#[test]
fn a_turn_past_its_point_of_no_return_is_kept_without_its_lease_for_the_node_that_comes() {
    for case in [Case::plane(Step::Releasing), Case::worker(Step::Verifying)] {
        let kept = gone(case, 11).with(|case| case.seen.lease = Some(LeaseSeen::Free));
        let wait = kept.next();
        assert!(
            matches!(&wait, Next::Wait { why, until: None } if why.reason == Reason::NodeGone),
            "{wait:?}"
        );
    }
}

#[test]
fn a_turn_past_its_point_of_no_return_leaves_its_host_as_it_is_when_its_node_is_gone() {
    for case in [Case::worker(Step::Verifying), Case::plane_b(Step::Verifying)] {
        let over = gone(case, 11).with(|case| case.host().kubelet_config_changed = true);
        assert_eq!(over.says(), "release", "kubelet is new, and these are its files");
    }
}

#[test]
fn while_nothing_answers_turn_b_past_its_point_of_no_return_goes_on_and_the_others_wait() {
    let silent: Change = |case| {
        case.seen.node = None;
        case.seen.lease = None;
    };
    let installing = Case::worker(Step::Installing).with(|case| case.turn().changed = true);
    assert_eq!(installing.with(silent).says(), "run install-kubelet");
    assert_eq!(Case::worker(Step::Restarting).with(silent).says(), "restart-kubelet");
    for case in [Case::worker(Step::Draining), Case::worker(Step::Applying), Case::plane(Step::Applying)] {
        assert_eq!(case.with(silent).says(), "wait Retrying");
    }
}

#[test]
fn no_turn_needs_a_lease_to_end() {
    for case in [Case::plane(Step::Releasing), Case::plane_b(Step::Releasing)] {
        assert_eq!(whole_for(case, 10).with(|case| case.seen.lease = None).says(), "unmark");
    }
}

#[test]
fn a_policy_that_was_there_is_read_before_its_patience_is_taken_for_none() {
    let verifying = |seen_before, at| {
        Case::worker(Step::Verifying).with(|case| {
            case.memory.policy_seen = seen_before;
            case.seen.policy.at = at;
        })
    };
    assert_eq!(verifying(true, NOW.mono).says(), "Uncordoning");
    assert_eq!(verifying(false, Mono::default()).says(), "Uncordoning", "there never was one");
    let unread = verifying(true, Mono::default());
    assert_eq!(unread.says(), "wait Progressing");
    assert_eq!(unread.later(Duration::from_mins(11)).says(), "Uncordoning", "for a bounded time");
}
