//! `ringvox-load`: what a media server costs, measured by clients that are as real as a browser's on the wire.
//!
//! Publishers and subscribers do ICE, DTLS and SRTP over UDP sockets of their own, many on one thread. Every payload
//! says which stream it is of, its number and when it was sent, so nothing that a server does to it goes unseen. The
//! measure is the server's CPU time per packet that reached a subscriber: the machine may be busy with other things.
//!
//! Deliberately absent: congestion control, jitter buffers, decoding. A client takes what it gets and says what it missed.

mod args;
mod capacity;
mod channel;
mod client;
mod clock;
mod engine;
mod limit;
mod plot;
mod record;
mod report;
mod run;
mod scenario;
mod sending;
mod server;
mod sink;
mod socket;
mod source;
mod sweep;
mod tally;

use args::{Action, Cli, RunArgs};
use channel::Channel;
use clap::Parser;
use serde_json::{Value, json};
use server::Server;
use std::process::ExitCode;

fn main() -> ExitCode {
    match act(&Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("ringvox-load: {why}");
            ExitCode::FAILURE
        }
    }
}

fn act(action: &Action) -> Result<(), String> {
    match action {
        Action::Run(args) => {
            let values = each_peer(args, |server, channel| run::run(args, server, channel))?;
            match &values[..] {
                [one] => println!("{}", one["summary"]),
                several => println!("{}", report::side_by_side(several)),
            }
        }
        Action::Sweep(args) => {
            for value in each_peer(&args.run, |server, channel| sweep::run(args, server, channel))? {
                println!("{}", json!({"most": value["most"]["forwarded_per_second"], "half": value["half"]}));
            }
        }
        Action::Churn(args) => {
            let churn = |server: &Server, channel| run::churn(&args.run, args.joins, server, channel);
            each_peer(&args.run, churn)?.iter().for_each(|value| println!("{value}"));
        }
        Action::Capacity(args) => capacity::run(args)?,
        Action::Limit(args) => limit::run(args)?,
        Action::Record(args) => println!("{}", record::run(args)?),
    }
    Ok(())
}

/// Lets `measure` have each server that is asked for, writes what comes of it where that is wanted, and gives it back.
fn each_peer(
    args: &RunArgs,
    measure: impl Fn(&Server, Box<dyn Channel>) -> Result<Value, String>,
) -> Result<Vec<Value>, String> {
    let mut values = Vec::new();
    for peer in &args.server.peer {
        let opened = server::open(*peer, &args.server)?;
        let mut value = measure(&opened.server, opened.channel)?;
        for (name, fact) in opened.facts.as_object().into_iter().flatten() {
            value[name] = fact.clone();
        }
        values.push(value);
    }
    if let Some(path) = &args.json {
        let all = if let [one] = &values[..] { one.clone() } else { json!({"runs": values}) };
        report::write(path, &all)?;
    }
    Ok(values)
}
