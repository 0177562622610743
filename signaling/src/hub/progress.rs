//! What happens to streams in a relay, and what follows when one has moved on.

use super::connections::Connections;
use super::context::Context;
use super::end::{end_stream, remove_ended};
use super::http::HttpReply;
use super::media;
use super::offers::play_cname;
use super::recordings;
use super::relays::{Purpose, Relays};
use super::rooms::Rooms;
use super::status::tell_owner;
use super::streams::Streams;
use super::taps;
use crate::id::{RelayId, StreamKey};
use crate::message::{RoomEvent, ServerMessage, Status};
use crate::refusal::{Refusal, StreamEnd};
use crate::sdp::{PlaySide, TrackSsrcs};
use crate::stream::Role;
use crate::stream_state::{Action, Negotiation, Trigger};
use crate::timer::{Time, Timer};
use relay_control::{
    Command, CommandError, ErrorCode, FailReason, ReplyBody, TransportState, TransportStateChanged,
    UpTrackActivity,
};

/// Moves a stream on, and does what follows.
pub(super) fn advance(
    cx: &mut Context,
    rooms: &mut Rooms,
    streams: &mut Streams,
    relays: &Relays,
    key: StreamKey,
    trigger: Trigger,
) {
    match streams.advance(cx, key, trigger) {
        None | Some(Action::Wait) => {}
        Some(Action::AskForTracks(commands)) => ask_for_tracks(cx, streams, key, commands),
        Some(Action::Answer(negotiation)) => answer(cx, rooms, streams, relays, key, *negotiation),
        Some(Action::Announce) => announce(cx, rooms, streams, key),
        Some(Action::Remove) => remove_ended(cx, rooms, streams, key),
    }
}

/// What a reply means for a stream. `Err`: the connection to the relay ended before it came.
pub(super) fn trigger_of(purpose: Purpose, reply: Result<ReplyBody, ()>) -> Option<(StreamKey, Trigger)> {
    match (purpose, reply) {
        (
            Purpose::RestartIce(..)
            | Purpose::Probe(_)
            | Purpose::ProbeViewer(..)
            | Purpose::Tap(..)
            | Purpose::Nothing,
            _,
        ) => None,
        (Purpose::Open(key), Ok(ReplyBody::TransportOpened(opened))) => Some((key, Trigger::Opened(opened))),
        (Purpose::UpTrack(key), Ok(ReplyBody::UpTrackAdded(_))) => Some((key, Trigger::UpTrackAdded)),
        (Purpose::DownTrack(key, index), Ok(ReplyBody::DownTrackAdded(added))) => {
            Some((key, Trigger::DownTrackAdded(index, added)))
        }
        (Purpose::Open(key) | Purpose::UpTrack(key) | Purpose::DownTrack(key, _), reply) => {
            let full = matches!(&reply, Ok(ReplyBody::Error(error)) if is_full(error));
            Some((key, Trigger::End(if full { StreamEnd::RelayFull } else { StreamEnd::ServerError })))
        }
    }
}

pub(super) fn log_refusal(now: Time, relays: &mut Relays, purpose: &Purpose, reply: &Result<ReplyBody, ()>) {
    let Ok(ReplyBody::Error(error)) = reply else { return };
    if matches!(purpose, Purpose::Tap(..)) && taps::is_late(reply) {
        return;
    }
    if !is_full(error) {
        tracing::warn!(?purpose, code = error.code, "relay refused: {}", error.message);
    // Clients can bring this about as often as they like.
    } else if let Some(count) = relays.note_full(now) {
        tracing::warn!(count, ?purpose, "refused by a limit of the relay: {}", error.message);
    }
}

fn is_full(error: &CommandError) -> bool {
    matches!(error.code(), ErrorCode::LimitReached | ErrorCode::Busy)
}

/// The state of a transport has changed. A relay speaks of its own only.
pub(super) fn transport_state(
    cx: &mut Context,
    rooms: &mut Rooms,
    streams: &mut Streams,
    relays: &Relays,
    relay: RelayId,
    change: &TransportStateChanged,
) {
    let key = StreamKey(change.transport_id);
    let Some(stream) = streams.get(key).filter(|_| streams.is_on(key, relay)) else { return };
    let trigger = match TransportState::try_from(change.state) {
        Ok(TransportState::IceConnected) => Trigger::Checked,
        Ok(TransportState::Connected) => {
            Trigger::Connected(stream.publish().is_none_or(|publish| publish.has_sent))
        }
        Ok(TransportState::Failed) => match change.reason() {
            FailReason::IceTimeout => Trigger::End(StreamEnd::IceTimeout),
            FailReason::ConsentExpired => Trigger::End(StreamEnd::ConsentLost),
            FailReason::DtlsFingerprint => Trigger::End(StreamEnd::DtlsFingerprint),
            FailReason::DtlsFailed => Trigger::End(StreamEnd::DtlsFailed),
            FailReason::DtlsClosed => Trigger::Closed(stream.over_http),
            FailReason::None | FailReason::RelayFault => Trigger::End(StreamEnd::ServerError),
        },
        Ok(TransportState::Closed) => Trigger::End(StreamEnd::ServerError),
        Ok(TransportState::New) | Err(_) => return,
    };
    // Not with the first check: whoever has the password can send it from any address.
    if matches!(trigger, Trigger::Connected(_)) && streams.note_proved(key) {
        // Before anything else is said: its first packets are on their way.
        taps::order_proved(cx, rooms, streams, key);
    }
    advance(cx, rooms, streams, relays, key, trigger);
}

