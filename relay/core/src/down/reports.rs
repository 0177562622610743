//! Sender reports to a subscriber, and the round trip from its answers (RFC 3550 §6.4.1).

use crate::time::{NtpClock, Time};
use crate::up::clock::ClockReference;
use crate::wire::rtcp::ReportBlock;
use relay_control::MediaKind;
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

/// A − LSR − DLSR (RFC 3550 §6.4.1), all in 1/65536 s; `None` if no report was received or the numbers cannot be true.
#[must_use]
pub fn round_trip(now_compact: u32, lsr: u32, dlsr: u32) -> Option<Duration> {
    if lsr == 0 {
        return None;
    }
    let rtt = now_compact.wrapping_sub(lsr).checked_sub(dlsr)?;
    let rtt = Duration::from_nanos(u64::from(rtt) * 1_000_000_000 / 65_536);
    (rtt <= RTT_MAX).then_some(rtt)
}
