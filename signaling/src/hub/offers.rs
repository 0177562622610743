//! Publish and play: what is asked is checked, the offer planned, and the relay asked for a transport.

use super::session::digest;
use super::unproved::{Asker, UnprovedLimits};
use super::{Hub, Purpose};
use crate::address::Subnet;
use crate::config::Signaling;
use crate::id::{ConnectionId, MemberId, RoomId, StreamKey, Ticket};
use crate::life::{ANSWER_LIMIT, Life, Negotiation};
use crate::member::Member;
use crate::message::{Status, StreamRequest, StreamStatus};
use crate::names::Name;
use crate::refusal::Refusal;
use crate::sdp::{self, Plan, PlannedTrack, SourceTrack};
use crate::stream::{Owner, Publish, PublishedTrack, Role, Stream};
use crate::timer::{Time, Timer};
use relay_control::{
    AddDownTrack, AddUpTrack, Command, DownTrackAdded, MediaKind, OpenTransport, Priority, RtpParameters,
};

/// A stream to be.
pub(super) struct NewStream<'a> {
    /// `mediaSessionId`, or the secret part of the session's URL.
    pub(super) session: String,
    pub(super) name: String,
    pub(super) room: RoomId,
    pub(super) owner: Owner,
    /// Whose address it is counted for.
    pub(super) from: Option<Subnet>,
    pub(super) sdp: &'a str,
    /// 0 = no wish.
    pub(super) max_bitrate_bps: u64,
    /// It shows a screen, as its client says besides the offer.
    pub(super) screen: bool,
    /// What the operator says of its video.
    pub(super) priority: Option<Priority>,
    /// Made over HTTP.
    pub(super) ticket: Option<Ticket>,
}

/// What came of its offer.
struct Negotiated {
    key: StreamKey,
    role: Role,
    plan: Plan,
    /// To be said to the relay behind `OpenTransport`.
    tracks: Vec<Command>,
    max_bitrate_bps: u64,
}

impl Hub {
    pub(super) fn publish_requested(
        &mut self,
        now: Time,
        id: ConnectionId,
        request: StreamRequest,
        granted: Option<Priority>,
    ) {
        let begun = self.membership_for_stream(id, &request, true).and_then(|(room, member)| {
            let new = NewStream {
                session: request.session.clone(),
                name: request.name.clone(),
                room,
                owner: Owner::Member(member),
                from: self.address_of(id),
                sdp: &request.sdp,
                max_bitrate_bps: request.max_bitrate_kbps.saturating_mul(1000),
                screen: request.screen,
                priority: granted.or(self.granted_priority(id)),
                ticket: None,
            };
            self.begin_publish(now, new)
        });
        if let Err(refusal) = begun {
            self.refuse_stream(id, &request, true, &refusal);
        }
    }

    pub(super) fn play_requested(&mut self, now: Time, id: ConnectionId, request: StreamRequest) {
        let begun = self.membership_for_stream(id, &request, false).and_then(|(room, member)| {
            let source = self.streams.published(room, &request.name)?;
            let new = NewStream {
                session: request.session.clone(),
                name: request.name.clone(),
                room,
                owner: Owner::Member(member),
                from: self.address_of(id),
                sdp: &request.sdp,
                max_bitrate_bps: 0,
                screen: false,
                priority: None,
                ticket: None,
            };
            self.begin_play(now, new, source)
        });
        if let Err(refusal) = begun {
            self.refuse_stream(id, &request, false, &refusal);
        }
    }

    /// Only members publish and play. A stream without a room would be anybody's, so that is refused too.
    fn membership_for_stream(
        &self,
        id: ConnectionId,
        request: &StreamRequest,
        publish: bool,
    ) -> Result<(RoomId, MemberId), Refusal> {
        let session = self.connections.get(&id).and_then(|connection| connection.session.as_ref());
        let session = session.ok_or(Refusal::SessionNotReady)?;
        let allowed = if publish { session.grant.publish } else { session.grant.subscribe };
        if !allowed {
            return Err(Refusal::Restricted);
        }
        if request.record && !session.grant.record {
            return Err(Refusal::TokenRecording);
        }
        let member = request.room.as_ref().and_then(|room| self.rooms.membership(id, room));
        member.ok_or(Refusal::Restricted)
    }

    fn address_of(&self, id: ConnectionId) -> Option<Subnet> {
        self.connections.get(&id)?.from
    }

