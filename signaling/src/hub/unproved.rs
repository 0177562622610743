//! Streams whose clients have not proved an address yet: until there are keys, all that a client has shown is an offer, and
//! perhaps one check whose sender may be forged. That costs it a kilobyte and us a transport. So they are few, in all and
//! for each address they are asked from.

use crate::address::Subnet;
use crate::participant::StreamKey;
use crate::tally::Tally;
use crate::timer::Time;
use std::collections::HashMap;

/// What the client is told.
pub(super) const TOO_MANY_UNPROVED: &str = "Too many streams are being set up";

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Unproved {
    /// By whom each was asked for; `None`: counted in all only.
    streams: HashMap<StreamKey, Option<Subnet>>,
    by_address: HashMap<Subnet, usize>,
    refused: Tally,
}

/// How many there may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct UnprovedLimits {
    pub(super) all: usize,
    pub(super) per_address: usize,
}

impl Unproved {
    /// Whether one more of this address may be begun.
    pub(super) fn admits(&mut self, now: Time, from: Option<Subnet>, limits: UnprovedLimits) -> bool {
        let of_address = from.map_or(0, |from| self.by_address.get(&from).copied().unwrap_or(0));
        let admitted = self.streams.len() < limits.all && of_address < limits.per_address;
        if !admitted && let Some(count) = self.refused.note(now) {
            let (all, last) = (self.streams.len(), from);
            tracing::warn!(count, all, of_address, ?last, "streams refused: too many without keys");
        }
        admitted
    }

    /// It is begun.
    pub(super) fn insert(&mut self, key: StreamKey, from: Option<Subnet>) {
        if self.streams.insert(key, from).is_none()
            && let Some(from) = from
        {
            *self.by_address.entry(from).or_default() += 1;
        }
    }

    /// It has proved its client's address, or it is gone.
    pub(super) fn remove(&mut self, key: StreamKey) {
        let Some(Some(from)) = self.streams.remove(&key) else { return };
        if let Some(of_address) = self.by_address.get_mut(&from) {
            *of_address -= 1;
            if *of_address == 0 {
                self.by_address.remove(&from);
            }
        }
    }

    /// Entries of all tables.
    pub(super) fn len(&self) -> usize {
        self.streams.len() + self.by_address.len()
    }
}
