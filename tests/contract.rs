//! The cluster adapters' contract suite: what the agent's calls come to at an API server.
//!
//! Each rule of `contract::rules` is given a [`contract::bench::Bench`] and touches the cluster only through it, so the
//! same rules hold the fake API server to the real one. `contract::faults` needs things to go wrong at will.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "clippy knows only functions marked #[test] as tests; here every function is part of one"
)]

mod contract {
    pub(crate) mod bench;
    mod faults;
    mod rules;
}
