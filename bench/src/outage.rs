//! Times out of service, side by side.

use std::fmt::{self, Write};

use lab::audit::Outage;
use lab::script::Order;

const PHASES: [&str; 8] =
    ["cordoning", "draining", "staging", "applying", "installing", "restarting", "verifying", "uncordoning"];

/// Who upgraded a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    Agent,
    Script(Order),
}

impl By {
    pub(super) const ALL: [Self; 3] =
        [Self::Agent, Self::Script(Order::DrainFirst), Self::Script(Order::Documentation)];
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Agent => "agent",
            Self::Script(Order::DrainFirst) => "drain-first script",
            Self::Script(Order::Documentation) => "documentation script",
        })
    }
}

/// One upgrade of one node.
#[derive(Debug, Clone)]
pub(super) struct Upgrade {
    pub(super) by: By,
    /// Web servers on the node when it began.
    pub(super) pods: usize,
    /// Seconds from the annotation, or the script's start, to the cordon.
    pub(super) before: f64,
    pub(super) outage: Outage,
    /// Seconds from the annotation, or the script's start, to the end.
    pub(super) total: f64,
}

impl Upgrade {
    /// Seconds out of service that a phase took.
    fn spent(&self, phase: &str) -> f64 {
        let times = self.outage.phases.iter().filter(|(known, _)| known == phase);
        times.fold(0.0, |sum, (_, seconds)| sum + seconds)
    }
}

/// A Markdown table of every upgrade, the means of each way, and the agent's time out of service beside each script's:
/// at most `goal` times that of the drain-first script is wanted.
pub(super) fn table(upgrades: &[Upgrade], goal: f64) -> String {
    let mut text = format!(
        "| node | by | pods | before the cordon | out of service | {} | begin to end |\n",
        PHASES.join(" | ")
    );
    text.push_str(&"|---".repeat(PHASES.len() + 6));
    text.push_str("|\n");
    for upgrade in upgrades {
        let phases = PHASES.map(|phase| format!("{:.1}", upgrade.spent(phase))).join(" | ");
        let Upgrade { by, pods, before, outage, total } = upgrade;
        let (node, out) = (&outage.node, outage.seconds());
        // Writing to a String cannot fail.
        let _ = writeln!(text, "| {node} | {by} | {pods} | {before:.1} | {out:.1} | {phases} | {total:.1} |");
    }
    let ways = By::ALL.map(|by| Way::of(upgrades, by));
    let _ = writeln!(text, "\n- Mean out of service: {}", means(&ways, |upgrade| upgrade.outage.seconds()));
    let _ = writeln!(text, "- Mean begin to end: {}", means(&ways, |upgrade| upgrade.total));
    let [agent, drain_first, documentation] = ways;
    if let Some(ratio) = agent.ratio(&drain_first) {
        let verdict = if ratio <= goal { "met" } else { "**missed**" };
        let _ = writeln!(
            text,
            "- Out of service, {agent} / {drain_first}: {ratio:.2}; at most {goal}: {verdict}"
        );
    }
    if let Some(ratio) = agent.ratio(&documentation) {
        let longer = agent.longer(&documentation);
        let _ = writeln!(text, "- Out of service, {agent} / {documentation}: {ratio:.2}; {longer}");
    }
    text
}

/// All upgrades by one of the three.
struct Way<'a> {
    by: By,
    upgrades: Vec<&'a Upgrade>,
}

impl fmt::Display for Way<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.by.fmt(f)
    }
}

impl<'a> Way<'a> {
    fn of(upgrades: &'a [Upgrade], by: By) -> Self {
        Self { by, upgrades: upgrades.iter().filter(|upgrade| upgrade.by == by).collect() }
    }

    /// Of nothing there is no mean.
    #[expect(clippy::cast_precision_loss, reason = "a handful of upgrades")]
    fn mean(&self, seconds: impl Fn(&Upgrade) -> f64) -> Option<f64> {
        let sum: f64 = self.upgrades.iter().map(|upgrade| seconds(upgrade)).sum();
        (!self.upgrades.is_empty()).then(|| sum / self.upgrades.len() as f64)
    }

    /// How many times the other's mean time out of service this one's is.
    fn ratio(&self, other: &Self) -> Option<f64> {
        let out = |upgrade: &Upgrade| upgrade.outage.seconds();
        Some(self.mean(out)? / other.mean(out)?)
    }

