//! Which SSRC feeds a layer when a publisher sends several on one m-line, though no simulcast was negotiated.
//!
//! One is forwarded, the others are counted. It is the one that was announced (`a=ssrc`), else the one that
//! came first, for as long as it is heard: to follow whichever came last would have the subscribers' video
//! wait for a keyframe at each turn.
//!
//! Invariants
//! - What is forwarded changes only when the source before it is silent, or for the announced one.
//! - An encoder that begins anew under another SSRC gets in [`SOURCE_GONE`] after the last packet of the one
//!   before. One that is sent beside it, as a layer is, has to be alone for [`RIVAL_GONE`].

use crate::id::Ssrc;
use crate::time::Time;
use std::time::Duration;

/// A source that was not heard for so long may have been left for another one. Packets are not reordered by
/// more, and cameras send five frames a second at least.
pub const SOURCE_GONE: Duration = Duration::from_millis(300);
/// The same of a source beside which the other one is sent: a still screen is sent once a second, and Opus
/// without sound each 400 ms.
pub const RIVAL_GONE: Duration = Duration::from_secs(2);
/// SSRCs remembered that are heard and not forwarded: two further layers, and who else may turn up.
const OTHERS_MAX: usize = 6;

/// An SSRC that is heard and not forwarded.
#[derive(Clone, Copy, Debug)]
struct Other {
    ssrc: Ssrc,
    /// Heard since then without a pause of [`RIVAL_GONE`].
    first: Time,
    last: Time,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Sources {
    /// Announced for media and for retransmissions.
    announced: Option<Ssrc>,
    announced_rtx: Option<Ssrc>,
    others: Vec<Other>,
}

impl Sources {
    /// Allocates all that it will ever need: when its publisher has keys.
    pub fn prepare(&mut self) {
        self.others.reserve_exact(OTHERS_MAX);
    }

    /// Takes note of what the publisher has announced.
    pub fn announce(&mut self, media: Option<Ssrc>, rtx: Option<Ssrc>) {
        (self.announced, self.announced_rtx) = (media, rtx);
    }

    /// Whether `ssrc`, of which a packet with a payload has come, feeds the layer from now on in place of
    /// `current`, whose last packet came at `heard`.
    pub fn takes_over(&mut self, now: Time, ssrc: Ssrc, current: Option<Ssrc>, heard: Time) -> bool {
        let Some(before) = current else { return true };
        let other = self.note(now, ssrc);
        let since = now.since(other.first);
        let is_rival = heard.since(other.first) >= SOURCE_GONE;
        let silence = if is_rival { RIVAL_GONE } else { SOURCE_GONE };
        let follows = now.since(heard) >= silence || (self.announced == Some(ssrc) && since >= SOURCE_GONE);
        if follows {
            // The one before, should it come back, is a rival: each of them may only be slow.
            let left = Other { ssrc: before, first: Time::ZERO, last: heard };
            self.others.iter_mut().filter(|other| other.ssrc == ssrc).for_each(|other| *other = left);
        }
        follows
    }

    /// Remembers that it is heard. Of too many the one that is silent longest is forgotten.
    fn note(&mut self, now: Time, ssrc: Ssrc) -> Other {
        let known = self.others.iter_mut().find(|other| other.ssrc == ssrc);
        if let Some(other) = known {
            if now.since(other.last) >= RIVAL_GONE {
                other.first = now;
            }
            other.last = now;
            return *other;
        }
        if self.others.len() >= OTHERS_MAX {
            let oldest = self.others.iter().enumerate().min_by_key(|(_, other)| other.last);
            let oldest = oldest.map_or(0, |(at, _)| at);
            self.others.swap_remove(oldest);
        }
        let other = Other { ssrc, first: now, last: now };
        self.others.push(other);
        other
    }

