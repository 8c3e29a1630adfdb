//! The Lease as a lock: what is to be written over what was read, by whom. Whoever carries it out writes with the
//! resourceVersion that was read, so a decision holds only for the Lease it was made from.
//!
//! Times are for people to see: nothing here asks how old a Lease is, and none is taken for being late.

use crate::api::policy::PROTOCOL;
use crate::api::{Holder, Version, text};
use crate::observed::{LeaseMark, LeaseSeen};
use crate::time::Mono;

/// How often a lost race is read and judged anew before the act is given up for now.
pub const TRIES: u32 = 3;

/// A Lease as far as agents care, as it was read or as it is to be written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LeaseState {
    /// `holderIdentity`, if one is set; an empty one counts as none.
    pub holder: Option<String>,
    /// Its mark: why its holder is degraded, if it is.
    pub degraded: Option<String>,
    /// Its note: the version for which `kubeadm upgrade apply` has ended well. It stays when the holder goes.
    pub applied: Option<String>,
    /// The protocol of whoever wrote it last, as it stands there.
    pub protocol: Option<String>,
}

/// What somebody wants of a Lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    /// Make it ours if it is free.
    Claim,
    /// Prove that it is ours.
    Renew {
        /// Becomes its mark; none clears it.
        mark: Option<LeaseMark>,
        /// Becomes its note; none leaves the one that stands.
        applied: Option<Version>,
    },
    /// Give it back if it is ours.
    Release,
}

/// Whose a Lease is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Ours.
    Ours,
    /// Nobody's, or it is absent.
    Free,
    /// Theirs: the name that stands in it.
    Other(String),
}

impl Standing {
    /// What it shows `me`, as of the answer to a write at `at` that left the Lease in this state.
    pub fn seen(self, me: &Holder, at: Mono, state: Option<&LeaseState>) -> LeaseSeen {
        let applied = state.and_then(|state| state.applied.as_ref()?.parse().ok());
        match self {
            Self::Ours => LeaseSeen::Held { at, turn: me.turn.clone(), applied },
            Self::Free => LeaseSeen::Free,
            Self::Other(name) => LeaseSeen::Other(name),
        }
    }
}

/// What follows from a Lease as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeaseDecision {
    /// Nothing is to be written; it is never ours then, because what is ours is written to prove it.
    Stands(Standing),
    /// Write this over what was read, or create it where it was absent.
    Write(LeaseState),
    /// It must not be touched, for this reason.
    Barred(String),
}

/// Whose a Lease is, as it was read or as the answer to a write shows it; none where it is absent.
pub fn standing(lease: Option<&LeaseState>, me: &Holder) -> Standing {
    match lease.and_then(|lease| lease.holder.as_ref()) {
        None => Standing::Free,
        Some(name) if *name == me.to_string() => Standing::Ours,
        Some(name) => Standing::Other(name.clone()),
    }
}

/// Whether a Lease names this node in this life, for whatever turn.
fn is_our_nodes(lease: &LeaseState, me: &Holder) -> bool {
    let holder = lease.holder.as_deref().and_then(Holder::parse);
    holder.is_some_and(|holder| holder.node == me.node && holder.uid == me.uid)
}

/// Decides what becomes of a Lease that was read (none: it is absent) for `me`, who has this wish.
///
/// A Lease of another node is left alone whatever the wish. One that is ours already is renewed by a claim, with its mark: the
/// claim may be that of an agent that was restarted. One that names an earlier turn of this node is claimed and given back as if
/// it were free and ours: a node has one turn at a time.
pub fn judge(read: Option<&LeaseState>, me: &Holder, wish: &Wish) -> LeaseDecision {
    let note = read.and_then(|lease| lease.applied.clone());
    let written = |holder: Option<String>, mark: Option<&str>, applied: Option<String>| {
        LeaseDecision::Write(LeaseState {
            holder,
            degraded: mark.map(|mark| text::shortened(mark, text::NOTE)),
            applied,
            protocol: Some(PROTOCOL.to_string()),
        })
    };
    let stands = standing(read, me);
    let earlier = stands != Standing::Ours && read.is_some_and(|lease| is_our_nodes(lease, me));
    match (wish, stands) {
        (Wish::Claim, Standing::Free) => match read.and_then(speaks_newer) {
            Some(why) => LeaseDecision::Barred(why),
            None => written(Some(me.to_string()), None, note),
        },
        (Wish::Claim, Standing::Ours) => {
            written(Some(me.to_string()), read.and_then(|lease| lease.degraded.as_deref()), note)
        }
        (Wish::Claim, Standing::Other(_)) if earlier => written(Some(me.to_string()), None, note),
        (Wish::Renew { mark, applied }, Standing::Ours) => {
            let applied = applied.map(|version| version.to_string()).or(note);
            written(Some(me.to_string()), mark.as_ref().map(LeaseMark::text).as_deref(), applied)
        }
        (Wish::Release, Standing::Ours) => written(None, None, note),
        (Wish::Release, Standing::Other(_)) if earlier => written(None, None, note),
        (_, stands) => LeaseDecision::Stands(stands),
    }
}

