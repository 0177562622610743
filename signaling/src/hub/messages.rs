//! What clients say on their WebSockets, each message in its turn, and the end of a connection.

use super::Hub;
use super::connections::{JoinRequest, Turn, WaitsFor};
use super::context::CloseCode;
use super::end::{end_stream, member_vanished};
use super::members::{self, Admission, admit, newcomer};
use super::offers::{PublishWish, begin_play, begin_publish, members_stream};
use super::secret::digest;
use super::sessions::{note_session, open_session, refuse_session};
use super::status::{tell_of_none, tell_owner};
use super::stream_events::stream_event;
use super::takeovers::Claimant;
use crate::auth::{Grant, Verdict, line_end};
use crate::id::{ConnectionId, Held, StreamKey};
use crate::member::Presence;
use crate::message::{
    ClientMessage, Hello, Malformed, RoomCommand, ServerMessage, Status, StreamRef, StreamRequest,
};
use crate::refusal::{Reason, Refusal, StreamEnd};
use crate::timer::Time;
use std::borrow::Cow;

/// RFC 6455 §5.5: a control frame has 125 octets, two of them are the code.
const CLOSE_REASON_BYTES_MAX: usize = 123;

impl Hub {
    /// A text message came, and what the operator's rules say to it.
    pub fn handle_message(
        &mut self,
        now: Time,
        id: ConnectionId,
        message: Result<(ClientMessage, Verdict), Malformed>,
    ) {
        self.cx.now = now;
        if !self.connections.heard(id) {
            return;
        }
        self.note_life(id);
        match message {
            Err(malformed) => self.refuse_malformed(id, &malformed),
            Ok((ClientMessage::Ping, _)) => self.cx.send(id, &ServerMessage::Pong),
            Ok((ClientMessage::Pong, _)) => {}
            Ok((message, verdict)) => match self.connections.turn(id, message, verdict) {
                Turn::Now(message, verdict) => self.dispatch(id, message, verdict),
                Turn::Later => {}
                Turn::Never => self.close(id, CloseCode::Backlog, true),
            },
        }
    }

    /// The WebSocket is gone. `clean`: the client closed it with a close frame, so it means it.
    pub fn handle_closed(&mut self, now: Time, id: ConnectionId, clean: bool) {
        self.cx.now = now;
        self.closed(id, clean);
    }

    fn closed(&mut self, id: ConnectionId, clean: bool) {
        let Some(session) = self.connections.remove(&mut self.cx, id) else { return };
        if let Some(session) = session {
            let (cx, rooms, streams) = (&mut self.cx, &mut self.rooms, &mut self.streams);
            note_session(cx, id, (&session.app_key, session.login.as_deref()), "DISCONNECTED", None);
            let keep = session.resumable && !clean && !cx.config.rooms.resume_grace.is_zero();
            for (room, member) in session.memberships {
                if keep {
                    rooms.detach(cx, room, member);
                } else {
                    member_vanished(cx, rooms, streams, room, member);
                }
            }
        }
    }

    /// Ends a connection from our side. `clean`: its members do not stay.
    pub(super) fn close(&mut self, id: ConnectionId, code: CloseCode, clean: bool) {
        self.close_because(id, code, code.frame().1.into(), clean);
    }

    fn close_because(&mut self, id: ConnectionId, code: CloseCode, reason: Cow<'static, str>, clean: bool) {
        if self.connections.contains(id) {
            self.cx.close(id, code, reason);
            self.closed(id, clean);
        }
    }

    fn refuse_malformed(&mut self, id: ConnectionId, malformed: &Malformed) {
        let refusal = Refusal::BadMessage(format!("Malformed message: {}", malformed.why).into());
        match &malformed.operation_id {
            Some(operation_id) => self.cx.answer_command(id, operation_id, Err(refusal)),
            None => {
                let reason = &refusal.reason();
                self.cx.send(id, &ServerMessage::Fail { api_method: "Message", reason });
            }
        }
    }

