//! From the first change to the host to the end of a turn.

use super::*;

#[test]
fn the_point_of_no_return_is_applying_on_a_control_plane_and_installing_on_a_worker() {
    let mut seen = cordoned(seen(), false);
    annotate(&mut seen, TARGET, None);
    for (command, step, turns_back) in [
        (KubeadmCommand::NodeWorker, Step::Staging, true),
        (KubeadmCommand::NodeWorker, Step::Applying, true),
        (KubeadmCommand::NodeWorker, Step::Installing, false),
        (KubeadmCommand::Apply, Step::Staging, true),
        (KubeadmCommand::Apply, Step::Applying, false),
        (KubeadmCommand::NodeControlPlane, Step::Applying, false),
    ] {
        let decided = next(&remembering(turn(changing(step.clone()), command)), &seen);
        let back = matches!(&decided, Next::Remember(memory)
            if matches!(memory.turn.as_ref().unwrap().stage, Stage::Changing { direction: Direction::Back(_), .. }));
        assert_eq!(back, turns_back, "{command:?} {step:?}: {decided:?}");
    }
}

#[test]
fn a_tool_that_runs_is_awaited_whatever_else_is_wanted() {
    let mut seen = cordoned(seen(), false);
    annotate(&mut seen, TARGET, None);
    seen.host.as_mut().unwrap().tools.insert("u.service".into(), ToolState::Running);
    let awaited = Act::Await { unit: "u.service".into() };
    assert_eq!(act(next(&worker(changing(Step::Staging)), &seen)), awaited);
    assert_eq!(act(next(&worker(changing(Step::Applying)), &seen)), awaited);
}

#[test]
fn kubeadm_runs_again_until_it_exits_with_zero_and_each_run_has_a_name_of_its_own() {
    let mut seen = cordoned(seen(), false);
    seen.host = Some(HostSeen { backup: Some(TurnId("j1".into())), ..host("1.36.3-1.1", "1.36.2-1.1") });
    let memory = worker(changing(Step::Applying));
    let Act::Run { unit, tool: Tool::Kubeadm { command: KubeadmCommand::NodeWorker, target: NEW } } =
        act(next(&memory, &seen))
    else {
        panic!("kubeadm does not run")
    };
    seen.host.as_mut().unwrap().tools.insert(unit.clone(), ToolState::Ended(1));
    let Next::Remember(failed) = next(&memory, &seen) else { panic!("failure not remembered") };
    let turn = failed.turn.as_ref().unwrap();
    assert_eq!((turn.attempts, turn.not_before), (1, Unix(5_015)));
    assert!(matches!(next(&failed, &seen), Next::Wait { .. }));
    let later = Now { unix: Unix(5_015), ..NOW };
    let Act::Run { unit: second, .. } = act(decide(&settings(), &failed, &seen, &Since::default(), later))
    else {
        panic!("no second run")
    };
    assert_ne!(unit, second);
    seen.host.as_mut().unwrap().tools.insert(second, ToolState::Ended(0));
    assert_eq!(
        *stage_of(&decide(&settings(), &failed, &seen, &Since::default(), later)),
        changing(Step::Installing)
    );
}

#[test]
fn a_tool_is_started_on_a_lease_proved_just_now_where_there_is_a_way_back_and_not_after_it() {
    let later = Now { mono: NOW.mono.plus(Duration::from_mins(1)), ..NOW };
    let mut seen = cordoned(seen(), false);
    let host =
        HostSeen { at: later.mono, backup: Some(TurnId("j1".into())), ..host("1.36.3-1.1", "1.36.2-1.1") };
    seen.host = Some(host);
    let (before, after) = (worker(changing(Step::Applying)), worker(changing(Step::Installing)));
    let decided = |memory, seen: &Observed| decide(&settings(), memory, seen, &Since::default(), later);
    assert!(matches!(act(decided(&before, &seen)), Act::Renew { .. }), "the proof is a minute old");
    assert!(matches!(act(decided(&after, &seen)), Act::Run { .. }));
    seen.lease = Some(LeaseSeen::Free);
    let turned = decided(&before, &seen);
    assert!(
        matches!(stage_of(&turned), Stage::Changing { direction: Direction::Back(why), .. } if why.reason == Reason::LeaseLost)
    );
    assert!(matches!(act(decided(&after, &seen)), Act::Run { .. }));
}

#[test]
fn nothing_is_applied_before_the_copies_are_made_and_missing_manifests_come_back_first() {
    let mut seen = cordoned(seen(), false);
    let memory = remembering(turn(changing(Step::Applying), KubeadmCommand::Apply));
    assert!(matches!(act(next(&memory, &seen)), Act::BackUp { .. }));
    let host = seen.host.as_mut().unwrap();
    host.backup = Some(TurnId("j1".into()));
    host.missing_manifests.insert("etcd.yaml".into());
    assert!(matches!(act(next(&memory, &seen)), Act::RestoreManifests { .. }));
}

