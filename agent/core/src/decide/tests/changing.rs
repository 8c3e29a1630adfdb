//! The tools of a turn: how they are started, proven, tried again and given up.

use super::*;

fn install_kubeadm() -> Tool {
    Tool::InstallKubeadm { packages: packages(NEW), back: false }
}

fn install_kubelet() -> Tool {
    Tool::InstallKubelet { packages: packages(NEW) }
}

fn kubeadm(command: KubeadmCommand) -> Tool {
    Tool::Kubeadm { command, target: NEW }
}

fn run(succeeded: bool) -> Run {
    Run { command: KubeadmCommand::Apply, succeeded }
}

/// A case in which the tool of its step has failed for so many times, and now once more.
fn failing(mut case: Case, tool: &Tool, before: u32) -> Case {
    let reached = case.turn().reached;
    case.turn().attempts.insert(reached, before);
    let unit = case.ran(tool, ToolState::Ended(100));
    case.host().last_words.insert(unit, "E: broken".into());
    case
}

#[test]
fn a_tool_that_runs_is_awaited_whatever_else_is_wanted() {
    for reached in [Step::Claiming, Step::Draining, Step::Staging, Step::Installing, Step::Releasing] {
        let mut case = Case::worker(reached);
        case.target(None);
        case.host().tools.insert("u.service".into(), ToolState::Running);
        assert_eq!(case.does(), Act::Await { unit: "u.service".into() });
        case.turn().degraded = Some(why(Reason::NotVerified));
        assert_eq!(case.does(), Act::Await { unit: "u.service".into() });
        case.turn().degraded = None;
        case.turn().direction = Direction::Back(why(Reason::Cancelled));
        assert_eq!(case.does(), Act::Await { unit: "u.service".into() });
    }
}

#[test]
fn a_tool_is_started_on_a_host_looked_at_just_now() {
    let mut case = Case::worker(Step::Staging);
    case.host().at = ago(seconds(2));
    assert_eq!(case.says(), "run install-kubeadm");
    case.host().at = Mono(NOW.mono.0 - 2_001);
    assert_eq!(case.says(), "look-at-host");
}

#[test]
fn a_tool_that_failed_is_tried_again_after_a_growing_pause_under_another_name() {
    for (before, pause) in [(0, 15), (1, 60)] {
        let case = failing(Case::worker(Step::Staging), &install_kubeadm(), before);
        let first = case.seen.host.as_ref().unwrap().tools.keys().next().cloned().unwrap();
        let turn = case.becomes();
        assert_eq!(
            (turn.attempts(), turn.not_before.pending(NOW)),
            (before + 1, Some(NOW.mono.plus(seconds(pause))))
        );
        let again = case.with(|case| *case.turn() = turn);
        assert_eq!(again.says(), "wait ToolFailed");
        let Act::Run { unit, .. } = again.later(seconds(pause)).does() else { panic!("not tried again") };
        assert_ne!(unit, first);
    }
}

#[test]
fn a_tool_that_ended_well_and_left_its_step_undone_has_failed() {
    let mut case = Case::worker(Step::Staging);
    case.ran(&install_kubeadm(), ToolState::Ended(0));
    assert_eq!(case.becomes().attempts(), 1);
}

#[test]
fn what_fails_thrice_backs_out_before_the_point_of_no_return_and_degrades_after_it() {
    let applying = Case::worker(Step::Applying).with(|case| {
        case.turn().run = Some(Run { command: KubeadmCommand::NodeWorker, succeeded: false });
    });
    for (case, tool, expected) in [
        (Case::worker(Step::Staging), install_kubeadm(), "back ToolFailed"),
        (applying, kubeadm(KubeadmCommand::NodeWorker), "back ToolFailed"),
        (Case::worker(Step::Installing), install_kubelet(), "degraded ToolFailed"),
    ] {
        let case = failing(case, &tool, 2);
        assert_eq!(case.says(), expected);
        let turn = case.becomes();
        let told = match (&turn.degraded, &turn.direction) {
            (Some(why), _) | (None, Direction::Back(why)) => &why.message,
            (None, Direction::Forward) => panic!("goes on"),
        };
        assert!(told.contains("E: broken") && told.contains("100"), "{told}");
    }
}

