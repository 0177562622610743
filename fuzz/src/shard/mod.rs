mod act;
mod client;
mod egress;
mod pipes;

use crate::actions::Actions;
use client::Client;
use egress::{Sending, Watch};
use pipes::{Queue, Sink};
use relay_control::{Command, ReplyBody};
use relay_core::Shard;
use relay_core::media::{Event, TransportEvent};
use relay_core::outbox::Path;
use relay_core::srtp::SrtpProfile;
use relay_core::stats::{Count, DropReason};
use relay_core::time::Time;
use relay_port::{Entry, PortId};
use std::net::SocketAddr;
use std::time::Duration;
use tests::World;
use tests::dtls::Factory;

/// The room of each client. The last two live on the second shard.
const ROOMS: [u64; 6] = [1, 1, 2, 1, 1, 2];
const HOMES: [usize; 6] = [0, 0, 0, 0, 1, 1];

/// Two whole shards with clients in two rooms, who do and send anything in any order, while commands come,
/// time passes, video is shed and pipes and send memory are full at times. After each action the tables
/// agree; all that leaves can be read, no index twice and nothing of another room; and at the end every
/// packet stands in a counter.
pub fn shard(data: &[u8]) {
    let mut actions = Actions(data);
    let Some(first) = actions.u8() else { return };
    let mut run = Run::new(SrtpProfile::ALL[usize::from(first) % 3], first & 0x80 != 0);
    while let Some(action) = actions.u8() {
        let done = run.act(action, &mut actions);
        run.check();
        if done.is_none() {
            break;
        }
    }
    run.end();
}

/// A shard, and the queue of what the other one said to it.
struct Place {
    shard: Shard,
    inbox: Queue,
    /// Datagrams that left.
    sent: u64,
}

/// Everything that one input runs.
struct Run {
    now: Time,
    places: Vec<Place>,
    clients: Vec<Client>,
    /// How often a transport was opened.
    times: u32,
    /// Send memory is used up.
    full: bool,
    /// Queues between shards are not read.
    stalled: bool,
    /// Forged packets written into a pipe.
    forged: u64,
    /// A good check, to be sent again from elsewhere.
    captured: Option<(u8, Vec<u8>)>,
    watch: Watch,
}

impl Run {
    fn new(profile: SrtpProfile, ready: bool) -> Self {
        let (sinks, mut queues): (Vec<Sink>, Vec<Queue>) = (0..2).map(|_| Sink::new()).unzip();
        // What the first sink takes is for the second shard.
        queues.reverse();
        let places = (0..2u32).zip(sinks).zip(queues).map(|((number, sink), inbox)| {
            let mut config = World::config(number, SocketAddr::from(([198, 51, 100, 1], 10_000)));
            config.default_max_receive_bitrate_bps = 100_000_000;
            config.limits.transports = 5;
            config.limits.up_tracks_per_transport = 3;
            config.limits.down_tracks_per_transport = 6;
            config.limits.subscribers_per_track = 5;
            let mut shard = Shard::new(config, Box::new(Factory(profile)), [number as u8; 32]);
            shard.connect_port(PortId::shard(1 - number), Box::new(sink));
            Place { shard, inbox, sent: 0 }
        });
        let mut run = Self {
            now: Time::from_nanos(1_000_000_000_000),
            places: places.collect(),
            clients: (0u8..).zip(ROOMS).map(|(n, room)| Client::new(n, room, profile)).collect(),
            times: 0,
            full: false,
            stalled: false,
            forged: 0,
            captured: None,
            watch: Watch::default(),
        };
        if ready {
            (0..6).for_each(|number| run.join(number));
        }
        run
    }

    /// Lets a shard do something, and looks at what it sends and says.
    fn on<R>(&mut self, place: usize, act: impl FnOnce(&mut Shard, Time, &mut Sending) -> R) -> R {
        let mut sending = Sending { full: self.full, ..Sending::default() };
        let Place { shard, sent, .. } = &mut self.places[place];
        let result = act(shard, self.now, &mut sending);
        for (path, mut bytes) in sending.out.sent {
            *sent += 1;
            self.watch.receive(&self.clients, path.remote, &mut bytes);
        }
        while let Some(event) = shard.poll_event() {
            if let Event::Transport(id, TransportEvent::Failed(_)) = event {
                let gone = |client: &&mut Client| Client::transport_id(client.number) == id;
                self.clients.iter_mut().find(gone).into_iter().for_each(|client| client.is_in = false);
            }
        }
        result
    }

    fn home(number: u8) -> usize {
        HOMES[usize::from(number)]
    }

    fn command(&mut self, place: usize, command: Command) -> ReplyBody {
        self.on(place, |shard, now, sending| relay::convert::obey(shard, now, command, sending))
    }

    /// A datagram from where a client is.
    fn send(&mut self, number: u8, mut bytes: Vec<u8>) {
        let path = Path { remote: self.clients[usize::from(number)].address, local: None };
        self.on(Self::home(number), |shard, now, sending| {
            shard.handle_datagram(now, &path, &mut bytes, sending);
        });
    }

    /// The end of a batch.
    fn turn(&mut self) {
        for place in 0..2 {
            if !self.stalled {
                self.read_pipe(place);
            }
            self.on(place, |shard, now, sending| {
                shard.handle_timeout(now, sending);
                shard.ring_ports();
            });
        }
    }

    fn read_pipe(&mut self, place: usize) {
        // The entry leaves the queue first: the shard may write into it meanwhile.
        while let Some(mut entry) = self.pop(place) {
            let from = PortId::shard(1 - place as u32);
            self.on(place, |shard, now, sending| shard.handle_entry(now, from, &mut entry, sending));
        }
        self.on(place, |shard, _, sending| shard.forward_pending(sending));
    }

    fn pop(&mut self, place: usize) -> Option<Box<Entry>> {
        self.places[place].inbox.borrow_mut().pop_front()
    }

    fn check(&self) {
        for (number, place) in self.places.iter().enumerate() {
            assert_eq!(place.shard.check_invariants(), Ok(()), "shard {number}");
        }
    }

    /// All that waits is done, and then the books balance. Nobody keeps a transport without consent.
    fn end(mut self) {
        (self.stalled, self.full) = (false, false);
        let waits = |run: &Self| run.places.iter().any(|p| p.shard.poll_timeout() == Some(Time::ZERO));
        self.turn();
        while waits(&self) || self.places.iter().any(|place| !place.inbox.borrow().is_empty()) {
            self.turn();
        }
        self.check();
        for place in &self.places {
            World::assert_ledger_of(place.shard.counters(), place.sent);
            assert_eq!(place.shard.counters().dropped(DropReason::RtpNotStored), 0);
        }
        let sum = |what| self.places.iter().map(|place| place.shard.counters().get(what)).sum::<u64>();
        assert_eq!(sum(Count::PipeSent) + self.forged, sum(Count::PipeReceived), "between shards");
        for _ in 0..4 {
            self.now += Duration::from_secs(60);
            self.turn();
        }
        self.check();
        assert!(self.places.iter().all(|place| place.shard.transports().count() == 0), "consent has expired");
        assert!(
            self.places.iter().all(|place| place.shard.poll_timeout().is_none()),
            "nothing is due for nobody"
        );
    }
}
