//! Everybody who acts beside the agent: kubelets, controllers, administrators.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use upgrade_sim::rng::Rng;

use super::super::test_cluster::{OTHER, OWN, make};
use super::{CALM, Fate, Scene};

/// A running pod, covered by these budgets.
pub(super) async fn make_pod(
    admin: &Client,
    name: &str,
    node: &str,
    budgets: &[&str],
    fate: Fate,
    grace: u32,
) {
    let (fate_word, kind) = match fate {
        Fate::Goes => ("goes", "ReplicaSet"),
        Fate::Stays => ("stays", "DaemonSet"),
        Fate::Forbids => ("forbids", ""),
    };
    let mut labels = json!({"fate": fate_word});
    for budget in budgets.iter().filter(|budget| !budget.is_empty()) {
        labels[*budget] = "covers".into();
    }
    // Each has a controller of its own, so that none counts as put back for ever.
    let owner =
        json!({"apiVersion": "apps/v1", "kind": kind, "name": name, "uid": "owner", "controller": true});
    let owners = if fate == Fate::Forbids { json!([]) } else { json!([owner]) };
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "labels": labels, "ownerReferences": owners},
        "spec": {"nodeName": node, "containers": [{"name": "main"}], "terminationGracePeriodSeconds": grace},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
    });
    make(&Api::<Pod>::namespaced(admin.clone(), "default"), &pod).await;
}

/// Its controller makes a pod anew under its name, here or elsewhere; what it becomes may have to stay.
pub(super) async fn make_anew(admin: &Client, name: &str, rng: &mut Rng) {
    let pods = Api::<Pod>::namespaced(admin.clone(), "default");
    if pods.delete(name, &DeleteParams::default().grace_period(0)).await.is_err() {
        return;
    }
    let node = if rng.once_in(2) { OTHER } else { OWN };
    let fate = if rng.once_in(2) { Fate::Stays } else { Fate::Goes };
    make_pod(admin, name, node, &[], fate, 0).await;
}

impl Scene {
    /// Acts for ever.
    pub(super) async fn live(&mut self) {
        loop {
            // Never at the very moment of somebody else's timer.
            tokio::time::sleep(Duration::from_millis(2_003 + self.rng.below(6) * 1_000)).await;
            self.end_pods().await;
            self.open_budgets().await;
            if self.elapsed() < CALM && self.rng.once_in(3) {
                self.interfere().await;
            }
        }
    }

    /// The kubelet ends what is terminating, each in its time.
    async fn end_pods(&mut self) {
        let pods = self.server.standing("pods").into_iter();
        let going = pods
            .filter(|pod| pod["spec"]["nodeName"] == OWN && !pod["metadata"]["deletionTimestamp"].is_null());
        for pod in going.collect::<Vec<Value>>() {
            let text = |key: &str| pod["metadata"][key].as_str().unwrap_or_default().to_owned();
            let now = self.elapsed();
            let never = !self.ends.contains_key(&text("uid")) && self.rng.once_in(150);
            let takes = Duration::from_secs(self.rng.below(40));
            let end = *self.ends.entry(text("uid")).or_insert((!never).then_some(now + takes));
            self.hopeless |= end.is_none() && pod["metadata"]["labels"]["fate"] == "goes";
            if end.is_some_and(|end| end <= now) {
                let uid = Some(text("uid"));
                let exactly = kube::api::Preconditions { uid, resource_version: None };
                let pods = Api::<Pod>::namespaced(self.bench.admin.clone(), "default");
                let params = DeleteParams::default().grace_period(0).preconditions(exactly);
                // Somebody may have been quicker.
                drop(pods.delete(&text("name"), &params).await);
            }
        }
    }

    /// The disruption controller gives a budget room again, once there is some.
    async fn open_budgets(&mut self) {
        let now = self.elapsed();
        let open = self.opens.iter().filter(|(_, from)| from.is_some_and(|from| from <= now));
        for (name, _) in open {
            let budgets: Api<k8s_openapi::api::policy::v1::PodDisruptionBudget> =
                Api::namespaced(self.bench.admin.clone(), "default");
            let room = Patch::Merge(json!({"status": {"disruptionsAllowed": 1}}));
            budgets.patch_status(name, &PatchParams::default(), &room).await.unwrap();
        }
    }

    /// Somebody does something in the middle of the drain.
    async fn interfere(&mut self) {
        match self.rng.below(8) {
            0 | 1 => {
                let here = |pod: &Value| {
                    pod["spec"]["nodeName"] == OWN && pod["metadata"]["labels"]["fate"] == "goes"
                };
                let pods: Vec<_> = self.server.standing("pods").into_iter().filter(here).collect();
                if let Some(pod) = self.rng.pick(&pods) {
                    let name = pod["metadata"]["name"].as_str().unwrap();
                    *self.whims.lock().unwrap().made_anew.entry(name.to_owned()).or_default() += 1;
                    make_anew(&self.bench.admin, name, &mut self.rng).await;
                }
            }
            2 => self.make_some_pod(OWN).await,
            3 => self.server.cut_watches(),
            4 => self.server.expire_watches(),
            5 => self.server.freeze_watches(),
            6 => self.server.thaw(),
            _ => {
                let down = self.elapsed() + Duration::from_secs(self.rng.below(60));
                self.whims.lock().unwrap().down = down;
                self.server.cut_watches();
            }
        }
    }
}
