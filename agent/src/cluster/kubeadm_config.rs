//! kubeadm's own configuration in the cluster, which a kubelet's credential may read.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use upgrade_core::api::Version;

use super::Cluster;
use super::error::Error;

/// kubeadm's ConfigMap in kube-system.
const NAME: &str = "kubeadm-config";
/// Its key, and the field in the YAML below it.
const KEY: &str = "ClusterConfiguration";
const FIELD: &str = "kubernetesVersion:";

impl Cluster {
    /// The version `kubeadm upgrade apply` last wrote; none if it is absent or names no release.
    ///
    /// # Errors
    /// When the ConfigMap cannot be read.
    pub(super) async fn kubeadm_config_version(&self) -> Result<Option<Version>, Error> {
        let doing = "reading ConfigMap kube-system/kubeadm-config";
        let read =
            |client| async move { Api::<ConfigMap>::namespaced(client, "kube-system").get_opt(NAME).await };
        let map = self.inner.kubelet.call(doing, read).await?;
        Ok(map.as_ref().and_then(|map| map.data.as_ref()?.get(KEY)).and_then(|text| named(text)))
    }
}

/// kubeadm writes this YAML itself, one top-level key a line, so no parser is needed for one scalar.
fn named(configuration: &str) -> Option<Version> {
    let value = configuration.lines().find_map(|line| line.strip_prefix(FIELD))?;
    value.trim().trim_matches(['"', '\'']).parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::arbitrary::{hostile, mangled};

    #[test]
    fn the_version_is_the_top_level_field_and_nothing_else() {
        let text = "apiServer:\n  kubernetesVersion: v1.1.1\nkubernetesVersion: v1.36.2\nnetworking: {}\n";
        assert_eq!(named(text), Some(Version::new(1, 36, 2)));
        assert_eq!(named("kubernetesVersion: \"1.36.3\"\n"), Some(Version::new(1, 36, 3)));
        assert_eq!(named("kubernetesVersion: ci/latest\n"), None);
        assert_eq!(named(""), None);
    }

    proptest! {
        #[test]
        fn a_configuration_in_any_form_names_a_version_or_none(text in prop_oneof![hostile(), mangled(SAMPLE)]) {
            if let Some(version) = named(&text) {
                prop_assert!(text.contains(version.to_string().trim_start_matches('v')));
            }
        }
    }

    const SAMPLE: &str =
        "apiServer:\n  kubernetesVersion: v1.1.1\nkubernetesVersion: v1.36.2\nnetworking: {}\n";
}
