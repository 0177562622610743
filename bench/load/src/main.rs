//! `ringvox-load`: what a media server costs, measured by clients that are as real as a browser's on the wire.
//!
//! Publishers and subscribers do ICE, DTLS and SRTP over UDP sockets of their own, many on one thread. Every payload
//! says which stream it is of, its number and when it was sent, so nothing that a server does to it goes unseen. The
//! measure is the server's CPU time per packet that reached a subscriber: the machine may be busy with other things.
//!
//! Deliberately absent: congestion control, jitter buffers, decoding. A client takes what it gets and says what it missed.

mod args;
mod capacity;
mod client;
mod clock;
mod dice;
mod door;
mod engine;
mod limit;
mod peer;
mod plot;
mod progress;
mod report;
mod run;
mod scenario;
mod sending;
mod session;
mod sink;
mod socket;
mod source;
mod sweep;
mod tally;
mod target;

use args::{Action, ChurnArgs, Cli, RunArgs, SweepArgs};
use clap::Parser;
use door::Door;
use peer::Peer;
use serde_json::{Value, json};
use std::process::ExitCode;
use target::Target;

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Action::Run(args) => run(&args),
        Action::Sweep(args) => sweep(&args),
        Action::Churn(args) => churn(&args),
        Action::Capacity(args) => capacity::run(&args),
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
    let values = each_peer(args, |target, door| {
        let outcome = run::run(args, target, door)?;
        Ok(report::json(&outcome))
    })?;
    if let [one] = &values[..] {
        println!("{}", one["summary"]);
    } else {
        println!("{}", peer::side_by_side(&values));
    }
    Ok(())
}

fn sweep(args: &SweepArgs) -> Result<(), String> {
    let values = each_peer(&args.run, |target, door| sweep::run(args, target, door))?;
    for value in values {
        println!("{}", json!({"most": value["most"]["forwarded_per_second"], "half": value["half"]}));
    }
    Ok(())
}

fn churn(args: &ChurnArgs) -> Result<(), String> {
    let values = each_peer(&args.run, |target, door| {
        let churn = run::churn(&args.run, args.joins, target, door)?;
        Ok(report::churn_json(&churn))
    })?;
    values.iter().for_each(|value| println!("{value}"));
    Ok(())
}

/// Lets `measure` have each server that is asked for, writes what comes of it where that is wanted, and gives it back.
fn each_peer(
    args: &RunArgs,
    mut measure: impl FnMut(&Target, Box<dyn Door>) -> Result<Value, String>,
) -> Result<Vec<Value>, String> {
    let mut one = |peer: &Peer| {
        let opened = peer::open(*peer, &args.server)?;
        let mut value = measure(&opened.target, opened.door)?;
        for (name, fact) in opened.facts {
            value[name] = fact;
        }
        Ok(value)
    };
    let values = args.server.peer.iter().map(&mut one).collect::<Result<Vec<_>, String>>()?;
    let all = if let [one] = &values[..] { one.clone() } else { json!({"runs": values}) };
    if let Some(path) = &args.json {
        report::write(path, &all)?;
    }
    Ok(values)
}
