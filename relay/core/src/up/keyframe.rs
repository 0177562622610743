//! Merges keyframe requests of all subscribers into few PLIs towards the publisher.
//!
//! Invariants
//! - At most one request leaves per [`INTERVAL_MIN`], whoever asks how often; during a storm one per
//!   [`INTERVAL_STORM`], so that keyframes stay a small part of the publisher's bitrate.
//! - While a request is unanswered it is repeated, the second time after [`INTERVAL_MIN`], then every
//!   [`INTERVAL_STORM`].
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

    #[cfg(test)]
    pub(crate) fn is_waiting(&self) -> bool {
        self.wanted.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(at: u64) -> Time {
        Time::from_nanos((10_000 + at) * 1_000_000)
    }

    /// Polls every 10 ms until `end`; when it asked.
    fn asked(
        requests: &mut KeyframeRequests,
        end: u64,
        mut each: impl FnMut(u64, &mut KeyframeRequests),
    ) -> Vec<u64> {
        let mut times = Vec::new();
        for at in (0..end).step_by(10) {
            each(at, requests);
            if requests.poll(ms(at)).is_some() {
                times.push(at);
            }
        }
        times
    }

    #[test]
    fn one_request_is_sent_at_once_and_repeated_until_answered() {
        let mut requests = KeyframeRequests::new();
        assert_eq!(requests.poll_timeout(), None);
        assert!(!requests.request(ms(0)));
        assert!(requests.request(ms(0)), "merged");
        assert_eq!(requests.poll_timeout(), Some(ms(0)));
        let times = asked(&mut requests, 5_000, |at, r| {
            if at == 4_000 {
                r.answered(ms(at));
            }
        });
        assert_eq!(times, [0, 500, 1_500, 2_500, 3_500]);
        assert!(!requests.is_waiting());
    }

    #[test]
    fn a_storm_gets_two_then_one_a_second_even_if_all_are_answered() {
        let mut requests = KeyframeRequests::new();
        let mut merged = 0;
        let mut last = None;
        let times = asked(&mut requests, 10_000, |at, r| {
            // The publisher answers 50 ms after each PLI; a hundred subscribers ask all the time.
            if last.is_some_and(|sent| at == sent + 50) {
                r.answered(ms(at));
            }
            merged += (0..100).filter(|_| r.request(ms(at))).count();
            if r.poll_timeout().is_some_and(|due| due <= ms(at)) {
                last = Some(at);
            }
        });
        assert_eq!(times, [0, 500, 1_000, 1_500, 2_500, 3_500, 4_500, 5_500, 6_500, 7_500, 8_500, 9_500]);
        assert_eq!(merged, 100_000 - 1 - times.len(), "one request each waits for a keyframe after the last");
    }

    #[test]
    fn unrelated_requests_are_no_storm() {
        let mut requests = KeyframeRequests::new();
        let times = asked(&mut requests, 20_000, |at, r| {
            r.answered(ms(at));
            if at % 2_500 == 0 {
                let _ = r.request(ms(at));
            }
        });
        assert_eq!(times, [0, 2_500, 5_000, 7_500, 10_000, 12_500, 15_000, 17_500]);
    }

    #[test]
    fn only_a_keyframe_after_the_request_answers_it() {
        let mut requests = KeyframeRequests::new();
        let _ = requests.request(ms(100));
        requests.answered(ms(99));
        assert!(requests.is_waiting());
        requests.answered(ms(100));
        assert!(!requests.is_waiting());
        let _ = requests.request(ms(200));
        requests.cancel();
        assert_eq!(requests.poll(ms(10_000)), None);
    }
}
