//! Which packet indices were seen (RFC 3711 §3.3.2).
//!
//! The caller asks with [`ReplayWindow::is_fresh`] before it spends a cipher pass, and marks with
//! [`ReplayWindow::accept`] only what has proved authentic: so nobody without the key can move a window.

/// Packets a window looks back. RFC 3711 asks for at least 64; video that is resent after a lost burst needs
/// more.
pub const WINDOW_PACKETS: u64 = 1024;

const WORDS: usize = (WINDOW_PACKETS / 64) as usize;

/// The last [`WINDOW_PACKETS`] indices of one SSRC.
#[derive(Clone, Debug)]
pub struct ReplayWindow {
    highest: u64,
    /// A ring: the bit of an index is its value modulo the window.
    seen: [u64; WORDS],
}

impl ReplayWindow {
    /// A window that has seen one packet.
    #[must_use]
    pub fn starting_with(index: u64) -> Self {
        let mut window = Self { highest: index, seen: [0; WORDS] };
        window.mark(index);
        window
    }

    /// A window of which nothing is known but its highest index: all up to that counts as seen.
    #[must_use]
    pub(super) const fn full_up_to(highest: u64) -> Self {
        Self { highest, seen: [u64::MAX; WORDS] }
    }

    /// Highest index that proved authentic: `s_l` with its ROC.
    pub(super) const fn highest(&self) -> u64 {
        self.highest
    }

    /// Neither seen before nor too old to tell.
    #[must_use]
    pub fn is_fresh(&self, index: u64) -> bool {
        index > self.highest || (self.highest - index < WINDOW_PACKETS && !self.is_marked(index))
    }

    /// Notes an authentic packet.
    pub fn accept(&mut self, index: u64) {
        debug_assert!(self.is_fresh(index), "index {index} accepted twice");
        if index > self.highest {
            self.advance(index);
        }
        self.mark(index);
    }

    fn advance(&mut self, index: u64) {
        if index - self.highest >= WINDOW_PACKETS {
            self.seen = [0; WORDS];
        } else {
            for skipped in self.highest + 1..=index {
                self.seen[word(skipped)] &= !bit(skipped);
            }
        }
        self.highest = index;
    }

    fn mark(&mut self, index: u64) {
        self.seen[word(index)] |= bit(index);
    }

    fn is_marked(&self, index: u64) -> bool {
        self.seen[word(index)] & bit(index) != 0
    }
}

const fn word(index: u64) -> usize {
    ((index % WINDOW_PACKETS) / 64) as usize
}

const fn bit(index: u64) -> u64 {
    1 << (index % 64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn judges_by_age_and_mark() {
        const H: u64 = 100_000;
        for (accepted, asked, fresh) in [
            (&[H][..], H, false),
            (&[H], H + 1, true),
            (&[H], H - 1, true),
            (&[H], H - (WINDOW_PACKETS - 1), true),
            (&[H], H - WINDOW_PACKETS, false),
            (&[H, H + 1], H, false),
            // The bit of an index that fell out is free again for the one that took its place.
            (&[H, H + 1], H + WINDOW_PACKETS, true),
            (&[H, H + 1023], H, false),
            (&[H, H + 1024], H, false),
            (&[H, H + 1024], H + 1, true),
            (&[H, H + 5000], H + 5000 - 1023, true),
            (&[H, H + 70, H + 3], H + 3, false),
            (&[H, H + 70, H + 3], H + 4, true),
        ] {
            let mut window = ReplayWindow::starting_with(accepted[0]);
            accepted[1..].iter().for_each(|&index| window.accept(index));
            assert_eq!(window.is_fresh(asked), fresh, "{asked} after {accepted:?}");
        }
    }

    #[test]
    fn agrees_with_a_set() {
        let mut window = ReplayWindow::starting_with(0);
        let mut seen = std::collections::BTreeSet::from([0u64]);
        let mut state = 1u64;
        for _ in 0..20_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let index = (window.highest() + (state >> 33) % 1500).saturating_sub(1200);
            let highest = *seen.last().unwrap();
            let want = !seen.contains(&index) && index + WINDOW_PACKETS > highest;
            assert_eq!(window.is_fresh(index), want, "{index}, highest {highest}");
            if want {
                window.accept(index);
                seen.insert(index);
            }
        }
    }
}
