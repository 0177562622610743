//! Recordings as signaling has them: the line to the recorder, against one that says what a test wants, and
//! their files over HTTP.

use crate::access::{signed, with_token};
use crate::edges::{PATIENCE, Setup, header, http, setup};
use crate::hooks::Service;
use recorder_control::{Notice, Order, RECORDER_CONTROL_VERSION, Recorded, Recording, State};
use serde_json::json;
use signaling::config::{Config, StopRelay};
use std::fs::{self, Permissions};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::UnixListener;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::timeout;

/// A recorder that listens, and the directory that it says it has.
pub(crate) struct FakeRecorder {
    listener: UnixListener,
    directory: PathBuf,
}

/// One connection of the link, from the recorder's side, behind the greetings.
pub(crate) struct Line {
    orders: Lines<BufReader<OwnedReadHalf>>,
    notices: OwnedWriteHalf,
}

/// A directory for recordings, and nobody who is to be started.
pub(crate) fn with_recordings(dir: &Path, config: &mut Config) -> PathBuf {
    let directory = dir.join("records");
    fs::create_dir_all(&directory).expect("made");
    config.recording.directory = Some(directory.clone());
    config.recording.start_recorder = false;
    directory
}

impl FakeRecorder {
    pub(crate) fn listen(dir: &Path) -> Self {
        let listener = UnixListener::bind(dir.join("relay-recorder.sock")).expect("socket");
        Self { listener, directory: dir.join("records") }
    }

    pub(crate) async fn accept(&self) -> Line {
        let (stream, _) =
            timeout(PATIENCE, self.listener.accept()).await.expect("in time").expect("accepted");
        let (reader, notices) = stream.into_split();
        let mut line = Line { orders: BufReader::new(reader).lines(), notices };
        assert_eq!(line.order().await, Order::Hello { version: RECORDER_CONTROL_VERSION });
        let directory = self.directory.canonicalize().expect("there");
        let directory = directory.to_str().expect("text").to_owned();
        line.say(&Notice::Hello { version: RECORDER_CONTROL_VERSION, directory }).await;
        line
    }

    /// A connection on which these have been told, and their files are there.
    pub(crate) async fn tell(&self, recordings: &[Recording]) -> Line {
        let mut line = self.accept().await;
        for recording in recordings {
            fs::write(self.directory.join(&recording.file), content(recording)).expect("written");
            line.say(&Notice::Recording(Box::new(recording.clone()))).await;
        }
        line.say(&Notice::Synced).await;
        line
    }
}

impl Line {
    pub(crate) async fn say(&mut self, notice: &Notice) {
        let line = serde_json::to_string(notice).expect("strings") + "\n";
        self.notices.write_all(line.as_bytes()).await.expect("sent");
    }

    pub(crate) async fn order(&mut self) -> Order {
        let line = timeout(PATIENCE, self.orders.next_line()).await.expect("in time").expect("read");
        serde_json::from_str(&line.expect("an order")).expect("JSON")
    }
}

pub(crate) fn recording(number: u64, room: &str, state: State) -> Recording {
    let text = json!({
        "id": format!("{number:016x}"), "kind": "stream", "state": state, "room": room, "login": "alice",
        "stream": "camera", "file": format!("file{number}.webm"), "startedAtMs": 1_000 + number,
    });
    serde_json::from_value(text).expect("a recording")
}

fn content(recording: &Recording) -> String {
    format!("octets of {}", recording.id)
}

pub(crate) async fn status(server: SocketAddr, head: &str) -> u16 {
    http(server, head, "").await.0
}

/// Asks until it is answered so: what the recorder says is on its way.
pub(crate) async fn answers(server: SocketAddr, head: &str, expected: u16) -> (String, String) {
    let asked = async {
        loop {
            let (status, head, body) = http(server, head, "").await;
            if status == expected {
                return (head, body);
            }
        }
    };
    timeout(PATIENCE, asked).await.unwrap_or_else(|_| panic!("{head} is not answered by {expected}"))
}

/// A signaling with recordings, and the recorder that it connects to.
pub(crate) async fn started(change: impl FnOnce(&Path, &mut Config)) -> (FakeRecorder, Setup) {
    let mut recorder = None;
    let setup = setup(|config| {
        let dir = config.control_socket.parent().expect("a directory").to_owned();
        with_recordings(&dir, config);
        change(&dir, config);
        recorder = Some(FakeRecorder::listen(&dir));
    })
    .await;
    (recorder.expect("listens"), setup)
}

