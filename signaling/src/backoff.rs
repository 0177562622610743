//! Pauses between attempts that fail, and what is said of them.
//!
//! Whatever is wrong with one of our processes (another language, somebody else on its socket, an end without
//! a word) is wrong again at the next attempt, which is made all the same: pauses grow, differ by chance, and
//! each kind of failure is logged once.

use std::fmt::Display;
use std::mem::{Discriminant, discriminant};
use std::time::Duration;

/// The first pause, at most.
pub(crate) const PAUSE_MIN: Duration = Duration::from_millis(50);

/// The longest.
pub(crate) const PAUSE_MAX: Duration = Duration::from_secs(5);

/// For failures of these kinds.
#[derive(Debug)]
pub(crate) struct Backoff<F> {
    pause: Duration,
    told: Vec<Discriminant<F>>,
    /// A connection that lived this long was a good one: whatever ended it is logged again.
    healthy: Duration,
}

impl<F: Display> Backoff<F> {
    /// Of connections that are good ones once they have lived this long.
    pub(crate) fn new(healthy: Duration) -> Self {
        Self { pause: PAUSE_MIN, told: Vec::new(), healthy }
    }

    /// A connection failed after it had `lived` that long. How long to wait before the next one: by chance
    /// between half and all of a pause that doubles, so that two who fight do not keep step.
    pub(crate) fn failed(&mut self, why: &F, lived: Duration, chance: u64) -> Duration {
        if lived >= self.healthy {
            *self = Self::new(self.healthy);
        }
        if self.told.contains(&discriminant(why)) {
            tracing::debug!("{why}");
        } else {
            tracing::warn!("{why}; trying again, with growing pauses");
            self.told.push(discriminant(why));
        }
        let half = self.pause / 2;
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        half + half.mul_f64((chance % 1024) as f64 / 1024.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt;

    const HEALTHY: Duration = Duration::from_secs(10);

    enum Trouble {
        Closed,
        Silent,
        Refused(&'static str),
    }

    impl fmt::Display for Trouble {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            match self {
                Self::Refused(why) => f.write_str(why),
                Self::Closed | Self::Silent => f.write_str("gone"),
            }
        }
    }

    #[test]
    fn pauses_grow_to_a_limit_and_begin_anew_after_a_good_connection() {
        let mut backoff = Backoff::new(HEALTHY);
        let mut total = Duration::ZERO;
        for round in 0..20u64 {
            let whole = (PAUSE_MIN * 2u32.saturating_pow(round.min(10) as u32)).min(PAUSE_MAX);
            let pause = backoff.failed(&Trouble::Closed, Duration::ZERO, round * 331);
            assert!(pause >= whole / 2 && pause <= whole, "{round}: {pause:?} of {whole:?}");
            total += pause;
        }
        assert!(total > Duration::from_secs(30), "twenty attempts take {total:?}");
        assert!(backoff.failed(&Trouble::Closed, HEALTHY, 1023) <= PAUSE_MIN);
    }

    #[test]
    fn each_kind_of_trouble_is_told_once() {
        let mut backoff = Backoff::new(HEALTHY);
        for why in [Trouble::Closed, Trouble::Silent, Trouble::Refused("a"), Trouble::Refused("b")] {
            for _ in 0..3 {
                backoff.failed(&why, Duration::ZERO, 0);
            }
        }
        assert_eq!(backoff.told.len(), 3);
    }
}
