use super::*;

const NODE: &str = "worker1";
const NOW: Unix = Unix(1_000_000);

fn validity(from: u64, until: u64) -> Validity {
    Validity { from: Unix(from), until: Unix(until) }
}

/// A credential of which nothing is gone yet.
const FRESH: Option<Validity> = Some(Validity { from: NOW, until: Unix(NOW.0 + 1_000_000) });

/// One whose renewal is due.
const OLD: Option<Validity> = Some(Validity { from: Unix(NOW.0 - 950_000), until: Unix(NOW.0 + 50_000) });

fn pending(request: Option<RequestSeen>) -> Seen {
    Seen { pending: Some("csr-1".to_owned()), request, ..Seen::default() }
}

fn denial(retry: Option<&str>) -> Denial {
    let (request, why) = ("csr-0".to_owned(), "not today".to_owned());
    Denial { request, why, retry: retry.map(str::to_owned) }
}

fn next(seen: &Seen) -> Next {
    decide(NODE, seen, NOW)
}

#[test]
fn a_node_without_anything_makes_a_key_then_looks_then_asks() {
    assert_eq!(next(&Seen::default()), Next::MakeKey);
    assert_eq!(next(&pending(None)), Next::Look);
    assert_eq!(next(&pending(Some(RequestSeen::Absent))), Next::Ask);
    assert_eq!(next(&pending(Some(RequestSeen::Pending))), Next::Follow(None));
}

#[test]
fn with_a_valid_credential_nothing_is_done_before_its_renewal() {
    let seen = Seen { credential: FRESH, ..Seen::default() };
    let Next::Rest(Some(due)) = next(&seen) else { panic!("{:?}", next(&seen)) };
    assert_eq!(decide(NODE, &seen, Unix(due.0 - 1)), Next::Rest(Some(due)));
    assert_eq!(decide(NODE, &seen, due), Next::MakeKey);
}

#[test]
fn renewal_lies_between_70_and_90_percent_of_the_life_and_is_spread_over_the_nodes() {
    let life = validity(1_000, 2_000);
    let due: Vec<u64> = (0..500).map(|number| renewal(&format!("worker{number}"), life).0).collect();
    assert!(due.iter().all(|due| (1_700..=1_900).contains(due)));
    let different: std::collections::BTreeSet<_> = due.iter().collect();
    assert!(different.len() > 150, "{}", different.len());
    assert_eq!(renewal(NODE, life), renewal(NODE, life));
    assert!(renewal(NODE, validity(0, u64::MAX)).0 > u64::MAX / 2, "no overflow");
    assert_eq!(renewal(NODE, validity(10, 5)), Unix(10), "nonsense is renewed at once");
}

#[test]
fn a_credential_that_expired_or_is_rejected_is_asked_for_anew() {
    let expired = Seen { credential: Some(validity(0, NOW.0)), ..Seen::default() };
    let rejected = Seen { credential: FRESH, rejected: true, ..Seen::default() };
    for seen in [expired, rejected] {
        assert_eq!(next(&seen), Next::MakeKey);
        assert!(matches!(access(NODE, &seen, NOW), Access::Missing(_)));
    }
}

#[test]
fn what_comes_back_decides_what_follows() {
    let after = |request| next(&pending(Some(request)));
    assert_eq!(after(RequestSeen::Issued("pem".to_owned())), Next::Store("pem".to_owned()));
    assert_eq!(after(RequestSeen::Unfit("another key".to_owned())), Next::Drop("another key".to_owned()));
    let said = Next::Remember(Denial { request: "csr-1".to_owned(), why: "no".to_owned(), retry: None });
    assert_eq!(after(RequestSeen::Denied("no".to_owned())), said);
    assert_eq!(after(RequestSeen::Approved(NOW)), Next::Follow(Some(NOW.plus(SIGNING_PATIENCE))));
    assert_eq!(after(RequestSeen::Approved(Unix(0))), Next::Follow(None), "told of once, not woken again");
}

#[test]
fn a_request_that_vanishes_is_made_again_but_not_in_a_hurry() {
    let mut seen = pending(Some(RequestSeen::Absent));
    seen.created = Some(Unix(NOW.0 - 1));
    assert_eq!(next(&seen), Next::Rest(Some(Unix(NOW.0 - 1).plus(PAUSE))));
    seen.created = Some(Unix(NOW.0 - PAUSE.as_secs()));
    assert_eq!(next(&seen), Next::Ask);
}

