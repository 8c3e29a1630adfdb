//! apt-get with private sources, lists and archives, so that nobody's `apt upgrade` sees what an upgrade prepares
//! and nobody's `apt clean` takes it away. Everything else (proxies, credentials, keys, hooks) is the host's.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use upgrade_core::api::PackageVersion;
use upgrade_core::judge::checks::Output;
use upgrade_core::judge::checks::packages::Simulation;
use upgrade_core::memory::Packages;

use super::Settings;
use super::fault::{Doing, Failed};

/// Program paths; nothing is looked up in a PATH.
pub(super) const APT_GET: &str = "/usr/bin/apt-get";
/// See [`APT_GET`].
pub(super) const APT_CACHE: &str = "/usr/bin/apt-cache";
/// See [`APT_GET`].
pub(super) const APT_MARK: &str = "/usr/bin/apt-mark";
/// See [`APT_GET`].
pub(super) const DPKG: &str = "/usr/bin/dpkg";
/// See [`APT_GET`].
pub(super) const DPKG_DEB: &str = "/usr/bin/dpkg-deb";

/// Keep an administrator's changed configuration files, and take the packager's choice where there is one.
const CONFFILES: [&str; 2] = ["--force-confdef", "--force-confold"];

/// A package to install, and exactly which.
pub(super) type Wanted<'a> = (&'static str, &'a PackageVersion);

/// All packages of a hop.
pub(super) fn all(packages: &Packages) -> Vec<Wanted<'_>> {
    let mut wanted = vec![("kubeadm", &packages.kubeadm)];
    wanted.extend(kubelet(packages));
    wanted
}

/// The packages of the installing step.
pub(super) fn kubelet(packages: &Packages) -> Vec<Wanted<'_>> {
    let mut wanted = vec![("kubelet", &packages.kubelet)];
    wanted.extend(packages.kubectl.as_ref().map(|version| ("kubectl", version)));
    wanted
}

/// Points apt at our own directories (apt.conf(5), "DIRECTORIES").
fn private(settings: &Settings) -> Vec<String> {
    let apt = settings.apt();
    let status = settings.on_host("/var/lib/dpkg/status");
    [
        ("Dir::Etc::SourceList", PathBuf::from("/dev/null")),
        ("Dir::Etc::SourceParts", apt.join("sources")),
        ("Dir::State::Lists", apt.join("lists")),
        ("Dir::State::Status", status),
        ("Dir::Cache::Archives", settings.archives()),
        // No binary caches: they would be the host's.
        ("Dir::Cache::PkgCache", PathBuf::new()),
        ("Dir::Cache::SrcPkgCache", PathBuf::new()),
    ]
    .into_iter()
    .flat_map(|(key, value)| ["-o".to_owned(), format!("{key}={}", value.display())])
    .collect()
}

