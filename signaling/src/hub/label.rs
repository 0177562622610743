//! Labels on transports: what a signaling that finds a running relay needs to know of each.
//!
//! A label is JSON of at most [`LABEL_BYTES_MAX`]. It may grow fields, which an older signaling does not read
//! and which a newer one does without if they are not there; what would be misread otherwise gets a new
//! version.
//!
//! Deliberately absent: chat, secrets (labels are shown by `ringvox-relay ctl inventory`), and members
//! without streams; they join again and nobody misses anything.

use super::context::Context;
use super::rooms::Rooms;
use super::secret::digest;
use super::streams::Streams;
use crate::auth::Rights;
use crate::config::{AUDIO_CODECS, VIDEO_CODECS, codec_name};
use crate::id::StreamKey;
use crate::member::{Member, Playable};
use crate::record::Running;
use crate::room::{Room, Terms};
use crate::sdp::{CodecPreferences, SourceTrack};
use crate::stream::{Play, Publish, Role, Stream};
use recorder_control::{FILE_NAME_BYTES_MAX, ID_BYTES_MAX, Kind, Wanted, is_file_name, is_id};
use relay_control::{Codec, Command, LABEL_BYTES_MAX, SetLabel};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Form of the label; another one is not ours to read.
const LABEL_VERSION: u32 = 1;

#[derive(Debug, Serialize, Deserialize, PartialEq, Eq)]
pub(super) struct Label {
    version: u32,
    /// Order in which streams were made: `STATE` lists a member's camera before its screen.
    pub(super) number: u64,
    pub(super) room: String,
    #[serde(rename = "session")]
    pub(super) media_session_id: String,
    pub(super) name: String,
    /// Absent: a WHEP player.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) member: Option<MemberLabel>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) http: bool,
    /// Where `http`: `session` is a digest of the secret in the session's URL. Older labels hold the secret
    /// itself.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    digest: bool,
    /// It was written by an older signaling, and has to be written anew.
    #[serde(skip)]
    pub(super) outdated: bool,
    #[serde(default, skip_serializing_if = "TermsLabel::is_empty")]
    pub(super) terms: TermsLabel,
    pub(super) role: RoleLabel,
}

/// What the creator of the room wished.
#[derive(Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
pub(super) struct TermsLabel {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max: Option<usize>,
    /// Names, most wanted first; empty: no wish.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    codecs: Vec<String>,
}

#[derive(Debug, Serialize, Deserialize, PartialEq, Eq)]
pub(super) struct MemberLabel {
    pub(super) login: String,
    /// A digest of the secret with which its client comes back; the secret itself only the client has.
    pub(super) token: String,
    /// Formats it can play, as [`format_name`] writes them, by its offers to play and to publish. Left out of
    /// a label that would become too long: they make a call better, but it goes on without them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    plays: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    sends: Vec<String>,
    /// By which it came in; none in older labels.
    #[serde(default, skip_serializing_if = "Rights::is_none")]
    pub(super) rights: Rights,
}

#[derive(Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(super) enum RoleLabel {
    Publish {
        audio_muted: bool,
        video_muted: bool,
        /// What the relay does not know of a track: by track id, the format parameters.
        fmtp: BTreeMap<u64, String>,
        #[serde(default, skip_serializing_if = "RecordLabel::is_empty")]
        record: Box<RecordLabel>,
    },
    Play {
        source: u64,
    },
}

/// What is recorded of a publication.
#[derive(Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub(super) struct RecordLabel {
    /// The stream's own recording.
    #[serde(skip_serializing_if = "Option::is_none")]
    stream: Option<Wanted>,
    /// That of the room as a whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    room: Option<Wanted>,
    /// The file of the stream's latest recording, where none runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    /// When the room's first publication began, if files begin then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) began_at_ms: Option<u64>,
    /// It shows a screen.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) screen: bool,
}

impl RecordLabel {
    fn new(room: &Room, publish: &Publish) -> Self {
        let wanted = |running: &Option<Running>| running.as_ref().map(|running| running.wanted.clone());
        Self {
            stream: wanted(&publish.record.running),
            room: wanted(&room.recording),
            file: publish.record.file.clone().filter(|_| publish.record.running.is_none()),
            began_at_ms: room.began_at_ms,
            screen: publish.screen,
        }
    }

    fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The longest that it may become.
    fn longest() -> Self {
        let file = || "f".repeat(FILE_NAME_BYTES_MAX);
        let wanted = |kind| Wanted {
            id: "f".repeat(ID_BYTES_MAX),
            kind,
            file: file(),
            started_at_ms: u64::MAX,
            aligned_at_ms: Some(u64::MAX),
        };
        let (stream, room) = (Some(wanted(Kind::Stream)), Some(wanted(Kind::Room)));
        // Beside a recording of the stream no file is named.
        Self { stream, room, file: None, began_at_ms: Some(u64::MAX), screen: true }
    }

    /// The file of a recording of the stream that ran.
    pub(super) fn file(&self) -> Option<String> {
        self.file.clone().filter(|file| is_file_name(file))
    }

    /// The recording of its stream or its room.
    pub(super) fn wanted(&self, kind: Kind) -> Option<&Wanted> {
        let wanted = match kind {
            Kind::Stream => self.stream.as_ref(),
            Kind::Room => self.room.as_ref(),
        };
        wanted.filter(|wanted| wanted.kind == kind && is_id(&wanted.id) && is_file_name(&wanted.file))
    }
}

impl Label {
    /// `None`: not ours.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let mut label = serde_json::from_slice::<Self>(bytes).ok()?;
        if label.http && !label.digest {
            label.media_session_id = digest(&label.media_session_id);
            (label.digest, label.outdated) = (true, true);
        }
        (label.version == LABEL_VERSION).then_some(label)
    }

    /// `None`: it would be too long.
    fn write(&mut self) -> Option<Vec<u8>> {
        let fits = |label: &Self| serde_json::to_vec(label).ok().filter(|text| text.len() <= LABEL_BYTES_MAX);
        fits(self).or_else(|| {
            let member = self.member.as_mut()?;
            (member.plays, member.sends) = (Vec::new(), Vec::new());
            fits(self)
        })
    }
}

impl TermsLabel {
    fn new(terms: &Terms) -> Self {
        let codecs = terms.codecs.iter().flat_map(|codecs| codecs.video.iter().chain(&codecs.audio));
        Self {
            max: terms.max_participants,
            codecs: codecs.map(|codec| codec_name(*codec).to_owned()).collect(),
        }
    }

    fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Codecs that we do not know are not wished.
    pub(super) fn read(&self) -> Terms {
        let known = |known: &[Codec]| -> Vec<Codec> {
            self.codecs
                .iter()
                .filter_map(|name| codec_named(name))
                .filter(|codec| known.contains(codec))
                .collect()
        };
        let wished = CodecPreferences { audio: known(&AUDIO_CODECS), video: known(&VIDEO_CODECS) };
        let none = wished.audio.is_empty() && wished.video.is_empty();
        Terms { codecs: (!none).then_some(wished), max_participants: self.max }
    }
}

impl MemberLabel {
    fn new(member: &Member) -> Self {
        let names = |tracks: &[SourceTrack]| {
            let mut names: Vec<String> = tracks.iter().map(format_name).collect();
            names.dedup();
            names
        };
        Self {
            login: member.login.clone(),
            token: member.token.clone(),
            plays: names(&member.playable.by_play),
            sends: names(&member.playable.by_publish),
            rights: member.rights,
        }
    }

    /// What it can play, as far as it was known and is understood.
    pub(super) fn playable(&self) -> Playable {
        let tracks = |names: &[String]| names.iter().filter_map(|name| format_named(name)).collect();
        Playable { by_play: tracks(&self.plays), by_publish: tracks(&self.sends) }
    }
}

/// A codec's name; for H.264 with what tells its formats apart, as far as it was said: `h264/1/42e01f`.
fn format_name(track: &SourceTrack) -> String {
    let name = codec_name(track.codec);
    match &track.h264 {
        None => name.to_owned(),
        Some(h264) => {
            let [profile, constraints, level] = h264.profile_level_id;
            let profile = || format!("{profile:02x}{constraints:02x}{level:02x}");
            let profile = h264.says_profile.then(profile).unwrap_or_default();
            let mode = if h264.says_mode { h264.packetization_mode.to_string() } else { String::new() };
            format!("{name}/{mode}/{profile}")
        }
    }
}

