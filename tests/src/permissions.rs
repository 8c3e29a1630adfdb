//! What the two identities of a node's agent may do: one list, which `docs/security.md` shows and the contract suite tries.
//!
//! - [`NEEDED`]: what the agent asks for. RBAC grants the coordination identity exactly that.
//! - [`DENIED`]: what somebody who has stolen both credentials of node `n1` is refused.
//! - [`granted`]: what a cluster's RBAC grants; what an audit log shows to have been asked.

mod denied;
pub mod granted;

use std::fmt;

pub use denied::DENIED;

/// The two credentials of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Identity {
    /// `system:node:NODE`, group `system:nodes`.
    Kubelet,
    /// `node-upgrade-agent:NODE`, group `node-upgrade-agents`.
    Coordination,
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kubelet => "kubelet's",
            Self::Coordination => "coordination",
        })
    }
}

/// A kind of request the agent makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Need {
    /// With which credential.
    pub who: Identity,
    /// Verb, as RBAC and the audit log spell it.
    pub verb: &'static str,
    /// Resource with its API group and subresource: `leases.coordination.k8s.io`, `pods/eviction`.
    pub resource: &'static str,
    /// Namespace; empty for all, or for none.
    pub namespace: &'static str,
    /// Name, where only one is asked for.
    pub name: &'static str,
    /// What for.
    pub why: &'static str,
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb, self.resource)?;
        match (self.namespace, self.name) {
            ("", _) => Ok(()),
            (namespace, "") => write!(f, " in {namespace}"),
            (namespace, name) => write!(f, " {namespace}/{name}"),
        }
    }
}

const fn coordination(
    verb: &'static str,
    resource: &'static str,
    namespace: &'static str,
    why: &'static str,
) -> Need {
    Need { who: Identity::Coordination, verb, resource, namespace, name: "", why }
}

const fn policy(verb: &'static str, why: &'static str) -> Need {
    Need { who: Identity::Coordination, verb, resource: "configmaps", namespace: HERE, name: "policy", why }
}

const fn kubelet(
    verb: &'static str,
    resource: &'static str,
    namespace: &'static str,
    name: &'static str,
    why: &'static str,
) -> Need {
    Need { who: Identity::Kubelet, verb, resource, namespace, name, why }
}

const LEASES: &str = "leases.coordination.k8s.io";
const CERTIFICATES: &str = "certificatesigningrequests.certificates.k8s.io";
const HERE: &str = "node-upgrade-agent";

/// Everything the agent asks an API server for.
pub const NEEDED: &[Need] = &[
    coordination("get", LEASES, HERE, "read before a compare-and-swap"),
    coordination("list", LEASES, HERE, "who is at it"),
    coordination("watch", LEASES, HERE, "waiting for one's turn"),
    coordination("create", LEASES, HERE, "an absent Lease is a free one"),
    coordination("update", LEASES, HERE, "claim, renew, mark, give back"),
    policy("get", "the fleet's policy, before a claim"),
    policy("list", "the fleet's policy"),
    policy("watch", "the fleet's policy, while a node has a target or a turn"),
    coordination("list", "nodes", "", "the budget: who is out of service"),
    coordination("watch", "nodes", "", "the control plane goes first"),
    coordination("list", "poddisruptionbudgets.policy", "", "which budgets cover the own pods"),
    coordination("list", "pods", "kube-system", "what every API server runs"),
    kubelet("get", "nodes", "", "", "the own Node, before a fenced patch"),
    kubelet("list", "nodes", "", "", "the own Node"),
    kubelet("watch", "nodes", "", "", "the own Node"),
    kubelet("patch", "nodes", "", "", "the cordon, and the notes beside it"),
    kubelet("patch", "nodes/status", "", "", "reports: annotations and the condition `Upgraded`"),
    kubelet("list", "pods", "", "", "the pods of the own node, its API server's among them"),
    kubelet("watch", "pods", "", "", "the pods of the own node, in a drain"),
    kubelet("create", "pods/eviction", "", "", "the drain"),
    kubelet("delete", "pods", "", "", "the drain, where eviction is disabled"),
    kubelet("get", "csinodes.storage.k8s.io", "", "", "CSI drivers must be registered again"),
    kubelet("get", "configmaps", "kube-system", "kubeadm-config", "the verb of `kubeadm upgrade`"),
    kubelet("create", CERTIFICATES, "", "", "enrolment, and renewal"),
    kubelet("get", CERTIFICATES, "", "", "what became of the own request"),
    kubelet("list", CERTIFICATES, "", "", "waiting for the approval of the own request"),
    kubelet("watch", CERTIFICATES, "", "", "waiting for the approval of the own request"),
    kubelet("create", "events", "default", "", "what people see in `kubectl describe node`"),
];

/// What stops a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guard {
    /// Nobody granted it.
    Rbac,
    /// The node authorizer, or RBAC after it.
    NodeAuthorizer,
    /// The admission plugin that confines kubelets to their own node.
    NodeRestriction,
    /// `packaging/kubernetes/admission.yaml`.
    Policy,
}

impl fmt::Display for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rbac => "RBAC",
            Self::NodeAuthorizer => "node authorizer",
            Self::NodeRestriction => "NodeRestriction",
            Self::Policy => "admission policy",
        })
    }
}

/// A request that is refused.
#[derive(Debug, Clone, Copy)]
pub struct Attempt {
    /// With which of the credentials of `n1`.
    pub who: Identity,
    /// What a thief would have of it.
    pub what: &'static str,
    /// Method and path.
    pub request: &'static str,
    /// JSON: a merge patch of what stands, where the method is PUT; empty for none.
    pub body: &'static str,
    /// What refuses it.
    pub guard: Guard,
}

/// The rows of a table of `docs/security.md` about this identity's needs.
pub fn rows_of_needs(who: Identity) -> Vec<String> {
    NEEDED.iter().filter(|need| need.who == who).map(|need| format!("| `{need}` | {} |", need.why)).collect()
}

/// The rows of the table of what is refused: several requests can be one row.
pub fn rows_of_denials() -> Vec<String> {
    let mut rows: Vec<String> = Vec::new();
    for attempt in DENIED {
        let row = format!("| {} | {} | {} |", attempt.what, attempt.who, attempt.guard);
        if !rows.contains(&row) {
            rows.push(row);
        }
    }
    rows
}
