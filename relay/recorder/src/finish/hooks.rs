//! Programs of the operator that are started when a file is ready.
//!
//! Invariants
//! - No shell, and an environment of ours alone: what users have chosen is an argument of its own, and never
//!   part of a path, an option of ours or a text that anybody interprets.
//! - What a program says goes to the log, bounded and escaped, and nothing is done by it.
//! - At most [`AT_ONCE`] run at a time, each for at most its limit, which holds even if we are killed
//!   meanwhile; at most [`WAITING_MAX`] wait. Nobody waits for one.
//!
//! - Who is to be started is known to the directory ([`hook_path`]) before the file has its name: what waits
//!   when we die is started by the next process. A program of the operator's is not started a second time; a
//!   mix that died with us, or that nobody has heard of, is found or made again.
//!
//! Deliberately absent: another try. A program that fails has its exit status in the log.

use super::child::{Said, watch};
use super::{Report, Tell};
use crate::config::{Recording as Settings, RoomScript};
use crate::folder::hook_path;
use crate::mix;
use crate::publish::write_whole;
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
use std::time::{Duration, Instant};

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
/// How often it is looked whether a mix that goes on without us has ended.
const LOOK: Duration = Duration::from_secs(1);
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
    again: bool,
    tell: Tell,
}

impl Hooks {
    /// Starts the threads of those that the settings want.
    pub(super) fn start(settings: &Settings) -> io::Result<Self> {
        let streams = settings.on_record_hook_script.as_deref().map(program);
        let rooms = match &settings.on_multiple_record_hook_script {
            RoomScript::No => None,
            RoomScript::Own => own(&std::env::current_exe()?).map(Program::may_run_again),
            RoomScript::Path(path) => Some(program(path)),
        };
        let rooms = rooms.map(|program| program.for_mix(settings));
        Ok(Self {
            streams: streams.map(|program| begin(Kind::Stream, program)).transpose()?,
            rooms: rooms.map(|program| begin(Kind::Room, program)).transpose()?,
        })
    }

    const fn queue(&self, kind: Kind) -> Option<&SyncSender<Hook>> {
        match kind {
            Kind::Stream => self.streams.as_ref(),
            Kind::Room => self.rooms.as_ref(),
        }
    }

    /// Says in the directory that a program is to be started for a file that is about to get its name.
    ///
    /// # Errors
    /// If the disk refuses.
    pub(super) fn expect(&self, directory: &Path, recording: &Recording) -> io::Result<()> {
        if self.queue(recording.kind).is_none() {
            return Ok(());
        }
        let path = hook_path(directory, &recording.id);
        let (Some(folder), Some(name)) = (path.parent(), path.file_name().and_then(OsStr::to_str)) else {
            return Ok(());
        };
        write_whole(folder, name, b"")
    }

    /// A file has its name. `again`: a former process has said so, and may have started its program.
    pub(super) fn follow(&self, recording: &Recording, directory: &Path, again: bool, tell: &Tell) {
        let Some(queue) = self.queue(recording.kind) else { return };
        let (path, tell) = (directory.join(&recording.file), Arc::clone(tell));
        let hook = Hook { recording: recording.clone(), path, again, tell };
        if queue.try_send(hook).is_err() {
            let file = &recording.file;
            tracing::error!("{file}: too many files wait for their hook: it is started after a restart");
        }
    }
}

/// A program, what it is told first, and what is in its environment besides [`PATH`].
#[derive(Clone, Debug, PartialEq, Eq)]
struct Program {
    path: PathBuf,
    first: Vec<OsString>,
    environment: Vec<(&'static str, OsString)>,
    /// It was begun and has not come to its end: nothing is lost if it is started once more.
    may_run_again: bool,
}

impl Program {
    const fn new(path: PathBuf, first: Vec<OsString>) -> Self {
        Self { path, first, environment: Vec::new(), may_run_again: false }
    }

    fn may_run_again(self) -> Self {
        Self { may_run_again: true, ..self }
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
        match kind {
            Kind::Stream => run_once(program, &hook),
            Kind::Room => mix_room(program, &hook),
        }
    }
}

impl Hook {
    fn directory(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("/"))
    }

    /// Nobody needs to start it any more.
    fn forget(&self) {
        let path = hook_path(self.directory(), &self.recording.id);
        if let Err(why) = fs::remove_file(&path)
            && why.kind() != io::ErrorKind::NotFound
        {
            tracing::error!("{}: {why}", path.display());
        }
    }
}

/// A program of which nobody knows what it would do a second time.
fn run_once(program: &Program, hook: &Hook) {
    hook.forget();
    if hook.path.is_file() {
        run_for(program, hook);
    } else {
        tracing::info!("{} was removed before its hook was started", hook.path.display());
    }
}

