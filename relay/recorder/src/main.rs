//! `ringvox-recorder`: records what the relay gives at its local port.

use clap::{Parser, ValueEnum};
use nix::sys::signal::SigSet;
use recorder::config::Config;
use recorder::disk::Backend;
use recorder::run::{Options, run};
use recorder_control::PORT_NAME;
use relay_control::recorder_socket_of;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::signal::unix::{SignalKind, signal};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Settings or arguments are wrong: start it differently (as clap has it).
const EXIT_USAGE: u8 = 2;

/// Records what the relay gives at its local port, as the labels of its taps say. Signaling starts it.
#[derive(Parser)]
#[command(
    name = "ringvox-recorder",
    version,
    after_help = "ringvox-recorder mix FILE mixes the file of a room into one MP4; see ringvox-recorder mix --help"
)]
struct Arguments {
    /// Settings file [default: ringvox.toml in the current directory, if there is one]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The relay's socket for local ports [default: beside relay.control_socket]
    #[arg(long, value_name = "PATH")]
    port_socket: Option<PathBuf>,
    /// Our own socket, for signaling [default: beside that, relay-recorder.sock of relay-ports.sock]
    #[arg(long, value_name = "PATH")]
    control_socket: Option<PathBuf>,
    /// Where recordings go; made if it is not there [default: recording.directory]
    #[arg(long, value_name = "PATH")]
    directory: Option<PathBuf>,
    /// The name under which taps are ordered
    #[arg(long, default_value = PORT_NAME)]
    name: String,
    /// How files are written
    #[arg(long, value_enum, default_value = "auto")]
    io: Io,
}

#[derive(Clone, Copy, ValueEnum)]
enum Io {
    /// Through io_uring if the kernel allows it, else plainly
    Auto,
    /// Through io_uring, or refuse to start
    Uring,
    /// Plainly
    Plain,
}

fn main() -> ExitCode {
    tracing_subscriber::fmt().with_writer(io::stderr).with_ansi(false).init();
    if let Some(code) = recorder::mix::command(std::env::args_os()) {
        return code;
    }
    let options = match options(Arguments::parse()) {
        Ok(options) => options,
        Err(why) => return complain(&why, EXIT_USAGE),
    };
    for told in relay_settings::take_told() {
        tracing::warn!("{told}");
    }
    match take_signals().and_then(|stops| run(&options, &stops)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => complain(&why.to_string(), 1),
    }
}

fn options(arguments: Arguments) -> Result<Options, String> {
    let config = Config::load(arguments.config.as_deref()).map_err(|why| why.to_string())?;
    let port_socket = arguments.port_socket.unwrap_or_else(|| config.port_socket());
    let control_socket = arguments.control_socket.unwrap_or_else(|| recorder_socket_of(&port_socket));
    let directory = arguments.directory.or_else(|| config.recording.directory.clone());
    let directory = directory.ok_or("where do recordings go? Give recording.directory or --directory")?;
    let backend = match arguments.io {
        Io::Auto => Backend::Auto,
        Io::Uring => Backend::Uring,
        Io::Plain => Backend::Plain,
    };
    let (name, settings) = (arguments.name, config.recording);
    Ok(Options { port_socket, name, control_socket, directory, backend, settings })
}

/// SIGINT and SIGTERM end it. They are handled and not blocked, and what we were started with blocked is
/// not: the programs that we start inherit what is blocked, and could not be ended by a signal.
fn take_signals() -> io::Result<Arc<AtomicBool>> {
    SigSet::all().thread_unblock()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let (mut interrupt, mut terminate) = {
        let _entered = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
    };
    let stops = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&stops);
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        });
        told.store(true, Ordering::Relaxed);
    })?;
    Ok(stops)
}

/// Standard error may be closed: that is no reason to panic.
fn complain(why: &str, status: u8) -> ExitCode {
    let _ = writeln!(io::stderr(), "ringvox-recorder: {why}");
    ExitCode::from(status)
}
