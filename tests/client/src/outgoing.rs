//! A stream as its publisher numbers it, and what it remembers for retransmission.

use relay_core::id::SeqNo;
use std::collections::VecDeque;

/// Numbers of the packets of one stream, and the last of them. `P` is what is needed to write a packet again.
#[derive(Clone, Debug)]
pub struct Outgoing<P> {
    next: u64,
    next_rtx: u64,
    past: VecDeque<(u64, P)>,
    past_max: usize,
}

impl<P> Outgoing<P> {
    /// From the extended number `first` on, with `past_max` packets remembered.
    #[must_use]
    pub fn new(first: u64, past_max: usize) -> Self {
        Self { next: first, next_rtx: 1, past: VecDeque::with_capacity(past_max), past_max }
    }

    /// The extended number of the next packet.
    #[must_use]
    pub const fn next(&self) -> u64 {
        self.next
    }

    /// Goes on at a later number.
    pub const fn skip_to(&mut self, next: u64) {
        self.next = next;
    }

    /// Remembers the next packet and gives its extended number.
    pub fn push(&mut self, packet: P) -> u64 {
        let index = self.next;
        self.next += 1;
        if self.past.len() == self.past_max {
            self.past.pop_front();
        }
        self.past.push_back((index, packet));
        index
    }

    /// The packet that is asked for with its own number, and the extended number of the retransmission;
    /// `None` if it is forgotten.
    pub fn recall(&mut self, seq: SeqNo) -> Option<(u64, &P)> {
        let index = seq.extend(self.next);
        let at = self.past.binary_search_by_key(&index, |(index, _)| *index).ok()?;
        let rtx = self.next_rtx;
        self.next_rtx += 1;
        Some((rtx, &self.past[at].1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sent_last_is_remembered() {
        let mut sent = Outgoing::new(65_534, 3);
        for packet in ["a", "b", "c", "d"] {
            sent.push(packet);
        }
        assert_eq!(sent.next(), 65_538);
        for (seq, want) in [
            (65_534, None), // forgotten
            (65_535, Some((1, &"b"))),
            (0, Some((2, &"c"))),
            (1, Some((3, &"d"))),
            (2, None), // not sent yet
        ] {
            assert_eq!(sent.recall(SeqNo(seq)), want, "{seq}");
        }
    }
}
