//! Routes commands to shards and replies to connections, and decides which connection may command. Sans-IO:
//! the control thread's sockets are not seen here.
//!
//! Invariants
//! - Every request gets exactly one reply.
//! - Commands that concern one transport, or a track of it, are obeyed in the order in which they came, be
//!   the earlier ones answered or not: they go through one mailbox, and those behind a subscription that
//!   waits for its pipe wait with it.
//! - The highest epoch named in a `Hello` commands, under the instance that named it first; a lower one is
//!   refused from that request on (fencing), and may only read. Epoch 0, as without a `Hello`, reads, and
//!   orders local ports, which are no controller's alone.
//! - A subscription to an up-track on another shard goes to the subscriber's shard only when the publisher's
//!   shard pipes the track. Two shards are connected when this is first needed.
//! - Events are numbered here without gaps, and every connection that said `Hello` gets all of them from then
//!   on.

mod change;
mod ports;
mod reading;

use super::counts::Counts;
use super::placement::{Placement, Ticket};
use super::ports::Ports;
use crate::mailbox::{ControlEnd, FromShard, PipeEnds, ToShard};
use crate::pipe::pipe;
use change::{Change, answered, given};
use relay_control::{
    AddDownTrack, CONTROL_VERSION, Command, CommandError, Done, ErrorCode, Event, EventBody, FromRelay,
    Hello, Inventory, OpenTransport, Outgoing, PortInfo, Reply, ReplyBody, Request, ShardStats, Superseded,
    TransportInfo, TransportState, Welcome,
};
use relay_core::port::OpenPort;
use relay_port::PortId;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::net::{IpAddr, SocketAddr};

/// A connection, unique as long as the process lives.
pub type ConnectionId = u64;

/// Commands that wait behind pipes, of all connections together. As many as all of them may have under way,
/// so only what connections that are gone have left behind can use it up.
const BEHIND_PIPES_MAX: usize = 4096;

/// What `Welcome` tells a controller about this process.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Random, new at each start.
    pub boot_id: u64,
    pub fingerprint_sha256: [u8; 32],
    /// `uring` or `mmsg`.
    pub io_backend: &'static str,
    /// What a publisher may send if its transport's opening says nothing.
    pub max_receive_bitrate_bps: u64,
    pub started_by_signaling: bool,
}

#[derive(Debug)]
struct Pending {
    from: ConnectionId,
    request_id: u64,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// One shard answers.
    Single(Change),
    /// One shard opens a transport, or says that it is full: then another one that has not been tried.
    Open { command: Box<OpenTransport>, tried: Vec<usize> },
    /// One shard begins to pipe a track; then the command goes to the subscriber's.
    Pipe { then: Box<Command>, shard: usize, change: Change, transport_id: u64 },
    /// Several shards answer; `waiting` have not yet. The page behind this one begins at `next`.
    Inventory { waiting: usize, transports: Vec<TransportInfo>, next: Ticket, ports: Vec<PortInfo> },
    /// A shard begins to send a track to a process.
    Tap { number: u32, track_id: u64, since: Ticket },
    /// A process begins to send a track.
    Source { track_id: u64 },
    /// All shards answer with their counters; `waiting` have not yet.
    Stats { waiting: usize, shards: Vec<ShardStats> },
}

/// A command that waits until those before it went to its shard.
#[derive(Debug)]
struct Waiting {
    from: ConnectionId,
    request_id: u64,
    command: Command,
}

/// Where a command goes.
enum Route {
    Shard(usize, Change),
    /// To the second shard, when the first one pipes the track there.
    Pipe(usize, OpenPort, usize, Change),
    Answered(ReplyBody),
}

#[derive(Debug)]
pub struct Router {
    /// Counted by the router and by the owner of the connections.
    pub counts: Counts,
    identity: Identity,
    shards: Vec<ControlEnd>,
    /// Pairs of shards with queues between them, the lower number first.
    connected: HashSet<(usize, usize)>,
    placement: Placement,
    ports: Ports,
    /// The highest epoch that a `Hello` has named.
    epoch: u64,
    /// The instance of the controller that named it first.
    instance: u64,
    /// Connections that said `Hello`, with their epochs.
    greeted: BTreeMap<ConnectionId, u64>,
    pending: HashMap<Ticket, Pending>,
    /// For each transport with a subscription that waits for its pipe, what came behind it.
    behind_pipes: HashMap<u64, VecDeque<Waiting>>,
    last_ticket: Ticket,
    next_event_seq: u64,
    outgoing: VecDeque<(ConnectionId, FromRelay)>,
    shutdown: bool,
}

