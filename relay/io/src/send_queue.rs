//! Datagrams to send, written into lent memory, and their way to the kernel.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::{IpAddr, UdpSocket};
use std::os::fd::RawFd;

use crate::IoCounters;
use crate::addr::Route;
use crate::arena::Arenas;
use crate::datagram::Done;
use crate::gso::{Gso, Run, SEGMENTS_MAX};
use crate::message::{Messages, PendingSend};
use crate::mmsg::MmsgSender;
use crate::path_mtu::{self, PathMtus};
use crate::socket::{SocketIndex, Sources};
use crate::uring::Ring;

/// Sends that may wait for a free message, because the kernel holds on to all of them or refuses to cut runs.
/// More are refused.
const WAITING_MAX: usize = 1024;

/// No memory is free: the kernel still holds all of it. Counted in [`IoCounters::tx_full`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

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

/// Where the caller writes datagrams. They leave at the next flush, which is also made when memory or
/// messages run out.
///
/// Fields are dropped in order: `sender` first, whose drop waits until the kernel uses neither memory nor
/// messages.
pub struct SendQueue {
    pub(crate) sender: Sender,
    arenas: Arenas,
    messages: Messages,
    gso: Gso,
    /// Runs the kernel refused as GSO sends, to be sent singly.
    refused: VecDeque<PendingSend>,
    /// Datagrams larger than their path takes, to be sent in fragments.
    oversize: VecDeque<PendingSend>,
    paths: PathMtus,
    /// The sockets, for what is not sent by [`Sender`].
    fds: Vec<RawFd>,
    /// What found no free message, or must be cut first.
    waiting: VecDeque<PendingSend>,
    staged: Vec<u16>,
    done: Vec<Done>,
    pub(crate) counters: IoCounters,
}

impl SendQueue {
    pub(crate) fn new(sender: Sender, arenas: Arenas, messages: u16, sources: Sources, gso: bool) -> Self {
        let capacity = usize::from(messages);
        Self {
            sender,
            arenas,
            messages: Messages::new(messages, sources),
            gso: Gso::new(gso),
            refused: VecDeque::with_capacity(capacity + 1),
            oversize: VecDeque::with_capacity(capacity),
            paths: PathMtus::default(),
            fds: Vec::new(),
            waiting: VecDeque::with_capacity(WAITING_MAX),
            staged: Vec::with_capacity(capacity),
            done: Vec::with_capacity(capacity),
            counters: IoCounters::default(),
        }
    }

    /// The descriptors of the sockets, which outlive the queue.
    pub(crate) fn on(self, fds: Vec<RawFd>) -> Self {
        Self { fds, ..self }
    }

    /// Lends `bytes` octets of memory for the datagrams that are committed next. A region that was lent
    /// before is given up, but for what was committed of it.
    ///
    /// # Errors
    /// [`Full`] if so much is not free and a flush freed none, or it is more than
    /// [`IoOptions::arena_bytes`](crate::IoOptions::arena_bytes).
    pub fn lend(&mut self, bytes: usize) -> Result<&mut [u8], Full> {
        if !self.arenas.has_room(bytes) {
            self.flush();
            if !(self.arenas.has_room(bytes) || self.arenas.advance() && self.arenas.has_room(bytes)) {
                self.counters.tx_full += 1;
                return Err(Full);
            }
        }
        Ok(self.arenas.lend(bytes))
    }

