//! The credential for what agents share.

use crate::api::Explanation;

/// Whether this node has a credential for what agents share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Access {
    /// It has, as far as anybody knows.
    Usable {
        /// What people should know of it.
        note: Option<String>,
    },
    /// It has none, or one that is no good; what is waited for.
    Missing(Explanation),
}

impl Default for Access {
    fn default() -> Self {
        Self::Usable { note: None }
    }
}
