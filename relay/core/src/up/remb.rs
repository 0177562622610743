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

    /// Adds what one stream expected and lost since its last report ([`super::ReceiverStats::last_interval`]).
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
            self.target_bps += self.target_bps / 100 * INCREASE_PERCENT;
        }
        self.target_bps = self.target_bps.max(BITRATE_MIN_BPS).min(self.cap_bps);
    }
}
