use std::os::unix::fs::MetadataExt;

use tempfile::TempDir;

use super::*;

const NODE: &str = "worker1";

fn files() -> (TempDir, Files) {
    let state = tempfile::tempdir().unwrap();
    let files = Files::new(state.path(), NODE);
    files.load().unwrap();
    (state, files)
}

fn denial(request: &str) -> Denial {
    Denial { request: request.to_owned(), why: "no".to_owned(), retry: None }
}

#[test]
fn what_is_kept_is_for_root_alone() {
    let (state, files) = files();
    files.keep_pending(&Key::generate().unwrap().to_pem().unwrap()).unwrap();
    let mode = |path: &Path| path.metadata().unwrap().mode() & 0o777;
    assert_eq!(mode(&state.path().join(DIRECTORY)), 0o700);
    assert_eq!(mode(&state.path().join(DIRECTORY).join(PENDING)), 0o600);
}

#[test]
fn a_key_that_waits_is_found_again() {
    let (_state, files) = files();
    let key = Key::generate().unwrap();
    files.keep_pending(&key.to_pem().unwrap()).unwrap();
    let kept = files.load().unwrap();
    assert_eq!(kept.pending.unwrap().fingerprint(), key.fingerprint());
}

#[test]
fn a_damaged_file_is_as_good_as_none() {
    let (state, files) = files();
    for name in [CURRENT, PENDING, DENIED] {
        std::fs::write(state.path().join(DIRECTORY).join(name), "x").unwrap();
    }
    let kept = files.load().unwrap();
    assert!(kept.credential.is_none() && kept.pending.is_none() && kept.denied.is_none());
}

#[test]
fn a_denied_key_that_a_crash_has_left_is_not_asked_for_again() {
    let (_state, files) = files();
    let key = Key::generate().unwrap();
    files
        .replace(DENIED, &serde_json::to_vec(&denial(&request_name(NODE, &key.fingerprint()))).unwrap())
        .unwrap();
    files.replace(PENDING, key.to_pem().unwrap().as_bytes()).unwrap();
    let kept = files.load().unwrap();
    assert!(kept.pending.is_none() && kept.denied.is_some());
}

#[test]
fn a_new_key_answers_an_older_denial() {
    let (_state, files) = files();
    files.deny(&denial("csr-0")).unwrap();
    assert_eq!(files.load().unwrap().denied, Some(denial("csr-0")));
    files.keep_pending(&Key::generate().unwrap().to_pem().unwrap()).unwrap();
    assert_eq!(files.load().unwrap().denied, None);
}
