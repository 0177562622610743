//! Datagrams to send, written into lent slots, and their way to the kernel.

use std::collections::VecDeque;

use crate::IoCounters;
use crate::addr::{Family, Route};
use crate::gso::Gso;
use crate::message::{Flight, Messages};
use crate::mmsg::MmsgSender;
use crate::pool::{Chain, Pool};
use crate::uring::Ring;

/// No slot is free: the kernel still holds all of them. Counted in [`IoCounters::tx_full`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// A completed send: the index of its message and the kernel's answer, octets or a negative errno.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Done {
    pub(crate) message: u16,
    pub(crate) result: i32,
}

/// How messages reach the kernel.
///
/// `submit` gives it the `staged` ones; what completed, of these or earlier ones, is appended to `done`. A
/// staged message is under way until it appears there.
pub(crate) enum Sender {
    Uring(Ring),
    Mmsg(MmsgSender),
    /// Keeps or answers messages as a test wants.
    #[cfg(test)]
    Fake(tests::Fake),
}

impl Sender {
    fn submit(
        &mut self,
        messages: &Messages,
        staged: &[u16],
        done: &mut Vec<Done>,
        counters: &mut IoCounters,
    ) {
        match self {
            Self::Uring(ring) => ring.submit(messages, staged, done, counters),
            Self::Mmsg(mmsg) => mmsg.submit(messages, staged, done, counters),
            #[cfg(test)]
            Self::Fake(fake) => fake.submit(messages, staged, done),
        }
    }
}

/// Where the caller writes datagrams. They leave at the next flush, which is also made when slots run out.
///
/// Fields are dropped in order: `sender` first, whose drop waits until the kernel uses neither slots nor
/// messages.
pub struct Outbox {
    pub(crate) sender: Sender,
    pool: Pool,
    messages: Messages,
    gso: Gso,
    /// Runs the kernel refused as GSO sends, to be sent singly.
    refused: VecDeque<(Chain, Option<i32>)>,
    staged: Vec<u16>,
    done: Vec<Done>,
    pub(crate) counters: IoCounters,
}

impl Outbox {
    pub(crate) fn new(sender: Sender, pool: Pool, messages: u16, family: Family, gso: bool) -> Self {
        let capacity = usize::from(messages);
        Self {
            sender,
            pool,
            messages: Messages::new(messages, family),
            gso: if gso { Gso::On(0) } else { Gso::Off },
            refused: VecDeque::with_capacity(capacity + 1),
            staged: Vec::with_capacity(capacity),
            done: Vec::with_capacity(capacity),
            counters: IoCounters::default(),
        }
    }

    /// Lends a slot of [`DATAGRAM_BYTES_MAX`](crate::DATAGRAM_BYTES_MAX) octets for a datagram along `route`.
    /// A slot that was lent and not committed sends nothing.
    ///
    /// # Errors
    /// [`Full`] if none is free and a flush freed none.
    pub fn slot(&mut self, route: &Route) -> Result<&mut [u8], Full> {
        if self.pool.is_exhausted() {
            self.flush();
            if self.pool.is_exhausted() {
                self.counters.tx_full += 1;
                return Err(Full);
            }
        }
        self.pool.lend(route).ok_or(Full)
    }

    /// Queues the first `len` octets of the slot lent last. Without a lent slot it does nothing.
    ///
    /// # Panics
    /// If `len` is more than a slot holds.
    pub fn commit(&mut self, len: usize) {
        self.counters.tx_committed += u64::from(self.pool.commit(len));
    }

    /// Gives all that is queued to the kernel. What it could not take (which `MSG_DONTWAIT` rules out but for
    /// errors of the submission itself) stays queued for the next flush.
    pub fn flush(&mut self) {
        if self.queued() == 0 && self.messages.is_idle() {
            return;
        }
        loop {
            self.stage();
            self.sender.submit(&self.messages, &self.staged, &mut self.done, &mut self.counters);
            self.staged.clear();
            let progress = !self.done.is_empty();
            self.settle();
            if !progress || self.queued() == 0 {
                break;
            }
        }
        self.pool.settle();
    }

