//! How much of what a publisher sent lately were keyframes.

use crate::time::Time;
use std::time::Duration;

/// Time that is looked back over.
pub const WINDOW: Duration = Duration::from_secs(10);
/// Most of it that keyframes should be, as far as they were asked for again and again.
pub const PERCENT_MAX: u64 = 20;
/// Time between two marks.
const STEP: Duration = Duration::from_secs(1);
/// As many as lie within the window, and one before it.
const MARKS_MAX: usize = 12;

/// Octets received until now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// In all.
    pub octets: u64,
    /// Of keyframes.
    pub keyframes: u64,
    /// Of the last keyframe.
    pub last: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub struct KeyframeShare {
    marks: Vec<(Time, Received)>,
}

impl KeyframeShare {
    /// Allocates all that it will ever need.
    pub fn prepare(&mut self) {
        self.marks.reserve_exact(MARKS_MAX);
    }

    /// Whether keyframes would be more than [`PERCENT_MAX`] with one more like the last. The first within the
    /// window is never too much. What was received before the first call counts as nothing.
    pub fn is_exceeded(&mut self, now: Time, received: Received) -> bool {
        // The oldest that is left is the last one that is not within the window.
        while self.marks.get(1).is_some_and(|(at, _)| now.since(*at) >= WINDOW) {
            self.marks.remove(0);
        }
        if self.marks.last().is_none_or(|(at, _)| now.since(*at) >= STEP) && self.marks.len() < MARKS_MAX {
            self.marks.push((now, received));
        }
        let since = self.marks.first().map_or(received, |(_, mark)| *mark);
        let keyframes = received.keyframes.saturating_sub(since.keyframes);
        let octets = received.octets.saturating_sub(since.octets);
        let (with, of) = (keyframes.saturating_add(received.last), octets.saturating_add(received.last));
        keyframes > 0 && with.saturating_mul(100) > of.saturating_mul(PERCENT_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(tenths: u64) -> Time {
        Time::from_nanos((1_000 + tenths) * 100_000_000)
    }

    #[test]
    fn it_is_of_the_last_ten_seconds() {
        let mut share = KeyframeShare::default();
        // A keyframe of 50 KB at 1 s and at 2 s, else 10 KB each tenth.
        let received = |tenths: u64| {
            let keyframes = 50_000 * (u64::from(tenths >= 10) + u64::from(tenths >= 20));
            Received { octets: tenths * 10_000 + keyframes, keyframes, last: 50_000 }
        };
        let exceeded: Vec<u64> = (0..200).filter(|t| share.is_exceeded(at(*t), received(*t))).collect();
        // With a third one 150 of 750 KB, at 6 s. The first two are past after 12 s.
        assert_eq!(exceeded, (10..60).collect::<Vec<_>>());
    }

    #[test]
    fn one_in_ten_seconds_is_never_too_much() {
        let mut share = KeyframeShare::default();
        let received = |keyframes| Received { octets: keyframes, keyframes, last: 1_000 };
        assert!(!share.is_exceeded(at(0), received(0)));
        assert!(share.is_exceeded(at(10), received(1_000)));
        assert!(share.is_exceeded(at(100), received(1_000)));
        assert!(!share.is_exceeded(at(120), received(1_000)));
    }
}
