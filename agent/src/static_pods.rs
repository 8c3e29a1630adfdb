//! What the static pod manifests on this host say of its own API server and etcd: where they answer, and with which certificates they
//! are asked. Nothing is taken for granted, because kubeadm lets people choose all of it.

mod manifest;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use http::Uri;
use upgrade_core::api::{Version, image};
use upgrade_core::judge::control_plane::STATIC_PODS;

use manifest::Manifest;
pub use manifest::ManifestError;

/// What its `--secure-port` is where nobody says (`kube-apiserver --help`).
const SECURE_PORT: u16 = 6443;
/// A pair for asking after etcd's health, which kubeadm makes beside the CA of an etcd that it runs itself.
const HEALTHCHECK_CLIENT: &str = "healthcheck-client";

/// This host's own API server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiServer {
    /// Where it answers.
    pub url: Uri,
    /// Addresses that are its own, beside those of the loopback interface.
    addresses: Vec<IpAddr>,
    port: u16,
}

impl ApiServer {
    /// Whether this URL, as it stands in a kubeconfig, leads to this API server and to no other.
    pub fn is_at(&self, server: &str) -> bool {
        let Some(server) = server.parse::<Uri>().ok().filter(|server| server.scheme_str() == Some("https"))
        else {
            return false;
        };
        let host = server.host().unwrap_or_default();
        let own = match ip(host) {
            Ok(address) => address.is_loopback() || self.addresses.contains(&address),
            Err(_) => host == "localhost",
        };
        own && server.port_u16().unwrap_or(443) == self.port
    }
}

/// The etcd on this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Etcd {
    /// Where it answers; the first that does counts.
    pub urls: Vec<Uri>,
    /// Who is trusted to be a member.
    pub authority: PathBuf,
    /// The certificate it is asked with.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// This host's own API server, by the manifest in this directory; none where it has none.
///
/// # Errors
/// When the manifest cannot be read or says something that nobody could follow.
pub fn api_server(manifests: &Path) -> Result<Option<ApiServer>, ManifestError> {
    let Some(manifest) = Manifest::read(manifests, "kube-apiserver")? else { return Ok(None) };
    let port = match manifest.flag("secure-port") {
        None => SECURE_PORT,
        Some(text) => {
            let port = text.parse().ok().filter(|port| *port != 0);
            port.ok_or_else(|| manifest.wrong("secure-port", format!("{text:?} is no port")))?
        }
    };
    let bound = address(&manifest, "bind-address")?;
    let advertised = address(&manifest, "advertise-address")?;
    let listens = bound.filter(|bound| !bound.is_unspecified()).or(advertised);
    let listens = listens.unwrap_or_else(|| loopback(bound.is_some_and(|bound| bound.is_ipv6())));
    let url = format!("https://{}", SocketAddr::new(listens, port));
    let url = url.parse().map_err(|_| manifest.wrong("bind-address", format!("{url} is no address")))?;
    Ok(Some(ApiServer { url, addresses: [bound, advertised].into_iter().flatten().collect(), port }))
}

/// The same where there must be one.
///
/// # Errors
/// Also when there is no manifest.
pub fn own_api_server(manifests: &Path) -> Result<ApiServer, ManifestError> {
    let absent = || ManifestError::Absent { path: manifest::path(manifests, "kube-apiserver") };
    api_server(manifests)?.ok_or_else(absent)
}

/// The version in the image of each static pod that carries the Kubernetes version, where its manifest is there and names one.
///
/// # Errors
/// When a manifest cannot be read or is none.
pub fn versions(manifests: &Path) -> Result<BTreeMap<String, Version>, ManifestError> {
    let mut versions = BTreeMap::new();
    for component in STATIC_PODS {
        let manifest = Manifest::read(manifests, component)?;
        let version = manifest.and_then(|manifest| image::version(manifest.image()));
        versions.extend(version.map(|version| (component.to_owned(), version)));
    }
    Ok(versions)
}

fn address(manifest: &Manifest, flag: &'static str) -> Result<Option<IpAddr>, ManifestError> {
    let Some(text) = manifest.flag(flag) else { return Ok(None) };
    text.parse().map(Some).map_err(|_| manifest.wrong(flag, format!("{text:?} is no IP address")))
}