    /// Datagrams committed, and not yet given to the kernel.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.pool.queued() + self.refused.iter().map(|(chain, _)| chain.run.count).sum::<usize>()
    }

    /// Whether runs of datagrams leave as one send.
    #[must_use]
    pub fn uses_gso(&self) -> bool {
        self.gso.is_on()
    }

    /// Fills free messages with what waits.
    fn stage(&mut self) {
        while !self.messages.is_exhausted() {
            let Some(flight) = self.next_flight() else { break };
            self.staged.extend(self.messages.build(&self.pool, flight));
        }
    }

    fn next_flight(&mut self) -> Option<Flight> {
        // Datagrams of refused runs first: they are the oldest.
        while let Some((chain, errno)) = self.refused.front_mut() {
            if let Some(chain) = self.pool.split_first(chain) {
                // Once a run: its first datagram stands for all.
                return Some(Flight { chain, blame: errno.take() });
            }
            self.refused.pop_front();
        }
        self.pool.take(self.gso.is_on()).map(|chain| Flight { chain, blame: None })
    }

    /// Takes note of completed sends; their slots are free again.
    fn settle(&mut self) {
        for done in self.done.drain(..) {
            let Some(Flight { chain, blame }) = self.messages.finish(done.message) else {
                debug_assert!(false, "a send completed twice");
                continue;
            };
            let (datagrams, errno) = (chain.run.count as u64, -done.result);
            if errno > 0 && datagrams > 1 && Gso::blames(errno) {
                self.counters.tx_gso_refused += 1;
                self.refused.push_back((chain, Some(errno)));
                continue;
            }
            self.pool.release(&chain);
            if errno > 0 {
                self.counters.lost(errno, datagrams);
                continue;
            }
            self.counters.tx_sent += datagrams;
            self.counters.tx_bytes += chain.run.bytes as u64;
            if datagrams > 1 {
                self.gso.taken();
                self.counters.tx_gso_runs += 1;
                self.counters.tx_gso_segments += datagrams;
            }
            if let Some(errno) = blame {
                self.gso.refused(errno);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A kernel under a test's control.
    #[derive(Default)]
    pub(crate) struct Fake {
        /// Messages it holds without an answer.
        held: Vec<u16>,
        /// How many more it holds before it answers at once.
        hold: usize,
        /// The answer to sends of several datagrams, negative; 0 for taking them.
        gso_result: i32,
        /// The answer to single ones.
        single_result: i32,
        /// Octets it took, a `Vec` per datagram, with the port they went to.
        taken: Vec<(u16, Vec<u8>)>,
    }

    impl Fake {
        pub(crate) fn submit(&mut self, messages: &Messages, staged: &[u16], done: &mut Vec<Done>) {
            for &message in staged {
                if self.held.len() < self.hold {
                    self.held.push(message);
                } else {
                    done.push(Done { message, result: self.answer(messages, message) });
                }
            }
            if self.hold == 0 {
                done.extend(self.held.drain(..).map(|message| Done { message, result: 0 }));
            }
        }

        fn answer(&mut self, messages: &Messages, message: u16) -> i32 {
            // SAFETY: the message is filled and under way: nobody writes to it or to its slots.
            let (name, pieces) = unsafe {
                let header = &*messages.header(message);
                let name =
                    std::slice::from_raw_parts(header.msg_name.cast::<u8>(), header.msg_namelen as usize);
                (name, std::slice::from_raw_parts(header.msg_iov, header.msg_iovlen))
            };
            let result = if pieces.len() > 1 { self.gso_result } else { self.single_result };
            if result == 0 {
                let port = crate::addr::read_name(name).unwrap().port();
                self.taken.extend(pieces.iter().map(|piece| {
                    // SAFETY: as above.
                    let bytes = unsafe { std::slice::from_raw_parts(piece.iov_base.cast(), piece.iov_len) };
                    (port, Vec::from(bytes))
                }));
            }
            result
        }
    }

    fn outbox(slots: usize, messages: u16, fake: Fake) -> Outbox {
        Outbox::new(Sender::Fake(fake), Pool::new(slots).unwrap(), messages, Family::V4, true)
    }

    fn fake(outbox: &mut Outbox) -> &mut Fake {
        match &mut outbox.sender {
            Sender::Fake(fake) => fake,
            _ => unreachable!("made by `outbox`"),
        }
    }

    fn send(outbox: &mut Outbox, port: u16, bytes: &[u8]) -> Result<(), Full> {
        let route = Route { remote: ([127, 0, 0, 1], port).into(), local: None };
        outbox.slot(&route)?[..bytes.len()].copy_from_slice(bytes);
        outbox.commit(bytes.len());
        Ok(())
    }

    fn assert_ledger(outbox: &Outbox, in_flight: u64) {
        let counters = outbox.counters;
        let queued = outbox.queued() as u64;
        assert_eq!(counters.tx_committed, counters.tx_sent + counters.tx_errors() + queued + in_flight);
    }

    #[test]
    fn slots_that_the_kernel_holds_are_refused_and_counted_until_it_lets_go() {
        let mut outbox = outbox(3, 8, Fake { hold: 8, ..Fake::default() });
        for port in 1..=3 {
            send(&mut outbox, port, b"held").unwrap();
        }
        for refused in 1..=5 {
            assert_eq!(send(&mut outbox, 9, b"no room"), Err(Full));
            assert_eq!(outbox.counters.tx_full, refused);
        }
        assert_ledger(&outbox, 3);
        fake(&mut outbox).hold = 0;
        send(&mut outbox, 9, b"room").unwrap();
        outbox.flush();
        assert_eq!(outbox.counters.tx_sent, 4);
        assert_ledger(&outbox, 0);
    }

    #[test]
    fn what_finds_no_free_message_waits_its_turn() {
        let mut outbox = outbox(64, 2, Fake { hold: 2, ..Fake::default() });
        for port in 1..=20 {
            send(&mut outbox, port, &port.to_be_bytes()).unwrap();
        }
        outbox.flush();
        assert_eq!(outbox.queued(), 18);
        assert_ledger(&outbox, 2);
        fake(&mut outbox).hold = 0;
        outbox.flush();
        assert_eq!((outbox.queued(), outbox.counters.tx_sent), (0, 20));
        let ports: Vec<u16> = fake(&mut outbox).taken.iter().map(|(port, _)| *port).collect();
        assert_eq!(ports, (3..=20).collect::<Vec<_>>());
    }

    /// What arrives, sorted by destination, when 3 packets go to each of 4.
    fn fan_out(outbox: &mut Outbox) -> Vec<(u16, Vec<u8>)> {
        for packet in 0..3 {
            for port in 1..=4 {
                send(outbox, port, &[packet; 100]).unwrap();
            }
        }
        outbox.flush();
        let mut taken = std::mem::take(&mut fake(outbox).taken);
        taken.sort_by_key(|(port, _)| *port);
        taken
    }

    #[test]
    fn a_kernel_without_gso_gets_single_sends_in_order() {
        let expected: Vec<_> =
            (1..=4).flat_map(|port| (0..3).map(move |packet| (port, vec![packet; 100]))).collect();
        // Errno, whether GSO is over at once.
        for (errno, over) in [(libc::EIO, true), (libc::EOPNOTSUPP, true), (libc::EINVAL, false)] {
            let mut outbox = outbox(64, 3, Fake { gso_result: -errno, ..Fake::default() });
            assert_eq!(fan_out(&mut outbox), expected, "{errno}");
            assert_eq!(outbox.uses_gso(), !over, "{errno}");
            assert!(outbox.counters.tx_gso_refused > 0);
            assert_eq!((outbox.counters.tx_sent, outbox.counters.tx_gso_runs), (12, 0));
            assert_ledger(&outbox, 0);
            for _ in 0..5 {
                assert_eq!(fan_out(&mut outbox), expected, "{errno}");
            }
            assert!(!outbox.uses_gso(), "{errno}: refused every time");
        }
    }

    #[test]
    fn errors_that_gso_is_not_to_blame_for_leave_it_on() {
        for errno in
            [libc::EINVAL, libc::EAGAIN, libc::ENETUNREACH, libc::EPERM, libc::EMSGSIZE, libc::ENOBUFS]
        {
            let fake = Fake { gso_result: -errno, single_result: -errno, ..Fake::default() };
            let mut outbox = outbox(64, 8, fake);
            for _ in 0..20 {
                assert!(fan_out(&mut outbox).is_empty());
            }
            assert!(outbox.uses_gso(), "{errno}");
            assert_eq!(outbox.counters.tx_errors(), 240, "{errno}");
            assert_ledger(&outbox, 0);
        }
    }
}
