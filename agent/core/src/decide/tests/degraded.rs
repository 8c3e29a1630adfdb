//! A turn that waits for a person.

use super::*;
use crate::api::LeaseName;

pub(super) fn degraded(case: Case) -> Case {
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
fn what_a_degraded_nodes_earlier_turn_holds_is_claimed_over_and_what_an_earlier_node_holds_is_freed() {
    let held = |holder: &str| {
        let mut case = degraded(Case::worker(Step::Verifying));
        case.seen.lease = Some(LeaseSeen::Other(holder.to_owned()));
        case.seen.fleet = None;
        case
    };
    let uid = degraded(Case::worker(Step::Verifying)).turn().holder.uid.clone();
    assert_eq!(held(&format!("w1/{uid}/v1.36.2-0")).says(), "claim");
    let earlier = held("w1/another/v1.36.2-0");
    assert_eq!(earlier.says(), "release");
    assert_eq!(
        earlier.with(|case| case.seen.node = None).says(),
        "look-at-fleet",
        "which Node is there is not known"
    );
    assert_eq!(held("w2/another/v1.36.2-0").says(), "look-at-fleet");
}

#[test]
fn whose_lease_was_freed_claims_it_and_whose_was_taken_says_so_on_its_node() {
    let mut case = degraded(Case::worker(Step::Verifying));
    case.node().ready = Ready::False;
    case.seen.lease = Some(LeaseSeen::Free);
    assert_eq!(case.says(), "claim");
    case.seen.lease = Some(LeaseSeen::Other("w2/u/j".into()));
    case.fleet().leases.push(held(LeaseName::Slot(0), "w2"));
    let Act::Mark { mark } = case.does() else { panic!("not marked") };
    assert_eq!((mark.degraded.as_deref(), mark.to), (Some("why"), Some(NEW)));
    case.node().in_hand = Some(mark);
    assert_eq!(case.says(), "wait NotVerified");
}

#[test]
fn a_lease_that_another_took_is_claimed_again_when_the_fleet_shows_it_free() {
    let taken = degraded(Case::worker(Step::Verifying)).with(|case| {
        case.node().ready = Ready::False;
        case.seen.lease = Some(LeaseSeen::Other("w2/u/j".into()));
    });
    let seen = |change: fn(&mut Case)| taken.clone().with(change).says();
    assert_eq!(seen(|_| {}), "claim");
    assert_eq!(seen(|case| case.fleet().leases.push(held(LeaseName::Slot(1), "w2"))), "claim");
    assert_eq!(seen(|case| case.fleet().leases.push(held(LeaseName::Slot(0), "w2"))), "mark");
    let earlier: fn(&mut Case) = |case| {
        let before = Holder { turn: TurnId("before".into()), ..holder("w1") };
        let lease = held(LeaseName::Slot(0), "w1");
        case.fleet().leases.push(crate::observed::FleetLease { holder: Some(before.to_string()), ..lease });
    };
    assert_eq!(seen(earlier), "claim", "what an earlier turn of this node holds is claimed over");
    assert_eq!(seen(|case| case.fleet().at = ago(seconds(301))), "look-at-fleet");
}

#[test]
fn a_lease_that_was_not_got_is_claimed_again_on_a_fleet_read_since_then_alone() {
    let mut case = degraded(Case::worker(Step::Verifying));
    case.node().ready = Ready::False;
    case.seen.lease = Some(LeaseSeen::Other("w2/u/j".into()));
    case.since.claimed_at = NOW.mono;
    case.fleet().at = ago(seconds(200));
    assert_eq!(case.says(), "look-at-fleet");
}

#[test]
fn a_claim_writes_no_mark_and_the_renewal_after_it_does() {
    let mut case = degraded(Case::worker(Step::Verifying));
    case.node().ready = Ready::False;
    case.since.claimed_at = NOW.mono;
    let Act::Renew { mark: Some(mark), .. } = case.does() else { panic!("not marked") };
    assert_eq!((mark.target, mark.why.as_str()), (Some(NEW), "why"));
    case.since.claimed_at = ago(seconds(1));
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
    let mut case = retry(degraded(Case::plane(Step::Applying)));
    case.turn().run = Some(run(false));
    let before = case.turn().unit_serial;
    let turn = case.becomes();
    assert_eq!((turn.run, turn.unit_serial > before), (Some(run(false)), true));
}

#[test]
fn a_run_of_kubeadm_that_ended_well_and_does_not_show_is_made_once_more_by_retry() {
    let mut case = retry(degraded(Case::plane(Step::Applying)));
    case.turn().run = Some(run(true));
    assert_eq!(case.becomes().run, None);
}

#[test]
fn a_turn_a_whose_kubeadm_ended_well_does_not_go_back_after_it_was_tried_again() {
    let mut case = retry(degraded(Case::plane(Step::Applying)));
    case.turn().run = Some(run(true));
    case.host().changed_manifests = ["kube-apiserver".to_owned()].into();
    case.memory = case.remembers();
    case.target(None);
    assert_ne!(case.says(), "back Cancelled");
    case.target(Some(NEW));
    case.fleet().policy.policy.paused = true;
    assert_ne!(case.says(), "back Paused");
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

#[test]
fn a_worker_that_a_person_brought_to_its_target_while_it_went_back_goes_on_forward() {
    let mut case = degraded(Case::worker(Step::Verifying));
    case.turn().reached = Step::Applying;
    case.turn().direction = Direction::Back(why(Reason::Cancelled));
    let turn = case.becomes();
    assert!(turn.is_forward() && turn.changed && turn.degraded.is_none(), "{turn:?}");
    assert_eq!(turn.reached, Step::Verifying);
}

/// A control-plane node whose turn A was degraded on its way back, with a run that lacks its exit 0.
fn plane_on_its_way_back() -> Case {
    plane(Some(run(false))).with(|case| case.turn().direction = Direction::Back(why(Reason::ToolFailed)))
}

#[test]
fn a_control_plane_that_a_person_brought_to_its_target_while_it_went_back_runs_kubeadm_once_more() {
    let mut case = plane_on_its_way_back();
    case.seen.pods.as_mut().unwrap().pods = static_pods(NEW);
    let turn = case.becomes();
    assert!(turn.is_forward() && turn.changed && turn.degraded.is_none(), "{turn:?}");
    assert_eq!((turn.reached, turn.run), (Step::Applying, Some(run(false))));
    case.seen.pods.as_mut().unwrap().pods = static_pods(OLD);
    assert!(!case.becomes().is_forward(), "whole as before it ends its way back");
}

#[test]
fn a_turn_a_that_can_no_longer_go_back_is_tried_again_forward() {
    let mut case = retry(plane_on_its_way_back());
    assert!(!case.becomes().is_forward());
    case.host().changed_manifests = ["kube-apiserver".to_owned()].into();
    assert!(case.becomes().is_forward());
}

#[test]
fn the_kubelet_of_a_control_plane_that_was_not_whole_at_its_end_waits_for_that() {
    let mut case = degraded(Case::plane_b(Step::Releasing));
    assert_eq!(case.says(), "Releasing");
    case.seen.local.as_mut().unwrap().api_server_ready = false;
    assert_eq!(case.says(), "wait NotVerified");
}

#[test]
fn what_is_back_in_service_installs_nothing_when_it_is_tried_again() {
    let turn = retry(degraded(Case::worker(Step::Releasing))).becomes();
    assert_eq!(turn.reached, Step::Releasing);
    assert_eq!(
        retry(degraded(Case::worker(Step::Uncordoning))).becomes().reached,
        Step::Installing,
        "still cordoned"
    );
}