    fn granted_priority(&self, id: ConnectionId) -> Option<Priority> {
        self.connections.get(&id)?.session.as_ref()?.grant.priority
    }

    pub(super) fn refuse_stream(
        &mut self,
        id: ConnectionId,
        request: &StreamRequest,
        published: bool,
        refusal: &Refusal,
    ) {
        let status = StreamStatus {
            session: &request.session,
            name: &request.name,
            status: Status::Failed,
            reason: Some(refusal.reason()),
            published,
            has_video: true,
            has_audio: true,
            muted: None,
        };
        self.send_status(id, status.to_json());
    }

    pub(super) fn begin_publish(&mut self, now: Time, new: NewStream<'_>) -> Result<StreamKey, Refusal> {
        self.check_new(now, &new)?;
        Name::Stream.check(&new.name).map_err(Refusal::BadName)?;
        if self.streams.named(new.room, &new.name).is_some() {
            return Err(Refusal::StreamNameTaken);
        }
        let offer = sdp::parse(new.sdp)?;
        self.note_codecs(&offer, new.room, new.owner, true);
        let plan = self.plan_publish(&offer, new.room, new.owner)?;
        // What is read is missed more than a face.
        let usual = if new.screen || offer.shows_slides() { Priority::High } else { Priority::Medium };
        let priority = new.priority.unwrap_or(usual).into();
        let max_bitrate_bps = self.publish_bitrate_bps(new.max_bitrate_bps);

        let tracks: Vec<PublishedTrack> = plan
            .tracks
            .iter()
            .map(|track| PublishedTrack { id: self.random_id(), source: track.source, flows: false })
            .collect();
        let key = StreamKey(self.random_id());
        let add = |(track, planned): (&PublishedTrack, &PlannedTrack)| {
            let PlannedTrack { rtp, ssrc, rtx_ssrc, .. } = planned.clone();
            let (transport_id, track_id) = (key.0, track.id);
            Command::AddUpTrack(AddUpTrack { transport_id, track_id, rtp, ssrc, rtx_ssrc, priority })
        };
        let commands = tracks.iter().zip(&plan.tracks).map(add).collect();
        let role = Role::Publish(Publish { tracks, ..Publish::default() });
        let negotiated = Negotiated { key, role, plan, tracks: commands, max_bitrate_bps };
        self.open_stream(now, new, negotiated)?;
        Ok(key)
    }

    pub(super) fn begin_play(
        &mut self,
        now: Time,
        new: NewStream<'_>,
        source: StreamKey,
    ) -> Result<StreamKey, Refusal> {
        self.check_new(now, &new)?;
        let offer = sdp::parse(new.sdp)?;
        self.note_codecs(&offer, new.room, new.owner, false);
        let published = self.streams.publish(source).ok_or(Refusal::StreamNotFound)?;
        let tracks = published.tracks.clone();
        let sources: Vec<SourceTrack> = tracks.iter().map(|track| track.source).collect();
        let plan = sdp::answer_play(&offer, &sources)?;

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
        let role = Role::Play { source };
        let negotiated = Negotiated { key, role, plan, tracks: commands, max_bitrate_bps: 0 };
        self.open_stream(now, new, negotiated)?;
        Ok(key)
    }

    /// What the relay is told to take of a publisher; 0 = its own default. A client's wish lowers the limit that holds
    /// without it, the operator's or the relay's, and never lifts it: where that is not known, the wish counts nothing.
    fn publish_bitrate_bps(&self, wish_bps: u64) -> u64 {
        let ours = self.config.media.max_publish_bitrate_bps;
        let holds = if ours == 0 { self.relays.max_receive_bitrate_bps() } else { ours };
        if (1..holds).contains(&wish_bps) { wish_bps } else { ours }
    }

    /// What can be said before the offer is looked at.
    fn check_new(&mut self, now: Time, new: &NewStream<'_>) -> Result<(), Refusal> {
        if self.relays.is_gone() {
            return Err(Refusal::NoRelay);
        }
        if self.streams.of_session(&new.session).is_some() {
            return Err(Refusal::StreamIdTaken);
        }
        let Signaling { max_unproved_streams: all, max_unproved_streams_per_address: per_address, .. } =
            self.config.signaling;
        let asker = self.asker(new);
        if !self.streams.admits(now, asker, UnprovedLimits { all, per_address }) {
            return Err(Refusal::TooManyUnproved);
        }
        Ok(())
    }

