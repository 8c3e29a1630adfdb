//! Scenarios on real nodes: each is a rule, played through on a cluster that all of them share.
//!
//! `cargo test -p upgrade-tests --test scenarios -- --ignored` runs them, `--include-ignored` the slow ones too; they
//! need root, and the agent's package (`NODE_UPGRADE_AGENT_DEB`, or what `make deb` built). With words instead, those
//! run whose names contain one of them.
//! With `UPGRADE_TEST_CLUSTER=NAME` a cluster that `lab up --name NAME` left running is used instead of a new one.

mod address;
mod apply;
mod client;
mod demo;
mod drain;
mod fleet;
mod hold;
mod kill;
mod package;
mod power;
mod readme;
mod refuse;
mod release;
mod releases;
mod runner;

use std::process::ExitCode;

use runner::Scenario;

/// In the order in which they run: the first one upgrades the control plane, which all others need.
const SCENARIOS: &[Scenario] = &[
    Scenario::new(
        "annotated nodes upgrade themselves control plane first and alone then workers one at a time",
        demo::three_nodes,
    ),
    Scenario::new(
        "a target the repository does not have is refused before any cordon and the reason names what it has",
        refuse::unknown_target,
    ),
    Scenario::new(
        "a kubelet flag the target no longer knows is refused before any cordon and the reason names flag and file",
        refuse::obsolete_flag,
    ),
    Scenario::new(
        "a drain that a disruption budget blocks waits and names pod and budget and goes on when it is relaxed",
        drain::blocked_for_a_while,
    ),
    Scenario::new(
        "a target removed during the drain puts the node back into service at its old version",
        drain::cancelled,
    ),
    Scenario::new(
        "pods that have ended or go at once are not missed and one that is held is waited for",
        drain::pods_go_in_their_ways,
    ),
    Scenario::new("pods that a drain moved do not come back after the uncordon", drain::pods_stay_moved),
    Scenario::new(
        "an agent killed in every phase that lasts ends done and no tool of its runs twice",
        kill::in_every_phase,
    ),
    Scenario::new("the exposure of the agent's unit is at most 4.0", package::exposure),
    Scenario::new("installing the package starts the agent and no upgrade", package::installed),
    Scenario::new(
        "an agent on a host that is no node yet waits without failing and goes on after the join",
        package::before_the_join,
    ),
    Scenario::new(
        "the agent's package upgraded in the middle of its node's upgrade loses nothing",
        package::upgraded_on_the_way,
    ),
    Scenario::new(
        "removing the package during an upgrade is refused and says what to do",
        package::removed_on_the_way,
    ),
    Scenario::new(
        "removing the package beside a journal that cannot be read is refused until it is forced",
        package::removed_with_a_broken_journal,
    ),
    Scenario::new("purging the package leaves the node as it was", package::purged),
    Scenario::new(
        "a worker whose power is cut while dpkg configures repairs it and ends done",
        power::cut_while_configuring,
    ),
    Scenario::new(
        "a worker whose power is cut while dpkg unpacks repairs it and ends done",
        power::cut_while_unpacking,
    ),
    Scenario::slow(
        "downgrading the package during an upgrade is refused and says what to do",
        package::downgraded_on_the_way,
    ),
    Scenario::slow(
        "three control-plane nodes upgrade themselves one at a time before the worker",
        demo::several_control_planes,
    ),
    Scenario::slow(
        "an agent killed while kubeadm replaces the API server ends done and kubeadm does not run twice",
        kill::while_the_control_plane_is_away,
    ),
    Scenario::slow(
        "a kubeadm whose new API server never comes up rolls back after five minutes and the node is refused as it was",
        apply::rolled_back_by_kubeadm,
    ),
    Scenario::slow(
        "a kubeadm that is killed while its new API server does not come up is rolled back by the agent and run again",
        apply::killed_before_it_rolls_back,
    ),
    Scenario::slow(
        "a client that calls pods by address sees no failure while the control plane of their node is upgraded",
        address::while_the_control_plane_is_upgraded,
    ),
    Scenario::slow(
        "agents of this release and of the one before upgrade one cluster and one that is downgraded in mid-turn comes to an end",
        releases::e13_two_releases_live_together,
    ),
    Scenario::slow(
        "an agent upgraded in mid-turn from the release before backs out or finishes or says that it cannot tell",
        releases::upgraded_on_the_way,
    ),
];

fn main() -> ExitCode {
    runner::run(SCENARIOS)
}
