//! What a run cannot show, and another test does.

use crate::histories::{History, Standing};

/// A member of etcd that gives no answer takes its API server with it, so no run can tell the two apart.
pub(super) fn no_answer_is_no_proof() -> History {
    History {
        number: "A25",
        sentence: "An etcd that gives no answer is no proof of anything.",
        standing: Standing::Shown {
            file: "agent/core/src/judge/control_plane/tests.rs",
            test: "a25_an_etcd_that_gives_no_answer_is_not_whole",
            red: false,
        },
        runs: Vec::new(),
    }
}

pub(super) fn versions_of_packages() -> History {
    History {
        number: "A27",
        sentence: "Package versions are ordered as dpkg orders them.",
        standing: Standing::Shown {
            file: "agent/core/src/api/version.rs",
            test: "a27_package_versions_are_ordered_as_dpkg_orders_them",
            red: false,
        },
        runs: Vec::new(),
    }
}
