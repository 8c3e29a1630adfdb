//! Running external programs, with errors that say what was run and what it answered.

use std::ffi::OsStr;
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail};

/// A command by argv, without a shell and without input.
pub fn command<S: AsRef<OsStr>>(program: &str, arguments: &[S]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null());
    command
}

/// Runs a program to its end and returns its standard output.
///
/// # Errors
/// If it cannot be started, or ends unsuccessfully; the error carries the end of what it printed.
pub fn run<S: AsRef<OsStr>>(program: &str, arguments: &[S]) -> Result<String> {
    run_command(&mut command(program, arguments))
}

/// The same for a prepared [`Command`].
///
/// # Errors
/// As [`run`].
pub fn run_command(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| {
        format!("cannot run `{}`; `lab build` names the missing host tools", describe(command))
    })?;
    checked(&output, &describe(command))
}

/// Turns an unsuccessful end into an error that quotes the program.
///
/// # Errors
/// If `output` is of a program that failed.
pub fn checked(output: &Output, what: &str) -> Result<String> {
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        bail!("`{what}` failed ({}):\n{}{}", output.status, tail(&stdout), tail(&stderr));
    }
    Ok(stdout)
}

/// Programs such as kubeadm print pages; the cause stands at the end.
fn tail(text: &str) -> String {
    const LINES: usize = 25;
    let lines: Vec<&str> = text.lines().collect();
    let start = lines.len().saturating_sub(LINES);
    lines[start..].iter().flat_map(|line| ["    ", line, "\n"]).collect()
}

fn describe(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|argument| argument.to_string_lossy().into_owned()));
    let text = words.join(" ");
    // A script handed to `sh -c` would bury the message.
    text.lines().next().unwrap_or_default().to_owned()
}
