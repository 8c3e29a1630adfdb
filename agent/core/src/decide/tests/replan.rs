//! A degraded turn with another target, or whose packages were never resolved.

use super::degraded::degraded;
use super::*;
use crate::api::LeaseName;

fn passed() -> Outcome {
    Outcome::Passed(String::new())
}

/// A degraded worker with a newer target, and what preflight said of that.
fn asked(outcome: Outcome) -> Case {
    asked_at(Step::Verifying, outcome)
}

fn asked_at(reached: Step, outcome: Outcome) -> Case {
    let mut case = degraded(Case::worker(reached));
    case.target(Some(NEWER));
    case.fleet().kubeadm_config = Some(NEWER);
    let plan = Plan { to: packages(NEWER), target: NEWER, from: packages(NEW), ..case.turn().plan.clone() };
    case.seen.preflight = Some(findings(TurnKind::Kubelet, plan, outcome));
    case
}

#[test]
fn a_new_target_is_planned_anew_from_staging_with_the_way_back_to_where_the_turn_began() {
    let mut case = asked(passed());
    case.turn().attempts.insert(Step::Verifying, 2);
    let turn = case.becomes();
    assert_eq!((turn.reached, turn.degraded, turn.run, turn.changed), (Step::Staging, None, None, true));
    assert_eq!((turn.plan.target, turn.plan.to, turn.plan.from), (NEWER, packages(NEWER), packages(OLD)));
    assert_eq!(turn.holder, case.turn().holder, "under the same Lease");
}

#[test]
fn a_new_target_waits_for_its_preflight_and_its_turn_with_the_mark_of_the_old_one() {
    let none = asked(passed()).with(|case| case.seen.preflight = None);
    assert_eq!(none.does(), Act::Preflight { target: NEWER, kind: TurnKind::Kubelet });
    let pending = asked(Outcome::Pending("soon".into()));
    assert_eq!(pending.says(), "wait PreflightPending");
    let old = pending.with(|case| case.seen.preflight.as_mut().unwrap().at = ago(seconds(31)));
    assert_eq!(old.says(), "preflight");
    assert_eq!(asked(Outcome::Failed("never".into())).says(), "wait PreflightFailed");
    let behind = asked(passed()).with(|case| {
        case.fleet().leases.push(held(LeaseName::ControlPlane, "cp1"));
    });
    assert_eq!(behind.says(), "wait WaitingForTurn");
    let older = asked(passed()).with(|case| case.target(Some(Version::new(1, 36, 1))));
    assert_eq!(older.says(), "wait PreflightFailed");
}

#[test]
fn that_a_degraded_node_is_down_is_what_its_new_target_is_for() {
    let mut case = asked(passed());
    let down = Finding { check: Check::NodeReady, outcome: Outcome::Pending("down".into()) };
    case.seen.preflight.as_mut().unwrap().findings.push(down);
    let turn = case.becomes();
    assert!(turn.reached == Step::Staging && turn.skipped.is_empty(), "{turn:?}");
}

#[test]
fn a_new_target_that_was_refused_is_asked_again_after_retry() {
    let mut case = asked(Outcome::Failed("no such package".into()));
    assert_eq!(case.says(), "wait PreflightFailed");
    case.node().request.retry = Some("it is there now".into());
    assert_eq!(case.does(), Act::Preflight { target: NEWER, kind: TurnKind::Kubelet });
    let findings = case.seen.preflight.as_mut().unwrap();
    findings.retry = Some("it is there now".into());
    assert_eq!(case.says(), "wait PreflightFailed", "once");
}

#[test]
fn a_retry_that_a_new_target_has_answered_asks_for_nothing_more() {
    let mut case = asked(passed());
    case.node().request.retry = Some("r".into());
    case.seen.preflight.as_mut().unwrap().retry = Some("r".into());
    assert_eq!(case.becomes().retry.as_deref(), Some("r"));
}

#[test]
fn the_sockets_note_is_there_before_preflight_runs_kubeadm_for_a_new_target() {
    let mut case = asked(passed()).with(|case| case.seen.preflight = None);
    case.host().instance_config = false;
    case.host().cri_socket = Some("unix:///run/c.sock".into());
    assert_eq!(case.says(), "note-cri-socket");
    case.node().has_cri_socket = true;
    assert_eq!(case.says(), "preflight");
}

#[test]
fn a_node_that_somebody_has_brought_to_the_new_target_is_proven_there() {
    let mut case = asked(passed());
    case.host().packages = host(NEWER, NEWER).packages;
    case.node().kubelet = Some(NEWER);
    let turn = case.becomes();
    assert_eq!((turn.reached, turn.kind, turn.plan.target), (Step::Verifying, TurnKind::Kubelet, NEWER));
    assert!(turn.degraded.is_none() && turn.is_forward() && turn.changed, "{turn:?}");
    case.turn().direction = Direction::Back(why(Reason::Cancelled));
    assert_eq!(case.says(), "Verifying", "whichever way it went");
}

