//! Mirrors of static pods: what the API says of them, which is what their kubelet last told.

use upgrade_core::api::Version;
use upgrade_core::judge::control_plane::STATIC_PODS;
use upgrade_core::observed::{ControlPlanePod, PodSeen, Ready};

use super::api::static_pod;
use super::host::{API_SERVER, ETCD};
use super::{Happening, World};
use crate::fault::Identity;

/// A kubelet tells so long after it that a static pod has changed.
const TELLS: u64 = 1_000;
/// A mirror that was made anew gets its status so much later: kubelet's status manager looks every ten seconds at the latest,
/// <https://github.com/kubernetes/kubernetes/blob/master/pkg/kubelet/status/status_manager.go>.
const NAMES: u64 = 3_000;

/// A mirror as it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mirror {
    /// Of its image; none as long as its status names none.
    version: Option<Version>,
    ready: bool,
    made: u64,
    /// What `kubernetes.io/config.hash` is made of: the manifest, and the minor of the kubelet that read it.
    hash: (Version, u32),
}

impl Mirror {
    fn hash(self) -> String {
        format!("{}-{}", self.hash.0, self.hash.1)
    }
}

impl World {
    /// The hash of a node's API server, as a read of its mirror answers.
    pub(super) fn api_server_hash(&self, node: &str) -> Option<String> {
        let mirrors = self.api.stored.mirrors.iter();
        let own = mirrors.into_iter().find(|((of, component), _)| of == node && *component == API_SERVER);
        own.map(|(_, mirror)| mirror.hash())
    }

    pub(super) fn tells_mirrors(&mut self, node: &str) {
        self.tells_mirrors_after(node, TELLS);
    }

    fn tells_mirrors_after(&mut self, node: &str, after: u64) {
        self.later(self.now + after, Happening::Mirrors { node: node.to_owned() });
    }

    /// A kubelet writes what its static pods have become; one that cannot leaves what was.
    pub(super) fn mirrors(&mut self, node: &str) {
        let Some(machine) = self.machines.get(node) else { return };
        let works = machine.host.powered && machine.host.kubelet.active && machine.host.control_plane;
        let exists = self.api.stored.nodes.contains_key(node);
        if !works || !exists || !self.reaches(node, Identity::Kubelet) {
            return;
        }
        let mut made = false;
        for component in STATIC_PODS.into_iter().chain([ETCD]) {
            let is = self.mirror(node, component);
            let mirrors = &mut self.api.stored.mirrors;
            let key = (node.to_owned(), component);
            let was = mirrors.get(&key).copied();
            let Some(is) = is else {
                mirrors.remove(&key);
                continue;
            };
            // A new pod is made first, and has a status next.
            let anew = is.version.is_some()
                && was.is_none_or(|was| was.version.is_some() && was.version != is.version);
            let unnamed = was.is_some_and(|was| was.version.is_none() && self.now < was.made + NAMES);
            made |= anew;
            if anew {
                mirrors.insert(key, Mirror { version: None, ready: false, made: self.now, ..is });
            } else if !unnamed {
                mirrors.insert(key, is);
            }
        }
        if made {
            self.tells_mirrors_after(node, NAMES);
        }
    }

    fn mirror(&self, node: &str, component: &'static str) -> Option<Mirror> {
        let host = &self.machines.get(node)?.host;
        let version = host.pods.get(component).copied().flatten();
        host.manifests.get(component).map(|manifest| Mirror {
            version,
            ready: host.runs(component, self.now),
            made: 0,
            hash: (*manifest, host.kubelet_runs.minor),
        })
    }

    /// As a cluster has them that nobody has touched yet.
    pub(super) fn first_mirrors(&mut self, node: &str) {
        for component in STATIC_PODS.into_iter().chain([ETCD]) {
            if let Some(mirror) = self.mirror(node, component) {
                self.api.stored.mirrors.insert((node.to_owned(), component), mirror);
            }
        }
    }

    /// All of the control plane, as a list of kube-system answers. The node controller takes Ready from pods of a node that
    /// is not.
    pub(super) fn control_plane_pods(&self) -> Vec<ControlPlanePod> {
        let nodes = &self.api.stored.nodes;
        let ready = |node: &String| nodes.get(node).is_some_and(|seen| seen.ready == Ready::True);
        let mirrors = self.api.stored.mirrors.iter().filter(|((node, _), _)| nodes.contains_key(node));
        let pods = mirrors.map(|((node, component), mirror)| ControlPlanePod {
            node: node.clone(),
            component: (*component).to_owned(),
            version: mirror.version.filter(|_| *component != ETCD),
            ready: mirror.ready && ready(node),
            hash: Some(mirror.hash()),
        });
        pods.collect()
    }

    /// Those of one node, as its own list answers.
    pub(super) fn mirror_pods(&self, name: &str) -> impl Iterator<Item = PodSeen> {
        let own = self.api.stored.mirrors.iter().filter(move |((node, _), _)| node == name);
        own.map(move |((_, component), mirror)| {
            static_pod(name, component, mirror.version.filter(|_| mirror.ready))
        })
    }
}
