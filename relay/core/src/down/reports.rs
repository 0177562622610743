//! Sender reports to a subscriber, and the round trip from its answers (RFC 3550 §6.4.1).

use crate::media::MediaKind;
use crate::time::{NtpClock, Time};
use crate::up::clock::ClockReference;
use crate::wire::rtcp::ReportBlock;
use std::time::Duration;

/// Time between reports on video.
pub const INTERVAL_VIDEO: Duration = Duration::from_secs(1);
/// Time between reports on audio.
pub const INTERVAL_AUDIO: Duration = Duration::from_secs(5);
/// Taken for the round trip until one is measured.
pub const RTT_DEFAULT: Duration = Duration::from_millis(100);
/// A longer round trip is a lie or an answer to a report long forgotten.
pub const RTT_MAX: Duration = Duration::from_secs(10);
/// A new measurement counts as one in so many.
const RTT_SMOOTHING: u32 = 8;

/// What a sender report says of the sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SenderInfo {
    /// NTP timestamp of now.
    pub ntp: u64,
    /// The stream's own RTP timestamp of now.
    pub rtp_timestamp: u32,
    /// Packets sent, modulo 2^32.
    pub packets: u32,
    /// Payload octets sent, modulo 2^32.
    pub octets: u32,
}

/// See the module.
#[derive(Debug)]
pub struct SenderReports {
    clock_rate_hz: u32,
    interval: Duration,
    due: Option<Time>,
    rtt: Option<Duration>,
}

impl SenderReports {
    /// For a stream whose timestamps tick at `clock_rate_hz`.
    #[must_use]
    pub fn new(kind: MediaKind, clock_rate_hz: u32) -> Self {
        let interval = match kind {
            MediaKind::Audio => INTERVAL_AUDIO,
            MediaKind::Video => INTERVAL_VIDEO,
        };
        Self { clock_rate_hz, interval, due: None, rtt: None }
    }

    /// Whether a report is due; if so the next one is an interval away. The first is due at once.
    pub fn poll(&mut self, now: Time) -> Option<()> {
        if self.due.is_some_and(|due| now < due) {
            return None;
        }
        self.due = Some(now + self.interval);
        Some(())
    }

    /// When the next report is due; `None` before the first.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        self.due
    }

    /// The report for now. `reference` is in the stream's own timestamps.
    #[must_use]
    pub fn sender_info(
        &self,
        now: Time,
        clock: NtpClock,
        reference: ClockReference,
        packets: u64,
        octets: u64,
    ) -> SenderInfo {
        SenderInfo {
            ntp: clock.ntp(now),
            rtp_timestamp: reference.extrapolate(now, self.clock_rate_hz),
            packets: packets as u32,
            octets: octets as u32,
        }
    }

    /// Takes the subscriber's report block on this stream. The measured round trip, if it makes sense.
    pub fn on_report_block(&mut self, now: Time, clock: NtpClock, block: &ReportBlock) -> Option<Duration> {
        let measured = round_trip(Time::compact_ntp(clock.ntp(now)), block.lsr, block.dlsr)?;
        self.rtt = Some(match self.rtt {
            Some(rtt) => (rtt * (RTT_SMOOTHING - 1) + measured) / RTT_SMOOTHING,
            None => measured,
        });
        Some(measured)
    }

    /// The smoothed round trip, [`RTT_DEFAULT`] until one was measured.
    #[must_use]
    pub fn rtt(&self) -> Duration {
        self.rtt.unwrap_or(RTT_DEFAULT)
    }
}

