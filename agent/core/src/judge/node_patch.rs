//! What is written to the own Node: one fenced patch each, decided from a fresh read. Cordoning takes nothing that is not ours.

use std::collections::BTreeMap;

use crate::act::Act;
use crate::api::InHand;
use crate::api::annotations::{API_SERVER, CRI_SOCKET, CURRENT, FOUND_CORDONED, IN_HAND};
use crate::observed::NodeSeen;

/// So often a patch is decided anew after somebody else changed the Node.
pub const TRIES: u32 = 5;

/// A patch of the own Node, to be sent with the resourceVersion of the Node it was decided from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NodePatch {
    /// `spec.unschedulable`, where it is written.
    pub unschedulable: Option<bool>,
    /// Annotations: these values, or removed.
    pub notes: BTreeMap<&'static str, Option<String>>,
}

impl NodePatch {
    fn note(key: &'static str, value: Option<String>) -> Self {
        Self { unschedulable: None, notes: BTreeMap::from([(key, value)]) }
    }

    fn cordon_note(unschedulable: bool, note: Option<bool>) -> Self {
        let note = note.map(|theirs| theirs.to_string());
        Self { unschedulable: Some(unschedulable), ..Self::note(FOUND_CORDONED, note) }
    }
}

/// Whether the node is cordoned and our note of it stands beside.
pub fn is_cordoned_by_us(node: &NodeSeen) -> bool {
    node.unschedulable && node.cordon_note.is_some()
}

/// Whether an act makes our cordon anew that somebody has lifted: the note stays where people uncordon.
pub fn cordons_again(act: &Act, node: &NodeSeen) -> bool {
    matches!(act, Act::Cordon { .. }) && !node.unschedulable && node.cordon_note.is_some()
}

/// The patch an act wants of this Node; none if what it wants is there already, or it writes nothing to the Node.
pub fn patch(act: &Act, node: &NodeSeen) -> Option<NodePatch> {
    match act {
        Act::Cordon { mark } => cordon(node, mark),
        Act::Uncordon => uncordon(node),
        Act::ForgetCordon => forget_cordon(node),
        Act::Mark { mark } => {
            (node.in_hand.as_ref() != Some(mark)).then(|| NodePatch::note(IN_HAND, Some(mark.text())))
        }
        Act::Unmark { current } => {
            let mut patch = NodePatch::default();
            patch.notes.extend(node.in_hand.as_ref().map(|_| (IN_HAND, None)));
            let stale = current.filter(|current| node.current != Some(*current));
            patch.notes.extend(stale.map(|current| (CURRENT, Some(current.to_string()))));
            (patch != NodePatch::default()).then_some(patch)
        }
        Act::PublishCurrent { current } => {
            (node.current != Some(*current)).then(|| NodePatch::note(CURRENT, Some(current.to_string())))
        }
        Act::NoteCriSocket { socket } => {
            (!node.has_cri_socket).then(|| NodePatch::note(CRI_SOCKET, Some(socket.clone())))
        }
        Act::PublishApiServer { note } => {
            (node.api_server.as_ref() != Some(note)).then(|| NodePatch::note(API_SERVER, Some(note.text())))
        }
        _ => None,
    }
}

/// Cordons, and marks the turn. A note that stands already is kept, so that a second cordon after a crash does not mistake our own
/// cordon for somebody else's. If somebody lifted the cordon meanwhile, theirs is gone, so the next one is ours.
fn cordon(node: &NodeSeen, mark: &InHand) -> Option<NodePatch> {
    let before = match (node.unschedulable, node.cordon_note) {
        (true, Some(theirs)) => theirs,
        (true, None) => true,
        (false, _) => false,
    };
    if is_cordoned_by_us(node) && node.in_hand.as_ref() == Some(mark) {
        return None;
    }
    let mut patch = NodePatch::cordon_note(true, Some(before));
    patch.notes.insert(IN_HAND, Some(mark.text()));
    Some(patch)
}

/// Takes our cordon back; nothing if nothing of ours is left. What somebody else cordoned stays so.
fn uncordon(node: &NodeSeen) -> Option<NodePatch> {
    node.cordon_note.map(|theirs| NodePatch::cordon_note(theirs && node.unschedulable, None))
}