    /// Queues a run of datagrams, which lie in the region lent last, along `route`. May be called for several
    /// runs of a region. Without GSO they leave one by one.
    ///
    /// # Panics
    /// If the run is not within the region, or its segments are longer than a datagram.
    pub fn commit(&mut self, route: &Route, run: Run) {
        assert!(run.is_sound(), "{run:?}");
        let kept = self.arenas.keep(run.start, run.len).expect("the run lies in the region lent last");
        let mut rest = Run { start: kept.at, ..run };
        let mut send = PendingSend {
            route: *route,
            socket: self.messages.sources().choose(route),
            run: rest,
            count: run.count(),
            arena: kept.arena,
            singly: false,
            refused_as_gso: false,
        };
        if rest.len == 0 {
            self.queue(send);
        }
        while let Some(part) = rest.split(SEGMENTS_MAX) {
            (send.run, send.count) = (part, part.count());
            self.arenas.share(kept.arena);
            self.queue(send);
        }
        if run.len > 0 {
            self.arenas.release(kept.arena);
        }
    }

    /// Into a message at once, if one is free and the kernel takes it as it is; else it waits its turn.
    fn queue(&mut self, mut send: PendingSend) {
        let too_long = !self.paths.is_empty() && self.paths.is_too_long(&send.route, send.run.segment);
        if send.count > 1 && (too_long || !self.gso.allows(send.route.remote.ip())) {
            send.singly = true;
            self.gso.sent_singly(send.route.remote.ip());
            self.counters.tx_gso_avoided += 1;
        }
        if self.messages.is_exhausted() || self.waiting.len() == WAITING_MAX {
            self.flush();
        }
        if self.waiting.len() == WAITING_MAX {
            self.counters.tx_full += send.count as u64;
            return self.arenas.release(send.arena);
        }
        self.counters.tx_committed += send.count as u64;
        if !send.singly
            && !too_long
            && self.waiting.is_empty()
            && self.refused.is_empty()
            && !self.messages.is_exhausted()
        {
            self.staged.extend(self.messages.build(&self.arenas, &send));
        } else {
            self.waiting.push_back(send);
        }
    }

    /// Gives all that is queued to the kernel. What it could not take (which `MSG_DONTWAIT` rules out but for
    /// errors of the submission itself) stays queued for the next flush.
    pub fn flush(&mut self) {
        if self.messages.is_idle() && self.waiting.is_empty() && self.refused.is_empty() {
            return;
        }
        loop {
            self.stage();
            self.sender.submit(&self.messages, &self.staged, &mut self.done, &mut self.counters);
            self.staged.clear();
            let progress = !self.done.is_empty();
            self.watch_paths();
            self.settle();
            self.send_oversize();
            if !progress || (self.waiting.is_empty() && self.refused.is_empty()) {
                break;
            }
        }
    }

    /// Datagrams committed, and not yet given to the kernel.
    #[must_use]
    pub fn queued(&self) -> usize {
        let staged = self.staged.iter().filter_map(|message| self.messages.send(*message));
        staged.chain(&self.waiting).chain(&self.refused).map(|send| send.count).sum()
    }

    /// The address that a socket is bound to, if it is only one.
    pub(crate) fn source(&self, socket: SocketIndex) -> Option<IpAddr> {
        self.messages.sources().local(socket)
    }

    /// Whether the next run of datagrams to `to` leaves as one send.
    #[must_use]
    pub fn uses_gso(&self, to: IpAddr) -> bool {
        self.gso.allows(to)
    }

    /// Fills free messages with what waits.
    fn stage(&mut self) {
        while !self.messages.is_exhausted() {
            let Some(send) = self.next_send() else { break };
            if send.count == 1 && !self.paths.is_empty() && self.paths.is_too_long(&send.route, send.run.len)
            {
                self.oversize.push_back(send);
                continue;
            }
            self.staged.extend(self.messages.build(&self.arenas, &send));
        }
    }

    /// The next that waits. Datagrams of refused runs first: they are the oldest.
    fn next_send(&mut self) -> Option<PendingSend> {
        let queue = if self.refused.is_empty() { &mut self.waiting } else { &mut self.refused };
        let send = queue.front_mut()?;
        if send.count == 1 || !send.singly {
            return queue.pop_front();
        }
        let run = send.run.split(1)?;
        send.count -= 1;
        self.arenas.share(send.arena);
        // Once a run: its first datagram stands for all.
        Some(PendingSend { run, count: 1, refused_as_gso: std::mem::take(&mut send.refused_as_gso), ..*send })
    }

