use super::*;
use crate::job::{LeaseName, Reason, Verb};
use crate::report::Phase;
use crate::version::Version;

const OLD: Version = Version::new(1, 36, 2);
const NEW: Version = Version::new(1, 36, 3);

fn agent(node: &str) -> Who {
    Who::Agent(node.to_owned())
}

fn package(package: &str, version: Version, by: Who) -> What {
    let text = format!("{}.{}.{}-1.1", version.major, version.minor, version.patch);
    What::PackageInstalled { package: package.to_owned(), version: text.parse().unwrap(), by }
}

fn started(tool: &'static str) -> What {
    What::ToolStarted { tool, kubeadm: None }
}

fn ended(tool: &'static str) -> What {
    What::ToolEnded { tool, ok: true }
}

fn api_server(version: Version) -> What {
    What::StaticPod { component: "kube-apiserver", version: Some(version) }
}

fn taken(node: &str, lease: LeaseName) -> What {
    What::LeaseTaken { lease, uid: format!("{node}-uid"), turn: "turn".to_owned() }
}

fn reported(phase: Phase) -> What {
    What::Reported { phase, reason: Reason::Progressing }
}

/// A history, with a long minute between any two events so that everything could be noticed.
#[derive(Clone)]
struct Story(Vec<Event>);

impl Story {
    /// One control-plane node and two workers at the old version, each with one pod.
    fn begin() -> Self {
        let mut story = Self(Vec::new());
        for (node, control_plane) in [("cp", true), ("w1", false), ("w2", false)] {
            story.add(node, What::Joined { control_plane, uid: format!("{node}-uid") });
            story.add(node, What::Ready { ready: true, kubelet: OLD });
            for name in ["kubeadm", "kubelet"] {
                story.add(node, package(name, OLD, Who::Person));
            }
            story.add(node, What::PodBound { pod: format!("{node}-pod") });
            story.add(node, What::CurrentWritten { version: OLD });
        }
        story.add("cp", api_server(OLD));
        story
    }

    fn add(&mut self, node: &str, what: What) -> &mut Self {
        let at = self.0.last().map_or(0, |event| event.at + 90_000);
        self.0.push(Event { at, node: node.to_owned(), what });
        self
    }

    fn all(&mut self, node: &str, events: impl IntoIterator<Item = What>) -> &mut Self {
        events.into_iter().for_each(|what| {
            self.add(node, what);
        });
        self
    }

    fn broken(&self) -> Vec<Rule> {
        let mut rules: Vec<_> =
            check(&self.0, &Expectations::default()).into_iter().map(|violation| violation.rule).collect();
        rules.dedup();
        rules
    }

    fn keeps(&self) {
        let violations = check(&self.0, &Expectations::default());
        let told: Vec<_> = violations.iter().map(ToString::to_string).collect();
        assert!(told.is_empty(), "{}", told.join("\n"));
    }

    fn breaks(&self, rule: Rule) {
        assert_eq!(self.broken(), [rule]);
    }

    fn end(&self, node: &str) -> End {
        ends(&self.0).remove(node).unwrap()
    }
}

fn lease(node: &str) -> LeaseName {
    if node == "cp" { LeaseName::ControlPlane } else { LeaseName::Slot(0) }
}

fn clearing(node: &str) -> Vec<What> {
    vec![
        What::TargetSet(Some(NEW)),
        taken(node, lease(node)),
        What::Cordoned { by: agent(node) },
        What::Evicted { pod: format!("{node}-pod"), by: agent(node) },
        What::PodGone { pod: format!("{node}-pod") },
    ]
}

fn changing(node: &str) -> Vec<What> {
    let verb = if node == "cp" { Verb::Apply } else { Verb::NodeWorker };
    let mut events = vec![
        started("install-kubeadm"),
        package("kubeadm", NEW, agent(node)),
        ended("install-kubeadm"),
        What::ToolStarted { tool: "kubeadm-upgrade", kubeadm: Some((verb, NEW)) },
        ended("kubeadm-upgrade"),
        started("install-kubelet"),
        package("kubelet", NEW, agent(node)),
        ended("install-kubelet"),
        What::KubeletRestarted,
        What::Ready { ready: true, kubelet: NEW },
    ];
    if node == "cp" {
        events.insert(4, api_server(NEW));
    }
    events
}

fn returning(node: &str) -> Vec<What> {
    vec![
        What::Uncordoned { by: agent(node) },
        What::LeaseReleased { lease: lease(node), by: agent(node) },
        What::CurrentWritten { version: NEW },
    ]
}

