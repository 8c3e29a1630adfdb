//! Events on the own Node, where `kubectl describe node` shows them.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::Api;
use kube::api::PostParams;
use upgrade_core::api::text;

use super::Cluster;

/// The namespace of Events about objects that have none.
const NAMESPACE: &str = "default";
/// Who says it.
const COMPONENT: &str = "node-upgrade-agent";

/// The two kinds of Events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// Things go as they should.
    Normal,
    /// A person should look.
    Warning,
}

impl EventKind {
    const fn word(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}

impl Cluster {
    /// Tells people of a transition. Best effort: a lost Event is logged and changes nothing.
    pub async fn event(&self, kind: EventKind, reason: &str, note: &str) {
        let event = self.compose(kind, reason, note);
        let doing = format!("writing Event {reason} on Node {}", self.node_name());
        let written = self
            .inner
            .kubelet
            .call(&doing, |client| async move {
                Api::<Event>::namespaced(client, NAMESPACE).create(&PostParams::default(), &event).await
            })
            .await;
        if let Err(error) = written {
            tracing::warn!("{}", error.chain());
        }
    }

    fn compose(&self, kind: EventKind, reason: &str, note: &str) -> Event {
        let now = Time(Timestamp::from_second(self.wall_seconds()).unwrap_or_default());
        let on = self.node_name();
        Event {
            metadata: ObjectMeta {
                generate_name: Some(format!("{on}.")),
                namespace: Some(NAMESPACE.to_owned()),
                ..ObjectMeta::default()
            },
            // kubelet names the UID of its Node so, and kubectl looks for both.
            involved_object: ObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Node".to_owned()),
                name: Some(on.to_owned()),
                uid: Some(on.to_owned()),
                ..ObjectReference::default()
            },
            reason: Some(reason.to_owned()),
            message: Some(text::shortened(note, text::NOTE)),
            type_: Some(kind.word().to_owned()),
            source: Some(EventSource { component: Some(COMPONENT.to_owned()), host: Some(on.to_owned()) }),
            reporting_component: Some(COMPONENT.to_owned()),
            reporting_instance: Some(on.to_owned()),
            first_timestamp: Some(now.clone()),
            last_timestamp: Some(now),
            count: Some(1),
            ..Event::default()
        }
    }
}
