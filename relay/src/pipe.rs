//! The queue from one shard to another: bounded, one producer, one consumer.
//!
//! Entries are boxes that are all made with the queue. A full one goes over and an empty one comes back, so a push writes a
//! packet's octets and no more, nothing is allocated afterwards, and no entry is ever in two hands.
//!
//! Waking a thread costs 10 µs and more, a push a few nanoseconds: the other worker is woken after a batch, and by
//! [`WakeWorker`] only if it sleeps.

use crate::mailbox::WakeWorker;
use relay_core::pipe::{Entry, PipeSink};
use rtrb::{Consumer, Producer, RingBuffer};
use std::fmt;

/// Entries of a queue: four batches of datagrams, so a worker may be late by that much before packets are dropped. 512 of
/// them are 0.8 MiB, which stay in a second-level cache; more would only make what is late later.
pub const PIPE_ENTRIES: usize = 512;

/// The producer's end.
pub struct PipeSender {
    filled: Producer<Box<Entry>>,
    empty: Consumer<Box<Entry>>,
    lent: Option<Box<Entry>>,
    committed: bool,
    wake: WakeWorker,
}

impl fmt::Debug for PipeSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PipeSender").field("filled", &self.filled).finish_non_exhaustive()
    }
}

/// The consumer's end.
#[derive(Debug)]
pub struct PipeReceiver {
    filled: Consumer<Box<Entry>>,
    empty: Producer<Box<Entry>>,
}

/// Makes a queue; `wake` wakes the consumer.
///
/// # Panics
/// Never: the queue of empty entries holds them all.
#[must_use]
pub fn pipe(wake: WakeWorker) -> (PipeSender, PipeReceiver) {
    let (filled_in, filled_out) = RingBuffer::new(PIPE_ENTRIES);
    let (mut empty_in, empty_out) = RingBuffer::new(PIPE_ENTRIES);
    for _ in 0..PIPE_ENTRIES {
        let pushed = empty_in.push(Box::<Entry>::default());
        assert!(pushed.is_ok(), "as many places as entries");
    }
    let sender = PipeSender { filled: filled_in, empty: empty_out, lent: None, committed: false, wake };
    (sender, PipeReceiver { filled: filled_out, empty: empty_in })
}

impl PipeSink for PipeSender {
    fn slot(&mut self) -> Option<&mut Entry> {
        if self.lent.is_none() {
            self.lent = self.empty.pop().ok();
        }
        self.lent.as_deref_mut()
    }

    fn commit(&mut self) {
        let Some(entry) = self.lent.take() else { return };
        let pushed = self.filled.push(entry);
        assert!(pushed.is_ok(), "as many places as entries");
        self.committed = true;
    }

    fn ring(&mut self) {
        if std::mem::take(&mut self.committed) {
            (self.wake)();
        }
    }
}

impl PipeReceiver {
    /// Entries that wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.filled.slots()
    }

    /// Hands over the oldest entry, and gives it back to the producer. False: none was there.
    ///
    /// # Panics
    /// Never: there are as many places as entries.
    pub fn handle(&mut self, handle: impl FnOnce(&mut Entry)) -> bool {
        let Ok(mut entry) = self.filled.pop() else { return false };
        handle(&mut entry);
        let pushed = self.empty.push(entry);
        assert!(pushed.is_ok(), "as many places as entries");
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use relay_core::pipe::{Message, PipedPacket};
    use relay_core::up::PacketMeta;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    fn packet(seq: u64) -> PipedPacket {
        PipedPacket { track_id: 7, seq, source: 0, meta: PacketMeta::default() }
    }

    fn send(sender: &mut PipeSender, seq: u64) -> bool {
        let Some(entry) = sender.slot() else { return false };
        entry.write_packet(packet(seq), &seq.to_be_bytes());
        sender.commit();
        true
    }

    fn receive(receiver: &mut PipeReceiver) -> Option<u64> {
        let mut seq = None;
        receiver.handle(|entry| {
            let (Message::Packet(packet), payload) = entry.take() else { panic!("a packet") };
            assert_eq!(payload, packet.seq.to_be_bytes(), "its own payload");
            seq = Some(packet.seq);
        });
        seq
    }

    #[test]
    fn a_full_queue_takes_no_more_and_loses_nothing_of_what_it_took() {
        let (mut sender, mut receiver) = pipe(Arc::new(|| {}));
        let sent = (0..).take_while(|seq| send(&mut sender, *seq)).count();
        assert_eq!((sent, receiver.waiting()), (PIPE_ENTRIES, PIPE_ENTRIES));
        assert_eq!(receive(&mut receiver), Some(0));
        assert!(send(&mut sender, sent as u64) && !send(&mut sender, 0), "one place was free");
        let rest: Vec<u64> = std::iter::from_fn(|| receive(&mut receiver)).collect();
        assert_eq!(rest, (1..=sent as u64).collect::<Vec<_>>());
    }

    #[test]
    fn the_other_side_is_woken_once_a_batch() {
        let woken = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&woken);
        let (mut sender, _receiver) = pipe(Arc::new(move || {
            count.fetch_add(1, Ordering::Relaxed);
        }));
        sender.ring();
        assert_eq!(woken.load(Ordering::Relaxed), 0, "nothing was said");
        assert!(send(&mut sender, 1) && send(&mut sender, 2));
        assert!(sender.slot().is_some(), "lent and not sent");
        sender.ring();
        sender.ring();
        assert_eq!(woken.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn two_threads_keep_order_and_lose_nothing() {
        const PACKETS: u64 = 100_000;
        let (mut sender, mut receiver) = pipe(Arc::new(|| {}));
        std::thread::scope(|scope| {
            scope.spawn(move || {
                for seq in 0..PACKETS {
                    while !send(&mut sender, seq) {
                        std::thread::yield_now();
                    }
                }
            });
            for seq in 0..PACKETS {
                let got = loop {
                    match receive(&mut receiver) {
                        Some(got) => break got,
                        None => std::thread::yield_now(),
                    }
                };
                assert_eq!(got, seq);
            }
        });
    }
}
