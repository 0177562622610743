//! Log lines to standard error, through a bounded queue and a thread of its own.
//!
//! Whoever started the relay may stop reading its standard error, or die: a full or closed pipe then loses
//! lines and never holds up a shard or the control thread. Lost lines are counted.

use crate::faults::panic_text;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;

/// Lines that may wait for standard error.
const LINES_MAX: usize = 1024;

/// At the end of the process the last lines get this long to be written.
const FLUSH_MAX: Duration = Duration::from_millis(500);

/// Lines about panics in a minute.
const PANIC_LINES_MAX: u32 = 30;

/// An item of the queue to the writing thread.
#[derive(Debug)]
enum Item {
    Line(Vec<u8>),
    /// To be answered once all items before it are written.
    Flush(SyncSender<()>),
}

/// The sending side of the queue. It never blocks.
#[derive(Clone, Debug)]
struct LineQueue {
    lines: SyncSender<Item>,
    lost: Arc<AtomicU64>,
}

/// Waits, when dropped, until the lines so far are written, or nobody takes them.
#[derive(Debug)]
pub struct Guard(LineQueue);

/// A log line while it is being formatted.
#[derive(Debug)]
struct Line<'a> {
    queue: &'a LineQueue,
    text: Vec<u8>,
}

/// Starts logging for the whole process. Only the first call in a process has an effect.
///
/// # Errors
/// When the thread cannot be started.
pub fn start(level: LevelFilter) -> io::Result<Guard> {
    let (queue, lines) = LineQueue::new();
    std::thread::Builder::new().name("log".into()).spawn(move || drain(&lines, io::stderr()))?;
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_ansi(false)
        // Its own complaint about a failed write would be written to the same place, and panic.
        .log_internal_errors(false)
        .with_writer(queue.clone())
        .finish();
    // A second relay in one process (as in tests) keeps the first one's log.
    let _ = tracing::subscriber::set_global_default(subscriber);
    hear_panics();
    Ok(Guard(queue))
}

/// Panics are lines as others are, and no more of them than anybody reads: the process goes on after them,
/// and whoever found out how to cause one could cause any number. Standard error itself might block.
fn hear_panics() {
    let told = Mutex::new((Instant::now(), 0));
    std::panic::set_hook(Box::new(move |panic| {
        let Ok(mut told) = told.try_lock() else { return };
        if told.0.elapsed() >= Duration::from_secs(60) {
            *told = (Instant::now(), 0);
        }
        told.1 += 1;
        if told.1 > PANIC_LINES_MAX {
            return;
        }
        let thread = std::thread::current();
        let at = panic.location().map(ToString::to_string).unwrap_or_default();
        let text = panic_text(panic.payload());
        tracing::error!("thread '{}' panicked at {at}: {text}", thread.name().unwrap_or("?"));
    }));
}

impl Drop for Guard {
    fn drop(&mut self) {
        let (written, wait) = sync_channel(1);
        if self.0.lines.try_send(Item::Flush(written)).is_ok() {
            // Time out or hang up: either way there is nothing more to wait for.
            let _ = wait.recv_timeout(FLUSH_MAX);
        }
    }
}

fn drain(items: &Receiver<Item>, mut sink: impl Write) {
    for item in items {
        // Nobody is left to be told of a failure.
        match item {
            Item::Line(line) => drop(sink.write_all(&line)),
            Item::Flush(written) => drop(written.try_send(())),
        }
    }
}

impl LineQueue {
    fn new() -> (Self, Receiver<Item>) {
        let (sender, lines) = sync_channel(LINES_MAX);
        (Self { lines: sender, lost: Arc::default() }, lines)
    }

    fn push(&self, line: Vec<u8>) {
        let lost = self.lost.swap(0, Ordering::Relaxed);
        let mut text = line;
        if lost > 0 {
            text.extend_from_slice(format!("({lost} log lines were lost before this one)\n").as_bytes());
        }
        if self.lines.try_send(Item::Line(text)).is_err() {
            self.lost.fetch_add(lost + 1, Ordering::Relaxed);
        }
    }
}

impl<'a> MakeWriter<'a> for LineQueue {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line { queue: self, text: Vec::new() }
    }
}

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line<'_> {
    fn drop(&mut self) {
        self.queue.push(std::mem::take(&mut self.text));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_loses_lines_and_says_how_many() {
        let (queue, lines) = LineQueue::new();
        for n in 0..LINES_MAX + 3 {
            writeln!(queue.make_writer(), "{n}").expect("never fails");
        }
        let first = lines.recv();
        assert!(matches!(&first, Ok(Item::Line(line)) if line == b"0\n"), "{first:?}");
        writeln!(queue.make_writer(), "after").expect("never fails");
        let last = lines.try_iter().last();
        let want = b"after\n(3 log lines were lost before this one)\n";
        assert!(matches!(&last, Some(Item::Line(line)) if line == want), "{last:?}");
    }

    #[test]
    fn a_closed_sink_is_no_matter() {
        let (queue, lines) = LineQueue::new();
        writeln!(queue.make_writer(), "x").expect("never fails");
        drop(queue);
        drain(&lines, Closed);
    }

    #[test]
    fn the_end_waits_for_the_last_line() {
        let (queue, lines) = LineQueue::new();
        writeln!(queue.make_writer(), "last words").expect("never fails");
        let writer = std::thread::spawn(move || {
            let mut sink = Vec::new();
            drain(&lines, &mut sink);
            sink
        });
        drop(Guard(queue));
        assert_eq!(writer.join().expect("no panic"), b"last words\n");
    }

    struct Closed;

    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
}
