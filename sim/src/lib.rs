//! The simulator: an in-memory world over the production rules, in virtual time.
//!
//! - [`world`]: nodes, an API server, and agents that run the rules.
//! - [`rng`]: seeded numbers.

pub mod rng;
pub mod world;
