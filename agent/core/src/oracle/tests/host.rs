//! What may run on a host and be installed.

use super::*;

#[test]
fn a_kubelet_newer_than_an_api_server_breaks_rule_2() {
    newer_kubelet(Version::new(1, 35, 9)).breaks(Rule::KubeletNotNewer);
    newer_kubelet(Version::new(1, 36, 1)).keeps();
}

/// A worker goes to the new version under an API server of this one.
fn newer_kubelet(server: Version) -> Story {
    let mut story = Story::begin();
    story.add("cp", api_server(server)).all("w1", clearing("w1")).all("w1", changing("w1"));
    story
}

#[test]
fn a_kubelet_that_talks_to_its_own_api_server_may_be_newer_than_the_others() {
    let mut story = Story::begin();
    story.add("cp2", What::Joined { control_plane: true, uid: "cp2-uid".to_owned() });
    story.add("cp2", api_server(Version::new(1, 35, 4)));
    story.clone().all("cp", upgrade("cp")).breaks(Rule::KubeletNotNewer);
    story.add("cp", What::KubeletServer { own: true }).all("cp", upgrade("cp")).keeps();
}

#[test]
fn a_verb_that_does_not_fit_or_changes_breaks_rule_3() {
    let kubeadm = |what: &What| matches!(what, What::ToolStarted { kubeadm: Some(_), .. });
    let run = |command| What::ToolStarted { tool: "kubeadm-upgrade", kubeadm: Some((command, NEW)) };
    exchanged(kubeadm, &[run(KubeadmCommand::Apply)]).breaks(Rule::Verb);
    let mut story = Story::begin();
    story.all("cp", clearing("cp"));
    let failed = What::ToolEnded { tool: "kubeadm-upgrade", ok: false };
    story.all("cp", [run(KubeadmCommand::Apply), failed.clone(), run(KubeadmCommand::Apply), failed]).keeps();
    story.clone().add("cp", run(KubeadmCommand::NodeControlPlane)).breaks(Rule::Verb);
    let next = Version { patch: NEW.patch + 1, ..NEW };
    let run = What::ToolStarted { tool: "kubeadm-upgrade", kubeadm: Some((KubeadmCommand::Apply, next)) };
    assert_eq!(story.clone().add("cp", run.clone()).broken(), [Rule::Cancel, Rule::Verb]);
    story.add("cp", What::TargetSet(Some(next))).add("cp", run).keeps();
}

#[test]
fn a_second_control_plane_node_that_applies_breaks_rule_3() {
    let mut story = after_the_control_plane();
    story.add("cp2", What::Joined { control_plane: true, uid: "cp2-uid".to_owned() });
    story.add("cp2", taken("cp2", LeaseName::ControlPlane));
    story.add("cp2", What::Cordoned { by: agent("cp2") });
    let run = |command| What::ToolStarted { tool: "kubeadm-upgrade", kubeadm: Some((command, NEW)) };
    story.clone().add("cp2", run(KubeadmCommand::NodeControlPlane)).keeps();
    story.add("cp2", run(KubeadmCommand::Apply)).breaks(Rule::Verb);
}

#[test]
fn an_apply_that_nobody_noted_may_be_run_again_by_another_node() {
    let again = |command, ended: usize, lost: What| {
        let mut story = Story::begin();
        control_plane::joins(&mut story, "cp2");
        let run = What::ToolStarted { tool: "kubeadm-upgrade", kubeadm: Some((command, NEW)) };
        story.all("cp", clearing("cp")).all("cp", changing("cp")[..ended].to_vec()).add("cp", lost);
        story.all("cp", [freed("cp"), What::Deleted]);
        story.all("cp2", [What::TargetSet(Some(NEW)), taken("cp2", LeaseName::ControlPlane), run]);
        story.broken().contains(&Rule::Verb)
    };
    assert!(matches!(changing("cp")[5], What::ToolEnded { tool: "kubeadm-upgrade", ok: true }));
    for command in [KubeadmCommand::Apply, KubeadmCommand::NodeControlPlane] {
        assert!(!again(command, 6, What::AgentDied), "{command:?}");
        assert!(!again(command, 6, What::Booted), "{command:?}");
    }
    assert!(again(KubeadmCommand::Apply, 7, What::AgentDied), "it went on with the next tool");
    assert!(again(KubeadmCommand::NodeControlPlane, 5, What::AgentDied), "it was not seen to end");
}

