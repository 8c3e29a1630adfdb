//! The keys of the Node's annotations: the one place where they stand.

use std::collections::BTreeMap;

/// What every annotation of ours begins with.
pub const PREFIX: &str = "node-upgrade-agent/";
/// Written by people: the version this node shall run.
pub const TARGET: &str = "node-upgrade-agent/target";
/// Written by people: any new value makes a degraded or refused node try again.
pub const RETRY: &str = "node-upgrade-agent/retry";
/// Written by people: names of preflight checks to pass over, separated by commas or spaces.
pub const SKIP_CHECKS: &str = "node-upgrade-agent/skip-checks";
/// Written by people: this node counts in no gate and no budget.
pub const IGNORE: &str = "node-upgrade-agent/ignore";
/// Written by the agent: the version last verified to run in service.
pub const CURRENT: &str = "node-upgrade-agent/current";
/// Written by the agent: the phase it is in.
pub const PHASE: &str = "node-upgrade-agent/phase";
/// Written by the agent: one JSON object, see [`super::Report`].
pub const STATUS: &str = "node-upgrade-agent/status";
/// Written by the agent together with its cordon: whether somebody else had cordoned the node before.
pub const FOUND_CORDONED: &str = "node-upgrade-agent/found-cordoned";
/// Written by the agent: which turn is at work on this node, see [`crate::api::InHand`].
pub const IN_HAND: &str = "node-upgrade-agent/in-hand";
/// Written by the agent of a control-plane node: what its API server runs, see [`crate::api::ApiServerNote`].
pub const API_SERVER: &str = "node-upgrade-agent/api-server";
/// Written by kubeadm: the socket of the container runtime. Up to Kubernetes 1.36 `upload-config` takes it away, and the next run
/// wants it unless /var/lib/kubelet/instance-config.yaml is there.
pub const CRI_SOCKET: &str = "kubeadm.alpha.kubernetes.io/cri-socket";
/// On the Lease `control-plane`: the version for which `kubeadm upgrade apply` has ended well.
pub const APPLIED: &str = "node-upgrade-agent/applied";
/// Type of the Node condition the agent keeps.
pub const CONDITION: &str = "Upgraded";

/// Whether a switch-like annotation is on: present, and not `false`.
pub fn is_on(annotations: &BTreeMap<String, String>, key: &str) -> bool {
    annotations.get(key).is_some_and(|value| value != "false")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_switch_is_on_with_any_value_but_false() {
        let with = |values: &[&str]| -> BTreeMap<String, String> {
            values.iter().map(|value| (IGNORE.to_owned(), (*value).to_owned())).collect()
        };
        assert!(is_on(&with(&[""]), IGNORE));
        assert!(!is_on(&with(&["false"]), IGNORE));
        assert!(!is_on(&with(&[]), IGNORE));
    }
}