pub(super) fn up_track_activity(
    cx: &mut Context,
    connections: &mut Connections,
    rooms: &mut Rooms,
    streams: &mut Streams,
    relays: &Relays,
    relay: RelayId,
    activity: UpTrackActivity,
) {
    let Some(key) = streams.of_track(activity.track_id).filter(|key| streams.is_on(*key, relay)) else {
        return;
    };
    let changed = streams.set_flowing(key, activity.track_id, activity.active);
    if activity.active {
        advance(cx, rooms, streams, relays, key, Trigger::Media);
    }
    if let Some(changed) = changed {
        media::tell(cx, connections, rooms, streams, key, changed);
    }
}

fn ask_for_tracks(cx: &mut Context, streams: &Streams, key: StreamKey, commands: Vec<Command>) {
    let Some(stream) = streams.get(key) else { return };
    for (index, command) in commands.into_iter().enumerate() {
        let purpose = match command {
            Command::AddDownTrack(_) => Purpose::DownTrack(key, index),
            _ => Purpose::UpTrack(key),
        };
        cx.ask_relay(stream.relay, purpose, command);
    }
}

fn answer(
    cx: &mut Context,
    rooms: &mut Rooms,
    streams: &mut Streams,
    relays: &Relays,
    key: StreamKey,
    negotiation: Negotiation,
) {
    let answer = write_answer(cx, streams, relays, key, &negotiation);
    let http = negotiation.http_request.zip(negotiation.secret);
    let Some((etag, sdp)) = answer else {
        end_stream(cx, rooms, streams, key, StreamEnd::ServerError);
        if let Some((http_request, _)) = http {
            cx.reply(http_request, HttpReply::Refused(Refusal::Ended(StreamEnd::ServerError)));
        }
        return;
    };
    streams.set_local_ufrag(key, &etag);
    if let Some(stream) = streams.get(key)
        && let Some(to) = rooms.connection_of(stream)
    {
        cx.send(to, &ServerMessage::RemoteSdp { media_session_id: &stream.media_session_id, sdp: &sdp });
        streams.set_answer(key, &sdp);
    }
    if let Some((http_request, secret)) = http {
        let rejected = streams.get(key).map(|stream| stream.rejected().to_vec()).unwrap_or_default();
        cx.reply(http_request, HttpReply::Created { secret, etag, sdp, rejected });
    }
}

/// The relay's ICE user fragment, and the answer with it.
fn write_answer(
    cx: &mut Context,
    streams: &Streams,
    relays: &Relays,
    key: StreamKey,
    negotiation: &Negotiation,
) -> Option<(String, String)> {
    let session_id = cx.random_id();
    let stream = streams.get(key)?;
    let mut side = relays.side(stream.relay, negotiation.opened.as_ref()?, session_id)?;
    if let Role::Play(play) = &stream.role {
        let ssrcs = negotiation.down_tracks.iter().map(|track| TrackSsrcs {
            ssrc: track.ssrc,
            rtx_ssrc: Some(track.rtx_ssrc).filter(|ssrc| *ssrc != 0),
        });
        let cname = play_cname(play.source);
        side.play = Some(PlaySide { stream_id: cname.clone(), cname, ssrcs: ssrcs.collect() });
    } else {
        let asked_bps = Some(negotiation.max_bitrate_bps).filter(|bps| *bps > 0);
        let relays_bps = Some(relays.max_receive_bitrate_bps(stream.relay)).filter(|bps| *bps > 0);
        side.max_bitrate_bps = asked_bps.or(relays_bps);
        side.max_video_bitrate_bps = asked_bps;
    }
    let sdp = stream.plan.as_ref()?.write(&side);
    Some((side.ufrag, sdp))
}

/// The owner hears `PUBLISHING` or `PLAYING`; then the others hear of a published stream.
fn announce(cx: &mut Context, rooms: &Rooms, streams: &Streams, key: StreamKey) {
    let Some(stream) = streams.get(key) else { return };
    let status = if stream.is_publish() { Status::Publishing } else { Status::Playing };
    tell_owner(cx, rooms, streams, stream, (status, None));
    media::tell_watchers(cx, rooms, streams, key);
    if stream.is_publish() {
        cx.timers.set(Timer::Media(key), cx.now + media::FIRST_MEDIA_LIMIT);
    }
    if stream.is_publish()
        && let Some(member) = rooms.owner(stream)
    {
        let event = RoomEvent::Published(stream.for_room(&member.login));
        rooms.tell_others(cx, stream.room, member.id, event);
        if stream.publish().is_some_and(|publish| publish.record.running.is_some()) {
            recordings::note_started(cx, rooms, streams, key);
        }
        if taps::is_recorded(rooms, stream) {
            cx.note_recording_changed(stream.room);
        }
    }
}
