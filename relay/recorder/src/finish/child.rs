//! Programs of others that are started: watched, bounded, and ended.
//!
//! Invariants
//! - No shell: what is said to a program are its arguments, as they are.
//! - It reads nothing, and what it says is read as it comes and bounded: it can neither fill memory nor wait
//!   for us.
//! - It is ended, with all that it has started, when its time is over or we are to end. One that cannot be
//!   ended (it waits for a dead disk) is left, and nobody waits for it.

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::fmt;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How often it is looked whether it is over.
const LOOK: Duration = Duration::from_millis(100);
/// Longest line of what it says; the rest of it is left out.
const LINE_BYTES_MAX: usize = 1_024;
/// Reads of what it said last: what it has left behind may go on for ever.
const LAST_READS_MAX: usize = 64;
/// How long one that was killed is waited for.
const KILLED: Duration = Duration::from_secs(5);

/// Where a line came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// Standard output.
    Out,
    /// Standard error.
    Error,
}

/// Why a program did not come to its own end.
#[derive(Debug)]
pub enum ChildError {
    /// It could not be started, or watched.
    Io(io::Error),
    /// It took longer than this.
    TooLong(Duration),
    /// We are to end.
    Stopped,
}

impl fmt::Display for ChildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(why) => write!(f, "it cannot be started: {why}"),
            Self::TooLong(limit) => write!(f, "it took longer than {} s and was killed", limit.as_secs()),
            Self::Stopped => write!(f, "it was ended together with the recorder"),
        }
    }
}

impl std::error::Error for ChildError {}

impl From<io::Error> for ChildError {
    fn from(why: io::Error) -> Self {
        Self::Io(why)
    }
}

/// Runs it to its end. Each line that it says is given to `hear`.
///
/// # Errors
/// See [`ChildError`]; it does not run any more then.
pub(super) fn watch(
    mut command: Command,
    limit: Duration,
    stops: &AtomicBool,
    hear: &mut dyn FnMut(Said, &str),
) -> Result<ExitStatus, ChildError> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let begun = Instant::now();
    let mut child = command.spawn()?;
    let (out, error) = (child.stdout.take(), child.stderr.take());
    let mut out = out.map(|out| Lines::new(Said::Out, out));
    let mut error = error.map(|error| Lines::new(Said::Error, error));
    loop {
        if let Some(status) = child.try_wait()? {
            // What it said last; what it started and left may hold these open for ever.
            for _ in 0..LAST_READS_MAX {
                if !listen(&mut out, &mut error, Duration::ZERO, hear)? {
                    break;
                }
            }
            out.iter_mut().for_each(|lines| lines.end(hear));
            error.iter_mut().for_each(|lines| lines.end(hear));
            return Ok(status);
        }
        if stops.load(Ordering::Relaxed) {
            kill(child);
            return Err(ChildError::Stopped);
        }
        if begun.elapsed() > limit {
            kill(child);
            return Err(ChildError::TooLong(limit));
        }
        if !listen(&mut out, &mut error, LOOK, hear)? && out.is_none() && error.is_none() {
            std::thread::sleep(LOOK / 10);
        }
    }
}

/// Takes what is there, and waits for it so long. Whether there was something.
fn listen(
    out: &mut Option<Lines<impl Read + AsFd>>,
    error: &mut Option<Lines<impl Read + AsFd>>,
    wait: Duration,
    hear: &mut dyn FnMut(Said, &str),
) -> io::Result<bool> {
    let wait = Timespec { tv_sec: 0, tv_nsec: wait.subsec_nanos().into() };
    let fds = [out.as_ref().map(|lines| lines.from.as_fd()), error.as_ref().map(|lines| lines.from.as_fd())];
    let mut polled: Vec<PollFd<'_>> =
        fds.iter().flatten().map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)).collect();
    if polled.is_empty() {
        return Ok(false);
    }
    match poll(&mut polled, Some(&wait)) {
        Ok(0) | Err(rustix::io::Errno::INTR) => return Ok(false),
        Ok(_) => {}
        Err(why) => return Err(why.into()),
    }
    let mut ready = polled.iter().map(|fd| !fd.revents().is_empty());
    let is_ready = fds.map(|fd| fd.is_some() && ready.next() == Some(true));
    if is_ready[0] {
        take(out, hear)?;
    }
    if is_ready[1] {
        take(error, hear)?;
    }
    Ok(true)
}

