//! What the tests share.
//!
//! - [`api`]: the fake API server, a service under the real client, with faults and lag.
//! - [`world`]: the simulator, an in-memory world over the production rules.

pub mod api;
pub mod world;
