//! Enrolment against the API server: a real kubelet's credential asks, the real signer signs.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::runtime::wait::await_condition;
use kube::{Api, Client, ResourceExt};
use node_upgrade_agent::approve::{self, Wanted};
use node_upgrade_agent::clock::Clock;
use node_upgrade_agent::cluster::{Administrator, Cluster, Credential, Settings};
use node_upgrade_agent::enrol::key::Key;
use node_upgrade_agent::enrol::{Enroller, Retry, credential};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use upgrade_core::api::{LeaseName, Reason};
use upgrade_core::enrol::{SIGNER, USAGES, request_name};
use upgrade_core::observed::{Access, Observation};
use upgrade_tests::api::faults::{Effect, Fault};

use super::real::{Real, client};
use super::test_cluster::{OTHER, OWN, TestCluster, Told, ask, holder, is_held, lease_seen, settings};

const SLOT: LeaseName = LeaseName::Slot(0);
const DAY: Duration = Duration::from_hours(24);

/// One life of the task, on a state directory that outlives it.
struct Life {
    cluster: Cluster,
    told: Told,
    retry: watch::Sender<Retry>,
    task: JoinHandle<()>,
}

impl Drop for Life {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Life {
    fn of(cluster: Cluster, state: &Path, clock: Clock) -> Self {
        let (told, retry) = (Told::default(), watch::Sender::new(Some(None)));
        let enroller = Enroller::new(state, cluster.clone(), clock, retry.subscribe(), told.ear());
        let task = tokio::spawn(enroller.run());
        Self { cluster, told, retry, task }
    }

    fn begin(settings: Settings, state: &TempDir) -> Self {
        Self::later(settings, state, Duration::ZERO)
    }

    /// On a host whose clock is ahead by so much.
    fn later(settings: Settings, state: &TempDir, ahead: Duration) -> Self {
        let settings = Settings { coordination: Credential::Enrolled(credential(state.path())), ..settings };
        Self::of(Cluster::new(settings, Clock::of_runtime()), state.path(), Clock::of_runtime().ahead(ahead))
    }

    /// Until the newest that was told is as wanted.
    async fn until(&self, wanted: impl Fn(&Access) -> bool) -> Access {
        let newest = |facts: &[Observation]| match facts.last() {
            Some(Observation::Access(access)) if wanted(access) => Some(access.clone()),
            _ => None,
        };
        self.told.until(|facts| newest(facts).is_some()).await;
        newest(&self.told.all()).unwrap()
    }

    async fn until_usable(&self) {
        self.until(|access| *access == Access::Usable { note: None }).await;
    }

    /// Until the request waits; its name, which the message tells.
    async fn until_waiting(&self) {
        let waits = "waits for an administrator's approval";
        self.until(|access| matches!(access, Access::Missing(why) if why.message.contains(waits))).await;
    }

