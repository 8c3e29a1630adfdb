use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::arbitrary::{hostile, mangled};
use crate::chain::chain;

/// As kubeadm writes it, as far as it matters here.
const API_SERVER: &str = r"apiVersion: v1
kind: Pod
metadata:
  annotations:
    kubeadm.kubernetes.io/kube-apiserver.advertise-address.endpoint: 10.0.0.1:6443
  labels: {component: kube-apiserver, tier: control-plane}
  name: kube-apiserver
  namespace: kube-system
spec:
  containers:
  - command:
    - kube-apiserver
    - --advertise-address=10.0.0.1
    - --etcd-cafile=/etc/kubernetes/pki/etcd/ca.crt
    - --etcd-certfile=/etc/kubernetes/pki/apiserver-etcd-client.crt
    - --etcd-keyfile=/etc/kubernetes/pki/apiserver-etcd-client.key
    - --etcd-servers=https://127.0.0.1:2379
    - --secure-port=6443
    image: registry.k8s.io/kube-apiserver:v1.36.3
    livenessProbe:
      failureThreshold: 8
      httpGet: {host: 10.0.0.1, path: /livez, port: probe-port, scheme: HTTPS}
    name: kube-apiserver
    volumeMounts:
    - mountPath: /etc/kubernetes/pki
      name: k8s-certs
      readOnly: true
  hostNetwork: true
  volumes:
  - hostPath:
      path: /etc/kubernetes/pki
      type: DirectoryOrCreate
    name: k8s-certs
status: {}
";

const ETCD: &str = r"apiVersion: v1
kind: Pod
metadata: {name: etcd, namespace: kube-system}
spec:
  containers:
  - command:
    - etcd
    - --advertise-client-urls=https://10.0.0.1:2379
    - --listen-client-urls=https://127.0.0.1:2379,https://10.0.0.1:2379
    - --listen-metrics-urls=http://127.0.0.1:2381
    name: etcd
";

struct Manifests(TempDir);

impl Manifests {
    fn new(api_server: &str, etcd: Option<&str>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("kube-apiserver.yaml"), api_server).unwrap();
        if let Some(etcd) = etcd {
            std::fs::write(directory.path().join("etcd.yaml"), etcd).unwrap();
        }
        Self(directory)
    }

    fn api_server(&self) -> ApiServer {
        api_server(self.0.path()).unwrap().unwrap()
    }

    fn etcd(&self) -> Etcd {
        etcd(self.0.path()).unwrap().unwrap()
    }

    /// A directory on this host in place of kubeadm's own for certificates, with these files.
    fn pki(&self, names: &[&str]) -> PathBuf {
        let pki = self.0.path().join("own-pki");
        std::fs::create_dir_all(pki.join("etcd")).unwrap();
        for name in names {
            std::fs::write(pki.join(name), "").unwrap();
        }
        let path = self.0.path().join("kube-apiserver.yaml");
        let text = std::fs::read_to_string(&path).unwrap();
        let text = text.replace("path: /etc/kubernetes/pki", &format!("path: {}", pki.display()));
        std::fs::write(path, text).unwrap();
        pki
    }
}

fn words(error: &ManifestError) -> String {
    chain(error)
}

#[test]
fn the_api_server_answers_where_its_manifest_says() {
    let plain = Manifests::new(API_SERVER, None).api_server();
    assert_eq!(plain.url, "https://10.0.0.1:6443");
    for (flags, expected) in [
        ("--advertise-address=10.0.0.1\n    - --secure-port=7443", "https://10.0.0.1:7443"),
        ("--advertise-address=10.0.0.1\n    - --bind-address=192.0.2.7", "https://192.0.2.7:6443"),
        ("--advertise-address=10.0.0.1\n    - --bind-address=0.0.0.0", "https://10.0.0.1:6443"),
        ("--advertise-address=2001:db8::1", "https://[2001:db8::1]:6443"),
        ("'--bind-address=::'", "https://[::1]:6443"),
        ("--bind-address=127.0.0.1", "https://127.0.0.1:6443"),
        ("--advertise-address\n    - 10.0.0.2", "https://10.0.0.2:6443"),
        ("--v=2", "https://127.0.0.1:6443"),
    ] {
        let text =
            API_SERVER.replace("--secure-port=6443", "--v=1").replace("--advertise-address=10.0.0.1", flags);
        assert_eq!(Manifests::new(&text, None).api_server().url, expected, "{flags}");
    }
}

