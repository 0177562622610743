//! What clients say on their WebSockets, each message in its turn, and the end of a connection.

use super::Hub;
use super::connections::{Closed, JoinRequest, MEDIA_PROBE_LIMIT, PROBE_LIMIT, SILENCE_LIMIT, Turn};
use super::context::CloseCode;
use super::end::{end_stream, member_vanished};
use super::members::{self, Admission, admit, connection_sends_media, newcomer};
use super::offers::{PublishWish, begin_play, begin_publish, members_stream};
use super::sessions::{note_session, open_session, refuse_session};
use super::status::tell_of_none;
use super::stream_events::stream_event;
use crate::auth::{Grant, Verdict, line_end};
use crate::id::{ConnectionId, StreamKey};
use crate::member::Presence;
use crate::message::{
    ClientMessage, Hello, Malformed, RoomCommand, ServerMessage, Status, StreamRef, StreamRequest,
};
use crate::refusal::{Reason, Refusal, StreamEnd};
use crate::timer::{Time, Timer};
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
        let Some(newcomers) = self.connections.heard(now, id) else { return };
        for newcomer in newcomers {
            self.refuse_pending_join(newcomer);
        }
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
        let Some(Closed { session, newcomers }) = self.connections.remove(&mut self.cx, id) else { return };
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
        for newcomer in newcomers {
            self.retry_join(newcomer);
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

    /// After a `join` was decided: what came behind it.
    fn run_backlog(&mut self, id: ConnectionId) {
        while let Some((message, verdict)) = self.connections.next_in_backlog(id) {
            self.dispatch(id, message, verdict);
        }
    }

    fn dispatch(&mut self, id: ConnectionId, message: ClientMessage, verdict: Verdict) {
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
            ClientMessage::Data { operation_id, command } => self.room_command(id, operation_id, command),
            ClientMessage::Publish(request) => self.publish_requested(id, &request, granted),
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
    fn refuse(&mut self, id: ConnectionId, message: ClientMessage, refusal: Refusal) {
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
            Ok(RoomCommand::Join { room, record, terms }) => {
                let since = cx.now;
                return self.join(id, JoinRequest { operation_id, room, record, terms, since });
            }
            Ok(RoomCommand::Leave { room }) => members::leave(cx, connections, rooms, streams, id, &room),
            Ok(RoomCommand::Message { room, to, text }) => {
                members::chat(cx, connections, rooms, id, (&room, &to, &text))
            }
        };
        self.cx.answer_command(id, &operation_id, outcome);
    }

    fn join(&mut self, id: ConnectionId, request: JoinRequest) {
        let (cx, connections) = (&mut self.cx, &mut self.connections);
        let (rooms, streams) = (&mut self.rooms, &mut self.streams);
        let newcomer = match newcomer(cx, connections, id, &request) {
            Ok(newcomer) => newcomer,
            Err(refusal) => return cx.answer_command(id, &request.operation_id, Err(refusal)),
        };
        let room = match admit(cx, rooms, streams, &request.room, &newcomer) {
            Admission::Refused(refusal) => Err(refusal),
            Admission::WatchMedia if cx.now >= request.since + MEDIA_PROBE_LIMIT => Err(Refusal::LoginTaken),
            Admission::WatchMedia => return connections.wait_for_media(cx, id, request),
            Admission::AskHolder(holder) => return connections.wait_for_holder(cx, id, request, holder),
            Admission::Resume(room, member) => {
                let before = members::resume(cx, connections, rooms, id, (room, member));
                // Its other rooms, if any, are taken over one by one as the client joins them.
                before.into_iter().for_each(|before| self.close(before, CloseCode::Replaced, false));
                self.cx.answer_command(id, &request.operation_id, Ok(()));
                return members::send_resumed(&mut self.cx, &self.rooms, &self.streams, id, (room, member));
            }
            Admission::Open => {
                rooms.named_or_new(cx, &request.room, &request.terms, self.relays.for_new_room())
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

    /// The holder of the wanted login has said nothing so far. A phone whose page hangs for a while is still
    /// in its call; one that is gone sends no media either. Given up, its login is free for all who waited.
    pub(super) fn probe_due(&mut self, newcomer: ConnectionId) {
        let Some((holder, since)) = self.connections.waits_for(newcomer) else { return };
        let Some(holder) = holder else { return self.retry_join(newcomer) };
        let is_sending = connection_sends_media(&self.connections, &self.rooms, &self.streams, holder);
        let patience = if is_sending { since + MEDIA_PROBE_LIMIT } else { Time::ZERO };
        let heard = self.connections.last_heard(holder);
        let until = patience.max(heard + SILENCE_LIMIT).max(since + PROBE_LIMIT);
        if self.cx.now < until {
            self.cx.timers.set(Timer::Probe(newcomer), until);
        } else if is_sending {
            self.refuse_pending_join(newcomer);
        } else {
            self.close(holder, CloseCode::Replaced, true);
        }
    }

    fn retry_join(&mut self, newcomer: ConnectionId) {
        if let Some(request) = self.connections.take_pending_join(&mut self.cx, newcomer) {
            self.join(newcomer, request);
            self.run_backlog(newcomer);
        }
    }

    /// Its login is somebody's.
    fn refuse_pending_join(&mut self, newcomer: ConnectionId) {
        if let Some(request) = self.connections.take_pending_join(&mut self.cx, newcomer) {
            self.cx.answer_command(newcomer, &request.operation_id, Err(Refusal::LoginTaken));
            self.run_backlog(newcomer);
        }
    }

    fn publish_requested(&mut self, id: ConnectionId, request: &StreamRequest, granted: Option<Grant>) {
        let of_session = self.connections.session(id).and_then(|session| session.grant.priority);
        let wish = PublishWish {
            max_bitrate_bps: request.max_bitrate_kbps.saturating_mul(1000),
            screen: request.screen,
            priority: granted.and_then(|grant| grant.priority).or(of_session),
        };
        let (cx, rooms, streams) = (&mut self.cx, &mut self.rooms, &mut self.streams);
        let new = members_stream(cx, &self.connections, rooms, id, request, true);
        let begun = new.and_then(|new| begin_publish(cx, rooms, streams, &self.relays, new, wish));
        if let Err(refusal) = begun {
            self.refuse_stream(id, request, true, &refusal);
        }
    }

    fn play_requested(&mut self, id: ConnectionId, request: &StreamRequest) {
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
