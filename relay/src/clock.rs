//! The one clock: CLOCK_MONOTONIC for all that happens, the wall clock once at start for sender reports.

use relay_core::time::{NtpClock, Time};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// What [`Time`] says when the process starts: far enough above zero that "an hour ago" is still a moment.
const ORIGIN: Duration = Duration::from_secs(3600);

/// Seconds from the NTP era (1900) to the Unix epoch (RFC 5905 §6).
const NTP_UNIX_OFFSET_S: u64 = 2_208_988_800;

/// Reads the monotonic clock; copies agree with each other.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    started: Instant,
}

impl Clock {
    #[must_use]
    pub fn start() -> Self {
        Self { started: Instant::now() }
    }

    #[must_use]
    pub fn now(&self) -> Time {
        Time::from_nanos(nanos(ORIGIN + self.started.elapsed()))
    }

    #[must_use]
    pub fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// Ties this clock to the wall clock as it is now. Later steps of the wall clock change nothing: what
    /// receivers need of sender reports is that they are even.
    #[must_use]
    pub fn ntp(&self) -> NtpClock {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        NtpClock { ntp_at_zero: ntp_at_zero(wall, self.now()) }
    }
}

fn ntp_at_zero(wall: Duration, now: Time) -> u64 {
    // Where `NtpClock` maps `now` if its origin is 0, taken off the NTP time of the same moment.
    let seconds = (wall.as_secs() + NTP_UNIX_OFFSET_S) << 32;
    let fraction = (u64::from(wall.subsec_nanos()) << 32) / 1_000_000_000;
    (seconds | fraction).wrapping_sub(NtpClock::default().ntp(now))
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ntp_of_a_moment_is_its_wall_time() {
        // 2024-01-01T00:00:00.5Z is 3 913 056 000.5 s after 1900.
        let now = Time::from_nanos(nanos(ORIGIN) + 250_000_000);
        let clock = NtpClock { ntp_at_zero: ntp_at_zero(Duration::from_millis(1_704_067_200_500), now) };
        assert_eq!(clock.ntp(now) >> 32, 3_913_056_000);
        assert_eq!((clock.ntp(now) as u32) >> 16, 0x8000);
        let later = clock.ntp(now + Duration::from_secs(2));
        assert_eq!((later >> 32, (later as u32) >> 16), (3_913_056_002, 0x8000));
    }

    #[test]
    fn the_origin_is_well_above_zero() {
        let clock = Clock::start();
        assert!(clock.now() > Time::ZERO + Duration::from_secs(3599));
    }
}
