//! The io_uring back end: one ring, a multishot receive for each socket over one ring of provided buffers,
//! one read of the waker's eventfd, and the sends of a send queue.
//!
//! Completions are told apart by their user data alone. None is ever missed: the kernel keeps those that do
//! not fit the completion queue (`IORING_FEAT_NODROP`) until an enter with `GETEVENTS` fetches them, which
//! every look at the queue does when the overflow flag is up. A multishot receive ends on its own at times
//! (no buffer free, completion queue full, an empty datagram); it is armed again by the next submission or
//! wait.
//!
//! A ring belongs to the thread that made it (`SINGLE_ISSUER`): `Ring` is not `Send`.

use std::cell::UnsafeCell;
use std::collections::VecDeque;
use std::io;
use std::mem::{ManuallyDrop, zeroed};
use std::os::fd::RawFd;
use std::ptr::NonNull;
use std::rc::Rc;
use std::time::{Duration, Instant};

use io_uring::types::{CancelBuilder, Fixed, SubmitArgs, Timespec};
use io_uring::{EnterFlags, IoUring, Submitter, cqueue, opcode, squeue};

use crate::IoCounters;
use crate::buffers::{BufferRing, CONTROL_BYTES, NAME_BYTES};
use crate::datagram::{Datagram, Done};
use crate::message::Messages;
use crate::region::Region;
use crate::socket::{SocketIndex, Sockets};

/// The eventfd in the table of registered files; the sockets follow.
const EVENT: Fixed = Fixed(0);
const BUFFER_GROUP: u16 = 0;

/// User data: the operation in the upper half, its message or socket in the lower.
const OP_RECEIVE: u64 = 1 << 32;
const OP_WAKE: u64 = 2 << 32;
const OP_SEND: u64 = 3 << 32;

/// Completions to gather while a hold ([`crate::Io::set_hold`]) is on.
const HOLD_BATCH: usize = 32;
/// How often a submission that the kernel puts off is tried again before it is left to the next one.
const SUBMIT_TRIES: u32 = 4;
/// How long a drop waits for the kernel to let go before it leaks what the kernel holds.
const QUIESCE_MAX: Duration = Duration::from_secs(1);

/// Sizes of a ring.
#[derive(Clone, Copy)]
pub(crate) struct RingSizes {
    /// Sends that may be under way.
    pub(crate) messages: u16,
    pub(crate) cq_entries: u32,
    /// Receive buffers: a power of two.
    pub(crate) buffers: u16,
}

/// Why no ring could be made.
#[derive(Debug)]
pub(crate) struct SetupError {
    /// The step that failed.
    pub(crate) step: &'static str,
    pub(crate) error: io::Error,
}

impl SetupError {
    fn at(step: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |error| Self { step, error }
    }
}

/// Small things that operations under way refer to.
struct Operands {
    /// Template of the multishot receive: only its lengths count.
    receive: libc::msghdr,
    /// Where the read of the eventfd goes.
    wake_count: u64,
}

/// All memory that operations of this ring refer to.
struct Memory {
    buffers: BufferRing,
    /// Kept, not used: sends refer to it.
    _sending: Rc<Region>,
    operands: Box<UnsafeCell<Operands>>,
}

/// A filled buffer, taken from the ring.
#[derive(Clone, Copy)]
pub(crate) struct Filled {
    pub(crate) buffer: u16,
    /// Octets as the kernel reported them.
    len: u32,
    pub(crate) socket: SocketIndex,
}

/// A set of sockets.
#[derive(Clone, Copy, PartialEq, Eq)]
struct SocketSet(u32);

const _: () = assert!(Sockets::COUNT_MAX <= 32);

impl SocketSet {
    const EMPTY: Self = Self(0);

    fn first(count: usize) -> Self {
        (0..count).fold(Self::EMPTY, |set, index| Self(set.0 | 1 << index))
    }

    fn insert(&mut self, socket: SocketIndex) {
        self.0 |= 1 << socket.0;
    }

    fn remove(&mut self, socket: SocketIndex) {
        self.0 &= !(1 << socket.0);
    }

