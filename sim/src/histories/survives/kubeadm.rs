//! Runs of kubeadm that are cut, killed or rolled back, and what a host needs after them.

use upgrade_core::oracle::{End, What};

use super::{
    ASKS, ETCD_IS_OUT, Failure, Fault, History, MINUTE, Planned, Point, TARGET, Want, World, applies, asked,
    at, begins, done, ends_kubeadm, first, freed, in_kubeadm, kubeadm_fails, memory_lost, minor, pair,
    power_cut, refused, removed, retried, three, times, to,
};
use crate::fault::FOR_EVER;
use crate::histories::{Standing, run};
use crate::schedule::Schedule;

/// `upload-config` is over so long after kubeadm's own preflight, and nothing that comes after it.
const CONFIG_IS_UPLOADED: u64 = 34_600;
/// And etcd's new member answers, where the API server's manifest is still the old one.
const ETCD_IS_NEW: u64 = 45_500;
/// Pieces of kubeadm's work on a control plane a minor behind: its preflight, etcd's manifest out, in, awaited.
const ETCD_OUT: usize = 2;
const ETCD_DONE: usize = 4;

pub(super) fn three_failed_drains_leave_it_at_rest() -> History {
    let blocked = Fault::BudgetBlocks { lasts: 40 * MINUTE };
    let drains_fail = || in_kubeadm("cp1", 0, blocked.clone());
    let later = |fault| vec![asked("cp1"), drains_fail().and(50 * MINUTE, fault)];
    let at_target = |what: &What| matches!(what, What::StaticPod { component: "kube-apiserver", version: Some(version) } if *version == TARGET);
    let at_rest = Want::Happens("cp1", "has its API server at the target", at_target);
    let runs = vec![
        run(pair(), vec![asked("cp1"), drains_fail()]).wants(refused("cp1")).wants(at_rest),
        run(pair(), later(retried("cp1"))).wants(done("cp1")),
        run(pair(), later(removed("cp1"))).wants(Want::End("cp1", End::Untouched)),
        run(pair(), later(to("cp1", super::FROM))).wants(refused("cp1")),
        run(pair(), later(to("cp1", super::NEXT))).wants(done("cp1")),
    ];
    History {
        number: "E1",
        sentence: "A control-plane node whose drain fails three times after `apply` stays in service, at rest, and is \
                   refused until people ask again or change the target.",
        standing: Standing::Holds,
        runs,
    }
}

pub(super) fn apply_is_run_to_its_end() -> History {
    let succeeds = |what: &What| matches!(what, What::ToolEnded { tool: "kubeadm-upgrade", ok: true });
    let again = run(pair(), vec![asked("cp1"), in_kubeadm("cp1", CONFIG_IS_UPLOADED, power_cut("cp1"))])
        .wants(Want::Happens("cp1", "runs `apply` to its end", succeeds))
        .wants(done("cp1"));
    let node = || "cp1".to_owned();
    let dead = Fault::PowerCut { node: node(), boot: FOR_EVER };
    let removed = in_kubeadm("cp1", CONFIG_IS_UPLOADED, dead)
        .and(20 * MINUTE, freed("cp1"))
        .and(20 * MINUTE, Fault::EtcdMemberRemoved { node: node() })
        .and(20 * MINUTE, Fault::NodeDeleted { node: node(), back: FOR_EVER })
        .and(25 * MINUTE, retried("cp2"));
    let other = Planned::at(ASKS + 1_000, to("cp2", TARGET));
    let by_another = run(three(), vec![asked("cp1"), other, removed])
        .wants(Want::Happens("cp2", "runs `apply`", applies))
        .wants(done("cp2"));
    History {
        number: "E4",
        sentence: "An `apply` that was cut after its configuration was uploaded is run again to exit 0, by another \
                   node where the first is gone.",
        standing: Standing::Holds,
        runs: vec![again, by_another],
    }
}

/// The second run of kubeadm is killed with etcd's manifest out; people ask again later.
fn killed_again() -> [Planned; 2] {
    let (node, tool, how) = ("cp1".to_owned(), "kubeadm-upgrade", Failure::Killed(ETCD_OUT));
    let fails = Fault::ToolFails { node, tool, times: 1, how };
    [at("cp1", "kubeadm-upgrade", 1, Point::Before, fails), Planned::at(60 * MINUTE, retried("cp1"))]
}

pub(super) fn never_the_old_etcd_on_new_data() -> History {
    let fails = || kubeadm_fails("cp1", 1, Failure::RolledBack("kube-scheduler"));
    let again = || Planned::at(30 * MINUTE, retried("cp1"));
    let cut = at("cp1", "kubeadm-upgrade", 1, Point::Done, power_cut("cp1")).after(ETCD_IS_OUT);
    let runs = vec![
        run(minor(&pair()), vec![asked("cp1"), fails()]).wants(refused("cp1")),
        run(minor(&pair()), vec![asked("cp1"), fails(), again()]).wants(done("cp1")),
        run(minor(&pair()), vec![asked("cp1"), fails(), again(), cut]).wants(done("cp1")),
        run(minor(&pair()), [asked("cp1"), fails(), again()].into_iter().chain(killed_again()).collect())
            .wants(done("cp1")),
    ];
    History {
        number: "E8",
        sentence: "A control plane that kubeadm rolled back is refused until `retry`, and the old etcd never gets the \
                   data of the new one.",
        standing: Standing::Holds,
        runs,
    }
}

