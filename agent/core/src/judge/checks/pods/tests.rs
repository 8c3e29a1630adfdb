use super::*;
use crate::observed::Owner;

fn pod(name: &str, owner: Option<&str>) -> PodSeen {
    PodSeen {
        namespace: "default".into(),
        name: name.into(),
        uid: format!("uid-{name}"),
        controller: owner.map(|name| Owner {
            api_version: "apps/v1".into(),
            kind: "ReplicaSet".into(),
            name: name.into(),
        }),
        ..PodSeen::default()
    }
}

fn options() -> DrainOptions {
    DrainOptions { force: true, ..DrainOptions::default() }
}

fn lines(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("line {number}")).collect()
}

#[test]
fn one_pod_of_each_controller_is_tried_and_each_pod_that_has_none() {
    let pods = [
        pod("a", Some("web")),
        pod("b", Some("web")),
        pod("c", Some("db")),
        pod("d", None),
        pod("e", None),
        PodSeen { mirror: true, ..pod("f", None) },
    ];
    let tried: Vec<_> = to_try(&pods, &options(), Unix(0)).iter().map(|pod| pod.name.as_str()).collect();
    assert_eq!(tried.len(), 4);
    assert!(["c", "d", "e"].iter().all(|name| tried.contains(name)), "{tried:?}");
}

#[test]
fn what_budgets_and_a_busy_server_say_to_a_dry_run_is_no_finding() {
    let mut tried = Tried::default();
    let budget = EvictionResponse::Blocked { budget: None, message: String::new(), retry_after: None };
    for answer in [
        EvictionResponse::Accepted,
        EvictionResponse::Gone,
        budget,
        EvictionResponse::Busy { retry_after: None },
    ] {
        tried.take(&pod("a", None), answer);
    }
    assert_eq!(tried, Tried::default());
}

#[test]
fn a_forbidden_eviction_counts_only_while_its_pod_is_here() {
    let mut tried = Tried::default();
    tried.take(&pod("a", None), EvictionResponse::Forbidden("no".into()));
    tried.take(&pod("b", None), EvictionResponse::Forbidden("no".into()));
    let again = PodSeen { uid: "another".into(), ..pod("b", None) };
    tried.keep_those_still_here(&[pod("a", None), again]);
    assert_eq!(tried.forbidden, [("uid-a".to_owned(), "pod default/a: no".to_owned())]);
}

#[test]
fn pods_pass_with_a_note_or_are_refused_by_the_worst_that_is_known_of_them() {
    let never = Forecast { never: lines(7), ..Forecast::default() };
    let fine = Forecast { evicted: 3, ..Forecast::default() };
    let mut failed = Tried::default();
    failed.take(&pod("a", None), EvictionResponse::Failed("webhook away".into()));
    let mut both = failed.clone();
    both.take(&pod("b", None), EvictionResponse::Forbidden("not yours".into()));
    for (forecast, tried, outcome) in [
        (&never, &both, Outcome::Failed("line 0; line 1; line 2; line 3; line 4 and 2 more".into())),
        (&fine, &both, Outcome::Failed("the API server refuses evictions: pod default/b: not yours".into())),
        (
            &fine,
            &failed,
            Outcome::Noted(
                "3 pods would be evicted; evictions tried as dry runs fail: pod default/a: webhook away"
                    .into(),
            ),
        ),
        (&fine, &Tried::default(), Outcome::Passed("3 pods would be evicted".into())),
    ] {
        assert_eq!(pods(&options(), forecast, tried), outcome);
    }
    let off = DrainOptions { enabled: false, ..options() };
    assert_eq!(pods(&off, &never, &both), Outcome::Passed("draining is switched off".into()));
}

#[test]
fn slow_budgets_and_lost_data_are_told_and_do_not_hold_up() {
    let forecast = Forecast {
        evicted: 1,
        slow: vec!["budget a holds".into()],
        lose_data: vec!["default/a".into()],
        ..Forecast::default()
    };
    let told = "1 pods would be evicted; budget a holds; emptyDir data is lost of default/a";
    assert_eq!(pods(&options(), &forecast, &Tried::default()), Outcome::Passed(told.into()));
    let blocked = Forecast { blocked: vec!["budget b allows nothing".into()], ..Forecast::default() };
    let told = "0 pods would be evicted; budget b allows nothing";
    assert_eq!(pods(&options(), &blocked, &Tried::default()), Outcome::Noted(told.into()));
    assert_eq!(refused(&forecast), None);
}
