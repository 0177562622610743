//! The end of streams, what their owners and players are told, mute and other notes.

use super::{HttpReply, Hub, Output, Purpose};
use crate::id::{ConnectionId, MemberId, RoomId, StreamKey};
use crate::life::{Happening, Life};
use crate::member::Presence;
use crate::message::{RoomEvent, ServerMessage, Status, StreamEventType, StreamRef, StreamStatus};
use crate::refusal::{Reason, Refusal, StreamEnd};
use crate::stream::{Owner, Role, Stream};
use crate::timer::{Time, Timer};
use relay_control::{CloseTransport, Command};
use serde_json::Value;
use serde_json::value::RawValue;

impl Hub {
    /// Out of all tables.
    fn remove_stream(&mut self, key: StreamKey) -> Option<Stream> {
        let stream = self.streams.remove(key)?;
        self.timers.clear(Timer::Stream(key));
        if let Some(connection) =
            self.rooms.connection_of(&stream).and_then(|to| self.connections.get_mut(&to))
        {
            connection.unheard.remove(&key);
        }
        self.rooms.remove_stream(key, &stream);
        Some(stream)
    }

    pub(super) fn end_stream(&mut self, now: Time, key: StreamKey, end: StreamEnd) {
        self.happened(now, key, Happening::End(end));
    }

    /// Ends everything that hangs on a stream: the owner hears first, then its players, then the room.
    pub(super) fn remove_ended(&mut self, now: Time, key: StreamKey) {
        let Some(stream) = self.remove_stream(key) else { return };
        let Life::Ended { end, was_on_air, ticket } = stream.life else { return };
        self.ask_relay(Purpose::Nothing, Command::CloseTransport(CloseTransport { transport_id: key.0 }));
        let status = Status::ended(end, stream.is_publish());
        if let Some((to, status)) = self.owner_status(&stream, status, Some(end.reason())) {
            self.send_status(to, status);
        }
        if let Some(ticket) = ticket {
            let reply = HttpReply::Refused(Refusal::Ended(end));
            self.outputs.push_back(Output::Http { ticket, reply });
        }
        let Role::Publish(publish) = &stream.role else { return };
        for player in &publish.players {
            self.end_stream(now, *player, StreamEnd::PublisherStopped);
        }
        let Owner::Member(owner) = stream.owner else { return };
        if was_on_air && let Some(login) = self.login_of(stream.room, owner) {
            let event = if end.is_failure() {
                RoomEvent::Failed(&login, &stream.name)
            } else {
                RoomEvent::Unpublished(&login, &stream.name)
            };
            self.tell_others(stream.room, owner, event);
        }
        // A WHIP publisher is a member for as long as its stream.
        if stream.over_http {
            self.remove_member(now, stream.room, owner, end);
            self.end_room_if_empty(stream.room);
        }
    }

    fn login_of(&self, room: RoomId, member: MemberId) -> Option<String> {
        self.rooms.member(room, member).map(|member| member.login.clone())
    }

    /// What a stream's owner is told, and where it can be reached.
    pub(super) fn owner_status(
        &self,
        stream: &Stream,
        status: Status,
        reason: Option<Reason>,
    ) -> Option<(ConnectionId, Value)> {
        let to = self.rooms.connection_of(stream)?;
        let muted = match (&stream.role, status) {
            (Role::Play { source }, Status::Playing) => {
                self.streams.publish(*source).map(|publish| (publish.audio_muted, publish.video_muted))
            }
            _ => None,
        };
        let status = StreamStatus {
            session: &stream.session,
            name: &stream.name,
            status,
            reason,
            published: stream.is_publish(),
            has_video: stream.has_video,
            has_audio: stream.has_audio,
            muted,
        };
        Some((to, status.to_json()))
    }

    /// To the client, and to the operator's hook.
    pub(super) fn send_status(&mut self, to: ConnectionId, mut status: Value) {
        self.send(to, &ServerMessage::StreamStatus(&status));
        let session = self.connections.get(&to).and_then(|connection| connection.session.as_ref());
        let app_key = session.map(|session| session.app_key.clone()).unwrap_or_default();
        self.note(Some(to), "StreamStatusEvent", || {
            status["appKey"] = app_key.into();
            status
        });
    }

