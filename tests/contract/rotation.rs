//! Credentials that are replaced while the agent runs, as kubelet and kubeadm replace theirs.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use k8s_openapi::ByteString;
use kube::config::Kubeconfig;
use node_upgrade_agent::clock::Clock;
use node_upgrade_agent::cluster::{Cluster, Credential, Settings};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use upgrade_core::act::Act;
use upgrade_core::api::{LeaseName, Version, annotations};
use upgrade_core::drain::DrainOptions;
use upgrade_core::observed::{DrainState, Observation};

use super::enrol::issue;
use super::real::Real;
use super::test_cluster::{OTHER, OWN, Told, holder, is_held, lease_seen};

const CURRENT: Version = Version::new(1, 36, 3);

/// A kubeconfig that names its certificate and key by a symlink, as kubelet's does.
struct Files {
    directory: TempDir,
    rotations: u32,
}

impl Files {
    /// Asking the API server at this port, with the certificate of this other kubeconfig.
    fn new(port: u16, credential: &Path) -> Self {
        let mut this = Self { directory: tempfile::tempdir().unwrap(), rotations: 0 };
        let mut kubeconfig = read(credential);
        kubeconfig["clusters"][0]["cluster"]["server"] = format!("https://127.0.0.1:{port}").into();
        let current = this.path("current.pem");
        kubeconfig["users"][0]["user"] = json!({"client-certificate": current, "client-key": current});
        std::fs::write(this.path("kubelet.conf"), kubeconfig.to_string()).unwrap();
        this.rotate(credential);
        this
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A new file, and the symlink replaced by one that names it.
    fn rotate(&mut self, credential: &Path) {
        self.rotations += 1;
        let new = self.path(&format!("{}.pem", self.rotations));
        std::fs::write(&new, pem(credential)).unwrap();
        let link = self.path("next");
        symlink(new, &link).unwrap();
        std::fs::rename(link, self.path("current.pem")).unwrap();
    }

    /// The same file with another content.
    fn overwrite(&self, credential: &Path) {
        std::fs::write(self.path("current.pem"), pem(credential)).unwrap();
    }

    fn cluster(&self, real: &Real) -> Cluster {
        let settings = Settings { kubeconfig: self.path("kubelet.conf"), ..real.settings() };
        Cluster::new(settings, Clock::of_runtime())
    }
}

fn read(kubeconfig: &Path) -> Value {
    serde_json::to_value(Kubeconfig::read_from(kubeconfig).unwrap()).unwrap()
}

/// Certificate and key of a kubeconfig, in one file.
fn pem(kubeconfig: &Path) -> Vec<u8> {
    let user = read(kubeconfig)["users"][0]["user"].take();
    let part = |key: &str| serde_json::from_value::<ByteString>(user[key].clone()).unwrap().0;
    [part("client-certificate-data"), part("client-key-data")].concat()
}

/// Passes connections on to the API server until it is told to cut them.
struct Relay {
    port: u16,
    cuts: watch::Sender<()>,
}

impl Relay {
    async fn to(port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let this = Self { port: listener.local_addr().unwrap().port(), cuts: watch::Sender::new(()) };
        let cuts = this.cuts.clone();
        tokio::spawn(async move {
            loop {
                let (mut near, _) = listener.accept().await.unwrap();
                let mut cut = cuts.subscribe();
                tokio::spawn(async move {
                    let mut far = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                    tokio::select! {
                        _ = copy_bidirectional(&mut near, &mut far) => {}
                        _ = cut.changed() => {}
                    }
                });
            }
        });
        this
    }