#[tokio::test]
async fn a_file_that_is_ready_is_fetched_whole_and_in_parts() {
    let (recorder, setup) = started(|_, _| {}).await;
    let server = setup.running.http;
    let ready = recording(1, "lobby", State::Ready);
    let sound = Recorded {
        login: "alice".into(),
        stream: "camera".into(),
        kind: "audio".into(),
        codec: "opus".into(),
        screen: false,
        begins_ms: 0,
    };
    let spoken = Recording { tracks: vec![sound], ..recording(2, "lobby", State::Ready) };
    let mut line = recorder.tell(&[ready.clone(), spoken, recording(3, "lobby", State::Finishing)]).await;
    let whole = content(&ready);
    for path in ["/records/file1.webm", "/client/records/file1.webm"] {
        let (head, body) = answers(server, &format!("GET {path} HTTP/1.1"), 200).await;
        assert_eq!(body, whole);
        for (name, value) in [
            ("content-type", "video/webm"),
            ("content-length", "26"),
            ("accept-ranges", "bytes"),
            ("content-disposition", "inline; filename=\"file1.webm\""),
            ("x-content-type-options", "nosniff"),
            ("cache-control", "private, no-cache"),
        ] {
            assert_eq!(header(&head, name), value, "{name} of {path}");
        }
    }
    let (head, body) = answers(server, "HEAD /records/file1.webm HTTP/1.1", 200).await;
    assert_eq!((header(&head, "content-length"), body.as_str()), ("26", ""));
    let tag = header(&head, "etag").to_owned();
    let asked = |line: String| format!("GET /records/file1.webm HTTP/1.1\r\n{line}");
    let (_, head, body) = http(server, &asked("Range: bytes=3-7".to_owned()), "").await;
    assert_eq!((header(&head, "content-range"), body.as_str()), ("bytes 3-7/26", &whole[3..8]));
    assert_eq!(header(&head, "content-length"), "5");
    for (line, expected) in [
        (format!("If-Range: {tag}\r\nRange: bytes=-4"), 206),
        ("If-Range: \"other\"\r\nRange: bytes=-4".to_owned(), 200),
        (format!("If-None-Match: {tag}"), 304),
        ("If-Match: \"other\"".to_owned(), 412),
        ("Range: bytes=26-".to_owned(), 416),
    ] {
        assert_eq!(status(server, &asked(line.clone())).await, expected, "{line}");
    }
    answers(server, "GET /records/file2.webm HTTP/1.1", 200).await;
    let (_, head, _) = http(server, "GET /records/file2.webm HTTP/1.1", "").await;
    assert_eq!(header(&head, "content-type"), "audio/webm");
    line.say(&Notice::Deleted { id: ready.id }).await;
    answers(server, "GET /records/file1.webm HTTP/1.1", 404).await;
    setup.running.stop().await;
}

#[tokio::test]
async fn nothing_but_files_that_are_ready_is_served() {
    let (recorder, setup) = started(|_, _| {}).await;
    let server = setup.running.http;
    fs::write(setup.dir.path().join("records/unknown.webm"), "unknown").expect("written");
    fs::write(setup.dir.path().join("secret"), "secret").expect("written");
    let linked = Recording { file: "link.webm".into(), ..recording(4, "lobby", State::Ready) };
    let written = [State::Recording, State::Paused, State::Finishing, State::Failed];
    let mut all: Vec<_> = (10..).zip(written).map(|(n, state)| recording(n, "lobby", state)).collect();
    all.extend([linked, recording(1, "lobby", State::Ready)]);
    let _line = recorder.tell(&all).await;
    fs::remove_file(setup.dir.path().join("records/link.webm")).expect("removed");
    std::os::unix::fs::symlink("../secret", setup.dir.path().join("records/link.webm")).expect("linked");
    answers(server, "GET /records/file1.webm HTTP/1.1", 200).await;
    for path in [
        "unknown.webm",
        "file10.webm",
        "file11.webm",
        "file12.webm",
        "file13.webm",
        "link.webm",
        "",
        "../secret",
        "..%2fsecret",
        "%2e%2e%2fsecret",
        "..%5csecret",
        "%2fetc%2fpasswd",
        ".",
        "..",
        "%00",
        "file1.webm%00",
        "file1.webm/",
        "file1.webm/.",
        "FILE1.webm",
        "file1.webm.json",
        ".work",
        "*",
        "%ff",
    ] {
        for below in ["/records", "/client/records"] {
            let head = format!("GET {below}/{path} HTTP/1.1");
            let (status, _, body) = http(server, &head, "").await;
            assert!(matches!(status, 400 | 404), "{head}: {status} {body}");
            assert!(!body.contains("octets") && !body.contains("root:"), "{head}: {body}");
        }
    }
    for method in ["POST", "PUT", "DELETE"] {
        assert_eq!(status(server, &format!("{method} /records/file1.webm HTTP/1.1")).await, 405);
    }
    setup.running.stop().await;

    let (recorder, setup) = started(|_, config| config.recording.serve = false).await;
    let _line = recorder.tell(&[recording(1, "lobby", State::Ready)]).await;
    assert_eq!(status(setup.running.http, "GET /records/file1.webm HTTP/1.1").await, 404);
    setup.running.stop().await;
}

