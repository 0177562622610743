//! Plain files, written by a thread of their own; finished by another one.
//!
//! A file is called `NAME-PART.webm.unfinished` or `….mkv.unfinished` as long as it grows, and loses the last
//! part of its name when it is finished. What a process that died has left is finished by [`Disk::start`].
//!
//! Invariants
//! - Whoever records never waits: files are opened, written, synchronised and finished by the threads here.
//! - What waits for the disk is at most [`QUEUE_BYTES_MAX`] a file.
//! - One process writes to a folder.
//! - No file is written over, and none is readable for others (0640); the folder is 0750 if it is made here.
//!
//! Deliberately absent: names that come from users, and room on the disk.

use crate::matroska::{DocType, HEAD_BYTES, ScanError, Written, finish};
use crate::sink::{Sink, SinkError, Store};
use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What of a file may wait for the disk: half a minute of 1 Mbit/s.
pub const QUEUE_BYTES_MAX: usize = 4 << 20;
/// How long what was written may be in the kernel's memory only, which a power cut loses.
const SYNC: Duration = Duration::from_millis(500);
const UNFINISHED: &str = "unfinished";

/// The threads and their folder.
#[derive(Debug)]
pub struct Disk {
    folder: PathBuf,
    orders: Sender<Order>,
    threads: [JoinHandle<()>; 2],
    /// Of the folder, for as long as this process lives.
    _lock: File,
}

/// Makes the files of one recording.
#[derive(Debug)]
pub struct DiskStore {
    folder: PathBuf,
    name: String,
    orders: Sender<Order>,
}

/// One file.
#[derive(Debug)]
pub struct DiskSink {
    shared: Arc<Shared>,
    orders: Sender<Order>,
}

/// What the two sides of a file know.
#[derive(Debug, Default)]
struct Shared {
    unfinished: PathBuf,
    queued: AtomicUsize,
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
    /// Starts the threads, and finishes what lies there unfinished.
    ///
    /// # Errors
    /// If the folder cannot be made or read, or a thread not be started, or another recorder has the folder:
    /// each would finish files that the other still writes.
    pub fn start(folder: &Path) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o750).create(folder)?;
        let lock = File::open(folder)?;
        lock.try_lock().map_err(|why| match why {
            TryLockError::WouldBlock => {
                let words = format!("another recorder writes to {}: give each its own", folder.display());
                io::Error::new(io::ErrorKind::ResourceBusy, words)
            }
            TryLockError::Error(why) => why,
        })?;
        let (finisher, to_finish) = channel();
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.extension().is_some_and(|ending| ending == UNFINISHED) {
                // The receiver is here.
                let _ = finisher.send(path);
            }
        }
        let (orders, received) = channel();
        let named = |name: &str| std::thread::Builder::new().name(name.to_owned());
        let threads = [
            named("writer").spawn(move || write_all(received, finisher))?,
            named("finisher").spawn(move || to_finish.into_iter().for_each(|path| finish_file(&path)))?,
        ];
        Ok(Self { folder: folder.to_owned(), orders, threads, _lock: lock })
    }

    /// For a recording. Its name is part of the names of files, and nobody else's.
    #[must_use]
    pub fn store(&self, name: &str) -> DiskStore {
        DiskStore { folder: self.folder.clone(), name: name.to_owned(), orders: self.orders.clone() }
    }

    /// Waits until all that was ordered is done. What sinks are given after it is refused.
    pub fn end(self) {
        // Without the thread there is nothing to end.
        let _ = self.orders.send(Order::End);
        for thread in self.threads {
            // It has said why.
            let _ = thread.join();
        }
    }
}

impl Store for DiskStore {
    type Sink = DiskSink;

