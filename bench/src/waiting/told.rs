//! What the waiting say on their Nodes.

use anyhow::{Context, Result};
use serde_json::Value;

use super::{Bar, WAITERS};
use lab::Cluster;

/// Of so many samples that were wrong it is told what was said.
const QUOTED: usize = 5;

/// What was said in many samples.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// Samples: one of each waiter each time.
    pub(super) samples: usize,
    /// How many of them did not say whom the node waits for.
    pub(super) wrong: usize,
    /// Times when the API server could not be asked.
    pub(super) unread: usize,
    /// What the first wrong ones said.
    pub(super) quoted: Vec<String>,
}

impl Told {
    /// Judges one look at all waiters.
    pub(super) fn take(&mut self, nodes: Result<Vec<Value>>, bar: Bar) {
        let Ok(nodes) = nodes else {
            self.unread += 1;
            return;
        };
        let wrong = wrong(&nodes, bar);
        self.samples += WAITERS.len();
        self.wrong += wrong.len();
        self.quoted.extend(wrong);
        self.quoted.truncate(QUOTED);
    }
}

/// The Nodes of the waiting, by the bench's own credential.
///
/// # Errors
/// If the API server does not answer.
pub(super) fn waiters(cluster: &Cluster) -> Result<Vec<Value>> {
    let get = [&["get", "node", "-o", "json"], WAITERS.as_slice()].concat();
    let list: Value = serde_json::from_str(&cluster.kubectl(&get)?).context("kubectl prints no JSON")?;
    list.get("items").and_then(Value::as_array).cloned().context("kubectl prints no list")
}

/// One sentence for each waiter that is missing, or does not say why it waits in phase, status and condition.
pub(super) fn wrong(nodes: &[Value], bar: Bar) -> Vec<String> {
    let of = |name: &str| nodes.iter().find(|node| text(node, "/metadata/name") == name);
    let judged = WAITERS.into_iter().filter_map(|name| match of(name) {
        None => Some(format!("{name}: there is no such Node")),
        Some(node) => why_wrong(node, bar).map(|why| format!("{name}: {why}")),
    });
    judged.collect()
}

/// Whether an agent has nothing to do.
pub(super) fn is_at_rest(node: &Value) -> bool {
    let cordoned = node.pointer("/spec/unschedulable").and_then(Value::as_bool).unwrap_or(false);
    !cordoned && text(node, "/metadata/annotations/node-upgrade-agent~1phase") == "idle"
}

fn why_wrong(node: &Value, bar: Bar) -> Option<String> {
    let phase = text(node, "/metadata/annotations/node-upgrade-agent~1phase");
    let status = text(node, "/metadata/annotations/node-upgrade-agent~1status");
    let report: Value = serde_json::from_str(status).unwrap_or_default();
    let conditions = node.pointer("/status/conditions").and_then(Value::as_array);
    let condition = conditions.and_then(|all| all.iter().find(|one| text(one, "/type") == "Upgraded"));
    let says = |object: &Value| {
        text(object, "/reason") == bar.reason() && text(object, "/message").contains(bar.names())
    };
    let right = [phase, text(&report, "/phase")] == ["claiming"; 2] && says(&report);
    (!right || !condition.is_some_and(says)).then(|| format!("phase {phase}, status {status}"))
}

fn text<'a>(value: &'a Value, path: &str) -> &'a str {
    value.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn node(name: &str, phase: &str, reason: &str, message: &str) -> Value {
        let status = json!({"phase": phase, "reason": reason, "message": message}).to_string();
        let annotations = json!({"node-upgrade-agent/phase": phase, "node-upgrade-agent/status": status});
        json!({
            "metadata": {"name": name, "annotations": annotations},
            "status": {"conditions": [{"type": "Upgraded", "reason": reason, "message": message}]},
        })
    }

    fn waits(name: &str) -> Value {
        node(name, "claiming", "BudgetExhausted", "worker4 is out of service")
    }

    #[test]
    fn every_waiter_must_say_whom_it_waits_for() {
        let good: Vec<Value> = WAITERS.into_iter().map(waits).collect();
        assert_eq!(wrong(&good, Bar::Down), Vec::<String>::new());
        assert_eq!(wrong(&good, Bar::Paused).len(), 3);
        assert_eq!(wrong(&good[1..], Bar::Down), ["worker1: there is no such Node"]);
        let others = [
            node("worker1", "preflight", "BudgetExhausted", "worker4 is out of service"),
            node("worker2", "claiming", "WaitingForTurn", "worker4 has the Lease"),
            node("worker3", "claiming", "BudgetExhausted", "cp1 is out of service"),
        ];
        assert_eq!(wrong(&others, Bar::Down).len(), 3);
    }

    #[test]
    fn a_condition_that_says_something_else_or_nothing_is_wrong_too() {
        let mut good: Vec<Value> = WAITERS.into_iter().map(waits).collect();
        good[2]["status"]["conditions"][0]["reason"] = json!("Progressing");
        assert_eq!(wrong(&good, Bar::Down).len(), 1);
        good[2]["status"] = json!({});
        assert_eq!(wrong(&good, Bar::Down).len(), 1);
    }

    #[test]
    fn a_look_that_failed_is_no_sample() {
        let mut told = Told::default();
        told.take(Err(anyhow::anyhow!("no answer")), Bar::Down);
        told.take(Ok(WAITERS.into_iter().map(waits).collect()), Bar::Down);
        assert_eq!((told.samples, told.wrong, told.unread), (3, 0, 1));
    }

    #[test]
    fn at_rest_is_who_is_idle_and_in_service() {
        let mut idle = node("worker1", "idle", "Idle", "");
        assert!(is_at_rest(&idle));
        idle["spec"]["unschedulable"] = json!(true);
        assert!(!is_at_rest(&idle));
        assert!(!is_at_rest(&waits("worker1")));
    }
}
