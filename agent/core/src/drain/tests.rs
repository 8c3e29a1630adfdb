mod pacing;

use super::*;
use crate::api::{Blocked, Explanation, Reason};
use crate::observed::{DrainState, Owner};
use crate::time::{BootId, Mono, Now, Unix};

fn at(millis: u64) -> Now {
    Now { mono: Mono(millis), unix: Unix(1_700_000_000 + millis / 1000), boot: BootId::default() }
}

fn owner(kind: &str, api_version: &str) -> Owner {
    Owner { api_version: api_version.to_owned(), kind: kind.to_owned(), name: "web".to_owned() }
}

/// A pod of a Deployment.
fn pod(name: &str) -> PodSeen {
    PodSeen {
        namespace: "default".to_owned(),
        name: name.to_owned(),
        uid: format!("uid-{name}"),
        controller: Some(owner("ReplicaSet", "apps/v1")),
        ..PodSeen::default()
    }
}

fn pods(count: usize) -> Vec<PodSeen> {
    (0..count).map(|number| pod(&format!("p{number:03}"))).collect()
}

fn names(next: &Next) -> Vec<&str> {
    next.evict.iter().map(|order| order.name.as_str()).collect()
}

fn blocked() -> EvictionResponse {
    EvictionResponse::Blocked {
        budget: Some("web".to_owned()),
        message: "needs 2 pods".to_owned(),
        retry_after: None,
    }
}

/// A drain that has taken in a fresh list at the start.
fn begun(pods: &[PodSeen]) -> Engine {
    begun_with(DrainOptions { no_progress_timeout: Duration::ZERO, ..DrainOptions::default() }, pods)
}

fn begun_with(options: DrainOptions, pods: &[PodSeen]) -> Engine {
    let mut engine = Engine::new(options, at(0));
    engine.confirmed(at(0), pods);
    engine
}

fn trouble(engine: &Engine, now: Now) -> Explanation {
    match engine.progress(now).state {
        DrainState::GivenUp(trouble) => trouble,
        state @ (DrainState::Draining | DrainState::CutOff | DrainState::Drained) => panic!("{state:?}"),
    }
}

#[test]
fn pods_are_sorted_as_kubectl_drain_sorts_them() {
    let usual = DrainOptions::default();
    let force = DrainOptions { force: true, ..usual.clone() };
    let keep = DrainOptions { delete_emptydir_data: false, ..usual.clone() };
    let strict = DrainOptions { ignore_daemonsets: false, ..force.clone() };
    let plain = pod("a");
    let daemon = PodSeen { controller: Some(owner("DaemonSet", "apps/v1")), ..plain.clone() };
    let other_daemon =
        PodSeen { controller: Some(owner("DaemonSet", "apps.kruise.io/v1alpha1")), ..plain.clone() };
    let mirror = PodSeen { mirror: true, controller: Some(owner("Node", "v1")), ..plain.clone() };
    let naked = PodSeen { controller: None, ..plain.clone() };
    let scratch = PodSeen { empty_dir: true, ..plain.clone() };
    let naked_scratch = PodSeen { controller: None, ..scratch.clone() };
    let finished = |pod: &PodSeen| PodSeen { finished: true, ..pod.clone() };
    let going = |pod: &PodSeen| PodSeen { deletion: Some(Unix(1)), ..pod.clone() };
    let cases = [
        ("a controller's", plain.clone(), &usual, "evict"),
        ("a DaemonSet's", daemon.clone(), &force, "stays"),
        ("a DaemonSet's, failed", finished(&daemon), &usual, "stays"),
        ("a DaemonSet's, terminating", going(&daemon), &usual, "stays"),
        ("a DaemonSet's that may not be passed over", daemon.clone(), &strict, "refuses"),
        ("a DaemonSet's, failed, all the same", finished(&daemon), &strict, "stays"),
        ("another project's DaemonSet's", other_daemon, &usual, "evict"),
        ("a mirror", mirror.clone(), &force, "stays"),
        ("a mirror, finished", finished(&mirror), &force, "stays"),
        ("a mirror, terminating", going(&mirror), &force, "stays"),
        ("nobody's", naked.clone(), &usual, "refuses"),
        ("nobody's, with force", naked.clone(), &force, "evict"),
        ("nobody's, finished", finished(&naked), &usual, "evict"),
        ("nobody's, terminating", going(&naked), &usual, "going"),
        ("with emptyDir", scratch.clone(), &usual, "evict"),
        ("with emptyDir to keep", scratch.clone(), &keep, "refuses"),
        ("with emptyDir to keep, finished", finished(&scratch), &keep, "evict"),
        ("with emptyDir to keep, terminating", going(&scratch), &keep, "going"),
        ("nobody's with emptyDir", naked_scratch.clone(), &usual, "refuses"),
        ("nobody's with emptyDir, with force", naked_scratch, &force, "evict"),
        ("terminating", going(&plain), &usual, "going"),
        ("finished and terminating", going(&finished(&plain)), &usual, "going"),
    ];
    for (what, pod, options, expected) in cases {
        let sorted = match filter(&pod, options, Unix(1)) {
            Disposition::Evict => "evict",
            Disposition::Terminating => "going",
            Disposition::Skip(_) | Disposition::Overdue(_) => "stays",
            Disposition::Error(_) => "refuses",
        };
        assert_eq!(sorted, expected, "{what}");
    }
}

