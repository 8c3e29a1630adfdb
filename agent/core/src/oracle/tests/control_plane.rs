//! The control plane before and after its turns.

use super::*;
use crate::api::Check;

const PODS: [&str; 3] = ["kube-apiserver", "kube-controller-manager", "kube-scheduler"];

fn pod(component: &'static str, version: Option<Version>) -> What {
    What::StaticPod { component, version }
}

/// Another control-plane node, whole at the old version.
pub(super) fn joins(story: &mut Story, name: &str) {
    story.add(name, What::Joined { control_plane: true, uid: format!("{name}-uid") });
    story.all(name, [says(true, OLD), What::EtcdMember { healthy: true }]);
    story.all(name, ["kubeadm", "kubelet"].map(|name| package(name, OLD, Who::Person)));
    story.all(name, PODS.map(|component| pod(component, Some(OLD))));
    story.add(name, What::CurrentWritten { version: OLD });
}

/// cp begins after this happened to cp2.
fn begins_after(events: impl IntoIterator<Item = What>) -> Story {
    let mut story = Story::begin();
    joins(&mut story, "cp2");
    story.all("cp2", events).all("cp", clearing("cp"));
    story
}

/// cp ends its turn after this happened to it.
fn ends_after(events: impl IntoIterator<Item = What>) -> Story {
    let mut story = Story::begin();
    story.all("cp", PODS.map(|component| pod(component, Some(OLD))));
    story.add("cp", What::EtcdMember { healthy: true });
    story.all("cp", clearing("cp")).all("cp", changing("cp"));
    story.all("cp", PODS[1..].iter().map(|component| pod(component, Some(NEW))));
    story.all("cp", [What::Uncordoned { by: agent("cp") }, What::CurrentWritten { version: NEW }]);
    story.all("cp", events).add("cp", released("cp"));
    story
}

#[test]
fn a_control_plane_node_begins_only_while_the_others_are_whole() {
    begins_after([]).keeps();
    begins_after([What::EtcdMember { healthy: false }]).breaks(Rule::ControlPlaneWholeBefore);
    begins_after([pod("kube-scheduler", None)]).breaks(Rule::ControlPlaneWholeBefore);
    begins_after([pod("kube-scheduler", Some(NEW))]).breaks(Rule::ControlPlaneWholeBefore);
    assert!(begins_after([says(false, OLD)]).broken().contains(&Rule::ControlPlaneWholeBefore));
    begins_after(PODS.map(|component| pod(component, Some(NEW)))).keeps();
    begins_after([What::EtcdMember { healthy: false }, What::Deleted]).keeps();
}

#[test]
fn what_stopped_before_a_kubelet_started_is_seen_a_moment_later() {
    let begins = |events: [What; 2], later: u64| {
        let mut story = begins_after(events);
        let cordons = |event: &Event| matches!(event.what, What::TargetSet(_)) && event.node == "cp";
        let from = story.0.iter().rposition(cordons).unwrap();
        let at = story.0[from - 1].at + later;
        story.0[from..].iter_mut().for_each(|event| event.at = at);
        story.broken().contains(&Rule::ControlPlaneWholeBefore)
    };
    let stops = || pod("kube-scheduler", None);
    assert!(!begins([stops(), What::KubeletRestarted], 9_000));
    assert!(begins([stops(), What::KubeletRestarted], 11_000));
    assert!(begins([What::KubeletRestarted, stops()], 11_000));
}

#[test]
fn a_kubelet_that_is_cut_off_tells_nobody_what_stopped_until_its_node_is_not_ready() {
    let cut_off = || What::WentWrong { what: CUT_OFF };
    let stops = || pod("kube-scheduler", None);
    begins_after([cut_off(), stops()]).keeps();
    let broken = begins_after([cut_off(), stops(), says(false, OLD)]).broken();
    assert!(broken.contains(&Rule::ControlPlaneWholeBefore));
    begins_after([cut_off(), stops(), What::PutRight { what: CUT_OFF }])
        .breaks(Rule::ControlPlaneWholeBefore);
}

