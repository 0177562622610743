//! Transport-wide congestion feedback (draft-holmer-rmcat-transport-wide-cc-extensions-01): notes when each packet of
//! a transport came and reports it to the sender.
//!
//! Invariants
//! - At most [`WINDOW`] packets are remembered, whatever the numbers do.
//! - A report has at most [`STATUSES_MAX`] statuses, so it never exceeds 1,200 octets however they are encoded.
//! - Each number is reported at most once; what comes after its report is ignored.

use crate::id::{SeqNo, Ssrc};
use crate::time::Time;
use crate::wire::rtcp::write_transport_cc;
use arrayvec::ArrayVec;
use std::time::Duration;

/// Packets remembered between two reports: 10,000 packets a second over 100 ms.
pub const WINDOW: usize = 1024;
/// Statuses in one report. The dearest encoding takes 2 octets of delta and 2/7 of chunk for each, and 20 of header:
/// 512 of them are 1,195 octets.
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
    /// One per packet from `base_seq` on: `None` not received, else the delta in 250 µs to the received one before
    /// (the first: to the reference time).
    pub deltas: ArrayVec<Option<i16>, STATUSES_MAX>,
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

    /// Writes the next report into `out`, if one is due. Call until `None`: an outage or a full window takes more
    /// than one. `out` needs room for 1,200 octets.
    pub fn poll(&mut self, now: Time, out: &mut [u8], sender: Ssrc, media: Ssrc) -> Option<usize> {
        let r = self.poll_report(now)?;
        write_transport_cc(out, sender, media, r.base_seq, r.fb_count, r.reference_time, &r.deltas)
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
