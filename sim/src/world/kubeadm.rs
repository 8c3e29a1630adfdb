//! `kubeadm upgrade`, phase by phase as kubeadm 1.36 goes through them; what it really does was measured on minor
//! upgrades of three control-plane nodes.

use std::collections::VecDeque;

use upgrade_core::api::annotations::CRI_SOCKET;
use upgrade_core::api::{KubeadmCommand, Version};
use upgrade_core::judge::control_plane::STATIC_PODS;
use upgrade_core::observed::Ready;
use upgrade_core::oracle::{FLEET, What};

use super::World;
use super::api::Node;
use super::host::{API_SERVER, ETCD, Host, etcd_of};
use super::tools::Work;
use crate::setup::Endpoint;

/// How often kubeadm looks whether something has come about.
const POLL: u64 = 1_000;
/// How long it waits for a static pod.
const PATIENCE: u64 = 300_000;
/// How long it asks an API server that is away.
const ASKS: u64 = 60_000;
/// So many minors kubelets may be behind a control plane (`detectTooOldKubelets` in kubeadm's policy.go).
const KUBELETS_BEHIND: u32 = 3;
/// Up to this minor `upload-config` takes the annotation with the runtime's socket away.
const REMOVES_SOCKET: u32 = 36;

/// A phase of `kubeadm upgrade`, or a part of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Phase {
    /// `preflight`.
    Preflight(KubeadmCommand, Version),
    /// `control-plane`: a manifest is taken out.
    ManifestOut(&'static str),
    /// `control-plane`: the new one is put in.
    ManifestIn(&'static str, Version),
    /// `control-plane`: waiting until the API shows the new static pod, until this time; then back to this version.
    Await { component: &'static str, version: Version, before: Version, until: Option<u64> },
    /// `upload-config`.
    UploadConfig(Version),
    /// `kubelet-config`: config.yaml, kubeadm-flags.env, instance-config.yaml.
    KubeletConfig,
    /// `bootstrap-token`: RBAC.
    BootstrapToken,
    /// `addon`: `CoreDNS` and kube-proxy.
    Addon(Version),
    /// `kubeconfig`: kubelet.conf names the local API server, and kubelet is restarted if it did not.
    Kubeconfig,
}

/// What kubeadm will do on this host, with the milliseconds before each phase.
pub(super) fn phases(
    host: &Host,
    command: KubeadmCommand,
    to: Version,
) -> impl Iterator<Item = (u64, Phase)> + use<> {
    let mut phases =
        vec![(if command == KubeadmCommand::Apply { 5_000 } else { 600 }, Phase::Preflight(command, to))];
    // Turn A leaves out `kubelet-config`, turn B `control-plane`.
    let static_pods = matches!(command, KubeadmCommand::Apply | KubeadmCommand::NodeControlPlane);
    if static_pods {
        phases.extend(control_plane(host, to));
    }
    if command == KubeadmCommand::Apply {
        phases.push((1_000, Phase::UploadConfig(to)));
    }
    if !static_pods {
        phases.push((1_000, Phase::KubeletConfig));
    }
    if command == KubeadmCommand::Apply {
        phases.push((1_000, Phase::BootstrapToken));
    }
    if command.is_control_plane() {
        phases.extend([(3_000, Phase::Addon(to)), (500, Phase::Kubeconfig)]);
    }
    phases.into_iter()
}

/// etcd first; it is restarted once more as long as the API server is of the minor before, also where a run was cut between
/// the two. What is at its version already is left alone.
fn control_plane(host: &Host, to: Version) -> Vec<(u64, Phase)> {
    let mut swaps = Vec::new();
    let api_server = host.manifests.get(API_SERVER).copied();
    let etcd = host.manifests.get(ETCD).copied();
    if let (Some(api_server), Some(before)) = (api_server, etcd)
        && api_server.minor != to.minor
    {
        swaps.push((ETCD, etcd_of(to), before));
    }
    for component in STATIC_PODS {
        match host.manifests.get(component).copied() {
            Some(before) if before != to => swaps.push((component, to, before)),
            Some(_) => {}
            // A manifest that is missing is written anew.
            None => swaps.push((component, to, to)),
        }
    }
    let each = swaps.into_iter().flat_map(|(component, version, before)| {
        [
            (1_000, Phase::ManifestOut(component)),
            (50, Phase::ManifestIn(component, version)),
            (POLL, Phase::Await { component, version, before, until: None }),
        ]
    });
    each.collect()
}

/// Makes a run fail at this static pod: kubeadm puts the three others back, and etcd only if it is the one that failed.
pub(super) fn roll_back_at(work: &mut VecDeque<(u64, Work)>, failing: &str) {
    let awaits = |work: &&mut (u64, Work)| matches!(&work.1, Work::Kubeadm(Phase::Await { component, .. }) if *component == failing);
    if let Some((_, Work::Kubeadm(Phase::Await { until, .. }))) = work.iter_mut().find(awaits) {
        *until = Some(0);
    }
}

/// The real one's last words, `rollbackOldManifests` in its `cmd/kubeadm/app/phases/upgrade/staticpods.go`.
const ROLLED_BACK: &str = "[upgrade/apply] FATAL: couldn't upgrade control plane. kubeadm has tried to recover everything into the \
                           earlier state. Errors faced: static Pod hash for component kube-scheduler did not change after 5m0s: \
                           context deadline exceeded";

impl World {
    pub(super) fn kubeadm_phase(&mut self, node: &str, unit: &str, phase: Phase) {
        if self.connects(node)
            && let Some(machine) = self.machines.get_mut(node)
        {
            machine.kubeadm_waits.remove(unit);
        }
        match phase {
            Phase::ManifestOut(component) => self.manifest_out(node, component),
            Phase::ManifestIn(component, version) => self.manifest_in(node, component, version),
            Phase::Await { component, version, before, until } => {
                let until = until.unwrap_or(self.now + PATIENCE);
                self.await_static_pod(node, unit, (component, version, before), until);
            }
            Phase::Kubeconfig => self.rewrite_kubelet_conf(node),
            asks if !self.connects(node) => self.ask_again(node, unit, asks),
            Phase::Preflight(command, to) => {
                let kubeadm = self.machines.get(node).and_then(|machine| machine.host.version("kubeadm"));
                let refused = kubeadm.and_then(|kubeadm| self.kubeadm_refuses(node, command, to, kubeadm));
                if let Some(words) = refused {
                    self.kubeadm_fails(node, unit, words);
                }
            }
            Phase::UploadConfig(version) => self.upload_config(node, version),
            Phase::KubeletConfig => self.write_kubelet_files(node),
            Phase::BootstrapToken => {}
            Phase::Addon(version) => self.upgrade_addons(version),
        }
    }

    /// kubeadm gives an API server that is away a while; what it began stays as it is.
    fn ask_again(&mut self, node: &str, unit: &str, phase: Phase) {
        let Some(machine) = self.machines.get_mut(node) else { return };
        let Some(unit_now) = machine.host.units.get_mut(unit) else { return };
        // It asks again each second.
        let waited = machine.kubeadm_waits.entry(unit.to_owned()).or_insert(self.now);
        if self.now.saturating_sub(*waited) < ASKS {
            unit_now.work.push_front((POLL, Work::Kubeadm(phase)));
        } else {
            self.kubeadm_fails(node, unit, "the API server does not answer");
        }
    }

    fn kubeadm_fails(&mut self, node: &str, unit: &str, words: &'static str) {
        if let Some(unit) = self.machines.get_mut(node).and_then(|machine| machine.host.units.get_mut(unit)) {
            unit.words = words;
        }
        self.tool_ends(node, unit, 1);
    }

    /// Why kubeadm goes no further than its preflight.
    pub(super) fn kubeadm_refuses(
        &self,
        node: &str,
        command: KubeadmCommand,
        to: Version,
        kubeadm: Version,
    ) -> Option<&'static str> {
        let host = &self.machines.get(node)?.host;
        let nodes = || self.api.stored.nodes.values();
        // `apply` goes no further than itself; `node` asks the minor alone.
        let newer =
            if command == KubeadmCommand::Apply { kubeadm < to } else { to.minors_ahead_of(kubeadm) > 0 };
        if newer {
            return Some("the version is newer than this kubeadm");
        }
        if !command.is_control_plane() {
            return None;
        }
        // Read once at the start of a run; `upload-config` takes the one away before `kubelet-config` writes the other.
        if !host.instance_config && !self.api.stored.sockets.contains(node) {
            return Some("node doesn't have the annotation with the CRI socket");
        }
        if !host.manifests.contains_key(ETCD) {
            return Some("failed to retrieve the current etcd version");
        }
        if command == KubeadmCommand::Apply {
            if to.minors_ahead_of(self.api.stored.kubeadm_config) > 1 {
                return Some("the version is more than one minor ahead");
            }
            let too_old = |node: &Node| {
                node.kubelet.is_some_and(|kubelet| to.minors_ahead_of(kubelet) > KUBELETS_BEHIND)
            };
            if nodes().any(too_old) {
                return Some("there are kubelets in this cluster that are too old");
            }
            if nodes().any(|node| node.control_plane && node.ready != Ready::True) {
                return Some(
                    "[ERROR ControlPlaneNodesReady]: there are NotReady control-planes in the cluster",
                );
            }
            let schedulable = |node: &&Node| node.ready == Ready::True && !node.unschedulable;
            let takes_job =
                nodes().filter(schedulable).any(|node| node.control_plane || !self.setup.tainted_workers);
            if nodes().any(|node| schedulable(&node)) && !takes_job {
                return Some("[ERROR CreateJob]: Job \"upgrade-health-check\" did not complete in 15s");
            }
        }
        None
    }

    /// A static pod that does not come up in time: kubeadm puts back what it has changed, but never etcd.
    fn await_static_pod(
        &mut self,
        node: &str,
        unit: &str,
        (component, version, before): (&'static str, Version, Version),
        until: u64,
    ) {
        let now = self.now;
        let answers = self.connects(node) && (component != ETCD || self.member_is_healthy(node));
        let Some(machine) = self.machines.get_mut(node) else { return };
        let runs = machine.host.runs(component, now)
            && machine.host.pods.get(component).copied().flatten() == Some(version);
        let Some(unit_now) = machine.host.units.get_mut(unit) else { return };
        if runs && answers && until > 0 {
            return;
        }
        if until > now {
            let again = Phase::Await { component, version, before, until: Some(until) };
            unit_now.work.push_front((POLL, Work::Kubeadm(again)));
            return;
        }
        let manifests = &machine.host.manifests;
        let failed = [ETCD].into_iter().filter(|_| component == ETCD);
        let swapped =
            STATIC_PODS.into_iter().chain(failed).filter(|name| manifests.get(name) == Some(&version));
        // Together with etcd's manifest kubeadm puts its copy of the data back.
        if component == ETCD {
            machine.host.etcd_data = before;
        }
        let mut back: VecDeque<(u64, Work)> = swapped
            .flat_map(|name| {
                let out = Work::Kubeadm(Phase::ManifestOut(name));
                [(1_000, out), (50, Work::Kubeadm(Phase::ManifestIn(name, before)))]
            })
            .collect();
        back.push_back((500, Work::End(1)));
        unit_now.words = ROLLED_BACK;
        unit_now.work = back;
    }

    fn upload_config(&mut self, node: &str, version: Version) {
        if version.minor <= REMOVES_SOCKET {
            self.api.stored.sockets.remove(node);
            self.annotate(node, CRI_SOCKET, None);
        }
        self.set_kubeadm_config(version);
    }

    pub(super) fn set_kubeadm_config(&mut self, version: Version) {
        self.api.next_revision();
        if std::mem::replace(&mut self.api.stored.kubeadm_config, version) != version {
            self.record(FLEET, What::KubeadmConfig { version });
        }
    }

    fn write_kubelet_files(&mut self, node: &str) {
        let version = self.api.stored.kubeadm_config;
        let Some(machine) = self.machines.get_mut(node) else { return };
        machine.host.instance_config = true;
        machine.host.files_are_fresh = true;
        self.set_kubelet_files(node, version);
    }

    pub(super) fn set_kubelet_files(&mut self, node: &str, version: Version) {
        let Some(machine) = self.machines.get_mut(node) else { return };
        if std::mem::replace(&mut machine.host.kubelet_files, version) != version {
            self.record(node, What::KubeletFiles { version });
        }
    }

    /// Skipped, with exit 0, while any API server's pod is older: the pod of a Node that is gone is gone too.
    pub(super) fn upgrade_addons(&mut self, version: Version) {
        let nodes = &self.api.stored.nodes;
        let servers = self.machines.iter().filter(|(name, _)| nodes.contains_key(*name));
        let old = |machine: &super::Machine| {
            machine.host.pods.get(API_SERVER).copied().flatten().is_some_and(|runs| runs < version)
        };
        if !servers.into_iter().any(|(_, machine)| old(machine)) && self.api.stored.addons != version {
            self.api.stored.addons = version;
            self.record(FLEET, What::Addons { version });
        }
    }

    /// Which API server the kubelet of a control-plane node talks to.
    pub(super) fn record_kubelet_server(&mut self, node: &str) {
        let Some(machine) = self.machines.get(node).filter(|machine| machine.host.control_plane) else {
            return;
        };
        let own = machine.host.kubelet_conf == Endpoint::Local;
        self.record(node, What::KubeletServer { own });
    }

    fn rewrite_kubelet_conf(&mut self, node: &str) {
        let Some(machine) = self.machines.get_mut(node) else { return };
        if std::mem::replace(&mut machine.host.kubelet_conf, Endpoint::Local) == Endpoint::Shared {
            self.record_kubelet_server(node);
            self.restart_kubelet(node);
        }
    }

    pub(super) fn is_control_plane(&self, node: &str) -> bool {
        self.machines.get(node).is_some_and(|machine| machine.host.control_plane)
    }
}
