//! What a cluster grants to agents, and what an audit log shows them to have asked for.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use serde_json::Value;

use super::{Identity, NEEDED, Need};

/// The group of coordination identities, and what their names begin with.
const GROUP: &str = "node-upgrade-agents";
const USERS: &str = "node-upgrade-agent:";
/// What the API server says when the admission policy refuses something.
const POLICY: &str = "ValidatingAdmissionPolicy";

/// One verb on one resource.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Grant {
    /// `get`, `create`, …
    pub verb: String,
    /// With API group and subresource: `leases.coordination.k8s.io`, `pods/eviction`.
    pub resource: String,
    /// Empty for the whole cluster.
    pub namespace: String,
    /// Empty for every name.
    pub name: String,
}

impl From<&Need> for Grant {
    fn from(need: &Need) -> Self {
        Self {
            verb: need.verb.to_owned(),
            resource: need.resource.to_owned(),
            namespace: need.namespace.to_owned(),
            name: need.name.to_owned(),
        }
    }
}

impl Grant {
    fn covers(&self, asked: &Self) -> bool {
        let fits = |granted: &str, asked: &str| granted.is_empty() || granted == asked;
        self.verb == asked.verb
            && self.resource == asked.resource
            && fits(&self.namespace, &asked.namespace)
            && fits(&self.name, &asked.name)
    }
}

/// What the agent needs with its coordination identity.
pub fn needed() -> BTreeSet<Grant> {
    NEEDED.iter().filter(|need| need.who == Identity::Coordination).map(Grant::from).collect()
}

/// Everything RBAC grants to agents: `objects` is a list of all Roles, `ClusterRoles` and their bindings, as
/// `kubectl get -o json` prints it.
///
/// # Errors
/// If a binding names a role that is not in the list.
pub fn granted(objects: &Value) -> Result<BTreeSet<Grant>> {
    let items = objects["items"].as_array().context("no list of roles and bindings")?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut all = BTreeSet::new();
    for binding in items.iter().filter(|item| binds_agents(item)) {
        let namespace = text(&binding["metadata"]["namespace"]);
        let wanted = &binding["roleRef"];
        let of = if wanted["kind"] == "Role" { namespace.clone() } else { String::new() };
        let role = items
            .iter()
            .find(|item| {
                item["kind"] == wanted["kind"]
                    && item["metadata"]["name"] == wanted["name"]
                    && text(&item["metadata"]["namespace"]) == of
            })
            .with_context(|| format!("{wanted} is bound to agents and not in the list"))?;
        all.extend(role["rules"].as_array().into_iter().flatten().flat_map(|rule| grants(rule, &namespace)));
    }
    Ok(all)
}

fn binds_agents(item: &Value) -> bool {
    item["kind"].as_str().is_some_and(|kind| kind.ends_with("RoleBinding"))
        && item["subjects"].as_array().into_iter().flatten().any(|subject| {
            let name = subject["name"].as_str().unwrap_or_default();
            name == GROUP || name.starts_with(USERS)
        })
}

fn grants(rule: &Value, namespace: &str) -> Vec<Grant> {
    let list = |key: &str| -> Vec<String> {
        let values = rule[key].as_array().into_iter().flatten();
        values.filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let mut names = list("resourceNames");
    if names.is_empty() {
        names.push(String::new());
    }
    let mut all = Vec::new();
    for verb in list("verbs") {
        for group in list("apiGroups") {
            for resource in list("resources") {
                for name in &names {
                    all.push(Grant {
                        verb: verb.clone(),
                        resource: named(&resource, &group),
                        namespace: namespace.to_owned(),
                        name: name.clone(),
                    });
                }
            }
        }
    }
    all
}

/// A resource with its group, as people write it.
fn named(resource: &str, group: &str) -> String {
    let (plural, below) = resource.split_once('/').unwrap_or((resource, ""));
    let dot = if group.is_empty() { "" } else { "." };
    let slash = if below.is_empty() { "" } else { "/" };
    format!("{plural}{dot}{group}{slash}{below}")
}

/// What agents asked for, and what they were refused, by an audit log.
#[derive(Debug, Default)]
pub struct Asked {
    /// Every kind of request.
    pub all: BTreeSet<Grant>,
    /// Those that were forbidden, with the server's words.
    pub refused: Vec<(Grant, String)>,
}

/// Reads what the coordination identities asked for.
pub fn asked(log: &str) -> Asked {
    let mut asked = Asked::default();
    let by_agents = log.lines().filter(|line| line.contains(GROUP));
    // The last line of a log that is being written may be half there.
    for event in by_agents.filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
        let groups = event["user"]["groups"].as_array();
        if !groups.is_some_and(|groups| groups.iter().any(|group| group == GROUP)) {
            continue;
        }
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let about = &event["objectRef"];
        let below = text(&about["subresource"]);
        let slash = if below.is_empty() { "" } else { "/" };
        let resource = format!("{}{slash}{below}", text(&about["resource"]));
        let request = Grant {
            verb: text(&event["verb"]),
            resource: named(&resource, &text(&about["apiGroup"])),
            namespace: text(&about["namespace"]),
            name: text(&about["name"]),
        };
        asked.all.insert(request.clone());
        if matches!(event["responseStatus"]["code"].as_u64(), Some(401 | 403)) {
            let (who, why) = (&event["user"]["username"], &event["responseStatus"]["message"]);
            asked.refused.push((request, format!("{who} {} {}: {why}", event["verb"], event["requestURI"])));
        }
    }
    asked
}

