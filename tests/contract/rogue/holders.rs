//! Who may be named as a holder, and by whom.

use kube::Client;
use serde_json::{Value, json};

use super::super::real::{Real, client};
use super::super::test_cluster::{OWN, Wire, ask};

pub(super) const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/node-upgrade-agent/leases";

/// A claim of an absent Lease, which is not carried out.
async fn claim(agent: &Client, holder: &str) -> Wire {
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {
            "name": "slot-7", "labels": {"node-upgrade-agent/held": "true"},
            "annotations": {"node-upgrade-agent/protocol": "1"},
        },
        "spec": {"holderIdentity": holder},
    });
    ask(agent, &format!("POST {LEASES}?dryRun=All"), &lease).await
}

#[tokio::test]
async fn a_holder_is_the_whole_name_of_the_asking_node_a_uid_and_a_job() {
    let Some(real) = Real::begin().await else { return };
    let agent = &real.bench.agent;
    let uid = "8b2f6b0e-9d2c-4c57-a0b9-5b8b1f6f2c11";
    let good = claim(agent, &format!("{OWN}/{uid}/v1.36.3-6921a0c4")).await;
    assert_eq!(good.code, 201, "{good:?}");
    let long = "x".repeat(65);
    for holder in [
        "n1",
        "n1/",
        "n1//",
        "n1//job",
        "n1/uid/",
        "n1/uid",
        "/uid/job",
        "n1/uid/job/more",
        "n10/uid/job",
        "n/uid/job",
        "n1-b/uid/job",
        "n1.b/uid/job",
        "N1/uid/job",
        " n1/uid/job",
        "n1 /uid/job",
        "n1/uid/job ",
        "n1/uid/job\n",
        "n1/uid/jo\nb",
        "\nn1/uid/job",
        "n1/uid/job\u{0}",
        "n1/uid/jöb",
        "n2/n1/uid/job",
        "node-upgrade-agent:n1/uid/job",
        &format!("n1/{long}/job"),
        &format!("n1/uid/{long}"),
    ] {
        let answer = claim(agent, holder).await;
        assert_eq!(answer.code, 403, "{holder:?}: {answer:?}");
    }
}

#[tokio::test]
async fn no_name_of_a_node_passes_for_another() {
    let Some(real) = Real::begin().await else { return };
    let longest = ["a".repeat(63), "b".repeat(63), "c".repeat(63), "d".repeat(61)].join(".");
    assert_eq!(longest.len(), 253, "the longest name a Node can have");
    let longer = format!("{}a", &longest[..252]);
    let names = ["a", "a-b", "a.b", &longest, &longer];
    for asker in names {
        let kubeconfig = real.control_plane.coordination_kubeconfig(asker).unwrap();
        let agent = client(&kubeconfig).await;
        for named in names {
            let answer = claim(&agent, &format!("{named}/uid/job")).await;
            let expected = if asker == named { 201 } else { 403 };
            assert_eq!(answer.code, expected, "{asker} names {named}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn members_of_the_group_with_any_other_name_hold_nothing() {
    let Some(real) = Real::begin().await else { return };
    for name in [
        "node-upgrade-agent",
        "node-upgrade-agent:",
        "n1",
        "system:node:n1",
        "node-upgrade-agent:n1/uid",
        "x",
    ] {
        let kubeconfig = real.control_plane.user_kubeconfig("node-upgrade-agents", name).unwrap();
        let member = client(&kubeconfig).await;
        for holder in [
            "n1/uid/job",
            "/uid/job",
            "node-upgrade-agent/uid/job",
            "x/uid/job",
            "uid/job/",
            "n1/uid/uid/job",
        ] {
            let answer = claim(&member, holder).await;
            assert_eq!(answer.code, 403, "{name} names {holder}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn a_former_holder_changes_the_lease_no_more() {
    let Some(real) = Real::begin().await else { return };
    let bench = &real.bench;
    let lease = upgrade_core::api::LeaseName::Slot(0);
    let (mine, theirs) = (super::super::test_cluster::holder("n1"), super::super::test_cluster::holder("n2"));
    bench.own.claim(lease, &mine).await;
    bench.own.release(lease, &mine).await;
    let path = format!("{LEASES}/slot-0");
    let mut freed = ask(&bench.agent, &format!("GET {path}"), &Value::Null).await.body;
    freed["metadata"]["annotations"]["node-upgrade-agent/degraded"] = "by a former holder".into();
    assert_eq!(
        ask(&bench.agent, &format!("PUT {path}"), &freed).await.code,
        403,
        "a free Lease bears no mark"
    );
    bench.other.claim(lease, &theirs).await;
    let taken = ask(&bench.agent, &format!("GET {path}"), &Value::Null).await.body;
    let answer = ask(&bench.agent, &format!("PUT {path}"), &taken).await;
    assert_eq!(answer.code, 403, "{answer:?}");
    assert!(answer.message().contains("held by n2/uid-of-n2/job"), "the holder is named: {answer:?}");
}

#[tokio::test]
async fn an_administrator_frees_a_lease_as_the_guide_says() {
    let Some(real) = Real::begin().await else { return };
    let lease = upgrade_core::api::LeaseName::Slot(0);
    let mine = super::super::test_cluster::holder("n1");
    real.bench.own.claim(lease, &mine).await;
    let line = include_str!("../../../docs/usage.md")
        .lines()
        .find(|line| line.contains("patch lease slot-0"))
        .unwrap();
    let arguments: Vec<&str> = line.strip_prefix("kubectl ").unwrap().split(' ').collect();
    let arguments: Vec<&str> = arguments.iter().map(|word| word.trim_matches('\'')).collect();
    real.control_plane.kubectl(&arguments).unwrap();
    assert_eq!(real.bench.lease("slot-0").await.spec.unwrap().holder_identity, None);
    let again = real.bench.other.claim(lease, &super::super::test_cluster::holder("n2")).await;
    assert!(
        super::super::test_cluster::is_held(super::super::test_cluster::lease_seen(&again)),
        "a Lease freed by hand can be claimed"
    );
}
