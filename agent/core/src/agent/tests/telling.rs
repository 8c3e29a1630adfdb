//! What is watched, and what is told: once, and since when.

use super::*;

fn watches(outputs: &[Output]) -> Option<bool> {
    outputs.iter().find_map(|output| match output {
        Output::Watch(wanted) => Some(*wanted),
        _ => None,
    })
}

#[test]
fn what_agents_share_is_watched_while_a_target_is_not_reached() {
    let mut agent = agent(Memory::default());
    assert_eq!(watches(&agent.sees(at(0), node(&[]))), None);
    assert_eq!(watches(&agent.sees(at(1), node(&[WANTED]))), Some(true));
    assert_eq!(watches(&agent.sees(at(2), node(&[WANTED]))), None, "said once");
    assert_eq!(
        watches(&agent.sees(at(3), node(&[(TARGET, "v1.36.2")]))),
        Some(false),
        "it runs that already"
    );
    assert_eq!(watches(&agent.sees(at(4), node(&[(TARGET, "nonsense")]))), None);
}

#[test]
fn what_agents_share_is_watched_in_a_turn_with_or_without_a_target_and_only_with_a_credential() {
    let mut agent = agent(remembered(Step::Draining, None));
    assert_eq!(watches(&agent.sees(at(0), node(&[]))), Some(true));
    let missing = Access::Missing(Explanation::new(Reason::WaitingForApproval, "approve csr-1"));
    assert_eq!(watches(&agent.sees(at(1), Observation::Access(missing))), Some(false));
    assert_eq!(watches(&agent.sees(at(2), Observation::Access(Access::default()))), Some(true));
}

#[test]
fn nothing_is_told_before_the_node_was_seen_and_nothing_twice() {
    let mut agent = agent(Memory::default());
    assert!(reports(&agent.sees(at(0), host_at(at(0)))).is_empty());
    let outputs = agent.sees(at(1), node(&[]));
    assert_eq!(reports(&outputs).len(), 1);
    assert!(reports(&agent.sees(at(2), node(&[]))).is_empty());
    assert!(reports(&agent.on(at(3), Input::Tick)).is_empty());
}

#[test]
fn what_a_node_does_not_show_any_more_is_told_again_since_the_same_moment() {
    let mut agent = agent(Memory::default());
    let told = reports(&agent.sees(at(1), node(&[])))[0].clone();
    let shows = |report: &Report| serde_json::to_string(report).unwrap();
    let older = shows(&Report { phase: Phase::Verifying, ..told.clone() });
    let same = shows(&Report { message: "in other words".to_owned(), ..told.clone() });
    let again = |agent: &mut Agent, second, status: &str| {
        let outputs = agent.sees(at(second), node(&[(STATUS, status)]));
        reports(&outputs).first().map(|report| report.since)
    };
    assert_eq!(again(&mut agent, 61, &older), None, "it may still come");
    assert!(!agent.since.restored);
    assert_eq!(again(&mut agent, 62, &older), Some(told.since));
    assert_eq!(again(&mut agent, 63, &older), None, "it was told just now");
    assert_eq!(again(&mut agent, 64, &same), None);
    assert!(!agent.since.restored, "it never stood there");
    assert_eq!(again(&mut agent, 65, &older), Some(told.since), "it stood there");
    assert!(agent.since.restored, "an etcd was put back, whatever its revision");
    assert_eq!(again(&mut agent, 126, "nonsense"), Some(told.since));
}

#[test]
fn a_look_that_is_taken_on_the_way_changes_nothing_of_what_is_told() {
    let (mut agent, id, _) = prepared(at(0));
    let pending = || Outcome::Pending("kured is rebooting".into());
    let outputs = agent.ends(at(1), id, vec![found(at(1), pending())]);
    let told = reports(&outputs)[0].clone();
    assert_eq!(
        (told.phase, told.reason, told.since),
        (Phase::Preflight, Reason::PreflightPending, Unix(5_001))
    );
    let mut id = None;
    for second in [20, 40] {
        // The host, the fleet and preflight are looked at again, and find what they found.
        let mut outputs = agent.on(at(second), Input::Tick);
        while let Some((looked, act)) = started(&outputs) {
            assert_eq!(reports(&outputs), Vec::<&Report>::new(), "{act:?}");
            id = Some(looked);
            let seen = match act {
                Act::LookAtHost { .. } => host_at(at(second)),
                Act::LookAtFleet => fleet_at(at(second)),
                Act::Preflight { .. } => found(at(second), pending()),
                other => panic!("{other:?}"),
            };
            outputs = agent.ends(at(second), looked, vec![seen]);
        }
        assert_eq!(reports(&outputs), Vec::<&Report>::new());
    }
    assert!(id.is_some());
}

