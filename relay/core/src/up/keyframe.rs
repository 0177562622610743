//! Merges keyframe requests of all subscribers into few PLIs towards the publisher.
//!
//! Invariants
//! - At most one request leaves per [`INTERVAL_MIN`], whoever asks how often; during a storm one per
//!   [`INTERVAL_STORM`], so that keyframes stay a small part of the publisher's bitrate.
//! - While a request is unanswered it is repeated, the second time after [`INTERVAL_MIN`], then every
//!   [`INTERVAL_STORM`].
//! - A request is answered only by a keyframe that starts after it.
//! - Who was served lately waits while keyframes are more of the publisher's bitrate than [`PERCENT_MAX`].
//!
//! [`PERCENT_MAX`]: super::keyframe_share::PERCENT_MAX

use super::keyframe_share::{KeyframeShare, Received};
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

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asker {
    /// Somebody who has no picture yet, or has not asked for long.
    Newcomer,
    /// Somebody who was served lately.
    Again,
}

/// See the module.
#[derive(Debug, Default)]
pub struct KeyframeRequests {
    /// Since when somebody waits.
    wanted: Option<Time>,
    /// A newcomer is among those who wait.
    newcomer: bool,
    /// Not before then, as there are too many keyframes already.
    held_until: Time,
    share: KeyframeShare,
    /// When the last keyframe began.
    began: Option<Time>,
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

    /// Allocates all that it will ever need.
    pub fn prepare(&mut self) {
        self.share.prepare();
    }

    /// Somebody needs a keyframe. True if this merged into a request that already waits for its answer.
    pub fn request(&mut self, now: Time, asker: Asker) -> bool {
        let merged = self.wanted.is_some();
        self.newcomer = asker == Asker::Newcomer || (merged && self.newcomer);
        if !merged {
            self.wanted = Some(now);
            self.tries = 0;
        }
        merged
    }

    /// A keyframe began to arrive.
    pub fn answered(&mut self, now: Time) {
        self.began = Some(now);
        if self.wanted.is_some_and(|since| since <= now) {
            self.wanted = None;
        }
    }

    /// Nobody waits any more (the last subscriber left).
    pub fn cancel(&mut self) {
        self.wanted = None;
    }

    /// When the last keyframe began.
    #[must_use]
    pub fn last_keyframe(&self) -> Option<Time> {
        self.began
    }

    /// `Some` when a PLI or FIR is to be sent now. `received`: what came of the publisher until now.
    pub fn poll(&mut self, now: Time, received: Received) -> Option<()> {
        if self.poll_timeout().is_none_or(|due| now < due) {
            return None;
        }
        if self.share.is_exceeded(now, received) && self.tries == 0 && !self.newcomer {
            self.held_until = now + INTERVAL_STORM;
            return None;
        }
        self.held_until = Time::ZERO;
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
        let wanted = if self.newcomer { wanted } else { wanted.max(self.held_until) };
        let Some(last) = self.last_sent else { return Some(wanted) };
        let slow = self.tries >= 2 || self.streak >= STORM_AFTER;
        let interval = if slow { INTERVAL_STORM } else { INTERVAL_MIN };
        Some(wanted.max(last + interval))
    }

    /// Whether a keyframe is wanted that has not begun.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
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
            if requests.poll(ms(at), Received::default()).is_some() {
                times.push(at);
            }
        }
        times
    }

    #[test]
    fn one_request_is_sent_at_once_and_repeated_until_answered() {
        let mut requests = KeyframeRequests::new();
        assert_eq!(requests.poll_timeout(), None);
        assert!(!requests.request(ms(0), Asker::Newcomer));
        assert!(requests.request(ms(0), Asker::Newcomer), "merged");
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
            merged += (0..100).filter(|_| r.request(ms(at), Asker::Newcomer)).count();
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
                let _ = r.request(ms(at), Asker::Newcomer);
            }
        });
        assert_eq!(times, [0, 2_500, 5_000, 7_500, 10_000, 12_500, 15_000, 17_500]);
    }

    #[test]
    fn only_a_keyframe_after_the_request_answers_it() {
        let mut requests = KeyframeRequests::new();
        let _ = requests.request(ms(100), Asker::Newcomer);
        requests.answered(ms(99));
        assert!(requests.is_waiting());
        requests.answered(ms(100));
        assert!(!requests.is_waiting());
        let _ = requests.request(ms(200), Asker::Newcomer);
        requests.cancel();
        assert_eq!(requests.poll(ms(10_000), Received::default()), None);
    }

    #[test]
    fn who_was_served_lately_waits_while_there_are_too_many_keyframes() {
        let mut requests = KeyframeRequests::new();
        let mut received = Received { octets: 1_000, keyframes: 0, last: 0 };
        assert!(!requests.request(ms(0), Asker::Again));
        assert_eq!(requests.poll(ms(0), received), Some(()), "there were none");
        requests.answered(ms(50));
        received = Received { octets: 101_000, keyframes: 50_000, last: 50_000 };
        assert!(!requests.request(ms(2_000), Asker::Again));
        assert_eq!(requests.poll(ms(2_000), received), None);
        assert_eq!(requests.poll_timeout(), Some(ms(3_000)));
        // A newcomer is served at once, and the other with it.
        assert!(requests.request(ms(2_100), Asker::Newcomer));
        assert_eq!(requests.poll(ms(2_100), received), Some(()));
        requests.answered(ms(2_150));
        assert!(!requests.request(ms(4_500), Asker::Again));
        received.octets = 451_000;
        assert_eq!(requests.poll(ms(4_500), received), Some(()), "a small part by now");
    }
}
