//! Who holds a Lease, and for what.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Version;
use crate::time::Unix;

/// Names one turn on one node; part of the Lease's holder and of every unit name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TurnId(pub String);

impl TurnId {
    /// A turn for `target` begun at `since`: unique on one node, which is all it needs to be, because the
    /// holder also names the Node and its UID.
    pub fn new(target: Version, since: Unix) -> Self {
        Self(format!("{target}-{:x}", since.0))
    }

    /// The version such a turn goes to; none where the name is no agent's.
    pub fn target(&self) -> Option<Version> {
        self.0.rsplit_once('-').and_then(|(target, _)| target.parse().ok())
    }

    /// Whether it can be part of the names of units and directories.
    pub fn is_plain(&self) -> bool {
        is_plain(&self.0) && !self.0.starts_with(['-', '.'])
    }
}

/// Who holds a Lease: node name, Node UID and turn (design rule 12).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Holder {
    /// Name of the Node.
    pub node: String,
    /// UID of the Node object: a re-created Node is somebody else.
    pub uid: String,
    /// The turn it is held for.
    pub turn: TurnId,
}

impl Holder {
    /// Reads a Lease's holderIdentity; none if it was not written by an agent.
    ///
    /// The admission policy lets agents write nothing else. A lost journal's turn is named after its Lease, and its units
    /// and directories after the turn, so a turn's name must be able to be part of both.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('/');
        let (node, uid, turn) = (parts.next()?, parts.next()?, parts.next()?);
        let lower = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b);
        let whole = parts.next().is_none()
            && (1..=253).contains(&node.len())
            && node.bytes().all(lower)
            && is_plain(uid);
        let turn = TurnId(turn.to_owned());
        (whole && turn.is_plain()).then(|| Self { node: node.to_owned(), uid: uid.to_owned(), turn })
    }

    /// Whether both are of the very same Node, whichever their turns; one of the same name in another life is another Node.
    pub fn is_of_same_node(&self, other: &Self) -> bool {
        (&self.node, &self.uid) == (&other.node, &other.uid)
    }
}

/// Short, and nothing but letters, digits, hyphens and dots.
fn is_plain(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.".contains(&b))
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.node, self.uid, self.turn.0)
    }
}

/// The Leases agents share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum LeaseName {
    /// Held by the one control-plane node that is being upgraded.
    ControlPlane,
    /// One of the slots workers share.
    Slot(u32),
}

impl LeaseName {
    /// The name of the Lease a text stands for; none for Leases that are not ours.
    pub fn parse(name: &str) -> Option<Self> {
        if name == "control-plane" {
            return Some(Self::ControlPlane);
        }
        let number = name.strip_prefix("slot-")?;
        let slot = number.parse().ok().map(Self::Slot)?;
        (slot.to_string() == name).then_some(slot)
    }
}

impl fmt::Display for LeaseName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ControlPlane => f.write_str("control-plane"),
            Self::Slot(number) => write!(f, "slot-{number}"),
        }
    }
}
