//! What is slow to build is built once per machine: a cache keyed by the content of the inputs.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::cgroup::Cgroup;
use crate::{mounts, nspawn};

/// Prefix of directories that are being built; only the holder of the lock may have one.
const PARTIAL: &str = "partial-";

/// The cache directory, shared by all checkouts of one user.
#[derive(Debug, Clone)]
pub struct Cache {
    root: PathBuf,
}

/// The name of an artefact: a hash over everything that decides its content.
#[derive(Debug, Clone)]
pub(crate) struct Key(Sha256);

impl Key {
    /// Starts a key. `recipe` is raised by hand when the code of a build changes what it makes.
    pub(crate) fn new(recipe: &str) -> Self {
        Self(Sha256::new()).with(recipe)
    }

    /// Adds one input; lengths are part of the hash, so that two inputs cannot run into each other.
    pub(crate) fn with(mut self, input: impl AsRef<[u8]>) -> Self {
        let bytes = input.as_ref();
        self.0.update((bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
        self
    }

    /// Adds the name of an artefact this one is made from.
    pub(crate) fn with_artefact(self, path: &Path) -> Self {
        self.with(path.file_name().unwrap_or_default().as_encoded_bytes())
    }

    fn name(self) -> String {
        hex(&self.0.finalize())[..16].to_owned()
    }
}

fn artefact_name(kind: &str, key: Key) -> String {
    format!("{kind}-{}", key.name())
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from_digit(u32::from(value), 16).unwrap_or_default();
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// Name of the cgroup for what a build into `partial` runs, so that the next builder can end it.
pub(crate) fn build_cgroup(partial: &Path) -> String {
    format!("nua-lab-build-{}", Key::new("").with(partial.as_os_str().as_encoded_bytes()).name())
}

impl Cache {
    /// Opens `$XDG_CACHE_HOME/node-upgrade-agent`, or `~/.cache/node-upgrade-agent`, creating it if need be.
    ///
    /// # Errors
    /// If neither variable is set, or the directory cannot be created.
    pub fn open() -> Result<Self> {
        let base = match (std::env::var_os("XDG_CACHE_HOME"), std::env::var_os("HOME")) {
            (Some(cache), _) if !cache.is_empty() => PathBuf::from(cache),
            (_, Some(home)) => PathBuf::from(home).join(".cache"),
            _ => bail!("neither XDG_CACHE_HOME nor HOME is set; the lab needs a place for what it builds"),
        };
        let root = base.join("node-upgrade-agent");
        fs::create_dir_all(&root).with_context(|| format!("cannot create the cache {}", root.display()))?;
        Ok(Self { root })
    }

    /// Where running clusters keep their nodes' disks: on the cache's file system, so that images can be hard links.
    pub(crate) fn instances(&self) -> PathBuf {
        self.root.join("instances")
    }

    /// Whether the artefact `kind` for `key` is there.
    pub(crate) fn has(&self, kind: &str, key: Key) -> bool {
        self.root.join(artefact_name(kind, key)).exists()
    }

    /// The artefact `kind` for `key`, built by `build` into an empty directory if it is not there yet.
    ///
    /// An artefact appears by one rename, complete or not at all. Builders take turns: one of these builds keeps a
    /// machine busy, and two checkouts asking for the same thing must not build it twice.
    ///
    /// # Errors
    /// If `build` fails, or the cache cannot be written.
    pub(crate) fn artefact(
        &self,
        kind: &str,
        key: Key,
        build: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<PathBuf> {
        let name = artefact_name(kind, key);
        let target = self.root.join(&name);
        if target.exists() {
            return Ok(target);
        }
        let _turn = self.lock()?;
        if target.exists() {
            return Ok(target);
        }
        self.remove_abandoned()?;
        let partial = self.root.join(format!("{PARTIAL}{name}"));
        fs::create_dir(&partial).with_context(|| format!("cannot create {}", partial.display()))?;
        let start = Instant::now();
        crate::progress(&format!("building {name}"));
        let outcome = build(&partial).with_context(|| format!("building {kind} failed"));
        if let Err(error) = outcome {
            self.remove_abandoned()?;
            return Err(error);
        }
        fs::rename(&partial, &target).with_context(|| format!("cannot publish {}", target.display()))?;
        crate::progress(&format!("built {name} in {:.0} s", start.elapsed().as_secs_f64()));
        Ok(target)
    }

    fn lock(&self) -> Result<File> {
        let path = self.root.join("build.lock");
        let file = File::create(&path).with_context(|| format!("cannot open {}", path.display()))?;
        if file.try_lock().is_err() {
            crate::progress("another lab is building; waiting for it");
            file.lock().with_context(|| format!("cannot lock {}", path.display()))?;
        }
        Ok(file)
    }

    /// Removes what a killed builder left. Called with the lock held, so nobody works there.
    fn remove_abandoned(&self) -> Result<()> {
        for entry in fs::read_dir(&self.root).context("cannot read the cache")? {
            let path = entry?.path();
            if path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(PARTIAL.as_bytes())) {
                if let Ok(cgroup) = Cgroup::named(&build_cgroup(&path)) {
                    cgroup.remove()?;
                }
                nspawn::remove_lock(&path.join("root"))?;
                mounts::unmount_below(&path)?;
                fs::remove_dir_all(&path).with_context(|| format!("cannot remove {}", path.display()))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A cache of its own for each test, removed with it.
    struct Scratch(Cache);

    impl Scratch {
        fn new(name: &str) -> Self {
            let root = std::env::temp_dir().join(format!("lab-cache-{}-{name}", std::process::id()));
            fs::create_dir_all(&root).unwrap();
            Self(Cache { root })
        }

        fn names(&self) -> Vec<String> {
            let entries = fs::read_dir(&self.0.root).unwrap();
            let mut names: Vec<String> =
                entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
            names.sort();
            names
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0.root);
        }
    }

    #[test]
    fn builds_once_per_content() {
        let scratch = Scratch::new("once");
        let build = |input: &str| {
            scratch.0.artefact("thing", Key::new("1").with(input), |out| Ok(fs::write(out.join("x"), input)?))
        };
        let first = build("a").unwrap();
        let again = scratch.0.artefact("thing", Key::new("1").with("a"), |_| bail!("built again")).unwrap();
        assert_eq!(first, again);
        assert_ne!(first, build("b").unwrap());
    }

    #[test]
    fn a_failed_or_killed_build_leaves_nothing() {
        let scratch = Scratch::new("failed");
        fs::create_dir(scratch.0.root.join("partial-of-a-killed-builder")).unwrap();
        let failed = scratch.0.artefact("thing", Key::new("1"), |out| {
            fs::write(out.join("half"), "")?;
            bail!("no compiler")
        });
        assert!(format!("{:#}", failed.unwrap_err()).contains("no compiler"));
        assert_eq!(scratch.names(), ["build.lock"]);
    }

    #[test]
    fn inputs_do_not_run_into_each_other() {
        assert_ne!(Key::new("1").with("ab").with("c").name(), Key::new("1").with("a").with("bc").name());
    }
}
