//! The loop: what is due is done, what has come is taken, nothing waits for anything else.
//!
//! It never sleeps on a socket: a sleeping reader would have to be woken by whoever sends, and that is the very server
//! whose CPU time is measured. It looks every [`NAP`] instead; arrivals carry the kernel's stamp.

use crate::client::{Client, Shared, Task};
use crate::door::{DoorThread, ServerCounters, Told, Wish};
use crate::scenario::{Cast, Role};
use crate::sink::BEHIND_SINK;
use crate::socket::Socket;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use relay_core::time::Time;
use ringvox_client::DATAGRAM_BYTES_MAX;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Longest sleep.
const NAP: Duration = Duration::from_micros(200);
/// Datagrams taken from one socket before the next has its turn.
const TURN: usize = 64;
/// Sockets reported by one look.
const READY_MAX: usize = 512;

/// Where clients send from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Addresses {
    pub(crate) publishers: IpAddr,
    /// The first subscriber's.
    pub(crate) subscribers: IpAddr,
    /// Each further one has the next address.
    pub(crate) spread: bool,
    /// One subscriber in so many is out of a sink's reach; 0: none.
    pub(crate) heard_in: u32,
}

impl Addresses {
    /// The address of the `n`-th subscriber.
    fn subscriber(&self, n: u32) -> IpAddr {
        match n {
            _ if !self.spread => self.subscribers,
            n if self.heard_in > 0 && n % self.heard_in == self.heard_in / 2 => {
                nth_address(self.subscribers, BEHIND_SINK + n)
            }
            n => nth_address(self.subscribers, n),
        }
    }
}

/// See the module.
pub(crate) struct Engine {
    pub(crate) clients: Vec<Client>,
    pub(crate) shared: Shared,
    cast: Cast,
    door: DoorThread,
    sockets: Sockets,
    alarms: BinaryHeap<Reverse<(Time, u32, Task)>>,
    ready: Vec<EpollEvent>,
    buffer: Vec<u8>,
    counters: Option<Result<ServerCounters, String>>,
    failure: Option<String>,
}

impl Engine {
    pub(crate) fn new(
        cast: Cast,
        addresses: Addresses,
        door: DoorThread,
        shared: Shared,
        stamped: bool,
    ) -> Result<Self, String> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(|why| why.to_string())?;
        let sockets = Sockets { epoll, stamped };
        let mut clients = Vec::with_capacity(cast.members.len());
        let mut subscribers = 0;
        for (index, member) in cast.members.iter().enumerate() {
            let ip = match member.role {
                Role::Publisher => addresses.publishers,
                Role::Subscriber => {
                    subscribers += 1;
                    addresses.subscriber(subscribers - 1)
                }
            };
            let socket = sockets.bind(ip, member.role, index)?;
            clients.push(Client::new(index as u32, member, &cast.streams, socket));
        }
        Ok(Self {
            clients,
            shared,
            cast,
            door,
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
        let socket = self.sockets.bind(ip, self.cast.members[place].role, place)?;
        self.clients[place] = Client::new(fresh, &self.cast.members[place], &self.cast.streams, socket);
        Ok(fresh)
    }

    /// Asks for a client's way in.
    pub(crate) fn ask(&mut self, id: u32) -> Result<(), String> {
        let place = self.place(id);
        let (client, member) = (&self.clients[place], &self.cast.members[place]);
        self.door.join(Wish {
            client: id,
            role: member.role,
            room: member.room,
            streams: member.streams.iter().map(|id| self.cast.streams[*id as usize]).collect(),
            credentials: client.credentials.clone(),
            fingerprint: self.shared.dtls.fingerprint(),
            local: client.socket.local().map_err(|why| why.to_string())?,
        });
        Ok(())
    }

    /// The server's counters; media goes on meanwhile.
    pub(crate) fn server_counters(&mut self) -> Result<ServerCounters, String> {
        self.counters = None;
        self.door.ask_counters();
        loop {
            self.turn()?;
            if let Some(counters) = self.counters.take() {
                return counters;
            }
        }
    }

    /// Runs until `done` says so.
    ///
    /// # Errors
    /// When `limit` passes, or a client is refused or lost.
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

    /// Runs for a time.
    pub(crate) fn run_for(&mut self, time: Duration) -> Result<(), String> {
        let until = self.now() + time;
        while self.now() < until {
            self.turn()?;
        }
        Ok(())
    }

    /// One round.
    fn turn(&mut self) -> Result<(), String> {
        let now = self.now();
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
        while let Some(told) = self.door.poll() {
            match told {
                Told::Counters(counters) => self.counters = Some(counters),
                Told::Joined(client, Err(why)) => {
                    self.failure = Some(format!("client {client} was refused: {why}"));
                }
                Told::Joined(client, Ok(grant)) => {
                    let Some(newcomer) = occupant(&mut self.clients, client) else { continue };
                    if let Err(why) = newcomer.admit(now, &grant, &mut self.shared) {
                        self.failure = Some(format!("client {client} to {}: {why}", grant.remote));
                    }
                }
            }
        }
    }

    /// Lets everybody say goodbye: at the door first, while the server still knows whom that is about.
    pub(crate) fn close(&mut self) -> Result<(), String> {
        let left = self.door.leave();
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
    fn bind(&self, ip: IpAddr, role: Role, place: usize) -> Result<Socket, String> {
        let socket = Socket::bind(SocketAddr::new(ip, 0), self.stamped && role == Role::Subscriber)
            .map_err(|why| format!("a socket on {ip}: {why}"))?;
        let readable = EpollEvent::new(EpollFlags::EPOLLIN, place as u64);
        self.epoll.add(&socket, readable).map_err(|why| format!("epoll: {why}"))?;
        Ok(socket)
    }
}

pub(crate) fn nth_address(first: IpAddr, n: u32) -> IpAddr {
    match first {
        IpAddr::V4(ip) => IpAddr::V4((ip.to_bits() + n).into()),
        IpAddr::V6(ip) => IpAddr::V6((ip.to_bits() + u128::from(n)).into()),
    }
}
