//! Pauses between attempts that fail, and what is said of them.
//!
//! Whatever is wrong with the relay (another language, somebody else on its socket, an end without a word) is
//! wrong again at the next attempt, which is made all the same: pauses grow, differ by chance, and each kind
//! of failure is logged once.

use std::fmt;
use std::mem::{Discriminant, discriminant};
use std::time::Duration;

/// The first pause, at most.
pub(super) const PAUSE_MIN: Duration = Duration::from_millis(50);

/// The longest.
pub(super) const PAUSE_MAX: Duration = Duration::from_secs(5);

/// A connection that lived this long was a good one: whatever ended it is logged again.
pub(super) const HEALTHY: Duration = Duration::from_secs(10);

/// What went wrong with a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum LinkFailure {
    /// The greeting was refused, with these words.
    Refused(String),
    /// Another controller was here before, whose epoch is above ours.
    StaleEpoch(u64),
    /// The inventory was refused, with these words.
    NoInventory(String),
    /// What came is no answer to what was asked.
    Malformed(String),
    /// Nothing came in time.
    Silent,
    /// The other side closed it.
    Closed,
    /// Another user could be, or is, at the other end: nothing was said.
    Untrusted(String),
}

impl fmt::Display for LinkFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(why) => write!(f, "the relay refuses us: {why}"),
            Self::StaleEpoch(epoch) => {
                write!(
                    f,
                    "a controller of epoch {epoch} was here before, so our clock is behind; going above it"
                )
            }
            Self::NoInventory(why) => write!(f, "the relay does not say what it has: {why}"),
            Self::Malformed(why) => write!(
                f,
                "what listens on the control socket does not speak as a relay does ({why}): is it one of this version?"
            ),
            Self::Silent => f.write_str("the relay does not answer on its control socket"),
            Self::Untrusted(why) => f.write_str(why),
            Self::Closed => f.write_str("the relay closed the connection"),
        }
    }
}

#[derive(Debug)]
pub(super) struct Backoff {
    pause: Duration,
    told: Vec<Discriminant<LinkFailure>>,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { pause: PAUSE_MIN, told: Vec::new() }
    }
}

impl Backoff {
    /// A connection failed after it had `lived` that long. How long to wait before the next one: by chance
    /// between half and all of a pause that doubles, so that two who fight do not keep step.
    pub(super) fn failed(&mut self, why: &LinkFailure, lived: Duration, chance: u64) -> Duration {
        if lived >= HEALTHY {
            *self = Self::default();
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

    #[test]
    fn pauses_grow_to_a_limit_and_begin_anew_after_a_good_connection() {
        let mut backoff = Backoff::default();
        let mut total = Duration::ZERO;
        for round in 0..20u64 {
            let whole = (PAUSE_MIN * 2u32.saturating_pow(round.min(10) as u32)).min(PAUSE_MAX);
            let pause = backoff.failed(&LinkFailure::Closed, Duration::ZERO, round * 331);
            assert!(pause >= whole / 2 && pause <= whole, "{round}: {pause:?} of {whole:?}");
            total += pause;
        }
        assert!(total > Duration::from_secs(30), "twenty attempts take {total:?}");
        assert!(backoff.failed(&LinkFailure::Closed, HEALTHY, 1023) <= PAUSE_MIN);
    }

    #[test]
    fn each_kind_of_trouble_is_told_once() {
        let mut backoff = Backoff::default();
        for why in [
            LinkFailure::Closed,
            LinkFailure::Silent,
            LinkFailure::Refused("a".into()),
            LinkFailure::Refused("b".into()),
        ] {
            for _ in 0..3 {
                backoff.failed(&why, Duration::ZERO, 0);
            }
        }
        assert_eq!(backoff.told.len(), 3);
    }
}
