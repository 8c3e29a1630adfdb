//! What `plan` and `status` print for a person.

use std::collections::BTreeSet;

use upgrade_core::api::annotations::STATUS;
use upgrade_core::api::{Check, Report, reachable, text};
use upgrade_core::judge::preflight::{Verdict, judge};
use upgrade_core::memory::{Direction, Stage, Turn};
use upgrade_core::observed::{Findings, NodeSeen, Outcome, Ready};
use upgrade_core::time::Unix;

/// What preflight found, and whether an upgrade would go on.
pub fn plan(node: &NodeSeen, findings: &Findings, skip: &BTreeSet<Check>) -> (String, bool) {
    let mut text = String::new();
    let runs = node.kubelet.map_or_else(|| "an unknown version".to_owned(), |version| version.to_string());
    line(&mut text, &format!("{}: {runs} → {}", node.name, findings.target));
    if let Some(plan) = &findings.plan {
        line(&mut text, &format!("  kubeadm {} → {}", plan.from.kubeadm, plan.to.kubeadm));
        line(&mut text, &format!("  kubelet {} → {}", plan.from.kubelet, plan.to.kubelet));
    }
    let unreachable =
        node.kubelet.and_then(|running| reachable(running, findings.target, node.control_plane).err());
    if let Some(why) = &unreachable {
        line(&mut text, &format!("  NO    {:<13} {why}", Check::Reachable.word()));
    }
    for finding in &findings.findings {
        let skipped = skip.contains(&finding.check) && finding.check.may_be_skipped();
        let (mark, message) = match &finding.outcome {
            Outcome::Passed(message) => ("ok", message),
            Outcome::Failed(message) | Outcome::Pending(message) if skipped => ("skip", message),
            Outcome::Failed(message) => ("NO", message),
            Outcome::Pending(message) => ("wait", message),
        };
        line(&mut text, &format!("  {mark:<5} {:<13} {message}", finding.check.word()));
    }
    let verdict = judge(findings, skip);
    let goes = unreachable.is_none() && matches!(verdict, Verdict::Go { .. });
    line(
        &mut text,
        match (&verdict, goes) {
            (_, true) => "The upgrade would go on.",
            (Verdict::NotYet(_), _) => "The upgrade would wait.",
            _ => "The upgrade would be refused; nothing would be touched.",
        },
    );
    (text, goes)
}

/// Whether an upgrade is under way, from the journal alone.
pub fn local(turn: Option<&Turn>) -> String {
    let Some(turn) = turn else { return "no upgrade is under way\n".to_owned() };
    let (state, target, lease) = (stage(&turn.stage), turn.plan.target, turn.lease);
    format!("an upgrade to {target} is under way: {state} (the Lease {lease} is held)\n")
}

const fn stage(stage: &Stage) -> &'static str {
    match stage {
        Stage::Clearing { .. } => "nothing on this host has changed yet",
        Stage::Changing { direction: Direction::Forward, .. } => "this host is being changed",
        Stage::Changing { direction: Direction::Back(_), .. } => "going back",
        Stage::Returning(_) => "the node returns to service",
        Stage::Degraded { .. } => "degraded, the node waits for a person",
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

    use super::*;
    use crate::arbitrary::{hostile, mangled};

    const STATUS_SAMPLE: &str = r#"{"target":"v1.36.3","hop":"1.36.2-1.1 → 1.36.3-1.1","phase":"draining","since":1760000000,
        "attempts":0,"reason":"DrainBlocked","message":"1 pods left","drain":{"podsLeft":1,"blocked":[{"pod":"default/web-1",
        "budget":"web","message":"no"}],"passedOver":[{"pod":"default/old","why":"it hangs"}]},"notes":["a note"],"slot":"slot-0","current":"v1.36.2"}"#;

    #[test]
    fn the_sample_is_what_an_agent_writes() {
        let report: Report = serde_json::from_str(STATUS_SAMPLE).unwrap();
        let drain = report.drain.unwrap();
        assert_eq!((drain.blocked.len(), drain.passed_over.len()), (1, 1));
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
