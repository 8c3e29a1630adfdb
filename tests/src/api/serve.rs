//! The verbs.

use http::Method;
use serde_json::{Value, json};

use super::answer::Answer;
use super::request::Call;
use super::store::{Key, Store};
use super::{Who, evict, limits, patch};

/// Serves anything but a watch.
pub(super) fn serve(store: &mut Store, who: &Who, call: &Call) -> Result<Answer, Answer> {
    if call.resource == "readyz" {
        return Ok(Answer::ok(Value::from("ok")));
    }
    if call.resource == "version" {
        return Ok(Answer::ok(json!({
            "major": "1", "minor": "36", "gitVersion": "v1.36.3", "gitCommit": "", "gitTreeState": "clean",
            "buildDate": "2026-01-01T00:00:00Z", "goVersion": "", "compiler": "gc", "platform": "linux/amd64",
        })));
    }
    match (&call.method, &call.name, call.subresource.as_deref()) {
        (&Method::GET, Some(_), None | Some("status")) => Ok(Answer::ok(standing(store, call)?.clone())),
        (&Method::GET, None, _) => Ok(list(store, call)),
        (&Method::POST, Some(_), Some("eviction")) => evict::evict(store, who, call),
        (&Method::POST, None, _) => create(store, who, call),
        (&Method::PUT, Some(_), None | Some("status")) => replace(store, who, call),
        (&Method::PATCH, Some(_), None | Some("status")) => patched(store, who, call),
        (&Method::DELETE, Some(_), None) => {
            let before = standing(store, call)?.clone();
            limits::own_pod(who, call, &before)?;
            evict::same_uid(&before, &call.body)?;
            if !call.is_dry_run() {
                end(store, call, &before, &call.body);
            }
            Ok(Answer::ok(before))
        }
        _ => Err(Answer::error(405, "MethodNotAllowed", "the fake API server does not know this request")),
    }
}

/// Where an object stands.
pub(super) fn key(call: &Call) -> Key {
    let name = call.name.clone().unwrap_or_default();
    (call.resource.clone(), call.namespace.clone().unwrap_or_default(), name)
}

pub(super) fn standing<'a>(store: &'a Store, call: &Call) -> Result<&'a Value, Answer> {
    store.get(&key(call)).ok_or_else(|| Answer::not_found(&call.what()))
}

/// Deletes, or with a grace period for a running pod says that it shall end: the rest is its kubelet's.
pub(super) fn end(store: &mut Store, call: &Call, before: &Value, options: &Value) {
    let asked = options["gracePeriodSeconds"].as_i64();
    let ended = matches!(before["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
    let own = if call.resource != "pods" || before["spec"]["nodeName"].is_null() || ended {
        0
    } else {
        before["spec"]["terminationGracePeriodSeconds"].as_i64().unwrap_or(30)
    };
    let grace = if own == 0 { 0 } else { asked.unwrap_or(own) };
    if grace == 0 && !is_held(before) {
        store.delete(&key(call));
    } else if before["metadata"]["deletionTimestamp"].is_null() {
        let mut going = before.clone();
        going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:30Z".into();
        going["metadata"]["deletionGracePeriodSeconds"] = grace.into();
        store.update(&key(call), going);
    }
}

/// Whether something must still be done before it may vanish.
fn is_held(object: &Value) -> bool {
    object["metadata"]["finalizers"].as_array().is_some_and(|finalizers| !finalizers.is_empty())
}

fn list(store: &Store, call: &Call) -> Answer {
    let selector = call.selector();
    let from: usize = call.query.get("continue").and_then(|token| token.parse().ok()).unwrap_or_default();
    let limit: usize = call.query.get("limit").and_then(|limit| limit.parse().ok()).unwrap_or(usize::MAX);
    let taken = store.all().filter(|((resource, ..), object)| selector.takes(resource, object));
    let mut rest = taken.skip(from).map(|(_, object)| object.clone());
    let items: Vec<Value> = rest.by_ref().take(limit).collect();
    let more = if rest.next().is_some() { (from + items.len()).to_string() } else { String::new() };
    Answer::ok(json!({
        "kind": "List", "apiVersion": "v1",
        "metadata": {"resourceVersion": store.version().to_string(), "continue": more},
        "items": items,
    }))
}

fn create(store: &mut Store, who: &Who, call: &Call) -> Result<Answer, Answer> {
    let meta = &call.body["metadata"];
    let name = match (meta["name"].as_str(), meta["generateName"].as_str()) {
        (Some(name), _) => name.to_owned(),
        (None, Some(prefix)) => format!("{prefix}{}", store.version()),
        (None, None) => return Err(Answer::error(422, "Invalid", "name or generateName is required")),
    };
    limits::admit(who, call, None, &call.body)?;
    let key = (call.resource.clone(), call.namespace.clone().unwrap_or_default(), name);
    let mut object = call.body.clone();
    if let (Who::Kubelet(node), "certificatesigningrequests") = (who, call.resource.as_str()) {
        object["spec"]["username"] = format!("system:node:{node}").into();
        object["spec"]["groups"] = json!(["system:nodes", "system:authenticated"]);
    }
    store.create(&key, object).map(Answer::created)
}

fn replace(store: &mut Store, who: &Who, call: &Call) -> Result<Answer, Answer> {
    let before = standing(store, call)?.clone();
    write(store, who, call, &before, call.body.clone())
}

fn patched(store: &mut Store, who: &Who, call: &Call) -> Result<Answer, Answer> {
    let before = standing(store, call)?.clone();
    let mut after = before.clone();
    match call.content_type.as_str() {
        "application/merge-patch+json" => patch::merge(&mut after, &call.body),
        "application/strategic-merge-patch+json" => patch::strategic(&mut after, &call.body),
        other => return Err(Answer::error(415, "UnsupportedMediaType", other)),
    }
    write(store, who, call, &before, after)
}

/// Writes, if versions and UIDs fit; a subresource changes only itself, and an object never its status.
fn write(
    store: &mut Store,
    who: &Who,
    call: &Call,
    before: &Value,
    mut after: Value,
) -> Result<Answer, Answer> {
    let differs = |fence: &str| {
        let wanted = &after["metadata"][fence];
        !wanted.is_null() && *wanted != before["metadata"][fence]
    };
    if differs("resourceVersion") {
        return Err(Answer::conflict(&call.what()));
    }
    if differs("uid") {
        let message = format!("{} is invalid: metadata.uid: field is immutable", call.what());
        return Err(Answer::error(422, "Invalid", &message));
    }
    if call.subresource.is_some() {
        let (status, annotations) = (after["status"].take(), after["metadata"]["annotations"].take());
        after = before.clone();
        after["status"] = status;
        // The status of a Node may be written together with its metadata, unlike that of newer kinds.
        if call.resource == "nodes" && !annotations.is_null() {
            after["metadata"]["annotations"] = annotations;
        }
    } else if before["status"].is_null() {
        if let Value::Object(fields) = &mut after {
            fields.remove("status");
        }
    } else {
        after["status"] = before["status"].clone();
    }
    for kept in ["resourceVersion", "uid", "creationTimestamp", "generation"] {
        after["metadata"][kept] = before["metadata"][kept].clone();
    }
    limits::admit(who, call, Some(before), &after)?;
    if after["metadata"]["deletionGracePeriodSeconds"] == 0 && !is_held(&after) {
        store.delete(&key(call));
        return Ok(Answer::ok(after));
    }
    Ok(Answer::ok(store.update(&key(call), after)))
}