    fn contains(self, socket: SocketIndex) -> bool {
        self.0 & 1 << socket.0 != 0
    }

    fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    fn iter(self) -> impl Iterator<Item = SocketIndex> {
        (0..32).map(SocketIndex).filter(move |socket| self.contains(*socket))
    }
}

/// One io_uring with what it needs to serve its sockets.
pub(crate) struct Ring {
    /// Borrows `*ring`; emptied before it.
    submitter: ManuallyDrop<Submitter<'static>>,
    /// From a `Box`; freed in `drop`.
    ring: NonNull<IoUring>,
    /// Freed in `drop`, once the kernel has let go of it.
    memory: ManuallyDrop<Memory>,
    /// Filled buffers, oldest first.
    received: VecDeque<Filled>,
    /// Completed sends that no `submit` has reported yet.
    done: Vec<Done>,
    sockets: SocketSet,
    receive_armed: SocketSet,
    wake_armed: bool,
    /// Sends under way.
    sending: u32,
    /// Arms after the first are counted.
    armed_before: SocketSet,
    has_min_wait: bool,
}

impl Ring {
    /// Makes a ring for `sockets`, woken by reads of `event`. `sending` is the memory that messages will
    /// refer to.
    pub(crate) fn new(
        sockets: &[RawFd],
        event: RawFd,
        sending: Rc<Region>,
        sizes: RingSizes,
    ) -> Result<Self, SetupError> {
        // Every message, the receives and the wake may wait for submission at once.
        let sq_entries = (u32::from(sizes.messages) + sockets.len() as u32 + 1).next_power_of_two();
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_submit_all()
            .setup_cqsize(sizes.cq_entries.max(sq_entries))
            .build(sq_entries)
            .map_err(SetupError::at("io_uring_setup"))?;
        let params = ring.params();
        if !(params.is_feature_nodrop() && params.is_feature_ext_arg() && params.is_feature_submit_stable()) {
            return Err(SetupError { step: "io_uring features", error: io::ErrorKind::Unsupported.into() });
        }
        let has_min_wait = params.is_feature_min_timeout();
        let buffers = BufferRing::new(sizes.buffers).map_err(SetupError::at("memory for receive buffers"))?;
        let operands = Box::new(UnsafeCell::new(Operands::new()));
        let memory = Memory { buffers, _sending: sending, operands };
        let ring = NonNull::from(Box::leak(Box::new(ring)));
        // SAFETY: `ring` points to a live box that `Ring` owns and frees only after its submitter is gone
        // (see `drop`); only shared references are ever made of it.
        let submitter = unsafe { ring.as_ref() }.submitter();
        let mut this = Self {
            submitter: ManuallyDrop::new(submitter),
            ring,
            memory: ManuallyDrop::new(memory),
            received: VecDeque::with_capacity(usize::from(sizes.buffers)),
            done: Vec::with_capacity(usize::from(sizes.messages)),
            sockets: SocketSet::first(sockets.len()),
            receive_armed: SocketSet::EMPTY,
            wake_armed: false,
            sending: 0,
            armed_before: SocketSet::EMPTY,
            has_min_wait,
        };
        this.register(sockets, event)?;
        Ok(this)
    }

    fn register(&mut self, sockets: &[RawFd], event: RawFd) -> Result<(), SetupError> {
        // Only saves a look-up per enter; all 16 places of a thread may be taken.
        let _ = self.submitter.register_ring_fd();
        let files: Vec<RawFd> = std::iter::once(event).chain(sockets.iter().copied()).collect();
        self.submitter.register_files(&files).map_err(SetupError::at("registering the sockets"))?;
        let (entries, count) = self.memory.buffers.entries();
        // SAFETY: the address is that of a page with room for `count` entries of 16 octets and more; it is
        // freed only after the kernel let go of the ring (see `drop`).
        unsafe { self.submitter.register_buf_ring_with_flags(entries as u64, count, BUFFER_GROUP, 0) }
            .map_err(SetupError::at("registering the buffer ring"))?;
        self.memory.buffers.offer_all();
        Ok(())
    }

