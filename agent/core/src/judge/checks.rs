//! What each check of preflight comes to (design section 5): one function per check, from what was observed to its
//! outcome.
//!
//! What a check needs to know is a small value of plain data that an adapter or the simulator fills in. Where a check
//! cannot be made at all, because something did not answer, that is a fault of the act and no outcome.

pub mod cluster;
pub mod host;
pub mod kubeadm;
pub mod kubelet_flags;
pub mod packages;
pub mod pods;
pub mod space;

pub use cluster::{api_servers, etcd, node_ready, other_nodes, other_tools};
pub use host::{cgroups, dpkg, kubelet_unit};
pub use kubeadm::{container_runtime, kubeadm};
pub use kubelet_flags::kubelet_flags;
pub use packages::simulation;
pub use pods::pods;
pub use space::disk_space;

use crate::api::text::last_lines;

/// What a tool said before it ended.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Output {
    /// Its exit status; a signal counts as 128 and its number.
    pub status: i32,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Output {
    /// Whether it exited with 0.
    pub const fn succeeded(&self) -> bool {
        self.status == 0
    }

    /// The end of what it said, for messages: standard error, or standard output where that is empty.
    pub fn last_words(&self) -> String {
        let said = if self.stderr.trim().is_empty() { &self.stdout } else { &self.stderr };
        last_lines(said, 6).join(" / ")
    }
}