/// A − LSR − DLSR (RFC 3550 §6.4.1), all in 1/65536 s; `None` if no report was received or the numbers cannot
/// be true.
#[must_use]
pub fn round_trip(now_compact: u32, lsr: u32, dlsr: u32) -> Option<Duration> {
    if lsr == 0 {
        return None;
    }
    let rtt = now_compact.wrapping_sub(lsr).checked_sub(dlsr)?;
    let rtt = Duration::from_nanos(u64::from(rtt) * 1_000_000_000 / 65_536);
    (rtt <= RTT_MAX).then_some(rtt)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLOCK: NtpClock = NtpClock { ntp_at_zero: 3_900_000_000 << 32 };

    fn ms(at: u64) -> Time {
        Time::from_nanos(at * 1_000_000)
    }

    #[test]
    fn timestamps_are_those_of_now() {
        for (kind, rate, elapsed_ms, step) in [
            (MediaKind::Video, 90_000, 0, 0),
            (MediaKind::Video, 90_000, 33, 2_970),
            (MediaKind::Video, 90_000, 10_000, 900_000),
            (MediaKind::Audio, 48_000, 20, 960),
            (MediaKind::Audio, 8_000, 4_999, 39_992),
        ] {
            let reports = SenderReports::new(kind, rate);
            let reference = ClockReference { time: ms(77_000), timestamp: 0xffff_fff0 };
            let now = ms(77_000 + elapsed_ms);
            let info = reports.sender_info(now, CLOCK, reference, (1 << 32) + 5, (1 << 32) + 6);
            assert_eq!(info.rtp_timestamp, 0xffff_fff0u32.wrapping_add(step), "{rate} Hz, {elapsed_ms} ms");
            assert_eq!((info.ntp, info.packets, info.octets), (CLOCK.ntp(now), 5, 6));
        }
    }

    #[test]
    fn reports_are_due_by_kind() {
        for (kind, interval_ms) in [(MediaKind::Video, 1_000), (MediaKind::Audio, 5_000)] {
            let mut reports = SenderReports::new(kind, 90_000);
            assert_eq!(reports.poll_timeout(), None);
            let due: Vec<u64> =
                (100..12_000).step_by(100).filter(|at| reports.poll(ms(*at)).is_some()).collect();
            let expected: Vec<u64> = (100..12_000).step_by(interval_ms).collect();
            assert_eq!(due, expected, "{kind:?}");
        }
    }

    #[test]
    fn round_trips_and_lies() {
        // (now, LSR, DLSR, round trip), all but the last in 1/65536 s; the first row is the example of RFC
        // 3550 §6.4.1.
        for (now, lsr, dlsr, rtt) in [
            (0xb710_8000u32, 0xb705_2000, 0x0005_4000, Some(Duration::from_millis(6_125))),
            (0x0000_8000, 0xffff_8000, 0x0000_8000, Some(Duration::from_millis(500))),
            (100, 100, 0, Some(Duration::ZERO)),
            (65_536, 0, 0, None),           // no report was received
            (65_536, 32_768, 32_769, None), // held longer than it can have been
            (65_536, 32_768, u32::MAX, None),
            (65_536, 65_537, 0, None), // a report from the future
            (0xb710_8000, 1, 0, None), // one that was never sent
        ] {
            assert_eq!(round_trip(now, lsr, dlsr), rtt, "{now:#x} {lsr:#x} {dlsr:#x}");
        }
    }

    #[test]
    fn the_round_trip_is_smoothed_and_lies_leave_it_alone() {
        let mut reports = SenderReports::new(MediaKind::Video, 90_000);
        assert_eq!(reports.rtt(), RTT_DEFAULT);
        let mut answer = |sent: u64, received: u64, dlsr| {
            let lsr = Time::compact_ntp(CLOCK.ntp(ms(sent)));
            let block = ReportBlock { lsr, dlsr, ..ReportBlock::default() };
            let measured = reports.on_report_block(ms(received), CLOCK, &block);
            (measured.map(|d| d.as_millis()), reports.rtt().as_millis())
        };
        assert_eq!(answer(1_000, 1_500, 65_536), (None, 100));
        assert_eq!(answer(1_000, 1_500, 16_384), (Some(250), 250));
        assert_eq!(answer(2_000, 2_500, 32_768), (Some(0), 218));
        assert_eq!(answer(2_000, 50_000, 0), (None, 218));
    }
}
