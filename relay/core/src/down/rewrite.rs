//! Renumbers an up-track's packets into a subscriber's own sequence numbers and timestamps.
//!
//! Own number = up number + an offset that stays until the source changes, so mapping is one addition, a loss
//! upstream looks like a loss, reordered packets map consistently, and the way back (for NACKs) is one subtraction.
//!
//! Invariants
//! - Own indices of different up numbers differ, and keep the up-track's order.
//! - After a new anchor nothing older than it is mapped, so indices used before it stay used once.
//! - The first own number is below 2^15, so that a lost first packet cannot confuse the receiver's rollover
//!   counter (RFC 3711 §3.3.1), and consecutive own numbers never differ by 2^15 or more.

use crate::id::SeqNo;
use crate::time::Time;
use crate::up::clock::ClockReference;
use crate::up::loss::NACK_LIST_MAX;

/// First own sequence numbers lie below this.
pub const FIRST_SEQ_MAX: u16 = 1 << 15;
/// A gap upstream larger than this is not passed on: nobody can mend it, and the receiver would ask in vain for each
/// of these packets. One number is left out instead, so that its decoder knows. Same limit as upstream.
pub const GAP_MAX: u64 = NACK_LIST_MAX as u64;
/// A source whose timestamps continue within this many seconds of the elapsed time keeps its offset.
const CONTINUITY_SECONDS: u32 = 1;

const _: () = assert!(GAP_MAX + 2 < 1 << 15, "the receiver's rollover estimate needs steps below 2^15");

/// A packet's place in the subscriber's stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rewritten {
    /// Own extended sequence number: the SRTP index; its low 16 bits go on the wire.
    pub index: u64,
    /// Own timestamp.
    pub timestamp: u32,
}

impl Rewritten {
    /// The sequence number on the wire.
    #[must_use]
    pub const fn seq(self) -> SeqNo {
        SeqNo(self.index as u16)
    }
}

/// What the next packet that is ahead does to the mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Anchor {
    /// It is the first of all.
    Start,
    /// It takes the number after the highest; the source goes on.
    Splice,
    /// It takes the number after the highest; it is of another source, whose numbers mean nothing here.
    Switch,
    /// Nothing, unless it jumps.
    Keep,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Rewriter {
    /// Own = up + offset, modulo 2^64.
    offset: u64,
    /// Lowest up number that maps.
    floor: u64,
    /// Highest up number mapped.
    highest: u64,
    anchor: Anchor,
    timestamp_offset: u32,
    clock_rate_hz: u32,
    /// Own timestamp and arrival of the highest packet.
    last: ClockReference,
    /// Own index of the first packet.
    first_index: u64,
}

impl Rewriter {
    /// `first_seq` and `timestamp_offset` are random (RFC 3550 §5.1); of the first, 15 bits are used.
    #[must_use]
    pub fn new(first_seq: u16, timestamp_offset: u32, clock_rate_hz: u32) -> Self {
        Self {
            offset: 0,
            floor: 0,
            highest: 0,
            anchor: Anchor::Start,
            timestamp_offset,
            clock_rate_hz,
            last: ClockReference::default(),
            first_index: u64::from(first_seq % FIRST_SEQ_MAX),
        }
    }

    /// Maps a packet of the up-track, given its extended number. `None` for one that is older than the anchor.
    #[inline]
    pub fn rewrite(&mut self, seq: u64, timestamp: u32, arrival: Time) -> Option<Rewritten> {
        if self.is_ahead(seq) {
            if self.anchor != Anchor::Keep || seq - self.highest > GAP_MAX + 1 {
                self.anchor_at(seq, timestamp, arrival)?;
            }
            self.highest = seq;
            self.last =
                ClockReference { time: arrival, timestamp: timestamp.wrapping_add(self.timestamp_offset) };
        } else if seq < self.floor {
            return None;
        }
        Some(Rewritten { index: self.own(seq), timestamp: timestamp.wrapping_add(self.timestamp_offset) })
    }

    /// The next packet ahead takes the number after the highest, whatever its own is: packets were withheld on purpose.
    pub fn splice(&mut self) {
        if self.anchor == Anchor::Keep {
            self.anchor = Anchor::Splice;
        }
    }

    /// Another source takes over: its first packet takes the number after the highest. Until then nothing can be
    /// traced back, and afterwards nothing before it.
    pub fn switch_source(&mut self) {
        if self.anchor != Anchor::Start {
            self.anchor = Anchor::Switch;
        }
    }

    /// Whether the packet `seq` would be newer than all mapped before.
    #[must_use]
    #[inline]
    pub fn is_ahead(&self, seq: u64) -> bool {
        match self.anchor {
            Anchor::Start | Anchor::Switch => true,
            Anchor::Splice | Anchor::Keep => seq > self.highest,
        }
    }

    /// The own index and up number that a subscriber means by a wire number of ours. `None` if nothing was sent under
    /// it, or before the anchor.
    #[must_use]
    pub fn source_of(&self, seq: SeqNo) -> Option<(u64, u64)> {
        let highest_own = self.highest_index()?;
        if self.anchor == Anchor::Switch {
            return None;
        }
        let index = seq.extend(highest_own);
        let up = index.wrapping_sub(self.offset);
        let sent = index <= highest_own && (self.floor..=self.highest).contains(&up);
        sent.then_some((index, up))
    }

    /// Own timestamp for a timestamp of the current source.
    #[must_use]
    pub fn timestamp(&self, timestamp: u32) -> u32 {
        timestamp.wrapping_add(self.timestamp_offset)
    }

    /// Highest own index given out; `None` before the first.
    #[must_use]
    pub fn highest_index(&self) -> Option<u64> {
        (self.anchor != Anchor::Start).then(|| self.own(self.highest))
    }

    fn own(&self, seq: u64) -> u64 {
        seq.wrapping_add(self.offset)
    }

    /// Sets offset and floor so that `seq` continues our numbering.
    #[cold]
    fn anchor_at(&mut self, seq: u64, timestamp: u32, arrival: Time) -> Option<()> {
        let index = match self.anchor {
            Anchor::Start => self.first_index,
            Anchor::Splice | Anchor::Switch => self.own(self.highest).checked_add(1)?,
            Anchor::Keep => self.own(self.highest).checked_add(2)?,
        };
        if self.anchor != Anchor::Start {
            self.anchor_timestamp(timestamp, arrival);
        }
        self.offset = index.wrapping_sub(seq);
        self.floor = seq;
        self.anchor = Anchor::Keep;
        Some(())
    }

    /// Keeps the timestamp offset if the source's timestamps went on with time, else continues ours with time.
    fn anchor_timestamp(&mut self, timestamp: u32, arrival: Time) {
        let expected = self.last.extrapolate(arrival, self.clock_rate_hz);
        let error = self.timestamp(timestamp).wrapping_sub(expected).cast_signed().unsigned_abs();
        if error > self.clock_rate_hz.saturating_mul(CONTINUITY_SECONDS) {
            self.timestamp_offset = expected.wrapping_sub(timestamp);
        }
    }
}
