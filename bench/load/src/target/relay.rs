//! The relay, started for one run.

use super::process::{Launch, Output, Process, Scratch};
use crate::args::ServerArgs;
use std::path::{Path, PathBuf};

/// Its control socket comes back with it.
pub(super) fn start(
    binary: &Path,
    server: &ServerArgs,
    scratch: &Scratch,
) -> Result<(Process, PathBuf), String> {
    let socket = scratch.path().join("relay.sock");
    let (shards, port) = (server.shards.to_string(), server.first_port().to_string());
    let path = socket.display().to_string();
    let flags = ["--io", &server.io, "--log", "warn", "--shards", &shards, "--base-port", &port];
    let flags = flags.into_iter().chain(["--control-socket", &path]).map(str::to_owned);
    let process = Process::start(&Launch {
        binary,
        args: flags.chain(server.relay_arg.iter().cloned()).collect(),
        cores: server.relay_cores.as_deref(),
        netns: server.relay_netns.as_deref(),
        dir: scratch.path(),
        output: Output::Errors,
    })?;
    Ok((process, socket))
}
