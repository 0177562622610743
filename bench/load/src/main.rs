//! `ringvox-load`: what a media server costs, measured by clients that are as real as a browser's on the wire.
//!
//! Publishers and subscribers do ICE, DTLS and SRTP over UDP sockets of their own, many on one thread. Every payload
//! says which stream it is of, its number and when it was sent, so nothing that a server does to it goes unseen. The
//! measure is the server's CPU time per packet that reached a subscriber: the machine may be busy with other things.
//!
//! Deliberately absent: congestion control, jitter buffers, decoding. A client takes what it gets and says what it missed.

mod args;
mod client;
mod clock;
mod dice;
mod door;
mod engine;
mod histogram;
mod ice;
mod limit;
mod mark;
mod peer;
mod receiving;
mod report;
mod run;
mod scenario;
mod seen;
mod sending;
mod sink;
mod socket;
mod source;
mod tally;
mod target;

use args::{Action, Cli, RunArgs};
use clap::Parser;
use peer::Peer;
use serde_json::{Value, json};
use std::process::ExitCode;

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Action::Run(args) => run(&args),
        Action::Limit(args) => limit::run(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("ringvox-load: {why}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &RunArgs) -> Result<(), String> {
    let values =
        args.server.peer.iter().map(|peer| measure(args, *peer, 1.0)).collect::<Result<Vec<_>, _>>()?;
    let all = if let [one] = &values[..] { one.clone() } else { json!({"runs": values}) };
    if let Some(path) = &args.json {
        let text = serde_json::to_string_pretty(&all).map_err(|why| why.to_string())?;
        std::fs::write(path, text + "\n").map_err(|why| format!("{}: {why}", path.display()))?;
    }
    if let [one] = &values[..] {
        println!("{}", one["summary"]);
    } else {
        println!("{}", peer::side_by_side(&values));
    }
    Ok(())
}

/// One run against a server of its own.
fn measure(args: &RunArgs, peer: Peer, load: f64) -> Result<Value, String> {
    let opened = peer::open(peer, &args.server)?;
    let outcome = run::run(&args.spec(load), &opened.target, opened.door)?;
    let mut value = report::json(&outcome);
    for (name, fact) in opened.facts {
        value[name] = fact;
    }
    value["load"] = load.into();
    Ok(value)
}