fn format_named(text: &str) -> Option<SourceTrack> {
    let mut parts = text.split('/');
    let codec = codec_named(parts.next()?)?;
    let fmtp = match (parts.next(), parts.next()) {
        (Some(mode), Some(profile)) => {
            let said = [("packetization-mode", mode), ("profile-level-id", profile)];
            let said = said.into_iter().filter(|(_, value)| !value.is_empty());
            said.map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(";")
        }
        _ => String::new(),
    };
    SourceTrack::new(codec, &fmtp)
}

fn codec_named(name: &str) -> Option<Codec> {
    VIDEO_CODECS.into_iter().chain(AUDIO_CODECS).find(|codec| codec_name(*codec) == name)
}

/// Of a stream that is new. `None`: it is too long, or would be when it is recorded by itself and with its room.
/// That must have room, as a recording that stands in no label is not gone on with.
pub(super) fn first_label(rooms: &Rooms, key: StreamKey, stream: &Stream) -> Option<Vec<u8>> {
    let mut longest = value(rooms, stream)?;
    if let RoleLabel::Publish { record, .. } = &mut longest.role {
        **record = RecordLabel::longest();
    }
    if let Some(member) = &mut longest.member {
        member.rights = Rights { named: true, publish: false, subscribe: false };
    }
    longest.write().and_then(|_| label(rooms, key, stream))
}

/// `None`: it would be too long.
fn label(rooms: &Rooms, key: StreamKey, stream: &Stream) -> Option<Vec<u8>> {
    let text = value(rooms, stream)?.write();
    if text.is_none() {
        tracing::warn!(transport = key.0, "label is too long");
    }
    text
}

fn value(rooms: &Rooms, stream: &Stream) -> Option<Label> {
    let room = rooms.get(stream.room)?;
    let role = match &stream.role {
        Role::Play(Play { source, .. }) => RoleLabel::Play { source: source.0 },
        Role::Publish(publish) => RoleLabel::Publish {
            audio_muted: publish.muted.audio,
            video_muted: publish.muted.video,
            fmtp: publish.tracks.iter().map(|track| (track.id, track.source.fmtp())).collect(),
            record: RecordLabel::new(room, publish).into(),
        },
    };
    Some(Label {
        version: LABEL_VERSION,
        number: stream.number,
        room: room.name.clone(),
        media_session_id: stream.media_session_id.clone(),
        name: stream.name.clone(),
        member: rooms.owner(stream).map(MemberLabel::new),
        http: stream.over_http,
        digest: stream.over_http,
        outdated: false,
        terms: TermsLabel::new(&room.terms),
        role,
    })
}

