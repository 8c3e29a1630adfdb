//! One worker's upgrade, captured in the lab and cut down to what is read.

use upgrade_core::oracle::{End, FLEET, Rule, Who, check, ends};

use super::*;

const WORKER: &str = "worker1";
/// What the requests that cordon and uncordon look like.
const CORDONS: &str = r#""spec":{"unschedulable":true}},"responseObject""#;
const UNCORDONS: &str = r#""spec":{"unschedulable":null}},"responseObject""#;

#[derive(Clone)]
struct Captured {
    audit: String,
    worker: HostRecords,
}

impl Captured {
    fn new() -> Self {
        let worker = HostRecords {
            node: WORKER.to_owned(),
            journal: include_str!("samples/worker1.journal.jsonl").to_owned(),
            dpkg_log: include_str!("samples/worker1.dpkg.log").to_owned(),
        };
        Self { audit: include_str!("samples/audit.jsonl").to_owned(), worker }
    }

    fn history(&self) -> Vec<Event> {
        merge(&self.audit, std::slice::from_ref(&self.worker)).unwrap().events
    }

    fn broken(&self) -> Vec<Rule> {
        // What was captured is of an agent that upgraded a control plane in one turn.
        let one_turn = Expectations { two_turns: false, ..expectations() };
        let violations = check(&self.history(), &one_turn);
        violations.iter().map(|violation| violation.rule).collect()
    }
}

/// Drops the lines that hold all of `words`; there must be some.
fn drop_lines(text: &mut String, words: &[&str]) {
    let before = text.len();
    *text = text
        .lines()
        .filter(|line| !words.iter().all(|word| line.contains(word)))
        .flat_map(|line| [line, "\n"])
        .collect();
    assert!(text.len() < before, "no line holds {words:?}");
}

/// Replaces `from` in the lines that hold `word`; there must be some.
fn replace(text: &mut String, word: &str, from: &str, to: &str) {
    let doctored: String = text
        .lines()
        .flat_map(|line| {
            [if line.contains(word) { line.replace(from, to) } else { line.to_owned() }, "\n".into()]
        })
        .collect();
    assert!(*text != doctored, "no line that holds {word} holds {from}");
    *text = doctored;
}

fn tell(what: &What) -> String {
    match what {
        What::Reported { phase, .. } => phase.to_string(),
        What::TargetSet(target) => format!("target {}", target.map_or_else(String::new, |v| v.to_string())),
        What::LeaseTaken { lease, .. } => format!("takes {lease}"),
        What::LeaseReleased { lease, by: Who::Agent(by) } => format!("{by} releases {lease}"),
        What::Cordoned { by: Who::Agent(by) } => format!("{by} cordons"),
        What::Uncordoned { by: Who::Agent(by) } => format!("{by} uncordons"),
        What::Evicted { by: Who::Agent(by), .. } => format!("{by} evicts"),
        What::PodGone { .. } => "pod gone".to_owned(),
        What::ToolStarted { tool, kubeadm } => {
            let how = kubeadm.map(|(verb, target)| format!(" {verb:?} {target}")).unwrap_or_default();
            format!("{tool}{how} ...")
        }
        What::ToolEnded { tool, ok } => format!("... {tool} {ok}"),
        What::PackageInstalled { package, version, by: Who::Agent(by) } => {
            format!("{by} installs {package} {version}")
        }
        What::Ready { ready, kubelet } => format!("ready {ready} {kubelet}"),
        What::CurrentWritten { version } => format!("current {version}"),
        other => format!("{other:?}"),
    }
}

