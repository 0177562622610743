//! The plaintext history: a byte ring of payloads and an index by extended sequence number.
//!
//! It is the one copy the relay keeps of a packet. Fan-out, retransmissions and late readers all borrow from
//! it.
//!
//! Invariants
//! - Nothing is allocated after [`History::new`]. One that has no room yet ([`History::empty`]) takes
//!   nothing.
//! - A reserved region becomes visible only by a commit; an aborted one (decryption failed) is simply
//!   reserved again.
//! - A sequence number is committed at most once while it is inside the window, even if its bytes were
//!   evicted since: what this ring refuses can never be forwarded twice.
//! - Bytes are handed out only while they are whole: a payload vanishes when a reservation touches any of it.
//! - Behind each payload lie [`PADDING_BYTES_MAX`] octets that belong to it, for padding.

use crate::time::Time;

/// Octets of padding that a packet may be given (RFC 3550 §5.1), to make it as long as its neighbours:
/// encoders split a frame into packets that differ by one.
pub const PADDING_BYTES_MAX: usize = 8;

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

    /// One without room, which takes no packet: what a stream has before its publisher has keys.
    #[must_use]
    pub fn empty() -> Self {
        Self {
            bytes: Box::default(),
            slots: Box::default(),
            head: 0,
            reserved: (0, 0),
            high_water: 0,
            highest: None,
        }
    }

    /// Lends `len` contiguous octets for the next payload, overwriting the oldest. Empty if `len`, with the
    /// padding behind it, exceeds the ring.
    pub fn reserve(&mut self, len: usize) -> &mut [u8] {
        let ring = self.bytes.len();
        let whole = len.saturating_add(PADDING_BYTES_MAX);
        if whole > ring {
            self.reserved = (self.head, 0);
            return &mut [];
        }
        let offset = self.offset(self.head);
        let skip = if offset + whole > ring { ring - offset } else { 0 };
        let start = self.head + skip as u64;
        self.reserved = (start, len);
        self.high_water = self.high_water.max(start + whole as u64);
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

    /// Makes the first `len` reserved octets the payload of packet `seq`. False, and nothing changes, if that
    /// number is there already, is too old for the index, or `len` exceeds the reservation.
    pub fn commit(&mut self, seq: u64, len: usize, meta: PacketMeta) -> bool {
        self.commit_from(seq, 0, len, meta)
    }

    /// As [`History::commit`], for the `len` octets that follow the first `skip` reserved ones (RTX: behind
    /// the OSN).
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
        self.head = position + (len + PADDING_BYTES_MAX) as u64;
        self.reserved = (self.head, 0);
        self.highest = self.highest.max(Some(seq));
        true
    }

    /// Whether a commit of `seq` would be taken: inside the window and not there yet.
    #[must_use]
    pub fn accepts(&self, seq: u64) -> bool {
        let slot = self.slots.get(self.index(seq));
        seq != EMPTY && !self.is_too_old(seq) && slot.is_some_and(|slot| slot.seq != seq)
    }

    /// Whether `seq` lies below the index's window.
    #[must_use]
    pub fn is_too_old(&self, seq: u64) -> bool {
        self.highest.is_some_and(|highest| highest.saturating_sub(seq) >= self.slots.len() as u64)
    }

    /// The packet `seq`, `None` if it never came or is evicted.
    #[must_use]
    pub fn get(&self, seq: u64) -> Option<Stored<'_>> {
        let slot = self.slots.get(self.index(seq))?;
        let whole = slot.position + self.bytes.len() as u64 >= self.high_water;
        if seq == EMPTY || slot.seq != seq || !whole || self.is_too_old(seq) {
            return None;
        }
        let offset = self.offset(slot.position);
        Some(Stored { meta: slot.meta, payload: &self.bytes[offset..offset + slot.len as usize] })
    }

    /// Puts `count` octets of padding behind the payload of packet `seq`: zeros, and the count in the last
    /// (RFC 3550 §5.1). False if the packet is not there or `count` is more than [`PADDING_BYTES_MAX`].
    pub fn pad(&mut self, seq: u64, count: usize) -> bool {
        let (Some(stored), Ok(last)) = (self.get(seq), u8::try_from(count)) else { return false };
        if count == 0 || count > PADDING_BYTES_MAX {
            return count == 0;
        }
        let end = self.offset(self.slots[self.index(seq)].position) + stored.payload.len();
        let padding = &mut self.bytes[end..end + count];
        padding.fill(0);
        padding[count - 1] = last;
        true
    }

    /// The payload of packet `seq` with the `count` octets of padding that [`History::pad`] put behind it.
    #[must_use]
    pub fn padded(&self, seq: u64, count: usize) -> Option<&[u8]> {
        let len = self.get(seq)?.payload.len();
        let start = self.offset(self.slots[self.index(seq)].position);
        self.bytes.get(start..start + len + count.min(PADDING_BYTES_MAX))
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

    /// Both lengths are powers of two, or zero: then nothing is found at what these name.
    fn index(&self, seq: u64) -> usize {
        (seq & (self.slots.len() as u64).wrapping_sub(1)) as usize
    }

    fn offset(&self, position: u64) -> usize {
        (position & (self.bytes.len() as u64).wrapping_sub(1)) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn put(history: &mut History, seq: u64, fill: u8, len: usize) -> bool {
        history.reserve(len).fill(fill);
        history.commit(seq, len, PacketMeta { timestamp: seq as u32, ..PacketMeta::default() })
    }

    /// Fill octets of the payloads that are whole, by number.
    fn held(history: &History, seqs: std::ops::Range<u64>) -> Vec<u64> {
        let intact = |seq: &u64| {
            history.get(*seq).is_some_and(|s| {
                assert!(s.payload.iter().all(|b| *b == *seq as u8), "payload {seq} was overwritten");
                true
            })
        };
        seqs.filter(intact).collect()
    }

    #[test]
    fn the_ring_wraps_and_evicts_the_oldest_first() {
        // (payload length, packets put, oldest that must be left) in a ring of 64 octets.
        for (len, put_until, oldest) in
            [(8, 4, 0), (8, 5, 1), (8, 9, 5), (12, 3, 0), (12, 4, 1), (56, 3, 2), (0, 8, 0), (0, 9, 1)]
        {
            let mut history = History::new(64, 8);
            for seq in 0..put_until {
                assert!(put(&mut history, seq, seq as u8, len));
            }
            let expected: Vec<u64> = (oldest..put_until).collect();
            assert_eq!(held(&history, 0..put_until), expected, "length {len}, {put_until} packets");
        }
    }

    #[test]
    fn a_number_is_taken_once_while_in_the_window_even_if_its_bytes_are_gone() {
        let mut history = History::new(32, 8);
        for seq in 100..104 {
            assert!(put(&mut history, seq, seq as u8, 16));
        }
        assert!(history.get(100).is_none(), "evicted by bytes");
        // (number, taken)
        for (seq, taken) in [
            (100, false),
            (103, false),
            (99, true),
            (96, true),
            (95, false),
            (104, true),
            (96, false),
            (97, true),
        ] {
            assert_eq!(put(&mut history, seq, seq as u8, 4), taken, "packet {seq}");
        }
    }

    #[test]
    fn a_late_retransmission_fills_its_hole() {
        let mut history = History::new(256, 16);
        for seq in [10, 11, 13, 14] {
            assert!(put(&mut history, seq, seq as u8, 10));
        }
        assert!(history.get(12).is_none());
        history.reserve(12).copy_from_slice(&[9, 9, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12]);
        assert!(history.commit_from(12, 2, 10, PacketMeta::default()), "behind the OSN");
        assert_eq!(held(&history, 0..20), [10, 11, 12, 13, 14]);
        assert_eq!(history.highest(), Some(14));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let mut history = History::new(64, 8);
        assert!(history.reserve(64 - PADDING_BYTES_MAX + 1).is_empty());
        assert!(!history.commit(1, 65, PacketMeta::default()));
        assert_eq!(history.reserve(10).len(), 10);
        assert!(!history.commit(1, 11, PacketMeta::default()), "more than was reserved");
        assert!(!history.commit_from(1, 8, 3, PacketMeta::default()), "more than was reserved");
        assert!(!history.commit_from(1, usize::MAX, 3, PacketMeta::default()));
        assert!(history.commit(1, 10, PacketMeta::default()));
        assert!(!history.commit(2, 1, PacketMeta::default()), "a reservation serves one commit");
    }

    #[test]
    fn an_aborted_reservation_shows_nothing_and_is_used_again() {
        let mut history = History::new(64, 8);
        assert!(put(&mut history, 1, 1, 22));
        history.reserve(22).fill(0xee);
        history.reserve(22).fill(0xee);
        assert_eq!(held(&history, 0..4), [1]);
        assert!(put(&mut history, 2, 2, 22));
        assert_eq!(held(&history, 0..4), [1, 2]);
    }

    #[test]
    fn one_without_room_takes_nothing() {
        let mut history = History::empty();
        for len in [0, 1, 100] {
            assert!(history.reserve(len).is_empty());
            assert!(history.reserved().is_empty());
            for seq in [0, 1, 65_536, u64::MAX] {
                assert!(!history.accepts(seq) && !history.is_too_old(seq));
                assert!(!history.commit(seq, 0, PacketMeta::default()));
                assert!(
                    !history.pad(seq, 1) && history.get(seq).is_none() && history.padded(seq, 0).is_none()
                );
            }
        }
        assert_eq!(history.highest(), None);
    }

    #[test]
    fn padding_stands_behind_its_payload_and_harms_no_other() {
        let mut history = History::new(256, 16);
        for seq in 0..4 {
            assert!(put(&mut history, seq, seq as u8, 20));
        }
        // (packet, octets of padding, taken)
        for (seq, count, taken) in [
            (0, 1, true),
            (1, PADDING_BYTES_MAX, true),
            (2, 0, true),
            (2, PADDING_BYTES_MAX + 1, false),
            (9, 1, false),
        ] {
            assert_eq!(history.pad(seq, count), taken, "packet {seq}, {count} octets");
            if taken {
                let padded = history.padded(seq, count).expect("there");
                assert_eq!(padded[..20], [seq as u8; 20]);
                assert_eq!(crate::wire::rtp::strip_padding(count > 0, padded), Some(20));
                assert!(padded[20..].iter().rev().skip(1).all(|octet| *octet == 0));
            }
        }
        assert_eq!(held(&history, 0..4), [0, 1, 2, 3]);
        assert_eq!(history.padded(9, 1), None);
    }

    proptest! {
        /// Whatever is read back is what was written, and nothing of it is overwritten.
        #[test]
        fn payloads_read_back_are_whole(steps in prop::collection::vec((0u64..200, 0usize..80, any::<bool>()), 1..200)) {
            let mut history = History::new(256, 32);
            let mut lens = std::collections::HashMap::new();
            for (seq, len, commit) in steps {
                history.reserve(len).fill(seq as u8);
                history.pad(seq.saturating_sub(1), len % PADDING_BYTES_MAX);
                if commit && history.commit(seq, len, PacketMeta { timestamp: seq as u32, ..PacketMeta::default() }) {
                    prop_assert!(lens.insert(seq, len).is_none(), "{} taken twice", seq);
                    prop_assert_eq!(history.get(seq).map(|s| s.payload.len()), Some(len));
                }
                for seq in held(&history, 0..200) {
                    let stored = history.get(seq).expect("held");
                    prop_assert_eq!(lens.get(&seq), Some(&stored.payload.len()));
                    prop_assert_eq!(stored.meta.timestamp, seq as u32);
                }
            }
        }
    }
}