#[test]
fn a_control_plane_node_begins_only_while_its_own_etcd_is_healthy() {
    let mut story = Story::begin();
    story.add("cp", What::EtcdMember { healthy: false });
    story.all("cp", clearing("cp")).breaks(Rule::ControlPlaneWholeBefore);
}

#[test]
fn a_turn_that_cordons_nothing_begins_with_its_first_tool() {
    let mut story = Story::begin();
    joins(&mut story, "cp2");
    story.add("cp2", What::EtcdMember { healthy: false });
    story.all("cp", [What::TargetSet(Some(NEW)), taken("cp", LeaseName::ControlPlane)]).keeps();
    story.add("cp", started("install-kubeadm")).breaks(Rule::ControlPlaneWholeBefore);
}

/// cp is drained; this happens to cp2 before so much of the change of cp.
fn stepped_after(events: &[What], before: usize, later: u64) -> Story {
    let mut story = begins_after([]);
    let steps = changing("cp");
    story.all("cp", steps[..before].to_vec()).all("cp2", events.to_vec());
    story.after(later, "cp", steps[before].clone());
    story
}

#[test]
fn the_others_are_whole_before_every_step_without_a_way_back() {
    let sick = [What::EtcdMember { healthy: false }];
    for step in [3, 6] {
        assert!(matches!(changing("cp")[step], What::ToolStarted { .. }), "{step}");
        stepped_after(&sick, step, 90_000).breaks(Rule::ControlPlaneWholeBefore);
        stepped_after(&sick, step, 9_000).keeps();
        stepped_after(&[], step, 90_000).keeps();
    }
    stepped_after(&sick, 0, 90_000).keeps();
}

#[test]
fn a_run_of_kubeadm_that_was_cut_goes_on_whatever_the_others_are_but_for_etcd() {
    let again = |what: Vec<What>| {
        let mut story = stepped_after(&[], 3, 90_000);
        story.all("cp", [api_server(NEW), What::ToolEnded { tool: "kubeadm-upgrade", ok: false }]);
        story.all("cp2", what).add("cp", changing("cp")[3].clone());
        story
    };
    let sick = What::EtcdMember { healthy: false };
    again(vec![pod("kube-scheduler", None)]).keeps();
    again(vec![sick.clone()]).breaks(Rule::ControlPlaneWholeBefore);
    again(vec![sick, What::EtcdMember { healthy: true }]).keeps();
    let mut kubelet = stepped_after(&[], 6, 90_000);
    kubelet.add("cp", What::ToolEnded { tool: "install-kubelet", ok: false });
    kubelet.add("cp2", What::EtcdMember { healthy: false }).add("cp", started("install-kubelet")).keeps();
}

#[test]
fn a_control_plane_that_kubeadm_put_back_is_as_before_its_turn() {
    let failed = |comes: Vec<What>| {
        let mut story = stepped_after(&[], 3, 90_000);
        story.all("cp", comes).add("cp", What::ToolEnded { tool: "kubeadm-upgrade", ok: false });
        story.add("cp", What::TargetSet(None)).add("cp", started("install-kubelet"));
        story.broken()
    };
    let back = vec![api_server(NEW), api_server(OLD)];
    assert!(failed(back.clone()).contains(&Rule::Cancel));
    assert!(!failed(vec![api_server(NEW)]).contains(&Rule::Cancel));
    let mut late = stepped_after(&[], 3, 90_000);
    late.all("cp", [api_server(NEW), What::ToolEnded { tool: "kubeadm-upgrade", ok: false }]);
    late.all("cp", [api_server(OLD), What::EtcdMember { healthy: false }]);
    late.clone().all("cp", backs_out()).breaks(Rule::ControlPlaneWholeAfter);
    late.add(FLEET, What::KubeadmConfig { version: NEW }).add("cp", What::TargetSet(None));
    assert!(!late.add("cp", started("install-kubelet")).broken().contains(&Rule::Cancel));
}

