//! Handshake datagrams that wait for their turn, so that a storm of joins does not hold up media.
//!
//! A step of a handshake costs as much as a hundred forwarded packets. So a turn of the loop takes them in,
//! serves its media, and then does [`STEPS_PER_TURN`] of them at most; the rest waits here. An idle shard
//! answers in the same turn.
//!
//! Invariants
//! - First come, first served, so a transport's datagrams keep their order.
//! - One transport holds [`PER_TRANSPORT_MAX`] places at most: nobody can take them all, and what is sent
//!   again while the first copy waits is mostly refused.
//! - What is begun is finished first: the last quarter of the places is not for hellos.
//! - What finds no place is refused to the caller, who counts it; the peer's DTLS sends its flight again. No
//!   work is lost by that: what was agreed so far stays in the engine.
//!
//! Deliberately absent: a thread for handshakes. Every core has a shard already, so it would only compete
//! with one.

use crate::keys::TransportKey;
use std::collections::VecDeque;

/// Steps between two batches of media. With a batch of 128 datagrams, hellos alone kept the loop for 15 ms.
pub const STEPS_PER_TURN: usize = 4;
/// Datagrams that wait, of all transports: 6 MB at most. Two thousand browsers that come in one moment send
/// two each, and the last of them waits for about half a second.
pub const WAITING_MAX: usize = 4096;
/// Of them from transports that have not begun.
pub const HELLOS_MAX: usize = WAITING_MAX / 4 * 3;
/// Of one transport: a flight of OpenSSL with an RSA certificate has 8 where nobody tells it the path's MTU, as
/// in GStreamer, and it sends all of them again if one is refused.
pub const PER_TRANSPORT_MAX: u8 = 16;

/// A ClientHello, the dearest step, takes about 150 us: a turn spends a small part of the 5 ms that
/// forwarding may take.
const _: () = assert!(STEPS_PER_TURN * 150 < 1_000);

/// A datagram and whose it is.
#[derive(Debug)]
pub struct Waiting {
    /// Whose it is.
    pub key: TransportKey,
    /// It stands for itself in the counters: of one that several transports get, only the first does.
    pub counted: bool,
    /// As it came.
    pub datagram: Box<[u8]>,
}

/// Why a datagram may not wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// The queue. How many places a transport holds stands with the transport.
#[derive(Debug, Default)]
pub struct Handshakes {
    waiting: VecDeque<Waiting>,
}

impl Handshakes {
    /// Lets a datagram wait. `begun`: its transport has an engine. `held`: places of its transport.
    ///
    /// # Errors
    /// [`Full`] if there is no place, for anybody or for this transport.
    pub fn push(&mut self, begun: bool, held: &mut u8, waiting: Waiting) -> Result<(), Full> {
        let limit = if begun { WAITING_MAX } else { HELLOS_MAX };
        if self.waiting.len() >= limit || *held >= PER_TRANSPORT_MAX {
            return Err(Full);
        }
        *held += 1;
        self.waiting.push_back(waiting);
        Ok(())
    }

    /// The one that has waited longest; its transport holds one place less now.
    pub fn pop(&mut self) -> Option<Waiting> {
        self.waiting.pop_front()
    }

    /// Whether none wait.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whose datagrams wait, oldest first.
    pub fn keys(&self) -> impl Iterator<Item = TransportKey> + '_ {
        self.waiting.iter().map(|waiting| waiting.key)
    }

    /// How many wait that are counted nowhere else.
    #[must_use]
    pub fn counted(&self) -> usize {
        self.waiting.iter().filter(|waiting| waiting.counted).count()
    }

    /// Forgets what waits for a transport that ends; how many of it were counted nowhere else.
    pub fn forget(&mut self, key: TransportKey) -> usize {
        let forgotten = self.waiting.iter().filter(|waiting| waiting.key == key && waiting.counted).count();
        self.waiting.retain(|waiting| waiting.key != key);
        forgotten
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::Key;

    fn waiting(key: u32, datagram: &[u8]) -> Waiting {
        Waiting { key: Key::forged(key), counted: true, datagram: datagram.into() }
    }

    #[test]
    fn serves_in_order_and_nobody_takes_all_places() {
        let (mut queue, mut held) = (Handshakes::default(), [0; 3]);
        for round in 0..24u8 {
            for (key, held) in (0..).zip(&mut held) {
                let pushed = queue.push(true, held, waiting(key, &[key as u8, round]));
                assert_eq!(pushed.is_ok(), round < PER_TRANSPORT_MAX, "round {round} of {key}");
            }
        }
        assert_eq!(held, [PER_TRANSPORT_MAX; 3]);
        assert_eq!(queue.forget(Key::forged(1)), usize::from(PER_TRANSPORT_MAX));
        assert_eq!(queue.forget(Key::forged(1)), 0);
        let served: Vec<_> = std::iter::from_fn(|| queue.pop()).map(|w| (w.key, w.datagram[1])).collect();
        let expected: Vec<_> =
            (0..PER_TRANSPORT_MAX).flat_map(|round| [0, 2].map(|key| (Key::forged(key), round))).collect();
        assert_eq!(served, expected);
    }

    #[test]
    fn what_several_transports_get_is_counted_once() {
        let mut queue = Handshakes::default();
        for (key, counted) in [(0, true), (1, false), (2, false)] {
            let copy = Waiting { counted, ..waiting(key, b"hello") };
            assert_eq!(queue.push(false, &mut 0, copy), Ok(()));
        }
        assert_eq!((queue.counted(), queue.keys().count()), (1, 3));
    }

    #[test]
    fn is_bounded() {
        let mut queue = Handshakes::default();
        for key in 0..2 * WAITING_MAX as u32 {
            assert_eq!(
                queue.push(false, &mut 0, waiting(key, b"hello")).is_ok(),
                key < HELLOS_MAX as u32,
                "hello {key}"
            );
        }
        for key in HELLOS_MAX as u32..2 * WAITING_MAX as u32 {
            assert_eq!(
                queue.push(true, &mut 0, waiting(key, b"more")).is_ok(),
                key < WAITING_MAX as u32,
                "flight {key}"
            );
        }
        let mut held = 0;
        assert_eq!(queue.push(true, &mut held, waiting(u32::MAX, b"more")), Err(Full));
        assert_eq!(held, 0, "who is refused holds nothing");
        queue.pop();
        assert_eq!(queue.push(true, &mut held, waiting(u32::MAX, b"more")), Ok(()));
    }
}