    /// Whether the coordination identity has its way.
    async fn has_slot(&self) -> bool {
        let ended = self.cluster.claim(SLOT, &holder(OWN)).await;
        ended.fault.is_none() && is_held(lease_seen(&ended))
    }
}

fn requests(admin: &Client) -> Api<CertificateSigningRequest> {
    Api::all(admin.clone())
}

async fn names(admin: &Client) -> Vec<String> {
    let all = requests(admin).list(&ListParams::default()).await.unwrap();
    all.items.iter().map(ResourceExt::name_any).collect()
}

/// Somebody decides by other means than ours.
async fn decide(admin: &Client, name: &str, kind: &str) {
    let condition = json!({"type": kind, "status": "True", "reason": "ByHand", "message": "so it be"});
    let patch = Patch::Merge(json!({"status": {"conditions": [condition]}}));
    requests(admin).patch_approval(name, &PatchParams::default(), &patch).await.unwrap();
}

async fn approve(kubeconfig: PathBuf, wanted: &Wanted) -> (String, bool) {
    let administrator = Administrator::connect(Some(&kubeconfig)).await.unwrap();
    approve::carry_out(&administrator, wanted).await.unwrap()
}

/// A request for this signer, as an API server takes it.
fn body(name: &str, pem: &str, usages: &[&str]) -> Value {
    let request = k8s_openapi::ByteString(pem.as_bytes().to_vec());
    json!({
        "apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", "metadata": {"name": name},
        "spec": {"request": request, "signerName": SIGNER, "usages": usages},
    })
}

async fn submit(as_whom: &Client, body: &Value) {
    let answer = ask(as_whom, "POST /apis/certificates.k8s.io/v1/certificatesigningrequests", body).await;
    assert_eq!(answer.code, 201, "{answer:?}");
}

/// Key and certificate of the agent on this node, as enrolment would store them.
pub(crate) async fn issue(real: &Real, node: &str) -> String {
    let key = Key::generate().unwrap();
    let name = request_name(node, &key.fingerprint());
    submit(&real.bench.kubelet, &body(&name, &key.request(node).unwrap(), &USAGES)).await;
    decide(&real.bench.admin, &name, "Approved").await;
    let certificate = |request: Option<&CertificateSigningRequest>| {
        Some(request?.status.as_ref()?.certificate.as_ref()?.0.clone())
    };
    let issued = |request: Option<&CertificateSigningRequest>| certificate(request).is_some();
    let request = await_condition(requests(&real.bench.admin), &name, issued).await.unwrap();
    let certificate = String::from_utf8(certificate(request.as_ref()).unwrap()).unwrap();
    format!("{}{certificate}", key.to_pem().unwrap())
}

#[tokio::test]
async fn an_approved_node_has_its_credential_and_keeps_it_over_a_restart() {
    let Some(real) = Real::begin().await else { return };
    let state = tempfile::tempdir().unwrap();
    let life = Life::begin(real.settings(), &state);
    life.until_waiting().await;
    assert!(!life.has_slot().await);
    let (text, well) = approve(real.control_plane.kubeconfig(), &Wanted::These(vec![OWN.to_owned()])).await;
    assert!(well && text.contains("approved"), "{text}");
    life.until_usable().await;
    assert!(life.has_slot().await);
    drop(life);
    requests(&real.bench.admin)
        .delete_collection(&DeleteParams::default(), &ListParams::default())
        .await
        .unwrap();
    let life = Life::begin(real.settings(), &state);
    life.until_usable().await;
    assert!(life.has_slot().await);
    assert_eq!(names(&real.bench.admin).await, [""; 0], "nothing was asked for again");
}

#[tokio::test]
async fn kubectl_may_approve_as_well_and_a_restart_in_between_finds_the_same_request() {
    let Some(real) = Real::begin().await else { return };
    let state = tempfile::tempdir().unwrap();
    let life = Life::begin(real.settings(), &state);
    life.until_waiting().await;
    drop(life);
    let before = names(&real.bench.admin).await;
    let life = Life::begin(real.settings(), &state);
    life.until_waiting().await;
    assert_eq!(names(&real.bench.admin).await, before);
    drop(life);
    real.control_plane.kubectl(&["certificate", "approve", &before[0]]).unwrap();
    let life = Life::begin(real.settings(), &state);
    life.until_usable().await;
    assert!(life.has_slot().await);
}

fn is_denied(access: &Access) -> bool {
    matches!(access, Access::Missing(why) if why.reason == Reason::EnrolmentDenied)
}

#[tokio::test]
async fn a_denied_request_is_told_and_made_again_only_when_retry_changes() {
    let Some(real) = Real::begin().await else { return };
    let state = tempfile::tempdir().unwrap();
    let life = Life::begin(real.settings(), &state);
    life.until_waiting().await;
    let first = names(&real.bench.admin).await;
    decide(&real.bench.admin, &first[0], "Denied").await;
    let Access::Missing(why) = life.until(is_denied).await else { panic!() };
    assert!(why.message.contains(&first[0]) && why.message.contains("so it be"), "{why:?}");
    drop(life);
    // The cluster forgets, the node does not.
    requests(&real.bench.admin).delete(&first[0], &DeleteParams::default()).await.unwrap();
    let life = Life::begin(real.settings(), &state);
    life.until(is_denied).await;
    assert_eq!(names(&real.bench.admin).await, [""; 0]);
    life.retry.send_replace(Some(Some("please".to_owned())));
    life.until_waiting().await;
    let second = names(&real.bench.admin).await;
    assert!(second.len() == 1 && second != first, "another key: {second:?}");
}

#[tokio::test]
async fn a_retry_after_a_denial_is_answered_at_once_by_the_same_life() {
    let Some(real) = Real::begin().await else { return };
    let state = tempfile::tempdir().unwrap();
    let life = Life::begin(real.settings(), &state);
    life.until_waiting().await;
    let first = names(&real.bench.admin).await;
    decide(&real.bench.admin, &first[0], "Denied").await;
    life.until(|access| matches!(access, Access::Missing(why) if why.reason == Reason::EnrolmentDenied))
        .await;
    life.retry.send_replace(Some(Some("please".to_owned())));
    life.until_waiting().await;
    let all = names(&real.bench.admin).await;
    assert!(all.len() == 2 && all.contains(&first[0]), "{all:?}");
}

#[tokio::test]
async fn a_request_that_vanishes_is_told_and_made_again_by_the_next_life() {
    let Some(real) = Real::begin().await else { return };
    let state = tempfile::tempdir().unwrap();
    let life = Life::begin(real.settings(), &state);
    life.until_waiting().await;
    let before = names(&real.bench.admin).await;
    requests(&real.bench.admin).delete(&before[0], &DeleteParams::default()).await.unwrap();
    life.until(|access| matches!(access, Access::Missing(why) if why.message.contains("was removed"))).await;
    assert_eq!(names(&real.bench.admin).await, [""; 0], "not in a hurry");
    drop(life);
    let life = Life::begin(real.settings(), &state);
    life.until_waiting().await;
    assert_eq!(names(&real.bench.admin).await, before);
}

#[tokio::test]
async fn a_node_that_lost_its_state_asks_again_and_the_newest_request_is_approved() {
    let Some(real) = Real::begin().await else { return };
    let (lost, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    Life::begin(real.settings(), &lost).until_waiting().await;
    let old = names(&real.bench.admin).await;
    // Creation is told in whole seconds.
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let life = Life::begin(real.settings(), &state);
    life.until_waiting().await;
    let (text, well) = approve(real.control_plane.kubeconfig(), &Wanted::All).await;
    assert!(well && text.contains(&format!("{}  {OWN}  left alone", old[0])), "{text}");
    life.until_usable().await;
    assert!(life.has_slot().await);
}

/// A first life of the agent, in which it asked and was approved.
async fn enrol(real: &Real, state: &TempDir) {
    let life = Life::begin(real.settings(), state);
    life.until_waiting().await;
    approve(real.control_plane.kubeconfig(), &Wanted::All).await;
    life.until_usable().await;
}

#[tokio::test]
async fn a_credential_is_renewed_in_time_and_the_old_one_used_until_then() {
    let Some(real) = Real::begin().await else { return };
    let state = tempfile::tempdir().unwrap();
    enrol(&real, &state).await;
    let before = std::fs::read(credential(state.path())).unwrap();
    requests(&real.bench.admin)
        .delete_collection(&DeleteParams::default(), &ListParams::default())
        .await
        .unwrap();
    let life = Life::later(real.settings(), &state, 350 * DAY);
    let asked = |access: &Access| matches!(access, Access::Usable { note: Some(note) } if note.contains("waits for an administrator"));
    let Access::Usable { note: Some(note) } = life.until(asked).await else { panic!() };
    assert!(note.contains("expires in 14 days"), "{note}");
    assert!(life.has_slot().await, "with the old one");
    assert_eq!(std::fs::read(credential(state.path())).unwrap(), before);
    approve(real.control_plane.kubeconfig(), &Wanted::All).await;
    // By the clock of this life the new one is old, too, and the next is asked for; what counts is that it has come.
    life.told.until(|_| std::fs::read(credential(state.path())).unwrap() != before).await;
    assert!(life.has_slot().await, "with the new one");
}

#[tokio::test]
async fn an_expired_credential_is_told_and_asked_for_anew() {
    let Some(real) = Real::begin().await else { return };
    let state = tempfile::tempdir().unwrap();
    enrol(&real, &state).await;
    let life = Life::later(real.settings(), &state, 366 * DAY);
    life.until(|access| matches!(access, Access::Missing(why) if why.message.contains("has expired"))).await;
    life.until_waiting().await;
}

#[tokio::test]
async fn a_credential_the_api_server_no_longer_accepts_is_noticed_and_replaced() {
    let Some(real) = Real::begin().await else { return };
    let state = tempfile::tempdir().unwrap();
    enrol(&real, &state).await;
    // Another cluster stands for this one with other authorities: kubelet has joined it already.
    let other = lab::HostControlPlane::start().unwrap();
    other.apply_rbac().unwrap();
    let nodes: Api<k8s_openapi::api::core::v1::Node> = Api::all(client(&other.kubeconfig()).await);
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": OWN}});
    super::test_cluster::make(&nodes, &node).await;
    let settings = Settings { kubeconfig: other.kubelet_kubeconfig(OWN).unwrap(), ..real.settings() };
    let life = Life::begin(settings, &state);
    life.until_usable().await;
    assert!(!life.has_slot().await, "which is how it is noticed");
    let noticed = "no longer accepts";
    life.until(|access| matches!(access, Access::Missing(why) if why.message.contains(noticed))).await;
    life.until_waiting().await;
    let (text, well) = approve(other.kubeconfig(), &Wanted::All).await;
    assert!(well, "{text}");
    life.until_usable().await;
    assert!(life.has_slot().await);
}

#[tokio::test]
async fn every_forged_request_is_refused_and_none_is_approved() {
    let Some(real) = Real::begin().await else { return };
    let admin = &real.bench.admin;
    let pem = |node: &str| Key::generate().unwrap().request(node).unwrap();
    let stranger = real.control_plane.kubelet_kubeconfig("n9").unwrap();
    let forgeries = [
        (&real.bench.kubelet, body("node-upgrade-agent-other", &pem(OTHER), &USAGES), "only its own kubelet"),
        (admin, body("node-upgrade-agent-admin", &pem(OWN), &USAGES), "only its own kubelet"),
        (&client(&stranger).await, body("node-upgrade-agent-n9", &pem("n9"), &USAGES), "no Node n9"),
        (
            &real.bench.kubelet,
            body(
                "node-upgrade-agent-more",
                &pem(OWN),
                &["client auth", "digital signature", "key encipherment"],
            ),
            "usages",
        ),
    ];
    for (as_whom, body, _) in &forgeries {
        submit(as_whom, body).await;
    }
    let (text, well) = approve(real.control_plane.kubeconfig(), &Wanted::All).await;
    assert!(!well);
    for (_, body, why) in &forgeries {
        let name = body["metadata"]["name"].as_str().unwrap();
        let line = text.lines().find(|line| line.starts_with(name)).unwrap();
        assert!(line.contains("REFUSED") && line.contains(why), "{line}");
    }
    for request in requests(admin).list(&ListParams::default()).await.unwrap() {
        assert!(request.status.is_none_or(|status| status.conditions.is_none()));
    }
}

#[tokio::test]
async fn without_names_and_without_all_nothing_is_approved() {
    let Some(real) = Real::begin().await else { return };
    let state = tempfile::tempdir().unwrap();
    let life = Life::begin(real.settings(), &state);
    life.until_waiting().await;
    let (text, well) = approve(real.control_plane.kubeconfig(), &Wanted::List).await;
    assert!(well && text.contains("would be approved"), "{text}");
    let (text, well) = approve(real.control_plane.kubeconfig(), &Wanted::These(vec![OTHER.to_owned()])).await;
    assert!(!well && text.contains("REFUSED"), "{text}");
    life.until_waiting().await;
}

#[tokio::test]
async fn a_request_that_was_changed_since_it_was_checked_is_not_approved() {
    let Some(real) = Real::begin().await else { return };
    let pem = Key::generate().unwrap().request(OWN).unwrap();
    let body = body("node-upgrade-agent-n1", &pem, &USAGES);
    submit(&real.bench.kubelet, &body).await;
    let administrator = Administrator::connect(Some(&real.control_plane.kubeconfig())).await.unwrap();
    let checked = administrator.requests().await.unwrap();
    let requests = requests(&real.bench.admin);
    requests.delete("node-upgrade-agent-n1", &DeleteParams::default()).await.unwrap();
    submit(&real.bench.kubelet, &body).await;
    let refused = administrator.approve(&checked[0]).await.unwrap_err().to_string();
    assert!(refused.contains("409"), "{refused}");
}

/// An enrolment of [`OWN`] at the fake API server.
fn at_the_fake(server: &upgrade_tests::api::Api, state: &TempDir) -> Life {
    use upgrade_tests::api::Who;
    let own = server.client(Who::Kubelet(OWN.to_owned()));
    let cluster = Cluster::with_clients(settings(OWN), Clock::of_runtime(), &own, &own);
    Life::of(cluster, state.path(), Clock::of_runtime())
}

#[tokio::test(start_paused = true)]
async fn a_request_whose_answer_was_lost_is_found_and_not_made_twice() {
    let (bench, server) = TestCluster::fake().await;
    let state = tempfile::tempdir().unwrap();
    server.fail(Fault::once(&["POST", "/certificatesigningrequests"], || Effect::LoseAnswer));
    server.fail(Fault::once(&["GET", "/certificatesigningrequests"], || Effect::Unreachable).times(3));
    let life = at_the_fake(&server, &state);
    life.until(|access| matches!(access, Access::Missing(why) if why.reason == Reason::Retrying)).await;
    life.until_waiting().await;
    assert_eq!(names(&bench.admin).await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_request_under_our_name_that_is_not_ours_is_not_followed() {
    let (bench, server) = TestCluster::fake().await;
    let state = tempfile::tempdir().unwrap();
    let life = at_the_fake(&server, &state);
    life.until_waiting().await;
    drop(life);
    let first = names(&bench.admin).await;
    // Somebody who knows the public key has put another request in its place meanwhile.
    requests(&bench.admin).delete(&first[0], &DeleteParams::default()).await.unwrap();
    submit(&bench.admin, &body(&first[0], &Key::generate().unwrap().request(OWN).unwrap(), &USAGES)).await;
    let life = at_the_fake(&server, &state);
    life.until_waiting().await;
    let both: BTreeSet<String> = names(&bench.admin).await.into_iter().collect();
    assert!(both.len() == 2 && both.contains(&first[0]), "{both:?}");
}

#[tokio::test(start_paused = true)]
async fn waiting_for_approval_costs_little() {
    let (_bench, server) = TestCluster::fake().await;
    let state = tempfile::tempdir().unwrap();
    let life = at_the_fake(&server, &state);
    life.until_waiting().await;
    let before = server.requests().len();
    tokio::time::sleep(Duration::from_hours(1)).await;
    let cost = server.requests().len() - before;
    assert!(cost <= 30, "{cost} requests in an hour");
}

#[test]
fn the_name_of_a_request_is_found_from_its_key() {
    let key = Key::generate().unwrap();
    assert!(request_name(OWN, &key.fingerprint()).starts_with("node-upgrade-agent-n1-"));
}
