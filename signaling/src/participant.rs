//! A member of a room and the negotiation state of one of its streams.
//!
//! A stream is one `RTCPeerConnection` of the client and one transport of the relay, and it never changes its role.
//! Its [`Phase`] says how far it is:
//!
//! ```text
//! Negotiating ──answer sent──► Connecting ──ICE, DTLS up──► Settling ──first RTP or 2 s──► Running
//!      │                            │                     (publishers only)                   │
//!      └──── 5 s ──► FAILED         └──── 15 s ──► FAILED              Closing ◄──DTLS closed──┘ ── 2 s ──► FAILED
//! ```

use crate::id::{ConnectionId, MemberId, RoomId, StreamKey, Ticket};
use crate::sdp::{Plan, SourceTrack};
use relay_control::{Command, DownTrackAdded, RtpParameters, TransportOpened};

/// Somebody in a room.
#[derive(Debug)]
pub struct Member {
    /// Its number.
    pub id: MemberId,
    /// Its name in the room. Any Unicode.
    pub login: String,
    /// What a client must show to take this place over again.
    pub token: String,
    /// Where it is.
    pub presence: Presence,
    /// What its client can play, as far as its offers told.
    pub playable: Playable,
    /// Streams it publishes, in order.
    pub publishes: Vec<StreamKey>,
    /// Streams it plays.
    pub plays: Vec<StreamKey>,
}

/// What a client can play.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Playable {
    /// From its latest offer to play; empty for a kind that it did not ask for.
    pub by_play: Vec<SourceTrack>,
    /// From its latest offer to publish: what it sends it most likely plays as well.
    pub by_publish: Vec<SourceTrack>,
}

impl Playable {
    /// Whether it would get this track. Who has said nothing about a kind is not in the way.
    pub fn allows(&self, track: &SourceTrack) -> bool {
        let of_kind = |known: &[SourceTrack]| -> Vec<SourceTrack> {
            known.iter().filter(|one| one.kind == track.kind).copied().collect()
        };
        let mut known = of_kind(&self.by_play);
        if known.is_empty() {
            known = of_kind(&self.by_publish);
        }
        known.is_empty() || known.iter().any(|one| one.plays(track))
    }
}

/// Where a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// On a WebSocket.
    Attached(ConnectionId),
    /// Its connection is lost, its place and its streams are kept for a while: its client asked for that, and has a secret to
    /// come back with.
    Detached,
    /// The same of one that an earlier signaling knew: its client may have no secret.
    Adopted,
    /// It came by WHIP: it is here as long as its stream.
    Http,
}

impl Member {
    /// What it publishes and plays.
    pub fn streams(&self) -> impl Iterator<Item = &StreamKey> {
        self.publishes.iter().chain(&self.plays)
    }

    /// Where to reach it.
    pub fn connection(&self) -> Option<ConnectionId> {
        match self.presence {
            Presence::Attached(connection) => Some(connection),
            Presence::Detached | Presence::Adopted | Presence::Http => None,
        }
    }
}

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
    pub phase: Phase,
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
    /// RTP of any track came.
    pub active: bool,
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

/// How far a stream is.
#[derive(Debug)]
pub enum Phase {
    /// The relay was asked; the client waits for the answer.
    Negotiating(Negotiation),
    /// The client has the answer; ICE and DTLS are running.
    Connecting {
        /// An authenticated check came.
        ice: bool,
    },
    /// A publisher whose transport is up; its first RTP is awaited.
    Settling,
    /// On the air.
    Running,
    /// The client closed the DTLS association: the word why is on its way on the WebSocket.
    Closing {
        /// It was on the air before.
        on_air: bool,
    },
}

/// What is collected for the answer.
#[derive(Debug)]
pub struct Negotiation {
    /// Replies of the relay that are still to come.
    pub awaited: usize,
    /// The tracks to ask for once the transport is there.
    pub tracks: Vec<Command>,
    /// The relay's half of the transport.
    pub opened: Option<TransportOpened>,
    /// For a play: SSRCs, in the order of the plan's tracks.
    pub down_tracks: Vec<DownTrackAdded>,
    /// Where the answer goes, if it came over HTTP.
    pub ticket: Option<Ticket>,
    /// Then the secret part of the session's URL, told once.
    pub secret: Option<String>,
}

impl Stream {
    /// Whether others see it: `PUBLISHED` was said, or its owner was told `PLAYING`.
    pub fn is_on_air(&self) -> bool {
        matches!(self.phase, Phase::Running | Phase::Closing { on_air: true })
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
