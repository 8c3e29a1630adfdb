//! What is done once a minute beside the acts.

use super::*;
use crate::api::InHand;
use crate::decide::mark;

#[test]
fn a_lease_that_is_ours_is_renewed_beside_the_acts_until_it_is_given_back() {
    let renewed = |memory: Memory, lease: Option<LeaseSeen>| {
        let mut agent = agent(memory);
        agent.observed.lease = lease;
        agent.heartbeat()
    };
    for (step, degraded) in [(Step::Claiming, None), (Step::Applying, None), (Step::Verifying, Some("disk"))]
    {
        let Some(Act::Renew { lease, holder: me, mark, applied: None }) =
            renewed(remembered(step, degraded), Some(ours(at(0))))
        else {
            panic!("no heartbeat at {step:?}")
        };
        assert_eq!(
            (lease, me, mark.map(|mark| mark.why)),
            (LeaseName::Slot(0), holder("w1"), degraded.map(String::from))
        );
    }
    assert_eq!(renewed(remembered(Step::Releasing, None), Some(ours(at(0)))), None);
    assert_eq!(renewed(Memory::default(), Some(ours(at(0)))), None);
    let mut back = remembered(Step::Applying, None);
    back.turn.as_mut().unwrap().direction = Direction::Back(Explanation::new(Reason::Cancelled, ""));
    assert_eq!(renewed(back, Some(ours(at(0)))), None);
    for lease in [None, Some(LeaseSeen::Free), Some(LeaseSeen::Other("w2/u/j".into()))] {
        assert_eq!(renewed(remembered(Step::Applying, None), lease), None);
    }
}

/// An agent in the middle of a step that runs a tool, or awaits one.
fn busy(memory: Memory, act: Option<Act>) -> Agent {
    let mut agent = agent(memory);
    agent.observed.take(node(&[WANTED]), at(0).mono);
    agent.observed.lease = Some(ours(at(0)));
    agent.running = act.map(|act| Running { id: ActId(1), act, stopping: false });
    agent
}

fn tools() -> [Act; 2] {
    let unit = "u.service".to_owned();
    [Act::Run { unit: unit.clone(), tool: crate::act::Tool::RepairDpkg }, Act::Await { unit }]
}

#[test]
fn a_tool_that_runs_on_gets_its_mark_and_its_lease_again_where_both_were_lost() {
    for act in tools() {
        let mut agent = busy(remembered(Step::Installing, None), Some(act));
        let turn = agent.memory().turn.clone().unwrap();
        for lease in [ours(at(0)), LeaseSeen::Free] {
            let mark = mark(&turn, Some(&lease));
            agent.observed.lease = Some(lease);
            agent.observed.node.as_mut().unwrap().in_hand = Some(InHand::default());
            assert_eq!(agent.heartbeat(), Some(Act::Mark { mark: mark.clone() }), "the mark comes first");
            agent.observed.node.as_mut().unwrap().in_hand = Some(mark);
            assert_ne!(agent.heartbeat().map(|act| act.word()), Some("mark"));
        }
        let claim = Act::Claim { lease: turn.lease, holder: turn.holder.clone() };
        assert_eq!(agent.heartbeat(), Some(claim));
        agent.observed.lease = Some(ours(at(0)));
        assert_eq!(agent.heartbeat().map(|act| act.word()), Some("renew"));
        for lease in [None, Some(LeaseSeen::Other("w2/u/j".into()))] {
            agent.observed.lease = lease;
            assert_eq!(agent.heartbeat(), None, "what another holds is left to it");
        }
    }
}

#[test]
fn where_no_tool_runs_neither_mark_nor_claim_is_made_beside_the_acts() {
    for act in [None, Some(Act::LookAtNode)] {
        let mut agent = busy(remembered(Step::Draining, None), act);
        assert_eq!(agent.heartbeat().map(|act| act.word()), Some("renew"));
        agent.observed.lease = Some(LeaseSeen::Free);
        assert_eq!(agent.heartbeat(), None);
    }
}

#[test]
fn a_tool_of_a_turn_that_goes_back_or_ends_gets_neither_mark_nor_lease() {
    for act in tools() {
        let mut back = remembered(Step::Staging, None);
        back.turn.as_mut().unwrap().direction = Direction::Back(Explanation::new(Reason::Cancelled, ""));
        for memory in [back, remembered(Step::Releasing, None)] {
            assert_eq!(busy(memory, Some(act.clone())).heartbeat(), None);
        }
    }
}
