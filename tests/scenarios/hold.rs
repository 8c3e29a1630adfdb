//! Holding a tool of the agent in the middle of its work, without changing the agent or the tool.
//!
//! apt and dpkg have hooks, and systemd has drop-ins that also hold for transient units. All of them run a script that waits
//! as long as a file exists, and says in another file that it waits.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use lab::{Node, wait_until};

const DIRECTORY: &str = "/var/lib/lab-hold";
const SCRIPT_PATH: &str = "/usr/local/sbin/lab-hold";
/// In whose unit it runs, and so for which tool, its cgroup tells.
const SCRIPT: &str = "#!/bin/sh
tool=$(sed -n 's/.*-\\(install-kubeadm\\|install-kubelet\\|kubeadm-upgrade\\)\\.service$/\\1/p' /proc/self/cgroup)
[ -n \"$tool\" ] || exit 0
file=/var/lib/lab-hold/${1}${DPKG_HOOK_ACTION:+-$DPKG_HOOK_ACTION}.$tool
[ -e \"$file\" ] || exit 0
: >\"$file.reached\"
while [ -e \"$file\" ]; do sleep 0.05; done
rm -f \"$file.reached\"
";
const HOOKS: [(&str, &str); 3] = [
    ("/etc/apt/apt.conf.d/99lab-hold", "DPkg::Pre-Invoke { \"/usr/local/sbin/lab-hold apt\"; };\n"),
    ("/etc/dpkg/dpkg.cfg.d/lab-hold", "pre-invoke=/usr/local/sbin/lab-hold dpkg\n"),
    (
        "/etc/systemd/system/node-upgrade-agent-tool-.service.d/lab-hold.conf",
        "[Service]\nExecStartPre=/usr/local/sbin/lab-hold unit\n",
    ),
];
const LIMIT: Duration = Duration::from_mins(1);

/// Where a tool can be held.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Point {
    /// Its unit runs, the program has not begun.
    Unit,
    /// apt runs, dpkg has not begun.
    Apt,
    /// dpkg has unpacked, and configured nothing.
    Configure,
}

/// A tool that will wait, or waits, on one node. It goes on when this is dropped.
pub(crate) struct Hold<'a> {
    node: &'a Node,
    name: String,
}

impl<'a> Hold<'a> {
    /// Lets the next run of `tool` (its word in unit names) wait.
    pub(crate) fn set(node: &'a Node, point: Point, tool: &str) -> Result<Self> {
        node.write_file(SCRIPT_PATH, SCRIPT, 0o755)?;
        for (path, text) in HOOKS {
            node.write_file(path, text, 0o644)?;
        }
        node.run(&["systemctl", "daemon-reload"])?;
        let point = match point {
            Point::Unit => "unit",
            Point::Apt => "apt",
            Point::Configure => "dpkg-configure",
        };
        let hold = Self { node, name: format!("{DIRECTORY}/{point}.{tool}") };
        node.write_file(&hold.name, "", 0o644)?;
        Ok(hold)
    }

    /// Waits until the tool waits.
    pub(crate) fn wait_reached(&self) -> Result<()> {
        let reached = self.on_disk(".reached");
        wait_until(&format!("{} on node {}", self.name, self.node.name()), LIMIT, || Ok(reached.exists()))
    }

    /// Lets it go on.
    pub(crate) fn release(self) {
        drop(self);
    }

    /// The file as this host sees it, whether the node runs or not.
    fn on_disk(&self, suffix: &str) -> PathBuf {
        self.node.root().join(format!("{}{suffix}", self.name.trim_start_matches('/')))
    }
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        // Gone already where the node's disk is.
        let _ = std::fs::remove_file(self.on_disk(""));
    }
}

/// Takes the hooks out again.
pub(crate) fn remove_hooks(node: &Node) -> Result<()> {
    let mut argv = vec!["rm", "-rf", DIRECTORY, SCRIPT_PATH];
    argv.extend(HOOKS.map(|(path, _)| path));
    node.run(&argv).map(drop)
}
