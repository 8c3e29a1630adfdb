//! One eviction: how it is asked for, and what the answer means.

use std::time::Duration;

use k8s_openapi::api::policy::v1::Eviction;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{DeleteOptions, ObjectMeta, Preconditions};
use kube::api::{DeleteParams, PostParams};
use kube::core::Status;
use kube::{Api, Client};
use upgrade_core::drain::{self, DrainOptions, EvictionResponse};

use super::Cluster;
use super::error::Error;
use super::small_pod::Pod;

/// The cause of a refusal by a disruption budget.
const BUDGET_CAUSE: &str = "DisruptionBudget";
/// The cause of a refusal because the whole namespace is on its way out.
const NAMESPACE_CAUSE: &str = "NamespaceTerminating";
/// What the server says when the UID is another one: of 1.36, and of versions before and of dry runs.
const OTHER_UID: [&str; 2] = ["UID in the precondition", "UID in precondition"];
/// What the server's words about a budget begin with; its name follows.
const BUDGET_WORDS: &str = "The disruption budget ";

/// How a pod is asked to go.
#[derive(Debug, Clone, Copy)]
pub(super) struct Manner {
    /// Seconds of grace instead of its own.
    grace: Option<u32>,
    /// By a plain deletion, which asks no budget.
    delete: bool,
    /// Only ask whether it would be let go.
    dry_run: bool,
}

impl Manner {
    /// As the rules of a drain say.
    pub(super) fn of(options: &DrainOptions) -> Self {
        Self { grace: options.grace_period, delete: options.disable_eviction, dry_run: false }
    }

    /// The same, without any effect.
    pub(super) fn dry_run(self) -> Self {
        Self { dry_run: true, ..self }
    }
}

impl Cluster {
    /// One eviction of exactly this pod, and what became of it: [`answer`] says what that means.
    pub(super) async fn evict(&self, order: drain::Eviction, manner: Manner) -> (String, Result<(), Error>) {
        let doing = format!("evicting pod {}/{}", order.namespace, order.name);
        let asked = self.inner.kubelet.call(&doing, |client| ask(client, &order, manner)).await;
        (order.uid, asked)
    }
}

/// What became of an eviction, in the terms of the rules.
pub(super) fn answer(asked: &Result<(), Error>) -> EvictionResponse {
    asked.as_ref().map_or_else(refusal, |()| EvictionResponse::Accepted)
}