    /// WebSockets are counted where addresses cannot be: one of them is not to take all places.
    fn asker(&self, new: &NewStream<'_>) -> Asker {
        let member = match new.owner {
            Owner::Viewer => None,
            Owner::Member(id) => self.rooms.member(new.room, id),
        };
        Asker::new(new.from, member.and_then(Member::connection))
    }

    /// Puts the stream into the tables and asks the relay for its transport; its tracks follow when that is there.
    fn open_stream(&mut self, now: Time, new: NewStream<'_>, negotiated: Negotiated) -> Result<(), Refusal> {
        let Negotiated { key, role, plan, tracks, max_bitrate_bps } = negotiated;
        self.reserve_place(&new, &role)?;
        let asker = self.asker(&new);
        let parameters: Vec<&RtpParameters> = plan.tracks.iter().map(|track| &track.rtp).collect();
        let down_tracks = if matches!(role, Role::Play { .. }) { plan.tracks.len() } else { 0 };
        let (session, secret) = match new.ticket {
            Some(_) => (digest(&new.session), Some(new.session)),
            None => (new.session, None),
        };
        let mut stream = Stream {
            number: self.number(),
            session,
            name: new.name,
            room: new.room,
            owner: new.owner,
            has_audio: Stream::has(&parameters, MediaKind::Audio),
            has_video: Stream::has(&parameters, MediaKind::Video),
            over_http: new.ticket.is_some(),
            local_ufrag: String::new(),
            life: Life::Negotiating(Box::new(Negotiation {
                awaited: tracks.len(),
                tracks,
                opened: None,
                down_tracks: vec![DownTrackAdded::default(); down_tracks],
                ticket: new.ticket,
                secret,
            })),
            role,
            plan: None,
        };
        let label = self.label(key, &stream).ok_or(Refusal::NamesTooLong)?;
        let command = OpenTransport {
            transport_id: key.0,
            room_id: stream.room.0,
            remote_ufrag: plan.remote.ufrag.clone(),
            remote_pwd: plan.remote.pwd.clone(),
            remote_fingerprint_sha256: plan.remote.fingerprint_sha256.to_vec(),
            label,
            max_receive_bitrate_bps: max_bitrate_bps,
        };
        stream.plan = Some(plan);
        self.insert_stream(key, stream);
        self.streams.note_unproved(key, asker);
        self.timers.set(Timer::Stream(key), now + ANSWER_LIMIT);
        self.ask_relay(Purpose::Open(key), Command::OpenTransport(command));
        Ok(())
    }

    /// Limits of a member, or of the room's viewers.
    fn reserve_place(&self, new: &NewStream<'_>, role: &Role) -> Result<(), Refusal> {
        let limits = &self.config.rooms;
        let room = self.rooms.get(new.room).ok_or(Refusal::Restricted)?;
        let member = match new.owner {
            Owner::Viewer => None,
            Owner::Member(id) => room.member_by_id(id),
        };
        let (used, max) = match (member, role) {
            (None, _) => (room.viewers.len(), limits.max_viewers),
            (Some(member), Role::Publish(_)) => (member.publishes.len(), limits.max_publish_streams),
            (Some(member), Role::Play { .. }) => (member.plays.len(), limits.max_play_streams),
        };
        let connection = member.and_then(Member::connection);
        let of_connection = connection.map_or(0, |connection| self.streams_of(connection));
        if of_connection >= self.config.signaling.max_streams_per_connection {
            return Err(Refusal::TooManyStreamsOfConnection);
        }
        if used < max { Ok(()) } else { Err(Refusal::TooManyStreams) }
    }

    /// In all its rooms.
    fn streams_of(&self, id: ConnectionId) -> usize {
        let session = self.connections.get(&id).and_then(|connection| connection.session.as_ref());
        let rooms = session.map(|session| session.rooms.as_slice()).unwrap_or_default();
        let members = rooms.iter().filter_map(|room| self.rooms.member_of(*room, id));
        members.map(|member| member.publishes.len() + member.plays.len()).sum()
    }

    /// Into all tables. Also for streams found in a running relay.
    pub(super) fn insert_stream(&mut self, key: StreamKey, stream: Stream) {
        self.rooms.add_stream(key, &stream);
        self.streams.insert(key, stream);
    }
}

/// One CNAME and one media stream id for all tracks of a publisher: browsers play only tracks of one stream together.
pub(super) fn play_cname(source: StreamKey) -> String {
    format!("ringvox-{:016x}", source.0)
}
