//! A running stream while a crowd joins; the crowd watches a stream whose publisher is silent.
//!
//! Time is simulated, costs are real: a turn of the worker's loop takes what has arrived, and lasts as long as the CPU needs
//! for it here, plus [`SEND`] for each datagram it sends. What a turn sends leaves at its end. So a packet's forwarding time
//! is what it waits for the turn before, and its own turn; no other process can spoil the figure, and neither can the
//! clients, whose work takes no time. What is shed the worker's own [`Pace`] decides; a turn after which nothing is to do sleeps.

use crate::FOREVER;
use crate::relay::{ADDRESS as RELAY, Client, Relay, number, path};
use ::relay::pace::{Pace, Turn};
use ::relay::usage::Usage;
use relay_control::{EventBody, TransportState};
use relay_core::id::Ssrc;
use relay_core::outbox::VecOutbox;
use relay_core::stats::{DropReason, Stage};
use relay_core::time::Time;
use ringvox_client::dtls::ClientOptions;
use std::collections::VecDeque;
use std::time::Duration;
use tests::Link;
use tests::net::Net;

/// Whose stream runs, and whose never does.
const PUBLISHER: u32 = 0;
const SILENT: u32 = 1;
/// Those who watch the stream, and the first of the crowd.
const SUBSCRIBERS: u32 = 200;
const CROWD: u32 = SILENT + SUBSCRIBERS + 1;
/// A frame each 10 ms of so many packets: 400 × 200 packets a second.
const FRAME_INTERVAL: Duration = Duration::from_millis(10);
const FRAME_PACKETS: u64 = 4;
/// What the kernel needs to send a datagram.
const SEND: Duration = Duration::from_nanos(800);
/// As the worker and its back end have it.
const BATCH: usize = 128;
const COMMANDS: usize = 32;
/// Those of the crowd come within this time.
const RUSH: Duration = Duration::from_millis(200);
/// Before the crowd, and after it begins to come.
const CALM: Duration = Duration::from_secs(1);
const LIMIT: Duration = Duration::from_secs(30);

struct Storm {
    relay: Relay,
    clients: Vec<Client>,
    ssrc: Ssrc,
    /// Between clients and relay.
    net: Net,
    /// Arrived at the relay, with the time.
    inbox: VecDeque<(Time, u32, Vec<u8>)>,
    /// When the next frame is sent, and the number of its first packet.
    frame: (Time, u64),
    /// Forwarding times since they were asked for last.
    delays: Vec<Duration>,
    longest: Duration,
    connected: u32,
    pace: Pace,
    /// Of the worker's thread, in simulated time.
    usage: Usage,
}

/// Runs it and prints what came of it.
pub(crate) fn run(crowd: u32) {
    let mut storm = Storm::new();
    storm.run_for(CALM);
    storm.tell("before");
    let (begin, spent) = (storm.relay.now, storm.relay.spent);
    while storm.connected < crowd && storm.relay.now.since(begin) < LIMIT {
        let due = f64::from(crowd) * storm.relay.now.since(begin).as_secs_f64() / RUSH.as_secs_f64();
        storm.turn(CROWD + (due as u32).min(crowd));
    }
    storm.tell("during");
    println!(
        "{} of {crowd} joined in {:.0} ms; {:.0} ms of the relay's CPU time; DTLS discarded: {}",
        storm.connected,
        storm.relay.now.since(begin).as_secs_f64() * 1e3,
        (storm.relay.spent - spent).as_secs_f64() * 1e3,
        dtls_discarded(&storm.relay),
    );
    storm.run_for(CALM);
    storm.tell("after");
}

fn dtls_discarded(relay: &Relay) -> String {
    let discards =
        DropReason::ALL.iter().filter(|d| d.stage() == Stage::Datagram && d.name().contains("dtls"));
    let discards = discards.map(|d| (d.name(), relay.shard.counters().dropped(*d))).filter(|(_, n)| *n > 0);
    format!("{:?}", discards.collect::<Vec<_>>())
}

/// Whether an event tells that a transport has keys.
fn is_connected(event: &EventBody) -> bool {
    matches!(event, EventBody::TransportState(s) if s.state() == TransportState::Connected)
}

impl Storm {
    fn new() -> Self {
        let mut relay = Relay::new(&ClientOptions::default(), FOREVER);
        let (publisher, ssrc) = relay.publisher(PUBLISHER);
        let mut clients = vec![publisher, relay.publisher(SILENT).0];
        for number in SILENT + 1..CROWD {
            let mut client = relay.open(number);
            relay.subscribe(number, PUBLISHER);
            relay.connect(&mut client);
            client.transport.forget_dtls();
            clients.push(client);
        }
        let now = relay.now;
        Self {
            relay,
            clients,
            ssrc,
            net: Net::new(Link::GOOD, 1),
            inbox: VecDeque::new(),
            frame: (now, 0),
            delays: Vec::new(),
            longest: Duration::ZERO,
            connected: 0,
            pace: Pace::new(now, Duration::ZERO),
            usage: Usage::default(),
        }
    }

    fn run_for(&mut self, time: Duration) {
        let end = self.relay.now + time;
        while self.relay.now < end {
            self.turn(0);
        }
    }

