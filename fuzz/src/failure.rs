//! An input that the agent does not bear: told once for each way of failing, small, with the way to see it again.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::shape::shape;
use crate::shrink::shrunk;
use crate::targets::{Target, judged};
use upgrade_mutants::digest;

/// So many smaller inputs are tried.
const TRIES: usize = 3000;
/// An input that is longer than this is told by its file alone.
const SHOWN: usize = 2000;

/// Ways of failing that were told.
#[derive(Debug, Default)]
pub(crate) struct Failures(BTreeSet<String>);

impl Failures {
    /// How many ways there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Tells a failure, unless one like it was told.
    pub(crate) fn tell(
        &mut self,
        target: &Target,
        input: &[u8],
        why: &str,
        from: &str,
        work: &Path,
    ) -> Result<()> {
        let kind = shape(why);
        if !self.0.insert(format!("{} {kind}", target.name)) {
            return Ok(());
        }
        let same = |bytes: &[u8]| judged(target, bytes).is_err_and(|why| shape(&why) == kind);
        let small = shrunk(target.form, input, TRIES, same);
        let why = judged(target, &small).err().unwrap_or_else(|| why.to_owned());
        fs::create_dir_all(work).with_context(|| work.display().to_string())?;
        let hash: String = digest([small.as_slice()]).chars().take(10).collect();
        let file = work.join(format!("{}-{hash}", target.name));
        fs::write(&file, &small).with_context(|| file.display().to_string())?;
        println!("failed: {}: {why}", target.name);
        if small.len() <= SHOWN {
            println!("  input: \"{}\"", small.escape_ascii());
        } else {
            println!("  input: {} bytes", small.len());
        }
        println!("  found by {from}; again: make fuzz TARGET={} INPUT={}", target.name, file.display());
        Ok(())
    }
}
