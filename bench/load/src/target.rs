//! The process that is measured: started here or found, its CPU time and its memory.

use crate::clock::cpu_ns;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A server process; killed with the handle if it was started here.
pub(crate) struct Target {
    pid: u32,
    child: Option<Child>,
    /// Directory of its control socket.
    dir: Option<PathBuf>,
}

/// How to start a relay.
#[derive(Clone, Debug)]
pub(crate) struct RelaySpec {
    pub(crate) binary: PathBuf,
    /// `uring`, `mmsg` or `auto`.
    pub(crate) io: String,
    pub(crate) shards: u32,
    pub(crate) base_port: u16,
    /// Cores it may use, as `taskset` takes them.
    pub(crate) cores: Option<String>,
    /// Network namespace to start it in.
    pub(crate) netns: Option<String>,
    /// More flags.
    pub(crate) args: Vec<String>,
}

impl Target {
    /// Starts a relay; its control socket comes back with it.
    pub(crate) fn start_relay(spec: &RelaySpec) -> Result<(Self, PathBuf), String> {
        let dir = std::env::temp_dir().join(format!("ringvox-load-{}", std::process::id()));
        fs::create_dir_all(&dir).map_err(|why| format!("{}: {why}", dir.display()))?;
        let socket = dir.join("relay.sock");
        let mut words: Vec<String> = Vec::new();
        // Each of these replaces itself by what follows, so the process started is the relay in the end.
        if let Some(netns) = &spec.netns {
            words.extend(["ip", "netns", "exec", netns].map(str::to_owned));
        }
        if let Some(cores) = &spec.cores {
            words.extend(["taskset", "-c", cores].map(str::to_owned));
        }
        words.push(spec.binary.display().to_string());
        words.extend(["--io", &spec.io, "--log", "warn"].map(str::to_owned));
        words.extend(["--shards".to_owned(), spec.shards.to_string()]);
        words.extend(["--base-port".to_owned(), spec.base_port.to_string()]);
        words.extend(["--control-socket".to_owned(), socket.display().to_string()]);
        words.extend(spec.args.iter().cloned());
        let child = Command::new(&words[0])
            .args(&words[1..])
            .current_dir(&dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .map_err(|why| format!("{}: {why}", words[0]))?;
        Ok((Self { pid: child.id(), child: Some(child), dir: Some(dir) }, socket))
    }

    /// A process that runs already.
    pub(crate) const fn existing(pid: u32) -> Self {
        Self { pid, child: None, dir: None }
    }

    /// CPU time of all its threads so far, in nanoseconds.
    pub(crate) fn cpu_ns(&self) -> Result<u64, String> {
        cpu_ns(self.pid).ok_or_else(|| format!("process {} is gone", self.pid))
    }

    /// Resident memory in octets; 0 if the process is gone.
    pub(crate) fn resident_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
        kib.unwrap_or(0) * 1024
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
        if let Some(dir) = &self.dir {
            let _ = fs::remove_dir_all(dir);
        }
    }
}

/// CPU time of the kernel's softirq thread of a core: work it took over from those who caused it.
pub(crate) fn softirq_thread_ns(core: u32) -> u64 {
    let name = format!("ksoftirqd/{core}");
    let is_it = |dir: &Path| fs::read_to_string(dir.join("comm")).is_ok_and(|comm| comm.trim() == name);
    let Ok(entries) = fs::read_dir("/proc") else { return 0 };
    let Some(dir) = entries.flatten().map(|entry| entry.path()).find(|dir| is_it(dir)) else { return 0 };
    let schedstat = fs::read_to_string(dir.join("schedstat")).unwrap_or_default();
    schedstat.split_whitespace().next().and_then(|ns| ns.parse().ok()).unwrap_or(0)
}
