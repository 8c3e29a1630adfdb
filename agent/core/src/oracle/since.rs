//! Since when something is so.

/// A value and the index of the event that made it so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Since<T> {
    pub(super) is: T,
    pub(super) by: usize,
}
