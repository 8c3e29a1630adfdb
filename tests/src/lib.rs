//! What the tests share.
//!
//! - [`api`]: the fake API server, a service under the real client, with faults and lag.
//! - [`permissions`]: what the two identities of an agent may do, and what they may not.

pub mod api;
pub mod permissions;
