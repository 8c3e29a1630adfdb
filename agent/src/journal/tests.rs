use std::collections::{BTreeMap, BTreeSet};
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use tempfile::TempDir;
use upgrade_core::api::{Explanation, Reason};
use upgrade_core::memory::{Backoff, Refusal};
use upgrade_core::time::{NotBefore, Now};

use super::*;
use crate::durable::{Replacement, STEPS, Step};

/// What a store that was cut leaves.
const NEXT_FILE: &str = "memory.json.next";

/// A memory that is told apart from others by its number.
fn memory(number: u64) -> Memory {
    let why = Explanation::new(Reason::DrainBlocked, format!("the budget “web” blocks, try {number}\n"));
    Memory {
        known: true,
        turn: None,
        refused: Some(Refusal {
            target: "v1.36.2".to_owned(),
            retry: None,
            skip: BTreeSet::from(["NodeReady".to_owned()]),
            why: why.clone(),
        }),
        backoff: Some(Backoff {
            target: "v1.36.2".parse().unwrap(),
            retreats: 2,
            until: NotBefore::after(Duration::from_secs(number), Now::default()),
            retry: None,
            why,
        }),
        held: BTreeSet::from(["kubeadm".to_owned()]),
        policy_seen: true,
    }
}

fn recovered(directory: &Path) -> Recovered {
    Journal::open(directory).unwrap().1
}

/// A directory whose journal's file holds these bytes.
fn holding(bytes: &[u8]) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join(FILE), bytes).unwrap();
    directory
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o777
}

#[test]
fn what_was_stored_last_is_what_the_next_agent_finds() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("a/journal");
    let (journal, found) = Journal::open(&directory).unwrap();
    assert_eq!(found, Recovered::Fresh);
    for number in 0..3 {
        journal.store(&memory(number)).unwrap();
    }
    drop(journal);
    assert_eq!(recovered(&directory), Recovered::Memory(memory(2)));
}

#[test]
fn nobody_but_root_reads_the_journal() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
    let (journal, _) = Journal::open(directory.path()).unwrap();
    journal.store(&memory(1)).unwrap();
    assert_eq!(mode(directory.path()), 0o700);
    for name in [FILE, LOCK_FILE] {
        assert_eq!(mode(&directory.path().join(name)), 0o600, "{name}");
    }
}

#[test]
fn two_agents_never_have_the_journal_open() {
    let directory = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(directory.path()).unwrap();
    let error = Journal::open(directory.path()).unwrap_err();
    assert!(matches!(error, JournalError::Locked { .. }), "{error}");
    drop(journal);
    assert_eq!(recovered(directory.path()), Recovered::Fresh);
}

#[test]
fn a_memory_cut_off_at_any_length_is_lost_and_never_another_memory() {
    let whole = encode(&memory(1)).unwrap();
    for length in 0..whole.len() {
        assert!(matches!(decode(&whole[..length]), Err(Unreadable::Damaged(_))), "{length}");
    }
    assert_eq!(decode(&whole), Ok(memory(1)));
    let longer = [whole, b"\n".to_vec()].concat();
    assert!(matches!(decode(&longer), Err(Unreadable::Damaged(_))));
}

#[test]
fn a_memory_with_any_bit_flipped_is_lost_and_never_another_version_or_memory() {
    let whole = encode(&memory(1)).unwrap();
    for bit in 0..whole.len() * 8 {
        let mut flipped = whole.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(matches!(decode(&flipped), Err(Unreadable::Damaged(_))), "bit {bit}");
    }
}

#[test]
fn what_no_agent_wrote_is_lost() {
    let foreign: [&[u8]; 8] = [
        b"",
        b"\0\0\0\0",
        b"\n\n",
        b"{}\n{}\n",
        b"{\"turn\":null,\"refused\":null,\"backoff\":null,\"held\":[]}\n",
        b"[1, 2]\n{}",
        b"\xff\xfe\n\xff",
        b"{\"journal\":\"other\",\"version\":2,\"sha256\":\"\"}\n{}",
    ];
    for bytes in foreign {
        let directory = holding(bytes);
        assert!(matches!(recovered(directory.path()), Recovered::Lost { .. }), "{bytes:?}");
    }
}

#[test]
fn a_damaged_journal_stays_lost_until_the_next_store_and_is_kept_after_it() {
    let directory = holding(b"torn");
    let first = recovered(directory.path());
    let Recovered::Lost { kept, .. } = first.clone() else { panic!("{first:?}") };
    assert_eq!(recovered(directory.path()), first, "a restart before a store finds the same");

    let (journal, _) = Journal::open(directory.path()).unwrap();
    journal.store(&memory(1)).unwrap();
    drop(journal);
    assert_eq!(recovered(directory.path()), Recovered::Memory(memory(1)));
    assert_eq!(std::fs::read(&kept).unwrap(), b"torn");

    std::fs::write(directory.path().join(FILE), b"torn again").unwrap();
    let Recovered::Lost { kept: second, .. } = recovered(directory.path()) else { panic!("lost twice") };
    assert_eq!(std::fs::read(&kept).unwrap(), b"torn");
    assert_eq!(std::fs::read(second).unwrap(), b"torn again");
}

