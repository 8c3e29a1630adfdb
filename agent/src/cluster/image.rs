//! Image references, as container statuses name them.

use upgrade_core::version::Version;

/// The Kubernetes version an image's tag names; none for references without a tag, or tagged otherwise.
///
/// `registry.example:5000/kube-apiserver:v1.36.3@sha256:…` has a port, a tag and a digest.
pub(super) fn version(reference: &str) -> Option<Version> {
    let name = reference.split_once('@').map_or(reference, |(name, _digest)| name);
    let last = name.rsplit_once('/').map_or(name, |(_path, last)| last);
    let (_image, tag) = last.split_once(':')?;
    tag.starts_with('v').then(|| tag.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_or_a_digest_is_not_taken_for_a_tag() {
        let v = Some(Version::new(1, 36, 3));
        for (reference, expected) in [
            ("registry.example/kube-apiserver:v1.36.3", v),
            ("registry.example:5000/kube-apiserver:v1.36.3", v),
            ("registry.example:5000/a/b/kube-apiserver:v1.36.3@sha256:0123", v),
            ("kube-apiserver:v1.36.3", v),
            ("registry.example:5000/kube-apiserver", None),
            ("kube-apiserver@sha256:0123", None),
            ("sha256:0123", None),
            ("registry.example/etcd:3.6.8-0", None),
            ("kube-apiserver:latest", None),
            ("", None),
        ] {
            assert_eq!(version(reference), expected, "{reference}");
        }
    }
}
