//! Publish and play: what is asked is checked, the offer planned, and the relay asked for a transport.

use super::codecs::{note_codecs, plan_publish};
use super::connections::Connections;
use super::context::Context;
use super::label::first_label;
use super::recordings;
use super::relays::{Purpose, Relays};
use super::rooms::Rooms;
use super::secret::digest;
use super::streams::Streams;
use super::unproved::Requester;
use crate::id::{ConnectionId, HttpRequestId, RelayId, RoomId, StreamKey};
use crate::message::StreamRequest;
use crate::names::Name;
use crate::record::StreamRecord;
use crate::refusal::Refusal;
use crate::sdp::{self, Plan, PlannedTrack, SourceTrack};
use crate::stream::{Flow, Owner, Play, Publish, PublishedTrack, Role, Stream};
use crate::stream_state::{Negotiation, StreamState};
use relay_control::{
    AddDownTrack, AddUpTrack, Command, DownTrackAdded, MediaKind, OpenTransport, Priority, RtpParameters,
};
use std::borrow::Cow;

/// A stream to be.
pub(super) struct NewStream<'a> {
    /// `mediaSessionId`, or the secret part of the session's URL.
    pub(super) id: String,
    pub(super) name: String,
    pub(super) room: RoomId,
    pub(super) owner: Owner,
    /// By whom it is counted until it has keys.
    pub(super) requester: Requester,
    pub(super) sdp: &'a str,
    /// Where the answer goes, if it came over HTTP.
    pub(super) http_request: Option<HttpRequestId>,
}

impl NewStream<'_> {
    /// What stands for it where others may read.
    fn media_session_id(&self) -> Cow<'_, str> {
        if self.http_request.is_some() { digest(&self.id).into() } else { self.id.as_str().into() }
    }
}

/// What is asked of a publisher's stream besides.
#[derive(Default)]
pub(super) struct PublishWish {
    /// 0 = no wish.
    pub(super) max_bitrate_bps: u64,
    /// It shows a screen, as its client says besides the offer.
    pub(super) screen: bool,
    /// What the operator says of its video.
    pub(super) priority: Option<Priority>,
    /// It is to be recorded.
    pub(super) record: bool,
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

/// What a member asks for on its WebSocket. Only members publish and play: a stream without a room would be
/// anybody's.
pub(super) fn members_stream<'a>(
    cx: &Context,
    connections: &Connections,
    rooms: &Rooms,
    id: ConnectionId,
    request: &'a StreamRequest,
    publish: bool,
) -> Result<NewStream<'a>, Refusal> {
    let session = connections.session(id).ok_or(Refusal::SessionNotReady)?;
    let allowed = if publish { session.grant.publish } else { session.grant.subscribe };
    if !allowed {
        return Err(Refusal::Restricted);
    }
    if request.record && !session.grant.record {
        return Err(Refusal::TokenRecording);
    }
    let room = request.room.as_ref().and_then(|name| rooms.named(name)).ok_or(Refusal::Restricted)?;
    let member = connections.membership(id, room).ok_or(Refusal::Restricted)?;
    let members = session.memberships.iter().filter_map(|(room, id)| rooms.member(*room, *id));
    let streams: usize = members.map(|member| member.streams().count()).sum();
    if streams >= cx.config.signaling.max_streams_per_connection {
        return Err(Refusal::TooManyStreamsOfConnection);
    }
    Ok(NewStream {
        id: request.media_session_id.clone(),
        name: request.name.clone(),
        room,
        owner: Owner::Member(member),
        // WebSockets are counted where addresses cannot be: one of them is not to take all places.
        requester: Requester::new(connections.address(id), Some(id)),
        sdp: &request.sdp,
        http_request: None,
    })
}

