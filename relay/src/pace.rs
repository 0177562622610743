//! How a worker keeps up: how long its waits gather datagrams, and how much video it sheds when that is not enough.
//!
//! Told the times, it reads no clock. An idle shard adds no delay. A busy one lets a wait gather for a moment, because
//! packets that are handled together cost less: the hold grows with the share of time the shard works, up to a setting.
//! When even so every turn begins with a full batch, datagrams pile up in the kernel, which would discard them blindly,
//! checks and audio included. Then video is shed, an eighth of the subscriptions at a time, until the shard finds time to
//! wait again; and it is taken back as soon as there is room.

use relay_core::shed::SHED_STEPS;
use relay_core::time::Time;
use std::time::Duration;

/// Below this share of working time a wait holds nothing.
const HOLD_FROM: f64 = 0.3;
/// At this share it holds for the longest time.
const HOLD_FULL: f64 = 0.9;
/// The share is taken over so long.
const WINDOW: Duration = Duration::from_millis(10);
/// How much of the share the newest window makes.
const NEWEST: f64 = 0.3;
/// Full batches for so long are a shard that does not keep up.
const SHED_AFTER: Duration = Duration::from_millis(50);
/// A step of what was shed is taken back after so long with room to spare.
const RESTORE_AFTER: Duration = Duration::from_millis(250);
/// Room to spare: less than this share of time is worked.
const SPARE_BELOW: f64 = 0.8;

/// See the module.
#[derive(Debug)]
pub struct Pace {
    hold_max: Duration,
    /// Begin of the window, and the time worked in it.
    window: Time,
    worked: Duration,
    /// Share of time worked, 0 to 1.
    share: f64,
    /// Since when every batch has been full.
    full_since: Option<Time>,
    /// Since when there has been room to spare.
    spare_since: Option<Time>,
    shed: u8,
}

impl Pace {
    /// Holds for at most `hold_max`.
    #[must_use]
    pub fn new(now: Time, hold_max: Duration) -> Self {
        Self {
            hold_max,
            window: now,
            worked: Duration::ZERO,
            share: 0.0,
            full_since: None,
            spare_since: None,
            shed: 0,
        }
    }

    /// A turn began at `begun`, handed over datagrams, a `full` batch of them or less, and ends now.
    pub fn turned(&mut self, begun: Time, now: Time, full: bool) {
        self.worked += now.since(begun);
        let passed = now.since(self.window);
        if passed >= WINDOW {
            let newest = (self.worked.as_secs_f64() / passed.as_secs_f64()).min(1.0);
            self.share += (newest - self.share) * NEWEST;
            (self.window, self.worked) = (now, Duration::ZERO);
        }
        self.full_since = full.then(|| self.full_since.unwrap_or(now));
        let spare = !full && self.share < SPARE_BELOW;
        self.spare_since = spare.then(|| self.spare_since.unwrap_or(now));
        self.adjust(now);
    }

    fn adjust(&mut self, now: Time) {
        let lasted = |since: Option<Time>, limit| since.is_some_and(|since| now.since(since) >= limit);
        if lasted(self.full_since, SHED_AFTER) {
            self.shed = (self.shed + 1).min(SHED_STEPS);
            self.full_since = Some(now);
        } else if self.shed > 0 && lasted(self.spare_since, RESTORE_AFTER) {
            self.shed -= 1;
            self.spare_since = Some(now);
        }
    }

    /// For how long the next wait gathers.
    #[must_use]
    pub fn hold(&self) -> Duration {
        let degree = ((self.share - HOLD_FROM) / (HOLD_FULL - HOLD_FROM)).clamp(0.0, 1.0);
        self.hold_max.mul_f64(degree)
    }

    /// How many of [`SHED_STEPS`] of the video subscriptions get nothing.
    #[must_use]
    pub fn shed(&self) -> u8 {
        self.shed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOLD_MAX: Duration = Duration::from_micros(1000);

    /// Turns of `period`, of which `work` is worked, for `span`.
    fn turns(pace: &mut Pace, now: &mut Time, (period, work): (u64, u64), full: bool, span: Duration) {
        let end = *now + span;
        while *now < end {
            let begun = *now + Duration::from_micros(period - work);
            *now = begun + Duration::from_micros(work);
            pace.turned(begun, *now, full);
        }
    }

    #[test]
    fn the_hold_follows_the_share_of_work() {
        for (period, work, least, most) in [
            (1000, 0, 0, 0),
            (1000, 290, 0, 0),
            (1000, 600, 450, 550),
            (1000, 900, 980, 1000),
            (1000, 1000, 1000, 1000),
        ] {
            let mut now = Time::from_nanos(1_000_000_000);
            let mut pace = Pace::new(now, HOLD_MAX);
            turns(&mut pace, &mut now, (period, work), false, Duration::from_secs(1));
            let held = pace.hold().as_micros();
            assert!((least..=most).contains(&held), "{work} of {period}: {held} µs");
            assert_eq!(pace.shed(), 0);
        }
        let mut now = Time::from_nanos(1_000_000_000);
        let mut never = Pace::new(now, Duration::ZERO);
        turns(&mut never, &mut now, (1000, 1000), false, Duration::from_secs(1));
        assert_eq!(never.hold(), Duration::ZERO);
    }

    #[test]
    fn what_does_not_keep_up_sheds_step_by_step_and_takes_it_back() {
        let mut now = Time::from_nanos(1_000_000_000);
        let mut pace = Pace::new(now, HOLD_MAX);
        // A short burst is what buffers are for.
        turns(&mut pace, &mut now, (200, 200), true, Duration::from_millis(40));
        assert_eq!(pace.shed(), 0);
        turns(&mut pace, &mut now, (200, 200), true, Duration::from_millis(120));
        assert_eq!(pace.shed(), 3);
        turns(&mut pace, &mut now, (200, 200), true, Duration::from_secs(2));
        assert_eq!(pace.shed(), SHED_STEPS, "all video is the most");
        // Keeping up, but only just: stays as it is.
        turns(&mut pace, &mut now, (200, 190), false, Duration::from_secs(2));
        assert_eq!(pace.shed(), SHED_STEPS);
        turns(&mut pace, &mut now, (1000, 100), false, Duration::from_secs(1));
        assert!((1..SHED_STEPS).contains(&pace.shed()));
        turns(&mut pace, &mut now, (1000, 100), false, Duration::from_secs(2));
        assert_eq!(pace.shed(), 0);
    }
}