fn upgrade(node: &str) -> Vec<What> {
    [clearing(node), changing(node), returning(node)].concat()
}

/// The control plane is done; a worker is on its way.
fn after_the_control_plane() -> Story {
    let mut story = Story::begin();
    story.all("cp", upgrade("cp"));
    story
}

/// The upgrade of a worker with one event exchanged for others.
fn exchanged(matches: impl Fn(&What) -> bool, by: &[What]) -> Story {
    let mut story = after_the_control_plane();
    for what in upgrade("w1") {
        if matches(&what) {
            story.all("w1", by.iter().cloned());
        } else {
            story.add("w1", what);
        }
    }
    story
}

#[test]
fn a_whole_fleet_one_after_the_other_keeps_every_rule_and_is_done() {
    let mut story = after_the_control_plane();
    story.all("w1", upgrade("w1")).all("w2", upgrade("w2")).keeps();
    for node in ["cp", "w1", "w2"] {
        assert_eq!(story.end(node), End::Done);
    }
}

#[test]
fn a_violation_names_its_rule_its_node_its_time_and_its_events() {
    let mut story = after_the_control_plane();
    story.all("w1", clearing("w1")).add("w2", taken("w2", LeaseName::Slot(0)));
    let violation = check(&story.0, &Expectations::default()).remove(0);
    assert_eq!((violation.rule.number(), violation.node.as_str()), (12, "w2"));
    assert_eq!(violation.at, story.0.last().unwrap().at);
    assert_eq!(violation.events.len(), 2);
    assert!(violation.to_string().contains("LeaseTaken"));
}

#[test]
fn more_nodes_out_of_service_than_slots_break_rule_1() {
    let mut story = after_the_control_plane();
    story.all("w1", clearing("w1"));
    story.add("w2", taken("w2", LeaseName::Slot(1))).keeps();
    story.add("w2", What::Cordoned { by: agent("w2") }).breaks(Rule::Budget);
}

#[test]
fn a_node_that_is_down_uses_up_the_budget() {
    let mut story = after_the_control_plane();
    story.add("w2", What::Ready { ready: false, kubelet: OLD });
    story.all("w1", clearing("w1")).breaks(Rule::Budget);
}

#[test]
fn a_worker_out_of_service_beside_a_control_plane_node_breaks_rule_2() {
    let mut story = Story::begin();
    story.all("cp", clearing("cp")).keeps();
    story.all("w1", clearing("w1"));
    assert!(story.broken().contains(&Rule::ControlPlaneAlone));
}

#[test]
fn a_worker_before_its_control_plane_breaks_rule_2() {
    let mut story = Story::begin();
    story.add("cp", What::TargetSet(Some(NEW)));
    story.all("w1", clearing("w1")).breaks(Rule::ControlPlaneFirst);
}

#[test]
fn a_kubelet_newer_than_an_api_server_breaks_rule_2() {
    let mut story = Story::begin();
    story.all("w1", clearing("w1")).all("w1", changing("w1")).breaks(Rule::KubeletNotNewer);
}

#[test]
fn a_verb_that_does_not_fit_or_changes_breaks_rule_3() {
    let kubeadm = |what: &What| matches!(what, What::ToolStarted { kubeadm: Some(_), .. });
    let run = |verb| What::ToolStarted { tool: "kubeadm-upgrade", kubeadm: Some((verb, NEW)) };
    exchanged(kubeadm, &[run(Verb::Apply)]).breaks(Rule::Verb);
    let mut story = Story::begin();
    story.all("cp", clearing("cp"));
    let failed = What::ToolEnded { tool: "kubeadm-upgrade", ok: false };
    story.all("cp", [run(Verb::Apply), failed.clone(), run(Verb::Apply), failed]).keeps();
    story.add("cp", run(Verb::NodeControlPlane)).breaks(Rule::Verb);
}

#[test]
fn a_second_control_plane_node_that_applies_breaks_rule_3() {
    let mut story = after_the_control_plane();
    story.add("cp2", What::Joined { control_plane: true, uid: "cp2-uid".to_owned() });
    story.add("cp2", taken("cp2", LeaseName::ControlPlane));
    story.add("cp2", What::Cordoned { by: agent("cp2") });
    let run = |verb| What::ToolStarted { tool: "kubeadm-upgrade", kubeadm: Some((verb, NEW)) };
    story.clone().add("cp2", run(Verb::NodeControlPlane)).keeps();
    story.add("cp2", run(Verb::Apply)).breaks(Rule::Verb);
}