#[test]
fn kubeadm_runs_on_a_copy_of_its_own_after_it_was_noted_what_is_run() {
    for (case, command) in [
        (Case::worker(Step::Applying), KubeadmCommand::NodeWorker),
        (Case::plane_b(Step::Applying), KubeadmCommand::NodeKubelet),
        (Case::plane(Step::Applying), KubeadmCommand::Apply),
    ] {
        let mut case = case;
        case.turn().unit_serial = 8;
        let Act::BackUp { copy } = case.does() else { panic!("no copy for {command:?}") };
        assert_eq!((copy.turn.0.as_str(), copy.run), ("j1", 8));
        case.host().copies.push(copy);
        let noted = case.becomes();
        assert_eq!(noted.run, Some(Run { command, succeeded: false }));
        *case.turn() = noted;
        let Act::Run { tool, .. } = case.does() else { panic!("{command:?} does not run") };
        assert_eq!(tool, kubeadm(command));
        case.ran(&tool, ToolState::Ended(0));
        assert_eq!(case.becomes().run, Some(Run { command, succeeded: true }));
    }
}

#[test]
fn the_sockets_note_that_kubeadm_takes_away_is_put_back_before_it_runs() {
    let mut case = Case::worker(Step::Applying);
    case.host().instance_config = false;
    case.host().cri_socket = Some("unix:///run/c.sock".into());
    assert_eq!(case.says(), "note-cri-socket");
    case.node().has_cri_socket = true;
    assert_eq!(case.becomes().run.unwrap().command, KubeadmCommand::NodeWorker);
}

#[test]
fn node_is_run_only_where_the_lease_notes_that_apply_ended_for_this_version() {
    let mut case = Case::plane(Step::Applying);
    case.fleet().kubeadm_config = Some(NEW);
    assert_eq!(case.becomes().run.unwrap().command, KubeadmCommand::Apply);
    let lease = held(crate::api::LeaseName::ControlPlane, "cp1");
    case.fleet().leases.push(crate::observed::FleetLease { applied: Some(NEW), ..lease });
    assert_eq!(case.becomes().run.unwrap().command, KubeadmCommand::NodeControlPlane);
}

/// Turn A whose static pods and kubeadm-config are at the target.
fn at_the_target(run: Option<Run>) -> Case {
    let mut case = Case::plane(Step::Applying);
    case.turn().run = run;
    case.seen.pods.as_mut().unwrap().pods = static_pods(NEW);
    *case.fleet() = fleet_at(NEW);
    case
}

#[test]
fn turn_a_is_done_by_what_runs_and_the_noted_end_of_what_was_begun_for_it() {
    assert_eq!(at_the_target(None).says(), "Releasing", "what a person upgraded by hand needs no run");
    assert_eq!(
        at_the_target(Some(run(false))).says(),
        "run kubeadm-upgrade",
        "a power cut may have cut it short"
    );
    let mut case = at_the_target(Some(run(true)));
    let Act::Renew { applied, .. } = case.does() else { panic!("not noted") };
    assert_eq!(applied, Some(NEW));
    let turn = case.turn().holder.turn.clone();
    case.seen.lease = Some(LeaseSeen::Held { at: NOW.mono, turn, applied });
    assert_eq!(case.says(), "Releasing");
    let node = Run { command: KubeadmCommand::NodeControlPlane, succeeded: true };
    assert_eq!(at_the_target(Some(node)).says(), "Releasing", "only apply is noted");
}

/// Turn A whose kubeadm ended with 0 and whose end is noted.
fn applied() -> Case {
    let mut case = at_the_target(Some(run(true)));
    let turn = case.turn().holder.turn.clone();
    case.seen.lease = Some(LeaseSeen::Held { at: NOW.mono, turn, applied: Some(NEW) });
    case
}

