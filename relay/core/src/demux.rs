//! Which transport a datagram belongs to: by the path it came along, or, for STUN, by the ufrag in USERNAME.
//!
//! A path has one owner. Another transport's check along it does not change that while the owner is heard of;
//! it makes that transport a claimant, which gets what the owner cannot have sent or wanted, until one of
//! them proves that its peer is there.
//!
//! Invariant: a path is in the table only if a Binding request with good MESSAGE-INTEGRITY came along it.

use crate::keys::TransportKey;
use crate::outbox::Path;
use arrayvec::ArrayVec;
use foldhash::fast::RandomState;
use std::collections::HashMap;

/// Length of a ufrag the relay makes: 48 bits, enough to make collisions and guesses rare among 20,000
/// transports.
pub(crate) const UFRAG_LEN: usize = 8;

pub(crate) type Ufrag = [u8; UFRAG_LEN];

/// Transports that may claim one path beside its owner. A path has more than one transport when a client's
/// old one is not closed yet, or when somebody forges; the oldest claim goes, which keeps nobody from proving
/// himself ([`crate::transports`]).
pub(crate) const CLAIMANTS_MAX: usize = 3;

/// Those who claim one path, oldest first.
pub(crate) type Claimants = ArrayVec<TransportKey, CLAIMANTS_MAX>;

#[derive(Debug, Default)]
pub(crate) struct Demux {
    by_path: HashMap<Path, TransportKey, RandomState>,
    /// Nearly always empty.
    claims: HashMap<Path, Claimants, RandomState>,
    by_ufrag: HashMap<Ufrag, TransportKey, RandomState>,
}

impl Demux {
    #[must_use]
    pub(crate) fn owner(&self, path: &Path) -> Option<TransportKey> {
        self.by_path.get(path).copied()
    }

    /// Those who claim a path beside its owner.
    #[inline]
    #[must_use]
    pub(crate) fn claimants(&self, path: &Path) -> Claimants {
        if self.claims.is_empty() {
            return Claimants::new();
        }
        self.claims.get(path).cloned().unwrap_or_default()
    }

    /// The transport that announced the left half of a STUN USERNAME (`local:remote`, RFC 8445 §7.2.2).
    #[must_use]
    pub(crate) fn by_username(&self, username: &[u8]) -> Option<TransportKey> {
        let (ufrag, rest) = username.split_first_chunk::<UFRAG_LEN>()?;
        if rest.first() != Some(&b':') {
            return None;
        }
        self.by_ufrag.get(ufrag).copied()
    }

    #[must_use]
    pub(crate) fn by_ufrag(&self, ufrag: &Ufrag) -> Option<TransportKey> {
        self.by_ufrag.get(ufrag).copied()
    }

    /// Every path with its owner, and with everybody who claims it.
    pub(crate) fn paths(&self) -> impl Iterator<Item = (Path, TransportKey)> + '_ {
        let claims = self.claims.iter().flat_map(|(path, keys)| keys.iter().map(|key| (*path, *key)));
        self.by_path.iter().map(|(path, key)| (*path, *key)).chain(claims)
    }

    #[must_use]
    pub(crate) fn ufrag_count(&self) -> usize {
        self.by_ufrag.len()
    }

    /// Announces a ufrag. False if it is taken.
    #[must_use]
    pub(crate) fn add_ufrag(&mut self, ufrag: Ufrag, key: TransportKey) -> bool {
        if self.by_ufrag.contains_key(&ufrag) {
            return false;
        }
        self.by_ufrag.insert(ufrag, key);
        true
    }

    pub(crate) fn remove_ufrag(&mut self, ufrag: &Ufrag) {
        self.by_ufrag.remove(ufrag);
    }

    /// Gives a path to a transport; who owned it before.
    pub(crate) fn bind(&mut self, path: Path, key: TransportKey) -> Option<TransportKey> {
        self.drop_claim(&path, key);
        self.by_path.insert(path, key).filter(|before| *before != key)
    }

    /// Notes that a transport claims a path that belongs to another.
    pub(crate) fn claim(&mut self, path: Path, key: TransportKey) {
        let claimants = self.claims.entry(path).or_default();
        if claimants.contains(&key) {
            return;
        }
        if claimants.is_full() {
            claimants.remove(0);
        }
        claimants.push(key);
    }

    /// Unbinds a path from `key`, whether it owned or claimed it. What it owned goes to the latest claimant.
    pub(crate) fn unbind(&mut self, path: &Path, key: TransportKey) {
        self.drop_claim(path, key);
        if self.by_path.get(path) != Some(&key) {
            return;
        }
        match self.claimants(path).last() {
            Some(&latest) => drop(self.bind(*path, latest)),
            None => drop(self.by_path.remove(path)),
        }
    }

    fn drop_claim(&mut self, path: &Path, key: TransportKey) {
        if self.claims.is_empty() {
            return;
        }
        if let Some(claimants) = self.claims.get_mut(path) {
            claimants.retain(|claimant| *claimant != key);
            if claimants.is_empty() {
                self.claims.remove(path);
            }
        }
    }
}
