//! ICE-lite (RFC 8445 §2.5): answers checks, never sends one. The peer is controlling and nominates.
//!
//! Invariants
//! - The selected pair moves only by a Binding request with good MESSAGE-INTEGRITY.
//! - A bad check is an error response at most; it never ends anything.
//! - Consent (RFC 7675) is the peer's own checks: as long as they come, the peer wants our packets.

use crate::demux::{UFRAG_LEN, Ufrag};
use crate::outbox::Path;
use crate::rng::Rng;
use crate::time::Time;
use crate::wire::stun::IntegrityKey;
use std::net::SocketAddr;
use std::time::Duration;

/// Length of a password the relay makes: 144 bits (RFC 8445 asks for 128).
pub const PWD_LEN: usize = 24;

/// Addresses one peer may have validated at a time: two interfaces, two families, some rebinds.
const VALIDATED_MAX: usize = 8;

/// A check from a new address without USE-CANDIDATE moves the pair if the selected one has had no check for this long.
/// Chromium checks a selected pair every 2.5 s, so backup pairs of a healthy client never take over.
const REBIND_AFTER: Duration = Duration::from_secs(3);

/// What the relay announced about itself.
pub struct LocalCredentials {
    /// Left half of the peers' USERNAME.
    pub ufrag: Ufrag,
    /// As announced.
    pub pwd: [u8; PWD_LEN],
    /// The same for HMAC; prepared once the peer has come.
    pub key: IntegrityKey,
}

impl LocalCredentials {
    /// New random ones.
    #[must_use]
    pub fn random(rng: &mut Rng) -> Self {
        let pwd = rng.ice_string::<PWD_LEN>();
        Self { ufrag: rng.ice_string(), key: IntegrityKey::unprepared(&pwd), pwd }
    }

    /// The ufrag as text.
    #[must_use]
    pub fn ufrag_text(&self) -> String {
        String::from_utf8_lossy(&self.ufrag).into_owned()
    }

    /// The password as text.
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

/// An address the peer has proved to own.
#[derive(Clone, Copy, Debug)]
struct Validated {
    path: Path,
    last_check: Time,
}

/// What an authenticated check did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckOutcome {
    /// The pair stays as it is.
    Unchanged,
    /// The first pair was selected.
    Selected,
    /// Another pair than before is selected now.
    Moved,
}

/// One transport's ICE state.
#[derive(Debug)]
pub struct Ice {
    /// What we announced last.
    pub local: LocalCredentials,
    /// What we announced before the restart, until the peer uses the new ones.
    pub previous: Option<LocalCredentials>,
    /// The peer's ufrag: right half of its USERNAME.
    pub remote_ufrag: Vec<u8>,
    /// [`VALIDATED_MAX`] at most.
    validated: Vec<Validated>,
    selected: Option<Path>,
    last_check: Time,
}

impl Ice {
    /// Nothing validated yet.
    #[must_use]
    pub fn new(local: LocalCredentials, remote_ufrag: &str, now: Time) -> Self {
        Self {
            local,
            previous: None,
            remote_ufrag: remote_ufrag.as_bytes().to_vec(),
            validated: Vec::new(),
            selected: None,
            last_check: now,
        }
    }

    /// Where to send.
    #[must_use]
    pub fn selected(&self) -> Option<&Path> {
        self.selected.as_ref()
    }

    /// When an authenticated check came last.
    #[must_use]
    pub fn last_check(&self) -> Time {
        self.last_check
    }

    /// Addresses to forget when the transport ends.
    pub fn remotes(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.validated.iter().map(|v| v.path.remote)
    }

    /// New credentials of both sides (RFC 8445 §9). Media goes on along the selected pair until the peer checks with
    /// the new ones.
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

    /// Takes note of an authenticated check. Returns what it did, and an address that had to be forgotten for it.
    pub fn on_check(
        &mut self,
        now: Time,
        path: &Path,
        use_candidate: bool,
    ) -> (CheckOutcome, Option<SocketAddr>) {
        let forgotten = self.validate(now, path);
        self.last_check = now;
        let Some(selected) = self.selected else {
            self.selected = Some(*path);
            return (CheckOutcome::Selected, forgotten);
        };
        if selected == *path || !(use_candidate || self.is_silent(&selected, now)) {
            return (CheckOutcome::Unchanged, forgotten);
        }
        self.selected = Some(*path);
        (CheckOutcome::Moved, forgotten)
    }

    fn is_silent(&self, path: &Path, now: Time) -> bool {
        let last = self.validated.iter().find(|v| v.path == *path).map_or(Time::ZERO, |v| v.last_check);
        now.since(last) >= REBIND_AFTER
    }

    fn validate(&mut self, now: Time, path: &Path) -> Option<SocketAddr> {
        if let Some(known) = self.validated.iter_mut().find(|v| v.path.remote == path.remote) {
            *known = Validated { path: *path, last_check: now };
            return None;
        }
        let forgotten = (self.validated.len() == VALIDATED_MAX).then(|| self.evict()).flatten();
        self.validated.push(Validated { path: *path, last_check: now });
        forgotten
    }

    /// Drops the address that has been silent longest, never the selected one.
    fn evict(&mut self) -> Option<SocketAddr> {
        let selected = self.selected.map(|s| s.remote);
        let (index, _) = (self.validated.iter().enumerate())
            .filter(|(_, v)| Some(v.path.remote) != selected)
            .min_by_key(|(_, v)| v.last_check)?;
        Some(self.validated.remove(index).path.remote)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(port: u16) -> Path {
        Path { remote: SocketAddr::from(([192, 0, 2, 1], port)), local: None }
    }

    fn at(ms: u64) -> Time {
        Time::from_nanos(1_000_000_000 + ms * 1_000_000)
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
            assert_eq!(ice.on_check(at(ms), &path(port), use_candidate).0, want, "at {ms} ms");
            assert_eq!(ice.selected(), Some(&path(selected)), "at {ms} ms");
        }
    }

    #[test]
    fn the_selected_address_is_never_evicted() {
        let mut ice = ice();
        ice.on_check(at(0), &path(1), true);
        let mut forgotten = Vec::new();
        for port in 2..20 {
            forgotten.extend(ice.on_check(at(u64::from(port)), &path(port), false).1);
        }
        assert_eq!(forgotten.len(), 19 - VALIDATED_MAX);
        assert!(!forgotten.contains(&path(1).remote));
        assert_eq!(ice.remotes().count(), VALIDATED_MAX);
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