#[tokio::test]
async fn a_token_gives_the_files_of_its_rooms() {
    let (recorder, setup) = started(with_token).await;
    let server = setup.running.http;
    let _line =
        recorder.tell(&[recording(1, "lobby", State::Ready), recording(2, "other", State::Ready)]).await;
    let good = signed(json!({"rooms": "lobby", "record": true}));
    let get = |file: &str, token: &str| format!("GET /records/{file}?token={token} HTTP/1.1");
    answers(server, &get("file1.webm", &good), 200).await;
    let bearer = format!("GET /records/file1.webm HTTP/1.1\r\nAuthorization: Bearer {good}");
    assert_eq!(status(server, &bearer).await, 200);
    let viewer = signed(json!({"rooms": "lobby"}));
    for (head, expected) in [
        ("GET /records/file1.webm HTTP/1.1".to_owned(), 401),
        ("GET /records/nothing.webm HTTP/1.1".to_owned(), 401),
        (get("file1.webm", "x.y.z"), 401),
        (get("file1.webm", &viewer), 403),
        (get("nothing.webm", &viewer), 403),
        (get("file2.webm", &good), 404),
        (get("nothing.webm", &good), 404),
        (get("file1.webm", &format!("{good}&token={good}")), 401),
    ] {
        assert_eq!(status(server, &head).await, expected, "{head}");
    }
    setup.running.stop().await;
}

#[tokio::test]
async fn the_hook_is_asked_for_each_file() {
    const NO: &str = "HTTP/1.1 403 Not yours\r\nContent-Length: 0\r\n\r\n";
    for (answer, expected) in [(None, 200), (Some(("getRecord", NO)), 403)] {
        let service = Service::start(answer.as_slice()).await;
        let (recorder, setup) = started(|_, config| service.configure(config)).await;
        let _line = recorder.tell(&[recording(1, "lobby", State::Ready)]).await;
        answers(setup.running.http, "GET /records/file1.webm?token=t HTTP/1.1", expected).await;
        let asked = service.hears("getRecord", None).await;
        assert_eq!((&asked["name"], &asked["appKey"]), (&json!("file1.webm"), &json!("records")));
        let custom = json!({
            "id": "0000000000000001", "name": "lobby", "login": "alice", "stream": "camera", "token": "t",
        });
        assert_eq!(asked["custom"], custom);
        assert_eq!(status(setup.running.http, "GET /records/nothing.webm HTTP/1.1").await, 404);
        setup.running.stop().await;
    }
}

#[tokio::test]
async fn a_new_recorder_says_what_there_is() {
    let (recorder, setup) = started(|_, _| {}).await;
    let server = setup.running.http;
    let [first, second] = [1, 2].map(|number| recording(number, "lobby", State::Ready));
    let line = recorder.tell(&[first.clone(), second.clone()]).await;
    answers(server, "GET /records/file1.webm HTTP/1.1", 200).await;
    drop(line);
    // Its files can be fetched while it is away.
    assert_eq!(status(server, "GET /records/file2.webm HTTP/1.1").await, 200);
    let mut line = recorder.tell(&[second]).await;
    answers(server, "GET /records/file1.webm HTTP/1.1", 404).await;
    assert_eq!(status(server, "GET /records/file2.webm HTTP/1.1").await, 200);
    // What is no recorder's is answered by a new connection, and what is newer than we are is passed over.
    line.notices.write_all(b"{\"notice\":\"novelty\",\"x\":1}\n").await.expect("sent");
    line.say(&Notice::Recording(Box::new(first))).await;
    answers(server, "GET /records/file1.webm HTTP/1.1", 200).await;
    line.notices.write_all(b"nonsense\n").await.expect("sent");
    recorder.accept().await;
    setup.running.stop().await;
}

