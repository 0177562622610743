//! One figure after the other, each by a process of its own.

use super::network::{self, CLIENT_FLAGS, CLIENTS_NETNS, LIMIT_FLAGS};
use crate::args::CapacityArgs;
use crate::target::placed;
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;
use std::process::Stdio;

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

/// See the module.
pub(super) struct Runs<'a> {
    args: &'a CapacityArgs,
    own: PathBuf,
    /// How many there were.
    pub(super) count: u32,
    /// What was run, and what came of it.
    pub(super) all: Vec<Value>,
    /// What failed, and why.
    pub(super) failures: Vec<String>,
}

impl<'a> Runs<'a> {
    pub(super) fn new(args: &'a CapacityArgs) -> Result<Self, String> {
        network::check()?;
        let own = std::env::current_exe().map_err(|why| why.to_string())?;
        Ok(Self { args, own, count: 0, all: Vec::new(), failures: Vec::new() })
    }

    /// One scenario.
    pub(super) fn run(&mut self, what: &str, place: Place, flags: &[&str]) -> Option<Value> {
        let mut words = vec!["run".to_owned()];
        words.extend(self.server(place));
        words.extend(self.length());
        words.extend(split(flags));
        self.measure(what, place, words)
    }

    /// Subscribers come and go.
    pub(super) fn churn(&mut self, what: &str, flags: &[&str]) -> Option<Value> {
        let mut words = vec!["churn".to_owned()];
        words.extend(self.server(Place::Loopback));
        words.extend(split(flags));
        self.measure(what, Place::Loopback, words)
    }

    /// One scenario under rising load; `picture` is a file name.
    pub(super) fn sweep(&mut self, what: &str, flags: &[&str], picture: &str) -> Option<Value> {
        let place = Place::Veth { segmentation: true };
        let mut words = vec!["sweep".to_owned()];
        words.extend(self.server(place));
        words.extend(self.length());
        words.extend(split(flags));
        if let Some(folder) = &self.args.plots {
            words.extend(["--plot".to_owned(), folder.join(picture).display().to_string()]);
        }
        self.measure(what, place, words)
    }

    /// What this machine could do at best with the packets of a scenario.
    pub(super) fn limit(&mut self, what: &str, segmentation: bool, flags: &str) -> Option<Value> {
        let mut words =
            vec!["limit".to_owned(), "--relay-cores".to_owned(), self.args.relay_core.to_string()];
        words.extend(split(&[LIMIT_FLAGS, flags]));
        self.measure(what, Place::Veth { segmentation }, words)
    }

    fn server(&self, place: Place) -> Vec<String> {
        let cores = match place {
            Place::BothCores => format!("{},{}", self.args.relay_core, self.args.client_core),
            Place::Loopback | Place::Veth { .. } => self.args.relay_core.to_string(),
        };
        let mut words: Vec<String> =
            vec!["--relay-binary".into(), self.args.relay_binary.display().to_string()];
        words.extend(["--relay-cores".to_owned(), cores]);
        if place != Place::Loopback {
            words.extend(split(&[CLIENT_FLAGS]));
        }
        words
    }

    fn length(&self) -> Vec<String> {
        let (seconds, repeat) = (self.args.seconds.to_string(), self.args.repeat.to_string());
        ["--seconds".to_owned(), seconds, "--repeat".to_owned(), repeat].into()
    }

    fn measure(&mut self, what: &str, place: Place, words: Vec<String>) -> Option<Value> {
        self.count += 1;
        let command = words.join(" ");
        eprintln!("\n{what}, {}: ringvox-load {command}", place.name());
        let came = place.prepare().and_then(|()| self.child(place, &words));
        let value = match &came {
            Ok(value) => json!({"what": what, "place": place.name(), "command": command, "came": value}),
            Err(why) => json!({"what": what, "place": place.name(), "command": command, "failed": why}),
        };
        self.all.push(value);
        came.map_err(|why| {
            eprintln!("failed: {why}");
            self.failures.push(format!("{what}, {}: `ringvox-load {command}`: {why}", place.name()));
        })
        .ok()
    }

    /// Its progress is ours; what it found out is in a file, or of a limit on its standard output.
    fn child(&self, place: Place, words: &[String]) -> Result<Value, String> {
        let netns = (place != Place::Loopback).then_some(CLIENTS_NETNS);
        let mut command = placed(&self.own, Some(&self.args.client_core.to_string()), netns);
        command.args(words).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let file = std::env::temp_dir().join(format!("ringvox-load-{}.json", std::process::id()));
        let is_limit = words[0] == "limit";
        if !is_limit {
            command.arg("--json").arg(&file);
        }
        let output = command.spawn().and_then(std::process::Child::wait_with_output);
        let output = output.map_err(|why| format!("{}: {why}", self.own.display()))?;
        if !output.status.success() {
            return Err(format!("ended with {}", output.status));
        }
        let text = if is_limit {
            String::from_utf8_lossy(&output.stdout).into_owned()
        } else {
            let text = fs::read_to_string(&file).map_err(|why| format!("{}: {why}", file.display()))?;
            let _ = fs::remove_file(&file);
            text
        };
        serde_json::from_str(&text).map_err(|why| why.to_string())
    }
}

impl Place {
    fn prepare(self) -> Result<(), String> {
        match self {
            Self::Loopback => Ok(()),
            Self::Veth { segmentation } => network::set_segmentation(segmentation),
            Self::BothCores => network::set_segmentation(true),
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Loopback => "loopback",
            Self::Veth { segmentation: true } => "veth",
            Self::Veth { segmentation: false } => "veth without segmentation",
            Self::BothCores => "veth, both cores",
        }
    }
}

fn split(flags: &[&str]) -> Vec<String> {
    flags.iter().flat_map(|flags| flags.split_whitespace()).map(str::to_owned).collect()
}
