//! What brings this host back comes before everything, in whatever state the node is.

use super::*;

fn missing(case: Case) -> Case {
    case.with(|case| case.host().missing_manifests = ["kube-apiserver".to_owned()].into())
}

#[test]
fn a_missing_manifest_is_put_back_before_anything_else_with_a_turn_or_without() {
    let copy = Copy { turn: TurnId("lost".into()), run: 1 };
    let idle = missing(Case::idle(true)).with(|case| case.host().copies = vec![copy]);
    assert_eq!(idle.does(), Act::RestoreManifests { turn: TurnId("lost".into()) });
    let back: fn(&mut Case) = |case| case.turn().direction = Direction::Back(why(Reason::Cancelled));
    let degraded: fn(&mut Case) = |case| case.turn().degraded = Some(why(Reason::NotVerified));
    let alone: fn(&mut Case) = |case| {
        case.seen.node = None;
        case.seen.lease = None;
    };
    for change in [|_: &mut Case| {}, back, degraded, alone] {
        let case = missing(Case::plane(Step::Applying)).with(change);
        assert_eq!(case.does(), Act::RestoreManifests { turn: TurnId("j1".into()) });
    }
}

fn busy(case: &mut Case) {
    case.host().tools.insert("u.service".into(), ToolState::Running);
}

#[test]
fn nothing_is_put_back_while_a_tool_runs_or_before_a_turn_has_touched_the_host() {
    assert_eq!(missing(Case::plane(Step::Applying)).with(busy).says(), "await");
    let idle = missing(Case::idle(true)).with(|case| {
        case.host().copies = vec![Copy { turn: TurnId("lost".into()), run: 1 }];
        busy(case);
    });
    assert_ne!(idle.says(), "restore-manifests");
    assert_ne!(missing(Case::plane(Step::Claiming)).says(), "restore-manifests");
}

#[test]
fn a_host_that_was_not_seen_is_looked_at_first() {
    for case in [Case::idle(false), Case::worker(Step::Claiming), Case::worker(Step::Installing)] {
        assert_eq!(case.with(|case| case.seen.host = None).says(), "look-at-host");
    }
    let seen_ago =
        |millis| Case::worker(Step::Applying).with(|case| case.host().at = Mono(NOW.mono.0 - millis)).says();
    assert_eq!([seen_ago(30_000), seen_ago(30_001)], ["Applying", "look-at-host"]);
}

#[test]
fn an_interrupted_dpkg_is_repaired_before_a_step_goes_on_as_often_as_a_step_may_fail() {
    for reached in [Step::Staging, Step::Applying, Step::Installing] {
        let mut case = Case::worker(reached);
        case.host().dpkg_interrupted = true;
        assert_eq!(case.says(), "run repair-dpkg");
        case.ran(&Tool::RepairDpkg, ToolState::Ended(1));
        let failed = case.becomes();
        assert_eq!(failed.attempts(), 1);
        let waits = case.clone().with(|case| *case.turn() = failed);
        assert_ne!(waits.says(), "run repair-dpkg", "not before its pause is over");
        case.turn().attempts.insert(reached, 3);
        case.host().tools.clear();
        assert_ne!(case.says(), "run repair-dpkg");
    }
}

#[test]
fn an_interrupted_dpkg_is_none_of_a_turn_s_business_once_its_last_package_is_there() {
    let repairs = |mut case: Case| {
        case.host().dpkg_interrupted = true;
        case.says() == "run repair-dpkg"
    };
    for reached in [Step::Restarting, Step::Verifying, Step::Uncordoning] {
        assert!(!repairs(Case::worker(reached)), "{reached:?}");
    }
    assert!(repairs(Case::plane(Step::Staging)));
    assert!(!repairs(Case::plane(Step::Applying)));
    let back = Case::plane(Step::Applying)
        .with(|case| case.turn().direction = Direction::Back(why(Reason::Cancelled)));
    assert!(repairs(back), "packages are put back");
}

