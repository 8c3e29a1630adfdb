//! Preflight: what the cluster and the host show, judged by the core.

use std::collections::BTreeMap;

use upgrade_core::act::ActResult;
use upgrade_core::api::{Check, KubeadmCommand, LeaseName, TurnKind, Version};
use upgrade_core::drain::budget::{Budget, forecast};
use upgrade_core::drain::{DrainOptions, EvictionResponse};
use upgrade_core::judge::checks::Output;
use upgrade_core::judge::checks::cluster::OtherTools;
use upgrade_core::judge::checks::host::{Cgroups, KubeletUnit, cgroups, dpkg, kubelet_unit};
use upgrade_core::judge::checks::kubeadm::kubeadm;
use upgrade_core::judge::checks::packages::{
    Fetch, Simulation, downloaded, fetch, installed, resolve, simulation,
};
use upgrade_core::judge::checks::pods::{Tried, pods, to_try};
use upgrade_core::judge::checks::space::{FileSystem, disk_space, needs};
use upgrade_core::judge::claim::Claimant;
use upgrade_core::judge::control_plane::uniform_static_pods;
use upgrade_core::judge::preflight::{
    About, ClusterPreflight, ClusterSeen, HostPreflight, asks_host, cluster_findings, command, findings,
};
use upgrade_core::observed::{Finding, Observation, Outcome, PodSeen, Ready};
use upgrade_core::time::Mono;

use super::Caller;
use crate::fault::Identity;
use crate::setup::Endpoint;
use crate::world::host::{Host, package};
use crate::world::process::transient;
use crate::world::{Happening, World};

/// What a webhook says that denies evictions.
const DENIED: &str = "admission webhook denied the request";
/// Package lists, downloads, kubeadm's own preflight phase and its dry run.
const TAKES: u64 = 6_000;

impl World {
    /// Everything that can be known before anything is touched: read now, told when the slowest part has ended.
    pub(super) fn preflight(&mut self, caller: &Caller, target: Version, kind: TurnKind) {
        self.requests(&caller.node, 9);
        let reads = |identity| self.reaches(&caller.node, identity);
        let ended = if reads(Identity::Coordination) && reads(Identity::Kubelet) {
            self.find_out(&caller.node, target, kind)
        } else {
            transient("the API server does not answer")
        };
        let (caller, ended) = (caller.clone(), Box::new(ended));
        self.later(self.now + TAKES, Happening::Replies { caller, ended });
    }

    fn find_out(&self, node: &str, target: Version, kind: TurnKind) -> ActResult {
        let (Some(machine), Some(seen)) = (self.machines.get(node), self.api.stored.nodes.get(node)) else {
            return transient("the Node does not exist");
        };
        // When it will be told, on this process's own clock.
        let at = Mono(self.clock(node).mono.0 + TAKES);
        let options = self.settings_of(node).drain;
        let here = self.pods_of(node, at);
        let control_plane = machine.host.seen(at, None).control_plane;
        let seen = seen.seen();
        let own_server = control_plane && machine.host.kubelet_conf == Endpoint::Local;
        let who = Claimant {
            node,
            kind,
            control_plane,
            serves: seen.ready == Ready::True,
            lease: if control_plane { LeaseName::ControlPlane } else { LeaseName::Slot(0) },
            target,
            drains: options.enabled,
            own_server,
            skip: &seen.request.skip,
        };
        let cluster = ClusterSeen {
            node: &seen,
            fleet: &self.fleet(node, at),
            tools: OtherTools::default(),
            pods: self.drainable(node, &here.pods, &options),
            etcd: self.local(node, at).and_then(|local| local.etcd),
        };
        let about = About {
            target,
            kind,
            retry: seen.request.retry.clone(),
            at,
            control_plane,
            static_pods: uniform_static_pods(&here.pods),
            kubeadm_config: Some(self.api.stored.kubeadm_config),
            found_down: seen.ready != Ready::True,
            own_server,
        };
        let found = ClusterPreflight { findings: cluster_findings(&cluster, who, &options) };
        let command = command(kind, control_plane);
        let host = match asks_host(kind, &found.findings, &seen.request.skip)
            .then(|| self.host_preflight(node, &machine.host, target, command))
        {
            Some(Err(words)) => return transient(&words),
            Some(Ok(host)) => Some(host),
            None => None,
        };
        ActResult::ok(vec![Observation::Preflight(findings(about, found, host))])
    }

