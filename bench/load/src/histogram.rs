//! A histogram of durations with a bounded relative error: 64 steps for each power of two (1.6 %).

/// Steps of each power of two.
const STEPS: u64 = 64;
/// Powers of two above the first [`STEPS`] values: up to 2^40 ns, 18 minutes.
const POWERS: u64 = 34;

/// Counts of values in nanoseconds.
#[derive(Clone)]
pub(crate) struct Histogram {
    counts: Vec<u64>,
    total: u64,
    max: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; (STEPS * (POWERS + 1)) as usize], total: 0, max: 0 }
    }
}

impl Histogram {
    pub(crate) fn add(&mut self, value: u64) {
        let last = self.counts.len() - 1;
        self.counts[bucket(value).min(last)] += 1;
        self.total += 1;
        self.max = self.max.max(value);
    }

    pub(crate) const fn total(&self) -> u64 {
        self.total
    }

    pub(crate) const fn max(&self) -> u64 {
        self.max
    }

    /// The value below which `share` (0 to 1) of all lie; 0 if there are none.
    pub(crate) fn quantile(&self, share: f64) -> u64 {
        let wanted = (self.total as f64 * share).ceil() as u64;
        let mut seen = 0;
        for (at, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted && seen > 0 {
                return upper_end(at as u64).min(self.max);
            }
        }
        self.max
    }
}

fn bucket(value: u64) -> usize {
    if value < STEPS {
        return value as usize;
    }
    let power = u64::from(value.ilog2()) - u64::from(STEPS.ilog2());
    (STEPS * (power + 1) + (value >> power) - STEPS) as usize
}

/// The largest value of a bucket.
fn upper_end(bucket: u64) -> u64 {
    if bucket < STEPS {
        return bucket;
    }
    let (power, step) = (bucket / STEPS - 1, bucket % STEPS);
    ((STEPS + step + 1) << power) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_contiguous_and_narrow() {
        for at in 1..STEPS * (POWERS + 1) {
            let (below, end) = (upper_end(at - 1), upper_end(at));
            assert_eq!(bucket(end) as u64, at);
            assert_eq!(bucket(below + 1) as u64, at);
            assert!((end - below) * STEPS <= end.max(STEPS), "{at}");
        }
    }

    #[test]
    fn quantiles_of_known_values() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile(0.5), 0);
        (1..=1000u64).for_each(|n| histogram.add(n * 1000));
        for (share, want) in [(0.5, 500_000.0), (0.99, 990_000.0), (1.0, 1_000_000.0)] {
            let got = histogram.quantile(share) as f64;
            assert!((got - want).abs() <= want / 50.0, "{share}: {got}");
        }
        histogram.add(u64::MAX);
        assert_eq!((histogram.total(), histogram.max()), (1001, u64::MAX));
    }
}
