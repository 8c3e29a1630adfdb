//! What did not come to its end is tried again, after pauses that grow.

use super::*;

/// The pauses before each try of what the agent starts again and again, and that fails each time.
fn pauses(agent: &mut Agent, mut id: ActId, tries: usize) -> Vec<u64> {
    let mut now = at(100);
    (0..tries)
        .map(|_| {
            let outputs = agent.fails(now, id);
            assert_eq!(started(&outputs), None);
            let until = outputs.iter().find_map(|output| match output {
                Output::WakeAt(until) => Some(*until),
                _ => None,
            });
            let pause = until.unwrap().since(now.mono).as_secs();
            now = Now { mono: now.mono.plus(Duration::from_secs(pause)), ..now };
            id = started(&agent.on(now, Input::Tick)).unwrap().0;
            pause
        })
        .collect()
}

fn looks(memory: Memory) -> (Agent, ActId) {
    let mut agent = agent(memory);
    let (id, act) = started(&agent.sees(at(100), node(&[WANTED]))).unwrap();
    assert_eq!(act.word(), "look-at-host");
    (agent, id)
}

#[test]
fn pauses_after_faults_grow_to_a_minute_in_a_turn_and_to_five_minutes_without_one() {
    let (mut agent, id) = looks(remembered(Step::Staging, None));
    assert_eq!(pauses(&mut agent, id, 8), [1, 2, 4, 8, 16, 32, 60, 60]);
    let (mut agent, id) = looks(Memory::default());
    assert_eq!(pauses(&mut agent, id, 11), [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
}

#[test]
fn an_act_that_came_to_its_end_begins_with_the_first_pause_again() {
    let (mut agent, id) = looks(Memory::default());
    pauses(&mut agent, id, 3);
    let running = agent.running.as_ref().unwrap().id;
    agent.ends(at(200), running, vec![host_at(at(200))]);
    agent.running = None;
    agent.observed.host = None;
    let (id, _) = started(&agent.on(at(300), Input::Tick)).unwrap();
    assert_eq!(pauses(&mut agent, id, 1), [1]);
}

#[test]
fn a_node_that_is_told_after_a_silence_ends_the_pauses() {
    let (mut agent, id) = looks(remembered(Step::Staging, None));
    agent.fails(at(100), id);
    let word = |agent: &mut Agent, now| started(&agent.sees(now, node(&[WANTED]))).map(|(_, act)| act.word());
    assert_eq!(word(&mut agent, at(100)), None, "it was told just now");
    assert_eq!(agent.faults.len(), 1);
    agent.faults.values_mut().for_each(|setback| setback.again = at(1_000).mono);
    assert_eq!(word(&mut agent, at(130)), None);
    assert_eq!(word(&mut agent, at(161)), Some("look-at-host"));
}

#[test]
fn a_pause_keeps_nothing_else_from_being_done() {
    let (mut agent, id) = looks(remembered(Step::Staging, None));
    agent.fails(at(100), id);
    let busy =
        HostSeen { at: at(100).mono, tools: [("u".to_owned(), ToolState::Running)].into(), ..host(OLD, OLD) };
    let (_, act) = started(&agent.sees(at(100), Observation::Host(busy))).unwrap();
    assert_eq!(act.word(), "await");
}

#[test]
fn a_drain_that_tells_something_has_got_over_what_stopped_it_before() {
    let mut agent = agent(remembered(Step::Draining, None));
    agent.faults.insert("drain", Setback { count: 5, again: at(0).mono, message: "away".into() });
    agent.running = Some(Running { id: ActId(1), act: Act::LookAtNode, stopping: false });
    let progress = || {
        let state = DrainState::Draining;
        let at = at(1).mono;
        Observation::Drain(Progress {
            at,
            left: 1,
            blocked: vec![],
            passed_over: vec![],
            evicted: true,
            state,
        })
    };
    agent.sees(at(1), progress());
    assert!(agent.faults.contains_key("drain"));
    let until = at(9).mono;
    agent.running = Some(Running {
        id: ActId(1),
        act: Act::Drain { options: DrainOptions::default(), until },
        stopping: false,
    });
    agent.sees(at(1), progress());
    assert!(!agent.faults.contains_key("drain"));
}

#[test]
fn what_does_not_answer_is_told() {
    let (mut agent, id) = looks(Memory::default());
    let outputs = agent.fails(at(100), id);
    let told = reports(&outputs);
    assert!(
        told.iter().any(|report| report.message == "it does not answer" && report.reason == Reason::Retrying),
        "{told:?}"
    );
}

#[test]
fn a_tool_whose_end_was_not_told_leaves_nothing_known_of_the_host() {
    let fails = |act: Act| {
        let mut agent = agent(remembered(Step::Staging, None));
        agent.observed.take(host_at(at(0)), at(0).mono);
        agent.running = Some(Running { id: ActId(1), act, stopping: false });
        agent.fails(at(1), ActId(1));
        agent.observed.host.is_none()
    };
    assert!(fails(Act::Await { unit: "u".into() }));
    assert!(fails(Act::RestartKubelet));
    assert!(!fails(Act::LookAtFleet));
}

#[test]
fn a_journal_that_cannot_be_written_is_written_after_a_pause_and_people_are_told() {
    let (mut agent, id, _) = prepared(at(0));
    let outputs = agent.ends(at(1), id, vec![passed(at(1))]);
    let memory = stored(&outputs).unwrap().clone();
    let outputs = agent.on(at(1), Input::NotStored("no space left on device".into()));
    assert!(reports(&outputs)[0].message.contains("no space left on device"));
    assert_eq!(reports(&outputs)[0].reason, Reason::Retrying);
    assert_eq!(started(&outputs), None);
    assert!(outputs.contains(&Output::WakeAt(at(2).mono)));
    assert_eq!(stored(&agent.on(at(2), Input::Tick)), Some(&memory));
    assert_eq!(stored(&agent.sees(at(2), node(&[WANTED]))), None, "once, until it is answered");
    agent.on(at(2), Input::NotStored("no space left on device".into()));
    assert_eq!(stored(&agent.on(at(3), Input::Tick)), None);
    assert_eq!(stored(&agent.on(at(4), Input::Tick)), Some(&memory), "a longer pause");
    assert!(started(&agent.on(at(4), Input::Stored)).is_some());
    assert!(!agent.faults.contains_key("store"));
}