    /// The budgets' figures and dry runs of evictions.
    fn drainable(&self, node: &str, own: &[PodSeen], options: &DrainOptions) -> Outcome {
        let budgets: Vec<Budget> = self.api.budget(self.now).into_iter().collect();
        let covers = |pod: &PodSeen, budget: &Budget| pod.namespace == budget.namespace;
        let now = self.unix(node);
        let forecast = forecast(own, &budgets, covers, options, now);
        let mut tried = Tried::default();
        for pod in to_try(own, options, now) {
            let denied = self.api.denied_until > self.now;
            tried.take(
                pod,
                if denied { EvictionResponse::Failed(DENIED.to_owned()) } else { EvictionResponse::Accepted },
            );
        }
        pods(options, &forecast, &tried)
    }

    /// What this host can tell.
    ///
    /// # Errors
    /// Words for a fault: something did not answer.
    fn host_preflight(
        &self,
        node: &str,
        host: &Host,
        target: Version,
        command: KubeadmCommand,
    ) -> Result<HostPreflight, String> {
        let mut seen =
            HostPreflight { findings: Vec::new(), from: None, to: None, can_restore_packages: false };
        let unit = KubeletUnit {
            active: host.kubelet.active,
            state: "activating".to_owned(),
            sub_state: "auto-restart".to_owned(),
        };
        let cgroup = Cgroups { unified: !self.setup.cgroup_v1, v1_allowed: false };
        let room = disk_space(&self.file_systems(host));
        let roomy = !matches!(room, Outcome::Failed(_));
        let mut add = |check, outcome| seen.findings.push(Finding { check, outcome });
        add(Check::Dpkg, dpkg(None, host.dpkg_interrupted || host.foreign_broken, &[]));
        add(Check::KubeletUnit, kubelet_unit(&unit));
        add(Check::Cgroups, cgroups(cgroup, target));
        add(Check::DiskSpace, room);
        let from = match installed(&host.packages) {
            Ok(from) => from,
            Err(outcome) => {
                add(Check::Packages, outcome);
                return Ok(seen);
            }
        };
        match fetch(&self.apt_update(host), "fetch the package lists") {
            Fetch::Fetched => {}
            Fetch::Finding(outcome) => add(Check::Packages, outcome),
            Fetch::Fault(words) => return Err(words),
        }
        let to = match resolve(&self.offered(), target, from.kubectl.is_some()) {
            Ok(to) => to,
            Err(outcome) => {
                add(Check::Packages, outcome);
                seen.from = Some(from);
                return Ok(seen);
            }
        };
        add(Check::Simulation, simulation(&Simulation::default()));
        let can_restore_packages =
            host.version("kubelet").is_some_and(|version| self.api.offered.contains(&version));
        if roomy {
            add(Check::Packages, downloaded(&to, can_restore_packages));
            add(Check::Kubeadm, kubeadm("preflight", &self.kubeadm_says(node, command, target)));
        }
        Ok(HostPreflight { from: Some(from), to: Some(to), can_restore_packages, ..seen })
    }

    fn file_systems(&self, host: &Host) -> Vec<FileSystem> {
        let free = if host.disk_full_until > self.now { 0 } else { u64::MAX };
        vec![FileSystem { path: "/".to_owned(), free, needs: needs(host.control_plane, None) }]
    }

    fn apt_update(&self, host: &Host) -> Output {
        if host.repository_down_until > self.now {
            let stderr = "E: Failed to fetch the lists  Could not connect to the repository".to_owned();
            return Output { status: 100, stderr, ..Output::default() };
        }
        Output::default()
    }

    /// What the repository lists, newest first.
    fn offered(&self) -> BTreeMap<String, Vec<upgrade_core::api::PackageVersion>> {
        let versions: Vec<_> =
            self.api.offered.iter().rev().filter_map(|version| package(*version)).collect();
        ["kubeadm", "kubelet", "kubectl"].map(|name| (name.to_owned(), versions.clone())).into()
    }

    /// The new kubeadm's own preflight phase, tried from beside.
    fn kubeadm_says(&self, node: &str, command: KubeadmCommand, target: Version) -> Output {
        match self.kubeadm_refuses(node, command, target, target) {
            None => Output::default(),
            Some(words) => Output { status: 1, stderr: words.to_owned(), ..Output::default() },
        }
    }
}
