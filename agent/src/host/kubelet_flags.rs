//! Whether a kubelet accepts this node's flags, found out by running it with them and `--version`: it parses its
//! command line before it prints its version, and touches nothing.
//!
//! The flags come from where the kubeadm package's drop-in (10-kubeadm.conf) takes them, and from the command line
//! of the kubelet that runs, which also shows what an administrator's own drop-in adds.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use upgrade_core::act::Fault;
use upgrade_core::judge::checks::Output;
use upgrade_core::judge::checks::kubelet_flags::{EXTRA_FLAGS, Ending, Flags, KUBEADM_FLAGS, Trial};

use super::Settings;
use super::fault::{Doing, Failed};
use super::process;

/// kubelet prints its version at once.
const LIMIT: Duration = Duration::from_secs(30);

/// Reads this node's flags; `pid` is the main process of kubelet's unit.
pub(super) fn read(settings: &Settings, pid: Option<u32>) -> Result<Flags, Failed> {
    let file = |path: &str, key: &str| -> Result<Vec<String>, Failed> {
        let text = text(&settings.on_host(path))?;
        Ok(variable(&text, key).map(|value| words(&value)).unwrap_or_default())
    };
    let running = match pid {
        Some(pid) => text(&settings.on_host(format!("/proc/{pid}/cmdline")))?,
        None => String::new(),
    };
    Ok(Flags {
        kubeadm: file(KUBEADM_FLAGS, "KUBELET_KUBEADM_ARGS")?,
        extra: file(EXTRA_FLAGS, "KUBELET_EXTRA_ARGS")?,
        running: running.split_terminator('\0').skip(1).map(str::to_owned).collect(),
    })
}

/// A file's text; empty if it does not exist.
fn text(path: &Path) -> Result<String, Failed> {
    match fs::read(path) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(error).doing(|| format!("read {}", path.display())),
    }
}

/// The last assignment of `key` in an environment file (systemd.exec(5), `EnvironmentFile=`).
fn variable(text: &str, key: &str) -> Option<String> {
    // systemd joins lines that end in a backslash.
    let joined = text.replace("\\\n", "");
    joined
        .lines()
        .rev()
        .map(str::trim)
        .filter(|line| !line.starts_with(['#', ';']))
        .filter_map(|line| line.split_once('='))
        .find(|(name, _)| name.trim() == key)
        .map(|(_, value)| {
            let value = value.trim();
            ['"', '\'']
                .into_iter()
                .find_map(|quote| value.strip_prefix(quote)?.strip_suffix(quote))
                .unwrap_or(value)
                .to_owned()
        })
}

/// Splits as systemd splits `$VARIABLE` on a command line: at white space, quotes keeping words together.
fn words(value: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for c in value.chars() {
        match quote {
            Some(open) if c == open => quote = None,
            None if c == '"' || c == '\'' => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            None if c.is_whitespace() => words.extend(word.take()),
            _ => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

/// Runs `kubelet` with `flags`, leaving out what it refuses until it accepts the rest.
pub(super) async fn try_out(kubelet: &Path, flags: &Flags) -> Trial {
    let mut args = flags.all();
    let mut gone = Vec::new();
    // Each round takes at least one argument away.
    let ending = loop {
        let mut tried = args.clone();
        tried.push("--version".to_owned());
        let output = match process::run(kubelet, &tried, LIMIT).await {
            Ok(output) => output,
            Err(failed) => break Ending::NotRun(Fault::from(failed).message),
        };
        if output.succeeded() {
            break Ending::Accepted;
        }
        let Some(flag) = refused(&output).filter(|flag| take_out(&mut args, flag)) else {
            break Ending::Failed { status: output.status, words: output.last_words() };
        };
        gone.push(flag);
    };
    Trial { refused: gone, ending }
}

/// The flag a kubelet (pflag) complains about.
fn refused(output: &Output) -> Option<String> {
    let said = format!("{}\n{}", output.stderr, output.stdout);
    let complaint = said.lines().find(|line| {
        ["unknown flag: --", "flag needs an argument: --", "invalid argument "]
            .iter()
            .any(|sign| line.contains(sign))
    })?;
    // `invalid argument "x" for "-v, --v" flag`: the value may look like a flag, so the last one counts there.
    let start = match complaint.find("\" for \"") {
        Some(at) => at + complaint.get(at..)?.find("--")?,
        None => complaint.find(": --")? + 2,
    };
    let flag: String =
        complaint.get(start..)?.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
    Some(flag)
}

/// Takes a flag out, with its value where that is an argument of its own; false if it is not there.
fn take_out(args: &mut Vec<String>, flag: &str) -> bool {
    let before = args.len();
    while let Some(at) = args.iter().position(|arg| arg.split('=').next() == Some(flag)) {
        let alone = args.remove(at) == flag;
        if alone && args.get(at).is_some_and(|value| !value.starts_with('-')) {
            args.remove(at);
        }
    }
    args.len() < before
}

#[cfg(test)]
#[path = "kubelet_flags/tests.rs"]
mod tests;
