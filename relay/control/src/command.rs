//! What a controller may ask of the relay.

use prost::{Enumeration, Message, Oneof};

/// Version of this language; a [`Hello`] with another one is refused with [`crate::ErrorCode::BadRequest`].
pub const CONTROL_VERSION: u32 = 1;

/// One command with its envelope.
#[derive(Clone, PartialEq, Message)]
pub struct Request {
    /// Echoed in the reply. Chosen by the controller, unique within the connection.
    #[prost(uint64, tag = "1")]
    pub request_id: u64,
    /// `None`: a command that this version does not know.
    #[prost(oneof = "Command", tags = "2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18")]
    pub command: Option<Command>,
}

/// The commands, in the order in which a session uses them.
#[derive(Clone, PartialEq, Oneof)]
pub enum Command {
    /// First on every connection that wants more than to read and to order local ports.
    #[prost(message, tag = "2")]
    Hello(Hello),
    /// Makes a transport (one peer's ICE + DTLS + SRTP). Answer: [`crate::TransportOpened`].
    #[prost(message, tag = "3")]
    OpenTransport(OpenTransport),
    /// New ICE credentials for a transport (RFC 8445 §9). Answer: [`crate::TransportOpened`].
    #[prost(message, tag = "4")]
    RestartIce(RestartIce),
    /// Ends a transport and all its tracks. Closing an unknown one is no error.
    #[prost(message, tag = "5")]
    CloseTransport(CloseTransport),
    /// A track that the peer sends. Answer: [`crate::UpTrackAdded`].
    #[prost(message, tag = "6")]
    AddUpTrack(AddUpTrack),
    /// A track that the peer receives. Answer: [`crate::DownTrackAdded`].
    #[prost(message, tag = "7")]
    AddDownTrack(AddDownTrack),
    /// Removes an up-track (with the down-tracks fed by it) or a down-track.
    #[prost(message, tag = "8")]
    RemoveTrack(RemoveTrack),
    /// Asks the publisher for a keyframe, merged with the subscribers' own requests.
    #[prost(message, tag = "9")]
    RequestKeyframe(RequestKeyframe),
    /// Everything needed to re-adopt what runs, page by page. Answer: [`crate::Inventory`].
    #[prost(message, tag = "10")]
    GetInventory(GetInventory),
    /// Counters. Answer: [`crate::Stats`].
    #[prost(message, tag = "11")]
    GetStats(GetStats),
    /// Ends the relay process cleanly.
    #[prost(message, tag = "12")]
    Shutdown(Shutdown),
    /// Replaces the opaque label of a transport.
    #[prost(message, tag = "13")]
    SetLabel(SetLabel),
    /// Sends an up-track to a process at a local port.
    #[prost(message, tag = "14")]
    AddTap(AddTap),
    /// Ends what the command before it orders.
    #[prost(message, tag = "15")]
    RemoveTap(RemoveTap),
    /// Takes an up-track from a process at a local port.
    #[prost(message, tag = "16")]
    AddSource(AddSource),
    /// Ends what the command before it orders.
    #[prost(message, tag = "17")]
    RemoveSource(RemoveSource),
    /// Asks the peer of a transport for a sign of life. Answer, at once: [`crate::TransportProbed`].
    #[prost(message, tag = "18")]
    ProbeTransport(ProbeTransport),
}

impl Command {
    /// Whether it is about local ports. These are not part of what a controller has to adopt, and everybody
    /// who may connect may order them.
    #[must_use]
    pub const fn is_of_ports(&self) -> bool {
        matches!(self, Self::AddTap(_) | Self::RemoveTap(_) | Self::AddSource(_) | Self::RemoveSource(_))
    }
}

impl Command {
    /// The transport that it names, whose order it keeps. What is about a track that exists names that alone.
    #[must_use]
    pub const fn transport_id(&self) -> Option<u64> {
        match self {
            Self::OpenTransport(c) => Some(c.transport_id),
            Self::RestartIce(c) => Some(c.transport_id),
            Self::CloseTransport(c) => Some(c.transport_id),
            Self::AddUpTrack(c) => Some(c.transport_id),
            Self::AddDownTrack(c) => Some(c.transport_id),
            Self::SetLabel(c) => Some(c.transport_id),
            Self::ProbeTransport(c) => Some(c.transport_id),
            Self::Hello(_)
            | Self::RemoveTrack(_)
            | Self::RequestKeyframe(_)
            | Self::AddTap(_)
            | Self::RemoveTap(_)
            | Self::AddSource(_)
            | Self::RemoveSource(_)
            | Self::GetInventory(_)
            | Self::GetStats(_)
            | Self::Shutdown(_) => None,
        }
    }
}

