//! Whether a delay grows: a line through its last 300 ms, against a threshold that follows the noise
//! (draft-ietf-rmcat-gcc-02 §5.4; the gains of the threshold are libwebrtc's).

/// The line is drawn through the points of this time.
const WINDOW_US: i64 = 300_000;
/// Points kept: bursts of 5 ms would be 60; those of a call are 80 a second.
const POINTS_MAX: usize = 32;
/// Fewer points make no line.
const POINTS_MIN: usize = 5;
/// What is compared with the threshold is how much the delay grows in this time.
const GROWTH_MS: f64 = 240.0;
/// Where the threshold begins and how far it goes, in ms.
const THRESHOLD_MS: f64 = 12.5;
const THRESHOLD_RANGE_MS: (f64, f64) = (6.0, 600.0);
/// How fast it follows, for each ms: up slowly, so that a queue is seen; down faster.
const GAIN_UP: f64 = 0.0087;
const GAIN_DOWN: f64 = 0.039;
/// It follows no growth that exceeds it by more: that is no noise.
const FOLLOWS_MS: f64 = 15.0;
/// At most so much time is made up for at once.
const STEP_MS_MAX: f64 = 100.0;
/// The growth has to be over the threshold for as long.
const OVER_US: i64 = 10_000;

/// How a link is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// The queue, if there is one, stays as it is.
    Normal,
    /// It grows, or is too long.
    Over,
    /// It becomes shorter.
    Under,
}

/// See the module.
#[derive(Debug)]
pub struct Trend {
    points: [(i64, i64); POINTS_MAX],
    /// Points so far; the newest [`POINTS_MAX`] are kept.
    count: usize,
    threshold_ms: f64,
    growth_ms: f64,
    over_since_us: Option<i64>,
}

impl Default for Trend {
    fn default() -> Self {
        Self {
            points: [(0, 0); POINTS_MAX],
            count: 0,
            threshold_ms: THRESHOLD_MS,
            growth_ms: 0.0,
            over_since_us: None,
        }
    }
}

impl Trend {
    /// Adds a delay, and tells how the link is used.
    pub fn add(&mut self, at_us: i64, delay_us: i64) -> Usage {
        let newest_us = self.count.checked_sub(1).map(|last| self.points[last % POINTS_MAX].0);
        let passed_us = newest_us.map_or(0, |newest_us| at_us - newest_us);
        if !(0..=WINDOW_US * 10).contains(&passed_us) {
            self.count = 0;
        }
        self.points[self.count % POINTS_MAX] = (at_us, delay_us);
        self.count += 1;
        let Some(slope) = self.slope(at_us) else { return Usage::Normal };
        let growth_ms = slope * GROWTH_MS;
        let rises = growth_ms >= self.growth_ms || growth_ms > self.threshold_ms + FOLLOWS_MS;
        self.growth_ms = growth_ms;
        let usage = self.compare(at_us, rises);
        self.follow(passed_us as f64 / 1_000.0);
        usage
    }

    /// Whether the delay clearly falls.
    #[must_use]
    pub fn falls(&self) -> bool {
        self.growth_ms < -self.threshold_ms / 2.0
    }

    fn compare(&mut self, at_us: i64, rises: bool) -> Usage {
        if self.growth_ms <= self.threshold_ms {
            self.over_since_us = None;
            return if self.growth_ms < -self.threshold_ms { Usage::Under } else { Usage::Normal };
        }
        let since_us = *self.over_since_us.get_or_insert(at_us);
        if at_us - since_us >= OVER_US && rises { Usage::Over } else { Usage::Normal }
    }

    fn follow(&mut self, passed_ms: f64) {
        let growth_ms = self.growth_ms.abs();
        if growth_ms > self.threshold_ms + FOLLOWS_MS {
            return;
        }
        let gain = if growth_ms < self.threshold_ms { GAIN_DOWN } else { GAIN_UP };
        let change = gain * (growth_ms - self.threshold_ms) * passed_ms.min(STEP_MS_MAX);
        let (low, high) = THRESHOLD_RANGE_MS;
        self.threshold_ms = (self.threshold_ms + change).clamp(low, high);
    }

    /// Of the line with the least squares: microseconds of delay a microsecond.
    fn slope(&self, now_us: i64) -> Option<f64> {
        let kept = self.count.min(POINTS_MAX);
        let newest = (self.count - kept..self.count).map(|i| self.points[i % POINTS_MAX]);
        let of_window = newest.filter(|(at_us, _)| now_us - at_us <= WINDOW_US);
        let (origin_us, origin_delay_us) = self.points[(self.count - 1) % POINTS_MAX];
        let (mut n, mut x_sum, mut y_sum, mut xx, mut xy) = (0.0, 0.0, 0.0, 0.0, 0.0);
        for (at_us, delay_us) in of_window {
            let (x, y) = ((at_us - origin_us) as f64, (delay_us - origin_delay_us) as f64);
            n += 1.0;
            x_sum += x;
            y_sum += y;
            xx += x * x;
            xy += x * y;
        }
        let spread = n * xx - x_sum * x_sum;
        (n >= POINTS_MIN as f64 && spread > 0.0).then(|| (n * xy - x_sum * y_sum) / spread)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Usage after a second of bursts each 10 ms whose delay is what the function says.
    fn after_a_second(delay_us: impl Fn(i64) -> i64) -> Usage {
        let mut trend = Trend::default();
        (0..100).map(|i| trend.add(i * 10_000, delay_us(i * 10_000))).last().expect("some")
    }

    #[test]
    fn growth_over_the_threshold_is_told() {
        for (usage, slope_percent) in [
            (Usage::Normal, 0),
            (Usage::Normal, 1),
            (Usage::Over, 10),
            (Usage::Over, 500),
            (Usage::Under, -10),
        ] {
            assert_eq!(after_a_second(|at_us| at_us * slope_percent / 100), usage, "{slope_percent} %");
        }
    }

    #[test]
    fn the_threshold_follows_noise_and_no_queue() {
        let mut trend = Trend::default();
        let noise = |i: i64| (i * 7_919) % 13 * 1_000;
        let over = |trend: &mut Trend, range: std::ops::Range<i64>, slope| {
            let mut add = |i: i64| trend.add(i * 10_000, noise(i) + (i - range.start) * slope);
            range.clone().filter(|i| add(*i) == Usage::Over).count()
        };
        assert!(over(&mut trend, 0..500, 0) <= 5, "it learns");
        assert_eq!(over(&mut trend, 500..2_000, 0), 0);
        assert!(over(&mut trend, 2_000..2_100, 3_000) > 50, "a queue is more than noise");
    }

    #[test]
    fn pauses_and_times_that_go_back_begin_anew() {
        let mut trend = Trend::default();
        for at_us in [0, 10_000, 20_000, 30_000, 10_000_000, 5, i64::MAX / 4, 0, 1, 2, 3, 3, 3, 3, 3, 3, 3, 3]
        {
            assert_eq!(trend.add(at_us, at_us), Usage::Normal, "{at_us}");
        }
    }
}
