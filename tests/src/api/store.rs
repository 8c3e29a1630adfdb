//! Objects, their versions and their history.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::answer::Answer;

/// Resource, namespace, name.
pub(super) type Key = (String, String, String);

/// One change of one object.
#[derive(Clone)]
pub(super) struct Change {
    pub(super) version: u64,
    pub(super) resource: String,
    pub(super) before: Option<Value>,
    pub(super) after: Option<Value>,
}

/// Everything that stands, and how it came about.
#[derive(Default)]
pub(super) struct Store {
    version: u64,
    born: u64,
    objects: BTreeMap<Key, Value>,
    history: Vec<Change>,
    /// Watches from before this version are too old.
    oldest: u64,
}

impl Store {
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    pub(super) fn oldest(&self) -> u64 {
        self.oldest
    }

    pub(super) fn get(&self, key: &Key) -> Option<&Value> {
        self.objects.get(key)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (&Key, &Value)> {
        self.objects.iter()
    }

    /// The first change after `version` that `wanted` takes.
    pub(super) fn change_after(&self, version: u64, wanted: impl Fn(&Change) -> bool) -> Option<&Change> {
        self.history.iter().find(|change| change.version > version && wanted(change))
    }

    pub(super) fn create(&mut self, key: &Key, mut object: Value) -> Result<Value, Answer> {
        if self.objects.contains_key(key) {
            let message = format!("{} {:?} already exists", key.0, key.2);
            return Err(Answer::error(409, "AlreadyExists", &message));
        }
        self.born += 1;
        let meta = &mut object["metadata"];
        meta["name"] = key.2.clone().into();
        meta["uid"] = format!("uid-{}", self.born).into();
        meta["generation"] = 1.into();
        meta["creationTimestamp"] = "2026-01-01T00:00:00Z".into();
        if !key.1.is_empty() {
            meta["namespace"] = key.1.clone().into();
        }
        Ok(self.put(key, object))
    }

    /// Writes what was changed, if anything was. Each change of the spec is a new generation.
    pub(super) fn update(&mut self, key: &Key, mut object: Value) -> Value {
        let Some(before) = self.objects.get(key).filter(|before| **before != object) else {
            return object;
        };
        if before["spec"] != object["spec"] {
            let generation = before["metadata"]["generation"].as_i64().unwrap_or_default();
            object["metadata"]["generation"] = (generation + 1).into();
        }
        self.put(key, object)
    }

    pub(super) fn delete(&mut self, key: &Key) -> Option<Value> {
        let before = self.objects.remove(key)?;
        self.version += 1;
        let mut last = before.clone();
        last["metadata"]["resourceVersion"] = self.version.to_string().into();
        self.record(key, Some(last), None);
        Some(before)
    }

    fn put(&mut self, key: &Key, mut object: Value) -> Value {
        self.version += 1;
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        let before = self.objects.insert(key.clone(), object.clone());
        self.record(key, before, Some(object.clone()));
        object
    }

    fn record(&mut self, key: &Key, before: Option<Value>, after: Option<Value>) {
        self.history.push(Change { version: self.version, resource: key.0.clone(), before, after });
    }

    /// Forgets the history.
    pub(super) fn compact(&mut self) {
        // The version moves on, so that whoever watched from the last one is too late.
        self.version += 1;
        self.oldest = self.version;
        self.history.clear();
    }

    /// Gives what stands small versions, as a restored backup does.
    pub(super) fn renumber(&mut self) {
        self.history.clear();
        self.version = 0;
        self.oldest = 0;
        for object in self.objects.values_mut() {
            self.version += 1;
            object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        }
    }
}