/// Introduces a controller. Answer: [`crate::Welcome`].
#[derive(Clone, PartialEq, Message)]
pub struct Hello {
    /// [`CONTROL_VERSION`].
    #[prost(uint32, tag = "1")]
    pub version: u32,
    /// Fencing number: the highest wins, and lasts until a higher one comes. 0 = only what needs no `Hello`.
    ///
    /// A controller that was never in command and is refused takes one above the highest, which it is told
    /// ([`crate::CommandError::highest_epoch`]). One that was in command has been superseded, and must not
    /// come back with a higher one: two would take the relay from each other for ever.
    #[prost(uint64, tag = "2")]
    pub epoch: u64,
    /// Shown in logs.
    #[prost(string, tag = "3")]
    pub name: String,
    /// Chosen by chance at the controller's start: tells two that name the same epoch apart. The first of
    /// them commands.
    #[prost(uint64, tag = "4")]
    pub instance: u64,
}

/// Makes a transport. The relay is ICE-lite and the controlled side.
#[derive(Clone, PartialEq, Message)]
pub struct OpenTransport {
    /// Chosen by the controller.
    #[prost(uint64, tag = "1")]
    pub transport_id: u64,
    /// Tracks may only be subscribed within a room. A room's transports share a shard as long as they are
    /// few.
    #[prost(uint64, tag = "2")]
    pub room_id: u64,
    /// The peer's ICE user fragment (4 to 256 octets).
    #[prost(string, tag = "3")]
    pub remote_ufrag: String,
    /// The peer's ICE password (22 to 256 octets). Kept for ICE restarts; ICE-lite sends no checks of its
    /// own.
    #[prost(string, tag = "4")]
    pub remote_pwd: String,
    /// The peer's certificate fingerprint, or the first of several: SHA-256, 32 octets (RFC 8122).
    #[prost(bytes = "vec", tag = "5")]
    pub remote_fingerprint_sha256: Vec<u8>,
    /// Opaque to the relay; at most [`LABEL_BYTES_MAX`].
    #[prost(bytes = "vec", tag = "6")]
    pub label: Vec<u8>,
    /// Upper bound for what the peer may send, bit/s; 0 = the relay's default. Told to it by REMB.
    #[prost(uint64, tag = "7")]
    pub max_receive_bitrate_bps: u64,
    /// The relay begins the DTLS handshake (`a=setup:active` in the answer), for a peer that is the passive
    /// side. Otherwise it is the server, as for controllers that do not know this field.
    #[prost(bool, tag = "8")]
    pub dtls_client: bool,
    /// More fingerprints like the first; a certificate that has any of them is the peer's (RFC 8122 §5).
    /// Together at most [`FINGERPRINTS_MAX`].
    #[prost(bytes = "vec", repeated, tag = "9")]
    pub more_fingerprints_sha256: Vec<Vec<u8>>,
}

/// Most fingerprints of a peer. Those who announce several have a certificate for each of the next days, or
/// one for each m-line.
pub const FINGERPRINTS_MAX: usize = 8;

/// Longest label.
pub const LABEL_BYTES_MAX: usize = 4096;

/// New ICE credentials of the peer; the relay answers with new ones of its own. Repeating the command with
/// the same remote credentials returns the same answer.
#[derive(Clone, PartialEq, Message)]
pub struct RestartIce {
    /// Its id, as chosen by the controller.
    #[prost(uint64, tag = "1")]
    pub transport_id: u64,
    /// As in [`OpenTransport`].
    #[prost(string, tag = "2")]
    pub remote_ufrag: String,
    /// As in [`OpenTransport`].
    #[prost(string, tag = "3")]
    pub remote_pwd: String,
}

/// See [`Command::CloseTransport`].
#[derive(Clone, PartialEq, Message)]
pub struct CloseTransport {
    /// Its id, as chosen by the controller.
    #[prost(uint64, tag = "1")]
    pub transport_id: u64,
}

/// Audio or video.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Enumeration)]
#[repr(i32)]
pub enum MediaKind {
    /// `m=audio`
    Audio = 0,
    /// `m=video`
    Video = 1,
}

/// The codecs that are passed through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Enumeration)]
#[repr(i32)]
pub enum Codec {
    /// RFC 7587
    Opus = 0,
    /// G.711 µ-law
    Pcmu = 1,
    /// G.711 A-law
    Pcma = 2,
    /// RFC 7741
    Vp8 = 3,
    /// RFC 6184
    H264 = 4,
}

