//! The real API server: one control plane, shared by all tests, which take turns.

use std::fmt::Debug;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::api::core::v1::{ConfigMap, Event, Node, Pod, ServiceAccount};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{DeleteParams, ListParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::wait::await_condition;
use kube::{Api, Client, Config};
use lab::HostControlPlane;
use node_upgrade_agent::clock::Clock;
use node_upgrade_agent::cluster::{Cluster, Credential, NAMESPACE, Settings};
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::sync::{Mutex, MutexGuard};

use super::static_pods::StaticPods;
use super::test_cluster::{OTHER, OWN, TestCluster, ask, settings};

/// Ends with this process, because its guards notice.
static SHARED: OnceLock<Option<Shared>> = OnceLock::new();
/// Rules are about everything there is in a cluster, so only one at a time has it.
static TURN: Mutex<()> = Mutex::const_new(());

struct Shared {
    control_plane: HostControlPlane,
    /// Of an API server whose etcd is elsewhere; those who ask etcd make their own.
    static_pods: StaticPods,
    admin: PathBuf,
    credentials: [(&'static str, Credentials); 2],
}

/// The two of one node's agent.
struct Credentials {
    kubelet: PathBuf,
    coordination: PathBuf,
}

/// The real API server with nothing in it but the two nodes, for one test.
pub(crate) struct Real {
    pub(crate) bench: TestCluster,
    pub(crate) control_plane: &'static HostControlPlane,
    shared: &'static Shared,
    _turn: MutexGuard<'static, ()>,
}

impl Real {
    /// Waits for this test's turn; none where the programs are missing, which is said once.
    pub(crate) async fn begin() -> Option<Self> {
        let shared = SHARED.get_or_init(Shared::start).as_ref()?;
        let turn = TURN.lock().await;
        let admin = client(&shared.admin).await;
        Box::pin(clear(&admin)).await;
        confined(&client(&shared.credentials_of(OWN).coordination).await).await;
        let bench = TestCluster {
            admin,
            own: Cluster::new(shared.settings(OWN, OWN), Clock::of_runtime()),
            other: Cluster::new(shared.settings(OTHER, OTHER), Clock::of_runtime()),
            astray: Cluster::new(shared.settings(OTHER, OWN), Clock::of_runtime()),
            kubelet: client(&shared.credentials_of(OWN).kubelet).await,
            agent: client(&shared.credentials_of(OWN).coordination).await,
            controlled: true,
            _static_pods: None,
        };
        bench.make_node(OWN, &json!({})).await;
        bench.make_node(OTHER, &json!({})).await;
        Some(Self { bench, control_plane: &shared.control_plane, shared, _turn: turn })
    }

    /// What the agent of [`OWN`] is told here.
    pub(crate) fn settings(&self) -> Settings {
        self.shared.settings(OWN, OWN)
    }
}

impl Shared {
    fn start() -> Option<Self> {
        let missing = HostControlPlane::missing().unwrap();
        if !missing.is_empty() {
            let text = format!("left out: rules at the real API server; missing: {}", missing.join(", "));
            assert!(!lab::tools::must_be_there(), "{text}");
            // Past the capture of the test harness, which hides what tests that pass print.
            let mut terminal = std::io::stderr();
            writeln!(terminal, "{text}").unwrap();
            return None;
        }
        let control_plane = HostControlPlane::start().unwrap();
        control_plane.apply_rbac().unwrap();
        control_plane.upload_kubeadm_config().unwrap();
        let credentials = [OWN, OTHER].map(|node| {
            let kubelet = control_plane.kubelet_kubeconfig(node).unwrap();
            let coordination = control_plane.coordination_kubeconfig(node).unwrap();
            (node, Credentials { kubelet, coordination })
        });
        let static_pods = StaticPods::external(control_plane.api_server_port());
        Some(Self { admin: control_plane.kubeconfig(), control_plane, static_pods, credentials })
    }

    fn credentials_of(&self, node: &str) -> &Credentials {
        let (_, credentials) = self.credentials.iter().find(|(name, _)| *name == node).unwrap();
        credentials
    }

    /// For an agent that believes to be on `node` and has the credentials of `owner`.
    fn settings(&self, node: &str, owner: &str) -> Settings {
        let credentials = self.credentials_of(owner);
        Settings {
            kubeconfig: credentials.kubelet.clone(),
            coordination: Credential::Kubeconfig(credentials.coordination.clone()),
            manifests: self.static_pods.path(),
            ..settings(node)
        }
    }
}

/// A client with the credential of a kubeconfig.
pub(crate) async fn client(kubeconfig: &Path) -> Client {
    let kubeconfig = Kubeconfig::read_from(kubeconfig).unwrap();
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    config.default_retry = false;
    Client::try_from(config).unwrap()
}

/// Until the admission policy has come into force, which it does a moment after it was applied.
async fn confined(agent: &Client) {
    let nobodys = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "nobodys"}, "spec": {},
    });
    let leases = "/apis/coordination.k8s.io/v1/namespaces/node-upgrade-agent/leases";
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    loop {
        let answer = ask(agent, &format!("POST {leases}?dryRun=All"), &nobodys).await;
        if answer.message().contains("ValidatingAdmissionPolicy") {
            return;
        }
        assert!(std::time::Instant::now() < deadline, "the admission policy is not in force: {answer:?}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

/// Removes what the test before left, and waits for what pods need.
async fn clear(admin: &Client) {
    let default = || Api::<Pod>::namespaced(admin.clone(), "default");
    tokio::join!(
        remove(Api::<Node>::all(admin.clone())),
        remove(default()),
        remove(Api::<Pod>::namespaced(admin.clone(), "kube-system")),
        remove(Api::<PodDisruptionBudget>::namespaced(admin.clone(), "default")),
        remove(Api::<Event>::namespaced(admin.clone(), "default")),
        remove(Api::<k8s_openapi::api::coordination::v1::Lease>::namespaced(admin.clone(), NAMESPACE)),
        remove(Api::<ConfigMap>::namespaced(admin.clone(), NAMESPACE)),
        remove(Api::<CertificateSigningRequest>::all(admin.clone())),
        account(admin, "default"),
        account(admin, "kube-system"),
    );
}

async fn remove<K: Clone + DeserializeOwned + Debug>(api: Api<K>) {
    let at_once = DeleteParams::default().grace_period(0);
    api.delete_collection(&at_once, &ListParams::default()).await.unwrap();
}

/// No pod is let in before its service account is there.
async fn account(admin: &Client, namespace: &str) {
    let accounts: Api<ServiceAccount> = Api::namespaced(admin.clone(), namespace);
    let there = |account: Option<&ServiceAccount>| account.is_some();
    let limit = std::time::Duration::from_secs(30);
    tokio::time::timeout(limit, await_condition(accounts, "default", there)).await.unwrap().unwrap();
}
