//! Draining the own node: carries out what [`Engine`] orders, and tells it what the API server says.

use std::pin::pin;

use futures::StreamExt;
use futures::future::{BoxFuture, FutureExt, OptionFuture};
use futures::stream::FuturesUnordered;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::Eviction;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{DeleteOptions, ObjectMeta, Preconditions};
use kube::Api;
use kube::api::PostParams;
use kube::core::Status;
use kube::runtime::watcher;
use tokio::sync::watch::{Sender, channel};
use upgrade_core::act::Ended;
use upgrade_core::drain::{Answer, DrainOptions, DrainState, Engine, Order, Progress};
use upgrade_core::seen::{Fact, PodSeen};

use super::Cluster;
use super::client::{Pause, watch};
use super::convert::pod_seen;
use super::error::Error;
use super::known::Known;

/// The cause of a refusal by a disruption budget.
const BUDGET_CAUSE: &str = "DisruptionBudget";
/// The cause of a refusal because the whole namespace is on its way out.
const NAMESPACE_CAUSE: &str = "NamespaceTerminating";
/// What the server says when the UID is another one: of 1.36, and of versions before and of dry runs.
const OTHER_UID: [&str; 2] = ["UID in the precondition", "UID in precondition"];
/// What the server's words about a budget begin with; its name follows.
const BUDGET_WORDS: &str = "The disruption budget ";

impl Cluster {
    /// Evicts what the rules say until a fresh list holds nothing more, or the drain is given up; tells
    /// [`Fact::Drain`] at each change. Dropping the future stops it: evictions on their way may still happen.
    pub async fn drain(&self, options: DrainOptions, tell: impl Fn(Fact)) -> Ended {
        let grace = options.grace_period;
        let mut engine = Engine::new(options, self.inner.clock.now());
        let (sender, mut shown) = channel(Vec::new());
        let mut watching = pin!(self.show_pods(&sender));
        let mut evictions = FuturesUnordered::new();
        let mut listing: OptionFuture<BoxFuture<'_, _>> = None.into();
        let mut told: Option<Progress> = None;
        loop {
            let now = self.inner.clock.now();
            let next = engine.next(now);
            evictions.extend(next.evict.into_iter().map(|order| self.evict(order, grace)));
            if next.list {
                listing = Some(self.list_pods().boxed()).into();
            }
            let progress = engine.progress(now);
            if progress.state != DrainState::Draining {
                return Ended::well(vec![Fact::Drain(progress)]);
            }
            if told.as_ref().is_none_or(|told| differs(told, &progress)) {
                tell(Fact::Drain(progress.clone()));
                told = Some(progress);
            }
            let wake = next.wake.map(|wake| tokio::time::sleep(self.inner.clock.until(wake)));
            tokio::select! {
                () = &mut watching => {}
                Ok(()) = shown.changed() => engine.list(self.inner.clock.now(), &shown.borrow_and_update()),
                Some((uid, answer)) = evictions.next() => engine.answer(self.inner.clock.now(), &uid, answer),
                Some(listed) = &mut listing => {
                    listing = None.into();
                    match listed {
                        Ok(pods) => engine.confirmed(self.inner.clock.now(), &pods),
                        Err(error) => tracing::warn!("{}; tried again", error.chain()),
                    }
                }
                Some(()) = OptionFuture::from(wake) => {}
            }
        }
    }

    /// Shows the pods of this node as a watch sees them, for ever.
    async fn show_pods(&self, show: &Sender<Vec<PodSeen>>) {
        let mut pause = Pause::default();
        loop {
            let error = self.follow_pods(show, &mut pause).await;
            tracing::warn!("{}; the watch is begun again", error.chain());
            pause.wait().await;
        }
    }

    /// Until something goes wrong.
    async fn follow_pods(&self, show: &Sender<Vec<PodSeen>>, pause: &mut Pause) -> Error {
        let doing = format!("watching the pods of node {}", self.node_name());
        let own = &self.inner.own;
        let client = match own.client().await {
            Ok(client) => client,
            Err(error) => return error,
        };
        let here = watcher::Config::default().fields(&self.own_pods());
        let mut events = watch(Api::<Pod>::all(client), here);
        let mut pods = Known::<PodSeen>::default();
        loop {
            match own.next(&doing, pods.listed, &mut events).await {
                Ok(event) => pods.take(event, |pod| Some(pod_seen(pod))),
                Err(error) => return error,
            }
            if pods.listed {
                pause.reset();
                show.send_replace(pods.values());
            }
        }
    }

    /// One eviction of exactly this pod, and what became of it.
    async fn evict(&self, order: Order, grace: Option<u32>) -> (String, Answer) {
        let Order { uid, namespace, name } = order;
        let eviction = eviction(&uid, &namespace, &name, grace);
        let doing = format!("evicting pod {namespace}/{name}");
        // The client's own call for evictions misspells its options, which drops the UID.
        let answered = self
            .inner
            .own
            .call(&doing, |client| async move {
                let pods = Api::<Pod>::namespaced(client, &namespace);
                pods.create_subresource::<_, Status>("eviction", &name, &PostParams::default(), &eviction)
                    .await
            })
            .await;
        let answer = match &answered {
            Ok(_) => Answer::Accepted,
            Err(error) => refusal(error),
        };
        (uid, answer)
    }
}