    /// Whether retransmissions under `rtx` are of the SSRC `current`: of the announced one only those that
    /// were announced with it, of another one none of them (RFC 4588 §5.3).
    #[must_use]
    pub fn pairs(&self, current: Option<Ssrc>, rtx: Ssrc) -> bool {
        match self.announced_rtx {
            None => true,
            Some(announced) => (current == self.announced) == (announced == rtx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Ssrc = Ssrc(1);
    const B: Ssrc = Ssrc(2);
    const C: Ssrc = Ssrc(3);

    fn ms(at: u64) -> Time {
        Time::from_nanos((10_000 + at) * 1_000_000)
    }

    /// Who is forwarded after each packet, of `(ms, SSRC)`.
    fn followed(announced: Option<Ssrc>, packets: impl IntoIterator<Item = (u64, Ssrc)>) -> Vec<(u64, Ssrc)> {
        let mut sources = Sources::default();
        sources.announce(announced, None);
        let (mut current, mut heard, mut changes) = (None, ms(0), Vec::new());
        for (at, ssrc) in packets {
            if current != Some(ssrc) && sources.takes_over(ms(at), ssrc, current, heard) {
                current = Some(ssrc);
                changes.push((at, ssrc));
            }
            if current == Some(ssrc) {
                heard = ms(at);
            }
        }
        changes
    }

    /// Each of these SSRCs every `step` ms, a third of it apart.
    fn together(ssrcs: &[Ssrc], from: u64, until: u64, step: u64) -> Vec<(u64, Ssrc)> {
        let times = (from..until).step_by(step as usize);
        times.flat_map(|at| (0..).zip(ssrcs).map(move |(n, ssrc)| (at + n * step / 3, *ssrc))).collect()
    }

    #[test]
    fn the_first_is_kept_while_it_is_heard() {
        for step in [9, 30, 100, 999] {
            let all = together(&[A, B, C], 0, 20_000, step);
            if step < 300 {
                assert_eq!(followed(None, all.clone()), [(0, A)], "{step} ms");
            }
            // However slow: who is there is not left again and again.
            assert!(followed(None, all).len() <= 3, "{step} ms");
        }
    }

    #[test]
    fn one_that_is_announced_gets_in_beside_another_and_stays() {
        let all = together(&[A, B, C], 0, 10_000, 30);
        assert_eq!(followed(Some(B), all), [(0, A), (310, B)]);
        let late = [(0, A), (10, B), (20, A), (30, A)].into_iter().chain(together(&[A], 40, 2_000, 30));
        assert_eq!(followed(Some(B), late), [(0, A)], "a packet of it is not enough");
    }

    #[test]
    fn an_encoder_that_begins_anew_gets_in_soon() {
        let restart = |pause: u64| {
            let before = together(&[A], 0, 1_000, 10);
            before.into_iter().chain(together(&[B], 990 + pause, 3_000, 10)).collect::<Vec<_>>()
        };
        for announced in [None, Some(A)] {
            assert_eq!(followed(announced, restart(10)), [(0, A), (1_290, B)]);
            assert_eq!(followed(announced, restart(1_000)), [(0, A), (1_990, B)]);
        }
    }

    #[test]
    fn one_that_was_beside_it_takes_over_when_it_has_ended_and_does_not_give_way_again() {
        let packets = together(&[A, B], 0, 2_000, 30).into_iter().chain(together(&[B], 2_000, 5_000, 30));
        let packets = packets.chain(together(&[B, C, A], 5_000, 9_000, 30));
        let changes = followed(None, packets);
        assert_eq!(changes.len(), 2, "{changes:?}");
        assert!(changes[1].1 == B && (3_970..4_100).contains(&changes[1].0), "{changes:?}");
    }

    #[test]
    fn many_are_no_more_than_one() {
        let all: Vec<Ssrc> = (1..100).map(Ssrc).collect();
        let packets = (0..10_000u64).map(|at| (at, if at % 2 == 0 { A } else { all[at as usize % 99] }));
        assert_eq!(followed(None, packets), [(0, A)]);
    }

    #[test]
    fn retransmissions_are_of_the_source_that_they_were_announced_with() {
        let mut sources = Sources::default();
        assert!(sources.pairs(Some(A), C), "nothing is known");
        sources.announce(Some(A), Some(B));
        for (current, rtx, expected) in [(A, B, true), (A, C, false), (C, B, false), (C, Ssrc(4), true)] {
            assert_eq!(sources.pairs(Some(current), rtx), expected, "{current:?} {rtx:?}");
        }
    }
}
