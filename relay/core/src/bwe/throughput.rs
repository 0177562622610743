//! How much arrives, by the receiver's clock: octets of the last half second, in bins.

/// Length of a bin in microseconds.
const BIN_US: i64 = 50_000;
/// Bins remembered: frames of a camera come 30 times a second, so less would count now one more and now one
/// less.
const BINS: usize = 10;
/// Bins that are the most recent past.
const LATE_BINS: usize = 4;
/// Shortest time from which a rate is made.
const SPAN_MIN_US: i64 = 150_000;

/// See the module.
#[derive(Debug, Default)]
pub struct Throughput {
    octets: [u32; BINS],
    /// Number of the newest bin since the clock's origin.
    newest: i64,
    /// Earliest and latest arrival of those in the bins.
    from_us: i64,
    until_us: i64,
    /// Octets that arrived at `from_us` say nothing about the time after it.
    first: u32,
    began: bool,
}

impl Throughput {
    /// Octets arrived. Late ones of a bin that is gone are not counted.
    pub fn add(&mut self, at_us: i64, octets: u32) {
        let bin = at_us.div_euclid(BIN_US);
        let passed = bin - self.newest;
        if !self.began || passed.abs() >= 2 * BINS as i64 {
            *self = Self {
                newest: bin,
                from_us: at_us,
                until_us: at_us,
                first: octets,
                began: true,
                ..Self::default()
            };
        } else if passed > 0 {
            for skipped in (1..=passed).take(BINS) {
                self.octets[place(self.newest + skipped)] = 0;
            }
            self.newest = bin;
            let oldest_us = (bin - BINS as i64 + 1) * BIN_US;
            if self.from_us < oldest_us {
                (self.from_us, self.first) = (oldest_us, 0);
            }
        } else if passed <= -(BINS as i64) {
            return;
        }
        self.until_us = self.until_us.max(at_us);
        let octets_of_bin = &mut self.octets[place(bin)];
        *octets_of_bin = octets_of_bin.saturating_add(octets);
    }

    /// Of the last half second; `None` as long as too little is known.
    #[must_use]
    pub fn bitrate_bps(&self) -> Option<u64> {
        self.over(BINS)
    }

    /// Of the last fifth of a second.
    #[must_use]
    pub fn lately_bps(&self) -> Option<u64> {
        self.over(LATE_BINS)
    }

    fn over(&self, bins: usize) -> Option<u64> {
        let from_us = self.from_us.max((self.newest + 1 - bins as i64) * BIN_US);
        let span_us = self.until_us - from_us;
        if !self.began || span_us < SPAN_MIN_US {
            return None;
        }
        let of_bin = |back: i64| u64::from(self.octets[place(self.newest - back)]);
        let octets = (0..bins as i64).map(of_bin).sum::<u64>();
        let first = if from_us == self.from_us { self.first } else { 0 };
        Some(octets.saturating_sub(first.into()) * 8_000_000 / span_us.unsigned_abs())
    }
}

const fn place(bin: i64) -> usize {
    bin.rem_euclid(BINS as i64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_stream_has_its_rate_and_a_change_shows_within_half_a_second() {
        let mut throughput = Throughput::default();
        let mut at_us = 1_000_000;
        for (every_us, packets, bps) in
            [(10_000, 100, 800_000), (2_000, 300, 4_000_000), (40_000, 20, 200_000)]
        {
            for _ in 0..packets {
                at_us += every_us;
                throughput.add(at_us, 1_000);
            }
            let got = throughput.bitrate_bps().expect("enough");
            assert!(got.abs_diff(bps) * 100 <= bps * 15, "{got} of {bps}");
        }
    }

    #[test]
    fn too_little_says_nothing_and_jumps_begin_anew() {
        let mut throughput = Throughput::default();
        for (at_us, known) in [
            (0, false),
            (100_000, false),
            (150_000, true),
            (-100_000, true),
            (90_000_000, false),
            (90_400_000, true),
            (-5_000_000, false),
            (i64::MAX / 2, false),
        ] {
            throughput.add(at_us, 1_000);
            assert_eq!(throughput.bitrate_bps().is_some(), known, "{at_us}");
        }
    }
}
