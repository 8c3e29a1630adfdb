//! Upgrades by hand, half and whole.

use upgrade_core::api::Version;
use upgrade_core::observed::PackageSeen;
use upgrade_core::oracle::{What, Who};

use super::World;
use super::host::{API_SERVER, manifests_of, package};
use crate::fault::ByHand;

impl World {
    pub(super) fn by_hand(&mut self, node: &str, version: Version, how: ByHand) {
        if !self.machines.get(node).is_some_and(|machine| machine.host.powered) {
            return;
        }
        let packages: &[&str] = match how {
            ByHand::Kubelet => &["kubelet"],
            ByHand::Kubeadm | ByHand::HalfControlPlane => &["kubeadm"],
            ByHand::Packages | ByHand::Whole => &["kubeadm", "kubelet", "kubectl"],
        };
        let installed = self.install_by_hand(node, version, packages);
        if how == ByHand::Whole {
            self.kubeadm_by_hand(node, version);
        }
        if how == ByHand::HalfControlPlane && self.is_control_plane(node) {
            self.raise_manifest(node, API_SERVER, version);
        }
        let old = |machine: &super::Machine| machine.host.kubelet_runs < version;
        let follows_to_the_end = how == ByHand::Whole && self.machines.get(node).is_some_and(old);
        if installed.contains(&"kubelet") || follows_to_the_end {
            self.restart_kubelet(node);
        }
    }

    /// `apt-get install`, which does not go back unasked.
    fn install_by_hand<'a>(&mut self, node: &str, version: Version, packages: &[&'a str]) -> Vec<&'a str> {
        let Some((new, machine)) = package(version).zip(self.machines.get_mut(node)) else {
            return Vec::new();
        };
        let older = |name: &str| machine.host.version(name).is_some_and(|installed| installed < version);
        let names: Vec<&str> = packages.iter().copied().filter(|name| older(name)).collect();
        for name in &names {
            let seen = PackageSeen { version: new.clone(), configured: true, held: true };
            machine.host.packages.insert((*name).to_owned(), seen);
        }
        machine.host.files_are_fresh &= !names.contains(&"kubeadm");
        for name in &names {
            let (package, version) = ((*name).to_owned(), new.clone());
            self.record(node, What::PackageInstalled { package, version, by: Who::Person });
        }
        names
    }

    /// `kubeadm upgrade apply` or `node`, to its end.
    fn kubeadm_by_hand(&mut self, node: &str, version: Version) {
        if self.is_control_plane(node) {
            for (component, version) in manifests_of(version) {
                self.raise_manifest(node, component, version);
            }
            if self.api.stored.kubeadm_config < version {
                self.set_kubeadm_config(version);
            }
            if self.api.stored.addons < version {
                self.upgrade_addons(version);
            }
        }
        let raises = self.machines.get(node).is_some_and(|machine| machine.host.kubelet_files < version);
        if let Some(machine) = self.machines.get_mut(node) {
            machine.host.files_are_fresh = true;
        }
        if raises {
            self.set_kubelet_files(node, version);
        }
    }

    fn raise_manifest(&mut self, node: &str, component: &'static str, version: Version) {
        let older =
            |machine: &super::Machine| machine.host.manifests.get(component).is_some_and(|is| *is < version);
        if self.machines.get(node).is_some_and(older) {
            self.manifest_in(node, component, version);
        }
    }
}
