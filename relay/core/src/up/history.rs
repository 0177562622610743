//! The plaintext history: a byte ring of payloads and an index by extended sequence number.
//!
//! It is the one copy the relay keeps of a packet. Fan-out, retransmissions and late readers all borrow from it.
//!
//! Invariants
//! - Nothing is allocated after [`History::new`].
//! - A reserved region becomes visible only by a commit; an aborted one (decryption failed) is simply reserved again.
//! - A sequence number is committed at most once while it is inside the window, even if its bytes were evicted
//!   since: what this ring refuses can never be forwarded twice.
//! - Bytes are handed out only while they are whole: a payload vanishes when a reservation touches any of it.

use crate::time::Time;

/// No packet has this extended sequence number: marks an index slot that was never used.
const EMPTY: u64 = u64::MAX;

/// What is known of a packet besides its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct PacketMeta {
    /// RTP timestamp as the publisher wrote it.
    pub timestamp: u32,
    /// RTP marker bit.
    pub marker: bool,
    /// Whether a keyframe starts in this packet.
    pub keyframe: bool,
    /// When it came in.
    pub arrival: Time,
    /// Octet of the audio-level extension (RFC 6464).
    pub audio_level: Option<u8>,
    /// Octet of the video-orientation extension (3GPP TS 26.114 §7.4.5).
    pub video_orientation: Option<u8>,
}

/// A packet in the history.
#[derive(Clone, Copy, Debug)]
pub struct Stored<'a> {
    /// What is known of it.
    pub meta: PacketMeta,
    /// Its payload in clear, without padding.
    pub payload: &'a [u8],
}

/// Where a packet's payload lies. Positions count octets since the ring began and never wrap.
#[derive(Clone, Copy)]
struct Slot {
    seq: u64,
    position: u64,
    len: u32,
    meta: PacketMeta,
}

/// See the module.
pub struct History {
    bytes: Box<[u8]>,
    slots: Box<[Slot]>,
    /// Position behind the last committed payload.
    head: u64,
    /// Where the last reservation begins, and its length.
    reserved: (u64, usize),
    /// Position behind everything that was ever reserved: what lies a ring's length below it is overwritten.
    high_water: u64,
    /// Highest committed sequence number.
    highest: Option<u64>,
}

impl std::fmt::Debug for History {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("History")
            .field("highest", &self.highest)
            .field("head", &self.head)
            .finish_non_exhaustive()
    }
}

impl History {
    /// A ring of `bytes` octets and an index of `packets` entries, both rounded up to a power of two.
    #[must_use]
    pub fn new(bytes: usize, packets: usize) -> Self {
        let packets = packets.max(1).next_power_of_two();
        let empty = Slot { seq: EMPTY, position: 0, len: 0, meta: PacketMeta::default() };
        Self {
            bytes: vec![0; bytes.max(1).next_power_of_two()].into_boxed_slice(),
            slots: vec![empty; packets].into_boxed_slice(),
            head: 0,
            reserved: (0, 0),
            high_water: 0,
            highest: None,
        }
    }

    /// Lends `len` contiguous octets for the next payload, overwriting the oldest. Empty if `len` exceeds the ring.
    pub fn reserve(&mut self, len: usize) -> &mut [u8] {
        let ring = self.bytes.len();
        if len > ring {
            self.reserved = (self.head, 0);
            return &mut [];
        }
        let offset = self.offset(self.head);
        let skip = if offset + len > ring { ring - offset } else { 0 };
        let start = self.head + skip as u64;
        self.reserved = (start, len);
        self.high_water = self.high_water.max(start + len as u64);
        let offset = self.offset(start);
        &mut self.bytes[offset..offset + len]
    }

    /// The octets lent last, as they are now.
    #[must_use]
    pub fn reserved(&self) -> &[u8] {
        let (start, len) = self.reserved;
        let offset = self.offset(start);
        &self.bytes[offset..offset + len]
    }

    /// Makes the first `len` reserved octets the payload of packet `seq`. False, and nothing changes, if that number
    /// is there already, is too old for the index, or `len` exceeds the reservation.
    pub fn commit(&mut self, seq: u64, len: usize, meta: PacketMeta) -> bool {
        self.commit_from(seq, 0, len, meta)
    }

    /// As [`History::commit`], for the `len` octets that follow the first `skip` reserved ones (RTX: behind the OSN).
    pub fn commit_from(&mut self, seq: u64, skip: usize, len: usize, meta: PacketMeta) -> bool {
        let (start, reserved) = self.reserved;
        let fits = skip.checked_add(len).is_some_and(|end| end <= reserved);
        if !fits || !self.accepts(seq) {
            return false;
        }
        let index = self.index(seq);
        let position = start + skip as u64;
        // A ring holds far less than 4 GiB, so the length always fits.
        self.slots[index] = Slot { seq, position, len: u32::try_from(len).unwrap_or(u32::MAX), meta };
        self.head = position + len as u64;
        self.reserved = (self.head, 0);
        self.highest = self.highest.max(Some(seq));
        true
    }

    /// Whether a commit of `seq` would be taken: inside the window and not there yet.
    #[must_use]
    pub fn accepts(&self, seq: u64) -> bool {
        seq != EMPTY && !self.is_too_old(seq) && self.slots[self.index(seq)].seq != seq
    }

    /// Whether `seq` lies below the index's window.
    #[must_use]
    pub fn is_too_old(&self, seq: u64) -> bool {
        self.highest.is_some_and(|highest| highest.saturating_sub(seq) >= self.slots.len() as u64)
    }

    /// The packet `seq`, `None` if it never came or is evicted.
    #[must_use]
    pub fn get(&self, seq: u64) -> Option<Stored<'_>> {
        let slot = &self.slots[self.index(seq)];
        let whole = slot.position + self.bytes.len() as u64 >= self.high_water;
        if seq == EMPTY || slot.seq != seq || !whole || self.is_too_old(seq) {
            return None;
        }
        let offset = self.offset(slot.position);
        Some(Stored { meta: slot.meta, payload: &self.bytes[offset..offset + slot.len as usize] })
    }

    /// Highest sequence number committed.
    #[must_use]
    pub fn highest(&self) -> Option<u64> {
        self.highest
    }

    /// Number of packets the index can hold.
    #[must_use]
    pub fn packets_max(&self) -> usize {
        self.slots.len()
    }

    fn index(&self, seq: u64) -> usize {
        (seq & (self.slots.len() as u64 - 1)) as usize
    }

    fn offset(&self, position: u64) -> usize {
        (position & (self.bytes.len() as u64 - 1)) as usize
    }
}
