//! What the hook is told without being asked: bounded queues, in order for each connection.

use super::Hook;
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::mpsc;

/// Queues, each with one `POST` at a time. A slow hook delays what is in its queue, never a client.
const QUEUES: usize = 8;
/// Notes that wait in a queue; more are dropped and counted.
const WAITING_MAX: usize = 1_024;

struct Note {
    method: &'static str,
    object: Value,
}

/// The way to the hook.
pub(super) struct Notes {
    queues: Vec<mpsc::Sender<Note>>,
    dropped: AtomicU64,
}

impl Notes {
    /// Its tasks end when it is dropped.
    pub(super) fn new(hook: Arc<Hook>) -> Self {
        let queue = |_| {
            let (sender, receiver) = mpsc::channel(WAITING_MAX);
            tokio::spawn(tell(Arc::clone(&hook), receiver));
            sender
        };
        Self { queues: (0..QUEUES).map(queue).collect(), dropped: AtomicU64::new(0) }
    }

    /// Behind what was said about this connection before.
    pub(super) fn push(&self, connection: u64, method: &'static str, object: Value) {
        let at = usize::try_from(connection % QUEUES as u64).unwrap_or(0);
        let queued = self.queues.get(at).is_some_and(|queue| queue.try_send(Note { method, object }).is_ok());
        if !queued {
            let dropped = self.dropped.fetch_add(1, Ordering::Relaxed) + 1;
            if dropped.is_power_of_two() {
                tracing::warn!(dropped, "the access hook is too slow; what it should be told is dropped");
            }
        }
    }
}

async fn tell(hook: Arc<Hook>, mut notes: mpsc::Receiver<Note>) {
    while let Some(Note { method, object }) = notes.recv().await {
        if let Err(refused) = hook.tell(method, &object).await {
            tracing::debug!("access hook /{method}: {refused}");
        }
    }
}
