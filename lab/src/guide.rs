//! What people are told: how to reach a cluster, and what a machine lacks for one.

use std::os::unix::fs::MetadataExt;

use crate::cluster::Cluster;
use crate::tools;

impl Cluster {
    /// Commands to play on with a kept cluster, and the one that removes it.
    pub fn how_to(&self) -> String {
        let lab =
            std::env::current_exe().map_or_else(|_| "lab".to_owned(), |path| path.display().to_string());
        let option = if self.name() == "lab" { String::new() } else { format!(" --name {}", self.name()) };
        let kubectl = self.kubectl_program().with_file_name("");
        format!(
            "The cluster {} is running. To reach it:\n  \
               export KUBECONFIG={} PATH={}:$PATH   # then kubectl works\n  \
               kubectl get nodes\n  \
               kubectl annotate node --all node-upgrade-agent/target=v{}\n  \
               {lab} exec{option} worker1 -- node-upgrade-agent status\n  \
               {lab} exec{option} worker1 -- journalctl -u node-upgrade-agent\n  \
               {lab} shell{option} worker1\n\
             To remove it:\n  \
               {lab} down{option}",
            self.name(),
            self.kubeconfig().display(),
            kubectl.display().to_string().trim_end_matches('/'),
            crate::versions::KUBERNETES_NEW,
        )
    }
}

/// One line for each thing this machine lacks to boot clusters.
pub fn lacks() -> Vec<String> {
    let mut lacks = tools::missing(tools::CLUSTER);
    lacks.extend(tools::missing(tools::GO));
    // The owner of our own entry is who we are.
    if !std::fs::metadata("/proc/self").is_ok_and(|ourselves| ourselves.uid() == 0) {
        lacks.push("root: nodes are machines with mounts and networks of their own".to_owned());
    }
    lacks
}
