//! Programs of the operator that are started when a file is ready.
//!
//! Invariants
//! - No shell, and an environment of ours alone: what users have chosen is an argument of its own, and never
//!   part of a path, an option of ours or a text that anybody interprets.
//! - What a program says goes to the log, bounded and escaped, and nothing is done by it.
//! - At most [`AT_ONCE`] run at a time, each for at most its limit, which holds even if we are killed
//!   meanwhile; at most [`WAITING_MAX`] wait. Nobody waits for one.
//!
//! Deliberately absent: another try. A program that fails has its exit status in the log.

use super::child::{Said, watch};
use super::{Report, Tell};
use crate::config::{Recording as Settings, RoomScript};
use crate::mix;
use recorder_control::{Kind, Recording};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Programs that run at a time, by the kind of recording: a mix takes a core for itself.
const fn at_once(kind: Kind) -> usize {
    match kind {
        Kind::Stream => 2,
        Kind::Room => 1,
    }
}

/// How long a program may run: a file may be sent far away, a day of a room be mixed.
const fn limit(kind: Kind) -> Duration {
    match kind {
        Kind::Stream => Duration::from_secs(3_600),
        Kind::Room => Duration::from_secs(12 * 3_600),
    }
}

/// Files whose program has not been started yet, by kind.
const WAITING_MAX: usize = 10_000;
/// Lines of what a program says that are logged.
const LINES_MAX: usize = 200;
/// Longest stream name that is handed on.
const NAME_BYTES_MAX: usize = 4_096;
/// It is asked to end, and killed so much later.
const KILL_AFTER: &str = "--kill-after=10";
/// Where programs of bare names are looked for.
pub(crate) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Beside our own program.
const OWN_SCRIPT: &str = "on_multiple_record_hook.sh";

/// The threads that start them.
pub(super) struct Hooks {
    streams: Option<SyncSender<Hook>>,
    rooms: Option<SyncSender<Hook>>,
}

/// A file that is ready.
struct Hook {
    recording: Recording,
    path: PathBuf,
    tell: Tell,
}

impl Hooks {
    /// Starts the threads of those that the settings want.
    pub(super) fn start(settings: &Settings) -> io::Result<Self> {
        let streams = settings.on_record_hook_script.as_deref().map(program);
        let rooms = match &settings.on_multiple_record_hook_script {
            RoomScript::No => None,
            RoomScript::Own => own(&std::env::current_exe()?),
            RoomScript::Path(path) => Some(program(path)),
        };
        let rooms = rooms.map(|program| program.for_mix(settings));
        Ok(Self {
            streams: streams.map(|program| begin(Kind::Stream, program)).transpose()?,
            rooms: rooms.map(|program| begin(Kind::Room, program)).transpose()?,
        })
    }

    /// A file has its name.
    pub(super) fn follow(&self, recording: &Recording, path: &Path, tell: &Tell) {
        let queue = match recording.kind {
            Kind::Stream => &self.streams,
            Kind::Room => &self.rooms,
        };
        let hook = Hook { recording: recording.clone(), path: path.to_owned(), tell: Arc::clone(tell) };
        if queue.as_ref().is_some_and(|queue| queue.try_send(hook).is_err()) {
            tracing::error!("{}: too many files wait for their hook; it is not started", path.display());
        }
    }
}

/// A program, what it is told first, and what is in its environment besides [`PATH`].
#[derive(Clone, Debug, PartialEq, Eq)]
struct Program {
    path: PathBuf,
    first: Vec<OsString>,
    environment: Vec<(&'static str, OsString)>,
}

impl Program {
    const fn new(path: PathBuf, first: Vec<OsString>) -> Self {
        Self { path, first, environment: Vec::new() }
    }