impl Router {
    /// Routes to these shards, in their order. A room has `room_budget` transports on one shard before it
    /// uses another.
    #[must_use]
    pub fn new(identity: Identity, shards: Vec<ControlEnd>, room_budget: usize) -> Self {
        Self {
            counts: Counts::default(),
            identity,
            placement: Placement::new(shards.len(), room_budget),
            shards,
            connected: HashSet::new(),
            ports: Ports::default(),
            epoch: 0,
            instance: 0,
            greeted: BTreeMap::new(),
            pending: HashMap::new(),
            behind_pipes: HashMap::new(),
            last_ticket: 0,
            next_event_seq: 0,
            outgoing: VecDeque::new(),
            shutdown: false,
        }
    }

    pub fn handle_request(&mut self, from: ConnectionId, request: Request) {
        self.counts.requests += 1;
        let Request { request_id, command } = request;
        match command {
            None => {
                let why = "no command, or one that this relay does not know";
                self.reply(from, request_id, refusal(ErrorCode::BadRequest, why));
            }
            Some(Command::Hello(hello)) => {
                let body = self.greet(from, &hello);
                self.reply(from, request_id, body);
            }
            Some(Command::GetInventory(c)) => self.ask_page(from, request_id, c.after),
            Some(command @ Command::GetStats(_)) => {
                let kind = Kind::Stats { waiting: self.shards.len(), shards: Vec::new() };
                self.ask_all(Pending { from, request_id, kind }, &command);
            }
            Some(command) if command.is_of_ports() => self.order_port(from, request_id, command),
            Some(command) => match self.fence(from) {
                Some(refused) => self.reply(from, request_id, refused),
                None => self.obey(Waiting { from, request_id, command }),
            },
        }
    }

    /// Handles the replies and events that the shards have sent.
    pub fn handle_shards(&mut self) {
        for shard in 0..self.shards.len() {
            for said in self.shards[shard].receive() {
                match said {
                    FromShard::Reply { ticket, body } => self.handle_reply(ticket, body),
                    FromShard::Event(body) => {
                        self.note_end(shard, &body);
                        self.handle_event(body);
                    }
                }
            }
        }
        self.handle_ports();
    }

    /// Orders all shards to announce these addresses, at ports from `base_port` on. False: one has no room
    /// for the order now.
    pub fn announce(&mut self, addresses: &[IpAddr], base_port: u16) -> bool {
        let mut all = true;
        for (shard, port) in self.shards.iter_mut().zip(base_port..) {
            let candidates = addresses.iter().map(|ip| SocketAddr::new(*ip, port)).collect();
            all &= shard.send(ToShard::Announce(candidates));
        }
        all
    }

    /// A connection is gone; its requests are carried out, their replies go nowhere.
    pub fn handle_closed(&mut self, connection: ConnectionId) {
        self.greeted.remove(&connection);
    }

    /// The next message to write, and to whom.
    pub fn poll_outgoing(&mut self) -> Option<(ConnectionId, FromRelay)> {
        self.outgoing.pop_front()
    }

    /// Whether a controller asked the process to end.
    #[must_use]
    pub fn shutdown_asked(&self) -> bool {
        self.shutdown
    }

    /// Whether this connection said `Hello`.
    #[must_use]
    pub fn has_greeted(&self, connection: ConnectionId) -> bool {
        self.greeted.contains_key(&connection)
    }

