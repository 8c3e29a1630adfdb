//! What takes a turn back, as long as it can go back, and what is remembered of it.

use super::*;
use crate::memory::{Backoff, MAX_RETREATS};

type Change = fn(&mut Case);

/// A turn B that is past its point of no return.
fn past(mut case: Case) -> Case {
    case.turn().changed = true;
    case
}

/// Turn A after a run of kubeadm for which this was seen.
fn ran(change: fn(&mut Case)) -> Case {
    let mut case = Case::plane(Step::Applying);
    case.turn().run = Some(Run { command: KubeadmCommand::Apply, succeeded: false });
    case.with(change)
}

#[test]
fn a_target_that_is_removed_or_changed_takes_back_what_can_go_back() {
    let begun: Change = |case| {
        case.ran(&Tool::InstallKubelet { packages: packages(NEW) }, ToolState::Ended(1));
    };
    let installed: Change = |case| case.host().packages = host(NEW, NEW).packages;
    let replaced: Change = |case| case.host().changed_manifests = ["kube-scheduler".into()].into();
    let missing: Change = |case| case.host().missing_manifests = ["etcd".into()].into();
    let same: Change = |_| {};
    let rows: Vec<(Case, Vec<Change>, bool)> = vec![
        (Case::worker(Step::Claiming), vec![same], true),
        (Case::worker(Step::Draining), vec![same], true),
        (Case::worker(Step::Applying), vec![same], true),
        (Case::worker(Step::Installing), vec![same], true),
        (Case::worker(Step::Installing), vec![begun, installed, |case| case.turn().changed = true], false),
        (Case::worker(Step::Restarting), vec![same], false),
        (Case::worker(Step::Verifying), vec![same], false),
        (Case::plane(Step::Claiming), vec![same], true),
        (Case::plane(Step::Applying), vec![same], true),
        (Case::plane(Step::Applying), vec![|case| case.turn().changed = true], false),
        (ran(same), vec![same], true),
        (ran(same), vec![replaced, missing, |case| case.host().copies.clear()], false),
        (ran(same), vec![|case| case.fleet().kubeadm_config = Some(NEW)], false),
        (ran(same), vec![|case| case.fleet().kubeadm_config = None], false),
        (Case::plane(Step::Releasing), vec![same], false),
    ];
    for (case, changes, back) in rows {
        for (number, change) in changes.into_iter().enumerate() {
            let mut case = case.clone().with(change);
            let reached = case.turn().reached;
            assert_ne!(case.says(), "back Cancelled", "{reached:?} {number}");
            for target in [None, Some(NEWER)] {
                let said = case.clone().with(|case| case.target(target)).says();
                assert_eq!(said == "back Cancelled", back, "{reached:?} {number}: {said}");
            }
        }
    }
}

#[test]
fn whether_a_run_of_kubeadm_changed_anything_is_judged_from_a_fleet_read_after_it() {
    let mut case = ran(|case| case.since.tool_ended_at = Mono(NOW.mono.0 + 1));
    case.target(None);
    assert_eq!(case.says(), "look-at-fleet");
    case.turn().run = Some(Run { command: KubeadmCommand::NodeControlPlane, succeeded: false });
    assert_eq!(case.says(), "back Cancelled", "node does not write kubeadm-config");
}

/// A case that waits at a gate since so long, cordoned.
fn waiting(mut case: Case, minutes: u64) -> Case {
    case.turn().stopwatch = Stopwatch::started(Now { mono: ago(Duration::from_mins(minutes)), ..NOW });
    case.fleet().kubeadm_config = Some(OLD);
    case
}

#[test]
fn a_cordoned_node_does_not_wait_for_ever() {
    let applied = || {
        let run = Run { command: KubeadmCommand::NodeWorker, succeeded: true };
        Case::worker(Step::Applying).with(|case| case.turn().run = Some(run))
    };
    assert_eq!(waiting(applied(), 15).says(), "wait WaitingForTurn");
    let over = waiting(applied(), 16);
    let Direction::Back(why) = over.becomes().direction else { panic!("waits on") };
    assert!(why.reason == Reason::TimedOut && why.message.contains("names v1.36.2"), "{why:?}");
    let silent = over.with(|case| case.seen.fleet = None);
    assert_eq!(silent.says(), "back TimedOut", "nothing answers");
}

