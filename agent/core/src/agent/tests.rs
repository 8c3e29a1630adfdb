use std::collections::BTreeMap;

use super::*;
use crate::act::Fault;
use crate::api::annotations::{CURRENT, RETRY, STATUS, TARGET};
use crate::api::{LeaseName, Phase, TurnId, TurnKind, Version};
use crate::drain::DrainOptions;
use crate::judge::tests::{NEW, OLD, fleet, holder, host, plan};
use crate::observed::{
    Access, DrainState, Finding, Findings, FleetSeen, HostSeen, NodeSeen, Outcome, PodsSeen, Progress, Ready,
    ToolState,
};
use crate::time::BootId;

mod beating;
mod pausing;
mod telling;

/// So many seconds after the agent was started.
fn at(seconds: u64) -> Now {
    Now { mono: Mono(1_000_000 + seconds * 1_000), boot: BootId(1), unix: Unix(5_000 + seconds) }
}

fn settings() -> Settings {
    Settings {
        node: "w1".into(),
        drain: DrainOptions::default(),
        soak: Duration::from_secs(5),
        verify_timeout: Duration::from_mins(10),
    }
}

fn agent(memory: Memory) -> Agent {
    Agent::new(settings(), Memory { known: true, ..memory })
}

/// The own Node with these annotations beside `current`.
fn node(annotations: &[(&str, &str)]) -> Observation {
    let mut given = BTreeMap::from([(CURRENT.to_owned(), OLD.to_string())]);
    given.extend(annotations.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
    let seen = NodeSeen {
        name: "w1".into(),
        uid: "uid-w1".into(),
        ready: Ready::True,
        kubelet: Some(OLD),
        ..NodeSeen::default()
    };
    Observation::Node(Some(seen.with_annotations(&given)))
}

const WANTED: (&str, &str) = (TARGET, "v1.36.3");

fn host_at(now: Now) -> Observation {
    Observation::Host(HostSeen { at: now.mono, ..host(OLD, OLD) })
}

fn fleet_at(now: Now) -> Observation {
    Observation::Fleet(FleetSeen { at: now.mono, ..fleet() })
}

fn pods_at(now: Now) -> Observation {
    Observation::Pods(PodsSeen { at: now.mono, ..PodsSeen::default() })
}

fn found(now: Now, outcome: Outcome) -> Observation {
    let findings = vec![Finding { check: crate::api::Check::KubeletFlags, outcome }];
    let plan = Some(plan(false));
    Observation::Preflight(Findings {
        target: NEW,
        kind: TurnKind::Kubelet,
        retry: None,
        at: now.mono,
        plan,
        findings,
    })
}

fn passed(now: Now) -> Observation {
    found(now, Outcome::Passed(String::new()))
}

impl Agent {
    fn sees(&mut self, now: Now, observation: Observation) -> Vec<Output> {
        self.on(now, Input::Observed(observation))
    }

    fn ends(&mut self, now: Now, id: ActId, observations: Vec<Observation>) -> Vec<Output> {
        self.on(now, Input::Ended(id, ActResult::ok(observations)))
    }

    fn fails(&mut self, now: Now, id: ActId) -> Vec<Output> {
        let fault = Fault { class: FaultClass::Transient, message: "it does not answer".into() };
        self.on(now, Input::Ended(id, ActResult::failed(fault)))
    }
}

/// An agent that has seen its host, its pods, the fleet and a target it has not reached: what it starts then.
fn prepared(now: Now) -> (Agent, ActId, Act) {
    let mut agent = agent(Memory::default());
    agent.observed.take(host_at(now), now.mono);
    agent.observed.take(fleet_at(now), now.mono);
    agent.observed.take(pods_at(now), now.mono);
    let (id, act) = started(&agent.sees(now, node(&[WANTED]))).unwrap();
    (agent, id, act)
}

/// The first act of a turn that is durable now, after the look at what differs from its copies.
fn begins(agent: &mut Agent, now: Now) -> (ActId, Act) {
    let (id, look) = started(&agent.on(now, Input::Stored)).unwrap();
    let turn = agent.memory().turn.as_ref().map(|turn| turn.holder.turn.clone());
    assert_eq!(look, Act::LookAtHost { turn });
    started(&agent.ends(now, id, vec![host_at(now)])).unwrap()
}

/// The act that the outputs start.
fn started(outputs: &[Output]) -> Option<(ActId, Act)> {
    outputs.iter().find_map(|output| match output {
        Output::Start(id, act) => Some((*id, act.clone())),
        _ => None,
    })
}

fn stored(outputs: &[Output]) -> Option<&Memory> {
    outputs.iter().find_map(|output| match output {
        Output::Store(memory) => Some(&**memory),
        _ => None,
    })
}

fn stopped(outputs: &[Output]) -> Option<ActId> {
    outputs.iter().find_map(|output| match output {
        Output::Stop(id) => Some(*id),
        _ => None,
    })
}

fn reports(outputs: &[Output]) -> Vec<&Report> {
    fn told(output: &Output) -> Option<&Report> {
        if let Output::Report(report) = output { Some(report) } else { None }
    }
    outputs.iter().filter_map(told).collect()
}

/// A turn that has begun, as a journal has it.
fn remembered(reached: Step, degraded: Option<&str>) -> Memory {
    let turn = Turn {
        holder: holder("w1"),
        kind: TurnKind::Kubelet,
        lease: LeaseName::Slot(0),
        plan: plan(false),
        reached,
        direction: Direction::Forward,
        degraded: degraded.map(|why| Explanation::new(Reason::NotVerified, why)),
        run: None,
        attempts: BTreeMap::new(),
        unit_serial: 0,
        stopwatch: crate::time::Stopwatch::started(at(0)),
        not_before: crate::time::NotBefore::default(),
        kubelet_before: None,
        changed: false,
        skipped: [].into(),
        retry: None,
        since: Unix(5_000),
    };
    Memory { known: true, turn: Some(turn), ..Memory::default() }
}

fn ours(now: Now) -> LeaseSeen {
    LeaseSeen::Held { at: now.mono, turn: holder("w1").turn, applied: None }
}

#[test]
fn whoever_asks_again_after_a_refusal_gets_a_new_preflight() {
    let (mut agent, id, act) = prepared(at(0));
    let preflight = Act::Preflight { target: NEW, kind: TurnKind::Kubelet };
    assert_eq!(act, preflight);
    let outputs =
        agent.ends(at(1), id, vec![found(at(1), Outcome::Failed("the repository does not have it".into()))]);
    assert!(stored(&outputs).unwrap().refused.is_some());
    assert_eq!(started(&agent.on(at(1), Input::Stored)), None, "the refusal stands");
    let outputs = agent.sees(at(2), node(&[WANTED, (RETRY, "it has it now")]));
    assert_eq!(stored(&outputs).unwrap().refused, None, "and is forgotten when it was answered");
    let (_, act) = started(&agent.on(at(2), Input::Stored)).unwrap();
    assert_eq!(act, preflight);
}

#[test]
fn a_memory_is_durable_before_anything_is_done_on_it() {
    let (mut agent, id, _) = prepared(at(0));
    let outputs = agent.ends(at(1), id, vec![passed(at(1))]);
    assert_eq!(
        (stored(&outputs).unwrap().turn.as_ref().unwrap().reached, started(&outputs)),
        (Step::Claiming, None)
    );
    assert_eq!(agent.memory().turn, None);
    assert_eq!(agent.on(at(2), Input::Tick).iter().find(|output| !matches!(output, Output::Report(_))), None);
    assert_eq!(begins(&mut agent, at(2)).1.word(), "claim");
    assert!(agent.memory().turn.is_some());
}

#[test]
fn whoever_loses_the_race_for_a_lease_waits_for_the_next_turn_on_the_same_preflight() {
    let (mut agent, id, _) = prepared(at(0));
    agent.ends(at(1), id, vec![passed(at(1))]);
    let (id, _) = begins(&mut agent, at(1));
    let lost = vec![Observation::Lease(LeaseSeen::Other("w2/u2/j2".into()))];
    let outputs = agent.ends(at(2), id, lost);
    let back = stored(&outputs).unwrap().turn.as_ref().unwrap();
    assert!(matches!(&back.direction, Direction::Back(why) if why.reason == Reason::WaitingForTurn));
    let outputs = agent.on(at(2), Input::Stored);
    assert_eq!(stored(&outputs).unwrap().turn, None);
    let outputs = agent.on(at(2), Input::Stored);
    assert!(agent.observed.preflight.is_some());
    let (id, look) = started(&outputs).unwrap();
    assert_eq!(look, Act::LookAtHost { turn: None });
    let outputs = agent.ends(at(2), id, vec![host_at(at(2))]);
    assert_eq!(started(&outputs).map(|(_, act)| act.word()), None);
    let waits: Vec<_> = outputs.iter().filter(|output| matches!(output, Output::WakeAt(_))).collect();
    assert!(
        matches!(waits[..], [Output::WakeAt(until)] if until.since(at(2).mono) >= Duration::from_secs(15))
    );
}

#[test]
fn one_act_runs_at_a_time_and_its_end_is_told_by_its_name() {
    let (mut agent, id, act) = prepared(at(0));
    assert_eq!(started(&agent.on(at(1), Input::Tick)), None, "{act:?} runs already");
    let stale = agent.ends(at(1), ActId(id.0 + 1), vec![passed(at(1))]);
    assert_eq!((stored(&stale), started(&stale)), (None, None));
    assert!(stored(&agent.ends(at(1), id, vec![passed(at(1))])).is_some());
}

#[test]
fn what_may_be_stopped_is_stopped_once_when_something_else_is_wanted_and_awaited_all_the_same() {
    let (mut agent, id, _) = prepared(at(0));
    let outputs = agent.sees(at(1), node(&[(TARGET, "v1.36.1")]));
    assert_eq!((stopped(&outputs), stored(&outputs)), (Some(id), None));
    let again = agent.on(at(2), Input::Tick);
    assert_eq!((stopped(&again), stored(&again)), (None, None));
    let fault = Fault { class: FaultClass::Stopped, message: String::new() };
    let outputs = agent.on(at(3), Input::Ended(id, ActResult::failed(fault)));
    assert!(stored(&outputs).unwrap().refused.is_some());
}

#[test]
fn a_tool_that_runs_is_never_stopped() {
    let mut agent = agent(remembered(Step::Staging, None));
    let busy =
        HostSeen { at: at(0).mono, tools: [("u".to_owned(), ToolState::Running)].into(), ..host(OLD, OLD) };
    let (_, act) = started(&agent.sees(at(0), Observation::Host(busy))).unwrap();
    assert_eq!(act.word(), "await");
    let outputs = agent.sees(at(1), host_at(at(1)));
    assert_eq!((stopped(&outputs), started(&outputs)), (None, None));
}

#[test]
fn another_turn_or_another_mark_has_its_lease_to_prove() {
    let stores = |before: Memory, after: Memory| {
        let mut agent = agent(before);
        agent.observed.lease = Some(ours(at(0)));
        agent.storing = Some(Box::new(after));
        agent.stored(at(0));
        agent.observed.lease.is_some()
    };
    let mut another = remembered(Step::Draining, None);
    another.turn.as_mut().unwrap().holder.turn = TurnId("k".into());
    assert!(stores(remembered(Step::Draining, None), remembered(Step::Staging, None)));
    for (before, after) in [
        (remembered(Step::Draining, None), another),
        (remembered(Step::Draining, None), remembered(Step::Draining, Some("disk"))),
        (remembered(Step::Draining, Some("disk")), remembered(Step::Draining, None)),
        (remembered(Step::Draining, None), Memory::default()),
    ] {
        assert!(!stores(before, after));
    }
}

#[test]
fn what_was_found_before_a_turn_says_nothing_after_it_unless_it_gave_way_untouched() {
    let kept = |reached, reason| {
        let mut before = remembered(reached, None);
        before.turn.as_mut().unwrap().direction = Direction::Back(Explanation::new(reason, ""));
        let mut agent = agent(before);
        agent.observed.take(passed(at(0)), at(0).mono);
        agent.storing = Some(Box::new(Memory::default()));
        agent.stored(at(0));
        agent.observed.preflight.is_some()
    };
    assert!(kept(Step::Claiming, Reason::WaitingForTurn));
    assert!(!kept(Step::Cordoning, Reason::WaitingForTurn));
    assert!(!kept(Step::Claiming, Reason::Cancelled));
    assert!(!kept(Step::Claiming, Reason::PreflightPending), "which is made anew");
}
