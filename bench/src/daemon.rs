//! The agent as a process and as a client, seen from outside.

use anyhow::{Context, Result};

use super::machine::value;
use lab::Node;

/// Its unit.
pub(super) const UNIT: &str = "node-upgrade-agent.service";

/// A property of the agent's unit.
///
/// # Errors
/// If systemd cannot be asked.
pub(super) fn property(node: &Node, name: &str) -> Result<String> {
    let answer = node.run(&["systemctl", "show", "--property", name, "--value", UNIT])?;
    Ok(answer.trim().to_owned())
}

/// Two figures of the agent's process in KiB, by their names in /proc/PID/status: `VmRSS` and the like.
///
/// # Errors
/// If it does not run.
pub(super) fn memory(node: &Node, names: [&str; 2]) -> Result<[u64; 2]> {
    let pid = property(node, "MainPID")?;
    let status = node.run(&["cat", &format!("/proc/{pid}/status")])?;
    let kib = |name: &str| {
        let field = value(&status, name).and_then(|value| value.split_whitespace().next());
        let number = field.and_then(|number| number.parse().ok());
        number.with_context(|| format!("/proc/{pid}/status has no {name}"))
    };
    let [first, second] = names;
    Ok([kib(first)?, kib(second)?])
}

/// The node whose agent asked. kubelet and kubeadm use the same credential, but say who they are.
pub(super) fn asker<'a>(user: &'a str, user_agent: &str) -> Option<&'a str> {
    let other = ["kubelet/", "kubeadm/", "kubectl/"].iter().any(|name| user_agent.starts_with(name));
    let node = user.strip_prefix("system:node:").filter(|_| !other);
    node.or_else(|| user.strip_prefix("node-upgrade-agent:"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agents_requests_are_told_from_kubelets_with_the_same_credential() {
        assert_eq!(asker("system:node:a", "kubelet/v1.36.2 (linux/amd64)"), None);
        assert_eq!(asker("system:node:a", "kubeadm/v1.36.2 (linux/amd64)"), None);
        assert_eq!(asker("system:node:a", ""), Some("a"));
        assert_eq!(asker("system:node:a", "node-upgrade-agent/0.1.0"), Some("a"));
        assert_eq!(asker("node-upgrade-agent:a", ""), Some("a"));
        assert_eq!(asker("kubernetes-admin", "kubectl/v1.36.2"), None);
    }
}
