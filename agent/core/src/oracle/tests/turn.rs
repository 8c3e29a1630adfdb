//! What a turn serves, and what it leaves behind when it goes back.

use super::*;

fn evicts() -> What {
    What::Evicted { pod: "w1-pod".to_owned(), by: agent("w1") }
}

/// A cordoned worker whose target becomes another one.
fn retargeted(target: Option<Version>) -> Story {
    let mut story = after_the_control_plane();
    story.all("w1", clearing("w1")[..3].to_vec()).add("w1", What::TargetSet(target));
    story
}

#[test]
fn nothing_is_evicted_after_the_target_was_removed_or_set_lower() {
    retargeted(None).add("w1", evicts()).breaks(Rule::Cancel);
    retargeted(Some(OLD)).add("w1", evicts()).breaks(Rule::Cancel);
    retargeted(Some(Version::new(1, 36, 4))).add("w1", evicts()).keeps();
    retargeted(None).after(9_000, "w1", evicts()).keeps();
    assert_eq!(retargeted(None).premises(Rule::Cancel), 1);
    assert_eq!(retargeted(Some(Version::new(1, 36, 4))).premises(Rule::Cancel), 0);
}

#[test]
fn no_tool_but_the_way_back_runs_for_a_cancelled_target() {
    let mut story = after_the_control_plane();
    story.all("w1", clearing("w1")).all("w1", changing("w1")[..3].to_vec());
    story.add("w1", What::TargetSet(None));
    let back = [started("install-kubeadm"), package("kubeadm", OLD, agent("w1")), ended("install-kubeadm")];
    story.clone().all("w1", back).keeps();
    story.add("w1", started("install-kubelet")).breaks(Rule::Cancel);
}

#[test]
fn a_lease_that_was_freed_and_taken_again_for_the_same_turn_begins_no_other() {
    let puts_back = |turn: &str| {
        let mut story = after_the_control_plane();
        let slot = |turn: &str| {
            let (uid, turn) = ("w1-uid".to_owned(), turn.to_owned());
            What::LeaseTaken { lease: LeaseName::Slot(0), uid, turn }
        };
        story.all("w1", [What::TargetSet(Some(NEW)), slot("turn"), started("install-kubeadm")]);
        story.all("w1", [package("kubeadm", NEW, agent("w1")), ended("install-kubeadm")]);
        story.all("w1", [What::TargetSet(None), freed("w1"), slot(turn), started("install-kubeadm")]);
        story.broken().contains(&Rule::Cancel)
    };
    assert!(!puts_back("turn"));
    assert!(puts_back("another"));
}

#[test]
fn which_way_kubeadms_package_goes_shows_in_what_is_installed() {
    let newer = Version::new(1, 36, 4);
    let installs = |bars: What, version| {
        let mut story = after_the_control_plane();
        story.all("w1", clearing("w1")).all("w1", changing("w1")[..3].to_vec()).add("w1", bars);
        story.all("w1", [started("install-kubeadm"), package("kubeadm", version, agent("w1"))]);
        story
    };
    installs(What::TargetSet(None), OLD).keeps();
    installs(What::TargetSet(None), newer).breaks(Rule::Cancel);
    installs(freed("w1"), OLD).keeps();
    installs(freed("w1"), newer).breaks(Rule::LeaseHeld);
    installs(What::Joined { control_plane: false, uid: "other".to_owned() }, OLD).keeps();
    installs(What::Joined { control_plane: false, uid: "other".to_owned() }, newer)
        .breaks(Rule::LeaseIdentity);
    installs(What::TargetSet(Some(newer)), newer).keeps();
}

#[test]
fn a_turn_past_its_point_of_no_return_is_not_cancelled() {
    let mut story = after_the_control_plane();
    story.all("w1", clearing("w1")).all("w1", changing("w1")[..6].to_vec());
    story.add("w1", What::TargetSet(None)).all("w1", changing("w1")[6..].to_vec());
    story.add("w1", started("install-kubelet")).keeps();
}

