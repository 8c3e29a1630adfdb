//! What an agent costs that has nothing to do.

use std::collections::BTreeMap;
use std::fmt;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use jiff::Timestamp;

use super::daemon::{memory, property};
use super::log::asked;
use lab::Cluster;
use lab::Node;

/// After its start or an upgrade an agent has things to finish.
const SETTLE: Duration = Duration::from_secs(30);

/// The costs of an idle period, node by node.
pub(super) struct Idle {
    seconds: f64,
    nodes: Vec<Costs>,
    /// Requests of all agents by verb and resource.
    requests: BTreeMap<String, usize>,
}

struct Costs {
    node: String,
    /// Resident memory in KiB at the period's end, and the part of it that is not the program's file.
    resident: u64,
    anonymous: u64,
    /// Nanoseconds of processor time in the period.
    cpu: u64,
    requests: usize,
}

impl Idle {
    /// Waits for `period` and says what it cost.
    ///
    /// # Errors
    /// If a node or the audit log cannot be read.
    pub(super) fn measure(cluster: &Cluster, period: Duration) -> Result<Self> {
        thread::sleep(SETTLE);
        lab::progress(&format!("measuring {} s of idleness", period.as_secs()));
        let cpu =
            |node: &Node| -> Result<u64> { property(node, "CPUUsageNSec")?.parse().context("no number") };
        let before = cluster.nodes().iter().map(cpu).collect::<Result<Vec<_>>>()?;
        let (begin, start) = (Timestamp::now(), Instant::now());
        thread::sleep(period);
        let seconds = start.elapsed().as_secs_f64();
        let requests = asked(&cluster.audit_log()?, begin, Timestamp::now())?;
        let mut nodes = Vec::new();
        for (node, before) in cluster.nodes().iter().zip(before) {
            let [resident, anonymous] = memory(node, ["VmRSS", "RssAnon"])?;
            nodes.push(Costs {
                node: node.name().to_owned(),
                resident,
                anonymous,
                cpu: cpu(node)?.saturating_sub(before),
                requests: requests.iter().filter(|asked| asked.node == node.name()).count(),
            });
        }
        let mut kinds = BTreeMap::new();
        for asked in requests {
            *kinds.entry(asked.kind()).or_insert(0) += 1;
        }
        Ok(Self { seconds, nodes, requests: kinds })
    }
}

impl fmt::Display for Idle {
    #[expect(clippy::cast_precision_loss, reason = "shown with two digits")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hours = self.seconds / 3600.0;
        writeln!(f, "| node | RSS MiB | of it anonymous | CPU s/h | requests | requests/h |")?;
        writeln!(f, "|---|---|---|---|---|---|")?;
        for costs in &self.nodes {
            writeln!(
                f,
                "| {} | {:.1} | {:.1} | {:.2} | {} | {:.1} |",
                costs.node,
                costs.resident as f64 / 1024.0,
                costs.anonymous as f64 / 1024.0,
                costs.cpu as f64 / 1e9 / hours,
                costs.requests,
                costs.requests as f64 / hours
            )?;
        }
        writeln!(f, "\nCounted over {:.0} s. Requests of all agents:", self.seconds)?;
        self.requests.iter().try_for_each(|(kind, count)| writeln!(f, "- {count} × {kind}"))
    }
}
