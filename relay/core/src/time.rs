//! Time as the core sees it: nanoseconds since some moment before the process began its work.
//!
//! Monotonic by contract of the caller; nothing here reads a clock.

use relay_port::MediaTime;
use std::ops::{Add, AddAssign, Sub};
use std::time::Duration;

/// A moment on the caller's monotonic clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(u64);

impl Time {
    /// The origin. Real clocks should start well above it (see [`Time::from_nanos`]).
    pub const ZERO: Self = Self(0);
    /// Later than anything.
    pub const MAX: Self = Self(u64::MAX);

    /// From nanoseconds since the clock's origin.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the clock's origin.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Microseconds since the clock's origin.
    #[must_use]
    pub const fn as_micros(self) -> u64 {
        self.0 / 1_000
    }

    /// Time passed since `earlier`, zero if `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// Middle 32 bits of an NTP timestamp, as in the LSR and DLSR fields (RFC 3550 §6.4.1): units of 1/65536
    /// s.
    #[must_use]
    pub const fn compact_ntp(ntp: u64) -> u32 {
        (ntp >> 16) as u32
    }
}

impl Add<Duration> for Time {
    type Output = Self;
    fn add(self, rhs: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(rhs.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl AddAssign<Duration> for Time {
    fn add_assign(&mut self, rhs: Duration) {
        *self = *self + rhs;
    }
}

impl Sub<Duration> for Time {
    type Output = Self;
    fn sub(self, rhs: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(rhs.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// Maps [`Time`] to NTP time (RFC 3550 §4): seconds since 1900 in the upper 32 bits, fraction below.
#[derive(Clone, Copy, Debug, Default)]
pub struct NtpClock {
    /// NTP timestamp (64 bit) at [`Time::ZERO`].
    pub ntp_at_zero: u64,
}

impl NtpClock {
    /// The NTP timestamp of `now`.
    #[must_use]
    pub const fn ntp(self, now: Time) -> u64 {
        let secs = now.as_nanos() / 1_000_000_000;
        let frac = ((now.as_nanos() % 1_000_000_000) << 32) / 1_000_000_000;
        self.ntp_at_zero.wrapping_add((secs << 32) | frac)
    }

    /// The same clock for the ports of a shard.
    #[must_use]
    pub const fn room_clock(self) -> RoomClock {
        let (secs, frac) = (self.ntp_at_zero >> 32, self.ntp_at_zero & 0xffff_ffff);
        // Seconds count from 1900, or from their overflow in 2036 (RFC 4330 §3).
        let secs = if secs >> 31 == 0 { secs + (1 << 32) } else { secs };
        let since_unix = secs.cast_signed() - NTP_UNIX_OFFSET_S;
        let nanos = ((frac * 1_000_000_000) >> 32).cast_signed();
        RoomClock { nanos_at_zero: since_unix * 1_000_000_000 + nanos }
    }
}

/// Seconds from the beginning of NTP time (1900) to the Unix epoch (RFC 5905 §6).
const NTP_UNIX_OFFSET_S: i64 = 2_208_988_800;

/// Maps [`Time`] to [`MediaTime`] and back.
#[derive(Clone, Copy, Debug, Default)]
pub struct RoomClock {
    /// [`MediaTime`] at [`Time::ZERO`].
    nanos_at_zero: i64,
}

impl RoomClock {
    /// A moment on the room clock.
    #[must_use]
    pub const fn media_time(self, at: Time) -> MediaTime {
        MediaTime::from_nanos(at.0.cast_signed().wrapping_add(self.nanos_at_zero))
    }

    /// A moment on the process's clock; what was before it began is its origin.
    #[must_use]
    pub const fn time(self, at: MediaTime) -> Time {
        let nanos = at.as_nanos().saturating_sub(self.nanos_at_zero);
        Time(if nanos < 0 { 0 } else { nanos.cast_unsigned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_room_clock_counts_from_the_unix_epoch_and_leads_back() {
        for (ntp_at_zero, at_zero_ns) in [
            // 2024-01-01T00:00:00.5Z, and half a minute after the era ends in 2036.
            (3_913_056_000 << 32 | 1 << 31, 1_704_067_200_500_000_000),
            (30 << 32, 2_085_978_526_000_000_000),
        ] {
            let clock = NtpClock { ntp_at_zero }.room_clock();
            assert_eq!(clock.media_time(Time::ZERO), MediaTime::from_nanos(at_zero_ns));
            let at = Time::from_nanos(3_600_000_000_123);
            assert_eq!(clock.media_time(at).as_nanos() - at_zero_ns, 3_600_000_000_123);
            assert_eq!(clock.time(clock.media_time(at)), at, "nothing is lost");
            for nanos in [i64::MIN, -1, 0] {
                assert_eq!(clock.time(MediaTime::from_nanos(nanos)), Time::ZERO, "before the process");
            }
        }
    }
}
