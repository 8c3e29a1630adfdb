//! Whether there are packages to install, and what apt makes of them.

use std::collections::BTreeMap;

use super::Output;
use crate::api::{PackageVersion, Version};
use crate::memory::Packages;
use crate::observed::{Outcome, PackageSeen};

/// What an upgrade may change; the last two come with the first.
const EXPECTED: [&str; 5] = ["kubeadm", "kubelet", "kubectl", "cri-tools", "kubernetes-cni"];

/// Signs that fetching will not go right until a person changes something.
const LASTING: [&str; 7] = [
    "NO_PUBKEY",
    "EXPKEYSIG",
    "REVKEYSIG",
    "Malformed entry",
    "Type '",
    "Unable to locate package",
    "was not found",
];

/// What apt says of a repository that lacks something, and also of one that it could not reach: lasting only where nothing shows that.
const LACKING: [&str; 3] = ["is not signed", "does not have a Release file", "no longer has a Release file"];

/// Signs in one of apt's lines that a repository was not reached, or could not answer for the moment.
const UNREACHED: [&str; 16] = [
    "Could not connect",
    "connect (",
    "Cannot initiate",
    "Temporary failure",
    "Could not resolve",
    "Something wicked happened resolving",
    "timed out",
    "Connection failed",
    "Connection refused",
    "Connection reset",
    "No route to host",
    "Network is unreachable",
    "Error reading from server",
    "TLS connection was non-properly terminated",
    "Could not handshake",
    "429  Too Many Requests",
];

/// What is installed, from dpkg's database.
///
/// # Errors
/// The outcome of the check where kubeadm or kubelet is not installed as a package.
pub fn installed(packages: &BTreeMap<String, PackageSeen>) -> Result<Packages, Outcome> {
    let version = |name: &str| packages.get(name).map(|package| package.version.clone());
    match (version("kubeadm"), version("kubelet")) {
        (Some(kubeadm), Some(kubelet)) => Ok(Packages { kubeadm, kubelet, kubectl: version("kubectl") }),
        _ => Err(Outcome::Failed(
            "kubeadm and kubelet are not both installed as packages on this host".to_owned(),
        )),
    }
}

/// The outcome while `holder` holds dpkg's lock: what is half done looks broken, and would refuse for good.
pub fn at_work(holder: &str) -> Outcome {
    Outcome::Pending(format!("packages are looked at when {holder} has done with dpkg"))
}

/// The outcome where none of the configured apt source files, whose paths these are, exists.
pub fn no_sources(looked: &[String]) -> Outcome {
    Outcome::Failed(format!(
        "none of the apt source files exists that are configured to carry the Kubernetes packages: {}",
        looked.join(", ")
    ))
}

/// What fetching lists or packages came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fetch {
    /// All of it is here.
    Fetched,
    /// For people: it stays so until somebody changes something.
    Finding(Outcome),
    /// The repository is away or busy: a fault, and tried again.
    Fault(String),
}

/// Judges what apt-get said; `doing` completes the sentence "could not …".
pub fn fetch(output: &Output, doing: &str) -> Fetch {
    // apt before 2.1 only warns about lists it could not fetch.
    let partly =
        ["Failed to fetch", "Some index files failed"].iter().any(|sign| output.stderr.contains(sign));
    if output.succeeded() && !partly {
        return Fetch::Fetched;
    }
    let (words, unreached) = (output.last_words(), unreached(output));
    let says = |signs: &[&str]| signs.iter().any(|sign| output.stderr.contains(sign));
    if says(&["enough free space"]) || says(&LASTING) || says(&LACKING) && unreached.is_none() {
        return Fetch::Finding(Outcome::Failed(format!("could not {doing}: {words}")));
    }
    // The cause is often told far above the last words.
    let cause = unreached.filter(|cause| !words.contains(cause)).map(|cause| format!("{cause} / "));
    Fetch::Fault(format!("could not {doing}: {}{words}", cause.unwrap_or_default()))
}

