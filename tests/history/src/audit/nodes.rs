//! Writes to Nodes: targets, cordons, reports, and what kubelets say.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use upgrade_core::api::annotations::{CURRENT, IGNORE, PHASE, STATUS, TARGET, is_on};
use upgrade_core::api::{Check, Phase, Reason, Report, Request, Version};
use upgrade_core::oracle::{What, Who};

use super::{Story, Write};

const CONTROL_PLANE: &str = "node-role.kubernetes.io/control-plane";

/// A Node as far as histories care.
#[derive(Debug, Clone, Default)]
pub(super) struct State {
    uid: String,
    control_plane: bool,
    unschedulable: bool,
    target: Option<Version>,
    retry: Option<String>,
    skips: BTreeSet<Check>,
    ignored: bool,
    report: Option<(Phase, Reason)>,
    current: Option<Version>,
    ready: Option<(bool, Version)>,
    /// Who sent a write of the cordon that may or may not have been made.
    unsure: Option<Who>,
}

impl State {
    fn of(node: &Value) -> Self {
        let annotations = &node["metadata"]["annotations"];
        let annotation = |key: &str| annotations.get(key).and_then(Value::as_str);
        let version = |key: &str| annotation(key).and_then(|text| text.trim().parse().ok());
        let written: BTreeMap<String, String> = annotations
            .as_object()
            .into_iter()
            .flatten()
            .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
            .collect();
        let request = Request::read(&written);
        let conditions = node["status"]["conditions"].as_array();
        let ready = conditions.into_iter().flatten().find(|condition| condition["type"] == "Ready");
        let kubelet =
            node["status"]["nodeInfo"]["kubeletVersion"].as_str().and_then(|text| text.parse().ok());
        Self {
            uid: node["metadata"]["uid"].as_str().unwrap_or_default().to_owned(),
            control_plane: node["metadata"]["labels"].get(CONTROL_PLANE).is_some(),
            unschedulable: node["spec"]["unschedulable"] == true,
            target: version(TARGET),
            retry: request.retry,
            skips: request.skip,
            ignored: is_on(&written, IGNORE),
            report: annotation(PHASE)
                .and_then(|word| Phase::ALL.into_iter().find(|phase| phase.word() == word))
                .map(|phase| (phase, annotation(STATUS).map_or(Reason::Progressing, reason))),
            current: version(CURRENT),
            ready: ready.zip(kubelet).map(|(ready, kubelet)| (ready["status"] == "True", kubelet)),
            unsure: None,
        }
    }
}

impl Story {
    pub(super) fn take_node(&mut self, write: &Write) {
        let node = &write.object.name;
        let object = &write.record.response_object;
        let name = object["metadata"]["name"].as_str().filter(|_| node.is_empty()).unwrap_or(node).to_owned();
        let was = self.nodes.entry(name.clone()).or_default().clone();
        let cordons = write.record.request_object["spec"].get("unschedulable").is_some();
        if !write.succeeded() {
            if cordons
                && write.is_lost()
                && let Some(state) = self.nodes.get_mut(&name)
            {
                state.unsure = Some(write.user());
            }
            return;
        }
        if write.record.verb == "delete" {
            self.nodes.remove(&name);
            self.tell(write.at, &name, What::Deleted);
            return;
        }
        let is = State::of(object);
        // A change of the cordon by a write that did not ask for it was made by one whose answer was lost.
        let by = match was.unsure.clone() {
            Some(unsure) if !cordons => unsure,
            _ => write.user(),
        };
        self.compare(write, &name, &was, &is, by);
        self.nodes.insert(name, is);
    }

    fn compare(&mut self, write: &Write, name: &str, was: &State, is: &State, by: Who) {
        let mut tell = |what| self.tell(write.at, name, what);
        if was.uid.is_empty() || was.control_plane != is.control_plane {
            tell(What::Joined { control_plane: is.control_plane, uid: is.uid.clone() });
        }
        if was.target != is.target {
            tell(What::TargetSet(is.target));
        }
        if was.retry != is.retry {
            tell(What::Asked);
        }
        if was.skips != is.skips {
            tell(What::Skips(is.skips.clone()));
        }
        if was.ignored != is.ignored {
            tell(What::Ignored(is.ignored));
        }
        if let Some((ready, kubelet)) = is.ready
            && (was.ready != is.ready || is_heartbeat(write))
        {
            tell(What::Ready { ready, kubelet });
        }
        if was.unschedulable != is.unschedulable {
            tell(if is.unschedulable { What::Cordoned { by } } else { What::Uncordoned { by } });
        }
        // What people write there is no agent's word.
        let told = write.user() != Who::Person;
        if let Some(version) = is.current.filter(|_| told && was.current != is.current) {
            tell(What::CurrentWritten { version });
        }
        if let Some((phase, reason)) = is.report.filter(|_| told && was.report != is.report) {
            tell(What::Reported { phase, reason });
        }
    }
}

/// The fixed word of a status; one that cannot be read says that something goes on.
fn reason(status: &str) -> Reason {
    serde_json::from_str(status).map_or(Reason::Progressing, |report: Report| report.reason)
}

/// Whether the write says anew whether the node is Ready.
fn is_heartbeat(write: &Write) -> bool {
    let conditions = write.record.request_object["status"]["conditions"].as_array();
    conditions.into_iter().flatten().any(|condition| condition["type"] == "Ready")
}
