//! What was sent to a peer and not yet told of: a ring with a fixed number of places.
//!
//! Invariants
//! - Each packet is told to have arrived, or to be lost, once at most. Of a packet whose report was lost
//!   itself nothing is told: it counts as neither.
//! - Numbers are given in the order of sending; what a report says of others is ignored.

use crate::id::SeqNo;
use crate::time::Time;
use std::time::Duration;

/// Packets remembered. With 1,200 octets each, and reports after 350 ms (a round trip of 250 ms and 100 ms
/// between reports), 28 Mbit/s.
pub const SENT_MAX: usize = 1024;
/// A packet that was said to be missing is lost when one sent so much later has arrived: until then it may
/// only be late.
const REORDER: Duration = Duration::from_millis(60);

/// What a packet was sent for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProbeId(pub u8);

impl ProbeId {
    /// Of packets that belong to no probe.
    pub const NONE: Self = Self(0);
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Fate {
    /// Told of, or never sent.
    #[default]
    Told,
    Unknown,
    /// Not there yet when a report was written.
    Missing,
}

/// Eight octets, so that eight packets share a line of the cache.
#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    /// Microseconds, of which 32 bits are kept.
    at_us: u32,
    octets: u16,
    probe: ProbeId,
    fate: Fate,
}

const _: () = assert!(size_of::<Entry>() == 8);

/// A packet of which a report said that it arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acked {
    /// When it was sent.
    pub sent: Time,
    /// How long it was, headers below RTP included.
    pub octets: u32,
    /// The probe that it belongs to.
    pub probe: ProbeId,
}

/// Packets, and how many of them did not arrive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// Told of.
    pub told: u32,
    /// Of these, lost.
    pub lost: u32,
    /// Octets of packets of which no report will tell, as theirs was lost. They may well have arrived.
    pub untold_octets: u64,
}

/// See the module.
#[derive(Debug)]
pub struct SentRing {
    entries: Box<[Entry; SENT_MAX]>,
    /// Number of the next packet.
    next: u64,
    /// All before it are told of, or given up.
    first_open: u64,
    /// Acknowledged since [`SentRing::settle`].
    acked: u32,
}

impl Default for SentRing {
    fn default() -> Self {
        Self::new()
    }
}

impl SentRing {
    /// Nothing sent. All that it will ever need is allocated here.
    #[must_use]
    pub fn new() -> Self {
        // In the second cycle, so that no number is below zero.
        let first = 1 << 16;
        Self { entries: Box::new([Entry::default(); SENT_MAX]), next: first, first_open: first, acked: 0 }
    }

    /// Notes a packet; its transport-wide number.
    #[inline]
    pub fn push(&mut self, now: Time, octets: usize, probe: ProbeId) -> SeqNo {
        let number = self.next;
        self.entries[place(number)] = Entry {
            at_us: now.as_micros() as u32,
            octets: u16::try_from(octets).unwrap_or(u16::MAX),
            probe,
            fate: Fate::Unknown,
        };
        self.next += 1;
        SeqNo(number as u16)
    }

    /// A report tells of `count` packets from `base` on; those that arrived are named next.
    pub fn on_statuses(&mut self, base: SeqNo, count: u16) {
        let base = base.extend(self.next);
        let first = base.max(self.oldest());
        for number in first..(base + u64::from(count)).min(self.next) {
            let entry = &mut self.entries[place(number)];
            if entry.fate == Fate::Unknown {
                entry.fate = Fate::Missing;
            }
        }
    }

    /// A packet arrived. `None`: that is known, or it was never sent, or it is too old.
    pub fn acknowledge(&mut self, now: Time, number: SeqNo) -> Option<Acked> {
        let number = number.extend(self.next);
        if number < self.oldest() || number >= self.next {
            return None;
        }
        let entry = &mut self.entries[place(number)];
        if entry.fate == Fate::Told {
            return None;
        }
        entry.fate = Fate::Told;
        self.acked += 1;
        Some(Acked { sent: sent_at(now, entry), octets: entry.octets.into(), probe: entry.probe })
    }

    /// After the packets of a report, of which the last was sent at `newest`: what is certain by now.
    pub fn settle(&mut self, now: Time, newest: Time) -> Losses {
        let mut losses = Losses { told: std::mem::take(&mut self.acked), ..Losses::default() };
        self.first_open = self.first_open.max(self.oldest());
        while self.first_open < self.next {
            let entry = &mut self.entries[place(self.first_open)];
            if entry.fate != Fate::Told {
                if sent_at(now, entry) + REORDER >= newest {
                    break;
                }
                match entry.fate {
                    Fate::Missing => losses.lost += 1,
                    _ => losses.untold_octets += u64::from(entry.octets),
                }
                entry.fate = Fate::Told;
            }
            self.first_open += 1;
        }
        losses.told += losses.lost;
        losses
    }

