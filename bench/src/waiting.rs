//! What an agent costs that has a target and is barred, whether its reason stands all the time, and how soon it notices
//! that it may go.

mod bar;
mod figures;
mod syncs;
mod told;

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use serde_json::Value;

use self::figures::{Costs, Noticed, Waited};
use self::syncs::Syncs;
use self::told::Told;
use super::Lab;
use super::daemon::{UNIT, asker};
use super::log::{Asked, Follower, asked};
use lab::audit::{node_write, seconds};
use lab::{versions, wait_for, wait_until};

pub(crate) use self::bar::Bar;
pub(crate) use self::syncs::strace_is_there;

/// Those that wait.
const WAITERS: [&str; 3] = ["worker1", "worker2", "worker3"];
/// The one that is down.
const DEAD: &str = "worker4";

/// How many workers that takes.
pub(crate) const WORKERS: u8 = 4;

/// An agent that begins to wait looks often at first, and ever more seldom. Who measures for less time tries the
/// bench.
const SETTLE: Duration = Duration::from_mins(5);
/// Between two looks at what the waiting say.
const SAMPLE: Duration = Duration::from_secs(10);
const LIMIT: Duration = Duration::from_mins(10);

impl Lab<'_> {
    /// Measures three waiting agents behind each bar, one after the other, and prints what was measured.
    ///
    /// # Errors
    /// If a node does not do what it must, or something cannot be read.
    pub(super) fn waiting(&self, bars: &[Bar], period: Duration) -> Result<()> {
        // What a worker waits for first of all is not what is measured.
        if self.version("cp1")? != versions::KUBERNETES_NEW {
            self.by_agent("cp1")?;
        }
        for (number, bar) in bars.iter().enumerate() {
            if number > 0 {
                self.nobody_waits()?;
            }
            let waited =
                self.wait_behind(*bar, bar.part_of(period)).with_context(|| format!("waiting: {bar}"))?;
            println!("Waiting: {bar}.\n\n{waited}");
        }
        Ok(())
    }

    fn wait_behind(&self, bar: Bar, period: Duration) -> Result<Waited> {
        bar.put_up(self.cluster)?;
        let told_target = Timestamp::now();
        WAITERS.into_iter().try_for_each(|name| self.ask_agent(name))?;
        let all_say_so = || Ok(told::wrong(&told::waiters(self.cluster)?, bar).is_empty());
        wait_until("the workers to say whom they wait for", LIMIT, all_say_so)?;
        // Not before: it slows down the programs that preflight runs.
        let syncs = WAITERS.into_iter().map(|name| Syncs::trace(self.cluster.node(name)?));
        let syncs = syncs.collect::<Result<Vec<_>>>()?;
        thread::sleep(SETTLE.min(period));
        lab::progress(&format!("measuring {} s of waiting: {bar}", period.as_secs()));
        let begin = Timestamp::now();
        let told = self.listen(bar, period);
        let end = Timestamp::now();
        let requests = asked(&self.cluster.audit_log()?, told_target, end)?;
        let noticed = self.let_go(bar)?;
        let mut waiters = Vec::new();
        for (name, syncs) in WAITERS.into_iter().zip(syncs) {
            let mut syncs = syncs.end().with_context(|| format!("counting fsyncs on {name}"))?;
            if name == noticed.node && syncs.iter().all(|at| *at <= end) {
                // A turn is remembered before it is taken. Who did not see that has seen nothing before.
                bail!("{name} has taken its turn, and strace saw no fsync");
            }
            syncs.retain(|at| *at >= begin && *at <= end);
            let requests: Vec<Asked> = requests.iter().filter(|asked| asked.node == name).cloned().collect();
            waiters.push(Costs { node: name, requests, syncs: syncs.len() });
        }
        Ok(Waited { told_target, begin, end, waiters, told, noticed })
    }

    /// What all waiters say, again and again.
    fn listen(&self, bar: Bar, period: Duration) -> Told {
        let start = Instant::now();
        let mut told = Told::default();
        while start.elapsed() < period {
            told.take(told::waiters(self.cluster), bar);
            thread::sleep(SAMPLE.min(period.saturating_sub(start.elapsed())));
        }
        told
    }

    /// Takes the bar away, and waits until the first of the waiting takes its turn.
    fn let_go(&self, bar: Bar) -> Result<Noticed> {
        let mut log = Follower::start(&self.cluster.audit_log()?)?;
        let free = Timestamp::now();
        bar.take_away(self.cluster)?;
        let (node, at) = wait_for("the first worker to take its turn", LIMIT, || {
            Ok(log.read()?.iter().find_map(turn_taken))
        })?;
        Ok(Noticed { node, seconds: seconds(free, at) })
    }

    /// Takes targets away, has whoever is at work end it or go back, and has all at the old version again, with nothing
    /// remembered of what preflight found.
    fn nobody_waits(&self) -> Result<()> {
        let mut annotate = vec!["annotate", "node"];
        annotate.extend(WAITERS);
        annotate.push("node-upgrade-agent/target-");
        self.cluster.kubectl(&annotate)?;
        wait_until("all workers to be at rest", LIMIT, || {
            Ok(told::waiters(self.cluster)?.iter().all(told::is_at_rest))
        })?;
        for name in WAITERS {
            if self.version(name)? != versions::KUBERNETES_OLD {
                self.take_back(name)?;
            }
            self.cluster.node(name)?.run(&["systemctl", "restart", UNIT])?;
        }
        Ok(())
    }
}

