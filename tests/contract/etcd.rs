//! What the agent sees of its own API server and of etcd, through etcd's JSON gateway, at real ones.

use std::path::{Path, PathBuf};

use http::Request;
use kube::Client;
use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use node_upgrade_agent::clock::Clock;
use node_upgrade_agent::cluster::{Cluster, Settings};
use serde_json::{Value, json};
use tempfile::TempDir;
use upgrade_core::act::ActResult;
use upgrade_core::observed::{EtcdSeen, Observation};

use super::real::Real;
use super::static_pods::StaticPods;

/// An etcd of one member that is well, by the name that an administrator sees.
async fn well(real: &Real) -> EtcdSeen {
    let members = ask(real, "/v3/cluster/member/list", &json!({})).await;
    let name = members["members"][0]["name"].as_str().unwrap().to_owned();
    EtcdSeen { healthy: true, members: [name].into(), ..EtcdSeen::default() }
}

/// Where kubeadm keeps etcd's certificates.
fn pki(real: &Real) -> PathBuf {
    real.control_plane.pki().join("etcd")
}

async fn look(real: &Real, etcd: &str, pki: &Path) -> ActResult {
    let static_pods = StaticPods::stacked(real.control_plane.api_server_port(), etcd, pki);
    let settings = Settings { manifests: static_pods.path(), ..real.settings() };
    Cluster::new(settings, Clock::of_runtime()).look_at_control_plane().await
}

async fn seen(real: &Real) -> EtcdSeen {
    etcd(&look(real, &real.control_plane.etcd(), &real.control_plane.pki()).await)
}

fn etcd(ended: &ActResult) -> EtcdSeen {
    let [Observation::Local(local)] = &ended.observations[..] else { panic!("{ended:?}") };
    assert!(local.api_server_ready);
    local.etcd.clone().unwrap()
}

/// Asks etcd as an administrator does.
async fn ask(real: &Real, path: &str, body: &Value) -> Value {
    let file = |name: &str| pki(real).join(name);
    let kubeconfig: Kubeconfig = serde_json::from_value(json!({
        "clusters": [{"name": "etcd", "cluster": {
            "server": real.control_plane.etcd(), "certificate-authority": file("ca.crt"),
        }}],
        "users": [{"name": "etcd", "user": {
            "client-certificate": file("healthcheck-client.crt"), "client-key": file("healthcheck-client.key"),
        }}],
        "contexts": [{"name": "etcd", "context": {"cluster": "etcd", "user": "etcd"}}],
        "current-context": "etcd",
    }))
    .unwrap();
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    let request = Request::post(path).body(body.to_string().into_bytes()).unwrap();
    Client::try_from(config).unwrap().request(request).await.unwrap()
}

#[tokio::test]
async fn a_member_that_is_well_is_seen_so() {
    let Some(real) = Real::begin().await else { return };
    assert_eq!(seen(&real).await, well(&real).await);
}

#[tokio::test]
async fn an_alarm_is_counted_until_it_is_lifted() {
    let Some(real) = Real::begin().await else { return };
    let members = ask(&real, "/v3/cluster/member/list", &json!({})).await;
    let alarm = |action: &str| {
        let member = &members["members"][0]["ID"];
        json!({"action": action, "memberID": member, "alarm": "NOSPACE"})
    };
    ask(&real, "/v3/maintenance/alarm", &alarm("ACTIVATE")).await;
    let raised = seen(&real).await;
    ask(&real, "/v3/maintenance/alarm", &alarm("DEACTIVATE")).await;
    // An alarm is among what the member itself complains of.
    let well = well(&real).await;
    assert_eq!(
        raised,
        EtcdSeen { healthy: false, alarms: 1, unhealthy: well.members.clone(), ..well.clone() }
    );
    assert_eq!(seen(&real).await, well);
}