fn eviction(uid: &str, namespace: &str, name: &str, grace: Option<u32>) -> Eviction {
    Eviction {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(namespace.to_owned()),
            ..ObjectMeta::default()
        },
        delete_options: Some(DeleteOptions {
            grace_period_seconds: grace.map(i64::from),
            preconditions: Some(Preconditions { uid: Some(uid.to_owned()), resource_version: None }),
            ..DeleteOptions::default()
        }),
    }
}

/// What an eviction that was not accepted means (`pkg/registry/core/pod/storage/eviction.go`).
fn refusal(error: &Error) -> Answer {
    let Some(status) = error.status() else {
        return Answer::Failed(error.chain());
    };
    let causes = || status.details.iter().flat_map(|details| &details.causes);
    let retry_after = status
        .details
        .as_ref()
        .map(|details| u64::from(details.retry_after_seconds) * 1000)
        .filter(|millis| *millis > 0);
    let by_budget = causes().find(|cause| cause.reason == BUDGET_CAUSE);
    match (status.code, by_budget) {
        (404, _) => Answer::Gone,
        // A pod of this name with another UID is another pod.
        (409, _) if OTHER_UID.iter().any(|words| status.message.contains(words)) => Answer::Gone,
        (429, Some(cause)) => Answer::Blocked {
            budget: budget_name(&cause.message),
            message: cause.message.clone(),
            retry_after,
        },
        (429, None) => Answer::Busy { retry_after },
        (403, _) if causes().any(|cause| cause.reason == NAMESPACE_CAUSE) => Answer::Failed(error.chain()),
        (403, _) => match status.details.as_ref().filter(|details| is_budget(&details.kind)) {
            Some(details) => Answer::Blocked {
                budget: Some(details.name.clone()),
                message: status.message.clone(),
                retry_after,
            },
            // To a kubelet, a pod that is gone is forbidden; so is one of this name on another node.
            None => Answer::Gone,
        },
        (500, _) if status.message.contains("more than one PodDisruptionBudget") => {
            Answer::Blocked { budget: None, message: status.message.clone(), retry_after }
        }
        _ => Answer::Failed(error.chain()),
    }
}

fn is_budget(kind: &str) -> bool {
    kind.to_ascii_lowercase().starts_with("poddisruptionbudget")
}

fn budget_name(words: &str) -> Option<String> {
    let name = words.strip_prefix(BUDGET_WORDS)?.split_whitespace().next()?;
    Some(name.to_owned())
}

/// Whether people would see a difference.
fn differs(told: &Progress, now: &Progress) -> bool {
    *told != Progress { at: told.at, ..now.clone() }
}

#[cfg(test)]
mod tests {
    use kube::core::response::{StatusCause, StatusDetails};

    use super::*;

    fn refused(code: u16, message: &str, kind: &str, cause: Option<(&str, &str)>) -> Answer {
        let causes = cause.map(|(reason, message)| StatusCause {
            reason: reason.to_owned(),
            message: message.to_owned(),
            field: String::new(),
        });
        let details = StatusDetails {
            name: "web".to_owned(),
            group: String::new(),
            kind: kind.to_owned(),
            uid: String::new(),
            causes: causes.into_iter().collect(),
            retry_after_seconds: 10,
        };
        let status = Status::failure(message, "").with_code(code).with_details(details).boxed();
        refusal(&Error::Refused { doing: "evicting".to_owned(), status })
    }

    #[test]
    fn only_a_budgets_refusal_blocks() {
        let words = "The disruption budget web needs 2 healthy pods and has 2 currently";
        let blocked = refused(429, "no", "", Some((BUDGET_CAUSE, words)));
        let budget = Some("web".to_owned());
        assert_eq!(blocked, Answer::Blocked { budget, message: words.to_owned(), retry_after: Some(10_000) });
        assert_eq!(refused(429, "slow down", "", None), Answer::Busy { retry_after: Some(10_000) });
        let two = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
        assert!(matches!(refused(500, two, "", None), Answer::Blocked { budget: None, .. }));
        assert!(matches!(
            refused(403, "negative", "poddisruptionbudget", None),
            Answer::Blocked { budget: Some(_), .. }
        ));
    }

    #[test]
    fn a_pod_that_is_not_ours_any_more_counts_as_gone() {
        assert_eq!(refused(404, "no", "pods", None), Answer::Gone);
        assert_eq!(refused(403, "node can only evict its own", "pods", None), Answer::Gone);
        for words in [
            "Precondition failed: UID in precondition: a, UID in object meta: b",
            "the UID in the precondition (a) does not match the UID in record (b)",
        ] {
            assert_eq!(refused(409, words, "pods", None), Answer::Gone);
        }
    }

    #[test]
    fn everything_else_is_tried_again() {
        for (code, cause) in
            [(409, None), (500, None), (504, None), (401, None), (403, Some((NAMESPACE_CAUSE, "")))]
        {
            assert!(matches!(refused(code, "no", "pods", cause), Answer::Failed(_)), "{code}");
        }
        let lost = refusal(&Error::Deadline { doing: "evicting".to_owned() });
        assert!(matches!(lost, Answer::Failed(_)));
    }
}
