//! The real binary, on both back ends: starts, counts every datagram, outlives its parent's habits, ends
//! cleanly.

mod common;

use common::client::{Client, check};
use common::{Controller, eventually, free_base_port, process_counter};
use relay_control::{
    AddDownTrack, AddUpTrack, Codec, Command as Order, EventBody, ExtensionIds, MediaKind, ReplyBody,
    RtpParameters, TransportState,
};
use relay_core::id::{SeqNo, Ssrc};
use rustix::process::Signal;
use serde_json::Value;
use std::fs;
use std::io::Read;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};

const BINARY: &str = env!("CARGO_BIN_EXE_ringvox-relay");

/// A running `ringvox-relay`; killed if the test ends early. Its log must have no panic, see
/// [`assert_no_panic`].
struct Relay {
    child: Child,
    socket: PathBuf,
    dir: tempfile::TempDir,
}

impl Relay {
    fn start(io: &str) -> Self {
        Self::start_with(io, &[])
    }

    fn start_with(io: &str, arguments: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("temporary directory");
        let stderr = log_in(&dir);
        Self::start_in(dir, io, stderr, arguments)
    }

    fn start_in(dir: tempfile::TempDir, io: &str, stderr: Stdio, arguments: &[&str]) -> Self {
        let socket = dir.path().join("c/relay.sock");
        let base_port = free_base_port(2).to_string();
        let child = Command::new(BINARY)
            .args(["--io", io, "--shards", "2", "--base-port", &base_port])
            .args(arguments)
            .arg("--control-socket")
            .arg(&socket)
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(stderr)
            .spawn()
            .expect("starts");
        Self { child, socket, dir }
    }

    fn connect(&mut self) -> Controller {
        eventually("a relay that listens", || {
            assert_eq!(self.child.try_wait().expect("waits"), None, "the relay ended");
            self.socket.exists().then_some(())
        });
        Controller::connect(&self.socket)
    }

    fn signal(&self, signal: Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).expect("it is ours");
    }

    fn wait(&mut self) -> ExitStatus {
        eventually("the relay ends", || self.child.try_wait().expect("waits"))
    }

    fn ctl(&self, question: &str) -> Value {
        let output = Command::new(BINARY)
            .args(["ctl", question, "--control-socket"])
            .arg(&self.socket)
            .output()
            .expect("runs");
        let complaints = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{complaints}");
        assert_no_panic(&complaints);
        serde_json::from_slice(&output.stdout).expect("JSON")
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Ok(log) = fs::read_to_string(self.dir.path().join(LOG)) {
            assert_no_panic(&log);
        }
    }
}

/// Where a relay's standard error goes, in its directory.
const LOG: &str = "stderr";

/// Several relays of one directory write one after the other.
fn log_in(dir: &tempfile::TempDir) -> Stdio {
    let log = fs::OpenOptions::new().create(true).append(true).open(dir.path().join(LOG));
    log.expect("a file").into()
}

/// Panics are caught and the relay goes on, so a test may find nothing wrong; the log does.
#[track_caller]
fn assert_no_panic(log: &str) {
    let panics: Vec<&str> = log.lines().filter(|line| line.contains("panicked")).collect();
    if !std::thread::panicking() {
        assert!(panics.is_empty(), "{panics:#?}");
    }
}

/// Back ends that work here: a container may forbid io_uring, and then the relay says so and ends.
fn back_ends() -> Vec<&'static str> {
    match relay_io::choose(relay_io::Setting::Uring) {
        Ok(_) => vec!["uring", "mmsg"],
        Err(why) => {
            eprintln!("{why}: only mmsg is tested");
            vec!["mmsg"]
        }
    }
}

/// Datagrams that mean nothing, one of each kind that the first octet tells apart, and some more.
fn garbage() -> Vec<Vec<u8>> {
    let mut datagrams: Vec<Vec<u8>> = (0..=255u8).map(|first| vec![first; 60]).collect();
    datagrams.push(Vec::new());
    datagrams.extend([1, 2, 19, 20, 21].map(|len| vec![0u8; len]));
    datagrams.push(vec![0x80; 1500]);
    datagrams.push(vec![0x16; 4000]);
    // A Binding request without attributes: parses, and is nobody's.
    let mut binding = vec![0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42];
    binding.extend([7; 12]);
    datagrams.push(binding);
    datagrams
}

