//! Parts on the disk, written by a thread of their own: through io_uring where the kernel allows it, else as
//! plain files.
//!
//! Invariants
//! - Whoever records never waits: files are opened, written and synchronised by the threads here.
//! - What waits for the disk is at most [`QUEUE_BYTES_MAX`] a file, and [`QUEUES_BYTES_MAX`] in all.
//! - What was written is on the disk within [`SYNC`] of its being in the file, as far as the disk keeps up;
//!   a file that is synchronised holds up no other.
//! - No file is written over, and none is readable for others (0640).
//! - What was appended is a whole cluster or the end of the file.
//!
//! Deliberately absent: what becomes of files that have ended, and room on the disk.

mod plain;
mod uring;

use crate::folder::{make_work_folder, part_path};
use crate::matroska::Written;
use crate::sink::{Sink, SinkError, Store, Stores};
use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver as Ended, channel};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// What of a file may wait for the disk: half a minute of 1 Mbit/s.
pub const QUEUE_BYTES_MAX: usize = 4 << 20;
/// What of all files may wait: 8 s of 500 files of 1 Mbit/s.
pub const QUEUES_BYTES_MAX: usize = 512 << 20;
/// How long what was written may be in the kernel's memory only, which a power cut loses.
pub const SYNC: Duration = Duration::from_millis(500);
/// How long the end waits for a disk that does not answer.
pub const END: Duration = Duration::from_secs(5);

/// How files are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// io_uring if the kernel allows it, else plain files.
    Auto,
    /// io_uring, or refuse to start.
    Uring,
    /// Plain files.
    Plain,
}

/// Hears the id of a recording whose part is closed.
pub type TellClosed = Arc<dyn Fn(&str) + Send + Sync>;

/// The writing thread.
#[derive(Debug)]
pub struct Disk {
    directory: PathBuf,
    orders: UnboundedSender<Order>,
    /// Octets of all files that wait.
    queued: Arc<AtomicUsize>,
    /// Says nothing, and ends with the thread.
    ended: Ended<()>,
    is_uring: bool,
}

/// Makes the parts of one recording.
#[derive(Debug)]
pub struct DiskStore {
    directory: PathBuf,
    id: String,
    orders: UnboundedSender<Order>,
    all_queued: Arc<AtomicUsize>,
}

/// One file.
#[derive(Debug)]
pub struct DiskSink {
    shared: Arc<Shared>,
    orders: UnboundedSender<Order>,
}

/// What the two sides of a file know.
#[derive(Debug)]
struct Shared {
    directory: PathBuf,
    id: String,
    part: u32,
    queued: AtomicUsize,
    /// Of all files.
    all_queued: Arc<AtomicUsize>,
    failed: OnceLock<(io::ErrorKind, String)>,
}

#[derive(Debug)]
enum Order {
    Begin(Arc<Shared>),
    Write(Arc<Shared>, Written),
    Finish(Arc<Shared>),
    /// Nothing is taken any more.
    End,
}

impl Disk {
    /// Starts the thread. `told` hears of parts that are closed.
    ///
    /// # Errors
    /// If the thread cannot be started, or the kernel has no io_uring for us and it must be that.
    pub fn start(directory: &Path, backend: Backend, told: TellClosed) -> io::Result<Self> {
        let (orders, received) = unbounded_channel();
        let (running, ended) = channel::<()>();
        let (started, starts) = channel();
        std::thread::Builder::new().name("writer".into()).spawn(move || {
            // Dropped with the thread.
            let _running = running;
            run(backend, received, &told, &|is_uring| {
                // Whoever starts us waits for it.
                let _ = started.send(is_uring);
            });
        })?;
        let is_uring = starts.recv().unwrap_or_else(|_| Err(io::ErrorKind::BrokenPipe.into()))?;
        let (directory, queued) = (directory.to_owned(), Arc::default());
        Ok(Self { directory, orders, queued, ended, is_uring })
    }

    /// Whether it is io_uring.
    #[must_use]
    pub const fn is_uring(&self) -> bool {
        self.is_uring
    }

    /// Makes the parts of recordings.
    #[must_use]
    pub fn stores(&self) -> DiskStores {
        let (orders, all_queued) = (self.orders.clone(), Arc::clone(&self.queued));
        DiskStores { directory: self.directory.clone(), orders, all_queued }
    }

    /// Waits until all that was ordered is done, or the disk does not answer. What sinks are given after it
    /// is refused.
    pub fn end(self) {
        // Without the thread there is nothing to end.
        let _ = self.orders.send(Order::End);
        if let Err(std::sync::mpsc::RecvTimeoutError::Timeout) = self.ended.recv_timeout(END) {
            tracing::error!("the disk does not answer: what waits for it is lost");
        }
    }
}

