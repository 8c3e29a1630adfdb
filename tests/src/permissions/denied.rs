//! What a thief of both credentials of node `n1` is refused.
//!
//! Beside Node `n1` there are Node `n2` with its pod `theirs`, the Lease `slot-0` that `n2` holds, `slot-1` that is free,
//! `control-plane` that `n1` holds, the policy, a Secret, a `CertificateSigningRequest` of `n2` and a
//! `ServiceAccount`.

use super::Guard::{self, NodeAuthorizer, NodeRestriction, Policy, Rbac};
use super::{Attempt, Identity};

const fn kubelet(what: &'static str, guard: Guard, request: &'static str, body: &'static str) -> Attempt {
    Attempt { who: Identity::Kubelet, what, request, body, guard }
}

const fn agent(what: &'static str, guard: Guard, request: &'static str, body: &'static str) -> Attempt {
    Attempt { who: Identity::Coordination, what, request, body, guard }
}

const CORDON: &str = r#"{"spec":{"unschedulable":true}}"#;
const TARGET: &str = r#"{"metadata":{"annotations":{"node-upgrade-agent/target":"v1.99.0"}}}"#;
const READY: &str = r#"{"status":{"conditions":[{"type":"Ready","status":"False"}]}}"#;
const PAUSE: &str = r#"{"data":{"paused":"true"}}"#;
const EVICT: &str =
    r#"{"apiVersion":"policy/v1","kind":"Eviction","metadata":{"name":"theirs","namespace":"default"}}"#;
const OURS: &str = r#"{"spec":{"holderIdentity":"n1/uid/job"}}"#;
const THEIRS: &str = r#"{"metadata":{"labels":{"node-upgrade-agent/held":"true"}},
    "spec":{"holderIdentity":"n2/uid/job"}}"#;
const FREE: &str =
    r#"{"metadata":{"labels":{"node-upgrade-agent/held":"false"}},"spec":{"holderIdentity":null}}"#;
const POD: &str = r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"new"},
    "spec":{"nodeName":"n1","containers":[{"name":"main","image":"registry.example/web:1"}]}}"#;
const CLUSTER_ADMIN: &str = r#"{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"ClusterRoleBinding",
    "metadata":{"name":"mine"},"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole",
    "name":"cluster-admin"},"subjects":[{"apiGroup":"rbac.authorization.k8s.io","kind":"Group","name":"system:nodes"}]}"#;
const TOKEN: &str =
    r#"{"apiVersion":"authentication.k8s.io/v1","kind":"TokenRequest","spec":{"audiences":[]}}"#;
const APPROVE: &str = r#"{"status":{"conditions":[{"type":"Approved","status":"True","reason":"Rogue"}]}}"#;

/// A Lease to create, with this name and holder.
macro_rules! lease {
    ($name:literal, $holder:literal) => {
        concat!(
            r#"{"apiVersion":"coordination.k8s.io/v1","kind":"Lease","metadata":{"name":""#,
            $name,
            r#"","labels":{"node-upgrade-agent/held":"true"},"annotations":{"node-upgrade-agent/protocol":"1"}},"#,
            r#""spec":{"holderIdentity":""#,
            $holder,
            r#""}}"#
        )
    };
}

/// A Lease below the agents' namespace.
macro_rules! on {
    ($method:literal) => {
        concat!($method, " /apis/coordination.k8s.io/v1/namespaces/node-upgrade-agent/leases")
    };
    ($method:literal, $name:literal) => {
        concat!($method, " /apis/coordination.k8s.io/v1/namespaces/node-upgrade-agent/leases/", $name)
    };
}

const OTHER_NODE: &str = "change another Node";
const OTHER_PODS: &str = "evict, delete or change pods of other nodes";
const SECRETS: &str = "read Secrets or get tokens that no pod of the own node uses";
const LEASES: &str = "touch Leases of agents or of other kubelets";
const POLICY: &str = "change the fleet's policy";
const ESCALATE: &str = "grant itself more, or take the admission policy away";
const CERTIFICATES: &str = "approve a CertificateSigningRequest";
const OWN_NODE: &str = "take taints off its Node, or give it labels that isolate workloads";
const TAKE: &str = "take, free or mark a Lease that another node holds";
const NAME_OTHERS: &str = "name another node as the holder of a Lease";
const NAMES: &str = "create other Leases than `control-plane` and `slot-0` to `slot-999`, or free ones";
const META: &str = "leave labels, annotations, owners, finalizers or long texts on a Lease";
const DELETE: &str = "delete a Lease";
const ELSEWHERE: &str = "touch Leases elsewhere, such as the heartbeats of kubelets";
const NODES: &str = "change any Node, its own too";
const PODS: &str = "touch any pod, or read those outside kube-system";
const READ: &str = "read Secrets or ConfigMaps";

