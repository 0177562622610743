//! What the process tests share: a relay on loopback in a directory of its own, and a small controller.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

pub mod client;
pub mod running;

use relay_control::{
    CONTROL_VERSION, Command, Event, FrameDecoder, FromRelay, GetStats, Hello, OpenTransport, Outgoing,
    ReplyBody, Request, Stats, TransportOpened, Welcome, encode_frame,
};
use std::io::{ErrorKind, Read, Write};
use std::net::UdpSocket;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// Whatever has to happen, happens within this on the slowest machine.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// Waits for a condition, yielding in between.
#[track_caller]
pub fn eventually<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + DEADLINE;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < until, "never happened: {what}");
        std::thread::yield_now();
    }
}

/// The first of `count` neighbouring UDP ports that nobody has right now.
pub fn free_base_port(count: u16) -> u16 {
    eventually("free ports", || {
        let first = UdpSocket::bind("127.0.0.1:0").ok()?.local_addr().ok()?.port();
        let last = first.checked_add(count)?;
        let held: Result<Vec<_>, _> = (first..last).map(|port| UdpSocket::bind(("0.0.0.0", port))).collect();
        held.ok().map(|_| first)
    })
}

pub struct Controller {
    pub stream: UnixStream,
    decoder: FrameDecoder,
    last_id: u64,
    /// Events that came while a reply was awaited.
    pub events: Vec<Event>,
}

impl Controller {
    pub fn connect(socket: &Path) -> Self {
        let stream = eventually("a relay that listens", || UnixStream::connect(socket).ok());
        stream.set_read_timeout(Some(DEADLINE)).expect("set");
        stream.set_write_timeout(Some(DEADLINE)).expect("set");
        Self { stream, decoder: FrameDecoder::default(), last_id: 0, events: Vec::new() }
    }

    pub fn hello(&mut self, epoch: u64) -> ReplyBody {
        self.call(Command::Hello(Hello { version: CONTROL_VERSION, epoch, name: "test".into(), instance: 1 }))
    }

    #[track_caller]
    pub fn welcome(&mut self, epoch: u64) -> Welcome {
        match self.hello(epoch) {
            ReplyBody::Welcome(welcome) => welcome,
            other => panic!("no welcome: {other:?}"),
        }
    }

    #[track_caller]
    pub fn open(&mut self, transport_id: u64, room_id: u64) -> TransportOpened {
        match self.call(open(transport_id, room_id)) {
            ReplyBody::TransportOpened(opened) => opened,
            other => panic!("not opened: {other:?}"),
        }
    }

    #[track_caller]
    pub fn stats(&mut self) -> Stats {
        match self.call(Command::GetStats(GetStats {})) {
            ReplyBody::Stats(stats) => stats,
            other => panic!("no stats: {other:?}"),
        }
    }

    pub fn send(&mut self, command: Option<Command>) -> u64 {
        self.last_id += 1;
        let mut bytes = Vec::new();
        encode_frame(&Request { request_id: self.last_id, command }, &mut bytes).expect("fits");
        self.stream.write_all(&bytes).expect("the relay reads");
        self.last_id
    }

    /// The reply to `request_id`; events that come before it are kept.
    #[track_caller]
    pub fn reply(&mut self, request_id: u64) -> ReplyBody {
        loop {
            match self.next_message().expect("the connection stays open") {
                Outgoing::Event(event) => self.events.push(event),
                Outgoing::Reply(reply) => {
                    assert_eq!(reply.request_id, request_id, "one reply a request");
                    return reply.body.expect("a body");
                }
            }
        }
    }

    #[track_caller]
    pub fn call(&mut self, command: Command) -> ReplyBody {
        let id = self.send(Some(command));
        self.reply(id)
    }

    /// The next event, whether it came already or not.
    #[track_caller]
    pub fn next_event(&mut self) -> Event {
        if !self.events.is_empty() {
            return self.events.remove(0);
        }
        match self.next_message().expect("the connection stays open") {
            Outgoing::Event(event) => event,
            Outgoing::Reply(reply) => panic!("nobody asked for {reply:?}"),
        }
    }

    /// `None`: the relay closed the connection.
    pub fn next_message(&mut self) -> Option<Outgoing> {
        let mut chunk = [0; 16 << 10];
        loop {
            if let Some(message) = self.decoder.next::<FromRelay>().expect("well formed") {
                return message.outgoing;
            }
            match self.stream.read(&mut chunk) {
                Ok(0) => return None,
                Ok(len) => self.decoder.push(&chunk[..len]),
                Err(why) if why.kind() == ErrorKind::ConnectionReset => return None,
                // A ring that this thread had (the probe's) ends in its own time, and interrupts us.
                Err(why) if why.kind() == ErrorKind::Interrupted => {}
                Err(why) => panic!("{why}"),
            }
        }
    }

    /// Whether the relay closes this connection; what it says before is passed over.
    pub fn is_closed_by_relay(&mut self) -> bool {
        while self.next_message().is_some() {}
        true
    }
}

pub fn open(transport_id: u64, room_id: u64) -> Command {
    Command::OpenTransport(OpenTransport {
        transport_id,
        room_id,
        remote_ufrag: "peer".into(),
        remote_pwd: "p".repeat(24),
        remote_fingerprint_sha256: vec![3; 32],
        more_fingerprints_sha256: Vec::new(),
        label: b"label".to_vec(),
        max_receive_bitrate_bps: 0,
        dtls_client: false,
    })
}

/// The value of a counter of the process.
#[track_caller]
pub fn process_counter(stats: &Stats, name: &str) -> u64 {
    stats.process.iter().find(|c| c.name == name).unwrap_or_else(|| panic!("no counter {name}")).value
}
