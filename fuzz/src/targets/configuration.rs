//! The text of `config.toml`. There is no folder of drop-ins: what changes it is one file.

use std::fs;
use std::path::{Component, Path};
use std::time::Duration;

use node_upgrade_agent::config::{ConfigError, Settings};
use upgrade_core::decide;

use super::{ensure, is_clear, journals, world};
use crate::shape::shape_without;

/// Sections, keys and what they take.
pub(super) const WORDS: [&str; 46] = [
    "[node]",
    "[cluster]",
    "[coordination]",
    "[packages]",
    "[kubeadm]",
    "[drain]",
    "[verify]",
    "[state]",
    "[log]",
    "[[drain]]",
    "name",
    "kubeconfig",
    "namespace",
    "sources",
    "config",
    "enabled",
    "force",
    "delete-emptydir-data",
    "pod-selector",
    "grace-period",
    "timeout",
    "no-progress-timeout",
    "skip-wait-for-delete-timeout",
    "soak",
    "directory",
    "level",
    "/etc/x",
    "/etc/../x",
    "/etc/x.list",
    "/etc/x.sources",
    "worker-1",
    "-o",
    "a.b",
    "app=web",
    "0s",
    "1s",
    "90s",
    "1h30m",
    "1500ms",
    "-1h",
    "9223372036854775807s",
    "2562047788015215h",
    "info",
    "trace",
    "drain.timeout",
    "\"drain\".\"force\"",
];

/// What loading comes to.
pub(super) fn judge(input: &[u8]) -> Result<String, String> {
    let folder = journals::folder()?;
    let path = folder.path().join("config.toml");
    fs::write(&path, input).map_err(|error| error.to_string())?;
    let text = std::str::from_utf8(input);
    // Which host this is makes no difference.
    let read = match text {
        Ok(text) => Settings::read(&path, text, || Ok("worker-1\n".to_owned())),
        Err(_) => Settings::load(Some(&path)),
    };
    match read {
        Ok(settings) => {
            ensure(text.is_ok(), || "what is no text is read".to_owned())?;
            is_bounded(&settings).map(|()| "loads".to_owned())
        }
        Err(error) => told(&error, &path, &String::from_utf8_lossy(input)),
    }
}

/// An error names the file, and the line and what stands there, or the keys that do not go together.
fn told(error: &ConfigError, path: &Path, text: &str) -> Result<String, String> {
    let message = error.to_string();
    is_clear(&message)?;
    let name = path.display().to_string();
    ensure(message.contains(&name), || format!("the file is not named: {message}"))?;
    let values = match error {
        ConfigError::Value { line, text: stands, .. } => {
            let lines: Vec<&str> = text.split('\n').collect();
            ensure(message.starts_with(&format!("{name}:{line}: ")), || format!("no line: {message}"))?;
            let named = line.checked_sub(1).and_then(|at| lines.get(at));
            let named = named.ok_or_else(|| format!("there is no line {line} of {}", lines.len()))?;
            let head: String = named.trim().chars().take_while(|c| !c.is_control()).take(16).collect();
            ensure(stands.starts_with(head.trim()), || {
                format!("in line {line} stands {named:?}, not {stands:?}")
            })?;
            stands.clone()
        }
        ConfigError::Together { .. } => {
            ensure(message.contains("[verify] soak"), || format!("no keys: {message}"))?;
            String::new()
        }
        ConfigError::Read { .. } | ConfigError::NoHostName { .. } => {
            return Err(format!("no line: {message}"));
        }
    };
    let prefix = message.split_once(": ").map_or(message.as_str(), |(_, rest)| rest);
    Ok(shape_without(prefix, [values.as_str()]))
}

/// What loads keeps within what is documented, and the rules bear it.
fn is_bounded(settings: &Settings) -> Result<(), String> {
    let label = |text: &str| {
        (1..=63).contains(&text.len())
            && !text.starts_with('-')
            && !text.ends_with('-')
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    let node = &settings.node;
    ensure(node.len() <= 253 && node.split('.').all(label), || format!("a node named {node:?}"))?;
    let namespace = &settings.coordination.namespace;
    ensure(label(namespace), || format!("a namespace named {namespace:?}"))?;
    let mut paths = vec![&settings.cluster.kubeconfig, &settings.state_directory];
    paths.extend(settings.package_sources.iter());
    paths.extend(settings.coordination.kubeconfig.iter().chain(&settings.kubeadm_config));
    let plain = |path: &Path| {
        path.is_absolute()
            && !path.components().any(|part| part == Component::ParentDir)
            && path.to_str().is_some_and(|text| !text.contains(char::is_control))
    };
    let bad = paths.iter().find(|path| !plain(path));
    ensure(bad.is_none(), || format!("a path {bad:?}"))?;
    ensure(!settings.package_sources.is_empty(), || "no sources".to_owned())?;
    let (verify, drain) = (&settings.verify, &settings.drain);
    ensure(verify.soak < verify.timeout && !verify.soak.is_zero(), || format!("{verify:?}"))?;
    ensure(drain.timeout > Duration::ZERO && drain.grace_period != Some(0), || format!("{drain:?}"))?;
    let rules = decide::Settings {
        node: node.clone(),
        drain: drain.clone(),
        soak: verify.soak,
        verify_timeout: verify.timeout,
    };
    let seen = world::ordinary(world::node(&world::asked(), false), None);
    world::followed(&rules, &upgrade_core::memory::Memory::default(), &seen).map(drop)
}
