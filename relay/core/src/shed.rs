//! Whose video is withheld when the shard does not keep up.
//!
//! All video subscriptions stand in one order, by rank: first the priority of the track, then one of 32 parts
//! of that priority, dealt out so that each stream has its share of every part. Below a cut they get nothing.
//! Where the cut is follows from how many there are of each rank, so a priority that nobody has takes no
//! step, and the next one is touched only when the lower one is withheld whole.
//!
//! Invariants
//! - The fan-out compares one octet with another, however many priorities there are.
//! - Audio ranks above every cut.
//! - What is withheld is at least the share that was asked for.
//!
//! Deliberately absent: when to shed, and how much. The process measures that; see
//! [`Shard::shed`](crate::Shard::shed).

use crate::media::{MediaKind, Priority};
use std::ops::Range;

/// Video is shed in so many steps, each the same share of the shard's video subscriptions: better some see
/// nothing for a moment than all see damage.
pub const SHED_STEPS: u8 = 8;

/// Parts of one priority. More than steps, as a step may be a small share of a priority that most streams
/// have.
const PARTS: u8 = 32;
const PRIORITIES: u8 = 4;
/// Ranks of video, and the cut below which all of them are.
const RANKS: u8 = PARTS * PRIORITIES;
/// The rank of what is never shed: audio costs little, and a call without it is none.
const NEVER: u8 = u8::MAX;

const _: () = assert!(PARTS.is_power_of_two() && PARTS >= SHED_STEPS);
const _: () = assert!(RANKS < NEVER);

/// See the module.
#[derive(Debug)]
pub struct Shedding {
    steps: u8,
    cut: u8,
    /// Subscriptions of each rank.
    counts: [u32; RANKS as usize],
    /// Ranks given away so far, of each priority.
    dealt: [u8; PRIORITIES as usize],
    /// The counts have changed since the cut was made.
    stale: bool,
}

impl Default for Shedding {
    fn default() -> Self {
        Self { steps: 0, cut: 0, counts: [0; RANKS as usize], dealt: [0; PRIORITIES as usize], stale: false }
    }
}

impl Shedding {
    /// A rank for a new subscription.
    pub fn add(&mut self, kind: MediaKind, priority: Priority) -> u8 {
        if kind != MediaKind::Video {
            return NEVER;
        }
        let level = level(priority);
        let dealt = &mut self.dealt[usize::from(level)];
        // Bits in reverse: however few follow each other, they are spread over all parts.
        let part = dealt.reverse_bits() / (u8::MAX / PARTS + 1);
        *dealt = (*dealt + 1) % PARTS;
        let rank = level * PARTS + part;
        self.counts[usize::from(rank)] += 1;
        self.stale = true;
        rank
    }

    /// The subscription that had this rank is gone.
    pub fn remove(&mut self, rank: u8) {
        if let Some(count) = self.counts.get_mut(usize::from(rank)) {
            *count -= 1;
            self.stale = true;
        }
    }

    /// Whether the counts are those of `ranks`, all that were given away and not taken back.
    ///
    /// # Errors
    /// The first count that is not.
    pub fn check(&self, ranks: impl Iterator<Item = u8>) -> Result<(), String> {
        let mut counts = [0; RANKS as usize];
        for rank in ranks.filter(|rank| *rank != NEVER) {
            *counts.get_mut(usize::from(rank)).ok_or_else(|| format!("a subscription has rank {rank}"))? += 1;
        }
        match counts.iter().zip(&self.counts).position(|(have, counted)| have != counted) {
            Some(rank) => {
                Err(format!("{} subscriptions of rank {rank}, {} counted", counts[rank], self.counts[rank]))
            }
            None => Ok(()),
        }
    }

    /// Forgets all ranks, to deal them anew: those who left have not left evenly.
    pub fn clear(&mut self) {
        *self = Self { steps: self.steps, cut: self.cut, stale: true, ..Self::default() };
    }

    /// How many steps are shed.
    #[must_use]
    pub fn steps(&self) -> u8 {
        self.steps
    }

    /// What ranks below gets nothing.
    #[must_use]
    pub fn cut(&self) -> u8 {
        self.cut
    }

    /// Sheds `steps` of [`SHED_STEPS`]; the ranks that are taken back.
    pub fn set(&mut self, steps: u8) -> Range<u8> {
        let before = self.cut;
        if self.steps != steps || self.stale {
            (self.steps, self.stale) = (steps, false);
            self.cut = self.cut_for(steps);
        }
        self.cut..before.max(self.cut)
    }

    fn cut_for(&self, steps: u8) -> u8 {
        let all: u32 = self.counts.iter().sum();
        let steps = u32::from(steps.min(SHED_STEPS));
        let wanted = (all * steps).div_ceil(u32::from(SHED_STEPS));
        let mut withheld = 0;
        for (cut, count) in (0..).zip(&self.counts) {
            if withheld >= wanted {
                return cut;
            }
            withheld += count;
        }
        RANKS
    }
}