    fn create(&mut self, part: u32, doc_type: DocType) -> Result<DiskSink, SinkError> {
        let ending = match doc_type {
            DocType::WebM => "webm",
            DocType::Matroska => "mkv",
        };
        let unfinished = self.folder.join(format!("{}-{part}.{ending}.{UNFINISHED}", self.name));
        let shared = Arc::new(Shared { unfinished, ..Shared::default() });
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
        if self.shared.queued.load(Ordering::Relaxed) + len > QUEUE_BYTES_MAX {
            return Err(SinkError::Full);
        }
        self.shared.queued.fetch_add(len, Ordering::Relaxed);
        self.order(Order::Write(Arc::clone(&self.shared), written))
    }

    fn finish(self) {
        // Without the thread there is nobody to finish it; the next start does.
        let _ = self.order(Order::Finish(Arc::clone(&self.shared)));
    }
}

const fn len_of(written: &Written) -> usize {
    match written {
        Written::Head(bytes) | Written::Cluster(bytes) => bytes.len(),
    }
}

/// A file on the writer's side.
struct Open {
    shared: Arc<Shared>,
    file: File,
    end: u64,
    synchronised: Instant,
}

fn write_all(orders: Receiver<Order>, finisher: Sender<PathBuf>) {
    let mut open: Vec<Open> = Vec::new();
    for order in orders {
        match order {
            Order::Begin(shared) => match create(&shared.unfinished) {
                Ok(file) => {
                    let (end, synchronised) = (HEAD_BYTES as u64, Instant::now());
                    open.push(Open { shared, file, end, synchronised });
                }
                Err(why) => shared.fail(&why),
            },
            Order::Write(shared, written) => {
                let found = open.iter_mut().find(|open| Arc::ptr_eq(&open.shared, &shared));
                if let Some(Err(why)) = found.map(|open| open.write(&written)) {
                    shared.fail(&why);
                    // Nothing comes behind what is missing.
                    open.retain(|open| !Arc::ptr_eq(&open.shared, &shared));
                }
                shared.queued.fetch_sub(len_of(&written), Ordering::Relaxed);
            }
            Order::Finish(shared) => {
                open.retain(|open| !Arc::ptr_eq(&open.shared, &shared));
                // The receiver is as long there as we are.
                let _ = finisher.send(shared.unfinished.clone());
            }
            Order::End => return,
        }
    }
}

fn create(path: &Path) -> io::Result<File> {
    File::options().read(true).write(true).create_new(true).mode(0o640).open(path)
}

impl Shared {
    fn fail(&self, why: &io::Error) {
        tracing::error!("{} cannot be written: {why}", self.unfinished.display());
        let _ = self.failed.set((why.kind(), why.to_string()));
    }
}

impl Open {
    fn write(&mut self, written: &Written) -> io::Result<()> {
        match written {
            Written::Head(bytes) => self.file.write_all_at(bytes, 0)?,
            Written::Cluster(bytes) => {
                self.file.write_all_at(bytes, self.end)?;
                self.end += bytes.len() as u64;
            }
        }
        if self.synchronised.elapsed() >= SYNC {
            self.file.sync_data()?;
            self.synchronised = Instant::now();
        }
        Ok(())
    }
}

