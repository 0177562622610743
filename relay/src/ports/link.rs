//! The bounded queues between the control thread and the ports' thread.
//!
//! As between the control thread and a shard ([`crate::mailbox`]): an order is taken only when there is room
//! for its answer.

use super::counts::Counts;
use super::local::{FromPorts, ToPorts};
use crate::mailbox::Notifier;
use crate::pipe::WakeWorker;
use rtrb::{Consumer, Producer, RingBuffer};
use std::fmt;
use std::sync::Arc;

/// Orders that may wait: an order for each request that the controllers may have under way, and the two ends
/// of a queue.
const ORDERS_MAX: usize = 1024;

/// Answers that may wait; what finds no room stays in [`super::LocalPorts`].
const ANSWERS_MAX: usize = 1024;

pub struct PortsEnd {
    orders: Producer<ToPorts>,
    answers: Consumer<FromPorts>,
    wake: WakeWorker,
    /// The counters of the ports' thread.
    pub counts: Arc<Counts>,
}

impl fmt::Debug for PortsEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PortsEnd").field("orders", &self.orders).finish_non_exhaustive()
    }
}

#[derive(Debug)]
pub struct ThreadEnd {
    orders: Consumer<ToPorts>,
    answers: Producer<FromPorts>,
    notifier: Notifier,
}

/// Makes the two ends. `notifier` wakes the control thread, `wake` the ports' thread.
#[must_use]
pub fn link(notifier: Notifier, wake: WakeWorker, counts: Arc<Counts>) -> (PortsEnd, ThreadEnd) {
    let (order_in, order_out) = RingBuffer::new(ORDERS_MAX);
    let (answer_in, answer_out) = RingBuffer::new(ANSWERS_MAX);
    let end = PortsEnd { orders: order_in, answers: answer_out, wake, counts };
    (end, ThreadEnd { orders: order_out, answers: answer_in, notifier })
}

impl PortsEnd {
    /// Whether there is room for this many more orders.
    #[must_use]
    pub fn has_room(&self, orders: usize) -> bool {
        self.orders.slots() >= orders
    }

    /// Gives an order. False: there was no room, which is asked first.
    pub fn send(&mut self, order: ToPorts) -> bool {
        let sent = self.orders.push(order).is_ok();
        (self.wake)();
        sent
    }

    /// A function that wakes the ports' thread.
    #[must_use]
    pub fn waker(&self) -> WakeWorker {
        Arc::clone(&self.wake)
    }

    /// The next answer or event of the ports' thread.
    pub fn receive(&mut self) -> Option<FromPorts> {
        let was_full = self.answers.slots() == ANSWERS_MAX;
        let said = self.answers.pop().ok();
        // It may wait for room.
        if was_full && said.is_some() {
            (self.wake)();
        }
        said
    }
}

impl ThreadEnd {
    /// The next order, if there is room to answer it.
    pub fn next_order(&mut self) -> Option<ToPorts> {
        if self.answers.is_full() { None } else { self.orders.pop().ok() }
    }

    /// Says what there is room for, and notifies the control thread if that was anything.
    pub fn send_all(&mut self, mut next: impl FnMut() -> Option<FromPorts>) {
        let mut said = false;
        while !self.answers.is_full() {
            let Some(answer) = next() else { break };
            said |= self.answers.push(answer).is_ok();
        }
        if said {
            self.notifier.notify();
        }
    }
}
