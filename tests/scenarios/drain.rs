//! Pods that go, stay, and are in the way.

use std::fs;

use anyhow::{Context, Result, ensure};
use lab::{wait_for, wait_until};
use serde_json::Value;
use upgrade_core::api::{Phase, Report};
use upgrade_core::oracle::{End, What, Who};

use crate::fleet::{Fleet, SOON, count, new, old};

/// Two pods that can run on one node alone and not both at once, and a budget that wants one of them: it has just that
/// one, so nobody may evict it until the other runs or the budget wants less.
const GUARDED: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: guarded, labels: {scenario: drain}}
spec:
  replicas: 2
  selector: {matchLabels: {app: guarded}}
  template:
    metadata: {labels: {app: guarded}}
    spec:
      affinity:
        podAntiAffinity:
          requiredDuringSchedulingIgnoredDuringExecution:
            - {topologyKey: kubernetes.io/hostname, labelSelector: {matchLabels: {app: guarded}}}
      nodeSelector: {kubernetes.io/hostname: NODE}
      terminationGracePeriodSeconds: 1
      containers:
        - {name: httpd, image: "registry.local/httpd:1", imagePullPolicy: IfNotPresent}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: guard, labels: {scenario: drain}}
spec:
  minAvailable: 1
  selector: {matchLabels: {app: guarded}}
"#;

/// Puts a pod onto `node` that nobody may evict, and returns its name.
pub(crate) fn guard(fleet: &Fleet, node: &str) -> Result<String> {
    let path = fleet.cluster.kubeconfig().with_file_name("guarded.yaml");
    fs::write(&path, GUARDED.replace("NODE", node)).context("cannot write a manifest")?;
    fleet.kubectl(&["apply", "-f", &path.display().to_string()])?;
    wait_for("the guarded pod to be ready, and its budget to know it", SOON, || {
        let healthy = fleet.kubectl(&["get", "pdb", "guard", "-o", "jsonpath={.status.currentHealthy}"])?;
        let pods = fleet.pods_by_node("guarded")?;
        Ok(pods.into_iter().find(|(_, on)| on == node && healthy == "1").map(|(pod, _)| pod))
    })
}