/// A program that says how it was started, and lives.
fn program(dir: &Path) -> PathBuf {
    let path = dir.join("recorder.sh");
    fs::write(&path, "#!/bin/sh\necho \"$$ $*\" >> \"$(dirname \"$0\")/starts\"\nexec sleep 1000\n")
        .expect("written");
    fs::set_permissions(&path, Permissions::from_mode(0o700)).expect("changed");
    path
}

/// The starts so far, once there are as many.
async fn starts(dir: &Path, number: usize) -> Vec<(String, String)> {
    let there = async {
        loop {
            let text = fs::read_to_string(dir.join("starts")).unwrap_or_default();
            let lines: Vec<_> = text.lines().filter_map(|line| line.split_once(' ')).collect();
            if lines.len() >= number {
                return lines.iter().map(|(pid, how)| ((*pid).to_owned(), (*how).to_owned())).collect();
            }
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, there).await.expect("in time")
}

fn kill(signal: &str, pid: &str) -> bool {
    Command::new("kill")
        .args([signal, pid])
        .stderr(std::process::Stdio::null())
        .status()
        .expect("kill")
        .success()
}

#[tokio::test]
async fn a_recorder_is_started_watched_and_ended_with_the_relay() {
    for (stop, goes_on) in [(StopRelay::Yes, false), (StopRelay::No, true)] {
        let setup = setup(|config| {
            let dir = config.control_socket.parent().expect("a directory").to_owned();
            with_recordings(&dir, config);
            config.recording.start_recorder = true;
            config.recording.recorder_binary = Some(program(&dir));
            config.signaling.stop_relay = stop;
            config.file = Some("/etc/ringvox.toml".into());
        })
        .await;
        let dir = setup.dir.path().to_owned();
        let (pid, how) = starts(&dir, 1).await.remove(0);
        let expected = format!(
            "--config /etc/ringvox.toml --port-socket {0}/relay-ports.sock --control-socket {0}/relay-recorder.sock",
            dir.display()
        );
        assert_eq!(how, expected);
        assert!(kill("-KILL", &pid));
        let (second, _) = starts(&dir, 2).await.remove(1);
        assert_ne!(second, pid);
        setup.running.stop().await;
        assert_eq!(kill("-0", &second), goes_on, "{stop:?}");
        kill("-KILL", &second);
    }
}

/// One that is there already is taken as it is, whoever started it.
#[tokio::test]
async fn a_recorder_that_runs_is_found() {
    let (recorder, setup) = started(|dir, config| {
        config.recording.start_recorder = true;
        config.recording.recorder_binary = Some(program(dir));
    })
    .await;
    let _line = recorder.tell(&[recording(1, "lobby", State::Ready)]).await;
    answers(setup.running.http, "GET /records/file1.webm HTTP/1.1", 200).await;
    assert!(!setup.dir.path().join("starts").exists());
    setup.running.stop().await;
}

/// Two servers with one control socket, or a recorder that was started with other settings: what is there is
/// not this server's, and the other's recordings are not ended.
#[tokio::test]
async fn a_recorder_of_another_directory_is_not_used() {
    let (mut recorder, setup) = started(|_, _| {}).await;
    let ours = std::mem::replace(&mut recorder.directory, setup.dir.path().join("others"));
    fs::create_dir_all(&recorder.directory).expect("made");
    for _ in 0..2 {
        let mut line = recorder.accept().await;
        let end = timeout(PATIENCE, line.orders.next_line()).await.expect("in time");
        assert!(end.is_ok_and(|line| line.is_none()), "it hangs up, and orders nothing");
    }
    recorder.directory = ours;
    let _line = recorder.tell(&[recording(1, "lobby", State::Ready)]).await;
    answers(setup.running.http, "GET /records/file1.webm HTTP/1.1", 200).await;
    setup.running.stop().await;
}
