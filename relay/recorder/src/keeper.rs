//! The thread that keeps the directory: what is stored of recordings, what is removed, and how much room is
//! left.
//!
//! Invariants
//! - Orders about one recording are done in their order; the making of its file is the last one before it is
//!   removed.
//! - What could not be stored is stored when the disk takes it, and of what waits to be stored the latest
//!   only.
//! - Somebody hears of a change of the room within [`CHECK`].
//!
//! Deliberately absent: parts while they are written.

use crate::config::MinFree;
use crate::entry::Stored;
use crate::finish::{Finishers, Job};
use crate::folder::{self, Lock};
use crate::publish::write_description;
use crate::removal::remove;
use crate::space::Space;
use recorder_control::{Failure, FailureCode, Recording};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

/// How often the disk is asked how much room there is.
const CHECK: Duration = Duration::from_millis(500);

/// Hears why nothing may be written, or that it may, when that changes.
pub type TellSpace = Arc<dyn Fn(Option<Failure>) + Send + Sync>;

/// What the thread is to do.
#[derive(Debug)]
pub enum Order {
    /// See [`folder::save`].
    Save(Box<Stored>),
    /// See [`write_description`].
    Describe(Box<Recording>),
    /// See [`remove`].
    Remove(Box<Recording>),
    /// A file is to be made.
    Finish(Box<Job>),
}

/// The thread.
pub struct Keeper {
    orders: Sender<Order>,
    /// Says nothing, and ends with the thread.
    ended: Receiver<()>,
}

impl Keeper {
    /// Starts it.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start(
        directory: PathBuf,
        lock: Lock,
        min_free: MinFree,
        finishers: Finishers,
        told: TellSpace,
    ) -> io::Result<Self> {
        let (orders, received) = channel();
        let (running, ended) = channel::<()>();
        let space = Space::new(min_free);
        let mut room = Room { directory, lock, finishers, told, space, low: None, unsaved: BTreeMap::new() };
        std::thread::Builder::new().name("keeper".into()).spawn(move || {
            // Dropped with the thread.
            let _running = running;
            room.run(&received);
        })?;
        Ok(Self { orders, ended })
    }

    /// Does it next.
    pub fn order(&self, order: Order) {
        // Without the thread nothing is kept, and it has said why.
        let _ = self.orders.send(order);
    }

    /// Waits until all that was ordered is done, so long at most.
    pub fn end(self, timeout: Duration) {
        drop(self.orders);
        if let Err(RecvTimeoutError::Timeout) = self.ended.recv_timeout(timeout) {
            tracing::error!("the disk does not answer: what was last known of recordings is not stored");
        }
    }
}

struct Room {
    directory: PathBuf,
    lock: Lock,
    finishers: Finishers,
    told: TellSpace,
    space: Space,
    /// As it was told last.
    low: Option<Failure>,
    /// By id: what the disk refused.
    unsaved: BTreeMap<String, Box<Stored>>,
}

impl Room {
    fn run(&mut self, orders: &Receiver<Order>) {
        let mut checked = Instant::now();
        let mut waiting = VecDeque::new();
        self.check();
        loop {
            if waiting.is_empty() {
                match orders.recv_timeout(CHECK.saturating_sub(checked.elapsed())) {
                    Ok(order) => waiting.push_back(order),
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            }
            orders.try_iter().for_each(|order| add(&mut waiting, order));
            if let Some(order) = waiting.pop_front() {
                self.handle(order);
            }
            if checked.elapsed() >= CHECK {
                checked = Instant::now();
                self.check();
            }
        }
    }

    fn handle(&mut self, order: Order) {
        match order {
            Order::Save(stored) => self.save(stored, true),
            Order::Describe(recording) => {
                let described = write_description(&self.directory, &recording);
                complain(&recording.file, described);
            }
            Order::Remove(recording) => {
                self.unsaved.remove(&recording.id);
                complain(&recording.file, remove(&self.directory, &recording));
            }
            Order::Finish(job) => {
                self.unsaved.remove(&job.recording.id);
                self.finishers.order(*job);
            }
        }
    }

    fn save(&mut self, stored: Box<Stored>, is_first: bool) {
        let id = stored.wanted.id.clone();
        match folder::save(&self.directory, &stored) {
            Ok(()) => drop(self.unsaved.remove(&id)),
            Err(why) => {
                if is_first {
                    tracing::error!("recording {id} cannot be described ({why}); it is tried again");
                }
                self.unsaved.insert(id, stored);
            }
        }
    }

    fn check(&mut self) {
        let low = match self.lock.check(&self.directory).and_then(room) {
            Ok((free, size)) => self.space.handle(free, size),
            Err(why) => Some(gone(&self.directory, &why)),
        };
        // Figures in the words change all the time.
        if self.low.as_ref().map(|low| low.code) != low.as_ref().map(|low| low.code) {
            (self.told)(low.clone());
            self.low = low;
        }
        if self.low.is_none() {
            for stored in std::mem::take(&mut self.unsaved).into_values() {
                self.save(stored, false);
            }
        }
    }
}

/// One more order. What is to be stored of a recording takes the place of what was.
fn add(waiting: &mut VecDeque<Order>, order: Order) {
    if let Order::Save(stored) = &order {
        let of_it =
            |other: &&mut Order| matches!(other, Order::Save(other) if other.wanted.id == stored.wanted.id);
        if let Some(before) = waiting.iter_mut().find(of_it) {
            *before = order;
            return;
        }
    }
    waiting.push_back(order);
}

/// Octets that we may write, and octets of all.
fn room(file: &std::fs::File) -> io::Result<(u64, u64)> {
    let disk = rustix::fs::fstatvfs(file)?;
    Ok((disk.f_bavail.saturating_mul(disk.f_frsize), disk.f_blocks.saturating_mul(disk.f_frsize)))
}

fn gone(directory: &Path, why: &io::Error) -> Failure {
    let info = format!("{} cannot be used ({why}): bring it back", directory.display());
    Failure { code: FailureCode::Disk, info }
}

fn complain(file: &str, done: io::Result<()>) {
    if let Err(why) = done {
        tracing::error!("{file}: {why}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use recorder_control::{Kind, State, Wanted};

    fn stored(id: &str, state: State) -> Box<Stored> {
        let (id, file) = (id.to_owned(), "a.mkv".to_owned());
        let wanted = Wanted { id, kind: Kind::Room, file, started_at_ms: 1, aligned_at_ms: None };
        let mut stored = Stored::unlabelled(&wanted);
        stored.recording.state = state;
        Box::new(stored)
    }

    /// Many recordings that begin at once: the disk is asked for the latest of each only.
    #[test]
    fn of_what_waits_to_be_stored_the_latest_is() {
        let mut waiting = VecDeque::new();
        for (id, state) in [
            ("00000001", State::Recording),
            ("00000002", State::Recording),
            ("00000001", State::Paused),
            ("00000001", State::Finishing),
        ] {
            add(&mut waiting, Order::Save(stored(id, state)));
        }
        let removed = stored("00000002", State::Failed);
        add(&mut waiting, Order::Remove(Box::new(removed.recording)));
        let states: Vec<(String, Option<State>)> = waiting
            .iter()
            .map(|order| match order {
                Order::Save(stored) => (stored.wanted.id.clone(), Some(stored.recording.state)),
                Order::Remove(recording) => (recording.id.clone(), None),
                other => panic!("{other:?}"),
            })
            .collect();
        let want =
            [("00000001", Some(State::Finishing)), ("00000002", Some(State::Recording)), ("00000002", None)];
        assert_eq!(states, want.map(|(id, state)| (id.to_owned(), state)));
    }
}
