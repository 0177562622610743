//! A running stream while a crowd joins; the crowd watches a stream whose publisher is silent.
//!
//! Time is simulated, costs are real: a turn of the worker's loop takes what has arrived, and lasts as long as the CPU needs
//! for it here, plus [`SEND`] for each datagram it sends. What a turn sends leaves at its end. So a packet's forwarding time
//! is what it waits for the turn before, and its own turn; no other process can spoil the figure, and neither can the
//! clients, whose work takes no time. What is shed the worker's own [`OverloadControl`] decides; a turn after which nothing is to do sleeps.

use crate::client::{Client, number};
use crate::site::{SILENT, STREAM, Site};
use crate::{FOREVER, is_connected};
use relay::overload::{OverloadControl, Turn};
use relay::usage::Usage;
use relay_core::outbox::VecOutbox;
use relay_core::stats::{DropReason, Stage};
use relay_core::time::Time;
use ringvox_client::dtls::ClientOptions;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

/// Those who watch the stream.
const SUBSCRIBERS: u32 = 200;
/// A frame each 10 ms of so many packets: 400 × 200 packets a second.
const FRAME_INTERVAL: Duration = Duration::from_millis(10);
const FRAME_PACKETS: usize = 4;
/// One way between client and relay.
const DELAY: Duration = Duration::from_millis(10);
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

type Flying = Reverse<(Time, u64, u32, bool, Vec<u8>)>;

struct Storm {
    site: Site,
    clients: Vec<Client>,
    flying: BinaryHeap<Flying>,
    order: u64,
    /// Arrived at the relay, with the time.
    inbox: VecDeque<(Time, u32, Vec<u8>)>,
    frame: (Time, u64),
    /// Forwarding times since they were asked for last.
    delays: Vec<Duration>,
    longest: Duration,
    connected: u32,
    overload: OverloadControl,
    /// Of the worker's thread, in simulated time.
    usage: Usage,
}

/// Runs it and prints what came of it.
pub(crate) fn run(crowd: u32) {
    let mut storm = Storm::new();
    let calm = storm.site.now + CALM;
    while storm.site.now < calm {
        storm.turn(0);
    }
    storm.tell("before");
    let (begin, spent) = (storm.site.now, storm.site.spent);
    while storm.connected < crowd && storm.site.now.since(begin) < LIMIT {
        let due = f64::from(crowd) * storm.site.now.since(begin).as_secs_f64() / RUSH.as_secs_f64();
        storm.turn(SUBSCRIBERS + 1 + (due as u32).min(crowd));
    }
    storm.tell("during");
    println!(
        "{} of {crowd} joined in {:.0} ms; {:.0} ms of the relay's CPU time; DTLS discarded: {}",
        storm.connected,
        storm.site.now.since(begin).as_secs_f64() * 1e3,
        (storm.site.spent - spent).as_secs_f64() * 1e3,
        dtls_discarded(&storm.site),
    );
    let calm = storm.site.now + CALM;
    while storm.site.now < calm {
        storm.turn(0);
    }
    storm.tell("after");
}

fn dtls_discarded(site: &Site) -> String {
    let discards =
        DropReason::ALL.iter().filter(|d| d.stage() == Stage::Datagram && d.name().contains("dtls"));
    let discards = discards.map(|d| (d.name(), site.shard.counters().dropped(*d))).filter(|(_, n)| *n > 0);
    format!("{:?}", discards.collect::<Vec<_>>())
}

impl Storm {
    fn new() -> Self {
        let mut site = Site::new(&ClientOptions::default(), FOREVER);
        let mut clients = vec![site.open(0)];
        site.publish(&clients[0], STREAM);
        site.publish(&clients[0], SILENT);
        site.connect(&mut clients[0]);
        for number in 1..=SUBSCRIBERS {
            let mut client = site.open(number);
            site.subscribe(&client, STREAM);
            site.connect(&mut client);
            client.forget_dtls();
            clients.push(client);
        }
        let (begun, frame) = (site.now, (site.now, 0));
        Self {
            site,
            clients,
            flying: BinaryHeap::new(),
            order: 0,
            inbox: VecDeque::new(),
            frame,
            delays: Vec::new(),
            longest: Duration::ZERO,
            connected: 0,
            overload: OverloadControl::new(begun, Duration::ZERO),
            usage: Usage::default(),
        }
    }

