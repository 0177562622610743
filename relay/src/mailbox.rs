//! Bounded queues between the control thread and one worker: orders in, replies and events out.
//!
//! Invariants
//! - An order is taken only when there is room for its reply, so no reply is ever lost; events stay in the
//!   shard until there is room. What is full shows as [`relay_control::ErrorCode::Busy`] to the controller.
//! - Replies and events of one shard keep their order.
//! - One producer and one consumer per queue; the only lock-free words shared between threads are the queues'
//!   own.

use crate::pipe::{PipeReceiver, PipeSender, WakeWorker};
use relay_control::{Command, EventBody, ReplyBody};
use relay_core::port::OpenPort;
use relay_port::PortId;
use rtrb::{Consumer, Producer, RingBuffer};
use rustix::event::{EventfdFlags, eventfd};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

/// Orders that may wait for one shard: a controller has at most 256 under way on a connection.
pub const COMMANDS_MAX: usize = 1024;

/// Replies and events of one shard that may wait for the control thread.
pub const ANSWERS_MAX: usize = 4096;

const _: () = assert!(ANSWERS_MAX >= COMMANDS_MAX);

/// An order for a shard. Tickets are chosen by the control thread, unique in the process, and come back with
/// the reply.
#[derive(Debug)]
pub enum ToShard {
    Command {
        ticket: u64,
        /// `GetStats` is answered for this shard alone.
        command: Command,
    },
    /// Describe these transports, as far as they are there.
    Describe {
        ticket: u64,
        /// At most one page of an inventory.
        transports: Vec<u64>,
    },
    /// Send an up-track to a port, to which the shard is connected.
    OpenPort {
        ticket: u64,
        /// The track and the port.
        order: OpenPort,
    },
    /// Connects the shard to a port. Has no reply.
    Connect(Box<PipeEnds>),
    /// The shard or process behind a port is gone. Has no reply.
    Disconnect(PortId),
    /// The addresses to announce from now on, best first. Has no reply.
    Announce(Vec<SocketAddr>),
}

/// The ends of a port's two queues that belong to one side.
#[derive(Debug)]
pub struct PipeEnds {
    /// The port's id on this side.
    pub port: PortId,
    pub to: PipeSender,
    pub from: PipeReceiver,
}

/// What a shard sends to the control thread.
#[derive(Debug)]
pub enum FromShard {
    /// The reply to the order with this ticket.
    Reply { ticket: u64, body: ReplyBody },
    /// An event that no order asked for.
    Event(EventBody),
}

/// An eventfd that wakes the thread which polls it. Many threads may notify the same one.
#[derive(Clone, Debug)]
pub struct Notifier(Arc<OwnedFd>);

impl Notifier {
    /// One that nobody has notified.
    ///
    /// # Errors
    /// When the process has no descriptor left.
    pub fn new() -> io::Result<Self> {
        Ok(Self(Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?)))
    }

    /// Makes the descriptor readable.
    pub fn notify(&self) {
        // It can only fail by overflow, and then the descriptor is readable already.
        let _ = rustix::io::write(&self.0, &1u64.to_ne_bytes());
    }

    /// Makes it unreadable again. To be called before looking for work, so that what comes meanwhile notifies
    /// again.
    pub fn clear(&self) {
        let _ = rustix::io::read(&self.0, &mut [0u8; 8]);
    }
}

impl AsFd for Notifier {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

pub struct ControlEnd {
    orders: Producer<ToShard>,
    answers: Consumer<FromShard>,
    wake: WakeWorker,
}

impl fmt::Debug for ControlEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ControlEnd").field("orders", &self.orders).finish_non_exhaustive()
    }
}

#[derive(Debug)]
pub struct WorkerEnd {
    orders: Consumer<ToShard>,
    answers: Producer<FromShard>,
    notifier: Notifier,
    answered: bool,
}

#[must_use]
pub fn mailbox(notifier: Notifier, wake: WakeWorker) -> (ControlEnd, WorkerEnd) {
    let (order_in, order_out) = RingBuffer::new(COMMANDS_MAX);
    let (answer_in, answer_out) = RingBuffer::new(ANSWERS_MAX);
    let control = ControlEnd { orders: order_in, answers: answer_out, wake };
    (control, WorkerEnd { orders: order_out, answers: answer_in, notifier, answered: false })
}