#[test]
fn an_upgrade_reads_as_it_happened() {
    let history = Captured::new().history();
    let begin = history.iter().position(|event| matches!(event.what, What::TargetSet(_))).unwrap();
    let worker = history[begin..].iter().filter(|event| event.node == WORKER);
    let told: Vec<String> = worker.map(|event| tell(&event.what)).collect();
    assert_eq!(
        told,
        [
            "target v1.36.3",
            "preflight",
            "claiming",
            "takes slot-0",
            "cordoning",
            "worker1 cordons",
            "draining",
            "worker1 evicts",
            "worker1 evicts",
            "pod gone",
            "pod gone",
            "install-kubeadm ...",
            "staging",
            "worker1 installs kubeadm 1.36.3-1.1",
            "... install-kubeadm true",
            "applying",
            "kubeadm-upgrade NodeWorker v1.36.3 ...",
            "... kubeadm-upgrade true",
            "installing",
            "install-kubelet ...",
            "worker1 installs kubectl 1.36.3-1.1",
            "worker1 installs kubelet 1.36.3-1.1",
            "... install-kubelet true",
            "restarting",
            "KubeletRestarted",
            "verifying",
            "ready true v1.36.3",
            "uncordoning",
            "worker1 uncordons",
            "releasing",
            "worker1 releases slot-0",
            "hold ...",
            "... hold true",
            "idle",
            "current v1.36.3",
        ]
    );
}

#[test]
fn the_oracle_finds_nothing_wrong_with_what_was_captured() {
    let captured = Captured::new();
    assert_eq!(captured.broken(), []);
    assert_eq!(ends(&captured.history()).get(WORKER), Some(&End::Done));
}