    /// With what a mix takes from our settings.
    fn for_mix(mut self, settings: &Settings) -> Self {
        self.environment.push((mix::FFMPEG, found(&settings.ffmpeg).into()));
        let wcs = settings.wcs_directory.as_deref().map(|path| (mix::WCS_DIRECTORY, absolute(path).into()));
        self.environment.extend(wcs);
        self
    }
}

/// A path is found from where we were started, not from the directory of recordings; a bare name in [`PATH`].
fn program(path: &Path) -> Program {
    Program::new(found(path), Vec::new())
}

fn found(program: &Path) -> PathBuf {
    if program.components().count() > 1 { absolute(program) } else { program.to_owned() }
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// The script that is installed beside us, or what it does.
fn own(program: &Path) -> Option<Program> {
    let script = program.parent()?.join(OWN_SCRIPT);
    let mixes = || Program::new(program.to_owned(), vec!["mix".into()]);
    Some(if script.is_file() { Program::new(script, Vec::new()) } else { mixes() })
}

fn begin(kind: Kind, program: Program) -> io::Result<SyncSender<Hook>> {
    let (queue, hooks) = sync_channel(WAITING_MAX);
    let hooks = Arc::new(Mutex::new(hooks));
    for _ in 0..at_once(kind) {
        let (hooks, program) = (Arc::clone(&hooks), program.clone());
        std::thread::Builder::new().name("hooks".into()).spawn(move || run_all(kind, &program, &hooks))?;
    }
    Ok(queue)
}

fn run_all(kind: Kind, program: &Program, hooks: &Mutex<Receiver<Hook>>) {
    loop {
        let hook = hooks.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(hook) = hook else { return };
        let (directory, id) = (hook.path.parent().unwrap_or(Path::new("/")), &hook.recording.id);
        let mixed = hook.path.with_extension("mp4");
        let before = inode(&mixed);
        let (ended, name, path) = (
            run(program, &arguments(&hook), directory, limit(kind)),
            program.path.display(),
            hook.path.display(),
        );
        match ended {
            None => tracing::info!("recording {id}: {name} is done with {path}"),
            Some(why) => tracing::error!("recording {id}: {name} with {path}: {why}"),
        }
        let file = mixed.file_name().and_then(OsStr::to_str).filter(|_| kind == Kind::Room);
        if let Some(file) = file.filter(|_| inode(&mixed).is_some_and(|inode| Some(inode) != before)) {
            (hook.tell)(Report::Mixed { id: id.clone(), file: file.to_owned() });
        }
    }
}

/// Of a file that is there.
fn inode(path: &Path) -> Option<(u64, u64)> {
    fs::symlink_metadata(path).ok().filter(fs::Metadata::is_file).map(|meta| (meta.dev(), meta.ino()))
}

fn arguments(hook: &Hook) -> Vec<OsString> {
    let name = hook.recording.stream.as_deref().filter(|_| hook.recording.kind == Kind::Stream);
    let path = hook.path.clone().into_os_string();
    name.map(argument).into_iter().chain([path]).collect()
}

/// A text of a user as an argument: without what none can have, and not without end.
fn argument(text: &str) -> OsString {
    let fits = |(at, char): (usize, char)| at + char.len_utf8() <= NAME_BYTES_MAX;
    let chars = text.char_indices().take_while(|found| fits(*found)).map(|(_, char)| char);
    chars.map(|char| if char == '\0' { char::REPLACEMENT_CHARACTER } else { char }).collect::<String>().into()
}

/// Whether it is only said how far it is, as `ringvox-recorder mix` does: `42%`.
fn is_progress(line: &str) -> bool {
    line.strip_suffix('%').is_some_and(|number| number.parse::<u8>().is_ok())
}

/// What went wrong, if anything did.
fn run(program: &Program, arguments: &[OsString], directory: &Path, limit: Duration) -> Option<String> {
    let mut command = Command::new("timeout");
    command.args([KILL_AFTER, &limit.as_secs().to_string(), "nice", "-n", "19", "ionice", "-t", "-c", "3"]);
    command.arg(&program.path).args(&program.first).args(arguments);
    command.current_dir(directory).env_clear().envs([("PATH", PATH), ("LC_ALL", "C.UTF-8")]);
    command.envs(program.environment.iter().map(|(key, value)| (key, value)));
    let (name, mut lines) = (program.path.display(), 0);
    let mut log = |said, line: &str| {
        if is_progress(line) {
            tracing::debug!("{name}: {line:?}");
            return;
        }
        lines += 1;
        match said {
            _ if lines > LINES_MAX => {}
            Said::Out => tracing::info!("{name}: {line:?}"),
            Said::Error => tracing::warn!("{name}: {line:?}"),
        }
    };
    // What limits it does so alone; this is for a case in which even that hangs.
    let status = watch(command, limit + Duration::from_secs(60), &AtomicBool::new(false), &mut log);
    match status {
        Ok(status) if status.success() => None,
        Ok(status) => Some(format!("it has failed: {status}")),
        Err(why) => Some(why.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use recorder_control::State;
    use std::os::unix::fs::PermissionsExt;
    use std::sync::mpsc::channel;

    /// A script that writes down what it was started with, each argument on a line of its own.
    fn script(folder: &Path, more: &str) -> PathBuf {
        let path = folder.join("hook.sh");
        let text = format!(
            "#!/bin/sh\n{{ pwd; env | sort | tr '\\n' ' '; echo\nfor a in \"$@\"; do printf '%s' \"$a\" | \
             od -An -v -tx1 | tr -d ' \\n'; echo .; done; cat; }} >said.new\n{more}\nmv said.new said\n"
        );
        fs::write(&path, text).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("set");
        path
    }

    fn recording(kind: Kind, stream: &str) -> Recording {
        let one = Recording::new("0123456789abcdef", kind, "lobby.mkv", 0);
        let (room, login, stream) = ("lobby".into(), Some("alice".into()), Some(stream.into()));
        Recording { state: State::Ready, room, login, stream, ..one }
    }

    fn hook(recording: Recording, directory: &Path) -> Hook {
        let path = directory.join(&recording.file);
        Hook { recording, path, tell: Arc::new(|_| {}) }
    }

    fn hex(text: &str) -> String {
        text.bytes().map(|octet| format!("{octet:02x}")).collect()
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn names_of_streams_are_arguments_and_nothing_else() {
        let folder = tempfile::tempdir().expect("a folder");
        let program = Program::new(script(folder.path(), ""), Vec::new());
        let long = "ä".repeat(NAME_BYTES_MAX);
        for name in [
            "camera",
            "",
            "-rf",
            "--help",
            "$(touch canary)",
            "`touch canary`",
            "; touch canary",
            "a b\tc\nd",
            "..",
            "../../etc/passwd",
            "%2e%2e/",
            "'\"\\",
            "CON",
            "\u{202e}gpj.exe",
            "🙂",
            "${IFS}",
            "* ?",
            "=",
            "A=b",
            &long,
            "a\0b",
        ] {
            let hook = hook(recording(Kind::Stream, name), folder.path());
            assert_eq!(run(&program, &arguments(&hook), folder.path(), LONG), None);
            let said = fs::read_to_string(folder.path().join("said")).expect("it ran");
            let want = match name {
                "a\0b" => "a\u{fffd}b",
                name => &name[..name.len().min(NAME_BYTES_MAX)],
            };
            let path = folder.path().join("lobby.mkv");
            let mut lines = said.lines();
            assert_eq!(lines.next(), folder.path().to_str());
            let environment = lines.next().expect("there");
            assert!(environment.split_whitespace().all(|pair| {
                ["PATH=", "LC_ALL=", "PWD=", "OLDPWD=", "SHLVL=", "_="]
                    .iter()
                    .any(|ours| pair.starts_with(ours))
            }));
            let want = [want, path.to_str().expect("ours")].map(|text| hex(text) + ".");
            assert_eq!(lines.collect::<Vec<_>>(), want, "{name:?}");
            assert!(!folder.path().join("canary").exists(), "{name:?}");
        }
    }

    #[test]
    fn a_mixed_file_is_told_and_only_one_that_is_new() {
        let folder = tempfile::tempdir().expect("a folder");
        for (more, before, want) in [
            ("touch mixing; mv mixing lobby.mp4", false, Some("lobby.mp4")),
            ("echo /etc/passwd", false, None),
            ("ln -s /etc/passwd lobby.mp4", false, None),
            ("exit 3", false, None),
            ("exit 0", true, None),
        ] {
            let _ = fs::remove_file(folder.path().join("lobby.mp4"));
            if before {
                fs::write(folder.path().join("lobby.mp4"), "somebody's").expect("written");
            }
            let (told, heard) = channel();
            let told = Mutex::new(told);
            let tell: Tell = Arc::new(move |report| told.lock().expect("whole").send(report).expect("heard"));
            let on_multiple_record_hook_script = RoomScript::Path(script(folder.path(), more));
            let hooks = Hooks::start(&Settings { on_multiple_record_hook_script, ..Settings::default() });
            let recording = recording(Kind::Room, "");
            hooks.expect("started").follow(&recording, &folder.path().join(&recording.file), &tell);
            drop(tell);
            let mixed = heard.into_iter().next();
            let want = want.map(|file| Report::Mixed { id: recording.id.clone(), file: file.to_owned() });
            assert_eq!(mixed, want, "{more}");
        }
    }

    #[test]
    fn the_script_beside_the_program_or_what_it_does() {
        let folder = tempfile::tempdir().expect("a folder");
        let own_program = folder.path().join("ringvox-recorder");
        assert_eq!(own(&own_program), Some(Program::new(own_program.clone(), vec!["mix".into()])));
        fs::write(folder.path().join(OWN_SCRIPT), "").expect("written");
        assert_eq!(own(&own_program), Some(Program::new(folder.path().join(OWN_SCRIPT), Vec::new())));
        assert_eq!(program(Path::new("hook")).path, Path::new("hook"));
        assert!(program(Path::new("./hook")).path.is_absolute());
        let wcs_directory = Some(PathBuf::from("/wcs"));
        let settings = Settings { ffmpeg: "/opt/ffmpeg".into(), wcs_directory, ..Settings::default() };
        let environment = program(Path::new("hook")).for_mix(&settings).environment;
        assert_eq!(environment, [(mix::FFMPEG, "/opt/ffmpeg".into()), (mix::WCS_DIRECTORY, "/wcs".into())]);
    }

    #[test]
    fn how_far_it_is_is_no_news() {
        assert!(["0%", "42%", "100%"].into_iter().all(is_progress));
        assert!(!["", "%", "42", "a%", "42% of it", "-1%", "4.2%"].into_iter().any(is_progress));
    }

    #[test]
    fn one_that_hangs_is_ended() {
        let folder = tempfile::tempdir().expect("a folder");
        let program = Program::new(script(folder.path(), "exec sleep 600"), Vec::new());
        assert!(run(&program, &[], folder.path(), Duration::from_secs(1)).is_some());
        assert!(!folder.path().join("said").exists());
    }
}
