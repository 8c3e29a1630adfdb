//! The manifests of `packaging/kubernetes`, applied as the README says.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use node_upgrade_agent::cluster::NAMESPACE;
use serde_json::json;
use upgrade_core::api::Policy;

use super::real::Real;
use super::rules::policy_seen;

#[tokio::test]
async fn applying_the_manifests_again_leaves_an_administrators_policy_as_it_is() {
    let Some(real) = Real::begin().await else { return };
    let maps: Api<ConfigMap> = Api::namespaced(real.bench.admin.clone(), NAMESPACE);
    drop(maps.delete("policy", &DeleteParams::default()).await);
    real.control_plane.apply_rbac().unwrap();
    let in_force = || async { policy_seen(&real.bench).await.policy };
    assert_eq!(in_force().await, Policy::default(), "as it comes");
    let pause = Patch::Merge(json!({"data": {"paused": "true"}}));
    maps.patch("policy", &PatchParams::default(), &pause).await.unwrap();
    real.control_plane.apply_rbac().unwrap();
    assert!(in_force().await.paused);
    maps.delete("policy", &DeleteParams::default()).await.unwrap();
}
