//! `ringvox-recorder`: records what the relay gives at its local port.

use clap::{Parser, ValueEnum};
use nix::sys::signal::{SigSet, Signal};
use recorder::disk::Disk;
use recorder::groups::{By, Groups};
use relay_port::{ClientError, ClientReader, ClientWriter, Frame, MediaTime, Message, connect};
use std::io::{self, ErrorKind, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How often what waits is looked at.
const TICK: Duration = Duration::from_millis(20);
/// How long to wait for a relay before it is tried again.
const RECONNECT: Duration = Duration::from_millis(500);

/// Records what the relay gives at its local port: `ringvox-relay ctl tap recorder TRACK` orders it.
#[derive(Parser)]
#[command(name = "ringvox-recorder", version)]
struct Arguments {
    /// The relay's socket for local ports, beside its control socket
    #[arg(long, value_name = "PATH")]
    port_socket: PathBuf,
    /// Where files go; made if it is not there
    #[arg(long, value_name = "PATH")]
    directory: PathBuf,
    /// The name under which taps are ordered
    #[arg(long, default_value = "recorder")]
    name: String,
    /// What goes into one file
    #[arg(long, value_enum, default_value = "track")]
    by: ByFlag,
}

#[derive(Clone, Copy, ValueEnum)]
enum ByFlag {
    /// Each track into its own, in WebM or Matroska
    Track,
    /// All tracks of a room, in Matroska
    Room,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    tracing_subscriber::fmt().with_writer(io::stderr).with_ansi(false).init();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            let _ = writeln!(io::stderr(), "ringvox-recorder: {why}");
            ExitCode::FAILURE
        }
    }
}

/// Until a signal says otherwise.
fn run(arguments: &Arguments) -> io::Result<()> {
    let stops = take_signals()?;
    let by = match arguments.by {
        ByFlag::Track => By::Track,
        ByFlag::Room => By::Room,
    };
    let mut groups = Groups::new(by, Disk::start(&arguments.directory)?);
    let mut is_told = false;
    while !stops.load(Ordering::Relaxed) {
        match connect(&arguments.port_socket, &arguments.name) {
            Ok((writer, reader)) => {
                is_told = false;
                tracing::info!("connected to the relay");
                let why = record(&mut groups, writer, reader, &stops);
                groups.handle_end();
                match why {
                    Ok(()) => tracing::info!("the relay has hung up, or we end"),
                    Err(why) => tracing::error!("{why}"),
                }
            }
            Err(why) => {
                // Once for each time that it is gone.
                if !std::mem::replace(&mut is_told, true) {
                    tracing::warn!("{why}; it is tried again");
                }
                std::thread::sleep(RECONNECT);
            }
        }
    }
    groups.end();
    Ok(())
}

/// SIGINT and SIGTERM end it; every thread inherits that they are blocked.
fn take_signals() -> io::Result<Arc<AtomicBool>> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGINT);
    signals.add(Signal::SIGTERM);
    signals.thread_block()?;
    let stops = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&stops);
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        if signals.wait().is_ok() {
            told.store(true, Ordering::Relaxed);
        }
    })?;
    Ok(stops)
}

/// Records until the relay hangs up or a signal comes.
fn record(
    groups: &mut Groups,
    mut writer: ClientWriter,
    mut reader: ClientReader,
    stops: &AtomicBool,
) -> Result<(), ClientError> {
    reader.set_timeout(Some(TICK))?;
    let mut clock = RoomClock::default();
    let mut ticked = Instant::now();
    while !stops.load(Ordering::Relaxed) {
        let read = reader.read(|frame, payload| {
            let Frame::Message(message) = frame else { return };
            if let Message::Packet(packet) = &message {
                clock.hear(packet.arrival);
            }
            groups.handle_message(unix_ms(), &message, payload);
        });
        match read {
            Ok(Some(())) => {}
            Ok(None) => break,
            Err(ClientError::Io(why)) if why.kind() == ErrorKind::WouldBlock => {}
            Err(why) => return Err(why),
        }
        if ticked.elapsed() >= TICK {
            ticked = Instant::now();
            if let Some(now) = clock.now() {
                groups.handle_timeout(now);
            }
            while let Some(track_id) = groups.poll_keyframe() {
                writer.send(&Frame::Message(Message::Keyframe { track_id }), &[])?;
            }
        }
    }
    Ok(())
}

fn unix_ms() -> u128 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_millis())
}

/// The room clock between packets: where the latest one stood, and what has passed since.
#[derive(Default)]
struct RoomClock(Option<(MediaTime, Instant)>);

impl RoomClock {
    fn hear(&mut self, arrival: MediaTime) {
        if self.now().is_none_or(|now| arrival > now) {
            self.0 = Some((arrival, Instant::now()));
        }
    }

    fn now(&self) -> Option<MediaTime> {
        let (arrival, at) = self.0?;
        let passed = i64::try_from(at.elapsed().as_nanos()).unwrap_or(i64::MAX);
        Some(MediaTime::from_nanos(arrival.as_nanos().saturating_add(passed)))
    }
}
