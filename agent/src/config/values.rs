//! Values that are checked while they are read: what could become an option, a second argument or a way out of a
//! directory is no value.

use std::path::{Component, PathBuf};
use std::time::Duration;

use jiff::SignedDuration;
use serde::Deserialize;

/// Declares a value read from (and, in tests, written to) the given type.
macro_rules! value {
    ($(#[$doc:meta])* $name:ident($inner:ty) from $text:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
        #[cfg_attr(test, derive(serde::Serialize))]
        #[serde(try_from = $text)]
        #[cfg_attr(test, serde(into = $text))]
        pub(super) struct $name(pub(super) $inner);
    };
}

value! {
    /// Name of a Node, or empty.
    Name(String) from "String"
}

value! {
    /// Name of a namespace.
    Namespace(String) from "String"
}

value! {
    /// A path that starts at the root.
    AbsolutePath(PathBuf) from "String"
}

value! {
    /// A path that starts at the root, or empty for none.
    OptionalPath(Option<PathBuf>) from "String"
}

value! {
    /// Files apt would read sources from; at least one.
    Sources(Vec<PathBuf>) from "Vec<String>"
}

value! {
    /// A time longer than none, such as `1h30m`.
    Span(Duration) from "String"
}

value! {
    /// A time, `0s` for never.
    Patience(Duration) from "String"
}

value! {
    /// A label selector as kubectl takes it, or empty for everything.
    LabelSelector(String) from "String"
}

value! {
    /// Seconds of grace; none for each pod's own.
    Grace(Option<u32>) from "i64"
}

value! {
    /// A severity.
    Level(tracing::Level) from "String"
}

/// Whether this can be one part of a DNS name (RFC 1123).
fn is_label(text: &str) -> bool {
    let inside = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    !text.is_empty()
        && text.len() <= 63
        && text.bytes().all(inside)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

impl TryFrom<String> for Name {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text.is_empty() || (text.len() <= 253 && text.split('.').all(is_label)) {
            Ok(Self(text))
        } else {
            Err(format!("{text:?} is not the name of a Node: lower-case letters, digits, '-' and '.'"))
        }
    }
}

impl TryFrom<String> for Namespace {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if is_label(&text) {
            Ok(Self(text))
        } else {
            Err(format!("{text:?} is not the name of a namespace: lower-case letters, digits and '-'"))
        }
    }
}

fn absolute(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    if !path.is_absolute() {
        Err(format!("{text:?} is not a path that starts with /"))
    } else if text.contains(char::is_control) {
        Err(format!("{text:?} holds a control character"))
    } else if path.components().any(|part| part == Component::ParentDir) {
        Err(format!("{text:?} leads through .., write where it leads"))
    } else {
        Ok(path)
    }
}

impl TryFrom<String> for AbsolutePath {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        absolute(&text).map(Self)
    }
}

impl TryFrom<String> for OptionalPath {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text.is_empty() { Ok(Self(None)) } else { absolute(&text).map(Some).map(Self) }
    }
}

impl TryFrom<Vec<String>> for Sources {
    type Error = String;

    fn try_from(texts: Vec<String>) -> Result<Self, String> {
        let paths = texts.iter().map(|text| absolute(text)).collect::<Result<Vec<_>, _>>()?;
        let by_apt = |path: &PathBuf| path.extension().is_some_and(|end| end == "list" || end == "sources");
        if paths.is_empty() {
            Err("at least one file must be named, or there is nothing to upgrade from".to_owned())
        } else if let Some(path) = paths.iter().find(|path| !by_apt(path)) {
            let path = path.display();
            Err(format!("{path} ends neither in .list nor in .sources, so apt does not read it"))
        } else {
            Ok(Self(paths))
        }
    }
}

