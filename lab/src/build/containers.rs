//! OCI images, made without a container engine: a static busybox and the programs, one layer each.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::programs::Programs;
use crate::cache::{Cache, Key, hex};
use crate::versions;

/// The busybox commands the images' programs and probes use.
const APPLETS: [&str; 12] =
    ["sh", "echo", "sleep", "cat", "ls", "id", "httpd", "wget", "ip", "ps", "true", "hostname"];

/// `kubeadm upgrade apply` checks the cluster's health with a Job that runs `/pause -v`, so it must answer.
const PAUSE: &str =
    "#!/bin/sh\n[ \"${1-}\" = -v ] && { echo pause; exit 0; }\nexec /bin/busybox sleep 2147483647\n";

const INDEX_PAGE: &str = "hello\n";

/// One image to be made.
struct Image {
    name: String,
    command: Vec<&'static str>,
    files: Vec<(String, Vec<u8>)>,
}

/// Builds all images as OCI archives (`*.tar`) that `ctr images import` reads.
///
/// # Errors
/// If an input cannot be read or an archive cannot be written.
pub(super) fn build(cache: &Cache, base: &Path, programs: &[&Programs]) -> Result<PathBuf> {
    let mut key = Key::new("1").with_artefact(base).with(APPLETS.join(",")).with(PAUSE).with(INDEX_PAGE);
    for tag in [versions::ETCD_IMAGE_TAG, versions::PAUSE_IMAGE_TAG, versions::HTTPD_IMAGE_TAG] {
        key = key.with(tag);
    }
    for artefact in programs.iter().flat_map(|version| version.artefacts()) {
        key = key.with_artefact(artefact);
    }
    cache.artefact("images", key, |out| {
        let busybox = fs::read(base.join("root/usr/bin/busybox")).context("the node image has no busybox")?;
        for image in images(programs)? {
            let file = out.join(format!("{}.tar", image.name.replace(['/', ':'], "_")));
            write_archive(&file, &image, &busybox)
                .with_context(|| format!("cannot write the image {}", image.name))?;
        }
        Ok(())
    })
}

fn images(programs: &[&Programs]) -> Result<Vec<Image>> {
    let mut images = vec![
        Image {
            name: versions::image("pause", versions::PAUSE_IMAGE_TAG),
            command: vec!["/pause"],
            files: vec![("pause".into(), PAUSE.into())],
        },
        Image {
            name: versions::image("httpd", versions::HTTPD_IMAGE_TAG),
            command: vec!["httpd", "-f", "-v", "-p", "8080", "-h", "/www"],
            files: vec![("www/index.html".into(), INDEX_PAGE.into())],
        },
    ];
    if let Some(version) = programs.first() {
        let name = versions::image("etcd", versions::ETCD_IMAGE_TAG);
        images.push(Image { name, command: vec!["etcd"], files: vec![program(version, "etcd")?] });
    }
    for version in programs {
        for name in ["kube-apiserver", "kube-controller-manager", "kube-scheduler"] {
            images.push(Image {
                name: versions::image(name, &format!("v{}", version.version())),
                command: vec![name],
                files: vec![program(version, name)?],
            });
        }
    }
    Ok(images)
}

fn program(version: &Programs, name: &str) -> Result<(String, Vec<u8>)> {
    let path = version.path(name);
    let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok((format!("bin/{name}"), bytes))
}

fn write_archive(path: &Path, image: &Image, busybox: &[u8]) -> Result<()> {
    let layer = Blob::new(layer(image, busybox)?);
    let config = json!({
        "architecture": architecture(),
        "os": "linux",
        "config": {"Env": ["PATH=/bin"], "Entrypoint": image.command},
        "rootfs": {"type": "layers", "diff_ids": [layer.digest]},
    });
    let config = Blob::new(config.to_string().into_bytes());
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config.descriptor("application/vnd.oci.image.config.v1+json"),
        "layers": [layer.descriptor("application/vnd.oci.image.layer.v1.tar")],
    });
    let manifest = Blob::new(manifest.to_string().into_bytes());
    let mut entry = manifest.descriptor("application/vnd.oci.image.manifest.v1+json");
    entry["platform"] = json!({"architecture": architecture(), "os": "linux"});
    entry["annotations"] = json!({"io.containerd.image.name": image.name});
    let index = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [entry],
    })
    .to_string();

    let mut archive = tar::Builder::new(File::create(path)?);
    append(&mut archive, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#, 0o644)?;
    append(&mut archive, "index.json", index.as_bytes(), 0o644)?;
    for blob in [&layer, &config, &manifest] {
        append(&mut archive, &format!("blobs/{}", blob.digest.replace(':', "/")), &blob.bytes, 0o644)?;
    }
    archive.into_inner()?.flush()?;
    Ok(())
}

fn layer(image: &Image, busybox: &[u8]) -> Result<Vec<u8>> {
    let mut layer = tar::Builder::new(Vec::new());
    for directory in ["bin", "etc", "proc", "sys", "dev", "root", "www", "tmp"] {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Directory);
        header.set_mode(if directory == "tmp" { 0o1777 } else { 0o755 });
        header.set_size(0);
        layer.append_data(&mut header, format!("{directory}/"), std::io::empty())?;
    }
    append(&mut layer, "etc/passwd", b"root:x:0:0:root:/root:/bin/sh\n", 0o644)?;
    append(&mut layer, "bin/busybox", busybox, 0o755)?;
    for applet in APPLETS {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_mode(0o777);
        header.set_size(0);
        layer.append_link(&mut header, format!("bin/{applet}"), "busybox")?;
    }
    for (name, content) in &image.files {
        append(&mut layer, name, content, 0o755)?;
    }
    Ok(layer.into_inner()?)
}

fn append<W: Write>(archive: &mut tar::Builder<W>, name: &str, content: &[u8], mode: u32) -> Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_mode(mode);
    header.set_size(content.len() as u64);
    archive.append_data(&mut header, name, content).with_context(|| format!("cannot add {name}"))
}

/// Content with its name, hashed once: layers are large.
struct Blob {
    bytes: Vec<u8>,
    digest: String,
}

impl Blob {
    fn new(bytes: Vec<u8>) -> Self {
        let digest = format!("sha256:{}", hex(&Sha256::digest(&bytes)));
        Self { bytes, digest }
    }

    fn descriptor(&self, media_type: &str) -> Value {
        json!({"mediaType": media_type, "digest": self.digest, "size": self.bytes.len()})
    }
}

/// This machine's architecture in Go's words, which are OCI's; Debian's happen to be the same for these two.
pub(super) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "aarch64" => "arm64",
        _ => "amd64",
    }
}