#[test]
fn a_control_plane_that_skips_a_minor_breaks_rule_4() {
    let mut story = Story::begin();
    story.all("cp", clearing("cp"));
    let run = |target| What::ToolStarted {
        tool: "kubeadm-upgrade",
        kubeadm: Some((KubeadmCommand::Apply, target)),
    };
    story.clone().add("cp", run(Version::new(1, 37, 0))).keeps();
    story.add("cp", run(Version::new(1, 38, 0))).breaks(Rule::Hops);
}

#[test]
fn the_api_server_of_a_node_that_was_removed_counts_in_no_hop() {
    let mut story = Story::begin();
    story.add("cp2", What::Joined { control_plane: true, uid: "cp2-uid".to_owned() });
    story.add("cp2", api_server(Version::new(1, 35, 9))).all("cp", clearing("cp"));
    let run = What::ToolStarted {
        tool: "kubeadm-upgrade",
        kubeadm: Some((KubeadmCommand::Apply, Version::new(1, 37, 0))),
    };
    assert!(story.clone().add("cp", run.clone()).broken().contains(&Rule::Hops));
    story.add("cp2", What::Deleted);
    assert!(!story.add("cp", run).broken().contains(&Rule::Hops));
}

#[test]
fn a_downgrade_breaks_rule_5_unless_it_is_the_way_back() {
    let back = [package("kubeadm", NEW, agent("w1")), package("kubeadm", OLD, agent("w1"))];
    let installed =
        |what: &What| matches!(what, What::PackageInstalled { package, .. } if package == "kubeadm");
    exchanged(installed, &back).keeps();
    let by_hand =
        [package("kubeadm", Version::new(1, 36, 9), Who::Person), package("kubeadm", NEW, agent("w1"))];
    exchanged(installed, &by_hand).breaks(Rule::NoDowngrade);
}

#[test]
fn a_host_changed_before_its_pods_are_gone_breaks_rule_7() {
    exchanged(|what| matches!(what, What::PodGone { .. }), &[]).breaks(Rule::Drain);
}

#[test]
fn a_tool_on_a_node_in_service_breaks_rule_9_unless_a_person_uncordoned_it_later() {
    let by_person = What::Uncordoned { by: Who::Person };
    let staged = |what: &What| matches!(what, What::ToolStarted { tool: "install-kubeadm", .. });
    exchanged(staged, &[by_person.clone(), started("install-kubeadm")]).breaks(Rule::ChangedInService);
    let installing = |what: &What| matches!(what, What::ToolStarted { tool: "install-kubelet", .. });
    let mut story = after_the_control_plane();
    for what in upgrade("w1") {
        if installing(&what) {
            story.add("w1", by_person.clone());
        }
        if !matches!(what, What::Uncordoned { .. }) {
            story.add("w1", what);
        }
    }
    story.keeps();
}

#[test]
fn two_tools_at_once_break_rule_10() {
    let ends = |what: &What| matches!(what, What::ToolEnded { tool: "install-kubeadm", .. });
    exchanged(ends, &[]).breaks(Rule::OneTool);
    exchanged(ends, &[What::Booted]).keeps();
}

#[test]
fn the_first_tool_of_a_node_cannot_be_beside_another() {
    let mut story = Story::begin();
    story.all("cp", clearing("cp")).add("cp", started("install-kubeadm"));
    assert_eq!(story.premises(Rule::OneTool), 0);
    story.all("cp", [ended("install-kubeadm"), started("install-kubelet")]);
    assert_eq!(story.premises(Rule::OneTool), 1);
}

fn applies(target: Version) -> What {
    What::ToolStarted { tool: "kubeadm-upgrade", kubeadm: Some((KubeadmCommand::Apply, target)) }
}

