//! Rules about the coordination credential.

use super::*;
use crate::api::Phase;
use crate::decide::derive;
use crate::observed::{Access, Observation};

fn without_a_credential() -> Observed {
    let mut seen = seen();
    let why = Explanation::new(Reason::WaitingForApproval, "approve csr-1");
    seen.take(Observation::Access(Access::Missing(why)), NOW.mono);
    seen
}

fn waits(next: &Next) -> bool {
    matches!(next, Next::Wait { why, until: None } if why.reason == Reason::WaitingForApproval)
}

#[test]
fn without_a_credential_nothing_is_prepared_and_nothing_claimed() {
    assert!(waits(&next(&known(), &without_a_credential())));
    let mut prepared = without_a_credential();
    prepared.preflight = Some(findings(Outcome::Passed(String::new())));
    assert!(waits(&next(&known(), &prepared)));
}

#[test]
fn without_a_credential_nothing_is_made_of_a_journal_that_is_new() {
    assert!(waits(&next(&Memory::default(), &without_a_credential())));
}

#[test]
fn people_see_that_a_node_has_an_agent_before_it_is_let_in() {
    let mut seen = without_a_credential();
    annotate(&mut seen, CURRENT, None);
    assert_eq!(act(next(&known(), &seen)), Act::PublishCurrent { current: OLD });
    annotate(&mut seen, TARGET, None);
    annotate(&mut seen, CURRENT, Some("v1.36.2"));
    assert!(waits(&next(&known(), &seen)), "with a target or without");
}

#[test]
fn a_job_under_way_goes_on_without_a_credential_and_says_so() {
    let seen = cordoned(without_a_credential(), false);
    let memory = worker(draining());
    let next = next(&memory, &seen);
    assert!(!waits(&next), "{next:?}");
    let report = derive(&memory, &seen, &next, None).unwrap();
    assert_eq!((report.phase, report.notes), (Phase::Draining, vec!["approve csr-1".to_owned()]));
}

#[test]
fn a_waiting_node_is_not_reported_as_upgraded_and_a_note_stands_beside_the_rest() {
    let seen = without_a_credential();
    let report = derive(&known(), &seen, &next(&known(), &seen), None).unwrap();
    assert_eq!((report.phase, report.reason), (Phase::Idle, Reason::WaitingForApproval));
    assert_eq!((report.message.as_str(), report.notes.len()), ("approve csr-1", 0));
    let mut seen = super::seen();
    seen.take(Observation::Access(Access::Usable { note: Some("renew me".to_owned()) }), NOW.mono);
    let report = derive(&known(), &seen, &next(&known(), &seen), None).unwrap();
    assert_eq!(report.notes, ["renew me"]);
}
