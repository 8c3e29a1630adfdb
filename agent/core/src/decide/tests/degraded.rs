//! A turn that waits for a person.

use super::*;

fn degraded(case: Case) -> Case {
    case.with(|case| {
        case.turn().degraded = Some(why(Reason::NotVerified));
        if let Some(mark) = &mut case.node().in_hand {
            mark.degraded = None;
        }
    })
}

fn retry(case: Case) -> Case {
    case.with(|case| case.node().request.retry = Some("again".into()))
}

#[test]
fn the_mark_comes_first_and_names_the_target_and_is_renewed_each_minute() {
    let mut case = retry(degraded(Case::worker(Step::Verifying)));
    for lease in [None, Some(ago(seconds(61)))] {
        case.seen.lease = None;
        if let Some(at) = lease {
            case.leased(at);
        }
        let Act::Renew { mark: Some(mark), applied: None, .. } = case.does() else { panic!("not marked") };
        assert_eq!((mark.target, mark.why.as_str()), (Some(NEW), "why"));
    }
    case.leased(ago(seconds(60)));
    assert_eq!(case.says(), "Installing");
}

#[test]
fn whose_lease_was_freed_claims_it_and_whose_was_taken_says_so_on_its_node() {
    let mut case = degraded(Case::worker(Step::Verifying));
    case.node().ready = Ready::False;
    case.seen.lease = Some(LeaseSeen::Free);
    assert_eq!(case.says(), "claim");
    case.seen.lease = Some(LeaseSeen::Other("w2/u/j".into()));
    let Act::Mark { mark } = case.does() else { panic!("not marked") };
    assert_eq!((mark.degraded.as_deref(), mark.to), (Some("why"), Some(NEW)));
    case.node().in_hand = Some(mark);
    assert_eq!(case.says(), "wait NotVerified");
}

#[test]
fn a_new_value_of_retry_tries_the_same_step_and_direction_again_with_its_attempts_cleared() {
    for (case, reached) in [
        (Case::worker(Step::Verifying), Step::Installing),
        (Case::worker(Step::Installing), Step::Installing),
        (Case::worker(Step::Staging), Step::Staging),
        (Case::plane(Step::Applying), Step::Applying),
        (Case::plane(Step::Releasing), Step::Releasing),
    ] {
        let mut case = retry(degraded(case));
        let step = case.turn().reached;
        case.turn().attempts.insert(step, 3);
        let turn = case.becomes();
        assert_eq!((turn.reached, turn.degraded, turn.attempts.len()), (reached, None, 0));
        assert_eq!((turn.retry.as_deref(), turn.kubelet_before), (Some("again"), None));
        assert_eq!(turn.unit_serial, 8, "its tools get other names");
    }
}

#[test]
fn a_retry_that_was_answered_asks_for_nothing_more() {
    let mut case = retry(degraded(Case::worker(Step::Verifying)));
    case.node().ready = Ready::False;
    assert_eq!(case.says(), "Installing");
    case.turn().retry = Some("again".into());
    assert_eq!(case.says(), "wait NotVerified");
}

#[test]
fn a_turn_past_its_point_of_no_return_does_not_go_back_for_being_tried_again() {
    let turn = retry(degraded(Case::worker(Step::Verifying))).becomes();
    assert!(turn.changed);
    let turn = retry(degraded(Case::worker(Step::Staging))).becomes();
    assert!(!turn.changed);
}

#[test]
fn a_turn_that_was_degraded_on_its_way_back_is_tried_again_in_that_direction() {
    let mut case = retry(degraded(Case::worker(Step::Applying)));
    case.turn().direction = Direction::Back(why(Reason::Cancelled));
    let turn = case.becomes();
    assert_eq!((turn.degraded.clone(), turn.is_forward(), turn.reached), (None, false, Step::Applying));
}

#[test]
fn a_run_of_kubeadm_that_is_tried_again_is_remembered_and_gets_a_unit_of_its_own() {
    // Whether the turn can go back is judged by it.
    for succeeded in [true, false] {
        let mut case = retry(degraded(Case::plane(Step::Applying)));
        let run = Run { command: KubeadmCommand::Apply, succeeded };
        case.turn().run = Some(run);
        let before = case.turn().unit_serial;
        let turn = case.becomes();
        assert_eq!((turn.run, turn.unit_serial > before), (Some(run), true));
    }
}

#[test]
fn a_worker_that_is_found_whole_at_its_target_goes_on_whoever_repaired_it() {
    let whole = degraded(Case::worker(Step::Verifying));
    assert_eq!(whole.says(), "Verifying");
    assert_eq!(whole.becomes().degraded, None);
    let earlier = whole.clone().with(|case| case.turn().reached = Step::Installing);
    assert_eq!(earlier.says(), "Verifying");
    let later = whole.clone().with(|case| case.turn().reached = Step::Uncordoning);
    assert_eq!(later.says(), "Uncordoning");
    let breaks: [fn(&mut Case); 4] = [
        |case| case.node().kubelet = Some(OLD),
        |case| case.node().ready = Ready::False,
        |case| case.host().kubelet.active = false,
        |case| case.turn().reached = Step::Applying,
    ];
    for breaks in breaks {
        assert_eq!(whole.clone().with(breaks).says(), "wait NotVerified");
    }
}

