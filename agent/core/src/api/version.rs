//! Kubernetes versions, the versions of their Debian packages, and how far apart they may be.
//!
//! The distances are those of the Kubernetes version skew policy
//! (<https://kubernetes.io/releases/version-skew-policy/>): a kubelet is never newer than any API server and at
//! most three minors older; kubeadm takes a control plane up by one minor at a time.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How many minors a kubelet may be older than the API servers it talks to.
pub const KUBELET_MAX_MINORS_BEHIND: u32 = 3;

/// A released Kubernetes version, such as `v1.36.2`.
///
/// Pre-releases are not accepted: the package repositories this agent serves carry releases only.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Version {
    /// `1` in `v1.36.2`.
    pub major: u32,
    /// `36` in `v1.36.2`.
    pub minor: u32,
    /// `2` in `v1.36.2`.
    pub patch: u32,
}

/// Why a text is not a version; says what is expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotAVersion(String);

impl fmt::Display for NotAVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is not a released Kubernetes version such as v1.36.2", self.0)
    }
}

impl std::error::Error for NotAVersion {}

impl Version {
    /// Builds a version from its three numbers.
    pub const fn new(major: u32, minor: u32, patch: u32) -> Self {
        Self { major, minor, patch }
    }

    /// How many minors `self` is ahead of `other`; zero when it is not.
    pub fn minors_ahead_of(self, other: Self) -> u32 {
        if self.major == other.major { self.minor.saturating_sub(other.minor) } else { u32::MAX }
    }
}

impl FromStr for Version {
    type Err = NotAVersion;

    fn from_str(text: &str) -> Result<Self, NotAVersion> {
        let wrong = || NotAVersion(text.chars().take(64).collect());
        let mut numbers = text.strip_prefix('v').unwrap_or(text).split('.');
        let mut next = || numbers.next().and_then(number).ok_or_else(wrong);
        let version = Self { major: next()?, minor: next()?, patch: next()? };
        if numbers.next().is_some() { Err(wrong()) } else { Ok(version) }
    }
}

/// A decimal without sign or leading zeros, as semantic versions want it.
fn number(text: &str) -> Option<u32> {
    let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let canonical = text == "0" || !text.starts_with('0');
    (plain && canonical).then(|| text.parse().ok()).flatten()
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}.{}.{}", self.major, self.minor, self.patch)
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl TryFrom<String> for Version {
    type Error = NotAVersion;

    fn try_from(text: String) -> Result<Self, NotAVersion> {
        text.parse()
    }
}

impl From<Version> for String {
    fn from(version: Version) -> Self {
        version.to_string()
    }
}

/// The version of a Debian package, such as `1.36.2-1.1`.
///
/// Only made from text that can stand as one argument of apt-get: it starts with a digit and holds nothing but
/// the characters Debian policy 5.6.12 allows, so it can become neither an option nor a path.
/// Ordered as dpkg orders them (deb-version(7)): epochs first, numbers as numbers, `~` before everything.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PackageVersion(String);

impl Ord for PackageVersion {
    fn cmp(&self, other: &Self) -> Ordering {
        // Versions that dpkg takes for the same may be written differently.
        deb_version::compare_versions(&self.0, &other.0).then_with(|| self.0.cmp(&other.0))
    }
}

impl PartialOrd for PackageVersion {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Why a text is not the version of a Debian package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotAPackageVersion(String);

impl fmt::Display for NotAPackageVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is not the version of a Debian package", self.0)
    }
}

impl std::error::Error for NotAPackageVersion {}

impl PackageVersion {
    /// The text as dpkg knows it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The Kubernetes version inside it: `v1.36.2` of `1.36.2-1.1`; none for packages that are numbered otherwise.
    pub fn kubernetes(&self) -> Option<Version> {
        let upstream = self.0.rsplit_once('-').map_or(self.0.as_str(), |(upstream, _revision)| upstream);
        upstream.parse().ok()
    }
}

impl FromStr for PackageVersion {
    type Err = NotAPackageVersion;

    fn from_str(text: &str) -> Result<Self, NotAPackageVersion> {
        let fits = text.len() <= 128
            && text.starts_with(|c: char| c.is_ascii_digit())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b".+~:-".contains(&b));
        if fits {
            Ok(Self(text.to_owned()))
        } else {
            Err(NotAPackageVersion(text.chars().take(64).collect()))
        }
    }
}

impl fmt::Display for PackageVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for PackageVersion {
    type Error = NotAPackageVersion;

