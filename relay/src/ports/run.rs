//! The thread that owns the sockets of local processes.
//!
//! One `poll(2)` over the listener, the processes and the eventfd that shards and the control thread notify.
//! A turn takes all that has come since the one before, and they are [`TURN_EVERY`] apart: to be woken costs
//! a shard and this thread more than ten packets do, and what is behind a port is woken as often as this
//! thread writes.
//! A panic ends the processes that are connected, and nothing else.

use super::PROCESSES_MAX;
use super::counts::Counts;
use super::link::{PortsEnd, ThreadEnd, link};
use super::local::LocalPorts;
use crate::clock::Clock;
use crate::faults::panic_text;
use crate::mailbox::Notifier;
use crate::pipe::PIPE_ENTRIES;
use relay_control::listener::{Accepted, Listener};
use relay_core::time::Time;
use relay_port::{Frame, Refusal, encode};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// What one read takes from a socket.
const READ_BYTES: usize = 64 << 10;

/// After `accept` failed or a turn panicked the listener is left alone for this long.
const PAUSE: Duration = Duration::from_millis(200);

/// From the beginning of one turn to the next, unless there is more to do than a turn takes. What comes after
/// a rest is not late by it. A queue has room for all that a shard can receive in this time.
const TURN_EVERY: Duration = Duration::from_millis(1);

/// With so many entries of a queue waiting, or more to read, it turns again at once.
const BUSY_ENTRIES: usize = PIPE_ENTRIES / 4;

/// It turns at least this often: what found a shard's queue full is tried again.
const WAIT_MAX: Duration = Duration::from_secs(1);

/// Notifies the ports' thread once for all that happens before it looks.
#[derive(Clone)]
struct CoalescingNotifier {
    notifier: Notifier,
    pending: Arc<AtomicBool>,
}

impl CoalescingNotifier {
    fn notify(&self) {
        if !self.pending.swap(true, Ordering::AcqRel) {
            self.notifier.notify();
        }
    }

    /// What happens from here on notifies again.
    fn clear(&self) {
        self.notifier.clear();
        self.pending.swap(false, Ordering::AcqRel);
    }
}

/// The running thread. Dropping this ends it.
pub struct PortsThread {
    thread: Option<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
    wakeup: CoalescingNotifier,
}

impl Drop for PortsThread {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.wakeup.notify();
        if let Some(thread) = self.thread.take() {
            // It catches its own panics.
            let _ = thread.join();
        }
    }
}

/// Starts the thread. `control` wakes the control thread.
///
/// # Errors
/// When the kernel refuses a descriptor or a thread.
pub fn spawn(
    listener: Listener,
    control: Notifier,
    clock: Clock,
    max_source_bitrate_bps: u64,
) -> io::Result<(PortsThread, PortsEnd)> {
    let wakeup = CoalescingNotifier { notifier: Notifier::new()?, pending: Arc::default() };
    let (stop, counts) = (Arc::<AtomicBool>::default(), Arc::<Counts>::default());
    let wake = wakeup.clone();
    let (end, thread_end) = link(control, Arc::new(move || wake.notify()), Arc::clone(&counts));
    let mut ports = PortsLoop {
        ports: LocalPorts::new(Arc::clone(&counts), max_source_bitrate_bps),
        streams: BTreeMap::new(),
        counts,
        listener,
        accept_paused: false,
        end: thread_end,
        wakeup: wakeup.clone(),
        clock,
        turned: clock.now(),
        is_busy: false,
        scratch: vec![0; READ_BYTES],
    };
    let stopped = Arc::clone(&stop);
    let body = move || {
        while !stopped.load(Ordering::Relaxed) {
            ports.turn_caught();
        }
    };
    let thread = std::thread::Builder::new().name("ports".into()).spawn(body)?;
    Ok((PortsThread { thread: Some(thread), stop, wakeup }, end))
}

struct PortsLoop {
    ports: LocalPorts,
    streams: BTreeMap<u32, UnixStream>,
    counts: Arc<Counts>,
    listener: Listener,
    accept_paused: bool,
    end: ThreadEnd,
    wakeup: CoalescingNotifier,
    clock: Clock,
    /// When the turn before began, and whether it left more to do.
    turned: Time,
    is_busy: bool,
    scratch: Vec<u8>,
}

