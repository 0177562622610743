//! A simple receive-side estimate for publishers that speak REMB (draft-alvestrand-rmcat-remb-03) and no
//! transport-wide feedback: a ceiling that loss pushes down and time lets rise.
//!
//! Invariant: [`BITRATE_MIN_BPS`] or the cap, whichever is smaller, ≤ estimate ≤ cap.

use crate::time::Time;
use std::time::Duration;

/// Below this a camera sends nothing worth having, while audio needs it anyway.
pub const BITRATE_MIN_BPS: u64 = 100_000;
/// Time between two messages.
pub const INTERVAL: Duration = Duration::from_secs(1);
/// Fewer packets say nothing about loss.
const EXPECTED_MIN: u64 = 20;
/// Loss above this lowers the estimate (draft-ietf-rmcat-gcc-02 §6).
const LOSS_HIGH_PERCENT: u64 = 10;
/// Loss below this lets it rise (same place).
const LOSS_LOW_PERCENT: u64 = 2;
/// Rise a second (same place).
const INCREASE_PERCENT: u64 = 8;

/// See the module.
#[derive(Debug)]
pub struct RembEstimator {
    cap_bps: u64,
    target_bps: u64,
    expected: u64,
    lost: u64,
    due: Option<Time>,
}

impl RembEstimator {
    /// Starts at the cap.
    #[must_use]
    pub fn new(cap_bps: u64) -> Self {
        Self { cap_bps, target_bps: cap_bps, expected: 0, lost: 0, due: None }
    }

    /// Adds what one stream expected and lost since its last report
    /// ([`super::ReceiverStats::last_interval`]).
    pub fn on_interval(&mut self, expected: u64, lost: u64) {
        self.expected = self.expected.saturating_add(expected);
        self.lost = self.lost.saturating_add(lost.min(expected));
    }

    /// The bitrate to announce, once a second.
    pub fn poll(&mut self, now: Time) -> Option<u64> {
        if self.due.is_some_and(|due| now < due) {
            return None;
        }
        self.due = Some(now + INTERVAL);
        if self.expected >= EXPECTED_MIN {
            self.update();
        }
        Some(self.target_bps)
    }

    /// When [`RembEstimator::poll`] has something to do; `None` until it was called once.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        self.due
    }

    /// The estimate as it stands.
    #[must_use]
    pub fn bitrate_bps(&self) -> u64 {
        self.target_bps
    }

    fn update(&mut self) {
        let (expected, lost) = (std::mem::take(&mut self.expected), std::mem::take(&mut self.lost));
        let percent = lost.saturating_mul(100) / expected;
        if percent > LOSS_HIGH_PERCENT {
            // rate × (1 − loss/2), draft-ietf-rmcat-gcc-02 §6.
            self.target_bps -= self.target_bps / 200 * percent;
        } else if percent < LOSS_LOW_PERCENT {
            self.target_bps = self.target_bps.saturating_add(self.target_bps / 100 * INCREASE_PERCENT);
        }
        self.target_bps = self.target_bps.max(BITRATE_MIN_BPS).min(self.cap_bps);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Time {
        Time::from_nanos(seconds * 1_000_000_000)
    }

    #[test]
    fn loss_lowers_and_time_raises() {
        // (expected and lost each second, bitrates announced) with a cap of 2 Mb/s.
        for (seconds, rates) in [
            (vec![(100, 0), (100, 0)], vec![2_000_000, 2_000_000]),
            (vec![(100, 10), (100, 2)], vec![2_000_000, 2_000_000]),
            (vec![(100, 20), (100, 5), (100, 1), (100, 0)], vec![1_800_000, 1_800_000, 1_944_000, 2_000_000]),
            (vec![(100, 100), (100, 50)], vec![1_000_000, 750_000]),
            // Too few packets to tell are kept until there are enough.
            (vec![(10, 5), (10, 5)], vec![2_000_000, 1_500_000]),
            (vec![(100, 400)], vec![1_000_000]),
            (vec![(0, 0), (u64::MAX, u64::MAX)], vec![2_000_000, 2_000_000]),
        ] {
            let mut remb = RembEstimator::new(2_000_000);
            let mut got = Vec::new();
            for (i, (expected, lost)) in seconds.iter().enumerate() {
                remb.on_interval(*expected, *lost);
                got.extend(remb.poll(at(i as u64)));
            }
            assert_eq!(got, rates, "{seconds:?}");
        }
    }

    #[test]
    fn no_cap_is_too_high_to_rise_to() {
        let mut remb = RembEstimator::new(u64::MAX);
        remb.on_interval(100, 0);
        assert_eq!(remb.poll(at(0)), Some(u64::MAX));
    }

    #[test]
    fn it_speaks_once_a_second_and_stays_in_bounds() {
        for (cap, low) in [(5_000_000, BITRATE_MIN_BPS), (50_000, 50_000), (0, 0)] {
            let mut remb = RembEstimator::new(cap);
            assert_eq!(remb.poll(at(0)), Some(cap));
            assert_eq!(remb.poll(at(0) + INTERVAL / 2), None);
            assert_eq!(remb.poll_timeout(), Some(at(1)));
            for second in 1..60 {
                remb.on_interval(100, 90);
                let _ = remb.poll(at(second));
            }
            assert_eq!(remb.bitrate_bps(), low, "cap {cap}");
            for second in 60..200 {
                remb.on_interval(100, 0);
                let _ = remb.poll(at(second));
            }
            assert_eq!(remb.bitrate_bps(), cap, "cap {cap}");
        }
    }
}