    /// What of the time out of service takes longer here, and by how much, the most first.
    fn longer(&self, other: &Self) -> String {
        let mut names: Vec<&str> = Vec::new();
        for (name, _) in self.upgrades.iter().flat_map(|upgrade| &upgrade.outage.phases) {
            if !names.contains(&name.as_str()) {
                names.push(name);
            }
        }
        let differences = names.into_iter().filter_map(|name| {
            let spent = |upgrade: &Upgrade| upgrade.spent(name);
            Some((name, self.mean(spent)? - other.mean(spent)?))
        });
        // What would be shown as zero is none.
        let mut longer: Vec<(&str, f64)> = differences.filter(|(_, seconds)| *seconds >= 0.05).collect();
        longer.sort_by(|(_, one), (_, other)| other.total_cmp(one));
        if longer.is_empty() {
            return format!("the {self} takes longer for nothing");
        }
        let told = longer.iter().map(|(name, seconds)| format!("{name} ({seconds:.1} s)"));
        format!("the {self} takes longer for {}", told.collect::<Vec<_>>().join(", "))
    }
}

/// The mean of each way that was measured.
fn means(ways: &[Way<'_>], seconds: impl Fn(&Upgrade) -> f64) -> String {
    let measured = ways.iter().filter_map(|way| Some(format!("{way} {:.1} s", way.mean(&seconds)?)));
    measured.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    const DRAIN_FIRST: By = By::Script(Order::DrainFirst);
    const DOCUMENTATION: By = By::Script(Order::Documentation);

    /// An upgrade whose time out of service is that of its phases.
    fn upgrade(by: By, phases: &[(&str, i64)]) -> Upgrade {
        let seconds = phases.iter().map(|(_, seconds)| seconds).sum();
        let (from, until) = (Timestamp::UNIX_EPOCH, Timestamp::from_second(seconds).unwrap());
        #[expect(clippy::cast_precision_loss, reason = "some seconds")]
        let phases = phases.iter().map(|(name, seconds)| ((*name).to_owned(), *seconds as f64)).collect();
        let outage = Outage { node: "a".to_owned(), from, until, phases };
        Upgrade { by, pods: 5, before: 90.5, outage, total: 120.0 }
    }

    fn drained(by: By, seconds: i64) -> Upgrade {
        upgrade(by, &[("draining", seconds)])
    }

    /// What follows the rows.
    fn closing(table: &str) -> Vec<&str> {
        table.lines().filter(|line| line.starts_with("- ")).collect()
    }

    #[test]
    fn every_row_has_every_column() {
        let table = table(&By::ALL.map(|by| drained(by, 7)), 1.25);
        let widths: Vec<usize> = table.lines().take(5).map(|line| line.matches('|').count()).collect();
        assert_eq!(widths, [15; 5], "{table}");
        assert!(
            table.contains("\n| a | documentation script | 5 | 90.5 | 7.0 | 0.0 | 7.0 | 0.0 |"),
            "{table}"
        );
    }

    #[test]
    fn the_agents_mean_is_held_against_the_goal_beside_the_drain_first_script() {
        let upgrades = [drained(By::Agent, 10), drained(By::Agent, 20), drained(DRAIN_FIRST, 30)];
        let met = table(&upgrades, 0.5);
        assert_eq!(
            closing(&met),
            [
                "- Mean out of service: agent 15.0 s, drain-first script 30.0 s",
                "- Mean begin to end: agent 120.0 s, drain-first script 120.0 s",
                "- Out of service, agent / drain-first script: 0.50; at most 0.5: met",
            ]
        );
        let missed = table(&upgrades, 0.15);
        assert!(missed.ends_with("agent / drain-first script: 0.50; at most 0.15: **missed**\n"), "{missed}");
    }

    #[test]
    fn what_the_agent_takes_longer_for_than_the_documentation_is_named_the_most_first() {
        let upgrades = [
            upgrade(By::Agent, &[("cordoning", 1), ("draining", 2), ("installing", 2), ("verifying", 5)]),
            upgrade(DRAIN_FIRST, &[("draining", 2), ("staging", 48)]),
            upgrade(DOCUMENTATION, &[("draining", 3), ("installing", 2), ("verifying", 2)]),
            upgrade(DOCUMENTATION, &[("draining", 3), ("installing", 2), ("verifying", 0)]),
        ];
        let table = table(&upgrades, 0.2);
        let [.., drain_first, documentation] = closing(&table)[..] else { panic!("{table}") };
        assert_eq!(drain_first, "- Out of service, agent / drain-first script: 0.20; at most 0.2: met");
        assert_eq!(
            documentation,
            "- Out of service, agent / documentation script: 1.67; \
             the agent takes longer for verifying (4.0 s), cordoning (1.0 s)"
        );
    }

    #[test]
    fn an_agent_that_is_slower_in_no_phase_takes_longer_for_nothing() {
        let table = table(&[drained(By::Agent, 10), drained(DOCUMENTATION, 10)], 1.0);
        assert!(
            table.ends_with("agent / documentation script: 1.00; the agent takes longer for nothing\n"),
            "{table}"
        );
    }
}
