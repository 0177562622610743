//! ICE-lite (RFC 8445 §2.5): answers checks, never sends one. The peer is controlling and nominates.
//!
//! A check says who its sender is, but not where: whoever has a ufrag of his own may forge the source
//! address, and a check that was overheard may be sent again from elsewhere. Keys change nothing about that:
//! the peer may forge its own address to have our media go to somebody else. So a path (local and remote
//! address) is *known* by a check, and *proven* once somebody has read there what we sent along it and nowhere
//! else: a Binding request of ours that was answered, whose transaction id nobody can guess (RFC 9000 §8.2 does
//! the same with PATH_CHALLENGE), or the flights of a handshake that has ended.
//!
//! Not every peer answers Binding requests, and a NAT may give it another port at any time. So where one path
//! of an IP address is proven, SRTP and SRTCP prove the others of that address (a change of the port alone is
//! trusted in RFC 9000 §9.4 as well). From any other address they have us ask, and no more.
//!
//! Invariants
//! - Media goes to a proven path only, and stays there until another one is both nominated (or the old one
//!   silent) and proven.
//! - A path that is not proven gets at most [`CREDIT_PER_OCTET`] times the octets that came from it (RFC 9000
//!   §8.1).
//! - A transaction id is good for one path.
//! - A bad check is an error response at most; it never ends anything.
//! - Consent (RFC 7675) is what only the peer can send, along the selected path: its own checks, and SRTP or
//!   SRTCP, whose keys nobody else has. What comes along others says nothing of who hears us there. Not every
//!   peer goes on checking: libnice keeps a path open by Binding indications, which nobody signs (RFC 8445
//!   §11).

mod credentials;

use crate::demux::UFRAG_LEN;
use crate::outbox::Path;
use crate::time::Time;
use std::collections::VecDeque;
use std::time::Duration;

pub(crate) use credentials::LocalCredentials;

/// Paths that are known of one peer at a time: two interfaces and two families of each side.
const PATHS_MAX: usize = 16;

/// Transaction ids that are remembered of one peer: Chromium's checks of the last three minutes, or of the
/// first three seconds.
const IDS_MAX: usize = 64;

/// Octets that may go to a path that is not proven for each octet that came from there (RFC 9000 §8.1).
pub(crate) const CREDIT_PER_OCTET: usize = 3;

/// A proven path belongs to its transport as long as it was heard from within this time. Firefox renews its
/// consent every 4 to 6 s and Chromium every 2.5 s, so one lost check gives nothing away.
const HOLD_PROVEN: Duration = Duration::from_secs(10);
/// The same before it is proven: a client repeats its checks much faster then.
const HOLD_UNPROVEN: Duration = Duration::from_secs(3);

/// A Binding request of ours is sent again with the same id for so long: longer than any way that a call can
/// be held over.
const CHALLENGE_LIFE: Duration = Duration::from_secs(5);

/// An owner that was asked for its proof so lately is taken at its word: others' engines do not answer its
/// hello meanwhile. A fraction of [`CHALLENGE_LIFE`], so who owns a path without ever proving it keeps others
/// waiting for a fifth of the time.
const ANSWER_TIME: Duration = Duration::from_secs(1);

/// A check along a new path without USE-CANDIDATE moves the pair if the selected one has had no check for
/// this long. Chromium checks a selected pair every 2.5 s, so backup pairs of a healthy client never take
/// over.
const REBIND_AFTER: Duration = Duration::from_secs(3);

/// A path that an authenticated check came along.
#[derive(Clone, Copy, Debug)]
struct Known {
    path: Path,
    /// Tells it from a path with the same addresses that was known before.
    serial: u32,
    last_check: Time,
    /// When a check along it last had USE-CANDIDATE.
    nominated: Time,
    /// When it was last shown that somebody reads there, or since then something authentic came along it.
    proven: Option<Time>,
    /// Octets that may go out along it while it is not proven.
    credit: usize,
    /// Our own Binding request along it that waits for an answer.
    challenge: Option<Challenge>,
}

/// A Binding request of ours.
#[derive(Clone, Copy, Debug)]
struct Challenge {
    id: TransactionId,
    /// When it was first sent.
    since: Time,
    /// When it was last sent.
    sent: Time,
}

/// Where the flights of a handshake went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flights {
    None,
    /// All of them along the path with this serial: who has read them has read them there.
    Along(u32),
    Several,
}

/// Of a STUN transaction (RFC 8489 §5).
pub(crate) type TransactionId = [u8; 12];