#[test]
fn whom_a_node_waits_for_stands_also_while_preflight_is_made_once_more() {
    let (mut agent, id, _) = prepared(at(0));
    let mut fleet = fleet_at(at(0));
    if let Observation::Fleet(fleet) = &mut fleet {
        fleet.policy.policy.paused = true;
    }
    agent.observed.take(fleet, at(0).mono);
    let outputs = agent.ends(at(1), id, vec![found(at(1), Outcome::Passed(String::new()))]);
    assert_eq!(reports(&outputs)[0].reason, Reason::Paused);
    agent.observed.preflight = None;
    let outputs = agent.on(at(2), Input::Tick);
    assert!(matches!(started(&outputs), Some((_, Act::Preflight { .. }))), "{outputs:?}");
    assert_eq!(reports(&outputs), Vec::<&Report>::new());
}

#[test]
fn no_look_stops_a_preflight_that_takes_long() {
    let (mut agent, id, act) = prepared(at(0));
    assert!(matches!(act, Act::Preflight { .. }));
    let outputs = agent.sees(at(60), node(&[WANTED]));
    assert_eq!((stopped(&outputs), started(&outputs)), (None, None));
    agent.ends(at(61), id, vec![found(at(61), Outcome::Passed(String::new()))]);
    assert!(agent.observed.preflight.is_some());
}

#[test]
fn a_report_is_dated_from_when_its_phase_and_reason_began() {
    let mut agent = agent(Memory::default());
    agent.observed.take(host_at(at(0)), at(0).mono);
    agent.observed.take(fleet_at(at(0)), at(0).mono);
    let since = |outputs: &[Output]| reports(outputs).last().map(|report| (report.reason, report.since));
    let idle = agent.sees(at(0), node(&[]));
    assert_eq!(since(&idle), Some((Reason::Idle, Unix(5_000))));
    let wrong = agent.sees(at(5), node(&[(TARGET, "x")]));
    assert_eq!(since(&wrong), Some((Reason::InvalidTarget, Unix(5_005))));
    let later = agent.sees(at(9), node(&[]));
    assert_eq!(since(&later), Some((Reason::Idle, Unix(5_009))));
}

#[test]
fn a_refusal_is_told_with_its_words_as_long_as_it_stands() {
    let mut agent = agent(Memory::default());
    agent.observed.take(host_at(at(0)), at(0).mono);
    agent.observed.take(fleet_at(at(0)), at(0).mono);
    let outputs = agent.sees(at(0), node(&[(TARGET, "v1.36.1")]));
    let outputs = [outputs, agent.on(at(0), Input::Stored)].concat();
    let told = reports(&outputs).last().copied().unwrap().clone();
    assert_eq!((told.phase, told.target.as_deref()), (Phase::Refused, Some("v1.36.1")));
    assert!(told.message.contains("older"), "{told:?}");
    let version: Version = "v1.36.2".parse().unwrap();
    assert_eq!(told.current, Some(version));
}

#[test]
fn what_is_published_beside_a_refusal_changes_nothing_of_what_is_told() {
    let mut agent = agent(Memory::default());
    agent.observed.take(host_at(at(0)), at(0).mono);
    agent.observed.take(fleet_at(at(0)), at(0).mono);
    agent.sees(at(0), node(&[(TARGET, "v1.36.1")]));
    agent.on(at(0), Input::Stored);
    let outputs = agent.sees(at(1), node(&[(TARGET, "v1.36.1"), (CURRENT, "v1.36.1")]));
    assert!(matches!(started(&outputs), Some((_, Act::PublishCurrent { .. }))), "{outputs:?}");
    let told = reports(&outputs).last().map(|report| report.phase);
    assert!(told.is_none_or(|phase| phase == Phase::Refused), "{told:?}");
}

#[test]
fn what_is_waited_for_is_waited_for_since_it_was_first_and_looks_do_not_end_it() {
    let (mut agent, id, _) = prepared(at(0));
    agent.ends(at(1), id, vec![found(at(1), Outcome::Pending("soon".into()))]);
    assert_eq!(agent.since.waits_for(), Some(Reason::PreflightPending));
    let outputs = agent.on(at(30), Input::Tick);
    assert!(started(&outputs).is_some());
    assert_eq!(agent.since.waited(at(31)), Duration::from_secs(30));
    agent.sees(at(32), node(&[]));
    assert_eq!(agent.since.waits_for(), None, "nothing is wanted any more");
}

/// When a target that cannot be reached is said to be refused since.
fn refused_since(agent: &mut Agent, target: &str, seconds: u64) -> Unix {
    let saw = agent.sees(at(seconds), node(&[(TARGET, target)]));
    let outputs = [saw, agent.on(at(seconds), Input::Stored)].concat();
    let report = reports(&outputs).last().copied().unwrap();
    assert!(report.phase == Phase::Refused && report.message.contains(target), "{report:?}");
    report.since
}

#[test]
fn a26_a_second_refusal_is_dated_by_itself() {
    let (mut agent, ..) = prepared(at(0));
    agent.running = None;
    assert_eq!(refused_since(&mut agent, "v1.36.1", 5), Unix(5_005));
    assert_eq!(refused_since(&mut agent, "v1.36.0", 9), Unix(5_009), "a second refusal is another one");
}
