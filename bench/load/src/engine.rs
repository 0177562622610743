//! The loop: what is due is done, what has come is taken, nothing waits for anything else.
//!
//! It never sleeps on a socket: a sleeping reader would have to be woken by whoever sends, and that is the very server
//! whose CPU time is measured. It looks every [`NAP`] instead; arrivals carry the kernel's stamp.

use crate::args::RunArgs;
use crate::channel::{ChannelThread, JoinRequest, ServerCounters, Told};
use crate::client::{Client, Shared, Task};
use crate::scenario::{Member, Scenario};
use crate::sink::BEHIND_SINK;
use crate::socket::Socket;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use relay_core::time::Time;
use ringvox_client::DATAGRAM_BYTES_MAX;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

const NAP: Duration = Duration::from_micros(200);
/// Datagrams taken from one socket before the next has its turn.
const TURN: usize = 64;
/// Sockets reported by one look.
const READY_MAX: usize = 512;

pub(crate) struct Engine {
    pub(crate) clients: Vec<Client>,
    pub(crate) shared: Shared,
    scenario: Scenario,
    channel: ChannelThread,
    /// Asked for in this turn.
    requests: Vec<JoinRequest>,
    sockets: Sockets,
    alarms: BinaryHeap<Reverse<(Time, u32, Task)>>,
    ready: Vec<EpollEvent>,
    buffer: Vec<u8>,
    counters: Option<Result<ServerCounters, String>>,
    failure: Option<String>,
}

impl Engine {
    /// `local`: the address that all clients have, if they have only one.
    pub(crate) fn new(
        scenario: Scenario,
        args: &RunArgs,
        local: Option<IpAddr>,
        channel: ChannelThread,
        shared: Shared,
    ) -> Result<Self, String> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(|why| why.to_string())?;
        let sockets = Sockets { epoll, stamped: !args.no_stamps };
        let mut clients = Vec::with_capacity(scenario.members.len());
        let mut subscribers = 0;
        for (id, member) in (0..).zip(&scenario.members) {
            let ip = local.unwrap_or_else(|| address(args, member, subscribers));
            subscribers += u32::from(!member.publishes);
            let socket = sockets.bind(ip, member, id as usize)?;
            clients.push(Client::new(id, member, &scenario.streams, socket));
        }
        Ok(Self {
            clients,
            shared,
            scenario,
            channel,
            requests: Vec::new(),
            sockets,
            alarms: BinaryHeap::new(),
            ready: vec![EpollEvent::empty(); READY_MAX],
            buffer: vec![0; DATAGRAM_BYTES_MAX],
            counters: None,
            failure: None,
        })
    }

    pub(crate) fn now(&self) -> Time {
        self.shared.clock.now()
    }

    /// From now on publishers send the scenario's frames `load` times as often.
    pub(crate) fn set_load(&mut self, load: f64) {
        for sending in self.clients.iter_mut().flat_map(|client| &mut client.sending) {
            sending.stream.shape = self.scenario.streams[sending.stream.id as usize].shape.at_load(load);
        }
    }

    /// The client with this id, unless another one has its place by now.
    pub(crate) fn client(&mut self, id: u32) -> Option<&mut Client> {
        occupant(&mut self.clients, id)
    }

    fn place(&self, id: u32) -> usize {
        id as usize % self.clients.len()
    }

    /// Lets a client leave and another take its place, at the same address and another port; the id of the new one.
    pub(crate) fn replace(&mut self, id: u32) -> Result<u32, String> {
        let (place, now) = (self.place(id), self.now());
        let fresh = id.checked_add(self.clients.len() as u32).ok_or("no id is left")?;
        let old = &mut self.clients[place];
        old.close(now, &mut self.shared);
        let ip = old.socket.local().map_err(|why| why.to_string())?.ip();
        let member = &self.scenario.members[place];
        let socket = self.sockets.bind(ip, member, place)?;
        self.clients[place] = Client::new(fresh, member, &self.scenario.streams, socket);
        Ok(fresh)
    }

    /// Lets a client join, together with others of this turn.
    pub(crate) fn ask(&mut self, id: u32) -> Result<(), String> {
        let place = self.place(id);
        let (client, member) = (&self.clients[place], &self.scenario.members[place]);
        self.requests.push(JoinRequest {
            client: id,
            publishes: member.publishes,
            room: member.room,
            streams: member.streams.iter().map(|id| self.scenario.streams[*id as usize]).collect(),
            credentials: client.credentials.clone(),
            fingerprint: self.shared.dtls.fingerprint(),
            local: client.socket.local().map_err(|why| why.to_string())?,
        });
        Ok(())
    }

    /// The server's counters; media goes on meanwhile.
    pub(crate) fn server_counters(&mut self) -> Result<ServerCounters, String> {
        self.counters = None;
        self.channel.ask_counters();
        loop {
            self.turn()?;
            if let Some(counters) = self.counters.take() {
                return counters;
            }
        }
    }

    pub(crate) fn run_until(
        &mut self,
        what: &str,
        limit: Duration,
        mut done: impl FnMut(&mut Self) -> bool,
    ) -> Result<(), String> {
        let until = self.now() + limit;
        while !done(self) {
            if self.now() > until {
                return Err(format!("{what}: not within {limit:?}"));
            }
            self.turn()?;
        }
        Ok(())
    }

    pub(crate) fn run_for(&mut self, time: Duration) -> Result<(), String> {
        let until = self.now() + time;
        while self.now() < until {
            self.turn()?;
        }
        Ok(())
    }

    fn turn(&mut self) -> Result<(), String> {
        let now = self.now();
        if !self.requests.is_empty() {
            self.channel.join(std::mem::take(&mut self.requests));
        }
        self.ring(now);
        let taken = self.reap();
        self.hear(now);
        self.alarms.extend(self.shared.alarms.drain(..).map(Reverse));
        if let Some(why) = self.failure.take() {
            return Err(why);
        }
        if taken == 0 {
            let next = self.alarms.peek().map_or(Time::MAX, |Reverse((at, ..))| *at);
            let nap = next.since(self.now()).min(NAP);
            if !nap.is_zero() {
                std::thread::sleep(nap);
            }
            self.shared.clock.adjust();
        }
        Ok(())
    }

    fn ring(&mut self, now: Time) {
        while let Some(Reverse((due, client, task))) = self.alarms.peek().copied() {
            if due > now {
                return;
            }
            self.alarms.pop();
            // What somebody who has left wanted to be woken for is of no use.
            if let Some(client) = occupant(&mut self.clients, client) {
                client.run(now, task, due, &mut self.shared);
            }
            self.alarms.extend(self.shared.alarms.drain(..).map(Reverse));
        }
    }

    /// Takes what has come; how many datagrams that were.
    fn reap(&mut self) -> usize {
        let count = self.sockets.epoll.wait(&mut self.ready, EpollTimeout::ZERO).unwrap_or(0);
        let mut taken = 0;
        for at in 0..count {
            let now = self.shared.clock.now();
            let place = self.ready[at].data() as usize;
            let client = &mut self.clients[place];
            for _ in 0..TURN {
                let Some((len, arrived)) = client.socket.receive(&self.shared.clock, &mut self.buffer) else {
                    break;
                };
                taken += 1;
                client.receive(now, arrived, &mut self.buffer[..len], &mut self.shared);
            }
            if client.has_failed() {
                self.failure.get_or_insert_with(|| format!("client {} lost its connection", client.id));
            }
        }
        taken
    }

    fn hear(&mut self, now: Time) {
        while let Ok(told) = self.channel.told.try_recv() {
            match told {
                Told::Counters(counters) => self.counters = Some(counters),
                Told::Joined(client, Err(why)) => {
                    self.failure = Some(format!("client {client} was refused: {why}"));
                }
                Told::Joined(client, Ok(answer)) => {
                    let Some(newcomer) = occupant(&mut self.clients, client) else { continue };
                    if let Err(why) = newcomer.begin(now, &answer, &mut self.shared) {
                        self.failure = Some(format!("client {client} to {}: {why}", answer.remote));
                    }
                }
            }
        }
    }

    /// Lets everybody say goodbye: by the channel first, while the server still knows whom that is about.
    pub(crate) fn close(&mut self) -> Result<(), String> {
        let left = self.channel.leave();
        let now = self.now();
        self.clients.iter_mut().for_each(|client| client.close(now, &mut self.shared));
        left
    }
}

