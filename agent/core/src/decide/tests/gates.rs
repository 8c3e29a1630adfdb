//! What stands before each disturbance and each step without a way back: the mark, the Lease proven just now, the fleet after it.

use super::*;

/// Cases whose present step is done, and the step whose gate comes next.
fn passages() -> Vec<(Case, &'static str)> {
    let staged = |case: Case| {
        case.with(|case| {
            let at = case.seen.host.as_ref().unwrap().at;
            let plane = case.turn().plan.control_plane;
            *case.host() = HostSeen { at, control_plane: plane, ..host(NEW, OLD) };
        })
    };
    let cordoned = Case::worker(Step::Draining).with(|case| case.turn().reached = Step::Cordoning);
    let drained =
        Case::worker(Step::Draining).with(|case| case.seen.drain = Some(progress(DrainState::Drained)));
    let run = Run { command: KubeadmCommand::NodeWorker, succeeded: true };
    let applied = Case::worker(Step::Applying).with(|case| case.turn().run = Some(run));
    let mut passages = vec![
        (Case::worker(Step::Claiming), "Cordoning"),
        (cordoned, "Draining"),
        (drained, "Staging"),
        (staged(Case::worker(Step::Staging)), "Applying"),
        (applied, "Installing"),
    ];
    for (case, next) in
        [(Case::plane(Step::Claiming), "Staging"), (staged(Case::plane(Step::Staging)), "Applying")]
    {
        let marked = case.with(|case| {
            let mark = mark(case.turn());
            case.node().in_hand = Some(mark);
        });
        passages.push((marked, next));
    }
    passages
}

/// What each of [`passages`] says after this change.
#[track_caller]
fn all_say(change: fn(&mut Case), expected: [&str; 7]) {
    let said: Vec<_> = passages().into_iter().map(|(case, _)| case.with(change).says()).collect();
    assert_eq!(said, expected);
}

const PASSED: [&str; 7] =
    ["Cordoning", "Draining", "Staging", "Applying", "Installing", "Staging", "Applying"];

#[test]
fn a_gate_is_passed_on_a_lease_proven_just_now_and_a_fleet_read_after_that() {
    assert_eq!(passages().iter().map(|(_, next)| *next).collect::<Vec<_>>(), PASSED);
    all_say(|_| {}, PASSED);
    all_say(|case| case.leased(ago(seconds(15))), PASSED);
    all_say(|case| case.leased(Mono(NOW.mono.0 - 15_001)), ["prove"; 7]);
    all_say(|case| case.fleet().at = Mono(NOW.mono.0 - 1), ["prove"; 7]);
}

#[test]
fn the_mark_stands_before_the_proof() {
    let gone: fn(&mut Case) = |case| case.node().in_hand = None;
    all_say(gone, ["Cordoning", "cordon", "cordon", "cordon", "cordon", "mark", "mark"]);
    let late: fn(&mut Case) = |case| {
        case.since.marked_at = NOW.mono;
        case.leased(ago(seconds(1)));
    };
    all_say(late, ["Cordoning", "prove", "prove", "prove", "prove", "prove", "prove"]);
}

#[test]
fn a_drain_that_was_cut_off_goes_on_once_node_and_lease_were_read_since() {
    let cut_off = |at: Mono| {
        Case::worker(Step::Draining).with(|case| {
            case.seen.drain = Some(Progress { at, ..progress(DrainState::CutOff) });
        })
    };
    assert_eq!(cut_off(NOW.mono).says(), "look-at-node", "somebody may have uncordoned it meanwhile");
    let earlier = ago(seconds(1));
    let read = cut_off(earlier);
    assert_eq!(read.says(), "drain");
    assert_eq!(read.clone().with(|case| case.leased(earlier)).says(), "prove", "as of the cut");
    assert_eq!(read.with(|case| case.seen.lease = Some(LeaseSeen::Free)).says(), "back LeaseLost");
}

#[test]
fn a_drain_that_was_cut_off_before_its_first_eviction_begins_only_if_others_let_it() {
    let cut_off = |evicted| {
        let case = Case::worker(Step::Draining).with(|case| {
            let cut_off = progress(DrainState::CutOff);
            case.seen.drain = Some(Progress { at: ago(seconds(1)), evicted, ..cut_off });
        });
        case.with(|case| case.fleet().nodes[3].ready = false).says()
    };
    assert_eq!(cut_off(false), "back BudgetExhausted");
    assert_eq!(cut_off(true), "drain");
}