#[test]
fn a_node_that_waits_where_its_cordon_was_to_be_made_does_not_wait_for_ever() {
    let waits = |reached, minutes| {
        let mut case = Case::plane_b(reached);
        case.fleet().leases.push(held(crate::api::LeaseName::Slot(0), "w2"));
        case.turn().stopwatch = Stopwatch::started(Now { mono: ago(Duration::from_mins(minutes)), ..NOW });
        case.says()
    };
    let reached = Step::Cordoning;
    assert_eq!([waits(reached, 15), waits(reached, 16)], ["wait WaitingForTurn", "back TimedOut"]);
    assert_eq!(waits(Step::Claiming, 16), "wait WaitingForTurn", "nothing was begun");
}

/// A turn B past its point of no return that goes to a minor which no API server runs yet.
fn skewed() -> Case {
    past(Case::worker(Step::Installing)).with(|case| {
        case.turn().plan.target = NEXT_MINOR;
        case.target(Some(NEXT_MINOR));
        let mark = mark(case.turn());
        case.node().in_hand = Some(mark);
    })
}

#[test]
fn a_cordoned_node_past_its_point_of_no_return_that_waits_too_long_is_degraded() {
    assert_eq!(waiting(skewed(), 15).says(), "wait WaitingForTurn");
    assert_eq!(waiting(skewed(), 16).says(), "degraded TimedOut");
}

#[test]
fn a_node_whose_cordon_was_lifted_past_its_point_of_no_return_may_wait_in_service() {
    let lifted = skewed().with(|case| case.node().cordon_note = None);
    assert_eq!(waiting(lifted, 16).says(), "wait WaitingForTurn", "nobody is kept from it");
}

#[test]
fn a_drain_has_its_own_time_beside_that_of_a_cordoned_wait() {
    let drain = DrainOptions::default().timeout.as_secs() / 60;
    let stuck = |minutes| {
        let case = Case::worker(Step::Draining).with(|case| case.fleet().at = Mono(0));
        waiting(case, minutes).says()
    };
    assert_eq!([stuck(16), stuck(drain + 15), stuck(drain + 16)], ["prove", "prove", "back TimedOut"]);
}

/// The same after a boot of the host.
fn booted(case: Case) -> Case {
    case.with(|case| case.now.boot = BootId(2))
}

#[test]
fn a_boot_within_a_step_that_changes_the_host_counts_as_an_attempt() {
    let degraded: fn() -> Case =
        || Case::worker(Step::Staging).with(|case| case.turn().degraded = Some(why(Reason::ToolFailed)));
    let rows: [(fn() -> Case, bool); 7] = [
        (|| Case::worker(Step::Draining), false),
        (|| Case::worker(Step::Staging), true),
        (|| Case::worker(Step::Verifying), true),
        (|| Case::worker(Step::Uncordoning), false),
        (|| Case::plane(Step::Applying), true),
        (|| back(Case::worker(Step::Staging)), false),
        (degraded, false),
    ];
    for (case, counts) in rows {
        let case = booted(case());
        let turn = case.becomes();
        assert_eq!(turn.attempts(), u32::from(counts), "{:?}", turn.reached);
        assert!(!turn.stopwatch.is_of_another_boot(case.now));
    }
}

#[test]
fn a_node_that_keeps_rebooting_comes_to_an_end() {
    for (case, expected) in [
        (Case::worker(Step::Staging), "back ToolFailed"),
        (Case::worker(Step::Installing), "degraded ToolFailed"),
        (Case::worker(Step::Verifying), "degraded ToolFailed"),
    ] {
        let mut case = booted(case);
        let reached = case.turn().reached;
        case.turn().attempts.insert(reached, 1);
        assert_eq!(case.becomes().attempts(), 2);
        case.turn().attempts.insert(reached, 2);
        assert_eq!(case.says(), expected);
    }
}

