//! E1 to E35: histories that the agent must survive, those that wait for what is not built yet among them.
//!
//! What they place faults at are the tools' words and `claim`, `cordon`, `drain`, `release`, `uncordon`, `store`. Where a
//! control-plane node has two turns, the first `kubeadm-upgrade` is that of its control plane, and its cordon comes after it.

mod hosts;
mod kubeadm;
mod leases;
mod order;
mod people;

use upgrade_core::api::{Check, KubeadmCommand, Version};
use upgrade_core::oracle::{What, Who};

use super::{History, Want};
use crate::fault::{ByHand, FOR_EVER, Failure, Fault};
use crate::schedule::{Planned, Point, When};
use crate::setup::Setup;
use crate::world::World;

/// What clusters run here, a minor behind it, what they are asked to run, and its repair.
const FROM: Version = Version::new(1, 36, 2);
const MINOR_BEHIND: Version = Version::new(1, 35, 4);
const TARGET: Version = Version::new(1, 36, 3);
const NEXT: Version = Version::new(1, 36, 4);

/// When people ask, where they do so at once.
const ASKS: u64 = 5_000;
const MINUTE: u64 = 60_000;
/// kubeadm has taken etcd's manifest out and not put the new one in, so long after its own preflight.
const ETCD_IS_OUT: u64 = 1_020;

pub(super) fn all() -> Vec<History> {
    vec![
        kubeadm::three_failed_drains_leave_it_at_rest(),
        leases::a_freed_lease_lets_nobody_in(),
        leases::every_loss_comes_to_an_end_in_every_step(),
        kubeadm::apply_is_run_to_its_end(),
        people::an_older_etcd_is_lived_with(),
        hosts::a_dead_own_api_server_is_told(),
        hosts::a_cancelled_kubelet_keeps_its_files(),
        kubeadm::never_the_old_etcd_on_new_data(),
        kubeadm::a_running_kubeadm_keeps_the_lease(),
        order::a_dead_control_plane_node_is_refused_until_removed(),
        order::of_two_that_may_go_first_one_goes(),
        order::the_kubelet_waits_for_the_budget(),
        people::two_releases_live_together(),
        hosts::endless_reboots_come_to_an_end(),
        order::targets_apart_do_not_fight(),
        people::a_person_s_cordon_stays(),
        hosts::what_the_kubelet_would_refuse_is_refused_first(),
        people::a_purged_agent_is_told_and_freed(),
        order::a_half_upgraded_control_plane_is_waited_for(),
        people::a_pause_between_the_turns_is_obeyed(),
        order::a_repair_goes_past_the_halt(),
        order::two_that_are_down_go_in_turn(),
        people::a_pause_survives_a_typo(),
        order::a_lower_slot_that_falls_free_is_no_budget(),
        leases::a_unit_without_memory_is_awaited(),
        kubeadm::a_host_is_brought_back_alone(),
        leases::a_rolled_back_api_server_is_not_passed(),
        order::the_cure_goes_before_what_waits_for_it(),
        leases::what_is_past_return_finishes(),
        order::a_kubelet_is_not_taken_to_a_hop_that_was_passed(),
        order::the_only_worker_may_lapse(),
        hosts::the_restart_by_a_new_kubelet_is_outlasted(),
        kubeadm::a_killed_apply_restarts_etcd_alone(),
        kubeadm::a_missing_etcd_is_put_back_first(),
        hosts::a_lapse_of_ready_is_no_reason(),
    ]
}

/// A control-plane node and a worker; people ask nothing but what the schedule says.
fn pair() -> Setup {
    Setup { unasked: true, ..Setup::small() }
}

/// Three control-plane nodes and a worker, in the same way.
fn three() -> Setup {
    Setup { control_planes: 3, ..pair() }
}

/// The same cluster, a minor behind its target: etcd changes too.
fn minor(setup: &Setup) -> Setup {
    Setup { from: MINOR_BEHIND, ..setup.clone() }
}

/// People ask this node to go to the target.
fn asked(node: &str) -> Planned {
    Planned::at(ASKS, to(node, TARGET))
}

/// The same, after the restarts that an upgrade by hand brings.
fn asked_later(node: &str) -> Planned {
    Planned::at(MINUTE, to(node, TARGET))
}

