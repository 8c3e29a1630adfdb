//! What the agent sees of etcd through its JSON gateway, at a real one.

use std::path::{Path, PathBuf};

use http::Request;
use kube::Client;
use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use node_upgrade_agent::clock::Clock;
use node_upgrade_agent::cluster::{Cluster, Settings};
use serde_json::{Value, json};
use upgrade_core::act::ActResult;
use upgrade_core::observed::{EtcdSeen, Observation};

use super::real::Real;

const WELL: EtcdSeen = EtcdSeen { members: 1, healthy: 1, learners: 0, alarms: 0 };

/// Where kubeadm keeps etcd's certificates.
fn pki(real: &Real) -> PathBuf {
    real.control_plane.pki().join("etcd")
}

async fn look(real: &Real, change: impl FnOnce(&mut Settings)) -> ActResult {
    let mut settings = Settings { etcd_pki: pki(real), ..real.settings() };
    change(&mut settings);
    Cluster::new(settings, Clock::new()).look_at_control_plane().await
}

async fn seen(real: &Real) -> EtcdSeen {
    etcd(&look(real, |_| {}).await)
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
    assert_eq!(seen(&real).await, WELL);
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
    assert_eq!(raised, EtcdSeen { alarms: 1, healthy: 0, ..WELL });
    assert_eq!(seen(&real).await, WELL);
}

#[tokio::test]
async fn a_learner_is_no_member_yet() {
    let Some(real) = Real::begin().await else { return };
    let learner = json!({"peerURLs": ["https://192.0.2.9:2380"], "isLearner": true});
    let added = ask(&real, "/v3/cluster/member/add", &learner).await;
    let joining = seen(&real).await;
    ask(&real, "/v3/cluster/member/remove", &json!({"ID": added["member"]["ID"]})).await;
    assert_eq!(joining, EtcdSeen { learners: 1, ..WELL });
    assert_eq!(seen(&real).await, WELL);
}

#[tokio::test]
async fn an_etcd_that_does_not_answer_or_accept_us_has_no_healthy_member() {
    let Some(real) = Real::begin().await else { return };
    let silent = look(&real, |settings| settings.local_etcd = "https://127.0.0.1:1".parse().unwrap()).await;
    assert_eq!(etcd(&silent), EtcdSeen::default());
    let strange = tempfile::tempdir().unwrap();
    let copy = |from: PathBuf, name: &str| std::fs::copy(from, strange.path().join(name)).unwrap();
    copy(pki(&real).join("ca.crt"), "ca.crt");
    // A certificate of the cluster's own CA, which is not etcd's.
    for part in ["crt", "key"] {
        let name = format!("apiserver-kubelet-client.{part}");
        copy(real.control_plane.pki().join(name), &format!("healthcheck-client.{part}"));
    }
    let refused = look(&real, |settings| settings.etcd_pki = strange.path().to_owned()).await;
    assert_eq!(etcd(&refused), EtcdSeen::default());
}

#[tokio::test]
async fn certificates_that_cannot_be_used_are_a_fault_that_names_them() {
    let Some(real) = Real::begin().await else { return };
    let broken = tempfile::tempdir().unwrap();
    std::fs::copy(pki(&real).join("ca.crt"), broken.path().join("ca.crt")).unwrap();
    std::fs::write(broken.path().join("healthcheck-client.crt"), "no certificate").unwrap();
    let fault = look(&real, |settings| settings.etcd_pki = broken.path().to_owned()).await.fault.unwrap();
    assert!(names(&fault.message, broken.path()), "{fault:?}");
}

fn names(text: &str, path: &Path) -> bool {
    text.contains(&path.display().to_string())
}
