//! Patches.

use serde_json::Value;

/// A JSON merge patch (RFC 7386).
pub fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        target.clone_from(patch);
        return;
    };
    if !target.is_object() {
        *target = Value::Object(serde_json::Map::new());
    }
    let Value::Object(target) = target else { return };
    for (key, value) in patch {
        if value.is_null() {
            target.remove(key);
        } else {
            merge(target.entry(key).or_insert(Value::Null), value);
        }
    }
}

/// As much of a strategic merge patch as conditions need: their list is merged by `type`.
pub(super) fn strategic(target: &mut Value, patch: &Value) {
    let mut rest = patch.clone();
    let conditions = rest["status"]["conditions"].take();
    if let Value::Object(status) = &mut rest["status"] {
        status.remove("conditions");
    }
    merge(target, &rest);
    let Value::Array(conditions) = conditions else { return };
    let standing = &mut target["status"]["conditions"];
    if !standing.is_array() {
        *standing = Value::Array(Vec::new());
    }
    let Value::Array(standing) = standing else { return };
    for condition in conditions {
        match standing.iter_mut().find(|known| known["type"] == condition["type"]) {
            Some(known) => merge(known, &condition),
            None => standing.push(condition),
        }
    }
}