pub(super) fn begin_publish(
    cx: &mut Context,
    rooms: &mut Rooms,
    streams: &mut Streams,
    relays: &Relays,
    new: NewStream<'_>,
    wish: PublishWish,
) -> Result<(), Refusal> {
    let relay = check_new(cx, rooms, streams, relays, &new)?;
    Name::Stream.check(&new.name).map_err(Refusal::BadName)?;
    let offer = sdp::parse(new.sdp)?;
    let plan = plan_publish(cx, rooms, new.room, new.owner, &offer)?;
    // Last, as whoever has the name may be displaced for it, and not for an offer of which nothing can be had.
    if streams.named(new.room, &new.name).is_some() {
        return Err(Refusal::StreamNameTaken);
    }
    note_codecs(cx, rooms, streams, (new.room, new.owner), &offer, true);
    // What is read is missed more than a face.
    let screen = wish.screen || offer.shows_slides();
    let usual = if screen { Priority::High } else { Priority::Medium };
    let priority = wish.priority.unwrap_or(usual).into();
    let max_bitrate_bps = publish_bitrate_bps(cx, relays, relay, wish.max_bitrate_bps);

    let track = |track: &PlannedTrack| PublishedTrack {
        id: cx.random_id(),
        source: track.source,
        flow: Flow::Awaited,
    };
    let tracks: Vec<PublishedTrack> = plan.tracks.iter().map(track).collect();
    let key = StreamKey(cx.random_id());
    let add = |(track, planned): (&PublishedTrack, &PlannedTrack)| {
        let PlannedTrack { rtp, ssrc, rtx_ssrc, .. } = planned.clone();
        let (transport_id, track_id) = (key.0, track.id);
        Command::AddUpTrack(AddUpTrack { transport_id, track_id, rtp, ssrc, rtx_ssrc, priority })
    };
    let commands = tracks.iter().zip(&plan.tracks).map(add).collect();
    let record = match new.owner {
        Owner::Viewer => StreamRecord::default(),
        Owner::Member(owner) => {
            let (owner, names) = ((new.room, owner), (new.name.as_str(), &*new.media_session_id()));
            recordings::of_new_stream(cx, rooms, owner, names, &tracks, wish.record)
        }
    };
    let role = Role::Publish(Publish { tracks, screen, record, ..Publish::default() });
    let negotiated = Negotiated { key, role, plan, tracks: commands, max_bitrate_bps };
    open_stream(cx, rooms, streams, relay, new, negotiated)
}

pub(super) fn begin_play(
    cx: &mut Context,
    rooms: &mut Rooms,
    streams: &mut Streams,
    relays: &Relays,
    new: NewStream<'_>,
    source: StreamKey,
) -> Result<(), Refusal> {
    let relay = check_new(cx, rooms, streams, relays, &new)?;
    let offer = sdp::parse(new.sdp)?;
    note_codecs(cx, rooms, streams, (new.room, new.owner), &offer, false);
    let published = streams.publish(source).ok_or(Refusal::StreamNotFound)?;
    let sources: Vec<SourceTrack> = published.tracks.iter().map(|track| track.source).collect();
    let plan = sdp::answer_play(&offer, &sources)?;

    let key = StreamKey(cx.random_id());
    let add = |planned: &PlannedTrack| {
        Command::AddDownTrack(AddDownTrack {
            transport_id: key.0,
            track_id: cx.random_id(),
            up_track_id: published.tracks.get(planned.source_index).map_or(0, |track| track.id),
            rtp: planned.rtp.clone(),
            cname: play_cname(source),
        })
    };
    let commands = plan.tracks.iter().map(add).collect();
    let role = Role::Play(Play { source, missed_notes: false });
    let negotiated = Negotiated { key, role, plan, tracks: commands, max_bitrate_bps: 0 };
    open_stream(cx, rooms, streams, relay, new, negotiated)
}

/// What the relay is told to take of a publisher; 0 = its own default. A client's wish lowers the limit that
/// holds without it, the operator's or the relay's, and never lifts it: where that is not known, the wish
/// counts nothing.
fn publish_bitrate_bps(cx: &Context, relays: &Relays, relay: RelayId, wish_bps: u64) -> u64 {
    let ours = cx.config.media.max_publish_bitrate_bps;
    let holds = if ours == 0 { relays.max_receive_bitrate_bps(relay) } else { ours };
    if (1..holds).contains(&wish_bps) { wish_bps } else { ours }
}