/// After what it says has changed.
pub(super) fn write_label(cx: &mut Context, rooms: &Rooms, streams: &Streams, key: StreamKey) {
    let Some(stream) = streams.get(key) else { return };
    if let Some(label) = label(rooms, key, stream) {
        cx.tell_relay(stream.relay, Command::SetLabel(SetLabel { transport_id: key.0, label }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(member: Option<MemberLabel>, role: RoleLabel) -> Label {
        Label {
            version: 1,
            number: 7,
            room: "r".to_owned(),
            media_session_id: "s".to_owned(),
            name: "n".to_owned(),
            member,
            http: false,
            digest: false,
            outdated: false,
            terms: TermsLabel { max: Some(2), codecs: vec!["h264".to_owned(), "opus".to_owned()] },
            role,
        }
    }

    fn member(plays: usize) -> MemberLabel {
        MemberLabel {
            login: "Алиса \"🎥\"".to_owned(),
            token: "t".to_owned(),
            plays: vec!["h264/1/42e01f".to_owned(); plays],
            sends: Vec::new(),
            rights: Rights { named: true, publish: true, subscribe: false },
        }
    }

    fn record() -> RecordLabel {
        let wanted = |kind| Wanted {
            id: "0123456789abcdef".to_owned(),
            kind,
            file: "a.webm".to_owned(),
            started_at_ms: 1_764_333_162_345,
            aligned_at_ms: Some(1_764_333_162_345),
        };
        let (stream, room) = (Some(wanted(Kind::Stream)), Some(wanted(Kind::Room)));
        RecordLabel { stream, room, file: Some("b.webm".to_owned()), began_at_ms: Some(7), screen: true }
    }

    #[test]
    fn what_names_no_file_is_not_recorded() {
        let good = record();
        assert!(good.wanted(Kind::Stream).is_some() && good.wanted(Kind::Room).is_some());
        let with = |file: &str| {
            let stream = good.stream.clone().map(|wanted| Wanted { file: file.to_owned(), ..wanted });
            RecordLabel { stream, ..record() }
        };
        assert_eq!(with("../a.webm").wanted(Kind::Stream), None);
        assert!(with("b.webm").wanted(Kind::Stream).is_some());
        let swapped = RecordLabel { room: good.stream.clone(), ..record() };
        assert_eq!(swapped.wanted(Kind::Room), None);
    }

    #[test]
    fn a_label_comes_back_as_it_went() {
        let fmtp = BTreeMap::from([(1, String::new()), (u64::MAX, "packetization-mode=1".to_owned())]);
        for role in [
            RoleLabel::Play { source: 1 << 62 },
            RoleLabel::Publish { audio_muted: true, video_muted: false, fmtp, record: record().into() },
        ] {
            let mut label = label(Some(member(3)), role);
            let text = label.write().expect("short");
            assert_eq!(Label::read(&text), Some(label));
        }
    }

    #[test]
    fn a_label_that_would_be_too_long_does_without_formats() {
        let mut long = label(Some(member(300)), RoleLabel::Play { source: 1 });
        let text = long.write().expect("short enough without them");
        let read = Label::read(&text).expect("own");
        assert_eq!(read.member, Some(member(0)));
        assert_eq!(read.terms.max, Some(2));
        let mut hopeless = Label { name: "x".repeat(LABEL_BYTES_MAX), ..long };
        assert_eq!(hopeless.write(), None);
    }

    #[test]
    fn older_labels_are_read_and_unknown_fields_are_passed_over() {
        for text in [
            r#"{"version":1,"number":1,"room":"r","session":"s","name":"n","member":{"login":"a","token":"t"},
                "role":{"play":{"source":1}}}"#,
            r#"{"version":1,"number":1,"room":"r","session":"s","name":"n","new":[1],"terms":{"codecs":["av2"],"x":1},
                "member":{"login":"a","token":"t","plays":["av2","h264","h264/7/x","h264/1/42e01f/9"]},
                "role":{"play":{"source":1}}}"#,
        ] {
            let label = Label::read(text.as_bytes()).expect("readable");
            assert_eq!(label.terms.read(), Terms::default());
            let formats = label.member.expect("a member").playable();
            assert!(formats.by_publish.is_empty());
            assert!(formats.by_play.iter().all(|track| track.codec == Codec::H264));
        }
    }

    #[test]
    fn formats_have_names() {
        for (codec, fmtp, name) in [
            (Codec::Opus, "", "opus"),
            (Codec::Vp8, "", "vp8"),
            (
                Codec::H264,
                "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42001F",
                "h264/1/42001f",
            ),
            (Codec::H264, "packetization-mode=0;profile-level-id=640c1f", "h264/0/640c1f"),
        ] {
            let track = SourceTrack::new(codec, fmtp).expect("known");
            assert_eq!(format_name(&track), name);
            let read = format_named(name).expect("own");
            assert!(read.plays(&track) && track.plays(&read), "{name}");
        }
    }

    #[test]
    fn foreign_labels_are_refused() {
        for text in [
            "",
            "{}",
            "null",
            r#"{"version":1}"#,
            "[1,2",
            r#"{"version":1,"role":{"watch":{}}}"#,
            r#"{"version":2,"number":1,"room":"r","session":"s","name":"n","role":{"play":{"source":1}}}"#,
        ] {
            assert_eq!(Label::read(text.as_bytes()), None, "{text}");
        }
    }
}
