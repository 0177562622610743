//! All rooms as one sans-IO state machine.
//!
//! In go client messages, closed connections, HTTP requests, the relay's replies and events, and the time. Out come
//! [`Output`]s: messages to connections, commands to the relay, answers to HTTP requests. The hub opens no socket,
//! reads no clock and makes no random number; the same hub runs in the server and in the tests.
//!
//! Invariants
//! - Messages of one connection are handled in the order of arrival, and what they cause is sent in that order. While
//!   a `join` waits for a stale login to be probed, the connection's later messages wait behind it.
//! - Every `sendData` is answered exactly once; every `publishStream` and `playStream` gets an answer and a status, or
//!   `FAILED`, in finite time.
//! - A login is free before its `leave` is ACCEPTED.
//! - What a connection asks concerns only rooms that it is a member of and streams of its own; all else is refused
//!   with words that do not tell whether the thing exists.
//! - A stream's transport is closed in the relay when the stream ends, whoever ended it.
//!
//! What is known stands in three tables with methods of their own: `Rooms`, `Streams` and `Relays`. The rest of the files
//! is what joins them.
//!
//! | file | idea |
//! |---|---|
//! | `session.rs` | a connection: opening, keep-alive, order of messages, end |
//! | `members.rs` | join, leave, chat, stale logins, resumed members |
//! | `rooms.rs` | all rooms |
//! | `streams.rs` | all streams |
//! | `relays.rs` | what is known of the relay, and what it was asked |
//! | `offers.rs` | publish and play, up to the relay being asked |
//! | `codecs.rs` | which codec a publisher is answered with |
//! | `stops.rs` | the end of a stream, mute, and what others hear of both |
//! | `unproved.rs` | how many streams may be waiting for keys |
//! | `progress.rs` | the relay's replies and events, and what follows from [`crate::life`] |
//! | `label.rs` | labels on transports |
//! | `adopt.rs` | rooms rebuilt from them |
//! | `door.rs`, `http.rs` | WHIP and WHEP |

mod adopt;
mod codecs;
mod door;
mod http;
mod label;
mod members;
mod offers;
mod progress;
mod relays;
mod rooms;
mod session;
mod stops;
mod streams;
mod unproved;

pub use http::{HttpReply, HttpRequest, Patch};
pub use members::{MEDIA_PROBE_LIMIT, PROBE_LIMIT, SILENCE_LIMIT};
pub use progress::RELAY_LOST_LIMIT;
pub use session::{BACKLOG_MAX, CloseCode, HELLO_LIMIT};

use crate::config::{AuthMode, Config};
use crate::id::{ConnectionId, MemberId, RoomId, StreamKey, Ticket};
use crate::life::Happening;
use crate::message::{RoomEvent, ServerMessage};
use crate::refusal::Refusal;
use crate::room::Terms;
use crate::timer::{Time, Timer, Timers};
use relay_control::Command;
use relays::Relays;
use rooms::Rooms;
use serde_json::{Map, Value};
use session::Connection;
use std::borrow::Cow;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use streams::Streams;

/// What the hub wants done, in this order.
#[derive(Debug)]
pub enum Output {
    /// Text for a client.
    Send {
        /// To whom.
        to: ConnectionId,
        /// One message.
        text: String,
    },
    /// Ends a connection, after what was sent before.
    Close {
        /// Which; the hub has forgotten it already.
        to: ConnectionId,
        /// Why; names the WebSocket close code.
        code: CloseCode,
        /// In words.
        reason: Cow<'static, str>,
    },
    /// For the operator's access hook, if there is one; nothing waits for it.
    Note {
        /// Whose doing it was.
        about: Option<ConnectionId>,
        /// Last part of the hook's address.
        method: &'static str,
        /// What happened.
        object: Map<String, Value>,
    },
    /// A command for the relay.
    Relay {
        /// Comes back in the reply.
        request_id: u64,
        /// What is asked.
        command: Command,
    },
    /// The answer to an HTTP request.
    Http {
        /// Which.
        ticket: Ticket,
        /// The answer.
        reply: HttpReply,
    },
}

/// Where random numbers come from.
pub type Random = Box<dyn FnMut() -> u64 + Send>;

/// All connections, rooms and streams.
pub struct Hub {
    config: Arc<Config>,
    random: Random,
    connections: HashMap<ConnectionId, Connection>,
    /// Connections that read too slowly for more than what they must hear.
    slow: HashSet<ConnectionId>,
    /// Whose silence is probed → who waits for it.
    probes: HashMap<ConnectionId, Vec<ConnectionId>>,
    rooms: Rooms,
    streams: Streams,
    relays: Relays,
    timers: Timers,
    outputs: VecDeque<Output>,
    last_number: u64,
}

/// What a request to the relay was for.
#[derive(Clone, Copy, Debug)]
enum Purpose {
    Open(StreamKey),
    UpTrack(StreamKey),
    /// Index in the plan.
    DownTrack(StreamKey, usize),
    RestartIce(StreamKey, Ticket),
    /// Nobody waits for the reply.
    Nothing,
}

