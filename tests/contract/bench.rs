//! A cluster to test against: two nodes, and clients of everybody who is about.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use node_upgrade_agent::clock::Clock;
use node_upgrade_agent::cluster::{Cluster, NAMESPACE, Settings};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::Notify;
use upgrade_core::job::{Holder, JobId};
use upgrade_core::seen::{Fact, LeaseSeen, NodeSeen};
use upgrade_tests::api::{self, Who};

/// The own node.
pub(crate) const OWN: &str = "n1";
/// Another one.
pub(crate) const OTHER: &str = "n2";

/// An API server with the two nodes, and those who talk to it.
pub(crate) struct Bench {
    /// May do everything: plays people, controllers and kubelets.
    pub(crate) admin: Client,
    /// The agent of [`OWN`].
    pub(crate) own: Cluster,
    /// The agent of [`OTHER`].
    pub(crate) other: Cluster,
    /// An agent that believes to be on [`OTHER`] and has the credentials of [`OWN`].
    pub(crate) astray: Cluster,
}

fn settings(node: &str) -> Settings {
    Settings {
        node: node.to_owned(),
        kubeconfig: PathBuf::new(),
        coordination_kubeconfig: PathBuf::new(),
        namespace: NAMESPACE.to_owned(),
        etcd_pki: PathBuf::from("/nonexistent"),
        local_api_server: http::Uri::from_static("https://127.0.0.1:6443"),
    }
}

impl Bench {
    /// Against the fake API server.
    pub(crate) async fn fake() -> (Self, api::Api) {
        let server = api::Api::default();
        let agent = |node: &str, credentials: &str| {
            let own = server.client(Who::Kubelet(credentials.to_owned()));
            let shared = server.client(Who::Agent(credentials.to_owned()));
            Cluster::with_clients(settings(node), Clock::new(), &own, &shared)
        };
        let bench = Self {
            admin: server.client(Who::Admin),
            own: agent(OWN, OWN),
            other: agent(OTHER, OTHER),
            astray: agent(OTHER, OWN),
        };
        bench.make_node(OWN, &json!({})).await;
        bench.make_node(OTHER, &json!({})).await;
        (bench, server)
    }

    pub(crate) async fn make_node(&self, name: &str, labels: &Value) {
        let nodes: Api<Node> = Api::all(self.admin.clone());
        make(
            &nodes,
            &json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}}),
        )
        .await;
        let ready = json!({"type": "Ready", "status": "True", "lastHeartbeatTime": "2026-01-01T00:00:00Z"});
        let info = json!({
            "machineID": "", "systemUUID": "", "bootID": "", "kernelVersion": "", "osImage": "",
            "containerRuntimeVersion": "", "kubeletVersion": "v1.36.2", "kubeProxyVersion": "",
            "operatingSystem": "linux", "architecture": "amd64",
        });
        let status = json!({"status": {"conditions": [ready], "nodeInfo": info}});
        nodes.patch_status(name, &PatchParams::default(), &Patch::Merge(&status)).await.unwrap();
    }

    pub(crate) async fn patch_node(&self, name: &str, patch: &Value) {
        let nodes: Api<Node> = Api::all(self.admin.clone());
        nodes.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    }

    pub(crate) async fn delete_node(&self, name: &str) {
        let nodes: Api<Node> = Api::all(self.admin.clone());
        nodes.delete(name, &DeleteParams::default()).await.unwrap();
    }

    pub(crate) async fn node(&self, name: &str) -> Node {
        Api::<Node>::all(self.admin.clone()).get(name).await.unwrap()
    }

    /// A running, Ready pod without grace, so that its end needs no kubelet.
    pub(crate) async fn make_pod(&self, name: &str, node: &str, owner_kind: &str) {
        let owner = json!({
            "apiVersion": "apps/v1", "kind": owner_kind, "name": "owner", "uid": "owner-uid", "controller": true,
        });
        self.make_pod_of(
            &json!({"name": name, "labels": {"app": "web"}, "ownerReferences": [owner]}),
            node,
            &json!([{"name": "main", "image": "registry.example/web:1"}]),
        )
        .await;
    }

    pub(crate) async fn make_pod_of(&self, metadata: &Value, node: &str, containers: &Value) {
        let namespace = metadata["namespace"].as_str().unwrap_or("default").to_owned();
        let pods: Api<Pod> = Api::namespaced(self.admin.clone(), &namespace);
        let spec = json!({
            "nodeName": node, "containers": containers, "terminationGracePeriodSeconds": 0,
            "automountServiceAccountToken": false,
        });
        make(&pods, &json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})).await;
        let statuses: Vec<Value> = containers
            .as_array()
            .unwrap()
            .iter()
            .map(|container| {
                json!({
                    "name": container["name"], "image": container["image"], "imageID": "", "ready": true,
                    "restartCount": 0,
                })
            })
            .collect();
        let conditions = json!([{"type": "Ready", "status": "True"}]);
        let status = json!({"phase": "Running", "conditions": conditions, "containerStatuses": statuses});
        let patch = Patch::Merge(json!({"status": status}));
        let name = metadata["name"].as_str().unwrap();
        pods.patch_status(name, &PatchParams::default(), &patch).await.unwrap();
    }

    pub(crate) async fn delete_pod(&self, name: &str) {
        let pods: Api<Pod> = Api::namespaced(self.admin.clone(), "default");
        pods.delete(name, &DeleteParams::default().grace_period(0)).await.unwrap();
    }

    /// The names of all pods in namespace default.
    pub(crate) async fn pods(&self) -> Vec<String> {
        let pods: Api<Pod> = Api::namespaced(self.admin.clone(), "default");
        let mut names: Vec<_> = pods
            .list(&ListParams::default())
            .await
            .unwrap()
            .into_iter()
            .filter_map(|pod| pod.metadata.name)
            .collect();
        names.sort();
        names
    }

    /// A budget over the pods of [`Bench::make_pod`], as the disruption controller would keep it.
    pub(crate) async fn make_budget(&self, name: &str, allowed: i32) {
        let budgets: Api<PodDisruptionBudget> = Api::namespaced(self.admin.clone(), "default");
        let spec = json!({"selector": {"matchLabels": {"app": "web"}}, "minAvailable": 1});
        let kind = "PodDisruptionBudget";
        make(
            &budgets,
            &json!({"apiVersion": "policy/v1", "kind": kind, "metadata": {"name": name}, "spec": spec}),
        )
        .await;
        self.allow_disruptions(name, allowed).await;
    }

    pub(crate) async fn allow_disruptions(&self, budget: &str, allowed: i32) {
        let budgets: Api<PodDisruptionBudget> = Api::namespaced(self.admin.clone(), "default");
        let status = json!({
            "observedGeneration": 1, "disruptionsAllowed": allowed, "currentHealthy": 1, "desiredHealthy": 1,
            "expectedPods": 1,
        });
        let patch = Patch::Merge(json!({"status": status}));
        budgets.patch_status(budget, &PatchParams::default(), &patch).await.unwrap();
    }

    pub(crate) fn leases(&self) -> Api<Lease> {
        Api::namespaced(self.admin.clone(), NAMESPACE)
    }

    pub(crate) async fn lease(&self, name: &str) -> Lease {
        self.leases().get(name).await.unwrap()
    }

    pub(crate) async fn make_lease(&self, metadata: &Value, spec: &Value) {
        let kind = "Lease";
        let lease = json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": kind, "metadata": metadata, "spec": spec,
        });
        make(&self.leases(), &lease).await;
    }
}

