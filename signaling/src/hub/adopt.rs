//! Rooms rebuilt from the labels on transports.
//!
//! A signaling that finds a running relay rebuilds rooms, members and streams from the labels
//! ([`super::label`]) and closes nothing that it understands: media flows on. The members are *detached*
//! until their clients come back with the secret of their earlier session.

use super::context::Context;
use super::label::{Label, MemberLabel, RecordLabel, RoleLabel, write_label};
use super::rooms::{Newcomer, Rooms};
use super::streams::Streams;
use super::unproved::Requester;
use crate::id::{MemberId, RelayId, RoomId, StreamKey};
use crate::member::{Member, Presence};
use crate::record::{Running, StreamRecord, Taps};
use crate::room::Terms;
use crate::sdp::SourceTrack;
use crate::stream::{Flow, Muted, Owner, Play, Publish, PublishedTrack, Role, Stream};
use crate::stream_state::StreamState;
use crate::timer::Timer;
use recorder_control::Kind;
use relay_control::{
    CloseTransport, Command, Inventory, MediaKind, RtpParameters, TransportInfo, TransportState, UpTrackInfo,
};
use std::collections::BTreeMap;

/// Takes over what a relay that we have not seen before is running. What cannot be understood is closed.
pub(super) fn adopt(
    cx: &mut Context,
    rooms: &mut Rooms,
    streams: &mut Streams,
    relay: RelayId,
    inventory: Inventory,
) {
    let close = |cx: &mut Context, transport_id| {
        cx.tell_relay(relay, Command::CloseTransport(CloseTransport { transport_id }));
    };
    let mut found: Vec<(Label, TransportInfo)> = Vec::new();
    for info in inventory.transports {
        if streams.contains(StreamKey(info.transport_id)) {
            continue;
        }
        match Label::read(&info.label) {
            Some(label) if is_alive(&info) => found.push((label, info)),
            _ => close(cx, info.transport_id),
        }
    }
    // Publishers first: a play needs its source.
    found.sort_by_key(|(label, _)| (matches!(label.role, RoleLabel::Play { .. }), label.number));
    let total = found.len();
    let mut adopted = 0;
    for (label, info) in found {
        cx.skip_numbers(label.number);
        let transport_id = info.transport_id;
        if adopt_stream(cx, rooms, streams, relay, label, &info).is_some() {
            adopted += 1;
        } else {
            close(cx, transport_id);
        }
    }
    if total > 0 {
        tracing::info!(adopted, total, rooms = rooms.len(), "took over the transports of a running relay");
    }
}

/// `None`: it contradicts what is here already.
fn adopt_stream(
    cx: &mut Context,
    rooms: &mut Rooms,
    streams: &mut Streams,
    relay: RelayId,
    label: Label,
    info: &TransportInfo,
) -> Option<()> {
    let key = StreamKey(info.transport_id);
    if streams.with_id(&label.media_session_id).is_some() {
        return None;
    }
    let role = adopted_role(cx, streams, &label.role, info)?;
    let room = adopted_room(cx, rooms, relay, RoomId(info.room_id), &label)?;
    if let RoleLabel::Publish { record, .. } = &label.role {
        adopt_recording(cx, rooms, room, record);
    }
    let owner = match label.member {
        None => Owner::Viewer,
        Some(member) => {
            Owner::Member(adopted_member(cx, rooms, streams, room, member, (label.number, label.http))?)
        }
    };
    let parameters: Vec<&RtpParameters> = match &role {
        Role::Publish(_) => info.up_tracks.iter().map(|track| &track.rtp).collect(),
        Role::Play(_) => info.down_tracks.iter().map(|track| &track.rtp).collect(),
    };
    let state = adopted_state(&role, info);
    if matches!(state, StreamState::Connecting { .. }) {
        // Who asked for it, the relay does not know.
        streams.note_unproved(key, Requester::Unknown);
    }
    let stream = Stream {
        number: label.number,
        media_session_id: label.media_session_id,
        name: label.name,
        relay,
        room,
        owner,
        has_audio: Stream::has(&parameters, MediaKind::Audio),
        has_video: Stream::has(&parameters, MediaKind::Video),
        over_http: label.http,
        local_ufrag: info.opened.as_ref().map(|opened| opened.local_ufrag.clone()).unwrap_or_default(),
        ufrag_before: None,
        offer: String::new(),
        answer: None,
        state,
        role,
        plan: None,
    };
    rooms.add_stream(key, &stream);
    streams.insert(cx, key, stream);
    if label.outdated {
        write_label(cx, rooms, streams, key);
    }
    Some(())
}