impl Hub {
    /// No rooms, no connections.
    pub fn new(config: Arc<Config>, random: Random) -> Self {
        Self {
            config,
            random,
            connections: HashMap::new(),
            slow: HashSet::new(),
            probes: HashMap::new(),
            rooms: Rooms::default(),
            streams: Streams::default(),
            relays: Relays::default(),
            timers: Timers::default(),
            outputs: VecDeque::new(),
            last_number: 0,
        }
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to call [`handle_timeout`](Self::handle_timeout) at the latest.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.timers.next()
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Time) {
        while let Some(timer) = self.timers.pop_due(now) {
            match timer {
                Timer::Hello(connection) => self.drop_connection(now, connection, CloseCode::NoHello, true),
                Timer::KeepAlive(connection) => self.keep_alive(now, connection),
                Timer::Probe(newcomer) => self.probe_due(now, newcomer),
                Timer::Stream(key) => self.happened(now, key, Happening::TimeOut),
                Timer::Detached(room, member) => self.member_vanished(now, room, member),
                Timer::RoomIdle(room) => self.end_room_if_empty(room),
                Timer::RelayLost => self.relay_gone(now),
            }
        }
    }

    /// Whether the relay is there, for health checks.
    pub fn relay_is_up(&self) -> bool {
        self.relays.is_up()
    }

    /// Numbers for health checks and logs: connections, rooms, members, streams.
    pub fn census(&self) -> [usize; 4] {
        [self.connections.len(), self.rooms.len(), self.rooms.members().count(), self.streams.len()]
    }

    /// Sizes of all tables, for tests that show that nothing is left behind.
    pub fn ledger(&self) -> [(&'static str, usize); 15] {
        let connections =
            |count: fn(&Connection) -> usize| -> usize { self.connections.values().map(count).sum() };
        let [rooms, members, streams_of_members, viewers] = self.rooms.ledger();
        let [streams, tracks, unproved] = self.streams.ledger();
        [
            ("connections", self.connections.len()),
            ("sessions", connections(|c| usize::from(c.session.is_some()))),
            ("rooms of sessions", connections(|c| c.session.as_ref().map_or(0, |s| s.rooms.len()))),
            ("backlog", connections(|c| c.backlog.len() + usize::from(c.waiting.is_some()))),
            ("unheard", connections(|c| c.unheard.len())),
            ("probes", self.probes.len()),
            rooms,
            members,
            streams_of_members,
            viewers,
            streams,
            tracks,
            unproved,
            ("requests", self.relays.unanswered()),
            ("timers", self.timers.len()),
        ]
    }

    /// Says goodbye to every connection; nothing is closed in the relay.
    pub fn handle_shutdown(&mut self) {
        for (to, _) in self.connections.drain() {
            let (code, reason) = (CloseCode::GoingAway, CloseCode::GoingAway.frame().1.into());
            self.outputs.push_back(Output::Close { to, code, reason });
        }
    }

    fn number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    /// A random id that is not 0 and fits a signed 64-bit integer: some readers of JSON have no more.
    fn random_id(&mut self) -> u64 {
        ((self.random)() >> 1).max(1)
    }

    /// 192 random bits as text.
    fn secret(&mut self) -> String {
        let [a, b, c] = [(self.random)(), (self.random)(), (self.random)()];
        format!("{a:016x}{b:016x}{c:016x}")
    }

    fn send(&mut self, to: ConnectionId, message: &ServerMessage<'_>) {
        self.outputs.push_back(Output::Send { to, text: message.to_text() });
    }

    /// Tells the operator's hook, if there is one; only then is `object` made.
    fn note(&mut self, about: Option<ConnectionId>, method: &'static str, object: impl FnOnce() -> Value) {
        if self.config.auth.mode == AuthMode::Hook
            && let Value::Object(object) = object()
        {
            self.outputs.push_back(Output::Note { about, method, object });
        }
    }

    /// The same event to several members; written once, as all get the same text.
    fn tell(&mut self, to: &[ConnectionId], room: &str, event: RoomEvent<'_>) {
        let operation_id = format!("event-{}", self.number());
        let text = ServerMessage::Room { room, event, operation_id }.to_text();
        let sends = to.iter().map(|to| Output::Send { to: *to, text: text.clone() });
        self.outputs.extend(sends);
    }

    /// Everybody in the room but one member hears of a room event; `event` makes it.
    fn tell_others(&mut self, room: RoomId, except: MemberId, event: RoomEvent<'_>) {
        let Some((name, to)) =
            self.rooms.get(room).map(|room| (room.name.clone(), room.connections_except(except)))
        else {
            return;
        };
        if !to.is_empty() {
            self.tell(&to, &name, event);
        }
    }

    fn ask_relay(&mut self, purpose: Purpose, command: Command) {
        let asked = self.relays.ask(purpose, command);
        self.outputs.push_back(asked);
    }

    /// A room by name, made if it is not there yet.
    fn room_or_new(&mut self, name: &str, wished: &Terms) -> Result<RoomId, Refusal> {
        if let Some(id) = self.rooms.named(name) {
            return Ok(id);
        }
        if self.rooms.len() >= self.config.rooms.max_rooms {
            return Err(Refusal::TooManyRooms);
        }
        let terms = Terms { codecs: self.room_codecs(wished.codecs.as_ref())?, ..wished.clone() };
        let id = RoomId(self.random_id());
        self.rooms.insert(id, name, terms);
        Ok(id)
    }

    fn end_room_if_empty(&mut self, id: RoomId) {
        if self.rooms.remove_if_empty(id) {
            self.timers.clear(Timer::RoomIdle(id));
        }
    }
}