/// Lets the guarded pod be evicted.
pub(crate) fn relax(fleet: &Fleet) -> Result<()> {
    fleet.kubectl(&["patch", "pdb", "guard", "-p", r#"{"spec":{"minAvailable":0}}"#]).map(drop)
}

/// Whether the report names a pod that the guard holds.
pub(crate) fn names_guard(report: &Report) -> bool {
    let blocked = report.drain.iter().flat_map(|drain| &drain.blocked);
    blocked.into_iter().any(|blocked| {
        blocked.pod.starts_with("default/guarded-") && blocked.budget.as_deref() == Some("guard")
    })
}

pub(crate) fn blocked_for_a_while(fleet: &Fleet) -> Result<()> {
    fleet.old_worker("worker1")?;
    let pod = guard(fleet, "worker1")?;
    fleet.ask("worker1", &new())?;
    let report = fleet.wait_report("worker1", Phase::Draining, names_guard)?;
    ensure!(report.message.contains(&pod) && report.message.contains("guard"), "it says {}", report.message);
    wait_for("an Event that names pod and budget", SOON, || {
        let query = ["get", "events", "-A", "-o", "json", "--field-selector", "reason=DrainBlocked"];
        let events: Value = serde_json::from_str(&fleet.kubectl(&query)?)?;
        let told = events["items"].as_array().into_iter().flatten().find(|event| {
            let message = event["message"].as_str().unwrap_or_default();
            event["involvedObject"]["name"] == "worker1"
                && message.contains(&pod)
                && message.contains("guard")
        });
        Ok(told.map(drop))
    })?;
    // It tries again, and again in vain.
    wait_until("three refused evictions", SOON, || Ok(refused_evictions(fleet, &pod)? >= 3))?;
    let report = fleet.report("worker1")?;
    ensure!(report.phase == Phase::Draining && names_guard(&report), "it gave up: {}", report.message);
    let begun = count(&fleet.events()?, "worker1", |what| matches!(what, What::ToolStarted { .. }));
    ensure!(begun == 0, "the host was changed before the node was drained");
    relax(fleet)?;
    fleet.wait_done("worker1", &new())?;
    fleet.judge(&[("worker1", End::Done)])
}

/// Evictions of a pod that the API server refused because of a budget.
fn refused_evictions(fleet: &Fleet, pod: &str) -> Result<usize> {
    let log = fs::read_to_string(fleet.cluster.audit_log()?)?;
    let path = format!("/pods/{pod}/eviction");
    Ok(log.lines().filter(|line| line.contains(&path) && line.contains("\"code\":429")).count())
}

pub(crate) fn cancelled(fleet: &Fleet) -> Result<()> {
    fleet.old_worker("worker2")?;
    guard(fleet, "worker2")?;
    fleet.ask("worker2", &new())?;
    fleet.wait_report("worker2", Phase::Draining, names_guard)?;
    fleet.ask_no_more("worker2")?;
    fleet.wait_phase("worker2", Phase::Idle)?;
    fleet.check_in_service("worker2", &old())?;
    let events = fleet.events()?;
    let taken_back = |what: &What| matches!(what, What::Uncordoned { by: Who::Agent(_) });
    ensure!(count(&events, "worker2", taken_back) == 1, "nobody uncordoned worker2");
    let changed = |what: &What| {
        matches!(what, What::ToolStarted { tool, .. } if *tool != "hold") || *what == What::KubeletRestarted
    };
    ensure!(count(&events, "worker2", changed) == 0, "worker2 was changed");
    fleet.judge(&[("worker2", End::BackedOut)])
}

/// The tutorial: drain the node that has most of ten web servers, and see where they are afterwards.
pub(crate) fn pods_stay_moved(fleet: &Fleet) -> Result<()> {
    let pods = fleet.pods_by_node("hello")?;
    let on = |node: &str| pods.iter().filter(|(_, on)| on == node).count();
    let (drained, other) =
        if on("worker1") > on("worker2") { ("worker1", "worker2") } else { ("worker2", "worker1") };
    ensure!(on(drained) > 0, "the web servers are nowhere: {pods:?}");
    fleet.old_worker(drained)?;
    fleet.ask(drained, &new())?;
    fleet.wait_done(drained, &new())?;
    let served = || -> Result<bool> {
        Ok(fleet.pods_by_node("hello")?.iter().filter(|(_, on)| on == other).count() == 10)
    };
    wait_until(&format!("all ten web servers to run on {other}"), SOON, served)?;
    let events = fleet.events()?;
    let evicted = count(&events, drained, |what| matches!(what, What::Evicted { by: Who::Agent(_), .. }));
    ensure!(evicted >= on(drained), "{evicted} of {} web servers were evicted", on(drained));
    let uncordoned = events
        .iter()
        .position(|event| event.node == drained && matches!(event.what, What::Uncordoned { .. }));
    let after = &events[uncordoned.context("it was never uncordoned")?..];
    let back = count(after, drained, |what| matches!(what, What::PodBound { .. }));
    ensure!(back == 0, "{back} pods came back to {drained}");
    fleet.judge(&[(drained, End::Done)])
}

/// A pod that is gone with its eviction, one that has ended, and one that is held until somebody lets it go.
const IN_THEIR_WAYS: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: quick, labels: {scenario: drain}}
spec:
  replicas: 1
  selector: {matchLabels: {app: quick}}
  template:
    metadata: {labels: {app: quick}}
    spec:
      nodeSelector: {kubernetes.io/hostname: NODE}
      terminationGracePeriodSeconds: 0
      containers:
        - {name: httpd, image: "registry.local/httpd:1", imagePullPolicy: IfNotPresent}
---
apiVersion: batch/v1
kind: Job
metadata: {name: ended, labels: {scenario: drain}}
spec:
  template:
    metadata: {labels: {app: ended}}
    spec:
      nodeSelector: {kubernetes.io/hostname: NODE}
      restartPolicy: Never
      containers:
        - {name: etcd-backup, image: "registry.local/httpd:1", imagePullPolicy: IfNotPresent, command: [/bin/busybox, "true"]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: held, labels: {scenario: drain}}
spec:
  replicas: 1
  selector: {matchLabels: {app: held}}
  template:
    metadata: {labels: {app: held}, finalizers: [example.com/hold]}
    spec:
      nodeSelector: {kubernetes.io/hostname: NODE}
      terminationGracePeriodSeconds: 1
      containers:
        - {name: httpd, image: "registry.local/httpd:1", imagePullPolicy: IfNotPresent}
"#;

pub(crate) fn pods_go_in_their_ways(fleet: &Fleet) -> Result<()> {
    fleet.old_worker("worker1")?;
    let path = fleet.cluster.kubeconfig().with_file_name("in-their-ways.yaml");
    fs::write(&path, IN_THEIR_WAYS.replace("NODE", "worker1")).context("cannot write a manifest")?;
    fleet.kubectl(&["apply", "-f", &path.display().to_string()])?;
    wait_until("the pods to run, and the Job to end", SOON, || {
        let ended = fleet.kubectl(&["get", "job", "ended", "-o", "jsonpath={.status.succeeded}"])?;
        Ok(ended == "1"
            && ["quick", "held"].iter().all(|app| fleet.pods_by_node(app).is_ok_and(|pods| pods.len() == 1)))
    })?;
    fleet.ask("worker1", &new())?;
    wait_until("the held pod alone to be left", SOON, || {
        let left = fleet.report("worker1")?.drain.is_some_and(|drain| drain.pods_left == 1);
        let of_it = ["get", "pods", "-l", "app=held", "--field-selector", "spec.nodeName=worker1"];
        let gone = "jsonpath={.items[*].metadata.deletionTimestamp}";
        Ok(left && !fleet.kubectl(&[of_it.as_slice(), &["-o", gone]].concat())?.is_empty())
    })?;
    let is_gone = |what: &What| matches!(what, What::PodGone { .. });
    let before = count(&fleet.events()?, "worker1", is_gone);
    fleet.kubectl(&["scale", "deployment", "held", "--replicas=0"])?;
    let held = fleet.kubectl(&["get", "pods", "-l", "app=held", "-o", "name"])?;
    for pod in held.lines() {
        fleet.kubectl(&["patch", pod, "--type=merge", "-p", r#"{"metadata":{"finalizers":null}}"#])?;
    }
    fleet.wait_done("worker1", &new())?;
    let gone = count(&fleet.events()?, "worker1", is_gone);
    ensure!(gone > before, "the held pod was told to be gone while it was there");
    fleet.judge(&[("worker1", End::Done)])
}