#[test]
fn a_node_whose_etcd_was_put_back_is_drained_once_more() {
    let drained = |step| {
        Case::worker(step).with(|case| {
            case.seen.drain = Some(Progress { at: ago(seconds(2)), ..progress(DrainState::Drained) });
        })
    };
    let restored: fn(&mut Case) = |case| case.since.restored_at = Some(ago(seconds(1)));
    assert_eq!(drained(Step::Draining).says(), "Staging");
    assert_eq!(drained(Step::Draining).with(restored).says(), "drain");
    assert_eq!(drained(Step::Staging).with(restored).says(), "drain");
}

#[test]
fn a_lease_that_is_not_known_to_be_this_turns_is_asked_before_anything() {
    all_say(|case| case.seen.lease = None, ["claim", "renew", "renew", "renew", "renew", "claim", "renew"]);
    let another: fn(&mut Case) = |case| {
        let turn = TurnId("another".into());
        case.seen.lease = Some(LeaseSeen::Held { at: NOW.mono, turn, applied: None });
    };
    all_say(another, ["renew"; 7]);
}

#[test]
fn whoever_has_lost_the_lease_turns_back_before_the_point_of_no_return() {
    let lost = "back LeaseLost";
    let slow = "back WaitingForTurn";
    all_say(|case| case.seen.lease = Some(LeaseSeen::Free), [slow, lost, lost, lost, lost, slow, lost]);
    let other: fn(&mut Case) = |case| case.seen.lease = Some(LeaseSeen::Other("w2/u/j".into()));
    all_say(other, [slow, lost, lost, lost, lost, slow, lost]);
}

#[test]
fn policy_and_budget_bar_what_has_not_disturbed_anybody_yet() {
    let paused: fn(&mut Case) = |case| case.fleet().policy.policy.paused = true;
    let back = "back Paused";
    all_say(paused, [back, back, "Staging", "Applying", "Installing", back, back]);
    let down: fn(&mut Case) = |case| case.fleet().nodes[3].ready = false;
    let back = "back BudgetExhausted";
    all_say(down, [back, back, "Staging", "Applying", "Installing", "Staging", "Applying"]);
}

#[test]
fn a_node_that_somebody_uncordons_in_its_drain_is_cordoned_again_whatever_others_do() {
    let uncordoned = |case: &mut Case| {
        case.node().unschedulable = false;
        case.node().cordon_note = None;
    };
    for change in [
        |case: &mut Case| case.fleet().policy.policy.paused = true,
        |case: &mut Case| {
            case.fleet().nodes[3].ready = false;
        },
    ] {
        let case = Case::worker(Step::Draining).with(uncordoned).with(change);
        assert_eq!(case.says(), "cordon");
    }
}

#[test]
fn a_cordon_that_somebody_lifted_is_made_again_once_the_lease_was_proven_since() {
    let lifted = |proven: Mono| {
        Case::worker(Step::Draining).with(|case| {
            case.node().unschedulable = false;
            case.since.cordon_lifted = Some(ago(seconds(2)));
            case.leased(proven);
        })
    };
    assert_eq!(lifted(ago(seconds(2))).says(), "prove", "the Lease may be freed with it");
    assert_eq!(lifted(ago(seconds(1))).says(), "cordon");
}

#[test]
fn a_control_plane_node_waits_with_its_lease_for_slots_and_gives_way_to_anothers_mark() {
    let slot: fn(&mut Case) = |case| case.fleet().leases.push(held(crate::api::LeaseName::Slot(0), "w2"));
    let passages = || passages().into_iter().skip(5).map(|(case, _)| case);
    let said = |change: fn(&mut Case)| passages().map(|case| case.with(change).says()).collect::<Vec<_>>();
    assert_eq!(said(slot), ["wait WaitingForTurn"; 2]);
    assert_eq!(
        said(|case| case.fleet().nodes[1].in_hand = Some(InHand::default())),
        ["back WaitingForTurn"; 2]
    );
    assert_eq!(said(|case| case.fleet().kubeadm_config = Some(NEWER))[1], "back PreflightFailed");
}

#[test]
fn a_node_whose_pods_are_gone_waits_rather_than_giving_way() {
    let older: fn(&mut Case) = |case| case.fleet().kubeadm_config = Some(OLD);
    let (back, wait) = ("back WaitingForTurn", "wait WaitingForTurn");
    let plane = ["Staging", "Applying"];
    all_say(older, [back, back, "Staging", wait, wait, plane[0], plane[1]]);
}

