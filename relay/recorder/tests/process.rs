//! The program before a relay's port and a controller that the test plays: killed, started again, stopped.

use recorder::matroska::scan;
use recorder_control::{Kind, Notice, Order, Recording, State, TapLabel, Wanted};
use relay_port::{
    Codec, Decoded, Frame, FrameReader, MediaKind, MediaTime, Message, Packet, Priority, Track, encode,
};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant, SystemTime};

const DEADLINE: Duration = Duration::from_secs(30);
const STREAM: &str = "00000000000000aa";
const ROOM: &str = "00000000000000bb";

/// The program, and what is around it.
struct Bed {
    folder: tempfile::TempDir,
    listener: UnixListener,
    child: Child,
}

impl Bed {
    fn start(arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).expect("set");
        let listener = UnixListener::bind(folder.path().join("relay-ports.sock")).expect("bound");
        listener.set_nonblocking(true).expect("set");
        let child = spawn(folder.path(), arguments);
        Self { folder, listener, child }
    }

    fn records(&self) -> PathBuf {
        self.folder.path().join("records")
    }

    /// The recorder's connection to the relay.
    fn port(&self) -> Port {
        let (stream, _) = until("the recorder connects", || self.listener.accept().ok());
        stream.set_nonblocking(false).expect("set");
        stream.set_read_timeout(Some(DEADLINE)).expect("set");
        let mut port = Port { stream, reader: FrameReader::default(), began: Instant::now(), sent: 0 };
        let hello = port.read();
        assert!(matches!(&hello, Frame::Hello(hello) if hello.name == "recorder"), "{hello:?}");
        port.send(&hello, &[]);
        port
    }

    fn controller(&self) -> Controller {
        let socket = self.folder.path().join("recorder.sock");
        let stream = until("its socket is there", || UnixStream::connect(&socket).ok());
        assert_eq!(fs::metadata(&socket).expect("there").permissions().mode() & 0o777, 0o600);
        stream.set_read_timeout(Some(DEADLINE)).expect("set");
        let mut controller = Controller { lines: BufReader::new(stream) };
        controller.order(&Order::Hello { version: 1 });
        let Notice::Hello { directory, .. } = controller.read() else { panic!("Hello comes first") };
        assert_eq!(Path::new(&directory), self.records().canonicalize().expect("there"));
        controller
    }

    fn kill_and_start(&mut self) {
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

fn spawn(folder: &Path, arguments: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringvox-recorder"));
    command.arg("--port-socket").arg(folder.join("relay-ports.sock"));
    command.arg("--directory").arg(folder.join("records")).args(arguments);
    command.current_dir(folder).spawn().expect("built")
}

fn until<T>(what: &str, mut there: impl FnMut() -> Option<T>) -> T {
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
struct Port {
    stream: UnixStream,
    reader: FrameReader,
    began: Instant,
    sent: u64,
}

impl Port {
    fn read(&mut self) -> Frame {
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

    fn send(&mut self, frame: &Frame, payload: &[u8]) {
        let mut out = Vec::new();
        assert!(encode(frame, payload, &mut out));
        self.stream.write_all(&out).expect("taken");
    }

    fn begin(&mut self, track_id: u64, recordings: &[&str]) {
        self.send(&Frame::Label { track_id, label: label(recordings).to_bytes() }, &[]);
        let (kind, codec) = (MediaKind::Audio, Codec::Opus);
        let (priority, connected, held) = (Priority::Medium, true, false);
        let track = Track { room_id: 1, kind, codec, clock_rate_hz: 48_000, priority, connected, held };
        self.send(&Frame::Message(Message::Begin { track_id, opening: 1, track }), &[]);
    }

    /// Packets of 20 ms, each at its time, until `enough`.
    fn send_until(&mut self, track_id: u64, what: &str, mut enough: impl FnMut() -> bool) {
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
    TapLabel { room, login, stream, publication: 7, screen: false, recordings }
}

struct Controller {
    lines: BufReader<UnixStream>,
}

impl Controller {
    fn order(&mut self, order: &Order) {
        let line = serde_json::to_string(order).expect("strings") + "\n";
        self.lines.get_mut().write_all(line.as_bytes()).expect("taken");
    }

    fn read(&mut self) -> Notice {
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("a line");
        serde_json::from_str(&line).expect("a notice")
    }

    /// Reads until a recording is said to be so.
    fn until(&mut self, id: &str, is_so: impl Fn(&Recording) -> bool) -> Recording {
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
fn part_ms(records: &Path, id: &str, part: u32) -> u64 {
    let Ok(file) = File::open(records.join(format!(".work/{id}/part-{part}.mkv"))) else { return 0 };
    scan(|at, bytes| file.read_at(bytes, at)).map_or(0, |scanned| scanned.duration_ms)
}

#[test]
fn a_killed_recorder_loses_half_a_second_and_goes_on() {
    let mut bed = Bed::start(&[]);
    let records = bed.records();
    let (mut port, mut controller) = (bed.port(), bed.controller());
    port.begin(1, &[STREAM, ROOM]);
    port.send_until(1, "two seconds are recorded", || part_ms(&records, ROOM, 1) >= 2_000);
    let written = controller.until(ROOM, |one| one.duration_ms >= 1_000);
    assert_eq!((written.state, written.tracks.len()), (State::Recording, 1));
    let sent_ms = port.sent * 20;
    bed.kill_and_start();
    let lost_ms = sent_ms.saturating_sub(part_ms(&records, ROOM, 1));
    // Two cores that do other things as well; what waits in memory is a unit test's.
    assert!(lost_ms <= 1_000, "{lost_ms} ms are lost");

    let (mut port, mut controller) = (bed.port(), bed.controller());
    port.began = Instant::now();
    port.begin(1, &[STREAM, ROOM]);
    port.send_until(1, "it goes on in another part", || part_ms(&records, ROOM, 2) >= 500);
    assert_eq!(controller.until(ROOM, |one| one.duration_ms > 0).interruptions, 1);
    for id in [STREAM, ROOM] {
        controller.order(&Order::End { id: id.into() });
        let ended = controller.until(id, |one| one.state == State::Finishing);
        assert_eq!(ended.interruptions, 1);
    }
}

#[test]
fn a_recording_is_ready_and_deleted_and_a_stop_loses_nothing() {
    for io in ["auto", "plain"] {
        let mut bed = Bed::start(&["--io", io]);
        let records = bed.records();
        let (mut port, mut controller) = (bed.port(), bed.controller());
        port.begin(1, &[ROOM]);
        port.send_until(1, "a second is recorded", || part_ms(&records, ROOM, 1) >= 1_000);
        let mut second = bed.controller();
        second.order(&Order::End { id: ROOM.into() });
        let ready = controller.until(ROOM, |one| one.state == State::Ready);
        assert_eq!((ready.file.as_str(), ready.interruptions), ("lobby.mkv", 0));
        assert!(ready.duration_ms >= 1_000 && records.join("lobby.mkv.json").exists());

        // What is live when it is stopped goes on, and what is ready is known, when it is started again.
        port.begin(3, &[STREAM]);
        port.send_until(3, "the stream is recorded", || part_ms(&records, STREAM, 1) >= 500);
        let pid = nix::unistd::Pid::from_raw(bed.child.id().cast_signed());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).expect("running");
        assert!(bed.child.wait().expect("ended").success());
        bed.child = spawn(bed.folder.path(), &["--io", io]);
        let mut controller = bed.controller();
        assert_eq!(controller.until(STREAM, |_| true).state, State::Recording);
        assert_eq!(controller.until(ROOM, |_| true), ready);
        controller.order(&Order::Delete { id: ROOM.into() });
        until("it is gone", || (!records.join("lobby.mkv").exists()).then_some(()));
        until("its description too", || (!records.join("lobby.mkv.json").exists()).then_some(()));
    }
}

/// A second recorder waits until the first one ends.
#[test]
fn one_recorder_has_a_directory() {
    let mut bed = Bed::start(&[]);
    drop(bed.controller());
    let other = bed.folder.path().join("other.sock");
    let socket = other.display().to_string();
    let mut second = spawn(bed.folder.path(), &["--control-socket", &socket]);
    assert!(!other.exists());
    assert!(second.try_wait().expect("a child").is_none(), "it waits");
    bed.child.kill().expect("running");
    bed.child.wait().expect("ended");
    until("the second has it", || UnixStream::connect(&other).ok());
    second.kill().expect("running");
    second.wait().expect("ended");
}

#[test]
fn who_says_nonsense_is_cut_off_and_others_are_not() {
    let bed = Bed::start(&[]);
    let mut good = bed.controller();
    for nonsense in [b"nonsense\n".to_vec(), vec![b' '; recorder_control::LINE_BYTES_MAX + 2]] {
        let mut bad = bed.controller();
        // It may be cut off before all is taken.
        let _ = bad.lines.get_mut().write_all(&nonsense);
        let mut rest = Vec::new();
        until("it is cut off", || match bad.lines.read_to_end(&mut rest) {
            Ok(_) => Some(()),
            Err(why) => (why.kind() == std::io::ErrorKind::ConnectionReset).then_some(()),
        });
    }
    good.order(&Order::End { id: ROOM.into() });
    good.lines.get_mut().write_all(b"{\"order\":\"something new\"}\n").expect("taken");
    assert_eq!(good.read(), Notice::Synced);
}
