//! A Node as its own agent sees it. Its annotations are parsed here and nowhere else.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::api::annotations::{API_SERVER, CRI_SOCKET, CURRENT, FOUND_CORDONED, IN_HAND, STATUS, TARGET};
use crate::api::{ApiServerNote, InHand, Request, Version};
use crate::time::{Mono, Now, Unix};

/// The Ready condition of a Node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ready {
    /// `True`.
    True,
    /// `False`.
    False,
    /// `Unknown`, or no such condition.
    #[default]
    Unknown,
}

/// A Node as its own agent sees it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NodeSeen {
    /// The Node's name.
    pub name: String,
    /// Its UID: another one is another Node.
    pub uid: String,
    /// Opaque; the fence of our patches.
    pub resource_version: String,
    /// What people ask of it.
    pub request: Request,
    /// Their target as they wrote it, for the report.
    pub target_text: Option<String>,
    /// The version last verified to run in service, where one is noted that can be read.
    pub current: Option<Version>,
    /// The note beside our cordon, which stands from our cordon until we take it back: whether somebody else had cordoned
    /// the node before.
    pub cordon_note: Option<bool>,
    /// Which turn is at work here, where a mark says so.
    pub in_hand: Option<InHand>,
    /// What is noted of its API server.
    pub api_server: Option<ApiServerNote>,
    /// Whether kubeadm's annotation names the container runtime's socket.
    pub has_cri_socket: bool,
    /// The report that was written last, as it stands there.
    pub status: Option<String>,
    /// `spec.unschedulable`.
    pub unschedulable: bool,
    /// The Ready condition.
    pub ready: Ready,
    /// The Ready condition's last heartbeat, written by this host's kubelet with this host's clock.
    pub heartbeat: Unix,
    /// `status.nodeInfo.kubeletVersion`, where it is a release.
    pub kubelet: Option<Version>,
    /// Whether the Node carries the control-plane role label.
    pub control_plane: bool,
}

/// The node lifecycle controller takes Ready away from a kubelet that has not renewed its Lease for 50 s
/// (`--node-monitor-grace-period` of kube-controller-manager), which kubelet does whatever its clock says.
const OUTLIVED: Duration = Duration::from_mins(2);

impl NodeSeen {
    /// Whether its kubelet has told its status since it was started at this moment. Where the clock was set since, a heartbeat looks
    /// older or newer than it is, and one of the future was written before that; a Ready that has outlived the start by far is not.
    pub fn has_told_since(&self, start: Mono, clock_set_at: Option<Mono>, now: Now) -> bool {
        let is_future = self.heartbeat > now.unix;
        let outlived = now.mono.since(start) >= OUTLIVED;
        if is_future || clock_set_at > Some(start) { outlived } else { self.heartbeat >= now.wall(start) }
    }

    /// This Node with what these annotations say.
    #[must_use]
    pub fn with_annotations(self, annotations: &BTreeMap<String, String>) -> Self {
        Self {
            request: Request::read(annotations),
            target_text: annotations.get(TARGET).cloned(),
            current: annotations.get(CURRENT).and_then(|text| text.parse().ok()),
            cordon_note: annotations.get(FOUND_CORDONED).map(|value| value == "true"),
            in_hand: annotations.get(IN_HAND).map(|text| InHand::read(text)),
            api_server: annotations.get(API_SERVER).and_then(|text| ApiServerNote::read(text)),
            has_cri_socket: annotations.contains_key(CRI_SOCKET),
            status: annotations.get(STATUS).cloned(),
            ..self
        }
    }
}
