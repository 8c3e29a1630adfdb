//! Tools and packages: what happens on a node's host.

use super::{Node, Run};
use crate::api::{KubeadmCommand, Version};
use crate::oracle::since::Since;
use crate::oracle::{What, Who, host};

impl Node {
    pub(super) fn take_host(&mut self, index: usize, what: &What) {
        match what {
            What::ToolStarted { tool, kubeadm } => self.take_start(index, tool, *kubeadm),
            What::ToolEnded { tool, ok } => {
                self.tool = None;
                self.tool_at = Some(index).filter(|_| host::changes(tool)).or(self.tool_at);
                self.unfinished = self.unfinished.filter(|_| !*ok || *tool != "kubeadm-upgrade");
                match &mut self.tenure {
                    Some(tenure) if *ok && *tool == "kubeadm-upgrade" => {
                        let ran = tenure.command.take().map(|command| command.is.1);
                        tenure.ran_to = ran.filter(|_| tenure.irreversible.contains(tool)).or(tenure.ran_to);
                    }
                    Some(tenure)
                        if !*ok && *tool == "kubeadm-upgrade" && tenure.irreversible.contains(tool) =>
                    {
                        tenure.failed = Some(index);
                    }
                    Some(tenure) if !*ok && *tool == "install-kubeadm" && tenure.puts_back => {
                        tenure.not_put_back = Some(index);
                    }
                    _ => {}
                }
            }
            What::PackageInstalled { package, version, by } => {
                self.installed.insert(package.clone(), version.clone());
                self.by_hand = Some(index).filter(|_| *by == Who::Person).or(self.by_hand);
                let Some(tenure) = &mut self.tenure else { return };
                match by {
                    Who::Agent(_) => {
                        tenure.changed.insert(package.clone());
                        let kubelet = Some(index).filter(|_| package == "kubelet");
                        tenure.kubelet_installed = kubelet.or(tenure.kubelet_installed);
                    }
                    Who::Person => {
                        tenure.changed.remove(package);
                    }
                }
            }
            What::KubeletRestarted | What::Booted => self.restarted = Some(index),
            _ => {}
        }
        if *what == What::Booted {
            self.tool = None;
        }
    }

    fn take_start(&mut self, index: usize, tool: &'static str, kubeadm: Option<(KubeadmCommand, Version)>) {
        self.tool = Some(Since { is: tool, by: index });
        self.tool_at = Some(index).filter(|_| host::changes(tool)).or(self.tool_at);
        let drained = self.must_be_drained(tool, kubeadm);
        let past = host::is_irreversible(self, tool, kubeadm);
        let asks_for = self.asks_for();
        if let Some((_, version)) = kubeadm.filter(|_| self.control_plane) {
            let for_static_pods = self.brings_static_pods(version);
            self.unfinished = Some(Since { is: Run { version, for_static_pods }, by: index });
        }
        let Some(tenure) = &mut self.tenure else { return };
        let changes = Some(index).filter(|_| host::changes(tool));
        if tool == "install-kubeadm" {
            tenure.puts_back = tenure.changed.contains("kubeadm");
        }
        tenure.begun = tenure.begun.or(changes);
        tenure.staged = tenure.staged.or(changes);
        tenure.drained = tenure.drained.or(changes.filter(|_| drained));
        if past {
            tenure.past_return = tenure.past_return.or(Some(index));
            tenure.irreversible.insert(tool);
            (tenure.failed, tenure.ran_to, tenure.is_at_rest) = (None, None, false);
        }
        if let Some((command, version)) = kubeadm {
            tenure.command = Some(Since { is: (command, version), by: index });
            // The last hop of a new plan; an intermediate one is on the way to the same target.
            if asks_for == Some(version) || tenure.towards.is_none_or(|towards| towards < version) {
                tenure.towards = Some(version);
            }
        }
    }

    /// Whether a run of kubeadm for this version has static pods to change: one that follows a run that failed at that has.
    pub(in crate::oracle) fn brings_static_pods(&self, version: Version) -> bool {
        // Of one that does not run it is not known.
        let mut known = self.static_pods.values().filter_map(|pod| pod.is).peekable();
        let at_it = known.peek().is_some() && known.all(|runs| runs == version);
        let again = self.unfinished.is_some_and(|run| run.is.version == version && run.is.for_static_pods);
        again || !at_it
    }

    /// kubeadm's run that never ended well, if nobody else installed anything since.
    pub(in crate::oracle) fn half_done(&self) -> Option<Since<Run>> {
        self.unfinished.filter(|run| self.by_hand < Some(run.by))
    }

    /// Whether the node must have been drained before this tool: a control plane's own upgrade needs no drain where
    /// nothing was cordoned for it.
    pub(in crate::oracle) fn must_be_drained(
        &self,
        tool: &str,
        kubeadm: Option<(KubeadmCommand, Version)>,
    ) -> bool {
        self.must_be_cordoned(tool, kubeadm) || self.cordoned_by_agent().is_some()
    }

    /// Whether a tool is for what has the node out of service: kubelet's package or files.
    pub(in crate::oracle) fn must_be_cordoned(
        &self,
        tool: &str,
        kubeadm: Option<(KubeadmCommand, Version)>,
    ) -> bool {
        !self.control_plane || tool == "install-kubelet" || host::writes_files_alone(kubeadm)
    }
}
