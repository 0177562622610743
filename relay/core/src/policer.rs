//! Holds a publisher to what it was told it may send: a token bucket in octets, checked before anything is decrypted.

use crate::time::Time;
use std::time::Duration;

/// Tolerance over the announced rate: encoders overshoot, and probes go above the target.
const TOLERANCE_PERCENT: u64 = 150;
/// Depth of the bucket in time at the policed rate: a keyframe may come at once.
const DEPTH: Duration = Duration::from_millis(500);
/// Smallest depth, so that a low rate still admits one large keyframe.
const DEPTH_BYTES_MIN: u64 = 128 << 10;

/// A token bucket.
#[derive(Clone, Copy, Debug)]
pub struct Policer {
    bytes_per_s: u64,
    depth: u64,
    tokens: u64,
    refilled: Time,
}

impl Policer {
    /// Full, for a publisher that was told `bitrate_bps`.
    #[must_use]
    pub fn new(bitrate_bps: u64, now: Time) -> Self {
        let bytes_per_s = bitrate_bps.saturating_mul(TOLERANCE_PERCENT) / 100 / 8;
        let depth = (bytes_per_s.saturating_mul(DEPTH.as_millis() as u64) / 1000).max(DEPTH_BYTES_MIN);
        Self { bytes_per_s, depth, tokens: depth, refilled: now }
    }

    /// Whether a datagram of `len` octets is within the rate.
    pub fn admit(&mut self, now: Time, len: usize) -> bool {
        let micros = u64::try_from(now.since(self.refilled).as_micros()).unwrap_or(u64::MAX);
        let refill = self.bytes_per_s.saturating_mul(micros) / 1_000_000;
        if refill > 0 {
            self.tokens = self.tokens.saturating_add(refill).min(self.depth);
            self.refilled = now;
        }
        let Some(left) = self.tokens.checked_sub(len as u64) else { return false };
        self.tokens = left;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_held_to_the_rate_and_an_honest_stream_is_not() {
        for (bitrate_bps, offered_bps, admitted_percent) in
            [(2_000_000, 2_000_000, 100..=100), (2_000_000, 100_000_000, 2..=5)]
        {
            let mut policer = Policer::new(bitrate_bps, Time::ZERO);
            let interval = Duration::from_nanos(1200 * 8 * 1_000_000_000 / offered_bps);
            let (mut now, mut admitted, mut offered) = (Time::ZERO, 0, 0);
            while now < Time::ZERO + Duration::from_secs(10) {
                admitted += u64::from(policer.admit(now, 1200));
                offered += 1;
                now += interval;
            }
            let percent = admitted * 100 / offered;
            assert!(admitted_percent.contains(&percent), "{percent} % of {offered_bps} bit/s");
        }
    }
}