#[test]
fn a_refusal_names_the_pod_and_the_key_that_allows_it() {
    let naked = PodSeen { controller: None, ..pod("a") };
    let scratch = PodSeen { empty_dir: true, ..pod("b") };
    let keep = DrainOptions { delete_emptydir_data: false, ..DrainOptions::default() };
    let daemon = PodSeen { controller: Some(owner("DaemonSet", "apps/v1")), ..pod("c") };
    let strict = DrainOptions { ignore_daemonsets: false, ..DrainOptions::default() };
    for (pod, options, words) in [
        (daemon, strict, ["pod default/c", "ignore-daemonsets = true in [drain]"]),
        (naked, DrainOptions::default(), ["pod default/a", "force = true in [drain]"]),
        (scratch, keep, ["pod default/b", "delete-emptydir-data = true in [drain]"]),
    ] {
        let Disposition::Error(text) = filter(&pod, &options, Unix(1)) else { panic!("evicted {pod:?}") };
        assert!(words.iter().all(|word| text.contains(word)), "{text}");
    }
}

#[test]
fn a_drain_that_is_switched_off_is_over_at_once() {
    let engine = &mut Engine::new(DrainOptions { enabled: false, ..DrainOptions::default() }, at(0));
    assert_eq!(engine.progress(at(0)).state, DrainState::Drained);
    assert_eq!(engine.next(at(0)), Next::default());
}

#[test]
fn a_drain_begins_with_a_fresh_list_and_asks_again_when_none_comes() {
    let mut engine = Engine::new(DrainOptions::default(), at(0));
    assert!(engine.next(at(0)).list);
    let waiting = engine.next(at(1));
    assert!(!waiting.list && waiting.wake == Some(Mono(10_000)));
    assert!(engine.next(at(10_000)).list);
}

#[test]
fn only_a_fresh_list_ends_a_drain() {
    let mut engine = begun(&pods(1));
    engine.next(at(0));
    engine.answer(at(5), "uid-p000", EvictionResponse::Accepted);
    engine.list(at(2_000), &[]);
    assert_eq!(engine.progress(at(2_000)).state, DrainState::Draining);
    assert!(engine.next(at(2_000)).list);
    assert_eq!(engine.progress(at(2_000)).state, DrainState::Draining);
    engine.confirmed(at(2_001), &[]);
    assert_eq!(engine.progress(at(2_001)).state, DrainState::Drained);
    engine.confirmed(at(2_002), &pods(3));
    assert_eq!(engine.next(at(2_002)), Next::default(), "an ended drain stays as it ended");
}

