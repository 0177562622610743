//! Bounded queues between the control thread and one worker: commands in, replies and events out.
//!
//! Invariants
//! - A command is taken only when there is room for its reply, so no reply is ever lost; events stay in the shard
//!   until there is room. What is full shows as [`relay_control::ErrorCode::Busy`] to the controller.
//! - Replies and events of one shard keep their order.
//! - One producer and one consumer per queue; the only lock-free words shared between threads are the queues' own.

use relay_control::{Command, EventBody, ReplyBody};
use rtrb::{Consumer, Producer, RingBuffer};
use rustix::event::{EventfdFlags, eventfd};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

/// Commands that may wait for one shard: a controller has at most 256 under way on a connection.
pub const COMMANDS_MAX: usize = 1024;

/// Replies and events of one shard that may wait for the control thread.
pub const ANSWERS_MAX: usize = 4096;

const _: () = assert!(ANSWERS_MAX >= COMMANDS_MAX);

/// A command for a shard; the ticket comes back with the reply.
#[derive(Debug)]
pub struct ToShard {
    /// Chosen by the control thread, unique in the process.
    pub ticket: u64,
    /// What to do. `GetInventory` and `GetStats` are answered for this shard alone.
    pub command: Command,
}

/// What a shard says.
#[derive(Debug)]
pub enum FromShard {
    /// Answer to the command with this ticket.
    Reply {
        /// See [`ToShard::ticket`].
        ticket: u64,
        /// The answer.
        body: ReplyBody,
    },
    /// Something happened.
    Event(EventBody),
}

/// Wakes the control thread. Many workers ring the same one.
#[derive(Clone, Debug)]
pub struct Bell(Arc<OwnedFd>);

impl Bell {
    /// A silent bell.
    ///
    /// # Errors
    /// When the process has no descriptor left.
    pub fn new() -> io::Result<Self> {
        Ok(Self(Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?)))
    }

    /// Makes the descriptor readable.
    pub fn ring(&self) {
        // It can only fail by overflow, and then the bell is ringing already.
        let _ = rustix::io::write(&self.0, &1u64.to_ne_bytes());
    }

    /// Makes it unreadable again; call before looking at what it rang for.
    pub fn hush(&self) {
        let _ = rustix::io::read(&self.0, &mut [0u8; 8]);
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Wakes a worker from its wait.
pub type WakeWorker = Box<dyn Fn() + Send>;

/// The control thread's end.
pub struct ControlEnd {
    commands: Producer<ToShard>,
    answers: Consumer<FromShard>,
    wake: WakeWorker,
}

impl fmt::Debug for ControlEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ControlEnd").field("commands", &self.commands).finish_non_exhaustive()
    }
}

/// The worker's end.
#[derive(Debug)]
pub struct WorkerEnd {
    commands: Consumer<ToShard>,
    answers: Producer<FromShard>,
    bell: Bell,
    answered: bool,
}

/// Makes the two ends.
#[must_use]
pub fn mailbox(bell: Bell, wake: WakeWorker) -> (ControlEnd, WorkerEnd) {
    let (command_in, command_out) = RingBuffer::new(COMMANDS_MAX);
    let (answer_in, answer_out) = RingBuffer::new(ANSWERS_MAX);
    let control = ControlEnd { commands: command_in, answers: answer_out, wake };
    (control, WorkerEnd { commands: command_out, answers: answer_in, bell, answered: false })
}

impl ControlEnd {
    /// Whether another command would be taken.
    #[must_use]
    pub fn has_room(&self) -> bool {
        !self.commands.is_full()
    }

    /// Puts a command in and wakes the worker. False: the mailbox is full, the command was not taken.
    pub fn send(&mut self, ticket: u64, command: Command) -> bool {
        let taken = self.commands.push(ToShard { ticket, command }).is_ok();
        self.wake();
        taken
    }

    /// Everything the shard said so far.
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

    /// Wakes the worker.
    pub fn wake(&self) {
        (self.wake)();
    }
}

impl WorkerEnd {
    /// The next command, if there is room to answer it.
    pub fn next_command(&mut self) -> Option<ToShard> {
        if !self.has_room() {
            return None;
        }
        self.commands.pop().ok()
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

    /// Rings the bell if anything was said since the last time: once per batch.
    pub fn ring_if_answered(&mut self) {
        if std::mem::take(&mut self.answered) {
            self.bell.ring();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use relay_control::{Done, GetStats};

    fn ends() -> (ControlEnd, WorkerEnd) {
        mailbox(Bell::new().expect("a descriptor"), Box::new(|| {}))
    }

    #[test]
    fn a_full_mailbox_refuses_and_loses_nothing() {
        let (mut control, mut worker) = ends();
        let sent = (0..).take_while(|n| control.send(*n, Command::GetStats(GetStats {}))).count();
        assert_eq!(sent, COMMANDS_MAX);
        assert!(!control.has_room());
        let mut tickets = Vec::new();
        while let Some(command) = worker.next_command() {
            tickets.push(command.ticket);
        }
        assert_eq!(tickets, (0..COMMANDS_MAX as u64).collect::<Vec<_>>());
    }

    #[test]
    fn no_command_is_taken_without_room_for_its_reply() {
        let (mut control, mut worker) = ends();
        assert!(control.send(7, Command::GetStats(GetStats {})));
        while worker.has_room() {
            worker.answer(FromShard::Reply { ticket: 0, body: ReplyBody::Done(Done {}) });
        }
        assert!(worker.next_command().is_none());
        assert_eq!(control.receive().len(), ANSWERS_MAX);
        assert_eq!(worker.next_command().map(|c| c.ticket), Some(7));
    }

    #[test]
    fn the_worker_is_woken_when_a_full_queue_was_emptied() {
        use std::sync::atomic::{AtomicU32, Ordering};
        let woken = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&woken);
        let wake = Box::new(move || {
            count.fetch_add(1, Ordering::Relaxed);
        });
        let (mut control, mut worker) = mailbox(Bell::new().expect("a descriptor"), wake);
        while worker.has_room() {
            worker.answer(FromShard::Reply { ticket: 0, body: ReplyBody::Done(Done {}) });
        }
        assert_eq!(woken.load(Ordering::Relaxed), 0);
        let _ = control.receive();
        assert_eq!(woken.load(Ordering::Relaxed), 1);
    }
}