async fn ask(client: Client, order: &drain::Eviction, manner: Manner) -> kube::Result<()> {
    let pods = Api::<Pod>::namespaced(client, &order.namespace);
    if manner.delete {
        let params = DeleteParams {
            dry_run: manner.dry_run,
            grace_period_seconds: manner.grace,
            preconditions: Some(kube::api::Preconditions {
                uid: Some(order.uid.clone()),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        return pods.delete(&order.name, &params).await.map(drop);
    }
    let params = PostParams { dry_run: manner.dry_run, ..PostParams::default() };
    // The client's own call for evictions misspells its options, which drops the UID.
    let eviction = eviction(order, manner.grace);
    pods.create_subresource::<_, Status>("eviction", &order.name, &params, &eviction).await.map(drop)
}

fn eviction(order: &drain::Eviction, grace: Option<u32>) -> Eviction {
    Eviction {
        metadata: ObjectMeta {
            name: Some(order.name.clone()),
            namespace: Some(order.namespace.clone()),
            ..ObjectMeta::default()
        },
        delete_options: Some(DeleteOptions {
            grace_period_seconds: grace.map(i64::from),
            preconditions: Some(Preconditions { uid: Some(order.uid.clone()), resource_version: None }),
            ..DeleteOptions::default()
        }),
    }
}

/// What an eviction that was not accepted means (`pkg/registry/core/pod/storage/eviction.go`).
fn refusal(error: &Error) -> EvictionResponse {
    let Some(status) = error.status() else {
        return EvictionResponse::Failed(error.chain());
    };
    let causes = || status.details.iter().flat_map(|details| &details.causes);
    let retry_after = status
        .details
        .as_ref()
        .map(|details| Duration::from_secs(details.retry_after_seconds.into()))
        .filter(|pause| !pause.is_zero());
    let by_budget = causes().find(|cause| cause.reason == BUDGET_CAUSE);
    match (status.code, by_budget) {
        (404, _) => EvictionResponse::Gone,
        // A pod of this name with another UID is another pod.
        (409, _) if OTHER_UID.iter().any(|words| status.message.contains(words)) => EvictionResponse::Gone,
        // 403: its figures make no sense. 409: too many evictions changed it at the same moment.
        (403 | 409, _) if is_about_budget(status) => {
            let budget = status.details.as_ref().map(|details| details.name.clone());
            EvictionResponse::Blocked { budget, message: status.message.clone(), retry_after }
        }
        (429, Some(cause)) => EvictionResponse::Blocked {
            budget: budget_name(&cause.message),
            message: cause.message.clone(),
            retry_after,
        },
        (429, None) => EvictionResponse::Busy { retry_after },
        (403, _) if causes().any(|cause| cause.reason == NAMESPACE_CAUSE) => {
            EvictionResponse::Failed(error.chain())
        }
        (403, _) => EvictionResponse::Forbidden(error.chain()),
        (500, _) if status.message.contains("more than one PodDisruptionBudget") => {
            EvictionResponse::Blocked { budget: None, message: status.message.clone(), retry_after }
        }
        _ => EvictionResponse::Failed(error.chain()),
    }
}

fn is_about_budget(status: &Status) -> bool {
    let details = status.details.as_ref();
    details.is_some_and(|details| details.kind.to_ascii_lowercase().starts_with("poddisruptionbudget"))
}

fn budget_name(words: &str) -> Option<String> {
    let name = words.strip_prefix(BUDGET_WORDS)?.split_whitespace().next()?;
    Some(name.to_owned())
}

#[cfg(test)]
mod tests {
    use kube::core::response::{StatusCause, StatusDetails};

    use super::*;

    fn refused(code: u16, message: &str, kind: &str, cause: Option<(&str, &str)>) -> EvictionResponse {
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
        assert_eq!(
            blocked,
            EvictionResponse::Blocked {
                budget,
                message: words.to_owned(),
                retry_after: Some(Duration::from_secs(10))
            }
        );
        assert_eq!(
            refused(429, "slow down", "", None),
            EvictionResponse::Busy { retry_after: Some(Duration::from_secs(10)) }
        );
        let two = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
        assert!(matches!(refused(500, two, "", None), EvictionResponse::Blocked { budget: None, .. }));
        assert!(matches!(
            refused(403, "negative", "poddisruptionbudget", None),
            EvictionResponse::Blocked { budget: Some(_), .. }
        ));
        let modified = "the object has been modified; please apply your changes to the latest version";
        let contended = refused(409, modified, "poddisruptionbudgets", None);
        assert!(matches!(contended, EvictionResponse::Blocked { budget: Some(name), .. } if name == "web"));
    }

    #[test]
    fn a_pod_that_is_not_ours_any_more_counts_as_gone() {
        assert_eq!(refused(404, "no", "pods", None), EvictionResponse::Gone);
        let forbidden = refused(403, "node can only evict its own", "pods", None);
        assert!(
            matches!(forbidden, EvictionResponse::Forbidden(text) if text.contains("only evict its own"))
        );
        for words in [
            "Precondition failed: UID in precondition: a, UID in object meta: b",
            "the UID in the precondition (a) does not match the UID in record (b)",
        ] {
            assert_eq!(refused(409, words, "pods", None), EvictionResponse::Gone);
        }
    }

    #[test]
    fn everything_else_is_tried_again() {
        for (code, cause) in
            [(409, None), (500, None), (504, None), (401, None), (403, Some((NAMESPACE_CAUSE, "")))]
        {
            assert!(matches!(refused(code, "no", "pods", cause), EvictionResponse::Failed(_)), "{code}");
        }
        let lost = refusal(&Error::Deadline { doing: "evicting".to_owned() });
        assert!(matches!(lost, EvictionResponse::Failed(_)));
    }
}
