//! A1 to A28: what the core was known to do wrong, each with what is right.
//!
//! - [`turn`]: who may go, and who claims; [`change`]: what is changed, in which way, and what proves it.
//! - [`ways_out`]: what becomes of a turn that did not come right; [`elsewhere`]: what other tests show.

mod change;
mod elsewhere;
mod turn;
mod ways_out;

use upgrade_core::api::Version;
use upgrade_core::oracle::{What, Who};

use super::History;
use crate::fault::{Failure, Fault};
use crate::setup::Setup;

const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;
/// When people ask for something where they do not ask for everything at once.
const ASKED: u64 = crate::world::ASKED;
/// What [`Setup::small`] comes from and goes to.
const FROM: Version = Setup::small().from;
const TARGET: Version = Setup::small().target;

pub(super) fn all() -> Vec<History> {
    vec![
        turn::pause_is_obeyed(),
        turn::unpausing_is_noticed(),
        ways_out::freeing_lifts_the_mark(),
        ways_out::retry_goes_on_the_same_way(),
        ways_out::half_a_control_plane_is_not_done(),
        change::no_return_without_the_lease(),
        turn::skipped_checks_are_skipped(),
        turn::skips_hold_after_the_claim(),
        turn::orphans_are_given_back(),
        change::the_verb_follows_the_target(),
        change::nothing_drained_waits_for_ever(),
        change::clocks_may_jump(),
        turn::who_cannot_go_does_not_claim(),
        turn::ignore_opens_no_gate(),
        ways_out::every_way_out_works(),
        ways_out::a_node_may_be_deleted(),
        change::done_is_what_is_observed(),
        ways_out::manifests_are_put_back(),
        ways_out::retry_is_never_swallowed(),
        change::min_ready_is_added(),
        ways_out::a_new_target_is_judged(),
        change::done_is_all_of_it(),
        turn::any_order_of_targets(),
        change::what_is_gone_is_not_awaited(),
        elsewhere::no_answer_is_no_proof(),
        ways_out::reports_are_dated(),
        elsewhere::versions_of_packages(),
        turn::what_passes_is_pending(),
    ]
}

/// Everybody asks for nothing by themselves.
fn unasked(control_planes: usize, workers: usize) -> Setup {
    Setup { control_planes, workers, unasked: true, ..Setup::small() }
}

fn target(node: &str, target: impl Into<Option<Version>>) -> Fault {
    Fault::Target { node: node.to_owned(), target: target.into() }
}

fn retry(node: &str) -> Fault {
    Fault::Retry { node: node.to_owned() }
}

fn freed(node: &str) -> Fault {
    Fault::LeaseFreed { node: node.to_owned() }
}

fn power_cut(node: &str, boot: u64) -> Fault {
    Fault::PowerCut { node: node.to_owned(), boot }
}

fn kubelet_sick(node: &str, lasts: u64) -> Fault {
    Fault::KubeletSick { node: node.to_owned(), lasts }
}

fn fails(node: &str, tool: &'static str, times: u32, how: Failure) -> Fault {
    Fault::ToolFails { node: node.to_owned(), tool, times, how }
}

fn deleted(node: &str, back: u64) -> Fault {
    Fault::NodeDeleted { node: node.to_owned(), back }
}

fn is_cordon(what: &What) -> bool {
    matches!(what, What::Cordoned { by: Who::Agent(_) })
}
