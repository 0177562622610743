//! Runs FFmpeg, Debian's program, so that it disturbs nobody: what is finished can wait, calls cannot.
//!
//! Invariants
//! - It has what processor and disk leave over (`nice` 19, idle I/O class), and is killed with the recorder,
//!   even by `kill -9`: by tools of util-linux, which every Debian has.
//! - It opens files only: no name that it is given, and none inside of a file, is another protocol's.
//! - It is killed when it takes longer than its limit.

use super::child::{ChildError, Said, watch};
use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// Lines of its complaints that are kept: the last ones.
const COMPLAINTS_MAX: usize = 8;
/// What `setpriv`, `nice` and `ionice` end with if there is no such program.
const NOT_FOUND: i32 = 127;

/// One run.
#[derive(Clone, Copy, Debug)]
pub struct Ffmpeg<'a> {
    /// `[recording] ffmpeg`.
    pub program: &'a Path,
    /// Where it runs: relative names are of this folder.
    pub directory: &'a Path,
    /// How long what it makes lasts, for the progress.
    pub duration_ms: u64,
    /// It is killed when it takes longer.
    pub limit: Duration,
    /// It is killed when this is set.
    pub stops: &'a AtomicBool,
}

/// Why FFmpeg made nothing.
#[derive(Debug)]
pub enum FfmpegError {
    /// There is none.
    Missing(String),
    /// The disk has no room for what it makes.
    DiskFull,
    /// It ended with these words.
    Failed(String),
    /// It did not end by itself.
    Child(ChildError),
}

impl fmt::Display for FfmpegError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(program) => {
                write!(f, "there is no program {program}: install it, or set [recording] ffmpeg")
            }
            Self::DiskFull => write!(f, "there is no room on the disk for what FFmpeg makes"),
            Self::Failed(words) => write!(f, "FFmpeg failed: {words}"),
            Self::Child(why) => write!(f, "FFmpeg: {why}"),
        }
    }
}

impl std::error::Error for FfmpegError {}

impl Ffmpeg<'_> {
    /// Runs it with these arguments, inputs and outputs, and tells each further percent.
    ///
    /// # Errors
    /// See [`FfmpegError`]; what it has written so far is there.
    pub fn run<A: AsRef<OsStr>>(&self, arguments: &[A], percent: &dyn Fn(u8)) -> Result<(), FfmpegError> {
        let command = self.command(arguments);
        let (mut complaints, mut told) = (VecDeque::new(), 0);
        let mut hear = |said, line: &str| match said {
            Said::Out => {
                let now = percent_of(line, self.duration_ms);
                if let Some(now) = now.filter(|now| *now > told) {
                    told = now;
                    percent(now);
                }
            }
            Said::Error => {
                complaints.push_back(line.to_owned());
                if complaints.len() > COMPLAINTS_MAX {
                    complaints.pop_front();
                }
            }
        };
        let status = watch(command, self.limit, self.stops, &mut hear).map_err(FfmpegError::Child)?;
        if status.success() {
            return Ok(());
        }
        let words = Vec::from(complaints).join("; ");
        Err(match status.code() {
            Some(NOT_FOUND) => FfmpegError::Missing(self.program.display().to_string()),
            // As the C library says it, in the locale that it has here.
            _ if words.contains("No space left on device") => FfmpegError::DiskFull,
            _ if words.is_empty() => FfmpegError::Failed(status.to_string()),
            _ => FfmpegError::Failed(words),
        })
    }

    fn command<A: AsRef<OsStr>>(&self, arguments: &[A]) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "nice", "-n", "19", "ionice", "-t", "-c", "3"]);
        command.arg(self.program).args(["-nostdin", "-hide_banner", "-v", "error"]);
        command.args(["-progress", "pipe:1", "-nostats"]).args(arguments);
        command.current_dir(self.directory).env_clear().env("LC_ALL", "C");
        command.env("PATH", std::env::var_os("PATH").unwrap_or_else(|| OsString::from("/usr/bin:/bin")));
        command
    }
}