fn plane(run: Option<Run>) -> Case {
    let mut case = degraded(Case::plane(Step::Applying));
    case.turn().run = run;
    let turn = case.turn().holder.turn.clone();
    case.seen.lease = Some(LeaseSeen::Held { at: NOW.mono, turn, applied: Some(NEW) });
    case
}

fn run(succeeded: bool) -> Run {
    Run { command: KubeadmCommand::Apply, succeeded }
}

#[test]
fn a_control_plane_that_is_found_at_its_target_goes_on_unless_a_run_lacks_its_end() {
    let whole = |run| {
        plane(run).with(|case| {
            case.seen.pods.as_mut().unwrap().pods = static_pods(NEW);
            *case.fleet() = fleet_at(NEW);
        })
    };
    for run in [None, Some(run(true))] {
        let turn = whole(run).becomes();
        assert_eq!((turn.degraded, turn.reached), (None, Step::Applying));
    }
    assert_eq!(whole(Some(run(false))).says(), "wait NotVerified");
}

#[test]
fn a_control_plane_that_is_found_as_it_was_is_refused_until_retry() {
    assert_eq!(plane(Some(run(false))).says(), "back ToolFailed");
    let mixed =
        plane(Some(run(false))).with(|case| case.host().changed_manifests = ["kube-scheduler".into()].into());
    assert_eq!(mixed.says(), "wait NotVerified");
}

#[test]
fn a_control_plane_that_was_not_whole_at_its_end_goes_on_when_it_is() {
    let case = degraded(Case::plane(Step::Releasing));
    let turn = case.becomes();
    assert_eq!((turn.degraded, turn.reached), (None, Step::Releasing));
    let dead = case.with(|case| case.seen.local.as_mut().unwrap().api_server_ready = false);
    assert_eq!(dead.says(), "wait NotVerified");
}

#[test]
fn a_node_that_was_degraded_on_its_way_back_ends_when_it_serves() {
    let mut case = degraded(Case::worker(Step::Applying));
    case.turn().direction = Direction::Back(why(Reason::Cancelled));
    assert_eq!(case.says(), "back Cancelled");
    assert_eq!(case.becomes().degraded, None);
    case.node().ready = Ready::False;
    assert_eq!(case.says(), "wait NotVerified");
}

/// A degraded worker with a newer target, and what preflight said of that.
fn asked(outcome: Outcome) -> Case {
    let mut case = degraded(Case::worker(Step::Verifying));
    case.target(Some(NEWER));
    case.fleet().kubeadm_config = Some(NEWER);
    let plan = Plan { to: packages(NEWER), target: NEWER, from: packages(NEW), ..case.turn().plan.clone() };
    case.seen.preflight = Some(findings(TurnKind::Kubelet, plan, outcome));
    case
}

#[test]
fn a_new_target_is_planned_anew_from_staging_with_the_way_back_to_where_the_turn_began() {
    let mut case = asked(Outcome::Passed(String::new()));
    case.turn().attempts.insert(Step::Verifying, 2);
    let turn = case.becomes();
    assert_eq!((turn.reached, turn.degraded, turn.run, turn.changed), (Step::Staging, None, None, true));
    assert_eq!((turn.plan.target, turn.plan.to, turn.plan.from), (NEWER, packages(NEWER), packages(OLD)));
    assert_eq!(turn.holder, case.turn().holder, "under the same Lease");
}

#[test]
fn a_new_target_waits_for_its_preflight_and_its_turn_with_the_mark_of_the_old_one() {
    let none = asked(Outcome::Passed(String::new())).with(|case| case.seen.preflight = None);
    assert_eq!(none.does(), Act::Preflight { target: NEWER, kind: TurnKind::Kubelet });
    let pending = asked(Outcome::Pending("soon".into()));
    assert_eq!(pending.says(), "wait PreflightPending");
    let old = pending.with(|case| case.seen.preflight.as_mut().unwrap().at = ago(seconds(31)));
    assert_eq!(old.says(), "preflight");
    assert_eq!(asked(Outcome::Failed("never".into())).says(), "wait PreflightFailed");
    let behind = asked(Outcome::Passed(String::new())).with(|case| case.fleet().kubeadm_config = Some(NEW));
    assert_eq!(behind.says(), "wait WaitingForTurn");
    let older = asked(Outcome::Passed(String::new())).with(|case| case.target(Some(Version::new(1, 36, 1))));
    assert_eq!(older.says(), "wait PreflightFailed");
}

#[test]
fn that_a_degraded_node_is_down_is_what_its_new_target_is_for() {
    let mut case = asked(Outcome::Passed(String::new()));
    let down = Finding { check: Check::NodeReady, outcome: Outcome::Pending("down".into()) };
    case.seen.preflight.as_mut().unwrap().findings.push(down);
    let turn = case.becomes();
    assert!(turn.reached == Step::Staging && turn.skipped.is_empty(), "{turn:?}");
}