/// Makes the parts of recordings.
#[derive(Debug)]
pub struct DiskStores {
    directory: PathBuf,
    orders: UnboundedSender<Order>,
    all_queued: Arc<AtomicUsize>,
}

impl Stores for DiskStores {
    type Store = DiskStore;

    fn store(&mut self, id: &str) -> DiskStore {
        let (orders, all_queued) = (self.orders.clone(), Arc::clone(&self.all_queued));
        DiskStore { directory: self.directory.clone(), id: id.to_owned(), orders, all_queued }
    }
}

fn run(
    backend: Backend,
    orders: UnboundedReceiver<Order>,
    told: &TellClosed,
    started: &dyn Fn(io::Result<bool>),
) {
    let ring = if backend == Backend::Plain { None } else { Some(uring::runtime()) };
    match ring {
        Some(Ok(runtime)) => {
            started(Ok(true));
            runtime.block_on(uring::write_all(orders, Arc::clone(told)));
        }
        Some(Err(why)) if backend == Backend::Uring => started(Err(why)),
        without => {
            if let Some(Err(why)) = without {
                tracing::info!("io_uring is not to be had ({why}): files are written plainly");
            }
            match plain::Writer::start(Arc::clone(told)) {
                Ok(writer) => {
                    started(Ok(false));
                    writer.write_all(orders);
                }
                Err(why) => started(Err(why)),
            }
        }
    }
}

impl Store for DiskStore {
    type Sink = DiskSink;

    fn create(&mut self, part: u32) -> Result<DiskSink, SinkError> {
        let (directory, id) = (self.directory.clone(), self.id.clone());
        let (all_queued, failed) = (Arc::clone(&self.all_queued), OnceLock::new());
        let shared =
            Arc::new(Shared { directory, id, part, queued: AtomicUsize::new(0), all_queued, failed });
        let sink = DiskSink { shared: Arc::clone(&shared), orders: self.orders.clone() };
        sink.order(Order::Begin(shared))?;
        Ok(sink)
    }
}

impl DiskSink {
    fn order(&self, order: Order) -> Result<(), SinkError> {
        self.orders.send(order).map_err(|_| SinkError::Io(io::ErrorKind::BrokenPipe.into()))
    }
}

impl Sink for DiskSink {
    fn write(&mut self, written: Written) -> Result<(), SinkError> {
        if let Some((kind, why)) = self.shared.failed.get() {
            return Err(SinkError::Io(io::Error::new(*kind, why.clone())));
        }
        let len = len_of(&written);
        let Shared { queued, all_queued, .. } = &*self.shared;
        let has_room = |queued: &AtomicUsize, most| queued.load(Ordering::Relaxed) + len <= most;
        if !has_room(queued, QUEUE_BYTES_MAX) || !has_room(all_queued, QUEUES_BYTES_MAX) {
            return Err(SinkError::Full);
        }
        queued.fetch_add(len, Ordering::Relaxed);
        all_queued.fetch_add(len, Ordering::Relaxed);
        self.order(Order::Write(Arc::clone(&self.shared), written))
    }

    fn finish(self) {
        // Without the thread there is nobody to finish it; the next start does.
        let _ = self.order(Order::Finish(Arc::clone(&self.shared)));
    }
}

impl Shared {
    /// Makes the file, which waits for the disk.
    fn create(&self) -> io::Result<File> {
        make_work_folder(&self.directory, &self.id)?;
        let path = part_path(&self.directory, &self.id, self.part);
        File::options().read(true).write(true).create_new(true).mode(0o640).open(path)
    }

    fn fail(&self, why: &io::Error) {
        tracing::error!("part {} of recording {} cannot be written: {why}", self.part, self.id);
        let _ = self.failed.set((why.kind(), why.to_string()));
    }

    fn written(&self, len: usize) {
        self.queued.fetch_sub(len, Ordering::Relaxed);
        self.all_queued.fetch_sub(len, Ordering::Relaxed);
    }
}

const fn len_of(written: &Written) -> usize {
    match written {
        Written::Head(bytes) | Written::Cluster(bytes) => bytes.len(),
    }
}

/// What is written to a file at once: the latest head, and behind it clusters. A head knows all tracks of
/// those before it.
#[derive(Debug, Default)]
struct Batch {
    head: Vec<u8>,
    clusters: Vec<u8>,
    /// Octets that were taken from the queue.
    len: usize,
}

impl Batch {
    fn add(&mut self, written: Written) {
        self.len += len_of(&written);
        match written {
            Written::Head(bytes) => self.head = bytes,
            Written::Cluster(bytes) if self.clusters.is_empty() => self.clusters = bytes,
            Written::Cluster(bytes) => self.clusters.extend_from_slice(&bytes),
        }
    }
}

#[cfg(test)]
mod tests;
