//! The rate that losses allow: with a tenth of all packets lost or more, less; with next to none, more
//! (draft-ietf-rmcat-gcc-02 §6). It finds links that drop instead of queueing, which no delay shows.

use super::sent::Losses;
use crate::time::Time;
use std::time::Duration;

/// Loss is looked at once so many packets are told of, and so much time is over: three lost ones of twenty
/// are bad luck.
const PACKETS_MIN: u32 = 40;
const INTERVAL: Duration = Duration::from_millis(400);
/// From here on the rate falls, by half of the share that is lost.
const HIGH_PERCENT: u32 = 10;
/// Up to here it grows.
const LOW_PERCENT: u32 = 2;
/// Growth a second.
const INCREASE: f64 = 0.08;

/// See the module.
#[derive(Debug, Default)]
pub struct LossControl {
    seen: Losses,
    since: Option<Time>,
    /// `None`: losses limit nothing.
    limit_bps: Option<f64>,
    percent: u32,
}

impl LossControl {
    /// What losses allow.
    #[must_use]
    pub fn limit_bps(&self) -> Option<u64> {
        self.limit_bps.map(|bps| bps as u64)
    }

    /// Share of packets lost lately.
    #[must_use]
    pub const fn percent(&self) -> u32 {
        self.percent
    }

    /// Takes a measurement that shows more.
    pub fn raise_to(&mut self, bps: u64) {
        self.limit_bps = self.limit_bps.map(|limit| limit.max(bps as f64));
    }

    /// A report came. `target_bps` is what was sent by until now, `otherwise_bps` what would be without
    /// losses.
    pub fn update(&mut self, now: Time, losses: Losses, target_bps: u64, otherwise_bps: u64) {
        self.seen.told = self.seen.told.saturating_add(losses.told);
        self.seen.lost = self.seen.lost.saturating_add(losses.lost);
        let passed = now.since(*self.since.get_or_insert(now));
        if self.seen.told < PACKETS_MIN || passed < INTERVAL {
            return;
        }
        let Losses { told, lost, .. } = std::mem::take(&mut self.seen);
        self.since = Some(now);
        self.percent = (u64::from(lost) * 100 / u64::from(told)) as u32;
        if self.percent > HIGH_PERCENT {
            let kept = 1.0 - f64::from(self.percent) / 200.0;
            self.limit_bps = Some(target_bps as f64 * kept);
        } else if self.percent < LOW_PERCENT {
            let grown = |limit: f64| limit * (1.0 + INCREASE * passed.as_secs_f64().min(1.0));
            self.limit_bps = self.limit_bps.map(grown).filter(|limit| *limit < otherwise_bps as f64 * 1.5);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn losses(told: u32, lost: u32) -> Losses {
        Losses { told, lost, untold_octets: 0 }
    }

    #[test]
    fn much_loss_lowers_some_holds_and_none_raises() {
        // Lost of 100 packets in each of the seconds, and what is allowed after it of 1 Mbit/s.
        for (lost, allowed) in [
            (&[0, 2, 10][..], &[None, None, None][..]),
            (&[20, 5, 10], &[Some(900_000), Some(900_000), Some(900_000)]),
            (&[20, 0, 1], &[Some(900_000), Some(972_000), Some(1_049_760)]),
            (&[100, 50], &[Some(500_000), Some(375_000)]),
        ] {
            let mut loss = LossControl::default();
            let mut now = Time::from_nanos(1_000_000_000);
            loss.update(now, Losses::default(), 1_000_000, 1_000_000);
            let mut second = |lost: &u32| {
                now += Duration::from_secs(1);
                let target_bps = loss.limit_bps().unwrap_or(1_000_000);
                loss.update(now, losses(100, *lost), target_bps, 1_000_000);
                loss.limit_bps()
            };
            let got: Vec<_> = lost.iter().map(&mut second).collect();
            assert_eq!(got, allowed, "{lost:?}");
        }
    }

    #[test]
    fn few_packets_say_nothing_and_a_limit_that_is_far_above_is_none() {
        let mut loss = LossControl::default();
        let at = |seconds: u64| Time::from_nanos(seconds * 1_000_000_000);
        for second in 1..4 {
            loss.update(at(second), losses(12, 12), 1_000_000, 1_000_000);
        }
        assert_eq!(loss.limit_bps(), None);
        loss.update(at(4), losses(12, 12), 1_000_000, 1_000_000);
        assert_eq!(loss.limit_bps(), Some(500_000));
        for second in 5..30 {
            loss.update(at(second), losses(100, 0), 1_000_000, 1_000_000);
        }
        assert_eq!(loss.limit_bps(), None);
    }
}
