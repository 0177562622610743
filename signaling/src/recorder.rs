//! The link to the recorder: speaks `recorder-control` over its Unix socket, and starts the recorder when
//! nobody listens.
//!
//! Invariants
//! - What is known of recordings is what the recorder says: the [`Catalogue`] has all of them once it is up,
//!   keeps them while it is away, and forgets those that the next one does not tell.
//! - Orders that are given while it is away are said when it comes back, in their order; there is a bound on
//!   them. All are idempotent.
//! - The recorder is found again by its socket, whoever started it, and is checked as the relay is
//!   ([`crate::reach`]). A dead relay ends it as little as a dead signaling.
//! - What fails is tried again after a pause that grows.
//!
//! Deliberately absent: what is recorded, which is the hub's to decide and the relay's to hand on.

mod catalogue;
mod connection;

pub use catalogue::{Catalogue, Changes, Filter, Page, Place};

use crate::backoff::Backoff;
use crate::process::{self, Process, Program};
use crate::reach::{listener, random, reach};
use connection::{Ended, converse};
use recorder_control::{Order, Recording};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::VecDeque;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, SystemTime};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

/// Orders that wait for a recorder that is away; the oldest go for more.
pub const ORDERS_MAX: usize = 10_000;
/// Events that wait for the hub; the recorder waits behind them.
pub const EVENTS_MAX: usize = 1_024;

/// Orders that wait for the link.
const COMMANDS_MAX: usize = 1_024;

/// Between attempts to connect to one that is being started.
const RETRY: Duration = Duration::from_millis(50);
/// One that lived this long was not ended by its settings, and goes on with its recordings at once. It is
/// short: what is not recorded meanwhile is lost.
const HEALTHY: Duration = Duration::from_secs(1);
/// Pauses between starts of one that ends at once grow up to this: it says each time what is wrong.
const START_PAUSE_MAX: Duration = Duration::from_secs(30);
/// How long it may take to end: it closes its files.
const END_LIMIT: Duration = Duration::from_secs(5);

/// Where the recorder is, and whether to start it.
#[derive(Clone, Debug)]
pub struct RecorderSettings {
    pub control_socket: PathBuf,
    /// `recording.directory`: one that writes elsewhere is another server's, and not spoken to.
    pub directory: PathBuf,
    /// What to start when nobody listens there; `None` = wait.
    pub program: Option<RecorderProgram>,
}

/// The recorder's program.
#[derive(Clone, Debug)]
pub struct RecorderProgram {
    pub binary: PathBuf,
    /// Its settings file, the same as ours.
    pub config: Option<PathBuf>,
    /// Where the relay gives tracks.
    pub port_socket: PathBuf,
    /// Where it shall listen.
    pub control_socket: PathBuf,
}

impl From<RecorderProgram> for Program {
    fn from(recorder: RecorderProgram) -> Self {
        let mut arguments = Vec::new();
        if let Some(config) = recorder.config {
            arguments.extend(["--config".into(), config.into()]);
        }
        arguments.extend(["--port-socket".into(), recorder.port_socket.into()]);
        arguments.extend(["--control-socket".into(), recorder.control_socket.into()]);
        Self {
            binary: recorder.binary,
            arguments,
            variable: None,
            setting: "recording.recorder_binary",
            healthy: HEALTHY,
            pause_max: START_PAUSE_MAX,
        }
    }
}

/// What the link tells.
#[derive(Clone, Debug, PartialEq)]
pub enum RecorderEvent {
    /// A recorder is there. What it has follows, then [`Self::Synced`].
    Up,
    /// A recording is there, or has changed.
    Recording(Box<Recording>),
    /// Its id: it is gone, with its files.
    Deleted(String),
    /// All that there are have been told.
    Synced,
    /// It is not there any more.
    Down,
}

/// What the link is told.
#[derive(Debug)]
pub enum RecorderCommand {
    /// For the recorder.
    Order(Order),
    /// Ends the recorder, then the link; the sender is dropped when that is done.
    End(oneshot::Sender<()>),
}

