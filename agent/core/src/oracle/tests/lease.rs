//! Whose Lease it is.

use super::*;

#[test]
fn a_lease_is_for_one_kind_of_node() {
    after_the_control_plane().add("w1", taken("w1", LeaseName::ControlPlane)).breaks(Rule::LeaseIdentity);
    after_the_control_plane().add("cp", taken("cp", LeaseName::Slot(0))).breaks(Rule::LeaseIdentity);
}

#[test]
fn a_lease_that_a_person_gives_away_is_lost_and_not_taken() {
    let given = |holder: &str| What::LeaseGiven { lease: LeaseName::Slot(0), holder: holder.to_owned() };
    let mut story = after_the_control_plane();
    story.all("w1", clearing("w1")).add(FLEET, given("bob")).keeps();
    assert!(!ends(&story.0).contains_key("bob"));
    story.clone().add("w1", started("install-kubeadm")).breaks(Rule::LeaseHeld);
    story.add("w2", taken("w2", LeaseName::Slot(0))).breaks(Rule::LeaseStolen);
}

#[test]
fn a_lease_given_back_before_the_node_is_in_service_breaks_rule_8() {
    let uncordoned = |what: &What| matches!(what, What::Uncordoned { .. });
    assert!(exchanged(uncordoned, &[]).broken().contains(&Rule::ReleaseLast));
    let by_person = What::Uncordoned { by: Who::Person };
    exchanged(uncordoned, &[by_person]).keeps();
}

#[test]
fn a_lease_is_taken_over_only_from_a_node_that_is_long_gone() {
    let mut story = after_the_control_plane();
    story.add("w1", taken("w1", LeaseName::Slot(0))).add("w1", What::Deleted);
    let take = taken("w2", LeaseName::Slot(0));
    story.clone().add("w2", take.clone()).breaks(Rule::LeaseStolen);
    story.all("w2", vec![What::Asked; 7]).add("w2", take).keeps();
}

#[test]
fn going_on_without_the_lease_breaks_rule_12_before_the_point_of_no_return_only() {
    let lost = What::LeaseReleased { lease: LeaseName::Slot(0), by: Who::Person };
    let tool = |name: &'static str| move |what: &What| matches!(what, What::ToolStarted { tool, .. } if *tool == name);
    let staging = [lost.clone(), What::Asked, started("install-kubeadm")];
    assert_eq!(exchanged(tool("install-kubeadm"), &staging).broken()[0], Rule::LeaseHeld);
    let evicted = |what: &What| matches!(what, What::Evicted { .. });
    let evicts = What::Evicted { pod: "w1-pod".to_owned(), by: agent("w1") };
    assert_eq!(exchanged(evicted, &[lost.clone(), evicts]).broken()[0], Rule::LeaseHeld);
    let installing = [started("install-kubelet"), lost];
    exchanged(tool("install-kubelet"), &installing).keeps();
}

#[test]
fn changing_another_node_breaks_rule_13() {
    let mut story = after_the_control_plane();
    story.all("w1", clearing("w1")).keeps();
    story.add("w2", What::Evicted { pod: "w2-pod".to_owned(), by: agent("w1") });
    assert!(story.broken().contains(&Rule::OwnNode));
}

/// A worker that is drained, loses its Lease and goes on with this tool so much later.
fn lost_before(tool: &'static str, later: u64) -> Story {
    let mut story = after_the_control_plane();
    for what in upgrade("w1") {
        if matches!(&what, What::ToolStarted { tool: starts, .. } if *starts == tool) {
            story.add("w1", freed("w1")).after(later, "w1", what);
            break;
        }
        story.add("w1", what);
    }
    story
}

#[test]
fn a_step_without_a_way_back_wants_a_lease_proved_just_before() {
    lost_before("install-kubelet", 19_000).keeps();
    lost_before("install-kubelet", 21_000).breaks(Rule::LeaseHeld);
    lost_before("kubeadm-upgrade", 21_000).keeps();
    lost_before("kubeadm-upgrade", 80_000).breaks(Rule::LeaseHeld);
}

fn taken_as(uid: &str, turn: &str) -> Story {
    let mut story = after_the_control_plane();
    let (uid, turn) = (uid.to_owned(), turn.to_owned());
    story.add("w1", What::TargetSet(Some(NEW)));
    story.add("w1", What::LeaseTaken { lease: LeaseName::Slot(0), uid, turn });
    story
}

#[test]
fn a_lease_names_the_node_that_exists_and_a_turn() {
    taken_as("another-uid", "turn").breaks(Rule::LeaseIdentity);
    taken_as("w1-uid", "").breaks(Rule::LeaseIdentity);
    taken_as("w1-uid", "turn").keeps();
}

#[test]
fn a_node_made_anew_does_not_work_under_its_predecessors_lease() {
    let anew = What::Joined { control_plane: false, uid: "w1-uid-2".to_owned() };
    let mut story = taken_as("w1-uid", "turn");
    story.all("w1", [What::Deleted, anew, says(true, OLD), What::TargetSet(Some(NEW))]);
    let cordons = What::Cordoned { by: agent("w1") };
    story.clone().add("w1", cordons.clone()).breaks(Rule::LeaseIdentity);
    let again =
        What::LeaseTaken { lease: LeaseName::Slot(0), uid: "w1-uid-2".to_owned(), turn: "turn".to_owned() };
    story.after(600_000, "w1", again).add("w1", cordons).keeps();
}

