//! Whether the pods of this node can be drained, found out without touching one.

use std::collections::BTreeMap;

use futures::stream::iter;
use futures::{FutureExt, StreamExt};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::ListParams;
use kube::core::{Selector, SelectorExt};
use kube::{Api, ResourceExt};
use upgrade_core::drain::budget::{Budget, forecast};
use upgrade_core::drain::{DrainOptions, Eviction, MAX_IN_FLIGHT};
use upgrade_core::judge::checks;
use upgrade_core::judge::checks::pods::{Tried, not_drained, refused, to_try};
use upgrade_core::observed::{Outcome, PodSeen};

use super::Cluster;
use super::error::Error;
use super::evict::{Manner, answer};

impl Cluster {
    /// Lists the pods, asks the budgets' figures, and tries evictions as dry runs.
    pub(super) async fn drainable(&self, options: &DrainOptions) -> Result<Outcome, Error> {
        if let Some(outcome) = not_drained(options) {
            return Ok(outcome);
        }
        let here = self.list_pods(&options.pod_selector).await?.kept;
        let budgets = self.budgets().await?;
        let (figures, selectors): (Vec<_>, Vec<_>) = budgets.into_iter().unzip();
        let selectors: BTreeMap<_, _> = figures.iter().map(key).zip(selectors).collect();
        let covers = |pod: &PodSeen, budget: &Budget| {
            budget.namespace == pod.namespace
                && selectors.get(&key(budget)).is_some_and(|selector| selector.matches(&pod.labels))
        };
        let now = self.inner.clock.now().unix;
        let forecast = forecast(&here, &figures, covers, options, now);
        if let Some(outcome) = refused(&forecast) {
            return Ok(outcome);
        }
        let tried = self.try_evictions(options, &here).await?;
        Ok(checks::pods(options, &forecast, &tried))
    }

    async fn try_evictions(&self, options: &DrainOptions, here: &[PodSeen]) -> Result<Tried, Error> {
        let going = to_try(here, options, self.inner.clock.now().unix);
        let manner = Manner::of(options).dry_run();
        let trials: Vec<_> = going.iter().map(|pod| self.evict(order(pod), manner).boxed()).collect();
        let mut answers: BTreeMap<_, _> = iter(trials).buffer_unordered(MAX_IN_FLIGHT).collect().await;
        let mut tried = Tried::default();
        for pod in going {
            let Some(asked) = answers.remove(&pod.uid) else { continue };
            tried.take(pod, answer(&asked));
        }
        if !tried.forbidden.is_empty() {
            tried.keep_those_still_here(&self.list_pods(&options.pod_selector).await?.kept);
        }
        Ok(tried)
    }

    async fn budgets(&self) -> Result<Vec<(Budget, Selector)>, Error> {
        let all = ListParams::default();
        let doing = "listing PodDisruptionBudgets";
        self.inner.coordination.list(doing, Api::<PodDisruptionBudget>::all, &all, small).await
    }
}

fn order(pod: &PodSeen) -> Eviction {
    Eviction { uid: pod.uid.clone(), namespace: pod.namespace.clone(), name: pod.name.clone() }
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
        disruptions_allowed: status.disruptions_allowed,
        desired_healthy: status.desired_healthy,
        current_healthy: status.current_healthy,
        expected_pods: if counted { status.expected_pods } else { 0 },
        always_allow_unhealthy: spec.unhealthy_pod_eviction_policy.as_deref() == Some("AlwaysAllow"),
        failing,
    };
    Some((small, spec.selector?.try_into().ok()?))
}
