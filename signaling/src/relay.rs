//! The link to the relay: speaks `relay-control` over its Unix socket, and starts the relay when nobody
//! listens.
//!
//! Invariants
//! - A request is answered exactly once: by the relay, or with `Err` if the relay that it was meant for is
//!   gone.
//! - Commands for one transport keep their order, and what the relay has no room for is asked again
//!   ([`requests`]).
//! - Requests that were unanswered when the connection broke are said again to the *same* relay process
//!   (commands are idempotent by their ids); a new process never hears what was meant for an old one.
//! - The relay that we start has a process group of its own and lives on when we end; we only wait for it.
//! - A controller that was accepted once and is refused later ends: of two signalings the one that was
//!   started last has the relay, and they do not take it from each other. Only one that was never accepted
//!   goes above the epoch that it is refused for.
//! - Nothing is sent to a process that could be another user's: the directory and the uid at the other end
//!   are checked first.
//! - What fails is tried again after a pause that grows ([`crate::backoff`]).
//!
//! Deliberately absent: any knowledge of rooms or streams.

mod connection;
mod failure;
mod requests;

pub use requests::{BUSY_LIMIT, UNANSWERED_MAX};

use crate::backoff::Backoff;
use crate::process::{self, Process, Program};
use crate::reach::{listener, random, reach};
use connection::{ControlConnection, Ended};
use failure::LinkFailure;
use relay_control::{Command, EventBody, Inventory, ReplyBody, STARTED_BY_SIGNALING, Welcome};
use requests::Requests;
use rustix::process::Pid;
use rustix::time::{ClockId, clock_gettime};
use std::path::PathBuf;
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// Between attempts to connect.
const RETRY: Duration = Duration::from_millis(50);

/// A relay, or a connection to one, that lived this long was not ended by the settings.
const HEALTHY: Duration = Duration::from_secs(10);

/// How long a relay that was asked to end may take.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(5);

/// Where the relay is and whether to start it.
#[derive(Clone, Debug)]
pub struct LinkSettings {
    pub control_socket: PathBuf,
    /// What to start when nobody listens there; `None` = wait.
    pub program: Option<RelayProgram>,
}

/// The relay's program.
#[derive(Clone, Debug)]
pub struct RelayProgram {
    pub binary: PathBuf,
    /// Its settings file, the same as ours.
    pub config: Option<PathBuf>,
    pub control_socket: PathBuf,
}

impl From<RelayProgram> for Program {
    fn from(relay: RelayProgram) -> Self {
        let mut arguments = Vec::new();
        if let Some(config) = relay.config {
            arguments.extend(["--config".into(), config.into()]);
        }
        arguments.extend(["--control-socket".into(), relay.control_socket.into()]);
        Self {
            binary: relay.binary,
            arguments,
            variable: Some((STARTED_BY_SIGNALING, "1")),
            setting: "signaling.relay_binary",
            healthy: HEALTHY,
            pause_max: Duration::from_secs(5),
        }
    }
}

/// What the link tells.
#[derive(Debug)]
pub enum LinkEvent {
    /// Connected; this is all that runs. Also after missed events.
    Up(Welcome, Inventory),
    /// Not connected any more.
    Down,
    /// The reply to a request; `Err`: that relay is gone.
    Reply(u64, Result<ReplyBody, ()>),
    Event(EventBody),
    /// A newer signaling has taken over: this one must end, and leave the relay alone.
    Superseded,
    /// There is no relay that we can use: the one that we started ended, or another user could listen in its
    /// place.
    NotStarted(String),
}

/// What the link is told.
#[derive(Debug)]
pub enum LinkCommand {
    /// A command under an id of the caller's choice, at least `1 << 32`.
    Ask(u64, Command),
    /// Ends the relay, then the link; the sender is dropped when that is done.
    Shutdown(oneshot::Sender<()>),
}

/// Runs until it is told to shut down, is superseded, or the other ends of its queues are gone.
pub async fn run(
    settings: LinkSettings,
    commands: mpsc::Receiver<LinkCommand>,
    events: mpsc::Sender<LinkEvent>,
) {
    let mut link = Link {
        process: settings.program.map(|program| Process::new(program.into())),
        control_socket: settings.control_socket,
        epoch: epoch(),
        instance: random(),
        in_command: false,
        commands,
        events,
        requests: Requests::default(),
        boot_id: None,
        relay_pid: None,
        shutdown: None,
        backoff: Backoff::new(HEALTHY),
    };
    while let Some(stream) = link.connect().await {
        let since = Instant::now();
        let (ended, was_up) = ControlConnection::new(&mut link, stream).run().await;
        match ended {
            Ended::Lost(why) => {
                if was_up && link.events.send(LinkEvent::Down).await.is_err() {
                    return;
                }
                let pause = link.backoff.failed(&why, since.elapsed(), random());
                if link.pause(pause).await.is_none() {
                    return;
                }
            }
            Ended::Superseded => {
                let _ = link.events.send(LinkEvent::Superseded).await;
                return;
            }
            Ended::Shutdown(_done) => {
                let _ = tokio::time::timeout(SHUTDOWN_LIMIT, link.relay_gone()).await;
                return;
            }
            Ended::HubGone => return,
        }
    }
}

