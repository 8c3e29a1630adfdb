//! What the agent says of itself: annotations `phase` and `status`, and the Node condition `Upgraded`.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use upgrade_core::act::Fault;
use upgrade_core::api::annotations::{self, CONDITION};
use upgrade_core::api::{Phase, Reason, Report};

use super::error::Error;
use super::{Cluster, lock};

/// The condition as people see it, without its times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Condition {
    status: String,
    reason: String,
    message: String,
}

impl Condition {
    fn of(report: &Report) -> Self {
        // Only rest at what was asked for counts: a paused or waiting node is idle too, and not upgraded.
        let done = report.phase == Phase::Idle && report.reason == Reason::Idle;
        Self {
            status: if done { "True" } else { "False" }.to_owned(),
            reason: report.reason.to_string(),
            message: report.message.clone(),
        }
    }

    fn standing(node: &Node) -> Option<Self> {
        let conditions = node.status.as_ref()?.conditions.as_ref()?;
        let ours = conditions.iter().find(|condition| condition.type_ == CONDITION)?;
        Some(Self {
            status: ours.status.clone(),
            reason: ours.reason.clone().unwrap_or_default(),
            message: ours.message.clone().unwrap_or_default(),
        })
    }
}

impl Cluster {
    /// Writes the report: annotations and, if it changes, condition in one patch of the Node's status. That lets
    /// annotations pass, as kubelet's own reports do (`PatchNodeStatus` in `k8s.io/component-helpers/node/util`), and
    /// nothing of the spec.
    ///
    /// # Errors
    /// It may have been written; it is safe to repeat.
    pub async fn report(&self, report: &Report) -> Result<(), Fault> {
        let doing = format!("reporting phase {} on Node {}", report.phase, self.node_name());
        let status = serde_json::to_string(report)
            .map_err(|error| Error::Unexpected { doing: doing.clone(), why: error.to_string() })?;
        let annotations = json!({annotations::PHASE: report.phase.word(), annotations::STATUS: status});
        let mut patch = json!({"metadata": {"annotations": annotations}});
        let condition = Condition::of(report);
        // Told once more, it does not stand any more: somebody has changed it, or an etcd was put back.
        let again = lock(&self.inner.told).replace(status.clone()).is_some_and(|told| told == status);
        if again {
            *lock(&self.inner.condition) = None;
        }
        let standing = self.standing_condition().await?;
        if standing.as_ref() != Some(&condition) {
            let turned = standing.is_none_or(|standing| standing.status != condition.status);
            patch["status"] = json!({"conditions": [self.entry(&condition, turned)]});
        }
        // A write whose answer is lost leaves it unknown which condition stands.
        *lock(&self.inner.condition) = None;
        self.patch_status(&doing, patch).await?;
        *lock(&self.inner.condition) = Some(condition);
        Ok(())
    }

    async fn standing_condition(&self) -> Result<Option<Condition>, Error> {
        let known = lock(&self.inner.condition).clone();
        Ok(match known {
            Some(known) => Some(known),
            None => Condition::standing(&self.get_node().await?.ok_or_else(|| self.no_node())?),
        })
    }

    fn entry(&self, condition: &Condition, turned: bool) -> Value {
        let now = Timestamp::from_second(self.wall_seconds()).unwrap_or_default().to_string();
        let mut entry = json!({
            "type": CONDITION,
            "status": condition.status,
            "reason": condition.reason,
            "message": condition.message,
            "lastHeartbeatTime": now,
        });
        if turned {
            // The strategic merge keeps the time that stands where none is sent.
            entry["lastTransitionTime"] = now.into();
        }
        entry
    }

    async fn patch_status(&self, doing: &str, patch: Value) -> Result<(), Error> {
        let (name, patch) = (self.node_name().to_owned(), Patch::Strategic(patch));
        let node = self
            .inner
            .kubelet
            .call(doing, |client| async move {
                Api::<Node>::all(client).patch_status(&name, &PatchParams::default(), &patch).await
            })
            .await?;
        self.inner.mark.wrote(node.metadata.resource_version.as_deref().unwrap_or_default());
        Ok(())
    }

    /// Seconds since 1970, for times that people read.
    pub(super) fn wall_seconds(&self) -> i64 {
        i64::try_from(self.inner.clock.now().unix.0).unwrap_or(i64::MAX)
    }
}
