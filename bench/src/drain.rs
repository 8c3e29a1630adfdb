//! Drains by kubectl and by the agent, side by side: the same pods on the same worker, one after the other.

mod crowd;
mod figures;
mod probe;
mod requests;

use std::time::Duration;

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use serde_json::Value;

use self::crowd::{Case, clear};
use self::figures::{Drain, Memory, Pair, goals, table};
use self::probe::ApiServer;
use self::requests::{count, slowest_stop};
use super::Lab;
use super::daemon::{UNIT, asker, memory};
use super::log::{Follower, received};
use lab::audit::{node_write, seconds};
use lab::wait_for;
use lab::{versions, wait_until};

pub(crate) use self::crowd::Stop;

/// The worker that is drained.
const WORKER: &str = "worker1";
/// The one that takes over.
const OTHER: &str = "worker2";

const LIMIT: Duration = Duration::from_mins(15);

/// Which drains to measure: each number of pods with each way to stop, and the ones that stop at once also with a
/// disruption budget.
#[derive(Debug, Clone)]
pub(crate) struct Matrix {
    /// Numbers of pods on the worker.
    pub(crate) pods: Vec<usize>,
    /// How their processes take SIGTERM.
    pub(crate) stops: Vec<Stop>,
}

impl Matrix {
    fn without_budgets(&self) -> Vec<Case> {
        let of = |stop: &Stop| self.cases(*stop, false);
        self.stops.iter().flat_map(of).collect()
    }

    fn with_budgets(&self) -> Vec<Case> {
        if self.stops.contains(&Stop::AtOnce) { self.cases(Stop::AtOnce, true) } else { Vec::new() }
    }

    fn cases(&self, stop: Stop, budget: bool) -> Vec<Case> {
        self.pods.iter().map(|pods| Case { pods: *pods, stop, budget }).collect()
    }
}

impl Lab<'_> {
    /// Measures every drain and prints tables and goals.
    ///
    /// # Errors
    /// If a drain does not end as it must.
    pub(super) fn drains(&self, matrix: &Matrix) -> Result<()> {
        self.clear_for_drains()?;
        let parts = [("without budgets", matrix.without_budgets()), ("with a budget", matrix.with_budgets())];
        let mut all = Vec::new();
        let mut ended = Ok(());
        for (name, cases) in parts.into_iter().filter(|(_, cases)| !cases.is_empty()) {
            let (pairs, end) = self.pairs(cases);
            println!("Drains {name}, {} s of grace:\n\n{}", crowd::GRACE, table(&pairs));
            all.extend(pairs);
            if end.is_err() {
                ended = end;
                break;
            }
        }
        for goal in goals(&all) {
            println!("- {goal}");
        }
        ended
    }

    /// Measures until a case fails: what was measured by then took long and is told all the same.
    fn pairs(&self, cases: Vec<Case>) -> (Vec<Pair>, Result<()>) {
        let mut pairs = Vec::new();
        for case in cases {
            match self.pair(case).with_context(|| format!("draining {case}")) {
                Ok(pair) => pairs.push(pair),
                Err(error) => return (pairs, Err(error)),
            }
        }
        (pairs, Ok(()))
    }

    /// Leaves nothing on the worker but what a case puts there, and workers that may be upgraded.
    fn clear_for_drains(&self) -> Result<()> {
        self.cluster.kubectl(&["delete", "deployment", "hello", "--ignore-not-found"])?;
        wait_until("the web servers to be gone", LIMIT, || Ok(self.web_servers(&[])? == 0))?;
        if self.version("cp1")? != versions::KUBERNETES_NEW {
            self.by_agent("cp1")?;
        }
        Ok(())
    }

    fn pair(&self, case: Case) -> Result<Pair> {
        // Before both, so that both find the same node.
        if self.version(WORKER)? != versions::KUBERNETES_OLD {
            self.take_back(WORKER)?;
        }
        case.deploy(self.cluster)?;
        let kubectl = self.drain_by_kubectl()?;
        clear(self.cluster)?;
        self.cluster.kubectl(&["uncordon", WORKER])?;
        case.deploy(self.cluster)?;
        let (agent, memory) = self.drain_by_agent()?;
        // Before the node returns, which would start them all again.
        clear(self.cluster)?;
        self.wait_for_agent(WORKER)?;
        let pair = Pair { case, kubectl, agent, memory };
        lab::progress(&format!(
            "{case}: kubectl {:.1} s, {} requests; agent {:.1} s, {} requests",
            pair.kubectl.seconds,
            pair.kubectl.total(),
            pair.agent.seconds,
            pair.agent.total()
        ));
        Ok(pair)
    }

    /// From the command's start to its end, as an administrator sees it. It gives up where an eviction meets another
    /// change of the budget (409), and is run again, as administrators do.
    fn drain_by_kubectl(&self) -> Result<Drain> {
        let server = ApiServer::find(self.cluster.control_plane()?)?;
        let mut log = Follower::start(&self.cluster.audit_log()?)?;
        let (before, from) = (server.cpu()?, Timestamp::now());
        let limit = format!("--timeout={}s", LIMIT.as_secs());
        let options = ["--ignore-daemonsets", "--delete-emptydir-data", &limit];
        let drain = [&["drain", WORKER], options.as_slice()].concat();
        let mut runs = 0;
        wait_until(&format!("kubectl to drain {WORKER}"), LIMIT, || {
            runs += 1;
            self.cluster.kubectl(&drain).map(|_| true)
        })?;
        let (until, after) = (Timestamp::now(), server.cpu()?);
        log.read()?;
        let requests = count(log.events(), (from, until), |_, agent| agent.starts_with("kubectl/"));
        let (seconds, slowest) = (seconds(from, until), slowest_stop(log.events(), from));
        Ok(Drain { seconds, runs, requests, slowest, cpu: after - before })
    }

    /// From the cordon to the report of what comes after the drain: until it is written, but that request is not the
    /// drain's.
    fn drain_by_agent(&self) -> Result<(Drain, Memory)> {
        let node = self.cluster.node(WORKER)?;
        let server = ApiServer::find(self.cluster.control_plane()?)?;
        // So that the peak of its memory is this upgrade's.
        node.run(&["systemctl", "restart", UNIT])?;
        let mut log = Follower::start(&self.cluster.audit_log()?)?;
        self.ask_agent(WORKER)?;
        let mut before = None;
        let (from, told, until) = wait_for(&format!("{WORKER} to drain itself"), LIMIT, || {
            log.read()?;
            let seen = progress(log.events(), WORKER);
            if before.is_none() && matches!(seen, Progress::Draining) {
                before = Some(server.cpu()?);
            }
            Ok(match seen {
                Progress::Ended { from, told, until } => Some(Ok((from, told, until))),
                Progress::Failed(phase) => Some(Err(phase)),
                Progress::Before | Progress::Draining => None,
            })
        })?
        .or_else(|phase| bail!("{WORKER} should drain itself and is {phase}:\n{}", node.journal(UNIT)?))?;
        let cpu = server.cpu()? - before.context("the drain had ended before its begin was seen")?;
        let [peak, after] = memory(node, ["VmHWM", "VmRSS"])?;
        let requests = count(log.events(), (from, told), |user, agent| asker(user, agent) == Some(WORKER));
        let (seconds, slowest) = (seconds(from, until), slowest_stop(log.events(), from));
        Ok((Drain { seconds, runs: 1, requests, slowest, cpu }, Memory { peak, after }))
    }
}

