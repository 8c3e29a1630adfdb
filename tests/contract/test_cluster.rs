//! A cluster to test against: two nodes, and clients of everybody who is about.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Event, Node, NodeCondition, Pod};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::runtime::wait::await_condition;
use kube::{Api, Client};
use node_upgrade_agent::clock::Clock;
use node_upgrade_agent::cluster::{Cluster, Credential, NAMESPACE, Settings};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::Notify;
use upgrade_core::act::Act;
use upgrade_core::api::{Holder, InHand, TurnId, TurnKind, Version, annotations};
use upgrade_core::observed::{LeaseMark, LeaseSeen, NodeSeen, Observation};
use upgrade_core::time::Unix;
use upgrade_tests::api::{self, Who};

use super::static_pods::StaticPods;

/// The own node.
pub(crate) const OWN: &str = "n1";
/// Another one.
pub(crate) const OTHER: &str = "n2";

/// An API server with the two nodes, and those who talk to it.
pub(crate) struct TestCluster {
    /// May do everything: plays people, controllers and kubelets.
    pub(crate) admin: Client,
    /// The agent of [`OWN`].
    pub(crate) own: Cluster,
    /// The agent of [`OTHER`].
    pub(crate) other: Cluster,
    /// An agent that believes to be on [`OTHER`] and has the credentials of [`OWN`].
    pub(crate) astray: Cluster,
    /// The kubelet of [`OWN`].
    pub(crate) kubelet: Client,
    /// The coordination identity of [`OWN`].
    pub(crate) agent: Client,
    /// Whether a disruption controller is at work; the bench plays it where none is.
    pub(crate) controlled: bool,
    /// Where the agents find their static pod manifests, while the bench stands.
    pub(crate) _static_pods: Option<StaticPods>,
}

/// What an agent on this node is told; where nothing is read from files, they need not be there.
pub(crate) fn settings(node: &str) -> Settings {
    Settings {
        node: node.to_owned(),
        kubeconfig: PathBuf::new(),
        coordination: Credential::Kubeconfig(PathBuf::new()),
        namespace: NAMESPACE.to_owned(),
        manifests: PathBuf::from("/nonexistent"),
    }
}

impl TestCluster {
    /// Against the fake API server.
    pub(crate) async fn fake() -> (Self, api::Api) {
        let server = api::Api::default();
        let static_pods = StaticPods::external(6443);
        let agent = |node: &str, credentials: &str| {
            let settings = Settings { manifests: static_pods.path(), ..settings(node) };
            let own = server.client(Who::Kubelet(credentials.to_owned()));
            let shared = server.client(Who::Agent(credentials.to_owned()));
            Cluster::with_clients(settings, Clock::of_runtime(), &own, &shared)
        };
        let bench = Self {
            admin: server.client(Who::Admin),
            own: agent(OWN, OWN),
            other: agent(OTHER, OTHER),
            astray: agent(OTHER, OWN),
            kubelet: server.client(Who::Kubelet(OWN.to_owned())),
            agent: server.client(Who::Agent(OWN.to_owned())),
            controlled: false,
            _static_pods: Some(static_pods),
        };
        bench.make_kubeadm_config().await;
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
        self.make_pod_with_grace(metadata, node, containers, 0).await;
    }

