//! Pure questions about what was observed, which adapters and the simulator ask of the same functions. Adapters observe and
//! write; nothing here reads, waits or remembers.
//!
//! What the turn and verification ask of etcd, API servers and other nodes is still judged in `slots` and `verify`, by rules of
//! their own.
//!
//! - [`lease`]: what becomes of a Lease that was read, for somebody who wants it.
//! - [`mark`]: whether what a watch or a read shows of the own Node is news.
//! - [`checks`]: what each check of preflight comes to; [`preflight`]: the checks put together.

pub mod checks;
pub mod lease;
pub mod mark;
pub mod preflight;
