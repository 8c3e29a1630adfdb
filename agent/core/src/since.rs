//! What this process did since it began and observations may not show, or not yet.

use crate::act::Act;
use crate::observed::{NodeSeen, Observed};
use crate::time::Mono;

/// The bookkeeping of this process's own acts; it is gone with the process, and nothing but time is lost with it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Since {
    /// The resourceVersion our last cordon made: a lagging watch may still show the Node before it.
    pub cordon_version: Option<String>,
    /// Whether somebody was seen to lift our cordon while its note stood: what stands since then is not ours.
    pub cordon_lifted: bool,
    /// When a Lease was last given back because it was not this node's turn after all.
    pub gave_back: Option<Mono>,
}

impl Since {
    /// Looks at the own Node as it was just told, for somebody who lifts our cordon.
    pub fn look(&mut self, node: Option<&NodeSeen>) {
        let noted = node.filter(|node| node.cordon_note.is_some());
        self.cordon_lifted = noted.is_some_and(|node| self.cordon_lifted || self.is_lifted(node));
    }

    /// Whether this Node, seen with our note, shows that somebody lifted our cordon.
    fn is_lifted(&self, node: &NodeSeen) -> bool {
        let number = |version: &str| version.parse::<u64>().ok();
        let ours = self.cordon_version.as_deref().and_then(number);
        let before_ours = number(&node.resource_version).zip(ours).is_some_and(|(seen, ours)| seen < ours);
        !node.unschedulable && !before_ours
    }

    /// An act did what it says; what was observed on the way is taken in already.
    pub fn did(&mut self, act: &Act, observed: &Observed, now: Mono) {
        match act {
            Act::Release { .. } => self.gave_back = Some(now),
            Act::Cordon => {
                self.cordon_lifted = false;
                self.cordon_version = observed.node.as_ref().map(|node| node.resource_version.clone());
            }
            _ => {}
        }
    }
}
