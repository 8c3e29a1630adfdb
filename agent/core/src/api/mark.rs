//! Notes an agent leaves on its Node for its peers, and for itself where its memory is lost.

use serde::{Deserialize, Serialize};

use super::TurnId;
use super::Version;
use crate::time::Unix;

/// Which of the two turns of rule 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TurnKind {
    /// Turn A: the static pods of a control-plane node, while it is in service.
    ControlPlane,
    /// Turn B: kubelet, on a node that is drained; the only turn of a worker.
    Kubelet,
}

/// The annotation `in-hand`: which turn is at work on a node. A mark that cannot be read is a mark all the same: every field is
/// absent then.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct InHand {
    /// Which turn.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub turn: Option<TurnKind>,
    /// Its name, as in the Lease's holder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<TurnId>,
    /// The version before it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Version>,
    /// The version it goes to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<Version>,
    /// Since when, for people.
    pub since: Unix,
    /// Why its turn is degraded, where its Lease cannot say so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub degraded: Option<String>,
}

impl InHand {
    /// Reads the annotation's text.
    pub fn read(text: &str) -> Self {
        let read: Self = serde_json::from_str(text).unwrap_or_default();
        Self { id: read.id.filter(TurnId::is_plain), ..read }
    }

    /// The annotation's text.
    pub fn text(&self) -> String {
        // A struct of texts and numbers always has a JSON form.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// The annotation `api-server`: what the API server of a control-plane node answered to `/version`, and the mirror pod's
/// `kubernetes.io/config.hash` at that time. It is believed only while that hash stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiServerNote {
    /// Its answer.
    pub version: Version,
    /// The hash.
    pub hash: String,
}

impl ApiServerNote {
    /// What is to be noted, where both are known.
    pub fn of(version: Option<Version>, hash: Option<&str>) -> Option<Self> {
        version.zip(hash).map(|(version, hash)| Self { version, hash: hash.to_owned() })
    }

    /// Reads the annotation's text; a note that cannot be read says nothing.
    pub fn read(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// The annotation's text.
    pub fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_that_cannot_be_read_is_a_mark_all_the_same() {
        for text in ["", "yes", "[]", "{\"turn\": 7}", "null"] {
            assert_eq!(InHand::read(text), InHand::default(), "{text}");
        }
        assert_eq!(InHand::read("{\"id\": \"../x\"}").id, None);
    }

    #[test]
    fn notes_are_read_as_they_were_written() {
        let mark = InHand {
            turn: Some(TurnKind::Kubelet),
            id: Some(TurnId("v1.36.3-a".into())),
            from: Some(Version::new(1, 36, 2)),
            to: Some(Version::new(1, 36, 3)),
            since: Unix(7),
            degraded: Some("disk".into()),
        };
        assert_eq!(InHand::read(&mark.text()), mark);
        let note = ApiServerNote { version: Version::new(1, 36, 3), hash: "ab".into() };
        assert_eq!(ApiServerNote::read(&note.text()), Some(note));
        assert_eq!(ApiServerNote::read("v1.36.3"), None);
    }
}