/// What is known of all recordings, for whoever asks.
#[derive(Debug)]
pub struct Recordings {
    catalogue: RwLock<Catalogue>,
    changes: watch::Sender<u64>,
    /// Tells the numbers of changes from those of a catalogue before.
    began_ms: u128,
}

impl Default for Recordings {
    fn default() -> Self {
        let began = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self { catalogue: RwLock::default(), changes: watch::Sender::default(), began_ms: began.as_millis() }
    }
}

impl Recordings {
    /// What stands for having seen the changes up to this one.
    pub fn mark(&self, seen: u64) -> String {
        format!("{:x}-{seen}", self.began_ms)
    }

    /// Which changes a mark says were seen. `None`: it is of another catalogue, or no mark.
    pub fn seen(&self, mark: &str) -> Option<u64> {
        let (began, seen) = mark.split_once('-')?;
        (u128::from_str_radix(began, 16) == Ok(self.began_ms)).then(|| seen.parse().ok())?
    }

    /// To look something up; it is not held for long.
    pub fn read(&self) -> RwLockReadGuard<'_, Catalogue> {
        self.catalogue.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Told each time that something has changed.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn write(&self) -> RwLockWriteGuard<'_, Catalogue> {
        self.catalogue.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn changed(&self) {
        self.changes.send_modify(|changes| *changes = changes.wrapping_add(1));
    }
}

/// What everybody else has of the recorder.
#[derive(Clone, Debug)]
pub struct RecorderHandle {
    pub recordings: Arc<Recordings>,
    pub commands: mpsc::Sender<RecorderCommand>,
}

impl RecorderHandle {
    /// With the other end, for the link.
    pub fn new() -> (Self, mpsc::Receiver<RecorderCommand>) {
        let (commands, receiver) = mpsc::channel(COMMANDS_MAX);
        (Self { recordings: Arc::default(), commands }, receiver)
    }

    /// Of a server that records nothing.
    pub fn of_nobody() -> Self {
        Self::new().0
    }
}

/// What went wrong with a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LinkFailure {
    /// Another user could be, or is, at the other end: nothing was said.
    Untrusted(String),
    /// What came is not what a recorder says.
    Malformed(String),
    /// It has this directory and is not ours, whose directory is the second.
    OtherDirectory(PathBuf, PathBuf),
    /// No greeting came in time.
    Silent,
    /// The other side closed it.
    Closed,
    /// The program that we start ends again, or cannot be started.
    NotStarted(String),
}

impl fmt::Display for LinkFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(why) => write!(
                f,
                "what listens on the recorder's socket does not speak as a recorder does ({why}): is it one of this version?"
            ),
            Self::OtherDirectory(theirs, ours) => write!(
                f,
                "NOTHING IS RECORDED: the recorder that runs here writes to {}, and recording.directory is {}. It is \
                 another server's, or was started with other settings: give this server a relay.control_socket of its \
                 own, or end that recorder",
                theirs.display(),
                ours.display()
            ),
            Self::Silent => f.write_str("the recorder does not answer on its control socket"),
            Self::Closed => f.write_str("the recorder closed the connection"),
            Self::NotStarted(why) => write!(
                f,
                "NOTHING IS RECORDED until this is mended: {why}. What the recorder itself says of it stands before this"
            ),
            Self::Untrusted(why) => f.write_str(why),
        }
    }
}

/// Runs until it is told to end, or the commands' other end is gone.
pub async fn run(
    settings: RecorderSettings,
    recordings: Arc<Recordings>,
    commands: mpsc::Receiver<RecorderCommand>,
    listeners: Vec<mpsc::Sender<RecorderEvent>>,
) {
    let mut link = Link {
        process: settings.program.map(|program| Process::new(program.into())),
        control_socket: settings.control_socket,
        directory: settings.directory,
        recordings,
        commands,
        listeners,
        orders: VecDeque::new(),
        pid: None,
        end: None,
        backoff: Backoff::new(HEALTHY),
    };
    while let Some(stream) = link.connect().await {
        let since = Instant::now();
        match converse(&mut link, stream).await {
            Ended::Lost(why) => {
                link.down().await;
                if matches!(why, LinkFailure::OtherDirectory(..)) {
                    // Not ours to end.
                    link.pid = None;
                }
                let pause = link.backoff.failed(&why, since.elapsed(), random());
                if link.pause(pause).await.is_none() {
                    return;
                }
            }
            Ended::Told(done) => link.end = Some(done),
            Ended::HubGone => return,
        }
    }
    link.end_recorder().await;
}

