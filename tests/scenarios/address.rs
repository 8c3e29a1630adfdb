//! What a client sees of a control-plane node's upgrade that calls the node's pods by their addresses.

use std::fs;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use lab::audit::{node_writes, outages};
use lab::script::Order;
use lab::{Cluster, Options};
use upgrade_core::api::KubeadmCommand;
use upgrade_core::oracle::{End, Event, What};

use crate::client::{Call, Client, now, within};
use crate::fleet::{Fleet, new, target_directory};

const NODE: &str = "cp1";
/// Pods that the drain of their node moves; and such as stay, with an address of their own and with their node's.
const MOVED: &str = "moved";
const STAYING: [&str; 2] = ["staying", "staying-on-the-host"];
const MANIFEST: &str = r"
apiVersion: apps/v1
kind: KIND
metadata: {name: NAME}
spec:
  selector: {matchLabels: {app: NAME}}
  template:
    metadata: {labels: {app: NAME}}
    spec:
      hostNetwork: HOST_NETWORK
      nodeSelector: {kubernetes.io/hostname: NODE}
      tolerations: [{key: node-role.kubernetes.io/control-plane, operator: Exists, effect: NoSchedule}]
      terminationGracePeriodSeconds: 2
      containers:
        - name: httpd
          image: registry.local/httpd:1
          imagePullPolicy: IfNotPresent
          readinessProbe:
            httpGet: {path: /, port: 8080}
            periodSeconds: 1
";

pub(crate) fn while_the_control_plane_is_upgraded(_: &Fleet) -> Result<()> {
    by_the_agent()?;
    by_the_script()
}

/// While the control plane is upgraded no call fails; while kubelet is, only those of pods that the drain has moved.
fn by_the_agent() -> Result<()> {
    Fleet::boot_another(&Options { workers: 1, ..Options::default() })?.explained(upgraded)
}

fn upgraded(fleet: &Fleet) -> Result<()> {
    let [moved, staying] = deploy(&fleet.cluster)?;
    fleet.begin();
    let client = Client::start(&[moved.as_slice(), &staying].concat())?;
    let begin = now()?;
    fleet.ask(NODE, &new())?;
    fleet.wait_done(NODE, &new())?;
    let end = now()?;
    let calls = client.stop()?;
    kubeadm_ran_before_the_cordon(&fleet.events()?)?;
    let outages = outages(&node_writes(&fleet.cluster.audit_log()?)?, NODE);
    ensure!(outages.len() == 1, "{NODE} was cordoned {} times", outages.len());
    let cordon = outages.iter().fold(end, |_, outage| outage.from.as_duration().as_secs_f64());
    let (of_moved, of_staying): (Vec<Call>, Vec<Call>) =
        calls.into_iter().partition(|call| moved.contains(&call.address));
    let before = within(&of_moved, begin, cordon)?;
    all_answered(&before)?;
    let after = within(&of_moved, cordon, end)?;
    ensure!(failures(&after) > 0, "the pods were drained, and the client did not see it");
    let of_staying = within(&of_staying, begin, end)?;
    all_answered(&of_staying)?;
    println!(
        "  by the agent: {} calls before the cordon and {} of pods that stay, none failed; {} of {} after it",
        before.len(),
        of_staying.len(),
        failures(&after),
        after.len()
    );
    fleet.judge(&[(NODE, End::Done)])
}

/// The whole of `kubeadm upgrade apply` is among what the client saw before the cordon.
fn kubeadm_ran_before_the_cordon(events: &[Event]) -> Result<()> {
    let place =
        |is: &dyn Fn(&What) -> bool| events.iter().position(|event| event.node == NODE && is(&event.what));
    let begun =
        place(&|what| matches!(what, What::ToolStarted { kubeadm: Some((KubeadmCommand::Apply, _)), .. }));
    let ended = place(&|what| matches!(what, What::ToolEnded { tool: "kubeadm-upgrade", ok: true }));
    let cordon = place(&|what| matches!(what, What::Cordoned { .. }));
    ensure!(
        begun.is_some() && begun < ended && ended < cordon,
        "kubeadm did not run before the cordon: {begun:?}, {ended:?}, {cordon:?}"
    );
    Ok(())
}

/// The drain comes first: no call of a pod that it moves is answered for as long as kubeadm runs.
fn by_the_script() -> Result<()> {
    let cluster = Cluster::boot(&Options { workers: 1, ..Options::default() })?;
    let [moved, _] = deploy(&cluster)?;
    let client = Client::start(&moved)?;
    let steps = cluster.upgrade_by_script(&lab_program()?, NODE, Order::DrainFirst)?;
    let calls = client.stop()?;
    let applying =
        steps.iter().find(|step| step.name == "applying").context("the script never ran kubeadm")?;
    let during = within(&calls, applying.from, applying.until)?;
    let failed = failures(&during);
    println!(
        "  by the drain-first script: {failed} of {} calls failed in the {:.0} s in which kubeadm ran",
        during.len(),
        applying.until - applying.from
    );
    ensure!(failed == during.len() && failed > 0, "a pod that the script has drained answers");
    Ok(())
}

/// Deploys the pods onto the control-plane node, and says where they are: those that a drain moves, and those that stay.
fn deploy(cluster: &Cluster) -> Result<[Vec<Ipv4Addr>; 2]> {
    let mut kinds = vec![("Deployment", MOVED)];
    kinds.extend(STAYING.map(|name| ("DaemonSet", name)));
    for (kind, name) in &kinds {
        let text = MANIFEST.replace("KIND", kind).replace("NAME", name).replace("NODE", NODE);
        let text = text.replace("HOST_NETWORK", &name.ends_with("host").to_string());
        let path = cluster.kubeconfig().with_file_name(format!("{name}.yaml"));
        fs::write(&path, text).context("cannot write a manifest")?;
        cluster.kubectl(&["apply", "-f", &path.display().to_string()])?;
    }
    cluster.kubectl(&["scale", "deployment", MOVED, "--replicas=2"])?;
    for (kind, name) in &kinds {
        cluster.kubectl(&["rollout", "status", &format!("{kind}/{name}"), "--timeout=2m"])?;
    }
    let [moved, staying] = [addresses(cluster, &[MOVED])?, addresses(cluster, &STAYING)?];
    ensure!((moved.len(), staying.len()) == (2, 2), "pods have the addresses {moved:?}, {staying:?}");
    Ok([moved, staying])
}

fn addresses(cluster: &Cluster, apps: &[&str]) -> Result<Vec<Ipv4Addr>> {
    let mut addresses = Vec::new();
    for app in apps {
        let query = "jsonpath={.items[*].status.podIP}";
        let answer = cluster.kubectl(&["get", "pods", "-l", &format!("app={app}"), "-o", query])?;
        for address in answer.split_whitespace() {
            addresses.push(address.parse().with_context(|| format!("{address} is no address"))?);
        }
    }
    Ok(addresses)
}

fn failures(calls: &[&Call]) -> usize {
    calls.iter().filter(|call| call.failure.is_some()).count()
}

fn all_answered(calls: &[&Call]) -> Result<()> {
    let failed = failures(calls);
    let first = calls.iter().find_map(|call| Some((call, call.failure.as_ref()?)));
    let Some((call, failure)) = first else { return Ok(()) };
    bail!("{failed} of {} calls failed, the first of {} at {}: {failure}", calls.len(), call.address, call.at)
}

/// The lab's program, which cargo builds beside this test.
fn lab_program() -> Result<PathBuf> {
    let program = target_directory()?.join("debug/lab");
    ensure!(program.is_file(), "there is no {}: cargo build -p lab", program.display());
    Ok(program)
}
