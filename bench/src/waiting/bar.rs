//! What bars the waiting.

use std::fmt;
use std::time::Duration;

use anyhow::Result;
use clap::ValueEnum;

use super::super::daemon::UNIT;
use super::DEAD;
use lab::{Cluster, wait_until};

/// How soon a kubelet that is gone is noticed, and one that is back.
const LIMIT: Duration = Duration::from_mins(3);

/// What bars agents that have a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Bar {
    /// Another worker is down.
    Down,
    /// The fleet's policy pauses; measured for a third of the time.
    Paused,
}

impl fmt::Display for Bar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Down => write!(f, "{DEAD} is down"),
            Self::Paused => f.write_str("the policy pauses"),
        }
    }
}

impl Bar {
    /// The reason that says so.
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::Down => "BudgetExhausted",
            Self::Paused => "Paused",
        }
    }

    /// What the message names for people to do something about.
    pub(super) fn names(self) -> &'static str {
        match self {
            Self::Down => DEAD,
            Self::Paused => "paused",
        }
    }

    /// How long to measure it.
    pub(super) fn part_of(self, period: Duration) -> Duration {
        match self {
            Self::Down => period,
            Self::Paused => period / 3,
        }
    }

    /// Bars the way of all workers.
    ///
    /// # Errors
    /// If a command fails, or the Node does not become unready.
    pub(super) fn put_up(self, cluster: &Cluster) -> Result<()> {
        match self {
            Self::Down => {
                // As on a dead host, nobody is there to tell anything.
                cluster.node(DEAD)?.run(&["systemctl", "stop", "kubelet.service", UNIT])?;
                wait_until(&format!("{DEAD} not to be Ready"), LIMIT, || Ok(!is_ready(cluster)?))
            }
            Self::Paused => pause(cluster, true),
        }
    }

    /// Clears the way.
    ///
    /// # Errors
    /// If a command fails, or the Node does not become Ready.
    pub(super) fn take_away(self, cluster: &Cluster) -> Result<()> {
        match self {
            Self::Down => {
                cluster.node(DEAD)?.run(&["systemctl", "start", "kubelet.service", UNIT])?;
                wait_until(&format!("{DEAD} to be Ready"), LIMIT, || is_ready(cluster))
            }
            Self::Paused => pause(cluster, false),
        }
    }
}

fn is_ready(cluster: &Cluster) -> Result<bool> {
    let query = "jsonpath={.status.conditions[?(@.type==\"Ready\")].status}";
    Ok(cluster.kubectl(&["get", "node", DEAD, "-o", query])? == "True")
}

fn pause(cluster: &Cluster, paused: bool) -> Result<()> {
    let patch = format!("{{\"data\":{{\"paused\":\"{paused}\"}}}}");
    let policy = ["-n", "node-upgrade-agent", "patch", "configmap", "policy", "--type=merge", "-p", &patch];
    cluster.kubectl(&policy).map(drop)
}
