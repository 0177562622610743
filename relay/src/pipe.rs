//! The queue from one thread to another, of two shards or of a shard and the ports' thread: bounded, one
//! producer, one consumer.
//!
//! Entries are boxes. A full one goes over and an empty one comes back, so a push writes a packet's octets
//! and no more, and no entry is ever in two hands.
//!
//! Boxes are made and given back by the producer when tracks begin and end ([`PortSink::set_capacity`]), at
//! most [`PIPE_ENTRIES`]; nothing is allocated for a packet. Between all pairs of 64 shards they would be 3.3
//! GB; a pair that pipes nothing keeps 34 KiB each way, all of those together 134 MiB, and one video makes it
//! 0.45 MiB.
//!
//! Waking a thread costs 10 µs and more, a push a few nanoseconds: the other worker is woken after a batch,
//! and by [`WakeWorker`] only if it sleeps.

use relay_port::{Entry, PortSink};
use rtrb::{Consumer, Producer, RingBuffer};
use std::fmt;
use std::sync::Arc;

/// Entries of a queue at most: four batches of datagrams, so a worker may be late by that much before packets
/// are dropped. 512 of them are 0.8 MiB, which stay in a second-level cache; more would only make what is
/// late later.
pub const PIPE_ENTRIES: usize = 512;

/// Wakes a worker from its wait; costs a system call only if it sleeps.
pub type WakeWorker = Arc<dyn Fn() + Send + Sync>;

pub struct PipeSender {
    filled: Producer<Box<Entry>>,
    empty: Consumer<Box<Entry>>,
    /// Entries that neither side has.
    #[expect(clippy::vec_box, reason = "they go over as they are")]
    spare: Vec<Box<Entry>>,
    /// `made`: entries allocated, wherever they are; `wanted`: how many there should be.
    made: usize,
    wanted: usize,
    lent: Option<Box<Entry>>,
    committed: bool,
    wake: WakeWorker,
}

impl fmt::Debug for PipeSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PipeSender").field("filled", &self.filled).finish_non_exhaustive()
    }
}

#[derive(Debug)]
pub struct PipeReceiver {
    filled: Consumer<Box<Entry>>,
    empty: Producer<Box<Entry>>,
}

/// Makes a queue without entries, see [`PortSink::set_capacity`]; `wake` wakes the consumer.
#[must_use]
pub fn pipe(wake: WakeWorker) -> (PipeSender, PipeReceiver) {
    let (filled_in, filled_out) = RingBuffer::new(PIPE_ENTRIES);
    let (empty_in, empty_out) = RingBuffer::new(PIPE_ENTRIES);
    let sender = PipeSender {
        filled: filled_in,
        empty: empty_out,
        spare: Vec::new(),
        made: 0,
        wanted: 0,
        lent: None,
        committed: false,
        wake,
    };
    (sender, PipeReceiver { filled: filled_out, empty: empty_in })
}

impl PipeSender {
    /// Entries allocated, free or full.
    #[must_use]
    pub fn entries(&self) -> usize {
        self.made
    }

    /// Frees entries above the wanted number. Those with the consumer follow when they have come back.
    fn give_back(&mut self) {
        while self.made > self.wanted {
            let Some(entry) = self.spare.pop().or_else(|| self.empty.pop().ok()) else { return };
            drop(entry);
            self.made -= 1;
        }
    }
}

impl PortSink for PipeSender {
    fn set_capacity(&mut self, entries: usize) {
        self.wanted = entries.min(PIPE_ENTRIES);
        let more = self.wanted.saturating_sub(self.made);
        self.spare.reserve_exact(more);
        self.spare.extend(std::iter::repeat_with(Box::default).take(more));
        self.made += more;
        self.give_back();
        self.spare.shrink_to_fit();
    }

    fn slot(&mut self) -> Option<&mut Entry> {
        if self.lent.is_none() {
            self.lent = self.empty.pop().ok().or_else(|| self.spare.pop());
        }
        self.lent.as_deref_mut()
    }

