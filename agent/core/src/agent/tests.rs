use std::collections::BTreeMap;

use super::*;
use crate::drain::DrainOptions;
use crate::preflight::{Check, Finding, Findings, Outcome};
use crate::request::{CURRENT, RETRY, TARGET};
use crate::seen::{NodeSeen, Ready};
use crate::version::Version;

const OLD: Version = Version::new(1, 36, 2);
const NEW: Version = Version::new(1, 36, 3);
const NOW: Now = Now { mono: Mono(1_000_000), unix: Unix(5_000) };

fn node(retry: Option<&str>) -> Input {
    let mut annotations =
        BTreeMap::from([(TARGET.into(), NEW.to_string()), (CURRENT.into(), OLD.to_string())]);
    annotations.extend(retry.map(|retry| (RETRY.to_owned(), retry.to_owned())));
    let seen = NodeSeen { ready: Ready::True, kubelet: Some(OLD), annotations, ..NodeSeen::default() };
    Input::Saw(Fact::Node(Some(seen)))
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
    let settings =
        Settings { node: "w1".into(), drain: DrainOptions::default(), soak: 5, verify_timeout: 600 };
    let mut agent = Agent::new(settings, Memory { known: true, ..Memory::default() });
    let (id, act) = started(&agent.on(NOW, node(None))).unwrap();
    assert_eq!(act, Act::Preflight { target: NEW });
    let outcome = Outcome::Failed("the repository does not have it".into());
    let findings = vec![Finding { check: Check::Packages, outcome }];
    let findings = Findings { target: NEW, at: NOW.mono, hop: None, findings };
    let outputs = agent.on(NOW, Input::Ended(id, Ended::well(vec![Fact::Preflight(findings)])));
    assert!(outputs.iter().any(|output| matches!(output, Output::Store(memory) if memory.refused.is_some())));
    assert_eq!(started(&agent.on(NOW, Input::Stored)), None, "the refusal stands");
    let (_, act) = started(&agent.on(NOW, node(Some("the repository has it now")))).unwrap();
    assert_eq!(act, Act::Preflight { target: NEW });
}
