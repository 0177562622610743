//! How often one subscriber may have its publisher asked for a keyframe: a keyframe is everybody's, so one
//! with a bad line is not to cost all the others one a second.
//!
//! Invariants
//! - The first request, and one after a quiet while, is granted at once.
//! - Between further ones the wait doubles, from [`WAIT_MIN`] to [`WAIT_MAX`].
//! - A request that has to wait is not forgotten: it is granted then, unless a keyframe has come meanwhile,
//!   whoever asked for it.

use crate::time::Time;
use std::time::Duration;

/// Between the first request and the second: the keyframe itself may be lost.
pub const WAIT_MIN: Duration = Duration::from_secs(1);
/// Longest wait: a picture that stays broken for longer is given up on.
pub const WAIT_MAX: Duration = Duration::from_secs(16);
/// Who has been granted nothing for so many waits is new again, but not before [`FORGIVEN_MIN`].
const FORGIVEN_WAITS: u32 = 4;
const FORGIVEN_MIN: Duration = Duration::from_secs(10);

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grant {
    /// At once: nothing was granted for long.
    First,
    /// At once: it has waited long enough.
    Again,
    /// At that time, if no keyframe comes before.
    Later(Time),
}

/// See the module. Small: every track that somebody asks for has one, keys or not.
#[derive(Debug, Default)]
pub struct KeyframeBudget {
    /// When a request was granted last. The beginning of time: never.
    granted: Time,
    /// When the request was made that waits; the same.
    waiting: Time,
    /// How long the next one waits from there: [`WAIT_MIN`] as often doubled.
    doublings: u8,
}

impl KeyframeBudget {
    /// The subscriber asks.
    pub fn request(&mut self, now: Time) -> Grant {
        let (wait, due) = (self.wait(), self.granted + self.wait());
        if self.waiting != Time::ZERO {
            return Grant::Later(due);
        }
        let quiet = now.since(self.granted);
        if self.granted == Time::ZERO || quiet >= FORGIVEN_MIN.max(wait * FORGIVEN_WAITS) {
            (self.granted, self.doublings) = (now, 0);
            return Grant::First;
        }
        if now < due {
            self.waiting = now;
            return Grant::Later(due);
        }
        (self.granted, self.doublings) = (now, self.doublings.saturating_add(1));
        Grant::Again
    }

    /// The subscriber asks while a keyframe is on its way: it counts as granted if it would have been.
    pub fn served(&mut self, now: Time) {
        if self.waiting == Time::ZERO && matches!(self.request(now), Grant::Later(_)) {
            self.waiting = Time::ZERO;
        }
    }

    /// The time of a request that had to wait has come. `last_keyframe`: when the last keyframe began. True:
    /// it is granted.
    pub fn grant_waiting(&mut self, now: Time, last_keyframe: Option<Time>) -> bool {
        let asked = std::mem::take(&mut self.waiting);
        if asked == Time::ZERO || last_keyframe.is_some_and(|began| began >= asked) {
            return false;
        }
        self.request(now) == Grant::Again
    }

    /// When the request that waits, if there is one, is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        (self.waiting != Time::ZERO).then(|| self.granted + self.wait())
    }

    fn wait(&self) -> Duration {
        WAIT_MAX.min(WAIT_MIN * 2u32.saturating_pow(self.doublings.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(at: u64) -> Time {
        Time::from_nanos((10_000 + at) * 1_000_000)
    }

    /// When requests made at these times are granted; a keyframe comes 50 ms after each.
    fn granted(times: impl IntoIterator<Item = u64>) -> Vec<u64> {
        let (mut budget, mut due, mut keyframe, mut all) =
            (KeyframeBudget::default(), None, None, Vec::new());
        for at in times {
            if let Some(later) = due.filter(|due| *due <= at) {
                due = None;
                if budget.grant_waiting(ms(later), keyframe) {
                    all.push(later);
                    keyframe = Some(ms(later + 50));
                }
            }
            match budget.request(ms(at)) {
                Grant::First | Grant::Again => {
                    all.push(at);
                    keyframe = Some(ms(at + 50));
                }
                Grant::Later(time) => due = Some(time.as_nanos() / 1_000_000 - 10_000),
            }
        }
        all
    }

    #[test]
    fn who_asks_all_the_time_waits_longer_and_longer() {
        for step in [10, 100, 500] {
            let all = granted((0..60_000).step_by(step));
            assert_eq!(all, [0, 1_000, 3_000, 7_000, 15_000, 31_000, 47_000], "every {step} ms");
        }
    }

    #[test]
    fn who_asks_now_and_then_is_heard_at_once() {
        assert_eq!(granted([0, 10_000, 20_000, 35_000]), [0, 10_000, 20_000, 35_000]);
        assert_eq!(granted([0, 5_000, 10_000]), [0, 5_000, 10_000]);
        // And who was insistent is new again, after a while.
        let all = granted((0..20_000).step_by(100).chain([100_000, 100_100, 101_000]));
        assert_eq!(all, [0, 1_000, 3_000, 7_000, 15_000, 31_000, 100_000, 101_000]);
    }

    #[test]
    fn anothers_keyframe_serves_who_waits() {
        let mut budget = KeyframeBudget::default();
        assert_eq!(budget.request(ms(0)), Grant::First);
        assert_eq!(budget.request(ms(200)), Grant::Later(ms(1_000)));
        assert!(!budget.grant_waiting(ms(1_000), Some(ms(600))), "served");
        assert_eq!(budget.request(ms(1_100)), Grant::Again, "and nothing is held against it");
        assert_eq!(budget.request(ms(1_200)), Grant::Later(ms(3_100)));
        assert!(budget.grant_waiting(ms(3_100), Some(ms(1_150))), "one before the request does not count");
        assert!(!budget.grant_waiting(ms(3_200), None), "nothing waits");
    }

    #[test]
    fn one_that_is_on_its_way_anyway_is_as_good_as_granted() {
        let mut budget = KeyframeBudget::default();
        budget.served(ms(0));
        budget.served(ms(500));
        assert!(!budget.grant_waiting(ms(1_000), None), "nothing waits");
        assert_eq!(budget.request(ms(1_000)), Grant::Again);
        assert_eq!(budget.request(ms(1_500)), Grant::Later(ms(3_000)));
    }
}
