//! Evictions (`pkg/registry/core/pod/storage/eviction.go`).

use serde_json::{Value, json};

use super::Who;
use super::answer::Answer;
use super::request::Call;
use super::serve::{key, standing};
use super::store::{Key, Store};

pub(super) fn evict(store: &mut Store, who: &Who, call: &Call) -> Result<Answer, Answer> {
    let pod = standing(store, call)?.clone();
    if let Who::Kubelet(node) = who
        && pod["spec"]["nodeName"] != **node
    {
        let message = format!("node {node:?} can only evict pods with spec.nodeName set to itself");
        return Err(Answer::forbidden(&message));
    }
    let ends = matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed" | "Pending"));
    if !ends && pod["metadata"]["deletionTimestamp"].is_null() {
        spend_budget(store, &pod)?;
    }
    // The precondition comes after the budget, as in the real one.
    let options = &call.body["deleteOptions"];
    let wanted = &options["preconditions"]["uid"];
    if !wanted.is_null() && *wanted != pod["metadata"]["uid"] {
        let message = format!(
            "Operation cannot be fulfilled on {}: Precondition failed: UID in precondition: {wanted}, UID in object \
             meta: {}",
            call.what(),
            pod["metadata"]["uid"]
        );
        return Err(Answer::error(409, "Conflict", &message));
    }
    let grace = options["gracePeriodSeconds"]
        .as_i64()
        .or_else(|| pod["spec"]["terminationGracePeriodSeconds"].as_i64())
        .unwrap_or(30);
    if grace == 0 {
        store.delete(&key(call));
    } else if pod["metadata"]["deletionTimestamp"].is_null() {
        let mut going = pod;
        going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:30Z".into();
        going["metadata"]["deletionGracePeriodSeconds"] = grace.into();
        store.update(&key(call), going);
    }
    Ok(Answer::created(json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"})))
}

/// Takes one disruption from the pod's budget, where it has one.
fn spend_budget(store: &mut Store, pod: &Value) -> Result<(), Answer> {
    let covering: Vec<(Key, Value)> = store
        .all()
        .filter(|((resource, ..), budget)| resource == "poddisruptionbudgets" && covers(budget, pod))
        .map(|(key, budget)| (key.clone(), budget.clone()))
        .collect();
    let (key, mut budget) = match &covering[..] {
        [] => return Ok(()),
        [(key, budget)] => (key.clone(), budget.clone()),
        _ => {
            let message = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not \
                           support.";
            return Err(Answer::error(500, "InternalError", message));
        }
    };
    let name = &key.2;
    let status = &mut budget["status"];
    if status["observedGeneration"].as_i64() < budget["metadata"]["generation"].as_i64() {
        let words = format!("The disruption budget {name} is still being processed by the server.");
        return Err(blocked(&words, 10));
    }
    let status = &mut budget["status"];
    let allowed = status["disruptionsAllowed"].as_i64().unwrap_or_default();
    if allowed <= 0 {
        let words = format!(
            "The disruption budget {name} needs {} healthy pods and has {} currently",
            status["desiredHealthy"], status["currentHealthy"]
        );
        return Err(blocked(&words, 0));
    }
    status["disruptionsAllowed"] = (allowed - 1).into();
    store.update(&key, budget);
    Ok(())
}

fn blocked(words: &str, retry_after: u32) -> Answer {
    let message = "Cannot evict pod as it would violate the pod's disruption budget.";
    let causes = json!([{"reason": "DisruptionBudget", "message": words}]);
    let details = json!({"causes": causes, "retryAfterSeconds": retry_after});
    Answer::error_with(429, "TooManyRequests", message, &details)
}

fn covers(budget: &Value, pod: &Value) -> bool {
    let labels = budget["spec"]["selector"]["matchLabels"].as_object();
    budget["metadata"]["namespace"] == pod["metadata"]["namespace"]
        && labels
            .is_some_and(|labels| labels.iter().all(|(key, value)| pod["metadata"]["labels"][key] == *value))
}
