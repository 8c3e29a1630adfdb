//! The cluster as an administrator sees it: one answer of the API server, read.

use anyhow::{Context, Result};
use serde_json::Value;

use crate::cluster::Cluster;

const PREFIX: &str = "node-upgrade-agent~1";

/// One Node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NodeView {
    pub(super) name: String,
    pub(super) control_plane: bool,
    /// What its kubelet reports.
    pub(super) version: String,
    pub(super) ready: bool,
    pub(super) schedulable: bool,
    /// The annotation `current`.
    pub(super) current: String,
    /// The annotation `phase`; empty before the agent's first report.
    pub(super) phase: String,
    /// Since when, in seconds of Unix time.
    pub(super) since: Option<i64>,
    pub(super) reason: String,
    pub(super) message: String,
    pub(super) pods_left: Option<u64>,
}

/// What the table shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fleet {
    pub(super) nodes: Vec<NodeView>,
    /// The agents' Leases and their holders; none is free.
    pub(super) leases: Vec<(String, Option<String>)>,
    /// Ready and wanted replicas of the tutorial's deployment.
    pub(super) tutorial: (u64, u64),
}

impl Fleet {
    /// Asks the API server once.
    ///
    /// # Errors
    /// If it does not answer, as while its own node is upgraded.
    pub(super) fn read(cluster: &Cluster) -> Result<Self> {
        let list = ["get", "nodes,leases,deployments", "-A", "-o", "json", "--request-timeout=5s"];
        let answer = serde_json::from_str(&cluster.kubectl(&list)?).context("kubectl's answer is no JSON")?;
        Ok(Self::parse(&answer))
    }

    fn parse(answer: &Value) -> Self {
        let items = answer.get("items").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let of_kind = |kind: &'static str| items.iter().filter(move |item| text(item, "/kind") == kind);
        let ours = |item: &&Value| text(item, "/metadata/namespace") == "node-upgrade-agent";
        let mut nodes: Vec<NodeView> = of_kind("Node").map(node).collect();
        nodes.sort_by_key(|node| (!node.control_plane, node.name.clone()));
        let leases = of_kind("Lease").filter(ours).map(|lease| {
            let holder = text(lease, "/spec/holderIdentity");
            // Node name, Node UID and job: the first is what people want to know.
            let holder = holder.split('/').next().filter(|node| !node.is_empty()).map(str::to_owned);
            (text(lease, "/metadata/name"), holder)
        });
        let tutorial = of_kind("Deployment").find(|item| text(item, "/metadata/name") == "hello");
        let replicas = |path: &str| {
            tutorial.and_then(|deployment| deployment.pointer(path)).and_then(Value::as_u64).unwrap_or(0)
        };
        let leases = leases.collect();
        Self { nodes, leases, tutorial: (replicas("/status/readyReplicas"), replicas("/spec/replicas")) }
    }

    /// Whether every node says that it serves at `target`, and no Lease is held.
    pub(super) fn is_done(&self, target: &str) -> bool {
        let at_target = |node: &NodeView| {
            node.current == target && node.version == target && node.schedulable && node.phase == "idle"
        };
        let all = !self.nodes.is_empty() && self.nodes.iter().all(at_target);
        all && self.leases.iter().all(|(_, holder)| holder.is_none())
    }

    /// The first node that will not go on without a person.
    pub(super) fn stopped(&self) -> Option<&NodeView> {
        self.nodes.iter().find(|node| matches!(node.phase.as_str(), "refused" | "degraded"))
    }
}

fn node(node: &Value) -> NodeView {
    let annotation = |key: &str| text(node, &format!("/metadata/annotations/{PREFIX}{key}"));
    let status: Value = serde_json::from_str(&annotation("status")).unwrap_or_default();
    let conditions = node.pointer("/status/conditions").and_then(Value::as_array);
    let ready =
        |condition: &Value| text(condition, "/type") == "Ready" && text(condition, "/status") == "True";
    NodeView {
        name: text(node, "/metadata/name"),
        control_plane: node.pointer("/metadata/labels/node-role.kubernetes.io~1control-plane").is_some(),
        version: text(node, "/status/nodeInfo/kubeletVersion"),
        ready: conditions.is_some_and(|conditions| conditions.iter().any(ready)),
        schedulable: !node.pointer("/spec/unschedulable").and_then(Value::as_bool).unwrap_or(false),
        current: annotation("current"),
        phase: annotation("phase"),
        since: status.pointer("/since").and_then(Value::as_i64),
        reason: text(&status, "/reason"),
        message: text(&status, "/message"),
        pods_left: status.pointer("/drain/podsLeft").and_then(Value::as_u64),
    }
}

/// The string at `path`, or nothing.
fn text(value: &Value, path: &str) -> String {
    value.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned()
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;

    pub(in crate::demo) fn answer(phase: &str, current: &str, holder: Option<&str>) -> Value {
        let status = json!({"since": 100, "reason": "Progressing", "message": "9 pods left",
            "drain": {"podsLeft": 9}});
        json!({"items": [
            {"kind": "Node", "metadata": {"name": "worker1", "annotations": {
                "node-upgrade-agent/phase": phase, "node-upgrade-agent/current": current,
                "node-upgrade-agent/status": status.to_string()}},
                "spec": {}, "status": {"nodeInfo": {"kubeletVersion": current},
                "conditions": [{"type": "Ready", "status": "True"}]}},
            {"kind": "Lease", "metadata": {"name": "worker1", "namespace": "kube-node-lease"},
                "spec": {"holderIdentity": "worker1"}},
            {"kind": "Lease", "metadata": {"name": "slot-0", "namespace": "node-upgrade-agent"},
                "spec": {"holderIdentity": holder}},
            {"kind": "Deployment", "metadata": {"name": "hello"}, "spec": {"replicas": 10},
                "status": {"readyReplicas": 8}},
        ]})
    }

    #[test]
    fn an_answer_is_read() {
        let fleet = Fleet::parse(&answer("draining", "v1.36.2", Some("worker1/uid/job")));
        let [node] = fleet.nodes.as_slice() else { panic!("{fleet:?}") };
        assert_eq!(
            (node.pods_left, node.since, node.schedulable, node.ready),
            (Some(9), Some(100), true, true)
        );
        assert_eq!(fleet.leases, [("slot-0".to_owned(), Some("worker1".to_owned()))]);
        assert_eq!(fleet.tutorial, (8, 10));
    }

    #[test]
    fn it_is_done_when_all_serve_at_the_target_and_no_lease_is_held() {
        let done = |phase, current, holder| Fleet::parse(&answer(phase, current, holder)).is_done("v1.36.3");
        assert!(done("idle", "v1.36.3", None));
        assert!(!done("idle", "v1.36.3", Some("worker1")));
        assert!(!done("releasing", "v1.36.3", None));
        assert!(!done("idle", "v1.36.2", None));
    }

    #[test]
    fn a_refused_or_degraded_node_stops_the_demo() {
        assert!(Fleet::parse(&answer("degraded", "v1.36.2", None)).stopped().is_some());
        assert!(Fleet::parse(&answer("refused", "v1.36.2", None)).stopped().is_some());
        assert!(Fleet::parse(&answer("verifying", "v1.36.2", None)).stopped().is_none());
    }
}
