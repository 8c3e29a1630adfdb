//! Pure questions about what was observed, which adapters and the simulator ask of the same functions. Adapters observe and
//! write; nothing here reads, waits or remembers.
//!
//! What the turn and verification ask of etcd, API servers and other nodes is still judged in [`claim`] and [`service`], by rules
//! of their own.
//!
//! - [`claim`]: whether a Lease may be claimed, and whether a claim stands.
//! - [`node_patch`]: what is written to the own Node.
//! - [`service`]: whether a node serves again at its target.
//! - [`lease`]: what becomes of a Lease that was read, for somebody who wants it.
//! - [`mark`]: whether what a watch or a read shows of the own Node is news.
//! - [`checks`]: what each check of preflight comes to; [`preflight`]: the checks put together, and what follows from them.

mod budget;
pub mod checks;
pub mod claim;
pub mod control_plane;
pub mod lease;
pub mod mark;
pub mod next_turn;
pub mod node_patch;
pub mod preflight;
pub mod service;
mod skew;
pub mod verb;

#[cfg(test)]
pub(crate) mod tests;