#[test]
fn pods_that_stay_do_not_keep_a_drain_from_ending() {
    let daemon = PodSeen { controller: Some(owner("DaemonSet", "apps/v1")), ..pod("d") };
    let mirror = PodSeen { mirror: true, ..pod("m") };
    let engine = begun(&[daemon, mirror]);
    assert_eq!(engine.progress(at(0)).state, DrainState::Drained);
}

#[test]
fn a_fresh_list_is_taken_at_least_every_minute_in_case_the_watch_is_quiet() {
    let mut engine = begun(&pods(1));
    let first = engine.next(at(0));
    assert_eq!((first.list, first.wake), (false, Some(Mono(60_000))));
    assert!(engine.next(at(60_000)).list);
}

#[test]
fn at_most_sixteen_evictions_await_their_answers() {
    let mut engine = begun(&pods(40));
    assert_eq!(engine.next(at(0)).evict.len(), MAX_IN_FLIGHT);
    assert_eq!(engine.next(at(0)).evict.len(), 0);
    engine.answer(at(1), "uid-p003", EvictionResponse::Accepted);
    assert_eq!(names(&engine.next(at(1))), ["p016"]);
}

#[test]
fn an_answer_that_is_late_still_counts_as_in_flight_when_its_pod_has_left_the_list() {
    let mut engine = begun(&pods(17));
    engine.next(at(0));
    engine.list(at(1), &[pod("p016")]);
    assert_eq!(names(&engine.next(at(1))), Vec::<&str>::new());
    engine.list(at(2), &pods(17));
    engine.answer(at(3), "uid-p000", EvictionResponse::Failed("no answer".to_owned()));
    assert_eq!(names(&engine.next(at(3))), ["p016"], "p001 to p015 have no answer yet");
}

#[test]
fn sixteen_blocked_pods_do_not_hold_up_the_others() {
    let others = |name: &str| PodSeen {
        controller: Some(Owner { name: "other".to_owned(), ..owner("ReplicaSet", "apps/v1") }),
        ..pod(name)
    };
    let mut all = pods(16);
    all.push(others("q"));
    let mut engine = begun(&all);
    for order in engine.next(at(0)).evict {
        engine.answer(at(1), &order.uid, blocked());
    }
    assert_eq!(names(&engine.next(at(1))), ["q"]);
    all.push(others("z"));
    engine.list(at(5_001), &all);
    assert_eq!(names(&engine.next(at(5_001)))[0], "z", "a pod never tried goes before retries that are due");
}

#[test]
fn blockers_are_named_with_their_budgets_while_they_block() {
    let mut engine = begun(&pods(2));
    engine.next(at(0));
    engine.answer(at(1), "uid-p000", EvictionResponse::Accepted);
    engine.answer(at(1), "uid-p001", blocked());
    let expected = Blocked {
        pod: "default/p001".to_owned(),
        budget: Some("web".to_owned()),
        message: "needs 2 pods".to_owned(),
    };
    let progress = engine.progress(at(1));
    assert_eq!((progress.left, &progress.blocked), (2, &vec![expected.clone()]));
    engine.next(at(5_001));
    assert_eq!(engine.progress(at(5_001)).blocked, [expected], "a retry under way is no news");
    engine.answer(at(5_002), "uid-p001", EvictionResponse::Accepted);
    assert_eq!(engine.progress(at(5_002)).blocked, []);
}

#[test]
fn a_pod_that_terminates_already_is_waited_for_and_not_evicted() {
    let going = PodSeen { deletion: Some(Unix(1_700_000_030)), ..pod("a") };
    let mut engine = begun(std::slice::from_ref(&going));
    assert_eq!(engine.next(at(0)).evict, []);
    assert_eq!(engine.progress(at(0)).left, 1);
}

