//! Whether what a watch or a read shows of the own Node is news.

/// The newest resourceVersion that the own Node is known to have from our own writes and reads: what a watch that lags still shows
/// of older ones is dropped. The API calls resourceVersions opaque; where one is not a number nothing is dropped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Mark(u64);

impl Mark {
    /// As of now; to be taken before a read or a list is sent.
    pub const fn before(self) -> u64 {
        self.0
    }

    /// One of our writes was answered with this version.
    pub fn wrote(&mut self, version: &str) {
        self.0 = version.parse().map_or(self.0, |version| self.0.max(version));
    }

    /// Whether an event of a watch is older than what we wrote or read.
    pub fn outdates(self, version: &str) -> bool {
        version.parse::<u64>().is_ok_and(|version| version < self.0)
    }

    /// Whether a consistent read that was sent when the mark stood at `before` and returned this version shows an API
    /// server restored from an older state, because the version is a smaller one. The mark follows what was read.
    pub fn is_restored(&mut self, before: u64, version: &str) -> bool {
        let Ok(version) = version.parse::<u64>() else { return false };
        let restored = version < before;
        self.0 = if restored { version } else { self.0.max(version) };
        restored
    }

    /// A consistent read or a list that was sent when the mark stood at `before` found no Node. An API server put back to a state
    /// before it was made makes the next one with a smaller version.
    pub fn found_none(&mut self, before: u64) {
        if self.0 == before {
            self.0 = 0;
        }
    }

    /// Whether a list with which a watch begins is news: one that is merely older than a write made meanwhile is none.
    pub fn lists(&mut self, before: u64, version: &str) -> bool {
        self.is_restored(before, version) || !self.outdates(version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_older_than_our_own_write_is_dropped_but_a_restored_server_is_believed() {
        let mut mark = Mark::default();
        mark.wrote("50");
        assert!(mark.outdates("49") && !mark.outdates("50") && !mark.outdates("51"));
        let before = mark.before();
        mark.wrote("60");
        mark.wrote("58");
        assert!(!mark.is_restored(before, "55") && mark.outdates("55"), "answered before our last write");
        assert!(mark.outdates("59"), "answers may come in another order");
        assert!(mark.is_restored(mark.before(), "20"), "sent after it");
        assert!(!mark.outdates("21"));
        assert!(!mark.outdates("opaque"));
    }

    #[test]
    fn what_is_older_than_our_own_read_is_dropped_too() {
        let mut mark = Mark::default();
        assert!(!mark.is_restored(mark.before(), "70") && !mark.is_restored(mark.before(), "opaque"));
        assert!(mark.outdates("69") && !mark.outdates("70"));
    }

    #[test]
    fn a_list_is_news_unless_it_is_older_than_a_write_made_meanwhile() {
        let mut mark = Mark::default();
        mark.wrote("50");
        let before = mark.before();
        assert!(mark.lists(before, "50") && mark.lists(before, "opaque"));
        mark.wrote("60");
        assert!(!mark.lists(before, "55"));
        assert!(mark.lists(before, "40"), "smaller than before it was sent: restored");
        assert!(!mark.outdates("41"));
    }

    #[test]
    fn a_node_that_comes_where_there_was_none_is_news_whatever_its_version() {
        let mut mark = Mark::default();
        mark.wrote("50");
        let before = mark.before();
        mark.wrote("60");
        mark.found_none(before);
        assert!(mark.outdates("55"), "written since");
        mark.found_none(mark.before());
        assert!(!mark.outdates("20"));
    }
}