fn take(lines: &mut Option<Lines<impl Read>>, hear: &mut dyn FnMut(Said, &str)) -> io::Result<()> {
    let Some(open) = lines.as_mut() else { return Ok(()) };
    if !open.read(hear)? {
        open.end(hear);
        *lines = None;
    }
    Ok(())
}

fn kill(mut child: Child) {
    // Its group has its number. It may be gone already.
    let _ = killpg(Pid::from_raw(child.id().cast_signed()), Signal::SIGKILL);
    let _ = child.kill();
    let until = Instant::now() + KILLED;
    while Instant::now() < until {
        if !matches!(child.try_wait(), Ok(None)) {
            return;
        }
        std::thread::sleep(LOOK / 10);
    }
    tracing::error!("process {} was killed, and does not end", child.id());
    // Whoever is collected late is collected by somebody.
    let _ = std::thread::Builder::new().name("reaper".into()).spawn(move || child.wait());
}

/// Lines of what a program says.
struct Lines<R> {
    said: Said,
    from: R,
    line: Vec<u8>,
}

impl<R: Read> Lines<R> {
    const fn new(said: Said, from: R) -> Self {
        Self { said, from, line: Vec::new() }
    }

    /// Takes what is there; whether there will be more.
    fn read(&mut self, hear: &mut dyn FnMut(Said, &str)) -> io::Result<bool> {
        let mut bytes = [0; 4_096];
        let count = match self.from.read(&mut bytes) {
            Ok(0) => return Ok(false),
            Ok(count) => count,
            Err(why) if why.kind() == io::ErrorKind::Interrupted => return Ok(true),
            Err(why) => return Err(why),
        };
        for octet in bytes.iter().take(count) {
            if *octet == b'\n' || *octet == b'\r' {
                self.end(hear);
            } else if self.line.len() < LINE_BYTES_MAX {
                self.line.push(*octet);
            }
        }
        Ok(true)
    }

    fn end(&mut self, hear: &mut dyn FnMut(Said, &str)) {
        if !self.line.is_empty() {
            hear(self.said, &String::from_utf8_lossy(&self.line));
            self.line.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.arg("-c").arg(script);
        command
    }

    fn run(script: &str, limit: Duration) -> (Result<ExitStatus, ChildError>, Vec<(Said, String)>) {
        let mut heard = Vec::new();
        let mut hear = |said, line: &str| heard.push((said, line.to_owned()));
        let ended = watch(shell(script), limit, &AtomicBool::new(false), &mut hear);
        (ended, heard)
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn what_is_said_is_heard_line_by_line() {
        let (ended, heard) = run("echo a; echo b >&2; printf c; exit 3", LONG);
        assert_eq!(ended.expect("ended").code(), Some(3));
        let said =
            |said| heard.iter().filter(|heard| heard.0 == said).map(|heard| heard.1.as_str()).collect();
        let (out, error): (Vec<&str>, Vec<&str>) = (said(Said::Out), said(Said::Error));
        assert_eq!((out, error), (vec!["a", "c"], vec!["b"]));
    }

    #[test]
    fn a_flood_is_bounded_and_nobody_waits_for_what_was_left_behind() {
        let (ended, heard) = run("head -c 1000000 /dev/zero; sleep 60 & exit 0", LONG);
        assert!(ended.expect("ended").success());
        assert!(heard.iter().all(|(_, line)| line.len() <= LINE_BYTES_MAX), "{}", heard.len());
    }

    #[test]
    fn time_is_over_for_all_that_it_has_started() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("pid");
        let script = format!("(trap '' TERM HUP; sleep 600) & echo $! >{}; wait", path.display());
        let (ended, _) = run(&script, Duration::from_millis(300));
        assert!(matches!(ended, Err(ChildError::TooLong(_))), "{ended:?}");
        let pid: i32 = std::fs::read_to_string(&path).expect("written").trim().parse().expect("a number");
        let deadline = Instant::now() + LONG;
        let is_there = || {
            let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            !state.is_empty() && !state.contains(") Z ")
        };
        while is_there() {
            assert!(Instant::now() < deadline, "it is gone");
            std::thread::yield_now();
        }
    }

    #[test]
    fn it_ends_with_us() {
        let ended = watch(shell("sleep 600"), LONG, &AtomicBool::new(true), &mut |_, _| {});
        assert!(matches!(ended, Err(ChildError::Stopped)), "{ended:?}");
        let missing = watch(Command::new("/nonexistent"), LONG, &AtomicBool::new(false), &mut |_, _| {});
        assert!(matches!(missing, Err(ChildError::Io(_))), "{missing:?}");
    }
}
