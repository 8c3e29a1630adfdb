//! What really happened in a cluster, as a history for the oracle ([`upgrade_core::oracle`]).
//!
//! Everything comes from witnesses other than the agent: the API server's audit log tells who wrote what to Nodes,
//! Leases and pods, systemd's lines in the nodes' journals tell which units ran, and dpkg's log tells what was
//! installed. All nodes of a lab share one clock, so the three can be merged by time.

mod audit;
mod host;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use lab::{Cluster, Node};
use upgrade_core::api::Version;
use upgrade_core::oracle::{Event, Expectations, What};

/// systemd's own lines, and the first of every boot.
const JOURNAL: &[&str] = &[
    "journalctl",
    "--output=json",
    "--no-pager",
    "--output-fields=MESSAGE,MESSAGE_ID,UNIT,JOB_RESULT,_SOURCE_REALTIME_TIMESTAMP",
    "_PID=1",
    "+",
    host::JOURNAL_STARTED_MATCH,
];

const DPKG_LOG: &str = "/var/log/dpkg.log";

/// What the witnesses on one host say.
#[derive(Debug, Clone)]
pub struct HostRecords {
    /// The node's name.
    pub node: String,
    /// Its journal, as `journalctl --output=json` prints it.
    pub journal: String,
    /// dpkg's log, in UTC.
    pub dpkg_log: String,
}

impl HostRecords {
    /// Asks a node that is switched on.
    ///
    /// # Errors
    /// If it is off, or a log cannot be read.
    pub fn of(node: &Node) -> Result<Self> {
        let dpkg_log = String::from_utf8(node.read_file(DPKG_LOG)?).context("dpkg's log is not text")?;
        Ok(Self { node: node.name().to_owned(), journal: node.run(JOURNAL)?, dpkg_log })
    }
}

/// What happened, and when that began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct History {
    /// For the oracle.
    pub events: Vec<Event>,
    /// Microseconds since 1970 at which the events' own clock begins.
    began: u64,
}

impl History {
    /// A wall clock's time on the events' clock, in milliseconds.
    ///
    /// # Errors
    /// If the time is before 1970.
    pub fn moment(&self, time: SystemTime) -> Result<u64> {
        let since = u64::try_from(time.duration_since(UNIX_EPOCH)?.as_micros())?;
        Ok(since.saturating_sub(self.began) / 1_000)
    }
}

/// The history of a running cluster, from its first boot until now.
///
/// # Errors
/// If a log cannot be read or has a line that cannot be understood.
pub fn of_cluster(cluster: &Cluster) -> Result<History> {
    let read = |path: PathBuf| {
        std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    };
    // Each server tells what it was asked for; etcd's revisions put it in order.
    let audit = cluster.audit_logs().into_iter().map(read).collect::<Result<String>>()?;
    let hosts = cluster.nodes().iter().map(HostRecords::of).collect::<Result<Vec<_>>>()?;
    merge(&audit, &hosts)
}

/// What the oracle may expect of a history from these witnesses.
pub fn expectations() -> Expectations {
    // Nobody here knows of a lost journal or a broken repository.
    Expectations { tells_causes: false, ..Expectations::default() }
}

/// The history that an audit log (JSON lines) and the hosts' records tell.
///
/// # Errors
/// If a line cannot be understood.
pub fn merge(audit: &str, hosts: &[HostRecords]) -> Result<History> {
    let mut moments = audit::read(audit)?;
    for host in hosts {
        moments.extend(host::read(host).with_context(|| format!("the records of {}", host.node))?);
    }
    // Stable: what one witness tells stays in its order.
    moments.sort_by_key(|moment| moment.at);
    let began = moments.first().map_or(0, |moment| moment.at);
    let mut heard = Heard::default();
    moments.retain(|moment| heard.is_news(moment));
    let event =
        |moment: Moment| Event { at: (moment.at - began) / 1_000, node: moment.node, what: moment.what };
    Ok(History { events: moments.into_iter().map(event).collect(), began })
}

/// An event with a wall clock's time.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Moment {
    /// Microseconds since 1970.
    at: u64,
    node: String,
    what: What,
}

/// What was told so far.
#[derive(Debug, Default)]
struct Heard {
    said: BTreeMap<String, (bool, Version)>,
}

impl Heard {
    /// Kubelets repeat themselves every few seconds. It is news when they say something else, and the first time after
    /// they began to run anew.
    fn is_news(&mut self, moment: &Moment) -> bool {
        match &moment.what {
            What::KubeletRestarted | What::Booted => {
                self.said.remove(&moment.node);
                true
            }
            What::Ready { ready, kubelet } => {
                let says = (*ready, *kubelet);
                self.said.insert(moment.node.clone(), says) != Some(says)
            }
            _ => true,
        }
    }
}

/// Microseconds since 1970 of an RFC 3339 time.
fn micros(text: &str) -> Result<u64> {
    let time: jiff::Timestamp = text.parse().with_context(|| format!("{text:?} is not a time"))?;
    u64::try_from(time.as_microsecond()).context("a time before 1970")
}

#[cfg(test)]
mod tests;
