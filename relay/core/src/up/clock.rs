//! Puts publishers' media clocks on the relay's own time, so that sender reports to subscribers keep lips and voice
//! together (RFC 3550 §6.4.1: NTP and RTP timestamp of one moment).
//!
//! Audio and video of a publisher share that publisher's wallclock, and so one [`SenderClock`]: whatever its error,
//! it is the same for both and cancels out.

use super::jitter::{SrArrival, ticks};
use crate::time::Time;

/// The RTP timestamp of a stream at some moment of relay time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct ClockReference {
    /// The moment.
    pub time: Time,
    /// The stream's timestamp then.
    pub timestamp: u32,
}

impl ClockReference {
    /// The timestamp at `at`, for a clock of `clock_rate_hz`.
    #[must_use]
    pub fn extrapolate(self, at: Time, clock_rate_hz: u32) -> u32 {
        let passed = ticks(at, clock_rate_hz).wrapping_sub(ticks(self.time, clock_rate_hz));
        self.timestamp.wrapping_add(passed)
    }
}

/// A report that puts the publisher's clock this far from the estimate is a new clock, not delay.
const STEP_MAX_NANOS: i64 = 1_000_000_000;
/// A later report moves the estimate by this part of the difference: it follows skew and shrugs at delay.
const FOLLOW: i64 = 16;

/// Relay time minus the wallclock of one publisher (one per transport).
#[derive(Debug, Default)]
pub struct SenderClock {
    /// In nanoseconds: relay time = publisher's NTP time + offset.
    offset: Option<i64>,
}

impl SenderClock {
    /// Nothing known yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the NTP timestamp of a sender report of any stream of this publisher.
    pub fn on_sender_report(&mut self, now: Time, ntp: u64) {
        let seen = nanos(now).saturating_sub(ntp_nanos(ntp));
        self.offset = Some(match self.offset {
            // The shortest way is the truest.
            Some(old) if seen <= old || seen - old > STEP_MAX_NANOS => seen,
            Some(old) => old + (seen - old) / FOLLOW,
            None => seen,
        });
    }

    /// A publisher's report on relay time; `None` before any report or outside of time.
    #[must_use]
    pub fn reference(&self, sr: &SrArrival) -> Option<ClockReference> {
        let time = ntp_nanos(sr.ntp).saturating_add(self.offset?);
        let time = Time::from_nanos(u64::try_from(time).ok()?);
        Some(ClockReference { time, timestamp: sr.rtp_timestamp })
    }
}

fn nanos(time: Time) -> i64 {
    i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)
}

/// NTP timestamp (64 bit) in nanoseconds since its era began; fits: 2^32 s are less than 2^63 ns.
fn ntp_nanos(ntp: u64) -> i64 {
    let (seconds, fraction) = (ntp >> 32, ntp & 0xffff_ffff);
    (seconds * 1_000_000_000 + ((fraction * 1_000_000_000) >> 32)).cast_signed()
}