#[test]
fn a_control_plane_that_skips_a_minor_breaks_rule_4() {
    let mut story = Story::begin();
    story.all("cp", clearing("cp"));
    let run = |target| What::ToolStarted { tool: "kubeadm-upgrade", kubeadm: Some((Verb::Apply, target)) };
    story.clone().add("cp", run(Version::new(1, 37, 0))).keeps();
    story.add("cp", run(Version::new(1, 38, 0))).breaks(Rule::Hops);
}

#[test]
fn a_downgrade_breaks_rule_5_unless_it_is_the_way_back() {
    let back = [package("kubeadm", NEW, agent("w1")), package("kubeadm", OLD, agent("w1"))];
    let installed =
        |what: &What| matches!(what, What::PackageInstalled { package, .. } if package == "kubeadm");
    exchanged(installed, &back).keeps();
    let by_hand =
        [package("kubeadm", Version::new(1, 36, 9), Who::Person), package("kubeadm", NEW, agent("w1"))];
    exchanged(installed, &by_hand).breaks(Rule::NoDowngrade);
}

#[test]
fn a_refusal_out_of_service_breaks_rule_6() {
    let mut story = after_the_control_plane();
    story.clone().add("w1", reported(Phase::Refused)).keeps();
    story.all("w1", clearing("w1")).add("w1", reported(Phase::Refused)).breaks(Rule::RefusedUntouched);
}

#[test]
fn an_eviction_from_a_node_in_service_breaks_rule_7() {
    let mut story = after_the_control_plane();
    story.add("w1", taken("w1", LeaseName::Slot(0)));
    story.add("w1", What::Evicted { pod: "w1-pod".to_owned(), by: agent("w1") }).breaks(Rule::Drain);
}

#[test]
fn a_host_changed_before_its_pods_are_gone_breaks_rule_7() {
    exchanged(|what| matches!(what, What::PodGone { .. }), &[]).breaks(Rule::Drain);
}

#[test]
fn a_lease_given_back_before_the_node_is_in_service_breaks_rule_8() {
    let uncordoned = |what: &What| matches!(what, What::Uncordoned { .. });
    assert!(exchanged(uncordoned, &[]).broken().contains(&Rule::ReleaseLast));
    let by_person = What::Uncordoned { by: Who::Person };
    exchanged(uncordoned, &[by_person]).keeps();
}

#[test]
fn a_node_back_in_service_that_is_not_ready_at_a_chosen_version_breaks_rule_9() {
    let ready = |what: &What| matches!(what, What::Ready { .. });
    let says = |ready, kubelet| What::Ready { ready, kubelet };
    exchanged(ready, &[says(false, NEW)]).breaks(Rule::ReadyBeforeService);
    assert!(exchanged(ready, &[]).broken().contains(&Rule::ReadyBeforeService));
    let strange = Version::new(1, 36, 0);
    assert!(exchanged(ready, &[says(true, strange)]).broken().contains(&Rule::ReadyBeforeService));
}

#[test]
fn a_kubelet_restarted_just_before_the_uncordon_breaks_rule_9_unless_somebody_else_did_it() {
    let uncordoned = |what: &What| matches!(what, What::Uncordoned { .. });
    let verifying = reported(Phase::Verifying);
    let again = [verifying, What::KubeletRestarted, What::Uncordoned { by: agent("w1") }];
    let just_before = |mut story: Story| {
        let uncordon = story.0.iter().rposition(|event| uncordoned(&event.what)).unwrap();
        story.0[uncordon - 1].at = story.0[uncordon].at - 5;
        story
    };
    just_before(exchanged(uncordoned, &again)).keeps();
    exchanged(uncordoned, &again).breaks(Rule::ReadyBeforeService);
    just_before(exchanged(uncordoned, &again[1..])).breaks(Rule::ReadyBeforeService);
}

#[test]
fn a_tool_on_a_node_in_service_breaks_rule_9_unless_a_person_uncordoned_it_later() {
    let by_person = What::Uncordoned { by: Who::Person };
    let staged = |what: &What| matches!(what, What::ToolStarted { tool: "install-kubeadm", .. });
    exchanged(staged, &[by_person.clone(), started("install-kubeadm")]).breaks(Rule::ChangedInService);
    let installing = |what: &What| matches!(what, What::ToolStarted { tool: "install-kubelet", .. });
    let mut story = after_the_control_plane();
    for what in upgrade("w1") {
        if installing(&what) {
            story.add("w1", by_person.clone());
        }
        if !matches!(what, What::Uncordoned { .. }) {
            story.add("w1", what);
        }
    }
    story.keeps();
}

