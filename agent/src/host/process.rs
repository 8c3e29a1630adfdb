//! Children of the agent itself: only what preflight runs, which changes nothing on the host. Whatever changes the
//! host runs in a unit of its own (`units`).

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use upgrade_core::judge::checks::Output;

use super::fault::{Doing, Failed};

/// The whole environment of every tool, so that nothing depends on how the agent was started. dpkg insists on a
/// PATH that holds the sbin directories; needrestart would restart kubelet or containerd behind our back.
pub(super) const ENVIRONMENT: [(&str, &str); 4] = [
    ("DEBIAN_FRONTEND", "noninteractive"),
    ("NEEDRESTART_SUSPEND", "1"),
    ("LC_ALL", "C.UTF-8"),
    ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
];

/// Runs a program to its end with closed input and captured output; it is killed at the deadline, or when this
/// future is dropped.
///
/// # Errors
/// If it cannot be started, or did not end in time. An exit status other than 0 is no error here.
pub(super) async fn run<A: AsRef<OsStr>>(
    program: &Path,
    args: &[A],
    deadline: Duration,
) -> Result<Output, Failed> {
    run_with(program, args, &[], deadline).await
}

/// The same with more of an environment than [`ENVIRONMENT`].
///
/// # Errors
/// As of [`run`].
pub(super) async fn run_with<A: AsRef<OsStr>>(
    program: &Path,
    args: &[A],
    more: &[(&str, &Path)],
    deadline: Duration,
) -> Result<Output, Failed> {
    let doing = || format!("run {}", Invocation(program, args));
    let child = tokio::process::Command::new(program)
        .args(args)
        .env_clear()
        .envs(ENVIRONMENT)
        .envs(more.iter().copied())
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .doing(doing)?;
    let ended = tokio::time::timeout(deadline, child.wait_with_output());
    let Ok(output) = ended.await else {
        return Err(Failed::new(format!("{} did not end within {deadline:?}", Invocation(program, args))));
    };
    let output = output.doing(doing)?;
    Ok(Output {
        status: status(output.status),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

fn status(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default())
}

/// A program and its arguments, as a person would type them.
struct Invocation<'a, A>(&'a Path, &'a [A]);

impl<A: AsRef<OsStr>> fmt::Display for Invocation<'_, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.display())?;
        self.1.iter().try_for_each(|arg| write!(f, " {}", arg.as_ref().to_string_lossy()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    async fn sh(script: &str, deadline: Duration) -> Result<Output, Failed> {
        run(Path::new("/bin/sh"), &["-c", script], deadline).await
    }

    #[tokio::test]
    async fn a_child_gets_the_fixed_environment_and_no_input() {
        let output = sh("read line; echo \"$? $DEBIAN_FRONTEND $HOME$CARGO_HOME\"", SOON).await.unwrap();
        assert_eq!(output.stdout, "1 noninteractive \n");
    }

    #[tokio::test]
    async fn a_status_is_told_and_a_signal_counts_as_128_and_its_number() {
        assert_eq!(sh("echo why >&2; exit 100", SOON).await.unwrap().status, 100);
        assert_eq!(sh("kill -9 $$", SOON).await.unwrap().status, 137);
    }

    #[tokio::test]
    async fn a_child_that_hangs_is_killed_at_its_deadline() {
        let failed = sh("sleep 60", Duration::from_millis(50)).await.unwrap_err();
        assert!(failed.to_string().contains("did not end within 50ms"), "{failed}");
    }
}
