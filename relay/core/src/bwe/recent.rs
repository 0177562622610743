//! The least of what was measured within the last one to two intervals.

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct RecentMin {
    interval_us: i64,
    since_us: i64,
    before: i64,
    now: i64,
}

impl RecentMin {
    /// Nothing yet; the interval is in the unit of the times that are added.
    #[must_use]
    pub const fn new(interval_us: i64) -> Self {
        Self { interval_us, since_us: 0, before: i64::MAX, now: i64::MAX }
    }

    /// Adds a value.
    pub fn add(&mut self, at_us: i64, value: i64) {
        if at_us - self.since_us >= self.interval_us {
            let before = if at_us - self.since_us < 2 * self.interval_us { self.now } else { i64::MAX };
            *self = Self { since_us: at_us, before, now: value, ..*self };
        }
        self.now = self.now.min(value);
    }

    /// The least; [`i64::MAX`] as long as there is none.
    #[must_use]
    pub fn min(&self) -> i64 {
        self.now.min(self.before)
    }
}