#[test]
fn a_turn_that_goes_back_is_asked_only_for_what_has_stopped_since_it_began() {
    let goes_back = |before: Option<&'static str>, meanwhile: Option<&'static str>| {
        let stops = |component: Option<&'static str>| component.map(|component| pod(component, None));
        let mut story = Story::begin();
        story.all("cp", stops(before)).all("cp", clearing("cp")[..2].to_vec());
        let run = What::ToolStarted { tool: "kubeadm-upgrade", kubeadm: Some((KubeadmCommand::Apply, NEW)) };
        story.add("cp", run).all("cp", stops(meanwhile));
        story.add("cp", What::ToolEnded { tool: "kubeadm-upgrade", ok: false });
        story.all("cp", [reported(Phase::BackingOut), released("cp")]).broken()
    };
    assert!(!goes_back(Some("kube-scheduler"), None).contains(&Rule::ControlPlaneWholeAfter));
    assert!(goes_back(None, Some("kube-scheduler")).contains(&Rule::ControlPlaneWholeAfter));
}

fn backs_out() -> Vec<What> {
    let cp = || agent("cp");
    vec![package("kubeadm", OLD, cp()), What::Uncordoned { by: cp() }, released("cp")]
}

#[test]
fn what_people_pass_over_holds_up_no_control_plane_node() {
    let skips = |check| What::Skips([check].into());
    let begins = |check, lack: What| {
        let mut story = begins_after([lack]);
        let cordons = |event: &Event| matches!(event.what, What::TargetSet(_)) && event.node == "cp";
        let at = story.0.iter().rposition(cordons).unwrap();
        let event = Event { at: story.0[at].at, node: "cp".to_owned(), what: skips(check) };
        story.0.insert(at, event);
        story
    };
    let sick = What::EtcdMember { healthy: false };
    begins(Check::Etcd, sick.clone()).keeps();
    begins(Check::OtherNodes, sick).breaks(Rule::ControlPlaneWholeBefore);
    begins(Check::OtherNodes, pod("kube-scheduler", None)).keeps();
    begins(Check::Etcd, pod("kube-scheduler", None)).breaks(Rule::ControlPlaneWholeBefore);
}

#[test]
fn a_turn_lasts_until_the_new_kubelet_has_restarted_its_static_pods() {
    let minor = Version::new(1, 37, 0);
    let restarts = |kubelet: Version, after: u64, first: Vec<What>| {
        let mut story = ends_after([]);
        story.all("cp", PODS.map(|component| pod(component, Some(NEW))));
        let restarted = |event: &Event| event.what == What::KubeletRestarted;
        let from = story.0.iter().position(restarted).unwrap();
        let ended = story.end_at();
        story.0[from].at = ended;
        let event = story.0.remove(from);
        let released =
            story.0.iter().rposition(|event| matches!(event.what, What::LeaseReleased { .. })).unwrap();
        story.0[released..].iter_mut().for_each(|event| event.at = ended);
        story.0.insert(released, event);
        for what in first {
            story.after(1_000, "cp", what);
        }
        PODS.iter().enumerate().for_each(|(nth, component)| {
            story.after(if nth == 0 { after } else { 0 }, "cp", pod(component, None));
        });
        let new = |event: &&mut Event| event.what == package("kubelet", NEW, agent("cp"));
        story
            .0
            .iter_mut()
            .filter(new)
            .for_each(|event| event.what = package("kubelet", kubelet, agent("cp")));
        story.broken().contains(&Rule::ControlPlaneWholeAfter)
    };
    assert!(restarts(minor, 4_000, vec![]));
    assert!(!restarts(NEW, 4_000, vec![]));
    assert!(!restarts(minor, 60_000, vec![]));
    assert!(!restarts(minor, 4_000, vec![What::Booted]));
    assert!(!restarts(minor, 1_000, vec![What::AgentDied]));
    assert!(restarts(minor, 4_000, vec![What::AgentDied]));
}

