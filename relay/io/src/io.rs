//! The sockets of a shard on one back end: waiting, receiving, sending, waking.

use std::io;
use std::marker::PhantomData;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use crate::addr::{Route, read_local, read_name};
use crate::arena::Arenas;
use crate::datagram::Datagram;
use crate::mmsg::{MmsgReceiver, MmsgSender};
use crate::send_queue::{SendQueue, Sender};
use crate::socket::{self, Sockets};
use crate::uring::{Ring, RingSizes};
use crate::waker::Sleeper;
use crate::{Backend, IoCounters, Waker};

/// Sizes and choices of an [`Io`].
#[derive(Clone, Copy, Debug)]
pub struct IoOptions {
    /// Octets of datagrams that one flush can hold, and the most that can be lent at once. Half of a 1 MiB
    /// second-level cache, the rest of which is for keys and plaintext.
    pub arena_bytes: usize,
    /// Sends in one submission. 64 is within noise of more, and 4 times cheaper than one.
    pub messages: u16,
    /// Datagrams handed over between two waits: what bounds how long commands and timeouts wait under a
    /// flood.
    pub batch: usize,
    /// Receive buffers (io_uring); a power of two, at most 32,768.
    pub recv_buffers: u16,
    /// Completion queue entries (io_uring).
    pub cq_entries: u32,
    /// Send runs of equal size as one GSO send.
    pub gso: bool,
}

impl Default for IoOptions {
    fn default() -> Self {
        Self {
            arena_bytes: 512 << 10,
            messages: 64,
            batch: 128,
            recv_buffers: 2048,
            cq_entries: 4096,
            gso: true,
        }
    }
}

impl IoOptions {
    fn check(&self) -> io::Result<()> {
        let rules = [
            ((1..=1 << 26).contains(&self.arena_bytes), "arena_bytes: 1 to 67,108,864"),
            ((1..=1024).contains(&self.messages), "messages: 1 to 1,024"),
            ((1..=1024).contains(&self.batch), "batch: 1 to 1,024"),
            (
                self.recv_buffers.is_power_of_two() && self.recv_buffers <= 1 << 15,
                "recv_buffers: a power of two, at most 32,768",
            ),
            ((1..=1 << 16).contains(&self.cq_entries), "cq_entries: 1 to 65,536"),
        ];
        match rules.iter().find(|(ok, _)| !ok) {
            Some((_, text)) => Err(io::Error::new(io::ErrorKind::InvalidInput, *text)),
            None => Ok(()),
        }
    }
}

/// What is known of a received datagram besides its octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// Where it came from and which of our addresses it was sent to: the way back.
    pub route: Route,
    /// It was longer than [`DATAGRAM_BYTES_MAX`](crate::DATAGRAM_BYTES_MAX); the rest is lost.
    pub truncated: bool,
}

/// Why a wait ended; with neither, time passed or a signal came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wake {
    /// Datagrams ready for [`Io::receive`].
    pub datagrams: usize,
    /// A [`Waker`] ended the wait.
    pub woken: bool,
}

enum Receiver {
    /// The ring is shared with the sends: the send queue owns it.
    Uring,
    Mmsg(MmsgReceiver),
}

/// UDP sockets of one port with their receive buffers and their send queue, on one back end.
///
/// It belongs to the thread that made it. Fields are dropped in order: the send queue first, whose ring lets
/// go of the sockets and of all buffers; the sockets last.
pub struct Io {
    send_queue: SendQueue,
    receiver: Receiver,
    sleeper: Sleeper,
    batch: usize,
    hold: Duration,
    backend: Backend,
    sockets: Sockets,
    _thread: PhantomData<*const ()>,
}

impl Io {
    /// Takes over `sockets`: the first as [`socket::bind`] or [`socket::from_fd`] made it, others as
    /// [`socket::bind_beside`] did.
    ///
    /// # Errors
    /// `InvalidInput` for options out of range, no socket or more than 32; what the kernel says when it has
    /// no room for the ring or memory.
    pub fn new(backend: Backend, sockets: Vec<UdpSocket>, options: &IoOptions) -> io::Result<Self> {
        options.check()?;
        let sockets = Sockets::new(sockets)?;
        let sleeper = Sleeper::new()?;
        let arenas = Arenas::new(options.arena_bytes)?;
        let fds = sockets.fds();
        let (sender, receiver) = match backend {
            Backend::Uring => {
                let sizes = RingSizes {
                    messages: options.messages,
                    cq_entries: options.cq_entries,
                    buffers: options.recv_buffers,
                };
                let ring = Ring::new(&fds, sleeper.fd(), arenas.memory(), sizes).map_err(io::Error::from)?;
                (Sender::Uring(ring), Receiver::Uring)
            }
            Backend::Mmsg => {
                let sender = MmsgSender::new(fds.clone(), options.messages);
                (Sender::Mmsg(sender), Receiver::Mmsg(MmsgReceiver::new(&fds, sleeper.fd(), options.batch)?))
            }
        };
        let gso = options.gso && socket::has_gso(sockets.first());
        Ok(Self {
            send_queue: SendQueue::new(sender, arenas, options.messages, sockets.sources(), gso).on(fds),
            receiver,
            sleeper,
            batch: options.batch,
            hold: Duration::ZERO,
            backend,
            sockets,
            _thread: PhantomData,
        })
    }

