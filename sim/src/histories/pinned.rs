//! In which ways each run of a history goes wrong today that is red or waits, as its test prints it.

/// By number.
pub(super) const PINNED: &[(&str, &[&[&str]])] = &[
    ("E11", &[&["CauseOfRefused", "cp1 ends Done", "cp1 or w1 begins at once", "w1 ends Done"]]),
    ("E29", &[&[], &["w2 ends Done"]]),
    ("E30", &[&["cp1 ends Done", "cp2 ends Done", "cp3 ends Done"]]),
];