fn sum(counters: &Value, select: impl Fn(&str) -> bool) -> u64 {
    let counters = counters.as_object().expect("an object");
    counters.iter().filter(|(name, _)| select(name)).map(|(_, value)| value.as_u64().expect("a number")).sum()
}

#[test]
fn a_second_controller_is_told_from_a_successor_in_the_log() {
    let mut relay = Relay::start("mmsg");
    let log = |relay: &Relay| fs::read_to_string(relay.dir.path().join(LOG)).expect("a log");
    let says = |relay: &Relay, words: &str| eventually(words, || log(relay).contains(words).then_some(()));
    let mut first = relay.connect();
    first.welcome(1);
    drop(first);
    eventually("it is gone", || {
        (relay.ctl("stats")["process"]["control.connections_open"] == 1).then_some(())
    });
    let mut second = relay.connect();
    second.welcome(2);
    says(&relay, "a controller took over");
    assert!(!log(&relay).contains("second controller"), "{}", log(&relay));
    let mut third = relay.connect();
    third.welcome(3);
    says(&relay, "a second controller commands this relay now");
    says(&relay, "relay.control_socket");
}

#[test]
fn every_datagram_of_garbage_is_in_a_named_counter() {
    for io in back_ends() {
        let mut relay = Relay::start(io);
        let mut controller = relay.connect();
        assert_eq!(controller.welcome(1).io_backend, io);
        let opened = controller.open(1, 1);
        let port = u16::try_from(opened.candidates[0].port).expect("a port");
        let sender = UdpSocket::bind("127.0.0.1:0").expect("binds");
        let mut sent = 0;
        for _ in 0..4 {
            for datagram in garbage() {
                sender.send_to(&datagram, ("127.0.0.1", port)).expect("sent");
                sent += 1;
            }
        }
        let stats = eventually("all of it is counted", || {
            let stats = relay.ctl("stats");
            (stats["total"]["rx.datagrams"].as_u64()? >= sent).then_some(stats)
        });
        let total = &stats["total"];
        assert_eq!(total["rx.datagrams"], sent, "{io}");
        let dropped = sum(total, |name| name.starts_with("drop."));
        assert_eq!(dropped, sent, "{io}: each in exactly one drop: {total}");
        for name in ["drop.empty", "drop.truncated", "drop.unknown_protocol", "drop.tuple_not_validated"] {
            assert!(total[name].as_u64() > Some(0), "{io}: {name} in {total}");
        }
        assert_eq!(total["tx.datagrams"], 0, "{io}: nothing is answered");
        assert_eq!(total["io.rx_kernel_drops"], 0, "{io}");

        // It still serves, and ends on request.
        assert_eq!(controller.open(1, 1), opened);
        assert_eq!(relay.ctl("inventory")["transports"][0]["state"], "new");
        relay.signal(Signal::TERM);
        assert_eq!(relay.wait().code(), Some(0), "{io}");
        assert!(!relay.socket.exists(), "{io}: the socket file is gone");
    }
}

#[test]
fn a_check_is_answered_from_where_it_was_asked_and_its_event_reaches_the_controller() {
    for io in back_ends() {
        let mut relay = Relay::start(io);
        let mut controller = relay.connect();
        controller.welcome(1);
        // A machine without IPv6 has no ::1 either.
        for (id, host) in [(1, "127.0.0.1"), (2, "127.0.0.2"), (3, "::1")] {
            let host: IpAddr = host.parse().expect("address");
            let Ok(peer) = UdpSocket::bind((host, 0)) else { continue };
            let opened = controller.open(id, id);
            let port = u16::try_from(opened.candidates[0].port).expect("a port");
            let seen = check(&peer, SocketAddr::new(host, port), &opened);
            assert_eq!(seen, peer.local_addr().expect("bound"), "{io}");
            let event = controller.next_event();
            let Some(EventBody::TransportState(changed)) = event.body else { panic!("{io}: {event:?}") };
            assert_eq!((changed.transport_id, changed.state()), (id, TransportState::IceConnected), "{io}");
        }
        let inventory = relay.ctl("inventory");
        let first = inventory["transports"]
            .as_array()
            .expect("a list")
            .iter()
            .find(|t| t["room_id"] == "0000000000000001");
        assert_eq!(first.expect("open")["state"], "ice_connected", "{io}");
    }
}