/// How far an agent's drain has come.
#[derive(Debug, PartialEq, Eq)]
enum Progress {
    Before,
    Draining,
    Ended {
        /// When the API server got the cordon.
        from: Timestamp,
        /// When it got the report of the first phase after the drain.
        told: Timestamp,
        /// When it had written that.
        until: Timestamp,
    },
    /// In a phase that no good upgrade has.
    Failed(String),
}

/// Reads it from the writes to the node.
fn progress(events: &[Value], node: &str) -> Progress {
    let mut from = None;
    for event in events {
        let Some(write) = node_write(event).filter(|write| write.node == node) else { continue };
        if from.is_none() && write.cordoned {
            from = received(event);
        }
        match (write.phase.as_deref().unwrap_or("idle"), from) {
            ("idle" | "preflight" | "claiming" | "cordoning" | "draining", _) => {}
            ("staging", Some(from)) => {
                let until = write.at;
                return Progress::Ended { from, told: received(event).unwrap_or(until), until };
            }
            (phase, _) => return Progress::Failed(phase.to_owned()),
        }
    }
    if from.is_some() { Progress::Draining } else { Progress::Before }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn write(second: i64, node: &str, cordoned: bool, phase: &str) -> Value {
        let at = |second| Timestamp::from_second(second).unwrap().to_string();
        json!({
            "requestReceivedTimestamp": at(second),
            "stageTimestamp": at(second + 1),
            "responseObject": {
                "kind": "Node",
                "metadata": {"name": node, "annotations": {"node-upgrade-agent/phase": phase}},
                "spec": {"unschedulable": cordoned},
            },
        })
    }

    #[test]
    fn a_drain_lasts_from_the_cordons_arrival_to_the_report_of_the_next_phase() {
        let log = [
            write(10, "a", false, "claiming"),
            write(20, "a", true, "claiming"),
            write(25, "b", true, "degraded"),
            write(30, "a", true, "draining"),
            write(40, "a", true, "staging"),
            write(50, "a", true, "installing"),
        ];
        assert_eq!(progress(&log[..1], "a"), Progress::Before);
        assert_eq!(progress(&log[..4], "a"), Progress::Draining);
        let [from, told, until] = [20, 40, 41].map(|second| Timestamp::from_second(second).unwrap());
        assert_eq!(progress(&log, "a"), Progress::Ended { from, told, until });
    }

    #[test]
    fn an_agent_that_refuses_or_backs_out_is_not_waited_for() {
        let refused = progress(&[write(10, "a", false, "refused")], "a");
        assert_eq!(refused, Progress::Failed("refused".to_owned()));
        let log = [write(10, "a", true, "draining"), write(20, "a", true, "backing-out")];
        assert_eq!(progress(&log, "a"), Progress::Failed("backing-out".to_owned()));
    }

    #[test]
    fn only_pods_that_stop_at_once_are_drained_with_a_budget_too() {
        let matrix = |stops: &[Stop]| Matrix { pods: vec![10, 50], stops: stops.to_vec() };
        let all = matrix(&[Stop::AtOnce, Stop::After5s, Stop::Never]);
        assert_eq!((all.without_budgets().len(), all.with_budgets().len()), (6, 2));
        assert_eq!(matrix(&[Stop::Never]).with_budgets(), []);
    }
}
