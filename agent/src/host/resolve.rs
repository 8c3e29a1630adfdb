//! The versions of packages that a repository has.

use std::collections::BTreeMap;

use upgrade_core::api::PackageVersion;

use super::PACKAGES;

/// The versions of each of our packages that `apt-cache madison` lists, as it lists them: newest first.
pub(super) fn listed(madison: &str) -> BTreeMap<String, Vec<PackageVersion>> {
    PACKAGES.iter().map(|&package| (package.to_owned(), versions(madison, package))).collect()
}

fn versions(madison: &str, package: &str) -> Vec<PackageVersion> {
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
    fn each_packages_versions_are_read_in_the_order_of_the_list() {
        let listed = listed(MADISON);
        let kubeadm: Vec<_> = listed["kubeadm"].iter().map(PackageVersion::as_str).collect();
        assert_eq!(kubeadm, ["1.36.3-1.2", "1.36.3-1.1", "1.36.2-1.1"]);
        assert_eq!(listed["kubelet"].len(), 2);
        assert!(listed["kubectl"].is_empty());
    }
}
