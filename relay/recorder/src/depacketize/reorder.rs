//! Packets of one source in the order of their numbers.
//!
//! A packet that comes in its turn passes through without a copy. Behind a hole packets are held, until it is
//! filled by a retransmission, or given up.

use super::counts::Counts;
use relay_port::Packet;
use std::collections::BTreeMap;

/// How long a missing packet is waited for after the one behind it has come, in nanoseconds: a retransmission
/// takes one round trip, and what is held here is lost if the process dies.
pub const HOLE_WAIT_NANOS: i64 = 250_000_000;
/// Packets held behind holes: a quarter of a second at 16 Mbit/s.
pub const HELD_PACKETS_MAX: usize = 512;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Reorder {
    /// The number that is next in turn; `None` before the first packet.
    next: Option<u64>,
    held: BTreeMap<u64, (Packet, Vec<u8>)>,
}

impl Reorder {
    /// Takes a packet, and gives those whose turn it is to `deliver`, with whether packets are missing
    /// before.
    pub(super) fn handle_packet(
        &mut self,
        packet: &Packet,
        payload: &[u8],
        counts: &mut Counts,
        mut deliver: impl FnMut(&Packet, &[u8], bool, &mut Counts),
    ) {
        let next = *self.next.get_or_insert(packet.seq);
        if packet.seq < next {
            counts.packets_late += 1;
            return;
        }
        if packet.seq == next {
            self.next = next.checked_add(1);
            deliver(packet, payload, false, counts);
            return self.deliver_in_turn(counts, &mut deliver);
        }
        if self.held.contains_key(&packet.seq) {
            counts.packets_repeated += 1;
            return;
        }
        self.held.insert(packet.seq, (*packet, payload.to_vec()));
        if self.held.len() > HELD_PACKETS_MAX {
            self.give_up_hole(counts, &mut deliver);
        }
    }

    /// Gives up holes that were waited for long enough. `now` is on the room clock, in nanoseconds.
    pub(super) fn handle_timeout(
        &mut self,
        now: i64,
        counts: &mut Counts,
        mut deliver: impl FnMut(&Packet, &[u8], bool, &mut Counts),
    ) {
        while self.poll_timeout().is_some_and(|at| at <= now) {
            self.give_up_hole(counts, &mut deliver);
        }
    }

    /// When the first hole is given up.
    pub(super) fn poll_timeout(&self) -> Option<i64> {
        let (_, (first, _)) = self.held.first_key_value()?;
        Some(first.arrival.as_nanos().saturating_add(HOLE_WAIT_NANOS))
    }

    /// Delivers what is held, holes or not, and forgets the numbers: another source follows, or nothing.
    pub(super) fn end(
        &mut self,
        counts: &mut Counts,
        mut deliver: impl FnMut(&Packet, &[u8], bool, &mut Counts),
    ) {
        while !self.held.is_empty() {
            self.give_up_hole(counts, &mut deliver);
        }
        self.next = None;
    }

    /// Packets that wait behind a hole.
    pub(super) fn held(&self) -> usize {
        self.held.len()
    }

    fn give_up_hole(
        &mut self,
        counts: &mut Counts,
        deliver: &mut impl FnMut(&Packet, &[u8], bool, &mut Counts),
    ) {
        let Some((seq, (packet, payload))) = self.held.pop_first() else { return };
        counts.packets_missing = counts.packets_missing.saturating_add(seq - self.next.unwrap_or(seq));
        self.next = seq.checked_add(1);
        deliver(&packet, &payload, true, counts);
        self.deliver_in_turn(counts, deliver);
    }

