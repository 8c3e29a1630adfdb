//! Every version the lab uses, in one place.
//!
//! Raising one of these changes the key of whatever is built from it, so the cache rebuilds exactly that.

/// The Kubernetes release whose source is built; `kubernetes/1.36/go.mod` pins the same one.
pub const KUBERNETES_SOURCE: &str = "1.36.3";

/// The version clusters start at.
///
/// It is the source of [`KUBERNETES_SOURCE`] with another version string: within a minor a patch upgrade exercises
/// the same code of kubeadm, and a second build of the source would cost minutes for no other behaviour.
pub const KUBERNETES_OLD: &str = "1.36.2";

/// The version clusters are upgraded to.
pub const KUBERNETES_NEW: &str = KUBERNETES_SOURCE;

/// Minor of both versions, which names the package repository as upstream does.
pub const KUBERNETES_MINOR: &str = "1.36";

/// Revision of the packages, appended to the version: `1.36.2-1.1`.
pub const PACKAGE_REVISION: &str = "1.1";

/// Version of the `cri-tools` package.
pub const CRI_TOOLS: &str = "1.36.0";

/// Version of the `kubernetes-cni` package.
pub const KUBERNETES_CNI: &str = "1.8.0";

/// Tag kubeadm expects of the etcd image (`kubeadm config images list`).
pub const ETCD_IMAGE_TAG: &str = "3.6.8-0";

/// Tag kubeadm expects of the pause image.
pub const PAUSE_IMAGE_TAG: &str = "3.10.2";

/// Tag of the workload's image.
pub const HTTPD_IMAGE_TAG: &str = "1";

/// Registry name of all images. It resolves nowhere: images are preloaded, so a pull is an error that shows at once.
pub const IMAGE_REPOSITORY: &str = "registry.local";

/// Debian release of the nodes.
pub const DEBIAN_SUITE: &str = "trixie";

/// Version of a package of the Kubernetes release `version`: `1.36.2` gives `1.36.2-1.1`.
pub fn package_version(version: &str) -> String {
    format!("{version}-{PACKAGE_REVISION}")
}

/// Full name of an image: `image("etcd", ETCD_IMAGE_TAG)`.
pub fn image(name: &str, tag: &str) -> String {
    format!("{IMAGE_REPOSITORY}/{name}:{tag}")
}