/// How important a track is (RFC 8835 §4.1, `RTCPriorityType`). A shard that does not keep up withholds video
/// of the lowest priority first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Enumeration)]
#[repr(i32)]
pub enum Priority {
    /// `medium`: unless something else is said.
    Medium = 0,
    /// `very-low`
    VeryLow = 1,
    /// `low`
    Low = 2,
    /// `high`
    High = 3,
}

impl Priority {
    /// All, lowest first.
    pub const ALL: [Self; 4] = [Self::VeryLow, Self::Low, Self::Medium, Self::High];

    /// As `RTCPriorityType` spells it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::VeryLow => "very-low",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }

    /// The priority with this name, if there is one.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|priority| priority.name() == name)
    }
}

/// RTP header-extension ids as negotiated on one m-line; 0 = not negotiated.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct ExtensionIds {
    /// `urn:ietf:params:rtp-hdrext:sdes:mid`
    #[prost(uint32, tag = "1")]
    pub mid: u32,
    /// `http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01`
    #[prost(uint32, tag = "2")]
    pub transport_cc: u32,
    /// `http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time`
    #[prost(uint32, tag = "3")]
    pub abs_send_time: u32,
    /// `urn:ietf:params:rtp-hdrext:ssrc-audio-level` (RFC 6464)
    #[prost(uint32, tag = "4")]
    pub audio_level: u32,
    /// `urn:3gpp:video-orientation`
    #[prost(uint32, tag = "5")]
    pub video_orientation: u32,
}

/// What is common to both directions of an m-line with one codec.
#[derive(Clone, PartialEq, Message)]
pub struct RtpParameters {
    /// Audio or video.
    #[prost(enumeration = "MediaKind", tag = "1")]
    pub kind: i32,
    /// The one codec of this track.
    #[prost(enumeration = "Codec", tag = "2")]
    pub codec: i32,
    /// RTP clock rate in Hz (48000, 8000, 90000).
    #[prost(uint32, tag = "3")]
    pub clock_rate_hz: u32,
    /// Payload type of the codec, 0 to 127, never 64 to 95 (RFC 5761 §4).
    #[prost(uint32, tag = "4")]
    pub payload_type: u32,
    /// Payload type of its RTX format (RFC 4588); absent = none negotiated.
    #[prost(uint32, optional, tag = "5")]
    pub rtx_payload_type: Option<u32>,
    /// Value of the MID (RFC 9143), at most 16 octets.
    #[prost(string, tag = "6")]
    pub mid: String,
    /// Extension ids of this m-line.
    #[prost(message, required, tag = "7")]
    pub extensions: ExtensionIds,
    /// `a=rtcp-fb:… nack`
    #[prost(bool, tag = "8")]
    pub nack: bool,
    /// `a=rtcp-fb:… nack pli`
    #[prost(bool, tag = "9")]
    pub pli: bool,
    /// `a=rtcp-fb:… ccm fir`
    #[prost(bool, tag = "10")]
    pub fir: bool,
    /// `a=rtcp-fb:… goog-remb`
    #[prost(bool, tag = "11")]
    pub remb: bool,
    /// `a=rtcp-fb:… transport-cc`
    #[prost(bool, tag = "12")]
    pub transport_cc: bool,
}

/// A track that the peer sends.
#[derive(Clone, PartialEq, Message)]
pub struct AddUpTrack {
    /// The publisher's transport.
    #[prost(uint64, tag = "1")]
    pub transport_id: u64,
    /// Chosen by the controller, unique in the relay.
    #[prost(uint64, tag = "2")]
    pub track_id: u64,
    /// What was negotiated.
    #[prost(message, required, tag = "3")]
    pub rtp: RtpParameters,
    /// SSRC from `a=ssrc` lines if the offer had them; 0 = learn it from MID or payload type.
    #[prost(uint32, tag = "4")]
    pub ssrc: u32,
    /// SSRC of the RTX stream if the offer said so (`a=ssrc-group:FID`); 0 = learn it.
    #[prost(uint32, tag = "5")]
    pub rtx_ssrc: u32,
    /// Whose video is withheld first. Audio never is, so it has no use for one.
    #[prost(enumeration = "Priority", tag = "6")]
    pub priority: i32,
}

/// A track that the peer receives. The relay chooses SSRCs and answers with them.
#[derive(Clone, PartialEq, Message)]
pub struct AddDownTrack {
    /// The subscriber's transport.
    #[prost(uint64, tag = "1")]
    pub transport_id: u64,
    /// Chosen by the controller, unique in the relay.
    #[prost(uint64, tag = "2")]
    pub track_id: u64,
    /// The up-track that feeds it; of the same room, kind and codec.
    #[prost(uint64, tag = "3")]
    pub up_track_id: u64,
    /// What was negotiated with the subscriber.
    #[prost(message, required, tag = "4")]
    pub rtp: RtpParameters,
    /// RTCP CNAME of this stream, at most 64 octets.
    #[prost(string, tag = "5")]
    pub cname: String,
}