#[test]
fn a_control_plane_whose_power_and_memory_were_lost_finishes_dpkg_once_while_nothing_answers() {
    let lost = Case::idle(true).with(|case| {
        case.memory = Memory::default();
        case.seen.node = None;
        case.host().dpkg_interrupted = true;
    });
    assert_eq!(lost.says(), "run repair-dpkg");
    let Act::Run { unit, .. } = lost.does() else { panic!("{}", lost.says()) };
    let ended = lost.clone().with(|case| {
        case.host().tools.insert(unit.clone(), ToolState::Ended(1));
    });
    assert_ne!(ended.says(), "run repair-dpkg", "once");
    let others: [fn(&mut Case); 4] = [
        |case| case.memory.known = true,
        |case| case.host().control_plane = false,
        |case| case.host().dpkg_interrupted = false,
        |case| {
            *case = Case {
                seen: Observed { node: Case::idle(true).seen.node, ..case.seen.clone() },
                ..case.clone()
            }
        },
    ];
    for other in others {
        assert_ne!(lost.clone().with(other).says(), "run repair-dpkg");
    }
    let runs = |case: &mut Case| {
        case.host().tools.insert("node-upgrade-agent-tool-x".into(), ToolState::Running);
    };
    assert_ne!(lost.clone().with(runs).says(), "run repair-dpkg");
}

#[test]
fn a_dpkg_that_cannot_be_repaired_degrades_a_turn_that_cannot_go_back() {
    let mut case = Case::worker(Step::Installing);
    case.host().dpkg_interrupted = true;
    case.ran(&Tool::RepairDpkg, ToolState::Ended(1));
    case.turn().attempts.insert(Step::Installing, 2);
    assert_eq!(case.says(), "degraded ToolFailed");
}

/// Turn A whose kubeadm was cut after it had changed a manifest, and whose API server has been dead since.
fn cut(minutes: u64) -> Case {
    let mut case = Case::plane(Step::Applying);
    case.turn().run = Some(Run { command: KubeadmCommand::Apply, succeeded: false });
    case.host().changed_manifests = ["kube-apiserver".to_owned()].into();
    for second in (0..=minutes * 60).step_by(60) {
        let at = ago(seconds(minutes * 60 - second));
        let dead = LocalControlPlane { at, api_server_ready: false, ..local() };
        case.seen.local = Some(dead.clone());
        let (seen, now) = (case.seen.clone(), Now { mono: at, ..NOW });
        case.since.observed(&crate::observed::Observation::Local(dead), &seen, now);
    }
    case
}

#[test]
fn a_control_plane_that_kubeadm_was_cut_in_and_that_does_not_come_up_is_rolled_back() {
    assert_ne!(cut(6).says(), "roll-back-manifests", "kubeadm has five minutes itself");
    assert_eq!(cut(7).does(), Act::RollBackManifests { turn: TurnId("j1".into()) });
    let alone = cut(7).with(|case| case.seen.node = None);
    assert_eq!(alone.says(), "roll-back-manifests", "it needs neither API nor Lease");
    let degraded = cut(7).with(|case| case.turn().degraded = Some(why(Reason::ToolFailed)));
    assert_eq!(degraded.says(), "roll-back-manifests");
}

#[test]
fn nothing_is_rolled_back_that_ended_well_or_was_not_changed_or_runs_or_serves() {
    let spared: [fn(&mut Case); 4] = [
        |case| case.turn().run.as_mut().unwrap().succeeded = true,
        |case| case.host().changed_manifests.clear(),
        busy,
        |case| {
            case.seen.local.as_mut().unwrap().api_server_ready = true;
            let (seen, local) = (case.seen.clone(), case.seen.local.clone().unwrap());
            case.since.observed(&crate::observed::Observation::Local(local), &seen, NOW);
        },
    ];
    for (number, spare) in spared.into_iter().enumerate() {
        assert_ne!(cut(7).with(spare).says(), "roll-back-manifests", "{number}");
    }
}

#[test]
fn while_nothing_answers_the_api_server_of_this_host_is_asked_for_it() {
    let silent = cut(1).with(|case| {
        case.seen.node = None;
        case.seen.local = None;
    });
    assert_eq!(silent.says(), "look-at-control-plane");
}