#[test]
fn a_node_that_keeps_rebooting_past_its_point_of_no_return_is_degraded() {
    let applying = Case::plane(Step::Applying).with(|case| {
        case.turn().run = Some(Run { command: KubeadmCommand::Apply, succeeded: false });
    });
    let changed = applying.clone().with(|case| case.host().changed_manifests = ["etcd".to_owned()].into());
    let replanned = Case::worker(Step::Staging).with(|case| case.turn().changed = true);
    for (case, expected) in
        [(applying, "back ToolFailed"), (changed, "degraded ToolFailed"), (replanned, "degraded ToolFailed")]
    {
        let mut case = booted(case);
        let reached = case.turn().reached;
        case.turn().attempts.insert(reached, 2);
        assert_eq!(case.says(), expected, "{reached:?}");
    }
}

fn back(mut case: Case) -> Case {
    case.turn().direction = Direction::Back(why(Reason::Cancelled));
    case
}

#[test]
fn kubeadm_is_put_back_where_this_turn_installed_it_and_that_can_be_done() {
    let with = |change: fn(&mut Case)| {
        back(Case::worker(Step::Staging))
            .with(|case| {
                case.host().packages = host(NEW, OLD).packages;
                change(case);
            })
            .says()
    };
    assert_eq!(with(|_| {}), "run install-kubeadm");
    assert_eq!(
        with(|case| case.host().packages.get_mut("kubeadm").unwrap().configured = false),
        "run install-kubeadm"
    );
    for kept in [
        with(|case| case.turn().plan.can_restore_packages = false),
        with(|case| case.turn().attempts = [(Step::Staging, 3)].into()),
        with(|case| case.host().packages = host(NEWER, OLD).packages),
        with(|case| case.turn().plan.from.kubeadm = packages(NEW).kubeadm),
    ] {
        assert_eq!(kept, "uncordon", "and the node goes back into service all the same");
    }
}

#[test]
fn what_a_person_installs_after_the_way_back_is_not_taken_back() {
    let way_back = |case: &mut Case| {
        let tool = Tool::InstallKubeadm { packages: packages(OLD), back: true };
        case.ran(&tool, ToolState::Ended(0));
    };
    let mut case = back(Case::worker(Step::Staging));
    way_back(&mut case);
    assert_eq!(case.says(), "uncordon", "it was put back");
    case.host().packages = host(NEW, OLD).packages;
    assert_eq!(case.says(), "uncordon", "a person has it installed");
    case.host().tools.clear();
    assert_eq!(case.says(), "run install-kubeadm");
    let cleaned = case.clone().with(|case| case.since.did(&Act::CleanUp, &case.seen, NOW));
    assert_eq!(cleaned.says(), "uncordon", "nor after the turn has cleaned up behind itself");
    let tool = Tool::InstallKubeadm { packages: packages(OLD), back: true };
    case.ran(&tool, ToolState::Ended(100));
    assert_eq!(case.becomes().attempts(), 1, "what failed is tried again");
}

#[test]
fn kubelets_files_come_back_from_this_turns_own_copy_alone() {
    let mut case = back(Case::worker(Step::Applying));
    case.host().kubelet_config_changed = true;
    assert_eq!(case.says(), "restore-kubelet-config");
    case.host().copies[0].turn = TurnId("another".into());
    assert_eq!(case.says(), "run install-kubeadm");
}

#[test]
fn a_node_that_goes_back_is_uncordoned_as_it_was_found_or_when_it_serves_again() {
    let said = |reached, change: fn(&mut Case)| {
        let case = back(Case::worker(reached)).with(|case| case.host().packages = host(OLD, OLD).packages);
        case.with(change).says()
    };
    let down: fn(&mut Case) = |case| case.node().ready = Ready::False;
    assert_eq!(said(Step::Draining, down), "uncordon", "nothing was changed");
    assert_eq!(said(Step::Applying, down), "wait NotReady");
    assert_eq!(said(Step::Applying, |case| case.node().heartbeat = Unix(1)), "wait NotReady");
    assert_eq!(said(Step::Applying, |_| {}), "uncordon");
}

/// What is remembered of a turn that went back for this reason and has nothing left.
fn over(reason: Reason, before: Option<Backoff>) -> Memory {
    let mut case = Case::worker(Step::Claiming);
    case.turn().direction = Direction::Back(why(reason));
    case.seen.lease = Some(LeaseSeen::Free);
    case.memory.backoff = before;
    case.memory.held = ["kubelet".to_owned()].into();
    let over = case.remembers();
    assert!(over.turn.is_none() && over.held.is_empty());
    over
}

