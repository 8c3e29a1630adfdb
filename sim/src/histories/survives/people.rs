//! What people do meanwhile: pauses, cordons, restored backups, agents that are gone or of another release.

use upgrade_core::api::Reason;
use upgrade_core::oracle::{FLEET, What};

use super::{
    ASKS, FOR_EVER, FROM, Fault, History, MINUTE, Planned, Point, Setup, TARGET, Want, World, asked, at,
    done, freed, in_kubeadm, is_cordoned, pair, times, to,
};
use crate::histories::{Run, Standing, run};

fn config_is_new(world: &World) -> bool {
    let new = |what: &What| matches!(what, What::KubeadmConfig { version } if *version == TARGET);
    let old = |what: &What| matches!(what, What::KubeadmConfig { version } if *version == FROM);
    super::ends_as(world, FLEET, new, old)
}

pub(super) fn an_older_etcd_is_lived_with() -> History {
    let backed_up = || Planned::act("cp1", "kubeadm-upgrade", Point::Before, Fault::EtcdBackedUp);
    let restored = [
        Planned::act("cp1", "kubeadm-upgrade", Point::Answered, Fault::EtcdRestored),
        Planned::act("cp1", "install-kubelet", Point::Done, Fault::EtcdRestored),
        Planned::act("cp1", "release", Point::Answered, Fault::EtcdRestored),
        Planned::act("w1", "kubeadm-upgrade", Point::Sent, Fault::EtcdRestored),
        Planned::act("w1", "install-kubelet", Point::Done, Fault::EtcdRestored),
        Planned::at(10 * MINUTE, Fault::EtcdRestored),
    ];
    let takes_new = |what: &What| matches!(what, What::KubeletFiles { version } if *version == TARGET);
    let runs = restored.map(|restored| {
        run(Setup::small(), vec![backed_up(), restored])
            .wants(Want::Comes("kubeadm-config names the target in the end", config_is_new))
            .wants(Want::Happens("w1", "takes the new configuration", takes_new))
            .wants(done("cp1"))
            .wants(done("w1"))
    });
    History {
        number: "E5",
        sentence: "After etcd was restored from a backup made before `apply` nothing waits for ever, kubeadm runs again and \
                   no worker takes the old configuration.",
        standing: Standing::Holds,
        runs: runs.to_vec(),
    }
}

pub(super) fn two_releases_live_together() -> History {
    History {
        number: "E13",
        sentence: "Agents of this release and of the one before upgrade one cluster, and one that is downgraded in \
                   mid-turn comes to an end.",
        standing: Standing::Shown {
            file: "tests/scenarios/releases.rs",
            test: "e13_two_releases_live_together",
            red: false,
        },
        runs: Vec::new(),
    }
}

/// Nobody has taken back what a person cordoned last.
fn is_still_cordoned(world: &World) -> bool {
    let cordoned = |what: &What| matches!(what, What::Cordoned { .. });
    let uncordoned = |what: &What| matches!(what, What::Uncordoned { .. });
    super::ends_as(world, "cp1", cordoned, uncordoned)
}

pub(super) fn a_person_s_cordon_stays() -> History {
    let cordons = Fault::PersonCordons { node: "cp1".to_owned() };
    let places = [
        ("claim", Point::Answered),
        ("install-kubeadm", Point::Done),
        ("kubeadm-upgrade", Point::Done),
        ("kubeadm-upgrade", Point::Answered),
    ];
    let runs = places.map(|(act, point)| {
        run(pair(), vec![asked("cp1"), at("cp1", act, 0, point, cordons.clone())])
            .wants(Want::Comes("cp1 is still cordoned", is_still_cordoned))
            .wants(done("cp1"))
    });
    History {
        number: "E16",
        sentence: "A node that a person cordons while its control plane is upgraded, or before its kubelet is, stays \
                   cordoned.",
        standing: Standing::Holds,
        runs: runs.to_vec(),
    }
}

pub(super) fn a_purged_agent_is_told_and_freed() -> History {
    let freed_by_command = |planned: Planned, node: &str| {
        let node = node.to_owned();
        planned
            .and(30 * MINUTE, freed(&node))
            .and(30 * MINUTE, Fault::NotesRemoved { node: node.clone() })
            .and(30 * MINUTE, Fault::PersonUncordons { node })
    };
    let purged = |node: &str| Fault::AgentPurged { node: node.to_owned(), back: FOR_EVER };
    let of_worker = Planned::act("w1", "drain", Point::Done, purged("w1"));
    let of_control_plane = Planned::act("cp1", "kubeadm-upgrade", Point::Answered, purged("cp1"));
    let waits = |what: &What| matches!(what, What::Reported { reason: Reason::WaitingForTurn, .. });
    let told =
        |run: Run, node| run.wants(Want::Happens(node, "says whom it waits for", waits)).wants(done(node));
    let workers = Setup { workers: 2, ..pair() };
    let ask = vec![super::by_hand("cp1", super::ByHand::Whole), super::asked_later("w1")];
    let ask_other = Planned::at(MINUTE + 10_000, to("w2", TARGET));
    let of_worker = ask.into_iter().chain([ask_other, freed_by_command(of_worker, "w1")]).collect();
    let ask_other = Planned::at(ASKS + 1_000, to("cp2", TARGET));
    let of_control_plane = vec![asked("cp1"), ask_other, freed_by_command(of_control_plane, "cp1")];
    History {
        number: "E18",
        sentence: "What a purged agent left on its Lease and its Node is told by those who wait for it, and one command \
                   frees them.",
        standing: Standing::Holds,
        runs: vec![told(run(workers, of_worker), "w2"), told(run(super::three(), of_control_plane), "cp2")],
    }
}

/// Between pausing and its end nothing is cordoned.
fn rests_while_paused(world: &World) -> bool {
    let paused = |what: &What| matches!(what, What::PolicySet { bars: true });
    let over = |what: &What| matches!(what, What::PolicySet { bars: false });
    let from = super::first(world, FLEET, paused).unwrap_or_default();
    let until = times(world, FLEET, over).last().unwrap_or_default();
    !times(world, "cp1", is_cordoned).any(|at| from < at && at < until)
}

pub(super) fn a_pause_between_the_turns_is_obeyed() -> History {
    let paused = in_kubeadm("cp1", 10_000, Fault::Paused { lasts: 30 * MINUTE });
    let run = run(pair(), vec![asked("cp1"), paused])
        .wants(Want::Comes("cp1 is not cordoned while paused", rests_while_paused))
        .wants(done("cp1"));
    History {
        number: "E20",
        sentence: "A control-plane node that is paused between its turns is at rest, and goes on by itself afterwards.",
        standing: Standing::Holds,
        runs: vec![run],
    }
}

pub(super) fn a_pause_survives_a_typo() -> History {
    let paused = Planned::at(500, Fault::Paused { lasts: 30 * MINUTE })
        .and(0, Fault::PolicyGarbled { lasts: 30 * MINUTE });
    let run = run(pair(), vec![paused, asked("cp1")]).wants(done("cp1"));
    History {
        number: "E23",
        sentence: "A policy that says `paused: true` beside a value that cannot be read pauses the fleet.",
        standing: Standing::Holds,
        runs: vec![run],
    }
}
