//! What the tests share.
//!
//! - [`api`]: the fake API server, a service under the real client, with faults and lag.
//! - [`history`]: what really happened in a lab, for the oracle.
//! - [`permissions`]: what the two identities of an agent may do, and what they may not.
//! - [`rng`]: seeded numbers.
//! - [`world`]: the simulator, an in-memory world over the production rules.

pub mod api;
pub mod history;
pub mod permissions;
pub mod rng;
pub mod world;
