//! The pods that are drained: how many, and how their processes take the end.

use std::fmt;
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::ValueEnum;
use serde_json::{Value, json};

use super::{OTHER, WORKER};
use lab::Cluster;
use lab::{versions, wait_until};

/// Seconds every pod of a drain is given to end.
pub(super) const GRACE: u32 = 30;

/// A hundred pods on one loaded machine take a minute or two.
const LIMIT: Duration = Duration::from_mins(10);

const NAME: &str = "crowd";
const LABEL: &str = "app=crowd";

/// What a process does when it is sent SIGTERM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Stop {
    /// Ends.
    AtOnce,
    /// Ends after five seconds.
    #[value(name = "5s")]
    After5s,
    /// Ignores it, as every process without a handler does that is the first of its container: killed at the end of its grace.
    Never,
}

impl Stop {
    fn command(self) -> Value {
        let trap = |act: &str| json!(["sh", "-c", format!("trap '{act}' TERM; sleep 2147483647 & wait")]);
        match self {
            Self::AtOnce => trap("exit 0"),
            Self::After5s => trap("sleep 5; exit 0"),
            Self::Never => json!(["sleep", "2147483647"]),
        }
    }
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AtOnce => "at once",
            Self::After5s => "after 5 s",
            Self::Never => "never",
        })
    }
}

/// A worker full of pods, to be drained by both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Case {
    pub(super) pods: usize,
    pub(super) stop: Stop,
    /// With a disruption budget that lets a quarter of them go at a time, and another worker for those that replace
    /// them; without, they are bound to this worker, so that starting them disturbs no measurement.
    pub(super) budget: bool,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let budget = if self.budget { ", with a budget" } else { "" };
        write!(f, "{} pods that stop {}{budget}", self.pods, self.stop)
    }
}

impl Case {
    fn manifests(self) -> Value {
        let mut items = vec![self.deployment()];
        if self.budget {
            items.push(json!({
                "apiVersion": "policy/v1",
                "kind": "PodDisruptionBudget",
                "metadata": {"name": NAME},
                "spec": {"maxUnavailable": "25%", "selector": {"matchLabels": {"app": NAME}}},
            }));
        }
        json!({"apiVersion": "v1", "kind": "List", "items": items})
    }

    fn deployment(self) -> Value {
        let mut pod = json!({
            "terminationGracePeriodSeconds": GRACE,
            "containers": [{
                "name": "process",
                "image": versions::image("httpd", versions::HTTPD_IMAGE_TAG),
                "imagePullPolicy": "IfNotPresent",
                "command": self.stop.command(),
            }],
        });
        if !self.budget {
            pod["nodeSelector"] = json!({"kubernetes.io/hostname": WORKER});
        }
        let labels = json!({"app": NAME});
        json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": NAME},
            "spec": {
                "replicas": self.pods,
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": pod},
            },
        })
    }

    /// Starts its pods, all on the worker that is going to be drained, and waits until they are ready.
    ///
    /// # Errors
    /// If they are not in time.
    pub(super) fn deploy(self, cluster: &Cluster) -> Result<()> {
        let file = cluster.kubeconfig().with_file_name("crowd.json");
        fs::write(&file, self.manifests().to_string())
            .with_context(|| format!("cannot write {}", file.display()))?;
        // The scheduler would spread what is not bound, and half a worker's pods are not the case.
        cluster.kubectl(&["cordon", OTHER])?;
        cluster.kubectl(&["apply", "-f", &file.display().to_string()])?;
        let ready = "jsonpath={.status.readyReplicas}";
        let wanted = self.pods.to_string();
        wait_until(&format!("{self} to be ready"), LIMIT, || {
            Ok(cluster.kubectl(&["get", "deployment", NAME, "-o", ready])? == wanted)
        })?;
        if self.budget {
            let allowed = "jsonpath={.status.disruptionsAllowed}";
            wait_until("the budget to be counted", LIMIT, || {
                let allowed = cluster.kubectl(&["get", "poddisruptionbudget", NAME, "-o", allowed])?;
                Ok(allowed == self.pods.div_ceil(4).to_string())
            })?;
        }
        cluster.kubectl(&["uncordon", OTHER]).map(drop)
    }
}

/// Removes what a case has started, quickly: orphaned first, for else each pod would be replaced or take its grace.
///
/// # Errors
/// If kubectl fails.
pub(super) fn clear(cluster: &Cluster) -> Result<()> {
    cluster.kubectl(&["delete", "poddisruptionbudget", NAME, "--ignore-not-found"])?;
    cluster.kubectl(&["delete", "deployment", NAME, "--ignore-not-found", "--cascade=orphan"])?;
    cluster.kubectl(&["delete", "replicasets", "-l", LABEL, "--cascade=orphan"])?;
    cluster.kubectl(&["delete", "pods", "-l", LABEL, "--grace-period=1", "--wait"]).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_budget_replacements_have_no_other_node() {
        let case = Case { pods: 10, stop: Stop::Never, budget: false };
        let list = case.manifests();
        assert_eq!(list.pointer("/items/0/spec/replicas"), Some(&json!(10)));
        let selector = list.pointer("/items/0/spec/template/spec/nodeSelector");
        assert_eq!(selector, Some(&json!({"kubernetes.io/hostname": WORKER})));
        assert_eq!(list.pointer("/items/1"), None);
    }

    #[test]
    fn with_a_budget_replacements_may_start_elsewhere() {
        let list = Case { pods: 10, stop: Stop::AtOnce, budget: true }.manifests();
        assert_eq!(list.pointer("/items/0/spec/template/spec/nodeSelector"), None);
        assert_eq!(list.pointer("/items/1/spec/maxUnavailable"), Some(&json!("25%")));
    }

    #[test]
    fn a_process_without_a_handler_is_the_first_of_its_container() {
        assert_eq!(Stop::Never.command(), json!(["sleep", "2147483647"]));
        let after = "trap 'sleep 5; exit 0' TERM; sleep 2147483647 & wait";
        assert_eq!(Stop::After5s.command(), json!(["sh", "-c", after]));
    }
}