    /// What came behind a message that waited.
    pub(super) fn run_backlog(&mut self, id: ConnectionId) {
        while let Some((message, verdict)) = self.connections.next_in_backlog(id) {
            self.dispatch(id, message, verdict);
        }
    }

    pub(super) fn dispatch(&mut self, id: ConnectionId, message: ClientMessage, verdict: Verdict) {
        let granted = match verdict {
            Ok(granted) => granted,
            Err(refusal) => return self.refuse(id, message, refusal),
        };
        match message {
            ClientMessage::Connection(hello) => {
                let opened = open_session(&mut self.cx, &mut self.connections, id, &hello, granted);
                if let Err(refusal) = opened {
                    self.refuse_session(id, &hello, &refusal);
                }
            }
            ClientMessage::Data { operation_id, command: Ok(RoomCommand::Join { room, record, terms }) } => {
                self.join(id, JoinRequest { operation_id, room, record, terms }, granted);
            }
            ClientMessage::Data { operation_id, command } => self.room_command(id, operation_id, command),
            ClientMessage::Publish(request) => self.publish_requested(id, request, granted),
            ClientMessage::Play(request) => self.play_requested(id, &request),
            ClientMessage::Unpublish(stream) => self.stop_requested(id, &stream, true),
            ClientMessage::Stop(stream) => self.stop_requested(id, &stream, false),
            ClientMessage::StreamEvent { media_session_id, event, payload } => {
                if let Some(key) = self.own_stream(id, &media_session_id) {
                    let (connections, rooms) = (&self.connections, &self.rooms);
                    let event = (event, payload.as_deref());
                    stream_event(&mut self.cx, connections, rooms, &mut self.streams, key, event);
                }
            }
            ClientMessage::Available(stream) => self.available_requested(id, &stream),
            ClientMessage::Ping | ClientMessage::Pong | ClientMessage::Ignored => {}
        }
    }

    /// The operator's rules forbid it: the answer is the one that the message has for a refusal.
    pub(super) fn refuse(&mut self, id: ConnectionId, message: ClientMessage, refusal: Refusal) {
        match message {
            ClientMessage::Connection(hello) => self.refuse_session(id, &hello, &refusal),
            ClientMessage::Publish(request) => self.refuse_stream(id, &request, true, &refusal),
            ClientMessage::Play(request) => self.refuse_stream(id, &request, false, &refusal),
            ClientMessage::Data { operation_id, .. } => {
                self.cx.answer_command(id, &operation_id, Err(refusal));
            }
            _ => {}
        }
    }

    /// Pages see only the close, so it says the same words.
    fn refuse_session(&mut self, id: ConnectionId, hello: &Hello, refusal: &Refusal) {
        let reason = refusal.reason();
        if refuse_session(&mut self.cx, &self.connections, id, hello, &reason) {
            let words = reason.words;
            let words = words.get(..line_end(&words, CLOSE_REASON_BYTES_MAX)).unwrap_or_default().to_owned();
            self.close_because(id, CloseCode::Refused, words.into(), true);
        }
    }

    fn room_command(
        &mut self,
        id: ConnectionId,
        operation_id: String,
        command: Result<RoomCommand, Refusal>,
    ) {
        let (cx, connections) = (&mut self.cx, &mut self.connections);
        let (rooms, streams) = (&mut self.rooms, &mut self.streams);
        let outcome = match command {
            _ if connections.session(id).is_none() => Err(Refusal::SessionNotReady),
            Err(refusal) => Err(refusal),
            // It is dispatched on its own.
            Ok(RoomCommand::Join { .. }) => Ok(()),
            Ok(RoomCommand::Leave { room }) => members::leave(cx, connections, rooms, streams, id, &room),
            Ok(RoomCommand::Message { room, to, text }) => {
                members::chat(cx, connections, rooms, id, (&room, &to, &text))
            }
        };
        self.cx.answer_command(id, &operation_id, outcome);
    }

