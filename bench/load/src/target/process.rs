//! A server's process: started here or found, its CPU time, its memory, and what it said when it ended too early.

use crate::clock::cpu_ns;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};

/// Lines of a log that are shown when its process ended.
const LAST_LINES: usize = 8;

/// How to start a program.
pub(crate) struct Launch<'a> {
    pub(crate) binary: &'a Path,
    pub(crate) args: Vec<String>,
    /// Cores it may use, as `taskset` takes them; `None`: ours.
    pub(crate) cores: Option<&'a str>,
    /// Network namespace to start it in.
    pub(crate) netns: Option<&'a str>,
    /// Its working directory.
    pub(crate) dir: &'a Path,
    pub(crate) output: Output<'a>,
}

/// The command that runs `binary` on `cores`, as `taskset` takes them, and in a network namespace, where they are given.
pub(crate) fn placed(binary: &Path, cores: Option<&str>, netns: Option<&str>) -> Command {
    // Each of these replaces itself by what follows, so the process started is the program in the end.
    let netns = netns.map(|netns| ["ip", "netns", "exec", netns]);
    let cores = cores.map(|cores| ["taskset", "-c", cores]);
    let before = netns.iter().flatten().chain(cores.iter().flatten()).map(OsStr::new);
    let mut words = before.chain([binary.as_os_str()]);
    let mut command = Command::new(words.next().unwrap_or(binary.as_os_str()));
    command.args(words);
    command
}

/// A path that holds in every working directory; a bare name is looked for in `PATH` anyway.
fn from_anywhere(binary: &Path) -> PathBuf {
    let is_name = binary.components().count() == 1;
    let path = if is_name { None } else { std::path::absolute(binary).ok() };
    path.unwrap_or_else(|| binary.to_owned())
}

/// Where a program's words go.
pub(crate) enum Output<'a> {
    /// Errors to ours, the rest nowhere.
    Errors,
    /// Errors to ours; the rest is for [`Process::take_output`].
    Piped,
    /// All into this file.
    File(&'a Path),
}

/// The first word of a `schedstat`: nanoseconds on a core.
pub(super) fn scheduled_ns(schedstat: &str) -> u64 {
    schedstat.split_whitespace().next().and_then(|ns| ns.parse().ok()).unwrap_or(0)
}

/// Killed with the handle if it was started here.
pub(crate) struct Process {
    pid: u32,
    child: Option<Child>,
    name: String,
    log: Option<PathBuf>,
}

impl Process {
    pub(crate) fn start(launch: &Launch<'_>) -> Result<Self, String> {
        let name = launch.binary.display().to_string();
        let not_started = |why: io::Error| format!("{name} does not start: {why}");
        let mut command = placed(&from_anywhere(launch.binary), launch.cores, launch.netns);
        command.args(&launch.args).current_dir(launch.dir).stdin(Stdio::null());
        let mut log = None;
        match launch.output {
            Output::Errors => command.stdout(Stdio::null()),
            Output::Piped => command.stdout(Stdio::piped()),
            Output::File(path) => {
                let file = File::create(path).map_err(not_started)?;
                log = Some(path.to_owned());
                command.stdout(file.try_clone().map_err(not_started)?).stderr(file)
            }
        };
        let child = command.spawn().map_err(not_started)?;
        Ok(Self { pid: child.id(), child: Some(child), name, log })
    }

    /// A process that runs already.
    pub(crate) const fn existing(pid: u32) -> Self {
        Self { pid, child: None, name: String::new(), log: None }
    }

    /// What it writes to its standard output, once.
    pub(crate) fn take_output(&mut self) -> Option<ChildStdout> {
        self.child.as_mut()?.stdout.take()
    }

    /// An error if it was started here and has ended.
    pub(crate) fn check(&mut self) -> Result<(), String> {
        let Some(status) = self.child.as_mut().and_then(|child| child.try_wait().ok().flatten()) else {
            return Ok(());
        };
        Err(self.ended(status))
    }

    /// Waits for its end, which has begun.
    pub(crate) fn wait_for_end(&mut self) -> String {
        match self.child.as_mut().map(Child::wait) {
            Some(Ok(status)) => self.ended(status),
            Some(Err(why)) => format!("{}: {why}", self.name),
            None => format!("process {} is gone", self.pid),
        }
    }

    fn ended(&self, status: ExitStatus) -> String {
        let text = self.log.as_ref().and_then(|log| fs::read(log).ok()).unwrap_or_default();
        match last_lines(&text) {
            words if words.is_empty() => {
                format!("{} ended with {status}; what it said stands above", self.name)
            }
            words => format!("{} ended with {status}:\n{words}", self.name),
        }
    }