impl PortsLoop {
    fn turn_caught(&mut self) {
        // What it leaves behind is hung up.
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| self.turn())) {
            self.counts.panicked.add(1);
            tracing::error!(
                "the ports' thread panicked: {}; all processes are disconnected",
                panic_text(panic.as_ref())
            );
            self.accept_paused = true;
            self.streams.clear();
            self.ports.disconnect_all();
        }
    }

    fn turn(&mut self) {
        self.rest();
        let ready = self.wait();
        (self.turned, self.is_busy) = (self.clock.now(), false);
        self.wakeup.clear();
        self.accept_paused = false;
        if ready.listener {
            self.accept();
        }
        while let Some(order) = self.end.next_order() {
            self.ports.handle_order(self.clock.now(), order);
        }
        for number in ready.processes {
            self.read(number);
        }
        self.is_busy |= self.ports.handle_queues() >= BUSY_ENTRIES;
        let numbers: Vec<u32> = self.streams.keys().copied().collect();
        numbers.into_iter().for_each(|number| self.write(number));
        for number in self.ports.reap(self.clock.now()) {
            self.streams.remove(&number);
        }
        self.ports.flush();
        let ports = &mut self.ports;
        self.end.send_all(|| ports.poll());
    }

    /// Lets packets gather. Nobody is woken meanwhile: who notifies is heard at the end.
    fn rest(&self) {
        let rest = TURN_EVERY.saturating_sub(self.clock.now().since(self.turned));
        if !self.is_busy && !rest.is_zero() {
            std::thread::sleep(rest);
        }
    }

    fn wait(&mut self) -> Ready {
        let now = self.clock.now();
        let due = self.ports.poll_timeout().map_or(WAIT_MAX, |due| due.since(now).min(WAIT_MAX));
        let due = if self.accept_paused { due.min(PAUSE) } else { due };
        let listens = if self.accept_paused { PollFlags::empty() } else { PollFlags::IN };
        let mut fds =
            vec![PollFd::new(&self.wakeup.notifier, PollFlags::IN), PollFd::new(&self.listener, listens)];
        for (number, stream) in &self.streams {
            let unread = self.ports.process(*number).is_some_and(|process| !process.unread().is_empty());
            let flags = if unread { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN };
            fds.push(PollFd::new(stream, flags));
        }
        let timeout = Timespec {
            tv_sec: i64::try_from(due.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(due.subsec_nanos()),
        };
        if poll(&mut fds, Some(&timeout)).is_err() {
            return Ready { listener: false, processes: Vec::new() };
        }
        let happened: Vec<PollFlags> = fds.iter().map(PollFd::revents).collect();
        let readable = |flags: &PollFlags| flags.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR);
        let processes = self.streams.keys().zip(&happened[2..]).filter(|(_, flags)| readable(flags));
        Ready { listener: !happened[1].is_empty(), processes: processes.map(|(number, _)| *number).collect() }
    }

    fn accept(&mut self) {
        loop {
            match self.listener.accept() {
                Ok(Accepted::None) => return,
                Ok(Accepted::Peer(stream)) if self.streams.len() >= PROCESSES_MAX => {
                    self.counts.refused_limit.add(1);
                    refuse(stream);
                }
                Ok(Accepted::Peer(stream)) => {
                    let number = self.ports.connect(self.clock.now());
                    self.streams.insert(number, stream);
                }
                Ok(Accepted::Refused { uid }) => {
                    self.counts.refused_uid.add(1);
                    tracing::warn!(uid, "a process of another user was refused a local port");
                }
                Err(why) => {
                    tracing::warn!(%why, "no process can be given a local port for a moment");
                    self.accept_paused = true;
                    return;
                }
            }
        }
    }

    /// Reads once; what there is more of waits for the next turn, so that processes take turns.
    fn read(&mut self, number: u32) {
        let Some(stream) = self.streams.get_mut(&number) else { return };
        match stream.read(&mut self.scratch) {
            Ok(0) => self.disconnect(number),
            Ok(len) => {
                self.is_busy |= len == self.scratch.len();
                self.ports.handle_bytes(self.clock.now(), number, &self.scratch[..len]);
            }
            Err(why) if is_passing(why.kind()) => {}
            Err(_) => self.disconnect(number),
        }
    }

    fn write(&mut self, number: u32) {
        let (Some(stream), Some(process)) = (self.streams.get_mut(&number), self.ports.process(number))
        else {
            return;
        };
        while !process.unread().is_empty() {
            match stream.write(process.unread()) {
                Ok(len) => process.wrote(len),
                Err(why) if why.kind() == ErrorKind::Interrupted => {}
                Err(why) if why.kind() == ErrorKind::WouldBlock => return,
                Err(_) => return process.disconnect(),
            }
        }
    }

    fn disconnect(&mut self, number: u32) {
        if let Some(process) = self.ports.process(number) {
            process.disconnect();
        }
    }
}

/// Refuses a connection beyond the limit. Nothing waits for the refusal to be read.
fn refuse(mut stream: UnixStream) {
    let mut bytes = Vec::new();
    if encode(&Frame::Refused(Refusal::TooMany), &[], &mut bytes) {
        let _ = stream.write(&bytes);
    }
}

struct Ready {
    listener: bool,
    processes: Vec<u32>,
}

fn is_passing(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
