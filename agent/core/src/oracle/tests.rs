mod begin;
mod bounds;
mod causes;
mod control_plane;
mod ends;
mod host;
mod lease;
mod service;
mod turn;

use super::*;
use crate::api::{KubeadmCommand, LeaseName, Phase, Reason, Version};

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

fn released(node: &str) -> What {
    What::LeaseReleased { lease: lease(node), by: agent(node) }
}

fn freed(node: &str) -> What {
    What::LeaseReleased { lease: lease(node), by: Who::Person }
}

fn says(ready: bool, kubelet: Version) -> What {
    What::Ready { ready, kubelet }
}

fn told(phase: Phase, reason: Reason) -> What {
    What::Reported { phase, reason }
}

fn reported(phase: Phase) -> What {
    What::Reported { phase, reason: Reason::Progressing }
}

/// These histories drain a control plane before they upgrade it.
fn expectations() -> Expectations {
    Expectations { two_turns: false, ..Expectations::default() }
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
        self.after(90_000, node, what)
    }

    /// So many milliseconds later.
    fn after(&mut self, later: u64, node: &str, what: What) -> &mut Self {
        let at = self.end_at() + later;
        self.0.push(Event { at, node: node.to_owned(), what });
        self
    }

    fn end_at(&self) -> u64 {
        self.0.last().map_or(0, |event| event.at)
    }

    /// The same history with other distances between the event that matches last and those after it.
    fn hurried(mut self, from: impl Fn(&What) -> bool, apart: u64) -> Self {
        let from = self.0.iter().rposition(|event| from(&event.what)).unwrap();
        for index in from + 1..self.0.len() {
            self.0[index].at = self.0[index - 1].at + apart;
        }
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
            check(&self.0, &expectations()).into_iter().map(|violation| violation.rule).collect();
        rules.dedup();
        rules
    }

    fn keeps(&self) {
        let violations = check(&self.0, &expectations());
        let told: Vec<_> = violations.iter().map(ToString::to_string).collect();
        assert!(told.is_empty(), "{}", told.join("\n"));
    }

    fn breaks(&self, rule: Rule) {
        assert_eq!(self.broken(), [rule]);
    }

    /// Watched for so long after the last event.
    fn watched(&self, longer: u64) -> Vec<Rule> {
        let examined = examine(&self.0, self.end_at() + longer, &expectations());
        examined.violations.into_iter().map(|violation| violation.rule).collect()
    }

    fn premises(&self, rule: Rule) -> usize {
        let examined = examine(&self.0, self.end_at(), &expectations());
        examined.premises.get(&rule).copied().unwrap_or_default()
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
    let command = if node == "cp" { KubeadmCommand::Apply } else { KubeadmCommand::NodeWorker };
    let mut events = vec![
        started("install-kubeadm"),
        package("kubeadm", NEW, agent(node)),
        ended("install-kubeadm"),
        What::ToolStarted { tool: "kubeadm-upgrade", kubeadm: Some((command, NEW)) },
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
        What::CurrentWritten { version: NEW },
        What::LeaseReleased { lease: lease(node), by: agent(node) },
    ]
}

/// A worker that was drained and had its kubeadm changed, and goes back.
fn backing_out(node: &str) -> Vec<What> {
    vec![package("kubeadm", OLD, agent(node)), What::Uncordoned { by: agent(node) }, released(node)]
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
    let violation = check(&story.0, &expectations()).remove(0);
    assert_eq!((violation.rule.number(), violation.node.as_str()), (12, "w2"));
    assert_eq!(violation.at, story.0.last().unwrap().at);
    assert_eq!(violation.events.len(), 2);
    assert!(violation.to_string().contains("LeaseTaken"));
}

/// A history for each rule that breaks it.
fn fires() -> Vec<(Rule, Story)> {
    [
        begin::fires(),
        bounds::fires(),
        causes::fires(),
        control_plane::fires(),
        host::fires(),
        lease::fires(),
        service::fires(),
        turn::fires(),
    ]
    .concat()
}

#[test]
fn every_rule_is_shown_to_fire() {
    let fires = fires();
    for rule in Rule::ALL {
        let Some((_, story)) = fires.iter().find(|(fires, _)| fires == rule) else {
            panic!("no history breaks {rule:?}: `fires()` in agent/core/src/oracle/tests wants one");
        };
        let violations = check(&story.0, &Expectations::default());
        let broken: Vec<_> = violations.iter().map(|violation| violation.rule).collect();
        assert!(broken.contains(rule), "{rule:?} does not fire, but {broken:?}");
    }
}

#[test]
fn every_rule_counts_how_often_it_had_something_to_judge() {
    let mut counted: Vec<Rule> = Vec::new();
    for (_, story) in fires() {
        counted.extend(examine(&story.0, story.end_at(), &Expectations::default()).premises.keys());
    }
    let never: Vec<_> = Rule::ALL.iter().filter(|rule| !counted.contains(rule)).collect();
    assert!(never.is_empty(), "{never:?}");
}

#[test]
fn what_was_examined_is_told_with_every_rule_and_how_often_it_was_asked() {
    let story = after_the_control_plane();
    let told = examine(&story.0, story.end_at(), &expectations()).to_string();
    assert_eq!(told.lines().count(), Rule::ALL.len());
    assert!(told.contains("       2  Hops\n"), "{told}");
    assert!(told.contains("       0  HaltOnDegraded\n"), "{told}");
}

#[test]
fn every_rule_stands_in_the_table_of_sentences() {
    let page = include_str!("../../../../docs/internals/oracle.md");
    let missing: Vec<_> = Rule::ALL.iter().filter(|rule| !page.contains(&format!("`{rule:?}`"))).collect();
    assert!(missing.is_empty(), "docs/internals/oracle.md has no row for {missing:?}");
}
