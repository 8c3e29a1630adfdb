//! Restarts over a peer-to-peer bus.

use super::*;
use crate::host::systemd::tests::{Fake, Restart};
use crate::host::tests::{Machine, seen};

async fn restart(how: Restart) -> (Fake, ActResult) {
    let fake = Fake::new(how);
    let ended = Machine::new().host(&fake).restart_kubelet_within(Duration::from_secs(20)).await;
    (fake, ended)
}

#[tokio::test]
async fn units_are_read_again_before_kubelet_is_restarted() {
    let (fake, ended) = restart(Restart::Ends("done")).await;
    assert_eq!(ended.fault, None);
    let calls = fake.calls();
    assert_eq!(calls[..3], ["Subscribe", "Reload", "RestartUnit kubelet.service replace"]);
    assert_eq!(seen(&ended).kubelet.invocation, "0202");
}

#[tokio::test]
async fn only_done_is_a_restart_and_other_peoples_jobs_do_not_count() {
    for result in ["failed", "timeout", "canceled", "dependency"] {
        let (_, ended) = restart(Restart::Ends(result)).await;
        let message = ended.fault.as_ref().unwrap().message.clone();
        assert!(message.contains(result), "{message}");
        assert!(seen(&ended).kubelet.active);
    }
}

#[tokio::test]
async fn a_restart_of_which_nothing_is_heard_ends_at_our_own_deadline() {
    let fake = Fake::new(Restart::Hangs);
    let limit = Duration::from_millis(300);
    let ended = Machine::new().host(&fake).restart_kubelet_within(limit).await;
    assert!(ended.fault.unwrap().message.contains("not restarted within 300ms"));
}

#[tokio::test]
async fn when_the_bus_goes_away_kubelet_itself_shows_that_it_was_restarted() {
    let (fake, ended) = restart(Restart::CutsTheBus).await;
    assert_eq!(ended.fault, None);
    assert!(fake.connections_made() >= 2);
    assert_eq!(seen(&ended).kubelet.invocation, "0202");
    assert_eq!(fake.calls().iter().filter(|call| call.starts_with("RestartUnit")).count(), 1);
}
