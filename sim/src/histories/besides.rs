//! What red histories show today beside the reason that their sentences are about.

/// By number.
pub(super) const BESIDES: &[(&str, &[&str])] = &[
    ("A2", &["Unfinished"]),
    ("A7", &["CauseOfRefused"]),
    ("A8", &["cp1 ends Done"]),
    ("A10", &["cp1 ends Done", "w1 ends Done"]),
    ("A12", &["Unfinished", "w1 ends Done"]),
    ("A13", &["RequestsPerHour"]),
    ("A14", &["RequestsPerHour"]),
    ("A16", &["Unfinished"]),
    ("A18", &["CordonedTime", "Unfinished"]),
    ("A19", &["RequestsPerHour"]),
    ("E4", &["cp1 ends Done"]),
    ("E5", &["CordonedTime", "CurrentLast", "RequestsPerHour", "cp1 ends Done", "w1 ends Done"]),
    ("E6", &["CordonedTime", "Unfinished"]),
    ("E8", &["CordonedTime", "cp1 ends Done"]),
    ("E10", &["RequestsPerHour"]),
    ("E14", &["Attempts"]),
    ("E17", &["cp1 runs kubeadm at most 0 times"]),
    ("E18", &["cp2 says whom it waits for"]),
    ("E22", &["w2 ends Done"]),
    ("E25", &["cp2 ends Done"]),
    ("E26", &["CordonedTime", "cp1 ends Done"]),
    ("E33", &["CauseOfRefused", "CordonedTime", "cp1 ends Done", "cp2 ends Done"]),
    ("E34", &["CordonedTime", "cp1 ends Done"]),
];