    fn greet(&mut self, from: ConnectionId, hello: &Hello) -> ReplyBody {
        if hello.version != CONTROL_VERSION {
            let why = format!("control version {CONTROL_VERSION} is spoken here, not {}", hello.version);
            return refusal(ErrorCode::BadRequest, &why);
        }
        let other = hello.epoch == self.epoch && hello.instance != self.instance;
        if hello.epoch != 0 && (hello.epoch < self.epoch || other) {
            return self.stale();
        }
        if hello.epoch > self.epoch {
            // Sent before the new controller is welcomed: it is only told of its own successors.
            self.greeted.remove(&from);
            if self.epoch != 0 {
                self.handle_event(EventBody::Superseded(Superseded { epoch: hello.epoch }));
            }
            let is_second = self.greeted.values().any(|epoch| *epoch == self.epoch && *epoch != 0);
            (self.epoch, self.instance) = (hello.epoch, hello.instance);
            log_command(hello, is_second);
        }
        self.greeted.insert(from, hello.epoch);
        ReplyBody::Welcome(Welcome {
            version: CONTROL_VERSION,
            boot_id: self.identity.boot_id,
            fingerprint_sha256: self.identity.fingerprint_sha256.to_vec(),
            shards: u32::try_from(self.shards.len()).unwrap_or(u32::MAX),
            io_backend: self.identity.io_backend.to_owned(),
            next_event_seq: self.next_event_seq,
            epoch: self.epoch,
            max_receive_bitrate_bps: self.identity.max_receive_bitrate_bps,
            started_by_signaling: self.identity.started_by_signaling,
        })
    }

    /// The refusal for a connection that may not command; `None` if it may.
    fn fence(&mut self, from: ConnectionId) -> Option<ReplyBody> {
        match self.greeted.get(&from) {
            None => {
                Some(refusal(ErrorCode::HelloFirst, "say Hello with an epoch before you change anything"))
            }
            Some(0) => {
                let message = "epoch 0 only reads; say Hello with a higher one".to_owned();
                let code = ErrorCode::StaleEpoch.into();
                Some(ReplyBody::Error(CommandError { code, message, highest_epoch: self.epoch }))
            }
            Some(epoch) if *epoch < self.epoch => Some(self.stale()),
            Some(_) => None,
        }
    }

    fn stale(&mut self) -> ReplyBody {
        let message = format!("epoch {} commands: another controller took over", self.epoch);
        let code = ErrorCode::StaleEpoch.into();
        ReplyBody::Error(CommandError { code, message, highest_epoch: self.epoch })
    }

    /// Sends a command on its way, or lets it wait behind an earlier one for the same transport.
    fn obey(&mut self, waiting: Waiting) {
        let about = self.transport_of(&waiting.command);
        if let Some(transport_id) = about.filter(|id| self.behind_pipes.contains_key(id)) {
            return self.wait_behind_pipe(transport_id, waiting);
        }
        let Waiting { from, request_id, command } = waiting;
        match self.route(&command) {
            Route::Answered(body) => self.reply(from, request_id, body),
            Route::Shard(shard, change) => self.ask(shard, (from, request_id), change, command),
            Route::Pipe(publisher, order, shard, change) => {
                let transport_id = about.unwrap_or_default();
                let kind = Kind::Pipe { then: Box::new(command), shard, change, transport_id };
                self.ask_pipe(publisher, shard, Pending { from, request_id, kind }, order);
            }
        }
    }

    fn wait_behind_pipe(&mut self, transport_id: u64, waiting: Waiting) {
        if self.behind_pipes.values().map(VecDeque::len).sum::<usize>() >= BEHIND_PIPES_MAX {
            return self.busy(waiting.from, waiting.request_id);
        }
        self.behind_pipes.entry(transport_id).or_default().push_back(waiting);
    }

    /// The transport whose commands this one must not overtake. `None`: no known one.
    fn transport_of(&self, command: &Command) -> Option<u64> {
        match command {
            Command::RemoveTrack(c) => self.transport_of_track(c.track_id),
            Command::RequestKeyframe(c) => self.transport_of_track(c.track_id),
            other => other.transport_id(),
        }
    }