#[test]
fn a_kubeconfig_leads_to_this_api_server_by_its_addresses_or_loopback_and_its_port() {
    let text = API_SERVER.replace("--secure-port=6443", "--secure-port=7443\n    - --bind-address=0.0.0.0");
    let server = Manifests::new(&text, None).api_server();
    for (url, expected) in [
        ("https://10.0.0.1:7443", true),
        ("https://127.0.0.1:7443", true),
        ("https://localhost:7443/", true),
        ("https://[::1]:7443", true),
        ("https://10.0.0.1:6443", false),
        ("https://10.0.0.1", false),
        ("http://10.0.0.1:7443", false),
        ("https://10.0.0.2:7443", false),
        ("https://endpoint.example:7443", false),
        ("", false),
    ] {
        assert_eq!(server.is_at(url), expected, "{url}");
    }
    let six = API_SERVER.replace("--advertise-address=10.0.0.1", "--advertise-address=2001:db8::1");
    assert!(Manifests::new(&six, None).api_server().is_at("https://[2001:db8:0::1]:6443"));
}

#[test]
fn etcd_is_asked_where_it_listens_with_certificates_that_the_api_server_names() {
    let manifests = Manifests::new(API_SERVER, Some(ETCD));
    let etcd = manifests.etcd();
    assert_eq!(etcd.urls, ["https://127.0.0.1:2379", "https://10.0.0.1:2379"]);
    assert_eq!(etcd.authority, Path::new("/etc/kubernetes/pki/etcd/ca.crt"));
    assert_eq!(etcd.certificate, Path::new("/etc/kubernetes/pki/apiserver-etcd-client.crt"));
    assert_eq!(etcd.key, Path::new("/etc/kubernetes/pki/apiserver-etcd-client.key"));
    for (listens, expected) in [
        ("--listen-client-urls=https://[::1]:12379", "https://[::1]:12379"),
        ("--listen-client-urls=https://0.0.0.0:2379", "https://127.0.0.1:2379"),
        ("--listen-client-urls=unix:///run/etcd.sock,https://[::]:2379", "https://[::1]:2379"),
        ("--v=1", "https://10.0.0.1:2379"),
    ] {
        let text = ETCD.replace("--listen-client-urls=https://127.0.0.1:2379,https://10.0.0.1:2379", listens);
        assert_eq!(Manifests::new(API_SERVER, Some(&text)).etcd().urls, [expected], "{listens}");
    }
}

#[test]
fn certificates_in_another_directory_are_found_through_the_pods_mounts() {
    let manifests = Manifests::new(API_SERVER, Some(ETCD));
    let pki = manifests.pki(&[]);
    let etcd = manifests.etcd();
    assert_eq!(etcd.authority, pki.join("etcd/ca.crt"));
    assert_eq!(etcd.certificate, pki.join("apiserver-etcd-client.crt"));
    manifests.pki(&["etcd/healthcheck-client.crt"]);
    assert_eq!(manifests.etcd().certificate, pki.join("apiserver-etcd-client.crt"), "half a pair is none");
    manifests.pki(&["etcd/healthcheck-client.crt", "etcd/healthcheck-client.key"]);
    assert_eq!(manifests.etcd().certificate, pki.join("etcd/healthcheck-client.crt"));
    assert_eq!(manifests.etcd().key, pki.join("etcd/healthcheck-client.key"));
}

