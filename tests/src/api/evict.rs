//! Evictions (`pkg/registry/core/pod/storage/eviction.go`).

use serde_json::{Value, json};

use super::Who;
use super::answer::Answer;
use super::request::Call;
use super::serve::{end, standing};
use super::store::{Key, Store};

pub(super) fn evict(store: &mut Store, who: &Who, call: &Call) -> Result<Answer, Answer> {
    let pod = standing(store, call)?.clone();
    if let Who::Kubelet(node) = who
        && pod["spec"]["nodeName"] != **node
    {
        let why = format!("node {node} can only evict pods with spec.nodeName set to itself");
        return Err(Answer::forbidden(&format!("{} is forbidden: {why}", call.what())));
    }
    let ends = matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed" | "Pending"));
    if !ends && pod["metadata"]["deletionTimestamp"].is_null() {
        spend_budget(store, &pod, call.is_dry_run())?;
    }
    // The precondition comes after the budget, as in the real one.
    let options = &call.body["deleteOptions"];
    same_uid(&pod, options)?;
    if call.is_dry_run() {
        return Ok(created());
    }
    end(store, call, &pod, options);
    Ok(created())
}

fn created() -> Answer {
    Answer::created(json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}))
}

/// The precondition on the UID.
pub(super) fn same_uid(pod: &Value, options: &Value) -> Result<(), Answer> {
    let wanted = &options["preconditions"]["uid"];
    if wanted.is_null() || *wanted == pod["metadata"]["uid"] {
        return Ok(());
    }
    let text = |uid: &Value| uid.as_str().unwrap_or_default().to_owned();
    let message = format!(
        "Operation cannot be fulfilled on Pod {}: the UID in the precondition ({}) does not match the UID in \
         record ({}). The object might have been deleted and then recreated",
        pod["metadata"]["name"],
        text(wanted),
        text(&pod["metadata"]["uid"])
    );
    Err(Answer::error(409, "Conflict", &message))
}

/// Takes one disruption from the pod's budget, where it has one.
fn spend_budget(store: &mut Store, pod: &Value, dry_run: bool) -> Result<(), Answer> {
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
            return Err(Answer::error(500, "", message));
        }
    };
    let name = &key.2;
    let status = &budget["status"];
    // An unready pod disrupts nobody while the others keep the budget.
    let always = budget["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow";
    if always && !is_ready(pod) {
        return Ok(());
    }
    let desired = status["desiredHealthy"].as_i64().unwrap_or_default();
    if !is_ready(pod) && desired > 0 && status["currentHealthy"].as_i64() >= Some(desired) {
        return Ok(());
    }
    if status["observedGeneration"].as_i64() < budget["metadata"]["generation"].as_i64() {
        let words = format!("The disruption budget {name} is still being processed by the server.");
        return Err(blocked(&words, Some(10)));
    }
    let status = &mut budget["status"];
    let allowed = status["disruptionsAllowed"].as_i64().unwrap_or_default();
    if allowed <= 0 {
        let (needs, has) = (&status["desiredHealthy"], &status["currentHealthy"]);
        let words = if has.as_i64() <= needs.as_i64() {
            format!("The disruption budget {name} needs {needs} healthy pods and has {has} currently")
        } else {
            format!("The disruption budget {name} does not allow evicting pods currently")
        };
        return Err(blocked(&words, None));
    }
    if !dry_run {
        status["disruptionsAllowed"] = (allowed - 1).into();
        store.update(&key, budget);
    }
    Ok(())
}

fn blocked(words: &str, retry_after: Option<u32>) -> Answer {
    let message = "Cannot evict pod as it would violate the pod's disruption budget.";
    let causes = json!([{"reason": "DisruptionBudget", "message": words}]);
    let mut details = json!({"causes": causes});
    if let Some(seconds) = retry_after {
        details["retryAfterSeconds"] = seconds.into();
    }
    Answer::error_with(429, "TooManyRequests", message, &details)
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
    conditions.into_iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

fn covers(budget: &Value, pod: &Value) -> bool {
    let labels = budget["spec"]["selector"]["matchLabels"].as_object();
    budget["metadata"]["namespace"] == pod["metadata"]["namespace"]
        && labels
            .is_some_and(|labels| labels.iter().all(|(key, value)| pod["metadata"]["labels"][key] == *value))
}