#[test]
fn an_interrupted_dpkg_is_repaired_before_apt_runs_again() {
    let mut seen = cordoned(seen(), false);
    seen.host.as_mut().unwrap().dpkg_interrupted = true;
    let decided = act(next(&worker(changing(Step::Installing)), &seen));
    assert!(matches!(decided, Act::Run { tool: Tool::RepairDpkg, .. }));
}

#[test]
fn a_tool_that_fails_thrice_backs_out_before_the_point_of_no_return_and_degrades_after_it() {
    let mut seen = cordoned(seen(), false);
    for (step, tool, degrades) in [
        (Step::Staging, Tool::InstallKubeadm { packages: packages("1.36.3-1.1"), back: false }, false),
        (Step::Installing, Tool::InstallKubelet { packages: packages("1.36.3-1.1") }, true),
    ] {
        let turn = Turn { attempts: 2, ..turn(changing(step), KubeadmCommand::NodeWorker) };
        let unit = tool.unit(&turn.holder.turn, turn.unit_serial);
        let host = seen.host.as_mut().unwrap();
        host.tools = BTreeMap::from([(unit.clone(), ToolState::Ended(100))]);
        host.last_words = BTreeMap::from([(unit, "E: broken".into())]);
        let decided = next(&remembering(turn), &seen);
        let why = match stage_of(&decided) {
            Stage::Degraded { why, .. } if degrades => why,
            Stage::Changing { direction: Direction::Back(why), .. } if !degrades => why,
            other => panic!("{other:?}"),
        };
        assert!(why.message.contains("E: broken") && why.message.contains("100"), "{}", why.message);
    }
}

#[test]
fn kubelet_is_restarted_until_its_invocation_is_another_one() {
    let mut seen = cordoned(seen(), false);
    let memory = worker(changing(Step::Restarting { before: "a".into() }));
    assert_eq!(act(next(&memory, &seen)), Act::RestartKubelet);
    seen.host.as_mut().unwrap().kubelet.invocation = "b".into();
    assert_eq!(*stage_of(&next(&memory, &seen)), changing(Step::Verifying));
}

#[test]
fn a_node_that_never_serves_is_degraded_and_stays_cordoned() {
    let seen = cordoned(seen(), false);
    let memory = remembering(Turn {
        entered: Unix(4_400),
        ..turn(changing(Step::Verifying), KubeadmCommand::NodeWorker)
    });
    let Next::Remember(degraded) = next(&memory, &seen) else { panic!("waits for ever") };
    assert!(
        matches!(&degraded.turn.as_ref().unwrap().stage, Stage::Degraded { why, .. } if why.reason == Reason::NotVerified)
    );
    assert!(matches!(next(&degraded, &seen), Next::Wait { .. }));
}

#[test]
fn a_degraded_node_comes_back_by_retry_or_by_being_found_ready_at_its_target() {
    let why = Explanation::new(Reason::NotVerified, "why");
    let memory = worker(Stage::Degraded { step: Step::Verifying, why });
    let mut seen = cordoned(seen(), false);
    annotate(&mut seen, RETRY, Some("1"));
    assert_eq!(*stage_of(&next(&memory, &seen)), changing(Step::Installing));
    annotate(&mut seen, RETRY, None);
    seen.node.as_mut().unwrap().kubelet = Some(NEW);
    seen.pods = Some(crate::observed::PodsSeen { at: NOW.mono, ..Default::default() });
    assert_eq!(*stage_of(&next(&memory, &seen)), Stage::Returning(Verdict::Done));
}

#[test]
fn a_node_is_not_uncordoned_while_kubelet_is_not_ready_at_a_version_we_chose() {
    let memory = worker(Stage::Returning(Verdict::Done));
    let mut seen = cordoned(seen(), false);
    assert_eq!(act(next(&memory, &seen)), Act::Uncordon);
    seen.node.as_mut().unwrap().ready = Ready::False;
    assert!(matches!(next(&memory, &seen), Next::Wait { .. }));
    seen.node.as_mut().unwrap().ready = Ready::True;
    seen.node.as_mut().unwrap().kubelet = Some(Version::new(1, 35, 0));
    assert!(matches!(next(&memory, &seen), Next::Wait { .. }));
}

#[test]
fn holds_are_set_again_before_a_job_is_forgotten() {
    let memory = worker(Stage::Returning(Verdict::Done));
    let mut seen = seen();
    seen.lease = Some(LeaseSeen::Free);
    seen.host.as_mut().unwrap().packages.get_mut("kubelet").unwrap().held = false;
    assert!(matches!(act(next(&memory, &seen)), Act::Run { tool: Tool::Hold { .. }, .. }));
    seen.host.as_mut().unwrap().packages.get_mut("kubelet").unwrap().held = true;
    let Next::Remember(over) = next(&memory, &seen) else { panic!("not over") };
    assert_eq!(*over, known());
}

#[test]
fn the_third_retreat_in_a_row_is_a_refusal() {
    let why = Explanation::new(Reason::DrainBlocked, "web holds a");
    let mut memory = worker(Stage::Returning(Verdict::BackedOut(why.clone())));
    memory.backoff = Some(Backoff { target: NEW, retreats: 2, until: Unix(0), retry: None, why });
    let mut seen = seen();
    seen.lease = Some(LeaseSeen::Free);
    let Next::Remember(over) = next(&memory, &seen) else { panic!("not over") };
    assert_eq!(over.refused.as_ref().unwrap().why.reason, Reason::DrainGivenUp);
    assert!(matches!(next(&over, &seen), Next::Wait { until: None, .. }));
}

