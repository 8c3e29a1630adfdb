//! What the figures were measured on.

use std::fs;

use anyhow::{Context, Result};

use lab::process::run;

/// One line: processors, memory, kernel.
///
/// # Errors
/// If /proc cannot be read.
pub(super) fn facts() -> Result<String> {
    let processors = fs::read_to_string("/proc/cpuinfo").context("cannot read /proc/cpuinfo")?;
    let model = value(&processors, "model name").unwrap_or("unknown processor");
    let count = processors.lines().filter(|line| line.starts_with("processor")).count();
    let memory = fs::read_to_string("/proc/meminfo").context("cannot read /proc/meminfo")?;
    let memory = value(&memory, "MemTotal").unwrap_or("unknown memory");
    let kernel = run("uname", &["-r"])?;
    Ok(format!("Machine: {count} × {model}, memory {memory}, Linux {}", kernel.trim()))
}

/// The value of the first line `key : value`.
pub(super) fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let mut pairs = text.lines().filter_map(|line| line.split_once(':'));
    pairs.find(|(name, _)| name.trim() == key).map(|(_, value)| value.trim())
}
