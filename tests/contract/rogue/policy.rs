//! The admission policy itself.

use k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicy;
use kube::Api;
use kube::runtime::wait::await_condition;
use serde_json::{Value, json};

use super::super::real::Real;
use super::super::test_cluster::ask;
use super::{furnish, must};

#[tokio::test]
async fn the_api_server_finds_no_fault_in_the_policies_types() {
    let Some(real) = Real::begin().await else { return };
    for name in ["node-upgrade-agent-leases", "node-upgrade-agent-nothing-else"] {
        let policies: Api<ValidatingAdmissionPolicy> = Api::all(real.bench.admin.clone());
        let checked = |policy: Option<&ValidatingAdmissionPolicy>| {
            policy.is_some_and(|policy| {
                let observed = policy.status.as_ref().and_then(|status| status.observed_generation);
                observed.is_some() && observed == policy.metadata.generation
            })
        };
        let limit = std::time::Duration::from_secs(30);
        let policy = tokio::time::timeout(limit, await_condition(policies, name, checked)).await;
        let status = policy.unwrap().unwrap().unwrap().status.unwrap();
        let warnings =
            status.type_checking.and_then(|checking| checking.expression_warnings).unwrap_or_default();
        assert!(warnings.is_empty(), "{warnings:#?}");
    }
}

#[tokio::test]
async fn what_rbac_might_grant_by_mistake_the_policy_still_refuses() {
    let Some(real) = Real::begin().await else { return };
    let bench = &real.bench;
    furnish(bench).await;
    let rbac = "/apis/rbac.authorization.k8s.io/v1/namespaces/node-upgrade-agent/rolebindings";
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "mistake"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "node-upgrade-agents"}],
    });
    must(&bench.admin, &format!("POST {rbac}"), &binding, 409).await;
    let maps = "/api/v1/namespaces/node-upgrade-agent/configmaps";
    // Rules reach the authorizer a moment after they are written.
    while ask(&bench.agent, &format!("GET {maps}"), &Value::Null).await.code == 403 {
        tokio::task::yield_now().await;
    }
    let leases = super::holders::LEASES;
    let pause = json!({"data": {"paused": "true"}});
    let free = json!({"spec": {"holderIdentity": null}});
    let mut answers = Vec::new();
    for (line, body) in [
        (format!("PATCH {maps}/policy"), &pause),
        (format!("DELETE {maps}/policy"), &Value::Null),
        (format!("DELETE {maps}"), &Value::Null),
        (format!("DELETE {leases}/control-plane"), &Value::Null),
        (format!("DELETE {leases}"), &Value::Null),
        (format!("PATCH {leases}/slot-0"), &free),
    ] {
        let answer = ask(&bench.agent, &line, body).await;
        answers.push((line, answer));
    }
    must(&bench.admin, &format!("DELETE {rbac}/mistake"), &Value::Null, 404).await;
    while ask(&bench.agent, &format!("GET {maps}"), &Value::Null).await.code != 403 {
        tokio::task::yield_now().await;
    }
    for (line, answer) in answers {
        let refused = answer.code == 403 && answer.message().contains("ValidatingAdmissionPolicy");
        assert!(refused, "{line}: {answer:?}");
    }
}
