//! What every step of the hub needs besides tables: settings, the time, random numbers, timers, and a queue
//! for what is to be done.

use super::http::HttpReply;
use super::relays::Purpose;
use crate::config::{AuthMode, Config};
use crate::id::{ConnectionId, Held, HttpRequestId, RelayId, RoomId, StreamKey};
use crate::log_limit::LogLimit;
use crate::message::{RoomEvent, ServerMessage};
use crate::refusal::Refusal;
use crate::stream::MediaState;
use crate::timer::{Time, Timers};
use recorder_control::Order;
use relay_control::Command;
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

/// What the hub wants done, in this order.
#[derive(Debug)]
pub enum Output {
    /// Text for a client.
    Send { to: ConnectionId, text: String },
    /// The same of what is in a room, which is as long as the room is large.
    SendState { to: ConnectionId, text: String },
    /// A ping of the WebSocket: the browser answers it, whatever the page does. The hub is told when
    /// it has left.
    Ping { to: ConnectionId },
    /// Ends a connection, after what was sent before.
    Close {
        /// Which; the hub has forgotten it already.
        to: ConnectionId,
        /// Why; names the WebSocket close code.
        code: CloseCode,
        reason: Cow<'static, str>,
    },
    /// For the operator's access hook, if there is one; nothing waits for it.
    Note {
        /// The connection that caused it.
        about: Option<ConnectionId>,
        /// Last part of the hook's address.
        method: &'static str,
        object: Map<String, Value>,
    },
    /// A command for a relay.
    Relay {
        relay: RelayId,
        /// Comes back in the reply.
        request_id: u64,
        command: Command,
    },
    /// An order for the recorder. One that does not reach it is given again when the recorder tells of what it
    /// is about.
    Recorder(Order),
    /// The hub is to hear of all recordings that the recorder has told of, as before it heard of them too
    /// early: it did not know yet what an earlier signaling wanted recorded.
    TellRecordings,
    /// How the media of a session over HTTP is; `None`: it has ended.
    Media { stream: StreamKey, state: Option<MediaState> },
    /// The answer to an HTTP request.
    Http { http_request: HttpRequestId, reply: HttpReply },
}

/// Why the server closes a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseCode {
    /// The server stops, or the connection is dead.
    GoingAway,
    /// Signaling stops and the calls go on: another one will have them.
    Restarting,
    /// No `connection` in time.
    NoHello,
    /// Too many messages wait.
    Backlog,
    /// The session was refused; `fail` said why.
    Refused,
    /// Another session took the login over.
    Replaced,
}

impl CloseCode {
    /// RFC 6455 §7.4 code and reason.
    pub fn frame(self) -> (u16, &'static str) {
        match self {
            Self::GoingAway => (1001, "Going away"),
            Self::Restarting => (1012, "Service restart"),
            Self::Backlog => (1008, "Too many messages wait"),
            Self::Refused => (4401, "Session refused"),
            Self::NoHello => (4408, "No connection message"),
            Self::Replaced => (4409, "Replaced by another session with the same login"),
        }
    }
}

/// Where random numbers come from.
pub type Random = Box<dyn FnMut() -> u64 + Send>;

/// An output as it waits. Requests get their number when they leave.
pub(super) enum Queued {
    Output(Output),
    Request(RelayId, Purpose, Command),
}

pub(super) struct Context {
    pub(super) config: Arc<Config>,
    /// The time of the input that is being handled.
    pub(super) now: Time,
    pub(super) timers: Timers,
    /// Relays at whose ports the recorder is.
    pub(super) recorder_at: BTreeSet<RelayId>,
    /// All relays have been found, and what an earlier signaling wanted recorded is known.
    pub(super) is_adopted: bool,
    /// When time began, in milliseconds since the Unix epoch.
    pub(super) epoch_ms: u64,
    random: Random,
    outputs: VecDeque<Queued>,
    /// Logins and names that have become free.
    freed: Vec<Held>,
    /// Rooms in which what is recorded has changed.
    recording_changed: BTreeSet<RoomId>,
    /// Recordings that were asked for and cannot be had.
    unrecorded: LogLimit,
    last_number: u64,
}

impl Context {
    pub(super) fn new(config: Arc<Config>, random: Random) -> Self {
        Self {
            config,
            now: Time::ZERO,
            timers: Timers::default(),
            recorder_at: BTreeSet::new(),
            is_adopted: false,
            epoch_ms: 0,
            random,
            outputs: VecDeque::new(),
            freed: Vec::new(),
            recording_changed: BTreeSet::new(),
            unrecorded: LogLimit::default(),
            last_number: 0,
        }
    }

    pub(super) fn pop_output(&mut self) -> Option<Queued> {
        self.outputs.pop_front()
    }

    /// A member or a publication is gone: somebody may wait for its login or name.
    pub(super) fn note_freed(&mut self, held: Held) {
        self.freed.push(held);
    }

    pub(super) fn take_freed(&mut self) -> Vec<Held> {
        std::mem::take(&mut self.freed)
    }

