//! What the API server's audit log says about upgrades: who was out of service, when, and in which phase.
//!
//! The log has every write to a Node with its time in microseconds, where polling would miss phases that last
//! tenths of seconds; and it is the same witness for the agent and for an administrator's commands.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use jiff::Timestamp;
use serde_json::Value;

/// The phase from the cordon until another one is told.
const CORDONING: &str = "cordoning";

/// One write to a Node, as it was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeWrite {
    /// When the API server had carried it out.
    pub at: Timestamp,
    /// Name of the Node.
    pub node: String,
    /// Whether the Node was unschedulable after it.
    pub cordoned: bool,
    /// The agent's phase after it, if it had said one.
    pub phase: Option<String>,
}

/// A node's time out of service: from its cordon to its uncordon.
#[derive(Debug, Clone, PartialEq)]
pub struct Outage {
    /// Name of the Node.
    pub node: String,
    /// When it was cordoned.
    pub from: Timestamp,
    /// When it was uncordoned.
    pub until: Timestamp,
    /// Seconds spent in each phase, in the order of their first appearance.
    pub phases: Vec<(String, f64)>,
}

impl Outage {
    /// Seconds from cordon to uncordon.
    pub fn seconds(&self) -> f64 {
        seconds(self.from, self.until)
    }
}

/// Seconds from `from` to `until`.
pub fn seconds(from: Timestamp, until: Timestamp) -> f64 {
    until.duration_since(from).as_secs_f64()
}

/// All successful writes to Nodes in an audit log, in their order.
///
/// # Errors
/// If the log cannot be read.
pub fn node_writes(log: &Path) -> Result<Vec<NodeWrite>> {
    let text =
        fs::read_to_string(log).with_context(|| format!("cannot read the audit log {}", log.display()))?;
    // Most of the log is about something else, and parsing all of it would take seconds.
    let about_nodes = text.lines().filter(|line| line.contains("\"resource\":\"nodes\""));
    // A line that does not parse is the last one, which is being written.
    let events = about_nodes.filter_map(|line| serde_json::from_str(line).ok());
    let mut writes: Vec<NodeWrite> = events.filter_map(|event: Value| node_write(&event)).collect();
    writes.sort_by_key(|write| write.at);
    Ok(writes)
}

/// The write to a Node that an event of the audit log tells of, if it does and it was successful.
pub fn node_write(event: &Value) -> Option<NodeWrite> {
    let node = event.get("responseObject")?;
    if node.get("kind")?.as_str()? != "Node" {
        return None;
    }
    let phase = node.pointer("/metadata/annotations/node-upgrade-agent~1phase");
    Some(NodeWrite {
        at: event.get("stageTimestamp")?.as_str()?.parse().ok()?,
        node: node.pointer("/metadata/name")?.as_str()?.to_owned(),
        cordoned: node.pointer("/spec/unschedulable").and_then(Value::as_bool).unwrap_or(false),
        phase: phase.and_then(Value::as_str).map(str::to_owned),
    })
}

/// Every time the Node was out of service and returned, in their order. Phases count from the cordon on: what was done
/// while the Node was in service is no part of them, and what was told before the cordon ends with it.
pub fn outages(writes: &[NodeWrite], node: &str) -> Vec<Outage> {
    let mut found = Vec::new();
    let mut open: Option<Outage> = None;
    let mut phase = CORDONING;
    let mut last: Option<&NodeWrite> = None;
    for write in writes.iter().filter(|write| write.node == node) {
        if let (Some(outage), Some(last)) = (&mut open, last) {
            add(&mut outage.phases, phase, seconds(last.at, write.at));
            outage.until = write.at;
        }
        let told = write.phase.as_deref();
        let is_news = last.is_none_or(|last| last.phase.as_deref() != told);
        match (write.cordoned, open.is_some()) {
            (true, false) => {
                let (node, from, until) = (write.node.clone(), write.at, write.at);
                open = Some(Outage { node, from, until, phases: Vec::new() });
                phase = if is_news { phase_of(told) } else { CORDONING };
            }
            (false, true) => found.extend(open.take()),
            _ if is_news => phase = phase_of(told),
            _ => {}
        }
        last = Some(write);
    }
    found
}

