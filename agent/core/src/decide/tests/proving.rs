//! Where a disturbance begins or grows, the Lease was proved just now.

use super::*;
use crate::agent::{Agent, Input};
use crate::observed::Observation;

fn proved_before(seen: Observed, millis: u64) -> Observed {
    let at = Mono(NOW.mono.0 - millis);
    Observed { lease: Some(LeaseSeen::Held { at, turn: TurnId("j1".into()) }), ..seen }
}

fn renews(next: &Next) -> bool {
    matches!(next, Next::Do(Act::Renew { .. }))
}

fn progress(state: DrainState) -> Progress {
    Progress { at: NOW.mono, left: 1, blocked: vec![], passed_over: vec![], state }
}

/// Jobs whose present step is done, and which may be one step before the point of no return.
fn before_the_gate() -> Vec<(Memory, Observed, Step)> {
    let staged = |command| {
        let mut seen = cordoned(seen(), false);
        seen.host = Some(host("1.36.3-1.1", "1.36.2-1.1"));
        (remembering(turn(changing(Step::Staging), command)), seen, Step::Applying)
    };
    let applied = turn(changing(Step::Applying), KubeadmCommand::NodeWorker);
    let tool = Tool::Kubeadm { command: KubeadmCommand::NodeWorker, target: NEW };
    let ended = BTreeMap::from([(tool.unit(&applied.holder.turn, applied.unit_serial), ToolState::Ended(0))]);
    let mut seen = cordoned(seen(), false);
    seen.host = Some(HostSeen {
        backup: Some(applied.holder.turn.clone()),
        tools: ended,
        ..host("1.36.3-1.1", "1.36.2-1.1")
    });
    vec![
        staged(KubeadmCommand::NodeWorker),
        staged(KubeadmCommand::Apply),
        staged(KubeadmCommand::NodeControlPlane),
        (remembering(applied), seen, Step::Installing),
    ]
}

#[test]
fn the_point_of_no_return_is_passed_only_on_a_lease_proved_just_now() {
    for (memory, seen, then) in before_the_gate() {
        let decided = |seen: Observed| next(&memory, &seen);
        assert!(renews(&decided(proved_before(seen.clone(), 15_001))), "before {then:?}");
        assert!(renews(&decided(Observed { lease: None, ..seen.clone() })), "before {then:?}");
        assert_eq!(*stage_of(&decided(proved_before(seen, 15_000))), changing(then));
    }
}

#[test]
fn whoever_has_lost_the_lease_turns_back_before_the_point_of_no_return() {
    for (memory, seen, then) in before_the_gate() {
        for lost in [LeaseSeen::Free, LeaseSeen::Other("w2/u/j".into())] {
            let decided = next(&memory, &Observed { lease: Some(lost), ..seen.clone() });
            let back = matches!(
                stage_of(&decided),
                Stage::Changing { direction: Direction::Back(why), .. } if why.reason == Reason::LeaseLost
            );
            assert!(back, "before {then:?}: {decided:?}");
        }
    }
}

#[test]
fn a_drain_begins_only_on_a_lease_proved_just_now() {
    let decided = |millis| next(&worker(draining()), &proved_before(cordoned(seen(), false), millis));
    assert!(renews(&decided(15_001)));
    assert!(matches!(act(decided(15_000)), Act::Drain { .. }));
}

#[test]
fn a_drain_goes_on_as_long_as_its_proof_is_not_older_than_five_minutes() {
    let drains = Observed { drain: Some(progress(DrainState::Draining)), ..cordoned(seen(), false) };
    let decided = |millis| next(&worker(draining()), &proved_before(drains.clone(), millis));
    assert!(matches!(act(decided(300_000)), Act::Drain { .. }));
    assert!(renews(&decided(300_001)));
}

#[test]
fn a_drain_that_ended_is_followed_by_a_change_only_on_a_lease_proved_just_now() {
    let drained = Observed { drain: Some(progress(DrainState::Drained)), ..cordoned(seen(), false) };
    let decided = |millis| next(&worker(draining()), &proved_before(drained.clone(), millis));
    assert!(renews(&decided(15_001)));
    assert_eq!(*stage_of(&decided(15_000)), changing(Step::Staging));
}

/// An agent that has seen this of its Lease.
fn agent(memory: Memory, lease: Option<LeaseSeen>) -> Agent {
    let mut agent = Agent::new(settings(), memory);
    agent.on(NOW, Input::Observed(Observation::Node(seen().node)));
    if let Some(lease) = lease {
        agent.on(NOW, Input::Observed(Observation::Lease(lease)));
    }
    agent
}

#[test]
fn a_lease_that_is_ours_is_renewed_beside_the_acts_until_it_is_given_back() {
    let ours = || Some(LeaseSeen::Held { at: NOW.mono, turn: TurnId("j1".into()) });
    let why = Explanation::new(Reason::NotVerified, "it does not serve");
    let degraded = Stage::Degraded { step: Step::Verifying, why };
    for (stage, mark) in [
        (Stage::Clearing { disturbed: None }, None),
        (draining(), None),
        (changing(Step::Applying), None),
        (degraded, Some("it does not serve")),
    ] {
        let Some(Act::Renew { lease, holder, degraded }) = agent(worker(stage.clone()), ours()).heartbeat()
        else {
            panic!("no heartbeat in {stage:?}")
        };
        let turn = turn(stage, KubeadmCommand::NodeWorker);
        assert_eq!((lease, holder, degraded.as_deref()), (turn.lease, turn.holder, mark));
    }
    assert_eq!(agent(worker(Stage::Returning(Verdict::Done)), ours()).heartbeat(), None);
    assert_eq!(agent(known(), ours()).heartbeat(), None);
    for lease in [None, Some(LeaseSeen::Free), Some(LeaseSeen::Other("w2/u/j".into()))] {
        assert_eq!(agent(worker(draining()), lease).heartbeat(), None);
    }
}