    /// The index has tracks that a shard was ordered to add; others wait behind a pipe.
    fn transport_of_track(&self, track_id: u64) -> Option<u64> {
        let adds = |command: &Command| match command {
            Command::AddUpTrack(c) => c.track_id == track_id,
            Command::AddDownTrack(c) => c.track_id == track_id,
            _ => false,
        };
        let piped = |pending: &Pending| match &pending.kind {
            Kind::Pipe { then, transport_id, .. } => adds(then).then_some(*transport_id),
            _ => None,
        };
        self.placement.transport_of_track(track_id).or_else(|| {
            if self.behind_pipes.is_empty() {
                return None;
            }
            let behind = |queue: &VecDeque<Waiting>| queue.iter().any(|waiting| adds(&waiting.command));
            let waits = self.behind_pipes.iter().find(|(_, queue)| behind(queue)).map(|(id, _)| *id);
            waits.or_else(|| self.pending.values().find_map(piped))
        })
    }

    fn route(&mut self, command: &Command) -> Route {
        let placement = &self.placement;
        match command {
            Command::OpenTransport(c) => {
                let (transport_id, room_id) = (c.transport_id, c.room_id);
                Route::Shard(placement.choose(transport_id, room_id), Change::Open { transport_id, room_id })
            }
            Command::RestartIce(c) => route_by_transport(placement, c.transport_id),
            Command::SetLabel(c) => route_by_transport(placement, c.transport_id),
            Command::ProbeTransport(c) => route_by_transport(placement, c.transport_id),
            Command::AddUpTrack(c) => match self.ports.source(c.track_id) {
                Some(_) => Route::Answered(refusal(ErrorCode::IdInUse, "a local port's track has this id")),
                None => route_track(placement, c.track_id, c.transport_id),
            },
            Command::AddDownTrack(c) => route_down_track(placement, c, self.home_of(c.up_track_id)),
            // An unknown one has been closed or removed already.
            Command::CloseTransport(c) => match placement.shard_of_transport(c.transport_id) {
                Some(shard) => Route::Shard(shard, Change::Close { transport_id: c.transport_id }),
                None => Route::Answered(done()),
            },
            Command::RemoveTrack(c) => match placement.shard_of_track(c.track_id) {
                Some(shard) => Route::Shard(shard, Change::RemoveTrack { track_id: c.track_id }),
                None => Route::Answered(done()),
            },
            Command::RequestKeyframe(c) => match self.home_of(c.track_id) {
                Some(shard) => Route::Shard(shard, Change::Nothing),
                None => Route::Answered(refusal(ErrorCode::UnknownTrack, "no such track")),
            },
            Command::Shutdown(_) => {
                self.shutdown = true;
                Route::Answered(done())
            }
            Command::Hello(_)
            | Command::GetInventory(_)
            | Command::GetStats(_)
            | Command::AddTap(_)
            | Command::RemoveTap(_)
            | Command::AddSource(_)
            | Command::RemoveSource(_) => unreachable!("answered before routing"),
        }
    }

    fn ask(&mut self, shard: usize, asked: (ConnectionId, u64), change: Change, command: Command) {
        let (from, request_id) = asked;
        if !self.shards[shard].has_room() {
            return self.busy(from, request_id);
        }
        let kind = match &command {
            Command::OpenTransport(c) => Kind::Open { command: Box::new(c.clone()), tried: vec![shard] },
            _ => Kind::Single(change),
        };
        self.order(shard, Pending { from, request_id, kind }, change, command);
    }

    /// Puts an order into a mailbox, which has room.
    fn order(&mut self, shard: usize, pending: Pending, change: Change, command: Command) {
        self.last_ticket += 1;
        self.shards[shard].send(ToShard::Command { ticket: self.last_ticket, command });
        given(&mut self.placement, change, shard, self.last_ticket);
        self.pending.insert(self.last_ticket, pending);
    }

    /// A shard opened a transport or did not. If it is full, another shard is tried.
    fn handle_opened(&mut self, ticket: Ticket, pending: Pending, body: ReplyBody) {
        let Pending { from, request_id, kind: Kind::Open { command, mut tried } } = pending else { return };
        let change = Change::Open { transport_id: command.transport_id, room_id: command.room_id };
        let nowhere = answered(&mut self.placement, change, ticket, &body);
        let full = matches!(&body, ReplyBody::Error(error) if error.code() == ErrorCode::LimitReached);
        let other = self.placement.choose_other(command.room_id, &tried);
        match other.filter(|shard| full && nowhere && self.shards[*shard].has_room()) {
            Some(shard) => {
                tried.push(shard);
                let again = Command::OpenTransport((*command).clone());
                let kind = Kind::Open { command, tried };
                self.order(shard, Pending { from, request_id, kind }, change, again);
            }
            None => self.reply(from, request_id, body),
        }
    }

