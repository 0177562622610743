//! Where the sound of a track is, counted by its samples: what is missing, and what is there twice.

/// One frame of silence, and what drift of a publisher's clock adds up to before it is made good.
pub const LONG_US: i64 = 20_000;
/// A shorter one, for what is left of a gap.
const SHORT_US: i64 = 2_500;

/// What a frame of sound is to those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Placed {
    /// It follows.
    Fits,
    /// Between these two moments there is nothing.
    Behind(i64, i64),
    /// At its time there is sound already.
    Twice,
}

/// Where the samples of a track end, in microseconds of the room clock.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SoundLine(Option<i64>);

impl SoundLine {
    /// Takes a frame.
    pub(super) fn place(&mut self, at_us: i64, lasts_us: i64) -> Placed {
        let Some(end_us) = self.0 else {
            self.0 = Some(at_us + lasts_us);
            return Placed::Fits;
        };
        if at_us + lasts_us.max(LONG_US) <= end_us {
            return Placed::Twice;
        }
        if at_us - end_us < LONG_US {
            self.0 = Some(end_us + lasts_us);
            return Placed::Fits;
        }
        self.0 = Some(at_us + lasts_us);
        Placed::Behind(end_us, at_us)
    }
}

/// Frames of silence between two moments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gap {
    /// So many blocks of the track stand in front of it.
    pub(super) after: u64,
    next_us: i64,
    until_us: i64,
}

impl Gap {
    pub(super) const fn new(after: u64, from_us: i64, until_us: i64) -> Self {
        Self { after, next_us: from_us, until_us }
    }

    /// When the next frame is due, to the nearest millisecond.
    pub(super) const fn next_ms(&self) -> i64 {
        (self.next_us + 500).div_euclid(1_000)
    }

    /// The next frame: when, and whether it is a long one.
    pub(super) const fn take(&mut self) -> (i64, bool) {
        let at_ms = self.next_ms();
        let is_long = self.until_us - self.next_us >= LONG_US;
        self.next_us += if is_long { LONG_US } else { SHORT_US };
        (at_ms, is_long)
    }

    /// Whether what is left of it is shorter than any frame.
    pub(super) const fn is_over(&self) -> bool {
        self.until_us - self.next_us < SHORT_US
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_is_filled_to_its_end() {
        let mut gap = Gap::new(3, 1_000_000, 1_048_000);
        let mut frames = Vec::new();
        while !gap.is_over() {
            frames.push(gap.take());
        }
        let want = [(1_000, true), (1_020, true), (1_040, false), (1_043, false), (1_045, false)];
        assert_eq!(frames, want);
    }

    #[test]
    fn a_publisher_whose_clock_drifts_is_followed_by_samples() {
        // An hour of frames of 20 ms by a clock that is 200 ppm slow or fast.
        for (step_us, silences, doubles) in [(20_004, 35, 0), (19_996, 0, 36)] {
            let (mut line, mut counted_us) = (SoundLine::default(), 0i64);
            let (mut behind, mut twice) = (0, 0);
            for frame in 0..180_000 {
                let at_us = frame * step_us / 1_000 * 1_000;
                match line.place(at_us, 20_000) {
                    Placed::Behind(from_us, until_us) => {
                        let mut gap = Gap::new(0, from_us, until_us);
                        while !gap.is_over() {
                            counted_us += if gap.take().1 { LONG_US } else { SHORT_US };
                        }
                        (behind, counted_us) = (behind + 1, counted_us + 20_000);
                    }
                    Placed::Twice => twice += 1,
                    Placed::Fits => counted_us += 20_000,
                }
                assert!((counted_us - at_us - 20_000).abs() <= 23_000, "{counted_us} {at_us}");
            }
            assert_eq!((behind, twice), (silences, doubles));
        }
    }
}
