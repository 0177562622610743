//! What recording costs the recorder: this process is the relay at its port, and gives it streams as a relay does.
//!
//! Deliberately absent: what the relay takes for it, which `run --tap` measures.

use crate::args::RecordArgs;
use crate::scenario::Kind;
use crate::server::{Process, placed};
use crate::source::{Dice, Frames, Piece, Shape};
use recorder_control::{Kind as RecordingKind, TapLabel, Wanted};
use relay_port::{
    Codec, Decoded, Frame, FrameReader, Hello, MediaKind, MediaTime, Message, PORT_VERSION, Packet, Priority,
    Track, encode,
};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How often packets are handed over, as a relay does that wakes for many at once.
const TICK: Duration = Duration::from_millis(5);
/// Until files are open and buffers have their size.
const SETTLE: Duration = Duration::from_secs(3);
/// The recorder connects within this.
const PATIENCE: Duration = Duration::from_secs(20);
const GROUP: u32 = 10 * 30;

/// Starts a recorder, gives it `args.streams` publications of sound and picture, and reads what that took.
pub(crate) fn run(args: &RecordArgs) -> Result<Value, String> {
    let dir = tempfile::Builder::new().prefix("ringvox-load-").tempdir().map_err(words)?;
    let socket = dir.path().join("relay-ports.sock");
    let directory = args.directory.clone().unwrap_or_else(|| dir.path().join("records"));
    let listener = UnixListener::bind(&socket).map_err(words)?;
    let mut command = placed(&args.recorder_binary, args.cores.as_deref(), None);
    command.arg("--port-socket").arg(&socket).arg("--directory").arg(&directory).args(&args.recorder_arg);
    let mut recorder = Process::start_logged(&args.recorder_binary, command, dir.path().join("log"))?;
    let mut relay = accept(&listener, &mut recorder)?;
    let mut sources: Vec<Source> = (0..args.streams).flat_map(|stream| sources(stream, args)).collect();
    let mut out = Vec::new();
    sources.iter().for_each(|source| source.begin(&mut out));
    let begun = Instant::now();
    send(&mut relay, &mut out, begun, &mut sources, SETTLE)?;
    let (cpu, bytes) = (recorder.cpu_ns()?, size_of(&directory));
    let since = Instant::now();
    let (packets, latest) = send(&mut relay, &mut out, begun, &mut sources, args.window)?;
    let seconds = since.elapsed().as_secs_f64();
    let (cpu, bytes) = (recorder.cpu_ns()? - cpu, size_of(&directory) - bytes);
    recorder.check()?;
    Ok(json!({
        "streams": args.streams,
        "seconds": seconds,
        "packets_per_second": packets as f64 / seconds,
        "written_bps": bytes as f64 * 8.0 / seconds,
        "cores": cpu as f64 / 1e9 / seconds,
        "cpu_ns_per_packet": cpu as f64 / packets.max(1) as f64,
        "threads_cpu_ns": recorder.thread_cpu_ns(),
        "resident_bytes": recorder.resident_bytes(),
        "latest_ms": latest.as_secs_f64() * 1e3,
    }))
}

fn words(why: impl std::fmt::Display) -> String {
    why.to_string()
}

/// The recorder's connection, greeted.
fn accept(listener: &UnixListener, recorder: &mut Process) -> Result<UnixStream, String> {
    listener.set_nonblocking(true).map_err(words)?;
    let until = Instant::now() + PATIENCE;
    let mut stream = loop {
        match listener.accept() {
            Ok((stream, _)) => break stream,
            Err(why) if Instant::now() > until => {
                return Err(format!("the recorder does not connect: {why}"));
            }
            Err(_) => std::thread::sleep(TICK),
        }
        recorder.check()?;
    };
    stream.set_nonblocking(false).map_err(words)?;
    let mut reader = FrameReader::default();
    let mut bytes = [0; 1024];
    while !matches!(reader.next().map_err(words)?, Some(Decoded::Frame(Frame::Hello(_), _))) {
        let len = stream.read(&mut bytes).map_err(words)?;
        if len == 0 {
            return Err("the recorder hung up".to_owned());
        }
        reader.push(&bytes[..len]);
    }
    let mut hello = Vec::new();
    put(&Frame::Hello(Hello { version: PORT_VERSION, name: "relay".into() }), &[], &mut hello);
    stream.write_all(&hello).map_err(words)?;
    // What it asks for is read, so that it never waits for us.
    let mut asked = stream.try_clone().map_err(words)?;
    std::thread::spawn(move || while asked.read(&mut bytes).is_ok_and(|len| len > 0) {});
    Ok(stream)
}