fn sealed(version: u32, body: &str) -> Vec<u8> {
    let sha256 = checksum(version, body.as_bytes());
    format!("{{\"journal\":\"{KIND}\",\"version\":{version},\"sha256\":\"{sha256}\",\"later\":7}}\n{body}")
        .into_bytes()
}

#[test]
fn a_whole_journal_of_an_older_version_is_set_aside_and_says_so() {
    let bytes = sealed(1, "{\"known\":true,\"job\":null,\"refused\":null,\"backoff\":null,\"held\":[]}\n");
    let directory = holding(&bytes);
    let Recovered::Lost { why, kept, .. } = recovered(directory.path()) else { panic!("not set aside") };
    assert!(why.contains("an older node-upgrade-agent wrote it (journal version 1"), "{why}");
    let (journal, _) = Journal::open(directory.path()).unwrap();
    journal.store(&memory(1)).unwrap();
    drop(journal);
    assert_eq!(std::fs::read(kept).unwrap(), bytes);
    assert_eq!(recovered(directory.path()), Recovered::Memory(memory(1)));
}

#[test]
fn of_an_older_journal_the_held_packages_are_still_read() {
    let of = |held: &str| {
        let directory = holding(&sealed(1, &format!("{{\"known\":true,\"held\":{held}}}\n")));
        let Recovered::Lost { held, .. } = recovered(directory.path()) else { panic!("not set aside") };
        held
    };
    assert_eq!(of(r#"["kubelet","linux-image"]"#), ["kubelet".to_owned()].into(), "of ours only");
    assert!(of("7").is_empty(), "an older form is not known");
}

#[test]
fn a_journal_from_before_the_policy_was_remembered_is_read_whole() {
    let mut body = serde_json::to_value(memory(1)).unwrap();
    assert_eq!(body.as_object_mut().unwrap().remove("policy_seen"), Some(true.into()));
    let directory = holding(&sealed(VERSION, &format!("{body}\n")));
    let before = Memory { policy_seen: false, ..memory(1) };
    assert_eq!(recovered(directory.path()), Recovered::Memory(before.clone()));
    let (journal, _) = Journal::open(directory.path()).unwrap();
    journal.store(&Memory { policy_seen: true, ..before }).unwrap();
    drop(journal);
    assert_eq!(recovered(directory.path()), Recovered::Memory(memory(1)));
}

#[test]
fn a_whole_journal_of_a_newer_version_is_refused_and_left_as_it_is() {
    let body = "{\"hop\":\"of a form that is not known here\"}\n";
    for version in [VERSION + 1, VERSION] {
        let bytes = sealed(version, body);
        let directory = holding(&bytes);
        let error = Journal::open(directory.path()).unwrap_err();
        assert!(matches!(error, JournalError::Foreign { version: named, .. } if named == version), "{error}");
        assert_eq!(std::fs::read(directory.path().join(FILE)).unwrap(), bytes);
        let names: BTreeSet<_> = std::fs::read_dir(directory.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        assert_eq!(names, BTreeSet::from([LOCK_FILE.to_owned(), FILE.to_owned()]));
    }
}

#[test]
fn what_is_told_of_a_journal_is_short_and_steers_no_terminal() {
    let odd = format!("a\u{9b}2J{}", "x".repeat(10_000));
    let header = format!("{{\"journal\":\"{KIND}\",\"version\":\"{odd}\",\"sha256\":\"\"}}\n{{}}");
    let body = sealed(VERSION, &format!("{{\"{odd}\":1}}"));
    for bytes in [header.into_bytes(), body] {
        let directory = holding(&bytes);
        let told = Journal::look(directory.path()).unwrap_err().to_string();
        assert!(told.contains(FILE) && told.len() < 2048 && !told.contains(char::is_control), "{told}");
    }
}

#[test]
fn a_disk_that_fails_is_an_error_that_names_the_file_and_not_a_lost_journal() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join(FILE)).unwrap();
    let error = Journal::open(directory.path()).unwrap_err();
    assert!(error.to_string().contains(FILE) && matches!(error, JournalError::Io { .. }), "{error}");
}

#[test]
fn an_agent_killed_between_any_two_steps_of_a_store_leaves_the_old_memory_or_the_new() {
    for old in [None, Some(memory(1))] {
        for done in 0..=STEPS.len() {
            let directory = tempfile::tempdir().unwrap();
            let (journal, _) = Journal::open(directory.path()).unwrap();
            if let Some(old) = &old {
                journal.store(old).unwrap();
            }
            let bytes = encode(&memory(2)).unwrap();
            let mut replacement = Replacement::new(directory.path(), FILE);
            for step in &STEPS[..done] {
                replacement.carry_out(*step, &bytes).unwrap();
            }
            drop(journal);
            let before = old.clone().map_or(Recovered::Fresh, Recovered::Memory);
            let renamed = STEPS[..done].contains(&Step::Rename);
            let expected = if renamed { Recovered::Memory(memory(2)) } else { before };
            let (journal, found) = Journal::open(directory.path()).unwrap();
            assert_eq!(found, expected, "after {done} steps");
            journal.store(&memory(3)).unwrap();
            drop(journal);
            assert_eq!(recovered(directory.path()), Recovered::Memory(memory(3)));
        }
    }
}

/// A file system that promises no more than POSIX: what is not synced may or may not be there after a power cut.
#[derive(Clone, Default)]
struct Disk {
    /// Content of each file, and whether it is synced.
    files: Vec<(Vec<u8>, bool)>,
    /// The names that are on disk.
    names: BTreeMap<&'static str, usize>,
    /// The names as they were after each change that is not on disk yet.
    pending: Vec<BTreeMap<&'static str, usize>>,
}

impl Disk {
    fn names(&self) -> BTreeMap<&'static str, usize> {
        self.pending.last().unwrap_or(&self.names).clone()
    }

    fn carry_out(&mut self, step: Step, bytes: &[u8]) {
        let mut names = self.names();
        match step {
            Step::Write => {
                self.files.push((bytes.to_vec(), false));
                names.insert(NEXT_FILE, self.files.len() - 1);
                self.pending.push(names);
            }
            Step::SyncFile => {
                let next = names[NEXT_FILE];
                self.files[next].1 = true;
            }
            Step::Rename => {
                let next = names.remove(NEXT_FILE).unwrap();
                names.insert(FILE, next);
                self.pending.push(names);
            }
            Step::SyncDirectory => {
                self.names = names;
                self.pending.clear();
            }
        }
    }

    /// Every content the journal's file can have after a power cut now; none stands for no such file.
    fn after_power_cut(&self) -> Vec<Option<Vec<u8>>> {
        let mut outcomes = Vec::new();
        for names in [&self.names].into_iter().chain(&self.pending) {
            let Some((content, synced)) = names.get(FILE).map(|file| &self.files[*file]) else {
                outcomes.push(None);
                continue;
            };
            outcomes.push(Some(content.clone()));
            if !synced {
                outcomes.push(Some(vec![0; content.len()]));
                outcomes.extend((0..content.len()).map(|length| Some(content[..length].to_vec())));
            }
        }
        outcomes
    }
}