    /// Takes note of completed sends; their memory is free again.
    fn settle(&mut self) {
        let (mut asked, mut refused) = (None, false);
        for done in self.done.drain(..) {
            let Some(send) = self.messages.finish(done.message) else {
                debug_assert!(false, "a send completed twice");
                continue;
            };
            let (datagrams, errno) = (send.count as u64, -done.result);
            if errno == libc::EMSGSIZE && datagrams == 1 && send.route.remote.is_ipv4() {
                // Not before a run that is sent once more singly.
                let queue = if refused { &mut self.refused } else { &mut self.oversize };
                queue.push_back(send);
                continue;
            }
            if errno > 0 && datagrams > 1 && Gso::may_be_its_fault(errno) {
                self.counters.tx_gso_refused += 1;
                refused = true;
                self.refused.push_back(PendingSend { singly: true, refused_as_gso: true, ..send });
                continue;
            }
            self.arenas.release(send.arena);
            if errno > 0 {
                lost(&mut self.counters, self.messages.sources(), &send, (errno, datagrams), &mut asked);
                continue;
            }
            self.counters.tx_sent += datagrams;
            self.counters.tx_bytes += send.run.len as u64;
            if datagrams > 1 {
                self.gso.taken(send.route.remote.ip());
                self.counters.tx_gso_runs += 1;
                self.counters.tx_gso_segments += datagrams;
            }
            if send.refused_as_gso {
                self.gso.refused(send.route.remote.ip());
            }
        }
    }

    /// Now and then asks the kernel what it knows of one of the paths that have just been used.
    fn watch_paths(&mut self) {
        let Some(at) = self.paths.turn(self.done.len()) else { return };
        let Some(send) = self.messages.send(self.done[at].message) else { return };
        self.paths.ask(&send.route, send.run.segment);
    }

    /// Sends in fragments what is larger than its path takes: the last resort, as many networks lose
    /// fragments (RFC 8900), but without it these datagrams never arrive. One by one, as they are few and
    /// their socket is switched for them, and in the order in which they were committed: who gets a packet
    /// early takes those before it for lost.
    fn send_oversize(&mut self) {
        while let Some(send) = self.oversize.pop_front() {
            let fd = self.fds.get(usize::from(send.socket.0));
            let message = self.messages.build(&self.arenas, &send);
            let errno = match (fd, message) {
                // SAFETY: the message is filled, and neither it nor its memory is written before it is
                // finished below.
                (Some(fd), Some(message)) => unsafe {
                    path_mtu::send_fragmented(*fd, self.messages.header(message), &mut self.counters)
                },
                _ => libc::EMSGSIZE,
            };
            message.and_then(|message| self.messages.finish(message));
            self.arenas.release(send.arena);
            if errno > 0 {
                lost(&mut self.counters, self.messages.sources(), &send, (errno, 1), &mut None);
                continue;
            }
            self.counters.tx_sent += 1;
            self.counters.tx_fragmented += 1;
            self.counters.tx_bytes += send.run.len as u64;
            if send.refused_as_gso {
                self.gso.refused(send.route.remote.ip());
            }
        }
    }
}