    fn commit(&mut self) {
        let Some(entry) = self.lent.take() else { return };
        let pushed = self.filled.push(entry);
        assert!(pushed.is_ok(), "as many places as entries");
        self.committed = true;
    }

    fn wake(&mut self) {
        self.give_back();
        if std::mem::take(&mut self.committed) {
            (self.wake)();
        }
    }
}

impl PipeReceiver {
    /// Full entries that wait to be read.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.filled.slots()
    }

    /// Whether the producer let go of its end; what it wrote before is there.
    #[must_use]
    pub fn is_abandoned(&self) -> bool {
        self.filled.is_abandoned()
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
    use relay_port::{Load, Message, Packet};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    fn packet(seq: u64) -> Packet {
        Packet { track_id: 7, seq, ..Packet::default() }
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

    fn full_size() -> (PipeSender, PipeReceiver) {
        let (mut sender, receiver) = pipe(Arc::new(|| {}));
        sender.set_capacity(usize::MAX);
        assert_eq!(sender.entries(), PIPE_ENTRIES);
        (sender, receiver)
    }

    #[test]
    fn it_has_as_many_entries_as_its_tracks_need_and_keeps_none_of_them() {
        let (mut sender, mut receiver) = pipe(Arc::new(|| {}));
        assert!(!send(&mut sender, 0) && sender.entries() == 0, "no room was made");
        let mut load = Load::default();
        sender.set_capacity(load.entries());
        assert_eq!(sender.entries(), 16);
        load = Load { videos: 1, audios: 1, back: 1 };
        sender.set_capacity(load.entries());
        assert_eq!(sender.entries(), 16 + 256 + 32 + 2);
        let sent = (0..).take_while(|seq| send(&mut sender, *seq)).count();
        assert_eq!(sent, load.entries(), "and each is of use");
        load.videos = 40;
        sender.set_capacity(load.entries());
        assert_eq!(sender.entries(), PIPE_ENTRIES);

        // The end, while the queue is full: what was said is read, and what comes back is given back.
        sender.set_capacity(Load::default().entries());
        assert_eq!(sender.entries(), sent, "all that is under way");
        let read: Vec<u64> = std::iter::from_fn(|| receive(&mut receiver)).collect();
        assert_eq!(read, (0..sent as u64).collect::<Vec<_>>());
        sender.wake();
        assert_eq!(sender.entries(), 16);
        let sent = (0..).take_while(|seq| send(&mut sender, *seq)).count();
        assert_eq!(sent, 16, "it still works");
    }

    #[test]
    fn sixty_four_shards_that_pipe_nothing_keep_134_mebibytes_of_queues() {
        const DIRECTIONS: usize = 64 * 63;
        let places = 2 * PIPE_ENTRIES * size_of::<Box<Entry>>();
        let octets = |load: Load| places + load.entries().min(PIPE_ENTRIES) * size_of::<Entry>();
        let idle = octets(Load::default());
        assert!(idle <= 34 << 10, "{idle} octets");
        assert!(DIRECTIONS * idle <= 134 << 20, "{} octets", DIRECTIONS * idle);
        let video = octets(Load { videos: 1, ..Load::default() });
        assert!(video <= 460 << 10, "{video} octets");
        let full = octets(Load { videos: 2, ..Load::default() });
        assert!(full <= 850 << 10, "{full} octets");
    }

    #[test]
    fn a_full_queue_takes_no_more_and_loses_nothing_of_what_it_took() {
        let (mut sender, mut receiver) = full_size();
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
        sender.set_capacity(3);
        sender.wake();
        assert_eq!(woken.load(Ordering::Relaxed), 0, "nothing was said");
        assert!(send(&mut sender, 1) && send(&mut sender, 2));
        assert!(sender.slot().is_some(), "lent and not sent");
        sender.wake();
        sender.wake();
        assert_eq!(woken.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn two_threads_keep_order_and_lose_nothing() {
        const PACKETS: u64 = 100_000;
        let (mut sender, mut receiver) = full_size();
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