/// A time of whole seconds.
fn seconds(text: &str) -> Result<Duration, String> {
    let wrong = |why: String| format!("{text:?} is not a time such as 90s, 5m or 1h30m: {why}");
    let span: SignedDuration = text.parse().map_err(|error: jiff::Error| wrong(error.to_string()))?;
    match Duration::try_from(span) {
        Ok(span) if span.subsec_nanos() != 0 => Err(wrong("it must be whole seconds".to_owned())),
        Ok(span) => Ok(span),
        Err(_) => Err(wrong("it must not be less than none".to_owned())),
    }
}

impl TryFrom<String> for Span {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match seconds(&text)? {
            span if span.is_zero() => Err(format!("{text:?} must be longer than none")),
            span => Ok(Self(span)),
        }
    }
}

impl TryFrom<String> for Patience {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        seconds(&text).map(Self)
    }
}

impl TryFrom<String> for LabelSelector {
    type Error = String;

    /// What it means is for the API server to say; here nothing is let through that is no selector at all.
    fn try_from(text: String) -> Result<Self, String> {
        let known = |c: char| c.is_ascii_alphanumeric() || "-_./=!, ()".contains(c);
        if text.len() <= 1024 && text.chars().all(known) && text.trim() == text {
            Ok(Self(text))
        } else {
            Err(format!("{text:?} is not a label selector such as app=web,tier!=cache"))
        }
    }
}

impl TryFrom<i64> for Grace {
    type Error = String;

    fn try_from(seconds: i64) -> Result<Self, String> {
        match u32::try_from(seconds) {
            Ok(0) => Err("0 would take pods out of the API while their containers may still run: \
                          write 1 for the shortest grace, -1 for each pod's own"
                .to_owned()),
            Ok(seconds) => Ok(Self(Some(seconds))),
            Err(_) if seconds == -1 => Ok(Self(None)),
            Err(_) => Err(format!("{seconds} is no number of seconds; -1 stands for each pod's own grace")),
        }
    }
}

impl TryFrom<String> for Level {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let level = match text.as_str() {
            "error" => tracing::Level::ERROR,
            "warn" => tracing::Level::WARN,
            "info" => tracing::Level::INFO,
            "debug" => tracing::Level::DEBUG,
            "trace" => tracing::Level::TRACE,
            _ => return Err(format!("{text:?} is none of error, warn, info, debug, trace")),
        };
        Ok(Self(level))
    }
}

/// The way back to text, for the test that keeps the example equal to the defaults.
#[cfg(test)]
mod back {
    use super::{
        AbsolutePath, Duration, Grace, LabelSelector, Level, Name, Namespace, OptionalPath, PathBuf,
        Patience, Sources, Span,
    };

    fn text(path: PathBuf) -> String {
        path.into_os_string().into_string().unwrap()
    }

    impl From<Name> for String {
        fn from(name: Name) -> Self {
            name.0
        }
    }

    impl From<Namespace> for String {
        fn from(namespace: Namespace) -> Self {
            namespace.0
        }
    }

    impl From<AbsolutePath> for String {
        fn from(path: AbsolutePath) -> Self {
            text(path.0)
        }
    }

    impl From<OptionalPath> for String {
        fn from(path: OptionalPath) -> Self {
            path.0.map(text).unwrap_or_default()
        }
    }

    impl From<Sources> for Vec<String> {
        fn from(sources: Sources) -> Self {
            sources.0.into_iter().map(text).collect()
        }
    }

    fn span(span: Duration) -> String {
        let span: jiff::SignedDuration = Duration::try_into(span).unwrap();
        format!("{span:#}")
    }

    impl From<Span> for String {
        fn from(time: Span) -> Self {
            span(time.0)
        }
    }

    impl From<Patience> for String {
        fn from(time: Patience) -> Self {
            span(time.0)
        }
    }

    impl From<LabelSelector> for String {
        fn from(selector: LabelSelector) -> Self {
            selector.0
        }
    }

    impl From<Grace> for i64 {
        fn from(grace: Grace) -> Self {
            grace.0.map_or(-1, i64::from)
        }
    }

    impl From<Level> for String {
        fn from(level: Level) -> Self {
            level.0.to_string().to_lowercase()
        }
    }
}