#[test]
fn a_control_plane_may_be_upgraded_in_service_but_its_kubelet_may_not() {
    let mut story = Story::begin();
    story.all("cp", [What::TargetSet(Some(NEW)), taken("cp", LeaseName::ControlPlane)]);
    story.all("cp", changing("cp")[..6].to_vec()).keeps();
    story.all("cp", [What::PodGone { pod: "cp-pod".to_owned() }, started("install-kubelet")]);
    story.breaks(Rule::ChangedInService);
}

#[test]
fn node_after_an_apply_that_never_succeeded_breaks_rule_3() {
    let mut story = Story::begin();
    control_plane::joins(&mut story, "cp2");
    story.all("cp", clearing("cp")).add("cp", applies(NEW));
    story.add("cp", What::ToolEnded { tool: "kubeadm-upgrade", ok: false });
    story.all("cp", [What::Uncordoned { by: agent("cp") }, released("cp")]);
    story.all("cp2", [What::TargetSet(Some(NEW)), taken("cp2", LeaseName::ControlPlane)]);
    let node =
        What::ToolStarted { tool: "kubeadm-upgrade", kubeadm: Some((KubeadmCommand::NodeControlPlane, NEW)) };
    assert!(story.clone().add("cp2", node).broken().contains(&Rule::Verb));
    assert!(!story.add("cp2", applies(NEW)).broken().contains(&Rule::Verb));
}

#[test]
fn a_run_that_was_put_back_without_its_lease_binds_no_later_turn_after_another_node_has_applied() {
    let node = |of: &[What]| {
        let mut story = Story::begin();
        control_plane::joins(&mut story, "cp2");
        story.all("cp", [What::TargetSet(Some(NEW)), taken("cp", LeaseName::ControlPlane), applies(NEW)]);
        story.all("cp", of.to_vec());
        story.all("cp", [freed("cp"), What::ToolEnded { tool: "kubeadm-upgrade", ok: false }]);
        // Nobody knows for sure that its run succeeded.
        story.all("cp2", [What::TargetSet(Some(NEW)), What::WentWrong { what: MEMORY_LOST }]);
        story.all("cp2", [taken("cp2", LeaseName::ControlPlane), applies(NEW)]);
        story.add(FLEET, What::KubeadmConfig { version: NEW });
        story.all("cp2", [api_server(NEW), ended("kubeadm-upgrade"), released("cp2")]);
        let run = Some((KubeadmCommand::NodeControlPlane, NEW));
        let (uid, turn) = ("cp-uid".to_owned(), "later".to_owned());
        story.add("cp", What::LeaseTaken { lease: LeaseName::ControlPlane, uid, turn });
        story.add("cp", What::ToolStarted { tool: "kubeadm-upgrade", kubeadm: run });
        story.broken().contains(&Rule::Verb)
    };
    assert!(!node(&[]));
    assert!(node(&[api_server(NEW)]), "its own run is half done");
}

#[test]
fn node_runs_only_for_the_version_that_kubeadm_config_names() {
    let node =
        What::ToolStarted { tool: "kubeadm-upgrade", kubeadm: Some((KubeadmCommand::NodeControlPlane, NEW)) };
    let named = |version| {
        let mut story = after_the_control_plane();
        control_plane::joins(&mut story, "cp2");
        story.all("cp2", [What::TargetSet(Some(NEW)), taken("cp2", LeaseName::ControlPlane)]);
        story.add(FLEET, What::KubeadmConfig { version });
        story
    };
    named(NEW).add("cp2", node.clone()).keeps();
    named(OLD).add("cp2", node.clone()).breaks(Rule::Verb);
    named(OLD).after(5_000, "cp2", node).keeps();
}

/// A control plane applied to less than, or as much as, kubeadm-config names.
fn config_names(version: Version) -> Story {
    let mut story = Story::begin();
    story.add(FLEET, What::KubeadmConfig { version });
    story.all("cp", clearing("cp")).add("cp", applies(NEW));
    story
}

#[test]
fn kubeadm_config_never_goes_back() {
    config_names(Version::new(1, 36, 4)).breaks(Rule::ConfigNeverBack);
    config_names(NEW).keeps();
}