#[test]
fn an_external_etcd_is_none_and_a_manifest_of_etcd_that_is_gone_is_a_fault() {
    let external =
        API_SERVER.replace("--etcd-servers=https://127.0.0.1:2379", "--etcd-servers=https://192.0.2.3:2379");
    assert_eq!(etcd(Manifests::new(&external, None).0.path()).unwrap(), None);
    let stacked = Manifests::new(API_SERVER, None);
    assert_eq!(etcd(stacked.0.path()).unwrap(), None, "an etcd on this host that kubeadm does not run");
    stacked.pki(&["etcd/healthcheck-client.crt"]);
    let error = words(&etcd(stacked.0.path()).unwrap_err());
    assert!(error.contains("etcd.yaml is missing"), "{error}");
}

#[test]
fn what_cannot_be_found_out_is_a_fault_that_names_file_and_flag() {
    let no_manifest = tempfile::tempdir().unwrap();
    assert_eq!(api_server(no_manifest.path()).unwrap(), None);
    let error = words(&etcd(no_manifest.path()).unwrap_err());
    assert!(error.contains("kube-apiserver.yaml is missing"), "{error}");
    for (from, to, named) in [
        ("--secure-port=6443", "--secure-port=0", "flag --secure-port"),
        ("--advertise-address=10.0.0.1", "--advertise-address=host", "flag --advertise-address"),
        (
            "name: kube-apiserver\n    volumeMounts",
            "name: other\n    volumeMounts",
            "no container kube-apiserver",
        ),
        ("spec:", "spec: [", "no manifest of a pod"),
    ] {
        let manifests = Manifests::new(&API_SERVER.replacen(from, to, 1), Some(ETCD));
        let error = words(&api_server(manifests.0.path()).unwrap_err());
        assert!(error.contains("kube-apiserver.yaml") && error.contains(named), "{error}");
    }
    for (server, text, named) in [
        ("--etcd-cafile=", ETCD.to_owned(), "kube-apiserver.yaml, flag --etcd-cafile"),
        ("--etcd-keyfile=", ETCD.to_owned(), "kube-apiserver.yaml, flag --etcd-keyfile"),
        ("--none", ETCD.replace("client-urls", "urls"), "etcd.yaml, flag --listen-client-urls"),
        ("--none", ETCD.replace("https://", "unix://"), "etcd.yaml, flag --listen-client-urls"),
    ] {
        let manifests = Manifests::new(&API_SERVER.replace(server, "--v="), Some(&text));
        let error = words(&etcd(manifests.0.path()).unwrap_err());
        assert!(error.contains(named), "{error}");
    }
}

#[test]
fn the_versions_are_those_of_the_images_that_name_one() {
    let manifests = Manifests::new(API_SERVER, Some(ETCD));
    let scheduler =
        "spec: {containers: [{name: kube-scheduler, image: 'host:5000/kube-scheduler@sha256:00ff'}]}";
    std::fs::write(manifests.0.path().join("kube-scheduler.yaml"), scheduler).unwrap();
    let expected = BTreeMap::from([("kube-apiserver".to_owned(), Version::new(1, 36, 3))]);
    assert_eq!(versions(manifests.0.path()).unwrap(), expected);
    std::fs::write(manifests.0.path().join("kube-scheduler.yaml"), "{").unwrap();
    assert!(words(&versions(manifests.0.path()).unwrap_err()).contains("kube-scheduler.yaml"));
}

proptest! {
    #[test]
    fn manifests_in_any_form_are_read_or_refused(
        server in prop_oneof![hostile(), mangled(API_SERVER)], member in prop_oneof![hostile(), mangled(ETCD)],
    ) {
        let manifests = Manifests::new(&server, Some(&member));
        if let Ok(Some(server)) = api_server(manifests.0.path()) {
            prop_assert_eq!(server.url.scheme_str(), Some("https"));
        }
        if let Ok(Some(etcd)) = etcd(manifests.0.path()) {
            prop_assert!(!etcd.urls.is_empty());
        }
    }
}