#[test]
fn what_kubeadm_says_it_did_is_awaited_for_a_bounded_time() {
    let mut case = applied();
    case.seen.pods.as_mut().unwrap().pods = static_pods(OLD);
    let wait = case.waits();
    assert!(wait.reason == Reason::Progressing && wait.message.contains("show v1.36.3"), "{wait:?}");
    assert_eq!(case.clone().later(Duration::from_mins(29)).says(), "wait Progressing");
    assert_eq!(case.later(Duration::from_mins(31)).says(), "degraded NotVerified");
}

#[test]
fn a_kubeadm_config_that_went_back_after_apply_means_another_run() {
    let mut case = applied();
    case.fleet().kubeadm_config = Some(OLD);
    let again = case.becomes();
    assert_eq!((again.run, again.attempts()), (None, 1));
}

/// Turn A whose kubeadm ended badly.
fn cut_short(status: i32) -> Case {
    let mut case = Case::plane(Step::Applying);
    case.turn().run = Some(run(false));
    case.ran(&kubeadm(KubeadmCommand::Apply), ToolState::Ended(status));
    case
}

#[test]
fn a_kubeadm_that_failed_with_all_whole_as_before_takes_turn_a_back_at_once() {
    assert_eq!(cut_short(1).says(), "back ToolFailed");
}

#[test]
fn a_kubeadm_that_left_a_control_plane_of_two_versions_is_tried_again_and_then_degraded() {
    let changes: [fn(&mut Case); 3] = [
        |case| case.host().changed_manifests = ["kube-apiserver".to_owned()].into(),
        |case| case.fleet().kubeadm_config = Some(NEW),
        |case| case.fleet().kubeadm_config = None,
    ];
    for change in changes {
        let mut case = cut_short(1).with(change);
        assert_eq!(case.becomes().attempts(), 1);
        case.turn().attempts.insert(Step::Applying, 2);
        assert_eq!(case.says(), "degraded ToolFailed");
    }
}

#[test]
fn kubelet_is_installed_only_when_kubectl_is_too_where_there_is_one() {
    let with = |change: fn(&mut HostSeen)| {
        let case = Case::worker(Step::Installing).with(|case| case.turn().changed = true);
        case.with(|case| case.host().packages = host(NEW, NEW).packages)
            .with(|case| change(case.host()))
            .says()
    };
    let old = || packages(OLD).kubelet;
    assert_eq!(with(|_| {}), "Restarting");
    assert_eq!(
        with(|host| host.packages.get_mut("kubectl").unwrap().configured = false),
        "run install-kubelet"
    );
    assert_eq!(
        with(|host| host.packages.get_mut("kubelet").unwrap().configured = false),
        "run install-kubelet"
    );
    let mut without = Case::worker(Step::Installing).with(|case| case.turn().changed = true);
    without.turn().plan.to.kubectl = None;
    without.host().packages = host(NEW, NEW).packages;
    without.host().packages.get_mut("kubectl").unwrap().version = old();
    assert_eq!(without.says(), "Restarting");
}

#[test]
fn kubelet_is_restarted_until_its_invocation_is_another_one() {
    let mut case = Case::worker(Step::Restarting);
    case.turn().kubelet_before = None;
    let noted = case.becomes();
    assert_eq!((noted.reached, noted.kubelet_before.as_deref()), (Step::Restarting, Some("before")));
    *case.turn() = noted;
    assert_eq!(case.says(), "restart-kubelet");
    case.host().kubelet.invocation = "after".into();
    assert_eq!(case.says(), "Verifying");
}

#[test]
fn somebody_who_uncordons_before_the_host_has_changed_is_answered_with_another_cordon() {
    for reached in [Step::Draining, Step::Staging, Step::Applying, Step::Installing] {
        let mut case = Case::worker(reached);
        case.node().unschedulable = false;
        assert_eq!(case.says(), "cordon", "{reached:?}");
    }
}

