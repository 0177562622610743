//! Several shards, their real mailboxes, queues, local ports and control side, and one clock. Only threads
//! and sockets are missing.

use crate::dtls::Factory;
use crate::faults::{self, Panicking};
use crate::net::{InFlight, Link, Net};
use crate::peer::Peer;
use crate::world::World;
use relay::control::router::{ConnectionId, Identity, Router};
use relay::driver::{OrderOutcome, ShardDriver};
use relay::mailbox::{ControlEnd, Notifier, mailbox};
use relay::ports::{self, Counts, LocalPorts, ThreadEnd};
use relay_control::{
    CONTROL_VERSION, Command, Counter, EventBody, FailReason, GetInventory, Hello, Inventory, Outgoing,
    ReplyBody, Request, TransportInfo,
};
use relay_core::Shard;
use relay_core::config::{Limits, ShardConfig};
use relay_core::id::Ssrc;
use relay_core::outbox::{Path, VecOutbox};
use relay_core::srtp::SrtpProfile;
use relay_core::stats::{Count, DropReason, Ledger};
use relay_core::time::Time;
use relay_port::{Decoded, Frame, FrameReader, PORT_VERSION, encode};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const CONTROLLER: ConnectionId = 1;

pub struct Shards {
    pub now: Time,
    /// The real cores with their mailboxes and pipes.
    pub drivers: Vec<ShardDriver>,
    /// The fake network.
    pub net: Net,
    pub peers: Vec<Peer>,
    /// Events that the controller has received.
    pub events: Vec<EventBody>,
    /// A worker that does not turn: what is sent to it waits.
    pub stalled: Option<usize>,
    /// Panics are part of the run: see [`crate::faults`].
    pub panics: bool,
    /// The only shard on which panics are wanted; `None`: all.
    pub panics_on: Option<usize>,
    /// Processes at local ports.
    pub ports: LocalPorts,
    /// The counters of the ports' thread.
    pub port_counts: Arc<Counts>,
    ports_end: ThreadEnd,
    ports_woken: Arc<AtomicBool>,
    router: Router,
    /// Set when there is something for the worker.
    woken: Vec<Arc<AtomicBool>>,
    /// Datagrams that each worker has not read yet.
    inbox: Vec<VecDeque<InFlight>>,
    sent: Vec<u64>,
    profile: SrtpProfile,
}

impl Shards {
    /// Empty shards and a network without loss; a room has `budget` transports on one of them before it uses
    /// the next.
    #[must_use]
    pub fn new(seed: u64, shards: u32, budget: usize) -> Self {
        Self::with_profile(seed, shards, budget, SrtpProfile::AeadAes128Gcm)
    }

    /// The same for another SRTP profile.
    #[must_use]
    pub fn with_profile(seed: u64, shards: u32, budget: usize, profile: SrtpProfile) -> Self {
        Self::with_limits(seed, (shards, budget), profile, &Limits::default())
    }

    /// The same with other limits.
    #[must_use]
    pub fn with_limits(
        seed: u64,
        (shards, budget): (u32, usize),
        profile: SrtpProfile,
        limits: &Limits,
    ) -> Self {
        let notifier = Notifier::new().expect("a descriptor");
        let woken: Vec<Arc<AtomicBool>> = (0..shards).map(|_| Arc::default()).collect();
        let (ends, drivers): (Vec<ControlEnd>, Vec<ShardDriver>) = (0..shards)
            .zip(&woken)
            .map(|(number, woken)| {
                let woken = Arc::clone(woken);
                let wake = Arc::new(move || woken.store(true, Ordering::Relaxed));
                let (control, worker) = mailbox(notifier.clone(), wake);
                let mut bytes = [number as u8; 32];
                bytes[..8].copy_from_slice(&seed.to_be_bytes());
                let config = World::config(number, address(number as usize));
                let config = ShardConfig { limits: limits.clone(), ..config };
                let shard = Shard::new(config, Box::new(Factory(profile)), bytes);
                let seeds = move || {
                    bytes[8] += 1;
                    bytes
                };
                (control, ShardDriver::new(number, shard, worker, Box::new(seeds)))
            })
            .unzip();
        let (ports_woken, port_counts) = (Arc::<AtomicBool>::default(), Arc::<Counts>::default());
        let woken_ports = Arc::clone(&ports_woken);
        let wake = Arc::new(move || woken_ports.store(true, Ordering::Relaxed));
        let (ports, ports_end) = ports::link(notifier, wake, Arc::clone(&port_counts));
        let identity = Identity {
            boot_id: 7,
            fingerprint_sha256: [0xaa; 32],
            io_backend: "none",
            max_receive_bitrate_bps: 8_000_000,
            started_by_signaling: false,
        };
        let mut world = Self {
            now: Time::from_nanos(1_000_000_000_000),
            inbox: drivers.iter().map(|_| VecDeque::new()).collect(),
            sent: drivers.iter().map(|_| 0).collect(),
            drivers,
            net: Net::new(Link::GOOD, seed),
            peers: Vec::new(),
            events: Vec::new(),
            stalled: None,
            panics: false,
            panics_on: None,
            ports: LocalPorts::new(Arc::clone(&port_counts), 8_000_000),
            port_counts,
            ports_end,
            ports_woken,
            router: Router::new(identity, ends, budget),
            woken,
            profile,
        };
        world.router.serve_ports(ports);
        let (version, name) = (CONTROL_VERSION, "test".to_owned());
        world.command(Command::Hello(Hello { version, epoch: 1, name, instance: 1 }));
        world
    }

