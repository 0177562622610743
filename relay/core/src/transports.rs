//! All transports of a shard: by key, by the controller's id, by the ufrag that was announced for them and by
//! the paths that lead to them.

mod paths;

use crate::command::RemoteCredentials;
use crate::demux::{Claimants, Demux, Ufrag};
use crate::ice::{CheckOutcome, LocalCredentials, TransactionId};
use crate::keys::{OfTransports, TransportKey};
use crate::outbox::Path;
use crate::rng::Rng;
use crate::table::Table;
use crate::time::Time;
use crate::timers::{Deadlines, TimerOwner};
use crate::transport::{Phase, SrtpSession, Transport};
use foldhash::fast::RandomState;
use std::collections::HashMap;
use std::ops::{Index, IndexMut};

#[derive(Default)]
pub struct Transports {
    table: Table<Transport, OfTransports>,
    ids: HashMap<u64, TransportKey, RandomState>,
    demux: Demux,
    /// Without keys: one check from a forged address proves nothing.
    unproved: usize,
    /// Hides the key in the ids of challenges.
    challenge_mask: u32,
}

impl Transports {
    /// None yet. `challenge_mask`: what nobody can guess.
    #[must_use]
    pub fn new(challenge_mask: u32) -> Self {
        Self { challenge_mask, ..Self::default() }
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.table.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    #[must_use]
    pub fn unproved(&self) -> usize {
        self.unproved
    }

    /// Adds one that has no keys yet, with [`Transports::fresh_credentials`].
    pub fn insert(&mut self, transport: Transport) -> TransportKey {
        let (id, ufrag) = (transport.identity.id, transport.ice.local.ufrag);
        let key = self.table.insert(transport);
        self.ids.insert(id, key);
        self.announce(key, ufrag);
        self.unproved += 1;
        key
    }

    /// Takes one out, with its ufrags and paths; its tracks are the caller's to remove.
    pub fn remove(&mut self, key: TransportKey) -> Option<Transport> {
        let transport = self.table.remove(key)?;
        self.ids.remove(&transport.identity.id);
        self.unproved -= usize::from(!transport.is_connected());
        self.demux.remove_ufrag(&transport.ice.local.ufrag);
        if let Some(previous) = &transport.ice.previous {
            self.demux.remove_ufrag(&previous.ufrag);
        }
        for path in transport.ice.paths() {
            self.demux.unbind(&path, key);
        }
        Some(transport)
    }

    /// Gives one its keys.
    pub fn connect(&mut self, key: TransportKey, session: SrtpSession) {
        let transport = &mut self.table[key];
        self.unproved -= usize::from(!transport.is_connected());
        transport.phase = Phase::Connected(Box::new(session));
    }

    /// Credentials whose ufrag no other transport has.
    #[must_use]
    pub fn fresh_credentials(&self, rng: &mut Rng) -> LocalCredentials {
        loop {
            let local = LocalCredentials::random(rng);
            if self.demux.by_ufrag(&local.ufrag).is_none() {
                return local;
            }
        }
    }

    fn announce(&mut self, key: TransportKey, ufrag: Ufrag) {
        let announced = self.demux.add_ufrag(ufrag, key);
        debug_assert!(announced, "fresh credentials are unique");
    }

    /// New ICE credentials of both sides; `local` are [`Transports::fresh_credentials`].
    pub fn restart_ice(&mut self, key: TransportKey, local: LocalCredentials, remote: RemoteCredentials) {
        self.announce(key, local.ufrag);
        let transport = &mut self.table[key];
        transport.identity.remote_pwd = remote.pwd;
        if let Some(older) = transport.ice.restart(local, &remote.ufrag) {
            self.demux.remove_ufrag(&older.ufrag);
        }
        if !matches!(transport.phase, Phase::Ice) {
            transport.ice.local.key.prepare();
        }
    }

    /// Takes note of a good check that was not seen before; what it did. `current`: it was signed with the
    /// latest credentials, so those before a restart are done with.
    pub fn on_check(
        &mut self,
        now: Time,
        key: TransportKey,
        path: &Path,
        (id, use_candidate): (TransactionId, bool),
        current: bool,
    ) -> CheckOutcome {
        let ice = &mut self.table[key].ice;
        if current && let Some(previous) = ice.previous.take() {
            self.demux.remove_ufrag(&previous.ufrag);
        }
        let (outcome, forgotten) = ice.on_check(now, path, id, use_candidate);
        if let Some(forgotten) = forgotten {
            self.demux.unbind(&forgotten, key);
        }
        outcome
    }

    #[must_use]
    pub fn is_connected(&self, key: TransportKey) -> bool {
        self.table[key].is_connected()
    }

    /// Makes sure that the timers of one are looked at.
    pub fn arm(&mut self, key: TransportKey, deadlines: &mut Deadlines<TimerOwner>) {
        deadlines.arm(TimerOwner::Transport(key), &mut self.table[key].timers);
    }

    /// The one that announced the left half of a STUN USERNAME (RFC 8445 §7.2.2).
    #[must_use]
    pub fn by_username(&self, username: &[u8]) -> Option<TransportKey> {
        self.demux.by_username(username)
    }

    #[inline]
    #[must_use]
    pub fn owner(&self, path: &Path) -> Option<TransportKey> {
        self.demux.owner(path)
    }

    /// Those that claim a path beside its owner.
    #[inline]
    #[must_use]
    pub fn claimants(&self, path: &Path) -> Claimants {
        self.demux.claimants(path)
    }

    /// By the controller's id.
    #[must_use]
    pub fn key(&self, id: u64) -> Option<TransportKey> {
        self.ids.get(&id).copied()
    }

    #[must_use]
    pub fn get(&self, key: TransportKey) -> Option<&Transport> {
        self.table.get(key)
    }

    pub fn get_mut(&mut self, key: TransportKey) -> Option<&mut Transport> {
        self.table.get_mut(key)
    }

    pub fn iter(&self) -> impl Iterator<Item = (TransportKey, &Transport)> {
        self.table.iter()
    }

    /// Whether ids, ufrags, paths and counts agree with what is there.
    ///
    /// # Errors
    /// What does not.
    pub fn check(&self) -> Result<(), String> {
        let unproved = self.iter().filter(|(_, transport)| !transport.is_connected()).count();
        if unproved != self.unproved {
            return Err(format!("{unproved} transports without keys, {} counted", self.unproved));
        }
        if self.ids.len() != self.len() {
            return Err(format!("{} ids of {} transports", self.ids.len(), self.len()));
        }
        if let Some((_, transport)) = self.iter().find(|(key, t)| self.key(t.identity.id) != Some(*key)) {
            return Err(format!("transport {}: its id leads elsewhere", transport.identity.id));
        }
        self.check_ufrags()?;
        self.check_paths()
    }

    fn check_ufrags(&self) -> Result<(), String> {
        let mut announced = 0;
        for (key, Transport { ice, identity, .. }) in self.iter() {
            for credentials in [Some(&ice.local), ice.previous.as_ref()].into_iter().flatten() {
                announced += 1;
                if self.demux.by_ufrag(&credentials.ufrag) != Some(key) {
                    return Err(format!("a ufrag of transport {} leads elsewhere", identity.id));
                }
            }
        }
        match self.demux.ufrag_count() {
            count if count == announced => Ok(()),
            count => Err(format!("{count} ufrags, {announced} announced")),
        }
    }

    fn check_paths(&self) -> Result<(), String> {
        let knows = |key, path| self.get(key).is_some_and(|t| t.ice.paths().any(|known| known == path));
        match self.demux.paths().find(|(path, key)| !knows(*key, *path)) {
            Some((path, key)) => {
                Err(format!("{path:?} leads to a transport at {key:?} that does not know it"))
            }
            None => Ok(()),
        }
    }

    /// To damage them.
    #[cfg(test)]
    pub(crate) fn indices_mut(&mut self) -> (&mut HashMap<u64, TransportKey, RandomState>, &mut Demux) {
        (&mut self.ids, &mut self.demux)
    }
}

impl Index<TransportKey> for Transports {
    type Output = Transport;

    #[inline]
    fn index(&self, key: TransportKey) -> &Transport {
        &self.table[key]
    }
}

impl IndexMut<TransportKey> for Transports {
    #[inline]
    fn index_mut(&mut self, key: TransportKey) -> &mut Transport {
        &mut self.table[key]
    }
}
