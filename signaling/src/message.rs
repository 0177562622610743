//! What client and server say to each other: the WCS room protocol on the WebSocket.
//!
//! Every message is `{"message": <name>, "data": <array>}`. Here text becomes a [`ClientMessage`] and a
//! [`ServerMessage`] becomes text; what they mean is decided elsewhere. Invariants
//! - A server message always has `data`, an array (a `ping` without it throws in the vendor's page).
//! - A stream message always has a `status`.
//! - Text of users is never decoded, trimmed or escaped: it leaves as the JSON it came as.
//! - A message that cannot be understood keeps the id by which it can still be answered.
//! - What a message says is read in one place ([`Written`]), for the hub as well as for the operator's hook.

mod client;
mod server;

pub use crate::names::{NAME_BYTES_MAX, STREAM_NAME_BYTES_MAX};
pub use crate::room::Terms;
pub use client::{ClientMessage, Hello, Login, Malformed, RoomCommand, StreamRef, StreamRequest, Written};
pub use server::{RecordStatus, RecordedStream, RoomEvent, ServerMessage, Status, StreamStatus};

/// Longest id a client may choose (they are UUIDs).
pub const ID_BYTES_MAX: usize = 128;

/// The notes of `sendStreamEvent`, and some of the server's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamEventType {
    AudioMuted,
    AudioUnmuted,
    VideoMuted,
    VideoUnmuted,
    Data,
    /// The server's, to the publisher and its players: no packets come any more, though the client lives.
    AudioStopped,
    AudioResumed,
    VideoStopped,
    VideoResumed,
    /// The server's, to the publisher: it sends more than its answer allows, and packets are discarded.
    BitrateExceeded,
}

impl StreamEventType {
    const ALL: [(Self, &'static str); 10] = [
        (Self::AudioMuted, "audioMuted"),
        (Self::AudioUnmuted, "audioUnmuted"),
        (Self::VideoMuted, "videoMuted"),
        (Self::VideoUnmuted, "videoUnmuted"),
        (Self::Data, "data"),
        (Self::AudioStopped, "audioStopped"),
        (Self::AudioResumed, "audioResumed"),
        (Self::VideoStopped, "videoStopped"),
        (Self::VideoResumed, "videoResumed"),
        (Self::BitrateExceeded, "bitrateExceeded"),
    ];

    /// What a client may say.
    fn from_name(name: &str) -> Option<Self> {
        let known = Self::ALL.iter().find(|(_, known)| *known == name).map(|(event, _)| *event);
        known.filter(|event| {
            use StreamEventType::{AudioMuted, AudioUnmuted, Data, VideoMuted, VideoUnmuted};
            matches!(event, AudioMuted | AudioUnmuted | VideoMuted | VideoUnmuted | Data)
        })
    }

    pub(crate) fn name(self) -> &'static str {
        Self::ALL.iter().find(|(event, _)| *event == self).map_or("data", |(_, name)| name)
    }
}
