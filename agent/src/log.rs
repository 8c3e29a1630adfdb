//! Where log lines go: with their fields to the journal when systemd connects stderr to it, else readable to stderr.

use std::io::IsTerminal;
use std::str::FromStr;

use nix::sys::stat::fstat;
use tracing::Level;
use tracing_journald::{Priority, PriorityMappings};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{Layer, fmt, registry};

/// Overrides the configured level, in the directives of `tracing-subscriber`, for people who search for a fault.
const FILTER_VARIABLE: &str = "RUST_LOG";
/// Set by systemd to device and inode of the stream it connected to the journal (systemd.exec(5)).
const STREAM_VARIABLE: &str = "JOURNAL_STREAM";

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The environment's filter cannot be read.
    #[error("read the log filter {text:?} from {FILTER_VARIABLE}")]
    Filter {
        /// What stands there.
        text: String,
        /// What is wrong with it.
        source: <Targets as FromStr>::Err,
    },
    /// It was set up before.
    #[error("set up the log")]
    SetUp(#[from] TryInitError),
}

/// Sets up the log of this process, once.
///
/// # Errors
/// When the environment holds a filter that cannot be read, or the log was set up before.
pub fn init(level: Level) -> Result<(), LogError> {
    let filter = filter(level, std::env::var(FILTER_VARIABLE).ok())?;
    let journal = std::env::var(STREAM_VARIABLE).is_ok_and(|stream| is_stderr(&stream));
    let layer = match journal.then(tracing_journald::layer) {
        Some(Ok(journal)) => journal.with_priority_mappings(priorities()).boxed(),
        // Lines on stderr reach the journal too, only without fields.
        Some(Err(_)) => fmt::layer().with_writer(std::io::stderr).with_ansi(false).without_time().boxed(),
        None => {
            let colours = std::io::stderr().is_terminal();
            fmt::layer().with_writer(std::io::stderr).with_ansi(colours).boxed()
        }
    };
    Ok(registry().with(layer.with_filter(filter)).try_init()?)
}

/// What is logged: our own lines from this level on and the libraries' warnings, or what the environment says.
fn filter(level: Level, environment: Option<String>) -> Result<Targets, LogError> {
    let text = environment.filter(|text| !text.is_empty()).unwrap_or_else(|| {
        let libraries = level.min(Level::WARN);
        // kube logs each failed request as an error of its own; our lines say it with what was attempted.
        format!("{libraries},kube_client=off,node_upgrade_agent={level}")
    });
    text.parse::<Targets>().map_err(|source| LogError::Filter { text, source })
}

/// Whether this `device:inode` is what stderr leads to: a child whose stderr was redirected inherits the variable too.
fn is_stderr(stream: &str) -> bool {
    fstat(std::io::stderr()).is_ok_and(|stderr| stream == format!("{}:{}", stderr.st_dev, stderr.st_ino))
}

/// syslog's own words, where the journal layer would make every level one more severe.
fn priorities() -> PriorityMappings {
    PriorityMappings {
        error: Priority::Error,
        warn: Priority::Warning,
        info: Priority::Informational,
        debug: Priority::Debug,
        trace: Priority::Debug,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_level_is_that_of_our_own_lines_and_libraries_only_warn() {
        let words = |level| filter(level, None).unwrap().to_string();
        let debug = words(Level::DEBUG);
        assert!(debug.contains("node_upgrade_agent=debug") && debug.contains("kube_client=off"), "{debug}");
        assert!(debug.split(',').any(|word| word == "warn"), "{debug}");
        assert!(words(Level::ERROR).split(',').any(|word| word == "error"));
    }

    #[test]
    fn the_environment_goes_before_the_settings_and_an_empty_one_does_not() {
        let with = |text: &str| filter(Level::INFO, Some(text.to_owned()));
        assert_eq!(with("kube=trace").unwrap().to_string(), "kube=trace");
        assert!(with("").unwrap().to_string().contains("node_upgrade_agent=info"));
        let error = with("kube=loud").unwrap_err();
        assert!(error.to_string().contains("\"kube=loud\" from RUST_LOG"), "{error}");
    }

    #[test]
    fn only_the_stream_systemd_connected_counts_as_the_journal() {
        let stderr = fstat(std::io::stderr()).unwrap();
        assert!(is_stderr(&format!("{}:{}", stderr.st_dev, stderr.st_ino)));
        for other in ["", "0:0", "1", "x:y"] {
            assert!(!is_stderr(other), "{other}");
        }
        assert!(!is_stderr(&format!("{}:{}", stderr.st_dev, stderr.st_ino + 1)));
    }
}