#[test]
fn a_control_planes_turn_ends_with_etcd_and_all_static_pods_whole() {
    ends_after([]).keeps();
    ends_after([What::EtcdMember { healthy: false }]).breaks(Rule::ControlPlaneWholeAfter);
    ends_after([pod("kube-apiserver", None)]).breaks(Rule::ControlPlaneWholeAfter);
    let again = [What::EtcdMember { healthy: false }, What::EtcdMember { healthy: true }];
    ends_after(again).keeps();
}

#[test]
fn a_control_planes_turn_ends_with_its_static_pods_at_one_version() {
    ends_after([pod("kube-scheduler", Some(OLD))]).breaks(Rule::StaticPodsAtOneVersion);
}

#[test]
fn current_never_goes_past_the_static_pods() {
    let mut story = Story::begin();
    joins(&mut story, "cp2");
    story.add("cp2", says(true, NEW));
    story.clone().add("cp2", What::CurrentWritten { version: NEW }).breaks(Rule::StaticPodsAtOneVersion);
    story.all("cp2", PODS.map(|component| pod(component, Some(NEW))));
    story.add("cp2", What::CurrentWritten { version: NEW }).keeps();
}

#[test]
fn a_control_plane_goes_back_into_service_with_its_static_pods_at_its_kubelets_minor() {
    let scheduler = |before: Version| {
        let mut story = ends_after([]);
        story.0.retain(|event| event.what != pod("kube-scheduler", Some(NEW)));
        let old = |event: &&mut Event| event.what == pod("kube-scheduler", Some(OLD));
        story.0.iter_mut().filter(old).for_each(|event| event.what = pod("kube-scheduler", Some(before)));
        story.broken()
    };
    assert_eq!(scheduler(OLD), [Rule::StaticPodsAtOneVersion]);
    let minor = Version::new(1, 35, 9);
    assert_eq!(scheduler(minor), [Rule::VerifiedBeforeService, Rule::StaticPodsAtOneVersion]);
}

/// An `apply` that left the API server at this version and ended with an error.
fn half_applied(version: Version) -> Story {
    let mut story = Story::begin();
    story.all("cp", [What::TargetSet(Some(NEW)), taken("cp", LeaseName::ControlPlane)]);
    story.all("cp", changing("cp")[..4].to_vec()).add("cp", api_server(version));
    story.add("cp", What::ToolEnded { tool: "kubeadm-upgrade", ok: false });
    story
}

#[test]
fn a_turn_does_not_end_as_done_before_its_run_of_kubeadm_succeeded() {
    let again = changing("cp")[3..6].to_vec();
    half_applied(NEW).add("cp", released("cp")).breaks(Rule::Verb);
    half_applied(NEW).all("cp", again).add("cp", released("cp")).keeps();
    let back = package("kubeadm", OLD, agent("cp"));
    half_applied(OLD).add("cp", back).add("cp", released("cp")).keeps();
    let by_hand = package("kubeadm", NEW, Who::Person);
    half_applied(NEW).add("cp", by_hand).add("cp", released("cp")).keeps();
}

#[test]
fn no_later_turn_goes_on_from_a_run_of_kubeadm_that_never_succeeded() {
    let mut story = half_applied(NEW);
    story.all("cp", [freed("cp"), taken("cp", LeaseName::ControlPlane), What::Cordoned { by: agent("cp") }]);
    story.add("cp", What::PodGone { pod: "cp-pod".to_owned() });
    let done = story.clone().all("cp", changing("cp")[3..6].to_vec()).clone();
    story.add("cp", started("install-kubelet")).breaks(Rule::Verb);
    done.clone().add("cp", started("install-kubelet")).keeps();
    let mut rolled_back = half_applied(OLD);
    rolled_back.all("cp", [What::Cordoned { by: agent("cp") }, What::PodGone { pod: "cp-pod".to_owned() }]);
    rolled_back.add("cp", started("install-kubelet")).breaks(Rule::Verb);
    let mut current = half_applied(NEW);
    current.all("cp", [says(true, NEW), What::CurrentWritten { version: NEW }]).breaks(Rule::Verb);
}

