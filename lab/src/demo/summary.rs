//! What the upgrade cost: each node's time out of service, by phase.

use std::path::Path;

use anyhow::Result;
use jiff::Timestamp;

use super::board::align;
use crate::audit::{NodeWrite, Outage, node_writes, outages, seconds};

/// The phases in which a node is out of service, in the order of an upgrade.
const PHASES: [&str; 8] =
    ["cordoning", "draining", "staging", "applying", "installing", "restarting", "verifying", "uncordoning"];

/// The table of times out of service since `start`, and a line of totals.
///
/// # Errors
/// If the audit log cannot be read.
pub(super) fn summary(audit_log: &Path, nodes: &[&str], start: Timestamp) -> Result<Vec<String>> {
    let writes = node_writes(audit_log)?;
    let found: Vec<Outage> =
        nodes.iter().flat_map(|node| outages(&writes, node)).filter(|outage| outage.from >= start).collect();
    let mut lines = table(&found);
    lines.push(totals(&found, &writes, start));
    Ok(lines)
}

fn table(found: &[Outage]) -> Vec<String> {
    let mut headings = [const { String::new() }; 10];
    let names = ["NODE", "OUT OF SERVICE"].into_iter().chain(PHASES);
    headings.iter_mut().zip(names).for_each(|(heading, name)| name.clone_into(heading));
    let rows: Vec<[String; 10]> = found.iter().map(row).collect();
    align(&headings, &rows)
}

fn row(outage: &Outage) -> [String; 10] {
    let mut row = [const { String::new() }; 10];
    let spent = PHASES.map(|phase| {
        let times = outage.phases.iter().filter(|(known, _)| known == phase).map(|(_, seconds)| seconds);
        // Not sum(): of nothing that is minus zero, which would be shown.
        times.fold(0.0, |sum, seconds| sum + seconds)
    });
    let times = std::iter::once(outage.seconds()).chain(spent).map(|seconds: f64| format!("{seconds:.1} s"));
    let cells = std::iter::once(outage.node.clone()).chain(times);
    row.iter_mut().zip(cells).for_each(|(cell, value)| *cell = value);
    row
}

fn totals(found: &[Outage], writes: &[NodeWrite], start: Timestamp) -> String {
    let out: f64 = found.iter().map(Outage::seconds).sum();
    let end =
        writes.iter().filter(|write| write.phase.as_deref() != Some("idle")).map(|write| write.at).max();
    let total = end.map_or(0.0, |end| seconds(start, end));
    format!(
        "total: {total:.1} s from the annotation to the last node's end; nodes out of service {out:.1} s together"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_node_has_its_time_by_phase() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let phases = vec![("draining".to_owned(), 2.0), ("verifying".to_owned(), 3.5)];
        let outage = Outage { node: "a".to_owned(), from: at(1), until: at(7), phases };
        let table = table(&[outage]);
        let cells: Vec<&str> = table[1].split_whitespace().filter(|cell| *cell != "s").collect();
        assert_eq!(cells, ["a", "6.0", "0.0", "2.0", "0.0", "0.0", "0.0", "0.0", "3.5", "0.0"]);
    }
}