    fn join(&mut self, id: ConnectionId, request: JoinRequest, granted: Option<Grant>) {
        if self.connections.is_slow(id) {
            // What is in a room has no limit but the room's own, so it is told to who has read the one before.
            return self.connections.wait(id, request.into_message(), Ok(granted), WaitsFor::Reading);
        }
        let (cx, connections) = (&mut self.cx, &mut self.connections);
        let (rooms, streams) = (&mut self.rooms, &mut self.streams);
        let newcomer = match newcomer(cx, connections, id, &request) {
            Ok(newcomer) => newcomer,
            Err(refusal) => return cx.answer_command(id, &request.operation_id, Err(refusal)),
        };
        let room = match admit(cx, rooms, streams, &request.room, &newcomer) {
            Admission::Refused(refusal) => Err(refusal),
            Admission::Contest(room, holder) => {
                let held = Held::Login(room, holder);
                connections.wait(id, request.into_message(), Ok(granted), WaitsFor::Holder(held));
                return self.claim(held, Claimant::Connection(id));
            }
            Admission::Inside(room, member) => {
                cx.answer_command(id, &request.operation_id, Ok(()));
                return members::send_resumed(cx, rooms, streams, id, (room, member));
            }
            Admission::Resume(room, member) => {
                self.takeovers.note_life(room, member);
                let before = members::resume(cx, connections, rooms, streams, id, (room, member));
                // Its other rooms, if any, are taken over one by one as the client joins them.
                before.into_iter().for_each(|before| self.close(before, CloseCode::Replaced, false));
                self.cx.answer_command(id, &request.operation_id, Ok(()));
                let (cx, rooms, streams) = (&mut self.cx, &mut self.rooms, &self.streams);
                return members::send_resumed(cx, rooms, streams, id, (room, member));
            }
            Admission::Open => {
                let wished = (&request.terms, request.record);
                rooms.named_or_new(cx, &request.room, wished, self.relays.for_new_room())
            }
        };
        match room {
            Err(refusal) => cx.answer_command(id, &request.operation_id, Err(refusal)),
            Ok(room) => {
                let operation_id = &request.operation_id;
                members::enter(cx, connections, rooms, streams, id, operation_id, (room, newcomer));
            }
        }
    }

    fn publish_requested(&mut self, id: ConnectionId, request: StreamRequest, granted: Option<Grant>) {
        if self.repeated(id, &request, true) {
            return;
        }
        let of_session = self.connections.session(id).and_then(|session| session.grant.priority);
        let wish = PublishWish {
            max_bitrate_bps: request.max_bitrate_kbps.saturating_mul(1000),
            screen: request.screen,
            record: request.record,
            priority: granted.as_ref().and_then(|grant| grant.priority).or(of_session),
        };
        let (cx, rooms, streams) = (&mut self.cx, &mut self.rooms, &mut self.streams);
        let new = members_stream(cx, &self.connections, rooms, id, &request, true);
        match new.and_then(|new| begin_publish(cx, rooms, streams, &self.relays, new, wish)) {
            Ok(()) => {}
            Err(Refusal::StreamNameTaken) => match self.own_name(id, &request) {
                Some(key) => {
                    let (held, message) = (Held::StreamName(key), ClientMessage::Publish(request));
                    self.connections.wait(id, message, Ok(granted), WaitsFor::Holder(held));
                    self.claim(held, Claimant::Connection(id));
                }
                None => self.refuse_stream(id, &request, true, &Refusal::StreamNameTaken),
            },
            Err(refusal) => self.refuse_stream(id, &request, true, &refusal),
        }
    }

    /// The stream of this connection's member that has the name that it wants for another one.
    fn own_name(&self, id: ConnectionId, request: &StreamRequest) -> Option<StreamKey> {
        let room = self.rooms.named(request.room.as_ref()?)?;
        let key = self.streams.named(room, &request.name)?;
        let owner = self.rooms.owner(self.streams.get(key)?)?;
        (owner.presence == Presence::Attached(id)).then_some(key)
    }

