//! The program before a relay's port and a controller that the test plays.

use recorder::matroska::scan;
use recorder_control::{Kind, Notice, Order, Recording, TapLabel, Wanted};
use relay_port::{
    Codec, Decoded, Frame, FrameReader, MediaKind, MediaTime, Message, Packet, Priority, Track, encode,
};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant, SystemTime};

pub(crate) const DEADLINE: Duration = Duration::from_secs(30);
pub(crate) const STREAM: &str = "00000000000000aa";
pub(crate) const ROOM: &str = "00000000000000bb";

/// The program, and what is around it.
pub(crate) struct Bed {
    pub(crate) folder: tempfile::TempDir,
    listener: UnixListener,
    pub(crate) child: Child,
}

impl Bed {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self::start_by(|folder| recorder(folder, arguments))
    }

    /// The program, or one that becomes it.
    pub(crate) fn start_by(command: impl FnOnce(&Path) -> Command) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).expect("set");
        let listener = UnixListener::bind(folder.path().join("relay-ports.sock")).expect("bound");
        listener.set_nonblocking(true).expect("set");
        let child = command(folder.path()).spawn().expect("started");
        Self { folder, listener, child }
    }

    pub(crate) fn records(&self) -> PathBuf {
        self.folder.path().join("records")
    }

    /// The recorder's connection to the relay.
    pub(crate) fn port(&self) -> Port {
        let (stream, _) = until("the recorder connects", || self.listener.accept().ok());
        stream.set_nonblocking(false).expect("set");
        stream.set_read_timeout(Some(DEADLINE)).expect("set");
        let mut port = Port { stream, reader: FrameReader::default(), began: Instant::now(), sent: 0 };
        let hello = port.read();
        assert!(matches!(&hello, Frame::Hello(hello) if hello.name == "recorder"), "{hello:?}");
        port.send(&hello, &[]);
        port
    }

    pub(crate) fn controller(&self) -> Controller {
        let socket = self.folder.path().join("relay-recorder.sock");
        let stream = until("its socket is there", || UnixStream::connect(&socket).ok());
        assert_eq!(fs::metadata(&socket).expect("there").permissions().mode() & 0o777, 0o600);
        stream.set_read_timeout(Some(DEADLINE)).expect("set");
        let mut controller = Controller { lines: BufReader::new(stream) };
        controller.order(&Order::Hello { version: 1 });
        let Notice::Hello { directory, .. } = controller.read() else { panic!("Hello comes first") };
        assert_eq!(Path::new(&directory), self.records().canonicalize().expect("there"));
        controller
    }

    pub(crate) fn kill_and_start(&mut self) {
        self.child.kill().expect("running");
        self.child.wait().expect("ended");
        self.child = spawn(self.folder.path(), &[]);
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn spawn(folder: &Path, arguments: &[&str]) -> Child {
    recorder(folder, arguments).spawn().expect("built")
}

pub(crate) fn recorder(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringvox-recorder"));
    command.arg("--port-socket").arg(folder.join("relay-ports.sock"));
    command.arg("--directory").arg(folder.join("records")).args(arguments);
    command.current_dir(folder);
    command
}

pub(crate) fn until<T>(what: &str, mut there: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = there() {
            return found;
        }
        assert!(began.elapsed() < DEADLINE, "{what}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// The relay's side of the port: sound, as fast as it is asked for.
pub(crate) struct Port {
    stream: UnixStream,
    reader: FrameReader,
    pub(crate) began: Instant,
    pub(crate) sent: u64,
}

impl Port {
    pub(crate) fn read(&mut self) -> Frame {
        let mut bytes = [0; 4_096];
        loop {
            if let Some(Decoded::Frame(frame, _)) = self.reader.next().expect("frames") {
                return frame;
            }
            let len = self.stream.read(&mut bytes).expect("there is more");
            assert!(len > 0, "the recorder has hung up");
            self.reader.push(&bytes[..len]);
        }
    }

    pub(crate) fn send(&mut self, frame: &Frame, payload: &[u8]) {
        let mut out = Vec::new();
        assert!(encode(frame, payload, &mut out));
        self.stream.write_all(&out).expect("taken");
    }

    pub(crate) fn begin(&mut self, track_id: u64, recordings: &[&str]) {
        self.send(&Frame::Label { track_id, label: label(recordings).to_bytes() }, &[]);
        let (kind, codec) = (MediaKind::Audio, Codec::Opus);
        let (priority, connected, held) = (Priority::Medium, true, false);
        let track = Track { room_id: 1, kind, codec, clock_rate_hz: 48_000, priority, connected, held };
        self.send(&Frame::Message(Message::Begin { track_id, opening: 1, track }), &[]);
    }

    /// Packets of 20 ms, each at its time, until `enough`.
    pub(crate) fn send_until(&mut self, track_id: u64, what: &str, mut enough: impl FnMut() -> bool) {
        until(what, || {
            while self.began.elapsed() >= Duration::from_millis(20) * self.sent as u32 {
                let seq = self.sent;
                let arrival = MediaTime::from_nanos(unix_nanos());
                let timestamp = 960 * seq as u32;
                let packet =
                    Packet { track_id, seq, timestamp, arrival, marker: seq == 0, ..Packet::default() };
                self.send(&Frame::Message(Message::Packet(packet)), &[0x78, 1, 2]);
                self.sent += 1;
            }
            enough().then_some(())
        });
    }
}

fn unix_nanos() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    i64::try_from(since.as_nanos()).expect("before 2262")
}

fn label(recordings: &[&str]) -> TapLabel {
    let [room, login, stream] = ["lobby", "alice", "camera"].map(ToOwned::to_owned);
    let wanted = |id: &&str| {
        let (kind, file) = if *id == ROOM { (Kind::Room, "lobby.mkv") } else { (Kind::Stream, "alice.webm") };
        let (id, file) = ((*id).to_owned(), file.to_owned());
        Wanted { id, kind, file, started_at_ms: 1, aligned_at_ms: None }
    };
    let recordings = recordings.iter().map(wanted).collect();
    let name = Some("lobby-alice-1f2e-camera".to_owned());
    TapLabel { room, login, stream, name, publication: 7, screen: false, recordings }
}

pub(crate) struct Controller {
    pub(crate) lines: BufReader<UnixStream>,
}

impl Controller {
    pub(crate) fn order(&mut self, order: &Order) {
        let line = serde_json::to_string(order).expect("strings") + "\n";
        self.lines.get_mut().write_all(line.as_bytes()).expect("taken");
    }

    pub(crate) fn read(&mut self) -> Notice {
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("a line");
        serde_json::from_str(&line).expect("a notice")
    }

    /// What is said of recordings from now on, read on a thread of its own.
    pub(crate) fn watch(&mut self) -> Receiver<Recording> {
        let stream = self.lines.get_ref().try_clone().expect("a descriptor");
        stream.set_read_timeout(None).expect("set");
        let (sent, told) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                if let Ok(Notice::Recording(one)) = serde_json::from_str(&line)
                    && sent.send(*one).is_err()
                {
                    return;
                }
            }
        });
        told
    }

    /// Reads until a recording is said to be so.
    pub(crate) fn until(&mut self, id: &str, is_so: impl Fn(&Recording) -> bool) -> Recording {
        let began = Instant::now();
        loop {
            match self.read() {
                Notice::Recording(one) if one.id == id && is_so(&one) => return *one,
                _ => assert!(began.elapsed() < DEADLINE, "{id}"),
            }
        }
    }
}

/// How long a part is, as far as it lies there.
pub(crate) fn part_ms(records: &Path, id: &str, part: u32) -> u64 {
    let Ok(file) = File::open(records.join(format!(".work/{id}/part-{part}.mkv"))) else { return 0 };
    scan(|at, bytes| file.read_at(bytes, at)).map_or(0, |scanned| scanned.duration_ms)
}