    /// Datagrams waiting in `received`.
    pub(crate) fn pending(&self) -> usize {
        self.received.len()
    }

    /// Whether the multishot receive of every socket is armed.
    pub(crate) fn is_receiving(&self) -> bool {
        self.receive_armed == self.sockets
    }

    /// Waits until something completes or `timeout` passes, and takes note of it. `hold` gathers completions
    /// for so long.
    pub(crate) fn wait(
        &mut self,
        timeout: Option<Duration>,
        hold: Duration,
        counters: &mut IoCounters,
    ) -> io::Result<()> {
        self.arm(counters);
        let blocks = timeout != Some(Duration::ZERO);
        let timespec = timeout.map(Timespec::from);
        let mut args = SubmitArgs::new();
        if let Some(timespec) = &timespec {
            args = args.timespec(timespec);
        }
        let mut want = usize::from(blocks);
        if blocks && self.has_min_wait && !hold.is_zero() {
            args = args.min_wait_usec(u32::try_from(hold.as_micros()).unwrap_or(u32::MAX));
            want = HOLD_BATCH;
        }
        let result = self.enter(want, EnterFlags::GETEVENTS | EnterFlags::EXT_ARG, Some(&args), counters);
        self.reap(counters);
        let errno = result.as_ref().err().and_then(io::Error::raw_os_error);
        // Nothing came, or a signal did; or the kernel wants completions taken first, which has happened.
        if matches!(errno, Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN)) {
            Ok(())
        } else {
            result
        }
    }

    /// Takes the oldest received datagram. Its buffer is the caller's until [`give_back`](Self::give_back).
    pub(crate) fn take(&mut self) -> Option<Filled> {
        self.received.pop_front()
    }

    /// What the kernel wrote into a buffer that was taken and not given back; `None` if it makes no sense.
    ///
    /// # Safety
    /// The buffer is taken and stays so while the result lives, and no other result for it lives.
    pub(crate) unsafe fn read<'a>(&self, filled: Filled) -> Option<Datagram<'a>> {
        // SAFETY: a taken buffer is not offered; the rest is the caller's promise.
        unsafe { self.memory.buffers.read(filled.buffer, filled.len, filled.socket) }
    }

    /// Offers a taken buffer to the kernel again.
    pub(crate) fn give_back(&mut self, buffer: u16) {
        self.memory.buffers.offer(buffer);
    }

    /// Submits `staged` messages; appends to `done` what completed. See [`crate::send_queue::Sender`].
    pub(crate) fn submit(
        &mut self,
        messages: &Messages,
        staged: &[u16],
        done: &mut Vec<Done>,
        counters: &mut IoCounters,
    ) {
        for &message in staged {
            let entry = send_entry(messages, message).user_data(OP_SEND | u64::from(message));
            // SAFETY: the header and what it points to stay put and unwritten until the message is finished,
            // which its completion brings about (`Messages`, `Arenas`); both outlive the ring's operations
            // (see `drop`, `SendQueue`).
            unsafe { self.push(&entry) };
            self.sending += 1;
        }
        self.arm(counters);
        // With MSG_DONTWAIT all complete in the first enter; more turns are for a kernel that is short of
        // memory.
        for _ in 0..SUBMIT_TRIES {
            let flags = if self.unsubmitted() == 0 { EnterFlags::GETEVENTS } else { EnterFlags::empty() };
            let result = self.enter(0, flags, None, counters);
            self.reap(counters);
            counters.submit_errors += u64::from(result.is_err());
            if self.sending == 0 {
                break;
            }
        }
        done.append(&mut self.done);
    }

    /// Arms what has ended: receives, when a buffer is free for them, and the read of the eventfd.
    fn arm(&mut self, counters: &mut IoCounters) {
        let operands = self.memory.operands.get();
        if !self.is_receiving() && self.received.len() < self.memory.buffers.len() {
            let ended = SocketSet(self.sockets.0 & !self.receive_armed.0);
            for socket in ended.iter() {
                // SAFETY: only the place is named. The kernel reads the template at submission.
                let template = unsafe { &raw const (*operands).receive };
                let entry = opcode::RecvMsgMulti::new(file(socket), template, BUFFER_GROUP)
                    .build()
                    .user_data(OP_RECEIVE | u64::from(socket.0));
                // SAFETY: the template lives in `memory` and is never written; buffers come from the
                // registered buffer ring. All of it outlives the operation (see `drop`).
                unsafe { self.push(&entry) };
                self.receive_armed.insert(socket);
                counters.rx_rearms += u64::from(self.armed_before.contains(socket));
                self.armed_before.insert(socket);
            }
        }
        if !self.wake_armed {
            // SAFETY: only the place is named.
            let count = unsafe { &raw mut (*operands).wake_count };
            let entry =
                opcode::Read::new(EVENT, count.cast(), size_of::<u64>() as u32).build().user_data(OP_WAKE);
            // SAFETY: the eight octets lie in `memory`, which outlives the operation (see `drop`), and nobody
            // else reads or writes them.
            unsafe { self.push(&entry) };
            self.wake_armed = true;
        }
    }

    /// Puts an entry into the submission queue, which has room for all operations that can be under way.
    ///
    /// # Safety
    /// What the entry points to is valid until the operation completes.
    unsafe fn push(&mut self, entry: &squeue::Entry) {
        // SAFETY: `ring` is live (freed in `drop` only); no other view of the submission queue exists, as
        // each is made and dropped within one method of `&mut self`. The entry's pointers are the caller's
        // promise.
        let pushed = unsafe { self.ring.as_ref().submission_shared().push(entry) };
        assert!(pushed.is_ok(), "the submission queue is sized for every operation");
    }

    /// Entries not yet taken by the kernel.
    fn unsubmitted(&self) -> usize {
        // SAFETY: as in `push`.
        unsafe { self.ring.as_ref().submission_shared() }.len()
    }

    fn enter(
        &self,
        want: usize,
        flags: EnterFlags,
        args: Option<&SubmitArgs<'_, '_>>,
        counters: &mut IoCounters,
    ) -> io::Result<()> {
        counters.syscalls += 1;
        // SAFETY: the entries were pushed by `push`, whose callers vouch for them. `args` is the structure
        // that EXT_ARG announces, alive during the call together with the timespec it borrows; without it the
        // pointer is null.
        unsafe { self.submitter.enter(self.unsubmitted() as u32, want as u32, flags.bits(), args) }.map(drop)
    }

    /// Takes note of all completions there are.
    fn reap(&mut self, counters: &mut IoCounters) {
        loop {
            // SAFETY: `ring` is live; this view of the completion queue is the only one, dropped in this
            // method, and the methods called meanwhile make none.
            let queue = unsafe { self.ring.as_ref().completion_shared() };
            for completion in queue {
                self.complete(&completion, counters);
            }
            // SAFETY: as in `push`.
            if !unsafe { self.ring.as_ref().submission_shared() }.cq_overflow() {
                break;
            }
            counters.cq_overflows += 1;
            // Fetches what the kernel kept; an error leaves the flag up for the next time.
            if self.enter(0, EnterFlags::GETEVENTS, None, counters).is_err() {
                break;
            }
        }
    }

    fn complete(&mut self, completion: &cqueue::Entry, counters: &mut IoCounters) {
        let (data, result) = (completion.user_data(), completion.result());
        match data & !u64::from(u32::MAX) {
            OP_RECEIVE => {
                let socket = SocketIndex(data as u8);
                if !cqueue::more(completion.flags()) {
                    self.receive_armed.remove(socket);
                }
                match cqueue::buffer_select(completion.flags()) {
                    Some(buffer) if result >= 0 => {
                        self.received.push_back(Filled { buffer, len: result as u32, socket });
                    }
                    Some(buffer) => self.memory.buffers.offer(buffer),
                    None => {}
                }
                counters.rx_no_buffers += u64::from(result == -libc::ENOBUFS);
                counters.rx_errors += u64::from(result < 0 && result != -libc::ENOBUFS);
            }
            OP_WAKE => self.wake_armed = false,
            OP_SEND => {
                self.sending -= 1;
                self.done.push(Done { message: data as u16, result });
            }
            _ => debug_assert!(false, "a completion of no operation of ours"),
        }
    }

    /// Ends all operations; whether the kernel has let go of all memory.
    fn quiesce(&mut self) -> bool {
        let mut counters = IoCounters::default();
        let deadline = Instant::now() + QUIESCE_MAX;
        // Entries that were never submitted do not count: nothing submits them any more.
        let unsubmitted = self.unsubmitted();
        let step = Timespec::from(QUIESCE_MAX / 10);
        loop {
            // Ends the receive and the read. Finding nothing to cancel is an error of no interest.
            let _ = self.submitter.register_sync_cancel(Some(step), CancelBuilder::any());
            counters.syscalls += 1;
            // SAFETY: submits nothing and passes no pointer.
            let _ =
                unsafe { self.submitter.enter::<libc::sigset_t>(0, 0, EnterFlags::GETEVENTS.bits(), None) };
            self.drain_for_drop(&mut counters);
            let under_way = self.receive_armed.len() + usize::from(self.wake_armed) + self.sending as usize;
            if under_way <= unsubmitted {
                return true;
            }
            if Instant::now() > deadline {
                return false;
            }
        }
    }

    fn drain_for_drop(&mut self, counters: &mut IoCounters) {
        // SAFETY: as in `reap`.
        let queue = unsafe { self.ring.as_ref().completion_shared() };
        for completion in queue {
            self.complete(&completion, counters);
        }
    }
}

