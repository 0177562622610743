//! `ringvox-relay`: arguments → settings → start → run.

use clap::{Parser, Subcommand};
use relay::config::{Config, Flags};
use relay::control::{Exit, take_signals};
use relay::{Relay, ctl, log};
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use std::error::Error;
use std::io::Write as _;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Media relay of Ringvox: ICE-lite, DTLS and SRTP over one UDP port per core.
#[derive(Parser)]
#[command(name = "ringvox-relay", version, args_conflicts_with_subcommands = false)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Subcommands>,
    #[command(flatten)]
    flags: Flags,
}

#[derive(Subcommand)]
enum Subcommands {
    /// Ask the running relay, or order what its local ports do, and print its answer as JSON
    Ctl {
        #[command(subcommand)]
        question: ctl::Question,
    },
}

/// Settings or arguments are wrong: start it differently (as clap has it).
const EXIT_USAGE: u8 = 2;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let config = match Config::load(&arguments.flags) {
        Ok(config) => config,
        Err(why) => return complain(&why, EXIT_USAGE),
    };
    if let Some(Subcommands::Ctl { question }) = arguments.command {
        return match ctl::ask(&config.control_socket, question) {
            Ok(json) => print(&json),
            Err(why) => complain(&why, 1),
        };
    }
    match serve(&config) {
        Ok(exit) => ExitCode::from(exit.status()),
        Err(why) => complain(why.as_ref(), 1),
    }
}

/// The start-up order. Signals come first, so that every thread inherits the mask.
fn serve(config: &Config) -> Result<Exit, Box<dyn Error>> {
    let signals = take_signals()?;
    // Keys are in our memory: no core dump, no ptrace by other processes of this user.
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    let _log = log::start(config.log)?;
    let relay = Relay::start(config, Some(signals))?;
    let exit = relay.run()?;
    tracing::info!(?exit, "relay ended");
    Ok(exit)
}

/// Standard output and error may be closed: that is no reason to panic.
fn print(text: &str) -> ExitCode {
    match writeln!(std::io::stdout(), "{text}") {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn complain(why: &dyn Error, status: u8) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "ringvox-relay: {why}");
    ExitCode::from(status)
}