#[test]
fn whoever_cannot_read_its_node_any_more_takes_a_lease_as_the_one_it_was_last_told_of() {
    let takes = |healthy: bool| {
        let joined = |uid: &str| What::Joined { control_plane: true, uid: uid.to_owned() };
        let mut story = Story::begin();
        story.all("cp", [What::KubeletServer { own: true }, What::EtcdMember { healthy }]);
        story.all("cp", [What::Deleted, joined("cp-uid-2"), joined("cp-uid"), says(true, OLD)]);
        let (lease, turn) = (LeaseName::ControlPlane, "turn".to_owned());
        story.add("cp", What::LeaseTaken { lease, uid: "cp-uid-2".to_owned(), turn });
        story.broken().contains(&Rule::LeaseIdentity)
    };
    assert!(takes(true));
    assert!(!takes(false));
}

#[test]
fn a_turn_a_that_has_reached_its_target_runs_once_more_for_the_node_that_is_there_now() {
    let runs_again = |reached: Version| {
        let mut story = Story::begin();
        let applies =
            What::ToolStarted { tool: "kubeadm-upgrade", kubeadm: Some((KubeadmCommand::Apply, NEW)) };
        let anew = What::Joined { control_plane: true, uid: "cp-uid-2".to_owned() };
        story.all("cp", clearing("cp")).add("cp", api_server(reached));
        story.all("cp", [What::Deleted, anew, says(true, OLD), What::TargetSet(Some(NEW)), applies]);
        story.broken().contains(&Rule::LeaseIdentity)
    };
    assert!(!runs_again(NEW));
    assert!(runs_again(OLD));
}

/// A worker that holds a slot is deleted and comes back as another Node at once.
fn made_anew() -> Story {
    let mut story = taken_as("w1-uid", "turn");
    let anew = What::Joined { control_plane: false, uid: "w1-uid-2".to_owned() };
    story.all("w1", [What::Deleted, anew, says(true, OLD), What::TargetSet(Some(NEW))]);
    story
}

#[test]
fn whether_a_holder_is_gone_is_told_by_its_uid() {
    let mut story = made_anew();
    let own = |uid: &str| What::LeaseTaken {
        lease: LeaseName::Slot(0),
        uid: uid.to_owned(),
        turn: "next".to_owned(),
    };
    for (node, uid) in [("w1", "w1-uid-2"), ("w2", "w2-uid")] {
        story.clone().after(20_000, node, own(uid)).breaks(Rule::LeaseStolen);
        story.clone().after(600_000, node, own(uid)).keeps();
    }
    story.after(600_000, "w1", own("w1-uid-2")).after(600_000, "w2", own("w2-uid"));
    story.breaks(Rule::LeaseStolen);
}

#[test]
fn the_lease_of_the_control_plane_is_never_taken_over_by_a_node_made_anew() {
    let mut story = Story::begin();
    let anew = What::Joined { control_plane: true, uid: "cp-uid-2".to_owned() };
    story.all("cp", [taken("cp", LeaseName::ControlPlane), What::Deleted, anew, says(true, OLD)]);
    let takes = What::LeaseTaken {
        lease: LeaseName::ControlPlane,
        uid: "cp-uid-2".to_owned(),
        turn: "next".to_owned(),
    };
    story.clone().after(3_600_000, "cp", takes.clone()).breaks(Rule::LeaseStolen);
    story.add("cp", freed("cp")).add("cp", takes).keeps();
}

#[test]
fn whose_lease_was_taken_by_another_goes_on_with_nothing() {
    let mut story = after_the_control_plane();
    story.add("w1", What::TargetSet(Some(NEW))).add("w1", taken("w1", LeaseName::Slot(0)));
    story.add("w2", taken("w2", LeaseName::Slot(0))).breaks(Rule::LeaseStolen);
    story.add("w1", What::Cordoned { by: agent("w1") });
    assert_eq!(story.broken(), [Rule::LeaseStolen, Rule::LeaseHeld]);
}

#[test]
fn a_lease_that_is_kept_gives_its_rules_nothing_to_judge() {
    let mut story = after_the_control_plane();
    for rule in [Rule::LeaseStolen, Rule::LeaseHeld, Rule::ControlPlaneAlone, Rule::ControlPlaneWholeBefore] {
        assert_eq!(story.premises(rule), 0, "{rule:?}");
    }
    story.add("w1", reported(Phase::Claiming)).add("w1", taken("w1", LeaseName::Slot(0)));
    story.add("cp", reported(Phase::Claiming)).add("w1", reported(Phase::Claiming));
    assert_eq!(story.premises(Rule::LeaseStolen), 0);
    story.add("w2", reported(Phase::Claiming));
    assert_eq!(story.premises(Rule::LeaseStolen), 1);
}

pub(super) fn fires() -> Vec<(Rule, Story)> {
    let uncordoned = |what: &What| matches!(what, What::Uncordoned { .. });
    let mut stolen = after_the_control_plane();
    stolen.add("w1", taken("w1", LeaseName::Slot(0))).add("w2", taken("w2", LeaseName::Slot(0)));
    let mut another = after_the_control_plane();
    another.add("w2", What::Cordoned { by: agent("w1") });
    vec![
        (Rule::ReleaseLast, exchanged(uncordoned, &[])),
        (Rule::LeaseStolen, stolen),
        (Rule::LeaseHeld, lost_before("install-kubelet", 21_000)),
        (Rule::LeaseIdentity, taken_as("another-uid", "turn")),
        (Rule::OwnNode, another),
    ]
}
