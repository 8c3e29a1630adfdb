//! A control plane without nodes: etcd, API server and controller manager as plain processes on loopback.
//!
//! For tests of what the API server decides (authorization, NodeRestriction, conflicts), in seconds and without root.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::build::Programs;
use crate::cache::Cache;
use crate::kubeadm::{AUDIT_POLICY, fill};
use crate::process::{command, run, run_command};
use crate::wait::wait_until;
use crate::{agent, tools, versions};

const GUARD: &str = include_str!("../host/guard.sh");
const CONFIG: &str = include_str!("../host/kubeadm.yaml");

/// Where envtest tools keep etcd, kube-apiserver and kubectl; taken from there if set.
const ASSETS: &str = "KUBEBUILDER_ASSETS";

/// What runs in the controller manager. Not what keeps nodes and pods in order: there is no kubelet whose heartbeats
/// would satisfy it, and tests make owners and nodes up.
const CONTROLLERS: &str = "certificatesigningrequest-signing-controller,disruption-controller,namespace-controller,\
     root-ca-certificate-publisher-controller,serviceaccount-controller,validatingadmissionpolicy-status-controller";

const READY_LIMIT: Duration = Duration::from_mins(1);

/// A running control plane. Dropping it ends its processes and removes its files; so does the owner's death.
#[derive(Debug)]
pub struct HostControlPlane {
    programs: Programs,
    directory: PathBuf,
    ports: Ports,
    /// Guards, in the order in which they must end: etcd's last, for it removes the directory.
    guards: Vec<Child>,
}

impl HostControlPlane {
    /// One line for each host program that is missing to start one.
    ///
    /// # Errors
    /// If the cache cannot be opened.
    pub fn missing() -> Result<Vec<String>> {
        let mut missing = tools::missing(tools::HOST_CONTROL_PLANE);
        if !Programs::are_built(&Cache::open()?, versions::KUBERNETES_NEW) {
            missing.extend(tools::missing(tools::GO));
        }
        Ok(missing)
    }

    /// Starts a control plane of [`versions::KUBERNETES_NEW`] and waits until it answers.
    ///
    /// # Errors
    /// If the programs cannot be built, or do not come up.
    pub fn start() -> Result<Self> {
        tools::require(tools::HOST_CONTROL_PLANE)?;
        let programs = Programs::build(&Cache::open()?, versions::KUBERNETES_NEW)?;
        let start = Instant::now();
        let directory = PathBuf::from(run("mktemp", &["-d", "-t", "lab-control-plane.XXXXXX"])?.trim());
        let ports = Ports::free()?;
        let mut this = Self { programs, directory, ports, guards: Vec::new() };
        this.create_credentials()?;
        this.start_etcd()?;
        this.start_api_server()?;
        this.start_controller_manager()?;
        wait_until(&format!("the control plane in {}", this.directory.display()), READY_LIMIT, || {
            this.kubectl(&["get", "--raw", "/readyz"])?;
            // The API server makes it a moment after it is ready, and every test needs it.
            this.kubectl(&["get", "namespace", "default"]).map(|_| true)
        })?;
        crate::progress(&format!("control plane is ready after {:.1} s", start.elapsed().as_secs_f64()));
        Ok(this)
    }

    /// Every certificate and key of a kubeadm control plane, and the kubeconfigs of administrator and controllers.
    fn create_credentials(&self) -> Result<()> {
        let config = fill(
            CONFIG,
            &[
                ("PORT", &self.ports.api_server.to_string()),
                ("VERSION", self.programs.version()),
                ("PKI", &self.file("pki")),
            ],
        );
        fs::write(self.file("kubeadm.yaml"), config).context("cannot write kubeadm's configuration")?;
        fs::write(self.file("audit-policy.yaml"), AUDIT_POLICY).context("cannot write the audit policy")?;
        self.kubeadm(&["init", "phase", "certs", "all"])?;
        self.user_kubeconfig("system:masters", "administrator")?;
        self.user_kubeconfig("system:controllers", "system:kube-controller-manager")?;
        Ok(())
    }

    fn start_controller_manager(&mut self) -> Result<()> {
        let kubeconfig = self.kubeconfig_of("system:kube-controller-manager").display().to_string();
        self.spawn(
            "kube-controller-manager",
            &[
                ("controllers", CONTROLLERS),
                ("kubeconfig", &kubeconfig),
                ("use-service-account-credentials", "true"),
                ("service-account-private-key-file", &self.file("pki/sa.key")),
                ("root-ca-file", &self.file("pki/ca.crt")),
                ("cluster-signing-cert-file", &self.file("pki/ca.crt")),
                ("cluster-signing-key-file", &self.file("pki/ca.key")),
                ("leader-elect", "false"),
                ("bind-address", "127.0.0.1"),
                ("secure-port", &self.ports.controllers.to_string()),
                ("cert-dir", &self.file("controllers")),
            ],
        )
    }

