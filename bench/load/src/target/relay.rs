//! The relay, started for one run.

use super::process::{Launch, Output, Process, ProcessError, Scratch};
use std::path::PathBuf;

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

impl RelaySpec {
    /// Its control socket comes back with it.
    pub(super) fn start(&self, scratch: &Scratch) -> Result<(Process, PathBuf), ProcessError> {
        let socket = scratch.path().join("relay.sock");
        let mut args = vec!["--io".to_owned(), self.io.clone(), "--log".to_owned(), "warn".to_owned()];
        args.extend(["--shards".to_owned(), self.shards.to_string()]);
        args.extend(["--base-port".to_owned(), self.base_port.to_string()]);
        args.extend(["--control-socket".to_owned(), socket.display().to_string()]);
        args.extend(self.args.iter().cloned());
        let process = Process::start(&Launch {
            binary: &self.binary,
            args,
            cores: self.cores.as_deref(),
            netns: self.netns.as_deref(),
            dir: scratch.path(),
            output: Output::Errors,
        })?;
        Ok((process, socket))
    }
}
