//! Host programs the lab runs, and the packages they come from.

use anyhow::{Result, bail};

/// A program that must be in the search path, and the Debian package that has it.
#[derive(Debug, Clone, Copy)]
pub struct Tool {
    program: &'static str,
    package: &'static str,
    purpose: &'static str,
}

const fn tool(program: &'static str, package: &'static str, purpose: &'static str) -> Tool {
    Tool { program, package, purpose }
}

/// What it takes to build and boot a cluster.
pub const CLUSTER: &[Tool] = &[
    tool("systemd-nspawn", "systemd-container", "boots the nodes"),
    tool("mmdebstrap", "mmdebstrap", "makes the nodes' Debian image"),
    tool("dpkg-deb", "dpkg", "makes the Kubernetes packages"),
    tool("apt-ftparchive", "apt-utils", "indexes the package repository"),
    tool("apt-get", "apt", "tells which Debian mirror this host uses"),
    tool("gpg", "gnupg", "signs the package repository"),
    tool("ip", "iproute2", "connects the nodes"),
    tool("nsenter", "util-linux", "runs commands in the nodes"),
    tool("setsid", "util-linux", "detaches the nodes from the terminal"),
    tool("mount", "mount", "stacks the nodes' file systems"),
    tool("cp", "coreutils", "copies images by hard links"),
    tool("find", "findutils", "cleans the image"),
];

/// What it takes to run a control plane without nodes.
pub const HOST_CONTROL_PLANE: &[Tool] = &[tool("mktemp", "coreutils", "makes a temporary directory")];

/// What it takes to build the Kubernetes programs.
pub const GO: &[Tool] = &[tool("go", "golang", "builds the Kubernetes programs (1.26 or newer)")];

/// One line for each of `tools` that is not installed.
pub fn missing(tools: &[Tool]) -> Vec<String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories: Vec<_> = std::env::split_paths(&path).collect();
    tools
        .iter()
        .filter(|tool| !directories.iter().any(|directory| directory.join(tool.program).is_file()))
        .map(|tool| format!("{} (package {}): {}", tool.program, tool.package, tool.purpose))
        .collect()
}

/// Whether tests must not be left out for want of tools: where a pipeline counts on them, leaving them out in silence
/// would be worse than failing.
pub fn must_be_there() -> bool {
    std::env::var("CI").is_ok_and(|value| value == "true")
}

/// Fails with the complete list of what is missing, so that one look is enough.
///
/// # Errors
/// If one of `tools` is not installed.
pub fn require(tools: &[Tool]) -> Result<()> {
    let missing = missing(tools);
    if !missing.is_empty() {
        bail!(
            "these host programs are missing; lab/install-tools.sh installs them:\n  {}",
            missing.join("\n  ")
        );
    }
    Ok(())
}
