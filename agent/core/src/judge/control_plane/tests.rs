use super::*;
use crate::judge::tests::{NEW, OLD, members, static_pod, static_pods};

fn whole() -> LocalControlPlane {
    LocalControlPlane { api_server_ready: true, etcd: Some(three()), ..LocalControlPlane::default() }
}

fn three() -> EtcdSeen {
    EtcdSeen { healthy: true, members: members(3), learners: 0, alarms: 0, unhealthy: BTreeSet::new() }
}

#[track_caller]
fn names(lack: Option<String>, words: &str) {
    let lack = lack.unwrap_or_else(|| panic!("nothing is lacking: {words}"));
    assert!(lack.contains(words), "{words}: {lack}");
}

#[test]
fn each_static_pod_of_a_whole_control_plane_is_at_its_version_and_ready() {
    assert_eq!(lacks(&static_pods(NEW), &whole(), NEW), None);
    for (place, component) in STATIC_PODS.iter().enumerate() {
        let with = |pod: Option<PodSeen>| {
            let mut pods = static_pods(NEW);
            pods.splice(place..=place, pod);
            lacks(&pods, &whole(), NEW)
        };
        names(with(None), &format!("{component} is not seen"));
        names(with(Some(static_pod(component, "v1.36.2"))), &format!("{component} runs v1.36.2"));
        names(with(Some(static_pod(component, "latest"))), "without a version");
        let unready = PodSeen { ready: false, ..static_pod(component, "v1.36.3") };
        names(with(Some(unready)), &format!("{component} is not Ready"));
    }
}

#[test]
fn static_pods_that_are_all_of_a_newer_version_are_whole_too_and_those_of_an_older_one_are_not() {
    assert_eq!(lacks(&static_pods(NEW), &whole(), OLD), None, "a person may have taken it further");
    names(lacks(&static_pods(OLD), &whole(), NEW), "runs v1.36.2");
    let mut mixed = static_pods(OLD);
    mixed[0] = static_pod(STATIC_PODS[0], "v1.36.3");
    names(lacks(&mixed, &whole(), OLD), "runs v1.36.3");
    let mut unready = static_pods(NEW);
    unready[0].ready = false;
    names(lacks(&unready, &whole(), OLD), "is not Ready");
}

#[test]
fn a_pod_that_only_bears_a_static_pods_label_does_not_stand_for_it() {
    let server = static_pod(API_SERVER, "v1.36.3");
    for other in [
        PodSeen { mirror: false, ..server.clone() },
        PodSeen { namespace: "default".into(), ..server.clone() },
        PodSeen { labels: [].into(), ..server },
    ] {
        let mut pods = static_pods(NEW);
        pods[0] = other;
        names(lacks(&pods, &whole(), NEW), "kube-apiserver is not seen");
    }
}

#[test]
fn a25_an_etcd_that_gives_no_answer_is_not_whole() {
    let pods = static_pods(NEW);
    let dead = LocalControlPlane { api_server_ready: false, ..whole() };
    names(lacks(&pods, &dead, NEW), "API server is not ready");
    assert_eq!(lacks(&pods, &LocalControlPlane { etcd: None, ..whole() }, NEW), None, "etcd is elsewhere");
    for broken in
        [EtcdSeen::default(), EtcdSeen { healthy: false, ..three() }, EtcdSeen { alarms: 1, ..three() }]
    {
        let local = LocalControlPlane { etcd: Some(broken), ..whole() };
        names(lacks(&pods, &local, NEW), "etcd");
    }
    for others in
        [EtcdSeen { learners: 1, ..three() }, EtcdSeen { unhealthy: ["cp2".to_owned()].into(), ..three() }]
    {
        let local = LocalControlPlane { etcd: Some(others), ..whole() };
        assert_eq!(lacks(&pods, &local, NEW), None, "how the others are is asked before a turn");
    }
}

#[test]
fn the_versions_of_static_pods_are_known_only_where_all_of_them_are() {
    let mut mixed = static_pods(NEW);
    mixed[1] = static_pod(STATIC_PODS[1], "v1.36.2");
    let told =
        |pods: &[PodSeen]| (oldest_static_pod(pods), newest_static_pod(pods), uniform_static_pods(pods));
    assert_eq!(told(&static_pods(NEW)), (Some(NEW), Some(NEW), Some(NEW)));
    assert_eq!(told(&mixed), (Some(OLD), Some(NEW), None));
    mixed[2] = static_pod(STATIC_PODS[2], "latest");
    assert_eq!(told(&mixed), (None, None, None));
    assert_eq!(told(&static_pods(NEW)[..2]), (None, None, None));
}