    /// When the oldest packet was sent of which nothing is known yet.
    #[must_use]
    pub fn oldest_open(&self, now: Time) -> Option<Time> {
        let open = self.first_open.max(self.oldest())..self.next;
        let entries = open.map(|number| &self.entries[place(number)]);
        entries.into_iter().find(|entry| entry.fate == Fate::Unknown).map(|entry| sent_at(now, entry))
    }

    /// The oldest number that still has a place.
    const fn oldest(&self) -> u64 {
        self.next.saturating_sub(SENT_MAX as u64)
    }
}

const fn place(number: u64) -> usize {
    (number % SENT_MAX as u64) as usize
}

fn sent_at(now: Time, entry: &Entry) -> Time {
    let age_us = (now.as_micros() as u32).wrapping_sub(entry.at_us);
    now - Duration::from_micros(age_us.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(at: u64) -> Time {
        // The microseconds of 32 bits wrap within the test.
        Time::from_nanos((4_294_900 + at) * 1_000_000)
    }

    /// One packet each 10 ms.
    fn ring(packets: u64) -> SentRing {
        let mut ring = SentRing::new();
        for i in 0..packets {
            assert_eq!(ring.push(ms(i * 10), 1_000, ProbeId(i as u8)), SeqNo(i as u16));
        }
        ring
    }

    #[test]
    fn what_arrived_is_told_once() {
        let mut ring = ring(20);
        ring.on_statuses(SeqNo(0), 3);
        let acked = ring.acknowledge(ms(300), SeqNo(2));
        assert_eq!(acked, Some(Acked { sent: ms(20), octets: 1_000, probe: ProbeId(2) }));
        for (number, why) in [(2, "again"), (20, "not sent"), (40_000, "not sent"), (65_535, "before all")] {
            assert_eq!(ring.acknowledge(ms(300), SeqNo(number)), None, "{why}");
        }
    }

    #[test]
    fn what_is_missing_is_lost_when_later_ones_have_come() {
        let mut ring = ring(20);
        // 0 to 9 are told of, 3 and 8 are missing, and 10 to 12 fall to a report that was lost.
        let mut report = |base: u16, count, arrived: &[u16]| {
            ring.on_statuses(SeqNo(base), count);
            let sent = arrived.iter().filter_map(|number| ring.acknowledge(ms(300), SeqNo(*number)));
            let newest = sent.map(|acked| acked.sent).max();
            let settled = ring.settle(ms(300), newest.unwrap_or(Time::ZERO));
            (settled.told, settled.lost, settled.untold_octets)
        };
        assert_eq!(report(0, 10, &[0, 1, 2, 4, 5, 6, 7, 9]), (8, 0, 0));
        assert_eq!(report(13, 2, &[13, 14]), (3, 1, 0));
        assert_eq!(report(8, 1, &[8]), (1, 0, 0), "only late");
        assert_eq!(report(15, 5, &[19]), (1, 0, 3_000), "its report was lost");
        assert_eq!(ring.oldest_open(ms(300)), None);
    }

    #[test]
    fn a_full_ring_forgets_the_oldest_and_numbers_wrap() {
        let mut ring = ring(70_000);
        let newest = SeqNo(69_999u64 as u16);
        assert!(ring.acknowledge(ms(700_000), newest).is_some());
        assert!(ring.acknowledge(ms(700_000), SeqNo(newest.0.wrapping_sub(1_024))).is_none());
        assert!(ring.acknowledge(ms(700_000), SeqNo(newest.0.wrapping_sub(1_023))).is_some());
        assert_eq!(ring.oldest_open(ms(700_000)), Some(ms((69_999 - 1_022) * 10)));
    }

    #[test]
    fn whatever_a_report_claims_costs_a_walk_of_the_ring_at_most() {
        let mut ring = ring(2_000);
        for base in (0..=u16::MAX).step_by(97) {
            for count in [0, 1, 1_000, u16::MAX] {
                ring.on_statuses(SeqNo(base), count);
            }
        }
        assert_eq!(ring.settle(ms(20_000), Time::MAX).lost, 1_024);
    }
}