#[test]
fn a_configuration_of_a_newer_minor_takes_a_kubelet_back_to_be_planned_anew() {
    let (case, _) = passages().swap_remove(3);
    let case = case.with(|case| case.fleet().kubeadm_config = Some(NEXT_MINOR));
    let Direction::Back(why) = case.becomes().direction else { panic!("goes on") };
    assert!(why.reason == Reason::PreflightFailed && why.message.contains("v1.37.0"), "{why:?}");
}

#[test]
fn nothing_is_disturbed_when_the_packages_are_not_those_that_preflight_found() {
    for case in [Case::worker(Step::Claiming), Case::plane(Step::Claiming)] {
        let with = |change: fn(&mut HostSeen)| case.clone().with(|case| change(case.host())).says();
        let next_minor = with(|host| host.packages = super::host(NEXT_MINOR, OLD).packages);
        assert_eq!(next_minor, "back PreflightPending");
        assert_eq!(with(|host| host.packages = super::host(OLD, NEW).packages), "back PreflightPending");
        let unconfigured = with(|host| host.packages.get_mut("kubelet").unwrap().configured = false);
        assert_eq!(unconfigured, "back PreflightPending");
        assert_eq!(with(|host| host.dpkg_interrupted = true), "run repair-dpkg");
        assert_eq!(with(|host| host.at = ago(seconds(16))), "look-at-host");
    }
}

#[test]
fn a_kubeadm_that_is_newer_than_the_target_in_the_same_minor_is_used_as_it_is() {
    for case in [Case::worker(Step::Staging), Case::plane(Step::Staging)] {
        let with = |version| case.clone().with(|case| case.host().packages = host(version, OLD).packages);
        let marked = |mut case: Case| {
            let mark = mark(case.turn());
            case.node().in_hand = Some(mark);
            case.says()
        };
        assert_eq!(marked(with(NEWER)), "Applying");
        assert_eq!(marked(with(NEXT_MINOR)), "run install-kubeadm");
        let half = with(NEWER).with(|case| {
            case.host().packages.get_mut("kubeadm").unwrap().configured = false;
        });
        assert_eq!(marked(half), "run install-kubeadm");
    }
}

#[test]
fn a_drain_begins_on_a_fresh_proof_and_goes_on_for_five_minutes_on_it() {
    let at = |drain: Option<DrainState>, millis| {
        let case = Case::worker(Step::Draining).with(|case| case.seen.drain = drain.map(progress));
        case.with(|case| case.leased(Mono(NOW.mono.0 - millis))).says()
    };
    assert_eq!([at(None, 15_000), at(None, 15_001)], ["drain", "prove"]);
    let drains = || Some(DrainState::Draining);
    assert_eq!([at(drains(), 300_000), at(drains(), 300_001)], ["drain", "renew"]);
}

#[test]
fn turn_b_past_its_point_of_no_return_goes_on_without_its_lease_and_waits_for_skew_alone() {
    let past = Case::worker(Step::Installing).with(|case| case.turn().changed = true);
    for lease in [None, Some(LeaseSeen::Free), Some(LeaseSeen::Other("w2/u/j".into()))] {
        let mut case = past.clone();
        case.seen.lease = lease;
        case.fleet().policy.policy.paused = true;
        case.fleet().nodes[3].ready = false;
        case.fleet().kubeadm_config = Some(OLD);
        assert_eq!(case.says(), "run install-kubelet");
        case.turn().plan.target = NEXT_MINOR;
        case.target(Some(NEXT_MINOR));
        let mark = mark(case.turn());
        case.node().in_hand = Some(mark);
        assert_eq!(case.says(), "wait WaitingForTurn");
    }
    let mut unread = past;
    unread.seen.fleet = None;
    assert_eq!(unread.says(), "run install-kubelet", "nothing answers");
}

#[test]
fn turn_a_past_its_point_of_no_return_claims_again_whatever_policy_and_order_say() {
    let mut case = Case::plane(Step::Applying);
    case.turn().run = Some(Run { command: KubeadmCommand::Apply, succeeded: false });
    case.host().changed_manifests = ["kube-apiserver".to_owned()].into();
    case.seen.lease = Some(LeaseSeen::Free);
    case.fleet().policy.policy.paused = true;
    case.fleet().leases.push(held(crate::api::LeaseName::Slot(0), "w2"));
    assert_eq!(case.says(), "claim");
    case.fleet().nodes[1].in_hand = Some(InHand::default());
    assert_eq!(case.says(), "wait WaitingForTurn");
}

