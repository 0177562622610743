//! A recording is ordered: its id, and what its file is called.

use super::context::Context;
use crate::config::codec_name;
use crate::file_name::{self, Subject};
use crate::member::Member;
use crate::room::Room;
use crate::stream::PublishedTrack;
use recorder_control::{Kind, Wanted};
use relay_control::MediaKind;

/// Digits of a session's digest that stand for it in a file's name.
const SESSION_DIGITS: usize = 16;

/// Of one publication: its name, its `mediaSessionId` and its tracks.
pub(super) fn of_stream(
    cx: &mut Context,
    room: &Room,
    member: &Member,
    (name, media_session_id): (&str, &str),
    tracks: &[PublishedTrack],
) -> Wanted {
    let (id, started_at_ms) = (id(cx), cx.unix_ms());
    let codec = |kind: MediaKind| {
        let track = tracks.iter().find(|track| track.source.kind == kind);
        track.map(|track| codec_name(track.source.codec))
    };
    let (audio, video) = (codec(MediaKind::Audio), codec(MediaKind::Video));
    let subject = Subject {
        room: &room.name,
        login: &member.login,
        stream: file_name::short_name(&room.name, &member.login, name, video.is_some()),
        stream_name: name,
        session_id: member.token.get(..SESSION_DIGITS).unwrap_or_default(),
        media_session_id,
        started_at_ms,
        audio_codec: audio,
        video_codec: video,
        id: &id,
    };
    let settings = &cx.config.recording;
    let file = settings.stream_record_policy_template.file(&subject);
    let aligned_at_ms = room.began_at_ms.filter(|_| settings.enable_empty_shift_writer);
    Wanted { id, kind: Kind::Stream, file, started_at_ms, aligned_at_ms }
}

/// Of a room as a whole.
pub(super) fn of_room(cx: &mut Context, name: &str) -> Wanted {
    let (id, started_at_ms) = (id(cx), cx.unix_ms());
    let file = file_name::of_room(name, started_at_ms, &id);
    Wanted { id, kind: Kind::Room, file, started_at_ms, aligned_at_ms: None }
}

fn id(cx: &mut Context) -> String {
    format!("{:016x}", cx.random_id())
}
