//! The process that is measured and, if it has one, the process beside it that lets clients in.

mod janus;
mod process;
mod relay;
mod signaling;

pub(crate) use janus::{JanusSpec, own_address};
pub(crate) use process::{Process, placed};
pub(crate) use signaling::SignalingSpec;

use crate::args::ServerArgs;
use process::Scratch;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// See the module. What was started here ends with it.
pub(crate) struct Target {
    /// Signaling. It goes first: it would miss its relay.
    beside: Option<Process>,
    measured: Process,
    /// Sockets, settings and logs; goes last.
    _scratch: Option<Scratch>,
}

impl Target {
    /// Starts a relay; its control socket comes back with it.
    pub(crate) fn start_relay(binary: &Path, server: &ServerArgs) -> Result<(Self, PathBuf), String> {
        let scratch = Scratch::new()?;
        let (measured, socket) = relay::start(binary, server, &scratch)?;
        Ok((Self { measured, beside: None, _scratch: Some(scratch) }, socket))
    }

    /// Starts a relay and a signaling that commands it; the relay's control socket and signaling's URL come back.
    pub(crate) fn start_both(
        binary: &Path,
        server: &ServerArgs,
        signaling: &SignalingSpec,
    ) -> Result<(Self, PathBuf, String), String> {
        let scratch = Scratch::new()?;
        let (measured, socket) = relay::start(binary, server, &scratch)?;
        let (beside, url) = signaling.start(&scratch, &socket)?;
        Ok((Self { beside: Some(beside), measured, _scratch: Some(scratch) }, socket, url))
    }

    /// Starts Janus; the socket of its WebSocket server comes back with it.
    pub(crate) fn start_janus(spec: &JanusSpec) -> Result<(Self, PathBuf), String> {
        let scratch = Scratch::new()?;
        let (measured, socket) = spec.start(&scratch)?;
        Ok((Self { measured, beside: None, _scratch: Some(scratch) }, socket))
    }

    /// Processes that run already.
    pub(crate) fn existing(pid: u32, beside: Option<u32>) -> Self {
        Self { measured: Process::existing(pid), beside: beside.map(Process::existing), _scratch: None }
    }

    /// An error if one of its processes has ended.
    pub(crate) fn check(&mut self) -> Result<(), String> {
        self.measured.check()?;
        self.beside.as_mut().map_or(Ok(()), Process::check)
    }

    /// CPU time of the measured process so far, in nanoseconds.
    pub(crate) fn cpu_ns(&self) -> Result<u64, String> {
        self.measured.cpu_ns()
    }

    /// CPU time of the process beside it.
    pub(crate) fn beside_cpu_ns(&self) -> Result<Option<u64>, String> {
        self.beside.as_ref().map(Process::cpu_ns).transpose()
    }

    /// CPU time of the measured process's threads so far, in nanoseconds, by name.
    pub(crate) fn thread_cpu_ns(&self) -> BTreeMap<String, u64> {
        self.measured.thread_cpu_ns()
    }

    /// Resident memory of the measured process, in octets; 0 if it is gone.
    pub(crate) fn resident_bytes(&self) -> u64 {
        self.measured.resident_bytes()
    }
}

/// CPU time of the kernel's softirq thread of a core: work it took over from those who caused it.
pub(crate) fn softirq_thread_ns(core: u32) -> u64 {
    let name = format!("ksoftirqd/{core}");
    let is_it = |dir: &Path| fs::read_to_string(dir.join("comm")).is_ok_and(|comm| comm.trim() == name);
    let Ok(entries) = fs::read_dir("/proc") else { return 0 };
    let Some(dir) = entries.flatten().map(|entry| entry.path()).find(|dir| is_it(dir)) else { return 0 };
    process::scheduled_ns(&fs::read_to_string(dir.join("schedstat")).unwrap_or_default())
}