    /// With a grace period the bench must play the kubelet that ends it.
    pub(crate) async fn make_pod_with_grace(
        &self,
        metadata: &Value,
        node: &str,
        containers: &Value,
        seconds: u32,
    ) {
        let namespace = metadata["namespace"].as_str().unwrap_or("default").to_owned();
        let pods: Api<Pod> = Api::namespaced(self.admin.clone(), &namespace);
        let spec = json!({
            "nodeName": node, "containers": containers, "terminationGracePeriodSeconds": seconds,
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

    /// One that the system leans on; only its namespace may have such.
    pub(crate) async fn make_critical_pod(&self, name: &str, node: &str) {
        let owner = json!({
            "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "owner", "uid": "owner-uid", "controller": true,
        });
        let metadata = json!({"name": name, "namespace": "kube-system", "ownerReferences": [owner]});
        let spec = json!({
            "nodeName": node, "containers": [{"name": "main", "image": "registry.example/dns:1"}],
            "priorityClassName": "system-cluster-critical", "priority": 2_000_000_000,
            "terminationGracePeriodSeconds": 0, "automountServiceAccountToken": false,
        });
        let pods: Api<Pod> = Api::namespaced(self.admin.clone(), "kube-system");
        make(&pods, &json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})).await;
    }

    /// The names of all pods in the system's namespace.
    pub(crate) async fn critical_pods(&self) -> Vec<String> {
        let pods: Api<Pod> = Api::namespaced(self.admin.clone(), "kube-system");
        let listed = pods.list(&ListParams::default()).await.unwrap();
        listed.into_iter().filter_map(|pod| pod.metadata.name).collect()
    }

    /// A pod in namespace default.
    pub(crate) async fn pod(&self, name: &str) -> Pod {
        Api::namespaced(self.admin.clone(), "default").get(name).await.unwrap()
    }

    /// What its kubelet says of a pod.
    pub(crate) async fn set_status(&self, name: &str, phase: &str, ready: bool) {
        let pods: Api<Pod> = Api::namespaced(self.admin.clone(), "default");
        let conditions = json!([{"type": "Ready", "status": if ready { "True" } else { "False" }}]);
        let status = Patch::Merge(json!({"status": {"phase": phase, "conditions": conditions}}));
        pods.patch_status(name, &PatchParams::default(), &status).await.unwrap();
    }

    /// Until somebody asked the pod to end.
    pub(crate) async fn until_terminating(&self, name: &str) {
        let pods: Api<Pod> = Api::namespaced(self.admin.clone(), "default");
        let terminating =
            |pod: Option<&Pod>| pod.is_some_and(|pod| pod.metadata.deletion_timestamp.is_some());
        let limit = std::time::Duration::from_secs(30);
        tokio::time::timeout(limit, await_condition(pods, name, terminating)).await.unwrap().unwrap();
    }

    /// At once, as a kubelet does once its containers have ended.
    pub(crate) async fn delete_pod(&self, name: &str) {
        let pods: Api<Pod> = Api::namespaced(self.admin.clone(), "default");
        pods.delete(name, &DeleteParams::default().grace_period(0)).await.unwrap();
    }

    /// The agent's condition of the own Node.
    pub(crate) async fn condition(&self) -> NodeCondition {
        let conditions = self.node(OWN).await.status.unwrap().conditions.unwrap();
        conditions.into_iter().find(|condition| condition.type_ == annotations::CONDITION).unwrap()
    }

    /// The newest Event of this reason.
    pub(crate) async fn event(&self, reason: &str) -> Option<Event> {
        let events: Api<Event> = Api::namespaced(self.admin.clone(), "default");
        let events = events.list(&ListParams::default()).await.unwrap().items;
        let events = events.into_iter().filter(|event| event.reason.as_deref() == Some(reason));
        events.max_by_key(|event| event.metadata.creation_timestamp.clone())
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

    /// As kubeadm writes it.
    async fn make_kubeadm_config(&self) {
        let maps: Api<ConfigMap> = Api::namespaced(self.admin.clone(), "kube-system");
        let data = json!({"ClusterConfiguration": "apiServer: {}\nkubernetesVersion: v1.36.3\n"});
        let metadata = json!({"name": "kubeadm-config"});
        let kind = "ConfigMap";
        make(&maps, &json!({"apiVersion": "v1", "kind": kind, "metadata": metadata, "data": data})).await;
    }

    fn budgets(&self) -> Api<PodDisruptionBudget> {
        Api::namespaced(self.admin.clone(), "default")
    }

    /// A budget that wants so many pods of [`TestCluster::make_pod`] Ready.
    pub(crate) async fn make_budget(&self, name: &str, min_available: usize) {
        let spec = json!({"selector": {"matchLabels": {"app": "web"}}, "minAvailable": min_available});
        let kind = "PodDisruptionBudget";
        make(
            &self.budgets(),
            &json!({"apiVersion": "policy/v1", "kind": kind, "metadata": {"name": name}, "spec": spec}),
        )
        .await;
        self.settle_budget(name, min_available).await;
    }

    /// From now on it wants so many.
    pub(crate) async fn change_budget(&self, name: &str, min_available: usize) {
        let patch = Patch::Merge(json!({"spec": {"minAvailable": min_available}}));
        self.budgets().patch(name, &PatchParams::default(), &patch).await.unwrap();
        self.settle_budget(name, min_available).await;
    }

    /// Until the disruption controller has counted.
    pub(crate) async fn settle_budget(&self, name: &str, desired: usize) {
        let budgets = self.budgets();
        let generation = budgets.get(name).await.unwrap().metadata.generation;
        let pods: Api<Pod> = Api::namespaced(self.admin.clone(), "default");
        let healthy = pods.list(&ListParams::default().labels("app=web")).await.unwrap();
        let healthy = healthy.iter().filter(|pod| is_ready(pod)).count();
        if !self.controlled {
            let allowed = healthy.saturating_sub(desired);
            let status = json!({
                "observedGeneration": generation, "disruptionsAllowed": allowed, "currentHealthy": healthy,
                "desiredHealthy": desired, "expectedPods": healthy,
            });
            let patch = Patch::Merge(json!({"status": status}));
            budgets.patch_status(name, &PatchParams::default(), &patch).await.unwrap();
        }
        let counted = |budget: Option<&PodDisruptionBudget>| {
            budget.and_then(|budget| budget.status.as_ref()).is_some_and(|status| {
                status.observed_generation == generation
                    && usize::try_from(status.current_healthy) == Ok(healthy)
            })
        };
        let limit = std::time::Duration::from_secs(30);
        let settled = tokio::time::timeout(limit, await_condition(budgets, name, counted)).await;
        settled.unwrap_or_else(|_| panic!("no controller counts for budget {name}")).unwrap();
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

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// What a client was answered, as it comes over the wire.
#[derive(Debug)]
pub(crate) struct Wire {
    pub(crate) code: u16,
    pub(crate) body: Value,
}

impl Wire {
    pub(crate) fn message(&self) -> &str {
        self.body["message"].as_str().unwrap_or_default()
    }
}

/// One request without any of the client's own understanding; `PATCH /api/…` is a merge patch.
pub(crate) async fn ask(client: &Client, line: &str, body: &Value) -> Wire {
    let (method, path) = line.split_once(' ').unwrap();
    let kind = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
    let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
    let request = http::Request::builder().method(method).uri(path).header("content-type", kind);
    let answer = client.send(request.body(body.into()).unwrap()).await.unwrap();
    let code = answer.status().as_u16();
    let body = answer.into_body().collect_bytes().await.unwrap();
    Wire { code, body: serde_json::from_slice(&body).unwrap_or_default() }
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
    Holder { node: node.to_owned(), uid: format!("uid-of-{node}"), turn: TurnId("job".to_owned()) }
}

/// The mark of [`holder`]'s turn.
pub(crate) fn in_hand(node: &str) -> InHand {
    InHand {
        turn: Some(TurnKind::Kubelet),
        id: Some(holder(node).turn),
        from: Some(Version::new(1, 36, 2)),
        to: Some(Version::new(1, 36, 3)),
        since: Unix(1_760_000_000),
        degraded: None,
    }
}

/// Cordons, and marks that turn.
pub(crate) fn cordon() -> Act {
    Act::Cordon { mark: in_hand(OWN) }
}

/// The mark of a degraded holder, as an older agent wrote it.
#[expect(clippy::unnecessary_wraps, reason = "as a renewal takes it")]
pub(crate) fn mark(why: &str) -> Option<LeaseMark> {
    Some(LeaseMark { target: None, why: why.to_owned() })
}

/// Facts that were told, to wait for.
#[derive(Clone, Default)]
pub(crate) struct Told {
    facts: Arc<Mutex<Vec<Observation>>>,
    more: Arc<Notify>,
}

impl Told {
    /// What to hand to whoever tells.
    pub(crate) fn ear(&self) -> impl Fn(Observation) + Send + Sync + use<> {
        let told = self.clone();
        move |fact| {
            told.facts.lock().unwrap().push(fact);
            told.more.notify_one();
        }
    }

    pub(crate) fn all(&self) -> Vec<Observation> {
        self.facts.lock().unwrap().clone()
    }

    /// The newest Node told, if that was one.
    pub(crate) fn last_node(&self) -> Option<NodeSeen> {
        let newest = self.all().into_iter().rev().find(|fact| matches!(fact, Observation::Node(_)));
        match newest {
            Some(Observation::Node(node)) => node,
            _ => None,
        }
    }

    /// Waits until what was told so far is as wanted.
    pub(crate) async fn until(&self, wanted: impl Fn(&[Observation]) -> bool) {
        self.until_within(120, wanted).await;
    }

    async fn until_within(&self, seconds: u64, wanted: impl Fn(&[Observation]) -> bool) {
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
        let newest = |facts: &[Observation]| match facts
            .iter()
            .rev()
            .find(|fact| matches!(fact, Observation::Node(_)))
        {
            Some(Observation::Node(node)) => wanted(node.as_ref()),
            _ => false,
        };
        self.until_within(seconds, newest).await;
    }
}

/// The Lease an act ended with.
pub(crate) fn lease_seen(ended: &upgrade_core::act::ActResult) -> &LeaseSeen {
    match (&ended.observations[..], &ended.fault) {
        ([Observation::Lease(seen)], None) => seen,
        _ => panic!("{ended:?}"),
    }
}

/// The Node an act ended with.
pub(crate) fn node_seen(ended: &upgrade_core::act::ActResult) -> &NodeSeen {
    match (&ended.observations[..], &ended.fault) {
        ([Observation::Node(Some(seen))], None) => seen,
        _ => panic!("{ended:?}"),
    }
}

pub(crate) fn is_held(seen: &LeaseSeen) -> bool {
    matches!(seen, LeaseSeen::Held { .. })
}
