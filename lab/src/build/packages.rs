//! The package repository: packages shaped like upstream's, signed with a throw-away key.
//!
//! What matters to an upgrade is kept as upstream has it: which package owns which file (kubelet's drop-in belongs to
//! kubeadm), the conffile, the dependencies, and that no scriptlet restarts anything.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::containers::architecture;
use super::programs::Programs;
use super::write;
use crate::cache::{Cache, Key};
use crate::process::{command, run, run_command};
use crate::versions;

/// Where nodes keep the repository's public key, as upstream's install guide says.
pub(crate) const KEYRING: &str = "etc/apt/keyrings/kubernetes-apt-keyring.gpg";

const MAINTAINER: &str = "node-upgrade-agent lab <lab@localhost>";
const KUBELET_UNIT: &str = include_str!("../../packages/kubelet.service");
const KUBELET_DROP_IN: &str = include_str!("../../packages/10-kubeadm.conf");
const KUBELET_DEFAULT: &str = include_str!("../../packages/kubelet.default");
const KUBELET_DEPENDS: &str = "kubernetes-cni (>= 1.2.0), iptables (>= 1.4.21), iproute2, mount, util-linux, \
    ethtool, socat, ebtables, conntrack";
const KUBEADM_DEPENDS: &str = "cri-tools (>= 1.30.0)";

/// kubeadm depends on the package; its programs talk to containerd themselves and need no crictl.
const CRI_TOOLS_README: &str = "This package of the lab is empty: it is there to be depended on.\n";

/// The CNI plugins nodes use.
const PLUGINS: [&str; 5] = ["bridge", "host-local", "loopback", "portmap", "ptp"];

/// A built repository: the tree that is served, and beside it the keys.
#[derive(Debug, Clone)]
pub(crate) struct PackageRepository {
    directory: PathBuf,
}

impl PackageRepository {
    /// The tree to be served.
    pub(crate) fn tree(&self) -> PathBuf {
        self.directory.join("tree")
    }

    /// The public key, in the binary form apt takes.
    pub(crate) fn public_key(&self) -> PathBuf {
        self.directory.join("public.gpg")
    }

    /// The secret key, with which a changed copy is signed again.
    pub(crate) fn secret_key(&self) -> PathBuf {
        self.directory.join("secret.gpg")
    }

    /// Path of the repository below the served root: upstream's, so that URLs look as on real nodes.
    pub(crate) fn path() -> String {
        format!("core:/stable:/v{}/deb", versions::KUBERNETES_MINOR)
    }
}

/// Builds all packages and the signed index.
///
/// # Errors
/// If dpkg-deb, apt-ftparchive or gpg fails.
pub(super) fn build(cache: &Cache, base: &Path, programs: &[&Programs]) -> Result<PackageRepository> {
    let mut key = Key::new("1").with_artefact(base).with(KUBELET_UNIT).with(KUBELET_DROP_IN);
    for input in [KUBELET_DEFAULT, KUBELET_DEPENDS, KUBEADM_DEPENDS, versions::CRI_TOOLS] {
        key = key.with(input);
    }
    key = key.with(versions::KUBERNETES_CNI).with(versions::PACKAGE_REVISION);
    for artefact in programs.iter().flat_map(|version| version.artefacts()) {
        key = key.with_artefact(artefact);
    }
    let directory = cache.artefact("packages", key, |out| {
        let deb = out.join("tree").join(PackageRepository::path());
        fs::create_dir_all(&deb).context("cannot create the repository")?;
        for version in programs {
            kubernetes_packages(&deb, version)?;
        }
        node_packages(&deb, &base.join("root"))?;
        create_key(out)?;
        index(&deb, &out.join("secret.gpg"))
    })?;
    Ok(PackageRepository { directory })
}

/// One package to be made.
struct Package<'a> {
    name: &'a str,
    version: String,
    depends: &'a str,
    description: &'a str,
    conffiles: &'a str,
}

impl Package<'_> {
    /// Makes the package from what `fill` puts into its tree.
    fn make(&self, repository: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        let deb = format!("{}_{}_{}.deb", self.name, self.version, architecture());
        let tree = repository.join(format!("{deb}.tree"));
        fill(&tree)?;
        let mut control = format!(
            "Package: {}\nVersion: {}\nArchitecture: {}\nMaintainer: {MAINTAINER}\nSection: admin\nPriority: optional\n",
            self.name,
            self.version,
            architecture()
        );
        if !self.depends.is_empty() {
            control.push_str("Depends: ");
            control.push_str(self.depends);
            control.push('\n');
        }
        control.push_str("Description: ");
        control.push_str(self.description);
        control.push('\n');
        write(&tree, "DEBIAN/control", control, 0o644)?;
        if !self.conffiles.is_empty() {
            write(&tree, "DEBIAN/conffiles", self.conffiles, 0o644)?;
        }
        fs::set_permissions(&tree, fs::Permissions::from_mode(0o755)).context("cannot set a mode")?;
        let target = repository.join(deb).display().to_string();
        // Fast compression: packages are built far more often than they are downloaded over a slow line.
        run(
            "dpkg-deb",
            &["--root-owner-group", "-Zzstd", "-z3", "-b", &tree.display().to_string(), &target],
        )?;
        fs::remove_dir_all(&tree).context("cannot remove a package's tree")
    }
}

