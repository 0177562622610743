//! A short queue from one shard to the other.

use relay_port::{Entry, PortSink};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

/// Entries that wait at most: few, so that the queue is often full.
const ENTRIES_MAX: usize = 8;

/// Entries written and not yet read.
pub(super) type Queue = Rc<RefCell<VecDeque<Box<Entry>>>>;

#[derive(Default)]
pub(super) struct Sink {
    queue: Queue,
    lent: Box<Entry>,
}

impl Sink {
    /// Both ends of an empty queue.
    pub(super) fn new() -> (Self, Queue) {
        let sink = Self::default();
        let queue = Rc::clone(&sink.queue);
        (sink, queue)
    }
}

impl PortSink for Sink {
    fn slot(&mut self) -> Option<&mut Entry> {
        (self.queue.borrow().len() < ENTRIES_MAX).then_some(&mut self.lent)
    }

    fn commit(&mut self) {
        self.queue.borrow_mut().push_back(std::mem::take(&mut self.lent));
    }

    fn set_capacity(&mut self, _: usize) {}

    fn wake(&mut self) {}
}