/// An older agent does not know what a newer protocol means by a free Lease.
fn speaks_newer(lease: &LeaseState) -> Option<String> {
    let text = lease.protocol.as_ref()?;
    match text.parse::<u32>() {
        Ok(protocol) if protocol <= PROTOCOL => None,
        _ => Some(format!(
            "it was last written under protocol {}, this agent speaks {PROTOCOL}: upgrade this agent",
            text::shortened(text, text::WORD)
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::TurnId;

    fn holder(node: &str) -> Holder {
        Holder { node: node.into(), uid: format!("uid-{node}"), turn: TurnId("j".into()) }
    }

    fn lease(node: Option<&str>, mark: Option<&str>) -> LeaseState {
        LeaseState {
            holder: node.map(|node| holder(node).to_string()),
            degraded: mark.map(str::to_owned),
            applied: None,
            protocol: Some(PROTOCOL.to_string()),
        }
    }

    fn decided(read: Option<&LeaseState>, wish: &Wish) -> LeaseDecision {
        judge(read, &holder("n1"), wish)
    }

    fn renew(mark: Option<&str>) -> Wish {
        Wish::Renew { mark: mark.map(LeaseMark::read), applied: None }
    }

    #[test]
    fn a_lease_is_claimed_when_it_is_absent_or_free_and_starts_without_a_mark() {
        for read in [None, Some(lease(None, None)), Some(lease(None, Some("left behind")))] {
            let decision = decided(read.as_ref(), &Wish::Claim);
            assert_eq!(decision, LeaseDecision::Write(lease(Some("n1"), None)), "{read:?}");
        }
    }

    #[test]
    fn a_claim_of_our_own_lease_keeps_its_mark() {
        let own = lease(Some("n1"), Some("disk"));
        assert_eq!(decided(Some(&own), &Wish::Claim), LeaseDecision::Write(own));
    }

    #[test]
    fn a_renewal_writes_the_mark_or_clears_it() {
        for before in [None, Some("old")] {
            for after in [None, Some("new")] {
                let decision = decided(Some(&lease(Some("n1"), before)), &renew(after));
                assert_eq!(decision, LeaseDecision::Write(lease(Some("n1"), after)));
            }
        }
    }

    #[test]
    fn a_release_frees_our_lease_and_clears_its_mark() {
        let decision = decided(Some(&lease(Some("n1"), Some("disk"))), &Wish::Release);
        assert_eq!(decision, LeaseDecision::Write(lease(None, None)));
    }

    #[test]
    fn a_free_or_absent_lease_is_neither_renewed_nor_released() {
        for wish in [renew(None), renew(Some("disk")), Wish::Release] {
            for read in [None, Some(lease(None, Some("disk")))] {
                let decision = decided(read.as_ref(), &wish);
                assert_eq!(decision, LeaseDecision::Stands(Standing::Free), "{wish:?} {read:?}");
            }
        }
    }

    #[test]
    fn somebody_elses_lease_is_left_alone_whatever_is_wanted() {
        let theirs = lease(Some("n2"), Some("disk"));
        let stands = LeaseDecision::Stands(Standing::Other(holder("n2").to_string()));
        for wish in [Wish::Claim, renew(None), renew(Some("disk")), Wish::Release] {
            assert_eq!(decided(Some(&theirs), &wish), stands, "{wish:?}");
        }
    }

    #[test]
    fn an_earlier_turn_of_this_node_in_this_life_is_claimed_over_and_given_back_and_not_renewed() {
        let before = lease(Some("n1"), Some("disk"));
        let now = Holder { turn: TurnId("k".into()), ..holder("n1") };
        let freed = LeaseState { holder: Some(now.to_string()), degraded: None, ..before.clone() };
        assert!(matches!(standing(Some(&before), &now), Standing::Other(_)));
        assert_eq!(judge(Some(&before), &now, &Wish::Claim), LeaseDecision::Write(freed));
        assert_eq!(judge(Some(&before), &now, &Wish::Release), LeaseDecision::Write(lease(None, None)));
        assert!(matches!(judge(Some(&before), &now, &renew(None)), LeaseDecision::Stands(_)));
        let reborn = Holder { uid: "another".into(), ..now };
        for wish in [Wish::Claim, Wish::Release] {
            assert!(matches!(judge(Some(&before), &reborn, &wish), LeaseDecision::Stands(_)), "{wish:?}");
        }
    }

    #[test]
    fn the_note_of_an_applied_version_outlives_its_holder_until_another_is_written() {
        let note = |text: &str| Some(text.to_owned());
        let ours = LeaseState { applied: note("v1.36.2"), ..lease(Some("n1"), None) };
        for wish in [Wish::Claim, renew(None), Wish::Release] {
            let LeaseDecision::Write(state) = decided(Some(&ours), &wish) else { panic!("{wish:?}") };
            assert_eq!(state.applied, note("v1.36.2"), "{wish:?}");
        }
        let free = LeaseState { holder: None, ..ours.clone() };
        let LeaseDecision::Write(claimed) = decided(Some(&free), &Wish::Claim) else { panic!("not claimed") };
        assert_eq!(claimed.applied, note("v1.36.2"));
        let applied = Wish::Renew { mark: None, applied: Some(Version::new(1, 36, 3)) };
        let LeaseDecision::Write(state) = decided(Some(&ours), &applied) else { panic!("not noted") };
        assert_eq!(state.applied, note("v1.36.3"));
    }

    #[test]
    fn a_free_lease_of_a_newer_or_unknown_protocol_is_not_claimed() {
        for protocol in [(PROTOCOL + 1).to_string(), "x".to_owned(), String::new(), "-1".to_owned()] {
            let free = LeaseState { protocol: Some(protocol.clone()), ..LeaseState::default() };
            let LeaseDecision::Barred(why) = decided(Some(&free), &Wish::Claim) else {
                panic!("not barred: {protocol:?}")
            };
            assert!(why.contains(&format!("under protocol {protocol}, this agent")), "{why}");
        }
        let silent = LeaseState::default();
        assert!(matches!(decided(Some(&silent), &Wish::Claim), LeaseDecision::Write(_)));
    }

    #[test]
    fn what_is_ours_is_renewed_and_released_whatever_protocol_stands_in_it() {
        let own = LeaseState { protocol: Some("9".into()), ..lease(Some("n1"), None) };
        for wish in [Wish::Claim, renew(None), Wish::Release] {
            assert!(matches!(decided(Some(&own), &wish), LeaseDecision::Write(_)), "{wish:?}");
        }
    }

    #[test]
    fn what_is_told_of_an_odd_protocol_is_short_and_steers_no_terminal() {
        let odd = LeaseState { protocol: Some("9\u{9b}2J".repeat(1000)), ..lease(None, None) };
        let LeaseDecision::Barred(why) = decided(Some(&odd), &Wish::Claim) else { panic!("claimed") };
        assert!(why.len() < 512 && !why.contains(char::is_control), "{why}");
    }

    #[test]
    fn a_mark_is_shortened_to_what_the_admission_policy_takes() {
        let decision = decided(Some(&lease(Some("n1"), None)), &renew(Some(&"x".repeat(5000))));
        let LeaseDecision::Write(LeaseState { degraded: Some(mark), .. }) = decision else {
            panic!("no mark: {decision:?}")
        };
        assert_eq!(mark.len(), text::NOTE);
    }

    #[test]
    fn the_answer_to_a_write_is_told_with_its_moment_only_where_it_is_ours() {
        let me = holder("n1");
        let told = |read: Option<LeaseState>| standing(read.as_ref(), &me).seen(&me, Mono(7), read.as_ref());
        assert_eq!(told(None), LeaseSeen::Free);
        let ours = |applied| LeaseSeen::Held { at: Mono(7), turn: me.turn.clone(), applied };
        assert_eq!(told(Some(lease(Some("n1"), None))), ours(None));
        let noted = |text: &str| LeaseState { applied: Some(text.into()), ..lease(Some("n1"), None) };
        assert_eq!(told(Some(noted("v1.36.3"))), ours(Some(Version::new(1, 36, 3))));
        assert_eq!(told(Some(noted("what?"))), ours(None));
        let theirs = LeaseSeen::Other(holder("n2").to_string());
        assert_eq!(told(Some(lease(Some("n2"), None))), theirs);
    }
}