    fn deliver_in_turn(
        &mut self,
        counts: &mut Counts,
        deliver: &mut impl FnMut(&Packet, &[u8], bool, &mut Counts),
    ) {
        while let Some(next) = self.next
            && let Some((packet, payload)) = self.held.remove(&next)
        {
            self.next = next.checked_add(1);
            deliver(&packet, &payload, false, counts);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use relay_port::MediaTime;

    fn packet(seq: u64, arrival_ms: i64) -> Packet {
        let arrival = MediaTime::from_nanos(arrival_ms * 1_000_000);
        Packet { seq, arrival, ..Packet::default() }
    }

    /// Numbers in the order of delivery; negative: packets are missing before.
    fn run(seqs: &[u64], now_ms: i64) -> (Vec<i64>, Counts, usize) {
        let (mut reorder, mut counts, mut out) = (Reorder::default(), Counts::default(), Vec::new());
        let mut deliver = |packet: &Packet, payload: &[u8], lost: bool, _: &mut Counts| {
            assert_eq!(payload, packet.seq.to_be_bytes());
            out.push(packet.seq.cast_signed() * if lost { -1 } else { 1 });
        };
        for (at, seq) in seqs.iter().enumerate() {
            let packet = packet(*seq, 10 * at as i64);
            reorder.handle_packet(&packet, &seq.to_be_bytes(), &mut counts, &mut deliver);
        }
        reorder.handle_timeout(now_ms * 1_000_000, &mut counts, &mut deliver);
        (out, counts, reorder.held())
    }

    #[test]
    fn packets_come_out_in_order() {
        for (seqs, now_ms, want, [late, repeated, missing], held) in [
            (&[5u64, 6, 7][..], 0, &[5i64, 6, 7][..], [0u64, 0, 0], 0),
            // A retransmission fills the hole.
            (&[5, 7, 8, 6, 9], 0, &[5, 6, 7, 8, 9], [0, 0, 0], 0),
            (&[5, 7, 9, 6], 0, &[5, 6, 7], [0, 0, 0], 1),
            // It does not come: 250 ms after the packet behind the hole, not earlier.
            (&[5, 7, 8], 259, &[5], [0, 0, 0], 2),
            (&[5, 7, 8], 260, &[5, -7, 8], [0, 0, 1], 0),
            (&[5, 7, 10, 11], 270, &[5, -7, -10, 11], [0, 0, 3], 0),
            (&[5, 7, 10, 11], 269, &[5, -7], [0, 0, 1], 2),
            // What is older than what was delivered is late, and a held one comes once.
            (&[5, 6, 4, 6], 0, &[5, 6], [2, 0, 0], 0),
            (&[5, 7, 7, 6], 0, &[5, 6, 7], [0, 1, 0], 0),
            (&[u64::MAX - 1, u64::MAX, 0], 0, &[-2, -1, 0], [0, 0, 0], 0),
        ] {
            let (out, counts, still) = run(seqs, now_ms);
            assert_eq!(out, want, "{seqs:?}");
            assert_eq!(
                [counts.packets_late, counts.packets_repeated, counts.packets_missing],
                [late, repeated, missing]
            );
            assert_eq!(still, held, "{seqs:?}");
        }
    }

    #[test]
    fn what_is_held_is_bounded() {
        let seqs: Vec<u64> = std::iter::once(1).chain(3..600).collect();
        let (out, counts, held) = run(&seqs, 0);
        assert_eq!((out.len(), held, counts.packets_missing), (598, 0, 1));
    }

    #[test]
    fn the_end_of_a_source_delivers_what_is_held() {
        let (mut reorder, mut counts, mut out) = (Reorder::default(), Counts::default(), Vec::new());
        let mut deliver =
            |packet: &Packet, _: &[u8], lost: bool, _: &mut Counts| out.push((packet.seq, lost));
        for seq in [10, 12, 14] {
            reorder.handle_packet(&packet(seq, 0), &[], &mut counts, &mut deliver);
        }
        reorder.end(&mut counts, &mut deliver);
        reorder.handle_packet(&packet(3, 0), &[], &mut counts, &mut deliver);
        assert_eq!(out, [(10, false), (12, true), (14, true), (3, false)]);
    }
}
