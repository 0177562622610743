//! Which server is measured: its processes, what they use, and the signaling channel to it.

mod janus;
mod process;
mod signaling;

pub(crate) use process::{Process, placed};

use crate::args::{ChannelKind, Peer, ServerArgs};
use crate::channel::{Channel, ControlChannel, JanusChannel, WhipChannel};
use crate::clock::cpu_ns;
use process::softirq_thread_ns;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tempfile::TempDir;

/// The process that is measured and, if it has one, the process beside it that lets clients in. What was started here ends
/// with it.
pub(crate) struct Server {
    /// Signaling. It goes first: it would miss its relay.
    pub(crate) beside: Option<Process>,
    pub(crate) measured: Process,
    /// Sockets, settings and logs; goes last.
    _dir: Option<TempDir>,
}

impl Server {
    fn existing(pid: u32, beside: Option<u32>) -> Self {
        Self { beside: beside.map(Process::existing), measured: Process::existing(pid), _dir: None }
    }

    /// An error if one of its processes has ended.
    pub(crate) fn check(&mut self) -> Result<(), String> {
        self.measured.check()?;
        self.beside.as_mut().map_or(Ok(()), Process::check)
    }
}

/// CPU time so far, or of a window, in nanoseconds.
#[derive(Clone, Debug)]
pub(crate) struct CpuTime {
    /// Of the measured process.
    pub(crate) server: u64,
    /// Of its threads, by name.
    pub(crate) threads: BTreeMap<String, u64>,
    /// Of the process beside it, if there is one.
    pub(crate) beside: Option<u64>,
    /// Of the softirq thread on the server's core.
    pub(crate) softirq: u64,
    pub(crate) own: u64,
}

impl CpuTime {
    /// So far; `core`: the server's.
    pub(crate) fn now(server: &Server, core: u32) -> Result<Self, String> {
        Ok(Self {
            server: server.measured.cpu_ns()?,
            threads: server.measured.thread_cpu_ns(),
            beside: server.beside.as_ref().map(Process::cpu_ns).transpose()?,
            softirq: softirq_thread_ns(core),
            own: cpu_ns(std::process::id()).unwrap_or(0),
        })
    }

    /// What came on top of `before`.
    pub(crate) fn since(self, before: &Self) -> Self {
        Self {
            server: self.server - before.server,
            threads: increase(self.threads, &before.threads),
            beside: self.beside.zip(before.beside).map(|(now, then)| now - then),
            softirq: self.softirq - before.softirq,
            own: self.own - before.own,
        }
    }
}

pub(crate) fn increase(
    after: BTreeMap<String, u64>,
    before: &BTreeMap<String, u64>,
) -> BTreeMap<String, u64> {
    let grown = |(name, value): (String, u64)| {
        let delta = value.saturating_sub(before.get(&name).copied().unwrap_or(0));
        (delta > 0).then_some((name, delta))
    };
    after.into_iter().filter_map(grown).collect()
}

/// A server that can be measured.
pub(crate) struct Opened {
    pub(crate) server: Server,
    pub(crate) channel: Box<dyn Channel>,
    /// What a report says of it.
    pub(crate) facts: Value,
}

pub(crate) fn open(peer: Peer, args: &ServerArgs) -> Result<Opened, String> {
    match (peer, args.channel) {
        (Peer::Ringvox, ChannelKind::Control) => open_by_control(args),
        (Peer::Ringvox, ChannelKind::Whip) => open_by_whip(args),
        (Peer::Janus, _) => open_janus(args),
    }
}

fn open_by_control(args: &ServerArgs) -> Result<Opened, String> {
    let (mut server, socket) = match (&args.relay_binary, &args.control_socket, args.server_pid) {
        (Some(relay), ..) => start_relay(relay, args, tempdir()?)?,
        (None, Some(socket), Some(pid)) => (Server::existing(pid, None), socket.clone()),
        _ => return Err("give --relay-binary, or --control-socket and --server-pid".to_owned()),
    };
    let mut channel = ControlChannel::connect(&socket, &mut server, true)?;
    if args.tap {
        channel.tap_all(&socket)?;
    }
    let facts = json!({"peer": "ringvox", "channel": "control", "back_end": channel.back_end});
    Ok(Opened { server, channel: Box::new(channel), facts })
}

fn open_by_whip(args: &ServerArgs) -> Result<Opened, String> {
    let (mut server, socket, url) = match (&args.relay_binary, &args.url, args.server_pid) {
        (Some(relay), None, _) => {
            let dir = tempdir()?;
            let path = dir.path().to_owned();
            let (mut server, socket) = start_relay(relay, args, dir)?;
            let signaling = args.signaling_binary.clone();
            let signaling = signaling.unwrap_or_else(|| relay.with_file_name("ringvox-signaling"));
            let (beside, url) = signaling::start(&signaling, &socket, &path)?;
            server.beside = Some(beside);
            (server, Some(socket), url)
        }
        (None, Some(url), Some(pid)) => {
            (Server::existing(pid, args.signaling_pid), args.control_socket.clone(), url.clone())
        }
        _ => return Err("give --relay-binary, or --url and --server-pid".to_owned()),
    };
    let relay = socket.map(|socket| ControlChannel::connect(&socket, &mut server, false)).transpose()?;
    let back_end = relay.as_ref().map(|relay| relay.back_end.clone());
    let facts = json!({"peer": "ringvox", "channel": "whip", "back_end": back_end});
    Ok(Opened { server, channel: Box::new(WhipChannel::new(&url, relay)?), facts })
}

fn open_janus(args: &ServerArgs) -> Result<Opened, String> {
    let address = if args.relay_netns.is_some() { None } else { Some(janus::own_address()?) };
    let version = janus::version(&args.janus_binary)?;
    let dir = tempdir()?;
    let (measured, socket) = janus::start(args, address, dir.path())?;
    let mut server = Server { beside: None, measured, _dir: Some(dir) };
    let channel = JanusChannel::connect(&socket, &mut server, address.map(IpAddr::V4))?;
    let facts = json!({"peer": "janus", "channel": "videoroom", "server_version": version});
    Ok(Opened { server, channel: Box::new(channel), facts })
}

/// Its control socket comes back with it.
fn start_relay(binary: &Path, args: &ServerArgs, dir: TempDir) -> Result<(Server, PathBuf), String> {
    let socket = dir.path().join("relay.sock");
    let (shards, port) = (args.shards.to_string(), args.first_port().to_string());
    let mut command = placed(binary, args.relay_cores.as_deref(), args.relay_netns.as_deref());
    command
        .args(["--io", &args.io, "--log", "warn", "--shards", &shards, "--base-port", &port])
        .arg("--control-socket")
        .arg(&socket)
        .args(&args.relay_arg)
        .stdout(Stdio::null());
    let measured = Process::start(binary, command)?;
    Ok((Server { beside: None, measured, _dir: Some(dir) }, socket))
}

fn tempdir() -> Result<TempDir, String> {
    tempfile::Builder::new().prefix("ringvox-load-").tempdir().map_err(|why| format!("no directory: {why}"))
}

fn write(dir: &Path, name: &str, text: &str) -> Result<PathBuf, String> {
    let path = dir.join(name);
    fs::write(&path, text).map_err(|why| format!("{}: {why}", path.display()))?;
    Ok(path)
}
