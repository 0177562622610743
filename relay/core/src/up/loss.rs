//! Finds missing packets and says when to ask for them again (generic NACK, RFC 4585 §6.2.1).
//!
//! Invariants
//! - At most [`NACK_LIST_MAX`] packets are awaited, whatever the publisher's numbers do.
//! - A packet is asked for at most [`TRIES_MAX`] times and at most [`GIVE_UP_AFTER`] long, then counted as lost.
//! - The list is sorted by extended sequence number, so what [`NackGenerator::poll`] returns is too.

use crate::id::SeqNo;
use crate::time::Time;
use arrayvec::ArrayVec;
use std::time::Duration;

/// Most packets awaited at once. A gap larger than this is no loss that retransmissions could mend in time: the
/// numbering is taken as new and a keyframe is cheaper.
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
    missing: ArrayVec<Missing, NACK_LIST_MAX>,
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
        Self { missing: ArrayVec::new(), highest: None, asks, next_due: None, given_up: 0 }
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
        self.missing.retain(|m| {
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