impl Drop for Ring {
    /// In this order: operations end, the descriptors are let go (the port is free at once), the submitter,
    /// the ring, and last the memory. If the kernel does not let go in time, the memory is leaked instead of
    /// freed under it.
    fn drop(&mut self) {
        let quiet = self.quiesce();
        let _ = self.submitter.unregister_buf_ring(BUFFER_GROUP);
        let _ = self.submitter.unregister_files();
        let _ = self.submitter.unregister_ring_fd();
        // SAFETY: dropped once, here; not used below. It has to go before the ring that it borrows.
        unsafe { ManuallyDrop::drop(&mut self.submitter) };
        // SAFETY: `ring` came from a box in `new`; its only borrower has just been dropped; freed once, here.
        drop(unsafe { Box::from_raw(self.ring.as_ptr()) });
        if quiet {
            // SAFETY: dropped once, here, and not used below. No operation refers to it: all have completed.
            unsafe { ManuallyDrop::drop(&mut self.memory) };
        }
    }
}

/// A socket in the table of registered files.
fn file(socket: SocketIndex) -> Fixed {
    Fixed(1 + u32::from(socket.0))
}

/// The send of a filled message. A plain send spares the kernel the copy of a header with a control message.
fn send_entry(messages: &Messages, message: u16) -> squeue::Entry {
    let header = messages.header(message);
    let socket = messages.send(message).map_or(SocketIndex::FIRST, |send| send.socket);
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    if !messages.is_plain(message) {
        return opcode::SendMsg::new(file(socket), header).flags(flags as u32).build();
    }
    // SAFETY: the message is filled: its header names its address and one piece, all of them live and
    // unwritten.
    let (name, name_len, piece) = unsafe { ((*header).msg_name, (*header).msg_namelen, *(*header).msg_iov) };
    // A single datagram: far below 2^32 octets.
    opcode::Send::new(file(socket), piece.iov_base.cast(), piece.iov_len as u32)
        .dest_addr(name.cast())
        .dest_addr_len(name_len as _)
        .flags(flags)
        .build()
}

impl Operands {
    fn new() -> Self {
        // SAFETY: `msghdr` is made of integers and raw pointers, for which zero is a valid value.
        let mut receive: libc::msghdr = unsafe { zeroed() };
        (receive.msg_namelen, receive.msg_controllen) = (NAME_BYTES as libc::socklen_t, CONTROL_BYTES as _);
        Self { receive, wake_count: 0 }
    }
}