#[tokio::test]
async fn a_learner_is_no_member_yet() {
    let Some(real) = Real::begin().await else { return };
    let learner = json!({"peerURLs": ["https://192.0.2.9:2380"], "isLearner": true});
    let added = ask(&real, "/v3/cluster/member/add", &learner).await;
    let joining = seen(&real).await;
    ask(&real, "/v3/cluster/member/remove", &json!({"ID": added["member"]["ID"]})).await;
    let unnamed = ["one that never started".to_owned()].into();
    assert_eq!(joining, EtcdSeen { learners: 1, unhealthy: unnamed, ..well(&real).await });
    assert_eq!(seen(&real).await, well(&real).await);
}

#[tokio::test]
async fn an_etcd_that_does_not_answer_or_accept_us_has_no_healthy_member() {
    let Some(real) = Real::begin().await else { return };
    let silent = look(&real, "https://127.0.0.1:1", &real.control_plane.pki()).await;
    assert_eq!(etcd(&silent), EtcdSeen::default());
    let strange = own_pki(&real);
    // A certificate of the cluster's own CA, which is not etcd's.
    for part in ["crt", "key"] {
        let name = format!("apiserver-kubelet-client.{part}");
        let to = strange.path().join(format!("apiserver-etcd-client.{part}"));
        std::fs::copy(real.control_plane.pki().join(name), to).unwrap();
    }
    let refused = look(&real, &real.control_plane.etcd(), strange.path()).await;
    assert_eq!(etcd(&refused), EtcdSeen::default());
}

#[tokio::test]
async fn certificates_that_cannot_be_used_are_a_fault_that_names_them() {
    let Some(real) = Real::begin().await else { return };
    let broken = own_pki(&real);
    std::fs::write(broken.path().join("apiserver-etcd-client.crt"), "no certificate").unwrap();
    let fault = look(&real, &real.control_plane.etcd(), broken.path()).await.fault.unwrap();
    assert!(names(&fault.message, broken.path()), "{fault:?}");
}

#[tokio::test]
async fn an_api_server_whose_certificates_stand_elsewhere_asks_etcd_with_its_own_pair() {
    let Some(real) = Real::begin().await else { return };
    let elsewhere = own_pki(&real);
    for part in ["crt", "key"] {
        let from = pki(&real).join(format!("healthcheck-client.{part}"));
        std::fs::copy(from, elsewhere.path().join(format!("apiserver-etcd-client.{part}"))).unwrap();
    }
    assert_eq!(etcd(&look(&real, &real.control_plane.etcd(), elsewhere.path()).await), well(&real).await);
}

#[tokio::test]
async fn this_hosts_api_server_is_asked_wherever_its_manifest_says_at_that_time() {
    let Some(real) = Real::begin().await else { return };
    let static_pods = StaticPods::external(1);
    let settings = Settings { manifests: static_pods.path(), ..real.settings() };
    let cluster = Cluster::new(settings, Clock::of_runtime());
    let look = || async {
        let ended = cluster.look_at_control_plane().await;
        match ended.observations.into_iter().next() {
            Some(Observation::Local(local)) => (local.api_server_ready, local.version.is_some()),
            other => panic!("{other:?} {:?}", ended.fault),
        }
    };
    assert_eq!(look().await, (false, false), "nobody answers there, whoever answers elsewhere");
    static_pods.moved(real.control_plane.api_server_port());
    assert_eq!(look().await, (true, true));
    std::fs::remove_file(static_pods.path().join("kube-apiserver.yaml")).unwrap();
    let fault = cluster.look_at_control_plane().await.fault.unwrap();
    assert!(fault.message.contains("kube-apiserver.yaml is missing"), "{fault:?}");
}

/// A directory of certificates with nothing in it but etcd's CA.
fn own_pki(real: &Real) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("etcd")).unwrap();
    std::fs::copy(pki(real).join("ca.crt"), directory.path().join("etcd/ca.crt")).unwrap();
    directory
}

fn names(text: &str, path: &Path) -> bool {
    text.contains(&path.display().to_string())
}