/// Holds what was asked to what is granted, both ways: the differences, for people.
///
/// An API server that has just started refuses what it will allow a moment later, so a refusal by RBAC of something that
/// is granted is none; one by the admission policy always is.
pub fn differences(granted: &BTreeSet<Grant>, asked: &Asked) -> Vec<String> {
    let covered = |asked: &Grant| granted.iter().any(|grant| grant.covers(asked));
    let used = |grant: &Grant| asked.all.iter().any(|asked| grant.covers(asked));
    let in_earnest = |(request, why): &&(Grant, String)| !covered(request) || why.contains(POLICY);
    let refused = asked.refused.iter().filter(in_earnest).map(|(_, why)| format!("was refused: {why}"));
    let beyond = asked
        .all
        .iter()
        .filter(|asked| !covered(asked))
        .map(|asked| format!("asked without grant: {asked:?}"));
    let idle =
        granted.iter().filter(|grant| !used(grant)).map(|grant| format!("granted, never asked: {grant:?}"));
    refused.chain(beyond).chain(idle).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn objects() -> Value {
        let subjects = json!([{"kind": "Group", "name": GROUP}]);
        json!({"items": [
            {"kind": "Role", "metadata": {"name": "r", "namespace": "here"}, "rules": [
                {"verbs": ["get", "list"], "apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["policy"]}]},
            {"kind": "Role", "metadata": {"name": "r", "namespace": "there"}, "rules": [
                {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}]},
            {"kind": "ClusterRole", "metadata": {"name": "r"}, "rules": [
                {"verbs": ["create"], "apiGroups": ["policy"], "resources": ["pods/eviction"]}]},
            {"kind": "RoleBinding", "metadata": {"name": "b", "namespace": "here"}, "subjects": subjects,
                "roleRef": {"kind": "Role", "name": "r"}},
            {"kind": "ClusterRoleBinding", "metadata": {"name": "b"}, "subjects": subjects,
                "roleRef": {"kind": "ClusterRole", "name": "r"}},
            {"kind": "RoleBinding", "metadata": {"name": "b", "namespace": "there"},
                "subjects": [{"kind": "Group", "name": "others"}], "roleRef": {"kind": "Role", "name": "r"}},
        ]})
    }

    fn grant(verb: &str, resource: &str, namespace: &str, name: &str) -> Grant {
        let [verb, resource, namespace, name] = [verb, resource, namespace, name].map(str::to_owned);
        Grant { verb, resource, namespace, name }
    }

    #[test]
    fn what_is_bound_to_agents_is_granted_to_them_and_nothing_else() {
        let expected = [
            grant("create", "pods.policy/eviction", "", ""),
            grant("get", "configmaps", "here", "policy"),
            grant("list", "configmaps", "here", "policy"),
        ];
        assert_eq!(granted(&objects()).unwrap(), BTreeSet::from(expected));
    }

    #[test]
    fn a_request_without_grant_a_refusal_and_an_idle_grant_are_differences() {
        let line = |verb: &str, code: u16| {
            json!({"verb": verb, "requestURI": "/x", "user": {"username": "node-upgrade-agent:a", "groups": [GROUP]},
                "objectRef": {"resource": "configmaps", "namespace": "here", "name": "policy"},
                "responseStatus": {"code": code}})
            .to_string()
        };
        let granted = granted(&objects()).unwrap();
        let log = [line("get", 403), line("get", 200), line("delete", 403)].join("\n");
        let found = differences(&granted, &asked(&log));
        assert_eq!(found.len(), 4, "{found:?}");
        assert!(found[0].starts_with("was refused") && found[1].starts_with("asked without grant"));
        assert!(found[2..].iter().all(|idle| idle.starts_with("granted, never asked")));
    }
}
