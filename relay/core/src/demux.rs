//! Which transport a datagram belongs to: by its validated 5-tuple, or, for STUN, by the ufrag in USERNAME.
//!
//! Invariant: an address is in the table only if a Binding request with good MESSAGE-INTEGRITY came from it.

use foldhash::fast::RandomState;
use std::collections::HashMap;
use std::net::SocketAddr;

/// Length of a ufrag the relay makes: 48 bits, enough to make collisions and guesses rare among 20,000 transports.
pub const UFRAG_LEN: usize = 8;

/// A ufrag the relay made.
pub type Ufrag = [u8; UFRAG_LEN];

/// Index of a transport in its slab.
pub type TransportKey = usize;

/// The two tables.
#[derive(Debug, Default)]
pub struct Demux {
    by_remote: HashMap<SocketAddr, TransportKey, RandomState>,
    by_ufrag: HashMap<Ufrag, TransportKey, RandomState>,
}

impl Demux {
    /// The transport whose peer proved to own this address.
    #[must_use]
    pub fn by_remote(&self, remote: &SocketAddr) -> Option<TransportKey> {
        self.by_remote.get(remote).copied()
    }

    /// The transport that announced the left half of a STUN USERNAME (`local:remote`, RFC 8445 §7.2.2).
    #[must_use]
    pub fn by_username(&self, username: &[u8]) -> Option<TransportKey> {
        let (ufrag, rest) = username.split_first_chunk::<UFRAG_LEN>()?;
        if rest.first() != Some(&b':') {
            return None;
        }
        self.by_ufrag.get(ufrag).copied()
    }

    /// The transport that announced this ufrag.
    #[must_use]
    pub fn by_ufrag(&self, ufrag: &Ufrag) -> Option<TransportKey> {
        self.by_ufrag.get(ufrag).copied()
    }

    /// Every address with its transport.
    pub fn remotes(&self) -> impl Iterator<Item = (SocketAddr, TransportKey)> + '_ {
        self.by_remote.iter().map(|(remote, key)| (*remote, *key))
    }

    /// How many ufrags are announced.
    #[must_use]
    pub fn ufrag_count(&self) -> usize {
        self.by_ufrag.len()
    }

    /// Announces a ufrag. False if it is taken.
    #[must_use]
    pub fn add_ufrag(&mut self, ufrag: Ufrag, key: TransportKey) -> bool {
        if self.by_ufrag.contains_key(&ufrag) {
            return false;
        }
        self.by_ufrag.insert(ufrag, key);
        true
    }

    /// Forgets a ufrag.
    pub fn remove_ufrag(&mut self, ufrag: &Ufrag) {
        self.by_ufrag.remove(ufrag);
    }

    /// Binds an address that was just proved; it may have belonged to another transport before (a NAT reuses ports).
    pub fn bind(&mut self, remote: SocketAddr, key: TransportKey) {
        self.by_remote.insert(remote, key);
    }

    /// Unbinds an address if it still belongs to `key`.
    pub fn unbind(&mut self, remote: &SocketAddr, key: TransportKey) {
        if self.by_remote.get(remote) == Some(&key) {
            self.by_remote.remove(remote);
        }
    }
}