#[test]
fn an_eviction_that_was_accepted_but_never_shows_is_asked_for_again() {
    let mut engine = begun(&pods(1));
    engine.next(at(0));
    engine.answer(at(0), "uid-p000", EvictionResponse::Accepted);
    engine.confirmed(at(59_999), &pods(1));
    assert_eq!(engine.next(at(59_999)).evict, []);
    assert_eq!(names(&engine.next(at(60_000))), ["p000"]);
}

#[test]
fn a_pod_the_server_calls_gone_is_gone_once_a_fresh_list_agrees() {
    let mut engine = begun(&pods(1));
    engine.next(at(0));
    engine.answer(at(1), "uid-p000", EvictionResponse::Gone);
    assert_eq!(engine.progress(at(1)).left, 0);
    assert!(engine.next(at(2_000)).list);
    engine.confirmed(at(2_001), &pods(1));
    assert_eq!((engine.progress(at(2_001)).left, engine.next(at(2_001)).evict.len()), (1, 0));
    assert_eq!(names(&engine.next(at(7_001))), ["p000"]);
}

#[test]
fn a_pod_of_the_same_name_with_another_uid_is_another_pod() {
    let mut engine = begun(&pods(1));
    engine.next(at(0));
    engine.answer(at(0), "uid-p000", EvictionResponse::Accepted);
    let second = PodSeen { uid: "other".to_owned(), ..pod("p000") };
    engine.list(at(1_000), std::slice::from_ref(&second));
    let next = engine.next(at(1_000));
    assert_eq!(next.evict.iter().map(|order| order.uid.as_str()).collect::<Vec<_>>(), ["other"]);
}

#[test]
fn a_pod_bound_after_the_drain_began_is_evicted_too() {
    let mut engine = begun(&pods(1));
    engine.next(at(0));
    engine.list(at(1), &pods(2));
    assert_eq!(names(&engine.next(at(1))), ["p001"]);
}

#[test]
fn nothing_is_evicted_beside_a_pod_that_must_not_be_and_the_drain_is_given_up() {
    let naked = PodSeen { controller: None, ..pod("naked") };
    let mut engine = begun(&pods(1));
    engine.list(at(2_000), &[pod("p000"), naked.clone()]);
    let next = engine.next(at(2_000));
    assert!(next.evict.is_empty() && next.list, "a watch may be old: a fresh list decides");
    let mut mended = engine.clone();
    mended.confirmed(at(2_001), &pods(1));
    assert_eq!(names(&mended.next(at(2_001))), ["p000"]);
    engine.confirmed(at(2_001), &[pod("p000"), naked]);
    let trouble = trouble(&engine, at(2_001));
    assert_eq!(trouble.reason, Reason::DrainBlocked);
    assert!(trouble.message.contains("pod default/naked has no controller"), "{}", trouble.message);
    assert_eq!(engine.next(at(2_002)), Next::default());
}

#[test]
fn a_controller_that_puts_its_pods_back_onto_the_cordoned_node_does_not_keep_the_drain_for_ever() {
    let mut engine = begun(&[pod("r0")]);
    for round in 0..3 {
        let now = at(round * 1000);
        let order = &engine.next(now).evict[0];
        assert_eq!(order.name, format!("r{round}"));
        engine.answer(now, &order.uid, EvictionResponse::Accepted);
        engine.list(now, &[pod(&format!("r{}", round + 1)), PodSeen { uid: "x".to_owned(), ..pod("done") }]);
        engine.list(now, &[pod(&format!("r{}", round + 1))]);
    }
    assert_eq!(engine.next(at(3_000)).evict, []);
    engine.confirmed(at(3_001), &[pod("r3")]);
    let progress = engine.progress(at(3_001));
    assert_eq!((progress.state, progress.passed_over[0].pod.as_str()), (DrainState::Drained, "default/r3"));
}

