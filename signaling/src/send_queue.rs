//! The queue of what a client is told, bounded by octets.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::mpsc;

/// What a message in the queue costs besides its text.
pub(crate) const ENTRY_BYTES: usize = 64;

/// The way to one client.
#[derive(Clone, Debug)]
pub struct SendQueue {
    sender: mpsc::UnboundedSender<Outgoing>,
    unread: Arc<Unread>,
}

/// Octets that wait in the queue.
#[derive(Debug, Default)]
pub(crate) struct Unread {
    ordinary: AtomicUsize,
    /// Of what is as long as its room is large.
    states: AtomicUsize,
}

#[derive(Debug)]
pub(crate) enum Outgoing {
    Text(String),
    /// What is in a room: as long as the room is large.
    State(String),
    /// A ping of the WebSocket, which the browser answers by itself.
    Ping,
    Close(u16, Cow<'static, str>),
}

/// The queue is full.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Overflow;

impl SendQueue {
    pub(crate) fn new() -> (Self, SendQueueEnd) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let unread = Arc::new(Unread::default());
        (Self { sender, unread: Arc::clone(&unread) }, SendQueueEnd { receiver, unread })
    }

    /// The way to nobody.
    #[cfg(test)]
    pub(crate) fn for_test() -> Self {
        Self::new().0
    }

    /// Queues a message.
    ///
    /// # Errors
    /// [`Overflow`]: more than `limit` bytes would wait.
    pub(crate) fn push(&self, text: String, limit: usize) -> Result<(), Overflow> {
        let cost = text.len() + ENTRY_BYTES;
        if self.unread.ordinary.fetch_add(cost, Ordering::Relaxed) + cost > limit {
            self.unread.ordinary.fetch_sub(cost, Ordering::Relaxed);
            return Err(Overflow);
        }
        // A client that is gone is reported by its reader.
        let _ = self.sender.send(Outgoing::Text(text));
        Ok(())
    }

    /// Queues what is in a room. It has no limit but the room's own: whoever was let in is told. The hub lets
    /// nobody into a second room who has much to read yet.
    pub(crate) fn push_state(&self, text: String) {
        self.unread.states.fetch_add(text.len() + ENTRY_BYTES, Ordering::Relaxed);
        let _ = self.sender.send(Outgoing::State(text));
    }

    /// Asks the browser for a sign of life. Nothing is counted: the hub asks once for whoever wants a login.
    pub(crate) fn ping(&self) {
        let _ = self.sender.send(Outgoing::Ping);
    }

    pub(crate) fn unread(&self) -> usize {
        self.unread.ordinary.load(Ordering::Relaxed) + self.unread.states.load(Ordering::Relaxed)
    }

    /// Closes the connection behind what is queued.
    pub(crate) fn close(&self, code: u16, reason: impl Into<Cow<'static, str>>) {
        let _ = self.sender.send(Outgoing::Close(code, reason.into()));
    }
}

/// Its other end.
pub(crate) struct SendQueueEnd {
    pub(crate) receiver: mpsc::UnboundedReceiver<Outgoing>,
    unread: Arc<Unread>,
}

impl SendQueueEnd {
    /// A message of so many octets is out, or will never be.
    pub(crate) fn note_sent(&self, bytes: usize, is_state: bool) {
        let of = if is_state { &self.unread.states } else { &self.unread.ordinary };
        of.fetch_sub(bytes + ENTRY_BYTES, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_queue_is_bounded_by_bytes() {
        let (send_queue, mut inbox) = SendQueue::new();
        assert_eq!(send_queue.push("x".repeat(100), 300), Ok(()));
        assert_eq!(send_queue.push("x".repeat(100), 300), Err(Overflow));
        assert_eq!(send_queue.push("x".repeat(8), 300), Ok(()));
        send_queue.push_state("x".repeat(1_000));
        assert_eq!(send_queue.push("x".repeat(8), 310), Ok(()), "a state counts for itself");
        assert_eq!(send_queue.unread(), 308 + 1_064);
        inbox.note_sent(1_000, true);
        inbox.note_sent(100, false);
        assert_eq!(send_queue.unread(), 308 - 164);
        send_queue.close(1008, "no");
        let queued: Vec<_> = std::iter::from_fn(|| inbox.receiver.try_recv().ok()).collect();
        assert!(matches!(
            queued.as_slice(),
            [
                Outgoing::Text(_),
                Outgoing::Text(_),
                Outgoing::State(_),
                Outgoing::Text(_),
                Outgoing::Close(1008, _)
            ]
        ));
    }
}