fn video() -> RtpParameters {
    RtpParameters {
        kind: MediaKind::Video.into(),
        codec: Codec::Vp8.into(),
        clock_rate_hz: 90_000,
        payload_type: 96,
        rtx_payload_type: None,
        mid: "0".into(),
        extensions: ExtensionIds::default(),
        nack: false,
        pli: true,
        fir: false,
        remb: false,
        transport_cc: false,
    }
}

/// A VP8 packet that says its number; the first one starts a keyframe (RFC 7741 §4.2, §4.3).
fn picture(number: u16) -> Vec<u8> {
    let number = number.to_be_bytes();
    [&[0x10, u8::from(number != [0, 0])][..], &number, &[0x5a; 1000]].concat()
}

#[test]
fn a_room_that_outgrows_its_shard_is_answered_with_the_next_port_and_served_on_both() {
    const PACKETS: u16 = 400;
    const ROOM: u64 = 9;
    for io in back_ends() {
        let mut relay = Relay::start_with(io, &["--room-transports-per-shard", "2"]);
        let mut controller = relay.connect();
        controller.welcome(1);
        let mut clients: Vec<Client> = (1..=4).map(|id| Client::join(&mut controller, id, ROOM)).collect();
        let first = clients[0].port;
        let ports: Vec<u16> = clients.iter().map(|client| client.port).collect();
        assert_eq!(ports, [first, first, first + 1, first + 1], "{io}");
        eventually("the relay has all keys", || {
            let inventory = relay.ctl("inventory");
            let transports = inventory["transports"].as_array().expect("a list");
            transports.iter().all(|t| t["state"] == "connected").then_some(())
        });

        let up = AddUpTrack { transport_id: 1, track_id: 11, rtp: video(), ssrc: 7, ..AddUpTrack::default() };
        let up = controller.call(Order::AddUpTrack(up));
        assert!(matches!(up, ReplyBody::UpTrackAdded(_)), "{io}: {up:?}");
        for transport_id in 2..=4 {
            let (track_id, cname) = (transport_id + 100, "room".to_owned());
            let down = AddDownTrack { transport_id, track_id, up_track_id: 11, rtp: video(), cname };
            let down = controller.call(Order::AddDownTrack(down));
            assert!(matches!(down, ReplyBody::DownTrackAdded(_)), "{io}: {down:?}");
        }
        let (publisher, subscribers) = clients.split_first_mut().expect("four");
        let mut last = [None::<SeqNo>; 3];
        for number in 0..PACKETS {
            publisher.send(Ssrc(7), number, &picture(number));
            for (subscriber, last) in subscribers.iter_mut().zip(&mut last) {
                let (seq, payload) = subscriber.receive();
                assert!(payload == picture(number), "{io}: packet {number} as it was sent");
                assert!(last.is_none_or(|last| seq.distance(last) == 1), "{io}: one numbering");
                *last = Some(seq);
            }
        }

        let stats = relay.ctl("stats");
        let count = |shard: usize, name: &str| stats["shards"][shard]["counters"][name].as_u64();
        for (shard, name, want) in [
            (0, "rx.rtp", PACKETS),
            (0, "pipe.sent", PACKETS),
            (0, "tx.rtp", PACKETS),
            (1, "rx.rtp", 0),
            (1, "pipe.accepted", PACKETS),
            (1, "tx.rtp", 2 * PACKETS),
        ] {
            assert_eq!(count(shard, name), Some(want.into()), "{io}: {name} of shard {shard} in {stats}");
        }
        let inventory = relay.ctl("inventory");
        let transports = inventory["transports"].as_array().expect("a list");
        let ups = transports.iter().flat_map(|t| t["up_tracks"].as_array().expect("a list"));
        assert_eq!(ups.count(), 1, "{io}: {inventory}");
        relay.signal(Signal::TERM);
        assert_eq!(relay.wait().code(), Some(0), "{io}");
    }
}

