//! The rate that the delay allows: up by a share a second, or by a packet a round trip near where the link
//! was full before; down below what arrives when the link is overused (draft-ietf-rmcat-gcc-02 §5.5).

use super::trend::Usage;
use crate::time::Time;
use std::time::Duration;

/// What remains of what arrives, so that the queue drains.
const DECREASE: f64 = 0.92;
/// Growth a second where nothing is known of the link.
const INCREASE: f64 = 0.08;
/// Added a round trip where the link was full before: a packet's bits.
const PACKET_BITS: f64 = 9_600.0;
/// What a report takes to come, besides the round trip.
const REPORT: Duration = Duration::from_millis(100);
/// No more than this above what arrived: what was not tried is not known.
const ABOVE_ARRIVED: f64 = 1.5;
/// With a queue like this the link is busy, and what arrives is what it carries once that has been so for so
/// long. A keyframe makes a shorter one.
const BUSY_FROM: Duration = Duration::from_millis(5);
const BUSY: Duration = Duration::from_millis(150);
/// No growth with a longer queue.
const GROWS_BELOW: Duration = Duration::from_millis(25);
/// Weight of a new measurement of the full link.
const CAPACITY_WEIGHT: f64 = 0.2;
/// The full link is within this of its measurements' mean.
const CAPACITY_NEAR: f64 = 0.15;
/// Time that passes at once at most.
const STEP_MAX: Duration = Duration::from_secs(1);

/// What of the world the rate is made from.
#[derive(Clone, Copy, Debug)]
pub struct Observed {
    /// What the delay says.
    pub usage: Usage,
    /// What arrives, if known: over half a second, and lately.
    pub arrives_bps: Option<(u64, u64)>,
    /// Less is sent than might be: that nothing is wrong says little.
    pub limited: bool,
    /// The queue, as far as it is one.
    pub queue: Duration,
    /// To the peer and back.
    pub rtt: Duration,
}

/// See the module.
#[derive(Debug)]
pub struct RateControl {
    bps: f64,
    range: (f64, f64),
    /// Mean of what arrived when the link was full.
    capacity_bps: Option<f64>,
    updated: Option<Time>,
    /// Since when there is a queue.
    busy_since: Option<Time>,
    decreased: Option<Time>,
}

impl RateControl {
    /// Begins at a rate, and stays within a range.
    #[must_use]
    pub fn new(start_bps: u64, (min_bps, max_bps): (u64, u64)) -> Self {
        let range = (min_bps as f64, max_bps as f64);
        Self {
            bps: (start_bps as f64).clamp(range.0, range.1),
            range,
            capacity_bps: None,
            updated: None,
            busy_since: None,
            decreased: None,
        }
    }

    /// The rate.
    #[must_use]
    pub fn bps(&self) -> u64 {
        self.bps as u64
    }

    /// When the link was last found overused.
    #[must_use]
    pub const fn decreased(&self) -> Option<Time> {
        self.decreased
    }

    /// Takes a measurement that shows more.
    pub fn raise_to(&mut self, bps: u64) {
        self.bps = (bps as f64).clamp(self.bps, self.range.1);
    }

    /// Takes it that only so much gets through.
    pub fn lower_to(&mut self, bps: u64) {
        self.bps = (bps as f64).clamp(self.range.0, self.bps.max(self.range.0));
    }

    /// A report came.
    pub fn update(&mut self, now: Time, observed: &Observed) {
        let passed = now.since(self.updated.replace(now).unwrap_or(now)).min(STEP_MAX);
        if observed.queue < BUSY_FROM {
            self.busy_since = None;
        } else {
            self.busy_since.get_or_insert(now);
        }
        match observed.usage {
            Usage::Over => self.decrease(now, observed),
            Usage::Normal if !observed.limited && observed.queue < GROWS_BELOW => {
                self.increase(passed, observed)
            }
            Usage::Normal | Usage::Under => {}
        }
        self.bps = self.bps.clamp(self.range.0, self.range.1);
    }

