//! A server's process: started here or found, its CPU time, its memory, and what it said when it ended too early.

use crate::clock::cpu_ns;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

/// Lines of a log that are shown when its process ended.
const LAST_LINES: usize = 8;

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

/// Killed with the handle if it was started here.
pub(crate) struct Process {
    pid: u32,
    child: Option<Child>,
    name: String,
    log: Option<PathBuf>,
}

impl Process {
    /// Its errors are ours, its standard output is as the command says.
    pub(super) fn start(binary: &Path, mut command: Command) -> Result<Self, String> {
        let name = binary.display().to_string();
        let child = command.stdin(Stdio::null()).spawn();
        let child = child.map_err(|why| format!("{name} does not start: {why}"))?;
        Ok(Self { pid: child.id(), child: Some(child), name, log: None })
    }

    pub(crate) fn start_logged(binary: &Path, mut command: Command, log: PathBuf) -> Result<Self, String> {
        let files = File::create(&log).and_then(|file| Ok((file.try_clone()?, file)));
        let (out, err) = files.map_err(|why| format!("{}: {why}", log.display()))?;
        command.stdout(out).stderr(err);
        let mut process = Self::start(binary, command)?;
        process.log = Some(log);
        Ok(process)
    }

    pub(super) const fn existing(pid: u32) -> Self {
        Self { pid, child: None, name: String::new(), log: None }
    }

    /// What `find` finds on a line of its standard output, which the command pipes to us.
    pub(super) fn find_line<T>(&mut self, find: impl Fn(&str) -> Option<T>) -> Result<T, String> {
        let output = self.child.as_mut().and_then(|child| child.stdout.take()).map(BufReader::new);
        let mut lines = output.into_iter().flat_map(|output| output.lines().map_while(Result::ok));
        // The pipe closes when it ends.
        lines.find_map(|line| find(&line)).ok_or_else(|| self.wait_for_end())
    }

    /// An error if it was started here and has ended.
    pub(crate) fn check(&mut self) -> Result<(), String> {
        match self.child.as_mut().and_then(|child| child.try_wait().ok().flatten()) {
            Some(status) => Err(self.ended(status)),
            None => Ok(()),
        }
    }

    /// Waits for its end, which has begun.
    fn wait_for_end(&mut self) -> String {
        match self.child.as_mut().map(Child::wait) {
            Some(Ok(status)) => self.ended(status),
            Some(Err(why)) => format!("{}: {why}", self.name),
            None => format!("process {} is gone", self.pid),
        }
    }

    fn ended(&self, status: ExitStatus) -> String {
        let text = self.log.as_ref().and_then(|log| fs::read(log).ok()).unwrap_or_default();
        match last_lines(&String::from_utf8_lossy(&text)) {
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
            *sum.entry(name_of(&task)).or_default() += scheduled_ns(&task);
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

/// CPU time of the kernel's softirq thread of a core: work it took over from those who caused it.
pub(crate) fn softirq_thread_ns(core: u32) -> u64 {
    let name = format!("ksoftirqd/{core}");
    let mut processes = fs::read_dir("/proc").into_iter().flatten().flatten().map(|entry| entry.path());
    processes.find(|process| name_of(process) == name).map_or(0, |process| scheduled_ns(&process))
}

/// Of a process or a thread, by its folder in /proc.
fn name_of(task: &Path) -> String {
    fs::read_to_string(task.join("comm")).unwrap_or_default().trim().to_owned()
}

/// Time on a core, the first word of its `schedstat`.
fn scheduled_ns(task: &Path) -> u64 {
    let schedstat = fs::read_to_string(task.join("schedstat")).unwrap_or_default();
    schedstat.split_whitespace().next().and_then(|ns| ns.parse().ok()).unwrap_or(0)
}

fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(LAST_LINES)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_shown_from_its_end() {
        let long: String = (0..20).map(|n| format!("{n}\n\n")).collect();
        assert_eq!(last_lines(&long), "12\n13\n14\n15\n16\n17\n18\n19");
        assert_eq!(last_lines(""), "");
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
        let dir = tempfile::tempdir().expect("a directory");
        let shell = Path::new("/bin/sh");
        let mut command = Command::new(shell);
        command.args(["-c", "echo the port is taken; exit 3"]);
        let mut process = Process::start_logged(shell, command, dir.path().join("log")).expect("a shell");
        assert_eq!(process.wait_for_end(), "/bin/sh ended with exit status: 3:\nthe port is taken");
        let nowhere = Path::new("/no/such/program");
        let why = Process::start(nowhere, Command::new(nowhere)).err().expect("no such program");
        assert!(why.starts_with("/no/such/program does not start: "), "{why}");
    }
}
