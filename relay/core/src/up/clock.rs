//! Puts publishers' media clocks on the relay's own time, so that sender reports to subscribers keep lips and
//! voice together (RFC 3550 §6.4.1: NTP and RTP timestamp of one moment).
//!
//! Audio and video of a publisher share that publisher's wallclock, and so one [`SenderClock`]: whatever its
//! error, it is the same for both and cancels out.

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
            Some(old) if seen <= old || seen.saturating_sub(old) > STEP_MAX_NANOS => seen,
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn ms(at: u64) -> Time {
        Time::from_nanos(at * 1_000_000)
    }

    /// NTP time of a publisher whose wallclock shows `seconds` and a fraction at our time zero.
    fn ntp(seconds: u64, at_ms: u64) -> u64 {
        ((seconds + at_ms / 1_000) << 32) | (((at_ms % 1_000) << 32) / 1_000)
    }

    #[test]
    fn timestamps_are_extrapolated_both_ways() {
        let reference = ClockReference { time: ms(1_000), timestamp: 0xffff_ff00 };
        for (at, rate, want) in [
            (1_000, 90_000, 0xffff_ff00),
            (1_010, 90_000, 0xffff_ff00u32.wrapping_add(900)),
            (1_020, 48_000, 0xffff_ff00u32.wrapping_add(960)),
            (1_020, 8_000, 0xffff_ff00u32.wrapping_add(160)),
            (990, 90_000, 0xffff_ff00u32.wrapping_sub(900)),
        ] {
            assert_eq!(reference.extrapolate(ms(at), rate), want, "at {at} ms, {rate} Hz");
        }
    }

    #[test]
    fn the_fastest_report_sets_the_clock_and_skew_is_followed() {
        // Reports of a publisher 3,900,000,000 s ahead, sent every second, each with its delay in ms: where
        // the last one's moment lies after them all, in ms before its arrival.
        for (delays, before_arrival) in [
            (vec![20], 0),
            (vec![20, 50], 29),
            (vec![50, 20], 0),
            (vec![20, 50, 20, 35], 12),
            (vec![20, 5_000], 0),
        ] {
            let mut clock = SenderClock::new();
            let mut last = None;
            for (i, delay) in delays.iter().enumerate() {
                let sent = 10_000 + i as u64 * 1_000;
                let sr =
                    SrArrival { ntp: ntp(3_900_000_000, sent), rtp_timestamp: 1, arrival: ms(sent + delay) };
                clock.on_sender_report(sr.arrival, sr.ntp);
                last = Some(sr);
            }
            let last = last.expect("at least one");
            let reference = clock.reference(&last).expect("within time");
            let lead = last.arrival.since(reference.time);
            assert!(
                lead.abs_diff(Duration::from_millis(before_arrival)) < Duration::from_millis(3),
                "{delays:?}: {lead:?}"
            );
        }
    }

    #[test]
    fn lies_about_time_are_survived() {
        let mut clock = SenderClock::new();
        let sr = |ntp| SrArrival { ntp, rtp_timestamp: 0, arrival: ms(5) };
        assert_eq!(clock.reference(&sr(1)), None);
        for ntp in [0, u64::MAX, 1 << 63, 0, u64::MAX] {
            for now in [Time::ZERO, ms(1), Time::MAX] {
                clock.on_sender_report(now, ntp);
                let _ = (clock.reference(&sr(0)), clock.reference(&sr(u64::MAX)));
            }
        }
    }
}
