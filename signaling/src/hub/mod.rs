//! All rooms as one sans-IO state machine.
//!
//! In go client messages, closed connections, HTTP requests, the relay's replies and events, and the time.
//! Out come
//! [`Output`]s: messages to connections, commands to the relay, answers to HTTP requests. The hub opens no
//! socket, reads no clock and makes no random number; the same hub runs in the server and in the tests.
//!
//! Invariants
//! - Messages of one connection are handled in the order of arrival, and what they cause is sent in that
//!   order. While one waits for the holder of what it wants, the connection's later messages wait behind it.
//! - Every `sendData` is answered exactly once; every `publishStream` and `playStream` gets an answer and a
//!   status, or `FAILED`, in finite time.
//! - A login is free before its `leave` is ACCEPTED.
//! - What a connection asks concerns only rooms that it is a member of and streams of its own; all else is
//!   refused with words that do not tell whether the thing exists.
//! - A stream's transport is closed in the relay when the stream ends, whoever ended it.
//!
//! What is known stands in four tables with methods of their own: [`Connections`], [`Rooms`], [`Streams`] and
//! [`Relays`]. The hub decides which of them an input is for. What joins tables is a function that takes
//! those it needs, beside the
//! [`Context`] that all have: settings, time, random numbers, timers and the queue of outputs.
//!
//! | file | idea |
//! |---|---|
//! | `messages.rs` | a client's message in its turn, and the end of a connection |
//! | `context.rs`, `secret.rs` | what every step needs |
//! | `connections.rs` | all connections: sessions, keep-alive, backlog |
//! | `rooms.rs` | all rooms and members |
//! | `streams.rs`, `unproved.rs` | all streams, and how many of them may be waiting for keys |
//! | `relays.rs` | the links to relays, and what they were asked |
//! | `sessions.rs` | `connection`: a session is opened or refused |
//! | `members.rs` | join, leave, chat, resumed members |
//! | `takeovers.rs` | who comes back gets in: silent holders of logins and names |
//! | `offers.rs` | publish and play, up to the relay being asked |
//! | `codecs.rs` | which codec a publisher is answered with |
//! | `progress.rs` | the relay's replies and events, and what follows from [`crate::stream_state`] |
//! | `end.rs` | the end of streams and members |
//! | `status.rs`, `stream_events.rs` | what owners and players of a stream are told |
//! | `media.rs` | who is told that media stops, or comes again |
//! | `recordings.rs`, `wanted.rs` | what is recorded, and what its file is called |
//! | `taps.rs` | what the relay sends to the recorder |
//! | `recording_events.rs` | who is told that something is recorded |
//! | `label.rs` | labels on transports |
//! | `reconcile.rs`, `adopt.rs` | streams and a relay's inventory; rooms rebuilt from labels |
//! | `whip_whep.rs`, `sources.rs`, `http.rs` | WHIP and WHEP |

mod adopt;
mod codecs;
mod connections;
mod context;
mod end;
mod http;
mod label;
mod media;
mod members;
mod messages;
mod offers;
mod progress;
mod reconcile;
mod recording_events;
mod recordings;
mod relays;
mod rooms;
mod secret;
mod sessions;
mod sources;
mod status;
mod stream_events;
mod streams;
mod takeovers;
mod taps;
mod unproved;
mod viewer_places;
mod wanted;
mod whip_whep;

pub use crate::record::Recorded;
pub use crate::stream::MediaState;
pub use crate::stream_state::{ANSWER_LIMIT, CONNECT_LIMIT};
pub use connections::{BACKLOG_MAX, HELLO_LIMIT};
pub use context::{CloseCode, Output, Random};
pub use http::{Awaited, HttpReply, HttpRequest, Patch, Waiter};
pub use takeovers::{ANSWER_PATIENCE, GIVE_UP, PONG_LIMIT, SILENCE};

use crate::address::Subnet;
use crate::config::Config;
use crate::id::{ConnectionId, HttpRequestId, RelayId, StreamKey};
use crate::stream_state::Trigger;
use crate::timer::{Time, Timer};
use connections::{Connections, WaitsFor};
use context::{Context, Queued};
use recorder_control::{PORT_NAME, Recording};
use relay_control::{EventBody, Inventory, ReplyBody, Welcome};
use relays::{Found, Purpose, Relays};
use rooms::Rooms;
use std::sync::Arc;
use std::time::Duration;
use streams::Streams;
use takeovers::Takeovers;
use viewer_places::ViewerPlaces;
use whip_whep::Handled;

/// After this long without a relay its streams have failed.
pub const RELAY_LOST_LIMIT: Duration = Duration::from_secs(5);

/// All connections, rooms and streams, and who gets which message and event.
pub struct Hub {
    cx: Context,
    connections: Connections,
    rooms: Rooms,
    streams: Streams,
    relays: Relays,
    takeovers: Takeovers,
    viewer_places: ViewerPlaces,
}

