//! Transport-wide congestion feedback (draft-holmer-rmcat-transport-wide-cc-extensions-01): notes when each
//! packet of a transport came and reports it to the sender.
//!
//! Invariants
//! - At most [`WINDOW`] packets are remembered, whatever the numbers do.
//! - A report has at most [`STATUSES_MAX`] statuses, so it never exceeds 1,200 octets however they are
//!   encoded.
//! - Each number is reported at most once; what comes after its report is ignored.

use crate::id::{SeqNo, Ssrc};
use crate::time::Time;
use crate::wire::rtcp::write_transport_cc;
use arrayvec::ArrayVec;
use std::time::Duration;

/// Packets remembered between two reports: 10,000 packets a second over 100 ms.
pub const WINDOW: usize = 1024;
/// Statuses in one report. The dearest encoding takes 2 octets of delta and 2/7 of chunk for each, and 20 of
/// header: 512 of them are 1,195 octets.
pub const STATUSES_MAX: usize = 512;
/// Usual time between reports.
pub const INTERVAL: Duration = Duration::from_millis(100);
/// Shortest time between reports, for busy senders.
pub const INTERVAL_MIN: Duration = Duration::from_millis(50);
/// Longest time a single packet waits for company.
pub const INTERVAL_MAX: Duration = Duration::from_millis(250);
/// So many packets make a report due after [`INTERVAL_MIN`]: more than about 640 a second.
const BUSY: usize = 64;
/// Lost packets reported before the first received one: more is an outage that the sender knows by now.
const LEADING_LOST_MAX: u64 = 256;
/// Unit of a receive delta (§3.1).
const TICK_NANOS: u64 = 250_000;
/// Ticks in the unit of the reference time, 64 ms (§3.1).
const REFERENCE_TICKS: u64 = 256;
/// Extended numbers begin in this cycle, so that none is negative.
const FIRST_CYCLE: u64 = 1 << 16;

/// The content of one transport-cc packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedbackReport {
    /// Number of the first status.
    pub base_seq: u16,
    /// Feedback packet count.
    pub fb_count: u8,
    /// In 64 ms, 24 bit.
    pub reference_time: i32,
    /// One per packet from `base_seq` on: `None` not received, else the delta in 250 µs to the received one
    /// before (the first: to the reference time).
    pub deltas: ArrayVec<Option<i16>, STATUSES_MAX>,
}

impl FeedbackReport {
    /// Writes the packet; its length, `None` if it does not fit.
    #[must_use]
    pub fn write(&self, out: &mut [u8], sender: Ssrc, media: Ssrc) -> Option<usize> {
        let (base, count, time) = (self.base_seq, self.fb_count, self.reference_time);
        write_transport_cc(out, sender, media, base, count, time, &self.deltas)
    }
}

/// See the module.
#[derive(Debug)]
pub struct TransportFeedback {
    /// Arrival in ticks plus one, 0 = not received; by number modulo [`WINDOW`]. Zero outside of `base..end`.
    arrivals: Box<[u64; WINDOW]>,
    /// Next number to report.
    base: u64,
    /// Behind the highest received; `None` before the first packet.
    end: Option<u64>,
    /// Received and not reported.
    pending: usize,
    /// Arrival of the first of them.
    pending_since: Time,
    last_sent: Option<Time>,
    /// The last report did not hold all that was pending: the rest is due at once.
    unfinished: bool,
    fb_count: u8,
}

impl Default for TransportFeedback {
    fn default() -> Self {
        Self::new()
    }
}

