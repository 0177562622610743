//! How many attempts may be begun, and with which hello where there are more.

use crate::assembly::Message;
use relay_core::time::Time;
use std::time::Duration;

/// A token bucket: `at_once` tokens at most, and one more after each interval.
pub(crate) struct TokenBucket {
    left: u32,
    at_once: u32,
    interval: Duration,
    since: Time,
    begun: u32,
}

impl TokenBucket {
    pub(crate) const fn new(now: Time, at_once: u32, interval: Duration) -> Self {
        Self { left: at_once, at_once, interval, since: now, begun: 0 }
    }

    /// Takes a token. False: there is none.
    pub(crate) fn begin(&mut self, now: Time) -> bool {
        let earned = now.since(self.since).as_nanos() / self.interval.as_nanos();
        if let earned @ 1.. = u32::try_from(earned).unwrap_or(u32::MAX) {
            self.left = self.left.saturating_add(earned).min(self.at_once);
            self.since = now;
        }
        let may = self.left > 0;
        self.left -= u32::from(may);
        self.begun += u32::from(may);
        may
    }

    /// How many were begun beyond the very first, since it was asked last.
    pub(crate) fn take_restarts(&mut self) -> u32 {
        let restarts = self.begun.saturating_sub(1);
        self.begun = self.begun.min(1);
        restarts
    }
}

/// The next hello to begin an attempt with: a random one of all that came since the last attempt began
/// (reservoir sampling of size 1). If it were the first or the last, an attacker that sends at the right
/// moments could take every attempt with one hello each.
#[derive(Default)]
pub(crate) struct Reservoir {
    hello: Option<Message>,
    of: u32,
}

impl Reservoir {
    pub(crate) const fn is_empty(&self) -> bool {
        self.hello.is_none()
    }

    pub(crate) fn take(&mut self) -> Option<Message> {
        self.of = 0;
        self.hello.take()
    }

    /// Takes a hello in; each of those that came is the next one with the same probability. `random` is
    /// uniformly distributed.
    pub(crate) fn put(&mut self, hello: Message, random: u32) {
        if self.hello.as_ref() == Some(&hello) {
            return;
        }
        self.of = self.of.saturating_add(1);
        if random.is_multiple_of(self.of) {
            self.hello = Some(hello);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_are_earned() {
        let start = Time::from_nanos(1_000_000_000);
        let mut attempts = TokenBucket::new(start, 2, Duration::from_millis(10));
        for (millis, may) in
            [(0, true), (0, true), (0, false), (9, false), (10, true), (10, false), (90, true)]
        {
            assert_eq!(attempts.begin(start + Duration::from_millis(millis)), may, "{millis} ms");
        }
        assert_eq!((attempts.take_restarts(), attempts.take_restarts()), (3, 0));
    }

    #[test]
    fn every_hello_of_a_draw_has_its_chance() {
        let hello = |n: u8| Message { kind: 1, seq: 0, body: vec![n] };
        let mut draw = Reservoir::default();
        // The numbers 0 to 6 · 5 · 4 · 3 - 1 as random numbers of six draws are each remainder equally often.
        let mut drawn = [0; 6];
        for random in 0..360u32 {
            (0..6).for_each(|n| draw.put(hello(n), random / [1, 1, 2, 6, 24, 60][usize::from(n)]));
            let next = draw.take().expect("one of them");
            drawn[usize::from(next.body[0])] += 1;
            assert!(draw.is_empty());
        }
        assert!(drawn.iter().all(|count| *count > 0), "{drawn:?}");
        draw.put(hello(1), 0);
        (0..9).for_each(|_| draw.put(hello(1), 0));
        assert_eq!(draw.of, 1, "who says it again is no one else");
    }
}