    /// Waits until a datagram is ready, a [`Waker`] calls or `timeout` passes (`None`: no limit). Flushes
    /// first, should anything be queued.
    ///
    /// # Errors
    /// Only what makes waiting impossible; errors of single datagrams are counted.
    pub fn wait(&mut self, timeout: Option<Duration>) -> io::Result<Wake> {
        self.send_queue.flush();
        let may_block = self.pending() == 0 && self.sleeper.may_sleep();
        let timeout = if may_block { timeout } else { Some(Duration::ZERO) };
        let counters = &mut self.send_queue.counters;
        let result = match (&mut self.receiver, &mut self.send_queue.sender) {
            (Receiver::Mmsg(mmsg), _) if mmsg.pending() == 0 => {
                mmsg.wait(timeout, self.hold, &self.sleeper, counters)
            }
            (Receiver::Uring, Sender::Uring(ring)) if ring.pending() == 0 => {
                ring.wait(timeout, self.hold, counters)
            }
            // Datagrams are left of the last batch.
            _ => Ok(()),
        };
        let woken = self.sleeper.woke();
        result.map(|()| Wake { datagrams: self.pending(), woken })
    }

    /// Hands over what is ready, at most a batch; returns how many datagrams that were. Never blocks.
    pub fn receive(&mut self, mut on_datagram: impl FnMut(&Received, &mut [u8], &mut SendQueue)) -> usize {
        for handed in 0..self.batch {
            match &mut self.receiver {
                Receiver::Uring => {
                    if !receive_from_ring(&mut self.send_queue, &mut on_datagram) {
                        return handed;
                    }
                }
                Receiver::Mmsg(mmsg) => {
                    let Some(datagram) = mmsg.take() else { return handed };
                    deliver(&mut self.send_queue, datagram, &mut on_datagram);
                }
            }
        }
        self.batch
    }

    fn pending(&self) -> usize {
        match (&self.receiver, &self.send_queue.sender) {
            (Receiver::Mmsg(mmsg), _) => mmsg.pending(),
            (Receiver::Uring, Sender::Uring(ring)) => ring.pending(),
            (Receiver::Uring, _) => 0,
        }
    }

    /// The queue that datagrams to send are written to.
    pub fn send_queue(&mut self) -> &mut SendQueue {
        &mut self.send_queue
    }

    /// Sends all that the send queue holds.
    pub fn flush(&mut self) {
        self.send_queue.flush();
    }

    /// Lets another thread end a wait.
    #[must_use]
    pub fn waker(&self) -> Waker {
        self.sleeper.waker()
    }

    /// For how long a wait gathers datagrams before it ends with what there is: larger batches for so much
    /// delay. Zero, the default, adds none. io_uring ends it early at 32 datagrams, and needs Linux 6.12 for
    /// it.
    pub fn set_hold(&mut self, hold: Duration) {
        self.hold = hold;
    }

    /// The counters, which account for every datagram.
    #[must_use]
    pub fn counters(&self) -> IoCounters {
        let mut counters = self.send_queue.counters;
        counters.rx_kernel_drops = self.sockets.drops();
        counters
    }

    /// The back end in use.
    #[must_use]
    pub fn backend(&self) -> Backend {
        self.backend
    }

    /// The address the first socket is bound to.
    ///
    /// # Errors
    /// What `getsockname` says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.sockets.first().local_addr()
    }
}

/// Hands over one datagram of the ring; whether there was one.
fn receive_from_ring(
    send_queue: &mut SendQueue,
    on_datagram: &mut impl FnMut(&Received, &mut [u8], &mut SendQueue),
) -> bool {
    let Sender::Uring(ring) = &mut send_queue.sender else { return false };
    let Some(filled) = ring.take() else { return false };
    // SAFETY: the buffer has just been taken; it is given back below, after the last use of what it holds,
    // and by nobody else: the ring's other methods touch only buffers that the kernel has or that wait in its
    // queue.
    let datagram = unsafe { ring.read(filled) };
    match datagram {
        Some(datagram) => deliver(send_queue, datagram, on_datagram),
        None => send_queue.counters.rx_unaddressed += 1,
    }
    if let Sender::Uring(ring) = &mut send_queue.sender {
        ring.give_back(filled.buffer);
    }
    true
}

fn deliver(
    send_queue: &mut SendQueue,
    datagram: Datagram<'_>,
    on_datagram: &mut impl FnMut(&Received, &mut [u8], &mut SendQueue),
) {
    let Datagram { socket, name, control, truncated, bytes } = datagram;
    let Some(remote) = read_name(name) else {
        send_queue.counters.rx_unaddressed += 1;
        return;
    };
    send_queue.counters.rx_datagrams += 1;
    send_queue.counters.rx_bytes += bytes.len() as u64;
    send_queue.counters.rx_truncated += u64::from(truncated);
    let local = send_queue.source(socket).or_else(|| read_local(control));
    let received = Received { route: Route { remote, local }, truncated };
    on_datagram(&received, bytes, send_queue);
}
