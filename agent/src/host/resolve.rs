//! From a target to exact package versions: looked up in the repository, never built from the target.

use upgrade_core::job::Packages;
use upgrade_core::version::{PackageVersion, Version};

/// The versions of one package that `apt-cache madison` lists, as it lists them: newest first.
pub(super) fn versions(madison: &str, package: &str) -> Vec<PackageVersion> {
    madison
        .lines()
        .filter_map(|line| {
            let mut columns = line.split('|').map(str::trim);
            let name = columns.next()?;
            let version = columns.next()?;
            (name == package).then(|| version.parse().ok()).flatten()
        })
        .collect()
}

/// The newest revision of each package for `target`; kubectl only where it is installed.
///
/// # Errors
/// What the repository lacks, for people.
pub(super) fn resolve(madison: &str, target: Version, kubectl: bool) -> Result<Packages, String> {
    let newest = |package: &str| {
        let all = versions(madison, package);
        all.iter().find(|version| version.kubernetes() == Some(target)).cloned().ok_or_else(|| match all.first() {
            Some(newest) => format!(
                "the repository does not have {package} {target}; newest there is {newest}. A repository serves \
                 one minor version: its source must name that of the target"
            ),
            None => format!("the repository does not have {package} at all"),
        })
    };
    Ok(Packages {
        kubeadm: newest("kubeadm")?,
        kubelet: newest("kubelet")?,
        kubectl: kubectl.then(|| newest("kubectl")).transpose()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `apt-cache madison kubeadm kubelet` of apt 2.6, on a repository with two revisions of 1.36.3.
    const MADISON: &str = "   kubeadm | 1.36.3-1.2 | file:/srv/repo ./ Packages
   kubeadm | 1.36.3-1.1 | file:/srv/repo ./ Packages
   kubeadm | 1.36.2-1.1 | file:/srv/repo ./ Packages
   kubelet | 1.36.3-1.1 | file:/srv/repo ./ Packages
   kubelet | 1.36.2-1.1 | file:/srv/repo ./ Packages
";

    #[test]
    fn the_newest_revision_of_each_package_is_taken() {
        let packages = resolve(MADISON, "1.36.3".parse().unwrap(), false).unwrap();
        assert_eq!(packages.kubeadm.as_str(), "1.36.3-1.2");
        assert_eq!(packages.kubelet.as_str(), "1.36.3-1.1");
        assert_eq!(packages.kubectl, None);
    }

    #[test]
    fn what_the_repository_lacks_is_told_with_what_it_has() {
        let why = resolve(MADISON, "1.37.0".parse().unwrap(), false).unwrap_err();
        assert!(
            why.starts_with("the repository does not have kubeadm v1.37.0; newest there is 1.36.3-1.2"),
            "{why}"
        );
        let why = resolve(MADISON, "1.36.3".parse().unwrap(), true).unwrap_err();
        assert_eq!(why, "the repository does not have kubectl at all");
    }

    #[test]
    fn a_target_that_is_the_beginning_of_a_version_does_not_match_it() {
        let madison = "kubeadm | 1.36.30-1.1 | x\nkubelet | 1.36.30-1.1 | x\n";
        assert!(resolve(madison, "1.36.3".parse().unwrap(), false).is_err());
    }
}