    /// As kubeadm's static pod has it, for its certificates are part of what is tested.
    fn start_etcd(&mut self) -> Result<()> {
        let etcd = self.etcd();
        let peer = format!("https://127.0.0.1:{}", self.ports.etcd_peer);
        self.spawn(
            "etcd",
            &[
                ("data-dir", &self.file("etcd")),
                ("client-cert-auth", "true"),
                ("trusted-ca-file", &self.file("pki/etcd/ca.crt")),
                ("cert-file", &self.file("pki/etcd/server.crt")),
                ("key-file", &self.file("pki/etcd/server.key")),
                ("peer-client-cert-auth", "true"),
                ("peer-trusted-ca-file", &self.file("pki/etcd/ca.crt")),
                ("peer-cert-file", &self.file("pki/etcd/peer.crt")),
                ("peer-key-file", &self.file("pki/etcd/peer.key")),
                ("listen-client-urls", &etcd),
                ("advertise-client-urls", &etcd),
                ("listen-peer-urls", &peer),
                ("initial-advertise-peer-urls", &peer),
                ("initial-cluster", &format!("default={peer}")),
                // Nothing here outlives the test, so nothing need reach the disk.
                ("unsafe-no-fsync", "true"),
            ],
        )
    }

    fn start_api_server(&mut self) -> Result<()> {
        self.spawn(
            "kube-apiserver",
            &[
                ("etcd-servers", &self.etcd()),
                ("etcd-cafile", &self.file("pki/etcd/ca.crt")),
                ("etcd-certfile", &self.file("pki/apiserver-etcd-client.crt")),
                ("etcd-keyfile", &self.file("pki/apiserver-etcd-client.key")),
                ("bind-address", "127.0.0.1"),
                ("secure-port", &self.ports.api_server.to_string()),
                // Nobody connects to it; the default would be looked for on the host's interfaces.
                ("advertise-address", "192.0.2.1"),
                ("endpoint-reconciler-type", "none"),
                ("service-cluster-ip-range", "10.96.0.0/16"),
                ("client-ca-file", &self.file("pki/ca.crt")),
                ("tls-cert-file", &self.file("pki/apiserver.crt")),
                ("tls-private-key-file", &self.file("pki/apiserver.key")),
                ("service-account-key-file", &self.file("pki/sa.pub")),
                ("service-account-signing-key-file", &self.file("pki/sa.key")),
                ("service-account-issuer", "https://kubernetes.default.svc"),
                ("authorization-mode", "Node,RBAC"),
                ("enable-admission-plugins", "NodeRestriction"),
                ("audit-policy-file", &self.file("audit-policy.yaml")),
                ("audit-log-path", &self.file("audit.log")),
            ],
        )
    }

    /// Starts a program under its guard.
    fn spawn(&mut self, name: &str, flags: &[(&str, &str)]) -> Result<()> {
        let log = self.file(&format!("{name}.log"));
        let remove = if name == "etcd" { self.directory.display().to_string() } else { String::new() };
        let mut guard = Command::new("sh");
        guard.args(["-c", GUARD, "guard", &log, &remove]).arg(self.program(name));
        guard.args(flags.iter().map(|(flag, value)| format!("--{flag}={value}")));
        guard.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        // Not of our process group: an interrupt typed at a terminal would end the guard alone.
        guard.process_group(0);
        let guard = guard.spawn().with_context(|| format!("cannot start {name}"))?;
        self.guards.insert(0, guard);
        Ok(())
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.kubeconfig_of("administrator")
    }

    /// Makes a kubeconfig with the credential that the kubelet of `node` has.
    ///
    /// # Errors
    /// If kubeadm fails.
    pub fn kubelet_kubeconfig(&self, node: &str) -> Result<PathBuf> {
        self.user_kubeconfig("system:nodes", &format!("system:node:{node}"))
    }

    /// Makes a kubeconfig with the coordination credential of the agent on `node`.
    ///
    /// # Errors
    /// If kubeadm fails.
    pub fn coordination_kubeconfig(&self, node: &str) -> Result<PathBuf> {
        self.user_kubeconfig("node-upgrade-agents", &format!("node-upgrade-agent:{node}"))
    }

    /// Makes a kubeconfig for any client.
    ///
    /// # Errors
    /// If kubeadm fails or the file cannot be written.
    pub fn user_kubeconfig(&self, group: &str, name: &str) -> Result<PathBuf> {
        self.write_kubeconfig(self.kubeconfig_of(name), group, name, Duration::from_hours(24))
    }