/// Resident memory of a process in KiB.
fn resident_kib(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("has memory");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

#[test]
fn four_thousand_who_never_come_cost_little_and_give_it_back() {
    const STRANGERS: u64 = 4_000;
    // 4 KiB each, and what the allocator keeps of smaller tables for a second.
    const PEAK_KIB_MAX: u64 = STRANGERS * 4 + 32 * 1024;
    const LEFT_KIB_MAX: u64 = 16 * 1024;
    let mut relay = Relay::start("mmsg");
    let mut controller = relay.connect();
    controller.welcome(1);
    let process = relay.child.id();
    let before = resident_kib(process);
    for number in 1..=STRANGERS {
        controller.open(number, number);
        for track in 0..2 {
            let track = AddUpTrack {
                transport_id: number,
                track_id: 10 * number + track,
                rtp: video(),
                ..AddUpTrack::default()
            };
            let reply = controller.call(Order::AddUpTrack(track));
            assert!(matches!(reply, ReplyBody::UpTrackAdded(_)), "{reply:?}");
        }
    }
    let peak = resident_kib(process);
    for _ in 0..STRANGERS {
        let EventBody::TransportState(state) = controller.next_event().body.expect("a body") else {
            panic!("another event")
        };
        assert_eq!(state.state(), TransportState::Failed);
    }
    // The allocator gives back what was free for a second when it is asked for something again.
    let left = eventually("memory given back", || {
        controller.stats();
        Some(resident_kib(process)).filter(|left| *left < before + LEFT_KIB_MAX)
    });
    println!("{before} KiB before, {peak} with {STRANGERS} strangers, {left} once they are gone");
    assert!(peak < before + PEAK_KIB_MAX, "{before} KiB before, {peak} with {STRANGERS}");
}

#[test]
fn peers_are_told_when_the_relay_is_ended() {
    for io in back_ends() {
        let mut relay = Relay::start(io);
        let mut controller = relay.connect();
        controller.welcome(1);
        // More than one flush of them.
        let mut clients: Vec<Client> = (1..=40).map(|id| Client::join(&mut controller, id, id % 3)).collect();
        eventually("the relay has all keys", || {
            let inventory = relay.ctl("inventory");
            let transports = inventory["transports"].as_array().expect("a list");
            transports.iter().all(|t| t["state"] == "connected").then_some(())
        });
        relay.signal(Signal::TERM);
        assert_eq!(relay.wait().code(), Some(0), "{io}");
        for client in &mut clients {
            assert!(client.is_told_the_end(), "{io}: no close_notify");
        }
    }
}

#[test]
fn it_outlives_a_closed_standard_error_and_signals_for_other_programs() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let mut relay = Relay::start_in(dir, "auto", Stdio::piped(), &[]);
    let mut controller = relay.connect();
    let first = controller.welcome(1);
    // Whoever read its log is gone: the next line meets a broken pipe.
    drop(relay.child.stderr.take());
    for signal in [Signal::HUP, Signal::PIPE, Signal::USR1, Signal::USR2] {
        relay.signal(signal);
    }
    for epoch in 2..50 {
        let mut next = relay.connect();
        assert_eq!(next.welcome(epoch).boot_id, first.boot_id);
    }
    relay.signal(Signal::INT);
    assert_eq!(relay.wait().code(), Some(0));
}

#[test]
fn a_killed_relay_leaves_a_socket_that_the_next_one_replaces() {
    let mut relay = Relay::start("mmsg");
    let boot_id = relay.connect().welcome(1).boot_id;
    relay.signal(Signal::KILL);
    assert_eq!(relay.wait().signal(), Some(9));
    assert!(relay.socket.exists());

    let port = free_base_port(1).to_string();
    relay.child = Command::new(BINARY)
        .args(["--shards", "1", "--base-port", &port, "--control-socket"])
        .arg(&relay.socket)
        .stderr(log_in(&relay.dir))
        .spawn()
        .expect("starts");
    let next = relay.connect().welcome(1).boot_id;
    assert_ne!(next, boot_id, "a restart can be told from a reconnect");
}

