//! The rules of node-upgrade-agent: observed facts in, the next act out.
//!
//! No clock, no I/O, no randomness, no Kubernetes types: the daemon and the simulator feed the same code. In
//! reading order:
//!
//! - [`request`]: what people ask for in a Node's annotations; [`report`]: what the agent says of itself.
//! - [`version`]: versions, package versions, skew.
//! - [`job`]: the memory, which holds only what cannot be seen again.
//! - [`seen`]: what was observed; [`act`]: what can be done.
//! - [`decide`]: the rules that bring them together; [`agent`]: inputs to outputs around them.
//! - [`judge`]: pure questions about what was observed, asked by preflight, the Lease's adapter and the simulator alike.
//! - [`preflight`], [`slots`], [`cordon`], [`drain`], [`verify`], [`policy`], [`enrol`]: rules of their own.
//! - [`text`]: what others had a hand in, made fit to be told.
//! - [`oracle`]: the oracle, which judges histories and knows nothing of all this.

pub mod act;
pub mod agent;
pub mod cordon;
pub mod decide;
pub mod drain;
pub mod enrol;
#[cfg(test)]
mod fuzz;
pub mod image;
pub mod job;
pub mod judge;
pub mod oracle;
pub mod policy;
pub mod preflight;
pub mod report;
pub mod request;
pub mod seen;
pub mod slots;
pub mod text;
pub mod time;
pub mod verify;
pub mod version;
