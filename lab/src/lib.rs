//! Boots real kubeadm clusters on one Linux machine.
//!
//! Nothing is faked: nodes are Debian machines with their own systemd, apt and containerd, run by systemd-nspawn; a
//! cluster is made by `kubeadm init` and `kubeadm join` from packages installed by apt, and upgraded the same way.
//! What differs from real machines, and why, stands in `lab/README.md`.

mod agent;
pub mod audit;
mod build;
mod cache;
mod cgroup;
mod cluster;
mod demo;
mod guide;
mod host_control_plane;
mod http_server;
mod instance;
mod kubeadm;
mod limits;
mod mounts;
mod network;
mod node;
mod nspawn;
pub mod process;
mod repository;
pub mod script;
pub mod tools;
pub mod versions;
mod wait;
mod workload;

use std::fmt::Write;

use anyhow::Result;

pub use agent::DEFAULT_AGENT_CONFIG;
pub use build::{Artefacts, Programs};
pub use cache::Cache;
pub use cluster::{Cluster, Options};
pub use demo::Demo;
pub use guide::lacks;
pub use host_control_plane::HostControlPlane;
pub use http_server::{HttpServer, set_rate};
pub use kubeadm::UPGRADE_CONFIG;
pub use node::Node;
pub use repository::Repository;
pub use wait::{wait_for, wait_until};

/// Says on standard error what the lab is doing. Tests show it only when they fail, which is when it is wanted.
pub fn progress(message: &str) {
    eprintln!("lab: {message}");
}

/// Removes all kept clusters and what clusters of dead owners left; clusters of running tests stay.
///
/// # Errors
/// If something could not be removed.
pub fn remove_all() -> Result<()> {
    instance::reap(true)
}

/// One line per node of every running cluster.
///
/// # Errors
/// If the records of running clusters cannot be read.
pub fn status() -> Result<String> {
    let mut text = String::new();
    for record in instance::records()? {
        let fate = if record.kept { "kept" } else { "ends with its owner" };
        writeln!(text, "{} ({fate}) {}", record.name, record.state.join("admin.conf").display())?;
        for number in (1..).take(record.nodes.len()) {
            let node = Node::of(&record, number)?;
            let state = if node.is_running() { "running" } else { "off" };
            writeln!(text, "  {:<10} {:<12} {state}", node.name(), node.address().to_string())?;
        }
    }
    Ok(text)
}
