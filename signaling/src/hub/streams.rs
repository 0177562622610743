//! Publish, play, stop, and what others hear of it.

use super::progress::Purpose;
use super::{HttpRefusal, HttpReply, Hub, Output};
use crate::message::{
    RoomEvent, STREAM_NAME_BYTES_MAX, ServerMessage, Status, StreamEventType, StreamRef, StreamRequest,
    StreamStatus,
};
use crate::participant::{
    MemberId, Negotiation, Owner, Phase, Presence, Publish, PublishedTrack, Role, Stream, StreamKey, Ticket,
};
use crate::room::{ConnectionId, RoomId};
use crate::sdp::{self, CodecPreferences, Plan, PlannedTrack, SourceTrack};
use crate::timer::{Time, Timer};
use relay_control::{
    AddDownTrack, AddUpTrack, CloseTransport, Command, DownTrackAdded, MediaKind, OpenTransport,
    RtpParameters,
};
use serde_json::value::RawValue;
use std::time::Duration;

/// From the offer to the relay's last reply. The relay answers in well under a millisecond; this is for the moment in
/// which it is being restarted.
pub const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// From the answer to ICE and DTLS being up.
pub const CONNECT_LIMIT: Duration = Duration::from_secs(15);
/// How long a publisher whose transport is up may keep the others waiting for its first RTP.
pub const RTP_GRACE: Duration = Duration::from_secs(2);
/// A client closes its peer connection right after it sent the stop: the stop may be the slower of the two.
pub const CLOSING_GRACE: Duration = Duration::from_secs(2);
/// After this long without the relay its streams have failed.
pub const RELAY_LOST_LIMIT: Duration = Duration::from_secs(5);