    fn cut(&self) {
        self.cuts.send_replace(());
    }
}

fn publish() -> Act {
    Act::PublishCurrent { current: CURRENT }
}

/// A kubelet's credential that is about to expire.
fn brief(real: &Real) -> PathBuf {
    let name = format!("system:node:{OWN}");
    real.control_plane.brief_kubeconfig("system:nodes", &name, Duration::from_secs(5)).unwrap()
}

/// Until the API server says that the credential is no good any more; its words.
async fn until_expired(cluster: &Cluster) -> String {
    loop {
        if let Err(fault) = cluster.read_node().await {
            return fault.message;
        }
    }
}

#[tokio::test]
async fn the_next_call_uses_a_new_certificate() {
    let Some(real) = Real::begin().await else { return };
    let credential = |node| real.control_plane.kubelet_kubeconfig(node).unwrap();
    let mut files = Files::new(real.control_plane.api_server_port(), &credential(OTHER));
    let cluster = files.cluster(&real);
    for _ in 0..2 {
        let fault = cluster.write_node(&publish()).await.fault.unwrap();
        assert!(fault.message.contains("403"), "{fault:?}");
        files.rotate(&credential(OWN));
        assert_eq!(cluster.write_node(&publish()).await.fault, None);
        files.overwrite(&credential(OTHER));
    }
}

#[tokio::test]
async fn an_expired_certificate_is_named_and_its_successor_used_at_once() {
    let Some(real) = Real::begin().await else { return };
    let mut files = Files::new(real.control_plane.api_server_port(), &brief(&real));
    let cluster = files.cluster(&real);
    assert_eq!(cluster.write_node(&publish()).await.fault, None);
    let words = until_expired(&cluster).await;
    assert!(words.contains("401") && words.contains("has its certificate expired"), "{words}");
    files.rotate(&real.control_plane.kubelet_kubeconfig(OWN).unwrap());
    assert_eq!(cluster.write_node(&publish()).await.fault, None);
}

#[tokio::test]
async fn a_watch_goes_on_with_the_new_certificate() {
    let Some(real) = Real::begin().await else { return };
    let relay = Relay::to(real.control_plane.api_server_port()).await;
    let mut files = Files::new(relay.port, &brief(&real));
    let (cluster, other) = (files.cluster(&real), files.cluster(&real));
    let told = Told::default();
    let script = async {
        told.until_node(|node| node.is_some()).await;
        until_expired(&other).await;
        relay.cut();
        let patch = json!({"metadata": {"annotations": {annotations::RETRY: "now"}}});
        real.bench.patch_node(OWN, &patch).await;
        assert!(told.last_node().unwrap().request.retry.is_none());
        files.rotate(&real.control_plane.kubelet_kubeconfig(OWN).unwrap());
        told.until_node(|node| node.is_some_and(|node| node.request.retry.is_some())).await;
    };
    tokio::select! {
        () = cluster.watch_node(told.ear()) => {}
        () = script => {}
    }
}

#[tokio::test]
async fn a_kubeconfig_with_its_certificate_inside_is_read_again_when_it_is_replaced() {
    let Some(real) = Real::begin().await else { return };
    let credential = |node| real.control_plane.coordination_kubeconfig(node).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let coordination_kubeconfig = directory.path().join("coordination.kubeconfig");
    std::fs::copy(real.control_plane.kubelet_kubeconfig(OWN).unwrap(), &coordination_kubeconfig).unwrap();
    let coordination = Credential::Kubeconfig(coordination_kubeconfig.clone());
    let settings = Settings { coordination, ..real.settings() };
    let cluster = Cluster::new(settings, Clock::of_runtime());
    let slot = LeaseName::Slot(0);
    let fault = cluster.claim(slot, &holder(OWN)).await.fault.unwrap();
    assert!(fault.message.contains("403"), "a kubelet has no slots: {fault:?}");
    std::fs::copy(credential(OWN), &coordination_kubeconfig).unwrap();
    assert!(is_held(lease_seen(&cluster.claim(slot, &holder(OWN)).await)));
}

#[tokio::test]
async fn an_enrolled_credential_is_read_again_when_it_is_replaced() {
    let Some(real) = Real::begin().await else { return };
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("current.pem");
    let settings = Settings { coordination: Credential::Enrolled(file.clone()), ..real.settings() };
    let cluster = Cluster::new(settings, Clock::of_runtime());
    let slot = LeaseName::Slot(0);
    let fault = cluster.claim(slot, &holder(OWN)).await.fault.unwrap();
    assert!(fault.message.contains("no coordination credential yet"), "{fault:?}");
    for _ in 0..2 {
        std::fs::write(&file, issue(&real, OWN).await).unwrap();
        assert!(is_held(lease_seen(&cluster.claim(slot, &holder(OWN)).await)));
        std::fs::write(&file, pem(&real.control_plane.kubelet_kubeconfig(OWN).unwrap())).unwrap();
        let fault = cluster.claim(slot, &holder(OWN)).await.fault.unwrap();
        assert!(fault.message.contains("403"), "a kubelet has no slots: {fault:?}");
    }
}

#[tokio::test]
async fn nothing_is_missed_when_both_credentials_are_replaced_in_the_middle_of_a_drain() {
    let Some(real) = Real::begin().await else { return };
    let relay = Relay::to(real.control_plane.api_server_port()).await;
    let mut files = Files::new(relay.port, &brief(&real));
    let pem = files.path("coordination.pem");
    std::fs::write(&pem, issue(&real, OWN).await).unwrap();
    let settings = Settings {
        kubeconfig: files.path("kubelet.conf"),
        coordination: Credential::Enrolled(pem.clone()),
        ..real.settings()
    };
    let (cluster, other) = (Cluster::new(settings, Clock::of_runtime()), files.cluster(&real));
    for number in 0..3 {
        real.bench.make_pod(&format!("web-{number}"), OWN, "ReplicaSet").await;
    }
    real.bench.make_budget("careful", 3).await;
    assert!(is_held(lease_seen(&cluster.claim(LeaseName::Slot(0), &holder(OWN)).await)));
    let told = Told::default();
    let script = async {
        let blocked =
            |fact: &Observation| matches!(fact, Observation::Drain(progress) if !progress.blocked.is_empty());
        told.until(|facts| facts.iter().any(blocked)).await;
        until_expired(&other).await;
        relay.cut();
        let next = files.path("coordination.next");
        std::fs::write(&next, issue(&real, OWN).await).unwrap();
        std::fs::rename(next, &pem).unwrap();
        relay.cut();
        files.rotate(&real.control_plane.kubelet_kubeconfig(OWN).unwrap());
        assert!(is_held(lease_seen(&cluster.renew(LeaseName::Slot(0), &holder(OWN), None, None).await)));
        real.bench.make_pod("late", OWN, "ReplicaSet").await;
        real.bench.change_budget("careful", 0).await;
    };
    let (ended, ()) = tokio::join!(cluster.drain(DrainOptions::default(), told.ear()), script);
    assert!(
        matches!(&ended.observations[..], [Observation::Drain(drained)] if drained.state == DrainState::Drained),
        "{ended:?}"
    );
    assert!(real.bench.pods().await.is_empty(), "the one that came meanwhile, too");
}