#[test]
fn a_turn_that_is_planned_anew_has_no_way_back_only_where_it_had_none() {
    for (reached, changed) in [(Step::Draining, false), (Step::Staging, false), (Step::Restarting, true)] {
        let mut case = asked_at(reached, passed());
        let turn = case.becomes();
        assert_eq!((turn.reached, turn.changed), (Step::Staging, changed), "{reached:?}");
        case.turn().changed = true;
        assert!(case.becomes().changed, "and it stays so");
    }
}

#[test]
fn what_has_to_serve_again_after_a_new_target_is_what_did_before_the_turn() {
    let mut case = asked(passed());
    case.turn().plan.daemon_sets = ["kube-system/kube-proxy".to_owned()].into();
    case.turn().plan.csi_drivers = ["a.example".to_owned()].into();
    let plan = case.becomes().plan;
    assert_eq!((plan.daemon_sets.len(), plan.csi_drivers.len()), (1, 1));
}

#[test]
fn a_degraded_turn_goes_back_before_its_point_of_no_return_when_nobody_asks_for_it_any_more() {
    for target in [None, Some(OLD)] {
        for reached in [Step::Draining, Step::Staging, Step::Applying] {
            let case = degraded(Case::worker(reached)).with(|case| case.target(target));
            assert_eq!(case.says(), "back Cancelled", "{reached:?} {target:?}");
            assert_eq!(case.becomes().degraded, None);
        }
        for reached in [Step::Restarting, Step::Verifying] {
            let case = degraded(Case::worker(reached)).with(|case| case.target(target));
            assert_ne!(case.says(), "back Cancelled", "{reached:?} {target:?}");
        }
    }
    let newer = degraded(Case::worker(Step::Staging)).with(|case| case.target(Some(NEWER)));
    assert_eq!(newer.says(), "preflight", "a newer one is the way forward");
}

#[test]
fn a_turn_whose_packages_were_never_resolved_is_planned_when_it_is_tried_again() {
    let mut case = degraded(Case::worker(Step::Installing));
    case.turn().plan.to = packages(OLD);
    case.node().request.retry = Some("again".into());
    assert_eq!(case.does(), Act::Preflight { target: NEW, kind: TurnKind::Kubelet });
    let plan = Plan { to: packages(NEW), ..case.turn().plan.clone() };
    let found = findings(TurnKind::Kubelet, plan, passed());
    case.seen.preflight = Some(Findings { retry: Some("again".into()), ..found });
    let turn = case.becomes();
    assert_eq!((turn.reached, turn.plan.to, turn.degraded), (Step::Staging, packages(NEW), None));
    assert_eq!(turn.retry.as_deref(), Some("again"));
}

#[test]
fn a_turn_a_that_was_planned_from_a_cordoned_turn_b_takes_its_cordon_back_with_it() {
    let mut case = Case::plane(Step::Staging);
    case.node().cordon_note = Some(false);
    case.node().unschedulable = true;
    case.turn().direction = Direction::Back(why(Reason::Cancelled));
    assert_eq!(case.says(), "uncordon");
}

/// A worker past its point of no return that is planned anew, while its pods are evicted once more.
fn drained_again() -> Case {
    Case::worker(Step::Draining).with(|case| case.turn().changed = true)
}

#[test]
fn a_drain_that_cannot_go_on_does_not_take_back_what_is_past_its_return() {
    let given_up = drained_again().with(|case| {
        case.seen.drain = Some(progress(DrainState::GivenUp(why(Reason::DrainBlocked))));
    });
    assert_eq!(given_up.says(), "degraded DrainBlocked");
    let back = |changed| {
        let case = drained_again().with(|case| {
            case.turn().changed = changed;
            case.turn().direction = Direction::Back(why(Reason::DrainBlocked));
            case.node().ready = Ready::False;
        });
        case.says()
    };
    assert_eq!(back(false), "uncordon");
    assert_ne!(back(true), "uncordon", "whatever takes it back: it does not serve");
}

#[test]
fn a_turn_planned_anew_claims_the_lease_that_somebody_freed_meanwhile() {
    let freed = drained_again().with(|case| case.seen.lease = Some(LeaseSeen::Free));
    assert_eq!(freed.says(), "claim");
    let taken = drained_again().with(|case| case.seen.lease = Some(LeaseSeen::Other("w2/u/j".into())));
    assert_eq!(taken.says(), "degraded LeaseLost");
}

#[test]
fn a_target_that_is_set_back_to_the_old_kubelet_puts_its_files_back_first() {
    let mut case = degraded(Case::worker(Step::Installing)).with(|case| case.target(Some(OLD)));
    case.host().packages = host(NEW, OLD).packages;
    case.node().kubelet = Some(OLD);
    case.node().current = Some(OLD);
    case.fleet().kubeadm_config = Some(OLD);
    case.turn().changed = true;
    case.host().kubelet_config_changed = true;
    assert_eq!(case.says(), "restore-kubelet-config");
    case.host().kubelet_config_changed = false;
    assert_eq!(case.says(), "Verifying");
}
