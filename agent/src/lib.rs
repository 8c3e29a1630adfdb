//! The daemon: one loop that feeds observations to the rules and carries their acts out.
//!
//! - [`config`]: TOML to validated settings; [`journal`]: the memory on disk; [`log`]: where log lines go.
//! - [`cluster`]: the Kubernetes API; [`host`]: this machine's tools.

pub mod clock;
pub mod cluster;
pub mod config;
pub mod host;
pub mod journal;
pub mod log;