/// Lowest first (RFC 8835 §4.1).
const fn level(priority: Priority) -> u8 {
    match priority {
        Priority::VeryLow => 0,
        Priority::Low => 1,
        Priority::Medium => 2,
        Priority::High => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ORDER: [Priority; 4] = [Priority::VeryLow, Priority::Low, Priority::Medium, Priority::High];

    /// So many subscriptions of each priority, freshly dealt: level and rank.
    fn dealt(numbers: [u32; 4]) -> (Shedding, Vec<(usize, u8)>) {
        let mut shedding = Shedding::default();
        let mut add = |level: usize| (level, shedding.add(MediaKind::Video, ORDER[level]));
        let ranks = (0..4).flat_map(|level| (0..numbers[level]).map(move |_| level)).map(&mut add).collect();
        (shedding, ranks)
    }

    /// How many of each priority are withheld.
    fn withheld(shedding: &Shedding, ranks: &[(usize, u8)]) -> [u32; 4] {
        let mut numbers = [0; 4];
        for (level, rank) in ranks {
            numbers[*level] += u32::from(*rank < shedding.cut());
        }
        numbers
    }

    #[test]
    fn the_lowest_priority_goes_first_and_comes_back_last() {
        let cases: [([u32; 4], &[[u32; 4]; 5]); 3] = [
            // Very low, low, medium, high; then what is withheld at each step.
            ([0, 0, 16, 0], &[[0; 4], [0, 0, 2, 0], [0, 0, 4, 0], [0, 0, 6, 0], [0, 0, 8, 0]]),
            ([0, 8, 16, 8], &[[0; 4], [0, 4, 0, 0], [0, 8, 0, 0], [0, 8, 4, 0], [0, 8, 8, 0]]),
            ([2, 0, 0, 14], &[[0; 4], [2, 0, 0, 0], [2, 0, 0, 2], [2, 0, 0, 4], [2, 0, 0, 6]]),
        ];
        for (numbers, steps) in cases {
            let (mut shedding, ranks) = dealt(numbers);
            let up = (0..=4).zip(steps);
            for (step, expected) in up.clone().chain(up.rev()) {
                shedding.set(step);
                assert_eq!(withheld(&shedding, &ranks), *expected, "step {step} of {numbers:?}");
            }
        }
    }

    #[test]
    fn what_is_taken_back_is_named() {
        let (mut shedding, ranks) = dealt([0, 4, 4, 0]);
        assert!(shedding.set(8).is_empty());
        let back = shedding.set(4);
        let restored: Vec<usize> =
            ranks.iter().filter(|(_, rank)| back.contains(rank)).map(|(level, _)| *level).collect();
        assert_eq!(restored, [2; 4], "the higher ones");
        assert!(shedding.set(4).is_empty());
        // Half of those that are left are fewer than half of what there was.
        ranks[..2].iter().for_each(|(_, rank)| shedding.remove(*rank));
        assert!(shedding.set(4).is_empty());
        assert_eq!(withheld(&shedding, &ranks[2..]), [0, 2, 1, 0]);
        assert!(!shedding.set(0).is_empty());
        assert!(shedding.set(0).is_empty());
    }

    #[test]
    fn audio_is_never_withheld() {
        let mut shedding = Shedding::default();
        let rank = shedding.add(MediaKind::Audio, Priority::VeryLow);
        shedding.set(SHED_STEPS);
        assert!(rank >= shedding.cut());
        shedding.remove(rank);
        assert_eq!(shedding.cut_for(SHED_STEPS), 0, "nor counted");
    }

    proptest! {
        /// Whatever the distribution, what is withheld is at least the share and less than a step more (or
        /// than one subscription); no priority is touched before those below it are withheld whole; and a
        /// stream whose subscribers were dealt one after the other loses the share of its priority, give or
        /// take three.
        #[test]
        fn what_is_withheld_is_within_a_step_of_the_share(
            numbers in prop::array::uniform4(prop_oneof![Just(0), 1..10_u32, 0..2_000_u32]),
            step in 0..=SHED_STEPS,
            (begin, len) in (0..1_000_usize, 1..200_usize),
        ) {
            let (mut shedding, ranks) = dealt(numbers);
            shedding.set(step);
            let (all, got) = (ranks.len() as f64, withheld(&shedding, &ranks));
            let share = all * f64::from(step) / f64::from(SHED_STEPS);
            let over = f64::from(got.iter().sum::<u32>()) - share;
            prop_assert!(over >= 0.0, "{over}");
            prop_assert!(over < (all / f64::from(SHED_STEPS)).max(1.0), "{over} of {all}");
            for level in 1..4 {
                prop_assert!(got[level] == 0 || got[..level] == numbers[..level], "{got:?} of {numbers:?}");
            }
            for stream in ranks.chunk_by(|a, b| a.0 == b.0) {
                let level = stream[0].0;
                let part = &stream[begin.min(stream.len() - 1)..(begin + len).min(stream.len())];
                let lost = part.iter().filter(|(_, rank)| *rank < shedding.cut()).count() as f64;
                let due = part.len() as f64 * f64::from(got[level]) / f64::from(numbers[level]);
                prop_assert!((lost - due).abs() <= 3.0, "{lost} of {}, {due} due", part.len());
            }
        }

        /// While shedding goes on, some leave and others come: the share is kept to, and still from below.
        #[test]
        fn who_comes_and_goes_changes_the_cut_with_the_next_look(
            numbers in prop::array::uniform4(0..100_u32),
            changes in prop::collection::vec((any::<bool>(), any::<prop::sample::Index>()), 0..200),
            step in 0..=SHED_STEPS,
        ) {
            let (mut shedding, mut ranks) = dealt(numbers);
            shedding.set(step);
            for (leaves, index) in changes {
                if leaves && !ranks.is_empty() {
                    let (_, rank) = ranks.swap_remove(index.index(ranks.len()));
                    shedding.remove(rank);
                } else {
                    let level = index.index(4);
                    ranks.push((level, shedding.add(MediaKind::Video, ORDER[level])));
                }
                shedding.set(step);
                let got: u32 = withheld(&shedding, &ranks).iter().sum();
                let wanted = (ranks.len() as u32 * u32::from(step)).div_ceil(u32::from(SHED_STEPS));
                let last = ranks.iter().filter(|(_, rank)| rank + 1 == shedding.cut()).count() as u32;
                prop_assert!(got >= wanted);
                prop_assert!(got - last < wanted || got == 0, "and not one rank more");
            }
        }
    }
}
