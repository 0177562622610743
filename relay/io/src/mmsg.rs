//! The fallback back end: `recvmmsg` and `sendmmsg`, and `ppoll` to wait. For containers whose seccomp
//! profile forbids io_uring, and as a check on the other one. `ppoll` serves as well as epoll with a few
//! descriptors, needs no set-up and takes nanoseconds.

use std::io;
use std::mem::zeroed;
use std::os::fd::RawFd;
use std::ptr;
use std::time::Duration;

use crate::addr::{NAME_BYTES, RECEIVE_CONTROL_BYTES};
use crate::datagram::{Datagram, Done};
use crate::message::Messages;
use crate::region::Region;
use crate::socket::SocketIndex;
use crate::waker::Sleeper;
use crate::{DATAGRAM_BYTES_MAX, IoCounters};

/// Whole cache lines.
const BUFFER_STRIDE: usize = DATAGRAM_BYTES_MAX.next_multiple_of(64);

/// Where one received datagram's address and control messages go.
#[repr(C, align(8))]
struct ReceiveSlot {
    name: [u8; NAME_BYTES],
    control: [u8; RECEIVE_CONTROL_BYTES],
    piece: libc::iovec,
}

/// Receives in batches. The kernel touches this memory only during `recvmmsg`.
pub(crate) struct MmsgReceiver {
    /// For ppoll: the sockets, and last the waker's eventfd.
    entries: Box<[libc::pollfd]>,
    /// The socket whose turn it is to be read first.
    turn: usize,
    buffers: Region,
    slots: Box<[ReceiveSlot]>,
    headers: Box<[libc::mmsghdr]>,
    /// Where each datagram of the batch came in.
    from: Box<[SocketIndex]>,
    /// The batch: those before `next` have been taken.
    count: usize,
    next: usize,
}

impl MmsgReceiver {
    pub(crate) fn new(sockets: &[RawFd], event: RawFd, batch: usize) -> io::Result<Self> {
        assert!(batch > 0);
        // SAFETY: made of integers, arrays of them and raw pointers, for which zero is valid.
        let slot = || unsafe { zeroed::<ReceiveSlot>() };
        // SAFETY: as above.
        let header = || unsafe { zeroed::<libc::mmsghdr>() };
        Ok(Self {
            entries: sockets.iter().copied().chain([event]).map(poll_entry).collect(),
            turn: 0,
            buffers: Region::new(batch * BUFFER_STRIDE)?,
            slots: (0..batch).map(|_| slot()).collect(),
            headers: (0..batch).map(|_| header()).collect(),
            from: vec![SocketIndex::FIRST; batch].into(),
            count: 0,
            next: 0,
        })
    }

    /// Datagrams of the batch not yet taken.
    pub(crate) fn pending(&self) -> usize {
        self.count - self.next
    }

    /// Waits for a datagram, a wake-up or the end of `timeout`, and receives a batch. When something has
    /// come, more is gathered for `hold`.
    pub(crate) fn wait(
        &mut self,
        timeout: Option<Duration>,
        hold: Duration,
        sleeper: &Sleeper,
        counters: &mut IoCounters,
    ) -> io::Result<()> {
        debug_assert_eq!(self.pending(), 0);
        // After a full batch more waits already.
        let hold = if self.count == self.headers.len() { Duration::ZERO } else { hold };
        (self.count, self.next) = (0, 0);
        poll(&mut self.entries, timeout, counters)?;
        let [sockets @ .., event] = &mut *self.entries else { return Ok(()) };
        if event.revents != 0 {
            sleeper.drain();
        } else if timeout != Some(Duration::ZERO)
            && !hold.is_zero()
            && sockets.iter().any(|it| it.revents != 0)
        {
            // Only a waker ends this.
            poll(std::slice::from_mut(event), Some(hold), counters)?;
            if event.revents != 0 {
                sleeper.drain();
            }
        }
        self.receive(counters);
        Ok(())
    }

    /// Reads the sockets that have something, each first in its turn: a flood at one does not starve the
    /// others.
    fn receive(&mut self, counters: &mut IoCounters) {
        let sockets = self.entries.len() - 1;
        self.turn = (self.turn + 1) % sockets;
        for at in 0..sockets {
            let index = (self.turn + at) % sockets;
            let entry = self.entries[index];
            if entry.revents != 0 && self.count < self.headers.len() {
                // There are at most `Sockets::COUNT_MAX`.
                self.receive_from(entry.fd, SocketIndex(index as u8), counters);
            }
        }
    }

    /// Reads into the headers that are left.
    fn receive_from(&mut self, fd: RawFd, socket: SocketIndex, counters: &mut IoCounters) {
        let filled = self.count;
        let free = self.headers.iter_mut().zip(&mut self.slots).enumerate().skip(filled);
        for (index, (header, slot)) in free {
            let buffer = self.buffers.at(index * BUFFER_STRIDE, BUFFER_STRIDE);
            slot.piece = libc::iovec { iov_base: buffer.cast(), iov_len: DATAGRAM_BYTES_MAX };
            header.msg_hdr.msg_name = (&raw mut slot.name).cast();
            header.msg_hdr.msg_namelen = NAME_BYTES as libc::socklen_t;
            header.msg_hdr.msg_iov = &raw mut slot.piece;
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_control = (&raw mut slot.control).cast();
            header.msg_hdr.msg_controllen = RECEIVE_CONTROL_BYTES as _;
        }
        counters.syscalls += 1;
        let headers = &mut self.headers[filled..];
        let (headers, count) = (headers.as_mut_ptr(), headers.len() as u32);
        let flags = libc::MSG_DONTWAIT;
        // SAFETY: `count` headers, each pointing to an address, a piece, its buffer and control space of the
        // stated sizes, all owned by `self` and exclusively ours during the call; a null timeout is allowed.
        let received = unsafe { libc::recvmmsg(fd, headers, count, flags as _, ptr::null_mut()) };
        match usize::try_from(received) {
            Ok(received) => {
                self.count += received;
                self.from[filled..self.count].fill(socket);
            }
            Err(_) => {
                let errno = io::Error::last_os_error().raw_os_error();
                counters.rx_errors += u64::from(!matches!(errno, Some(libc::EAGAIN | libc::EINTR)));
            }
        }
    }