fn backoff(target: Version, retreats: u32) -> Backoff {
    Backoff { target, retreats, until: NotBefore::default(), retry: None, why: why(Reason::DrainBlocked) }
}

fn pause(memory: &Memory) -> Option<Duration> {
    let until = memory.backoff.as_ref()?.until.pending(NOW)?;
    Some(until.since(NOW.mono))
}

#[test]
fn after_a_retreat_a_node_is_left_alone_longer_each_time_and_the_third_is_a_refusal() {
    for reason in [Reason::DrainBlocked, Reason::DrainTimedOut, Reason::TimedOut] {
        let first = over(reason, None);
        assert_eq!((pause(&first), first.refused.is_none()), (Some(Duration::from_mins(5)), true));
        let second = over(reason, first.backoff);
        assert_eq!(pause(&second), Some(Duration::from_mins(10)));
        let third = over(reason, second.backoff);
        assert_eq!(third.refused.unwrap().why.reason, Reason::DrainGivenUp);
        assert_eq!(third.backoff, None);
        let other = over(reason, Some(backoff(OLD, MAX_RETREATS - 1)));
        assert_eq!(pause(&other), Some(Duration::from_mins(5)), "retreats from another target do not count");
    }
}

#[test]
fn whose_lease_was_taken_is_left_alone_for_a_minute_and_that_is_no_retreat() {
    let over = over(Reason::LeaseLost, Some(backoff(NEW, 2)));
    assert_eq!((pause(&over), over.backoff.unwrap().retreats), (Some(Duration::from_mins(1)), 2));
}

#[test]
fn a_kubeadm_that_may_do_better_soon_is_tried_again_after_growing_pauses_and_refused_after_the_third() {
    let first = over(Reason::ToolPending, None);
    assert_eq!((pause(&first), first.refused.is_none()), (Some(Duration::from_mins(5)), true));
    let second = over(Reason::ToolPending, first.backoff);
    assert_eq!(pause(&second), Some(Duration::from_mins(10)));
    let third = over(Reason::ToolPending, second.backoff);
    assert_eq!(third.backoff, None);
    let why = third.refused.unwrap().why;
    assert!(why.reason == Reason::ToolFailed && why.message.contains("retry"), "{why:?}");
    let other = over(Reason::ToolPending, Some(backoff(OLD, MAX_RETREATS - 1)));
    assert_eq!(pause(&other), Some(Duration::from_mins(5)), "retreats from another target do not count");
    let mixed = over(Reason::DrainBlocked, over(Reason::ToolPending, None).backoff);
    assert_eq!(mixed.backoff.unwrap().retreats, 2, "of whatever kind they were");
}

#[test]
fn what_only_a_person_can_change_is_refused_until_retry_and_what_came_from_elsewhere_leaves_nothing() {
    for reason in [Reason::ToolFailed, Reason::PreflightFailed, Reason::NotVerified] {
        let refused = over(reason, None).refused.unwrap();
        assert_eq!((refused.target.as_str(), refused.why.reason), ("v1.36.3", reason));
    }
    for reason in
        [Reason::Cancelled, Reason::WaitingForTurn, Reason::Paused, Reason::Halted, Reason::BudgetExhausted]
    {
        assert_eq!(over(reason, None), Memory { known: true, ..Memory::default() }, "{reason}");
    }
}

#[test]
fn a_kubeadm_that_a_person_installed_since_the_plan_is_not_taken_back() {
    for case in [Case::plane(Step::Claiming), Case::worker(Step::Draining)] {
        let mut case = case.with(|case| case.host().packages = host(NEW, OLD).packages);
        case.seen.drain = Some(progress(DrainState::Drained));
        let turn = case.becomes();
        assert_eq!(turn.plan.from.kubeadm, turn.plan.to.kubeadm);
        assert_eq!(turn.reached, case.turn().reached);
        let back = case.with(|case| *case.turn() = turn.back(why(Reason::Cancelled), NOW));
        assert_ne!(back.says(), "run install-kubeadm");
    }
    let mut ours = Case::worker(Step::Staging).with(|case| case.host().packages = host(NEW, OLD).packages);
    assert_eq!(ours.becomes().plan.from, ours.turn().plan.from, "its own tool has installed it");
}