impl Hub {
    /// No rooms, no connections; one relay, which is not there yet.
    pub fn new(config: Arc<Config>, random: Random) -> Self {
        Self {
            cx: Context::new(config, random),
            connections: Connections::default(),
            rooms: Rooms::default(),
            streams: Streams::default(),
            relays: Relays::new([RelayId::FIRST]),
            takeovers: Takeovers::default(),
            viewer_places: ViewerPlaces::default(),
        }
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.settle_takeovers();
        let queued = self.cx.pop_output().or_else(|| {
            let (cx, connections) = (&mut self.cx, &mut self.connections);
            recording_events::tell(cx, connections, &mut self.rooms, &self.streams);
            self.cx.pop_output()
        })?;
        Some(match queued {
            Queued::Output(output) => output,
            Queued::Request(relay, purpose, command) => {
                Output::Relay { relay, request_id: self.relays.number_request(purpose), command }
            }
        })
    }

    /// When to call [`handle_timeout`](Self::handle_timeout) at the latest.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.cx.timers.next()
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Time) {
        self.cx.now = now;
        while let Some(timer) = self.cx.timers.pop_due(now) {
            let (cx, rooms, streams) = (&mut self.cx, &mut self.rooms, &mut self.streams);
            match timer {
                Timer::Hello(connection) => self.close(connection, CloseCode::NoHello, true),
                Timer::KeepAlive(connection) => {
                    if !self.connections.keep_alive(cx, connection) {
                        self.close(connection, CloseCode::GoingAway, false);
                    }
                }
                Timer::Takeover(held) => self.probe_holder(held),
                Timer::ViewerPlaces(room) => self.search_viewers_place(room),
                Timer::Stream(key) => {
                    progress::advance(cx, rooms, streams, &self.relays, key, Trigger::TimeOut);
                }
                Timer::Media(key) => {
                    if let Some(changed) = streams.give_up_awaited(key) {
                        media::tell(cx, &mut self.connections, rooms, streams, key, changed);
                    }
                }
                Timer::Taps(key) => taps::order(cx, rooms, streams, key),
                Timer::StrayRecordings => rooms.end_strays(cx),
                Timer::Detached(room, member) => end::member_vanished(cx, rooms, streams, room, member),
                Timer::RoomIdle(room) => rooms.remove_if_empty(cx, room),
                Timer::RelayLost(relay) => {
                    if self.relays.gone(relay) {
                        reconcile::fail_all(cx, rooms, streams, relay);
                    }
                }
            }
        }
    }

    /// A WebSocket was opened. Ids are the caller's, never used twice; by `address` its streams are counted.
    pub fn handle_connected(&mut self, now: Time, id: ConnectionId, address: Option<Subnet>) {
        self.cx.now = now;
        self.connections.open(&mut self.cx, id, address);
    }

    /// Much waits for this connection, or no longer does. What other members say to a slow one is refused or
    /// left out, so that nobody can get it cut off by talking to it.
    pub fn handle_pressure(&mut self, id: ConnectionId, slow: bool) {
        if slow {
            self.connections.set_slow(id);
        } else {
            let missed = self.connections.reads_again(id);
            media::catch_up(&mut self.cx, &self.rooms, &self.streams, id, missed.media);
            let missed = missed.recordings.into_iter();
            recording_events::catch_up(&mut self.cx, &self.rooms, &self.streams, id, missed);
            let (connections, rooms) = (&self.connections, &self.rooms);
            stream_events::catch_up_on_notes(&mut self.cx, connections, rooms, &mut self.streams, id);
            if let Some((message, verdict)) = self.connections.take_waiting(id, WaitsFor::Reading) {
                self.dispatch(id, message, verdict);
                self.run_backlog(id);
            }
        }
    }

    /// An HTTP request came; by `address` its stream is counted. Its answer is an [`Output::Http`] with the
    /// same id, now or later, while it is `awaited`.
    pub fn handle_http(
        &mut self,
        now: Time,
        http_request: HttpRequestId,
        (address, awaited): (Option<Subnet>, Awaited),
        request: HttpRequest,
    ) {
        self.cx.now = now;
        let (cx, rooms, streams) = (&mut self.cx, &mut self.rooms, &mut self.streams);
        let from = (http_request, address, awaited);
        match whip_whep::handle_request(cx, rooms, streams, from, request) {
            Ok(Handled::Later) => {}
            Ok(Handled::Replied(reply)) => cx.reply(http_request, reply),
            Ok(Handled::Publication(publication)) => self.begin_publication(http_request, publication),
            Ok(Handled::Viewing(viewing)) => self.begin_viewing(http_request, viewing),
            Err(refusal) => cx.reply(http_request, HttpReply::Refused(refusal)),
        }
    }

    /// The connection to a relay stands: `inventory` is all that it has.
    pub fn handle_relay_up(&mut self, now: Time, relay: RelayId, welcome: Welcome, inventory: Inventory) {
        self.cx.now = now;
        self.cx.timers.clear(Timer::RelayLost(relay));
        let found = self.relays.up(relay, welcome);
        let recorder = inventory.ports.iter().any(|port| port.port == PORT_NAME);
        let (cx, rooms, streams) = (&mut self.cx, &mut self.rooms, &mut self.streams);
        let (connections, relays) = (&mut self.connections, &self.relays);
        reconcile::relay_found(cx, connections, rooms, streams, relays, (relay, found), inventory);
        taps::set_recorder(cx, rooms, streams, relay, recorder);
        if found != Found::Same && relays.all_are_known() {
            cx.want_recordings();
        }
    }

    /// The connection to a relay broke. Media may go on; new streams wait.
    pub fn handle_relay_down(&mut self, now: Time, relay: RelayId) {
        if self.relays.lost(relay) {
            self.cx.timers.set(Timer::RelayLost(relay), now + RELAY_LOST_LIMIT);
        }
    }

    /// The reply to a request of ours. `Err`: the connection to the relay ended before it came.
    pub fn handle_reply(&mut self, now: Time, request_id: u64, reply: Result<ReplyBody, ()>) {
        self.cx.now = now;
        let Some(purpose) = self.relays.answered(request_id) else { return };
        progress::log_refusal(now, &mut self.relays, &purpose, &reply);
        let (cx, rooms, streams) = (&mut self.cx, &mut self.rooms, &mut self.streams);
        match purpose {
            Purpose::Probe(held) => self.holder_probed(held, &reply),
            Purpose::ProbeViewer(room, key) => self.viewer_probed(room, key, &reply),
            Purpose::Tap(key, track_id) => taps::answered(cx, rooms, streams, (key, track_id), &reply),
            Purpose::RestartIce(key, http_request, remote) => {
                let reply = whip_whep::ice_restarted(streams, &self.relays, (key, &remote), reply);
                cx.reply(http_request, reply);
            }
            _ => {
                if let Some((key, trigger)) = progress::trigger_of(purpose, reply) {
                    progress::advance(cx, rooms, streams, &self.relays, key, trigger);
                }
            }
        }
    }

    /// Something happened in a relay.
    pub fn handle_event(&mut self, now: Time, relay: RelayId, event: &EventBody) {
        self.cx.now = now;
        let (cx, rooms, streams) = (&mut self.cx, &mut self.rooms, &mut self.streams);
        match event {
            EventBody::TransportState(change) => {
                progress::transport_state(cx, rooms, streams, &self.relays, relay, change);
            }
            EventBody::UpTrackActivity(activity) => {
                let (connections, relays) = (&mut self.connections, &self.relays);
                progress::up_track_activity(cx, connections, rooms, streams, relays, relay, *activity);
            }
            EventBody::UpTrackPoliced(policed) => {
                stream_events::policed(cx, rooms, streams, relay, *policed);
            }
            EventBody::Port(change) => taps::port_changed(cx, rooms, streams, relay, change),
            EventBody::PortTrackEnded(ended) => taps::track_ended(cx, rooms, streams, relay, ended),
            EventBody::Superseded(_) => {}
        }
    }

    /// What time it is: `unix_ms` milliseconds since the Unix epoch. Names of files and what is recorded are by
    /// it.
    pub fn handle_clock(&mut self, now: Time, unix_ms: u64) {
        let passed = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        self.cx.epoch_ms = unix_ms.saturating_sub(passed);
    }

    /// The recorder says how a recording is: each that there is when the connection to it stands, and whatever
    /// changes then. All of them again when the hub asks for that ([`Output::TellRecordings`]).
    pub fn handle_recording(&mut self, now: Time, recording: &Recording) {
        self.cx.now = now;
        if self.cx.is_adopted {
            recordings::told(&mut self.cx, &mut self.rooms, &mut self.streams, recording);
        }
    }

    /// Closes every connection; nothing is closed in a relay.
    pub fn handle_shutdown(&mut self, code: CloseCode) {
        let (_, reason) = code.frame();
        for id in self.connections.drain() {
            self.cx.close(id, code, reason.into());
        }
    }

    /// The session over HTTP with this secret in its URL, and how its media is.
    pub fn media_of(&self, secret: &str, published: bool) -> Option<(StreamKey, MediaState)> {
        let key = whip_whep::http_stream(&self.streams, secret, published).ok()?;
        let stream = self.streams.get(key)?;
        Some((key, media::state(&self.cx, &self.rooms, &self.streams, stream)))
    }

    /// Whether all relays are there, for health checks.
    pub fn relays_are_up(&self) -> bool {
        self.relays.all_are_up()
    }

    /// Numbers for health checks and logs: connections, rooms, members, streams.
    pub fn census(&self) -> [usize; 4] {
        [self.connections.len(), self.rooms.len(), self.rooms.members().count(), self.streams.len()]
    }

    /// Sizes of all tables, for tests that show that nothing is left behind.
    pub fn ledger(&self) -> Vec<(&'static str, usize)> {
        let mut ledger = self.connections.ledger().to_vec();
        ledger.extend(self.rooms.ledger());
        ledger.extend(self.streams.ledger());
        ledger.extend(self.takeovers.ledger());
        ledger.extend(self.viewer_places.ledger());
        ledger.extend([("requests", self.relays.unanswered()), ("timers", self.cx.timers.len())]);
        ledger
    }
}