/// Creates an object.
pub(crate) async fn make<K>(api: &Api<K>, object: &Value)
where
    K: serde::Serialize + DeserializeOwned + Clone + std::fmt::Debug,
{
    let object = serde_json::from_value(object.clone()).unwrap();
    api.create(&PostParams::default(), &object).await.unwrap();
}

/// A holder on this node.
pub(crate) fn holder(node: &str) -> Holder {
    Holder { node: node.to_owned(), uid: format!("uid-of-{node}"), job: JobId("job".to_owned()) }
}

/// Facts that were told, to wait for.
#[derive(Clone, Default)]
pub(crate) struct Told {
    facts: Arc<Mutex<Vec<Fact>>>,
    more: Arc<Notify>,
}

impl Told {
    /// What to hand to whoever tells.
    pub(crate) fn ear(&self) -> impl Fn(Fact) + Send + Sync + use<> {
        let told = self.clone();
        move |fact| {
            told.facts.lock().unwrap().push(fact);
            told.more.notify_one();
        }
    }

    pub(crate) fn all(&self) -> Vec<Fact> {
        self.facts.lock().unwrap().clone()
    }

    /// The newest Node told, if that was one.
    pub(crate) fn last_node(&self) -> Option<NodeSeen> {
        let newest = self.all().into_iter().rev().find(|fact| matches!(fact, Fact::Node(_)));
        match newest {
            Some(Fact::Node(node)) => node,
            _ => None,
        }
    }

    /// Waits until what was told so far is as wanted.
    pub(crate) async fn until(&self, wanted: impl Fn(&[Fact]) -> bool) {
        self.until_within(120, wanted).await;
    }

    async fn until_within(&self, seconds: u64, wanted: impl Fn(&[Fact]) -> bool) {
        let waiting = async {
            while !wanted(&self.all()) {
                self.more.notified().await;
            }
        };
        let limit = std::time::Duration::from_secs(seconds);
        tokio::time::timeout(limit, waiting).await.unwrap_or_else(|_| panic!("only told {:?}", self.all()));
    }

    /// Waits until the newest Node told is as wanted.
    pub(crate) async fn until_node(&self, wanted: impl Fn(Option<&NodeSeen>) -> bool) {
        self.until_node_within(120, wanted).await;
    }

    /// The same, for so many seconds.
    pub(crate) async fn until_node_within(&self, seconds: u64, wanted: impl Fn(Option<&NodeSeen>) -> bool) {
        let newest = |facts: &[Fact]| match facts.iter().rev().find(|fact| matches!(fact, Fact::Node(_))) {
            Some(Fact::Node(node)) => wanted(node.as_ref()),
            _ => false,
        };
        self.until_within(seconds, newest).await;
    }
}

/// The Lease an act ended with.
pub(crate) fn lease_seen(ended: &upgrade_core::act::Ended) -> &LeaseSeen {
    match (&ended.facts[..], &ended.fault) {
        ([Fact::Lease(seen)], None) => seen,
        _ => panic!("{ended:?}"),
    }
}

/// The Node an act ended with.
pub(crate) fn node_seen(ended: &upgrade_core::act::Ended) -> &NodeSeen {
    match (&ended.facts[..], &ended.fault) {
        ([Fact::Node(Some(seen))], None) => seen,
        _ => panic!("{ended:?}"),
    }
}

pub(crate) fn is_held(seen: &LeaseSeen) -> bool {
    matches!(seen, LeaseSeen::Held { .. })
}
