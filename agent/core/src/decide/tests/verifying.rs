//! Everything that verification wants is asked, and nothing is taken for granted that was not seen since.

use super::*;
use crate::judge::service::STATIC_PODS;
use crate::judge::service::tests::static_pod;
use crate::observed::{EtcdSeen, LocalControlPlane, PodsSeen};

/// What makes a node serve no longer, or makes an observation old.
type Change = fn(&mut Observed);

/// A control plane that serves at its target.
fn serving() -> Observed {
    let mut seen = cordoned(seen(), false);
    seen.node.as_mut().unwrap().kubelet = Some(NEW);
    seen.host = Some(host("1.36.3-1.1", "1.36.3-1.1"));
    let etcd = Some(EtcdSeen { members: 3, healthy: 3, ..EtcdSeen::default() });
    seen.local = Some(LocalControlPlane { at: NOW.mono, api_server_ready: true, etcd });
    let pods = STATIC_PODS.iter().map(|component| static_pod(component, &NEW.to_string())).collect();
    seen.pods = Some(PodsSeen { at: NOW.mono, pods, ..PodsSeen::default() });
    seen
}

fn verifying() -> Memory {
    remembering(turn(changing(Step::Verifying), KubeadmCommand::Apply))
}

#[test]
fn a_node_is_verified_only_when_nothing_is_lacking() {
    assert_eq!(*stage_of(&next(&verifying(), &serving())), Stage::Returning(Verdict::Done));
    let breaks: [(&str, Change); 7] = [
        ("kubelet reports", |seen| seen.node.as_mut().unwrap().kubelet = Some(OLD)),
        ("not Ready", |seen| seen.node.as_mut().unwrap().ready = Ready::Unknown),
        ("older than kubelet's restart", |seen| seen.node.as_mut().unwrap().heartbeat = Unix(3_999)),
        ("has run for 2 s", |seen| seen.host.as_mut().unwrap().kubelet.since = Unix(4_998)),
        ("API server", |seen| seen.local.as_mut().unwrap().api_server_ready = false),
        ("etcd", |seen| seen.local.as_mut().unwrap().etcd.as_mut().unwrap().healthy = 2),
        ("kube-scheduler", |seen| drop(seen.pods.as_mut().unwrap().pods.pop())),
    ];
    for (words, breaks) in breaks {
        let mut seen = serving();
        breaks(&mut seen);
        let decided = next(&verifying(), &seen);
        let lacks = matches!(&decided, Next::Wait { why, .. } if why.message.contains(words));
        assert!(lacks, "{words}: {decided:?}");
    }
}

#[test]
fn what_was_seen_too_long_ago_is_looked_at_before_a_node_is_verified() {
    const LONG_AGO: Mono = Mono(NOW.mono.0 - 1_001);
    let ages: [(&str, Change); 3] = [
        ("look-at-host", |seen| seen.host.as_mut().unwrap().at = LONG_AGO),
        ("look-at-control-plane", |seen| seen.local.as_mut().unwrap().at = LONG_AGO),
        ("look-at-pods", |seen| seen.pods.as_mut().unwrap().at = LONG_AGO),
    ];
    for (word, age) in ages {
        let mut seen = serving();
        age(&mut seen);
        assert_eq!(act(next(&verifying(), &seen)).word(), word);
    }
}

#[test]
fn the_fleets_min_ready_seconds_are_waited_for_where_they_are_longer_than_the_soak() {
    let mut seen = serving();
    seen.policy.min_ready = Duration::from_secs(1_001);
    let decided = next(&verifying(), &seen);
    assert!(matches!(&decided, Next::Wait { why, .. } if why.message.contains("1000 s of 1001 s")));
}