struct Link {
    process: Option<Process>,
    control_socket: PathBuf,
    directory: PathBuf,
    recordings: Arc<Recordings>,
    commands: mpsc::Receiver<RecorderCommand>,
    /// Who hears what happens, each in its turn.
    listeners: Vec<mpsc::Sender<RecorderEvent>>,
    /// That the recorder has not been told.
    orders: VecDeque<Order>,
    /// Who listens on the control socket, if it is a process that we can see.
    pid: Option<Pid>,
    /// We were told to end it.
    end: Option<oneshot::Sender<()>>,
    backoff: Backoff<LinkFailure>,
}

impl Link {
    /// `None`: told to end.
    async fn connect(&mut self) -> Option<UnixStream> {
        loop {
            if self.end.is_some() {
                return None;
            }
            let failed = match reach(&self.control_socket).await {
                Ok(Some(stream)) => {
                    self.pid = listener(&stream);
                    return Some(stream);
                }
                Ok(None) => {
                    self.pid = None;
                    let started = self.process.as_mut().map_or(Ok(()), Process::ensure_running);
                    started.err().map(LinkFailure::NotStarted)
                }
                Err(why) => Some(LinkFailure::Untrusted(why.to_string())),
            };
            let pause = match &failed {
                // The process has pauses of its own; this says it, once.
                Some(why @ LinkFailure::NotStarted(_)) => {
                    self.backoff.failed(why, Duration::ZERO, random());
                    RETRY
                }
                Some(why) => self.backoff.failed(why, Duration::ZERO, random()),
                None => self.process.as_ref().map_or(RETRY * 4, |_| RETRY),
            };
            self.pause(pause).await?;
        }
    }

    /// Waits, and takes what comes meanwhile; an order to end ends the pause.
    async fn pause(&mut self, pause: Duration) -> Option<()> {
        let pause = tokio::time::sleep(pause);
        tokio::pin!(pause);
        while self.end.is_none() {
            tokio::select! {
                () = &mut pause => break,
                command = self.commands.recv() => match command? {
                    RecorderCommand::Order(order) => self.remember(order),
                    RecorderCommand::End(done) => self.end = Some(done),
                },
            }
        }
        Some(())
    }

    fn remember(&mut self, order: Order) {
        if self.orders.len() >= ORDERS_MAX {
            tracing::error!("the recorder does not take orders; {:?} is given up", self.orders.pop_front());
        }
        self.orders.push_back(order);
    }

    /// Some may listen no more.
    async fn tell(&self, event: RecorderEvent) {
        for listener in &self.listeners {
            let _ = listener.send(event.clone()).await;
        }
    }

    async fn down(&mut self) {
        let was_up = self.recordings.write().went_down();
        if was_up {
            tracing::warn!("the connection to the recorder broke");
            self.recordings.changed();
            self.tell(RecorderEvent::Down).await;
        }
    }

    /// By a signal, be it started by us or found running: it closes its files and finishes them another time.
    async fn end_recorder(&mut self) {
        if let Some(process) = &mut self.process {
            process.terminate();
        }
        if let Some(pid) = self.pid {
            let _ = kill_process(pid, Signal::TERM);
        }
        let gone = async {
            if let Some(process) = &mut self.process {
                process.wait().await;
            }
            if let Some(pid) = self.pid {
                process::gone(pid).await;
            }
        };
        if tokio::time::timeout(END_LIMIT, gone).await.is_err() {
            tracing::warn!("the recorder does not end");
        }
    }
}