#[test]
fn two_tools_at_once_break_rule_10() {
    let ends = |what: &What| matches!(what, What::ToolEnded { tool: "install-kubeadm", .. });
    exchanged(ends, &[]).breaks(Rule::OneTool);
    exchanged(ends, &[What::Booted]).keeps();
}

#[test]
fn taking_back_somebody_elses_cordon_breaks_rule_11() {
    let cordoned = |what: &What| matches!(what, What::Cordoned { .. });
    exchanged(cordoned, &[What::Cordoned { by: Who::Person }]).breaks(Rule::OthersCordons);
}

#[test]
fn a_lease_is_taken_over_only_from_a_node_that_is_long_gone() {
    let mut story = after_the_control_plane();
    let take = taken("w2", LeaseName::Slot(0));
    story.add("w1", take.clone()).add("w1", What::Deleted);
    story.clone().add("w2", take.clone()).breaks(Rule::LeaseStolen);
    story.all("w2", vec![What::Asked; 7]).add("w2", take).keeps();
}

#[test]
fn going_on_without_the_lease_breaks_rule_12_before_the_point_of_no_return_only() {
    let lost = What::LeaseReleased { lease: LeaseName::Slot(0), by: Who::Person };
    let tool = |name: &'static str| move |what: &What| matches!(what, What::ToolStarted { tool, .. } if *tool == name);
    let staging = [lost.clone(), What::Asked, started("install-kubeadm")];
    assert_eq!(exchanged(tool("install-kubeadm"), &staging).broken()[0], Rule::LeaseHeld);
    let evicted = |what: &What| matches!(what, What::Evicted { .. });
    let evicts = What::Evicted { pod: "w1-pod".to_owned(), by: agent("w1") };
    assert_eq!(exchanged(evicted, &[lost.clone(), evicts]).broken()[0], Rule::LeaseHeld);
    let installing = [started("install-kubelet"), lost];
    exchanged(tool("install-kubelet"), &installing).keeps();
}

#[test]
fn changing_another_node_breaks_rule_13() {
    let mut story = after_the_control_plane();
    story.all("w1", clearing("w1")).keeps();
    story.add("w2", What::Evicted { pod: "w2-pod".to_owned(), by: agent("w1") });
    assert!(story.broken().contains(&Rule::OwnNode));
}

#[test]
fn current_before_the_end_breaks_the_contract() {
    let uncordoned = |what: &What| matches!(what, What::Uncordoned { .. });
    let early = [What::CurrentWritten { version: NEW }, What::Uncordoned { by: agent("w1") }];
    exchanged(uncordoned, &early).breaks(Rule::CurrentLast);
    let mut story = Story::begin();
    story.add("w1", What::CurrentWritten { version: NEW }).breaks(Rule::CurrentLast);
}

#[test]
fn a_node_that_goes_back_ends_as_backed_out_or_rolled_back() {
    let mut story = after_the_control_plane();
    story.all("w1", clearing("w1")).add("w1", What::TargetSet(None));
    assert!(matches!(story.end("w1"), End::Unfinished(_)));
    let back = [
        What::Uncordoned { by: agent("w1") },
        What::LeaseReleased { lease: LeaseName::Slot(0), by: agent("w1") },
    ];
    assert_eq!(story.clone().all("w1", back.clone()).end("w1"), End::BackedOut);
    let later = [started("install-kubelet"), ended("install-kubelet")];
    assert_eq!(story.all("w1", later).all("w1", back).end("w1"), End::RolledBack);
}

#[test]
fn a_degraded_node_keeps_its_cordon_and_its_marked_lease() {
    let mut story = after_the_control_plane();
    story.all("w1", clearing("w1")).add("w1", reported(Phase::Degraded));
    assert!(matches!(story.end("w1"), End::Unfinished(_)));
    story.add("w1", What::LeaseMarked { lease: LeaseName::Slot(0), degraded: true });
    assert_eq!(story.end("w1"), End::Degraded);
    assert_eq!(story.clone().add("w1", What::Uncordoned { by: Who::Person }).end("w1"), End::Degraded);
    story.add("w1", What::Uncordoned { by: agent("w1") });
    assert!(matches!(story.end("w1"), End::Unfinished(_)));
}

#[test]
fn a_refused_or_waiting_node_ends_untouched_in_service() {
    let mut story = after_the_control_plane();
    assert_eq!(story.end("w2"), End::Untouched);
    story.add("w2", What::TargetSet(Some(NEW)));
    assert_eq!(story.end("w2"), End::Untouched);
    assert_eq!(story.add("w2", reported(Phase::Refused)).end("w2"), End::Refused);
}