    fn decrease(&mut self, now: Time, observed: &Observed) {
        // What the last one brought is not seen before.
        let settles = observed.rtt + REPORT;
        let busy = self.busy_since.is_some_and(|since| now.since(since) >= BUSY);
        if !busy || self.decreased.is_some_and(|at| now.since(at) < settles) {
            return;
        }
        let Some((_, lately)) = observed.arrives_bps else { return };
        let arrives = lately as f64;
        self.capacity_bps = Some(match self.capacity_bps {
            Some(mean) if (arrives - mean).abs() < mean * 2.0 * CAPACITY_NEAR => {
                mean + (arrives - mean) * CAPACITY_WEIGHT
            }
            _ => arrives,
        });
        self.bps = self.bps.min(arrives * DECREASE);
        self.decreased = Some(now);
    }

    fn increase(&mut self, passed: Duration, observed: &Observed) {
        let most = observed
            .arrives_bps
            .map_or(self.bps, |(lasting, _)| lasting as f64 * ABOVE_ARRIVED + PACKET_BITS);
        if self.capacity_bps.is_some_and(|mean| self.bps > mean * (1.0 + CAPACITY_NEAR)) {
            self.capacity_bps = None;
        }
        let near = self.capacity_bps.is_some_and(|mean| self.bps > mean * (1.0 - CAPACITY_NEAR / 2.0));
        let seconds = passed.as_secs_f64();
        let more = if near {
            seconds * PACKET_BITS / (observed.rtt + REPORT).as_secs_f64()
        } else {
            self.bps * INCREASE * seconds
        };
        self.bps = self.bps.max((self.bps + more).min(most));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALM: Observed = Observed {
        usage: Usage::Normal,
        arrives_bps: Some((1_000_000, 1_000_000)),
        limited: false,
        queue: Duration::ZERO,
        rtt: Duration::from_millis(50),
    };

    /// The rate after each of the observations, of which one comes each 200 ms.
    fn rates(observed: impl IntoIterator<Item = Observed>) -> Vec<u64> {
        let mut rate = RateControl::new(1_000_000, (30_000, 2_000_000));
        let mut now = Time::from_nanos(1_000_000_000);
        let mut step = |observed: Observed| {
            now += Duration::from_millis(200);
            rate.update(now, &observed);
            rate.bps()
        };
        observed.into_iter().map(&mut step).collect()
    }

    #[test]
    fn it_grows_by_a_share_a_second_and_not_without_need() {
        let grown = rates([CALM; 6]);
        assert_eq!(grown[0], 1_000_000, "time begins with the first report");
        assert!(grown[5].abs_diff(1_083_000) < 1_000, "{grown:?}");
        for still in [
            Observed { limited: true, ..CALM },
            Observed { queue: GROWS_BELOW, ..CALM },
            Observed { usage: Usage::Under, ..CALM },
        ] {
            assert_eq!(rates([still; 6]), [1_000_000; 6]);
        }
        let most = *rates([CALM; 200]).last().expect("some");
        assert_eq!(most, 1_509_600, "half more than what arrives");
    }

    #[test]
    fn overuse_takes_it_below_what_arrives_and_it_feels_its_way_back() {
        let over =
            Observed { usage: Usage::Over, queue: BUSY_FROM, arrives_bps: Some((800_000, 500_000)), ..CALM };
        assert_eq!(rates([over, over]), [1_000_000, 460_000]);
        let arrives = Observed { arrives_bps: Some((500_000, 500_000)), ..CALM };
        let back = rates([over, over].into_iter().chain([arrives; 15]));
        // Quickly up to where the link was full, and then by a packet a round trip.
        assert!(back[11] > 500_000 && back[16] < 650_000, "{back:?}");
        assert!(back[1..].is_sorted(), "{back:?}");
        let unknown = Observed { arrives_bps: None, ..over };
        assert_eq!(rates([unknown, unknown])[1], 1_000_000);
        let nothing = Observed { arrives_bps: Some((0, 0)), ..over };
        assert_eq!(rates([nothing, nothing])[1], 30_000);
    }
}
