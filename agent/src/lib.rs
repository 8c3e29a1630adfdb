//! The daemon: one loop that feeds observations to the rules and carries their acts out.
//!
//! - [`config`]: TOML to validated settings; [`journal`]: the memory on disk; `durable`: files that no
//!   power cut tears.
//! - [`drive`]: the one loop; [`adapters`]: each act to its adapter; [`reporter`]: what people are told.
//! - [`cluster`]: the Kubernetes API; [`static_pods`]: where this host's own API server and etcd answer;
//!   [`host`]: this machine's tools; [`preflight`]: both asked before anything is
//!   touched.
//! - [`enrol`]: the coordination credential, asked for and kept; [`approve`]: an administrator's side of it.
//! - [`cli`]: the command line; [`show`]: what `plan` and `status` print; [`log`], [`notify`], [`clock`],
//!   [`unjoined`]: the process around it.

pub mod adapters;
pub mod approve;
#[cfg(test)]
mod arbitrary;
mod chain;
pub mod cli;
pub mod clock;
pub mod cluster;
pub mod config;
pub mod drive;
mod durable;
pub mod enrol;
pub mod host;
pub mod journal;
pub mod log;
pub mod notify;
pub mod preflight;
pub mod reporter;
pub mod show;
pub mod static_pods;
pub mod unjoined;
