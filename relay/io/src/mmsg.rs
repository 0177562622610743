//! The fallback back end: `recvmmsg` and `sendmmsg`, and `ppoll` to wait. For containers whose seccomp
//! profile forbids io_uring, and as a check on the other one. `ppoll` serves as well as epoll with two
//! descriptors, needs no set-up and takes nanoseconds.

use std::io;
use std::mem::zeroed;
use std::os::fd::RawFd;
use std::ptr;
use std::time::Duration;

use crate::addr::{NAME_BYTES, RECEIVE_CONTROL_BYTES};
use crate::io::Datagram;
use crate::message::Messages;
use crate::outbox::Done;
use crate::region::Region;
use crate::waker::Sleeper;
use crate::{DATAGRAM_BYTES_MAX, IoCounters};

/// Whole cache lines.
const BUFFER_STRIDE: usize = DATAGRAM_BYTES_MAX.next_multiple_of(64);

/// Where one received datagram's address and control messages go.
#[repr(C, align(8))]
struct Envelope {
    name: [u8; NAME_BYTES],
    control: [u8; RECEIVE_CONTROL_BYTES],
    piece: libc::iovec,
}

/// Receives in batches. The kernel touches this memory only during `recvmmsg`.
pub(crate) struct MmsgReceiver {
    socket: RawFd,
    buffers: Region,
    envelopes: Box<[Envelope]>,
    headers: Box<[libc::mmsghdr]>,
    /// The batch: those before `next` have been taken.
    count: usize,
    next: usize,
}

impl MmsgReceiver {
    pub(crate) fn new(socket: RawFd, batch: usize) -> io::Result<Self> {
        assert!(batch > 0);
        // SAFETY: made of integers, arrays of them and raw pointers, for which zero is valid.
        let envelope = || unsafe { zeroed::<Envelope>() };
        // SAFETY: as above.
        let header = || unsafe { zeroed::<libc::mmsghdr>() };
        Ok(Self {
            socket,
            buffers: Region::new(batch * BUFFER_STRIDE)?,
            envelopes: (0..batch).map(|_| envelope()).collect(),
            headers: (0..batch).map(|_| header()).collect(),
            count: 0,
            next: 0,
        })
    }

    /// Datagrams of the batch not yet taken.
    pub(crate) fn pending(&self) -> usize {
        self.count - self.next
    }

    /// Waits for a datagram, a wake-up or the end of `timeout`, and receives a batch.
    pub(crate) fn wait(
        &mut self,
        timeout: Option<Duration>,
        sleeper: &Sleeper,
        counters: &mut IoCounters,
    ) -> io::Result<()> {
        self.receive(counters);
        if self.pending() > 0 || timeout == Some(Duration::ZERO) {
            return Ok(());
        }
        let entry = |fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        let mut entries = [entry(self.socket), entry(sleeper.fd())];
        let timespec = timeout.map(|timeout| libc::timespec {
            tv_sec: timeout.as_secs().try_into().unwrap_or(libc::time_t::MAX),
            tv_nsec: timeout.subsec_nanos().into(),
        });
        let timespec = timespec.as_ref().map_or(ptr::null(), ptr::from_ref);
        counters.syscalls += 1;
        // SAFETY: `entries` is two pollfd, `timespec` null or a live timespec; a null mask leaves signals
        // alone.
        if unsafe { libc::ppoll(entries.as_mut_ptr(), 2, timespec, ptr::null()) } < 0 {
            let error = io::Error::last_os_error();
            return if error.raw_os_error() == Some(libc::EINTR) { Ok(()) } else { Err(error) };
        }
        if entries[1].revents != 0 {
            sleeper.drain();
        }
        if entries[0].revents != 0 {
            self.receive(counters);
        }
        Ok(())
    }

    fn receive(&mut self, counters: &mut IoCounters) {
        debug_assert_eq!(self.pending(), 0);
        (self.count, self.next) = (0, 0);
        for (index, (header, envelope)) in self.headers.iter_mut().zip(&mut self.envelopes).enumerate() {
            let buffer = self.buffers.at(index * BUFFER_STRIDE, BUFFER_STRIDE);
            envelope.piece = libc::iovec { iov_base: buffer.cast(), iov_len: DATAGRAM_BYTES_MAX };
            header.msg_hdr.msg_name = (&raw mut envelope.name).cast();
            header.msg_hdr.msg_namelen = NAME_BYTES as libc::socklen_t;
            header.msg_hdr.msg_iov = &raw mut envelope.piece;
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_control = (&raw mut envelope.control).cast();
            header.msg_hdr.msg_controllen = RECEIVE_CONTROL_BYTES as _;
        }
        counters.syscalls += 1;
        let (headers, count) = (self.headers.as_mut_ptr(), self.headers.len() as u32);
        let flags = libc::MSG_DONTWAIT;
        // SAFETY: `count` headers, each pointing to an address, a piece, its buffer and control space of the
        // stated sizes, all owned by `self` and exclusively ours during the call; a null timeout is allowed.
        let received = unsafe { libc::recvmmsg(self.socket, headers, count, flags as _, ptr::null_mut()) };
        match usize::try_from(received) {
            Ok(received) => self.count = received,
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
        let (header, envelope) = (&self.headers[index], &self.envelopes[index]);
        let len = (header.msg_len as usize).min(DATAGRAM_BYTES_MAX);
        let buffer = self.buffers.at(index * BUFFER_STRIDE, BUFFER_STRIDE);
        Some(Datagram {
            name: &envelope.name[..(header.msg_hdr.msg_namelen as usize).min(NAME_BYTES)],
            control: &envelope.control[..header.msg_hdr.msg_controllen.min(RECEIVE_CONTROL_BYTES)],
            truncated: header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0,
            // SAFETY: `len` octets of the region, initialised, which no other reference covers while `self`
            // is borrowed; the kernel touches them only during `receive`.
            bytes: unsafe { std::slice::from_raw_parts_mut(buffer, len) },
        })
    }
}

/// Sends messages; all have completed when `submit` returns.
pub(crate) struct MmsgSender {
    socket: RawFd,
    headers: Vec<libc::mmsghdr>,
}

impl MmsgSender {
    pub(crate) fn new(socket: RawFd, messages: u16) -> Self {
        Self { socket, headers: Vec::with_capacity(usize::from(messages)) }
    }

    /// See [`crate::outbox::Sender`].
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
            let rest = &mut self.headers[sent..];
            let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
            // SAFETY: `rest` holds that many headers, whose names, pieces and control messages belong to
            // messages and memory under way: they stay put and unwritten during the call, which copies what it
            // sends.
            let taken =
                unsafe { libc::sendmmsg(self.socket, rest.as_mut_ptr(), rest.len() as u32, flags as _) };
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
