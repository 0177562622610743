//! ICE-lite (RFC 8445 §2.5): answers checks, never sends one. The peer is controlling and nominates.
//!
//! A check says who its sender is, but not where: whoever has a ufrag of his own may forge the source
//! address, and a check that was overheard may be sent again from elsewhere. So a path (local and remote
//! address) is *known* by a check and *proven* by something that only the peer can have sent from there:
//! SRTP, SRTCP, the end of a DTLS handshake, or the answer to a Binding request of ours whose transaction id
//! nobody else can know (RFC 9000 §8.2 does the same with PATH_CHALLENGE).
//!
//! Invariants
//! - Media goes to a proven path only, and stays there until another one is both nominated (or the old one
//!   silent) and proven.
//! - A path that is not proven gets at most [`CREDIT_PER_OCTET`] times the octets that came from it (RFC 9000
//!   §8.1).
//! - A transaction id is good for one path.
//! - A bad check is an error response at most; it never ends anything.
//! - Consent (RFC 7675) is what only the peer can send: its own checks, and SRTP or SRTCP along the selected
//!   path, whose keys nobody else has. Not every peer goes on checking: libnice keeps a path open by Binding
//!   indications, which nobody signs (RFC 8445 §11).

use crate::demux::{UFRAG_LEN, Ufrag};
use crate::outbox::Path;
use crate::rng::Rng;
use crate::time::Time;
use crate::wire::stun::IntegrityKey;
use std::collections::VecDeque;
use std::time::Duration;

/// Length of a password the relay makes: 144 bits (RFC 8445 asks for 128).
pub(crate) const PWD_LEN: usize = 24;

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

/// What the relay announced about itself.
pub struct LocalCredentials {
    /// Left half of the peers' USERNAME.
    pub ufrag: Ufrag,
    pub pwd: [u8; PWD_LEN],
    /// The same for HMAC; prepared once the peer has come.
    pub key: IntegrityKey,
}

impl LocalCredentials {
    #[must_use]
    pub fn random(rng: &mut Rng) -> Self {
        let pwd = rng.ice_string::<PWD_LEN>();
        Self { ufrag: rng.ice_string(), key: IntegrityKey::unprepared(&pwd), pwd }
    }

    #[must_use]
    pub fn ufrag_text(&self) -> String {
        String::from_utf8_lossy(&self.ufrag).into_owned()
    }

    #[must_use]
    pub fn pwd_text(&self) -> String {
        String::from_utf8_lossy(&self.pwd).into_owned()
    }
}

impl std::fmt::Debug for LocalCredentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalCredentials").field("ufrag", &self.ufrag_text()).finish_non_exhaustive()
    }
}

/// A path that an authenticated check came along.
#[derive(Clone, Copy, Debug)]
struct Known {
    path: Path,
    /// Tells it from a path with the same addresses that was known before.
    serial: u32,
    last_check: Time,
    /// When a check along it last had USE-CANDIDATE.
    nominated: Time,
    /// When something came along it that only the peer can have sent from there.
    proven: Option<Time>,
    /// Octets that may go out along it while it is not proven.
    credit: usize,
    /// Transaction id of our own Binding request along it that waits for an answer, and when it was first
    /// sent.
    challenge: Option<(TransactionId, Time)>,
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
    last_check: Time,
    /// When something authentic last came along the selected path.
    last_authentic: Time,
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
            last_check: now,
            last_authentic: Time::ZERO,
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

    /// When something authentic of the peer came last: a new check, or what only it can have sent along the
    /// selected path. Before the first, when it was opened.
    #[must_use]
    pub fn last_heard(&self) -> Time {
        self.last_check.max(self.last_authentic)
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
        self.last_check = now;
        if self.selected.is_none() {
            self.select(*path);
            return (CheckOutcome::Selected, forgotten);
        }
        // A proven path waits for the other's proof: see `on_authentic`.
        if self.selected_proven || !self.is_wanted(now, path) {
            return (CheckOutcome::Unchanged, forgotten);
        }
        self.select(*path);
        (CheckOutcome::Moved, forgotten)
    }

    /// Something came along `path` that only the peer can have sent from there. The pair moves there if the
    /// peer wants it.
    #[inline]
    pub fn on_authentic(&mut self, now: Time, path: &Path) -> CheckOutcome {
        if self.selected_proven && self.selected.as_ref() == Some(path) {
            self.last_authentic = now;
            return CheckOutcome::Unchanged;
        }
        self.prove(now, path)
    }

    fn prove(&mut self, now: Time, path: &Path) -> CheckOutcome {
        let wanted = self.is_wanted(now, path);
        let Some(known) = self.known.iter_mut().find(|known| known.path == *path) else {
            return CheckOutcome::Unchanged;
        };
        known.proven = Some(now);
        known.challenge = None;
        if self.selected_proven && !wanted {
            return CheckOutcome::Unchanged;
        }
        let moved = self.selected != Some(*path);
        self.select(*path);
        self.last_authentic = now;
        if moved { CheckOutcome::Moved } else { CheckOutcome::Unchanged }
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
        let authentic = if self.selected == Some(*path) { self.last_authentic } else { proven };
        now.since(known.last_check.max(authentic)) < HOLD_PROVEN
    }

    /// Whether it is worth asking the peer to prove `path`: it would move there, or `contested` it with
    /// others.
    #[must_use]
    pub fn should_challenge(&self, now: Time, path: &Path, contested: bool) -> bool {
        let fresh = |known: &Known| known.proven.is_some() && self.selected == Some(*path);
        let wanted = self.selected_proven && self.is_wanted(now, path);
        self.known(path).is_some_and(|known| wanted || contested && !fresh(known))
    }

    /// The id of a Binding request of ours along `path` that may still be answered. Checks come faster than
    /// answers where the way is long, so it is sent again: were each a new one, no answer would ever be to
    /// the last.
    #[must_use]
    pub fn outstanding(&self, now: Time, path: &Path) -> Option<TransactionId> {
        let (id, since) = self.known(path)?.challenge?;
        (now.since(since) < CHALLENGE_LIFE).then_some(id)
    }

    /// Remembers the id of a Binding request of ours along `path`; the last one counts.
    pub fn set_challenge(&mut self, now: Time, path: &Path, id: TransactionId) {
        if let Some(known) = self.known_mut(path).filter(|k| k.challenge.is_none_or(|(last, _)| last != id)) {
            known.challenge = Some((id, now));
        }
    }

    /// Whether `path` is proven, or its proof may be under way: the peer was asked for it a moment ago.
    #[must_use]
    pub fn is_believed(&self, now: Time, path: &Path) -> bool {
        let asked = self.known(path).and_then(|known| known.challenge);
        self.is_proven(path) || asked.is_some_and(|(_, since)| now.since(since) < ANSWER_TIME)
    }

    /// Whether something came along `path` that only the peer can have sent from there.
    #[must_use]
    pub fn is_proven(&self, path: &Path) -> bool {
        self.known(path).is_some_and(|known| known.proven.is_some())
    }

    /// Whether `id` is that of our Binding request along `path`.
    #[must_use]
    pub fn is_challenge(&self, path: &Path, id: &TransactionId) -> bool {
        self.known(path).is_some_and(|known| known.challenge.is_some_and(|(asked, _)| asked == *id))
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