#[test]
fn apply_runs_again_where_etcd_came_back_from_before_it() {
    let mut story = after_the_control_plane();
    control_plane::joins(&mut story, "cp2");
    story.add(FLEET, What::KubeadmConfig { version: NEW });
    story.all("cp2", [What::TargetSet(Some(NEW)), taken("cp2", LeaseName::ControlPlane)]);
    story.clone().add("cp2", applies(NEW)).breaks(Rule::Verb);
    story.add(FLEET, What::KubeadmConfig { version: OLD }).add("cp2", applies(NEW)).keeps();
}

#[test]
fn no_kubelet_is_left_more_than_three_minors_behind() {
    let behind = |kubelet| {
        let mut story = Story::begin();
        story.add("w1", says(true, kubelet)).all("cp", clearing("cp"));
        let run = What::ToolStarted {
            tool: "kubeadm-upgrade",
            kubeadm: Some((KubeadmCommand::Apply, Version::new(1, 37, 0))),
        };
        story.add("cp", What::TargetSet(Some(Version::new(1, 37, 0)))).add("cp", run);
        story
    };
    behind(Version::new(1, 34, 9)).keeps();
    behind(Version::new(1, 33, 9)).breaks(Rule::Hops);
}

#[test]
fn kubelets_own_turn_wants_kubeadm_config_at_its_minor_and_static_pods_at_their_version() {
    let run = |command| What::ToolStarted { tool: "kubeadm-upgrade", kubeadm: Some((command, NEW)) };
    let worker = |config| {
        let mut story = after_the_control_plane();
        story.all("w1", clearing("w1")).add(FLEET, What::KubeadmConfig { version: config });
        story.add("w1", run(KubeadmCommand::NodeWorker));
        story
    };
    worker(Version::new(1, 36, 4)).keeps();
    worker(Version::new(1, 35, 4)).breaks(Rule::Verb);
    worker(Version::new(1, 37, 1)).breaks(Rule::Verb);
    let mut at_rest = Story::begin();
    at_rest.add("cp", api_server(NEW)).add(FLEET, What::KubeadmConfig { version: Version::new(1, 36, 4) });
    at_rest.all("cp", clearing("cp"));
    at_rest.clone().add("cp", run(KubeadmCommand::NodeKubelet)).keeps();
    assert!(at_rest.add("cp", run(KubeadmCommand::NodeControlPlane)).broken().contains(&Rule::Verb));
}

#[test]
fn a_note_that_went_with_a_restored_etcd_is_nobodys_fault() {
    let mut story = after_the_control_plane();
    control_plane::joins(&mut story, "cp2");
    let run = What::ToolStarted { tool: "kubeadm-upgrade", kubeadm: Some((KubeadmCommand::Apply, NEW)) };
    let begins = [What::TargetSet(Some(NEW)), taken("cp2", LeaseName::ControlPlane), run];
    story.clone().all("cp2", begins.clone()).breaks(Rule::Verb);
    story.add(FLEET, What::WentWrong { what: ETCD_RESTORED }).all("cp2", begins).keeps();
}

pub(super) fn fires() -> Vec<(Rule, Story)> {
    let kubeadm = |what: &What| matches!(what, What::ToolStarted { kubeadm: Some(_), .. });
    let mut skips = Story::begin();
    skips.all("cp", clearing("cp")).add("cp", applies(Version::new(1, 38, 0)));
    let installed =
        |what: &What| matches!(what, What::PackageInstalled { package, .. } if package == "kubeadm");
    let ends = |what: &What| matches!(what, What::ToolEnded { tool: "install-kubeadm", .. });
    let staged = |what: &What| matches!(what, What::ToolStarted { tool: "install-kubeadm", .. });
    let uncordoned = [What::Uncordoned { by: Who::Person }, started("install-kubeadm")];
    vec![
        (Rule::KubeletNotNewer, newer_kubelet(Version::new(1, 35, 9))),
        (Rule::Verb, exchanged(kubeadm, &[applies(NEW)])),
        (Rule::ConfigNeverBack, config_names(Version::new(1, 36, 4))),
        (Rule::Hops, skips),
        (Rule::NoDowngrade, exchanged(installed, &[package("kubeadm", Version::new(1, 36, 0), agent("w1"))])),
        (Rule::OneTool, exchanged(ends, &[])),
        (Rule::ChangedInService, exchanged(staged, &uncordoned)),
    ]
}
