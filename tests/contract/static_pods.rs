//! Static pod manifests as kubeadm writes them: what an agent reads of its own API server and etcd.

use std::path::{Path, PathBuf};

use serde_json::json;
use tempfile::TempDir;

/// A directory of them.
pub(crate) struct StaticPods(TempDir);

impl StaticPods {
    /// An API server on this port of the loopback interface, whose etcd is elsewhere.
    pub(crate) fn external(port: u16) -> Self {
        let this = Self(tempfile::tempdir().unwrap());
        this.moved(port);
        this
    }

    /// The same API server on another port.
    pub(crate) fn moved(&self, port: u16) {
        self.write("kube-apiserver", &["--etcd-servers=https://192.0.2.9:2379".to_owned(), port_flag(port)]);
    }

    /// An API server on this port and an etcd at this URL, with certificates in this directory.
    pub(crate) fn stacked(port: u16, etcd: &str, pki: &Path) -> Self {
        let this = Self(tempfile::tempdir().unwrap());
        let file = |name: &str| pki.join(name).display().to_string();
        let flags = [
            format!("--etcd-cafile={}", file("etcd/ca.crt")),
            format!("--etcd-certfile={}", file("apiserver-etcd-client.crt")),
            format!("--etcd-keyfile={}", file("apiserver-etcd-client.key")),
            format!("--etcd-servers={etcd}"),
            port_flag(port),
        ];
        this.write("kube-apiserver", &flags);
        this.write("etcd", &[format!("--listen-client-urls={etcd}")]);
        this
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.0.path().to_owned()
    }

    fn write(&self, component: &str, flags: &[String]) {
        let command: Vec<String> = [component.to_owned()].into_iter().chain(flags.iter().cloned()).collect();
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": component, "namespace": "kube-system"},
            "spec": {"containers": [{"name": component, "command": command}], "hostNetwork": true},
        });
        // JSON is YAML.
        std::fs::write(self.0.path().join(format!("{component}.yaml")), pod.to_string()).unwrap();
    }
}

fn port_flag(port: u16) -> String {
    format!("--secure-port={port}")
}