    /// One turn of the worker; clients are opened until there are `wanted`.
    fn turn(&mut self, wanted: u32) {
        let (begun, spent) = (self.relay.now, self.relay.spent);
        let kept_awake = self.relay.shard.handshakes_wait();
        self.deliver();
        let mut batch: Vec<_> = self.inbox.drain(..self.inbox.len().min(BATCH)).collect();
        let mut outbox = VecOutbox::default();
        for (_, from, bytes) in &mut batch {
            let path = path(*from);
            self.relay.spend(&mut outbox, |shard, now, out| shard.handle_datagram(now, &path, bytes, out));
        }
        self.relay.spend(&mut outbox, |shard, _, out| shard.forward_pending(out));
        let before = self.relay.spent;
        self.open(wanted);
        if self.relay.shard.handshakes_wait() {
            self.relay.spend(&mut outbox, |shard, now, out| shard.handle_handshakes(now, out));
        }
        let aside = if kept_awake { self.relay.spent - before } else { Duration::ZERO };
        if self.relay.shard.poll_timeout().is_some_and(|due| due <= begun) {
            self.relay.spend(&mut outbox, |shard, now, out| shard.handle_deadlines(now, out));
        }
        self.connected += self.relay.events().iter().filter(|event| is_connected(event)).count() as u32;
        let ended = begun + (self.relay.spent - spent) + SEND * outbox.sent.len() as u32;
        self.keep_pace(&Turn { begun, ended, received: batch.len(), kept_awake, aside });
        self.end_turn(ended.since(begun), &batch, outbox);
    }

    fn open(&mut self, wanted: u32) {
        for number in (self.clients.len() as u32..wanted).take(COMMANDS) {
            self.clients.push(self.relay.open(number));
            self.relay.subscribe(number, SILENT);
        }
    }

    fn keep_pace(&mut self, turn: &Turn) {
        self.usage.cpu += turn.ended.since(turn.begun);
        if self.pace.turned(turn) {
            self.pace.looked(turn.ended, self.usage);
            self.relay.shard.shed(turn.ended, self.pace.shed());
        }
    }

    /// Moves the time behind the turn, and to the next event if there is nothing to do.
    fn end_turn(&mut self, lasted: Duration, batch: &[(Time, u32, Vec<u8>)], outbox: VecOutbox) {
        self.relay.now += lasted;
        self.longest = self.longest.max(lasted);
        let now = self.relay.now;
        self.delays.extend(batch.iter().filter(|b| b.1 == PUBLISHER).map(|b| now.since(b.0)));
        for (to, bytes) in outbox.sent {
            if number(to.remote) >= CROWD {
                self.net.send(now, RELAY, to.remote, &bytes);
            }
        }
        if self.inbox.is_empty() {
            let clients = self.crowd().map(|client| client.transport.poll_timeout()).min();
            let due = [self.relay.shard.poll_timeout(), clients, self.net.next()];
            let next = due.into_iter().flatten().min().unwrap_or(Time::MAX).min(self.frame.0);
            self.usage.sleeps += u64::from(next > now);
            // A crowd comes by the clock, too.
            self.relay.now = now.max(next.min(now + Duration::from_millis(1)));
        }
    }

    fn crowd(&mut self) -> impl Iterator<Item = &mut Client> {
        self.clients.iter_mut().skip(CROWD as usize)
    }

    /// Lets everything arrive that is under way and due, and the clients do what they want.
    fn deliver(&mut self) {
        let now = self.relay.now;
        while self.frame.0 <= now {
            let (at, first) = self.frame;
            for index in first..first + FRAME_PACKETS {
                let payload = [&[0x10, 0][..], &[1; 1_150]].concat();
                let packet = self.clients[PUBLISHER as usize].media(self.ssrc, index, &payload);
                self.net.send(at, path(PUBLISHER).remote, RELAY, &packet);
            }
            self.frame = (at + FRAME_INTERVAL, first + FRAME_PACKETS);
        }
        let due = self.crowd().filter(|client| client.transport.poll_timeout() <= now);
        let due: Vec<u32> = due.map(|client| client.number).collect();
        for number in due {
            self.clients[number as usize].tick(now);
            self.post(number, now);
        }
        while let Some(at) = self.net.next()
            && let Some(mut flying) = self.net.deliver(now)
        {
            if flying.to == RELAY {
                self.inbox.push_back((at, number(flying.from), flying.bytes));
                continue;
            }
            let number = number(flying.to);
            self.relay.deliver(at, &mut self.clients[number as usize], &mut flying.bytes);
            self.post(number, at);
        }
    }

    /// Sends what a client has to say.
    fn post(&mut self, number: u32, at: Time) {
        let client = &mut self.clients[number as usize];
        for bytes in client.transport.take_datagrams() {
            self.net.send(at, client.path().remote, RELAY, &bytes);
        }
    }

    fn tell(&mut self, when: &str) {
        let mut delays = std::mem::take(&mut self.delays);
        delays.sort();
        let at = |share: f64| delays[((delays.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
        println!(
            "{when}: forwarding p50 {:.2} ms, p99 {:.2} ms, worst {:.2} ms; longest turn {:.2} ms; {} withheld by shedding",
            at(0.5),
            at(0.99),
            at(1.0),
            std::mem::take(&mut self.longest).as_secs_f64() * 1e3,
            self.relay.shard.counters().dropped(DropReason::Overload),
        );
    }
}