#[test]
fn wrong_settings_are_named() {
    let dir = tempfile::tempdir().expect("temporary directory");
    std::fs::write(dir.path().join("ringvox.toml"), "[relay]\nio = \"epoll\"\n").expect("writes");
    for (arguments, status, want) in [
        (
            &["--io", "fast", "--config", "/dev/null"][..],
            2,
            "--io = \"fast\": give \"auto\", \"uring\" or \"mmsg\"",
        ),
        (&[], 2, "relay.io = \"epoll\""),
        (&["--config", "missing.toml"], 2, "missing.toml"),
        (&["--nonsense"], 2, "--nonsense"),
        (
            &["ctl", "stats", "--config", "/dev/null", "--control-socket", "/nonexistent/r.sock"],
            1,
            "/nonexistent/r.sock",
        ),
    ] {
        let mut child = Command::new(BINARY)
            .args(arguments)
            .current_dir(dir.path())
            .stderr(Stdio::piped())
            .spawn()
            .expect("starts");
        let mut text = String::new();
        child.stderr.take().expect("piped").read_to_string(&mut text).expect("text");
        let ended = eventually("it ends", || child.try_wait().expect("waits"));
        assert_eq!(ended.code(), Some(status), "{arguments:?}: {text}");
        assert!(text.contains(want), "{arguments:?}: {text}");
        assert_no_panic(&text);
    }
}

/// Nobody in particular, for tests that root runs.
const NOBODY: u32 = 65_534;

#[test]
fn another_user_is_refused_whatever_the_modes_say() {
    if !rustix::process::getuid().is_root() {
        return eprintln!("only root can be two users: not tested");
    }
    let mut relay = Relay::start("mmsg");
    let mut controller = relay.connect();
    let dir = relay.socket.parent().expect("a directory");
    for path in [relay.dir.path(), dir, &relay.socket] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o777)).expect("chmod");
    }
    let binary = relay.dir.path().join("copy");
    fs::copy(BINARY, &binary).expect("copies");
    let asked = Command::new(&binary)
        .args(["ctl", "stats", "--config", "/dev/null", "--control-socket"])
        .arg(&relay.socket)
        .uid(NOBODY)
        .output()
        .expect("runs");
    assert_no_panic(&String::from_utf8_lossy(&asked.stderr));
    assert_eq!(asked.status.code(), Some(1), "{}", String::from_utf8_lossy(&asked.stdout));
    assert_eq!(process_counter(&controller.stats(), "control.refused.uid"), 1);
}

#[test]
fn the_process_cannot_be_dumped() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let (binary, socket) = (dir.path().join("copy"), dir.path().join("c/relay.sock"));
    fs::copy(BINARY, &binary).expect("copies");
    let mut command = Command::new(&binary);
    command.args(["--io", "mmsg", "--shards", "1", "--config", "/dev/null", "--control-socket"]);
    command.arg(&socket).args(["--base-port", &free_base_port(1).to_string()]).stderr(log_in(&dir));
    if rustix::process::getuid().is_root() {
        // Everything of root looks the same in /proc.
        fs::create_dir(dir.path().join("c")).expect("creates");
        for path in [dir.path(), &dir.path().join("c")] {
            chown(path, Some(NOBODY), None).expect("chown");
        }
        command.uid(NOBODY);
    }
    let child = command.spawn().expect("starts");
    let mut relay = Relay { child, socket, dir };
    // Root may command anybody's relay.
    relay.connect().welcome(1);
    // proc(5): what belongs to a process that is not dumpable belongs to root, and nobody else can read its
    // memory.
    let memory = fs::metadata(format!("/proc/{}/mem", relay.child.id())).expect("exists");
    assert_eq!(memory.uid(), 0);
    relay.signal(Signal::TERM);
    assert_eq!(relay.wait().code(), Some(0));
}

#[test]
fn a_panic_in_a_log_fails_a_test() {
    assert_no_panic("ERROR a line like any other\n");
    let fails = |log: &'static str| std::panic::catch_unwind(|| assert_no_panic(log)).is_err();
    assert!(fails("INFO ready\nERROR thread 'shard-0' panicked at relay/src/worker.rs:1:1: why\n"));
}
