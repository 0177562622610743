//! Which command goes where, whose answer goes to whom, and who may command at all. Sans-IO: the control thread's sockets
//! are not seen here.
//!
//! Invariants
//! - Every request gets exactly one reply.
//! - The highest epoch named in a `Hello` commands; a lower one is refused from that request on (fencing), and can read.
//!   Epoch 0, as without a `Hello`, only reads.
//! - A subscriber whose up-track lives on another shard is told of only when that shard pipes it. The two are connected
//!   when that is needed first.
//! - Events are numbered here without gaps, and every connection that said `Hello` gets all of them from then on.

use super::counts::Counts;
use super::placement::Placement;
use crate::mailbox::{ControlEnd, FromShard, PipeEnds, ToShard};
use crate::pipe::pipe;
use relay_control::{
    AddDownTrack, CONTROL_VERSION, Command, CommandError, Done, ErrorCode, Event, EventBody, FromRelay,
    Hello, Inventory, Outgoing, Reply, ReplyBody, Request, ShardStats, Stats, Superseded, TransportInfo,
    TransportState, Welcome,
};
use relay_core::pipe::OpenPipe;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

/// A connection, unique as long as the process lives.
pub type ConnectionId = u64;

/// What `Welcome` says about this process.
#[derive(Clone, Debug)]
pub struct Identity {
    /// New at each start.
    pub boot_id: u64,
    /// Of the DTLS certificate.
    pub fingerprint_sha256: [u8; 32],
    /// `uring` or `mmsg`.
    pub io_backend: &'static str,
    /// What a publisher may send if its transport's opening says nothing.
    pub max_receive_bitrate_bps: u64,
}

/// A request under way.
#[derive(Debug)]
struct Pending {
    from: ConnectionId,
    request_id: u64,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// One shard answers.
    Single(Effect),
    /// One shard begins to pipe a track; then the command goes to the subscriber's.
    Pipe { then: Box<Command>, shard: usize, effect: Effect },
    /// All shards answer; `waiting` have not yet.
    Inventory { waiting: usize, transports: Vec<TransportInfo> },
    /// The same.
    Stats { waiting: usize, shards: Vec<ShardStats> },
}

/// What the answer changes in the index.
#[derive(Debug)]
enum Effect {
    Nothing,
    Open { transport_id: u64, room_id: u64, shard: usize },
    Close { transport_id: u64 },
    AddTrack { track_id: u64, transport_id: u64 },
    RemoveTrack { track_id: u64 },
}

/// Where a command goes.
enum Route {
    Shard(usize, Effect),
    /// To the second shard, when the first one pipes the track there.
    Pipe(usize, OpenPipe, usize, Effect),
    Answered(ReplyBody),
}

/// See the module.
#[derive(Debug)]
pub struct Router {
    /// Kept by the router and by the owner of the connections together.
    pub counts: Counts,
    identity: Identity,
    shards: Vec<ControlEnd>,
    /// Pairs of shards with queues between them, the lower number first.
    connected: HashSet<(usize, usize)>,
    placement: Placement,
    /// The highest seen.
    epoch: u64,
    /// Connections that said `Hello`, with their epochs.
    greeted: BTreeMap<ConnectionId, u64>,
    pending: HashMap<u64, Pending>,
    last_ticket: u64,
    next_event_seq: u64,
    outgoing: VecDeque<(ConnectionId, FromRelay)>,
    shutdown: bool,
}

impl Router {
    /// Routes to these shards, in their order. A room has `room_budget` transports on one shard before it uses another.
    #[must_use]
    pub fn new(identity: Identity, shards: Vec<ControlEnd>, room_budget: usize) -> Self {
        Self {
            counts: Counts::default(),
            identity,
            placement: Placement::new(shards.len(), room_budget),
            shards,
            connected: HashSet::new(),
            epoch: 0,
            greeted: BTreeMap::new(),
            pending: HashMap::new(),
            last_ticket: 0,
            next_event_seq: 0,
            outgoing: VecDeque::new(),
            shutdown: false,
        }
    }

