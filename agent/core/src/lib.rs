//! The rules of node-upgrade-agent: observations in, the next act out.
//!
//! No clock, no I/O, no randomness, no Kubernetes types: the daemon and the simulator feed the same code. In
//! reading order:
//!
//! - [`api`]: what people and other programs type and read.
//! - [`memory`]: what outlives a restart; it holds only what cannot be seen again.
//! - [`observed`]: what can be seen again; [`since`]: what this process did; [`act`]: what can be done.
//! - [`decide`]: the rules that bring them together; [`agent`]: inputs to outputs around them.
//! - [`judge`]: pure questions about what was observed, asked by decisions, preflight, adapters and the simulator alike.
//! - [`drain`], [`enrol`]: rules of their own.
//! - [`oracle`]: the oracle, which judges histories and knows nothing of all this but `api`.

pub mod act;
pub mod agent;
pub mod api;
#[cfg(test)]
mod arbitrary;
pub mod backoff;
pub mod decide;
pub mod drain;
pub mod enrol;
pub mod judge;
pub mod memory;
pub mod observed;
pub mod oracle;
pub mod since;
mod steps;
pub mod time;
