//! dpkg's database, read without running dpkg.
//!
//! `/var/lib/dpkg/status` is a file of deb822 stanzas (deb822(5), dpkg-query(1) for the states); while dpkg works,
//! what changed last stands in numbered files of the same form in `/var/lib/dpkg/updates`, which are merged into
//! the status file when it ends. Found without a running dpkg, they mean that it was interrupted.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::Path;
use std::time::Duration;

use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use upgrade_core::api::PackageVersion;
use upgrade_core::observed::PackageSeen;

use super::fault::{Doing, Failed};
use super::{PACKAGES, Settings};

/// How long a tool waits for another package manager. What works for longer is said, and the gates before the tool are asked again.
pub(super) const LOCK_LIMIT: Duration = Duration::from_secs(5);

/// What dpkg's database says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Dpkg {
    /// Our packages, where installed.
    pub(super) packages: BTreeMap<String, PackageSeen>,
    /// Whether `dpkg --configure -a` has something to do, or to say, and nobody is doing it.
    pub(super) interrupted: bool,
    /// Packages that only a reinstallation or a person can mend.
    pub(super) broken: Vec<String>,
    /// Who holds one of its locks.
    pub(super) holder: Option<Holder>,
}

/// A process that holds one of dpkg's locks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Holder {
    pub(super) pid: i32,
    /// Its name, where it can still be read.
    name: String,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pid, name } = self;
        if name.is_empty() { write!(f, "process {pid}") } else { write!(f, "process {pid} ({name})") }
    }
}

impl Holder {
    fn of(pid: i32) -> Self {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        Self { pid, name: name.trim().to_owned() }
    }
}

/// One stanza, as far as it matters here.
#[derive(Debug, Clone, Default)]
struct Stanza<'a> {
    package: &'a str,
    architecture: &'a str,
    want: &'a str,
    flag: &'a str,
    state: &'a str,
    version: &'a str,
}

/// Reads the database of this host.
pub(super) fn read(settings: &Settings) -> Result<Dpkg, Failed> {
    let directory = settings.on_host("/var/lib/dpkg");
    let status = directory.join("status");
    let mut texts = vec![fs::read(&status).doing(|| format!("read {}", status.display()))?];
    let updates = directory.join("updates");
    let doing = || format!("read {}", updates.display());
    for path in numbered(&updates).doing(doing)? {
        match fs::read(&path) {
            Ok(text) => texts.push(text),
            // dpkg merged it since the directory was listed.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error).doing(doing),
        }
    }
    let journaled = texts.len() > 1;
    let texts: Vec<_> = texts.iter().map(|text| String::from_utf8_lossy(text)).collect();
    let mut dpkg = judge(texts.iter().map(AsRef::as_ref))?;
    // A half-done state is only somebody's work in progress while the lock is held.
    dpkg.holder = lock_holder(settings)?;
    dpkg.interrupted = (dpkg.interrupted || journaled) && dpkg.holder.is_none();
    Ok(dpkg)
}

/// dpkg's journal, oldest first: names of digits alone; others are its temporary files.
fn numbered(updates: &Path) -> io::Result<Vec<std::path::PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(updates)? {
        let entry = entry?;
        if entry.file_name().as_encoded_bytes().iter().all(u8::is_ascii_digit) {
            paths.push(entry.path());
        }
    }
    paths.sort();
    Ok(paths)
}

/// Judges status texts, later ones overriding earlier ones.
fn judge<'a>(texts: impl Iterator<Item = &'a str>) -> Result<Dpkg, Failed> {
    let mut latest: BTreeMap<(&str, &str), Stanza<'_>> = BTreeMap::new();
    for stanza in texts.flat_map(stanzas) {
        latest.insert((stanza.package, stanza.architecture), stanza);
    }
    let mut dpkg = Dpkg::default();
    for ((name, _), stanza) in latest {
        match stanza.state {
            "not-installed" | "config-files" => continue,
            "half-installed" => dpkg.broken.push(name.to_owned()),
            "unpacked" | "half-configured" | "triggers-awaited" | "triggers-pending" => {
                dpkg.interrupted |= stanza.flag != "reinstreq";
            }
            _ => {}
        }
        if stanza.flag == "reinstreq" && stanza.state != "half-installed" {
            dpkg.broken.push(name.to_owned());
        }
        if PACKAGES.contains(&name) {
            let version: PackageVersion =
                stanza.version.parse().doing(|| format!("read the version of {name} in dpkg's database"))?;
            let configured = stanza.state == "installed";
            let held = stanza.want == "hold";
            dpkg.packages.insert(name.to_owned(), PackageSeen { version, configured, held });
        }
    }
    // `dpkg --configure -a` passes these over. Ours are mended by the installation that comes anyway; for others the
    // repair ends with dpkg's own words.
    dpkg.interrupted |= dpkg.broken.iter().any(|name| !PACKAGES.contains(&name.as_str()));
    Ok(dpkg)
}

fn stanzas(text: &str) -> impl Iterator<Item = Stanza<'_>> {
    text.split("\n\n").filter_map(|block| {
        let mut stanza = Stanza::default();
        for line in block.lines() {
            match line.split_once(':') {
                Some(("Package", value)) => stanza.package = value.trim(),
                Some(("Architecture", value)) => stanza.architecture = value.trim(),
                Some(("Version", value)) => stanza.version = value.trim(),
                Some(("Status", value)) => {
                    let mut words = value.split_whitespace();
                    stanza.want = words.next().unwrap_or_default();
                    stanza.flag = words.next().unwrap_or_default();
                    stanza.state = words.next().unwrap_or_default();
                }
                _ => {}
            }
        }
        (!stanza.package.is_empty()).then_some(stanza)
    })
}

/// The process that holds one of dpkg's locks, if any. They are POSIX record locks, so the kernel knows.
pub(super) fn lock_holder(settings: &Settings) -> Result<Option<Holder>, Failed> {
    for name in ["lock-frontend", "lock"] {
        let path = settings.on_host("/var/lib/dpkg").join(name);
        let doing = || format!("ask who holds {}", path.display());
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(error).doing(doing),
        };
        let mut lock = libc::flock {
            l_type: i16::try_from(libc::F_WRLCK).doing(doing)?,
            l_whence: i16::try_from(libc::SEEK_SET).doing(doing)?,
            l_start: 0,
            l_len: 0,
            l_pid: 0,
        };
        fcntl(&file, FcntlArg::F_GETLK(&mut lock)).doing(doing)?;
        if i32::from(lock.l_type) != libc::F_UNLCK {
            return Ok(Some(Holder::of(lock.l_pid)));
        }
    }
    Ok(None)
}

#[cfg(test)]
#[path = "dpkg/tests.rs"]
mod tests;