#[test]
fn a_turn_that_finds_its_static_pods_at_the_target_may_go_back_from_a_run_that_failed() {
    let mut story = Story::begin();
    story.all("cp", [api_server(NEW), What::TargetSet(Some(NEW)), taken("cp", LeaseName::ControlPlane)]);
    let run =
        What::ToolStarted { tool: "kubeadm-upgrade", kubeadm: Some((KubeadmCommand::NodeControlPlane, NEW)) };
    story.all("cp", [What::Cordoned { by: agent("cp") }, What::PodGone { pod: "cp-pod".to_owned() }]);
    story.all("cp", [run, What::ToolEnded { tool: "kubeadm-upgrade", ok: false }]);
    story.clone().all("cp", [What::Uncordoned { by: agent("cp") }, released("cp")]).keeps();
    story.add("cp", started("install-kubelet")).breaks(Rule::Verb);
}

#[test]
fn kubelets_files_are_written_on_a_drained_node_that_is_out_of_service() {
    let mut story = Story::begin();
    story.all("cp", [api_server(NEW), What::TargetSet(Some(NEW)), taken("cp", LeaseName::ControlPlane)]);
    let run = |command| What::ToolStarted { tool: "kubeadm-upgrade", kubeadm: Some((command, NEW)) };
    for command in [KubeadmCommand::Apply, KubeadmCommand::NodeControlPlane] {
        story.clone().add("cp", run(command)).keeps();
    }
    let broken = story.clone().add("cp", run(KubeadmCommand::NodeKubelet)).broken();
    assert!([Rule::ChangedInService, Rule::Drain].iter().all(|rule| broken.contains(rule)), "{broken:?}");
    story
        .add("cp", What::Cordoned { by: agent("cp") })
        .add("cp", run(KubeadmCommand::NodeKubelet))
        .breaks(Rule::Drain);
}

/// cp, alone in its control plane, ends its turn with these.
fn ends_with_addons(version: Version) -> Story {
    let mut story = ends_after([]);
    let event = Event { at: 0, node: FLEET.to_owned(), what: What::Addons { version } };
    story.0.insert(0, event);
    story
}

#[test]
fn the_last_control_plane_node_ends_with_the_addons_at_its_version() {
    ends_with_addons(NEW).keeps();
    ends_with_addons(OLD).breaks(Rule::AddonsLast);
    let beside_one_deleted = |before: &str| {
        let mut story = ends_with_addons(OLD);
        let at = story.0.iter().position(|event| match before {
            "its run" => matches!(event.what, What::StaticPod { version: Some(NEW), .. }),
            _ => matches!(event.what, What::LeaseReleased { .. }),
        });
        let at = at.unwrap();
        let mut other = Story(Vec::new());
        joins(&mut other, "cp2");
        other.add("cp2", What::Deleted);
        let time = story.0[at].at;
        other.0.iter_mut().for_each(|event| event.at = time);
        story.0.splice(at..at, other.0);
        story.broken().contains(&Rule::AddonsLast)
    };
    assert!(beside_one_deleted("its run"));
    assert!(!beside_one_deleted("its end"), "kubeadm saw it");
    let mut not_last = ends_with_addons(OLD);
    joins(&mut not_last, "cp2");
    let at = not_last.0.iter().position(|event| matches!(event.what, What::TargetSet(_))).unwrap();
    let late = not_last.0.iter().position(|event| event.node == "cp2").unwrap();
    let mut joined = not_last.0.split_off(late);
    for event in &mut joined {
        event.at = not_last.0[at].at;
    }
    not_last.0.splice(at..at, joined);
    not_last.keeps();
}