    /// CPU time of all its threads so far, in nanoseconds.
    pub(crate) fn cpu_ns(&self) -> Result<u64, String> {
        cpu_ns(self.pid).ok_or_else(|| format!("process {} is gone", self.pid))
    }

    /// CPU time of each of its threads so far, in nanoseconds, by name; threads of one name together.
    pub(crate) fn thread_cpu_ns(&self) -> BTreeMap<String, u64> {
        let mut sum = BTreeMap::new();
        let Ok(tasks) = fs::read_dir(format!("/proc/{}/task", self.pid)) else { return sum };
        for task in tasks.flatten().map(|task| task.path()) {
            let read = |name| fs::read_to_string(task.join(name)).unwrap_or_default();
            *sum.entry(read("comm").trim().to_owned()).or_default() += scheduled_ns(&read("schedstat"));
        }
        sum
    }

    /// Resident memory in octets; 0 if the process is gone.
    pub(crate) fn resident_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
        kib.unwrap_or(0) * 1024
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The end of a log, without what colours it on a terminal.
fn last_lines(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let mut plain = String::new();
    let mut parts = text.split('\u{1b}');
    plain.push_str(parts.next().unwrap_or_default());
    for part in parts {
        plain.push_str(part.split_once('m').map_or(part, |(_, rest)| rest));
    }
    let lines: Vec<&str> = plain.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(LAST_LINES)..].join("\n")
}

/// A directory of a run's own, removed with the value.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new() -> Result<Self, String> {
        let dir = std::env::temp_dir().join(format!("ringvox-load-{}", std::process::id()));
        fs::create_dir_all(&dir).map_err(|why| format!("{}: {why}", dir.display()))?;
        Ok(Self(dir))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file into it.
    pub(crate) fn write(&self, name: &str, text: &str) -> Result<PathBuf, String> {
        let path = self.0.join(name);
        fs::write(&path, text).map_err(|why| format!("{}: {why}", path.display()))?;
        Ok(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_shown_without_colours_and_from_its_end() {
        assert_eq!(last_lines(b"\x1b[31m[ERR]\x1b[0m no\n\n"), "[ERR] no");
        let long: String = (0..20).map(|n| format!("{n}\n")).collect();
        assert_eq!(last_lines(long.as_bytes()), "12\n13\n14\n15\n16\n17\n18\n19");
        assert_eq!(last_lines(b""), "");
    }

    #[test]
    fn a_relative_path_is_of_our_directory() {
        let here = std::env::current_dir().expect("a directory");
        for (binary, want) in
            [("janus", "janus".into()), ("a/relay", here.join("a/relay")), ("/a/relay", "/a/relay".into())]
        {
            assert_eq!(from_anywhere(Path::new(binary)), want);
        }
    }

    #[test]
    fn a_program_is_put_in_its_place() {
        for (cores, netns, want) in [
            (None, None, &["relay"][..]),
            (Some("1,3"), None, &["taskset", "-c", "1,3", "relay"]),
            (None, Some("ns"), &["ip", "netns", "exec", "ns", "relay"]),
            (Some("1"), Some("ns"), &["ip", "netns", "exec", "ns", "taskset", "-c", "1", "relay"]),
        ] {
            let command = placed(Path::new("relay"), cores, netns);
            let words: Vec<&OsStr> =
                std::iter::once(command.get_program()).chain(command.get_args()).collect();
            assert_eq!(words, want);
        }
    }

    #[test]
    fn a_process_that_ends_says_what_it_said() {
        let scratch = Scratch(std::env::temp_dir().join(format!("ringvox-load-test-{}", std::process::id())));
        fs::create_dir_all(scratch.path()).expect("a directory");
        let log = scratch.path().join("log");
        let launch = Launch {
            binary: Path::new("/bin/sh"),
            args: vec!["-c".into(), "echo the port is taken; exit 3".into()],
            cores: None,
            netns: None,
            dir: scratch.path(),
            output: Output::File(&log),
        };
        let mut process = Process::start(&launch).expect("a shell");
        assert_eq!(process.wait_for_end(), "/bin/sh ended with exit status: 3:\nthe port is taken");
        let nowhere = Launch { binary: Path::new("/no/such/program"), args: Vec::new(), ..launch };
        let why = Process::start(&nowhere).err().expect("no such program");
        assert!(why.starts_with("/no/such/program does not start: "), "{why}");
    }
}