    /// One turn of the worker; clients are opened until there are `wanted`.
    fn turn(&mut self, wanted: u32) {
        let (begun, spent) = (self.site.now, self.site.spent);
        let kept_awake = self.site.shard.handshakes_wait();
        self.deliver();
        let mut batch: Vec<_> = self.inbox.drain(..self.inbox.len().min(BATCH)).collect();
        let mut outbox = VecOutbox::default();
        for (_, from, bytes) in &mut batch {
            let path = crate::client::path(*from);
            let sent =
                self.site.spend(|shard, now, outbox| shard.handle_datagram(now, &path, bytes, outbox)).1;
            outbox.sent.extend(sent.sent);
        }
        outbox.sent.extend(self.site.spend(|shard, _, outbox| shard.forward_pending(outbox)).1.sent);
        let before = self.site.spent;
        self.open(wanted);
        if self.site.shard.handshakes_wait() {
            let sent = self.site.spend(|shard, now, outbox| shard.handle_handshakes(now, outbox)).1;
            outbox.sent.extend(sent.sent);
        }
        let deferred = if kept_awake { self.site.spent - before } else { Duration::ZERO };
        if self.site.shard.poll_timeout().is_some_and(|due| due <= begun) {
            let sent = self.site.spend(|shard, now, outbox| shard.handle_deadlines(now, outbox)).1;
            outbox.sent.extend(sent.sent);
        }
        self.connected += self.site.events().iter().filter(|event| is_connected(event)).count() as u32;
        let ended = begun + (self.site.spent - spent) + SEND * outbox.sent.len() as u32;
        self.control_overload(&Turn { begun, ended, received: batch.len(), kept_awake, deferred });
        self.end_turn(ended.since(begun), &batch, outbox);
    }

    fn open(&mut self, wanted: u32) {
        for _ in 0..COMMANDS {
            if self.clients.len() as u32 >= wanted {
                return;
            }
            let client = self.site.open(self.clients.len() as u32);
            self.site.subscribe(&client, SILENT);
            self.clients.push(client);
        }
    }

    fn control_overload(&mut self, turn: &Turn) {
        self.usage.cpu += turn.ended.since(turn.begun);
        if self.overload.end_turn(turn) {
            self.overload.measure(turn.ended, self.usage);
            self.site.shard.shed(turn.ended, self.overload.shed());
        }
    }

    /// Moves the time behind the turn, and to the next event if there is nothing to do.
    fn end_turn(&mut self, lasted: Duration, batch: &[(Time, u32, Vec<u8>)], outbox: VecOutbox) {
        self.site.now += lasted;
        self.longest = self.longest.max(lasted);
        let now = self.site.now;
        self.delays.extend(batch.iter().filter(|b| b.1 == 0).map(|b| now.since(b.0)));
        for (to, bytes) in outbox.sent {
            let to = number(&to.remote);
            if to > SUBSCRIBERS {
                self.send(now + DELAY, to, false, bytes);
            }
        }
        if self.inbox.is_empty() {
            let clients = self.clients[SUBSCRIBERS as usize + 1..].iter().map(Client::next).min();
            let due = [self.site.shard.poll_timeout(), clients, self.flying.peek().map(|f| f.0.0)];
            let next = due.into_iter().flatten().min().unwrap_or(Time::MAX).min(self.frame.0);
            self.usage.sleeps += u64::from(next > now);
            // A crowd comes by the clock, too.
            self.site.now = now.max(next.min(now + Duration::from_millis(1)));
        }
    }

    /// Lets everything arrive that is under way and due, and the clients do what they want.
    fn deliver(&mut self) {
        let now = self.site.now;
        while self.frame.0 <= now {
            for _ in 0..FRAME_PACKETS {
                let packet =
                    self.clients[0].media(STREAM.ssrc, self.frame.1, &[&[0x10, 0][..], &[1; 1_150]].concat());
                self.frame.1 += 1;
                self.order += 1;
                self.flying.push(Reverse((self.frame.0, self.order, 0, true, packet)));
            }
            self.frame.0 += FRAME_INTERVAL;
        }
        for index in SUBSCRIBERS as usize + 1..self.clients.len() {
            if self.clients[index].next() <= now {
                self.clients[index].tick(now);
                self.post(index, now);
            }
        }
        while self.flying.peek().is_some_and(|f| f.0.0 <= now) {
            let Some(Reverse((at, _, client, is_up, mut bytes))) = self.flying.pop() else { return };
            if is_up {
                self.inbox.push_back((at, client, bytes));
            } else {
                self.clients[client as usize].receive(at, &mut bytes, &self.site.clients);
                self.post(client as usize, at);
            }
        }
    }

    fn post(&mut self, index: usize, at: Time) {
        for bytes in self.clients[index].take_datagrams() {
            self.send(at + DELAY, index as u32, true, bytes);
        }
    }

    fn send(&mut self, at: Time, client: u32, is_up: bool, bytes: Vec<u8>) {
        self.order += 1;
        self.flying.push(Reverse((at, self.order, client, is_up, bytes)));
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
            self.site.shard.counters().dropped(DropReason::Overload),
        );
    }
}