fn adopted_room(
    cx: &Context,
    rooms: &mut Rooms,
    relay: RelayId,
    id: RoomId,
    label: &Label,
) -> Option<RoomId> {
    match (rooms.named(&label.room), rooms.get(id)) {
        (Some(named), Some(room)) => (named == id && room.relay == relay).then_some(id),
        (Some(_), None) | (None, Some(_)) => None,
        (None, None) => {
            // The settings may be others than those under which the room was made.
            let wished = label.terms.read();
            let max_participants = wished.max_participants;
            let terms = wished.within(&cx.config.media).unwrap_or(Terms { codecs: None, max_participants });
            rooms.insert(id, &label.room, relay, terms);
            rooms.set_labelled(id);
            Some(id)
        }
    }
}

/// The room is recorded, as all its publications say.
fn adopt_recording(cx: &Context, rooms: &mut Rooms, room: RoomId, record: &RecordLabel) {
    record.began_at_ms.into_iter().for_each(|began| rooms.set_began_at(room, began));
    let none_yet = rooms.get(room).is_some_and(|room| room.recording.is_none());
    let wanted = record.wanted(Kind::Room).filter(|_| none_yet && cx.config.recording.is_on());
    if let Some(wanted) = wanted {
        rooms.set_recording(room, Some(Running::new(wanted.clone())));
    }
}

fn adopted_role(cx: &Context, streams: &Streams, label: &RoleLabel, info: &TransportInfo) -> Option<Role> {
    match label {
        RoleLabel::Play { source } => {
            let source = StreamKey(*source);
            streams.publish(source)?;
            Some(Role::Play(Play { source, missed_notes: false }))
        }
        RoleLabel::Publish { audio_muted, video_muted, fmtp, record } => {
            let track = |track: &UpTrackInfo| {
                let fmtp = fmtp.get(&track.track_id).map_or("", String::as_str);
                let source = SourceTrack::new(track.rtp.codec(), fmtp)?;
                let flow = if track.active { Flow::Flows } else { Flow::Stopped };
                Some(PublishedTrack { id: track.track_id, source, flow })
            };
            let wanted = record.wanted(Kind::Stream).filter(|_| cx.config.recording.is_on());
            Some(Role::Publish(Publish {
                tracks: info.up_tracks.iter().map(track).collect::<Option<Vec<_>>>()?,
                players: BTreeMap::new(),
                muted: Muted { audio: *audio_muted, video: *video_muted },
                has_sent: info.up_tracks.iter().any(|track| track.active),
                screen: record.screen,
                record: StreamRecord {
                    file: wanted.map(|wanted| wanted.file.clone()).or_else(|| record.file()),
                    running: wanted.cloned().map(Running::new),
                    is_refused: false,
                    // What it goes into by the relay may be something that nobody wants any more.
                    taps: Taps { changed: true, ..Taps::default() },
                },
            }))
        }
    }
}

fn adopted_state(role: &Role, info: &TransportInfo) -> StreamState {
    let silent = matches!(role, Role::Publish(publish) if !publish.has_sent);
    match info.state() {
        TransportState::Connected if silent => StreamState::AwaitingMedia,
        TransportState::Connected => StreamState::OnAir,
        state => StreamState::Connecting { checked: state == TransportState::IceConnected },
    }
}

/// Whose stream it is. What is known of what it plays stands in all its labels; the newest one knows best.
fn adopted_member(
    cx: &mut Context,
    rooms: &mut Rooms,
    streams: &Streams,
    room: RoomId,
    label: MemberLabel,
    (number, http): (u64, bool),
) -> Option<MemberId> {
    let playable = label.playable();
    let newest = |member: &Member| {
        member.streams().filter_map(|key| streams.get(*key)).map(|stream| stream.number).max()
    };
    if let Some(member) = rooms.get(room)?.member_named(&label.login) {
        if member.token != label.token {
            return None;
        }
        let id = member.id;
        if newest(member).is_none_or(|newest| newest < number) {
            rooms.member_mut(room, id)?.playable = playable;
        }
        return Some(id);
    }
    let presence = if http { Presence::Http } else { Presence::Adopted };
    let MemberLabel { login, token, rights, .. } = label;
    let id = rooms.add_member(cx, room, Newcomer { login, token, app_key: String::new(), presence, rights });
    rooms.member_mut(room, id)?.playable = playable;
    if !http {
        cx.timers.set(Timer::Detached(room, id), cx.now + cx.config.rooms.adopt_grace);
    }
    Some(id)
}

fn is_alive(info: &TransportInfo) -> bool {
    !matches!(info.state(), TransportState::Failed | TransportState::Closed)
}