#[test]
fn a_lost_journal_with_our_cordon_or_lease_left_is_degraded_and_not_forgotten() {
    let mut seen = cordoned(seen(), false);
    let blank = Memory::default();
    assert_eq!(act(next(&blank, &seen)), Act::LookAtFleet);
    seen.fleet = Some(FleetSeen::default());
    assert!(
        matches!(stage_of(&next(&blank, &seen)), Stage::Degraded { why, .. } if why.reason == Reason::JournalLost)
    );
    let mut clean = self::seen();
    clean.fleet = Some(FleetSeen::default());
    let Next::Remember(memory) = next(&blank, &clean) else { panic!("nothing remembered") };
    assert_eq!(*memory, known());
}

#[test]
fn kubeadm_is_put_back_while_that_can_be_done_and_may_be_tried_and_the_end_says_where_it_was_not() {
    let why = Explanation::new(Reason::LeaseLost, "the Lease was freed");
    let stage = Stage::Changing { step: Step::Staging, direction: Direction::Back(why) };
    let staged = Observed { host: Some(host("1.36.3-1.1", "1.36.2-1.1")), ..cordoned(seen(), false) };
    let decided = |can_restore_packages, attempts| {
        let turn = turn(stage.clone(), KubeadmCommand::NodeWorker);
        next(
            &remembering(Turn { plan: Plan { can_restore_packages, ..turn.plan.clone() }, attempts, ..turn }),
            &staged,
        )
    };
    let back = |attempts| act(decided(true, attempts));
    for attempts in [0, crate::memory::MAX_ATTEMPTS - 1] {
        assert!(matches!(back(attempts), Act::Run { tool: Tool::InstallKubeadm { back: true, .. }, .. }));
    }
    for given_up in [decided(false, 0), decided(true, crate::memory::MAX_ATTEMPTS)] {
        let Stage::Returning(Verdict::BackedOut(why)) = stage_of(&given_up) else { panic!("{given_up:?}") };
        assert!(why.message.contains("kubeadm stays at its new version"), "{}", why.message);
    }
}

#[test]
fn kubelet_is_installed_only_when_kubectl_is_too_where_there_is_one() {
    let memory = worker(changing(Step::Installing));
    let decided = |kubelet: &str, kubectl: &str| {
        let mut there = host("1.36.3-1.1", kubelet);
        there.packages.get_mut("kubectl").unwrap().version = kubectl.parse().unwrap();
        next(&memory, &Observed { host: Some(there), ..cordoned(seen(), false) })
    };
    for (kubelet, kubectl) in [("1.36.3-1.1", "1.36.2-1.1"), ("1.36.2-1.1", "1.36.3-1.1")] {
        let installs = act(decided(kubelet, kubectl));
        assert!(matches!(installs, Act::Run { tool: Tool::InstallKubelet { .. }, .. }), "{installs:?}");
    }
    assert!(matches!(
        stage_of(&decided("1.36.3-1.1", "1.36.3-1.1")),
        Stage::Changing { step: Step::Restarting { .. }, .. }
    ));
}

#[test]
fn kubelets_own_files_come_back_before_anything_else_does() {
    let why = Explanation::new(Reason::LeaseLost, "the Lease was freed");
    let memory = worker(Stage::Changing { step: Step::Applying, direction: Direction::Back(why) });
    let decided = |changed, copies_of: &str| {
        let copies = Some(TurnId(copies_of.into()));
        let host =
            HostSeen { backup: copies, kubelet_config_changed: changed, ..host("1.36.3-1.1", "1.36.2-1.1") };
        act(next(&memory, &Observed { host: Some(host), ..cordoned(seen(), false) }))
    };
    assert!(matches!(decided(true, "j1"), Act::RestoreKubeletConfig { .. }));
    for (changed, copies_of) in [(false, "j1"), (true, "another")] {
        assert!(matches!(decided(changed, copies_of), Act::Run { tool: Tool::InstallKubeadm { .. }, .. }));
    }
}

#[test]
fn a_newer_package_that_somebody_installed_on_the_way_is_not_taken_back() {
    let newer = |kubeadm, kubelet| Observed { host: Some(host(kubeadm, kubelet)), ..cordoned(seen(), false) };
    let staging = next(&worker(changing(Step::Staging)), &newer("1.36.4-1.1", "1.36.2-1.1"));
    let Stage::Changing { direction: Direction::Back(why), .. } = stage_of(&staging) else {
        panic!("{staging:?}")
    };
    assert!(why.message.contains("1.36.4"), "{}", why.message);
    let installing = next(&worker(changing(Step::Installing)), &newer("1.36.3-1.1", "1.36.4-1.1"));
    let Stage::Degraded { why, .. } = stage_of(&installing) else { panic!("{installing:?}") };
    assert!(why.message.contains("1.36.4"), "{}", why.message);
}
