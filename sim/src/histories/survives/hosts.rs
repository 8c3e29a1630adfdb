//! Kubelets and hosts that go away, and what they start from when they come back.

use upgrade_core::api::{LeaseName, Phase};
use upgrade_core::oracle::What;

use super::{
    FOR_EVER, FROM, Fault, History, MINUTE, Planned, Point, Setup, Want, World, asked, at, done, first,
    in_kubeadm, installs_kubelet, is_cordoned, minor, not_ready, pair, power_cut, refused, removed,
    runs_kubeadm, three, times,
};
use crate::histories::{Run, Standing, run};
use crate::setup::Endpoint;

/// `kubeadm upgrade node` has written the kubelet's files and not ended, so long after its own preflight.
const FILES_ARE_NEW: u64 = 1_200;

pub(super) fn a_dead_own_api_server_is_told() -> History {
    let dead = Fault::StaticPodSick { node: "cp1".to_owned(), component: "kube-apiserver", lasts: FOR_EVER };
    let dies = Planned::act("cp1", "kubeadm-upgrade", Point::Answered, dead);
    let marked =
        |what: &What| matches!(what, What::LeaseMarked { lease: LeaseName::ControlPlane, degraded: true });
    let run = run(Setup { endpoint: Endpoint::Shared, ..three() }, vec![asked("cp1"), dies])
        .wants(Want::Happens("cp1", "is told on its Lease", marked));
    History {
        number: "E6",
        sentence: "A node whose own API server does not come back, to which kubeadm has just turned its kubelet, is told \
                   on the Lease through another one.",
        standing: Standing::Holds,
        runs: vec![run],
    }
}

/// The kubelet that runs in the end was last started on files of its own version.
fn starts_on_its_own_files(world: &World) -> bool {
    let old = |what: &What| matches!(what, What::KubeletFiles { version } if *version == FROM);
    let new = |what: &What| matches!(what, What::KubeletFiles { version } if *version != FROM);
    let boots = |what: &What| matches!(what, What::Booted);
    let back = times(world, "w1", old).last();
    super::ends_as(world, "w1", old, new) && back < times(world, "w1", boots).last()
}

pub(super) fn a_cancelled_kubelet_keeps_its_files() -> History {
    let cancelled = || at("w1", "kubeadm-upgrade", 0, Point::Done, removed("w1")).after(FILES_ARE_NEW);
    let cuts = [300, 400, 600, 2_000].map(|after| cancelled().and(FILES_ARE_NEW + after, power_cut("w1")));
    let in_retreat = [Point::Before, Point::Done, Point::Answered]
        .map(|point| at("w1", "install-kubeadm", 1, point, power_cut("w1")));
    let weeks_later = || Planned::at(60 * MINUTE, power_cut("w1"));
    let schedules = cuts
        .map(|cut| vec![cut, weeks_later()])
        .into_iter()
        .chain(in_retreat.map(|cut| vec![cancelled(), cut, weeks_later()]));
    let runs = schedules.map(|schedule| {
        run(Setup::small(), schedule)
            .wants(Want::Comes("w1's old kubelet starts on its own files", starts_on_its_own_files))
            .wants(Want::AtMost(0, "w1", "begins to install its kubelet", installs_kubelet))
    });
    History {
        number: "E7",
        sentence: "A kubelet whose upgrade was cancelled after kubeadm wrote its files starts on its old files at the \
                   next boot, wherever the retreat was cut.",
        standing: Standing::Holds,
        runs: runs.collect(),
    }
}

pub(super) fn endless_reboots_come_to_an_end() -> History {
    let cuts = (0..3).map(|nth| at("w1", "install-kubelet", nth, Point::Done, power_cut("w1")));
    let run = run(Setup::small(), cuts.collect())
        .wants(Want::End("w1", upgrade_core::oracle::End::Degraded))
        .wants(Want::AtMost(4, "w1", "begins to install its kubelet", installs_kubelet));
    History {
        number: "E14",
        sentence: "A node that reboots again and again while it installs is degraded after the attempts of that step.",
        standing: Standing::Holds,
        runs: vec![run],
    }
}

pub(super) fn what_the_kubelet_would_refuse_is_refused_first() -> History {
    let refuses = |setup: Setup| {
        run(minor(&setup), vec![asked("cp1")]).wants(refused("cp1")).wants(Want::AtMost(
            0,
            "cp1",
            "runs kubeadm",
            runs_kubeadm,
        ))
    };
    let alone = Setup { workers: 0, ..pair() };
    let undrained = Setup { undrained: true, ..alone.clone() };
    let old_host = Setup { cgroup_v1: true, ..pair() };
    History {
        number: "E17",
        sentence: "What a node's kubelet could not do after it, a control plane's upgrade is refused for: it never comes \
                   to a minor that its kubelet cannot follow.",
        standing: Standing::Holds,
        runs: [alone, undrained, old_host].map(refuses).to_vec(),
    }
}

/// No kubelet of `cp1` is begun while the member of `cp3` is away.
fn etcd_is_whole_first(world: &World) -> bool {
    let away = |what: &What| matches!(what, What::EtcdMember { healthy: false });
    let back = |what: &What| matches!(what, What::EtcdMember { healthy: true });
    let from = first(world, "cp3", away).unwrap_or_default();
    let until = times(world, "cp3", back).last().unwrap_or_default();
    !times(world, "cp1", is_cordoned).any(|at| from < at && at < until)
}

pub(super) fn the_restart_by_a_new_kubelet_is_outlasted() -> History {
    let sick = Fault::EtcdMemberSick { node: "cp3".to_owned(), lasts: 20 * MINUTE };
    let runs = vec![
        run(minor(&pair()), vec![asked("cp1")]).wants(done("cp1")),
        run(minor(&three()), vec![asked("cp1"), in_kubeadm("cp1", 60_000, sick)])
            .wants(Want::Comes("cp1's kubelet waits for the member of cp3", etcd_is_whole_first))
            .wants(done("cp1")),
    ];
    History {
        number: "E32",
        sentence: "A kubelet of a new minor, which restarts the control plane of its node, is begun only while all other \
                   members of etcd answer, and proven only after that restart.",
        standing: Standing::Holds,
        runs,
    }
}

pub(super) fn a_lapse_of_ready_is_no_reason() -> History {
    let lapse = in_kubeadm("cp1", 12_000, not_ready("cp1", 24_000)).and(12_000, not_ready("w1", 24_000));
    let goes_back = |what: &What| matches!(what, What::Reported { phase: Phase::BackingOut, .. });
    let run: Run = run(Setup::small(), vec![lapse])
        .wants(Want::AtMost(0, "cp1", "goes back", goes_back))
        .wants(Want::AtMost(0, "w1", "goes back", goes_back))
        .wants(done("cp1"))
        .wants(done("w1"));
    History {
        number: "E35",
        sentence: "A control-plane node and a worker that are not Ready for twenty seconds while kubeadm runs go on as if \
                   they had been.",
        standing: Standing::Holds,
        runs: vec![run],
    }
}
