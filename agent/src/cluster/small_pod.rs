//! A pod in the small form the agent reads: of the hundreds of fields of `v1.Pod` those that rules look at. What is not
//! declared here is passed over while an answer is read, so long lists stay small in memory, and the code that
//! would read the rest is no part of the program.

use std::borrow::Cow;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::Pod as FullPod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;

/// `v1.Pod`, as far as it is read.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Pod {
    pub(super) metadata: ObjectMeta,
    #[serde(default)]
    pub(super) spec: Spec,
    #[serde(default)]
    pub(super) status: Status,
}

/// What the pod shall be.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Spec {
    pub(super) node_name: Option<String>,
    pub(super) priority: Option<i32>,
    pub(super) termination_grace_period_seconds: Option<i64>,
    pub(super) volumes: Option<Vec<Volume>>,
    pub(super) containers: Option<Vec<Container>>,
    pub(super) init_containers: Option<Vec<Container>>,
}

/// A container: only how its readiness is found out.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Container {
    pub(super) readiness_probe: Option<Probe>,
}

/// How often it is asked, and how often in vain before that counts.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Probe {
    pub(super) period_seconds: Option<i32>,
    pub(super) failure_threshold: Option<i32>,
}

/// A volume: only whether its data goes with the pod.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Volume {
    pub(super) empty_dir: Option<EmptyDir>,
}

/// Of an emptyDir nothing but that it is one.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct EmptyDir {}

/// What the pod is.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Status {
    pub(super) phase: Option<String>,
    pub(super) conditions: Option<Vec<Condition>>,
    pub(super) container_statuses: Option<Vec<ContainerStatus>>,
}

/// A condition.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Condition {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) status: String,
}

/// How a container runs.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct ContainerStatus {
    pub(super) name: String,
    #[serde(default)]
    pub(super) image: String,
    #[serde(default)]
    pub(super) ready: bool,
}

impl kube::Resource for Pod {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind(dynamic: &()) -> Cow<'_, str> {
        FullPod::kind(dynamic)
    }

    fn group(dynamic: &()) -> Cow<'_, str> {
        FullPod::group(dynamic)
    }

    fn version(dynamic: &()) -> Cow<'_, str> {
        FullPod::version(dynamic)
    }

    fn plural(dynamic: &()) -> Cow<'_, str> {
        FullPod::plural(dynamic)
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}