/// The phase of an outage, by what the agent told.
fn phase_of(told: Option<&str>) -> &str {
    match told {
        None | Some("idle" | "preflight" | "claiming") => CORDONING,
        Some(phase) => phase,
    }
}

fn add(phases: &mut Vec<(String, f64)>, phase: &str, seconds: f64) {
    match phases.iter_mut().find(|(known, _)| known == phase) {
        Some((_, sum)) => *sum += seconds,
        None => phases.push((phase.to_owned(), seconds)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(second: i64, node: &str, cordoned: bool, phase: &str) -> NodeWrite {
        let at = Timestamp::from_second(second).unwrap();
        NodeWrite { at, node: node.to_owned(), cordoned, phase: Some(phase.to_owned()) }
    }

    #[test]
    fn an_outage_lasts_from_cordon_to_uncordon_and_is_divided_by_phase() {
        let writes = [
            write(1, "a", false, "claiming"),
            write(2, "a", true, "claiming"),
            write(3, "b", false, "claiming"),
            write(4, "a", true, "draining"),
            write(9, "a", true, "draining"),
            write(10, "a", true, "verifying"),
            write(16, "a", false, "verifying"),
            write(20, "a", false, "idle"),
        ];
        let found = outages(&writes, "a");
        let [outage] = found.as_slice() else { panic!("{found:?}") };
        assert!((outage.seconds() - 14.0).abs() < 1e-9);
        let phases = [("cordoning", 2.0), ("draining", 6.0), ("verifying", 6.0)];
        assert_eq!(outage.phases, phases.map(|(phase, seconds)| (phase.to_owned(), seconds)));
        assert_eq!(outages(&writes, "b"), []);
    }

    #[test]
    fn phases_of_a_node_that_was_still_in_service_are_no_part_of_its_outage() {
        let writes = [
            write(1, "a", false, "claiming"),
            write(2, "a", false, "staging"),
            write(5, "a", false, "applying"),
            write(95, "a", true, "applying"),
            write(96, "a", true, "applying"),
            write(97, "a", true, "draining"),
            write(99, "a", true, "installing"),
            write(104, "a", false, "installing"),
        ];
        let found = outages(&writes, "a");
        let [outage] = found.as_slice() else { panic!("{found:?}") };
        assert!((outage.seconds() - 9.0).abs() < 1e-9);
        let phases = [("cordoning", 2.0), ("draining", 2.0), ("installing", 5.0)];
        assert_eq!(outage.phases, phases.map(|(phase, seconds)| (phase.to_owned(), seconds)));
    }

    #[test]
    fn a_phase_that_is_told_with_the_cordon_begins_with_it() {
        let writes = [
            write(1, "a", false, "applying"),
            write(2, "a", true, "draining"),
            write(4, "a", false, "draining"),
        ];
        assert_eq!(outages(&writes, "a")[0].phases, [("draining".to_owned(), 2.0)]);
    }

    #[test]
    fn a_node_that_has_not_returned_has_no_outage_yet() {
        assert_eq!(outages(&[write(1, "a", true, "draining"), write(2, "a", true, "degraded")], "a"), []);
    }

    #[test]
    fn a_write_is_read_from_the_answer_the_client_got() {
        let event = r#"{"stageTimestamp":"2026-01-02T03:04:05.500000Z","objectRef":{"resource":"nodes"},
            "responseObject":{"kind":"Node","metadata":{"name":"a","annotations":{"node-upgrade-agent/phase":"draining"}},
            "spec":{"unschedulable":true}}}"#;
        let write = node_write(&serde_json::from_str(event).unwrap()).unwrap();
        assert!(write.cordoned);
        assert_eq!((write.node.as_str(), write.phase.as_deref()), ("a", Some("draining")));
        assert_eq!(write.at.subsec_nanosecond(), 500_000_000);
        let conflict = r#"{"stageTimestamp":"2026-01-02T03:04:05Z","responseObject":{"kind":"Status"}}"#;
        assert_eq!(node_write(&serde_json::from_str(conflict).unwrap()), None);
    }
}