    /// The same in a file of its own, with a certificate that expires after so long.
    ///
    /// # Errors
    /// If kubeadm fails or the file cannot be written.
    pub fn brief_kubeconfig(&self, group: &str, name: &str, validity: Duration) -> Result<PathBuf> {
        self.write_kubeconfig(self.kubeconfig_of(&format!("{name}.brief")), group, name, validity)
    }

    fn write_kubeconfig(
        &self,
        path: PathBuf,
        group: &str,
        name: &str,
        validity: Duration,
    ) -> Result<PathBuf> {
        let validity = format!("{}s", validity.as_secs());
        let user =
            ["kubeconfig", "user", "--org", group, "--client-name", name, "--validity-period", &validity];
        let text = self.kubeadm(&user)?;
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))
            .with_context(|| format!("cannot protect {}", path.display()))?;
        Ok(path)
    }

    /// Applies the agents' namespace, RBAC rules and admission policy.
    ///
    /// # Errors
    /// If kubectl fails.
    pub fn apply_rbac(&self) -> Result<()> {
        let manifests = agent::repository_path("packaging/kubernetes").display().to_string();
        self.kubectl(&["apply", "-k", &manifests]).map(drop)
    }

    /// Runs kubectl as the administrator and returns its standard output.
    ///
    /// # Errors
    /// If kubectl fails; the error quotes it.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        let program = self.program("kubectl").display().to_string();
        run_command(command(&program, arguments).env("KUBECONFIG", self.kubeconfig()))
    }

    /// Writes kubeadm's own configuration into the cluster, and lets nodes read it, as `kubeadm init` does.
    ///
    /// # Errors
    /// If kubeadm fails.
    pub fn upload_kubeadm_config(&self) -> Result<()> {
        let kubeconfig = self.kubeconfig().display().to_string();
        self.kubeadm(&["init", "phase", "upload-config", "kubeadm", "--kubeconfig", &kubeconfig]).map(drop)
    }

    /// The Kubernetes version, without `v`.
    pub fn version(&self) -> &str {
        self.programs.version()
    }

    /// Port of the API server on 127.0.0.1.
    pub fn api_server_port(&self) -> u16 {
        self.ports.api_server
    }

    /// Where etcd answers its clients.
    pub fn etcd(&self) -> String {
        format!("https://127.0.0.1:{}", self.ports.etcd)
    }

    /// Certificates and keys, laid out as kubeadm does in `/etc/kubernetes/pki`.
    pub fn pki(&self) -> PathBuf {
        self.directory.join("pki")
    }

    /// The API server's audit log: JSON lines.
    pub fn audit_log(&self) -> PathBuf {
        self.directory.join("audit.log")
    }

    fn kubeadm(&self, arguments: &[&str]) -> Result<String> {
        let program = self.programs.path("kubeadm").display().to_string();
        let config = self.file("kubeadm.yaml");
        run(&program, &[arguments, &["--config", &config]].concat())
    }

    /// A program, from the developer's own set if there is one; only etcd, kube-apiserver and kubectl are in those.
    fn program(&self, name: &str) -> PathBuf {
        let asset = std::env::var_os(ASSETS).map(|assets| Path::new(&assets).join(name));
        asset.filter(|path| path.is_file()).unwrap_or_else(|| self.programs.path(name))
    }

    fn kubeconfig_of(&self, name: &str) -> PathBuf {
        // A name may be longer than a file's, and have slashes in it.
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);
        let plain: String =
            name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).take(40).collect();
        self.directory.join(format!("{plain}-{:x}.kubeconfig", hasher.finish()))
    }

    fn file(&self, name: &str) -> String {
        self.directory.join(name).display().to_string()
    }
}

impl Drop for HostControlPlane {
    fn drop(&mut self) {
        for mut guard in self.guards.drain(..) {
            // Closing its input is what tells a guard to end; only waiting shows that it has.
            drop(guard.stdin.take());
            let _ = guard.wait();
        }
        // etcd's guard has removed it, unless it was never started.
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// Ports that were free a moment ago.
#[derive(Debug)]
struct Ports {
    etcd: u16,
    etcd_peer: u16,
    api_server: u16,
    controllers: u16,
}

impl Ports {
    fn free() -> Result<Self> {
        // All are held until all are known, so that they differ.
        let listeners: Vec<TcpListener> = (0..4)
            .map(|_| TcpListener::bind(("127.0.0.1", 0)))
            .collect::<std::io::Result<_>>()
            .context("cannot find free ports on loopback")?;
        let port = |index: usize| -> Result<u16> {
            let listener = listeners.get(index).context("too few ports")?;
            Ok(listener.local_addr().context("a port has no address")?.port())
        };
        Ok(Self { etcd: port(0)?, etcd_peer: port(1)?, api_server: port(2)?, controllers: port(3)? })
    }
}
