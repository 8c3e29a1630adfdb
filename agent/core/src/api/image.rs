//! Image references: which version a tag names.

use super::Version;

/// The version in an image reference's tag: `v1.36.3` of `registry:5000/kube-apiserver:v1.36.3@sha256:…`.
///
/// A colon before the last slash belongs to the registry's port and a digest comes after `@`
/// (<https://github.com/distribution/reference>), so neither is taken for a tag.
pub fn version(reference: &str) -> Option<Version> {
    let named = reference.split_once('@').map_or(reference, |(named, _digest)| named);
    let last = named.rsplit_once('/').map_or(named, |(_path, last)| last);
    last.split_once(':')?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_and_digests_are_not_mistaken_for_tags() {
        let found = Some(Version::new(1, 36, 3));
        for (reference, expected) in [
            ("registry.example/kube-apiserver:v1.36.3", found),
            ("host:5000/kube-apiserver:v1.36.3", found),
            ("host:5000/a/kube-apiserver:v1.36.3@sha256:00ff", found),
            ("kube-apiserver:v1.36.3", found),
            ("host:5000/kube-apiserver", None),
            ("kube-apiserver@sha256:00ff", None),
            ("sha256:0123", None),
            ("kube-apiserver:latest", None),
        ] {
            assert_eq!(version(reference), expected, "{reference}");
        }
    }
}