/// Counts what the kernel refused to send. `asked`: the last source that was looked for in this turn, and
/// whether the machine has it, as all that waits for one that has gone is refused at once.
fn lost(
    counters: &mut IoCounters,
    sources: &Sources,
    send: &PendingSend,
    (errno, datagrams): (i32, u64),
    asked: &mut Option<(IpAddr, bool)>,
) {
    let source = sources.local(send.socket).or(send.route.local);
    // It depends on the kernel's version and the family which of these it says.
    let may_be_gone = matches!(errno, libc::EINVAL | libc::EADDRNOTAVAIL | libc::ENETUNREACH);
    let Some(source) = source.filter(|_| may_be_gone) else { return counters.lost(errno, datagrams) };
    let known = asked.filter(|(ip, _)| *ip == source).map(|(_, is_ours)| is_ours);
    let is_there =
        || UdpSocket::bind((source, 0)).err().map(|why| why.kind()) != Some(ErrorKind::AddrNotAvailable);
    let is_ours = known.unwrap_or_else(is_there);
    *asked = Some((source, is_ours));
    if is_ours { counters.lost(errno, datagrams) } else { counters.tx_error_source_gone += datagrams }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::Family;

    const LOCALHOST: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    /// A fake kernel that the test controls.
    #[derive(Default)]
    pub(crate) struct Fake {
        /// Messages that are submitted and not completed.
        held: Vec<u16>,
        /// How many more it holds before it answers at once.
        hold: usize,
        /// The answer to sends of several datagrams, negative; 0 for taking them.
        gso_result: i32,
        /// Only for this destination, if set.
        refusing: Option<IpAddr>,
        /// The result of single sends.
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
            // SAFETY: the message is filled and under way: nobody writes to it or to its memory.
            let (name, bytes) = unsafe {
                let header = &*messages.header(message);
                let name =
                    std::slice::from_raw_parts(header.msg_name.cast::<u8>(), header.msg_namelen as usize);
                let piece = &*header.msg_iov;
                (name, std::slice::from_raw_parts(piece.iov_base.cast::<u8>(), piece.iov_len))
            };
            let send = messages.send(message).unwrap();
            let refuses = self.refusing.is_none_or(|refusing| refusing == send.route.remote.ip());
            let result = match send.count {
                1 => self.single_result,
                _ if refuses => self.gso_result,
                _ => 0,
            };
            if result == 0 {
                let port = crate::addr::read_name(name).unwrap().port();
                self.taken.extend(bytes.chunks(send.run.segment).map(|bytes| (port, bytes.to_vec())));
            }
            result
        }
    }

    fn send_queue(arena_bytes: usize, messages: u16, fake: Fake) -> SendQueue {
        SendQueue::new(
            Sender::Fake(fake),
            Arenas::new(arena_bytes).unwrap(),
            messages,
            Sources::one(Family::V4),
            true,
        )
    }

    fn fake(send_queue: &mut SendQueue) -> &mut Fake {
        match &mut send_queue.sender {
            Sender::Fake(fake) => fake,
            _ => unreachable!("made by `send_queue`"),
        }
    }

    fn send(send_queue: &mut SendQueue, port: u16, bytes: &[u8]) -> Result<(), Full> {
        let route = Route { remote: ([127, 0, 0, 1], port).into(), local: None };
        send_queue.lend(bytes.len())?.copy_from_slice(bytes);
        send_queue.commit(&route, Run::single(bytes.len()));
        Ok(())
    }

    fn assert_ledger(send_queue: &SendQueue, in_flight: u64) {
        let counters = send_queue.counters;
        let queued = send_queue.queued() as u64;
        assert_eq!(counters.tx_committed, counters.tx_sent + counters.tx_errors() + queued + in_flight);
    }

    #[test]
    fn memory_that_the_kernel_holds_is_refused_and_counted_until_it_lets_go() {
        let mut send_queue = send_queue(64, 8, Fake { hold: 8, ..Fake::default() });
        for port in 1..=4 {
            send(&mut send_queue, port, b"held").unwrap();
        }
        for refused in 1..=5 {
            assert_eq!(send(&mut send_queue, 9, b"no room"), Err(Full));
            assert_eq!(send_queue.counters.tx_full, refused);
        }
        assert_ledger(&send_queue, 4);
        fake(&mut send_queue).hold = 0;
        send(&mut send_queue, 9, b"room").unwrap();
        send_queue.flush();
        assert_eq!(send_queue.counters.tx_sent, 5);
        assert_ledger(&send_queue, 0);
        assert_eq!(send_queue.lend(65).err(), Some(Full), "more than an arena");
    }

    #[test]
    fn what_finds_no_free_message_waits_its_turn() {
        let mut send_queue = send_queue(4096, 2, Fake { hold: 2, ..Fake::default() });
        for port in 1..=20 {
            send(&mut send_queue, port, &port.to_be_bytes()).unwrap();
        }
        send_queue.flush();
        assert_eq!(send_queue.queued(), 18);
        assert_ledger(&send_queue, 2);
        fake(&mut send_queue).hold = 0;
        send_queue.flush();
        assert_eq!((send_queue.queued(), send_queue.counters.tx_sent), (0, 20));
        let ports: Vec<u16> = fake(&mut send_queue).taken.iter().map(|(port, _)| *port).collect();
        assert_eq!(ports, (3..=20).collect::<Vec<_>>(), "those held at first were answered later");
    }

    #[test]
    fn the_queue_of_what_waits_has_an_end() {
        let mut send_queue = send_queue(1 << 20, 1, Fake { hold: 1, ..Fake::default() });
        for n in 0..WAITING_MAX as u64 + 11 {
            send(&mut send_queue, 1, &n.to_be_bytes()).unwrap();
        }
        assert_eq!((send_queue.queued(), send_queue.counters.tx_full), (WAITING_MAX, 10));
        assert_ledger(&send_queue, 1);
        fake(&mut send_queue).hold = 0;
        send_queue.flush();
        assert_ledger(&send_queue, 0);
        assert_eq!(send_queue.counters.tx_sent, WAITING_MAX as u64 + 1);
    }

    #[test]
    fn runs_of_one_region_go_to_several_destinations() {
        let mut send_queue = send_queue(4096, 8, Fake::default());
        let region = send_queue.lend(600).unwrap();
        region.iter_mut().enumerate().for_each(|(at, octet)| *octet = (at / 100) as u8);
        for (port, start, segment, len) in [(1, 0, 100, 250), (2, 300, 100, 200), (3, 500, 50, 50)] {
            let route = Route { remote: ([127, 0, 0, 1], port).into(), local: None };
            send_queue.commit(&route, Run { start, segment, len });
        }
        send_queue.flush();
        let taken: Vec<_> =
            fake(&mut send_queue).taken.iter().map(|(port, bytes)| (*port, bytes[0], bytes.len())).collect();
        assert_eq!(taken, [(1, 0, 100), (1, 1, 100), (1, 2, 50), (2, 3, 100), (2, 4, 100), (3, 5, 50)]);
        assert_eq!((send_queue.counters.tx_gso_runs, send_queue.counters.tx_gso_segments), (2, 5));
        assert_ledger(&send_queue, 0);
    }

    #[test]
    fn a_region_outlives_a_flush_between_its_runs() {
        let mut send_queue = send_queue(4096, 1, Fake::default());
        send_queue
            .lend(4096)
            .unwrap()
            .iter_mut()
            .enumerate()
            .for_each(|(at, octet)| *octet = (at / 64) as u8);
        for run in 0..64 {
            let route = Route { remote: ([127, 0, 0, 1], 1).into(), local: None };
            send_queue.commit(&route, Run { start: run * 64, segment: 64, len: 64 });
        }
        send_queue.flush();
        let taken: Vec<u8> = fake(&mut send_queue).taken.iter().map(|(_, bytes)| bytes[0]).collect();
        assert_eq!(taken, (0..64).collect::<Vec<u8>>());
        assert_ledger(&send_queue, 0);
    }

    /// What arrives, sorted by destination, when 3 packets go to each of 4.
    fn fan_out(send_queue: &mut SendQueue) -> Vec<(u16, Vec<u8>)> {
        for port in 1..=4 {
            let region = send_queue.lend(300).unwrap();
            region.iter_mut().enumerate().for_each(|(at, octet)| *octet = (at / 100) as u8);
            let route = Route { remote: ([127, 0, 0, 1], port).into(), local: None };
            send_queue.commit(&route, Run { start: 0, segment: 100, len: 300 });
        }
        send_queue.flush();
        let mut taken = std::mem::take(&mut fake(send_queue).taken);
        taken.sort_by_key(|(port, _)| *port);
        taken
    }

    #[test]
    fn a_kernel_without_gso_gets_single_sends_in_order() {
        let expected: Vec<_> =
            (1..=4).flat_map(|port| (0..3).map(move |packet| (port, vec![packet; 100]))).collect();
        for errno in [libc::EIO, libc::EOPNOTSUPP, libc::EINVAL] {
            let mut send_queue = send_queue(4096, 3, Fake { gso_result: -errno, ..Fake::default() });
            assert_eq!(fan_out(&mut send_queue), expected, "{errno}");
            assert!(!send_queue.uses_gso(LOCALHOST), "{errno}");
            assert!(send_queue.counters.tx_gso_refused > 0);
            assert_eq!((send_queue.counters.tx_sent, send_queue.counters.tx_gso_runs), (12, 0));
            assert_ledger(&send_queue, 0);
            for _ in 0..200 {
                assert_eq!(fan_out(&mut send_queue), expected, "{errno}");
            }
            let (refused, avoided) = (send_queue.counters.tx_gso_refused, send_queue.counters.tx_gso_avoided);
            assert!(refused <= 4 * 7 && refused + avoided == 201 * 4, "{refused} of {avoided} tried again");
            assert_ledger(&send_queue, 0);
        }
    }

    #[test]
    fn one_bad_path_costs_no_other_its_gso_and_comes_back_when_it_is_well() {
        let [bad, good] = [1, 2].map(|host| IpAddr::from([192, 0, 2, host]));
        let mut send_queue =
            send_queue(4096, 8, Fake { gso_result: -libc::EMSGSIZE, refusing: Some(bad), ..Fake::default() });
        let send = |send_queue: &mut SendQueue, to: IpAddr| {
            let before = send_queue.counters.tx_gso_runs;
            send_queue.lend(300).unwrap();
            send_queue.commit(
                &Route { remote: (to, 9).into(), local: None },
                Run { start: 0, segment: 100, len: 300 },
            );
            send_queue.flush();
            send_queue.counters.tx_gso_runs - before
        };
        for _ in 0..100 {
            assert_eq!((send(&mut send_queue, bad), send(&mut send_queue, good)), (0, 1));
        }
        assert!(send_queue.counters.tx_gso_refused < 10, "{}", send_queue.counters.tx_gso_refused);
        fake(&mut send_queue).gso_result = 0;
        let singly = (0..).take_while(|_| send(&mut send_queue, bad) == 0).count();
        assert!(singly < 200, "{singly} more went singly");
        assert_eq!(send(&mut send_queue, bad), 1);
        assert_eq!(
            (send_queue.counters.tx_sent, send_queue.counters.tx_errors()),
            (send_queue.counters.tx_committed, 0)
        );
        assert_ledger(&send_queue, 0);
    }

    #[test]
    fn errors_that_gso_is_not_to_blame_for_leave_it_on() {
        for errno in
            [libc::EINVAL, libc::EAGAIN, libc::ENETUNREACH, libc::EPERM, libc::EMSGSIZE, libc::ENOBUFS]
        {
            let fake = Fake { gso_result: -errno, single_result: -errno, ..Fake::default() };
            let mut send_queue = send_queue(4096, 8, fake);
            for _ in 0..20 {
                assert!(fan_out(&mut send_queue).is_empty());
            }
            assert!(send_queue.uses_gso(LOCALHOST), "{errno}");
            assert_eq!(send_queue.counters.tx_errors(), 240, "{errno}");
            assert_ledger(&send_queue, 0);
        }
    }
}
