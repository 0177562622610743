//! The line to the relay: speaks `relay-control` over its Unix socket, and starts the relay when nobody listens.
//!
//! Invariants
//! - A request is answered exactly once: by the relay, or with `Err` if the relay that it was meant for is gone.
//! - Requests that were unanswered when the line broke are said again to the *same* relay process (commands are
//!   idempotent by their ids); a new process never hears what was meant for an old one.
//! - The relay we start is not our child in any other sense than that we wait for it: it has a process group of its
//!   own and lives on when we die.
//!
//! Deliberately absent: any knowledge of rooms or streams.

mod process;
mod session;

pub use process::RelayProgram;

use process::RelayProcess;
use relay_control::{Command, EventBody, Inventory, ReplyBody, Welcome};
use rustix::process::{Pid, getpid, test_kill_process};
use session::{Ended, Session};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};

/// Requests that may be unanswered at a time; more are refused at once.
pub const UNANSWERED_MAX: usize = 65_536;

/// Between attempts to connect.
const RETRY: Duration = Duration::from_millis(50);

/// How long a relay that was asked to end may take.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(5);

/// Where the relay is and whether to start it.
#[derive(Clone, Debug)]
pub struct LinkSettings {
    /// Its control socket.
    pub control_socket: PathBuf,
    /// What to start when nobody listens there; `None` = wait.
    pub program: Option<RelayProgram>,
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
    /// Something happened.
    Event(EventBody),
    /// A newer signaling has taken over: this one must end, and leave the relay alone.
    Superseded,
    /// The relay that we started ended before it was ready.
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
        process: settings.program.map(RelayProcess::new),
        control_socket: settings.control_socket,
        epoch: epoch(),
        commands,
        events,
        unanswered: BTreeMap::new(),
        boot_id: None,
        relay_pid: None,
    };
    while let Some(stream) = link.connect().await {
        let ended = Session::new(&mut link, stream).run().await;
        match ended {
            Ended::Lost => {
                if link.events.send(LinkEvent::Down).await.is_err() {
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
            Ended::NobodyAsks => return,
        }
    }
}

/// Wall clock in microseconds: a newer signaling has a higher one.
fn epoch() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

struct Link {
    process: Option<RelayProcess>,
    control_socket: PathBuf,
    epoch: u64,
    commands: mpsc::Receiver<LinkCommand>,
    events: mpsc::Sender<LinkEvent>,
    /// Requests without a reply, in the order in which they were asked.
    unanswered: BTreeMap<u64, Command>,
    /// The relay process that `unanswered` is meant for.
    boot_id: Option<u64>,
    /// Who listens on the control socket, if it is a process that we can see.
    relay_pid: Option<Pid>,
}

impl Link {
    /// `None`: told to end.
    async fn connect(&mut self) -> Option<UnixStream> {
        loop {
            if let Ok(stream) = UnixStream::connect(&self.control_socket).await {
                let pid = stream.peer_cred().ok().and_then(|peer| Pid::from_raw(peer.pid()?));
                self.relay_pid = pid.filter(|pid| *pid != getpid());
                return Some(stream);
            }
            if let Some(process) = &mut self.process
                && let Err(why) = process.ensure_running()
            {
                tracing::error!("{why}");
                self.events.send(LinkEvent::NotStarted(why)).await.ok()?;
            }
            let pause = tokio::time::sleep(self.process.as_ref().map_or(RETRY * 4, |_| RETRY));
            tokio::pin!(pause);
            loop {
                tokio::select! {
                    () = &mut pause => break,
                    command = self.commands.recv() => self.keep(command?).await?,
                }
            }
        }
    }

    /// Until the relay's process is gone, be it started by us or found running: then its ports are free.
    async fn relay_gone(&mut self) {
        if let Some(process) = &mut self.process {
            process.wait().await;
        }
        while self.relay_pid.is_some_and(|pid| test_kill_process(pid).is_ok()) {
            tokio::time::sleep(RETRY / 5).await;
        }
    }

    /// A command that comes while nobody listens. `None`: it tells us to end.
    async fn keep(&mut self, command: LinkCommand) -> Option<()> {
        match command {
            LinkCommand::Ask(id, command) => self.remember(id, command).await,
            LinkCommand::Shutdown(_) => None,
        }
    }

    async fn remember(&mut self, id: u64, command: Command) -> Option<()> {
        if self.unanswered.len() >= UNANSWERED_MAX {
            return self.events.send(LinkEvent::Reply(id, Err(()))).await.ok();
        }
        self.unanswered.insert(id, command);
        Some(())
    }

    /// Called with each greeting: what was meant for another process will never be answered.
    async fn meet(&mut self, boot_id: u64) -> Option<()> {
        if self.boot_id.is_some_and(|known| known != boot_id) {
            for id in std::mem::take(&mut self.unanswered).into_keys() {
                self.events.send(LinkEvent::Reply(id, Err(()))).await.ok()?;
            }
        }
        self.boot_id = Some(boot_id);
        Some(())
    }
}