/// A control-plane node whose kubelet is still to come, after `kubeadm upgrade node` while its static pods run this.
fn kubelet_to_come(runs: Version) -> Story {
    let mut story = Story::begin();
    story.all("cp", [api_server(runs), What::TargetSet(Some(NEW)), taken("cp", LeaseName::ControlPlane)]);
    story.all("cp", clearing("cp")[2..].to_vec());
    let run =
        What::ToolStarted { tool: "kubeadm-upgrade", kubeadm: Some((KubeadmCommand::NodeControlPlane, NEW)) };
    story.all("cp", [run, api_server(NEW), ended("kubeadm-upgrade")]);
    story
}

#[test]
fn a_control_planes_second_turn_has_a_way_back_until_kubelet_is_installed() {
    let cancelled = [What::TargetSet(None), started("install-kubelet")];
    let lost = [freed("cp"), started("install-kubelet")];
    for runs in [NEW, OLD] {
        kubelet_to_come(runs).all("cp", cancelled.clone()).breaks(Rule::Cancel);
        kubelet_to_come(runs).all("cp", lost.clone()).breaks(Rule::LeaseHeld);
    }
    let begun = [started("install-kubelet"), What::TargetSet(None), ended("install-kubelet")];
    kubelet_to_come(NEW).all("cp", begun).add("cp", started("install-kubelet")).keeps();
}

#[test]
fn kubeadm_runs_for_the_patch_that_is_asked_for() {
    let run = |target| What::ToolStarted {
        tool: "kubeadm-upgrade",
        kubeadm: Some((KubeadmCommand::NodeWorker, target)),
    };
    let mut story = after_the_control_plane();
    story.all("w1", clearing("w1")).add("w1", What::TargetSet(Some(Version::new(1, 36, 4))));
    story.clone().add("w1", run(NEW)).breaks(Rule::Cancel);
    story.clone().add("w1", run(Version::new(1, 36, 4))).keeps();
    let hop = What::TargetSet(Some(Version::new(1, 37, 0)));
    story.add("w1", hop).add("w1", run(NEW)).keeps();
}

/// A worker whose kubelet's files and kubeadm were changed, and which goes back after this.
fn goes_back(events: impl IntoIterator<Item = What>) -> Story {
    let files = |version| What::KubeletFiles { version };
    let mut story = after_the_control_plane();
    story.add("w1", files(OLD)).all("w1", clearing("w1"));
    story.all("w1", changing("w1")[..4].to_vec()).all("w1", [files(NEW), ended("kubeadm-upgrade")]);
    story.add("w1", What::TargetSet(None)).all("w1", events).all("w1", backing_out("w1"));
    story
}

#[test]
fn a_node_that_goes_back_has_its_kubelets_files_back() {
    goes_back([]).breaks(Rule::KubeletFilesBack);
    goes_back([What::KubeletFiles { version: OLD }]).keeps();
}

#[test]
fn a_node_that_goes_back_has_its_kubeadm_back() {
    let old = |event: &Event| event.node == "w1" && event.what == package("kubeadm", OLD, agent("w1"));
    let forgets = |events: Vec<What>| {
        let mut story = goes_back(events);
        story.0.retain(|event| !old(event));
        story
    };
    let files = What::KubeletFiles { version: OLD };
    forgets(vec![files.clone()]).breaks(Rule::PackageBack);
    let failed = [started("install-kubeadm"), What::ToolEnded { tool: "install-kubeadm", ok: false }];
    forgets([files.clone()].into_iter().chain(failed).collect()).keeps();
    let another = [started("kubeadm-upgrade"), What::ToolEnded { tool: "kubeadm-upgrade", ok: false }];
    let mut story = forgets([files.clone()].into_iter().chain(another).collect());
    story.0.retain(|event| event.what != What::TargetSet(None));
    story.breaks(Rule::PackageBack);
    forgets(vec![files.clone(), What::WentWrong { what: "disk full" }]).keeps();
    let mut gone = forgets(vec![files]);
    gone.0.insert(0, Event { at: 0, node: FLEET.to_owned(), what: What::Withdrawn { version: OLD } });
    gone.keeps();
}

pub(super) fn fires() -> Vec<(Rule, Story)> {
    let mut cancelled = retargeted(None);
    cancelled.add("w1", evicts());
    let mut forgets = goes_back([]);
    forgets.0.retain(|event| event.what != package("kubeadm", OLD, agent("w1")));
    vec![(Rule::Cancel, cancelled), (Rule::KubeletFilesBack, goes_back([])), (Rule::PackageBack, forgets)]
}