fn to(node: &str, version: Version) -> Fault {
    Fault::Target { node: node.to_owned(), target: Some(version) }
}

fn removed(node: &str) -> Fault {
    Fault::Target { node: node.to_owned(), target: None }
}

fn freed(node: &str) -> Fault {
    Fault::LeaseFreed { node: node.to_owned() }
}

fn retried(node: &str) -> Fault {
    Fault::Retry { node: node.to_owned() }
}

fn power_cut(node: &str) -> Fault {
    Fault::PowerCut { node: node.to_owned(), boot: MINUTE }
}

fn memory_lost(node: &str) -> Fault {
    Fault::JournalLost { node: node.to_owned() }
}

fn not_ready(node: &str, lasts: u64) -> Fault {
    Fault::KubeletSick { node: node.to_owned(), lasts }
}

/// The kubelet that runs ends again and again; the one of the target does not.
fn needs_the_target(node: &str) -> Fault {
    Fault::KubeletCrashLoops { node: node.to_owned(), version: Some(FROM), lasts: FOR_EVER }
}

/// People pass over what a node says that is not Ready.
fn ready_or_not(node: &str) -> Fault {
    Fault::SkipChecks { node: node.to_owned(), checks: vec![Check::NodeReady, Check::KubeletUnit] }
}

/// The next runs of kubeadm here fail like this.
fn kubeadm_fails(node: &str, times: u32, how: Failure) -> Planned {
    let tool = "kubeadm-upgrade";
    Planned::at(1_000, Fault::ToolFails { node: node.to_owned(), tool, times, how })
}

/// Somebody has taken this node to the target by hand, before anything is asked.
fn by_hand(node: &str, how: ByHand) -> Planned {
    Planned::at(2_000, Fault::UpgradedByHand { node: node.to_owned(), version: TARGET, how })
}

/// A fault at a point of an act, and of which such act.
fn at(node: &str, act: &'static str, nth: usize, point: Point, fault: Fault) -> Planned {
    Planned { when: When::act(node, act, nth, point), faults: vec![(0, fault)] }
}

/// While a node's kubeadm works for the first time, so long after its own preflight.
fn in_kubeadm(node: &str, after: u64, fault: Fault) -> Planned {
    Planned::act(node, "kubeadm-upgrade", Point::Done, fault).after(after)
}

fn done(node: &'static str) -> Want {
    Want::End(node, upgrade_core::oracle::End::Done)
}

fn refused(node: &'static str) -> Want {
    Want::End(node, upgrade_core::oracle::End::Refused)
}

fn runs_kubeadm(what: &What) -> bool {
    matches!(what, What::ToolStarted { tool: "kubeadm-upgrade", .. })
}

fn applies(what: &What) -> bool {
    matches!(what, What::ToolStarted { kubeadm: Some((KubeadmCommand::Apply, _)), .. })
}

fn ends_kubeadm(what: &What) -> bool {
    matches!(what, What::ToolEnded { tool: "kubeadm-upgrade", .. })
}

fn installs_kubelet(what: &What) -> bool {
    matches!(what, What::ToolStarted { tool: "install-kubelet", .. })
}

fn is_cordoned(what: &What) -> bool {
    matches!(what, What::Cordoned { by: Who::Agent(_) })
}

/// A step that disturbs: a cordon, or a tool.
fn begins(what: &What) -> bool {
    is_cordoned(what) || matches!(what, What::ToolStarted { .. })
}

/// When such an event first happens to a node.
fn first(world: &World, node: &str, is: fn(&What) -> bool) -> Option<u64> {
    times(world, node, is).next()
}

/// Each time it does.
fn times<'a>(world: &'a World, node: &'a str, is: fn(&What) -> bool) -> impl Iterator<Item = u64> + 'a {
    world.history.iter().filter(move |event| event.node == node && is(&event.what)).map(|event| event.at)
}

/// Whether what has happened to a node by its end is this: the last event of either kind is of the first.
fn ends_as(world: &World, node: &str, is: fn(&What) -> bool, is_not: fn(&What) -> bool) -> bool {
    times(world, node, is).last() > times(world, node, is_not).last()
}
