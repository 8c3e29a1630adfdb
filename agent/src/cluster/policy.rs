//! The fleet's policy: ConfigMap `policy`.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use upgrade_core::act::Fault;
use upgrade_core::policy::Policy;

use super::{Cluster, lock};

/// The ConfigMap's name.
const NAME: &str = "policy";

/// The policy in force, and what is wrong with the one that stands in the cluster, if something is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyRead {
    /// What holds now: the ConfigMap's, or the last one that could be read.
    pub policy: Policy,
    /// Why the ConfigMap's does not hold.
    pub invalid: Option<String>,
}

impl Cluster {
    /// Reads the policy. An absent ConfigMap means the defaults; an invalid one leaves the last good one in force.
    ///
    /// # Errors
    /// When it cannot be read; the last good one stays in force.
    pub async fn read_policy(&self) -> Result<PolicyRead, Fault> {
        let namespace = self.inner.settings.namespace.clone();
        let doing = format!("reading ConfigMap {namespace}/{NAME}");
        let map = self
            .inner
            .shared
            .call(&doing, |client| async move {
                Api::<ConfigMap>::namespaced(client, &namespace).get_opt(NAME).await
            })
            .await?;
        let data = map.and_then(|map| map.data).unwrap_or_default();
        let mut last = lock(&self.inner.policy);
        Ok(match Policy::read(&data) {
            Ok(policy) => {
                last.clone_from(&policy);
                PolicyRead { policy, invalid: None }
            }
            Err(why) => PolicyRead {
                policy: last.clone(),
                invalid: Some(format!("ConfigMap {NAME} is not used, the last good policy stays: {why}")),
            },
        })
    }
}
