//! The fleet's policy: ConfigMap `policy`.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use upgrade_core::act::Fault;
use upgrade_core::api::PolicyRead;
use upgrade_core::api::policy::{CONFIG_MAP, in_force};

use super::{Cluster, lock};

impl Cluster {
    /// Reads the policy. An absent ConfigMap means the defaults; an invalid one leaves the last good one in force.
    ///
    /// # Errors
    /// When it cannot be read; the last good one stays in force.
    pub async fn read_policy(&self) -> Result<PolicyRead, Fault> {
        let namespace = self.inner.settings.namespace.clone();
        let doing = format!("reading ConfigMap {namespace}/{CONFIG_MAP}");
        let map = self
            .inner
            .coordination
            .call(&doing, |client| async move {
                Api::<ConfigMap>::namespaced(client, &namespace).get_opt(CONFIG_MAP).await
            })
            .await?;
        let mut last = lock(&self.inner.policy);
        let read = in_force(&last, map.and_then(|map| map.data).as_ref());
        // The last good one itself where this one is not.
        last.clone_from(&read.policy);
        Ok(read)
    }
}
