//! A stream: one `RTCPeerConnection` of the client and one transport of the relay. It never changes its role.

use crate::id::{MemberId, RoomId, StreamKey};
use crate::life::Life;
use crate::sdp::{Plan, SourceTrack};
use relay_control::RtpParameters;

/// Who a stream belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// A member of the room.
    Member(MemberId),
    /// A WHEP player.
    Viewer,
}

/// One published or played stream.
#[derive(Debug)]
pub struct Stream {
    /// Order in which streams were made.
    pub number: u64,
    /// `mediaSessionId`, or a digest of the secret part of the WHIP or WHEP session's URL: this stands in labels, which people
    /// see.
    pub session: String,
    /// Stream name. For a play: that of the stream it plays.
    pub name: String,
    /// Its room.
    pub room: RoomId,
    /// Whose it is.
    pub owner: Owner,
    /// Publish or play.
    pub role: Role,
    /// How far it is.
    pub life: Life,
    /// As negotiated.
    pub has_audio: bool,
    /// As negotiated.
    pub has_video: bool,
    /// Made over HTTP.
    pub over_http: bool,
    /// The relay's ICE user fragment: names the ICE session, so it serves as entity tag. Empty before the answer.
    pub local_ufrag: String,
    /// What was planned; gone for streams found in a running relay.
    pub plan: Option<Plan>,
}

/// Publish or play.
#[derive(Debug)]
pub enum Role {
    /// Client to server.
    Publish(Publish),
    /// Server to client.
    Play {
        /// The published stream.
        source: StreamKey,
    },
}

/// What a publisher has besides.
#[derive(Debug, Default)]
pub struct Publish {
    /// Its tracks in the relay.
    pub tracks: Vec<PublishedTrack>,
    /// Who plays it.
    pub players: Vec<StreamKey>,
    /// The publisher muted its microphone.
    pub audio_muted: bool,
    /// The publisher muted its camera.
    pub video_muted: bool,
    /// RTP of any track has come.
    pub has_sent: bool,
}

impl Publish {
    /// Whether anything of it comes.
    pub fn flows(&self) -> bool {
        self.tracks.iter().any(|track| track.flows)
    }
}

/// One track of a publisher.
#[derive(Clone, Debug, PartialEq)]
pub struct PublishedTrack {
    /// Up-track id in the relay.
    pub id: u64,
    /// What a player's offer is compared with.
    pub source: SourceTrack,
    /// Its packets flow, as the relay says: some came within the last 5 s.
    pub flows: bool,
}

impl Stream {
    /// Whether others see it: `PUBLISHED` was said, or its owner was told `PLAYING`.
    pub fn is_on_air(&self) -> bool {
        self.life.is_on_air()
    }

    /// The publisher's part.
    pub fn publish(&self) -> Option<&Publish> {
        match &self.role {
            Role::Publish(publish) => Some(publish),
            Role::Play { .. } => None,
        }
    }

    /// The publisher's part, to be changed.
    pub fn publish_mut(&mut self) -> Option<&mut Publish> {
        match &mut self.role {
            Role::Publish(publish) => Some(publish),
            Role::Play { .. } => None,
        }
    }

    /// Whether it publishes.
    pub fn is_publish(&self) -> bool {
        self.publish().is_some()
    }

    /// The tracks of a plan, as parameters.
    pub fn has(parameters: &[&RtpParameters], kind: relay_control::MediaKind) -> bool {
        parameters.iter().any(|rtp| rtp.kind == kind as i32)
    }
}