    /// Sends a command, which must not be refused.
    pub fn command(&mut self, command: Command) -> ReplyBody {
        let reply = self.try_command(command);
        assert!(!matches!(reply, ReplyBody::Error(_)), "refused: {reply:?}");
        reply
    }

    pub fn try_command(&mut self, command: Command) -> ReplyBody {
        self.send_command(command).expect("no stalled worker is asked")
    }

    /// Sends a command; `None` if a stalled worker has not answered it.
    pub fn send_command(&mut self, command: Command) -> Option<ReplyBody> {
        self.router.handle_request(CONTROLLER, Request { request_id: 1, command: Some(command) });
        self.settle()
    }

    /// Lets all workers turn that were woken, until none is; the reply that came of it.
    fn settle(&mut self) -> Option<ReplyBody> {
        let mut reply = None;
        loop {
            let mut turned = false;
            for number in 0..self.drivers.len() {
                if self.stalled != Some(number) && self.woken[number].swap(false, Ordering::Relaxed) {
                    self.turn(number);
                    turned = true;
                }
            }
            if self.ports_woken.swap(false, Ordering::Relaxed) {
                self.turn_ports();
                turned = true;
            }
            self.router.handle_shards();
            while let Some((_, message)) = self.router.poll_outgoing() {
                match message.outgoing {
                    Some(Outgoing::Reply(answer)) => reply = answer.body,
                    Some(Outgoing::Event(event)) => self.events.extend(event.body),
                    None => {}
                }
            }
            if !turned {
                return reply;
            }
        }
    }

    /// One turn of the ports' thread.
    fn turn_ports(&mut self) {
        while let Some(order) = self.ports_end.next_order() {
            self.ports.handle_order(self.now, order);
        }
        self.ports.handle_queues();
        self.ports.reap(self.now);
        self.ports.flush();
        let ports = &mut self.ports;
        self.ports_end.send_all(|| ports.poll());
    }

    /// A process connects to its port and says its name; its number.
    pub fn connect_process(&mut self, name: &str) -> u32 {
        let number = self.ports.connect(self.now);
        let hello = relay_port::Hello { version: PORT_VERSION, name: name.to_owned() };
        self.process_says(number, &Frame::Hello(hello), &[]);
        number
    }

    /// A process sends a frame.
    pub fn process_says(&mut self, number: u32, frame: &Frame, payload: &[u8]) {
        let mut bytes = Vec::new();
        assert!(encode(frame, payload, &mut bytes), "{frame:?}");
        self.ports.handle_bytes(self.now, number, &bytes);
        self.ports_woken.store(true, Ordering::Relaxed);
        self.settle();
    }

    /// Reads all frames that wait for a process.
    pub fn process_reads(&mut self, number: u32) -> Vec<(Frame, Vec<u8>)> {
        let process = self.ports.process(number).expect("it is connected");
        let (mut reader, mut frames) = (FrameReader::default(), Vec::new());
        let unread = process.unread().to_vec();
        process.wrote(unread.len());
        reader.push(&unread);
        while let Some(decoded) = reader.next().expect("the relay writes good frames") {
            let Decoded::Frame(frame, payload) = decoded else { panic!("of this version") };
            frames.push((frame, payload.to_vec()));
        }
        frames
    }

