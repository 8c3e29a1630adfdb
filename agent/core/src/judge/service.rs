//! Whether a node serves again at its target (design section 4): everything `verifying` wants.

use core::time::Duration;
use std::collections::BTreeSet;

use crate::api::Version;
use crate::memory::Plan;
use crate::observed::{HostSeen, LocalControlPlane, NodeSeen, PodSeen, PodsSeen, Ready};
use crate::time::{Now, Unix};

/// The static pods of a kubeadm control plane that carry the Kubernetes version.
pub const STATIC_PODS: [&str; 3] = ["kube-apiserver", "kube-controller-manager", "kube-scheduler"];

/// How long a node must have served before it counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// How long kubelet must have run without another restart.
    pub soak: Duration,
    /// The fleet's `minReadySeconds`.
    pub min_ready: Duration,
}

/// What the Node object still lacks, judged without asking anybody else.
pub fn node_lacks(plan: &Plan, node: &NodeSeen, kubelet_since: Unix) -> Option<String> {
    if node.kubelet != Some(plan.target) {
        let reports = node.kubelet.map_or_else(|| "no release".to_owned(), |version| version.to_string());
        return Some(format!("kubelet reports {reports}, not {}", plan.target));
    }
    if node.ready != Ready::True {
        return Some("the Node is not Ready".to_owned());
    }
    (node.heartbeat < kubelet_since).then(|| "the Node's Ready is older than kubelet's restart".to_owned())
}

/// What kubelet's unit still lacks: active, and not restarted for the soak time.
pub fn unit_lacks(host: &HostSeen, patience: Patience, now: Now) -> Option<String> {
    if !host.kubelet.active {
        return Some("kubelet.service is not active".to_owned());
    }
    let runs = now.unix.since(host.kubelet.since);
    let wanted = patience.soak.max(patience.min_ready);
    (runs < wanted).then(|| format!("kubelet has run for {} s of {} s", runs.as_secs(), wanted.as_secs()))
}

/// What the pods of this node still lack: static pods at the target, DaemonSet pods and CSI drivers back.
pub fn pods_lack(plan: &Plan, seen: &PodsSeen) -> Option<String> {
    if plan.command.is_control_plane()
        && let Some(lack) =
            STATIC_PODS.iter().find_map(|name| static_pod_lacks(name, plan.target, &seen.pods))
    {
        return Some(lack);
    }
    let ready = daemon_sets(&seen.pods);
    let mut missing: Vec<&str> = plan.daemon_sets.difference(&ready).map(String::as_str).collect();
    if !missing.is_empty() {
        return Some(format!("DaemonSet pods are not Ready again: {}", missing.join(", ")));
    }
    missing = plan.csi_drivers.difference(&seen.csi_drivers).map(String::as_str).collect();
    (!missing.is_empty()).then(|| format!("CSI drivers are not registered again: {}", missing.join(", ")))
}

/// What the control plane on this host still lacks.
pub fn control_plane_lacks(local: &LocalControlPlane) -> Option<String> {
    if !local.api_server_ready {
        return Some("this node's API server is not ready".to_owned());
    }
    let etcd = local.etcd.as_ref()?;
    let whole = etcd.healthy == etcd.members + etcd.learners && etcd.alarms == 0;
    (!whole).then(|| {
        format!("etcd: {} of {} members are healthy, {} alarms", etcd.healthy, etcd.members, etcd.alarms)
    })
}

fn static_pod_lacks(component: &str, target: Version, pods: &[PodSeen]) -> Option<String> {
    let Some(pod) = pods.iter().find(|pod| is_static(pod, component)) else {
        return Some(format!("the static pod {component} is not to be seen"));
    };
    match image_version(pod, component) {
        Some(version) if version == target && pod.ready => None,
        Some(version) if version == target => Some(format!("the static pod {component} is not Ready")),
        Some(version) => Some(format!("the static pod {component} runs {version}")),
        None => Some(format!("the static pod {component} runs an image without a version in its tag")),
    }
}

fn is_static(pod: &PodSeen, component: &str) -> bool {
    pod.mirror
        && pod.namespace == "kube-system"
        && pod.labels.get("component").is_some_and(|label| label == component)
}

fn image_version(pod: &PodSeen, component: &str) -> Option<Version> {
    let container = pod.containers.iter().find(|container| container.name == component)?;
    crate::api::image::version(&container.image)
}

/// The oldest version among this node's static control-plane pods; none if it has none or one cannot be read.
pub fn static_pods_version(pods: &[PodSeen]) -> Option<Version> {
    let version = |component: &str| {
        pods.iter().find(|pod| is_static(pod, component)).and_then(|pod| image_version(pod, component))
    };
    STATIC_PODS.iter().map(|component| version(component)).collect::<Option<Vec<_>>>()?.into_iter().min()
}

