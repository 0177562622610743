//! Finds missing packets and says when to ask for them again (generic NACK, RFC 4585 §6.2.1).
//!
//! Invariants
//! - At most [`NACK_LIST_MAX`] packets are awaited, whatever the publisher's numbers do.
//! - A packet is asked for at most [`TRIES_MAX`] times and at most [`GIVE_UP_AFTER`] long, then counted as
//!   lost.
//! - The list is sorted by extended sequence number, so what [`NackGenerator::poll`] returns is too.

use crate::id::SeqNo;
use crate::time::Time;
use arrayvec::ArrayVec;
use std::time::Duration;

/// Most packets awaited at once. A gap larger than this is no loss that retransmissions could mend in time:
/// the numbering is taken as new and a keyframe is cheaper.
pub const NACK_LIST_MAX: usize = 128;
/// How long a gap may be plain reordering before it is asked for.
pub const REORDER_TOLERANCE: Duration = Duration::from_millis(10);
/// Shortest time between two requests for one packet, for very short or unknown round trips.
pub const RETRY_INTERVAL_MIN: Duration = Duration::from_millis(30);
/// Requests for one packet.
pub const TRIES_MAX: u8 = 8;
/// After this long a frame is of no use to anybody.
pub const GIVE_UP_AFTER: Duration = Duration::from_secs(1);

/// What a received number meant for the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LossVerdict {
    /// The next in order.
    InOrder,
    /// Ahead of a gap of this many packets, which are awaited now.
    Gap(u64),
    /// One that was awaited.
    Recovered,
    /// Older than the highest and not awaited: a duplicate, or given up before.
    Unexpected,
    /// The gap did not fit the list. Old entries are given up; a keyframe should be asked for.
    Resync,
}

#[derive(Clone, Copy, Debug)]
struct Missing {
    seq: u64,
    give_up: Time,
    due: Time,
    tries: u8,
}

/// See the module.
#[derive(Debug)]
pub struct NackGenerator {
    /// Apart, and with room for all from [`NackGenerator::prepare`] on: a publisher that never comes has
    /// none.
    missing: Vec<Missing>,
    highest: Option<u64>,
    /// Whether packets are asked for; if not, they are only counted.
    asks: bool,
    next_due: Option<Time>,
    given_up: u64,
}

impl NackGenerator {
    /// `asks`: whether NACK was negotiated. Without it losses are counted only.
    #[must_use]
    pub fn new(asks: bool) -> Self {
        Self { missing: Vec::new(), highest: None, asks, next_due: None, given_up: 0 }
    }

    /// Allocates all that the list will ever need: to be called before the first packet.
    pub fn prepare(&mut self) {
        self.missing.reserve_exact(NACK_LIST_MAX - self.missing.len());
    }

    /// Notes a received packet, retransmissions included, by its extended sequence number.
    pub fn received(&mut self, seq: u64, now: Time) -> LossVerdict {
        let Some(highest) = self.highest else {
            self.highest = Some(seq);
            return LossVerdict::InOrder;
        };
        if seq <= highest {
            return self.forget(seq);
        }
        self.highest = Some(seq);
        let gap = seq - highest - 1;
        if gap == 0 {
            LossVerdict::InOrder
        } else if gap <= NACK_LIST_MAX as u64 {
            self.await_gap(highest + 1, gap as usize, now)
        } else {
            self.given_up += gap;
            self.clear();
            LossVerdict::Resync
        }
    }

    /// The publisher's numbering began anew at `seq`: everything awaited is given up.
    pub fn resync(&mut self, seq: u64) {
        self.clear();
        self.highest = Some(seq);
    }

    /// Sequence numbers to ask for now, ascending. `rtt` is the round trip to the publisher.
    pub fn poll(&mut self, now: Time, rtt: Duration) -> ArrayVec<SeqNo, NACK_LIST_MAX> {
        let mut ask = ArrayVec::new();
        if self.next_due.is_none_or(|due| now < due) {
            return ask;
        }
        let (asks, interval) = (self.asks, rtt.max(RETRY_INTERVAL_MIN));
        let before = self.missing.len();
        self.missing.retain_mut(|m| {
            if now >= m.give_up || (m.tries >= TRIES_MAX && now >= m.due) {
                return false;
            }
            if now >= m.due {
                m.due = (now + interval).min(m.give_up);
                m.tries += 1;
                ask.push(SeqNo(m.seq as u16));
            }
            true
        });
        self.given_up += (before - self.missing.len()) as u64;
        self.next_due = self.missing.iter().map(|m| m.due).min();
        if !asks {
            ask.clear();
        }
        ask
    }

