//! The cluster a run begins with.

use upgrade_core::api::Version;

/// A cluster: `cp1`, `cp2`, … and `w1`, `w2`, …, all at one version, each with an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "properties of a cluster that do not depend on each other")]
pub struct Setup {
    /// How many control-plane nodes.
    pub control_planes: usize,
    /// How many workers.
    pub workers: usize,
    /// What runs.
    pub from: Version,
    /// What everybody is asked to run, unless [`Setup::unasked`].
    pub target: Version,
    /// Which API server the kubelets of control-plane nodes talk to.
    pub endpoint: Endpoint,
    /// Whether the kubelet package's scripts restart kubelet.
    pub package_restarts: bool,
    /// Whether all workers carry a taint that no pod of kubeadm's tolerates.
    pub tainted_workers: bool,
    /// Whether a disruption budget wants all but one of the pods that drains move.
    pub budget: bool,
    /// How many nodes may be out of service at once: the policy's `maxUnavailable`, where it is more than one.
    pub slots: usize,
    /// Whether nodes are upgraded without a drain (`[drain] enabled = false`).
    pub undrained: bool,
    /// Whether the hosts use cgroup v1, which newer kubelets refuse.
    pub cgroup_v1: bool,
    /// Whether nobody annotates anything: then the schedule's people do.
    pub unasked: bool,
    /// How long after a restart of kubelet containers are probed anew, in milliseconds: until then the kubelet carries over what
    /// it knew.
    pub probed: u64,
    /// Seeds what is left to chance, such as where pods go.
    pub seed: u64,
}

/// Which API server the kubelet of a control-plane node talks to (kubelet.conf).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoint {
    /// A balancer's, as kubeadm left it before 1.36: whichever API server is ready answers.
    Shared,
    /// Its own, as kubeadm 1.36 writes it.
    Local,
}

impl Setup {
    /// One control-plane node and one worker, a patch ahead.
    pub const fn small() -> Self {
        Self {
            control_planes: 1,
            workers: 1,
            from: Version::new(1, 36, 2),
            target: Version::new(1, 36, 3),
            endpoint: Endpoint::Local,
            package_restarts: false,
            tainted_workers: false,
            budget: false,
            slots: 1,
            undrained: false,
            cgroup_v1: false,
            unasked: false,
            probed: 4_000,
            seed: 1,
        }
    }

    /// The names of all nodes, control plane first.
    pub fn nodes(&self) -> Vec<String> {
        let planes = (1..=self.control_planes).map(|number| format!("cp{number}"));
        planes.chain((1..=self.workers).map(|number| format!("w{number}"))).collect()
    }

    /// The patch after the target.
    pub const fn next(&self) -> Version {
        Version { patch: self.target.patch + 1, ..self.target }
    }
}