fn kubernetes_packages(repository: &Path, programs: &Programs) -> Result<()> {
    let version = versions::package_version(programs.version());
    let package = |name, depends, conffiles, description| Package {
        name,
        version: version.clone(),
        depends,
        description,
        conffiles,
    };
    package("kubelet", KUBELET_DEPENDS, "/etc/default/kubelet\n", "Node agent for Kubernetes clusters")
        .make(repository, |tree| {
            install(tree, "usr/bin/kubelet", &programs.path("kubelet"))?;
            write(tree, "usr/lib/systemd/system/kubelet.service", KUBELET_UNIT, 0o644)?;
            write(tree, "etc/default/kubelet", KUBELET_DEFAULT, 0o644)
        })?;
    package("kubeadm", KUBEADM_DEPENDS, "", "Command-line utility for administering a Kubernetes cluster")
        .make(repository, |tree| {
            install(tree, "usr/bin/kubeadm", &programs.path("kubeadm"))?;
            write(tree, "usr/lib/systemd/system/kubelet.service.d/10-kubeadm.conf", KUBELET_DROP_IN, 0o644)
        })?;
    package("kubectl", "", "", "Command-line utility for interacting with a Kubernetes cluster")
        .make(repository, |tree| install(tree, "usr/bin/kubectl", &programs.path("kubectl")))
}

/// `cri-tools`, and `kubernetes-cni` with the plugins of Debian's package in the node image.
fn node_packages(repository: &Path, root: &Path) -> Result<()> {
    let version = |version: &str| versions::package_version(version);
    Package {
        name: "cri-tools",
        version: version(versions::CRI_TOOLS),
        depends: "",
        description: "Command-line utility for interacting with a container runtime",
        conffiles: "",
    }
    .make(repository, |tree| write(tree, "usr/share/doc/cri-tools/README", CRI_TOOLS_README, 0o644))?;
    Package {
        name: "kubernetes-cni",
        version: version(versions::KUBERNETES_CNI),
        depends: "",
        description: "Binaries required to provision Kubernetes container networking",
        conffiles: "",
    }
    .make(repository, |tree| {
        for plugin in PLUGINS {
            install(tree, &format!("opt/cni/bin/{plugin}"), &root.join("usr/lib/cni").join(plugin))?;
        }
        Ok(())
    })
}

fn install(tree: &Path, path: &str, from: &Path) -> Result<()> {
    let bytes = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
    write(tree, path, bytes, 0o755)
}

/// Makes the signing key. It protects nothing: it is there because apt and the agent insist on a signature.
fn create_key(out: &Path) -> Result<()> {
    let home = KeyHome::new()?;
    home.gpg(&["--passphrase", "", "--quick-gen-key", MAINTAINER, "rsa3072", "sign", "never"])?;
    let export = |option: &str, file: &str| {
        home.gpg(&["--yes", "-o", &out.join(file).display().to_string(), option]).map(drop)
    };
    export("--export-secret-keys", "secret.gpg")?;
    export("--export", "public.gpg")
}

/// Indexes and signs a flat repository directory, as it is now.
///
/// # Errors
/// If apt-ftparchive or gpg fails.
pub(crate) fn index(directory: &Path, secret_key: &Path) -> Result<()> {
    let ftparchive =
        |arguments: &[&str]| run_command(command("apt-ftparchive", arguments).current_dir(directory));
    let packages = ftparchive(&["packages", "."])?;
    // Removed first, because a copy shares its files with the original by hard links.
    for stale in ["Release", "InRelease", "Release.gpg", "Packages"] {
        let _ = fs::remove_file(directory.join(stale));
    }
    write(directory, "Packages", packages, 0o644)?;
    let mut options: Vec<String> = Vec::new();
    for (field, value) in [("Origin", "kubernetes-lab"), ("Label", "kubernetes-lab"), ("Suite", "deb")] {
        options.push("-o".into());
        options.push(format!("APT::FTPArchive::Release::{field}={value}"));
    }
    options.extend(["release".into(), ".".into()]);
    let release = ftparchive(&options.iter().map(String::as_str).collect::<Vec<_>>())?;
    write(directory, "Release", release, 0o644)?;
    let home = KeyHome::new()?;
    home.gpg(&["--import", &secret_key.display().to_string()])?;
    let path = |file: &str| directory.join(file).display().to_string();
    home.gpg(&["--yes", "--clearsign", "-o", &path("InRelease"), &path("Release")])?;
    home.gpg(&["--yes", "-abs", "-o", &path("Release.gpg"), &path("Release")])?;
    Ok(())
}

/// A private gpg home for one operation. Its path is short, for it holds the agent's socket.
struct KeyHome(PathBuf);

impl KeyHome {
    fn new() -> Result<Self> {
        let path = run("mktemp", &["-d", "-t", "lab-gpg.XXXXXX"])?;
        Ok(Self(PathBuf::from(path.trim())))
    }

    fn gpg(&self, arguments: &[&str]) -> Result<String> {
        run_command(command("gpg", &["--batch", "--quiet"]).args(arguments).env("GNUPGHOME", &self.0))
    }
}

impl Drop for KeyHome {
    fn drop(&mut self) {
        // gpg starts an agent that would outlive us.
        let _ = run_command(command("gpgconf", &["--kill", "all"]).env("GNUPGHOME", &self.0));
        let _ = fs::remove_dir_all(&self.0);
    }
}
