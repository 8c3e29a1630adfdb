//! The command line: what `--help`, the man page and the completions of the shells say.

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use upgrade_core::api::Version;

/// Upgrades this node of a kubeadm cluster by itself, one node at a time, when its Node is annotated with a target.
#[derive(Parser)]
#[command(version, about)]
pub struct Cli {
    /// The configuration file; the default one may be absent, a named one may not.
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What can be asked for.
#[derive(Subcommand)]
pub enum Command {
    /// Run the daemon; systemd does this.
    Run,
    /// Show what an upgrade of this node would find, changing nothing.
    Plan {
        /// The version to plan for, such as v1.36.3; the Node's own target if left out.
        target: Option<Version>,
    },
    /// Show where this node's upgrade stands.
    Status {
        /// The JSON of the annotation `status`.
        #[arg(long)]
        json: bool,
        /// Ask this host's own journal instead of the API server, whether an upgrade is under way: exit status 0 if
        /// none is, 3 if one is, 1 if that cannot be told. Removing the package asks this.
        #[arg(long, conflicts_with = "json")]
        local: bool,
    },
    /// Approve the requests by which agents enrol, each after a check; without names or --all, show what there is.
    ///
    /// An administrator runs this, anywhere. What does not fit in every way is refused, saying why, and then the exit
    /// status is not 0.
    Approve {
        /// Nodes, or names of their requests.
        #[arg(value_name = "NODE|CSR")]
        names: Vec<String>,
        /// Every request that fits.
        #[arg(long, conflicts_with = "names")]
        all: bool,
        /// An administrator's kubeconfig; otherwise $KUBECONFIG, ~/.kube/config, /etc/kubernetes/admin.conf.
        #[arg(long, value_name = "FILE")]
        kubeconfig: Option<PathBuf>,
    },
}