/// How a stream ends, with the words for its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Somebody stopped it: `UNPUBLISHED` or `STOPPED`.
    Stopped(&'static str),
    /// `FAILED`.
    Failed(&'static str),
}

/// Why a stream is not even begun.
#[derive(Debug)]
pub(super) enum StreamRefusal {
    /// Said with these words.
    Words(&'static str),
    /// The name leads nowhere.
    NotFound,
    /// Its publisher is not on the air yet.
    NotReady,
    /// A limit.
    Limit(&'static str),
    /// The offer is broken.
    Sdp(sdp::SdpError),
    /// The offer is fine but not for us.
    Offer(sdp::Refusal),
    /// There is no relay.
    NoRelay,
}

impl StreamRefusal {
    pub(super) fn info(&self) -> String {
        match self {
            Self::Words(words) | Self::Limit(words) => (*words).to_owned(),
            Self::NotFound => "Stream not found".to_owned(),
            Self::NotReady => "Publish stream is not ready".to_owned(),
            Self::Sdp(why) => why.to_string(),
            Self::Offer(why) => why.to_string(),
            Self::NoRelay => "Stream failed".to_owned(),
        }
    }
}

/// A stream to be.
pub(super) struct NewStream {
    pub(super) session: String,
    pub(super) name: String,
    pub(super) room: RoomId,
    pub(super) owner: Owner,
    pub(super) sdp: String,
    /// 0 = no wish.
    pub(super) max_bitrate_bps: u64,
    /// Made over HTTP.
    pub(super) ticket: Option<Ticket>,
}

impl Hub {
    pub(super) fn publish_requested(&mut self, now: Time, id: ConnectionId, request: StreamRequest) {
        let begun = self.membership_for_stream(id, &request).and_then(|(room, member)| {
            let new = NewStream {
                session: request.session.clone(),
                name: request.name.clone(),
                room,
                owner: Owner::Member(member),
                sdp: request.sdp,
                max_bitrate_bps: request.max_bitrate_kbps.saturating_mul(1000),
                ticket: None,
            };
            self.begin_publish(now, new)
        });
        if let Err(refusal) = begun {
            self.refuse_stream(id, &request.session, &request.name, true, &refusal.info());
        }
    }

    pub(super) fn play_requested(&mut self, now: Time, id: ConnectionId, request: StreamRequest) {
        let begun = self.membership_for_stream(id, &request).and_then(|(room, member)| {
            let source = self.published(room, &request.name)?;
            let new = NewStream {
                session: request.session.clone(),
                name: request.name.clone(),
                room,
                owner: Owner::Member(member),
                sdp: request.sdp,
                max_bitrate_bps: 0,
                ticket: None,
            };
            self.begin_play(now, new, source)
        });
        if let Err(refusal) = begun {
            self.refuse_stream(id, &request.session, &request.name, false, &refusal.info());
        }
    }

    /// Only members publish and play. A stream without a room would be anybody's, so that is refused too.
    fn membership_for_stream(
        &self,
        id: ConnectionId,
        request: &StreamRequest,
    ) -> Result<(RoomId, MemberId), StreamRefusal> {
        if self.connections.get(&id).is_none_or(|connection| connection.session.is_none()) {
            return Err(StreamRefusal::Words("Session not ready"));
        }
        let member = request.room.as_ref().and_then(|room| self.membership(id, room));
        member.ok_or(StreamRefusal::Words("Restricted access"))
    }

    fn refuse_stream(&mut self, id: ConnectionId, session: &str, name: &str, published: bool, info: &str) {
        let status = StreamStatus {
            session,
            name,
            status: Status::Failed,
            info: Some(info),
            published,
            has_video: true,
            has_audio: true,
            muted: None,
        };
        self.send(id, &ServerMessage::StreamStatus(status));
    }

    /// A published stream that is on the air.
    pub(super) fn published(&self, room: RoomId, name: &str) -> Result<StreamKey, StreamRefusal> {
        let key = self.streams_by_name.get(&(room, name.to_owned())).ok_or(StreamRefusal::NotFound)?;
        match self.streams.get(key) {
            Some(stream) if stream.is_on_air() => Ok(*key),
            Some(_) => Err(StreamRefusal::NotReady),
            None => Err(StreamRefusal::NotFound),
        }
    }

    pub(super) fn begin_publish(&mut self, now: Time, new: NewStream) -> Result<StreamKey, StreamRefusal> {
        self.check_new(&new)?;
        if self.streams_by_name.contains_key(&(new.room, new.name.clone())) {
            return Err(StreamRefusal::Words("Stream name is already in use"));
        }
        let offer = sdp::parse(&new.sdp).map_err(StreamRefusal::Sdp)?;
        let media = &self.config.media;
        let preferences = CodecPreferences { audio: media.audio.clone(), video: media.video.clone() };
        let plan = sdp::answer_publish(&offer, &preferences).map_err(StreamRefusal::Offer)?;
        let wishes = [media.max_publish_bitrate_bps, new.max_bitrate_bps];
        let max_bitrate_bps = wishes.into_iter().filter(|wish| *wish > 0).min().unwrap_or(0);

        let tracks: Vec<PublishedTrack> = plan
            .tracks
            .iter()
            .map(|track| PublishedTrack { id: self.random_id(), source: track.source })
            .collect();
        let key = StreamKey(self.random_id());
        let add = |(track, planned): (&PublishedTrack, &PlannedTrack)| {
            let PlannedTrack { rtp, ssrc, rtx_ssrc, .. } = planned.clone();
            Command::AddUpTrack(AddUpTrack { transport_id: key.0, track_id: track.id, rtp, ssrc, rtx_ssrc })
        };
        let commands = tracks.iter().zip(&plan.tracks).map(add).collect();
        let ids: Vec<u64> = tracks.iter().map(|track| track.id).collect();
        let role = Role::Publish(Publish { tracks, ..Publish::default() });
        self.open_stream(now, key, new, role, plan, commands, max_bitrate_bps)?;
        self.streams_by_track.extend(ids.into_iter().map(|id| (id, key)));
        Ok(key)
    }

    pub(super) fn begin_play(
        &mut self,
        now: Time,
        new: NewStream,
        source: StreamKey,
    ) -> Result<StreamKey, StreamRefusal> {
        self.check_new(&new)?;
        let offer = sdp::parse(&new.sdp).map_err(StreamRefusal::Sdp)?;
        let published = self.streams.get(&source).and_then(Stream::publish).ok_or(StreamRefusal::NotFound)?;
        let tracks = published.tracks.clone();
        let sources: Vec<SourceTrack> = tracks.iter().map(|track| track.source).collect();
        let plan = sdp::answer_play(&offer, &sources).map_err(StreamRefusal::Offer)?;

        let key = StreamKey(self.random_id());
        let mut commands = Vec::new();
        for planned in &plan.tracks {
            commands.push(Command::AddDownTrack(AddDownTrack {
                transport_id: key.0,
                track_id: self.random_id(),
                up_track_id: tracks.get(planned.source_index).map_or(0, |track| track.id),
                rtp: planned.rtp.clone(),
                cname: play_cname(source),
            }));
        }
        self.open_stream(now, key, new, Role::Play { source }, plan, commands, 0)?;
        if let Some(publish) = self.streams.get_mut(&source).and_then(Stream::publish_mut) {
            publish.players.push(key);
        }
        Ok(key)
    }

    fn check_new(&self, new: &NewStream) -> Result<(), StreamRefusal> {
        if matches!(self.relay, super::RelaySight::Gone(_)) {
            return Err(StreamRefusal::NoRelay);
        }
        if self.streams_by_session.contains_key(&new.session) {
            return Err(StreamRefusal::Words("MediaSessionId is already in use"));
        }
        if new.name.is_empty() || new.name.len() > STREAM_NAME_BYTES_MAX {
            return Err(StreamRefusal::Words("Stream name must be a text of 1 to 640 bytes"));
        }
        Ok(())
    }

    /// Puts the stream into the tables and asks the relay for its transport; its tracks follow when that is there.
    #[allow(
        clippy::too_many_arguments,
        reason = "what a stream consists of; each caller has all of it at hand"
    )]
    fn open_stream(
        &mut self,
        now: Time,
        key: StreamKey,
        new: NewStream,
        role: Role,
        plan: Plan,
        tracks: Vec<Command>,
        max_receive_bitrate_bps: u64,
    ) -> Result<(), StreamRefusal> {
        self.reserve_place(&new, &role)?;
        let parameters: Vec<&RtpParameters> = plan.tracks.iter().map(|track| &track.rtp).collect();
        let down_tracks = if matches!(role, Role::Play { .. }) { plan.tracks.len() } else { 0 };
        let mut stream = Stream {
            number: self.number(),
            session: new.session,
            name: new.name,
            room: new.room,
            owner: new.owner,
            has_audio: Stream::has(&parameters, MediaKind::Audio),
            has_video: Stream::has(&parameters, MediaKind::Video),
            over_http: new.ticket.is_some(),
            local_ufrag: String::new(),
            phase: Phase::Negotiating(Negotiation {
                awaited: tracks.len() + 1,
                tracks,
                opened: None,
                down_tracks: vec![DownTrackAdded::default(); down_tracks],
                ticket: new.ticket,
            }),
            role,
            plan: None,
        };
        let label = self.label(key, &stream).ok_or(StreamRefusal::Words("Names are too long"))?;
        let command = OpenTransport {
            transport_id: key.0,
            room_id: stream.room.0,
            remote_ufrag: plan.remote.ufrag.clone(),
            remote_pwd: plan.remote.pwd.clone(),
            remote_fingerprint_sha256: plan.remote.fingerprint_sha256.to_vec(),
            label,
            max_receive_bitrate_bps,
        };
        stream.plan = Some(plan);
        self.insert_stream(key, stream);
        self.timers.set(Timer::Stream(key), now + ANSWER_LIMIT);
        self.ask_relay(Purpose::Open(key), Command::OpenTransport(command));
        Ok(())
    }

    /// Limits of a member, or of the room's viewers.
    fn reserve_place(&self, new: &NewStream, role: &Role) -> Result<(), StreamRefusal> {
        let limits = &self.config.rooms;
        let room = self.rooms.get(&new.room).ok_or(StreamRefusal::Words("Restricted access"))?;
        let (used, max) = match (new.owner, role) {
            (Owner::Viewer, _) => (room.viewers.len(), limits.max_viewers),
            (Owner::Member(id), Role::Publish(_)) => {
                (room.member_by_id(id).map_or(0, |m| m.publishes.len()), limits.max_publish_streams)
            }
            (Owner::Member(id), Role::Play { .. }) => {
                (room.member_by_id(id).map_or(0, |m| m.plays.len()), limits.max_play_streams)
            }
        };
        if used < max { Ok(()) } else { Err(StreamRefusal::Limit("Too many streams")) }
    }

    /// Into all tables. Also for streams found in a running relay.
    pub(super) fn insert_stream(&mut self, key: StreamKey, stream: Stream) {
        let is_publish = stream.is_publish();
        if let Some(room) = self.rooms.get_mut(&stream.room) {
            match stream.owner {
                Owner::Viewer => room.viewers.push(key),
                Owner::Member(id) => {
                    if let Some(member) = room.member_mut(id) {
                        let list = if is_publish { &mut member.publishes } else { &mut member.plays };
                        list.push(key);
                    }
                }
            }
        }
        if is_publish {
            self.streams_by_name.insert((stream.room, stream.name.clone()), key);
        }
        self.streams_by_session.insert(stream.session.clone(), key);
        self.streams.insert(key, stream);
    }

    /// Out of all tables.
    fn remove_stream(&mut self, key: StreamKey) -> Option<Stream> {
        let stream = self.streams.remove(&key)?;
        self.timers.clear(Timer::Stream(key));
        self.streams_by_session.remove(&stream.session);
        if let Some(room) = self.rooms.get_mut(&stream.room) {
            match stream.owner {
                Owner::Viewer => room.viewers.retain(|other| *other != key),
                Owner::Member(id) => {
                    if let Some(member) = room.member_mut(id) {
                        member.publishes.retain(|other| *other != key);
                        member.plays.retain(|other| *other != key);
                    }
                }
            }
        }
        match &stream.role {
            Role::Publish(publish) => {
                self.streams_by_name.remove(&(stream.room, stream.name.clone()));
                for track in &publish.tracks {
                    self.streams_by_track.remove(&track.id);
                }
            }
            Role::Play { source } => {
                if let Some(publish) = self.streams.get_mut(source).and_then(Stream::publish_mut) {
                    publish.players.retain(|other| *other != key);
                }
            }
        }
        Some(stream)
    }

    /// Ends a stream and everything that hangs on it: the owner hears first, then its players, then the room.
    pub(super) fn end_stream(&mut self, now: Time, key: StreamKey, end: End) {
        let Some(stream) = self.remove_stream(key) else { return };
        self.ask_relay(Purpose::Nothing, Command::CloseTransport(CloseTransport { transport_id: key.0 }));
        let on_air = stream.is_on_air();
        let (status, info) = match (end, stream.is_publish()) {
            (End::Failed(info), _) => (Status::Failed, info),
            (End::Stopped(info), true) => (Status::Unpublished, info),
            (End::Stopped(info), false) => (Status::Stopped, info),
        };
        self.tell_owner(&stream, status, Some(info));
        if let Phase::Negotiating(Negotiation { ticket: Some(ticket), .. }) = stream.phase {
            let reply = HttpReply::Refused(HttpRefusal::Unavailable(info.to_owned()));
            self.outputs.push_back(Output::Http { ticket, reply });
        }
        let Role::Publish(publish) = &stream.role else { return };
        for player in &publish.players {
            self.end_stream(now, *player, End::Stopped("Stopped by publisher stop"));
        }
        let Owner::Member(owner) = stream.owner else { return };
        if on_air && let Some(login) = self.login_of(stream.room, owner) {
            let event = match end {
                End::Stopped(_) => RoomEvent::Unpublished(&login, &stream.name),
                End::Failed(_) => RoomEvent::Failed(&login, &stream.name),
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
        self.rooms.get(&room)?.member_by_id(member).map(|member| member.login.clone())
    }

    /// Where a stream's owner can be reached.
    pub(super) fn connection_of(&self, stream: &Stream) -> Option<ConnectionId> {
        let Owner::Member(id) = stream.owner else { return None };
        self.rooms.get(&stream.room)?.member_by_id(id)?.connection()
    }

    pub(super) fn tell_owner(&mut self, stream: &Stream, status: Status, info: Option<&str>) {
        let Some(to) = self.connection_of(stream) else { return };
        let muted = match (&stream.role, status) {
            (Role::Play { source }, Status::Playing) => {
                let publish = self.streams.get(source).and_then(Stream::publish);
                publish.map(|publish| (publish.audio_muted, publish.video_muted))
            }
            _ => None,
        };
        let status = StreamStatus {
            session: &stream.session,
            name: &stream.name,
            status,
            info,
            published: stream.is_publish(),
            has_video: stream.has_video,
            has_audio: stream.has_audio,
            muted,
        };
        self.send(to, &ServerMessage::StreamStatus(status));
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
        if let Some(key) = self.own_stream(id, &stream.session) {
            self.end_stream(now, key, End::Stopped("Stopped by user"));
            return;
        }
        let status = StreamStatus {
            session: &stream.session,
            name: &stream.name,
            status: if published { Status::Unpublished } else { Status::Stopped },
            info: Some("Stopped by user"),
            published,
            has_video: true,
            has_audio: true,
            muted: None,
        };
        self.send(id, &ServerMessage::StreamStatus(status));
    }

    /// The stream with this `mediaSessionId`, if it is this connection's.
    fn own_stream(&self, id: ConnectionId, session: &str) -> Option<StreamKey> {
        let key = *self.streams_by_session.get(session)?;
        let stream = self.streams.get(&key)?;
        let Owner::Member(member) = stream.owner else { return None };
        let member = self.rooms.get(&stream.room)?.member_by_id(member)?;
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
        let Some(publish) = self.streams.get_mut(&key).and_then(Stream::publish_mut) else { return };
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
            let Some(stream) = self.streams.get(&player) else { continue };
            if let Some(to) = self.connection_of(stream) {
                let text = ServerMessage::StreamEvent { session: &stream.session, event, payload }.to_text();
                self.outputs.push_back(Output::Send { to, text });
            }
        }
        if changed {
            self.write_label(key);
        }
    }

    pub(super) fn stream_available(&mut self, id: ConnectionId, stream: &StreamRef) {
        let rooms = self.connections.get(&id).and_then(|c| c.session.as_ref()).map(|s| s.rooms.as_slice());
        let available =
            rooms.unwrap_or_default().iter().any(|room| self.published(*room, &stream.name).is_ok());
        self.send(id, &ServerMessage::Available { session: &stream.session, available });
    }
}

/// One CNAME and one media stream id for all tracks of a publisher: browsers play only tracks of one stream together.
pub(super) fn play_cname(source: StreamKey) -> String {
    format!("ringvox-{:016x}", source.0)
}
