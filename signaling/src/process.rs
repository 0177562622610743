//! A process of ours, the relay's or the recorder's: started, watched, started again with growing pauses.
//!
//! It has a process group of its own and lives on when we end. Whether it runs is asked for; nothing happens
//! by itself.

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::process::{Child, Command};

const PAUSE_MIN: Duration = Duration::from_millis(100);

/// A process that ended well was told to, and so, most likely, are we in the same moment: a service manager
/// stops all of a group. Our own order gets this long to arrive before another one is started.
const TOLD_TO_END: Duration = Duration::from_secs(1);

/// Between two looks whether a process that is none of our children has gone.
const LOOK_PAUSE: Duration = Duration::from_millis(10);

/// What is started.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    pub(crate) binary: PathBuf,
    pub(crate) arguments: Vec<OsString>,
    pub(crate) variable: Option<(&'static str, &'static str)>,
    /// Where the settings say which binary it is.
    pub(crate) setting: &'static str,
    /// One that lived this long was not ended by its settings: it is started again at once.
    pub(crate) healthy: Duration,
    /// Pauses between starts grow up to this.
    pub(crate) pause_max: Duration,
}

#[derive(Debug)]
pub(crate) struct Process {
    program: Program,
    child: Option<(Child, Instant)>,
    pause: Duration,
    not_before: Option<Instant>,
}

impl Process {
    pub(crate) fn new(program: Program) -> Self {
        Self { program, child: None, pause: PAUSE_MIN, not_before: None }
    }

    /// Starts it if it does not run. Called again and again while nobody listens on its socket.
    ///
    /// # Errors
    /// It ended, or could not be started; another attempt will be made after a pause.
    pub(crate) fn ensure_running(&mut self) -> Result<(), String> {
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
            let healthy = since.elapsed() >= self.program.healthy;
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
            let Program { binary, setting, .. } = &self.program;
            format!("cannot start {}: {why} (see {setting})", binary.display())
        })
    }

    fn wait_longer(&mut self) {
        self.not_before = Some(Instant::now() + self.pause);
        self.pause = (self.pause * 2).min(self.program.pause_max);
    }

    fn start(&mut self) -> std::io::Result<()> {
        let Program { binary, arguments, variable, .. } = &self.program;
        let mut command = Command::new(binary);
        command.args(arguments).envs(*variable);
        // A group of its own: Ctrl-C in our terminal is for us, and we say goodbye to it in our own words.
        command.stdin(Stdio::null()).process_group(0);
        let child = command.spawn()?;
        tracing::info!(pid = child.id(), "started {}", binary.display());
        self.child = Some((child, Instant::now()));
        Ok(())
    }

    /// Tells it to end, if it runs.
    pub(crate) fn terminate(&self) {
        let pid = self.child.as_ref().and_then(|(child, _)| child.id()).and_then(|id| i32::try_from(id).ok());
        if let Some(pid) = pid.and_then(Pid::from_raw) {
            // It may have ended by itself meanwhile; it is not waited for yet, so the number is still its
            // own.
            let _ = kill_process(pid, Signal::TERM);
        }
    }

    pub(crate) async fn wait(&mut self) {
        if let Some((child, _)) = &mut self.child {
            let _ = child.wait().await;
        }
    }
}

/// Until a process is gone that may be none of our children.
pub(crate) async fn gone(pid: Pid) {
    while test_kill_process(pid).is_ok() {
        tokio::time::sleep(LOOK_PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(binary: &str) -> Process {
        let healthy = Duration::from_secs(10);
        let setting = "signaling.relay_binary";
        Process::new(Program {
            binary: binary.into(),
            arguments: Vec::new(),
            variable: None,
            setting,
            healthy,
            pause_max: Duration::from_secs(5),
        })
    }

    #[tokio::test]
    async fn a_process_that_was_told_to_end_is_not_started_at_once() {
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

    #[tokio::test]
    async fn a_process_that_lived_is_started_again_at_once_when_it_dies() {
        let mut killed = process("/bin/false");
        killed.program.healthy = Duration::ZERO;
        for _ in 0..20 {
            killed.ensure_running().expect("started");
            assert!(killed.child.is_some(), "without a pause");
            killed.wait().await;
        }
        let why = process("/nowhere/recorder").ensure_running().expect_err("there is none");
        assert!(why.contains("(see signaling.relay_binary)"), "{why}");
    }
}