/// Finishes a file and gives it its name. One in which nothing was written goes.
fn finish_file(unfinished: &Path) {
    let result = File::options().read(true).write(true).open(unfinished).map_err(ScanError::from);
    let result = result.and_then(|file| {
        if file.metadata()?.len() <= HEAD_BYTES as u64 {
            return Ok(fs::remove_file(unfinished)?);
        }
        finish(&file)?;
        let finished = unfinished.with_extension("");
        // A name that is taken stays whose it is.
        fs::hard_link(unfinished, &finished)?;
        fs::remove_file(unfinished)?;
        tracing::info!("{} is finished", finished.display());
        Ok(())
    });
    if let Err(why) = result {
        tracing::error!("{} stays unfinished: {why}", unfinished.display());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matroska::{Block, Media, Muxer, Track};
    use relay_port::MediaTime;
    use std::os::unix::fs::PermissionsExt;

    /// What a recording of some seconds writes.
    fn written(seconds: i64) -> Vec<Written> {
        let mut muxer = Muxer::new(DocType::WebM, None);
        muxer.add_track(&Track { uid: 1, name: String::new(), media: Media::Opus }).expect("room");
        for frame in 0..seconds * 50 {
            let time = MediaTime::from_nanos(frame * 20_000_000);
            let block = Block { track: 1, time, keyframe: true, bytes: vec![0xf8, 0xff, 0xfe] };
            muxer.handle_block(block).expect("times grow");
        }
        muxer.handle_end();
        std::iter::from_fn(|| muxer.poll_written()).collect()
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).expect("readable");
        let name = |entry: io::Result<fs::DirEntry>| entry.expect("readable").file_name().into_string();
        let mut names: Vec<String> = entries.map(|entry| name(entry).expect("ours")).collect();
        names.sort();
        names
    }

    fn write(disk: &Disk, name: &str, finishes: bool) {
        let mut sink = disk.store(name).create(1, DocType::WebM).expect("never refused at once");
        written(2).into_iter().for_each(|written| sink.write(written).expect("taken"));
        if finishes {
            sink.finish();
        }
    }

    #[test]
    fn two_recorders_have_not_one_folder() {
        let folder = tempfile::tempdir().expect("a folder");
        let disk = Disk::start(folder.path()).expect("started");
        write(&disk, "a", false);
        let refused = Disk::start(folder.path()).expect_err("another has it");
        assert!(refused.to_string().contains("another recorder writes to"), "{refused}");
        disk.end();
        Disk::start(folder.path()).expect("it is free").end();
    }

    #[test]
    fn files_are_finished_at_their_end_or_at_the_next_start() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("records");
        let disk = Disk::start(&path).expect("started");
        write(&disk, "a", true);
        // Its process dies.
        write(&disk, "b", false);
        disk.store("empty").create(1, DocType::Matroska).expect("never refused at once").finish();
        disk.end();
        assert_eq!(names(&path), ["a-1.webm", "b-1.webm.unfinished"]);
        assert_eq!(fs::metadata(path.join("a-1.webm")).expect("there").permissions().mode() & 0o777, 0o640);
        fs::write(path.join("c-1.mkv.unfinished"), vec![7; 2 * HEAD_BYTES]).expect("written");
        Disk::start(&path).expect("started").end();
        // What is not ours is left alone.
        assert_eq!(names(&path), ["a-1.webm", "b-1.webm", "c-1.mkv.unfinished"]);
        let read = |name: &str| fs::read(path.join(name)).expect("there");
        assert!(read("a-1.webm") == read("b-1.webm"));
    }

    #[test]
    fn a_name_that_is_taken_is_refused_and_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("a-1.webm"), "somebody's").expect("written");
        let disk = Disk::start(folder.path()).expect("started");
        write(&disk, "a", true);
        disk.end();
        assert_eq!(names(folder.path()), ["a-1.webm", "a-1.webm.unfinished"]);
        assert_eq!(fs::read(folder.path().join("a-1.webm")).expect("there"), b"somebody's");
    }

    #[test]
    fn a_disk_that_refuses_or_is_slow_is_an_error_of_the_sink() {
        let folder = tempfile::tempdir().expect("a folder");
        let disk = Disk::start(folder.path()).expect("started");
        // No such folder.
        let mut sink = disk.store("gone/a").create(1, DocType::WebM).expect("never refused at once");
        let deadline = Instant::now() + Duration::from_secs(20);
        let refused = loop {
            match sink.write(Written::Cluster(vec![0; 10])) {
                Err(why) => break why,
                Ok(()) => assert!(Instant::now() < deadline, "it is told"),
            }
            std::thread::yield_now();
        };
        assert!(matches!(refused, SinkError::Io(why) if why.kind() == io::ErrorKind::NotFound));
        let mut sink = disk.store("a").create(1, DocType::WebM).expect("never refused at once");
        let most = Written::Cluster(vec![0; QUEUE_BYTES_MAX + 1]);
        assert!(matches!(sink.write(most), Err(SinkError::Full)));
        disk.end();
        assert!(matches!(sink.write(Written::Cluster(Vec::new())), Err(SinkError::Io(_))), "it has ended");
    }
}