#[test]
fn a_drain_out_of_time_is_given_up_naming_pods_and_budgets() {
    let mut engine = begun(&pods(2));
    engine.next(at(0));
    engine.answer(at(1), "uid-p000", blocked());
    engine.answer(at(1), "uid-p001", EvictionResponse::Accepted);
    let going = PodSeen { deletion: Some(Unix(1_700_000_030)), ..pod("p001") };
    engine.list(at(2), &[pod("p000"), going.clone()]);
    assert_eq!(engine.progress(at(3_599_999)).state, DrainState::Draining);
    let blocked = trouble(&engine, at(3_600_000));
    assert_eq!(blocked.reason, Reason::DrainBlocked);
    let words =
        ["default/p000 (disruption budget web: needs 2 pods)", "p001 (still terminating, 3570 s past"];
    assert!(words.iter().all(|word| blocked.message.contains(word)), "{}", blocked.message);
    engine.list(at(4), &[going]);
    assert_eq!(trouble(&engine, at(3_600_000)).reason, Reason::DrainTimedOut);
    engine.confirmed(at(3_600_001), &[]);
    assert_eq!(trouble(&engine, at(3_600_001)).reason, Reason::DrainTimedOut, "too late");
}

#[test]
fn a_drain_that_never_saw_a_list_says_so_when_its_time_is_over() {
    let mut engine = Engine::new(DrainOptions::default(), at(0));
    engine.next(at(0));
    assert!(trouble(&engine, at(3_600_000)).message.contains("no fresh list"));
    assert!(
        trouble(&engine, at(900_000)).message.contains("no fresh list"),
        "nor for so long without progress"
    );
}

#[test]
fn a_message_names_ten_pods_and_counts_the_rest() {
    let engine = begun(&pods(25));
    let message = trouble(&engine, at(3_600_000)).message;
    assert!(message.contains("default/p009") && !message.contains("default/p010"), "{message}");
    assert!(message.contains("and 15 more"), "{message}");
}

#[test]
fn the_slowest_stoppers_go_first() {
    let grace = |name: &str, grace| PodSeen { grace, ..pod(name) };
    let mut engine = begun(&[grace("a", 5), grace("b", 300), grace("c", 30)]);
    assert_eq!(names(&engine.next(at(0))), ["b", "c", "a"]);
}

#[test]
fn critical_pods_go_last_where_that_is_wanted() {
    let critical = PodSeen { critical: true, ..pod("a") };
    let here = [critical.clone(), pod("b")];
    assert_eq!(names(&begun(&here).next(at(0))), ["a", "b"]);
    let options = DrainOptions { critical_last: true, ..DrainOptions::default() };
    let mut engine = begun_with(options, &here);
    assert_eq!(names(&engine.next(at(0))), ["b"]);
    engine.answer(at(0), "uid-b", EvictionResponse::Accepted);
    engine.list(at(1), &[critical.clone(), PodSeen { deletion: Some(Unix(1_700_000_030)), ..pod("b") }]);
    assert_eq!(names(&engine.next(at(1))), Vec::<&str>::new(), "b has not stopped yet");
    engine.list(at(2), &[critical]);
    assert_eq!(names(&engine.next(at(2))), ["a"]);
}

#[test]
fn a_drain_in_which_nothing_goes_for_long_is_given_up_before_its_time() {
    let mut engine = begun_with(DrainOptions::default(), &pods(2));
    engine.next(at(0));
    engine.answer(at(1_000), "uid-p000", EvictionResponse::Accepted);
    engine.answer(at(1_000), "uid-p001", blocked());
    engine.list(at(60_000), &pods(2)[1..]);
    assert_eq!(engine.progress(at(959_999)).state, DrainState::Draining, "a pod went at 60 s");
    assert!(engine.next(at(959_999)).wake <= Some(Mono(960_000)));
    let trouble = trouble(&engine, at(960_000));
    assert_eq!(trouble.reason, Reason::DrainBlocked);
    for words in ["after 900 s in which none went", "default/p001", "no-progress-timeout"] {
        assert!(trouble.message.contains(words), "{}", trouble.message);
    }
}

