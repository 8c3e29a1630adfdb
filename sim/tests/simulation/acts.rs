//! Acts that random schedules seldom come to.

use upgrade_sim::fault::{Failure, Fault};
use upgrade_sim::schedule::{Planned, Point, Schedule};
use upgrade_sim::setup::Setup;
use upgrade_sim::world::World;

const MINUTE: u64 = 60_000;

fn count(world: &World, node: &str, act: &str) -> usize {
    world.steps.iter().filter(|step| step.node == node && step.word == act).count()
}

#[test]
fn a_drain_that_a_budget_holds_up_for_minutes_is_one_act() {
    let shut = Planned::act("w1", "drain", Point::Before, Fault::BudgetBlocks { lasts: 2 * MINUTE });
    let world = World::run(&Setup { budget: true, ..Setup::small() }, &vec![shut]);
    assert_eq!(count(&world, "w1", "drain"), 1);
}

#[test]
fn a_control_plane_that_kubeadm_was_cut_in_is_rolled_back_while_nothing_answers() {
    let node = || "cp1".to_owned();
    let cut = |restarts: bool| {
        let killed =
            Fault::ToolFails { node: node(), tool: "kubeadm-upgrade", times: 1, how: Failure::Killed(3) };
        let dead = Fault::StaticPodSick { node: node(), component: "kube-apiserver", lasts: 90 * MINUTE };
        let dead = Planned::act("cp1", "kubeadm-upgrade", Point::Done, dead).after(2_000);
        let kill = || Fault::Kill { node: node(), restart: 2_000 };
        let dead = if restarts { dead.and(10_000, kill()) } else { dead };
        let schedule: Schedule = vec![Planned::at(1_000, killed), dead];
        World::run(&Setup::small(), &schedule)
    };
    for restarts in [false, true] {
        assert_eq!(count(&cut(restarts), "cp1", "roll-back-manifests"), 1, "{restarts}");
    }
}
