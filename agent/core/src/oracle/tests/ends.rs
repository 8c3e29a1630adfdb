//! How nodes end.

use super::*;

#[test]
fn a_node_that_goes_back_ends_as_backed_out_or_rolled_back() {
    let mut story = after_the_control_plane();
    story.all("w1", clearing("w1")).add("w1", What::TargetSet(None));
    assert!(matches!(story.end("w1"), End::Unfinished(_)));
    let back = [
        What::Uncordoned { by: agent("w1") },
        What::LeaseReleased { lease: LeaseName::Slot(0), by: agent("w1") },
    ];
    assert_eq!(story.clone().all("w1", back.clone()).end("w1"), End::BackedOut);
    let later = [started("install-kubelet"), ended("install-kubelet")];
    assert_eq!(story.all("w1", later).all("w1", back).end("w1"), End::RolledBack);
}

#[test]
fn a_degraded_node_keeps_its_cordon_and_its_marked_lease() {
    let mut story = after_the_control_plane();
    story.all("w1", clearing("w1")).add("w1", reported(Phase::Degraded));
    assert!(matches!(story.end("w1"), End::Unfinished(_)));
    story.add("w1", What::LeaseMarked { lease: LeaseName::Slot(0), degraded: true });
    assert_eq!(story.end("w1"), End::Degraded);
    assert_eq!(story.clone().add("w1", What::Uncordoned { by: Who::Person }).end("w1"), End::Degraded);
    story.add("w1", What::Uncordoned { by: agent("w1") });
    assert!(matches!(story.end("w1"), End::Unfinished(_)));
}

#[test]
fn a_refused_or_waiting_node_ends_untouched_in_service() {
    let mut story = after_the_control_plane();
    assert_eq!(story.end("w2"), End::Untouched);
    story.add("w2", What::TargetSet(Some(NEW)));
    assert_eq!(story.end("w2"), End::Untouched);
    assert_eq!(story.add("w2", reported(Phase::Refused)).end("w2"), End::Refused);
}

#[test]
fn a_control_plane_degraded_in_its_own_turn_may_be_in_service() {
    let mut story = Story::begin();
    story.all("cp", [What::TargetSet(Some(NEW)), taken("cp", LeaseName::ControlPlane)]);
    story.all("cp", [reported(Phase::Degraded)]);
    assert!(matches!(story.end("cp"), End::Unfinished(_)));
    story.add("cp", What::LeaseMarked { lease: LeaseName::ControlPlane, degraded: true });
    assert_eq!(story.end("cp"), End::Degraded);
}

#[test]
fn a_control_plane_node_degraded_by_what_was_found_without_memory_waits_for_a_lease_that_another_holds() {
    let degraded = |lost: Option<What>, held: bool| {
        let mut story = Story::begin();
        control_plane::joins(&mut story, "cp2");
        story.all("cp", lost).add("cp", reported(Phase::Degraded));
        if held {
            story.all("cp2", [What::TargetSet(Some(NEW)), taken("cp2", LeaseName::ControlPlane)]);
        }
        story.end("cp")
    };
    let lost = Some(What::WentWrong { what: MEMORY_LOST });
    assert_eq!(degraded(lost.clone(), true), End::Degraded);
    assert!(matches!(degraded(lost, false), End::Unfinished(_)));
    assert!(matches!(degraded(None, true), End::Unfinished(_)));
}

#[test]
fn the_mark_tells_of_a_control_plane_node_that_reaches_no_api_server() {
    let mut story = Story::begin();
    story.all("cp", [What::TargetSet(Some(NEW)), taken("cp", LeaseName::ControlPlane)]);
    story.add("cp", What::LeaseMarked { lease: LeaseName::ControlPlane, degraded: true });
    assert!(matches!(story.end("cp"), End::Unfinished(_)));
    assert_eq!(story.add("cp", What::Ready { ready: false, kubelet: OLD }).end("cp"), End::Degraded);
}
