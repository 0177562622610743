//! A link with a queue: it serves at a rate that changes, drops what its queue does not hold, loses, delays
//! and reorders as its seed says.

use relay_core::rng::Rng;
use std::collections::VecDeque;

/// The steps in which a link is served.
pub(super) const TICK_US: i64 = 1_000;

/// What a link does beside serving at a rate.
#[derive(Clone, Copy, Debug)]
pub(super) struct Traits {
    /// Without any queue, there; the way back takes as long.
    pub(super) delay_us: i64,
    /// What the queue holds.
    pub(super) queue_octets: usize,
    /// Packets of a thousand lost at random.
    pub(super) loss_permille: u32,
    /// Of a thousand packets, with how many a burst of losses begins, in which every other packet is lost;
    /// it ends with one of ten.
    pub(super) bursts_permille: u32,
    /// Added at random, by which packets overtake each other: at most.
    pub(super) jitter_us: u32,
    /// Reports of a hundred lost on the way back.
    pub(super) reports_lost_percent: u32,
}

impl Traits {
    /// 25 ms, and 100 ms of queue at 1 Mbit/s.
    pub(super) const PLAIN: Self = Self {
        delay_us: 25_000,
        queue_octets: 40_000,
        loss_permille: 0,
        bursts_permille: 0,
        jitter_us: 0,
        reports_lost_percent: 0,
    };
}

/// Numbers from a seed.
pub(super) struct Dice(Rng);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        let mut bytes = [0x4c; 32];
        bytes[..8].copy_from_slice(&seed.to_be_bytes());
        Self(Rng::new(bytes))
    }

    /// Below `end`.
    pub(super) fn below(&mut self, end: u32) -> u32 {
        self.0.next_u32() % end.max(1)
    }
}

/// A packet on its way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packet {
    pub(super) number: u16,
    pub(super) octets: usize,
    pub(super) sent_us: i64,
    /// Bits that are still to be served.
    bits: f64,
}

/// A packet that has come through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Arrived {
    pub(super) at_us: i64,
    pub(super) number: u16,
    pub(super) octets: usize,
    /// In the queue, and being served.
    pub(super) waited_us: i64,
}

/// See the module.
pub(super) struct Link {
    traits: Traits,
    queue: VecDeque<Packet>,
    octets: usize,
    dice: Dice,
    in_burst: bool,
    /// Packets that the queue did not hold.
    pub(super) overflowed: u64,
}

impl Link {
    pub(super) fn new(traits: Traits, seed: u64) -> Self {
        let dice = Dice::new(seed);
        Self { traits, queue: VecDeque::new(), octets: 0, dice, in_burst: false, overflowed: 0 }
    }

    pub(super) fn send(&mut self, now_us: i64, number: u16, octets: usize) {
        self.in_burst = match self.in_burst {
            true => self.dice.below(10) > 0,
            false => self.dice.below(1_000) < self.traits.bursts_permille,
        };
        let by_burst = self.in_burst && self.dice.below(2) == 0;
        if by_burst || self.dice.below(1_000) < self.traits.loss_permille {
            return;
        }
        // One packet always fits.
        if !self.queue.is_empty() && self.octets + octets > self.traits.queue_octets {
            self.overflowed += 1;
            return;
        }
        self.octets += octets;
        self.queue.push_back(Packet { number, octets, sent_us: now_us, bits: octets as f64 * 8.0 });
    }

    /// Serves one tick that begins now, and adds what comes of it.
    pub(super) fn serve(&mut self, now_us: i64, bps: f64, arrived: &mut Vec<Arrived>) {
        let mut left = bps * TICK_US as f64 / 1e6;
        let all = left;
        while let Some(first) = self.queue.front_mut() {
            if first.bits > left {
                first.bits -= left;
                return;
            }
            left -= first.bits;
            let served_us = now_us + ((all - left) / all * TICK_US as f64) as i64;
            let Packet { number, octets, sent_us, .. } = *first;
            self.queue.pop_front();
            self.octets -= octets;
            let jitter_us =
                if self.traits.jitter_us == 0 { 0 } else { self.dice.below(self.traits.jitter_us) };
            let at_us = served_us + self.traits.delay_us + i64::from(jitter_us);
            arrived.push(Arrived { at_us, number, octets, waited_us: served_us - sent_us });
        }
    }

    /// Whether a report gets through.
    pub(super) fn takes_report(&mut self) -> bool {
        self.dice.below(100) >= self.traits.reports_lost_percent
    }
}
