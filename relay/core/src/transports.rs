//! All transports of a shard, by key and by the controller's id.

use crate::keys::{OfTransports, TransportKey};
use crate::table::Table;
use crate::transport::{Phase, Session, Transport};
use foldhash::fast::RandomState;
use std::collections::HashMap;
use std::ops::{Index, IndexMut};

/// See the module.
#[derive(Default)]
pub struct Transports {
    table: Table<Transport, OfTransports>,
    ids: HashMap<u64, TransportKey, RandomState>,
    /// Without keys: one check from a forged address proves nothing.
    unproved: usize,
}

impl Transports {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// How many of them have no keys.
    #[must_use]
    pub fn unproved(&self) -> usize {
        self.unproved
    }

    /// Adds one that has no keys yet.
    pub fn insert(&mut self, transport: Transport) -> TransportKey {
        let id = transport.identity.id;
        let key = self.table.insert(transport);
        self.ids.insert(id, key);
        self.unproved += 1;
        key
    }

    /// Takes one out; its tracks and paths are the caller's to remove.
    pub fn remove(&mut self, key: TransportKey) -> Option<Transport> {
        let transport = self.table.remove(key)?;
        self.ids.remove(&transport.identity.id);
        self.unproved -= usize::from(!transport.is_connected());
        Some(transport)
    }

    /// Gives one its keys.
    pub fn connect(&mut self, key: TransportKey, session: Session) {
        let transport = &mut self.table[key];
        self.unproved -= usize::from(!transport.is_connected());
        transport.phase = Phase::Connected(Box::new(session));
    }

    /// By the controller's id.
    #[must_use]
    pub fn key(&self, id: u64) -> Option<TransportKey> {
        self.ids.get(&id).copied()
    }

    /// The key of what stands at a place now.
    #[must_use]
    pub fn key_at(&self, index: u32) -> Option<TransportKey> {
        self.table.key_at(index)
    }

    /// The transport, if it is there still.
    #[must_use]
    pub fn get(&self, key: TransportKey) -> Option<&Transport> {
        self.table.get(key)
    }

    /// The transport, if it is there still.
    pub fn get_mut(&mut self, key: TransportKey) -> Option<&mut Transport> {
        self.table.get_mut(key)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (TransportKey, &Transport)> {
        self.table.iter()
    }

    /// Whether ids and counts agree with what is there.
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
        match self.iter().find(|(key, transport)| self.key(transport.identity.id) != Some(*key)) {
            Some((_, transport)) => {
                Err(format!("transport {}: its id leads elsewhere", transport.identity.id))
            }
            None => Ok(()),
        }
    }

    /// To damage them.
    #[cfg(test)]
    pub(crate) fn ids_mut(&mut self) -> &mut HashMap<u64, TransportKey, RandomState> {
        &mut self.ids
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
