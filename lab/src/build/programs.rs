//! Kubernetes programs and etcd, built from source as Go tool dependencies.
//!
//! `kubernetes/1.36/go.mod` and `go.sum` pin every module; nothing is resolved at build time.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::available_parallelism;

use anyhow::{Context, Result};

use crate::cache::{Cache, Key};
use crate::process::{command, run_command};
use crate::tools;
use crate::versions;

const GO_MOD: &str = include_str!("../../kubernetes/1.36/go.mod");
const GO_SUM: &str = include_str!("../../kubernetes/1.36/go.sum");

/// Programs of Kubernetes; Go names each by the last element of its package's path.
const KUBERNETES: [&str; 6] =
    ["kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubeadm", "kubelet", "kubectl"];
const ETCD: &str = "go.etcd.io/etcd/server/v3";

/// The programs of one Kubernetes version.
#[derive(Debug, Clone)]
pub struct Programs {
    version: String,
    kubernetes: PathBuf,
    etcd: PathBuf,
}

impl Programs {
    /// Builds the programs, stamped with `version`.
    ///
    /// # Errors
    /// If Go is missing or a build fails.
    pub(crate) fn build(cache: &Cache, version: &str) -> Result<Self> {
        let etcd = cache.artefact("etcd", etcd_key(), |out| go_build(out, "etcd", "", &[ETCD]))?;
        let kubernetes = cache.artefact(&kubernetes_kind(version), kubernetes_key(version), |out| {
            let packages: Vec<String> =
                KUBERNETES.iter().map(|name| format!("k8s.io/kubernetes/cmd/{name}")).collect();
            let packages: Vec<&str> = packages.iter().map(String::as_str).collect();
            go_build(out, "", &stamp(version), &packages)
        })?;
        Ok(Self { version: version.to_owned(), kubernetes, etcd })
    }

    /// Whether [`Programs::build`] would find them built already.
    pub(crate) fn are_built(cache: &Cache, version: &str) -> bool {
        cache.has("etcd", etcd_key()) && cache.has(&kubernetes_kind(version), kubernetes_key(version))
    }

    /// The version these programs report, without `v`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Path of one program: `kubeadm`, `kubelet`, `kubectl`, `kube-apiserver`, …, `etcd`.
    pub fn path(&self, name: &str) -> PathBuf {
        if name == "etcd" { self.etcd.join(name) } else { self.kubernetes.join(name) }
    }

    /// The directory that decides this version's content, for the keys of what is made from it.
    pub(crate) fn artefacts(&self) -> [&Path; 2] {
        [&self.kubernetes, &self.etcd]
    }
}

fn etcd_key() -> Key {
    Key::new("2").with(GO_MOD).with(GO_SUM)
}

fn kubernetes_key(version: &str) -> Key {
    Key::new("1").with(GO_MOD).with(GO_SUM).with(version)
}

fn kubernetes_kind(version: &str) -> String {
    format!("kubernetes-{version}")
}

/// Linker flags that make the programs report `version`.
fn stamp(version: &str) -> String {
    let package = "k8s.io/component-base/version";
    let minor = versions::KUBERNETES_MINOR.rsplit('.').next().unwrap_or_default();
    format!(
        "-X {package}.gitVersion=v{version} -X {package}.gitMajor=1 -X {package}.gitMinor={minor} \
         -X {package}.gitTreeState=clean"
    )
}

/// Builds `packages` into the directory `out`, or the single one as `out/name` if that is not empty.
fn go_build(out: &Path, name: &str, stamp: &str, packages: &[&str]) -> Result<()> {
    tools::require(tools::GO)?;
    let module = out.join("module");
    fs::create_dir(&module).context("cannot create the Go module")?;
    fs::write(module.join("go.mod"), GO_MOD).context("cannot write go.mod")?;
    fs::write(module.join("go.sum"), GO_SUM).context("cannot write go.sum")?;
    let jobs = available_parallelism().map_or(1, usize::from).to_string();
    let flags = format!("-s -w {stamp}");
    let destination = out.join(name);
    let mut go = command(
        "go",
        &["build", "-mod=readonly", "-trimpath", "-buildvcs=false", "-p", &jobs, "-ldflags", &flags, "-o"],
    );
    go.arg(&destination).args(packages);
    // Static programs: they run in images that hold nothing else.
    go.current_dir(&module).env("CGO_ENABLED", "0").env("GOWORK", "off").env_remove("GOFLAGS");
    run_command(&mut go)?;
    fs::remove_dir_all(&module).context("cannot remove the Go module")
}
