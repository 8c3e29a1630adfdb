//! The simulator: a small cluster in memory, in virtual time, driven by the production rules.
//!
//! It is only ports: objects, hosts, tools, clocks and credentials that do what the real ones do, and a history of what
//! could be seen from outside. Whatever is judged, the product's own functions judge.
//!
//! - [`setup`]: the cluster a run begins with; [`schedule`] and [`fault`]: what goes wrong and what people do, as data.
//! - [`world`]: a run, from the first event to the last.
//! - [`verdict`]: whether a run was right, by the oracle of the core.
//! - [`cuts`], [`random`]: where to look for trouble; [`coverage`]: where it was looked; [`shrink`]: what is left of it.
//! - [`histories`]: what once went wrong, or would, each by its number.
//! - [`ways_out`]: each state that a person has to help a node out of, and each way out of it.
//! - [`rng`]: seeded numbers.

pub mod coverage;
pub mod cuts;
pub mod fault;
pub mod histories;
pub mod random;
pub mod rng;
pub mod schedule;
pub mod setup;
pub mod shrink;
pub mod verdict;
pub mod ways_out;
pub mod world;