#[test]
fn a_control_plane_is_upgraded_in_service_and_its_kubelet_out_of_it() {
    let expected = Expectations::default();
    let broken = |story: &Story| check(&story.0, &expected).into_iter().map(|v| v.rule).collect::<Vec<_>>();
    assert_eq!(broken(&after_the_control_plane()), [Rule::ControlPlaneInService]);
    let mut first = Story::begin();
    first.all("cp", clearing("cp")[..2].to_vec()).all("cp", changing("cp")[..6].to_vec());
    first
        .all("cp", clearing("cp")[2..].to_vec())
        .all("cp", changing("cp")[6..].to_vec())
        .all("cp", returning("cp"));
    assert_eq!(broken(&first), []);
}

#[test]
fn a_node_that_was_made_anew_is_in_service_whatever_was_evicted_before() {
    let upgraded = |made_anew: bool| {
        let mut story = Story::begin();
        story.all("cp", clearing("cp"));
        if made_anew {
            let anew = What::Joined { control_plane: true, uid: "cp-uid-2".to_owned() };
            story.all("cp", [What::Deleted, anew, says(true, OLD), What::TargetSet(Some(NEW))]);
        } else {
            story.add("cp", What::Uncordoned { by: Who::Person });
        }
        story.add(
            "cp",
            What::ToolStarted { tool: "kubeadm-upgrade", kubeadm: Some((KubeadmCommand::Apply, NEW)) },
        );
        let found = check(&story.0, &Expectations::default());
        found.iter().any(|violation| violation.rule == Rule::ControlPlaneInService)
    };
    assert!(upgraded(false));
    assert!(!upgraded(true));
}

#[test]
fn the_addons_stay_old_where_the_last_old_node_is_removed_after_kubeadm_has_run_elsewhere() {
    let ends = |restarts: bool| {
        let mut story = Story::begin();
        joins(&mut story, "cp2");
        let addons = Event { at: 0, node: FLEET.to_owned(), what: What::Addons { version: OLD } };
        story.0.insert(0, addons);
        story.all("cp", [api_server(OLD), What::TargetSet(Some(NEW)), taken("cp", LeaseName::ControlPlane)]);
        story.all("cp", PODS.map(|component| pod(component, Some(NEW))));
        story.all("cp", [released("cp"), says(true, NEW)]).add("cp2", What::Deleted);
        if restarts {
            story.all("cp", [pod("kube-apiserver", None), api_server(NEW)]);
        }
        story.all("cp", [taken("cp", LeaseName::ControlPlane), released("cp")]);
        story.broken().contains(&Rule::AddonsLast)
    };
    assert!(!ends(false));
    assert!(!ends(true), "a kubelet of a new minor has restarted it");
}

#[test]
fn a_kubelet_that_a_person_has_begun_to_install_is_finished_whatever_etcd_says() {
    let finishes = |by: Option<Who>| {
        let mut story = Story::begin();
        joins(&mut story, "cp2");
        story.all("cp", clearing("cp"));
        story.0.extend(by.map(|by| Event {
            at: story.end_at() + 1,
            node: "cp".to_owned(),
            what: package("kubelet", NEW, by),
        }));
        story.add("cp2", What::EtcdMember { healthy: false }).add("cp", started("install-kubelet"));
        story.broken().contains(&Rule::ControlPlaneWholeBefore)
    };
    assert!(finishes(None));
    assert!(!finishes(Some(Who::Person)));
}

pub(super) fn fires() -> Vec<(Rule, Story)> {
    vec![
        (Rule::ControlPlaneWholeBefore, begins_after([What::EtcdMember { healthy: false }])),
        (Rule::ControlPlaneWholeAfter, ends_after([pod("kube-apiserver", None)])),
        (Rule::ControlPlaneInService, after_the_control_plane()),
        (Rule::AddonsLast, ends_with_addons(OLD)),
        (Rule::StaticPodsAtOneVersion, ends_after([pod("kube-scheduler", Some(OLD))])),
    ]
}
