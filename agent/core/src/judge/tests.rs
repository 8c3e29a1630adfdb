//! Small pieces of a fleet for the tests of rules: two control-plane nodes and two workers, on the way to one patch.

use std::collections::BTreeSet;

use crate::api::{Check, Holder, InHand, LeaseName, PackageVersion, TurnId, TurnKind, Version};
use crate::memory::{Packages, Plan};
use crate::observed::{
    ContainerSeen, ControlPlanePod, EtcdSeen, FleetLease, FleetNode, FleetSeen, HostSeen, LocalControlPlane,
    PackageSeen, PodSeen, UnitSeen,
};
use crate::time::Mono;

use super::claim::Claimant;
use super::control_plane::{ETCD, STATIC_PODS};

pub(crate) const OLD: Version = Version::new(1, 36, 2);
pub(crate) const NEW: Version = Version::new(1, 36, 3);
pub(crate) const NEWER: Version = Version::new(1, 36, 4);
pub(crate) const NEXT_MINOR: Version = Version::new(1, 37, 0);

pub(crate) static NOTHING: BTreeSet<Check> = BTreeSet::new();

pub(crate) fn holder(node: &str) -> Holder {
    Holder { node: node.into(), uid: format!("uid-{node}"), turn: TurnId("j1".into()) }
}

/// A node that serves at the old version and has the new one as its target.
pub(crate) fn node(name: &str) -> FleetNode {
    FleetNode {
        name: name.into(),
        uid: format!("uid-{name}"),
        ready: true,
        target: Some(NEW),
        current: Some(OLD),
        kubelet: Some(OLD),
        ..FleetNode::default()
    }
}

/// A control-plane node that is done.
pub(crate) fn plane_node(name: &str) -> FleetNode {
    FleetNode { control_plane: true, current: Some(NEW), kubelet: Some(NEW), ..node(name) }
}

/// The control-plane pods of a node with stacked etcd.
pub(crate) fn fleet_pods(node: &str, version: Version) -> Vec<ControlPlanePod> {
    let pod = |component: &str, version| ControlPlanePod {
        node: node.into(),
        component: component.into(),
        version,
        ready: true,
        hash: Some(format!("hash-{node}")),
    };
    STATIC_PODS.iter().map(|component| pod(component, Some(version))).chain([pod(ETCD, None)]).collect()
}

pub(crate) fn held(name: LeaseName, by: &str) -> FleetLease {
    FleetLease { name, holder: Some(holder(by).to_string()), mark: None, applied: None }
}

/// The mark of a turn at work.
pub(crate) fn at_work(turn: TurnKind, to: Version) -> InHand {
    InHand { turn: Some(turn), to: Some(to), ..InHand::default() }
}

/// A fleet in which nothing bars anybody: `cp1`, `cp2`, `w1`, `w2`, in this order.
pub(crate) fn fleet() -> FleetSeen {
    FleetSeen {
        nodes: vec![plane_node("cp1"), plane_node("cp2"), node("w1"), node("w2")],
        pods: [fleet_pods("cp1", NEW), fleet_pods("cp2", NEW)].concat(),
        kubeadm_config: Some(NEW),
        ..FleetSeen::default()
    }
}

/// This host's control plane with a whole stacked etcd of two members.
pub(crate) fn local() -> LocalControlPlane {
    let etcd = Some(EtcdSeen { healthy: true, members: members(2), ..EtcdSeen::default() });
    LocalControlPlane { api_server_ready: true, etcd, ..LocalControlPlane::default() }
}

/// `w1`, which wants its only turn.
pub(crate) fn worker() -> Claimant<'static> {
    Claimant {
        node: "w1",
        kind: TurnKind::Kubelet,
        control_plane: false,
        serves: true,
        lease: LeaseName::Slot(0),
        target: NEW,
        drains: true,
        own_server: false,
        skip: &NOTHING,
    }
}

/// `cp1`, which wants turn A.
pub(crate) fn turn_a() -> Claimant<'static> {
    Claimant { kind: TurnKind::ControlPlane, ..turn_b() }
}

/// `cp1`, which wants turn B.
pub(crate) fn turn_b() -> Claimant<'static> {
    Claimant { node: "cp1", control_plane: true, lease: LeaseName::ControlPlane, ..worker() }
}

/// A static pod that is Ready, as its kubelet mirrors it.
pub(crate) fn static_pod(component: &str, version: &str) -> PodSeen {
    let image = format!("registry.k8s.io/{component}:{version}");
    PodSeen {
        namespace: "kube-system".into(),
        labels: [("component".into(), component.into())].into(),
        mirror: true,
        ready: true,
        containers: vec![ContainerSeen { name: component.into(), image, ready: true }],
        ..PodSeen::default()
    }
}

/// The three static pods of a node that carry the Kubernetes version.
pub(crate) fn static_pods(version: Version) -> Vec<PodSeen> {
    STATIC_PODS.iter().map(|component| static_pod(component, &version.to_string())).collect()
}

/// The packages of a version.
pub(crate) fn packages(version: Version) -> Packages {
    let package = package(version);
    Packages { kubeadm: package.clone(), kubelet: package.clone(), kubectl: Some(package) }
}

fn package(version: Version) -> PackageVersion {
    let Version { major, minor, patch } = version;
    format!("{major}.{minor}.{patch}-1.1").parse().unwrap()
}

/// From the old version to the new one.
pub(crate) fn plan(control_plane: bool) -> Plan {
    Plan {
        from: packages(OLD),
        to: packages(NEW),
        target: NEW,
        can_restore_packages: true,
        daemon_sets: BTreeSet::new(),
        csi_drivers: BTreeSet::new(),
        control_plane,
        static_pods: control_plane.then_some(OLD),
        kubeadm_config: Some(OLD),
        found_down: false,
        own_server: false,
    }
}

/// A host with these packages, held, whose kubelet runs.
pub(crate) fn host(kubeadm: Version, kubelet: Version) -> HostSeen {
    let seen = |version| PackageSeen { version: package(version), configured: true, held: true };
    HostSeen {
        packages: [("kubeadm", kubeadm), ("kubelet", kubelet), ("kubectl", kubelet)]
            .map(|(name, version)| (name.to_owned(), seen(version)))
            .into(),
        kubelet: UnitSeen { active: true, invocation: "before".into(), since: Mono::default() },
        instance_config: true,
        ..HostSeen::default()
    }
}

/// The members of an etcd of so many.
pub(crate) fn members(count: usize) -> BTreeSet<String> {
    (1..=count).map(|number| format!("cp{number}")).collect()
}
