//! What the two identities may do: the node authorizer, the NodeRestriction plugin, and the agents' own rules.

use http::Method;
use serde_json::Value;

use super::Who;
use super::answer::Answer;
use super::request::Call;
use super::serve::key;
use super::store::Store;

/// Namespace of Leases and policy.
const NAMESPACE: &str = "node-upgrade-agent";

/// Whether this identity may ask this at all.
pub(super) fn allow(who: &Who, call: &Call, store: &Store) -> Result<(), Answer> {
    let allowed = matches!(call.resource.as_str(), "readyz" | "version")
        || match who {
            Who::Admin => true,
            Who::Kubelet(node) => kubelet_may(node, call, store),
            Who::Agent(_) => agent_may(call),
        };
    if allowed {
        Ok(())
    } else {
        let message = format!("{} is forbidden: {who:?} cannot {} it", call.what(), call.method);
        Err(Answer::forbidden(&message))
    }
}

fn kubelet_may(node: &str, call: &Call, store: &Store) -> bool {
    let named = call.name.as_deref();
    let selects = |wanted: &str| call.query.get("fieldSelector").is_some_and(|fields| fields == wanted);
    match (call.resource.as_str(), &call.method, call.subresource.as_deref()) {
        ("nodes", &Method::GET, None) if named.is_none() => selects(&format!("metadata.name={node}")),
        ("nodes", &Method::GET | &Method::PATCH | &Method::PUT, None)
        | ("nodes", &Method::PATCH | &Method::PUT, Some("status"))
        | ("csinodes", &Method::GET, None) => named == Some(node),
        ("pods", &Method::GET, None) if named.is_none() => selects(&format!("spec.nodeName={node}")),
        // A pod that is gone is forbidden, not absent.
        ("pods", &Method::GET, None) => {
            store.get(&key(call)).is_some_and(|pod| pod["spec"]["nodeName"] == *node)
        }
        // kubeadm lets every node read its own configuration.
        ("configmaps", &Method::GET, None) => {
            call.namespace.as_deref() == Some("kube-system") && named == Some("kubeadm-config")
        }
        ("pods", &Method::POST, Some("eviction"))
        | ("pods", &Method::DELETE, None)
        | ("events", &Method::POST, None)
        | ("certificatesigningrequests", &Method::GET | &Method::POST, None) => true,
        _ => false,
    }
}

fn agent_may(call: &Call) -> bool {
    let here = call.namespace.as_deref();
    match (call.resource.as_str(), &call.method) {
        ("leases", &Method::GET | &Method::POST | &Method::PUT) => here == Some(NAMESPACE),
        ("configmaps", &Method::GET) => {
            let selected =
                call.query.get("fieldSelector").and_then(|fields| fields.strip_prefix("metadata.name="));
            here == Some(NAMESPACE) && call.name.as_deref().or(selected) == Some("policy")
        }
        ("nodes" | "poddisruptionbudgets", &Method::GET) => call.name.is_none(),
        ("pods", &Method::GET) => here == Some("kube-system") && call.name.is_none(),
        _ => false,
    }
}

/// Whether this identity may end this pod: a kubelet those of its own node alone.
pub(super) fn own_pod(who: &Who, call: &Call, pod: &Value) -> Result<(), Answer> {
    match who {
        Who::Kubelet(node) if call.resource == "pods" && pod["spec"]["nodeName"] != **node => {
            let why = format!("node {node:?} can only delete pods with spec.nodeName set to itself");
            Err(Answer::forbidden(&format!("{} is forbidden: {why}", call.what())))
        }
        _ => Ok(()),
    }
}

/// Whether this identity may make this of what stood.
pub(super) fn admit(who: &Who, call: &Call, before: Option<&Value>, after: &Value) -> Result<(), Answer> {
    let untouched = |path: &[&str]| {
        let at = |object: &Value| path.iter().fold(object.clone(), |at, key| at[key].clone());
        before.is_some_and(|before| at(before) == at(after))
    };
    match who {
        Who::Kubelet(node) if call.resource == "nodes" && !untouched(&["spec", "taints"]) => {
            Err(Answer::forbidden(&format!("node {node:?} is not allowed to modify taints")))
        }
        _ => Ok(()),
    }
}