#[test]
fn turn_a_past_its_point_of_no_return_waits_for_anothers_lease_rather_than_claiming_it_again_and_again() {
    let mut case = Case::plane(Step::Applying);
    case.turn().run = Some(Run { command: KubeadmCommand::Apply, succeeded: false });
    case.host().changed_manifests = ["kube-apiserver".to_owned()].into();
    case.seen.lease = Some(LeaseSeen::Other("cp2/u/j".into()));
    case.fleet().leases.push(held(crate::api::LeaseName::ControlPlane, "cp2"));
    let wait = case.waits();
    assert!(
        wait.reason == Reason::WaitingForTurn && wait.message.contains("cp2 holds the Lease"),
        "{wait:?}"
    );
    case.fleet().leases.clear();
    assert_eq!(case.says(), "claim");
    case.fleet().at = ago(seconds(31));
    assert_eq!(case.says(), "look-at-fleet");
}

#[test]
fn turn_a_past_its_point_of_no_return_claims_again_on_a_fleet_read_since_its_last_claim_alone() {
    let mut case = Case::plane(Step::Applying);
    case.turn().run = Some(Run { command: KubeadmCommand::Apply, succeeded: false });
    case.host().changed_manifests = ["kube-apiserver".to_owned()].into();
    case.seen.lease = Some(LeaseSeen::Other("cp2/u/j".into()));
    case.since.claimed_at = NOW.mono;
    case.fleet().at = ago(seconds(20));
    assert_eq!(case.says(), "look-at-fleet");
}

/// A drain under way whose Lease was renewed a minute ago, on a fleet that is an hour old.
fn draining() -> Case {
    Case::worker(Step::Draining).with(|case| {
        case.seen.drain = Some(progress(DrainState::Draining));
        case.leased(ago(seconds(60)));
        case.fleet().at = ago(seconds(3_600));
        case.seen.node_at = ago(seconds(300));
    })
}

#[test]
fn a_drain_under_way_is_one_act_that_nothing_interrupts() {
    let Act::Drain { options, until } = draining().does() else { panic!("no drain") };
    let same = Act::Drain { options, until };
    let changes: [fn(&mut Case); 7] = [
        |case| case.fleet().policy.policy.paused = true,
        |case| case.fleet().nodes[3].ready = false,
        |case| case.fleet().leases.push(held(crate::api::LeaseName::ControlPlane, "cp1")),
        |case| case.fleet().kubeadm_config = Some(OLD),
        |case| case.seen.fleet = None,
        |case| case.host().at = ago(seconds(3_600)),
        |case| case.turn().changed = true,
    ];
    for (number, change) in changes.into_iter().enumerate() {
        assert_eq!(draining().with(change).does(), same, "{number}");
    }
    let plane = Case::plane_b(Step::Draining).with(|case| {
        case.seen.drain = Some(progress(DrainState::Draining));
        case.leased(ago(seconds(60)));
        case.fleet().at = ago(seconds(3_600));
        case.seen.local = None;
        case.seen.pods = None;
    });
    assert_eq!(plane.says(), "drain");
}

#[test]
fn a_drain_under_way_ends_where_it_is_cancelled_or_its_lease_is_lost() {
    assert_eq!(draining().with(|case| case.target(None)).says(), "back Cancelled");
    let lost = draining().with(|case| case.seen.lease = Some(LeaseSeen::Free));
    assert_eq!(lost.says(), "back LeaseLost");
}

#[test]
fn others_are_not_asked_again_about_a_drain_that_was_begun_before_a_restart() {
    let restarted = |change: fn(&mut Case)| {
        let case = Case::worker(Step::Draining).with(|case| case.seen.drain = None);
        case.with(change).says()
    };
    assert_eq!(restarted(|_| {}), "drain");
    assert_eq!(restarted(|case| case.fleet().policy.policy.paused = true), "drain");
    assert_eq!(restarted(|case| case.fleet().nodes[3].ready = false), "drain");
    let control_plane: fn(&mut Case) =
        |case| case.fleet().leases.push(held(crate::api::LeaseName::ControlPlane, "cp1"));
    assert_eq!(restarted(control_plane), "drain");
    assert_eq!(restarted(|case| case.leased(ago(seconds(16)))), "prove", "its Lease is proven all the same");
    assert_eq!(restarted(|case| case.seen.lease = None), "renew");
    let later = Case::worker(Step::Staging).with(|case| {
        case.seen.drain = None;
        case.fleet().policy.policy.paused = true;
    });
    assert_eq!(later.says(), "drain", "what is drained is seen again in each life");
}