/// Microseconds since the machine started: of two signalings on it the one that was started last has the
/// higher one, and nobody can set this clock.
fn epoch() -> u64 {
    let since = clock_gettime(ClockId::Boottime);
    let micros = since.tv_sec.saturating_mul(1_000_000).saturating_add(since.tv_nsec / 1000);
    u64::try_from(micros).unwrap_or(0).max(1)
}

struct Link {
    process: Option<Process>,
    control_socket: PathBuf,
    epoch: u64,
    instance: u64,
    /// A relay has welcomed us.
    in_command: bool,
    commands: mpsc::Receiver<LinkCommand>,
    events: mpsc::Sender<LinkEvent>,
    /// Requests without a reply.
    requests: Requests,
    /// The relay process that they are meant for.
    boot_id: Option<u64>,
    /// Who listens on the control socket, if it is a process that we can see.
    relay_pid: Option<Pid>,
    /// We were told to end the relay before we had found it.
    shutdown: Option<oneshot::Sender<()>>,
    backoff: Backoff<LinkFailure>,
}

impl Link {
    /// `None`: told to end.
    async fn connect(&mut self) -> Option<UnixStream> {
        loop {
            match reach(&self.control_socket).await {
                Ok(Some(stream)) => {
                    self.relay_pid = listener(&stream);
                    return Some(stream);
                }
                Ok(None) => {}
                Err(why) if self.shutdown.is_none() => {
                    let why = why.to_string();
                    self.events.send(LinkEvent::NotStarted(why.clone())).await.ok()?;
                    let pause = self.backoff.failed(&LinkFailure::Untrusted(why), Duration::ZERO, random());
                    self.pause(pause).await?;
                    continue;
                }
                Err(_) => {}
            }
            if self.shutdown.is_some() {
                self.end_process().await;
                return None;
            }
            if let Some(process) = &mut self.process
                && let Err(why) = process.ensure_running()
            {
                tracing::error!("{why}");
                self.events.send(LinkEvent::NotStarted(why)).await.ok()?;
            }
            self.pause(self.process.as_ref().map_or(RETRY * 4, |_| RETRY)).await?;
        }
    }

    /// Waits, and takes what comes meanwhile; an order to end the relay ends the pause, as it is for the next
    /// connection.
    async fn pause(&mut self, pause: Duration) -> Option<()> {
        let pause = tokio::time::sleep(pause);
        tokio::pin!(pause);
        while self.shutdown.is_none() {
            tokio::select! {
                () = &mut pause => break,
                command = self.commands.recv() => match command? {
                    LinkCommand::Ask(id, command) => self.remember(id, command).await?,
                    LinkCommand::Shutdown(done) => self.shutdown = Some(done),
                },
            }
        }
        Some(())
    }

    /// Our greeting was refused: somebody with this epoch is, or was, in command.
    fn refused_as_stale(&mut self, highest: u64) -> Ended {
        if self.in_command || highest < self.epoch || highest == u64::MAX {
            return Ended::Superseded;
        }
        self.epoch = highest + 1;
        Ended::Lost(LinkFailure::StaleEpoch(highest))
    }

    /// The relay that we started and that does not listen yet, or never will.
    async fn end_process(&mut self) {
        if let Some(process) = &mut self.process {
            process.terminate();
            let _ = tokio::time::timeout(SHUTDOWN_LIMIT, process.wait()).await;
        }
    }

    /// Until the relay's process is gone, be it started by us or found running: then its ports are free.
    async fn relay_gone(&mut self) {
        if let Some(process) = &mut self.process {
            process.wait().await;
        }
        if let Some(pid) = self.relay_pid {
            process::gone(pid).await;
        }
    }

    async fn remember(&mut self, id: u64, command: Command) -> Option<()> {
        for id in self.requests.ask(id, command) {
            self.events.send(LinkEvent::Reply(id, Err(()))).await.ok()?;
        }
        Some(())
    }

    /// Called with each greeting: what was meant for another process will never be answered.
    async fn greeted(&mut self, boot_id: u64) -> Option<()> {
        if self.boot_id.is_some_and(|known| known != boot_id) {
            for id in self.requests.forget_all() {
                self.events.send(LinkEvent::Reply(id, Err(()))).await.ok()?;
            }
        }
        self.boot_id = Some(boot_id);
        for id in self.requests.begin_again() {
            tracing::error!(
                id,
                "two connections to the relay broke over this request, or beside it; given up"
            );
            self.events.send(LinkEvent::Reply(id, Err(()))).await.ok()?;
        }
        Some(())
    }
}