#[test]
fn a_denial_stands_until_another_retry() {
    let mut seen = Seen { denied: Some(denial(Some("1"))), retry: Some("1".to_owned()), ..Seen::default() };
    assert_eq!(next(&seen), Next::Rest(None));
    seen.credential = OLD;
    assert_eq!(next(&seen), Next::Rest(Some(Unix(NOW.0 + 50_000))), "to tell of the expiry");
    seen.retry = Some("2".to_owned());
    assert_eq!(next(&seen), Next::MakeKey);
    seen.retry = None;
    assert_eq!(next(&seen), Next::MakeKey);
}

#[test]
fn a_renewal_leaves_the_old_credential_in_use_and_is_told_as_a_note() {
    let mut seen = pending(Some(RequestSeen::Pending));
    seen.credential = OLD;
    assert_eq!(next(&seen), Next::Follow(Some(Unix(NOW.0 + 50_000))));
    let Access::Usable { note: Some(note) } = access(NODE, &seen, NOW) else { panic!() };
    assert!(note.contains("expires in 13 h") && note.contains("kubectl certificate approve csr-1"), "{note}");
}

#[test]
fn people_are_told_the_request_and_the_command() {
    let words = |seen: &Seen| match access(NODE, seen, NOW) {
        Access::Missing(why) => (why.reason, why.message),
        Access::Usable { note } => panic!("{note:?}"),
    };
    let (reason, message) = words(&pending(Some(RequestSeen::Pending)));
    assert_eq!(reason, Reason::WaitingForApproval);
    assert!(message.contains("node-upgrade-agent approve worker1, or kubectl certificate approve csr-1"));
    let (reason, message) = words(&Seen { denied: Some(denial(None)), ..Seen::default() });
    assert_eq!(reason, Reason::EnrolmentDenied);
    assert!(message.contains("csr-0 was denied (not today)") && message.contains("retry"), "{message}");
    let (_, message) = words(&pending(Some(RequestSeen::Approved(Unix(0)))));
    assert!(message.contains("does kube-controller-manager sign"), "{message}");
    let mut away = pending(None);
    away.setback = Some("connection refused".to_owned());
    let (reason, message) = words(&away);
    assert!(reason == Reason::Retrying && message.contains("connection refused"), "{message}");
    let mut rejected = pending(Some(RequestSeen::Pending));
    (rejected.credential, rejected.rejected) = (FRESH, true);
    let (_, message) = words(&rejected);
    assert!(message.starts_with("the API server no longer accepts"), "{message}");
}

#[test]
fn a_credential_that_needs_nothing_is_not_talked_of() {
    let seen = Seen { credential: FRESH, ..Seen::default() };
    assert_eq!(access(NODE, &seen, NOW), Access::Usable { note: None });
}

#[test]
fn a_request_is_named_by_node_and_key_within_what_the_api_takes() {
    assert_eq!(request_name(NODE, "0123456789abcdef0123"), "node-upgrade-agent-worker1-0123456789abcdef");
    assert!(request_name(&"n".repeat(253), "0123456789abcdef").len() <= 253);
}

#[test]
fn every_course_of_events_ends_in_rest_or_in_waiting() {
    // Whatever is seen, carrying the acts out as they should end leads to rest or to waiting for others: no loop.
    let requests =
        [None, Some(RequestSeen::Absent), Some(RequestSeen::Pending), Some(RequestSeen::Approved(NOW))];
    let ends = [RequestSeen::Denied("no".to_owned()), RequestSeen::Unfit("odd".to_owned())];
    let requests = requests.into_iter().chain(ends.map(Some));
    for request in requests.chain([Some(RequestSeen::Issued("pem".to_owned()))]) {
        for credential in [None, FRESH, OLD, Some(validity(0, 1))] {
            for rejected in [false, true] {
                for pending in [None, Some("csr-1".to_owned())] {
                    let request = request.clone();
                    let mut seen = Seen { credential, rejected, pending, request, ..Seen::default() };
                    settle(&mut seen);
                }
            }
        }
    }
}

fn settle(seen: &mut Seen) {
    for _ in 0..8 {
        match next(seen) {
            Next::Rest(_) | Next::Follow(_) => return,
            Next::MakeKey => (seen.pending, seen.request) = (Some("csr-2".to_owned()), None),
            Next::Look => seen.request = Some(RequestSeen::Absent),
            Next::Ask => (seen.request, seen.created) = (Some(RequestSeen::Pending), Some(NOW)),
            Next::Store(_) => {
                (seen.credential, seen.rejected, seen.pending, seen.request) = (FRESH, false, None, None);
            }
            Next::Remember(denial) => {
                (seen.denied, seen.pending, seen.request) = (Some(denial), None, None);
            }
            Next::Drop(_) => (seen.pending, seen.request, seen.created) = (None, None, Some(NOW)),
        }
    }
    panic!("no end: {seen:?}");
}
