//! The relay's process: started, watched, started again with growing pauses.

use relay_control::STARTED_BY_SIGNALING;
use rustix::process::{Pid, Signal, kill_process};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::process::{Child, Command};

/// Pauses between starts grow up to this.
const PAUSE_MAX: Duration = Duration::from_secs(5);
const PAUSE_MIN: Duration = Duration::from_millis(100);

/// A relay that lived this long was not ended by its settings: it is started again at once.
const HEALTHY: Duration = Duration::from_secs(10);

/// A relay that ended well was told to, and so, most likely, are we in the same moment: a service manager
/// stops all of a group. Our own order gets this long to arrive before another relay is started.
const TOLD_TO_END: Duration = Duration::from_secs(1);

#[derive(Clone, Debug)]
pub struct RelayProgram {
    pub binary: PathBuf,
    /// Its settings file, the same as ours.
    pub config: Option<PathBuf>,
    pub control_socket: PathBuf,
}

#[derive(Debug)]
pub(super) struct RelayProcess {
    program: RelayProgram,
    child: Option<(Child, Instant)>,
    pause: Duration,
    not_before: Option<Instant>,
}

impl RelayProcess {
    pub(super) fn new(program: RelayProgram) -> Self {
        Self { program, child: None, pause: PAUSE_MIN, not_before: None }
    }

    /// Starts it if it does not run. Called again and again while nobody listens on the socket.
    ///
    /// # Errors
    /// It ended, or could not be started; another attempt will be made after a pause.
    pub(super) fn ensure_running(&mut self) -> Result<(), String> {
        if let Some((child, since)) = &mut self.child {
            let ended = match child.try_wait() {
                Ok(None) => return Ok(()),
                Ok(Some(status)) if status.success() => {
                    tracing::warn!("{} was told to end", self.program.binary.display());
                    self.child = None;
                    self.not_before = Some(Instant::now() + TOLD_TO_END);
                    return Ok(());
                }
                Ok(Some(status)) => format!("{} ended with {status}", self.program.binary.display()),
                Err(why) => format!("cannot watch {}: {why}", self.program.binary.display()),
            };
            let healthy = since.elapsed() >= HEALTHY;
            self.child = None;
            if healthy {
                tracing::warn!("{ended}; starting it again");
                self.pause = PAUSE_MIN;
            } else {
                self.wait_longer();
                return Err(ended);
            }
        }
        if self.not_before.is_some_and(|at| Instant::now() < at) {
            return Ok(());
        }
        self.start().map_err(|why| {
            self.wait_longer();
            format!("cannot start {}: {why} (see signaling.relay_binary)", self.program.binary.display())
        })
    }

    fn wait_longer(&mut self) {
        self.not_before = Some(Instant::now() + self.pause);
        self.pause = (self.pause * 2).min(PAUSE_MAX);
    }

    fn start(&mut self) -> std::io::Result<()> {
        let mut command = Command::new(&self.program.binary);
        if let Some(config) = &self.program.config {
            command.arg("--config").arg(config);
        }
        command.arg("--control-socket").arg(&self.program.control_socket).env(STARTED_BY_SIGNALING, "1");
        // A group of its own: Ctrl-C in our terminal is for us, and we say goodbye to the relay in our own
        // words.
        command.stdin(Stdio::null()).process_group(0);
        let child = command.spawn()?;
        tracing::info!(pid = child.id(), "started {}", self.program.binary.display());
        self.child = Some((child, Instant::now()));
        Ok(())
    }

    /// Tells it to end, if it runs.
    pub(super) fn terminate(&self) {
        let pid = self.child.as_ref().and_then(|(child, _)| child.id()).and_then(|id| i32::try_from(id).ok());
        if let Some(pid) = pid.and_then(Pid::from_raw) {
            // It may have ended by itself meanwhile; it is not waited for yet, so the number is still its
            // own.
            let _ = kill_process(pid, Signal::TERM);
        }
    }

    pub(super) async fn wait(&mut self) {
        if let Some((child, _)) = &mut self.child {
            let _ = child.wait().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(binary: &str) -> RelayProcess {
        let control_socket = PathBuf::from("/nowhere/relay.sock");
        RelayProcess::new(RelayProgram { binary: binary.into(), config: None, control_socket })
    }

    #[tokio::test]
    async fn a_relay_that_was_told_to_end_is_not_started_at_once() {
        let mut told = process("/bin/true");
        for _ in 0..2 {
            told.ensure_running().expect("started");
            told.wait().await;
            for _ in 0..10 {
                told.ensure_running().expect("it ended well");
                assert!(told.child.is_none(), "another one would outlive us if we are told to end as well");
            }
            told.not_before = None; // As if the time had passed.
        }
        let mut broken = process("/bin/false");
        broken.ensure_running().expect("started");
        broken.wait().await;
        assert!(broken.ensure_running().is_err_and(|why| why.contains("ended with")));
    }
}
