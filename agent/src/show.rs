//! What `plan` and `status` print for a person.

use std::collections::BTreeSet;

use upgrade_core::api::annotations::STATUS;
use upgrade_core::api::{Check, Report, TurnKind, Version, text};
use upgrade_core::decide::report::step_phase;
use upgrade_core::judge::next_turn::NextTurn;
use upgrade_core::judge::preflight::{Verdict, judge};
use upgrade_core::memory::Turn;
use upgrade_core::observed::{Findings, NodeSeen, Outcome, Ready};
use upgrade_core::time::Unix;

/// What preflight found, and whether an upgrade would go on.
pub fn plan(node: &NodeSeen, findings: &Findings, skip: &BTreeSet<Check>) -> (String, bool) {
    let mut text = heading(node, findings.target);
    line(&mut text, &format!("  this turn: {}", turn_kind(findings.kind, node.control_plane)));
    if let Some(plan) = &findings.plan {
        line(&mut text, &format!("  kubeadm {} → {}", plan.from.kubeadm, plan.to.kubeadm));
        line(&mut text, &format!("  kubelet {} → {}", plan.from.kubelet, plan.to.kubelet));
    }
    for finding in &findings.findings {
        let skipped = skip.contains(&finding.check) && finding.check.may_be_skipped();
        let (mark, message) = match &finding.outcome {
            Outcome::Passed(message) => ("ok", message),
            Outcome::Noted(message) => ("note", message),
            Outcome::Failed(message) | Outcome::Pending(message) if skipped => ("skip", message),
            Outcome::Failed(message) => ("NO", message),
            Outcome::Pending(message) => ("wait", message),
        };
        line(&mut text, &format!("  {mark:<5} {:<13} {message}", finding.check.word()));
    }
    let verdict = judge(findings, skip);
    line(
        &mut text,
        match &verdict {
            Verdict::Go { .. } => "The upgrade would go on.",
            Verdict::NotYet(_) => WAITS,
            Verdict::Refuse { .. } => REFUSED,
        },
    );
    (text, matches!(verdict, Verdict::Go { .. }))
}

const WAITS: &str = "The upgrade would wait.";
const REFUSED: &str = "The upgrade would be refused; nothing would be touched.";

/// What a node that has no turn to take would do, and whether all is well.
pub fn no_turn(node: &NodeSeen, target: Version, next: &NextTurn) -> (String, bool) {
    let mut text = heading(node, target);
    match next {
        NextTurn::Nothing | NextTurn::Turn(_) => line(&mut text, &format!("Everything here is at {target}.")),
        NextTurn::Pending(why) => {
            line(&mut text, &format!("  wait  {}", why.message));
            line(&mut text, WAITS);
        }
        NextTurn::Refused(why) => {
            line(&mut text, &format!("  NO    {}", why.message));
            line(&mut text, REFUSED);
        }
    }
    (text, matches!(next, NextTurn::Nothing | NextTurn::Turn(_)))
}

fn heading(node: &NodeSeen, target: Version) -> String {
    let runs = node.kubelet.map_or_else(|| "an unknown version".to_owned(), |version| version.to_string());
    format!("{}: {runs} → {target}\n", node.name)
}

const fn turn_kind(kind: TurnKind, control_plane: bool) -> &'static str {
    match kind {
        TurnKind::ControlPlane => "its control plane, in service; its kubelet follows",
        TurnKind::Kubelet if control_plane => "its kubelet, drained; its control plane stays as it is",
        TurnKind::Kubelet => "its kubelet, drained",
    }
}

/// Whether an upgrade is under way, from the journal alone.
pub fn local(turn: Option<&Turn>) -> String {
    let Some(turn) = turn else { return "no upgrade is under way\n".to_owned() };
    let (state, target, lease) = (state(turn), turn.plan.target, turn.lease);
    format!("an upgrade to {target} is under way: {state} (with the Lease {lease})\n")
}

fn state(turn: &Turn) -> String {
    let step = step_phase(turn.reached);
    if turn.degraded.is_some() {
        format!("degraded at {step}, the node waits for a person")
    } else if turn.is_forward() {
        step.to_string()
    } else {
        format!("going back from {step}")
    }
}

/// Where the node's upgrade stands, from its annotations. Whoever may write those could also write what steers the
/// terminal of the root user who reads it here, so that is taken out.
pub fn status(node: &NodeSeen, now: Unix, json: bool) -> String {
    text::plain(&told(node, now, json))
}

