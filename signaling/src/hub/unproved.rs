//! Streams whose clients have not proved an address yet: until there are keys, all that a client has shown is an offer, and
//! perhaps one check whose sender may be forged. That costs it a kilobyte and us a transport. So they are few, in all and
//! for each address they are asked from, or each connection where that is not known.

use crate::address::{Shares, Subnet, decrease};
use crate::id::ConnectionId;
use crate::id::StreamKey;
use crate::tally::Tally;
use crate::timer::Time;
use std::collections::HashMap;

/// Of one WebSocket whose client's address is not known: as many as a full screen of a large room asks for at once.
const UNPROVED_PER_CONNECTION: usize = 64;

/// Whose a stream is counted to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Asker {
    Address(Subnet),
    /// Behind a proxy that does not say who asks.
    Connection(ConnectionId),
    /// Counted in all only.
    Unknown,
}

impl Asker {
    pub(super) fn new(address: Option<Subnet>, connection: Option<ConnectionId>) -> Self {
        let connection = connection.map_or(Self::Unknown, Self::Connection);
        address.map_or(connection, Self::Address)
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Unproved {
    streams: HashMap<StreamKey, Asker>,
    by_address: Shares,
    by_connection: HashMap<ConnectionId, usize>,
    refused: Tally,
}

/// How many there may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct UnprovedLimits {
    pub(super) all: usize,
    pub(super) per_address: usize,
}

impl Unproved {
    /// Whether one more of this asker's may be begun.
    pub(super) fn admits(&mut self, now: Time, from: Asker, limits: UnprovedLimits) -> bool {
        let of_connection = |id| self.by_connection.get(&id).copied().unwrap_or(0);
        let (of_asker, fits) = match from {
            Asker::Address(address) => {
                (self.by_address.of(address), self.by_address.admits(address, limits.per_address, limits.all))
            }
            Asker::Connection(id) => {
                (of_connection(id), of_connection(id) < UNPROVED_PER_CONNECTION.min(limits.per_address))
            }
            Asker::Unknown => (0, true),
        };
        let admitted = fits && self.streams.len() < limits.all;
        if !admitted && let Some(count) = self.refused.note(now) {
            let (all, last) = (self.streams.len(), from);
            tracing::warn!(count, all, of_asker, ?last, "streams refused: too many without keys");
        }
        admitted
    }

    /// It is begun.
    pub(super) fn insert(&mut self, key: StreamKey, from: Asker) {
        if self.streams.insert(key, from).is_some() {
            return;
        }
        match from {
            Asker::Address(address) => self.by_address.add(address),
            Asker::Connection(id) => *self.by_connection.entry(id).or_default() += 1,
            Asker::Unknown => {}
        }
    }

    /// It has proved its client's address, or it is gone.
    pub(super) fn remove(&mut self, key: StreamKey) {
        match self.streams.remove(&key) {
            Some(Asker::Address(address)) => self.by_address.remove(address),
            Some(Asker::Connection(id)) => decrease(&mut self.by_connection, &id),
            Some(Asker::Unknown) | None => {}
        }
    }

    /// Entries of all tables.
    pub(super) fn len(&self) -> usize {
        self.streams.len() + self.by_address.len() + self.by_connection.len()
    }
}
