//! The cluster adapters' contract suite: what the agent's calls come to at an API server.
//!
//! Each rule of `contract::rules` is given a [`contract::bench::Bench`] and touches the cluster only through it, so the
//! same rules hold the fake API server to the real one: etcd, an API server and controllers as plain processes, with the
//! credentials of a kubelet and of an agent. Where those programs are missing that half is left out with one line.
//!
//! `contract::faults`, `contract::drain_faults` and `contract::drain_costs` need things to go wrong at will or requests to be
//! counted, so they have the fake one alone; `contract::etcd`, `contract::rotation` and most of `contract::enrol` need real
//! certificates, and `contract::rogue` the real rules of who may do what, so they have the real one alone.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "clippy knows only functions marked #[test] as tests; here every function is part of one"
)]

mod contract {
    pub(crate) mod bench;
    mod drain_costs;
    mod drain_faults;
    mod enrol;
    mod etcd;
    mod faults;
    mod manifests;
    pub(crate) mod real;
    mod rogue;
    mod rotation;
    mod rules;
}