    /// `unPublishStream` or `stopStream`. One for a stream that is gone already, or that never was, is no error: after
    /// a `leave` the client stops what the leave has stopped.
    pub(super) fn stop_requested(
        &mut self,
        now: Time,
        id: ConnectionId,
        stream: &StreamRef,
        published: bool,
    ) {
        // A publication is not stopped by the word for a player, or the access hook would hear of another thing than is done.
        let own = self.own_stream(id, &stream.session);
        let is_meant = |key: &StreamKey| self.streams.get(*key).is_some_and(|s| s.is_publish() == published);
        if let Some(key) = own.filter(is_meant) {
            self.end_stream(now, key, StreamEnd::StoppedByUser);
            return;
        }
        let status = StreamStatus {
            session: &stream.session,
            name: &stream.name,
            status: if published { Status::Unpublished } else { Status::Stopped },
            reason: Some(StreamEnd::StoppedByUser.reason()),
            published,
            has_video: true,
            has_audio: true,
            muted: None,
        };
        self.send_status(id, status.to_json());
    }

    /// The stream with this `mediaSessionId`, if it is this connection's.
    fn own_stream(&self, id: ConnectionId, session: &str) -> Option<StreamKey> {
        let (key, stream) = self.streams.of_session(session)?;
        let Owner::Member(member) = stream.owner else { return None };
        let member = self.rooms.member(stream.room, member)?;
        (member.presence == Presence::Attached(id)).then_some(key)
    }

    pub(super) fn stream_event(
        &mut self,
        id: ConnectionId,
        session: &str,
        event: StreamEventType,
        payload: Option<&RawValue>,
    ) {
        let Some(key) = self.own_stream(id, session) else { return };
        let Some(publish) = self.streams.publish_mut(key) else { return };
        let before = (publish.audio_muted, publish.video_muted);
        match event {
            StreamEventType::AudioMuted => publish.audio_muted = true,
            StreamEventType::AudioUnmuted => publish.audio_muted = false,
            StreamEventType::VideoMuted => publish.video_muted = true,
            StreamEventType::VideoUnmuted => publish.video_muted = false,
            StreamEventType::Data => {}
        }
        let changed = before != (publish.audio_muted, publish.video_muted);
        for player in publish.players.clone() {
            let Some(stream) = self.streams.get(player) else { continue };
            let Some(to) = self.rooms.connection_of(stream) else { continue };
            if !self.slow.contains(&to) {
                let text = ServerMessage::StreamEvent { session: &stream.session, event, payload }.to_text();
                self.outputs.push_back(Output::Send { to, text });
            } else if event != StreamEventType::Data
                && let Some(connection) = self.connections.get_mut(&to)
            {
                // Nobody can be cut off by how often another one mutes. Only the outcome counts, so it is told later.
                connection.unheard.insert(player);
            }
        }
        if changed {
            self.write_label(key);
        }
    }

    /// A connection reads again: how the microphones and cameras are whose notes were withheld from it.
    pub(super) fn catch_up_on_notes(&mut self, to: ConnectionId) {
        let unheard = self.connections.get_mut(&to).map(|connection| std::mem::take(&mut connection.unheard));
        for player in unheard.unwrap_or_default() {
            let Some(stream) = self.streams.get(player).filter(|s| self.rooms.connection_of(s) == Some(to))
            else {
                continue;
            };
            let Role::Play { source } = stream.role else { continue };
            let Some(publish) = self.streams.publish(source) else { continue };
            let audio =
                if publish.audio_muted { StreamEventType::AudioMuted } else { StreamEventType::AudioUnmuted };
            let video =
                if publish.video_muted { StreamEventType::VideoMuted } else { StreamEventType::VideoUnmuted };
            for event in [audio, video] {
                let note = ServerMessage::StreamEvent { session: &stream.session, event, payload: None };
                self.outputs.push_back(Output::Send { to, text: note.to_text() });
            }
        }
    }

    pub(super) fn stream_available(&mut self, id: ConnectionId, stream: &StreamRef) {
        let rooms = self.connections.get(&id).and_then(|c| c.session.as_ref()).map(|s| s.rooms.as_slice());
        let available =
            rooms.unwrap_or_default().iter().any(|room| self.streams.published(*room, &stream.name).is_ok());
        self.send(id, &ServerMessage::Available { session: &stream.session, available });
    }
}