/// DaemonSets that have a Ready pod here, as `namespace/name`.
pub fn daemon_sets(pods: &[PodSeen]) -> BTreeSet<String> {
    let daemon = |pod: &&PodSeen| pod.ready && pod.deletion.is_none();
    let name = |pod: &PodSeen| {
        let owner = pod.controller.as_ref().filter(|owner| owner.kind == "DaemonSet")?;
        Some(format!("{}/{}", pod.namespace, owner.name))
    };
    pods.iter().filter(daemon).filter_map(name).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::api::KubeadmCommand;
    use crate::memory::Packages;
    use crate::observed::{ContainerSeen, EtcdSeen, Owner, UnitSeen};
    use crate::time::Mono;

    const TARGET: Version = Version::new(1, 36, 3);

    fn plan(command: KubeadmCommand) -> Plan {
        let packages = |version: &str| Packages {
            kubeadm: version.parse().unwrap(),
            kubelet: version.parse().unwrap(),
            kubectl: None,
        };
        Plan {
            from: packages("1.36.2-1.1"),
            to: packages("1.36.3-1.1"),
            command,
            target: TARGET,
            can_restore_packages: true,
            daemon_sets: ["kube-system/kube-proxy".into()].into(),
            csi_drivers: ["a.example".into(), "b.example".into()].into(),
        }
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

    fn daemon_pod() -> PodSeen {
        let owner =
            Owner { api_version: "apps/v1".into(), kind: "DaemonSet".into(), name: "kube-proxy".into() };
        PodSeen {
            namespace: "kube-system".into(),
            controller: Some(owner),
            ready: true,
            ..PodSeen::default()
        }
    }

    /// A control plane's node on which everything is back at the target; the last pod is the DaemonSet's.
    fn pods() -> PodsSeen {
        let pods = STATIC_PODS.iter().map(|component| static_pod(component, "v1.36.3"));
        PodsSeen {
            at: Mono(0),
            pods: pods.chain([daemon_pod()]).collect(),
            csi_drivers: plan(KubeadmCommand::Apply).csi_drivers,
        }
    }

    fn names(lack: Option<String>, words: &str) {
        let lack = lack.unwrap_or_else(|| panic!("nothing is lacking: {words}"));
        assert!(lack.contains(words), "{words}: {lack}");
    }

    fn node() -> NodeSeen {
        NodeSeen { ready: Ready::True, heartbeat: Unix(1_001), kubelet: Some(TARGET), ..NodeSeen::default() }
    }

    fn control_plane(etcd: Option<EtcdSeen>) -> LocalControlPlane {
        LocalControlPlane { at: Mono(0), api_server_ready: true, etcd }
    }

    fn etcd() -> EtcdSeen {
        EtcdSeen { members: 3, healthy: 3, learners: 0, alarms: 0 }
    }

    #[test]
    #[should_panic(expected = "no answer is no proof")]
    fn a25_an_etcd_that_gives_no_answer_is_not_whole() {
        let local = LocalControlPlane {
            api_server_ready: true,
            etcd: Some(EtcdSeen::default()),
            ..Default::default()
        };
        assert!(control_plane_lacks(&local).is_some(), "no answer is no proof");
    }

    #[test]
    fn a_node_serves_only_with_a_kubelet_of_the_target() {
        let lacks = |kubelet| {
            node_lacks(&plan(KubeadmCommand::NodeWorker), &NodeSeen { kubelet, ..node() }, Unix(1_000))
        };
        assert_eq!(lacks(Some(TARGET)), None);
        names(lacks(Some(Version::new(1, 36, 2))), "reports v1.36.2");
        names(lacks(Some(Version::new(1, 36, 4))), "reports v1.36.4");
        names(lacks(None), "no release");
    }

    #[test]
    fn a_node_that_is_not_ready_does_not_serve() {
        for ready in [Ready::False, Ready::Unknown] {
            names(
                node_lacks(&plan(KubeadmCommand::NodeWorker), &NodeSeen { ready, ..node() }, Unix(1_000)),
                "not Ready",
            );
        }
    }

    #[test]
    fn a_ready_that_is_older_than_kubelets_restart_says_nothing() {
        let lacks = |heartbeat| {
            node_lacks(&plan(KubeadmCommand::NodeWorker), &NodeSeen { heartbeat, ..node() }, Unix(1_000))
        };
        names(lacks(Unix(999)), "older than kubelet's restart");
        assert_eq!(lacks(Unix(1_001)), None);
    }

    #[test]
    fn a_kubelet_whose_unit_is_not_active_does_not_serve() {
        let kubelet = UnitSeen { active: false, since: Unix(0), ..UnitSeen::default() };
        let host = HostSeen { kubelet, ..HostSeen::default() };
        let now = Now { unix: Unix(1_000), ..Now::default() };
        names(
            unit_lacks(&host, Patience { soak: Duration::ZERO, min_ready: Duration::ZERO }, now),
            "not active",
        );
    }

    #[test]
    fn a_kubelet_counts_once_it_has_run_for_the_soak_time_and_the_fleets_min_ready_seconds() {
        let kubelet = UnitSeen { active: true, since: Unix(1_000), ..UnitSeen::default() };
        let host = HostSeen { kubelet, ..HostSeen::default() };
        for (soak, min_ready) in [(30, 0), (0, 30), (30, 10), (10, 30)] {
            let lacks = |ran: u64| {
                let now = Now { unix: Unix(1_000 + ran), ..Now::default() };
                let [soak, min_ready] = [soak, min_ready].map(Duration::from_secs);
                unit_lacks(&host, Patience { soak, min_ready }, now)
            };
            names(lacks(29), "29 s of 30 s");
            assert_eq!(lacks(30), None, "{soak} {min_ready}");
        }
    }

    #[test]
    fn each_static_pod_of_a_control_plane_is_back_at_the_target_and_ready() {
        for command in [KubeadmCommand::Apply, KubeadmCommand::NodeControlPlane] {
            assert_eq!(pods_lack(&plan(command), &pods()), None);
            for (place, component) in STATIC_PODS.iter().enumerate() {
                let lack_with = |pod: Option<PodSeen>| {
                    let mut seen = pods();
                    seen.pods.splice(place..=place, pod);
                    pods_lack(&plan(command), &seen)
                };
                let back = static_pod(component, "v1.36.3");
                names(lack_with(None), &format!("{component} is not to be seen"));
                names(
                    lack_with(Some(static_pod(component, "v1.36.2"))),
                    &format!("{component} runs v1.36.2"),
                );
                names(lack_with(Some(static_pod(component, "latest"))), "without a version");
                let unready = PodSeen { ready: false, ..back.clone() };
                names(lack_with(Some(unready)), &format!("{component} is not Ready"));
                assert_eq!(lack_with(Some(back)), None);
            }
        }
    }

    #[test]
    fn a_pod_that_only_bears_a_static_pods_label_does_not_stand_for_it() {
        let server = static_pod("kube-apiserver", "v1.36.3");
        for other in [
            PodSeen { mirror: false, ..server.clone() },
            PodSeen { namespace: "default".into(), ..server.clone() },
            PodSeen { labels: [].into(), ..server },
        ] {
            let mut seen = pods();
            seen.pods[0] = other;
            names(pods_lack(&plan(KubeadmCommand::Apply), &seen), "kube-apiserver is not to be seen");
        }
    }

    #[test]
    fn a_worker_serves_without_static_pods() {
        let seen = PodsSeen { pods: vec![daemon_pod()], ..pods() };
        assert_eq!(pods_lack(&plan(KubeadmCommand::NodeWorker), &seen), None);
    }

    #[test]
    fn each_daemon_set_that_was_ready_here_is_ready_here_again() {
        let unready = PodSeen { ready: false, ..daemon_pod() };
        let going = PodSeen { deletion: Some(Unix(1)), ..daemon_pod() };
        let elsewhere = PodSeen { namespace: "default".into(), ..daemon_pod() };
        let bare = PodSeen { controller: None, ..daemon_pod() };
        for pod in [unready, going, elsewhere, bare] {
            let seen = PodsSeen { pods: vec![pod], ..pods() };
            names(pods_lack(&plan(KubeadmCommand::NodeWorker), &seen), "kube-system/kube-proxy");
        }
    }

    #[test]
    fn each_csi_driver_that_was_registered_here_is_registered_here_again() {
        for command in [KubeadmCommand::NodeWorker, KubeadmCommand::Apply] {
            let seen = PodsSeen { csi_drivers: ["a.example".into(), "c.example".into()].into(), ..pods() };
            names(pods_lack(&plan(command), &seen), "registered again: b.example");
        }
    }

    #[test]
    fn a_control_plane_serves_only_with_its_own_api_server() {
        for etcd in [None, Some(etcd())] {
            let mut local = control_plane(etcd);
            assert_eq!(control_plane_lacks(&local), None);
            local.api_server_ready = false;
            names(control_plane_lacks(&local), "API server is not ready");
        }
    }

    #[test]
    fn a_control_plane_serves_only_with_an_etcd_whose_members_and_learners_are_healthy_without_alarm() {
        for broken in [
            EtcdSeen { healthy: 2, ..etcd() },
            EtcdSeen { healthy: 0, ..etcd() },
            EtcdSeen { learners: 1, ..etcd() },
            EtcdSeen { alarms: 1, ..etcd() },
        ] {
            names(control_plane_lacks(&control_plane(Some(broken))), "etcd");
        }
    }
}