/// Whether a transaction id was seen before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdUse {
    /// Never, as far as we remember.
    New,
    /// Along this path: our answer was lost, or somebody sends again what he heard. It is answered and
    /// changes nothing.
    Repeated,
    /// Along another path: somebody sends again what he heard, from elsewhere.
    Elsewhere,
}

/// What an authenticated check did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckOutcome {
    Unchanged,
    /// The first pair was selected.
    Selected,
    /// Another pair than before is selected now.
    Moved,
}

/// What an authentic packet did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MediaOutcome {
    Unchanged,
    /// Another pair than before is selected now.
    Moved,
    /// The peer may want to be sent to where it came from, and must show that it is there.
    Asks,
}

#[derive(Debug)]
pub struct Ice {
    /// What we announced last.
    pub local: LocalCredentials,
    /// What we announced before the restart, until the peer uses the new ones.
    pub previous: Option<LocalCredentials>,
    /// The peer's ufrag: right half of its USERNAME.
    pub remote_ufrag: Vec<u8>,
    /// [`PATHS_MAX`] at most.
    known: Vec<Known>,
    serials: u32,
    /// The last transaction ids, each with the serial of the path it came along.
    ids: VecDeque<(TransactionId, u32)>,
    selected: Option<Path>,
    selected_proven: bool,
    flights: Flights,
    /// When something authentic last came along the selected path.
    consent: Time,
    /// When something authentic last came along any other.
    heard: Time,
}

impl Ice {
    #[must_use]
    pub fn new(local: LocalCredentials, remote_ufrag: &str, now: Time) -> Self {
        Self {
            local,
            previous: None,
            remote_ufrag: remote_ufrag.as_bytes().to_vec(),
            known: Vec::new(),
            serials: 0,
            ids: VecDeque::new(),
            selected: None,
            selected_proven: false,
            flights: Flights::None,
            consent: now,
            heard: now,
        }
    }

    /// Where to send, proven or not: what goes there must be paid for ([`Ice::pay`]).
    #[must_use]
    pub fn selected(&self) -> Option<&Path> {
        self.selected.as_ref()
    }

    /// Where media may go.
    #[inline]
    #[must_use]
    pub fn proven(&self) -> Option<&Path> {
        if self.selected_proven { self.selected.as_ref() } else { None }
    }

    /// When something authentic of the peer came last, along whatever path: a new check, SRTP or SRTCP. Before
    /// the first, when it was opened.
    #[must_use]
    pub fn last_heard(&self) -> Time {
        self.heard.max(self.consent)
    }

    /// When the peer last showed along the selected path that it wants what we send there.
    #[must_use]
    pub fn last_consent(&self) -> Time {
        self.consent
    }

