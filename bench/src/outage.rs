//! Times out of service, side by side.

use std::fmt::{self, Write};

use lab::audit::Outage;

const PHASES: [&str; 8] =
    ["cordoning", "draining", "staging", "applying", "installing", "restarting", "verifying", "uncordoning"];

/// Who upgraded a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    Agent,
    Hand,
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Agent => "agent",
            Self::Hand => "script",
        })
    }
}

/// One upgrade of one node.
#[derive(Debug, Clone)]
pub(super) struct Upgrade {
    pub(super) by: By,
    /// Web servers on the node when it began.
    pub(super) pods: usize,
    pub(super) outage: Outage,
    /// Seconds from the annotation, or the script's start, to the end.
    pub(super) total: f64,
}

/// A Markdown table of every upgrade, the means of both, and their ratio.
pub(super) fn table(upgrades: &[Upgrade]) -> String {
    let mut text = format!("| node | by | pods | out of service | {} | begin to end |\n", PHASES.join(" | "));
    text.push_str(&"|---".repeat(PHASES.len() + 5));
    text.push_str("|\n");
    for upgrade in upgrades {
        let phases = PHASES.map(|phase| format!("{:.1}", spent(upgrade, phase))).join(" | ");
        let (node, by, pods) = (&upgrade.outage.node, upgrade.by, upgrade.pods);
        let (out, total) = (upgrade.outage.seconds(), upgrade.total);
        // Writing to a String cannot fail.
        let _ = writeln!(text, "| {node} | {by} | {pods} | {out:.1} | {phases} | {total:.1} |");
    }
    let (agent, hand) = (mean(upgrades, By::Agent), mean(upgrades, By::Hand));
    let _ = writeln!(
        text,
        "\nMean out of service: agent {agent:.1} s, script {hand:.1} s; ratio {:.2}",
        agent / hand
    );
    text
}

fn spent(upgrade: &Upgrade, phase: &str) -> f64 {
    let times = upgrade.outage.phases.iter().filter(|(known, _)| known == phase);
    times.fold(0.0, |sum, (_, seconds)| sum + seconds)
}

#[expect(clippy::cast_precision_loss, reason = "a handful of upgrades")]
fn mean(upgrades: &[Upgrade], by: By) -> f64 {
    let times: Vec<f64> =
        upgrades.iter().filter(|upgrade| upgrade.by == by).map(|upgrade| upgrade.outage.seconds()).collect();
    times.iter().sum::<f64>() / times.len() as f64
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn upgrade(by: By, seconds: i64) -> Upgrade {
        let (from, until) = (Timestamp::UNIX_EPOCH, Timestamp::from_second(seconds).unwrap());
        let outage = Outage { node: "a".to_owned(), from, until, phases: vec![("draining".to_owned(), 2.0)] };
        Upgrade { by, pods: 5, outage, total: 20.0 }
    }

    #[test]
    fn means_are_compared() {
        let table = table(&[upgrade(By::Agent, 10), upgrade(By::Agent, 20), upgrade(By::Hand, 30)]);
        assert!(table.ends_with("agent 15.0 s, script 30.0 s; ratio 0.50\n"), "{table}");
        let widths: Vec<usize> = table.lines().take(5).map(|line| line.matches('|').count()).collect();
        assert_eq!(widths, [14; 5], "{table}");
    }
}