impl ControlEnd {
    /// Whether another order would be taken.
    #[must_use]
    pub fn has_room(&self) -> bool {
        !self.orders.is_full()
    }

    /// Puts an order in and wakes the worker. False: the mailbox is full, the order was not taken.
    pub fn send(&mut self, order: ToShard) -> bool {
        let taken = self.orders.push(order).is_ok();
        self.wake();
        taken
    }

    /// A function that wakes the worker.
    #[must_use]
    pub fn waker(&self) -> WakeWorker {
        Arc::clone(&self.wake)
    }

    /// All replies and events that wait.
    pub fn receive(&mut self) -> Vec<FromShard> {
        let mut answers = Vec::new();
        while let Ok(answer) = self.answers.pop() {
            answers.push(answer);
        }
        // The worker may have found the queue full and gone to wait with more to say.
        if answers.len() >= ANSWERS_MAX {
            self.wake();
        }
        answers
    }

    pub fn wake(&self) {
        (self.wake)();
    }
}

impl WorkerEnd {
    /// The next order, if there is room to answer it.
    pub fn next_order(&mut self) -> Option<ToShard> {
        if !self.has_room() {
            return None;
        }
        self.orders.pop().ok()
    }

    /// Whether [`WorkerEnd::answer`] may be called.
    #[must_use]
    pub fn has_room(&self) -> bool {
        !self.answers.is_full()
    }

    /// Says something.
    ///
    /// # Panics
    /// If there is no room, which is asked first.
    pub fn answer(&mut self, answer: FromShard) {
        let pushed = self.answers.push(answer);
        assert!(pushed.is_ok(), "has_room was not asked");
        self.answered = true;
    }

    /// Notifies the control thread if there is an answer since the last call; called once per batch.
    pub fn notify_if_answered(&mut self) {
        if std::mem::take(&mut self.answered) {
            self.notifier.notify();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use relay_control::{Done, GetStats};

    fn ends() -> (ControlEnd, WorkerEnd) {
        mailbox(Notifier::new().expect("a descriptor"), Arc::new(|| {}))
    }

    fn order(ticket: u64) -> ToShard {
        ToShard::Command { ticket, command: Command::GetStats(GetStats {}) }
    }

    fn next_ticket(worker: &mut WorkerEnd) -> Option<u64> {
        worker.next_order().map(|order| match order {
            ToShard::Command { ticket, .. } => ticket,
            other => panic!("{other:?}"),
        })
    }

    #[test]
    fn a_full_mailbox_refuses_and_loses_nothing() {
        let (mut control, mut worker) = ends();
        let sent = (0..).take_while(|n| control.send(order(*n))).count();
        assert_eq!(sent, COMMANDS_MAX);
        assert!(!control.has_room());
        let mut tickets = Vec::new();
        while let Some(ticket) = next_ticket(&mut worker) {
            tickets.push(ticket);
        }
        assert_eq!(tickets, (0..COMMANDS_MAX as u64).collect::<Vec<_>>());
    }

    #[test]
    fn no_order_is_taken_without_room_for_its_reply() {
        let (mut control, mut worker) = ends();
        assert!(control.send(order(7)));
        while worker.has_room() {
            worker.answer(FromShard::Reply { ticket: 0, body: ReplyBody::Done(Done {}) });
        }
        assert!(worker.next_order().is_none());
        assert_eq!(control.receive().len(), ANSWERS_MAX);
        assert_eq!(next_ticket(&mut worker), Some(7));
    }

    #[test]
    fn the_worker_is_woken_when_a_full_queue_was_emptied() {
        use std::sync::atomic::{AtomicU32, Ordering};
        let woken = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&woken);
        let wake = Arc::new(move || {
            count.fetch_add(1, Ordering::Relaxed);
        });
        let (mut control, mut worker) = mailbox(Notifier::new().expect("a descriptor"), wake);
        while worker.has_room() {
            worker.answer(FromShard::Reply { ticket: 0, body: ReplyBody::Done(Done {}) });
        }
        assert_eq!(woken.load(Ordering::Relaxed), 0);
        let _ = control.receive();
        assert_eq!(woken.load(Ordering::Relaxed), 1);
    }
}
