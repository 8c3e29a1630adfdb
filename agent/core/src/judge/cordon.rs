//! Cordoning without taking what is not ours: one fenced patch, decided from a fresh read.

use crate::observed::NodeSeen;

/// So often a patch is decided anew after somebody else changed the Node.
pub const TRIES: u32 = 5;

/// A patch of the own Node, to be sent with the resourceVersion of the Node it was decided from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CordonPatch {
    /// `spec.unschedulable`.
    pub unschedulable: bool,
    /// The annotation `found-cordoned`: this value, or removed.
    pub found_cordoned: Option<bool>,
}

/// Whether the node is cordoned and our note of it stands beside.
pub fn is_cordoned_by_us(node: &NodeSeen) -> bool {
    node.unschedulable && node.cordon_note.is_some()
}

/// The patch that cordons; none if that is done.
///
/// A note that stands already is kept, so that a second cordon after a crash does not mistake our own cordon for
/// somebody else's. If somebody lifted the cordon meanwhile, theirs is gone, so the next one is ours.
pub fn cordon(node: &NodeSeen) -> Option<CordonPatch> {
    match (node.unschedulable, node.cordon_note) {
        (true, Some(_)) => None,
        (true, None) => Some(CordonPatch { unschedulable: true, found_cordoned: Some(true) }),
        (false, _) => Some(CordonPatch { unschedulable: true, found_cordoned: Some(false) }),
    }
}

/// The patch that takes our cordon back; none if nothing of ours is left. What somebody else cordoned stays so.
pub fn uncordon(node: &NodeSeen) -> Option<CordonPatch> {
    node.cordon_note
        .map(|theirs| CordonPatch { unschedulable: theirs && node.unschedulable, found_cordoned: None })
}

/// The patch that drops our note and leaves the cordon as it stands: somebody lifted ours, so whatever stands now is
/// theirs.
pub fn forget_cordon(node: &NodeSeen) -> Option<CordonPatch> {
    node.cordon_note.map(|_| CordonPatch { unschedulable: node.unschedulable, found_cordoned: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(unschedulable: bool, note: Option<bool>) -> NodeSeen {
        NodeSeen { cordon_note: note, unschedulable, ..NodeSeen::default() }
    }

    fn apply(before: &NodeSeen, patch: Option<CordonPatch>) -> NodeSeen {
        patch.map_or_else(|| before.clone(), |p| node(p.unschedulable, p.found_cordoned))
    }

    #[test]
    fn a_node_is_left_as_it_was_found() {
        for theirs in [false, true] {
            let found = node(theirs, None);
            let cordoned = apply(&found, cordon(&found));
            assert!(is_cordoned_by_us(&cordoned));
            assert_eq!(apply(&cordoned, uncordon(&cordoned)), found);
        }
    }

    #[test]
    fn cordoning_twice_does_not_make_our_cordon_somebody_elses() {
        let once = apply(&node(false, None), cordon(&node(false, None)));
        assert_eq!(cordon(&once), None);
    }

    #[test]
    fn somebody_elses_cordon_that_was_lifted_is_not_put_back_at_the_end() {
        let lifted = node(false, Some(true));
        let again = apply(&lifted, cordon(&lifted));
        assert_eq!(apply(&again, uncordon(&again)), node(false, None));
        assert_eq!(apply(&lifted, uncordon(&lifted)), node(false, None));
    }

    #[test]
    fn a_cordon_made_after_ours_was_lifted_stays() {
        for unschedulable in [false, true] {
            let seen = node(unschedulable, Some(false));
            assert_eq!(apply(&seen, forget_cordon(&seen)), node(unschedulable, None));
        }
        assert_eq!(forget_cordon(&node(true, None)), None);
    }

    #[test]
    fn without_our_note_nothing_is_uncordoned() {
        assert_eq!(uncordon(&node(true, None)), None);
    }
}