impl TransportFeedback {
    /// Nothing received yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            arrivals: Box::new([0; WINDOW]),
            base: 0,
            end: None,
            pending: 0,
            pending_since: Time::ZERO,
            last_sent: None,
            unfinished: false,
            fb_count: 0,
        }
    }

    /// Notes the transport-wide number of a received packet.
    pub fn received(&mut self, seq: u16, arrival: Time) {
        let seq = self.place(SeqNo(seq));
        if seq < self.base {
            return;
        }
        self.slide_to(seq);
        self.end = self.end.max(Some(seq + 1));
        let slot = &mut self.arrivals[index(seq)];
        if *slot == 0 {
            *slot = arrival.as_nanos() / TICK_NANOS + 1;
            if self.pending == 0 {
                self.pending_since = arrival;
            }
            self.pending += 1;
        }
    }

    /// Writes the next report into `out`, if one is due. Call until `None`: an outage or a full window takes
    /// more than one. `out` needs room for 1,200 octets.
    pub fn poll(&mut self, now: Time, out: &mut [u8], sender: Ssrc, media: Ssrc) -> Option<usize> {
        self.poll_report(now)?.write(out, sender, media)
    }

    /// The next report, if one is due. Call until `None`: an outage or a full window takes more than one.
    pub fn poll_report(&mut self, now: Time) -> Option<FeedbackReport> {
        let end = self.end.filter(|_| self.poll_timeout().is_some_and(|due| now >= due))?;
        let first = (self.base..end).find(|seq| self.arrivals[index(*seq)] != 0)?;
        self.base = self.base.max(first.saturating_sub(LEADING_LOST_MAX));
        let reference = (self.arrivals[index(first)] - 1) / REFERENCE_TICKS;
        let mut report = FeedbackReport {
            base_seq: self.base as u16,
            fb_count: self.fb_count,
            reference_time: (reference & 0xff_ffff) as i32,
            deltas: ArrayVec::new(),
        };
        let mut before = reference * REFERENCE_TICKS;
        while self.base < end && !report.deltas.is_full() {
            let slot = &mut self.arrivals[index(self.base)];
            if *slot != 0 {
                let tick = *slot - 1;
                let Ok(delta) = i16::try_from(tick.cast_signed() - before.cast_signed()) else { break };
                report.deltas.push(Some(delta));
                before = tick;
                *slot = 0;
                self.pending -= 1;
            } else {
                report.deltas.push(None);
            }
            self.base += 1;
        }
        self.fb_count = self.fb_count.wrapping_add(1);
        self.last_sent = Some(now);
        self.unfinished = self.pending > 0;
        Some(report)
    }

    /// When the next report is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        let interval = match self.pending {
            0 => return None,
            _ if self.unfinished => return self.last_sent,
            1 => INTERVAL_MAX,
            BUSY.. => INTERVAL_MIN,
            _ => INTERVAL,
        };
        let gather = self.pending_since + INTERVAL_MIN;
        Some(self.last_sent.map_or(gather, |last| gather.max(last + interval)))
    }

    /// The extended number. A jump further than the window makes it a new base.
    fn place(&mut self, seq: SeqNo) -> u64 {
        if let Some(end) = self.end {
            let extended = seq.extend(end - 1);
            if extended + WINDOW as u64 >= self.base && extended < end + WINDOW as u64 {
                return extended;
            }
        }
        self.arrivals.fill(0);
        self.pending = 0;
        self.base = FIRST_CYCLE + u64::from(seq.0);
        self.end = None;
        self.base
    }

    /// Forgets the oldest statuses so that `seq` fits the window.
    fn slide_to(&mut self, seq: u64) {
        while seq >= self.base + WINDOW as u64 {
            let slot = &mut self.arrivals[index(self.base)];
            if *slot != 0 {
                *slot = 0;
                self.pending -= 1;
            }
            self.base += 1;
        }
    }
}

