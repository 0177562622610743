//! One figure after the other, each by a process of its own: on loopback, or in the network that `bench/net.sh` makes, of two
//! namespaces and a veth pair with addresses on both ends.

use crate::args::CapacityArgs;
use crate::server::placed;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const RELAY_NETNS: &str = "rv-relay";
const CLIENTS_NETNS: &str = "rv-load";
const RELAY_DEVICE: &str = "rv0";
/// Flags of a run whose clients are at the other end.
const CLIENT_FLAGS: &str =
    "--relay-netns rv-relay --publisher-ip 10.90.0.2 --subscriber-ip 10.91.0.1 --sink rv1";
/// How long a limit is measured.
const LIMIT_FLAGS: &str = "--seconds 0.5 --repeat 5";

/// Where server and clients are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Both in this namespace.
    Loopback,
    /// A veth pair between them; its device segments, or the kernel before it.
    Veth { segmentation: bool },
    /// A veth pair, and the relay on both cores.
    BothCores,
}

impl Place {
    const fn name(self) -> &'static str {
        match self {
            Self::Loopback => "loopback",
            Self::Veth { segmentation: true } => "veth",
            Self::Veth { segmentation: false } => "veth without segmentation",
            Self::BothCores => "veth, both cores",
        }
    }

    fn prepare(self) -> Result<(), String> {
        match self {
            Self::Loopback => Ok(()),
            Self::Veth { segmentation } => set_segmentation(segmentation),
            Self::BothCores => set_segmentation(true),
        }
    }
}

pub(super) struct Runs<'a> {
    args: &'a CapacityArgs,
    own: PathBuf,
    /// What was run, and what came of it.
    pub(super) all: Vec<Value>,
    /// What failed, and why.
    pub(super) failures: Vec<String>,
}

impl<'a> Runs<'a> {
    pub(super) fn new(args: &'a CapacityArgs) -> Result<Self, String> {
        if ![RELAY_NETNS, CLIENTS_NETNS].iter().all(|name| Path::new("/run/netns").join(name).exists()) {
            return Err("the network namespaces are missing: run this by `bench/net.sh with`, as `make capacity` does"
                .to_owned());
        }
        let own = std::env::current_exe().map_err(|why| why.to_string())?;
        Ok(Self { args, own, all: Vec::new(), failures: Vec::new() })
    }

    pub(super) fn run(&mut self, what: &str, place: Place, flags: &[&str]) -> Option<Value> {
        let length = self.length();
        let flags = [&[&*length], flags].concat();
        self.measure(what, place, "run", &flags)
    }

    pub(super) fn churn(&mut self, what: &str, flags: &[&str]) -> Option<Value> {
        self.measure(what, Place::Loopback, "churn", flags)
    }

    /// One scenario under rising load; `picture` is a file name.
    pub(super) fn sweep(&mut self, what: &str, flags: &[&str], picture: &str) -> Option<Value> {
        let plot =
            self.args.plots.as_ref().map(|folder| format!("--plot {}", folder.join(picture).display()));
        let length = self.length();
        let flags = [&[&*length, plot.as_deref().unwrap_or("")], flags].concat();
        self.measure(what, Place::Veth { segmentation: true }, "sweep", &flags)
    }

    /// What this machine could do at best with the packets of a scenario.
    pub(super) fn limit(&mut self, what: &str, segmentation: bool, flags: &str) -> Option<Value> {
        self.measure(what, Place::Veth { segmentation }, "limit", &[LIMIT_FLAGS, flags])
    }

    fn length(&self) -> String {
        format!("--seconds {} --repeat {}", self.args.seconds, self.args.repeat)
    }

    /// The words of a command: how the server is started, then the flags.
    fn words(&self, place: Place, action: &str, flags: &[&str]) -> Vec<String> {
        let cores = match place {
            Place::BothCores => format!("{},{}", self.args.relay_core, self.args.client_core),
            Place::Loopback | Place::Veth { .. } => self.args.relay_core.to_string(),
        };
        let binary = self.args.relay_binary.display().to_string();
        let mut words = vec![action.to_owned(), "--relay-binary".to_owned(), binary];
        words.extend(["--relay-cores".to_owned(), cores]);
        let place_flags = if place == Place::Loopback { "" } else { CLIENT_FLAGS };
        let flags = [place_flags].into_iter().chain(flags.iter().copied());
        words.extend(flags.flat_map(str::split_whitespace).map(str::to_owned));
        words
    }

    fn measure(&mut self, what: &str, place: Place, action: &str, flags: &[&str]) -> Option<Value> {
        let words = self.words(place, action, flags);
        let (command, place_name) = (words.join(" "), place.name());
        eprintln!("\n{what}, {place_name}: ringvox-load {command}");
        let outcome = place.prepare().and_then(|()| self.child(place, &words));
        self.all.push(json!({
            "what": what,
            "place": place_name,
            "command": command,
            "came": outcome.as_ref().ok(),
            "failed": outcome.as_ref().err(),
        }));
        outcome
            .map_err(|why| {
                eprintln!("failed: {why}");
                self.failures.push(format!("{what}, {place_name}: `ringvox-load {command}`: {why}"));
            })
            .ok()
    }

    /// Its progress is ours; what it found out is in a file.
    fn child(&self, place: Place, words: &[String]) -> Result<Value, String> {
        let netns = (place != Place::Loopback).then_some(CLIENTS_NETNS);
        let file = tempfile::NamedTempFile::new().map_err(|why| why.to_string())?;
        let mut command = placed(&self.own, Some(&self.args.client_core.to_string()), netns);
        command.args(words).arg("--json").arg(file.path()).stdin(Stdio::null()).stdout(Stdio::null());
        let status = command.status().map_err(|why| format!("{}: {why}", self.own.display()))?;
        if !status.success() {
            return Err(format!("ended with {status}"));
        }
        let text = fs::read_to_string(file.path()).map_err(|why| why.to_string())?;
        serde_json::from_str(&text).map_err(|why| why.to_string())
    }
}

/// Lets the relay's device cut large packets itself, or the kernel before it.
fn set_segmentation(on: bool) -> Result<(), String> {
    let on = if on { "on" } else { "off" };
    let words = ["netns", "exec", RELAY_NETNS, "ethtool", "-K", RELAY_DEVICE, "tx-udp-segmentation", on];
    let output = Command::new("ip").args(words).output().map_err(|why| format!("ip: {why}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("ip {}: {}", words.join(" "), String::from_utf8_lossy(&output.stderr).trim()))
}
