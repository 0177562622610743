//! Time as the core sees it: nanoseconds since some moment before the process began its work.
//!
//! Monotonic by contract of the caller; nothing here reads a clock.

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

    /// Middle 32 bits of an NTP timestamp, as in the LSR and DLSR fields (RFC 3550 §6.4.1): units of 1/65536 s.
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
}