/// apt's own words for a repository that was not reached: its line `E:` or `W:`, or its line `Err:` with the reason below it.
fn unreached(output: &Output) -> Option<String> {
    let mut failing = "";
    for line in output.stderr.lines().chain(output.stdout.lines()) {
        if line.starts_with("Err:") {
            failing = line.trim();
        } else if !line.starts_with(' ') {
            failing = "";
        }
        if is_unreached(line) {
            let reason = line.trim();
            return Some(if failing.is_empty() || failing == reason {
                reason.to_owned()
            } else {
                format!("{failing}: {reason}")
            });
        }
    }
    None
}

/// A server that answers with a status from 500 on has nothing to say of what it offers.
fn is_unreached(line: &str) -> bool {
    let is_status = |word: &str| word.len() == 3 && word.starts_with('5') && word.parse::<u16>().is_ok();
    // `503  Service Unavailable`: a word of its own before two blanks.
    let answers = || line.split("  ").filter_map(|part| part.rsplit(' ').next()).any(is_status);
    UNREACHED.iter().any(|sign| line.contains(sign)) || answers()
}

/// From a target to exact package versions: the newest revision of each package, never built from the target; kubectl
/// only where it is installed. `listed` are the versions the repository has of each package, newest first.
///
/// # Errors
/// The outcome of the check where the repository lacks something.
pub fn resolve(
    listed: &BTreeMap<String, Vec<PackageVersion>>,
    target: Version,
    kubectl: bool,
) -> Result<Packages, Outcome> {
    let newest = |package: &str| {
        let all = listed.get(package).map(Vec::as_slice).unwrap_or_default();
        all.iter().find(|version| version.kubernetes() == Some(target)).cloned().ok_or_else(|| {
            Outcome::Failed(match all.first() {
                Some(newest) => format!(
                    "the repository does not have {package} {target}; newest there is {newest}. A repository serves \
                     one minor version: its source must name that of the target"
                ),
                None => format!("the repository does not have {package} at all"),
            })
        })
    };
    Ok(Packages {
        kubeadm: newest("kubeadm")?,
        kubelet: newest("kubelet")?,
        kubectl: kubectl.then(|| newest("kubectl")).transpose()?,
    })
}

/// The packages are here; `can_restore_packages` says whether the installed ones are too. That they are gone from the repository
/// is no fault: there is no way back then, and nothing else is wrong.
pub fn downloaded(to: &Packages, can_restore_packages: bool) -> Outcome {
    let note = if can_restore_packages {
        ""
    } else {
        "; the installed ones are not there any more, so there is no way back"
    };
    Outcome::Passed(format!("kubelet {} is downloaded{note}", to.kubelet))
}

/// What apt said it would do.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Simulation {
    /// Packages that would be installed or change, with their new version.
    pub installs: Vec<(String, String)>,
    /// Packages that would go.
    pub removals: Vec<String>,
    /// Its last words where it failed.
    pub failed: Option<String>,
}

/// apt changes our packages alone and removes nothing.
pub fn simulation(step: &Simulation) -> Outcome {
    let Simulation { installs, removals, failed } = step;
    if !removals.is_empty() {
        return Outcome::Failed(format!("apt would remove {}", removals.join(", ")));
    }
    let others: Vec<_> =
        installs.iter().map(|(name, _)| name.as_str()).filter(|name| !EXPECTED.contains(name)).collect();
    if !others.is_empty() {
        return Outcome::Failed(format!(
            "apt would also change {}; change them beforehand",
            others.join(", ")
        ));
    }
    match failed {
        None => {
            Outcome::Passed("apt would change the Kubernetes packages alone and remove nothing".to_owned())
        }
        Some(words) => Outcome::Failed(format!("apt cannot install the packages: {words}")),
    }
}

#[cfg(test)]
mod tests;