    /// Whether the client has said this already of a stream that it has. The same offer gets the same answer
    /// again; another one is refused in a way that leaves the stream alone, as streams never change.
    fn repeated(&mut self, id: ConnectionId, request: &StreamRequest, publish: bool) -> bool {
        let Some(key) = self.own_stream(id, &request.media_session_id) else { return false };
        let Some(stream) = self.streams.get(key) else { return false };
        let same = stream.is_publish() == publish && stream.name == request.name;
        if !same || stream.offer != digest(&request.sdp) {
            let api_method = if publish { "publishStream" } else { "playStream" };
            let reason = &Refusal::StreamIdTaken.reason();
            self.cx.send(id, &ServerMessage::Fail { api_method, reason });
        } else if let Some(sdp) = &stream.answer {
            let media_session_id = &stream.media_session_id;
            self.cx.send(id, &ServerMessage::RemoteSdp { media_session_id, sdp });
            if stream.is_on_air() {
                let status = if publish { Status::Publishing } else { Status::Playing };
                tell_owner(&mut self.cx, &self.rooms, &self.streams, stream, (status, None));
            }
        }
        true
    }

    fn play_requested(&mut self, id: ConnectionId, request: &StreamRequest) {
        if self.repeated(id, request, false) {
            return;
        }
        let (cx, rooms, streams) = (&mut self.cx, &mut self.rooms, &mut self.streams);
        let new = members_stream(cx, &self.connections, rooms, id, request, false);
        let begun = new.and_then(|new| {
            let source = streams.published(new.room, &new.name)?;
            begin_play(cx, rooms, streams, &self.relays, new, source)
        });
        if let Err(refusal) = begun {
            self.refuse_stream(id, request, false, &refusal);
        }
    }

    fn refuse_stream(&mut self, id: ConnectionId, request: &StreamRequest, published: bool, why: &Refusal) {
        let stream =
            StreamRef { media_session_id: request.media_session_id.clone(), name: request.name.clone() };
        self.tell_of_none(id, &stream, published, (Status::Failed, why.reason()));
    }

    fn tell_of_none(
        &mut self,
        id: ConnectionId,
        stream: &StreamRef,
        published: bool,
        status: (Status, Reason),
    ) {
        let app_key = self.connections.session(id).map(|session| session.app_key.as_str());
        tell_of_none(&mut self.cx, (id, app_key.unwrap_or_default()), stream, published, status);
    }

    /// `unPublishStream` or `stopStream`. One for a stream that is gone already, or that never was, is no
    /// error: after a `leave` the client stops what the leave has stopped.
    fn stop_requested(&mut self, id: ConnectionId, stream: &StreamRef, published: bool) {
        // A publication is not stopped by the word for a player, or the access hook would hear of another
        // thing than is done.
        let own = self.own_stream(id, &stream.media_session_id);
        let is_meant = |key: &StreamKey| self.streams.get(*key).is_some_and(|s| s.is_publish() == published);
        let end = StreamEnd::StoppedByUser;
        if let Some(key) = own.filter(is_meant) {
            return end_stream(&mut self.cx, &mut self.rooms, &mut self.streams, key, end);
        }
        let status = Status::ended(end, published);
        self.tell_of_none(id, stream, published, (status, end.reason()));
    }

    /// The stream with this `mediaSessionId`, if it is this connection's.
    fn own_stream(&self, id: ConnectionId, media_session_id: &str) -> Option<StreamKey> {
        let (key, stream) = self.streams.with_id(media_session_id)?;
        let owner = self.rooms.owner(stream)?;
        (owner.presence == Presence::Attached(id)).then_some(key)
    }

    fn available_requested(&mut self, id: ConnectionId, stream: &StreamRef) {
        let published = |room| self.streams.published(room, &stream.name).is_ok();
        let available = self.connections.memberships(id).iter().any(|(room, _)| published(*room));
        self.cx.send(id, &ServerMessage::Available { media_session_id: &stream.media_session_id, available });
    }
}
