//! Requests: paths, queries, selectors.

use std::collections::BTreeMap;

use serde_json::Value;

use super::answer::Answer;

/// A request as the verbs see it.
pub(super) struct Call {
    pub(super) method: http::Method,
    /// Plural, such as `nodes`; or `readyz` or `version`.
    pub(super) resource: String,
    pub(super) namespace: Option<String>,
    pub(super) name: Option<String>,
    pub(super) subresource: Option<String>,
    pub(super) query: BTreeMap<String, String>,
    pub(super) content_type: String,
    pub(super) body: Value,
}

impl Call {
    pub(super) fn parse(parts: &http::request::Parts, body: &[u8]) -> Result<Self, Answer> {
        let mut path = parts.uri.path().split('/').filter(|part| !part.is_empty()).map(decoded);
        let root = path.next().unwrap_or_default();
        match root.as_str() {
            "api" => drop(path.next()),
            "apis" => drop((path.next(), path.next())),
            _ => {}
        }
        let rest: Vec<String> = path.collect();
        let (namespace, rest) = match &rest[..] {
            [word, namespace, rest @ ..] if word == "namespaces" && !rest.is_empty() => {
                (Some(namespace.clone()), rest)
            }
            all => (None, all),
        };
        let body = if body.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(body)
                .map_err(|error| Answer::error(400, "BadRequest", &error.to_string()))?
        };
        let content_type =
            parts.headers.get(http::header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        Ok(Self {
            method: parts.method.clone(),
            resource: rest.first().cloned().unwrap_or(root),
            namespace,
            name: rest.get(1).cloned(),
            subresource: rest.get(2).cloned(),
            query: query(parts.uri.query().unwrap_or_default()),
            content_type: content_type.unwrap_or_default().to_owned(),
            body,
        })
    }

    pub(super) fn is_watch(&self) -> bool {
        self.query.get("watch").is_some_and(|value| value == "true" || value == "1")
    }

    pub(super) fn is_dry_run(&self) -> bool {
        self.query.get("dryRun").is_some_and(|value| value == "All") || self.body["dryRun"][0] == "All"
    }

    /// Whether it asks a pod to end, as an eviction or a deletion.
    pub(super) fn ends_a_pod(&self) -> bool {
        let asks = self.method == http::Method::DELETE || self.subresource.as_deref() == Some("eviction");
        self.resource == "pods" && asks && !self.is_dry_run()
    }

    /// The UID it has as its precondition.
    pub(super) fn uid_asked(&self) -> Option<String> {
        let options =
            if self.body["deleteOptions"].is_null() { &self.body } else { &self.body["deleteOptions"] };
        options["preconditions"]["uid"].as_str().map(str::to_owned)
    }

    pub(super) fn selector(&self) -> Selector {
        let part = |key: &str| self.query.get(key).cloned().unwrap_or_default();
        Selector {
            resource: self.resource.clone(),
            namespace: self.namespace.clone(),
            fields: part("fieldSelector"),
            labels: part("labelSelector"),
        }
    }

    /// `nodes "n1"`, for messages.
    pub(super) fn what(&self) -> String {
        format!("{} {:?}", self.resource, self.name.as_deref().unwrap_or_default())
    }
}

fn query(text: &str) -> BTreeMap<String, String> {
    let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(key, value)| (decoded(key), decoded(&value.replace('+', " ")))).collect()
}

/// Undoes percent-encoding.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let hex = tail.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        let escaped = hex.filter(|_| first == b'%').and_then(|hex| u8::from_str_radix(hex, 16).ok());
        bytes.push(escaped.unwrap_or(first));
        rest = if escaped.is_some() { tail.get(2..).unwrap_or_default() } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Which objects a list or a watch is about.
#[derive(Clone)]
pub(super) struct Selector {
    pub(super) resource: String,
    pub(super) namespace: Option<String>,
    pub(super) fields: String,
    pub(super) labels: String,
}

impl Selector {
    pub(super) fn takes(&self, resource: &str, object: &Value) -> bool {
        let namespace = object["metadata"]["namespace"].as_str();
        self.resource == resource
            && (self.namespace.is_none() || self.namespace.as_deref() == namespace)
            && requirements(&self.fields).all(|wanted| matches(wanted, |path| field(object, path)))
            && requirements(&self.labels)
                .all(|wanted| matches(wanted, |key| object["metadata"]["labels"][key].as_str()))
    }
}

fn requirements(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').filter(|part| !part.is_empty())
}

fn matches<'a>(wanted: &'a str, value: impl Fn(&'a str) -> Option<&'a str>) -> bool {
    if let Some((key, not)) = wanted.split_once("!=") {
        return value(key) != Some(not);
    }
    match wanted.split_once('=') {
        Some((key, is)) => value(key) == Some(is.trim_start_matches('=')),
        None => value(wanted).is_some(),
    }
}

fn field<'a>(object: &'a Value, path: &str) -> Option<&'a str> {
    path.split('.').fold(object, |at, key| &at[key]).as_str()
}