fn index(seq: u64) -> usize {
    (seq % WINDOW as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::rtcp::{RtcpPacket, TRANSPORT_CC_BYTES_MAX, parse_compound};
    use proptest::prelude::*;

    /// A multiple of 64 ms, so that reference times come out even.
    const T0_MS: u64 = 64_000;

    fn at(ms: f64) -> Time {
        Time::from_nanos(((T0_MS as f64 + ms) * 1e6) as u64)
    }

    /// Polls as if a long time had passed since the last poll.
    fn poll_late(feedback: &mut TransportFeedback) -> Option<FeedbackReport> {
        feedback.poll_timeout().and_then(|due| feedback.poll_report(due))
    }

    /// Reports after these (number, ms) pairs arrived: base, reference time relative to the start, deltas.
    fn reports(arrivals: &[(u16, f64)]) -> Vec<(u16, i32, Vec<Option<i16>>)> {
        let mut feedback = TransportFeedback::new();
        for (seq, ms) in arrivals {
            feedback.received(*seq, at(*ms));
        }
        let all = std::iter::from_fn(|| poll_late(&mut feedback));
        all.map(|r| (r.base_seq, r.reference_time - 1_000, r.deltas.to_vec())).collect()
    }

    #[test]
    fn reports_tell_what_came_and_when() {
        let lost = None;
        // (arrivals, reports)
        for (arrivals, expected) in [
            (vec![], vec![]),
            (vec![(7, 0.0)], vec![(7, 0, vec![Some(0)])]),
            (vec![(7, 65.0), (8, 66.5)], vec![(7, 1, vec![Some(4), Some(6)])]),
            // A loss inside, and one across the wrap of the counter.
            (vec![(7, 0.0), (9, 1.0)], vec![(7, 0, vec![Some(0), lost, Some(4)])]),
            (vec![(65_534, 0.0), (1, 1.0)], vec![(65_534, 0, vec![Some(0), lost, lost, Some(4)])]),
            // Reordered: the second is earlier than the first in number. What is below the base came too
            // late.
            (vec![(7, 0.0), (9, 1.0), (8, 2.0)], vec![(7, 0, vec![Some(0), Some(8), Some(-4)])]),
            (vec![(7, 0.0), (6, 1.0), (8, 2.0)], vec![(7, 0, vec![Some(0), Some(8)])]),
            // A duplicate keeps its first arrival.
            (vec![(7, 0.0), (7, 5.0), (8, 6.0)], vec![(7, 0, vec![Some(0), Some(24)])]),
            // A delta over 16 bits begins a new report, whose reference time is its own.
            (vec![(7, 0.0), (8, 8_191.75)], vec![(7, 0, vec![Some(0), Some(32_767)])]),
            (vec![(7, 0.0), (8, 8_192.0)], vec![(7, 0, vec![Some(0)]), (8, 128, vec![Some(0)])]),
            // A jump beyond the window is a new base, forward and backward.
            (vec![(7, 0.0), (2_000, 1.0)], vec![(2_000, 0, vec![Some(4)])]),
            (vec![(7, 0.0), (40_007, 1.0)], vec![(40_007, 0, vec![Some(4)])]),
            (vec![(40_007, 0.0), (7, 1.0), (8, 2.0)], vec![(7, 0, vec![Some(4), Some(4)])]),
        ] {
            assert_eq!(reports(&arrivals), expected, "{arrivals:?}");
        }
    }

    #[test]
    fn an_outage_is_told_in_part_and_a_full_window_in_several_reports() {
        let told = reports(&[(0, 0.0), (800, 1.0)]);
        assert_eq!(told.iter().map(|r| (r.0, r.2.len())).collect::<Vec<_>>(), [(0, 512), (544, 257)]);
        let all: Vec<_> = (0..1_500).map(|seq| (seq, f64::from(seq) * 0.25)).collect();
        let told = reports(&all);
        assert_eq!(told.iter().map(|r| (r.0, r.2.len())).collect::<Vec<_>>(), [(476, 512), (988, 512)]);
        assert!(told.iter().all(|r| r.2.iter().all(Option::is_some)));
    }

    #[test]
    fn what_was_reported_is_not_reported_again() {
        let mut feedback = TransportFeedback::new();
        feedback.received(7, at(0.0));
        feedback.received(9, at(1.0));
        assert_eq!(poll_late(&mut feedback).map(|r| (r.fb_count, r.deltas.len())), Some((0, 3)));
        feedback.received(8, at(2.0));
        feedback.received(9, at(2.0));
        assert_eq!(poll_late(&mut feedback), None);
        feedback.received(11, at(3.0));
        let next = poll_late(&mut feedback).expect("something new");
        assert_eq!((next.base_seq, next.fb_count, next.deltas.to_vec()), (10, 1, vec![None, Some(12)]));
    }

    #[test]
    fn the_feedback_count_wraps() {
        let mut feedback = TransportFeedback::new();
        for i in 0..600u16 {
            feedback.received(i, at(f64::from(i)));
            assert_eq!(poll_late(&mut feedback).map(|r| r.fb_count), Some(i as u8));
        }
    }

    #[test]
    fn reports_come_between_50_and_250_ms() {
        // (packets at the start, packets at 60 ms after the first report, next due after it)
        for (count, due_ms) in
            [(0, None), (1, Some(250.0)), (2, Some(110.0)), (63, Some(110.0)), (64, Some(110.0))]
        {
            let mut feedback = TransportFeedback::new();
            feedback.received(0, at(-50.0));
            assert_eq!(feedback.poll_timeout(), Some(at(0.0)));
            assert_eq!(feedback.poll_report(at(-1.0)), None);
            assert!(feedback.poll_report(at(0.0)).is_some());
            (0..count).for_each(|i| feedback.received(i + 1, at(60.0)));
            assert_eq!(feedback.poll_timeout(), due_ms.map(at), "{count} packets");
        }
        // A busy sender: 64 packets right after a report are told after 50 ms, two after 100.
        for (count, due_ms) in [(2, 100.0), (64, 51.0)] {
            let mut feedback = TransportFeedback::new();
            feedback.received(0, at(-50.0));
            assert!(feedback.poll_report(at(0.0)).is_some());
            (0..count).for_each(|i| feedback.received(i + 1, at(1.0)));
            assert_eq!(feedback.poll_timeout(), Some(at(due_ms)), "{count} packets");
        }
    }

    #[test]
    fn the_largest_report_fits() {
        let mut feedback = TransportFeedback::new();
        // Every delta needs two octets: arrivals in order of falling numbers.
        for i in 0..1_000u16 {
            feedback.received(if i == 0 { 0 } else { 1_000 - i }, at(f64::from(i) * 2.0));
        }
        let mut out = [0; 1_500];
        let mut told = 0;
        while let Some(len) = feedback.poll(Time::MAX, &mut out, Ssrc(1), Ssrc(2)) {
            assert!(len <= TRANSPORT_CC_BYTES_MAX, "{len} octets");
            told += 1;
        }
        assert_eq!(told, 2);
    }

    proptest! {
        /// Any input: reports fit, parse, and tell each packet at most once between jumps; memory does not
        /// grow.
        #[test]
        fn any_sequence_is_survived(steps in prop::collection::vec(
            (prop_oneof![4 => 0u16..20, 1 => any::<u16>()], 0u64..20_000_000_000), 1..400)
        ) {
            let mut feedback = TransportFeedback::new();
            let mut seq = 65_500u16;
            let mut out = [0; 1_500];
            for (i, (step, nanos)) in steps.into_iter().enumerate() {
                seq = seq.wrapping_add(step).wrapping_sub(5);
                feedback.received(seq, Time::from_nanos(nanos));
                if i % 7 != 0 {
                    continue;
                }
                let mut reports = 0;
                feedback.last_sent = None;
                while let Some(len) = feedback.poll(Time::MAX, &mut out, Ssrc(1), Ssrc(2)) {
                    prop_assert!(len <= TRANSPORT_CC_BYTES_MAX);
                    let packet = parse_compound(&out[..len]).expect("well formed").next();
                    prop_assert!(matches!(packet, Some(RtcpPacket::TransportCc(_))));
                    reports += 1;
                }
                prop_assert!(reports <= WINDOW);
                prop_assert_eq!(feedback.pending, 0);
            }
            prop_assert!(feedback.arrivals.iter().filter(|a| **a != 0).count() == feedback.pending);
        }
    }
}