/// Drops our note and leaves the cordon as it stands: somebody lifted ours, so whatever stands now is theirs.
fn forget_cordon(node: &NodeSeen) -> Option<NodePatch> {
    node.cordon_note.map(|_| NodePatch::cordon_note(node.unschedulable, None))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{TurnKind, Version};

    fn node(unschedulable: bool, note: Option<bool>) -> NodeSeen {
        NodeSeen { cordon_note: note, unschedulable, ..NodeSeen::default() }
    }

    fn mark() -> InHand {
        InHand { turn: Some(TurnKind::Kubelet), ..InHand::default() }
    }

    fn applied(before: &NodeSeen, act: &Act) -> NodeSeen {
        let Some(patch) = patch(act, before) else { return before.clone() };
        let mut annotations: BTreeMap<String, String> = BTreeMap::new();
        let note = before.cordon_note.map(|note| (FOUND_CORDONED.to_owned(), note.to_string()));
        annotations.extend(note);
        annotations.extend(before.in_hand.as_ref().map(|mark| (IN_HAND.to_owned(), mark.text())));
        annotations.extend(before.current.map(|current| (CURRENT.to_owned(), current.to_string())));
        for (key, value) in patch.notes {
            match value {
                Some(value) => annotations.insert(key.to_owned(), value),
                None => annotations.remove(key),
            };
        }
        let unschedulable = patch.unschedulable.unwrap_or(before.unschedulable);
        NodeSeen { unschedulable, ..NodeSeen::default() }.with_annotations(&annotations)
    }

    fn cordoned(before: &NodeSeen) -> NodeSeen {
        applied(before, &Act::Cordon { mark: mark() })
    }

    #[test]
    fn a_node_is_left_as_it_was_found() {
        for theirs in [false, true] {
            let found = node(theirs, None);
            let cordoned = cordoned(&found);
            assert!(is_cordoned_by_us(&cordoned));
            assert_eq!(cordoned.in_hand, Some(mark()));
            let back = applied(&cordoned, &Act::Uncordon);
            assert_eq!(back.in_hand, Some(mark()), "the mark goes with the turn's end");
            assert_eq!(applied(&back, &Act::Unmark { current: None }), found);
        }
    }

    #[test]
    fn cordoning_twice_does_not_make_our_cordon_somebody_elses() {
        let once = cordoned(&node(false, None));
        assert_eq!(patch(&Act::Cordon { mark: mark() }, &once), None);
        let unmarked = NodeSeen { in_hand: None, ..once.clone() };
        assert_eq!(cordoned(&unmarked), once, "a mark that is gone is written again");
    }

    #[test]
    fn a_cordon_is_made_again_where_its_note_stands_without_it() {
        let cordon = Act::Cordon { mark: mark() };
        for theirs in [false, true] {
            assert!(cordons_again(&cordon, &node(false, Some(theirs))));
            assert!(!cordons_again(&cordon, &node(true, Some(theirs))));
            assert!(!cordons_again(&cordon, &node(theirs, None)));
        }
        assert!(!cordons_again(&Act::Uncordon, &node(false, Some(false))));
    }

    #[test]
    fn somebody_elses_cordon_that_was_lifted_is_not_put_back_at_the_end() {
        let lifted = node(false, Some(true));
        assert!(!applied(&cordoned(&lifted), &Act::Uncordon).unschedulable);
        assert!(!applied(&lifted, &Act::Uncordon).unschedulable);
    }

    #[test]
    fn a_cordon_made_after_ours_was_lifted_stays() {
        for unschedulable in [false, true] {
            let seen = node(unschedulable, Some(false));
            assert_eq!(applied(&seen, &Act::ForgetCordon), node(unschedulable, None));
        }
        assert_eq!(patch(&Act::ForgetCordon, &node(true, None)), None);
    }

    #[test]
    fn without_our_note_nothing_is_uncordoned() {
        assert_eq!(patch(&Act::Uncordon, &node(true, None)), None);
    }

    #[test]
    fn the_mark_goes_and_current_comes_in_one_patch() {
        let version = Version::new(1, 36, 3);
        let seen = NodeSeen { in_hand: Some(mark()), ..node(false, None) };
        let act = Act::Unmark { current: Some(version) };
        let after = applied(&seen, &act);
        assert_eq!((after.in_hand.clone(), after.current), (None, Some(version)));
        assert_eq!(patch(&act, &after), None);
    }
}