    fn try_from(text: String) -> Result<Self, NotAPackageVersion> {
        text.parse()
    }
}

impl From<PackageVersion> for String {
    fn from(version: PackageVersion) -> Self {
        version.0
    }
}

/// Why a target cannot be reached from where a node stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unreachable {
    /// The target is older than what runs; Kubernetes does not support going back.
    Downgrade,
    /// The step takes more minors than this kind of node can take at once.
    SkipsMinors {
        /// How many it may take.
        allowed: u32,
    },
}

impl fmt::Display for Unreachable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Downgrade => {
                f.write_str("it is older than the running version, and Kubernetes cannot go back")
            }
            Self::SkipsMinors { allowed: 1 } => f.write_str("a control plane goes up one minor at a time"),
            Self::SkipsMinors { allowed } => write!(f, "a worker goes up at most {allowed} minors at a time"),
        }
    }
}

/// Whether one plan leads from `running` to `target` on this kind of node.
pub fn reachable(running: Version, target: Version, control_plane: bool) -> Result<(), Unreachable> {
    let allowed = if control_plane { 1 } else { KUBELET_MAX_MINORS_BEHIND };
    if target < running {
        Err(Unreachable::Downgrade)
    } else if target.minors_ahead_of(running) > allowed {
        Err(Unreachable::SkipsMinors { allowed })
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v(text: &str) -> Version {
        text.parse().unwrap()
    }

    #[test]
    fn a_version_reads_with_and_without_its_letter() {
        assert_eq!(v("v1.36.2"), v("1.36.2"));
        assert_eq!(v("1.36.2").to_string(), "v1.36.2");
    }

    #[test]
    fn what_is_not_a_release_is_not_a_version() {
        for text in [
            "",
            "v",
            "1",
            "1.36",
            "1.36.2.1",
            "v1.36.2-rc.1",
            "1.036.2",
            "+1.36.2",
            "1. 36.2",
            "latest",
            "vv1.2.3",
        ] {
            assert!(text.parse::<Version>().is_err(), "{text}");
        }
        assert!("99999999999.1.1".parse::<Version>().is_err());
    }

    #[test]
    fn versions_compare_by_number() {
        assert!(v("1.36.10") > v("1.36.9") && v("1.36.0") > v("1.35.99") && v("2.0.0") > v("1.99.0"));
    }

    #[test]
    fn a_package_version_cannot_become_an_option_or_a_path() {
        for text in ["-o", "--help", "", "1/../2", "1.36.2 -y", "1=2", "1\n2", "~1", "v1"] {
            assert!(text.parse::<PackageVersion>().is_err(), "{text:?}");
        }
        let version: PackageVersion = "1.36.2-1.1".parse().unwrap();
        assert_eq!(version.kubernetes(), Some(v("1.36.2")));
        assert_eq!("1:1.7.1-1".parse::<PackageVersion>().unwrap().kubernetes(), None);
    }

    #[test]
    fn a27_package_versions_are_ordered_as_dpkg_orders_them() {
        // Each older than the one after it: `dpkg --compare-versions` says so.
        let ordered = [
            "1.36.3~rc1-1.1",
            "1.36.3-1.1",
            "1.36.3-1.9",
            "1.36.3-1.10",
            "1.36.3+b1-1.1",
            "1.36.9-1.1",
            "1.36.10-1.1",
            "1:1.36.2-1.1",
        ];
        let ordered = ordered.map(|text| text.parse::<PackageVersion>().unwrap());
        for pair in ordered.windows(2) {
            assert!(pair[0] < pair[1], "as dpkg orders them, {} is older than {}", pair[0], pair[1]);
        }
    }

    #[test]
    fn a_control_plane_never_skips_a_minor_and_a_worker_at_most_three() {
        let cases = [
            ("1.36.2", "1.36.3", true, Ok(())),
            ("1.35.4", "1.36.3", true, Ok(())),
            ("1.34.4", "1.36.3", true, Err(Unreachable::SkipsMinors { allowed: 1 })),
            ("1.33.0", "1.36.3", false, Ok(())),
            ("1.32.9", "1.36.3", false, Err(Unreachable::SkipsMinors { allowed: 3 })),
            ("1.36.3", "1.36.2", false, Err(Unreachable::Downgrade)),
            ("1.36.3", "2.0.0", true, Err(Unreachable::SkipsMinors { allowed: 1 })),
        ];
        for (from, to, control_plane, expected) in cases {
            assert_eq!(reachable(v(from), v(to), control_plane), expected, "{from} to {to}");
        }
    }
}