#[test]
fn a_cordon_that_was_lifted_after_the_host_has_changed_is_left_be() {
    for reached in [Step::Installing, Step::Restarting, Step::Verifying, Step::Uncordoning] {
        let mut case = Case::worker(reached).with(|case| case.turn().changed = true);
        case.since.cordon_lifted = Some(NOW.mono);
        assert_eq!(case.says(), "forget-cordon", "{reached:?}");
        let mut forgotten = case.with(|case| case.since.cordon_lifted = None);
        forgotten.node().unschedulable = false;
        assert_ne!(forgotten.says(), "cordon", "{reached:?}");
    }
}

#[test]
fn the_host_is_changed_only_once_a_list_made_after_the_cordon_showed_the_node_drained() {
    let mut case = Case::worker(Step::Draining);
    case.seen.drain = Some(progress(DrainState::Drained));
    assert_eq!(case.says(), "Staging");
    case.since.cordoned_at = Mono(NOW.mono.0 + 1);
    assert_eq!(case.says(), "drain");
    let given_up = DrainState::GivenUp(why(Reason::DrainBlocked));
    case.seen.drain = Some(progress(given_up));
    assert_eq!(case.says(), "back DrainBlocked");
}

#[test]
fn pods_of_a_node_that_was_down_and_still_is_are_not_waited_for() {
    for (found_down, ready, hurried) in
        [(true, Ready::False, true), (true, Ready::True, false), (false, Ready::Unknown, false)]
    {
        let mut case = Case::worker(Step::Draining);
        case.turn().plan.found_down = found_down;
        case.node().ready = ready;
        let Act::Drain { options, until } = case.does() else { panic!("no drain") };
        let usual = DrainOptions::default().skip_wait_for_delete_timeout;
        assert_eq!(options.skip_wait_for_delete_timeout != usual, hurried, "{found_down} {ready:?}");
        assert_eq!(until, NOW.mono.plus(options.timeout));
    }
}

#[test]
fn what_a_first_run_of_kubeadm_is_compared_with_is_noted_when_it_begins() {
    let begun = |change: fn(&mut Case)| {
        let mut case = Case::plane(Step::Applying);
        case.turn().plan.static_pods = None;
        case.turn().plan.kubeadm_config = Some(Version::new(1, 36, 1));
        let plan = case.with(change).becomes().plan;
        (plan.static_pods, plan.kubeadm_config)
    };
    let old = (None, Some(Version::new(1, 36, 1)));
    assert_eq!(begun(|_| {}), (Some(OLD), Some(OLD)), "preflight may be an hour old");
    assert_eq!(begun(|case| case.turn().changed = true), old, "there is nothing to go back to");
    let again: fn(&mut Case) = |case| {
        case.turn().run = Some(Run { command: KubeadmCommand::NodeControlPlane, succeeded: false });
    };
    assert_eq!(begun(again), old, "after a first run it is no longer as it was");
    let mixed: fn(&mut Case) = |case| {
        case.turn().plan.static_pods = Some(OLD);
        case.seen.pods.as_mut().unwrap().pods.pop();
    };
    assert_eq!(begun(mixed).0, Some(OLD));
    let unseen =
        Case::plane(Step::Applying).with(|case| case.seen.pods.as_mut().unwrap().at = ago(seconds(11)));
    assert_eq!(unseen.says(), "look-at-pods");
}

#[test]
fn a_control_plane_is_unproven_only_where_kubeadm_has_begun_to_change_it() {
    let silent = |change: &dyn Fn(&mut Case)| {
        let mut case = Case::plane(Step::Applying);
        case.turn().run = Some(run(false));
        case.turn().stopwatch = Stopwatch::started(Now { mono: ago(Duration::from_mins(31)), ..NOW });
        case.seen.fleet = None;
        case.seen.node_at = ago(seconds(301));
        case.seen.pods.as_mut().unwrap().at = ago(seconds(301));
        case.with(change).says()
    };
    assert_eq!(silent(&|_| {}), "look-at-fleet", "its run was noted, and never began");
    let begun: [fn(&mut Case); 4] = [
        |case| case.turn().run.as_mut().unwrap().succeeded = true,
        |case| case.turn().attempts = [(Step::Applying, 1)].into(),
        |case| case.host().changed_manifests = ["kube-apiserver".to_owned()].into(),
        |case| drop(case.ran(&kubeadm(KubeadmCommand::Apply), ToolState::Ended(1))),
    ];
    for (number, begun) in begun.into_iter().enumerate() {
        assert_eq!(silent(&begun), "degraded NotVerified", "{number}");
    }
    let answered: [fn(&mut Case); 3] = [
        |case| case.seen.node_at = ago(seconds(300)),
        |case| case.seen.pods.as_mut().unwrap().at = ago(seconds(300)),
        |case| case.seen.fleet = Some(FleetSeen { at: ago(seconds(300)), ..fleet_at(NEW) }),
    ];
    for answered in answered {
        let says = silent(&|case| {
            case.turn().run.as_mut().unwrap().succeeded = true;
            answered(case);
        });
        assert_eq!(says, "look-at-fleet", "the API answers");
    }
}