/// Who of the waiting got a Lease by this write, or cordoned its node; and when.
fn turn_taken(event: &Value) -> Option<(String, Timestamp)> {
    let field = |path: &str| event.pointer(path).and_then(Value::as_str).unwrap_or_default();
    if let Some(write) = node_write(event).filter(|write| write.cordoned && is_waiter(&write.node)) {
        return Some((write.node, write.at));
    }
    let node = asker(field("/user/username"), field("/userAgent")).filter(|node| is_waiter(node))?;
    let granted = event.pointer("/responseStatus/code")?.as_u64().filter(|code| (200..300).contains(code));
    let is_real = granted.is_some() && !field("/requestURI").contains("dryRun=");
    let claims = field("/objectRef/resource") == "leases"
        && ["create", "update", "patch"].contains(&field("/verb"))
        && !field("/responseObject/spec/holderIdentity").is_empty();
    (is_real && claims).then(|| Some((node.to_owned(), field("/stageTimestamp").parse().ok()?)))?
}

fn is_waiter(node: &str) -> bool {
    WAITERS.contains(&node)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn lease_write(node: &str, holder: &str, code: u16) -> Value {
        json!({
            "verb": "update",
            "user": {"username": format!("node-upgrade-agent:{node}")},
            "requestURI": "/apis/coordination.k8s.io/v1/namespaces/node-upgrade-agent/leases/slot-0",
            "objectRef": {"resource": "leases"},
            "responseStatus": {"code": code},
            "responseObject": {"kind": "Lease", "spec": {"holderIdentity": holder}},
            "stageTimestamp": "2026-01-02T03:04:05.000000Z",
        })
    }

    #[test]
    fn a_turn_is_taken_by_a_lease_that_was_got() {
        let at = "2026-01-02T03:04:05Z".parse().unwrap();
        assert_eq!(turn_taken(&lease_write("worker1", "x", 200)), Some(("worker1".to_owned(), at)));
        assert_eq!(turn_taken(&lease_write("worker1", "x", 409)), None);
        assert_eq!(turn_taken(&lease_write("worker1", "", 200)), None, "that gave it back");
        assert_eq!(turn_taken(&lease_write("cp1", "x", 200)), None, "it does not wait");
    }
}
