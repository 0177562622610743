//! Which packets of a stream came: what is new, doubled, missing and lost.
//!
//! A number that is still missing when it leaves the window is lost; until then a NACK may bring it.

/// Numbers that are remembered below the highest.
const WINDOW: u64 = 512;
const WORDS: usize = (WINDOW / 64) as usize;
/// Numbers right below the highest that may just be late.
const REORDER: u64 = 3;

/// What a packet was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// The first with this number.
    New,
    /// Another with this number.
    Duplicate,
    /// Below the window, so it may be either.
    TooOld,
}

#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// The highest number so far.
    highest: Option<u64>,
    /// Bit `n % WINDOW` for each `n` of the window.
    bits: [u64; WORDS],
    missing: u64,
    lost: u64,
}

impl Seen {
    /// The highest number that came.
    #[must_use]
    pub const fn highest(&self) -> Option<u64> {
        self.highest
    }

    /// Numbers that left the window without a packet.
    #[must_use]
    pub const fn lost(&self) -> u64 {
        self.lost
    }

    /// Records the arrival of a packet.
    pub fn on(&mut self, number: u64) -> Arrival {
        let Some(highest) = self.highest else {
            self.highest = Some(number);
            self.bits = [u64::MAX; WORDS];
            return Arrival::New;
        };
        if number > highest {
            self.advance(highest, number);
            return Arrival::New;
        }
        if highest - number >= WINDOW {
            return Arrival::TooOld;
        }
        if self.has(number) {
            return Arrival::Duplicate;
        }
        self.set(number, true);
        self.missing -= 1;
        Arrival::New
    }

    /// Moves the window up to `number`, which came.
    fn advance(&mut self, highest: u64, number: u64) {
        // What lies more than a window above the old one was never in it.
        let skipped = (number - highest).saturating_sub(WINDOW);
        self.lost += skipped;
        for passed in highest + 1 + skipped..=number {
            if !self.has(passed) {
                self.lost += 1;
                self.missing -= 1;
            }
            self.set(passed, passed == number);
            self.missing += u64::from(passed != number);
        }
        self.highest = Some(number);
    }

    /// Missing numbers worth asking for, upwards, at most `limit`.
    #[must_use]
    pub fn missing(&self, limit: usize) -> Vec<u64> {
        let Some(highest) = self.highest.filter(|_| self.missing > 0) else { return Vec::new() };
        let first = highest.saturating_sub(WINDOW / 2);
        (first..highest.saturating_sub(REORDER)).filter(|number| !self.has(*number)).take(limit).collect()
    }

    const fn has(&self, number: u64) -> bool {
        let at = number % WINDOW;
        self.bits[(at / 64) as usize] >> (at % 64) & 1 != 0
    }

    const fn set(&mut self, number: u64, value: bool) {
        let at = number % WINDOW;
        let word = &mut self.bits[(at / 64) as usize];
        *word = *word & !(1 << (at % 64)) | (value as u64) << (at % 64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Arrival::{Duplicate, New, TooOld};

    #[test]
    fn arrivals() {
        let mut seen = Seen::default();
        for (number, want, missing, lost) in [
            (1000, New, 0, 0),
            (1000, Duplicate, 0, 0),
            (999, Duplicate, 0, 0), // before the first there is nothing to miss
            (1001, New, 0, 0),
            (1004, New, 2, 0),
            (1003, New, 1, 0),
            (1003, Duplicate, 1, 0),
            (1002 + WINDOW, New, WINDOW - 3, 1),
            (1002, TooOld, WINDOW - 3, 1),
            // Of the 2 * WINDOW numbers from 1003 on that left, three came; 1002 was lost before.
            (3 * WINDOW + 1002, New, WINDOW - 1, 2 * WINDOW - 3 + 1),
        ] {
            assert_eq!(seen.on(number), want, "{number}");
            assert_eq!((seen.missing, seen.lost()), (missing, lost), "after {number}");
        }
    }

    #[test]
    fn only_what_may_still_come_is_asked_for() {
        let mut seen = Seen::default();
        for number in [10, 12, 15, 20] {
            seen.on(number);
        }
        assert_eq!(seen.missing(10), [11, 13, 14, 16]);
        assert_eq!(seen.missing(2), [11, 13]);
        assert_eq!(Seen::default().missing(9), Vec::<u64>::new());
    }
}