const fn loopback(v6: bool) -> IpAddr {
    if v6 { IpAddr::V6(Ipv6Addr::LOCALHOST) } else { IpAddr::V4(Ipv4Addr::LOCALHOST) }
}

/// The etcd on this host, by the manifests in this directory; none where it is an external one.
///
/// # Errors
/// When it cannot be found out where it answers and how it is asked.
pub fn etcd(manifests: &Path) -> Result<Option<Etcd>, ManifestError> {
    let Some(server) = Manifest::read(manifests, "kube-apiserver")? else {
        return Err(ManifestError::Absent { path: manifest::path(manifests, "kube-apiserver") });
    };
    let Some(etcd) = Manifest::read(manifests, "etcd")? else {
        return if is_stacked(&server)? {
            Err(ManifestError::Absent { path: manifest::path(manifests, "etcd") })
        } else {
            Ok(None)
        };
    };
    let urls = urls(&etcd)?;
    let authority = file(&server, "etcd-cafile")?;
    let beside = |end: &str| authority.with_file_name(format!("{HEALTHCHECK_CLIENT}.{end}"));
    let (certificate, key) = (beside("crt"), beside("key"));
    let (certificate, key) = if certificate.exists() && key.exists() {
        (certificate, key)
    } else {
        (file(&server, "etcd-certfile")?, file(&server, "etcd-keyfile")?)
    };
    Ok(Some(Etcd { urls, authority, certificate, key }))
}

/// Whether an API server's etcd is one that kubeadm runs on its host: it is reached by the loopback interface, and kubeadm has made a
/// pair to ask it with.
fn is_stacked(server: &Manifest) -> Result<bool, ManifestError> {
    let urls = server.flag("etcd-servers").unwrap_or_default();
    let hosts = urls.split(',').filter_map(|url| url.trim().parse::<Uri>().ok());
    let loops =
        |uri: &Uri| uri.host().and_then(|host| ip(host).ok()).is_some_and(|address| address.is_loopback());
    if !hosts.into_iter().any(|uri| loops(&uri)) || server.flag("etcd-cafile").is_none() {
        return Ok(false);
    }
    Ok(file(server, "etcd-cafile")?.with_file_name(format!("{HEALTHCHECK_CLIENT}.crt")).exists())
}

/// A file of this host that a flag names.
fn file(manifest: &Manifest, flag: &'static str) -> Result<PathBuf, ManifestError> {
    match manifest.flag(flag) {
        Some(path) => Ok(manifest.on_host(Path::new(path))),
        None => Err(manifest.wrong(flag, "it is not set".to_owned())),
    }
}

/// Where etcd listens for clients, else where it says that it does.
fn urls(etcd: &Manifest) -> Result<Vec<Uri>, ManifestError> {
    let (flag, text) = ["listen-client-urls", "advertise-client-urls"]
        .into_iter()
        .find_map(|flag| Some((flag, etcd.flag(flag)?)))
        .ok_or_else(|| etcd.wrong("listen-client-urls", "it is not set".to_owned()))?;
    let urls: Vec<Uri> = text.split(',').filter_map(|url| reachable(url.trim())).collect();
    if urls.is_empty() {
        return Err(etcd.wrong(flag, format!("{text:?} names no address that can be asked")));
    }
    Ok(urls)
}

/// A URL to ask a socket by that listens there; none for what is no URL of this network.
fn reachable(url: &str) -> Option<Uri> {
    let uri: Uri = url.parse().ok()?;
    let scheme = uri.scheme_str().filter(|scheme| matches!(*scheme, "https" | "http"))?;
    let (host, port) = (uri.host()?, uri.port_u16()?);
    match ip(host) {
        Ok(address) if address.is_unspecified() => {
            format!("{scheme}://{}", SocketAddr::new(loopback(address.is_ipv6()), port)).parse().ok()
        }
        _ => Some(uri),
    }
}

/// An address as it stands in a URL, where IPv6 is in brackets.
fn ip(host: &str) -> Result<IpAddr, std::net::AddrParseError> {
    host.trim_start_matches('[').trim_end_matches(']').parse()
}

#[cfg(test)]
mod tests;