    /// Takes one request.
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
            Some(command @ Command::GetInventory(_)) => {
                let kind = Kind::Inventory { waiting: self.shards.len(), transports: Vec::new() };
                self.ask_all(Pending { from, request_id, kind }, &command);
            }
            Some(command @ Command::GetStats(_)) => {
                let kind = Kind::Stats { waiting: self.shards.len(), shards: Vec::new() };
                self.ask_all(Pending { from, request_id, kind }, &command);
            }
            Some(command) => {
                let route = self.fence(from).map_or_else(|| self.route(&command), Route::Answered);
                match route {
                    Route::Answered(body) => self.reply(from, request_id, body),
                    Route::Shard(shard, effect) => {
                        let pending = Pending { from, request_id, kind: Kind::Single(effect) };
                        self.ask(shard, pending, command);
                    }
                    Route::Pipe(publisher, order, shard, effect) => {
                        let kind = Kind::Pipe { then: Box::new(command), shard, effect };
                        self.ask_pipe(publisher, shard, Pending { from, request_id, kind }, order);
                    }
                }
            }
        }
    }

    /// Takes what the shards said meanwhile.
    pub fn handle_shards(&mut self) {
        for shard in 0..self.shards.len() {
            for said in self.shards[shard].receive() {
                match said {
                    FromShard::Reply { ticket, body } => self.handle_reply(ticket, body),
                    FromShard::Event(body) => self.handle_event(body),
                }
            }
        }
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
        if hello.epoch != 0 && hello.epoch < self.epoch {
            return self.stale();
        }
        if hello.epoch > self.epoch {
            // Told before the newcomer is welcome: it hears of its successors only.
            self.greeted.remove(&from);
            if self.epoch != 0 {
                self.handle_event(EventBody::Superseded(Superseded { epoch: hello.epoch }));
            }
            self.epoch = hello.epoch;
            tracing::info!(epoch = hello.epoch, name = %printable(&hello.name), "a controller took over");
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
        })
    }

    /// `Some`: this connection may not command.
    fn fence(&mut self, from: ConnectionId) -> Option<ReplyBody> {
        match self.greeted.get(&from) {
            None => {
                Some(refusal(ErrorCode::HelloFirst, "say Hello with an epoch before you change anything"))
            }
            Some(0) => {
                Some(refusal(ErrorCode::StaleEpoch, "epoch 0 only reads; say Hello with a higher one"))
            }
            Some(epoch) if *epoch < self.epoch => Some(self.stale()),
            Some(_) => None,
        }
    }

    fn stale(&mut self) -> ReplyBody {
        let why = format!("epoch {} commands: a newer controller took over", self.epoch);
        refusal(ErrorCode::StaleEpoch, &why)
    }

    fn route(&mut self, command: &Command) -> Route {
        let placement = &mut self.placement;
        match command {
            Command::OpenTransport(c) => {
                let (transport_id, room_id) = (c.transport_id, c.room_id);
                let shard = placement.open(transport_id, room_id);
                Route::Shard(shard, Effect::Open { transport_id, room_id, shard })
            }
            Command::RestartIce(c) => route_by_transport(placement, c.transport_id),
            Command::SetLabel(c) => route_by_transport(placement, c.transport_id),
            Command::AddUpTrack(c) => route_track(placement, c.track_id, c.transport_id),
            Command::AddDownTrack(c) => route_down_track(placement, c),
            // What is not there is closed, or removed, already.
            Command::CloseTransport(c) => match placement.shard_of_transport(c.transport_id) {
                Some(shard) => Route::Shard(shard, Effect::Close { transport_id: c.transport_id }),
                None => Route::Answered(done()),
            },
            Command::RemoveTrack(c) => match placement.shard_of_track(c.track_id) {
                Some(shard) => Route::Shard(shard, Effect::RemoveTrack { track_id: c.track_id }),
                None => Route::Answered(done()),
            },
            Command::RequestKeyframe(c) => match placement.shard_of_track(c.track_id) {
                Some(shard) => Route::Shard(shard, Effect::Nothing),
                None => Route::Answered(refusal(ErrorCode::UnknownTrack, "no such track")),
            },
            Command::Shutdown(_) => {
                self.shutdown = true;
                Route::Answered(done())
            }
            Command::Hello(_) | Command::GetInventory(_) | Command::GetStats(_) => {
                unreachable!("answered before routing")
            }
        }
    }

    fn ask(&mut self, shard: usize, pending: Pending, command: Command) {
        if !self.shards[shard].has_room() {
            if let Kind::Single(Effect::Open { room_id, shard, .. }) = pending.kind {
                self.placement.not_opened(room_id, shard);
            }
            return self.busy(&pending);
        }
        self.last_ticket += 1;
        self.shards[shard].send(ToShard::Command { ticket: self.last_ticket, command });
        self.pending.insert(self.last_ticket, pending);
    }

    fn ask_pipe(&mut self, publisher: usize, subscriber: usize, pending: Pending, order: OpenPipe) {
        if !self.connect(publisher, subscriber) || !self.shards[publisher].has_room() {
            return self.busy(&pending);
        }
        self.last_ticket += 1;
        self.shards[publisher].send(ToShard::OpenPipe { ticket: self.last_ticket, pipe: order });
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
            let peer = u32::try_from(peer).unwrap_or(u32::MAX);
            let sent = self.shards[shard].send(ToShard::Connect(Box::new(PipeEnds { peer, to, from })));
            debug_assert!(sent, "asked before");
        }
        self.connected.insert(pair)
    }

    fn ask_all(&mut self, pending: Pending, command: &Command) {
        if !self.shards.iter().all(ControlEnd::has_room) {
            return self.busy(&pending);
        }
        self.last_ticket += 1;
        for shard in &mut self.shards {
            shard.send(ToShard::Command { ticket: self.last_ticket, command: command.clone() });
        }
        self.pending.insert(self.last_ticket, pending);
    }

    fn busy(&mut self, pending: &Pending) {
        let body = refusal(ErrorCode::Busy, "too many commands wait for the shard; retry");
        self.reply(pending.from, pending.request_id, body);
    }

    fn handle_reply(&mut self, ticket: u64, body: ReplyBody) {
        let Some(mut pending) = self.pending.remove(&ticket) else {
            return tracing::error!(ticket, "a shard answered what nobody asked");
        };
        let whole = match (&mut pending.kind, body) {
            (Kind::Single(effect), body) => {
                apply(&mut self.placement, effect, &body);
                Some(body)
            }
            (Kind::Pipe { .. }, ReplyBody::Done(_)) => return self.piped(pending),
            (Kind::Pipe { .. }, refusal) => Some(refusal),
            (Kind::Inventory { waiting, transports }, ReplyBody::Inventory(part)) => {
                transports.extend(part.transports);
                *waiting -= 1;
                let boot_id = self.identity.boot_id;
                let transports = (*waiting == 0).then(|| std::mem::take(transports));
                transports.map(|transports| ReplyBody::Inventory(Inventory { boot_id, transports }))
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

    /// The track is piped to the subscriber's shard: on with the command that wanted it there.
    fn piped(&mut self, pending: Pending) {
        let Pending { from, request_id, kind } = pending;
        let Kind::Pipe { then, shard, effect } = kind else { return };
        self.ask(shard, Pending { from, request_id, kind: Kind::Single(effect) }, *then);
    }

    fn whole_stats(&self, shards: &mut Vec<ShardStats>) -> ReplyBody {
        shards.sort_by_key(|part| part.shard);
        let (rooms, transports, tracks) = self.placement.sizes();
        let counts = Counts {
            epoch: self.epoch,
            rooms: rooms as u64,
            transports: transports as u64,
            tracks: tracks as u64,
            ..self.counts
        };
        ReplyBody::Stats(Stats { shards: std::mem::take(shards), process: counts.list() })
    }

    fn handle_event(&mut self, body: EventBody) {
        if let EventBody::TransportState(changed) = &body
            && matches!(changed.state(), TransportState::Failed | TransportState::Closed)
        {
            self.placement.ended(changed.transport_id);
        }
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

fn apply(placement: &mut Placement, effect: &Effect, body: &ReplyBody) {
    let refused = matches!(body, ReplyBody::Error(_));
    match *effect {
        Effect::Open { room_id, shard, .. } if refused => placement.not_opened(room_id, shard),
        Effect::Open { transport_id, room_id, shard } => placement.opened(transport_id, room_id, shard),
        _ if refused => {}
        Effect::Nothing => {}
        Effect::Close { transport_id } => placement.ended(transport_id),
        Effect::AddTrack { track_id, transport_id } => placement.track_added(track_id, transport_id),
        Effect::RemoveTrack { track_id } => placement.track_removed(track_id),
    }
}

fn route_by_transport(placement: &Placement, transport_id: u64) -> Route {
    match placement.shard_of_transport(transport_id) {
        Some(shard) => Route::Shard(shard, Effect::Nothing),
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
    Route::Shard(shard, Effect::AddTrack { track_id, transport_id })
}

/// An up-track on another shard is piped to the subscriber's first. Where it is unknown, the shard says so.
fn route_down_track(placement: &Placement, c: &AddDownTrack) -> Route {
    let route = route_track(placement, c.track_id, c.transport_id);
    let Route::Shard(shard, effect) = route else { return route };
    let publisher = placement.shard_of_track(c.up_track_id).filter(|publisher| *publisher != shard);
    let (Some(publisher), Some(room_id)) = (publisher, placement.room_of_transport(c.transport_id)) else {
        return Route::Shard(shard, effect);
    };
    let to = u32::try_from(shard).unwrap_or(u32::MAX);
    Route::Pipe(publisher, OpenPipe { track_id: c.up_track_id, to, room_id }, shard, effect)
}

fn done() -> ReplyBody {
    ReplyBody::Done(Done {})
}

fn refusal(code: ErrorCode, message: &str) -> ReplyBody {
    ReplyBody::Error(CommandError { code: code.into(), message: message.to_owned() })
}

/// A name as it may stand in a log line: short, and without control characters.
fn printable(name: &str) -> String {
    name.chars().filter(|c| !c.is_control()).take(64).collect()
}

#[cfg(test)]
mod tests;