#[test]
fn a_look_beside_a_running_agent_tells_what_is_stored_and_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("journal");
    assert_eq!(Journal::look(&place).unwrap(), None);
    assert!(!place.exists());
    let (journal, _) = Journal::open(&place).unwrap();
    assert_eq!(Journal::look(&place).unwrap(), None);
    journal.store(&memory(1)).unwrap();
    assert_eq!(Journal::look(&place).unwrap(), Some(memory(1)));
    std::fs::write(place.join(FILE), "damaged").unwrap();
    let error = Journal::look(&place).unwrap_err();
    assert!(matches!(error, JournalError::Damaged { .. }), "{error}");
    assert_eq!(std::fs::read(place.join(FILE)).unwrap(), b"damaged");
}

#[test]
fn a_power_cut_at_any_instant_of_a_store_leaves_the_old_memory_or_the_new() {
    for old in [None, Some(memory(1))] {
        let mut disk = Disk::default();
        if let Some(old) = &old {
            let bytes = encode(old).unwrap();
            for step in STEPS {
                disk.carry_out(step, &bytes);
            }
        }
        let bytes = encode(&memory(2)).unwrap();
        for step in STEPS {
            disk.carry_out(step, &bytes);
            for content in disk.after_power_cut() {
                let found = content.map(|bytes| decode(&bytes).unwrap());
                assert!(found == old || found == Some(memory(2)), "during {step:?}: {found:?}");
            }
        }
        let stored = Some(memory(2));
        let found =
            disk.after_power_cut().into_iter().map(|bytes| bytes.map(|bytes| decode(&bytes).unwrap()));
        assert!(found.into_iter().all(|found| found == stored), "once stored, the memory is there for good");
    }
}

proptest! {
    #[test]
    fn bytes_of_any_kind_are_a_memory_only_if_an_agent_stored_them(
        bytes in vec(any::<u8>(), 0..2000), at in any::<prop::sample::Index>(), value: u8,
    ) {
        prop_assert!(decode(&bytes).is_err());
        let mut stored = encode(&memory(1)).unwrap();
        let at = at.index(stored.len());
        let before = std::mem::replace(&mut stored[at], value);
        match decode(&stored) {
            Ok(read) => prop_assert_eq!((read, before), (memory(1), value), "only what was not changed is whole"),
            Err(Unreadable::Damaged(why) | Unreadable::Older { why, .. } | Unreadable::Foreign { why, .. }) => {
                prop_assert!(why.len() < 512);
            }
        }
        stored.truncate(at);
        prop_assert!(decode(&stored).is_err(), "a journal that was cut off is damaged");
    }
}
