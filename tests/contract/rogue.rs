//! What somebody with a node's two credentials can do to the rest of the cluster, at the real API server with the real
//! manifests: nothing but halt upgrades.

mod holders;
mod policy;

use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use kube::{Api, Client, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use upgrade_tests::api::merge;
use upgrade_tests::permissions::{Attempt, DENIED, Guard, Identity, granted};

use super::real::Real;
use super::test_cluster::{OTHER, OWN, TestCluster, Wire, ask};

/// What [`DENIED`] is about.
async fn furnish(bench: &TestCluster) {
    furnish_leases(bench).await;
    bench.make_pod("theirs", OTHER, "ReplicaSet").await;
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "password"}});
    let secrets = "/api/v1/namespaces/default/secrets";
    must(&bench.admin, &format!("POST {secrets}"), &secret, 409).await;
    let policy = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "policy"}});
    must(&bench.admin, "POST /api/v1/namespaces/node-upgrade-agent/configmaps", &policy, 409).await;
    let request = json!({
        "apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", "metadata": {"name": "of-n2"},
        "spec": {"request": REQUEST, "signerName": "kubernetes.io/kube-apiserver-client", "usages": ["client auth"]},
    });
    must(&bench.admin, "POST /apis/certificates.k8s.io/v1/certificatesigningrequests", &request, 409).await;
}

/// One Lease of another node, one of nobody, one of our own.
async fn furnish_leases(bench: &TestCluster) {
    let held = |held: bool| json!({"node-upgrade-agent/held": held.to_string(), "theirs": "true"});
    let notes = json!({"node-upgrade-agent/protocol": "1"});
    for (name, holder) in [("slot-0", OTHER), ("slot-1", ""), ("control-plane", OWN)] {
        let metadata = json!({"name": name, "labels": held(!holder.is_empty()), "annotations": notes});
        let spec = if holder.is_empty() {
            json!({})
        } else {
            json!({"holderIdentity": format!("{holder}/uid/job")})
        };
        bench.make_lease(&metadata, &spec).await;
    }
}

/// A certificate signing request for `node-upgrade-agent:n2`, which nobody signs here.
const REQUEST: &str = include_str!("rogue/request.pem.base64");

/// Asks, and takes this other answer too.
async fn must(client: &Client, line: &str, body: &Value, or: u16) -> Wire {
    let answer = ask(client, line, body).await;
    assert!((200..300).contains(&answer.code) || answer.code == or, "{line}: {answer:?}");
    answer
}

/// Makes an attempt, and says how it was answered.
async fn attempt(bench: &TestCluster, attempt: &Attempt) -> Wire {
    let client = match attempt.who {
        Identity::Kubelet => &bench.kubelet,
        Identity::Coordination => &bench.agent,
    };
    let mut body =
        if attempt.body.is_empty() { Value::Null } else { serde_json::from_str(attempt.body).unwrap() };
    if let Some(path) = attempt.request.strip_prefix("PUT ") {
        body = changed(&bench.admin, path, &body).await;
    }
    ask(client, attempt.request, &body).await
}

/// What stands at this path, changed by a merge patch; the patch itself where nothing stands.
async fn changed(admin: &Client, path: &str, change: &Value) -> Value {
    let standing = ask(admin, &format!("GET {path}"), &Value::Null).await;
    if standing.code == 404 {
        return change.clone();
    }
    let mut object = standing.body;
    merge(&mut object, change);
    object
}

fn words(guard: Guard) -> &'static [&'static str] {
    match guard {
        Guard::Rbac | Guard::NodeAuthorizer => &[" cannot "],
        Guard::NodeRestriction => {
            &["is not allowed to", "can only", "only allowed to", "pod does not exist", "not bound"]
        }
        Guard::Policy => &["ValidatingAdmissionPolicy 'node-upgrade-agent-leases'"],
    }
}

#[tokio::test]
async fn a_thief_of_one_nodes_credentials_is_refused_everything_on_the_list() {
    let Some(real) = Real::begin().await else { return };
    furnish(&real.bench).await;
    let mut wrong = Vec::new();
    for tried in DENIED {
        let answer = attempt(&real.bench, tried).await;
        let guard = words(tried.guard).iter().any(|words| answer.message().contains(words));
        if answer.code != 403 || !guard {
            wrong.push(format!("{tried:?}\n    {} {}", answer.code, answer.message()));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), DENIED.len(), wrong.join("\n"));
}

#[tokio::test]
async fn what_is_refused_to_an_agent_is_allowed_to_an_administrator() {
    let Some(real) = Real::begin().await else { return };
    let policies = DENIED.iter().filter(|tried| tried.guard == Guard::Policy);
    for tried in policies {
        let admin = &real.bench.admin;
        for lease in ["slot-0", "slot-1", "slot-2", "control-plane"] {
            ask(admin, &format!("DELETE {}/{lease}", holders::LEASES), &Value::Null).await;
        }
        furnish_leases(&real.bench).await;
        let (method, path) = tried.request.split_once(' ').unwrap();
        let mut body = serde_json::from_str(tried.body).unwrap();
        if method == "PUT" {
            body = changed(admin, path, &body).await;
        }
        must(admin, &format!("{method} {path}?dryRun=All"), &body, 201).await;
    }
}

/// Everything RBAC grants, as one list.
async fn all_rules(admin: &Client) -> Value {
    let mut items = Vec::new();
    items.extend(list::<Role>(admin, "Role").await);
    items.extend(list::<RoleBinding>(admin, "RoleBinding").await);
    items.extend(list::<ClusterRole>(admin, "ClusterRole").await);
    items.extend(list::<ClusterRoleBinding>(admin, "ClusterRoleBinding").await);
    json!({ "items": items })
}

async fn list<K>(admin: &Client, kind: &str) -> Vec<Value>
where
    K: kube::Resource<DynamicType = ()> + Clone + DeserializeOwned + Serialize + std::fmt::Debug,
{
    let all = Api::<K>::all(admin.clone()).list(&kube::api::ListParams::default()).await.unwrap();
    let named = |object: K| {
        assert!(!object.name_any().is_empty());
        let mut value = serde_json::to_value(object).unwrap();
        // A list says it once for all of them.
        value["kind"] = kind.into();
        value
    };
    all.items.into_iter().map(named).collect()
}

#[tokio::test]
async fn agents_are_granted_exactly_what_they_ask_for() {
    let Some(real) = Real::begin().await else { return };
    let granted = granted::granted(&all_rules(&real.bench.admin).await).unwrap();
    let needed = granted::needed();
    let beyond: Vec<_> = granted.difference(&needed).collect();
    let missing: Vec<_> = needed.difference(&granted).collect();
    assert!(beyond.is_empty() && missing.is_empty(), "granted beyond: {beyond:?}; not granted: {missing:?}");
}