    /// Paths to forget when the transport ends.
    pub fn paths(&self) -> impl Iterator<Item = Path> + '_ {
        self.known.iter().map(|known| known.path)
    }

    /// New credentials of both sides (RFC 8445 §9). Media goes on along the selected pair until the peer
    /// checks with the new ones.
    pub fn restart(&mut self, local: LocalCredentials, remote_ufrag: &str) -> Option<LocalCredentials> {
        self.remote_ufrag = remote_ufrag.as_bytes().to_vec();
        let old = std::mem::replace(&mut self.local, local);
        self.previous.replace(old)
    }

    /// The credentials a USERNAME speaks of: the current ones, or those before a restart that is under way.
    #[must_use]
    pub fn credentials_for(&self, username: &[u8]) -> Option<&LocalCredentials> {
        let ufrag = username.first_chunk::<UFRAG_LEN>()?;
        if *ufrag == self.local.ufrag {
            let remote = username.get(UFRAG_LEN + 1..)?;
            return (remote == self.remote_ufrag).then_some(&self.local);
        }
        self.previous.as_ref().filter(|p| p.ufrag == *ufrag)
    }

    /// Whether an authenticated check is a new one. Ids of new ones are remembered by [`Ice::on_check`].
    #[must_use]
    pub fn id_use(&mut self, id: &TransactionId, path: &Path) -> IdUse {
        let here = self.known(path).map(|known| (known.serial, known.proven.is_some()));
        let Some((_, serial)) = self.ids.iter_mut().find(|(seen, _)| seen == id) else { return IdUse::New };
        match here {
            Some((here, _)) if here == *serial => IdUse::Repeated,
            // Who overhears a check may be faster than the check. It still counts where the peer has proven
            // to be, or he could make all of them useless.
            Some((here, true)) if !self.known.iter().any(|k| k.serial == *serial && k.proven.is_some()) => {
                *serial = here;
                IdUse::New
            }
            _ => IdUse::Elsewhere,
        }
    }

    /// Takes note of a new authenticated check. Returns what it did, and a path that had to be forgotten for
    /// it.
    pub fn on_check(
        &mut self,
        now: Time,
        path: &Path,
        id: TransactionId,
        use_candidate: bool,
    ) -> (CheckOutcome, Option<Path>) {
        let forgotten = self.note(now, path, id, use_candidate);
        self.heard = now;
        let outcome = if self.selected.is_none() {
            self.select(*path);
            CheckOutcome::Selected
        } else if self.selected_proven || !self.is_wanted(now, path) {
            // A proven path waits for the other's proof: see `on_proof`.
            CheckOutcome::Unchanged
        } else {
            self.select(*path);
            CheckOutcome::Moved
        };
        if self.selected == Some(*path) {
            self.consent = now;
        }
        (outcome, forgotten)
    }

    /// A packet came along `path` that the keys have opened. Its sender may have forged its address: the pair
    /// moves there only where the peer has been seen to read, at this port or at another.
    #[inline]
    pub fn on_authentic(&mut self, now: Time, path: &Path) -> MediaOutcome {
        if self.selected_proven && self.selected.as_ref() == Some(path) {
            self.consent = now;
            return MediaOutcome::Unchanged;
        }
        self.on_authentic_elsewhere(now, path)
    }

    fn on_authentic_elsewhere(&mut self, now: Time, path: &Path) -> MediaOutcome {
        self.hear(now, path);
        let host = path.remote.ip();
        if self.known.iter().any(|known| known.proven.is_some() && known.path.remote.ip() == host) {
            return match self.on_proof(now, path) {
                CheckOutcome::Moved => MediaOutcome::Moved,
                CheckOutcome::Selected | CheckOutcome::Unchanged => MediaOutcome::Unchanged,
            };
        }
        let asked = self.known(path).and_then(|known| known.challenge);
        let was_asked = asked.is_some_and(|asked| now.since(asked.sent) < ANSWER_TIME);
        let wanted = !self.selected_proven || self.is_wanted(now, path);
        if wanted && !was_asked { MediaOutcome::Asks } else { MediaOutcome::Unchanged }
    }

    /// Something authentic came along `path`, which proves nothing.
    pub fn hear(&mut self, now: Time, path: &Path) {
        self.heard = now;
        if self.selected.as_ref() == Some(path) {
            self.consent = now;
        }
    }

    /// The peer has read what we sent along `path`. The pair moves there if it wants that.
    pub fn on_proof(&mut self, now: Time, path: &Path) -> CheckOutcome {
        let wanted = self.is_wanted(now, path);
        let Some(known) = self.known.iter_mut().find(|known| known.path == *path) else {
            return CheckOutcome::Unchanged;
        };
        known.proven = Some(now);
        known.challenge = None;
        self.heard = now;
        if self.selected_proven && !wanted {
            return CheckOutcome::Unchanged;
        }
        let moved = self.selected != Some(*path);
        self.select(*path);
        self.consent = now;
        if moved { CheckOutcome::Moved } else { CheckOutcome::Unchanged }
    }

    /// A datagram of the handshake went out along `path`.
    pub fn note_flight(&mut self, path: &Path) {
        let serial = self.known(path).map_or(0, |known| known.serial);
        self.flights = match self.flights {
            Flights::None => Flights::Along(serial),
            Flights::Along(before) if before == serial => return,
            Flights::Along(_) | Flights::Several => Flights::Several,
        };
    }

    /// Where the peer has read our flights if it ends the handshake now. `None` if they went along several
    /// paths: it may have read them along any.
    #[must_use]
    pub fn read_along(&self) -> Option<Path> {
        match self.flights {
            Flights::Along(serial) => {
                self.known.iter().find(|known| known.serial == serial).map(|known| known.path)
            }
            Flights::None | Flights::Several => None,
        }
    }

    fn select(&mut self, path: Path) {
        self.selected = Some(path);
        self.selected_proven = self.known(&path).is_some_and(|known| known.proven.is_some());
    }

    /// Whether the peer would rather have `path` than the selected one: it nominated it later, or the
    /// selected one is silent.
    fn is_wanted(&self, now: Time, path: &Path) -> bool {
        let (Some(known), Some(selected)) = (self.known(path), self.selected) else { return false };
        if selected == *path {
            return false;
        }
        match self.known(&selected) {
            Some(old) => known.nominated > old.nominated || now.since(old.last_check) >= REBIND_AFTER,
            None => true,
        }
    }

    /// Whether this transport may keep `path` when another one's check comes along it.
    #[must_use]
    pub fn holds(&self, now: Time, path: &Path) -> bool {
        let Some(known) = self.known(path) else { return false };
        let Some(proven) = known.proven else { return now.since(known.last_check) < HOLD_UNPROVEN };
        let authentic = if self.selected == Some(*path) { self.consent } else { proven };
        now.since(known.last_check.max(authentic)) < HOLD_PROVEN
    }

    /// Whether it is worth asking the peer to prove `path`: it would move there, the end of the handshake
    /// cannot prove it any more, or there is a `need`, as others claim it or no path is proven after all.
    #[must_use]
    pub fn should_challenge(&self, now: Time, path: &Path, need: bool) -> bool {
        let Some(known) = self.known(path) else { return false };
        let is_selected = self.selected == Some(*path);
        let fresh = known.proven.is_some() && is_selected;
        let wanted = self.selected_proven && self.is_wanted(now, path);
        let is_left = self.flights != Flights::None && self.read_along() != Some(*path);
        wanted || need && !fresh || is_selected && !fresh && is_left
    }

    /// The id of a Binding request of ours along `path` that may still be answered. Checks come faster than
    /// answers where the way is long, so it is sent again: were each a new one, no answer would ever be to
    /// the last.
    #[must_use]
    pub fn outstanding(&self, now: Time, path: &Path) -> Option<TransactionId> {
        let challenge = self.known(path)?.challenge?;
        (now.since(challenge.since) < CHALLENGE_LIFE).then_some(challenge.id)
    }

    /// Remembers the id of a Binding request of ours along `path`; the last one counts.
    pub fn set_challenge(&mut self, now: Time, path: &Path, id: TransactionId) {
        if let Some(known) = self.known_mut(path) {
            let again = known.challenge.filter(|last| last.id == id);
            let since = again.map_or(now, |last| last.since);
            known.challenge = Some(Challenge { id, since, sent: now });
        }
    }

    /// Whether `path` is proven, or its proof may be under way: the peer was asked for it a moment ago.
    #[must_use]
    pub fn is_believed(&self, now: Time, path: &Path) -> bool {
        let asked = self.known(path).and_then(|known| known.challenge);
        self.is_proven(path) || asked.is_some_and(|asked| now.since(asked.since) < ANSWER_TIME)
    }

    /// Whether somebody has read along `path` what we sent, as the peer shows.
    #[must_use]
    pub fn is_proven(&self, path: &Path) -> bool {
        self.known(path).is_some_and(|known| known.proven.is_some())
    }

    /// Whether `id` is that of our Binding request along `path`.
    #[must_use]
    pub fn is_challenge(&self, path: &Path, id: &TransactionId) -> bool {
        self.known(path).is_some_and(|known| known.challenge.is_some_and(|asked| asked.id == *id))
    }

    /// Our Binding request along `path` was answered. Whoever heard the answer cannot send it again: it would
    /// be a sign of life of somebody who is dead.
    pub fn answered(&mut self, path: &Path) {
        if let Some(known) = self.known_mut(path) {
            known.challenge = None;
        }
    }

    /// Octets came along `path`: three times as many may go back.
    pub fn earn(&mut self, path: &Path, octets: usize) {
        if let Some(known) = self.known_mut(path) {
            known.credit = known.credit.saturating_add(octets * CREDIT_PER_OCTET);
        }
    }

    /// Whether [`Ice::pay`] would.
    #[must_use]
    pub fn affords(&self, path: &Path, octets: usize) -> bool {
        self.known(path).is_some_and(|known| known.proven.is_some() || known.credit >= octets)
    }

    /// Whether so many octets may go out along `path`. While it is not proven they are taken from what came
    /// from there.
    #[must_use]
    pub fn pay(&mut self, path: &Path, octets: usize) -> bool {
        let Some(known) = self.known_mut(path) else { return false };
        if known.proven.is_some() {
            return true;
        }
        let left = known.credit.checked_sub(octets);
        known.credit = left.unwrap_or(known.credit);
        left.is_some()
    }

    /// Another transport has `path` now.
    pub fn forget(&mut self, path: &Path) {
        self.known.retain(|known| known.path != *path);
        if self.selected == Some(*path) {
            self.selected = None;
            self.selected_proven = false;
            // What was proven before is better than nothing.
            let last = self.known.iter().filter(|known| known.proven.is_some()).max_by_key(|k| k.last_check);
            if let Some(path) = last.map(|known| known.path) {
                self.select(path);
            }
        }
    }

    fn known(&self, path: &Path) -> Option<&Known> {
        self.known.iter().find(|known| known.path == *path)
    }

    fn known_mut(&mut self, path: &Path) -> Option<&mut Known> {
        self.known.iter_mut().find(|known| known.path == *path)
    }

    fn note(&mut self, now: Time, path: &Path, id: TransactionId, use_candidate: bool) -> Option<Path> {
        let mut forgotten = None;
        if self.known(path).is_none() {
            forgotten = (self.known.len() == PATHS_MAX).then(|| self.evict()).flatten();
            self.serials += 1;
            let (last_check, nominated) = (now, Time::ZERO);
            let (serial, path) = (self.serials, *path);
            let (proven, credit, challenge) = (None, 0, None);
            self.known.push(Known { path, serial, last_check, nominated, proven, credit, challenge });
        }
        let Some(known) = self.known.iter_mut().find(|known| known.path == *path) else { return forgotten };
        known.last_check = now;
        if use_candidate {
            known.nominated = now;
        }
        let serial = known.serial;
        if !self.ids.iter().any(|(seen, _)| *seen == id) {
            // Room for all at once: checks come while media flows, which allocates nothing.
            if self.ids.is_empty() {
                self.ids.reserve_exact(IDS_MAX);
            } else if self.ids.len() == IDS_MAX {
                self.ids.pop_front();
            }
            self.ids.push_back((id, serial));
        }
        forgotten
    }

    /// Drops the path that has been silent longest, never the selected one.
    fn evict(&mut self) -> Option<Path> {
        let (index, _) = (self.known.iter().enumerate())
            .filter(|(_, known)| Some(known.path) != self.selected)
            .min_by_key(|(_, known)| (known.proven.is_some(), known.last_check))?;
        Some(self.known.swap_remove(index).path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demux::Ufrag;
    use crate::rng::Rng;
    use std::net::SocketAddr;

    fn path(port: u16) -> Path {
        Path { remote: SocketAddr::from(([192, 0, 2, 1], port)), local: None }
    }

    fn at(ms: u64) -> Time {
        Time::from_nanos(1_000_000_000 + ms * 1_000_000)
    }

    /// A check that is like no other.
    fn check(ice: &mut Ice, now: Time, path: &Path, use_candidate: bool) -> (CheckOutcome, Option<Path>) {
        let mut id = [0; 12];
        id[..4].copy_from_slice(&path.remote.port().to_be_bytes().repeat(2));
        id[4..].copy_from_slice(&now.as_nanos().to_be_bytes());
        assert_eq!(ice.id_use(&id, path), IdUse::New);
        ice.on_check(now, path, id, use_candidate)
    }

    fn ice() -> Ice {
        Ice::new(LocalCredentials::random(&mut Rng::new([7; 32])), "peer", at(0))
    }

    #[test]
    fn pair_selection_table() {
        use CheckOutcome::{Moved, Selected, Unchanged};
        let mut ice = ice();
        for (ms, port, use_candidate, want, selected) in [
            (0, 1, false, Selected, 1), // the first authenticated check is good enough to answer along
            (10, 2, false, Unchanged, 1), // a backup pair
            (20, 2, true, Moved, 2),    // nominated
            (2_500, 2, true, Unchanged, 2), // consent
            (2_600, 3, false, Unchanged, 2), // another backup pair of a healthy client
            (5_600, 3, false, Moved, 3), // the nominated one fell silent: a rebind
            (5_700, 2, true, Moved, 2),
        ] {
            assert_eq!(check(&mut ice, at(ms), &path(port), use_candidate).0, want, "at {ms} ms");
            assert_eq!(ice.selected(), Some(&path(selected)), "at {ms} ms");
        }
    }

    #[test]
    fn the_selected_address_is_never_evicted() {
        let mut ice = ice();
        check(&mut ice, at(0), &path(1), true);
        let mut forgotten = Vec::new();
        for port in 2..30 {
            forgotten.extend(check(&mut ice, at(u64::from(port)), &path(port), false).1);
        }
        assert_eq!(forgotten.len(), 29 - PATHS_MAX);
        assert!(!forgotten.contains(&path(1)));
        assert_eq!(ice.paths().count(), PATHS_MAX);
    }

    #[test]
    fn a_restart_keeps_the_old_password_good_until_the_new_one_is_used() {
        let mut rng = Rng::new([9; 32]);
        let mut ice = ice();
        let old = ice.local.ufrag;
        ice.restart(LocalCredentials::random(&mut rng), "peer2");
        let name = |ufrag: &Ufrag, remote: &[u8]| [ufrag, &b":"[..], remote].concat();
        assert!(ice.credentials_for(&name(&old, b"peer")).is_some());
        let new = ice.local.ufrag;
        assert!(ice.credentials_for(&name(&new, b"peer2")).is_some());
        assert!(ice.credentials_for(&name(&new, b"peer")).is_none(), "S03: wrong remote ufrag");
    }
}
