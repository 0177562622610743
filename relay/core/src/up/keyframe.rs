//! Merges keyframe requests of all subscribers into few PLIs towards the publisher.
//!
//! Invariants
//! - At most one request leaves per [`INTERVAL_MIN`], whoever asks how often; during a storm one per
//!   [`INTERVAL_STORM`], so that keyframes stay a small part of the publisher's bitrate.
//! - While a request is unanswered it is repeated, the second time after [`INTERVAL_MIN`], then every [`INTERVAL_STORM`].
//! - A request is answered only by a keyframe that starts after it.

use crate::time::Time;
use std::time::Duration;

/// Shortest time between two requests to the publisher.
pub const INTERVAL_MIN: Duration = Duration::from_millis(500);
/// Time between requests that do not end: unanswered ones, or one after the other.
pub const INTERVAL_STORM: Duration = Duration::from_secs(1);
/// Requests closer together than this belong to one storm.
const STORM_GAP: Duration = Duration::from_secs(2);
/// This many requests in a row make a storm: a room that fills quickly needs a few.
const STORM_AFTER: u32 = 4;

/// See the module.
#[derive(Debug, Default)]
pub struct KeyframeRequests {
    /// Since when somebody waits.
    wanted: Option<Time>,
    last_sent: Option<Time>,
    /// Sent since the request began to wait.
    tries: u32,
    /// Sent in a row, each within [`STORM_GAP`] of the one before.
    streak: u32,
}

impl KeyframeRequests {
    /// Nobody waits.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Somebody needs a keyframe. True if this merged into a request that already waits for its answer.
    pub fn request(&mut self, now: Time) -> bool {
        let merged = self.wanted.is_some();
        if !merged {
            self.wanted = Some(now);
            self.tries = 0;
        }
        merged
    }

    /// A keyframe began to arrive.
    pub fn answered(&mut self, now: Time) {
        if self.wanted.is_some_and(|since| since <= now) {
            self.wanted = None;
        }
    }

    /// Nobody waits any more (the last subscriber left).
    pub fn cancel(&mut self) {
        self.wanted = None;
    }

    /// `Some` when a PLI or FIR is to be sent now.
    pub fn poll(&mut self, now: Time) -> Option<()> {
        if self.poll_timeout().is_none_or(|due| now < due) {
            return None;
        }
        let in_storm = self.last_sent.is_some_and(|last| now.since(last) < STORM_GAP);
        self.streak = if in_storm { self.streak.saturating_add(1) } else { 1 };
        self.tries = self.tries.saturating_add(1);
        self.last_sent = Some(now);
        Some(())
    }

    /// When [`KeyframeRequests::poll`] has something to do.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        let wanted = self.wanted?;
        let Some(last) = self.last_sent else { return Some(wanted) };
        let slow = self.tries >= 2 || self.streak >= STORM_AFTER;
        let interval = if slow { INTERVAL_STORM } else { INTERVAL_MIN };
        Some(wanted.max(last + interval))
    }

    /// Whether somebody waits.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.wanted.is_some()
    }
}
