//! The cluster adapters' contract suite: what the agent's calls come to at an API server.
//!
//! Each rule of `rules` is given a [`bench::TestCluster`] and touches the cluster only through it, so the
//! same rules hold the fake API server to the real one: etcd, an API server and controllers as plain processes, with the
//! credentials of a kubelet and of an agent. Where those programs are missing that half is left out with one line.
//!
//! `faults`, `drain_faults` and `drain_costs` need things to go wrong at will or requests to be
//! counted, so they have the fake one alone; `etcd`, `rotation` and most of `enrol` need real
//! certificates, and `rogue` the real rules of who may do what, so they have the real one alone.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "clippy knows only functions marked #[test] as tests; here every function is part of one"
)]

mod drain_costs;
mod drain_faults;
mod enrol;
mod etcd;
mod faults;
mod manifests;
mod real;
mod rogue;
mod rotation;
mod rules;
mod static_pods;
mod test_cluster;