fn told(node: &NodeSeen, now: Unix, json: bool) -> String {
    let Some(raw) = node.status.as_deref() else {
        return format!("{}: no agent has reported on this Node yet\n", node.name);
    };
    if json {
        return format!("{raw}\n");
    }
    let report: Report = match serde_json::from_str(raw) {
        Ok(report) => report,
        Err(error) => {
            return format!("{}: the annotation {STATUS} cannot be read: {error}\n{raw}\n", node.name);
        }
    };
    let mut text = String::new();
    let dash = || "-".to_owned();
    let ready = if node.ready == Ready::True { "Ready" } else { "not Ready" };
    let cordoned = if node.unschedulable { ", cordoned" } else { "" };
    line(&mut text, &format!("node      {} ({ready}{cordoned})", node.name));
    line(
        &mut text,
        &format!("current   {}", report.current.map_or_else(dash, |version| version.to_string())),
    );
    line(&mut text, &format!("target    {}", report.target.unwrap_or_else(dash)));
    line(&mut text, &format!("phase     {} for {} s", report.phase, now.since(report.since).as_secs()));
    line(&mut text, &format!("lease     {}", report.slot.unwrap_or_else(dash)));
    line(&mut text, &format!("reason    {}", report.reason));
    line(&mut text, &format!("message   {}", report.message));
    for note in report.notes {
        line(&mut text, &format!("note      {note}"));
    }
    if let Some(drain) = report.drain {
        line(&mut text, &format!("drain     {} pods left", drain.pods_left));
        for blocked in drain.blocked {
            let budget = blocked.budget.unwrap_or_else(|| "the server".to_owned());
            line(&mut text, &format!("          {budget} holds {}: {}", blocked.pod, blocked.message));
        }
        for left in drain.passed_over {
            line(&mut text, &format!("          {} stays: {}", left.pod, left.why));
        }
    }
    text
}

fn line(text: &mut String, line: &str) {
    text.push_str(line);
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use upgrade_core::api::{Explanation, Reason};
    use upgrade_core::observed::Finding;
    use upgrade_core::time::Mono;

    use super::*;
    use crate::arbitrary::{hostile, mangled};

    const STATUS_SAMPLE: &str = r#"{"target":"v1.36.3","hop":"1.36.2-1.1 → 1.36.3-1.1","phase":"draining","since":1760000000,
        "attempts":0,"reason":"DrainBlocked","message":"1 pods left","drain":{"podsLeft":1,"blocked":[{"pod":"default/web-1",
        "budget":"web","message":"no"}],"passedOver":[{"pod":"default/old","why":"it hangs"}]},"notes":["a note"],
        "slot":"slot-0","current":"v1.36.2"}"#;

    #[test]
    fn the_sample_is_what_an_agent_writes() {
        let report: Report = serde_json::from_str(STATUS_SAMPLE).unwrap();
        let drain = report.drain.unwrap();
        assert_eq!((drain.blocked.len(), drain.passed_over.len()), (1, 1));
    }

    const TARGET: Version = Version::new(1, 36, 3);

    fn found(outcomes: Vec<Outcome>) -> Findings {
        let checks = [Check::Pods, Check::OtherNodes, Check::NodeReady];
        let findings = checks.into_iter().zip(outcomes).map(|(check, outcome)| Finding { check, outcome });
        Findings {
            target: TARGET,
            kind: TurnKind::ControlPlane,
            retry: None,
            at: Mono(0),
            plan: None,
            findings: findings.collect(),
        }
    }

    fn node() -> NodeSeen {
        NodeSeen {
            name: "cp1".to_owned(),
            kubelet: Some(Version::new(1, 36, 2)),
            control_plane: true,
            ..NodeSeen::default()
        }
    }

    #[test]
    fn a_plan_shows_each_outcome_by_its_mark_and_which_turn_comes() {
        let outcomes = ["held", "nobody else", "not Ready"].map(str::to_owned);
        let [noted, failed, pending] = outcomes;
        let found = found(vec![Outcome::Noted(noted), Outcome::Failed(failed), Outcome::Pending(pending)]);
        let (text, goes) = plan(&node(), &found, &BTreeSet::from([Check::NodeReady]));
        assert!(!goes);
        for line in [
            "cp1: v1.36.2 → v1.36.3\n",
            "this turn: its control plane, in service; its kubelet follows\n",
            "  note  Pods          held\n",
            "  NO    OtherNodes    nobody else\n",
            "  skip  NodeReady     not Ready\n",
            REFUSED,
        ] {
            assert!(text.contains(line), "{line:?} in {text}");
        }
    }

    #[test]
    fn a_node_without_a_turn_is_told_why() {
        let why = |message| Explanation::new(Reason::WaitingForTurn, message);
        for (next, words, well) in [
            (NextTurn::Nothing, "Everything here is at v1.36.3.", true),
            (NextTurn::Pending(why("cp1 first")), "  wait  cp1 first\nThe upgrade would wait.\n", false),
            (NextTurn::Refused(why("too far")), "  NO    too far\nThe upgrade would be refused", false),
        ] {
            let (text, goes) = no_turn(&node(), TARGET, &next);
            assert!(text.contains(words) && goes == well, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_status_in_any_form_is_shown_and_steers_no_terminal(
            status in prop_oneof![hostile(), mangled(STATUS_SAMPLE)], name in hostile(), json: bool,
        ) {
            let node = NodeSeen { name, status: Some(status), ..NodeSeen::default() };
            let shown = super::status(&node, Unix(0), json);
            prop_assert!(!shown.contains(|c: char| c.is_control() && c != '\n'));
        }
    }
}