    /// From here until it is answered, everything for the subscriber's transport waits.
    fn ask_pipe(&mut self, publisher: usize, subscriber: usize, pending: Pending, order: OpenPort) {
        let Kind::Pipe { transport_id, .. } = &pending.kind else { return };
        if !self.connect(publisher, subscriber) || !self.shards[publisher].has_room() {
            return self.busy(pending.from, pending.request_id);
        }
        self.behind_pipes.insert(*transport_id, VecDeque::new());
        self.last_ticket += 1;
        self.shards[publisher].send(ToShard::OpenPort { ticket: self.last_ticket, order });
        self.pending.insert(self.last_ticket, pending);
    }

    /// Makes the queues between two shards, unless they are there. False: a mailbox is full.
    fn connect(&mut self, one: usize, other: usize) -> bool {
        let pair = (one.min(other), one.max(other));
        if self.connected.contains(&pair) {
            return true;
        }
        if !self.shards[one].has_room() || !self.shards[other].has_room() {
            return false;
        }
        let (to_other, from_one) = pipe(self.shards[other].waker());
        let (to_one, from_other) = pipe(self.shards[one].waker());
        let ends = [(one, other, to_other, from_other), (other, one, to_one, from_one)];
        for (shard, peer, to, from) in ends {
            let ends = PipeEnds { port: shard_port(peer), to, from };
            let sent = self.shards[shard].send(ToShard::Connect(Box::new(ends)));
            debug_assert!(sent, "asked before");
        }
        self.connected.insert(pair)
    }

    fn busy(&mut self, from: ConnectionId, request_id: u64) {
        self.reply(from, request_id, refusal(ErrorCode::Busy, "too many commands wait for the shard; retry"));
    }

    fn handle_reply(&mut self, ticket: u64, body: ReplyBody) {
        let Some(mut pending) = self.pending.remove(&ticket) else {
            return tracing::error!(ticket, "a shard answered what nobody asked");
        };
        let whole = match (&mut pending.kind, body) {
            (Kind::Single(change), body) => {
                answered(&mut self.placement, *change, ticket, &body);
                Some(body)
            }
            (Kind::Open { .. }, body) => return self.handle_opened(ticket, pending, body),
            (&mut Kind::Tap { number, track_id, since }, body) => {
                self.tap_answered((number, track_id, since), &body);
                Some(body)
            }
            (Kind::Pipe { .. }, body) => return self.piped(pending, body),
            (Kind::Inventory { waiting, transports, next, ports }, ReplyBody::Inventory(part)) => {
                transports.extend(part.transports);
                *waiting -= 1;
                let (boot_id, next) = (self.identity.boot_id, *next);
                (*waiting == 0).then(|| {
                    let (transports, ports) = (std::mem::take(transports), std::mem::take(ports));
                    ReplyBody::Inventory(Inventory { boot_id, transports, next, ports })
                })
            }
            (Kind::Stats { waiting, shards }, ReplyBody::Stats(part)) => {
                shards.extend(part.shards);
                *waiting -= 1;
                (*waiting == 0).then(|| self.whole_stats(shards))
            }
            (_, unexpected) => Some(unexpected),
        };
        match whole {
            Some(body) => self.reply(pending.from, pending.request_id, body),
            None => drop(self.pending.insert(ticket, pending)),
        }
    }

    /// The publisher's shard has answered whether it pipes the track: continues with the subscription, and
    /// with the commands that wait behind it. If one of those needs a pipe itself, the rest waits again.
    fn piped(&mut self, pending: Pending, body: ReplyBody) {
        let Pending { from, request_id, kind } = pending;
        let Kind::Pipe { then, shard, change, transport_id } = kind else { return };
        match body {
            ReplyBody::Done(_) => self.ask(shard, (from, request_id), change, *then),
            refusal => self.reply(from, request_id, refusal),
        }
        let behind = self.behind_pipes.remove(&transport_id).unwrap_or_default();
        behind.into_iter().for_each(|waiting| self.obey(waiting));
    }