    /// The time on the calendar, in milliseconds since the Unix epoch.
    pub(super) fn unix_ms(&self) -> u64 {
        self.epoch_ms.saturating_add(u64::try_from(self.now.as_millis()).unwrap_or(u64::MAX))
    }

    /// Whether this server records anything. Said in the log if it is asked to and does not.
    pub(super) fn may_record(&mut self) -> bool {
        let is_on = self.config.recording.is_on();
        if !is_on && let Some(count) = self.unrecorded.note(self.now) {
            tracing::warn!(count, "a recording was asked for, and recording.directory is not set");
        }
        is_on
    }

    /// Everybody in the room is to hear what is recorded there now.
    pub(super) fn note_recording_changed(&mut self, room: RoomId) {
        self.recording_changed.insert(room);
    }

    /// Whether they have still to hear of a change.
    pub(super) fn recording_has_changed(&self, room: RoomId) -> bool {
        self.recording_changed.contains(&room)
    }

    pub(super) fn take_recording_changed(&mut self) -> BTreeSet<RoomId> {
        std::mem::take(&mut self.recording_changed)
    }

    /// Nothing more comes for this one.
    pub(super) fn end_recording(&mut self, id: &str) {
        self.output(Output::Recorder(Order::End { id: id.to_owned() }));
    }

    /// The next number of those that members, streams and events are given in order.
    pub(super) fn number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    /// Goes on behind a number that an earlier signaling gave.
    pub(super) fn skip_numbers(&mut self, used: u64) {
        self.last_number = self.last_number.max(used);
    }

    /// A random id that is not 0 and fits a signed 64-bit integer: some readers of JSON have no more.
    pub(super) fn random_id(&mut self) -> u64 {
        ((self.random)() >> 1).max(1)
    }

    /// 192 random bits as text.
    pub(super) fn secret(&mut self) -> String {
        let [a, b, c] = [(self.random)(), (self.random)(), (self.random)()];
        format!("{a:016x}{b:016x}{c:016x}")
    }

    pub(super) fn send(&mut self, to: ConnectionId, message: &ServerMessage<'_>) {
        self.output(Output::Send { to, text: message.to_text() });
    }

    /// Answers a `sendData`.
    pub(super) fn answer_command(
        &mut self,
        to: ConnectionId,
        operation_id: &str,
        outcome: Result<(), Refusal>,
    ) {
        self.send(to, &ServerMessage::DataStatus { operation_id, refusal: outcome.err() });
    }

    /// The same event to several members; written once, as all get the same text.
    pub(super) fn send_event(&mut self, to: &[ConnectionId], room: &str, event: RoomEvent<'_>) {
        if to.is_empty() {
            return;
        }
        let operation_id = format!("event-{}", self.number());
        let text = ServerMessage::Room { room, event, operation_id }.to_text();
        for to in to {
            self.output(Output::Send { to: *to, text: text.clone() });
        }
    }

    /// What is in a room; written once, as all get the same text.
    pub(super) fn send_state(&mut self, to: &[ConnectionId], room: &str, event: RoomEvent<'_>) {
        if to.is_empty() {
            return;
        }
        let operation_id = format!("event-{}", self.number());
        let text = ServerMessage::Room { room, event, operation_id }.to_text();
        for to in to {
            self.output(Output::SendState { to: *to, text: text.clone() });
        }
    }

    /// Asks a client and its browser for a sign of life.
    pub(super) fn ask_for_life(&mut self, to: ConnectionId) {
        self.send(to, &ServerMessage::Ping);
        self.output(Output::Ping { to });
    }

    pub(super) fn close(&mut self, to: ConnectionId, code: CloseCode, reason: Cow<'static, str>) {
        self.output(Output::Close { to, code, reason });
    }

    /// Tells the operator's hook, if there is one; only then is `object` made.
    pub(super) fn note(
        &mut self,
        about: impl Into<Option<ConnectionId>>,
        method: &'static str,
        object: impl FnOnce() -> Value,
    ) {
        if self.config.auth.mode == AuthMode::Hook
            && let Value::Object(object) = object()
        {
            self.output(Output::Note { about: about.into(), method, object });
        }
    }

    pub(super) fn media_changed(&mut self, stream: StreamKey, state: Option<MediaState>) {
        self.output(Output::Media { stream, state });
    }

    /// See [`Output::TellRecordings`].
    pub(super) fn want_recordings(&mut self) {
        self.is_adopted = true;
        self.output(Output::TellRecordings);
    }

    pub(super) fn reply(&mut self, http_request: HttpRequestId, reply: HttpReply) {
        self.output(Output::Http { http_request, reply });
    }

    /// The reply comes back with the purpose.
    pub(super) fn ask_relay(&mut self, relay: RelayId, purpose: Purpose, command: Command) {
        self.outputs.push_back(Queued::Request(relay, purpose, command));
    }

    /// Nothing depends on the reply.
    pub(super) fn tell_relay(&mut self, relay: RelayId, command: Command) {
        self.ask_relay(relay, Purpose::Nothing, command);
    }

    fn output(&mut self, output: Output) {
        self.outputs.push_back(Queued::Output(output));
    }
}
