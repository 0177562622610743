//! What the owner of a stream is told of it.

use super::context::Context;
use super::rooms::Rooms;
use super::streams::Streams;
use crate::id::ConnectionId;
use crate::message::{RecordStatus, ServerMessage, Status, StreamRef, StreamStatus};
use crate::refusal::Reason;
use crate::stream::{Role, Stream};

pub(super) fn tell_owner(
    cx: &mut Context,
    rooms: &Rooms,
    streams: &Streams,
    stream: &Stream,
    (status, reason): (Status, Option<Reason>),
) {
    let Some(owner) = rooms.owner(stream) else { return };
    let Some(to) = owner.connection() else { return };
    let source = match (&stream.role, status) {
        (Role::Play(play), Status::Playing) => streams.publish(play.source),
        _ => None,
    };
    let status = StreamStatus {
        media_session_id: &stream.media_session_id,
        name: &stream.name,
        status,
        reason,
        published: stream.is_publish(),
        has_video: stream.has_video,
        has_audio: stream.has_audio,
        rejected: stream.rejected(),
        muted: source.map(|source| (source.muted.audio, source.muted.video)),
        stopped: source.map(|source| source.stopped().kinds()).unwrap_or_default(),
        record: record_status(stream, status),
    };
    send_status(cx, to, &owner.app_key, &status);
}

/// What of its recording the publisher is told: at its end the file, which is there some time later.
fn record_status(stream: &Stream, status: Status) -> RecordStatus<'_> {
    let Some(record) = stream.publish().map(|publish| &publish.record) else {
        return RecordStatus::default();
    };
    let file = record.file.as_deref();
    match status {
        Status::Unpublished | Status::Failed => {
            RecordStatus { is_recorded: file.is_some(), name: file, is_refused: false }
        }
        _ => {
            RecordStatus { is_recorded: record.running.is_some(), name: None, is_refused: record.is_refused }
        }
    }
}

/// Of a stream that there is not.
pub(super) fn tell_of_none(
    cx: &mut Context,
    (to, app_key): (ConnectionId, &str),
    stream: &StreamRef,
    published: bool,
    (status, reason): (Status, Reason),
) {
    let StreamRef { media_session_id, name } = stream;
    let reason = Some(reason);
    let status = StreamStatus {
        media_session_id,
        name,
        status,
        reason,
        published,
        has_video: true,
        has_audio: true,
        rejected: &[],
        muted: None,
        stopped: Vec::new(),
        record: RecordStatus::default(),
    };
    send_status(cx, to, app_key, &status);
}

/// To the client, and to the operator's hook.
fn send_status(cx: &mut Context, to: ConnectionId, app_key: &str, status: &StreamStatus<'_>) {
    let mut status = status.to_json();
    cx.send(to, &ServerMessage::StreamStatus(&status));
    cx.note(to, "StreamStatusEvent", || {
        status["appKey"] = app_key.into();
        status
    });
}