#[test]
fn of_two_marked_control_planes_without_the_lease_the_first_claims_when_any_kubeadm_has_ended() {
    let claims = |node: &str, minutes| {
        let mut case = Case::plane(Step::Applying);
        case.turn().run = Some(run(true));
        case.turn().changed = true;
        case.settings.node = node.into();
        case.seen.lease = Some(LeaseSeen::Free);
        let begun = Now { mono: ago(Duration::from_mins(minutes)), ..NOW };
        case.turn().stopwatch = Stopwatch::started(begun);
        case.fleet().nodes[1].in_hand = Some(InHand::default());
        case.says()
    };
    assert_eq!([claims("cp1", 20), claims("cp1", 21)], ["wait WaitingForTurn", "claim"]);
    assert_eq!(claims("cp3", 21), "wait WaitingForTurn");
}

#[test]
fn what_an_earlier_node_of_this_name_holds_is_freed_by_a_turn_that_needs_it() {
    let claims = |holder: &str| {
        let mut case = Case::plane(Step::Applying);
        case.turn().run = Some(run(true));
        case.turn().changed = true;
        case.seen.lease = Some(LeaseSeen::Other(holder.into()));
        let lease = crate::observed::FleetLease {
            name: crate::api::LeaseName::ControlPlane,
            holder: Some(holder.into()),
            mark: None,
            applied: None,
        };
        case.fleet().leases.push(lease);
        case.says()
    };
    assert_eq!(claims("cp1/an-earlier-uid/v1.36.3-0"), "release");
    assert_eq!(claims("cp2/uid/v1.36.3-0"), "wait WaitingForTurn");
}

#[test]
fn a_tool_that_has_ended_is_judged_without_asking_its_gate_again() {
    for (step, tool) in [
        (Step::Staging, Tool::InstallKubeadm { packages: packages(NEW), back: false }),
        (Step::Installing, Tool::InstallKubelet { packages: packages(NEW) }),
    ] {
        let mut case = Case::worker(step);
        case.ran(&tool, ToolState::Ended(100));
        case.fleet().at = ago(seconds(60));
        case.fleet().policy.policy.paused = true;
        assert_eq!(case.becomes().attempts(), 1, "{step:?}");
    }
}

#[test]
fn a_cordon_that_is_made_again_past_the_point_of_no_return_asks_the_skew() {
    let lifted = |changed: bool| {
        let mut case = Case::worker(Step::Staging);
        case.turn().changed = changed;
        case.node().unschedulable = false;
        case.fleet().kubeadm_config = None;
        case.says()
    };
    assert_eq!([lifted(true), lifted(false)], ["wait WaitingForTurn", "cordon"]);
}

#[test]
fn a_drain_past_the_point_of_no_return_asks_the_skew_and_neither_policy_nor_budget() {
    let drains = |change: fn(&mut Case)| {
        let mut case = Case::worker(Step::Staging);
        case.turn().changed = true;
        case.seen.drain = None;
        case.with(change).says()
    };
    assert_eq!(drains(|case| case.fleet().policy.policy.paused = true), "drain");
    assert_eq!(drains(|case| case.fleet().nodes[3].ready = false), "drain");
    assert_eq!(drains(|case| case.fleet().kubeadm_config = None), "wait WaitingForTurn");
}