    /// Takes the next datagram of the batch.
    pub(crate) fn take(&mut self) -> Option<Datagram<'_>> {
        if self.next == self.count {
            return None;
        }
        let index = self.next;
        self.next += 1;
        let (header, slot) = (&self.headers[index], &self.slots[index]);
        let len = (header.msg_len as usize).min(DATAGRAM_BYTES_MAX);
        let buffer = self.buffers.at(index * BUFFER_STRIDE, BUFFER_STRIDE);
        Some(Datagram {
            socket: self.from[index],
            name: &slot.name[..(header.msg_hdr.msg_namelen as usize).min(NAME_BYTES)],
            control: &slot.control[..header.msg_hdr.msg_controllen.min(RECEIVE_CONTROL_BYTES)],
            truncated: header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0,
            // SAFETY: `len` octets of the region, initialised, which no other reference covers while `self`
            // is borrowed; the kernel touches them only during `receive`.
            bytes: unsafe { std::slice::from_raw_parts_mut(buffer, len) },
        })
    }
}

fn poll_entry(fd: RawFd) -> libc::pollfd {
    libc::pollfd { fd, events: libc::POLLIN, revents: 0 }
}

/// Waits until one of `entries` has something to read, `timeout` passes or a signal comes.
fn poll(
    entries: &mut [libc::pollfd],
    timeout: Option<Duration>,
    counters: &mut IoCounters,
) -> io::Result<()> {
    let timespec = timeout.map(|timeout| libc::timespec {
        tv_sec: timeout.as_secs().try_into().unwrap_or(libc::time_t::MAX),
        tv_nsec: timeout.subsec_nanos().into(),
    });
    let timespec = timespec.as_ref().map_or(ptr::null(), ptr::from_ref);
    counters.syscalls += 1;
    // SAFETY: that many pollfd, ours during the call; `timespec` is null or a live timespec; a null mask
    // leaves signals alone.
    if unsafe { libc::ppoll(entries.as_mut_ptr(), entries.len() as _, timespec, ptr::null()) } >= 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    if error.raw_os_error() != Some(libc::EINTR) {
        return Err(error);
    }
    entries.iter_mut().for_each(|entry| entry.revents = 0);
    Ok(())
}

/// Sends messages; all have completed when `submit` returns.
pub(crate) struct MmsgSender {
    sockets: Vec<RawFd>,
    headers: Vec<libc::mmsghdr>,
}

impl MmsgSender {
    pub(crate) fn new(sockets: Vec<RawFd>, messages: u16) -> Self {
        Self { sockets, headers: Vec::with_capacity(usize::from(messages)) }
    }

    /// See [`crate::send_queue::Sender`].
    pub(crate) fn submit(
        &mut self,
        messages: &Messages,
        staged: &[u16],
        done: &mut Vec<Done>,
        counters: &mut IoCounters,
    ) {
        self.headers.clear();
        self.headers.extend(staged.iter().map(|&message| {
            // SAFETY: `header` returns a pointer to a filled message, which is not written until finished
            // (after this call).
            let msg_hdr = unsafe { *messages.header(message) };
            libc::mmsghdr { msg_hdr, msg_len: 0 }
        }));
        let mut sent = 0;
        while sent < staged.len() {
            counters.syscalls += 1;
            let socket = socket_of(messages, staged[sent]);
            let more = staged[sent..].iter().take_while(|message| socket_of(messages, **message) == socket);
            let until = sent + more.count();
            let fd = self.sockets[usize::from(socket.0)];
            let rest = &mut self.headers[sent..until];
            let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
            // SAFETY: `rest` holds that many headers, whose names, pieces and control messages belong to
            // messages and memory under way: they stay put and unwritten during the call, which copies what
            // it sends.
            let taken = unsafe { libc::sendmmsg(fd, rest.as_mut_ptr(), rest.len() as u32, flags as _) };
            if taken > 0 {
                let taken = taken as usize;
                let results = rest.iter().take(taken).map(|header| header.msg_len as i32);
                done.extend(
                    staged[sent..].iter().zip(results).map(|(&message, result)| Done { message, result }),
                );
                sent += taken;
                continue;
            }
            // The error is that of the first message; the rest have not been tried.
            let errno = io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO);
            if errno != libc::EINTR {
                done.push(Done { message: staged[sent], result: -errno });
                sent += 1;
            }
        }
    }
}

fn socket_of(messages: &Messages, message: u16) -> SocketIndex {
    messages.send(message).map_or(SocketIndex::FIRST, |send| send.socket)
}