/// Every one of these is refused.
pub const DENIED: &[Attempt] = &[
    kubelet(OTHER_NODE, NodeRestriction, "PATCH /api/v1/nodes/n2", CORDON),
    kubelet(OTHER_NODE, NodeRestriction, "PATCH /api/v1/nodes/n2", TARGET),
    kubelet(OTHER_NODE, NodeRestriction, "PATCH /api/v1/nodes/n2/status", READY),
    kubelet(OTHER_NODE, NodeRestriction, "PUT /api/v1/nodes/n2", CORDON),
    kubelet(OTHER_NODE, NodeAuthorizer, "DELETE /api/v1/nodes/n2", ""),
    kubelet(
        OWN_NODE,
        NodeRestriction,
        "PATCH /api/v1/nodes/n1",
        r#"{"spec":{"taints":[{"key":"mine","effect":"NoSchedule"}]}}"#,
    ),
    kubelet(
        OWN_NODE,
        NodeRestriction,
        "PATCH /api/v1/nodes/n1",
        r#"{"metadata":{"labels":{"node-restriction.kubernetes.io/mine":"true"}}}"#,
    ),
    kubelet(
        OWN_NODE,
        NodeRestriction,
        "PATCH /api/v1/nodes/n1",
        r#"{"metadata":{"labels":{"node-role.kubernetes.io/control-plane":""}}}"#,
    ),
    kubelet(OTHER_PODS, NodeRestriction, "POST /api/v1/namespaces/default/pods/theirs/eviction", EVICT),
    kubelet(OTHER_PODS, NodeRestriction, "DELETE /api/v1/namespaces/default/pods/theirs", ""),
    kubelet(OTHER_PODS, NodeRestriction, "PATCH /api/v1/namespaces/default/pods/theirs/status", READY),
    kubelet(
        OTHER_PODS,
        NodeAuthorizer,
        "PATCH /api/v1/namespaces/default/pods/theirs",
        r#"{"metadata":{"labels":{"app":"mine"}}}"#,
    ),
    kubelet("run pods of its own making", NodeRestriction, "POST /api/v1/namespaces/default/pods", POD),
    kubelet(SECRETS, NodeAuthorizer, "GET /api/v1/namespaces/default/secrets/password", ""),
    kubelet(SECRETS, NodeAuthorizer, "GET /api/v1/secrets", ""),
    kubelet(SECRETS, NodeAuthorizer, "POST /api/v1/namespaces/default/serviceaccounts/default/token", TOKEN),
    kubelet(LEASES, NodeAuthorizer, on!("GET"), ""),
    kubelet(LEASES, NodeAuthorizer, on!("POST"), lease!("slot-2", "n1/uid/job")),
    kubelet(LEASES, NodeAuthorizer, on!("PUT", "slot-1"), OURS),
    kubelet(LEASES, NodeAuthorizer, on!("PATCH", "slot-0"), FREE),
    kubelet(LEASES, NodeAuthorizer, on!("DELETE", "slot-0"), ""),
    kubelet(
        LEASES,
        NodeAuthorizer,
        "PATCH /apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n2",
        OURS,
    ),
    kubelet(POLICY, NodeAuthorizer, "PATCH /api/v1/namespaces/node-upgrade-agent/configmaps/policy", PAUSE),
    kubelet(POLICY, NodeAuthorizer, "PUT /api/v1/namespaces/node-upgrade-agent/configmaps/policy", PAUSE),
    kubelet(POLICY, NodeAuthorizer, "DELETE /api/v1/namespaces/node-upgrade-agent/configmaps/policy", ""),
    kubelet(
        "change disruption budgets",
        NodeAuthorizer,
        "PATCH /apis/policy/v1/namespaces/default/poddisruptionbudgets/budget",
        r#"{"spec":{"minAvailable":0}}"#,
    ),
    kubelet(
        CERTIFICATES,
        NodeAuthorizer,
        "PATCH /apis/certificates.k8s.io/v1/certificatesigningrequests/of-n2/approval",
        APPROVE,
    ),
    kubelet(
        ESCALATE,
        NodeAuthorizer,
        "POST /apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
        CLUSTER_ADMIN,
    ),
    kubelet(
        ESCALATE,
        NodeAuthorizer,
        "DELETE /apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies/node-upgrade-agent-leases",
        "",
    ),
    agent(TAKE, Policy, on!("PUT", "slot-0"), OURS),
    agent(TAKE, Policy, on!("PUT", "slot-0"), FREE),
    agent(
        TAKE,
        Policy,
        on!("PUT", "slot-0"),
        r#"{"metadata":{"annotations":{"node-upgrade-agent/degraded":"says n1"}}}"#,
    ),
    agent(TAKE, Policy, on!("PUT", "slot-0"), r#"{"spec":{"renewTime":"2026-01-01T00:00:00.000000Z"}}"#),
    agent(NAME_OTHERS, Policy, on!("PUT", "slot-1"), THEIRS),
    agent(NAME_OTHERS, Policy, on!("PUT", "control-plane"), THEIRS),
    agent(NAME_OTHERS, Policy, on!("POST"), lease!("slot-2", "n2/uid/job")),
    agent(NAME_OTHERS, Policy, on!("PUT", "slot-2"), lease!("slot-2", "n2/uid/job")),
    agent(NAMES, Policy, on!("POST"), lease!("slot-1000", "n1/uid/job")),
    agent(NAMES, Policy, on!("POST"), lease!("slot-02", "n1/uid/job")),
    agent(NAMES, Policy, on!("POST"), lease!("mine", "n1/uid/job")),
    agent(
        NAMES,
        Policy,
        on!("POST"),
        r#"{"apiVersion":"coordination.k8s.io/v1","kind":"Lease","metadata":{"generateName":"slot-",
        "labels":{"node-upgrade-agent/held":"true"},"annotations":{"node-upgrade-agent/protocol":"1"}},
        "spec":{"holderIdentity":"n1/uid/job"}}"#,
    ),
    agent(
        NAMES,
        Policy,
        on!("POST"),
        r#"{"apiVersion":"coordination.k8s.io/v1","kind":"Lease","metadata":{"name":"slot-2",
        "labels":{"node-upgrade-agent/held":"false"},"annotations":{"node-upgrade-agent/protocol":"1"}}}"#,
    ),
    agent(META, Policy, on!("PUT", "control-plane"), r#"{"metadata":{"labels":{"mine":"true"}}}"#),
    agent(META, Policy, on!("PUT", "control-plane"), r#"{"metadata":{"labels":{"theirs":null}}}"#),
    agent(META, Policy, on!("PUT", "control-plane"), r#"{"metadata":{"annotations":{"mine":"true"}}}"#),
    agent(META, Policy, on!("PUT", "control-plane"), r#"{"metadata":{"finalizers":["example.com/mine"]}}"#),
    agent(
        META,
        Policy,
        on!("PUT", "control-plane"),
        r#"{"metadata":{"ownerReferences":[{"apiVersion":"v1","kind":"Node","name":"n1","uid":"u"}]}}"#,
    ),
    agent(
        META,
        Policy,
        on!("PUT", "control-plane"),
        r#"{"metadata":{"labels":{"node-upgrade-agent/held":"false"}}}"#,
    ),
    agent(
        META,
        Policy,
        on!("PUT", "control-plane"),
        r#"{"metadata":{"annotations":{"node-upgrade-agent/protocol":"2"}}}"#,
    ),
    agent(
        META,
        Policy,
        on!("PUT", "slot-1"),
        r#"{"metadata":{"annotations":{"node-upgrade-agent/degraded":"of nobody"}}}"#,
    ),
    agent(
        META,
        Policy,
        on!("PUT", "control-plane"),
        r#"{"metadata":{"annotations":{"node-upgrade-agent/applied":"v1.36.3; all is well"}}}"#,
    ),
    agent(
        META,
        Policy,
        on!("PUT", "control-plane"),
        r#"{"metadata":{"annotations":{"node-upgrade-agent/applied":"v1.36.3"},
        "labels":{"node-upgrade-agent/held":"false"}},"spec":{"holderIdentity":null}}"#,
    ),
    agent(
        META,
        Policy,
        on!("PUT", "slot-1"),
        r#"{"metadata":{"annotations":{"node-upgrade-agent/applied":"v1.36.3"},
        "labels":{"node-upgrade-agent/held":"true"}},"spec":{"holderIdentity":"n1/uid/job"}}"#,
    ),
    agent(DELETE, Rbac, on!("DELETE", "control-plane"), ""),
    agent(DELETE, Rbac, on!("DELETE"), ""),
    agent(ELSEWHERE, Rbac, "GET /apis/coordination.k8s.io/v1/namespaces/kube-system/leases", ""),
    agent(
        ELSEWHERE,
        Rbac,
        "POST /apis/coordination.k8s.io/v1/namespaces/default/leases",
        lease!("slot-0", "n1/uid/job"),
    ),
    agent(ELSEWHERE, Rbac, "PATCH /apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n2", OURS),
    agent(POLICY, Rbac, "PUT /api/v1/namespaces/node-upgrade-agent/configmaps/policy", PAUSE),
    agent(POLICY, Rbac, "PATCH /api/v1/namespaces/node-upgrade-agent/configmaps/policy", PAUSE),
    agent(POLICY, Rbac, "DELETE /api/v1/namespaces/node-upgrade-agent/configmaps/policy", ""),
    agent(
        POLICY,
        Rbac,
        "POST /api/v1/namespaces/node-upgrade-agent/configmaps",
        r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"policy"},"data":{"paused":"true"}}"#,
    ),
    agent(NODES, Rbac, "PATCH /api/v1/nodes/n1", CORDON),
    agent(NODES, Rbac, "PATCH /api/v1/nodes/n2", CORDON),
    agent(NODES, Rbac, "PATCH /api/v1/nodes/n2/status", READY),
    agent(NODES, Rbac, "DELETE /api/v1/nodes/n2", ""),
    agent(PODS, Rbac, "GET /api/v1/namespaces/default/pods", ""),
    agent(PODS, Rbac, "DELETE /api/v1/namespaces/default/pods/theirs", ""),
    agent(PODS, Rbac, "POST /api/v1/namespaces/default/pods/theirs/eviction", EVICT),
    agent(PODS, Rbac, "POST /api/v1/namespaces/default/pods", POD),
    agent(PODS, Rbac, "GET /api/v1/namespaces/kube-system/pods/etcd-n2/log", ""),
    agent(PODS, Rbac, "DELETE /api/v1/namespaces/kube-system/pods/etcd-n2", ""),
    agent(READ, Rbac, "GET /api/v1/secrets", ""),
    agent(READ, Rbac, "GET /api/v1/namespaces/default/secrets/password", ""),
    agent(READ, Rbac, "GET /api/v1/namespaces/kube-system/configmaps/kubeadm-config", ""),
    agent(READ, Rbac, "GET /api/v1/namespaces/node-upgrade-agent/configmaps", ""),
    agent(
        READ,
        Rbac,
        "GET /api/v1/namespaces/node-upgrade-agent/configmaps?fieldSelector=metadata.name%3Dkube-root-ca.crt",
        "",
    ),
    agent(
        CERTIFICATES,
        Rbac,
        "PATCH /apis/certificates.k8s.io/v1/certificatesigningrequests/of-n2/approval",
        APPROVE,
    ),
    agent(
        "write Events",
        Rbac,
        "POST /api/v1/namespaces/default/events",
        r#"{"apiVersion":"v1","kind":"Event","metadata":{"name":"e"},"involvedObject":{"kind":"Node","name":"n2"}}"#,
    ),
    agent(ESCALATE, Rbac, "POST /apis/rbac.authorization.k8s.io/v1/clusterrolebindings", CLUSTER_ADMIN),
    agent(
        ESCALATE,
        Rbac,
        "PATCH /apis/rbac.authorization.k8s.io/v1/namespaces/node-upgrade-agent/roles/node-upgrade-agent",
        r#"{"rules":[]}"#,
    ),
    agent(
        ESCALATE,
        Rbac,
        "DELETE /apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies/node-upgrade-agent-leases",
        "",
    ),
];
