//! Plain files: one thread writes, another one synchronises.

use super::{Batch, Order, SYNC, Shared, TellClosed};
use crate::folder::work_folder;
use crate::matroska::HEAD_BYTES;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use tokio::sync::mpsc::UnboundedReceiver;

/// Orders that are looked at together.
const BATCH_ORDERS_MAX: usize = 256;

/// A file and what its synchronisation must know.
struct Synced {
    shared: Arc<Shared>,
    file: File,
    is_dirty: AtomicBool,
    /// Nobody writes to it any more.
    is_closed: AtomicBool,
}

/// A file on the writer's side.
struct Open {
    synced: Arc<Synced>,
    end: u64,
    batch: Batch,
}

pub(super) struct Writer {
    open: Vec<Open>,
    told: TellClosed,
    synchroniser: Sender<Arc<Synced>>,
}

impl Writer {
    pub(super) fn start(told: TellClosed) -> io::Result<Self> {
        let (synchroniser, begun) = channel();
        std::thread::Builder::new().name("sync".into()).spawn(move || synchronise(&begun))?;
        Ok(Self { open: Vec::new(), told, synchroniser })
    }

    /// Until there are no more orders.
    pub(super) fn write_all(mut self, mut orders: UnboundedReceiver<Order>) {
        let mut batch = Vec::new();
        while orders.blocking_recv_many(&mut batch, BATCH_ORDERS_MAX) > 0 {
            for order in batch.drain(..) {
                match order {
                    Order::Begin(shared) => self.begin(shared),
                    Order::Write(shared, written) => match self.find(&shared) {
                        Some(at) => self.open[at].batch.add(written),
                        None => shared.written(super::len_of(&written)),
                    },
                    Order::Finish(shared) => self.close(&shared),
                    Order::End => {
                        (0..self.open.len()).for_each(|at| self.flush(at));
                        self.open.iter().for_each(|open| open.synced.synchronise());
                        return;
                    }
                }
            }
            (0..self.open.len()).for_each(|at| self.flush(at));
            // Nothing comes behind what is missing.
            self.open.retain(|open| open.synced.shared.failed.get().is_none());
        }
    }

    fn find(&self, shared: &Arc<Shared>) -> Option<usize> {
        self.open.iter().position(|open| Arc::ptr_eq(&open.synced.shared, shared))
    }

    fn begin(&mut self, shared: Arc<Shared>) {
        match shared.create() {
            Ok(file) => {
                let (is_dirty, is_closed) = (AtomicBool::new(true), AtomicBool::new(false));
                let synced = Arc::new(Synced { shared, file, is_dirty, is_closed });
                // Without the thread nothing is synchronised, and all the same written.
                let _ = self.synchroniser.send(Arc::clone(&synced));
                self.open.push(Open { synced, end: HEAD_BYTES as u64, batch: Batch::default() });
            }
            Err(why) => shared.fail(&why),
        }
    }

    fn flush(&mut self, at: usize) {
        let Open { synced, end, batch } = &mut self.open[at];
        if batch.len == 0 {
            return;
        }
        let Batch { head, clusters, len } = std::mem::take(batch);
        if synced.shared.failed.get().is_none() {
            let written = synced.file.write_all_at(&head, 0);
            match written.and_then(|()| synced.file.write_all_at(&clusters, *end)) {
                Ok(()) => *end += clusters.len() as u64,
                Err(why) => synced.shared.fail(&why),
            }
            synced.is_dirty.store(true, Ordering::Release);
        }
        synced.shared.written(len);
    }

    fn close(&mut self, shared: &Arc<Shared>) {
        if let Some(at) = self.find(shared) {
            self.flush(at);
            self.open.swap_remove(at).synced.is_closed.store(true, Ordering::Release);
        }
        (self.told)(&shared.id);
    }
}

impl Synced {
    fn synchronise(&self) {
        if self.is_dirty.swap(false, Ordering::Acquire)
            && let Err(why) = self.file.sync_data()
        {
            self.shared.fail(&why);
        }
    }
}

/// Each file twice a second, and once more when it is closed; the folder of a new one.
fn synchronise(begun: &Receiver<Arc<Synced>>) {
    let mut files: Vec<Arc<Synced>> = Vec::new();
    loop {
        let new = match begun.recv_timeout(SYNC) {
            Ok(new) => Some(new),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => return,
        };
        if let Some(new) = new {
            let folder = work_folder(&new.shared.directory, &new.shared.id);
            if let Err(why) = File::open(folder).and_then(|folder| folder.sync_all()) {
                new.shared.fail(&why);
            }
            files.push(new);
            continue;
        }
        files.retain(|file| {
            let is_closed = file.is_closed.load(Ordering::Acquire);
            file.synchronise();
            !is_closed && file.shared.failed.get().is_none()
        });
    }
}
