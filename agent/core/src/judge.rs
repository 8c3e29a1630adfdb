//! Pure questions about what was observed, which adapters and the simulator ask of the same functions. Adapters observe and
//! write; nothing here reads, waits or remembers.
//!
//! What the turn and verification ask of etcd, API servers and other nodes is still judged in [`claim`] and [`service`], by rules
//! of their own.
//!
//! - [`claim`]: whether a Lease may be claimed, and whether a claim stands.
//! - [`cordon`]: what a cordon and its end write.
//! - [`service`]: whether a node serves again at its target.
//! - [`lease`]: what becomes of a Lease that was read, for somebody who wants it.
//! - [`mark`]: whether what a watch or a read shows of the own Node is news.
//! - [`checks`]: what each check of preflight comes to; [`preflight`]: the checks put together, and what follows from them.

pub mod checks;
pub mod claim;
pub mod cordon;
pub mod lease;
pub mod mark;
pub mod preflight;
pub mod service;
