//! Streams whose clients have not proved an address yet: until there are keys, all that a client has shown is
//! an offer, and perhaps one check whose sender may be forged. That costs it a kilobyte and us a transport.
//! So they are few, in all and for each address they are asked from, or each connection where that is not
//! known.

use crate::address::{Shares, Subnet, decrease};
use crate::config::Signaling;
use crate::id::{ConnectionId, StreamKey};
use crate::log_limit::LogLimit;
use crate::timer::Time;
use std::collections::HashMap;

/// Of one WebSocket whose client's address is not known: as many as a full screen of a large room asks for at
/// once.
const UNPROVED_PER_CONNECTION: usize = 64;

/// Whose a stream is counted to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Requester {
    Address(Subnet),
    /// Behind a proxy that does not say who asks.
    Connection(ConnectionId),
    /// Counted in all only.
    Unknown,
}

impl Requester {
    pub(super) fn new(address: Option<Subnet>, connection: Option<ConnectionId>) -> Self {
        let connection = connection.map_or(Self::Unknown, Self::Connection);
        address.map_or(connection, Self::Address)
    }
}

#[derive(Debug, Default)]
pub(super) struct Unproved {
    streams: HashMap<StreamKey, Requester>,
    by_address: Shares,
    by_connection: HashMap<ConnectionId, usize>,
    refused: LogLimit,
}

impl Unproved {
    /// Whether one more of this requester's may be begun.
    pub(super) fn admits(&mut self, now: Time, from: Requester, limits: &Signaling) -> bool {
        let Signaling { max_unproved_streams: all, max_unproved_streams_per_address: per_address, .. } =
            *limits;
        let of_connection = |id| self.by_connection.get(&id).copied().unwrap_or(0);
        let (of_requester, fits) = match from {
            Requester::Address(address) => {
                (self.by_address.of(address), self.by_address.admits(address, per_address, all))
            }
            Requester::Connection(id) => {
                (of_connection(id), of_connection(id) < UNPROVED_PER_CONNECTION.min(per_address))
            }
            Requester::Unknown => (0, true),
        };
        let admitted = fits && self.streams.len() < all;
        if !admitted && let Some(count) = self.refused.note(now) {
            let (all, last) = (self.streams.len(), from);
            tracing::warn!(count, all, of_requester, ?last, "streams refused: too many without keys");
        }
        admitted
    }

    /// It is begun.
    pub(super) fn insert(&mut self, key: StreamKey, from: Requester) {
        if self.streams.insert(key, from).is_some() {
            return;
        }
        match from {
            Requester::Address(address) => self.by_address.add(address),
            Requester::Connection(id) => *self.by_connection.entry(id).or_default() += 1,
            Requester::Unknown => {}
        }
    }

    /// It has proved its client's address, or it is gone. Whether it was one of them.
    pub(super) fn remove(&mut self, key: StreamKey) -> bool {
        let removed = self.streams.remove(&key);
        match removed {
            Some(Requester::Address(address)) => self.by_address.remove(address),
            Some(Requester::Connection(id)) => decrease(&mut self.by_connection, &id),
            Some(Requester::Unknown) | None => {}
        }
        removed.is_some()
    }

    pub(super) fn contains(&self, key: StreamKey) -> bool {
        self.streams.contains_key(&key)
    }

    /// Entries of all tables.
    pub(super) fn len(&self) -> usize {
        self.streams.len() + self.by_address.len() + self.by_connection.len()
    }
}
