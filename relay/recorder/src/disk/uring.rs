//! Files through io_uring: a task a file, so that one that waits for the disk holds up no other.

use super::{Batch, Order, QUEUE_BYTES_MAX, SYNC, Shared, TellClosed, len_of};
use crate::folder::work_folder;
use crate::matroska::{HEAD_BYTES, Written};
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, timeout_at};
use tokio_uring::Runtime;
use tokio_uring::fs::File;

/// Entries of the ring: writes that are handed to the kernel at once.
const ENTRIES: u32 = 256;
/// What is written to a file at once.
const BATCH_BYTES_MAX: usize = 1 << 20;
const _: () = assert!(BATCH_BYTES_MAX <= QUEUE_BYTES_MAX);

/// The ring, if the kernel gives one.
pub(super) fn runtime() -> io::Result<Runtime> {
    Runtime::new(tokio_uring::builder().entries(ENTRIES))
}

/// Until there are no more orders, and all files are written.
pub(super) async fn write_all(mut orders: UnboundedReceiver<Order>, told: TellClosed) {
    // By where its shared part lies, which its task keeps.
    let mut files: BTreeMap<usize, UnboundedSender<Written>> = BTreeMap::new();
    let mut tasks: Vec<JoinHandle<()>> = Vec::new();
    let key = |shared: &Arc<Shared>| Arc::as_ptr(shared).addr();
    while let Some(order) = orders.recv().await {
        match order {
            Order::Begin(shared) => {
                let (queue, written) = unbounded_channel();
                files.insert(key(&shared), queue);
                tasks.retain(|task| !task.is_finished());
                tasks.push(tokio_uring::spawn(write_file(shared, written, Arc::clone(&told))));
            }
            Order::Write(shared, written) => {
                let len = len_of(&written);
                if files.get(&key(&shared)).is_none_or(|queue| queue.send(written).is_err()) {
                    shared.written(len);
                }
            }
            // Its task ends with its queue.
            Order::Finish(shared) => drop(files.remove(&key(&shared))),
            Order::End => break,
        }
    }
    drop(files);
    for task in tasks {
        // It has said why.
        let _ = task.await;
    }
}

/// One file, from its beginning to its end.
async fn write_file(shared: Arc<Shared>, mut queue: UnboundedReceiver<Written>, told: TellClosed) {
    if let Err(why) = write(&shared, &mut queue).await {
        shared.fail(&why);
    }
    // What is still to come is not written.
    while let Some(written) = queue.recv().await {
        shared.written(len_of(&written));
    }
    told(&shared.id);
}

async fn write(shared: &Arc<Shared>, queue: &mut UnboundedReceiver<Written>) -> io::Result<()> {
    let file = File::from_std(create(Arc::clone(shared)).await?);
    let (mut end, mut synchronised, mut is_dirty) = (HEAD_BYTES as u64, Instant::now(), false);
    loop {
        let first = if is_dirty {
            timeout_at(synchronised + SYNC, queue.recv()).await.map_err(|_| ())
        } else {
            Ok(queue.recv().await)
        };
        let batch = match first {
            Ok(None) => break,
            Ok(Some(first)) => gather(first, queue),
            Err(()) => Batch::default(),
        };
        let len = batch.len;
        let written = write_batch(&file, batch, &mut end).await;
        shared.written(len);
        written?;
        is_dirty |= len > 0;
        if is_dirty && synchronised.elapsed() >= SYNC {
            file.sync_data().await?;
            (synchronised, is_dirty) = (Instant::now(), false);
        }
    }
    file.sync_data().await?;
    file.close().await
}

/// What waits, as far as it is written at once.
fn gather(first: Written, queue: &mut UnboundedReceiver<Written>) -> Batch {
    let mut batch = Batch::default();
    batch.add(first);
    while batch.len < BATCH_BYTES_MAX
        && let Ok(next) = queue.try_recv()
    {
        batch.add(next);
    }
    batch
}

async fn write_batch(file: &File, batch: Batch, end: &mut u64) -> io::Result<()> {
    if !batch.head.is_empty() {
        file.write_all_at(batch.head, 0).await.0?;
    }
    if !batch.clusters.is_empty() {
        let len = batch.clusters.len() as u64;
        file.write_all_at(batch.clusters, *end).await.0?;
        *end += len;
    }
    Ok(())
}

/// Opening is no operation of this runtime that makes folders too, so it waits on a thread of its own.
async fn create(shared: Arc<Shared>) -> io::Result<std::fs::File> {
    let created = spawn_blocking(move || {
        let file = shared.create()?;
        std::fs::File::open(work_folder(&shared.directory, &shared.id))?.sync_all()?;
        Ok(file)
    });
    created.await.map_err(io::Error::other)?
}
