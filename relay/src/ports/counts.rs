//! Counters of local ports. One writer, the ports' thread; the control thread reads them.

use super::process::CloseReason;
use relay_control::Counter;
use std::sync::atomic::{AtomicU64, Ordering};

/// A number that one thread raises and others read.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// More of it.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// So much up to now.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

macro_rules! counts {
    ($($(#[$doc:meta])* $field:ident = $name:literal),+ $(,)?) => {
        /// See the fields.
        #[derive(Debug, Default)]
        pub struct Counts {
            $($(#[$doc])* pub $field: Count,)+
        }

        impl Counts {
            /// Names and values.
            #[must_use]
            pub fn list(&self) -> Vec<Counter> {
                [$(($name, self.$field.get())),+]
                    .map(|(name, value)| Counter { name: name.to_owned(), value })
                    .to_vec()
            }
        }
    };
}

counts! {
    /// Processes that connected since the start.
    connections = "port.connections",
    /// Refused because there were too many.
    refused_limit = "port.refused.limit",
    /// Refused because they were another user's.
    refused_uid = "port.refused.uid",
    /// Refused because another one is connected under that name.
    refused_name = "port.refused.name",
    /// Ended because they sent what is no frame.
    closed_bad_frame = "port.closed.bad_frame",
    /// Ended because they did not say who they are.
    closed_no_hello = "port.closed.nameless",
    /// Ended because they did not read.
    closed_slow = "port.closed.slow",
    /// Ended because what they sent made a shard panic.
    closed_fault = "port.closed.fault",
    /// Panics of the ports' thread.
    panicked = "port.panicked",
    /// Frames of a later version, skipped.
    unknown_frames = "port.unknown_frames",
    /// Messages about tracks that are not the process's business, or that found the shard's queue full.
    refused_messages = "port.refused_messages",
    /// Packets that shards wrote for processes.
    out_received = "port.out.received",
    /// Of them written for the process to read.
    out_written = "port.out.written",
    /// Of them dropped because the process reads too slowly.
    dropped_slow = "port.dropped.slow",
    /// Of them of a track that the process gets no more.
    dropped_untapped = "port.dropped.untapped",
    /// Of them for a process that is gone.
    dropped_gone = "port.dropped.gone",
    /// Packets that processes sent.
    in_received = "port.in.received",
    /// Of them written into a shard's queue.
    in_sent = "port.in.sent",
    /// Of them dropped because that was full.
    dropped_queue_full = "port.dropped.queue_full",
    /// Of them of a track that the process was not told to send.
    dropped_no_source = "port.dropped.no_source",
}

impl Counts {
    /// A process is not served any more.
    pub fn count_end(&self, why: CloseReason) {
        match why {
            CloseReason::Gone | CloseReason::Refused => {}
            CloseReason::BadFrame(_) => self.closed_bad_frame.add(1),
            CloseReason::NoHello => self.closed_no_hello.add(1),
            CloseReason::Slow => self.closed_slow.add(1),
            CloseReason::Fault => self.closed_fault.add(1),
        }
    }
}