fn keeps_its_lease(world: &World) -> bool {
    let gives_back = |what: &What| matches!(what, What::LeaseReleased { .. });
    let ended = first(world, "cp1", ends_kubeadm);
    first(world, "cp1", gives_back).is_none_or(|at| ended.is_some_and(|ended| ended < at))
}

pub(super) fn a_running_kubeadm_keeps_the_lease() -> History {
    let keeps = || Want::Comes("cp1 keeps its Lease while kubeadm runs", keeps_its_lease);
    let lost = |after| vec![asked("cp1"), in_kubeadm("cp1", after, memory_lost("cp1"))];
    let runs = [0, 15_000].map(|after| run(pair(), lost(after)).wants(keeps()).wants(done("cp1")));
    History {
        number: "E9",
        sentence: "A node that loses its memory while kubeadm runs and nothing is cordoned keeps its Lease.",
        standing: Standing::Holds,
        runs: runs.to_vec(),
    }
}

pub(super) fn a_host_is_brought_back_alone() -> History {
    let no_etcd = in_kubeadm("cp1", ETCD_IS_OUT, power_cut("cp1"));
    // kubectl, then kubelet is unpacked; then nothing is configured yet.
    let half_installed = Planned::act("cp1", "install-kubelet", Point::Done, power_cut("cp1")).after(2_000);
    let runs =
        [no_etcd, half_installed].map(|cut| run(minor(&pair()), vec![asked("cp1"), cut]).wants(done("cp1")));
    History {
        number: "E26",
        sentence: "A single control plane whose power is cut with etcd's manifest out, or kubelet half installed, is \
                   brought back without the API and without its Lease.",
        standing: Standing::Holds,
        runs: runs.to_vec(),
    }
}

/// While the member of `cp1` is away nothing begins on `cp2`.
fn one_etcd_at_a_time(world: &World) -> bool {
    let away = |what: &What| matches!(what, What::EtcdMember { healthy: false });
    let back = |what: &What| matches!(what, What::EtcdMember { healthy: true });
    times(world, "cp1", away).all(|from| {
        let until = times(world, "cp1", back).find(|at| *at > from).unwrap_or(u64::MAX);
        !times(world, "cp2", begins).any(|at| from <= at && at < until)
    })
}

pub(super) fn a_killed_apply_restarts_etcd_alone() -> History {
    let cut = || in_kubeadm("cp1", ETCD_IS_NEW, power_cut("cp1"));
    let again = at("cp1", "kubeadm-upgrade", 1, Point::Done, power_cut("cp1")).after(ETCD_IS_OUT);
    let killed = kubeadm_fails("cp1", 1, Failure::Killed(ETCD_DONE));
    let other = || Planned::at(ASKS + 1_000, to("cp2", TARGET));
    let whole = |schedule| {
        run(minor(&three()), schedule)
            .wants(Want::Comes("cp2 stays away until etcd is whole", one_etcd_at_a_time))
            .wants(done("cp1"))
            .wants(done("cp2"))
    };
    let runs = vec![
        whole(vec![asked("cp1"), other(), cut()]),
        whole(vec![asked("cp1"), other(), killed, Planned::at(30 * MINUTE, retried("cp1"))]),
        run(minor(&pair()), vec![asked("cp1"), cut()]).wants(done("cp1")),
        run(minor(&pair()), vec![asked("cp1"), cut(), again]).wants(done("cp1")),
        run(minor(&pair()), [asked("cp1"), cut()].into_iter().chain(killed_again()).collect())
            .wants(done("cp1")),
    ];
    History {
        number: "E33",
        sentence: "An `apply` killed between etcd and API server restarts etcd when it is run again, alone, and etcd's \
                   manifest never comes from an older copy.",
        standing: Standing::Holds,
        runs,
    }
}

pub(super) fn a_missing_etcd_is_put_back_first() -> History {
    let killed = || kubeadm_fails("cp1", 1, Failure::Killed(ETCD_OUT));
    let again = || Planned::at(30 * MINUTE, retried("cp1"));
    let dies = Fault::Kill { node: "cp1".to_owned(), restart: 5_000 };
    let schedules: [Schedule; 2] = [
        vec![asked("cp1"), killed(), again()],
        vec![asked("cp1"), killed(), again(), in_kubeadm("cp1", 1_200, dies)],
    ];
    let fails = |what: &What| matches!(what, What::ToolEnded { tool: "kubeadm-upgrade", ok: false });
    let finds = || Want::AtMost(1, "cp1", "fails to run kubeadm", fails);
    let runs = schedules.map(|schedule| run(minor(&pair()), schedule).wants(finds()).wants(done("cp1")));
    History {
        number: "E34",
        sentence: "An etcd whose manifest is missing is put back before anything else, and kubeadm is not run against it.",
        standing: Standing::Holds,
        runs: runs.to_vec(),
    }
}
