//! `ringvox-signaling`: arguments → settings → start, and signals.

use clap::Parser;
use mimalloc::MiMalloc;
use signaling::config::{Config, Flags};
use signaling::server::Ended;
use signaling::start::{Running, StartError, start};
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// A fault of our own: starting it again helps (`EX_SOFTWARE` of sysexits).
const EXIT_SOFTWARE: u8 = 70;
/// Wrong settings or arguments, as clap and `ringvox-relay` have it: start it differently.
const EXIT_USAGE: u8 = 2;

/// Ringvox: rooms for browsers. Serves pages, WebSockets, WHIP and WHEP, and starts the media relay.
///
/// Every setting has a default and can also stand in ringvox.toml; see ringvox.toml.example.
#[derive(Parser)]
#[command(name = "ringvox-signaling", version)]
struct Arguments {
    #[command(flatten)]
    flags: Flags,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let config = match Config::load(&arguments.flags) {
        Ok(config) => config,
        Err(why) => return complain(&why, EXIT_USAGE),
    };
    let filter = EnvFilter::builder().with_default_directive(config.signaling.log.into()).from_env_lossy();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .fmt_fields(signaling::log::fields())
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
    for told in relay_settings::take_told() {
        tracing::warn!("{told}");
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(why) => return complain(&why, 1),
    };
    match runtime.block_on(run(config)) {
        Ok(Ended::Shutdown) => ExitCode::SUCCESS,
        Ok(Ended::Superseded) => ExitCode::FAILURE,
        Ok(Ended::Panicked) => ExitCode::from(EXIT_SOFTWARE),
        Err(why) => complain(why.as_ref(), 1),
    }
}

async fn run(config: Config) -> Result<Ended, StartError> {
    let supervision = Supervision::now();
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    // Others mean something to other programs (rotate a log); ours must not end by them.
    let _ignored = (signal(SignalKind::user_defined1())?, signal(SignalKind::user_defined2())?);
    let control_socket = config.control_socket.clone();
    // A signal that comes meanwhile waits: a relay that has just been started is to be ended as well.
    let mut running = start(config).await?;
    announce(&running, &control_socket);
    let alone = loop {
        tokio::select! {
            ended = running.ended() => return Ok(ended),
            _ = interrupt.recv() => break false,
            _ = terminate.recv() => break supervision == Supervision::ServiceManager,
            _ = hangup.recv() => {
                // A terminal that was closed; else somebody wants files to be read again.
                if supervision == Supervision::Terminal && !has_terminal() {
                    break false;
                }
                running.renew();
            }
        }
    };
    tracing::info!("stopping");
    if alone {
        running.stop_alone().await;
    } else {
        running.stop().await;
    }
    Ok(Ended::Shutdown)
}

/// Who watches over this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Supervision {
    /// A person, in a terminal that ends what runs in it when it is closed.
    Terminal,
    /// It starts and ends the relay by itself, or keeps it in our control group and ends that as its settings
    /// say.
    ServiceManager,
    Other,
}

impl Supervision {
    /// Before signals are taken. In a desktop's terminal, too, systemd's variables are set.
    fn now() -> Self {
        let managed = ["INVOCATION_ID", "NOTIFY_SOCKET"].iter().any(|name| std::env::var_os(name).is_some());
        match has_terminal() {
            // `nohup` ignores what a terminal sends at its end.
            true if !ignores_hangup() => Self::Terminal,
            false if managed => Self::ServiceManager,
            _ => Self::Other,
        }
    }
}

fn has_terminal() -> bool {
    std::fs::File::open("/dev/tty").is_ok()
}

/// As proc(5) has it: signal 1 is the lowest bit.
fn ignores_hangup() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    ignored.is_some_and(|mask| u64::from_str_radix(mask.trim(), 16).is_ok_and(|mask| mask & 1 != 0))
}

fn announce(running: &Running, control_socket: &Path) {
    let mut text = String::from("\n");
    if running.relay.is_some() {
        text.push_str("Ringvox is running. Open\n");
    } else {
        let socket = control_socket.display();
        text.push_str(&format!("Signaling is running, and waits for a relay on {socket}. Open\n"));
    }
    for url in running.urls() {
        text.push_str(&format!("    {url}\n"));
    }
    text.push_str(
        "Camera and microphone work on localhost and on https (accept the self-made certificate once).\n",
    );
    text.push_str(if running.relay.is_none_or(|relay| relay.ends_with_us) {
        "Ctrl-C stops it.\n\n"
    } else {
        "Ctrl-C stops it; the relay goes on (see signaling.stop_relay).\n\n"
    });
    // Standard output may be closed; that is no reason to stop.
    let _ = std::io::stdout().write_all(text.as_bytes());
    let _ = std::io::stdout().flush();
}

fn complain(why: &dyn std::error::Error, status: u8) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "ringvox-signaling: {why}");
    ExitCode::from(status)
}
