//! What the delay of packets says of the queue in front of the narrowest link.
//!
//! Packets of one burst go together, and the fastest of them stands for all: that is what the first found in
//! the queue. A frame therefore counts alike however long it is, and a packet that the radio held counts
//! only if all were held.
//!
//! Two signs, of which one is enough: the delay grows (a line through the last 300 ms, against a threshold
//! that follows the noise, draft-ietf-rmcat-gcc-02 §5.4), or it stands above what it is at best and does not
//! fall.
//!
//! Times are microseconds: of sending on our clock, of arrival on the peer's. The two may differ by
//! anything, and drift.

use super::recent::RecentMin;
use super::trend::{Trend, Usage};
use std::time::Duration;

/// Packets sent within this time are one burst.
const BURST_US: i64 = 5_000;
/// The best delay is that of the last one to two of these: long enough for a queue of our own making to be
/// gone in between, short enough for a route that changes.
const BASE_US: i64 = 10_000_000;
/// The queue is what the fastest burst of the last one to two of these found.
const QUEUE_US: i64 = 50_000;
/// A queue longer than this is too long even if it does not grow.
const QUEUE_HIGH_US: i64 = 60_000;
/// Less of a queue is none: what a radio, or the other packets of a frame, make of any delay.
const QUEUE_LOW_US: i64 = 8_000;
/// Of what is found of the noise, one of so many parts is of the last burst.
const NOISE_WEIGHT: i64 = 32;
/// A queue that stands for so long while we send less is not ours: it is the delay at best from then on.
const NOT_OURS_US: i64 = 4_000_000;
/// A delay that differs by more is of another clock.
const JUMP_US: i64 = 5_000_000;

/// Packets that were sent together.
#[derive(Clone, Copy, Debug)]
struct Burst {
    first_sent_us: i64,
    arrived_us: i64,
    delay_us: i64,
}

/// See the module.
#[derive(Debug)]
pub struct DelayDetector {
    burst: Option<Burst>,
    trend: Trend,
    base: RecentMin,
    recent: RecentMin,
    /// Since when the queue is high.
    high_since_us: Option<i64>,
    queue_us: i64,
    /// Mean of what bursts take longer than the fastest of late.
    noise_us: i64,
    usage: Usage,
}

impl Default for DelayDetector {
    fn default() -> Self {
        Self {
            burst: None,
            trend: Trend::default(),
            base: RecentMin::new(BASE_US),
            recent: RecentMin::new(QUEUE_US),
            high_since_us: None,
            queue_us: 0,
            noise_us: 0,
            usage: Usage::Normal,
        }
    }
}

impl DelayDetector {
    /// A packet arrived. In the order of sending, but for what came late.
    pub fn add(&mut self, sent_us: i64, arrived_us: i64) {
        let delay_us = arrived_us - sent_us;
        match &mut self.burst {
            Some(burst) if (delay_us - burst.delay_us).abs() > JUMP_US => *self = Self::default(),
            Some(burst) if sent_us - burst.first_sent_us < BURST_US => {
                if delay_us < burst.delay_us {
                    (burst.delay_us, burst.arrived_us) = (delay_us, arrived_us);
                }
                return;
            }
            Some(burst) => {
                let done = *burst;
                self.on_burst(done);
            }
            None => {}
        }
        self.burst = Some(Burst { first_sent_us: sent_us, arrived_us, delay_us });
    }

    /// How the link is used, as of the last burst that is complete.
    #[must_use]
    pub const fn usage(&self) -> Usage {
        self.usage
    }

    /// How long the queue is.
    #[must_use]
    pub fn queue(&self) -> Duration {
        Duration::from_micros(self.queue_us.unsigned_abs())
    }

    fn on_burst(&mut self, burst: Burst) {
        let Burst { first_sent_us, arrived_us: at_us, delay_us } = burst;
        // By the time of arrival: where the link is suddenly slow, little that was sent has arrived.
        self.base.add(at_us, delay_us);
        self.recent.add(at_us, delay_us);
        self.queue_us = self.recent.min() - self.base.min();
        self.noise_us += (delay_us - self.recent.min() - self.noise_us) / NOISE_WEIGHT;
        let usage = self.trend.add(first_sent_us, delay_us);
        let falls = self.trend.falls();
        self.usage = match usage {
            Usage::Over if self.queue_us < QUEUE_LOW_US.max(self.noise_us) => Usage::Normal,
            Usage::Normal if self.queue_us >= QUEUE_HIGH_US && !falls => Usage::Over,
            usage => usage,
        };
        self.check_whose(at_us);
    }

    fn check_whose(&mut self, at_us: i64) {
        if self.queue_us < QUEUE_HIGH_US {
            self.high_since_us = None;
        } else if at_us - *self.high_since_us.get_or_insert(at_us) >= NOT_OURS_US {
            self.base = RecentMin::new(BASE_US);
            self.base.add(at_us, self.recent.min());
            self.high_since_us = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Frames of five packets, 30 a second, through a link that serves as a queue; the delays of what
    /// `extra_us` says come on top. The usage after each second, and the queue in ms.
    fn frames(seconds: u64, frame_us: i64, extra_us: impl Fn(i64) -> i64) -> Vec<(Usage, u128)> {
        let mut detector = DelayDetector::default();
        let (mut free_us, mut told) = (0, Vec::new());
        for frame in 0..seconds as i64 * 30 {
            let sent_us = frame * 33_333;
            for packet in 0..5 {
                free_us = i64::max(free_us, sent_us) + frame_us / 5;
                detector.add(sent_us + packet, free_us + 20_000 + extra_us(frame * 5 + packet));
            }
            if frame % 30 == 29 {
                told.push((detector.usage(), detector.queue().as_millis()));
            }
        }
        told
    }

    #[test]
    fn a_queue_that_grows_is_seen_and_long_frames_are_no_queue() {
        let usages = |told: &[(Usage, u128)]| told.iter().map(|(usage, _)| *usage).collect::<Vec<_>>();
        // A frame that takes 30 ms of 33.
        let told = frames(4, 30_000, |_| 0);
        assert_eq!(usages(&told), [Usage::Normal; 4]);
        assert!(told.iter().all(|(_, queue)| *queue == 0), "{told:?}");
        // A tenth more than the link carries.
        let told = frames(3, 36_700, |_| 0);
        assert_eq!(usages(&told), [Usage::Over; 3]);
        assert!(told[2].1 > 200, "{told:?}");
    }

    #[test]
    fn jitter_is_no_queue_and_a_standing_one_is_ours_for_a_while_only() {
        let jitter = |packet: i64| (packet * 7_919) % 25_000;
        let told = frames(10, 5_000, jitter);
        assert!(told.iter().all(|(usage, _)| *usage != Usage::Over), "{told:?}");
        // After two seconds 100 ms more, for good.
        let told = frames(12, 5_000, |packet| if packet < 300 { 0 } else { 100_000 });
        let over: Vec<_> = told.iter().map(|(usage, _)| *usage == Usage::Over).collect();
        assert_eq!(over[..6], [false, false, true, true, true, true], "{told:?}");
        assert!(over[7..].iter().all(|over| !over), "{told:?}");
    }

    #[test]
    fn clocks_that_jump_begin_anew() {
        let mut detector = DelayDetector::default();
        for i in 0..1_000 {
            let offset = if i % 7 == 0 { i64::from(i) << 40 } else { 0 };
            detector.add(i64::from(i) * 10_000, i64::from(i) * 10_000 + offset);
            assert!(detector.queue() < Duration::from_micros(JUMP_US as u64 * 2));
        }
    }
}
