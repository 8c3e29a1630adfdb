//! What passes by itself may leave a node degraded or refused; the ways out that its message names then bring it to its target.
//! The oracle allows both ends, so this holds them to be ends that a person can leave.

use upgrade_core::oracle::End;
use upgrade_sim::fault::Fault;
use upgrade_sim::random::{random_schedule, random_setup};
use upgrade_sim::schedule::{Planned, Schedule};
use upgrade_sim::setup::Setup;
use upgrade_sim::world::World;

use crate::failures::history;
use crate::number;
use crate::seeds::{FEW, each_seed, tell};

/// People come so long after the end of what went wrong.
const LATER: u64 = 3_600_000;
/// And so often: what was planned for a step that is reached only now goes wrong now.
const ROUNDS: usize = 4;

/// Of a hundred runs or so hardly one leaves somebody at rest.
const ENOUGH: u64 = 1_000;

/// How people go on with a node that came to rest before its target.
#[derive(Debug, Clone, Copy)]
enum WayOut {
    /// They ask each such node again.
    Retry,
    /// They ask all nodes for the next patch.
    NewTarget,
}

/// A run in which somebody found no way out.
struct Stuck {
    run: String,
    who: String,
    history: String,
}

#[test]
fn after_what_passes_by_itself_a_way_out_brings_every_node_to_its_target() {
    let seeds = number("SIM_SEEDS").unwrap_or(FEW).max(ENOUGH);
    let found = each_seed(seeds, |seed| {
        let way = if seed % 2 == 0 { WayOut::Retry } else { WayOut::NewTarget };
        goes_on(seed, way)
    });
    let wrong: Vec<&Stuck> = found.iter().filter_map(|outcome| outcome.as_ref().err()).collect();
    tell(&format!("{} of {seeds} seeds left somebody at rest, and a way out was played", found.len()));
    assert!(!found.is_empty(), "no node ever came to rest before its target");
    let all: Vec<String> = wrong.iter().map(|stuck| format!("{}\n{}", stuck.run, stuck.who)).collect();
    let first = wrong.first().map_or("", |stuck| &stuck.history);
    assert!(
        wrong.is_empty(),
        "{first}\n{} runs, and whom no way out helped:\n{}",
        wrong.len(),
        all.join("\n")
    );
}

/// None where nobody had come to rest; what happened where somebody has found no way out.
fn goes_on(seed: u64, way: WayOut) -> Option<Result<(), Stuck>> {
    let setup = random_setup(seed);
    let mut schedule = random_schedule(&setup, seed);
    schedule.retain(|planned| !planned.faults.iter().any(|(_, fault)| lasts(fault)));
    let mut world = World::run(&setup, &schedule);
    if at_rest(&world).is_empty() || !has_elsewhere(&setup) {
        return None;
    }
    for round in 0..ROUNDS {
        let way = if round == 0 { way } else { WayOut::Retry };
        schedule.extend(played(way, &setup, &world));
        world = World::run(&setup, &schedule);
        if stuck(&world).is_empty() {
            return Some(Ok(()));
        }
    }
    let history = format!("{setup:?}\n{schedule:#?}\n{}", history(&world));
    Some(Err(Stuck { run: format!("SIM_SEED={seed} {way:?}"), who: stuck(&world).join("\n"), history }))
}

/// A node that drains needs another one for its pods.
fn has_elsewhere(setup: &Setup) -> bool {
    setup.nodes().len() > 1 && setup.workers > 0
}

fn at_rest(world: &World) -> Vec<String> {
    let ends = world.verdict().ends.into_iter();
    ends.filter(|(_, end)| matches!(end, End::Degraded | End::Refused)).map(|(node, _)| node).collect()
}

/// Those that are still at rest, and whoever came to no end; a node may also have lost its target with an etcd that was put back.
fn stuck(world: &World) -> Vec<String> {
    let still = at_rest(world).into_iter().map(|node| format!("{node}: {}", world.message(&node)));
    still.chain(world.verdict().unfinished).collect()
}

fn played(way: WayOut, setup: &Setup, world: &World) -> Schedule {
    let later = world.until() + LATER;
    let asked = |node| match way {
        WayOut::Retry => Planned::at(later, Fault::Retry { node }),
        WayOut::NewTarget => Planned::at(later, Fault::Target { node, target: Some(setup.next()) }),
    };
    let whom = match way {
        WayOut::Retry => at_rest(world),
        WayOut::NewTarget => setup.nodes(),
    };
    whom.into_iter().map(asked).collect()
}

/// Whether something of it is left in the end that a `retry` could not get over, or it is somebody's will that a node should not
/// go to this target. A Node that was deleted is asked anew for the old target.
fn lasts(fault: &Fault) -> bool {
    let stays = matches!(
        fault,
        Fault::ForeignPackageBroken { .. }
            | Fault::VersionWithdrawn { .. }
            | Fault::EtcdMemberRemoved { .. }
            | Fault::CsiDriverGone { .. }
            | Fault::UpgradedByHand { .. }
            | Fault::PersonCordons { .. }
            | Fault::NodeDeleted { .. }
            | Fault::Ignore { on: true, .. }
            | Fault::ToolFails { .. }
    );
    let retargets = matches!(fault, Fault::Target { target, .. } if *target != Some(Setup::small().target));
    stays || retargets || fault.ends_after().is_none()
}