/// What every transaction has in common, simulated or not: exact versions, ours to hold, nothing
/// removed, nothing more than asked for.
fn transaction(settings: &Settings, wanted: &[Wanted<'_>], more: &[&str]) -> Vec<String> {
    let mut args = private(settings);
    args.extend(more.iter().map(|&arg| arg.to_owned()));
    args.extend(
        ["-y", "--allow-change-held-packages", "--no-remove", "--no-install-recommends", "install"]
            .map(str::to_owned),
    );
    args.extend(wanted.iter().map(|(name, version)| format!("{name}={version}")));
    args
}

/// Arguments that install from our archives alone; going `back` may lower versions.
pub(super) fn install(settings: &Settings, wanted: &[Wanted<'_>], back: bool) -> Vec<String> {
    let [confdef, confold] = CONFFILES.map(|force| format!("Dpkg::Options::={force}"));
    let lock = "DPkg::Lock::Timeout=300";
    let mut more = vec!["-o", &confdef, "-o", &confold, "-o", lock, "--no-download"];
    more.extend(back.then_some("--allow-downgrades"));
    transaction(settings, wanted, &more)
}

/// Arguments that finish what an interrupted dpkg left.
pub(super) fn repair() -> Vec<String> {
    CONFFILES.into_iter().chain(["--configure", "-a"]).map(str::to_owned).collect()
}

/// Arguments that print what an installation would do.
pub(super) fn simulate(settings: &Settings, wanted: &[Wanted<'_>]) -> Vec<String> {
    transaction(settings, wanted, &["--simulate"])
}

/// Arguments that fill our archives, with what is installed already too: kubeadm is, in turn B. Nothing but them is written, so no
/// lock of the host is taken.
pub(super) fn download(settings: &Settings, wanted: &[Wanted<'_>]) -> Vec<String> {
    transaction(
        settings,
        wanted,
        &["--reinstall", "-o", "Debug::NoLocking=true", "--download-only", "--allow-downgrades"],
    )
}

/// Arguments that fetch the package lists. A list that could not be fetched is an error, not a warning.
pub(super) fn update(settings: &Settings) -> Vec<String> {
    let mut args = vec!["-c".to_owned(), quiet(settings).display().to_string()];
    args.extend(private(settings));
    args.extend(["-o", "APT::Update::Error-Mode=any", "update"].map(str::to_owned));
    args
}

/// Arguments of apt-cache that list the versions of `packages`.
pub(super) fn madison(settings: &Settings, packages: &[&str]) -> Vec<String> {
    let mut args = private(settings);
    args.push("madison".to_owned());
    args.extend(packages.iter().map(|&package| package.to_owned()));
    args
}

fn quiet(settings: &Settings) -> PathBuf {
    settings.apt().join("update.conf")
}

/// Makes the private directories and copies the source files there; tells which were found.
pub(super) fn prepare(settings: &Settings) -> Result<Vec<PathBuf>, Failed> {
    let apt = settings.apt();
    let sources = apt.join("sources");
    // Emptied first: a source that was taken away must not live on here.
    match fs::remove_dir_all(&sources) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(error).doing(|| format!("empty {}", sources.display()));
        }
        _ => {}
    }
    for directory in [&apt, &sources, &apt.join("lists/partial"), &settings.archives().join("partial")] {
        open_directory(directory).doing(|| format!("create {}", directory.display()))?;
    }
    // Hooks of the host's own `apt update` refresh caches and notify desktops: not for our private lists.
    let hooks = "#clear APT::Update::Pre-Invoke;\n#clear APT::Update::Post-Invoke;\n\
                 #clear APT::Update::Post-Invoke-Success;\n#clear APT::Update::Post-Invoke-Stats;\n";
    fs::write(quiet(settings), hooks).doing(|| format!("write {}", quiet(settings).display()))?;
    let mut found = Vec::new();
    for (number, source) in settings.sources.iter().enumerate() {
        let from = settings.on_host(source);
        let Some(name) = source.file_name() else {
            return Err(Failed::new(format!("the apt source {} names no file", source.display())));
        };
        // Numbered, so that two files of one name in different directories both count.
        let to = sources.join(format!("{number:02}-{}", name.to_string_lossy()));
        match fs::read_to_string(&from) {
            Ok(text) => {
                write_like(&from, &to, &fetched(&text)).doing(|| format!("write {}", to.display()))?;
            }
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(error).doing(|| format!("read the apt source {}", from.display())),
        }
        found.push(from);
    }
    Ok(found)
}

/// Writes a file that nobody may read who may not read the one it is a copy of: sources can hold passwords.
fn write_like(from: &Path, to: &Path, text: &str) -> std::io::Result<()> {
    let mode = fs::metadata(from)?.permissions().mode() & 0o644;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to)?;
    file.write_all(text.as_bytes())?;
    file.set_permissions(Permissions::from_mode(mode))
}

/// The same source, for downloading: apt uses packages of a `file:` repository where they are and puts none of them
/// into the archives, so that they could be gone when they are needed; `copy:` is the same but for that.
fn fetched(source: &str) -> String {
    let mut text = String::with_capacity(source.len());
    for part in source.split_inclusive(char::is_whitespace) {
        match part.strip_prefix("file:/") {
            Some(path) => text.extend(["copy:/", path]),
            None => text.push_str(part),
        }
    }
    text
}

/// A directory that apt's unprivileged user can pass through, whatever the umask.
fn open_directory(path: &Path) -> std::io::Result<()> {
    fs::create_dir_all(path)?;
    if path.ends_with("partial") { Ok(()) } else { fs::set_permissions(path, Permissions::from_mode(0o755)) }
}

/// The file apt stores a package under: an epoch's colon is quoted.
pub(super) fn archived(settings: &Settings, name: &str, version: &PackageVersion) -> Result<PathBuf, Failed> {
    let archives = settings.archives();
    let doing = || format!("find {name} {version} in {}", archives.display());
    let prefix = format!("{name}_{}_", version.as_str().replace(':', "%3a"));
    for entry in fs::read_dir(&archives).doing(doing)? {
        let entry = entry.doing(doing)?;
        let file = entry.file_name();
        let file = file.to_string_lossy();
        if file.starts_with(&prefix) && Path::new(file.as_ref()).extension().is_some_and(|end| end == "deb") {
            return Ok(entry.path());
        }
    }
    Err(Failed::new(format!("{name} {version} is not in {}", archives.display())))
}

/// Reads `Inst`, `Remv` and `Purg` lines of `apt-get --simulate`.
pub(super) fn simulation(output: &Output) -> Simulation {
    let failed = (!output.succeeded()).then(|| output.last_words());
    let mut simulation = Simulation { failed, ..Simulation::default() };
    for line in output.stdout.lines() {
        let mut words = line.split_whitespace();
        let (verb, Some(package)) = (words.next(), words.next()) else { continue };
        // `libc6:i386` is the package of a foreign architecture: still that package.
        let package = package.split(':').next().unwrap_or(package).to_owned();
        match verb {
            Some("Inst") => {
                let version = words.find_map(|word| word.strip_prefix('(')).unwrap_or_default();
                simulation.installs.push((package, version.to_owned()));
            }
            Some("Remv" | "Purg") => simulation.removals.push(package),
            _ => {}
        }
    }
    simulation
}

#[cfg(test)]
#[path = "apt/tests.rs"]
mod tests;