/// The program of a room, and what it has made. Where a former process started one that makes it still, that
/// is waited for; where it has made it, nothing more is done.
fn mix_room(program: &Program, hook: &Hook) {
    let mixed = mix::output_of(&hook.path);
    let until = Instant::now() + limit(Kind::Room);
    let wait_for_others = || {
        while mix::is_being_made(&mixed) && Instant::now() < until {
            std::thread::sleep(LOOK);
        }
    };
    wait_for_others();
    let before = file_of(&mixed);
    if !(hook.again && before.is_some()) {
        if program.may_run_again && hook.path.is_file() {
            run_for(program, hook);
            // One that a former process has just started may have been first, after we had looked.
            if hook.again {
                wait_for_others();
            }
        } else {
            run_once(program, hook);
        }
    }
    let made = file_of(&mixed).filter(|made| hook.again || before.is_none_or(|before| before.0 != made.0));
    if let (Some((_, bytes)), Some(file)) = (made, mixed.file_name().and_then(OsStr::to_str)) {
        if hook.path.is_file() {
            let (id, file) = (hook.recording.id.clone(), file.to_owned());
            (hook.tell)(Report::Mixed { id, file, bytes });
        } else if let Err(why) = fs::remove_file(&mixed) {
            // Whoever removed the recording may have removed this too.
            tracing::info!("{}: {why}", mixed.display());
        }
    }
    hook.forget();
}

/// Of a file that is there: which one it is, and its octets.
fn file_of(path: &Path) -> Option<((u64, u64), u64)> {
    let meta = fs::symlink_metadata(path).ok().filter(fs::Metadata::is_file)?;
    Some(((meta.dev(), meta.ino()), meta.len()))
}

fn arguments(hook: &Hook) -> Vec<OsString> {
    // As WCS has it: the name with which the client published, whole.
    let Recording { name, stream, kind, .. } = &hook.recording;
    let name = name.as_deref().or(stream.as_deref()).filter(|_| *kind == Kind::Stream);
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

/// Starts it for a recording, and says how it ended.
fn run_for(program: &Program, hook: &Hook) {
    let ended = run(program, &arguments(hook), hook.directory(), limit(hook.recording.kind));
    let (id, name, path) = (&hook.recording.id, program.path.display(), hook.path.display());
    match ended {
        None => tracing::info!("recording {id}: {name} is done with {path}"),
        Some(why) => tracing::error!("recording {id}: {name} with {path}: {why}"),
    }
}

/// What went wrong, if anything did.
fn run(program: &Program, arguments: &[OsString], directory: &Path, limit: Duration) -> Option<String> {
    let mut command = Command::new("timeout");
    command.args([KILL_AFTER, &limit.as_secs().to_string()]);
    // Whoever started us may have ignored signals; a program of the operator's finds them as ever.
    command.args(["env", "--default-signal", "nice", "-n", "19", "ionice", "-t", "-c", "3"]);
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
    use crate::folder::make_work_folder;
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
        Hook { recording, path, again: false, tell: Arc::new(|_| {}) }
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

    /// What a room's hook reports; `again`: a former process has seen it.
    fn told_of(folder: &Path, more: &str, again: bool) -> Option<Report> {
        let (told, heard) = channel();
        let told = Mutex::new(told);
        let tell: Tell = Arc::new(move |report| told.lock().expect("whole").send(report).expect("heard"));
        let on_multiple_record_hook_script = RoomScript::Path(script(folder, more));
        let settings = Settings { on_multiple_record_hook_script, ..Settings::default() };
        let hooks = Hooks::start(&settings).expect("started");
        let recording = recording(Kind::Room, "");
        fs::write(folder.join(&recording.file), "a room").expect("written");
        make_work_folder(folder, &recording.id).expect("made");
        hooks.expect(folder, &recording).expect("written");
        hooks.follow(&recording, folder, again, &tell);
        drop((tell, hooks));
        // What it tells is told before it is forgotten; nobody can tell any more when all is done.
        let mut reports = heard.into_iter();
        let report = reports.next();
        assert_eq!(reports.next(), None);
        let hook = hook_path(folder, &recording.id);
        assert!(!hook.exists(), "nobody starts it again");
        report
    }

    #[test]
    fn a_mixed_file_is_told_and_only_one_that_is_new() {
        let folder = tempfile::tempdir().expect("a folder");
        for (more, before, again, want) in [
            ("touch mixing; mv mixing lobby.mp4", false, false, Some(0)),
            ("echo /etc/passwd", false, false, None),
            ("ln -s /etc/passwd lobby.mp4", false, false, None),
            ("exit 3", false, false, None),
            ("exit 0", true, false, None),
            // It was made when nobody was there who could hear of it; nothing is started.
            ("rm lobby.mp4", true, true, Some(10)),
            ("printf abc >lobby.mp4", false, true, Some(3)),
            // Who deletes a recording while it is mixed deletes its mix.
            ("rm lobby.mkv; touch mixing; mv mixing lobby.mp4", false, false, None),
        ] {
            let _ = fs::remove_file(folder.path().join("lobby.mp4"));
            if before {
                fs::write(folder.path().join("lobby.mp4"), "somebody's").expect("written");
            }
            let mixed = told_of(folder.path(), more, again);
            let (id, file) = ("0123456789abcdef".to_owned(), "lobby.mp4".to_owned());
            assert_eq!(mixed, want.map(|bytes| Report::Mixed { id, file, bytes }), "{more}");
        }
        assert!(!folder.path().join("lobby.mp4").exists());
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