#[test]
fn the_control_plane_is_asked_every_ten_seconds_while_the_own_node_is_unseen() {
    let asked = |seen: u64, age: u64| {
        let case = cut(1).with(|case| {
            case.seen.node_at = ago(seconds(seen));
            case.seen.local.as_mut().unwrap().at = ago(seconds(age));
        });
        case.says()
    };
    let look = "look-at-control-plane";
    assert_eq!([asked(31, 10) == look, asked(31, 11) == look], [false, true]);
    assert_ne!(asked(30, 11), look, "the Node was told half a minute ago");
    let unchanged = cut(1).with(|case| {
        case.seen.node = None;
        case.seen.local = None;
        case.host().changed_manifests.clear();
    });
    assert_eq!(unchanged.says(), "wait Retrying", "nothing is there to be rolled back");
    let until = NOW.mono.plus(seconds(10));
    assert!(matches!(unchanged.next(), Next::Wait { until: Some(at), .. } if at == until));
}

/// Turn B for so many minutes after kubeadm has written kubelet's files, with nothing heard of the Node since.
fn silent(minutes: u64) -> Case {
    let mut case = Case::worker(Step::Applying);
    case.host().kubelet_config_changed = true;
    let begun = Now { mono: ago(Duration::from_mins(minutes)), ..NOW };
    case.turn().stopwatch = Stopwatch::started(begun);
    case.seen.node_at = begun.mono;
    case
}

#[test]
fn kubelets_files_go_back_before_the_point_of_no_return_where_nothing_answers_since_they_were_written() {
    for unseen in [|_: &mut Case| {}, |case: &mut Case| case.seen.node = None] {
        assert_ne!(silent(6).with(unseen).says(), "back TimedOut", "for as long as a static pod may take");
        let mut case = silent(7).with(unseen);
        assert_eq!(case.says(), "back TimedOut");
        *case.turn() = case.becomes();
        assert_eq!(case.does(), Act::RestoreKubeletConfig { turn: TurnId("j1".into()) });
        case.host().kubelet_config_changed = false;
        assert_ne!(case.says(), "restore-kubelet-config", "once");
    }
}

#[test]
fn kubelets_files_stay_where_the_node_is_seen_or_they_are_unchanged_or_the_kubelet_is_new() {
    let spared: [fn(&mut Case); 4] = [
        |case| case.seen.node_at = NOW.mono,
        |case| case.host().kubelet_config_changed = false,
        |case| case.turn().changed = true,
        |case| case.turn().degraded = Some(why(Reason::ToolFailed)),
    ];
    for (number, spare) in spared.into_iter().enumerate() {
        let said = silent(7).with(spare).says();
        assert!(said != "back TimedOut" && said != "restore-kubelet-config", "{number}: {said}");
    }
}

#[test]
fn an_interrupted_dpkg_keeps_no_turn_from_its_end() {
    let mut case = Case::worker(Step::Releasing);
    case.host().dpkg_interrupted = true;
    assert_eq!(case.says(), "unmark");
}

#[test]
fn a_turn_that_can_still_turn_back_asks_nothing_of_a_node_it_has_not_seen() {
    let mut case = Case::worker(Step::Installing).with(|case| case.seen.node = None);
    assert_eq!(case.says(), "wait Retrying", "whether people still want it is not known");
    case.host().packages = host(NEW, NEW).packages;
    assert_eq!(case.says(), "Restarting", "past its point of no return it needs nobody");
}

#[test]
fn a_node_that_nothing_answers_any_more_gives_back_what_an_earlier_turn_of_it_holds() {
    let held = |holder: &str| {
        let mut case = silent(16).with(|case| case.host().kubelet_config_changed = false);
        case.host().packages = host(OLD, OLD).packages;
        *case.turn() = case.turn().clone().back(why(Reason::LeaseLost), case.now);
        case.turn().stopwatch = Stopwatch::started(Now { mono: ago(Duration::from_mins(16)), ..NOW });
        case.seen.lease = Some(LeaseSeen::Other(holder.to_owned()));
        case.does()
    };
    let holder =
        Holder { turn: TurnId("earlier".into()), ..Case::worker(Step::Applying).turn().holder.clone() };
    let freed = Act::Release { lease: Case::worker(Step::Applying).turn().lease, holder: holder.clone() };
    assert_eq!(held(&holder.to_string()), freed);
    assert_ne!(held("w2/u/j"), freed);
}
