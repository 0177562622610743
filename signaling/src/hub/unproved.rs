//! Streams whose clients have not proved an address yet: until there are keys, all that a client has shown is an offer, and
//! perhaps one check whose sender may be forged. That costs it a kilobyte and us a transport. So they are few, in all and
//! for each address they are asked from, or each connection where that is not known.

use crate::address::Subnet;
use crate::id::ConnectionId;
use crate::id::StreamKey;
use crate::tally::Tally;
use crate::timer::Time;
use std::collections::HashMap;

/// What the client is told.
pub(super) const TOO_MANY_UNPROVED: &str = "Too many streams are being set up";

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
    /// `Unknown` is not in it.
    by_asker: HashMap<Asker, usize>,
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
        let of_asker = self.by_asker.get(&from).copied().unwrap_or(0);
        let limit = match from {
            Asker::Address(_) => limits.per_address,
            Asker::Connection(_) => UNPROVED_PER_CONNECTION.min(limits.per_address),
            Asker::Unknown => limits.all,
        };
        let admitted = self.streams.len() < limits.all && of_asker < limit;
        if !admitted && let Some(count) = self.refused.note(now) {
            let (all, last) = (self.streams.len(), from);
            tracing::warn!(count, all, of_asker, ?last, "streams refused: too many without keys");
        }
        admitted
    }

    /// It is begun.
    pub(super) fn insert(&mut self, key: StreamKey, from: Asker) {
        if self.streams.insert(key, from).is_none() && from != Asker::Unknown {
            *self.by_asker.entry(from).or_default() += 1;
        }
    }

    /// It has proved its client's address, or it is gone.
    pub(super) fn remove(&mut self, key: StreamKey) {
        let Some(from) = self.streams.remove(&key) else { return };
        if let Some(of_asker) = self.by_asker.get_mut(&from) {
            *of_asker -= 1;
            if *of_asker == 0 {
                self.by_asker.remove(&from);
            }
        }
    }

    /// Entries of all tables.
    pub(super) fn len(&self) -> usize {
        self.streams.len() + self.by_asker.len()
    }
}
