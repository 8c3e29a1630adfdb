//! Addresses and links of one cluster: a bridge on the host, a network namespace per node.
//!
//! All addresses lie in 10.99.0.0/16. The bridge never forwards, so nothing leaves this machine.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::{Context, Result};

use crate::process::run;

/// How many clusters fit beside each other.
pub(crate) const CLUSTERS: u8 = 16;

/// How many nodes a cluster may have: each needs a block of pod addresses.
pub(crate) const NODES: u8 = 8;

/// The network of the cluster with this index.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Network {
    index: u8,
}

impl Network {
    pub(crate) fn new(index: u8) -> Self {
        Self { index }
    }

    /// The host's address on the bridge.
    pub(crate) fn host(self) -> Ipv4Addr {
        Ipv4Addr::new(10, 99, self.index, 1)
    }

    /// Address of node `number`, counted from 1.
    pub(crate) fn node(self, number: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 99, self.index, 10 + number)
    }

    /// Pod addresses of node `number`.
    pub(crate) fn pods(self, number: u8) -> String {
        format!("10.99.{}.0/24", 128 + self.index * NODES + (number - 1))
    }

    fn bridge(self) -> String {
        format!("nualab{}", self.index)
    }

    /// Name of the host's end of a node's cable. Names of interfaces are at most 15 characters long.
    fn cable(self, number: u8) -> String {
        format!("nualab{}-{number}", self.index)
    }

    /// Name of the network namespace of node `number`.
    pub(crate) fn namespace(self, number: u8) -> String {
        format!("nua-lab-{}-{number}", self.index)
    }

    /// Whether no interface of this host has an address or route where this cluster's would be.
    ///
    /// # Errors
    /// If the routes cannot be listed.
    pub(crate) fn is_free(self) -> Result<bool> {
        let subnet = format!("10.99.{}.0/24", self.index);
        let inside = run("ip", &["-4", "route", "show", "root", &subnet])?;
        Ok(inside.trim().is_empty())
    }

    /// Creates the bridge.
    ///
    /// # Errors
    /// If the kernel refuses, usually for lack of root.
    pub(crate) fn create(self) -> Result<()> {
        let bridge = self.bridge();
        run("ip", &["link", "add", &bridge, "type", "bridge"])?;
        // Even on a host that routes, what comes from a node goes nowhere but to the host and the other nodes.
        let forwarding = format!("/proc/sys/net/ipv4/conf/{bridge}/forwarding");
        fs::write(&forwarding, "0").with_context(|| format!("cannot write {forwarding}"))?;
        run("ip", &["address", "add", &format!("{}/24", self.host()), "dev", &bridge])?;
        run("ip", &["link", "set", &bridge, "up"])?;
        Ok(())
    }

    /// Creates the namespace of node `number` of `count` and connects it.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub(crate) fn connect(self, number: u8, count: u8) -> Result<()> {
        let (bridge, cable, namespace) = (self.bridge(), self.cable(number), self.namespace(number));
        let address = self.node(number).to_string();
        let host = self.host().to_string();
        run("ip", &["netns", "add", &namespace])?;
        run("ip", &["link", "add", &cable, "type", "veth", "peer", "name", "eth0", "netns", &namespace])?;
        run("ip", &["link", "set", &cable, "master", &bridge, "up"])?;
        let inside = |arguments: &[&str]| run("ip", &[&["-n", &namespace], arguments].concat()).map(drop);
        inside(&["link", "set", "lo", "up"])?;
        inside(&["address", "add", &format!("{address}/24"), "dev", "eth0"])?;
        inside(&["link", "set", "eth0", "up"])?;
        // Leads nowhere, but Kubernetes programs find their own address by asking for the default route.
        inside(&["route", "add", "default", "via", &host])?;
        for other in (1..=count).filter(|other| *other != number) {
            inside(&["route", "add", &self.pods(other), "via", &self.node(other).to_string()])?;
        }
        run("ip", &["route", "add", &self.pods(number), "via", &address, "dev", &bridge])?;
        Ok(())
    }

    /// Removes everything of this cluster's network that exists, whoever made it and however far it got.
    ///
    /// # Errors
    /// If a link or namespace cannot be removed.
    pub(crate) fn remove(self) -> Result<()> {
        for number in 1..=NODES {
            let namespace = self.namespace(number);
            if Path::new("/run/netns").join(&namespace).exists() {
                run("ip", &["netns", "delete", &namespace])?;
            }
        }
        for number in 1..=NODES {
            remove_link(&self.cable(number))?;
        }
        remove_link(&self.bridge())
    }
}

/// Removes a link if it is there. Deleting a namespace removes its cables too, a moment later: being late is success.
fn remove_link(name: &str) -> Result<()> {
    let exists = || Path::new("/sys/class/net").join(name).exists();
    if !exists() {
        return Ok(());
    }
    match run("ip", &["link", "delete", name]) {
        Err(error) if exists() => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clusters_never_share_an_address_block() {
        let mut blocks = std::collections::BTreeSet::new();
        for index in 0..CLUSTERS {
            let network = Network::new(index);
            assert!(blocks.insert(format!("10.99.{index}.0/24")));
            for number in 1..=NODES {
                assert!(blocks.insert(network.pods(number)), "{}", network.pods(number));
            }
        }
    }
}