/// What was done to a history, how, and the rule that it then breaks.
type Doctored = (&'static str, fn(&mut Captured), Rule);

const DOCTORED: [Doctored; 10] = [
    ("no Lease", |h| drop_lines(&mut h.audit, &["leases"]), Rule::LeaseHeld),
    (
        "another node's credential",
        |h| replace(&mut h.audit, CORDONS, "node:worker1", "node:worker2"),
        Rule::OwnNode,
    ),
    (
        "never cordoned",
        |h| replace(&mut h.audit, "unschedulable", r#""unschedulable":true"#, r#""unschedulable":false"#),
        Rule::ChangedInService,
    ),
    ("pods that stay", |h| drop_lines(&mut h.audit, &["pods", r#""verb":"delete""#]), Rule::Drain),
    (
        "NotReady after the restart",
        |h| {
            replace(
                &mut h.audit,
                r#""kubeletVersion":"v1.36.3""#,
                r#""status":"True""#,
                r#""status":"False""#,
            );
        },
        Rule::ReadyBeforeService,
    ),
    (
        "a tool that does not end",
        |h| drop_lines(&mut h.worker.journal, &["install-kubeadm", "\"done\""]),
        Rule::OneTool,
    ),
    (
        "`current` too early",
        |h| {
            replace(
                &mut h.audit,
                r#"/found-cordoned":"false","node-upgrade-agent/phase":"uncordoning""#,
                r#"current":"v1.36.2""#,
                r#"current":"v1.36.3""#,
            );
        },
        Rule::CurrentLast,
    ),
    (
        "an older kubelet",
        |h| replace(&mut h.worker.dpkg_log, "status installed kubelet", "1.36.3", "1.36.1"),
        Rule::NoDowngrade,
    ),
    (
        "an API server left behind",
        |h| replace(&mut h.audit, "kube-apiserver", "kube-apiserver:v1.36.3", "kube-apiserver:v1.35.9"),
        Rule::KubeletNotNewer,
    ),
    (
        "the control plane's verb",
        |h| replace(&mut h.worker.journal, "kubeadm upgrade", "upgrade node", "upgrade apply"),
        Rule::Verb,
    ),
];

#[test]
fn a_doctored_history_is_found_out() {
    for (name, doctor, rule) in DOCTORED {
        let mut captured = Captured::new();
        doctor(&mut captured);
        assert!(captured.broken().contains(&rule), "{name}: {:?}", captured.broken());
    }
}

#[test]
fn etcds_order_goes_before_the_clock_of_answers() {
    let mut captured = Captured::new();
    // The answer to the claim came after the cordon was made.
    replace(&mut captured.audit, r#""resource":"leases""#, "T04:26:55.9", "T04:26:58.9");
    assert_eq!(captured.broken(), []);
}

#[test]
fn what_an_administrator_does_is_not_laid_to_the_agent() {
    let mut captured = Captured::new();
    replace(&mut captured.audit, UNCORDONS, "system:node:worker1", "kubernetes-admin");
    let by_person = |event: &Event| event.what == What::Uncordoned { by: Who::Person };
    assert!(captured.history().iter().any(by_person));

    captured.worker.dpkg_log.push_str("2026-11-22 05:00:00 status installed kubelet:amd64 1.36.2-1.1\n");
    let last = captured.history().pop().unwrap();
    assert!(matches!(last.what, What::PackageInstalled { by: Who::Person, .. }), "{last}");
}

#[test]
fn a_cordon_whose_answer_was_lost_is_laid_to_whoever_sent_it() {
    let mut captured = Captured::new();
    // The server gave up on the answer; the next write, a report, shows that the cordon stands.
    replace(&mut captured.audit, CORDONS, r#""code":200"#, r#""code":504"#);
    replace(&mut captured.audit, r#"/phase":"draining""#, "system:node:worker1", "kubernetes-admin");
    let by_agent = |event: &Event| event.what == What::Cordoned { by: Who::Agent(WORKER.to_owned()) };
    assert!(captured.history().iter().any(by_agent));
}

#[test]
fn a_log_that_is_being_written_can_be_read() {
    let mut captured = Captured::new();
    captured.audit.push_str(r#"{"kind":"Event","verb":"pat"#);
    assert_eq!(captured.broken(), []);
}

/// A line of the audit log: an answer to a write of this object, with this code.
fn answered(verb: &str, object: &str, code: u16, response: &str) -> String {
    format!(
        r#"{{"stage":"ResponseComplete","verb":"{verb}","requestURI":"/","stageTimestamp":"2026-11-22T05:00:00Z","user":{{"username":"kubernetes-admin"}},"objectRef":{object},"responseStatus":{{"code":{code}}},"requestObject":{{}},"responseObject":{response}}}"#
    ) + "\n"
}

#[test]
fn what_kubeadm_uploads_and_people_decide_for_the_fleet_is_seen() {
    let mut captured = Captured::new();
    captured.audit += &answered(
        "update",
        r#"{"resource":"configmaps","namespace":"kube-system","name":"kubeadm-config"}"#,
        200,
        r#"{"data":{"ClusterConfiguration":"kind: ClusterConfiguration\nkubernetesVersion: v1.36.3\n"}}"#,
    );
    captured.audit += &answered(
        "patch",
        r#"{"resource":"configmaps","namespace":"node-upgrade-agent","name":"policy"}"#,
        200,
        r#"{"data":{"paused":"true"}}"#,
    );
    let history = captured.history();
    let fleet: Vec<&What> =
        history.iter().filter(|event| event.node == FLEET).map(|event| &event.what).collect();
    let version = Version::new(1, 36, 3);
    assert_eq!(fleet, [&What::KubeadmConfig { version }, &What::PolicySet { bars: true }]);
}

#[test]
fn an_eviction_that_a_budget_refuses_is_seen_and_is_none() {
    let mut captured = Captured::new();
    let pod = captured.audit.lines().find(|line| line.contains(r#""subresource":"eviction""#)).unwrap();
    let refused = pod.replace(r#""code":201"#, r#""code":429"#);
    assert_ne!(refused, pod);
    captured.audit = captured.audit.replace(pod, &refused);
    let history = captured.history();
    let count = |is: fn(&What) -> bool| history.iter().filter(|event| is(&event.what)).count();
    assert_eq!(count(|what| matches!(what, What::EvictionRefused { .. })), 1);
    assert_eq!(count(|what| matches!(what, What::Evicted { .. })), 1);
}

/// The first pod that is evicted, changed at its creation so that its `spec` and `metadata` hold this too.
fn made_with(captured: &mut Captured, metadata: &str, spec: &str) {
    let pod = "hello-688dbdb85f-5trzd";
    let created = captured.audit.lines().find(|line| {
        line.contains(pod)
            && line.contains(r#""verb":"create","requestURI":"/api/v1/namespaces/default/pods""#)
    });
    let created = created.unwrap().to_owned();
    let end = r#""ownerReferences":[{"kind":"ReplicaSet"}]}"#;
    let changed = created.replace(
        end,
        &format!(r#""ownerReferences":[{{"kind":"ReplicaSet"}}]{metadata}}},"spec":{{{spec}}}"#),
    );
    assert_ne!(created, changed);
    captured.audit = captured.audit.replace(&created, &changed);
}

#[test]
fn a_pod_whose_binding_is_written_down_before_its_creation_is_told_of_all_the_same() {
    let mut captured = Captured::new();
    let told = gone(&captured);
    let pod = "hello-688dbdb85f-72l4z";
    let (of_its_beginning, others): (Vec<&str>, Vec<&str>) = captured.audit.lines().partition(|line| {
        line.contains(pod) && line.contains(r#""verb":"create""#) && !line.contains("/eviction")
    });
    assert_eq!(of_its_beginning.len(), 2);
    let late: Vec<&str> = of_its_beginning.into_iter().rev().chain(others).collect();
    captured.audit = late.join("\n");
    assert_eq!(gone(&captured), told);
    assert!(captured.broken().is_empty());
}

fn gone(captured: &Captured) -> usize {
    captured.history().iter().filter(|event| matches!(event.what, What::PodGone { .. })).count()
}

#[test]
fn a_pod_that_wants_no_time_is_gone_with_its_eviction() {
    let mut captured = Captured::new();
    made_with(&mut captured, "", r#""terminationGracePeriodSeconds":30"#);
    drop_lines(&mut captured.audit, &["5trzd", r#""verb":"delete""#]);
    assert_eq!((gone(&captured), captured.broken()), (1, vec![Rule::Drain]));

    let mut captured = Captured::new();
    made_with(&mut captured, "", r#""terminationGracePeriodSeconds":0"#);
    drop_lines(&mut captured.audit, &["5trzd", r#""verb":"delete""#]);
    assert_eq!((gone(&captured), captured.broken()), (2, vec![]));
}

#[test]
fn a_pod_that_has_ended_is_gone_with_its_eviction() {
    let mut captured = Captured::new();
    drop_lines(&mut captured.audit, &["5trzd", r#""verb":"delete""#]);
    captured.audit += &answered(
        "patch",
        r#"{"resource":"pods","namespace":"default","name":"hello-688dbdb85f-5trzd","subresource":"status"}"#,
        200,
        r#"{"metadata":{"uid":"a2535659-4adc-4e15-877b-d2415cc0a2e9"},"status":{"phase":"Succeeded"}}"#,
    )
    .replace("05:00:00Z", "04:26:00Z");
    assert_eq!((gone(&captured), captured.broken()), (2, vec![]));
}

#[test]
fn a_pod_that_a_finalizer_holds_is_there_until_it_is_taken_away() {
    let mut captured = Captured::new();
    replace(
        &mut captured.audit,
        r#""verb":"delete""#,
        r#""deletionGracePeriodSeconds":0,"#,
        r#""deletionGracePeriodSeconds":0,"finalizers":["example.com/hold"],"#,
    );
    assert_eq!((gone(&captured), captured.broken()), (0, vec![Rule::Drain]));
    captured.audit += &answered(
        "patch",
        r#"{"resource":"pods","namespace":"default","name":"hello-688dbdb85f-5trzd"}"#,
        200,
        r#"{"metadata":{"uid":"a2535659-4adc-4e15-877b-d2415cc0a2e9","deletionGracePeriodSeconds":0}}"#,
    );
    assert_eq!(gone(&captured), 1);
}

#[test]
fn a_pod_called_like_a_static_pod_is_none() {
    let mut captured = Captured::new();
    let before = captured.history().len();
    for (name, owner) in [("etcd-backup-6mxmk", "Job"), ("kube-scheduler-worker1", "ReplicaSet")] {
        captured.audit += &answered(
            "patch",
            &format!(
                r#"{{"resource":"pods","namespace":"kube-system","name":"{name}","subresource":"status"}}"#
            ),
            200,
            &format!(
                r#"{{"metadata":{{"name":"{name}","namespace":"kube-system","ownerReferences":[{{"kind":"{owner}"}}]}}}}"#
            ),
        );
    }
    assert_eq!(captured.history().len(), before);
}

#[test]
fn a_namespace_that_goes_takes_its_leases_and_the_policy_along() {
    let mut captured = Captured::new();
    drop_lines(&mut captured.audit, &["leases", "04:27:11"]);
    assert!(matches!(ends(&captured.history()).get(WORKER), Some(End::Unfinished(_))));
    for resource in ["leases", "configmaps"] {
        let object = format!(r#"{{"resource":"{resource}","namespace":"node-upgrade-agent"}}"#);
        captured.audit += &answered("deletecollection", &object, 200, "null");
    }
    let history = captured.history();
    let last: Vec<&What> = history.iter().rev().take(2).rev().map(|event| &event.what).collect();
    assert!(matches!(last[0], What::LeaseReleased { by: Who::Person, .. }), "{last:?}");
    assert_eq!(last[1], &What::PolicySet { bars: true });
}

#[test]
fn what_people_write_in_an_agents_place_is_no_agents_word() {
    let mut captured = Captured::new();
    let claim = |event: &Event| matches!(event.what, What::LeaseTaken { .. });
    assert!(captured.history().iter().any(claim));
    replace(&mut captured.audit, r#""resource":"leases""#, "node-upgrade-agent:worker1", "kubernetes-admin");
    let history = captured.history();
    assert!(!history.iter().any(claim));
    assert!(history.iter().any(|event| matches!(event.what, What::LeaseGiven { .. })));

    let mut captured = Captured::new();
    let written = |captured: &Captured| {
        let says = |event: &Event| matches!(event.what, What::CurrentWritten { version } if version == Version::new(1, 36, 3));
        captured.history().into_iter().filter(says).count()
    };
    assert_eq!(written(&captured), 1);
    replace(&mut captured.audit, r#"current":"v1.36.3""#, "system:node:worker1", "kubernetes-admin");
    assert_eq!(written(&captured), 0);
}

#[test]
fn what_several_api_servers_were_asked_is_one_history() {
    let captured = Captured::new();
    let (one, other): (Vec<_>, Vec<_>) =
        captured.audit.lines().enumerate().partition(|(number, _)| number % 2 == 0);
    let text =
        |lines: Vec<(usize, &str)>| lines.into_iter().flat_map(|(_, line)| [line, "\n"]).collect::<String>();
    let split = Captured { audit: text(other) + &text(one), ..captured.clone() };
    assert_eq!(split.history(), captured.history());
}

#[test]
fn power_cut_and_the_agents_death_are_seen() {
    let mut captured = Captured::new();
    for (at, id, unit) in [
        ("1795321640000000", "98e322203f7a4ed290d09fe03c09fe15", "node-upgrade-agent.service"),
        ("1795321641000000", "f77379a8490b408bbe5f6940505a777b", ""),
        ("1795321642000000", "7d4958e842da4a758f6c1cdc7b36dcc5", "node-upgrade-agent.service"),
    ] {
        let line = format!(r#"{{"__REALTIME_TIMESTAMP":"{at}","MESSAGE_ID":"{id}","UNIT":"{unit}"}}"#);
        captured.worker.journal.push_str(&line);
        captured.worker.journal.push('\n');
    }
    let history = captured.history();
    let last: Vec<&What> = history.iter().rev().take(3).rev().map(|event| &event.what).collect();
    assert_eq!(last, [&What::AgentDied, &What::Booted, &What::AgentStarted]);
}