/// Sends for so long what is due; packets, and how late the latest of them was taken.
fn send(
    relay: &mut UnixStream,
    out: &mut Vec<u8>,
    begun: Instant,
    sources: &mut [Source],
    lasts: Duration,
) -> Result<(u64, Duration), String> {
    let (until, mut packets, mut latest) = (Instant::now() + lasts, 0, Duration::ZERO);
    while Instant::now() < until {
        let now = begun.elapsed();
        for source in &mut *sources {
            packets += source.send(now, out);
        }
        relay.write_all(out).map_err(words)?;
        out.clear();
        let took = begun.elapsed() - now;
        latest = latest.max(took);
        std::thread::sleep(TICK.saturating_sub(took));
    }
    Ok((packets, latest))
}

/// A track of a publication.
struct Source {
    track_id: u64,
    label: Vec<u8>,
    kind: Kind,
    shape: Shape,
    /// When its next frame is due, after the beginning.
    due: Duration,
    frames: u32,
    seq: u64,
    dice: Dice,
}

/// Sound and picture of a publication.
fn sources(stream: u32, args: &RecordArgs) -> [Source; 2] {
    let wanted = Wanted {
        id: format!("{:016x}", 0x1000 + u64::from(stream)),
        kind: RecordingKind::Stream,
        file: format!("load-{stream}.webm"),
        started_at_ms: unix().as_millis() as u64,
        aligned_at_ms: None,
    };
    let label = TapLabel {
        room: format!("room{}", stream / 4),
        login: format!("login{stream}"),
        stream: "camera".into(),
        name: None,
        publication: u64::from(stream),
        screen: false,
        recordings: vec![wanted],
    };
    let frames = Frames::Video { bytes_mean: args.video_bps / 30 / 8, payload_bytes_max: 1180 };
    let video = Shape { interval: Duration::from_secs(1) / 30, frames };
    let audio = Shape {
        interval: Duration::from_millis(20),
        frames: Frames::Audio { bytes_min: 80, bytes_max: 120 },
    };
    [(Kind::Audio, audio), (Kind::Video, video)].map(|(kind, shape)| {
        let track_id = 2 * u64::from(stream) + 1 + u64::from(kind == Kind::Video);
        // As publishers do, not all at once.
        let due = shape.interval * stream / args.streams;
        let dice = Dice::new(track_id);
        Source { track_id, label: label.to_bytes(), kind, shape, due, frames: 0, seq: 0, dice }
    })
}

impl Source {
    fn begin(&self, out: &mut Vec<u8>) {
        let track_id = self.track_id;
        put(&Frame::Label { track_id, label: self.label.clone() }, &[], out);
        let (kind, codec) = match self.kind {
            Kind::Audio => (MediaKind::Audio, Codec::Opus),
            Kind::Video => (MediaKind::Video, Codec::Vp8),
        };
        let clock_rate_hz = self.kind.clock_rate_hz();
        let priority = Priority::Medium;
        let track = Track { room_id: 1, kind, codec, clock_rate_hz, priority, connected: true, held: true };
        put(&Frame::Message(Message::Begin { track_id, opening: 1, track }), &[], out);
    }

    /// Appends the frames that are due; how many packets they are.
    fn send(&mut self, now: Duration, out: &mut Vec<u8>) -> u64 {
        let mut packets = 0;
        while self.due <= now {
            let keyframe = self.kind == Kind::Video && self.frames.is_multiple_of(GROUP);
            for piece in self.shape.frame(keyframe, &mut self.dice) {
                self.put_packet(&piece, keyframe, out);
                packets += 1;
            }
            self.frames += 1;
            self.due += self.shape.interval;
        }
        packets
    }

    fn put_packet(&mut self, piece: &Piece, keyframe: bool, out: &mut Vec<u8>) {
        let mut payload = [0x5a; 1500];
        if self.kind == Kind::Audio {
            // One frame of 20 ms (RFC 6716 §3.1).
            payload[0] = 0xf8;
        } else if piece.first {
            // RFC 7741 §4.2 and RFC 6386 §9.1: it begins a partition, then the frame's head.
            let head: [u8; 11] = [0x10, u8::from(!keyframe), 2, 0, 0x9d, 1, 0x2a, 0x80, 2, 0x68, 1];
            payload[..head.len()].copy_from_slice(&head);
        } else {
            payload[0] = 0;
        }
        let packet = Packet {
            track_id: self.track_id,
            seq: self.seq,
            source: 1,
            timestamp: self.frames.wrapping_mul(self.shape.ticks(self.kind)),
            arrival: MediaTime::from_nanos(unix().as_nanos() as i64),
            marker: piece.last,
            keyframe: keyframe && piece.first,
            audio_level: None,
            video_orientation: None,
        };
        self.seq += 1;
        put(&Frame::Message(Message::Packet(packet)), &payload[..piece.len], out);
    }
}

fn put(frame: &Frame, payload: &[u8], out: &mut Vec<u8>) {
    let written = encode(frame, payload, out);
    debug_assert!(written, "short enough");
}

fn unix() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Octets of all files below a folder.
fn size_of(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let size = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(about) if about.is_dir() => size_of(&entry.path()),
        Ok(about) => about.len(),
        Err(_) => 0,
    };
    entries.map(size).sum()
}