    fn note_end(&mut self, shard: usize, body: &EventBody) {
        if let EventBody::TransportState(changed) = body
            && matches!(changed.state(), TransportState::Failed | TransportState::Closed)
        {
            self.placement.ended(changed.transport_id, shard);
        }
    }

    fn handle_event(&mut self, body: EventBody) {
        self.counts.events += 1;
        let event = Event { seq: self.next_event_seq, body: Some(body) };
        self.next_event_seq += 1;
        for connection in self.greeted.keys() {
            let message = FromRelay { outgoing: Some(Outgoing::Event(event.clone())) };
            self.outgoing.push_back((*connection, message));
        }
    }

    fn reply(&mut self, to: ConnectionId, request_id: u64, body: ReplyBody) {
        if let ReplyBody::Error(error) = &body {
            self.counts.errors += 1;
            self.counts.stale_epoch += u64::from(error.code() == ErrorCode::StaleEpoch);
            self.counts.busy += u64::from(error.code() == ErrorCode::Busy);
        }
        let reply = Reply { request_id, body: Some(body) };
        self.outgoing.push_back((to, FromRelay { outgoing: Some(Outgoing::Reply(reply)) }));
    }
}

fn route_by_transport(placement: &Placement, transport_id: u64) -> Route {
    match placement.shard_of_transport(transport_id) {
        Some(shard) => Route::Shard(shard, Change::Nothing),
        None => Route::Answered(refusal(ErrorCode::UnknownTransport, "no such transport")),
    }
}

/// A shard sees its own tracks; that an id is taken on another one can only be seen here.
fn route_track(placement: &Placement, track_id: u64, transport_id: u64) -> Route {
    let Some(shard) = placement.shard_of_transport(transport_id) else {
        return Route::Answered(refusal(ErrorCode::UnknownTransport, "no such transport"));
    };
    if placement.shard_of_track(track_id).is_some_and(|other| other != shard) {
        return Route::Answered(refusal(ErrorCode::IdInUse, "a track on another shard has this id"));
    }
    Route::Shard(shard, Change::AddTrack { track_id, transport_id })
}

/// An up-track on another shard is piped to the subscriber's first. Where it is unknown, the shard says so.
fn route_down_track(placement: &Placement, c: &AddDownTrack, home: Option<usize>) -> Route {
    let route = route_track(placement, c.track_id, c.transport_id);
    let Route::Shard(shard, change) = route else { return route };
    let publisher = home.filter(|publisher| *publisher != shard);
    let (Some(publisher), Some(room_id)) = (publisher, placement.room_of_transport(c.transport_id)) else {
        return Route::Shard(shard, change);
    };
    let order = OpenPort { track_id: c.up_track_id, to: shard_port(shard), room_id: Some(room_id) };
    Route::Pipe(publisher, order, shard, change)
}

/// The port by which other shards know this one.
fn shard_port(shard: usize) -> PortId {
    PortId::shard(u32::try_from(shard).unwrap_or(u32::MAX))
}

fn done() -> ReplyBody {
    ReplyBody::Done(Done {})
}

fn refusal(code: ErrorCode, message: &str) -> ReplyBody {
    ReplyBody::Error(CommandError { code: code.into(), message: message.to_owned(), highest_epoch: 0 })
}

/// `is_second`: the controller that commanded until now is still connected.
fn log_command(hello: &Hello, is_second: bool) {
    let (epoch, name) = (hello.epoch, printable(&hello.name));
    if is_second {
        tracing::warn!(
            epoch,
            %name,
            "a second controller commands this relay now; the one before was told so, and a signaling ends \
             then. If both are meant to run, give each a relay of its own (relay.control_socket)"
        );
    } else {
        tracing::info!(epoch, %name, "a controller took over");
    }
}

/// A name as it may stand in a log line: short, and without control characters.
fn printable(name: &str) -> String {
    name.chars().filter(|c| !c.is_control()).take(64).collect()
}

#[cfg(test)]
mod tests;