    pub fn process_ends(&mut self, number: u32) {
        self.ports.process(number).expect("it is connected").disconnect();
        self.ports_woken.store(true, Ordering::Relaxed);
        self.settle();
        // The shards have let go meanwhile.
        self.ports_woken.store(true, Ordering::Relaxed);
        self.settle();
    }

    /// One turn of a worker's loop.
    fn turn(&mut self, number: usize) {
        let (now, driver) = (self.now, &mut self.drivers[number]);
        faults::here(self.panics_on.is_none_or(|shard| shard == number));
        let mut outbox = Panicking(VecOutbox::default());
        for mut in_flight in self.inbox[number].drain(..) {
            let path = Path { remote: in_flight.from, local: None };
            driver.handle_datagram(now, &path, &mut in_flight.bytes, &mut outbox);
        }
        driver.shard.ring_ports();
        // Orders first: carrying one out must read the pipes by itself.
        loop {
            match driver.handle_order(now, &mut outbox) {
                OrderOutcome::Nothing => break,
                OrderOutcome::Done | OrderOutcome::DoneSlow => {}
                OrderOutcome::Stats(ticket) => driver.send_stats(ticket, std::iter::empty::<Counter>()),
            }
        }
        driver.handle_ports(now, &mut outbox);
        driver.handle_handshakes(now, &mut outbox);
        driver.handle_deadlines(now, &mut outbox);
        driver.send_events();
        driver.shard.ring_ports();
        for (path, bytes) in outbox.0.sent {
            self.sent[number] += 1;
            self.net.send(now, address(number), path.remote, &bytes);
        }
    }

    /// Opens a transport for a new client in a room; returns the client's index.
    pub fn join(&mut self, room: u64) -> u32 {
        let index = u32::try_from(self.peers.len()).expect("few");
        let (command, fingerprint) = World::opening(index, room);
        let ReplyBody::TransportOpened(opened) = self.command(command) else { panic!("not opened") };
        self.peers.push(Peer::new(index, room, fingerprint, self.profile, &opened));
        index
    }

    /// The shard on which a client's transport is, by the port that it was told.
    #[must_use]
    pub fn shard_of(&self, peer: u32) -> usize {
        usize::from(self.peers[peer as usize].relay().port() - address(0).port())
    }

    /// A peer begins to publish; its packets are numbered from `first_index`.
    pub fn publish(&mut self, peer: u32, first_index: u64) {
        let (command, ssrc) = World::publication(peer);
        self.command(command);
        self.peers[peer as usize].publish(ssrc, first_index);
    }

    /// A peer subscribes to another's track; the SSRC it will get it under.
    pub fn subscribe(&mut self, peer: u32, publisher: u32) -> Ssrc {
        let reply = self.command(World::subscription(peer, publisher));
        let ReplyBody::DownTrackAdded(added) = reply else { panic!("{reply:?}") };
        self.peers[peer as usize].receives(&added)
    }

