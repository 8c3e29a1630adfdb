//! Files that a crash or a power cut at any instant leaves old or new, never torn, in directories for root alone.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Ends the name of the file that will replace another.
const NEXT: &str = ".next";

/// The parts of a replacement, in the order that makes it safe against power cuts at any instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Write the next file.
    Write,
    /// Wait until its content is on disk: before the rename, or the name could lead to a file without content.
    SyncFile,
    /// Give it the name.
    Rename,
    /// Wait until the name is on disk.
    SyncDirectory,
}

pub(crate) const STEPS: [Step; 4] = [Step::Write, Step::SyncFile, Step::Rename, Step::SyncDirectory];

/// A replacement under way.
#[derive(Debug)]
pub(crate) struct Replacement<'a> {
    directory: &'a Path,
    name: &'a str,
    /// The next file while it is written.
    next: Option<File>,
}

impl<'a> Replacement<'a> {
    /// Of the file of this name, which need not be there.
    pub(crate) fn new(directory: &'a Path, name: &'a str) -> Self {
        Self { directory, name, next: None }
    }

    /// Carries one step out.
    ///
    /// # Errors
    /// When the disk fails; beginning anew is safe.
    pub(crate) fn carry_out(&mut self, step: Step, bytes: &[u8]) -> io::Result<()> {
        let next = self.directory.join(format!("{}{NEXT}", self.name));
        match step {
            Step::Write => {
                let mut file =
                    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(next)?;
                // One that a crash has left may have other permissions.
                file.set_permissions(Permissions::from_mode(0o600))?;
                file.write_all(bytes)?;
                self.next = Some(file);
                Ok(())
            }
            Step::SyncFile => self.next.take().map_or(Ok(()), |file| file.sync_all()),
            Step::Rename => std::fs::rename(next, self.directory.join(self.name)),
            Step::SyncDirectory => sync(self.directory),
        }
    }
}

/// Replaces the file, readable by root alone; when this returns, the new one is what is found, whatever happens.
///
/// # Errors
/// When the disk fails; the old file or the new one stands then, and replacing again is safe.
pub(crate) fn replace(directory: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let mut replacement = Replacement::new(directory, name);
    STEPS.into_iter().try_for_each(|step| replacement.carry_out(step, bytes))
}

/// Removes the file for good, if it is there.
///
/// # Errors
/// When the disk fails.
pub(crate) fn remove(directory: &Path, name: &str) -> io::Result<()> {
    match std::fs::remove_file(directory.join(name)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.and_then(|()| sync(directory)),
    }
}

/// The file's bytes; none if there is no such file.
///
/// # Errors
/// When the disk fails.
pub(crate) fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Makes a directory for root alone, also of one that was there with other permissions.
///
/// # Errors
/// When the disk fails.
pub(crate) fn private_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    std::fs::set_permissions(path, Permissions::from_mode(0o700))?;
    sync(path.parent().unwrap_or(path))
}

/// Waits until the names in a directory are on disk.
///
/// # Errors
/// When the disk fails.
pub(crate) fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}
