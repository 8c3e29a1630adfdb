//! What people are told of a decision.

use super::*;
use crate::api::{Blocked, Phase, Report};
use crate::decide::report::derive;

impl Case {
    fn tells(&self) -> Report {
        derive(&self.memory, &self.seen, &self.next(), None).unwrap()
    }
}

#[test]
fn a_step_is_told_by_its_phase_and_a_turn_that_gives_way_is_still_claiming() {
    let back = |reached, reason| {
        Case::worker(reached).with(|case| case.turn().direction = Direction::Back(why(reason))).tells().phase
    };
    for (reached, phase) in [
        (Step::Claiming, Phase::Claiming),
        (Step::Draining, Phase::Draining),
        (Step::Staging, Phase::Staging),
        (Step::Applying, Phase::Applying),
        (Step::Installing, Phase::Installing),
        (Step::Restarting, Phase::Restarting),
        (Step::Verifying, Phase::Verifying),
        (Step::Uncordoning, Phase::Uncordoning),
        (Step::Releasing, Phase::Releasing),
    ] {
        assert_eq!(Case::worker(reached).tells().phase, phase);
        let degraded =
            Case::worker(reached).with(|case| case.turn().degraded = Some(why(Reason::NotVerified)));
        let told = degraded.tells();
        assert_eq!((told.phase, told.message.is_empty()), (Phase::Degraded, false));
        assert_eq!(back(reached, Reason::Cancelled), Phase::BackingOut);
    }
    assert_eq!(back(Step::Claiming, Reason::WaitingForTurn), Phase::Claiming);
    assert_eq!(back(Step::Draining, Reason::WaitingForTurn), Phase::BackingOut);
}

#[test]
fn a_report_names_the_hop_the_lease_and_what_was_passed_over() {
    let mut case = Case::worker(Step::Staging);
    case.turn().skipped = [Check::DiskSpace].into();
    case.node().request.unknown_skips = vec!["diskspace".into()];
    case.turn().attempts.insert(Step::Staging, 2);
    let told = case.tells();
    assert_eq!(told.hop.as_deref(), Some("1.36.2-1.1 → 1.36.3-1.1"));
    assert_eq!((told.slot.as_deref(), told.attempts, told.current), (Some("slot-0"), 2, Some(OLD)));
    assert!(
        told.notes[0].starts_with("DiskSpace") && told.notes[1].contains("diskspace"),
        "{:?}",
        told.notes
    );
}

#[test]
fn a_drain_names_who_holds_it_up() {
    let mut case = Case::worker(Step::Draining);
    let blocked =
        |pod: &str| Blocked { pod: pod.into(), budget: Some("default/web".into()), message: "no".into() };
    let drain = progress(DrainState::Draining);
    case.seen.drain = Some(Progress { left: 3, blocked: vec![blocked("a"), blocked("b")], ..drain });
    let told = case.tells();
    assert_eq!(told.message, "3 pods left; default/web holds a and 1 more: no");
    assert_eq!(told.drain.unwrap().pods_left, 3);
}

#[test]
fn a_node_without_a_turn_tells_what_it_waits_for() {
    let told = |change: fn(&mut Case)| {
        let report = Case::idle(false).with(change).tells();
        (report.phase, report.reason)
    };
    assert_eq!(told(|case| case.target(None)), (Phase::Idle, Reason::Idle));
    assert_eq!(told(|case| case.seen.preflight = None), (Phase::Preflight, Reason::Progressing));
    assert_eq!(told(|case| case.fleet().policy.policy.paused = true), (Phase::Claiming, Reason::Paused));
    assert_eq!(told(|_| {}), (Phase::Claiming, Reason::Progressing));
    let older: fn(&mut Case) = |case| case.target(Some(Version::new(1, 36, 1)));
    assert_eq!(told(older), (Phase::Refused, Reason::PreflightFailed));
}