/// What can be said before the offer is looked at. Gives the relay that the room is on.
fn check_new(
    cx: &Context,
    rooms: &Rooms,
    streams: &mut Streams,
    relays: &Relays,
    new: &NewStream<'_>,
) -> Result<RelayId, Refusal> {
    let relay = rooms.get(new.room).ok_or(Refusal::Restricted)?.relay;
    if relays.is_gone(relay) {
        return Err(Refusal::NoRelay);
    }
    if streams.with_id(&new.id).is_some() {
        return Err(Refusal::StreamIdTaken);
    }
    if streams.admits_unproved(cx, new.requester) { Ok(relay) } else { Err(Refusal::TooManyUnproved) }
}

/// Puts the stream into the tables and asks the relay for its transport; its tracks follow when that is
/// there.
fn open_stream(
    cx: &mut Context,
    rooms: &mut Rooms,
    streams: &mut Streams,
    relay: RelayId,
    new: NewStream<'_>,
    negotiated: Negotiated,
) -> Result<(), Refusal> {
    let Negotiated { key, role, plan, tracks, max_bitrate_bps } = negotiated;
    check_place(cx, rooms, &new, &role)?;
    let parameters: Vec<&RtpParameters> = plan.tracks.iter().map(|track| &track.rtp).collect();
    let down_tracks = if matches!(role, Role::Play(_)) { plan.tracks.len() } else { 0 };
    let media_session_id = new.media_session_id().into_owned();
    let secret = new.http_request.map(|_| new.id);
    let mut stream = Stream {
        number: cx.number(),
        media_session_id,
        name: new.name,
        relay,
        room: new.room,
        owner: new.owner,
        has_audio: Stream::has(&parameters, MediaKind::Audio),
        has_video: Stream::has(&parameters, MediaKind::Video),
        over_http: new.http_request.is_some(),
        local_ufrag: String::new(),
        ufrag_before: None,
        offer: digest(new.sdp),
        answer: None,
        state: StreamState::Negotiating(Box::new(Negotiation {
            awaited: tracks.len(),
            tracks,
            opened: None,
            down_tracks: vec![DownTrackAdded::default(); down_tracks],
            max_bitrate_bps,
            http_request: new.http_request,
            secret,
        })),
        role,
        plan: None,
    };
    let label = first_label(rooms, key, &stream).ok_or(Refusal::NamesTooLong)?;
    let command = opening((key, stream.room), &plan, label, max_bitrate_bps);
    stream.plan = Some(plan);
    rooms.add_stream(key, &stream);
    streams.insert(cx, key, stream);
    streams.note_unproved(key, new.requester);
    cx.ask_relay(relay, Purpose::Open(key), Command::OpenTransport(command));
    Ok(())
}

fn opening(
    (key, room): (StreamKey, RoomId),
    plan: &Plan,
    label: Vec<u8>,
    max_bitrate_bps: u64,
) -> OpenTransport {
    let mut fingerprints = plan.remote.fingerprints_sha256.iter().map(|octets| octets.to_vec());
    OpenTransport {
        transport_id: key.0,
        room_id: room.0,
        remote_ufrag: plan.remote.ufrag.clone(),
        remote_pwd: plan.remote.pwd.clone(),
        remote_fingerprint_sha256: fingerprints.next().unwrap_or_default(),
        more_fingerprints_sha256: fingerprints.collect(),
        label,
        max_receive_bitrate_bps: max_bitrate_bps,
        dtls_client: plan.remote.is_dtls_server,
    }
}

/// Limits of a member, or of the room's viewers.
fn check_place(cx: &Context, rooms: &Rooms, new: &NewStream<'_>, role: &Role) -> Result<(), Refusal> {
    let limits = &cx.config.rooms;
    let room = rooms.get(new.room).ok_or(Refusal::Restricted)?;
    let member = match new.owner {
        Owner::Viewer => None,
        Owner::Member(id) => room.member(id),
    };
    let (used, max) = match (member, role) {
        (None, _) => (room.viewers(), limits.max_viewers),
        (Some(member), Role::Publish(_)) => (member.publishes.len(), limits.max_publish_streams),
        (Some(member), Role::Play(_)) => (member.plays.len(), limits.max_play_streams),
    };
    if used < max { Ok(()) } else { Err(Refusal::TooManyStreams) }
}

/// One CNAME and one media stream id for all tracks of a publisher: browsers play only tracks of one stream
/// together.
pub(super) fn play_cname(source: StreamKey) -> String {
    format!("ringvox-{:016x}", source.0)
}
