//! A stream: one `RTCPeerConnection` of the client and one transport of the relay. It never changes its role.

use crate::id::{MemberId, RelayId, RoomId, StreamKey};
use crate::record::{Recorded, StreamRecord};
use crate::sdp::{Plan, Rejected, SourceTrack};
use crate::stream_state::StreamState;
use relay_control::{MediaKind, RtpParameters};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Who a stream belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    Member(MemberId),
    /// A WHEP player.
    Viewer,
}

/// One published or played stream.
#[derive(Debug)]
pub(crate) struct Stream {
    /// Order in which streams were made.
    pub(crate) number: u64,
    /// `mediaSessionId`, or a digest of the secret part of the WHIP or WHEP session's URL: this stands in
    /// labels, which people see.
    pub(crate) media_session_id: String,
    /// Stream name. For a play: that of the stream it plays.
    pub(crate) name: String,
    /// Where its transport is.
    pub(crate) relay: RelayId,
    pub(crate) room: RoomId,
    pub(crate) owner: Owner,
    pub(crate) role: Role,
    pub(crate) state: StreamState,
    /// As negotiated.
    pub(crate) has_audio: bool,
    /// As negotiated.
    pub(crate) has_video: bool,
    /// Made by WHIP or WHEP.
    pub(crate) over_http: bool,
    /// The relay's ICE user fragment: names the ICE session, so it serves as entity tag. Empty before the
    /// answer.
    pub(crate) local_ufrag: String,
    /// The same before the last restart of ICE: who says it again has not heard of the new one.
    pub(crate) ufrag_before: Option<String>,
    /// Digest of its offer; empty for streams found in a running relay.
    pub(crate) offer: String,
    /// What it was answered with, for a client on a WebSocket that asks again.
    pub(crate) answer: Option<String>,
    /// What was planned; gone for streams found in a running relay.
    pub(crate) plan: Option<Plan>,
}

#[derive(Debug)]
pub(crate) enum Role {
    /// Client to server.
    Publish(Publish),
    /// Server to client.
    Play(Play),
}

/// What a publisher has besides.
#[derive(Debug, Default)]
pub(crate) struct Publish {
    /// Its tracks in the relay.
    pub(crate) tracks: Vec<PublishedTrack>,
    /// Who plays it, by the number of the player's stream.
    pub(crate) players: BTreeMap<u64, StreamKey>,
    pub(crate) muted: Muted,
    /// RTP of any track has come.
    pub(crate) has_sent: bool,
    /// It shows a screen, as its client says.
    pub(crate) screen: bool,
    pub(crate) record: StreamRecord,
}

/// What a player has besides.
#[derive(Debug)]
pub(crate) struct Play {
    /// The published stream.
    pub(crate) source: StreamKey,
    /// Mute notes were withheld from it, as its client read too slowly.
    pub(crate) missed_notes: bool,
}

/// Which of its devices a publisher has muted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Muted {
    pub(crate) audio: bool,
    pub(crate) video: bool,
}

/// One track of a publisher.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PublishedTrack {
    /// Up-track id in the relay.
    pub(crate) id: u64,
    /// What a player's offer is compared with.
    pub(crate) source: SourceTrack,
    pub(crate) flow: Flow,
}

/// Whether packets of a track come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    /// None came yet.
    Awaited,
    /// As the relay says: some came within the last 2.5 s.
    Flows,
    /// No more come, or none ever came though the stream is on the air for a while.
    Stopped,
}

/// Whether media of a stream flows, by kind, and is recorded; `None`: it has none of that kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MediaState {
    pub audio: Option<bool>,
    pub video: Option<bool>,
    /// By itself or with its room.
    pub recorded: Recorded,
}

/// Of which kinds the media has stopped, though the stream goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stopped {
    pub(crate) audio: bool,
    pub(crate) video: bool,
}

impl Stopped {
    /// As people are told; empty: nothing has.
    pub(crate) fn kinds(self) -> Vec<&'static str> {
        let kinds = [("audio", self.audio), ("video", self.video)];
        kinds.into_iter().filter(|(_, stopped)| *stopped).map(|(kind, _)| kind).collect()
    }
}

impl Publish {
    pub(crate) fn stopped(&self) -> Stopped {
        let of = |kind: MediaKind| {
            let mut flows =
                self.tracks.iter().filter(|track| track.source.kind == kind).map(|track| track.flow);
            flows.clone().next().is_some() && flows.all(|flow| flow == Flow::Stopped)
        };
        Stopped { audio: of(MediaKind::Audio), video: of(MediaKind::Video) }
    }

    /// Whether packets of this kind come.
    pub(crate) fn flows(&self, kind: MediaKind) -> bool {
        self.tracks.iter().any(|track| track.source.kind == kind && track.flow == Flow::Flows)
    }
}

impl Stream {
    /// Whether others see it: `PUBLISHED` was said, or its owner was told `PLAYING`.
    pub(crate) fn is_on_air(&self) -> bool {
        self.state.is_on_air()
    }

    /// What its client wanted as well and cannot have, as far as that is known: an earlier signaling may have
    /// made the answer.
    pub(crate) fn rejected(&self) -> &[Rejected] {
        self.plan.as_ref().map_or(&[], |plan| &plan.rejected)
    }

    /// How the others in the room are told of it. What is not said of its kinds of media is as the vendor has
    /// it: there are both.
    pub(crate) fn for_room(&self, login: &str) -> Value {
        let mut entry = json!({"login": login, "name": self.name});
        for (name, has) in [("hasAudio", self.has_audio), ("hasVideo", self.has_video)] {
            if !has {
                entry[name] = false.into();
            }
        }
        let stopped = self.publish().map(|publish| publish.stopped().kinds()).unwrap_or_default();
        if !stopped.is_empty() {
            entry["stopped"] = stopped.into();
        }
        entry
    }

    /// The publisher's part.
    pub(crate) fn publish(&self) -> Option<&Publish> {
        match &self.role {
            Role::Publish(publish) => Some(publish),
            Role::Play(_) => None,
        }
    }

    /// The publisher's part, to be changed.
    pub(crate) fn publish_mut(&mut self) -> Option<&mut Publish> {
        match &mut self.role {
            Role::Publish(publish) => Some(publish),
            Role::Play(_) => None,
        }
    }

    pub(crate) fn is_publish(&self) -> bool {
        self.publish().is_some()
    }

    /// Whether there is a track of this kind.
    pub(crate) fn has(parameters: &[&RtpParameters], kind: MediaKind) -> bool {
        parameters.iter().any(|rtp| rtp.kind == kind as i32)
    }
}