#[test]
fn a_pod_within_its_grace_period_is_progress() {
    let slow = PodSeen { deletion: Some(Unix(1_700_002_000)), grace: 2_000, ..pod("a") };
    let engine = begun_with(DrainOptions::default(), &[slow]);
    assert_eq!(engine.progress(at(2_899_999)).state, DrainState::Draining);
    assert_eq!(trouble(&engine, at(2_900_000)).reason, Reason::DrainTimedOut);
}

#[test]
fn a_pod_that_terminates_for_ever_names_its_finalizers_or_its_kubelet() {
    let stuck = PodSeen { deletion: Some(Unix(1_700_000_030)), ..pod("a") };
    let held = PodSeen { finalizers: vec!["example.com/hold".to_owned()], ..stuck.clone() };
    for (pod, words) in [(stuck, "kubelet or container runtime"), (held, "finalizers example.com/hold")] {
        let message = trouble(&begun(&[pod]), at(3_600_000)).message;
        assert!(message.contains("3570 s past its grace period") && message.contains(words), "{message}");
    }
}

#[test]
fn a_pod_that_terminates_for_too_long_is_passed_over_where_that_is_wanted() {
    let stuck = PodSeen { deletion: Some(Unix(1_700_000_030)), ..pod("a") };
    let options =
        DrainOptions { skip_wait_for_delete_timeout: Duration::from_mins(1), ..DrainOptions::default() };
    let mut engine = begun_with(options, std::slice::from_ref(&stuck));
    let next = engine.next(at(1_000));
    assert_eq!((engine.progress(at(90_000)).left, next.wake), (1, Some(Mono(60_000))));
    engine.confirmed(at(60_000), std::slice::from_ref(&stuck));
    assert_eq!(engine.next(at(60_000)).wake, Some(Mono(91_000)), "61 s after its grace period of 30 s");
    assert!(engine.next(at(91_000)).list);
    engine.confirmed(at(91_001), &[stuck]);
    let progress = engine.progress(at(91_001));
    assert_eq!((progress.state, progress.passed_over[0].pod.as_str()), (DrainState::Drained, "default/a"));
    assert!(progress.passed_over[0].why.contains("skip-wait-for-delete-timeout"));
}

#[test]
fn a_forbidden_pod_is_gone_if_a_fresh_list_agrees_and_is_told_if_it_does_not() {
    let mut engine = begun(&pods(1));
    engine.next(at(0));
    engine.answer(at(1), "uid-p000", EvictionResponse::Forbidden("no permission".to_owned()));
    assert_eq!((engine.progress(at(1)).left, engine.progress(at(1)).blocked.len()), (0, 0));
    let mut gone = engine.clone();
    gone.confirmed(at(2_000), &[]);
    assert_eq!(gone.progress(at(2_000)).state, DrainState::Drained);
    engine.confirmed(at(2_000), &pods(1));
    let progress = engine.progress(at(2_000));
    assert_eq!((progress.left, progress.blocked[0].message.as_str()), (1, "no permission"));
    assert_eq!(names(&engine.next(at(7_000))), ["p000"]);
}

#[test]
fn somebody_was_disturbed_once_an_eviction_was_accepted() {
    let answers = [EvictionResponse::Failed("away".to_owned()), blocked(), EvictionResponse::Accepted];
    let told = answers.map(|answer| {
        let mut engine = begun(&[pod("a")]);
        let uid = engine.next(at(0)).evict[0].uid.clone();
        engine.answer(at(0), &uid, answer);
        engine.progress(at(0)).evicted
    });
    assert_eq!(told, [false, false, true]);
}