/// The client with this id, unless another one has its place by now.
fn occupant(clients: &mut [Client], id: u32) -> Option<&mut Client> {
    let place = id as usize % clients.len();
    clients.get_mut(place).filter(|client| client.id == id)
}

/// Where clients' sockets are made and watched.
struct Sockets {
    epoll: Epoll,
    /// Subscribers' arrivals are stamped by the kernel.
    stamped: bool,
}

impl Sockets {
    fn bind(&self, ip: IpAddr, member: &Member, place: usize) -> Result<Socket, String> {
        let socket = Socket::bind(SocketAddr::new(ip, 0), self.stamped && !member.publishes)
            .map_err(|why| format!("a socket on {ip}: {why}"))?;
        let readable = EpollEvent::new(EpollFlags::EPOLLIN, place as u64);
        self.epoll.add(&socket, readable).map_err(|why| format!("epoll: {why}"))?;
        Ok(socket)
    }
}

/// Where a publisher, or the `n`-th subscriber, sends from. One subscriber in `heard_in` is out of a sink's reach.
fn address(args: &RunArgs, member: &Member, n: u32) -> IpAddr {
    if member.publishes {
        return args.publisher_ip;
    }
    let is_heard = args.heard_in > 0 && n % args.heard_in == args.heard_in / 2;
    nth_address(args.subscriber_ip, if is_heard { BEHIND_SINK + n } else { n })
}

pub(crate) fn nth_address(first: IpAddr, n: u32) -> IpAddr {
    match first {
        IpAddr::V4(ip) => IpAddr::V4((ip.to_bits() + n).into()),
        IpAddr::V6(ip) => IpAddr::V6((ip.to_bits() + u128::from(n)).into()),
    }
}