#[test]
fn a_gate_is_asked_less_and_less_often_by_a_node_that_is_in_service() {
    let pause = |case: &Case, waited: u64| {
        let case = case.clone().with(|case| {
            let begun = Now { mono: ago(seconds(waited)), ..NOW };
            case.turn().stopwatch = Stopwatch::started(begun);
        });
        let Next::Wait { until: Some(until), .. } = case.next() else { panic!("{}", case.says()) };
        until.since(NOW.mono).as_secs()
    };
    let slot =
        |case: Case| case.with(|case| case.fleet().leases.push(held(crate::api::LeaseName::Slot(0), "w2")));
    let serving = slot(Case::plane(Step::Claiming));
    let pauses: Vec<_> = [0, 40, 100, 600, 1_200, 9_000].map(|waited| pause(&serving, waited)).into();
    assert_eq!(pauses, [10, 10, 25, 150, 300, 300]);
    let run = Run { command: KubeadmCommand::NodeWorker, succeeded: true };
    let cordoned = Case::worker(Step::Applying).with(|case| {
        case.turn().run = Some(run);
        case.fleet().kubeadm_config = None;
    });
    assert_eq!([pause(&cordoned, 0), pause(&cordoned, 800)], [10, 10]);
}

#[test]
fn a_claim_that_finds_no_answer_is_judged_anew_before_what_it_rests_on_is_old() {
    let unanswered = |case: Case, age: Duration| {
        let case = case.with(|case| case.seen.lease = None);
        case.later(age).says()
    };
    for case in [Case::worker(Step::Claiming), Case::plane(Step::Claiming)] {
        assert_eq!(unanswered(case.clone(), seconds(15)), "claim");
        assert_eq!(unanswered(case, Duration::from_millis(15_001)), "back WaitingForTurn");
    }
}

/// Turn A of a node that had the target's kubeadm before.
fn with_kubeadm() -> Case {
    let mut case = Case::plane(Step::Claiming);
    case.host().packages = host(NEW, OLD).packages;
    case.turn().plan.from.kubeadm = case.turn().plan.to.kubeadm.clone();
    let mark = mark(case.turn());
    case.node().in_hand = Some(mark);
    case
}

#[test]
fn turn_a_whose_kubeadm_package_is_there_already_waits_for_workers_too() {
    let mut case = with_kubeadm();
    case.fleet().leases.push(held(crate::api::LeaseName::Slot(0), "w2"));
    assert_eq!(case.says(), "wait WaitingForTurn", "a worker has its slot");
}

#[test]
fn turn_a_whose_kubeadm_package_is_there_already_obeys_a_pause_after_its_claim() {
    let mut case = with_kubeadm();
    case.fleet().policy.policy.paused = true;
    assert_eq!(case.says(), "back Paused");
}

/// What the gates of turn A in [`passages`] say after this change.
fn control_planes_ask(change: fn(&mut Case)) -> Vec<String> {
    passages().into_iter().skip(5).map(|(case, _)| case.with(change).says()).collect()
}

#[test]
fn a_gate_wants_the_own_node_read_just_now() {
    all_say(|case| case.seen.node_at = ago(seconds(15)), PASSED);
    all_say(|case| case.seen.node_at = Mono(NOW.mono.0 - 15_001), ["look-at-node"; 7]);
}

#[test]
fn a_gate_of_a_control_plane_node_asks_its_api_server_and_notes_what_it_answered() {
    assert_eq!(
        control_planes_ask(|case| case.seen.local.as_mut().unwrap().at = ago(seconds(15))),
        PASSED[5..]
    );
    let unasked: fn(&mut Case) = |case| case.seen.local.as_mut().unwrap().at = Mono(NOW.mono.0 - 15_001);
    assert_eq!(control_planes_ask(unasked), ["look-at-control-plane"; 2]);
    let newer: fn(&mut Case) = |case| {
        let local = case.seen.local.as_mut().unwrap();
        (local.version, local.hash) = (Some(NEWER), Some("hash".to_owned()));
    };
    assert_eq!(control_planes_ask(newer), ["publish-api-server"; 2]);
}

#[test]
fn a_cordon_that_follows_one_that_was_lifted_is_somebody_elses_before_anything_is_changed_too() {
    let theirs: fn(&mut Case) = |case| case.since.cordon_lifted = Some(ago(seconds(3)));
    assert_eq!(Case::worker(Step::Draining).with(theirs).says(), "forget-cordon");
    let back = Case::worker(Step::Draining).with(|case| {
        case.turn().direction = Direction::Back(why(Reason::Cancelled));
    });
    assert_eq!(back.says(), "uncordon");
    assert_eq!(back.with(theirs).says(), "forget-cordon");
}
