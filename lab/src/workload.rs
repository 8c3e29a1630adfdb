//! The tutorial's workload.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::cluster::Cluster;
use crate::wait_until;

const TUTORIAL: &str = include_str!("../manifests/tutorial.yaml");
const REPLICAS: &str = "10";
const LIMIT: Duration = Duration::from_mins(2);

impl Cluster {
    /// Deploys the tutorial's ten web servers and waits until all are ready.
    ///
    /// # Errors
    /// If kubectl fails or they are not ready in two minutes.
    pub fn deploy_tutorial(&self) -> Result<()> {
        let manifest = self.kubeconfig().with_file_name("tutorial.yaml");
        fs::write(&manifest, TUTORIAL).with_context(|| format!("cannot write {}", manifest.display()))?;
        self.kubectl(&["apply", "-f", &manifest.display().to_string()])?;
        wait_until("the tutorial's web servers to be ready", LIMIT, || {
            let query = "jsonpath={.status.readyReplicas}";
            Ok(self.kubectl(&["get", "deployment", "hello", "-o", query])? == REPLICAS)
        })
    }
}