    /// When [`NackGenerator::poll`] has something to do.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        self.next_due
    }

    /// Packets given up since the last call.
    pub fn take_given_up(&mut self) -> u64 {
        std::mem::take(&mut self.given_up)
    }

    /// Number of packets awaited now.
    #[must_use]
    pub fn awaited(&self) -> usize {
        self.missing.len()
    }

    fn forget(&mut self, seq: u64) -> LossVerdict {
        match self.missing.binary_search_by_key(&seq, |m| m.seq) {
            Ok(at) => {
                self.missing.remove(at);
                if self.missing.is_empty() {
                    self.next_due = None;
                }
                LossVerdict::Recovered
            }
            Err(_) => LossVerdict::Unexpected,
        }
    }

    fn await_gap(&mut self, first: u64, gap: usize, now: Time) -> LossVerdict {
        let overflow = (self.missing.len() + gap).saturating_sub(NACK_LIST_MAX);
        self.missing.drain(..overflow);
        self.given_up += overflow as u64;
        let give_up = now + GIVE_UP_AFTER;
        let due = if self.asks { now + REORDER_TOLERANCE } else { give_up };
        for seq in first..first + gap as u64 {
            self.missing.push(Missing { seq, give_up, due, tries: 0 });
        }
        self.next_due = Some(self.next_due.map_or(due, |at| at.min(due)));
        if overflow > 0 { LossVerdict::Resync } else { LossVerdict::Gap(gap as u64) }
    }

    fn clear(&mut self) {
        self.given_up += self.missing.len() as u64;
        self.missing.clear();
        self.next_due = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: u64 = 1 << 16;

    fn ms(at: u64) -> Time {
        Time::from_nanos((1_000 + at) * 1_000_000)
    }

    fn rtt(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// A generator that received `seqs` at time 0.
    fn after(seqs: impl IntoIterator<Item = u64>) -> NackGenerator {
        let mut nack = NackGenerator::new(true);
        for seq in seqs {
            let _ = nack.received(seq, ms(0));
        }
        nack
    }

    fn polled(nack: &mut NackGenerator, at: u64, rtt_ms: u64) -> Vec<u16> {
        nack.poll(ms(at), rtt(rtt_ms)).iter().map(|seq| seq.0).collect()
    }

    #[test]
    fn verdicts() {
        use LossVerdict::{Gap, InOrder, Recovered, Resync, Unexpected};
        // (numbers before, number, verdict, awaited after)
        for (before, seq, verdict, awaited) in [
            (vec![], START, InOrder, 0),
            (vec![START], START + 1, InOrder, 0),
            (vec![START], START, Unexpected, 0),
            (vec![START], START - 5, Unexpected, 0),
            (vec![START], START + 2, Gap(1), 1),
            (vec![START, START + 3], START + 1, Recovered, 1),
            (vec![START, START + 3, START + 1], START + 1, Unexpected, 1),
            (vec![START], START + 128, Gap(127), 127),
            (vec![START], START + 129, Gap(128), 128),
            (vec![START], START + 130, Resync, 0),
            (vec![START], START + 0x7fff, Resync, 0),
            (vec![START], START + 0x8000, Resync, 0),
            (vec![START], u64::MAX, Resync, 0),
            (vec![START + 0xfffe], START + 0x1_0001, Gap(2), 2),
            (vec![START, START + 101], START + 160, Resync, 128),
        ] {
            let mut nack = after(before.clone());
            assert_eq!(nack.received(seq, ms(0)), verdict, "{before:?} then {seq}");
            assert_eq!(nack.awaited(), awaited, "{before:?} then {seq}");
        }
    }

    #[test]
    fn requests_follow_the_timing_table() {
        // (rtt, times at which it asks) for one packet lost at time 0; polled every millisecond.
        for (rtt_ms, times) in [
            (0, vec![10, 40, 70, 100, 130, 160, 190, 220]),
            (30, vec![10, 40, 70, 100, 130, 160, 190, 220]),
            (100, vec![10, 110, 210, 310, 410, 510, 610, 710]),
            (300, vec![10, 310, 610, 910]),
            (5000, vec![10]),
        ] {
            let mut nack = after([START, START + 2]);
            let asked: Vec<u64> =
                (0..2_000).filter(|at| !polled(&mut nack, *at, rtt_ms).is_empty()).collect();
            assert_eq!(asked, times, "rtt {rtt_ms}");
            assert_eq!(
                (nack.awaited(), nack.take_given_up(), nack.take_given_up()),
                (0, 1, 0),
                "rtt {rtt_ms}"
            );
            assert_eq!(nack.poll_timeout(), None);
        }
    }

    #[test]
    fn reordering_within_the_tolerance_asks_for_nothing() {
        let mut nack = after([START, START + 2]);
        assert!(polled(&mut nack, 9, 50).is_empty());
        assert_eq!(nack.received(START + 1, ms(9)), LossVerdict::Recovered);
        assert_eq!(nack.poll_timeout(), None);
        assert!(polled(&mut nack, 10, 50).is_empty());
        assert_eq!(nack.take_given_up(), 0);
    }

    #[test]
    fn the_timeout_is_when_something_is_due() {
        let mut nack = after([START, START + 2]);
        assert_eq!(nack.poll_timeout(), Some(ms(10)));
        assert_eq!(polled(&mut nack, 10, 100), [1]);
        let _ = nack.received(START + 5, ms(50));
        assert_eq!(nack.poll_timeout(), Some(ms(60)));
        assert_eq!(polled(&mut nack, 60, 100), [3, 4]);
        assert_eq!(nack.poll_timeout(), Some(ms(110)));
        assert_eq!(polled(&mut nack, 200, 100), [1, 3, 4], "ascending");
    }

    #[test]
    fn numbers_are_asked_for_across_the_wrap() {
        let mut nack = after([START + 0xfffd, START + 0x1_0002]);
        assert_eq!(polled(&mut nack, 10, 100), [0xfffe, 0xffff, 0, 1]);
    }

    #[test]
    fn a_resync_gives_up_what_was_awaited_and_counts_a_real_outage() {
        let mut nack = after([START, START + 4]);
        nack.resync(START + 40_000);
        assert_eq!((nack.awaited(), nack.take_given_up()), (0, 3), "the jump itself is no loss");
        assert_eq!(nack.received(START + 40_001, ms(1)), LossVerdict::InOrder);
        let _ = nack.received(START + 40_001 + 201, ms(2));
        assert_eq!(nack.take_given_up(), 200);
    }

    #[test]
    fn without_nack_losses_are_counted_only() {
        let mut nack = NackGenerator::new(false);
        let _ = nack.received(START, ms(0));
        let _ = nack.received(START + 3, ms(0));
        let _ = nack.received(START + 1, ms(500));
        assert!((0..2_000).all(|at| polled(&mut nack, at, 10).is_empty()));
        assert_eq!(nack.take_given_up(), 1);
    }
}
