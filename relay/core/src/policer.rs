//! Holds a publisher to what it was told it may send: a token bucket in octets.
//!
//! It is looked at before a packet is decrypted and charged only when the packet proved authentic, so garbage
//! from a forged source address costs the honest publisher nothing.

use crate::time::Time;
use std::time::Duration;

/// Tolerance over the announced rate: encoders overshoot, and probes go above the target.
const TOLERANCE_PERCENT: u64 = 150;
/// Depth of the bucket in time at the policed rate: a keyframe may come at once.
const DEPTH: Duration = Duration::from_millis(500);
/// Smallest depth, so that a low rate still admits one large keyframe.
const DEPTH_BYTES_MIN: i64 = 128 << 10;

/// A token bucket.
#[derive(Clone, Copy, Debug)]
pub struct Policer {
    bitrate_bps: u64,
    bytes_per_s: u64,
    depth: i64,
    /// Below zero after a packet larger than what was left: the next ones wait for it.
    tokens: i64,
    refilled: Time,
}

impl Policer {
    /// Full, for a publisher that was told `bitrate_bps`.
    #[must_use]
    pub fn new(bitrate_bps: u64, now: Time) -> Self {
        let bytes_per_s = bitrate_bps.saturating_mul(TOLERANCE_PERCENT) / 100 / 8;
        let depth = octets(bytes_per_s.saturating_mul(DEPTH.as_millis() as u64) / 1000).max(DEPTH_BYTES_MIN);
        Self { bitrate_bps, bytes_per_s, depth, tokens: depth, refilled: now }
    }

    /// What the publisher was told.
    #[must_use]
    pub const fn bitrate_bps(&self) -> u64 {
        self.bitrate_bps
    }

    /// Whether the publisher is within its rate at this moment.
    pub fn admits(&mut self, now: Time) -> bool {
        let micros = u64::try_from(now.since(self.refilled).as_micros()).unwrap_or(u64::MAX);
        let refill = self.bytes_per_s.saturating_mul(micros) / 1_000_000;
        if refill > 0 {
            self.tokens = self.tokens.saturating_add(octets(refill)).min(self.depth);
            self.refilled = now;
        }
        self.tokens > 0
    }

    /// Charges an authentic packet of `len` octets.
    pub fn charge(&mut self, len: usize) {
        self.tokens = self.tokens.saturating_sub(octets(len as u64));
    }
}

fn octets(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_held_to_the_rate_and_an_honest_stream_is_not() {
        for (bitrate_bps, offered_bps, admitted_percent) in
            [(2_000_000, 2_000_000, 100..=100), (2_000_000, 100_000_000, 3..=4)]
        {
            let mut policer = Policer::new(bitrate_bps, Time::ZERO);
            let interval = Duration::from_nanos(1200 * 8 * 1_000_000_000 / offered_bps);
            let (mut now, mut admitted, mut offered) = (Time::ZERO, 0, 0);
            while now < Time::ZERO + Duration::from_secs(10) {
                if policer.admits(now) {
                    policer.charge(1200);
                    admitted += 1;
                }
                offered += 1;
                now += interval;
            }
            let percent = admitted * 100 / offered;
            assert!(admitted_percent.contains(&percent), "{percent} % of {offered_bps} bit/s");
        }
    }
}
