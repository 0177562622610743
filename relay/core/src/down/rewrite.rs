//! Renumbers an up-track's packets into a subscriber's own sequence numbers and timestamps.
//!
//! Own number = up number + an offset that stays until the source changes, so mapping is one addition, a loss
//! upstream looks like a loss, reordered packets map consistently, and the way back (for NACKs) is one
//! subtraction.
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
/// A gap upstream larger than this is not passed on: nobody can mend it, and the receiver would ask in vain
/// for each of these packets. One number is left out instead, so that its decoder knows. Same limit as
/// upstream.
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

    /// Maps a packet of the up-track, given its extended number. `None` for one that is older than the
    /// anchor.
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

    /// The next packet ahead takes the number after the highest, whatever its own is: packets were withheld
    /// on purpose.
    pub fn splice(&mut self) {
        if self.anchor == Anchor::Keep {
            self.anchor = Anchor::Splice;
        }
    }

    /// Another source takes over: its first packet takes the number after the highest. Until then nothing can
    /// be traced back, and afterwards nothing before it.
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

    /// The own index and up number that a subscriber means by a wire number of ours. `None` if nothing was
    /// sent under it, or before the anchor.
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

    /// Keeps the timestamp offset if the source's timestamps went on with time, else continues ours with
    /// time.
    fn anchor_timestamp(&mut self, timestamp: u32, arrival: Time) {
        let expected = self.last.extrapolate(arrival, self.clock_rate_hz);
        let error = self.timestamp(timestamp).wrapping_sub(expected).cast_signed().unsigned_abs();
        if error > self.clock_rate_hz.saturating_mul(CONTINUITY_SECONDS) {
            self.timestamp_offset = expected.wrapping_sub(timestamp);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Ssrc;
    use crate::up::{ReceiverStats, SeqVerdict};
    use proptest::prelude::*;
    use std::collections::HashMap;

    fn ms(at: u64) -> Time {
        Time::from_nanos((1_000 + at) * 1_000_000)
    }

    fn rewriter(first: u16) -> Rewriter {
        Rewriter::new(first, 0, 90_000)
    }

    /// Own indices for up numbers that arrive in this order.
    fn indices(first: u16, seqs: &[u64]) -> Vec<Option<u64>> {
        let mut rewriter = rewriter(first);
        seqs.iter().map(|seq| rewriter.rewrite(*seq, 0, ms(0)).map(|r| r.index)).collect()
    }

    #[test]
    fn gaps_and_order_are_kept_and_jumps_are_not() {
        let none = None;
        for (first, seqs, expected) in [
            (5, vec![100_000, 100_001, 100_002], vec![Some(5), Some(6), Some(7)]),
            (5, vec![100_000, 100_003, 100_001, 100_003], vec![Some(5), Some(8), Some(6), Some(8)]),
            // Older than the first.
            (5, vec![100_000, 99_999, 0, 100_001], vec![Some(5), none, none, Some(6)]),
            // The largest gap that is passed on, and one more: one number is left out.
            (5, vec![100_000, 100_129], vec![Some(5), Some(134)]),
            (5, vec![100_000, 100_130, 100_131, 100_129], vec![Some(5), Some(7), Some(8), none]),
            (5, vec![0, u64::MAX], vec![Some(5), Some(7)]),
            // Only 15 bits of the first number are used; own numbers wrap later, as an extended number.
            (0xffff, vec![7, 8, 9], vec![Some(0x7fff), Some(0x8000), Some(0x8001)]),
        ] {
            assert_eq!(indices(first, &seqs), expected, "{seqs:?}");
        }
    }

    #[test]
    fn a_splice_hides_what_was_withheld_and_a_switch_takes_any_number() {
        let mut r = rewriter(10);
        let own = |r: &mut Rewriter, seq| r.rewrite(seq, 0, ms(0)).map(|r| r.index);
        r.splice();
        r.switch_source();
        assert_eq!(own(&mut r, 500), Some(10), "before the start there is nothing to continue");
        r.splice();
        assert!(!r.is_ahead(500) && r.is_ahead(501));
        assert_eq!(own(&mut r, 600), Some(11));
        assert_eq!(own(&mut r, 599), None, "withheld once, withheld for good");
        assert_eq!(own(&mut r, 602), Some(13));
        r.switch_source();
        assert_eq!(r.source_of(SeqNo(13)), None, "which source it meant is over");
        assert_eq!(own(&mut r, 3), Some(14), "another source's numbers");
        assert_eq!(own(&mut r, 2), None);
        assert_eq!(r.source_of(SeqNo(14)), Some((14, 3)));
        assert_eq!(r.source_of(SeqNo(13)), None);
    }

    #[test]
    fn wire_numbers_lead_back_to_the_packet() {
        let mut r = rewriter(0x7ffe);
        assert_eq!(r.source_of(SeqNo(0x7ffe)), None, "nothing was sent");
        for seq in 0..200_000u64 {
            let own = r.rewrite(70_000 + seq, 0, ms(0)).expect("in order");
            assert_eq!(own.index, 0x7ffe + seq);
            for back in [0, 1, 1_000, 30_000] {
                let expected = (back <= seq).then(|| (own.index - back, 70_000 + seq - back));
                assert_eq!(
                    r.source_of(SeqNo((own.index.wrapping_sub(back)) as u16)),
                    expected,
                    "{back} back at {seq}"
                );
            }
            assert_eq!(r.source_of(SeqNo(own.seq().0.wrapping_add(1))), None, "not sent yet");
        }
    }

    #[test]
    fn timestamps_go_on_with_time() {
        // (first timestamp, the next source's first, ms between them, own step) at 90 kHz.
        for (first, next, elapsed_ms, step) in [
            // The same clock, though seconds were withheld: kept as it is.
            (1_000, 1_000 + 90_000 * 30, 30_000, 90_000 * 30),
            (1_000, 1_000 + 90_000 * 30 + 2_000, 30_000, 90_000 * 30 + 2_000),
            (u32::MAX - 100, 2_900, 33, 3_001),
            // Another clock: continued by the time that passed.
            (1_000, 0x8000_0000, 100, 9_000),
            (0x8000_0000, 1_000, 100, 9_000),
            (1_000, 1_000 + 90_000 * 60, 1_000, 90_000),
            (1_000, 1_000, 60_000, 90_000 * 60),
        ] {
            let mut r = Rewriter::new(0, 0xdead_beef, 90_000);
            let before = r.rewrite(1, first, ms(0)).expect("first");
            assert_eq!(before.timestamp, first.wrapping_add(0xdead_beef));
            r.splice();
            let after = r.rewrite(2, next, ms(elapsed_ms)).expect("ahead");
            assert_eq!(
                after.timestamp.wrapping_sub(before.timestamp),
                step,
                "{first} then {next} after {elapsed_ms} ms"
            );
            assert_eq!(r.timestamp(next), after.timestamp, "a retransmission says the same");
        }
    }

    /// Fault F22: a subscriber that estimates the rollover counter as RFC 3711 §3.3.1 says finds our index
    /// for every start near the publisher's wrap and every length of a loss there.
    #[test]
    fn a_loss_at_the_wrap_does_not_confuse_the_rollover_counter() {
        for start in 65_000u32..=65_535 {
            for run in 0..=300 {
                let mut up = ReceiverStats::new(Ssrc(1), 90_000);
                let mut r = rewriter(0xffff);
                let mut subscriber: Option<u64> = None;
                for seq in [start, start + 1, start + 2 + run, start + 1 + run, start + 3 + run] {
                    let (SeqVerdict::Ahead(seq) | SeqVerdict::Late(seq)) =
                        up.received(SeqNo(seq as u16), 0, ms(0))
                    else {
                        panic!("start {start}, run {run}: refused");
                    };
                    let Some(own) = r.rewrite(seq, 0, ms(0)) else {
                        assert!(u64::from(run) >= GAP_MAX, "only a new anchor leaves a late packet behind");
                        continue;
                    };
                    let estimate = own.seq().extend(subscriber.unwrap_or(u64::from(own.seq().0)));
                    assert_eq!(estimate, own.index, "start {start}, run {run}");
                    subscriber = subscriber.max(Some(own.index));
                }
            }
        }
    }

    /// What may happen between two packets.
    #[derive(Clone, Copy, Debug)]
    enum Step {
        /// A packet that many ahead of the highest (0 = repeat it).
        Ahead(u64),
        /// A packet that many behind the highest.
        Behind(u64),
        Splice,
        Switch,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            20 => (0u64..4).prop_map(Step::Ahead),
            3 => (0u64..300).prop_map(Step::Ahead),
            1 => (0u64..200_000).prop_map(Step::Ahead),
            6 => (0u64..300).prop_map(Step::Behind),
            1 => Just(Step::Splice),
            1 => Just(Step::Switch),
        ]
    }

    proptest! {
        /// For any arrival order, loss, repetition, jump and switch of sources: a number is given to one
        /// packet only, order is the source's, small gaps stay, and a number leads back to its packet.
        #[test]
        fn own_numbers_are_unique_ordered_and_traceable(
            first in any::<u16>(), start in 0u64..200_000, steps in prop::collection::vec(step(), 1..500)
        ) {
            let mut r = Rewriter::new(first, 12_345, 90_000);
            let mut owner: HashMap<u64, (u32, u64)> = HashMap::new();
            let (mut source, mut highest, mut spliced) = (0u32, start, false);
            let mut last: Option<u64> = None;
            for (i, step) in steps.into_iter().enumerate() {
                let seq = match step {
                    Step::Ahead(n) => highest + n,
                    Step::Behind(n) => highest.saturating_sub(n),
                    Step::Splice => { r.splice(); spliced = true; continue }
                    Step::Switch => { r.switch_source(); source += 1; highest = start; spliced = true; continue }
                };
                let ahead = r.is_ahead(seq);
                let Some(own) = r.rewrite(seq, 0, ms(i as u64)) else { prop_assert!(!ahead); continue };
                prop_assert_eq!(*owner.entry(own.index).or_insert((source, seq)), (source, seq), "two packets, one index");
                match last {
                    None => prop_assert_eq!(own.index, u64::from(first & 0x7fff)),
                    Some(last) if ahead => {
                        let (gap, own_gap) = (seq - highest.min(seq), own.index - last);
                        let expected = if spliced { 1 } else if gap <= GAP_MAX + 1 { gap } else { 2 };
                        prop_assert_eq!(own_gap, expected, "gap {}", gap);
                    }
                    Some(last) => prop_assert!(own.index <= last && last - own.index == highest - seq),
                }
                if ahead {
                    (highest, spliced, last) = (seq, false, Some(own.index));
                }
                prop_assert_eq!(r.highest_index(), last);
                if !spliced || !ahead {
                    prop_assert_eq!(r.source_of(own.seq()), Some((own.index, seq)));
                }
            }
        }
    }
}