    /// Advances the clock, and delivers and handles all that is due.
    pub fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        loop {
            let running = (0..self.drivers.len()).filter(|n| self.stalled != Some(*n));
            let timer = running.filter_map(|n| self.drivers[n].shard.poll_timeout()).min();
            let peers = self.peers.iter().map(Peer::next).min().unwrap_or(Time::MAX);
            let net = self.net.next().unwrap_or(Time::MAX);
            let next = timer.unwrap_or(Time::MAX).min(peers).min(net).max(self.now);
            if next > end {
                self.now = end;
                return;
            }
            self.now = next;
            self.step();
        }
    }

    fn step(&mut self) {
        let now = self.now;
        for peer in self.peers.iter_mut().filter(|p| p.next() <= now) {
            peer.tick(now);
            for bytes in peer.take_out() {
                self.net.send(now, peer.address, peer.relay(), &bytes);
            }
        }
        while let Some(mut in_flight) = self.net.deliver(now) {
            if let Some(number) = (0..self.drivers.len()).find(|n| address(*n) == in_flight.to) {
                self.inbox[number].push_back(in_flight);
                self.woken[number].store(true, Ordering::Relaxed);
            } else if let Some(peer) = self.peers.iter_mut().find(|p| p.address == in_flight.to && p.alive) {
                peer.receive(now, &mut in_flight.bytes);
                for bytes in peer.take_out() {
                    self.net.send(now, peer.address, peer.relay(), &bytes);
                }
            }
        }
        for (driver, woken) in self.drivers.iter().zip(&self.woken) {
            if driver.shard.poll_timeout().is_some_and(|due| due <= now) {
                woken.store(true, Ordering::Relaxed);
            }
        }
        self.settle();
    }

    /// Everything that runs, as a controller sees it.
    pub fn inventory(&mut self) -> Vec<TransportInfo> {
        let (mut transports, mut after) = (Vec::new(), 0);
        loop {
            let page = self.inventory_page(after);
            transports.extend(page.transports);
            after = page.next;
            if after == 0 {
                return transports;
            }
        }
    }

    /// One page of the inventory.
    pub fn inventory_page(&mut self, after: u64) -> Inventory {
        match self.command(Command::GetInventory(GetInventory { after })) {
            ReplyBody::Inventory(inventory) => inventory,
            other => panic!("{other:?}"),
        }
    }

    /// Why a peer's transport failed, if it did.
    #[must_use]
    pub fn failed(&self, peer: u32) -> Option<FailReason> {
        self.events.iter().find_map(|event| match event {
            EventBody::TransportState(s) if s.transport_id == World::transport_id(peer) => {
                Some(s.reason()).filter(|reason| *reason != FailReason::None)
            }
            _ => None,
        })
    }

    /// A counter of one shard.
    #[must_use]
    pub fn count(&self, shard: usize, what: Count) -> u64 {
        self.drivers[shard].shard.counters().get(what)
    }

    /// Discards of one shard for one reason.
    #[must_use]
    pub fn dropped(&self, shard: usize, reason: DropReason) -> u64 {
        self.drivers[shard].shard.counters().dropped(reason)
    }

    /// The ledgers of all shards balance, each and together: every packet that crossed was handled or
    /// counted. And the tables of each agree.
    pub fn assert_ledger(&self) {
        for (driver, sent) in self.drivers.iter().zip(&self.sent) {
            assert!(self.panics || driver.shard.counters().get(Count::Panics) == 0, "a panic was caught");
            assert_eq!(driver.shard.check_invariants(), Ok(()));
            World::assert_ledger_of(driver.shard.counters(), *sent);
        }
        let sum = |what| (0..self.drivers.len()).map(|n| self.count(n, what)).sum::<u64>();
        let ports = &self.port_counts;
        let (from_processes, to_processes) = (ports.in_sent.get(), ports.out_received.get());
        let (sent, received) = (sum(Count::PipeSent), sum(Count::PipeReceived));
        assert_eq!(sent + from_processes, received + to_processes, "between shards and with processes");
        let dropped =
            ports.dropped_queue_full.get() + ports.dropped_policed.get() + ports.dropped_no_source.get();
        assert_eq!(ports.in_received.get(), from_processes + dropped, "from processes");
        let dropped = ports.dropped_slow.get() + ports.dropped_untapped.get() + ports.dropped_gone.get();
        assert_eq!(to_processes, ports.out_written.get() + dropped, "to processes");
    }

    /// Packets that crossed from any shard and were not counted as anything but accepted.
    #[must_use]
    pub fn crossed(&self) -> u64 {
        (0..self.drivers.len()).map(|n| self.count(n, Count::PipeAccepted)).sum()
    }

    /// Discards that are part of a sum, over all shards.
    #[must_use]
    pub fn dropped_in(&self, ledger: Ledger) -> u64 {
        let reasons = DropReason::ALL.iter().filter(|d| d.ledger() == ledger);
        reasons.map(|d| (0..self.drivers.len()).map(|n| self.dropped(n, *d)).sum::<u64>()).sum()
    }
}

/// Where a shard listens.
fn address(number: usize) -> SocketAddr {
    let first: SocketAddr = crate::world::RELAY.parse().expect("an address");
    SocketAddr::new(first.ip(), first.port() + u16::try_from(number).expect("few"))
}
