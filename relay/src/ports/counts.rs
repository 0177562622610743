//! Counters of local ports. One writer, the ports' thread; the control thread reads them.

use super::process::CloseReason;
use relay_control::Counter;
use std::sync::atomic::{AtomicU64, Ordering};

/// A counter that one thread raises and others read.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

macro_rules! counts {
    ($($(#[$doc:meta])* $field:ident = $name:literal),+ $(,)?) => {
        #[derive(Debug, Default)]
        pub struct Counts {
            $($(#[$doc])* pub $field: Count,)+
        }

        impl Counts {
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
    /// Connections refused because too many processes were connected.
    refused_limit = "port.refused.limit",
    /// Connections refused because the process is another user's.
    refused_uid = "port.refused.uid",
    /// Connections refused because another process is connected under the same name.
    refused_name = "port.refused.name",
    /// Processes disconnected because they sent octets that do not decode as a frame.
    closed_bad_frame = "port.closed.bad_frame",
    /// Processes disconnected because they did not send their name in time.
    closed_no_hello = "port.closed.nameless",
    /// Processes disconnected because they did not read.
    closed_slow = "port.closed.slow",
    /// Processes disconnected because a packet of theirs made a shard panic.
    closed_fault = "port.closed.fault",
    /// Panics of the ports' thread.
    panicked = "port.panicked",
    /// Frames of a later version, skipped.
    unknown_frames = "port.unknown_frames",
    /// Messages about tracks that are not the process's business, or that found the shard's queue full.
    refused_messages = "port.refused_messages",
    /// Packets that shards wrote for processes.
    out_received = "port.out.received",
    /// Those of `out_received` that were written to the process's socket buffer.
    out_written = "port.out.written",
    /// Those of `out_received` dropped because the process reads too slowly.
    dropped_slow = "port.dropped.slow",
    /// Those of `out_received` dropped because the process no longer taps the track.
    dropped_untapped = "port.dropped.untapped",
    /// Those of `out_received` dropped because the process is gone.
    dropped_gone = "port.dropped.gone",
    /// Packets that processes sent.
    in_received = "port.in.received",
    /// Those of `in_received` that were written into a shard's queue.
    in_sent = "port.in.sent",
    /// Those of `in_received` dropped because the shard's queue was full.
    dropped_queue_full = "port.dropped.queue_full",
    /// Those of `in_received` dropped because the source sends more than its policed rate.
    dropped_policed = "port.dropped.policed",
    /// Those of `in_received` dropped because the process was not ordered to send the track.
    dropped_no_source = "port.dropped.no_source",
}

impl Counts {
    /// Counts why a process was disconnected.
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
