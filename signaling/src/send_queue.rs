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
    /// Bytes in the queue.
    queued: Arc<AtomicUsize>,
}

#[derive(Debug)]
pub(crate) enum Outgoing {
    Text(String),
    Close(u16, Cow<'static, str>),
}

/// The queue is full.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Overflow;

impl SendQueue {
    pub(crate) fn new() -> (Self, SendQueueEnd) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let queued = Arc::new(AtomicUsize::new(0));
        (Self { sender, queued: Arc::clone(&queued) }, SendQueueEnd { receiver, queued })
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
        if self.queued.fetch_add(cost, Ordering::Relaxed) + cost > limit {
            self.queued.fetch_sub(cost, Ordering::Relaxed);
            return Err(Overflow);
        }
        // A client that is gone is reported by its reader.
        let _ = self.sender.send(Outgoing::Text(text));
        Ok(())
    }

    pub(crate) fn queued(&self) -> usize {
        self.queued.load(Ordering::Relaxed)
    }

    /// Closes the connection behind what is queued.
    pub(crate) fn close(&self, code: u16, reason: impl Into<Cow<'static, str>>) {
        let _ = self.sender.send(Outgoing::Close(code, reason.into()));
    }
}

/// Its other end.
pub(crate) struct SendQueueEnd {
    pub(crate) receiver: mpsc::UnboundedReceiver<Outgoing>,
    pub(crate) queued: Arc<AtomicUsize>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_queue_is_bounded_by_bytes() {
        let (send_queue, mut inbox) = SendQueue::new();
        assert_eq!(send_queue.push("x".repeat(100), 300), Ok(()));
        assert_eq!(send_queue.push("x".repeat(100), 300), Err(Overflow));
        assert_eq!(send_queue.push("x".repeat(50), 300), Ok(()));
        send_queue.close(1008, "no");
        let queued: Vec<_> = std::iter::from_fn(|| inbox.receiver.try_recv().ok()).collect();
        assert!(matches!(
            queued.as_slice(),
            [Outgoing::Text(_), Outgoing::Text(_), Outgoing::Close(1008, _)]
        ));
    }
}
