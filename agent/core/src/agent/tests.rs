use std::collections::BTreeMap;

use super::*;
use crate::act::Fault;
use crate::api::annotations::{CURRENT, RETRY, TARGET};
use crate::api::{Check, KubeadmCommand, Phase, Version};
use crate::drain::DrainOptions;
use crate::memory::{Packages, Plan};
use crate::observed::{Finding, Findings, HostSeen, NodeSeen, Outcome, Ready, TurnSeen};

const OLD: Version = Version::new(1, 36, 2);
const NEW: Version = Version::new(1, 36, 3);
const NOW: Now = Now { mono: Mono(1_000_000), unix: Unix(5_000) };

fn node(retry: Option<&str>) -> Input {
    let mut annotations =
        BTreeMap::from([(TARGET.into(), NEW.to_string()), (CURRENT.into(), OLD.to_string())]);
    annotations.extend(retry.map(|retry| (RETRY.to_owned(), retry.to_owned())));
    let seen = NodeSeen { ready: Ready::True, kubelet: Some(OLD), ..NodeSeen::default() };
    let seen = seen.with_annotations(&annotations);
    Input::Observed(Observation::Node(Some(seen)))
}

fn agent() -> Agent {
    let settings = Settings {
        node: "w1".into(),
        drain: DrainOptions::default(),
        soak: Duration::from_secs(5),
        verify_timeout: Duration::from_mins(10),
    };
    Agent::new(settings, Memory { known: true, ..Memory::default() })
}

fn plan() -> Plan {
    let packages = |version: &str| Packages {
        kubeadm: version.parse().unwrap(),
        kubelet: version.parse().unwrap(),
        kubectl: None,
    };
    Plan {
        from: packages("1.36.2-1.1"),
        to: packages("1.36.3-1.1"),
        command: KubeadmCommand::NodeWorker,
        target: NEW,
        can_restore_packages: true,
        daemon_sets: [].into(),
        csi_drivers: [].into(),
    }
}

/// The act that the outputs start.
fn started(outputs: &[Output]) -> Option<(ActId, Act)> {
    outputs.iter().find_map(|output| match output {
        Output::Start(id, act) => Some((*id, act.clone())),
        _ => None,
    })
}

#[test]
fn whoever_asks_again_after_a_refusal_gets_a_new_preflight() {
    let mut agent = agent();
    let (id, act) = started(&agent.on(NOW, node(None))).unwrap();
    assert_eq!(act, Act::Preflight { target: NEW });
    let outcome = Outcome::Failed("the repository does not have it".into());
    let findings = vec![Finding { check: Check::Packages, outcome }];
    let findings = Findings { target: NEW, at: NOW.mono, plan: None, findings };
    let outputs = agent.on(NOW, Input::Ended(id, ActResult::ok(vec![Observation::Preflight(findings)])));
    assert!(outputs.iter().any(|output| matches!(output, Output::Store(memory) if memory.refused.is_some())));
    assert_eq!(started(&agent.on(NOW, Input::Stored)), None, "the refusal stands");
    let (_, act) = started(&agent.on(NOW, node(Some("the repository has it now")))).unwrap();
    assert_eq!(act, Act::Preflight { target: NEW });
}

#[test]
fn whoever_loses_the_race_for_a_lease_waits_for_the_next_turn() {
    let mut agent = agent();
    let (id, _) = started(&agent.on(NOW, node(None))).unwrap();
    let findings = Findings { target: NEW, at: NOW.mono, plan: Some(plan()), findings: Vec::new() };
    let outputs = agent.on(NOW, Input::Ended(id, ActResult::ok(vec![Observation::Preflight(findings)])));
    assert_eq!(started(&outputs).unwrap().1, Act::AwaitTurn);
    agent.on(NOW, Input::Observed(Observation::Host(HostSeen { at: NOW.mono, ..HostSeen::default() })));
    let free = TurnSeen { at: NOW.mono, ..TurnSeen::default() };
    let outputs = agent.on(NOW, Input::Observed(Observation::Turn(free)));
    let stopped = outputs.iter().find_map(|output| match output {
        Output::Stop(id) => Some(*id),
        _ => None,
    });
    let stop = Fault { class: FaultClass::Stopped, message: String::new() };
    let outputs = agent.on(NOW, Input::Ended(stopped.unwrap(), ActResult::failed(stop)));
    assert!(matches!(outputs.first(), Some(Output::Store(memory)) if memory.turn.is_some()));
    let (id, act) = started(&agent.on(NOW, Input::Stored)).unwrap();
    assert_eq!(act.word(), "renew");
    let lost = vec![Observation::Lease(LeaseSeen::Other("w2/u2/j2".into()))];
    let outputs = agent.on(NOW, Input::Ended(id, ActResult::ok(lost)));
    assert!(matches!(outputs.first(), Some(Output::Store(memory)) if memory.turn.is_none()));
    assert_eq!(started(&agent.on(NOW, Input::Stored)).unwrap().1, Act::AwaitTurn);
}

/// When a target that cannot be reached is said to be refused since.
fn refused_since(agent: &mut Agent, target: &str, seconds: u64) -> Unix {
    let now = Now { mono: Mono(seconds * 1_000), unix: Unix(seconds) };
    let annotations = BTreeMap::from([(TARGET.into(), target.to_owned()), (CURRENT.into(), OLD.to_string())]);
    let seen = NodeSeen { ready: Ready::True, kubelet: Some(OLD), ..NodeSeen::default() };
    let seen = seen.with_annotations(&annotations);
    let saw = agent.on(now, Input::Observed(Observation::Node(Some(seen))));
    let outputs = saw.into_iter().chain(agent.on(now, Input::Stored));
    let told = outputs.filter_map(|output| match output {
        Output::Report(report) => Some(report),
        _ => None,
    });
    let report = told.collect::<Vec<_>>().pop().unwrap();
    assert!(report.phase == Phase::Refused && report.message.contains(target), "{report:?}");
    report.since
}

#[test]
#[should_panic(expected = "a second refusal is another one")]
fn a26_a_second_refusal_is_dated_by_itself() {
    let mut agent = agent();
    assert_eq!(refused_since(&mut agent, "v1.30.0", 5_000), Unix(5_000));
    assert_eq!(refused_since(&mut agent, "v1.29.0", 6_000), Unix(6_000), "a second refusal is another one");
}
