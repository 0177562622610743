//! The links that an estimate is tried with.

use super::link::{Dice, Traits};

/// How fast a link is, and when.
#[derive(Clone, Debug)]
pub(super) enum Rate {
    /// From each of these seconds on, so many kbit/s.
    Steps(Vec<(u32, u32)>),
    /// Up and down between two rates in kbit/s, once in so many seconds.
    Saw { low: u32, high: u32, seconds: u32 },
    /// kbit/s in each tenth of a second.
    Trace(Vec<u32>),
}

impl Rate {
    /// In bit/s.
    pub(super) fn at(&self, us: i64) -> f64 {
        let kbps = match self {
            Self::Steps(steps) => {
                let begun = |(second, _): &&(u32, u32)| i64::from(*second) * 1_000_000 <= us;
                f64::from(steps.iter().rev().find(begun).map_or(0, |(_, kbps)| *kbps))
            }
            Self::Saw { low, high, seconds } => {
                let period_us = i64::from(*seconds) * 1_000_000;
                let phase = us.rem_euclid(period_us) as f64 / period_us as f64;
                f64::from(*low) + f64::from(high - low) * (1.0 - (2.0 * phase - 1.0).abs())
            }
            Self::Trace(tenths) => f64::from(tenths[(us / 100_000) as usize % tenths.len()]),
        };
        kbps * 1e3
    }
}

/// A link to try with.
#[derive(Clone, Debug)]
pub(super) struct Profile {
    pub(super) name: &'static str,
    pub(super) rate: Rate,
    pub(super) traits: Traits,
    pub(super) seed: u64,
}

fn steady(kbps: u32) -> Rate {
    Rate::Steps(vec![(0, kbps)])
}

/// Radio of a home: fast, shared, silent for some tens of milliseconds now and then.
fn wifi(seed: u64) -> Rate {
    let mut dice = Dice::new(seed);
    let mut kbps = 3_000;
    let mut tenth = || {
        kbps = (kbps * 3 + 800 + dice.below(5_000)) / 4;
        if dice.below(100) < 6 { kbps / 8 } else { kbps }
    };
    Rate::Trace((0..600).map(|_| tenth()).collect())
}

/// Radio of a phone that moves: the rate wanders over a decade, and goes with a cell.
fn lte(seed: u64) -> Rate {
    let mut dice = Dice::new(seed);
    let (mut kbps, mut wants) = (2_000, 2_000);
    let mut tenth = || {
        if dice.below(100) < 3 {
            wants = 300 + dice.below(4_000);
        }
        kbps = (kbps * 7 + wants + dice.below(wants / 2)) / 8;
        if dice.below(300) == 0 { 50 } else { kbps }
    };
    Rate::Trace((0..600).map(|_| tenth()).collect())
}

/// All of them.
pub(super) fn all() -> Vec<Profile> {
    let plain = Traits::PLAIN;
    let long = Traits { queue_octets: 250_000, ..plain };
    let far = Traits { delay_us: 150_000, ..plain };
    let radio = Traits { queue_octets: 120_000, jitter_us: 4_000, ..plain };
    let steps = |steps: &[(u32, u32)]| Rate::Steps(steps.to_vec());
    let saw = |low, high, seconds| Rate::Saw { low, high, seconds };
    let rows = [
        ("steady, 150 kbit/s", steady(150), plain),
        ("steady, 300 kbit/s", steady(300), plain),
        ("steady, 500 kbit/s", steady(500), plain),
        ("steady, 1 Mbit/s", steady(1_000), plain),
        ("steady, 2 Mbit/s", steady(2_000), plain),
        ("steady, 10 Mbit/s", steady(10_000), plain),
        ("steady, 1 Mbit/s, 5 ms away", steady(1_000), Traits { delay_us: 5_000, ..plain }),
        ("steady, 1 Mbit/s, 150 ms away", steady(1_000), far),
        ("steps, 2 Mbit/s, 300 kbit/s, 2 Mbit/s", steps(&[(0, 2_000), (20, 300), (40, 2_000)]), plain),
        ("steps, 2 Mbit/s, 500 kbit/s, 2 Mbit/s", steps(&[(0, 2_000), (20, 500), (40, 2_000)]), plain),
        ("steps, 1 Mbit/s, 150 kbit/s, 1 Mbit/s", steps(&[(0, 1_000), (20, 150), (40, 1_000)]), plain),
        ("steps, 2 Mbit/s, 100 kbit/s, 2 Mbit/s", steps(&[(0, 2_000), (20, 100), (40, 2_000)]), plain),
        ("steps, down in four", steps(&[(0, 2_400), (12, 1_200), (24, 600), (36, 300), (48, 150)]), plain),
        ("steps, up in four", steps(&[(0, 150), (12, 300), (24, 600), (36, 1_200), (48, 2_400)]), plain),
        ("steps, 2 Mbit/s, nothing for 1 s", steps(&[(0, 2_000), (20, 0), (21, 2_000)]), plain),
        ("steps, 2 Mbit/s, 300 kbit/s, 150 ms away", steps(&[(0, 2_000), (20, 300), (40, 2_000)]), far),
        ("saw-tooth, 300 kbit/s to 2 Mbit/s, 40 s", saw(300, 2_000, 40), plain),
        ("saw-tooth, 500 kbit/s to 1.5 Mbit/s, 10 s", saw(500, 1_500, 10), plain),
        ("loss, 1 %", steady(1_000), Traits { loss_permille: 10, ..plain }),
        ("loss, 5 %", steady(1_000), Traits { loss_permille: 50, ..plain }),
        ("loss in bursts", steady(1_000), Traits { bursts_permille: 3, ..plain }),
        ("queue of 2 s, 1 Mbit/s", steady(1_000), long),
        ("queue of 2 s, 2 Mbit/s, 400 kbit/s", steps(&[(0, 2_000), (20, 400), (40, 2_000)]), long),
        ("queue of 50 ms, 1 Mbit/s", steady(1_000), Traits { queue_octets: 6_250, ..plain }),
        ("reordered by up to 30 ms", steady(1_000), Traits { jitter_us: 30_000, ..plain }),
        ("every fifth report lost", steady(1_000), Traits { reports_lost_percent: 20, ..plain }),
        ("Wi-Fi, seed 1", wifi(1), radio),
        ("Wi-Fi, seed 2", wifi(2), radio),
        ("LTE, seed 3", lte(3), radio),
        ("LTE, seed 4", lte(4), radio),
    ];
    let profile = |(at, (name, rate, traits))| Profile { name, rate, traits, seed: at as u64 };
    rows.into_iter().enumerate().map(profile).collect()
}
