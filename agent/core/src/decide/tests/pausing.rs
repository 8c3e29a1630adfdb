//! What is begun anew, what is forgotten, and how long a node is left alone.

use super::*;

/// What is remembered once a turn that backed out for this reason is over.
fn over(before: Option<Backoff>, reason: Reason) -> Memory {
    let backed_out = Verdict::BackedOut(Explanation::new(reason, "web holds a"));
    let memory = Memory { backoff: before, ..worker(Stage::Returning(backed_out)) };
    let seen = Observed { lease: Some(LeaseSeen::Free), ..seen() };
    match next(&memory, &seen) {
        Next::Remember(over) => *over,
        other => panic!("not over: {other:?}"),
    }
}

fn leaves_alone_for(memory: &Memory, seconds: u64) {
    let until = NOW.mono.plus(Duration::from_secs(seconds));
    let decided = next(memory, &Observed { lease: Some(LeaseSeen::Free), ..seen() });
    let waits = matches!(&decided, Next::Wait { why, until: Some(at) }
        if *at == until && why.reason == Reason::BackingOff);
    assert!(waits, "{seconds} s: {decided:?}");
}

#[test]
fn after_a_drain_that_was_given_up_a_node_is_left_alone_and_longer_the_second_time() {
    for reason in [Reason::DrainBlocked, Reason::DrainTimedOut] {
        let first = over(None, reason);
        leaves_alone_for(&first, 300);
        leaves_alone_for(&over(first.backoff, reason), 600);
    }
}

#[test]
fn whose_lease_was_taken_away_leaves_the_node_alone_for_a_minute() {
    leaves_alone_for(&over(None, Reason::LeaseLost), 60);
}

#[test]
fn retreats_from_another_target_do_not_count() {
    let why = Explanation::new(Reason::DrainBlocked, "budget");
    let backoff = Backoff { target: OLD, retreats: 2, until: Unix(0), retry: None, why };
    leaves_alone_for(&over(Some(backoff), Reason::DrainBlocked), 300);
}

/// A turn some way into its step, each count of it different from that of a fresh step.
fn worn(stage: Stage) -> Memory {
    let entered = Unix(4_000);
    remembering(Turn {
        attempts: 2,
        unit_serial: 7,
        entered,
        not_before: Unix(4_990),
        ..turn(stage, KubeadmCommand::NodeWorker)
    })
}

#[test]
fn a_step_that_is_entered_has_no_failures_no_pause_and_unit_names_of_its_own() {
    let staged = |seen: Observed| Observed { host: Some(host("1.36.3-1.1", "1.36.2-1.1")), ..seen };
    let mut cancelled = cordoned(seen(), false);
    annotate(&mut cancelled, TARGET, None);
    for (stage, seen) in [
        (changing(Step::Staging), staged(cordoned(seen(), false))),
        (changing(Step::Staging), cancelled.clone()),
        (draining(), cancelled),
    ] {
        let Next::Remember(memory) = next(&worn(stage.clone()), &seen) else { panic!("{stage:?} goes on") };
        let turn = memory.turn.unwrap();
        assert_ne!(turn.stage, stage);
        assert_eq!((turn.attempts, turn.unit_serial), (0, 8), "{:?}", turn.stage);
        assert_eq!((turn.entered, turn.not_before), (NOW.unix, Unix(0)), "{:?}", turn.stage);
    }
}

#[test]
fn a_lease_is_claimed_only_on_a_preflight_for_this_target_made_in_this_life() {
    let memory = worker(Stage::Clearing { disturbed: None });
    let free = Observed { lease: Some(LeaseSeen::Free), ..seen() };
    let passed = findings(Outcome::Passed(String::new()));
    let another = Findings { target: OLD, ..passed.clone() };
    for preflight in [None, Some(another)] {
        let Next::Remember(anew) = next(&memory, &Observed { preflight, ..free.clone() }) else {
            panic!("claimed unprepared")
        };
        assert_eq!(anew.turn, None);
    }
    let prepared = Observed { preflight: Some(passed), ..free };
    assert!(matches!(act(next(&memory, &prepared)), Act::Claim { .. }));
}

#[test]
fn nothing_is_cordoned_when_the_packages_are_not_those_that_preflight_found() {
    let memory = worker(Stage::Clearing { disturbed: None });
    let as_found = || host("1.36.2-1.1", "1.36.2-1.1");
    let unconfigured = |package: &str| {
        let mut host = as_found();
        host.packages.get_mut(package).unwrap().configured = false;
        host
    };
    for host in [
        host("1.36.3-1.1", "1.36.2-1.1"),
        host("1.36.2-1.1", "1.36.3-1.1"),
        unconfigured("kubeadm"),
        unconfigured("kubelet"),
        HostSeen { dpkg_interrupted: true, ..as_found() },
    ] {
        let decided = next(&memory, &Observed { host: Some(host), ..seen() });
        let backs_out = matches!(
            stage_of(&decided),
            Stage::Returning(Verdict::BackedOut(why)) if why.reason == Reason::PreflightPending
        );
        assert!(backs_out, "{decided:?}");
    }
    assert_eq!(act(next(&memory, &seen())), Act::LookAtFleet);
}

#[test]
fn a_kubelet_that_is_not_ready_is_waited_for_as_long_as_the_policy_says_and_no_longer() {
    let mut seen = cordoned(seen(), false);
    seen.node.as_mut().unwrap().ready = Ready::False;
    let after = |seconds: u64| {
        let turn = turn(Stage::Returning(Verdict::Done), KubeadmCommand::NodeWorker);
        next(&remembering(Turn { entered: Unix(NOW.unix.0 - seconds), ..turn }), &seen)
    };
    let timeout = settings().verify_timeout.as_secs();
    assert!(matches!(after(timeout - 1), Next::Wait { why, .. } if why.reason == Reason::NotReady));
    assert!(
        matches!(stage_of(&after(timeout)), Stage::Degraded { why, .. } if why.reason == Reason::NotReady)
    );
}

#[test]
fn a_new_target_of_a_degraded_node_that_is_pending_is_looked_at_again_after_a_pause() {
    let why = Explanation::new(Reason::NotVerified, "why");
    let memory = worker(Stage::Degraded { step: Step::Verifying, why });
    let newer = Version::new(1, 36, 4);
    let mut seen = cordoned(seen(), false);
    annotate(&mut seen, TARGET, Some(&newer.to_string()));
    let mut looked = |at| {
        let pending = findings(Outcome::Pending("its API server is replaced".into()));
        seen.preflight = Some(Findings { target: newer, at, ..pending });
        next(&memory, &seen)
    };
    let fresh = looked(NOW.mono);
    assert!(
        matches!(&fresh, Next::Wait { why, until: Some(_) } if why.reason == Reason::PreflightPending),
        "{fresh:?}"
    );
    assert_eq!(act(looked(Mono(0))), Act::Preflight { target: newer });
}