/// An input of our own: a file and nothing else.
#[must_use]
pub fn input(path: &Path) -> [OsString; 4] {
    ["-protocol_whitelist".into(), "file".into(), "-i".into(), path.into()]
}

/// What a line of `-progress` says of the whole; it is less than all, as it has not ended.
fn percent_of(line: &str, duration_ms: u64) -> Option<u8> {
    let micros: u64 = line.strip_prefix("out_time_us=")?.parse().ok()?;
    let percent = (micros / 10).checked_div(duration_ms)?;
    Some(percent.min(99) as u8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    fn run(program: &Path, arguments: &[&str], limit: Duration) -> (Result<(), FfmpegError>, Vec<u8>) {
        let folder = tempfile::tempdir().expect("a folder");
        let (told, stops) = (RefCell::new(Vec::new()), AtomicBool::new(false));
        let ffmpeg = Ffmpeg { program, directory: folder.path(), duration_ms: 4_000, limit, stops: &stops };
        let ended = ffmpeg.run(arguments, &|percent| told.borrow_mut().push(percent));
        (ended, told.into_inner())
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn it_tells_how_far_it_is_and_what_was_wrong() {
        let make = ["-re", "-f", "lavfi", "-i", "sine=duration=1", "-f", "null", "-"];
        let (ended, told) = run(Path::new("ffmpeg"), &make, LONG);
        ended.expect("made");
        assert!(told.last().is_some_and(|last| (10..=26).contains(last)), "{told:?}");
        let (ended, _) = run(Path::new("ffmpeg"), &["-i", "nothing.mkv", "a.mp4"], LONG);
        let words = ended.expect_err("there is none").to_string();
        assert!(words.starts_with("FFmpeg failed: nothing.mkv: No such file"), "{words}");
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let (ended, _) = run(Path::new("/nonexistent/ffmpeg"), &[], LONG);
        let words = ended.expect_err("there is none").to_string();
        assert!(words.starts_with("there is no program /nonexistent/ffmpeg: install it"), "{words}");
    }

    #[test]
    fn one_that_hangs_is_killed() {
        let folder = tempfile::tempdir().expect("a folder");
        let program = folder.path().join("ffmpeg");
        std::os::unix::fs::symlink("/bin/cat", &program).expect("linked");
        // Of these arguments `cat` takes the first for an option: a program that ends by itself.
        assert!(matches!(run(&program, &[], LONG).0, Err(FfmpegError::Failed(_))));
        let make = ["-f", "lavfi", "-re", "-i", "sine", "-f", "null", "-"];
        let (ended, _) = run(Path::new("ffmpeg"), &make, Duration::from_millis(200));
        assert!(matches!(ended, Err(FfmpegError::Child(ChildError::TooLong(_)))), "{ended:?}");
    }

    #[test]
    fn a_disk_without_room_is_told() {
        let make = ["-f", "lavfi", "-i", "sine=duration=9", "-f", "s16le", "/dev/full"];
        let (ended, _) = run(Path::new("ffmpeg"), &[&["-y"][..], &make].concat(), LONG);
        assert!(matches!(ended, Err(FfmpegError::DiskFull)), "{ended:?}");
    }

    #[test]
    fn percents() {
        for (line, duration_ms, want) in [
            ("out_time_us=0", 10_000, Some(0)),
            ("out_time_us=5000000", 10_000, Some(50)),
            ("out_time_us=90000000", 10_000, Some(99)),
            ("out_time_us=5000000", 0, None),
            ("out_time_us=N/A", 10_000, None),
            ("out_time_us=-20000", 10_000, None),
            ("frame=7", 10_000, None),
        ] {
            assert_eq!(percent_of(line, duration_ms), want, "{line}");
        }
    }
}
