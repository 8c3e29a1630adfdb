//! A host in a temporary directory with a systemd of our own.

use std::fs;

use tempfile::TempDir;

use super::systemd::tests::{Fake, Restart};
use super::*;

/// kubeadm, kubelet and kubectl as installed from the community's packages, all held.
pub(super) const STATUS: &str = "Package: kubeadm
Status: hold ok installed
Architecture: amd64
Version: 1.36.2-1.1
Depends: cri-tools (>= 1.30.0)
Maintainer: somebody
Description: Command-line utility
 Version: 9.9.9-1.1 is not the version

Package: kubelet
Status: hold ok installed
Architecture: amd64
Version: 1.36.2-1.1
Depends: kubernetes-cni (>= 1.2.0)
Maintainer: somebody
Description: Node agent

Package: cri-tools
Status: install ok installed
Architecture: amd64
Version: 1.35.0-1.1
Maintainer: somebody
Description: crictl

Package: kubernetes-cni
Status: install ok installed
Architecture: amd64
Version: 1.8.0-1.1
Maintainer: somebody
Description: plugins

";

pub(super) const MANIFESTS: [&str; 4] =
    ["etcd.yaml", "kube-apiserver.yaml", "kube-controller-manager.yaml", "kube-scheduler.yaml"];

pub(super) struct Machine {
    pub(super) temp: TempDir,
    pub(super) settings: Settings,
}

impl Machine {
    /// A worker.
    pub(super) fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path().join("root");
        let settings = Settings { state: temp.path().join("state"), root, ..Settings::default() };
        fs::create_dir_all(&settings.state).unwrap();
        let machine = Self { temp, settings };
        machine.write("/var/lib/dpkg/status", STATUS);
        machine.write("/var/lib/dpkg/lock", "");
        fs::create_dir_all(machine.path("/var/lib/dpkg/updates")).unwrap();
        fs::create_dir_all(machine.path("/etc/kubernetes/manifests")).unwrap();
        machine.write("/var/lib/kubelet/config.yaml", "kind: KubeletConfiguration\n");
        machine
    }

    /// A control plane.
    pub(super) fn control_plane() -> Self {
        let machine = Self::new();
        for name in MANIFESTS {
            machine.write(&format!("/etc/kubernetes/manifests/{name}"), &format!("old {name}"));
        }
        machine
    }

    pub(super) fn path(&self, path: &str) -> PathBuf {
        self.settings.on_host(path)
    }

    pub(super) fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub(super) fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap()
    }

    pub(super) fn host(&self, fake: &Fake) -> Host {
        Host::with_systemd(self.settings.clone(), Clock::host().unwrap(), fake.systemd())
    }
}

/// What an act saw at its end.
pub(super) fn seen(ended: &ActResult) -> &HostSeen {
    match ended.observations.as_slice() {
        [Observation::Host(seen)] => seen,
        other => panic!("not one look at the host: {other:?}"),
    }
}

#[tokio::test]
async fn a_look_shows_packages_kubelet_and_whether_a_control_plane_is_here() {
    let fake = Fake::new(Restart::Hangs);
    let machine = Machine::control_plane();
    let seen = machine.host(&fake).look(None).await.unwrap();
    assert_eq!(seen.version("kubeadm").unwrap().as_str(), "1.36.2-1.1");
    assert!(seen.packages["kubelet"].held && seen.packages["kubelet"].configured);
    assert!(!seen.packages.contains_key("cri-tools"));
    assert!(seen.control_plane && seen.kubelet.active && !seen.dpkg_interrupted);
    assert!(!Machine::new().host(&fake).look(None).await.unwrap().control_plane);
}

#[tokio::test]
async fn a_look_that_cannot_be_made_names_the_file() {
    let machine = Machine::new();
    fs::remove_file(machine.path("/var/lib/dpkg/status")).unwrap();
    let fault = machine.host(&Fake::new(Restart::Hangs)).look(None).await.unwrap_err();
    assert!(fault.message.contains("/var/lib/dpkg/status: No such file"), "{}", fault.message);
}