/// See [`Command::RemoveTrack`].
#[derive(Clone, PartialEq, Message)]
pub struct RemoveTrack {
    /// An up-track or a down-track. Removing an unknown one is no error.
    #[prost(uint64, tag = "1")]
    pub track_id: u64,
}

/// See [`Command::RequestKeyframe`].
#[derive(Clone, PartialEq, Message)]
pub struct RequestKeyframe {
    /// The up-track.
    #[prost(uint64, tag = "1")]
    pub track_id: u64,
}

/// One page of what runs.
///
/// Pages list transports in the order in which they were opened, so what is opened meanwhile comes on a later
/// page. Each shows a transport as it is at its moment; what ended before its page is on none. A controller
/// that takes in all pages, and *then* the events that came since it said [`Hello`], ends with the truth: an
/// event that a page shows already says the same again, and one about a transport that is on no page is about
/// one that is gone.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct GetInventory {
    /// [`crate::Inventory::next`] of the page before; 0 = the first page.
    #[prost(uint64, tag = "1")]
    pub after: u64,
}

/// See [`Command::GetStats`].
#[derive(Clone, Copy, PartialEq, Message)]
pub struct GetStats {}

/// See [`Command::Shutdown`].
#[derive(Clone, Copy, PartialEq, Message)]
pub struct Shutdown {}

/// See [`Command::SetLabel`].
#[derive(Clone, PartialEq, Message)]
pub struct SetLabel {
    /// Its id, as chosen by the controller.
    #[prost(uint64, tag = "1")]
    pub transport_id: u64,
    /// The new label.
    #[prost(bytes = "vec", tag = "2")]
    pub label: Vec<u8>,
}

/// Asks the peer of a transport for a sign of life: it is sent a Binding request along its path, if it has
/// one, and a client that lives answers that whether it has media to send or not. The answer to this command
/// does not wait for the peer's; whether it came shows the next one.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct ProbeTransport {
    /// Its id, as chosen by the controller.
    #[prost(uint64, tag = "1")]
    pub transport_id: u64,
}

/// Sends an up-track, whatever its room, to the process that is connected under this name, until the track
/// ends, the process goes or says that it listens no more, or [`RemoveTap`]. Ordered again, it changes
/// nothing but the label.
#[derive(Clone, PartialEq, Message)]
pub struct AddTap {
    /// The up-track.
    #[prost(uint64, tag = "1")]
    pub track_id: u64,
    /// The name that the process gave itself.
    #[prost(string, tag = "2")]
    pub port: String,
    /// Opaque to the relay, at most [`LABEL_BYTES_MAX`]: handed to the process before the track begins, and
    /// at once if it is another one than before.
    #[prost(bytes = "vec", tag = "3")]
    pub label: Vec<u8>,
}

/// See [`Command::RemoveTap`]. Removing what is not there is no error.
#[derive(Clone, PartialEq, Message)]
pub struct RemoveTap {
    /// The up-track.
    #[prost(uint64, tag = "1")]
    pub track_id: u64,
    /// As in [`AddTap`].
    #[prost(string, tag = "2")]
    pub port: String,
}

/// Makes an up-track whose packets come from the process that is connected under this name, until it goes or
/// ends the track, or [`RemoveSource`]. It can be subscribed to and tapped as any other. Ordered again in the
/// same words, it changes nothing.
#[derive(Clone, PartialEq, Message)]
pub struct AddSource {
    /// Chosen by the controller.
    #[prost(uint64, tag = "1")]
    pub track_id: u64,
    /// Who may subscribe.
    #[prost(uint64, tag = "2")]
    pub room_id: u64,
    /// The name that the process gave itself.
    #[prost(string, tag = "3")]
    pub port: String,
    /// Kind, codec and clock rate; the rest is a peer's affair and not looked at.
    #[prost(message, required, tag = "4")]
    pub rtp: RtpParameters,
    /// As in [`AddUpTrack`].
    #[prost(enumeration = "Priority", tag = "5")]
    pub priority: i32,
}

/// See [`Command::RemoveSource`]. Removing what is not there is no error.
#[derive(Clone, PartialEq, Message)]
pub struct RemoveSource {
    /// The up-track.
    #[prost(uint64, tag = "1")]
    pub track_id: u64,
}
