//! Whether the pods of this node can be drained, found out without touching one.

use std::collections::BTreeMap;

use futures::stream::iter;
use futures::{FutureExt, StreamExt};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::ListParams;
use kube::core::{Selector, SelectorExt};
use kube::{Api, ResourceExt};
use upgrade_core::drain::budget::{Budget, Forecast, forecast};
use upgrade_core::drain::{Answer, DrainOptions, MAX_IN_FLIGHT, Order, Sort, sort};
use upgrade_core::preflight::Outcome;
use upgrade_core::seen::PodSeen;
use upgrade_core::text;

use super::Cluster;
use super::error::Error;
use super::evict::Manner;

/// So many things are told of one kind.
const TOLD: usize = 5;

impl Cluster {
    /// Sorts the pods, asks the budgets' figures, and tries one eviction per controller as a dry run: what admission
    /// says to one pod of a controller it says to all.
    pub(super) async fn drainable(&self, options: &DrainOptions) -> Result<Outcome, Error> {
        if !options.enabled {
            return Ok(Outcome::Passed("draining is switched off".to_owned()));
        }
        let pods = self.list_pods(&options.pod_selector).await?.kept;
        let budgets = self.budgets().await?;
        let (figures, selectors): (Vec<_>, Vec<_>) = budgets.into_iter().unzip();
        let selectors: BTreeMap<_, _> = figures.iter().map(key).zip(selectors).collect();
        let covers = |pod: &PodSeen, budget: &Budget| {
            budget.namespace == pod.namespace
                && selectors.get(&key(budget)).is_some_and(|selector| selector.matches(&pod.labels))
        };
        let now = self.inner.clock.now().unix;
        let forecast = forecast(&pods, &figures, covers, options, now);
        if !forecast.never.is_empty() {
            return Ok(Outcome::Failed(text::some_of(TOLD, "; ", &forecast.never)));
        }
        let tried = self.try_evictions(options, &pods).await?;
        Ok(judge(&forecast, &tried))
    }

    /// What keeps evictions that budgets would let pass from being accepted.
    async fn try_evictions(&self, options: &DrainOptions, pods: &[PodSeen]) -> Result<Tried, Error> {
        let now = self.inner.clock.now().unix;
        let going = pods.iter().filter(|pod| sort(pod, options, now) == Sort::Evict);
        let by_controller: BTreeMap<_, _> = going
            .map(|pod| {
                let owner = pod.controller.as_ref();
                let (kind, name) = owner.map_or(("", &pod.name), |owner| (owner.kind.as_str(), &owner.name));
                ((&pod.namespace, kind, name), pod)
            })
            .collect();
        let manner = Manner::of(options).dry_run();
        let trials: Vec<_> =
            by_controller.values().map(|pod| self.evict(order(pod), manner).boxed()).collect();
        let mut answers: BTreeMap<_, _> = iter(trials).buffer_unordered(MAX_IN_FLIGHT).collect().await;
        let mut tried = Tried::default();
        for pod in by_controller.into_values() {
            let Some(answer) = answers.remove(&pod.uid) else { continue };
            let told = |words: &str| format!("pod {}/{}: {words}", pod.namespace, pod.name);
            match answer {
                Answer::Forbidden(words) => tried.forbidden.push((pod.uid.clone(), told(&words))),
                Answer::Failed(words) => tried.failed.push(told(&words)),
                // What budgets say now is in the forecast already.
                Answer::Accepted | Answer::Gone | Answer::Blocked { .. } | Answer::Busy { .. } => {}
            }
        }
        if !tried.forbidden.is_empty() {
            // To a kubelet a pod that is gone is forbidden too.
            let here = self.list_pods(&options.pod_selector).await?.kept;
            tried.forbidden.retain(|(uid, _)| here.iter().any(|pod| pod.uid == *uid));
        }
        Ok(tried)
    }

    async fn budgets(&self) -> Result<Vec<(Budget, Selector)>, Error> {
        let all = ListParams::default();
        let doing = "listing PodDisruptionBudgets";
        self.inner.shared.list(doing, Api::<PodDisruptionBudget>::all, &all, small).await
    }
}

/// What dry runs of evictions met.
#[derive(Default)]
struct Tried {
    /// Pods by UID that may not be evicted.
    forbidden: Vec<(String, String)>,
    /// What may come right by itself.
    failed: Vec<String>,
}

fn order(pod: &PodSeen) -> Order {
    Order { uid: pod.uid.clone(), namespace: pod.namespace.clone(), name: pod.name.clone() }
}

fn key(budget: &Budget) -> (String, String) {
    (budget.namespace.clone(), budget.name.clone())
}

/// Budgets without a selector cover no pod.
fn small(budget: PodDisruptionBudget) -> Option<(Budget, Selector)> {
    let (namespace, name) = (budget.namespace()?, budget.name_any());
    let generation = budget.metadata.generation;
    let spec = budget.spec?;
    let status = budget.status.unwrap_or_default();
    let counted = status.observed_generation >= generation;
    let failing = status
        .conditions
        .iter()
        .flatten()
        .find(|condition| condition.type_ == "DisruptionAllowed" && condition.reason == "SyncFailed")
        .map(|condition| condition.message.clone());
    let small = Budget {
        namespace,
        name,
        allowed: status.disruptions_allowed,
        needs: status.desired_healthy,
        has: status.current_healthy,
        expected: if counted { status.expected_pods } else { 0 },
        lets_unready_go: spec.unhealthy_pod_eviction_policy.as_deref() == Some("AlwaysAllow"),
        failing,
    };
    Some((small, spec.selector?.try_into().ok()?))
}

fn judge(forecast: &Forecast, tried: &Tried) -> Outcome {
    let forbidden: Vec<_> = tried.forbidden.iter().map(|(_, words)| words.clone()).collect();
    if !forbidden.is_empty() {
        return Outcome::Failed(format!(
            "the API server refuses evictions: {}",
            text::some_of(TOLD, "; ", &forbidden)
        ));
    }
    if !tried.failed.is_empty() {
        return Outcome::Pending(format!(
            "evictions tried as dry runs fail: {}",
            text::some_of(TOLD, "; ", &tried.failed)
        ));
    }
    let mut told = vec![format!("{} pods would be evicted", forecast.evicted)];
    if !forecast.slow.is_empty() {
        told.push(text::some_of(TOLD, "; ", &forecast.slow));
    }
    if !forecast.lose_data.is_empty() {
        told.push(format!("emptyDir data is lost of {}", text::some_of(TOLD, ", ", &forecast.lose_data)));
    }
    Outcome::Passed(told.join("; "))
}
