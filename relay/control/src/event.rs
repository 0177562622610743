//! What the relay says: replies to requests, and events on its own account.

use crate::{Priority, RtpParameters};
use prost::{Enumeration, Message, Oneof};

/// One frame from the relay.
#[derive(Clone, PartialEq, Message)]
pub struct FromRelay {
    /// A reply or an event.
    #[prost(oneof = "Outgoing", tags = "1,2")]
    pub outgoing: Option<Outgoing>,
}

/// See [`FromRelay`].
#[derive(Clone, PartialEq, Oneof)]
pub enum Outgoing {
    /// Answer to one request.
    #[prost(message, tag = "1")]
    Reply(Reply),
    /// An event, which no request asked for.
    #[prost(message, tag = "2")]
    Event(Event),
}

/// Answer to one request.
#[derive(Clone, PartialEq, Message)]
pub struct Reply {
    /// The request's id.
    #[prost(uint64, tag = "1")]
    pub request_id: u64,
    /// `None`: a reply that this version does not know.
    #[prost(oneof = "ReplyBody", tags = "2,3,4,5,6,7,8,9,10")]
    pub body: Option<ReplyBody>,
}

/// See [`Reply`].
#[derive(Clone, PartialEq, Oneof)]
pub enum ReplyBody {
    /// Done.
    #[prost(message, tag = "2")]
    Done(Done),
    /// Refused; nothing was changed.
    #[prost(message, tag = "3")]
    Error(CommandError),
    /// Answer to `Hello`.
    #[prost(message, tag = "4")]
    Welcome(Welcome),
    /// Answer to `OpenTransport` and `RestartIce`.
    #[prost(message, tag = "5")]
    TransportOpened(TransportOpened),
    /// Answer to `AddUpTrack`.
    #[prost(message, tag = "6")]
    UpTrackAdded(UpTrackAdded),
    /// Answer to `AddDownTrack`.
    #[prost(message, tag = "7")]
    DownTrackAdded(DownTrackAdded),
    /// Answer to `GetInventory`.
    #[prost(message, tag = "8")]
    Inventory(Inventory),
    /// Answer to `GetStats`.
    #[prost(message, tag = "9")]
    Stats(Stats),
    /// Answer to `ProbeTransport`.
    #[prost(message, tag = "10")]
    TransportProbed(TransportProbed),
}

/// The reply that has no contents.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct Done {}

/// Why a command was refused.
#[derive(Clone, PartialEq, Message)]
pub struct CommandError {
    /// An [`ErrorCode`].
    #[prost(enumeration = "ErrorCode", tag = "1")]
    pub code: i32,
    /// For people: what was wrong, and what to do about it.
    #[prost(string, tag = "2")]
    pub message: String,
    /// Set with [`ErrorCode::StaleEpoch`]: the epoch that commands.
    #[prost(uint64, tag = "3")]
    pub highest_epoch: u64,
}

/// See [`CommandError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Enumeration)]
#[repr(i32)]
pub enum ErrorCode {
    /// A field is missing, out of range or too long. Do not retry.
    BadRequest = 0,
    /// No such transport.
    UnknownTransport = 1,
    /// No such track.
    UnknownTrack = 2,
    /// The id is in use for another transport or track.
    IdInUse = 3,
    /// The up-track belongs to another room, kind or codec.
    Mismatch = 4,
    /// A limit of the relay is reached; retry later or on another relay.
    LimitReached = 5,
    /// A newer controller has taken over.
    StaleEpoch = 6,
    /// Send `Hello` first.
    HelloFirst = 7,
    /// The shard's mailbox is full; retry.
    Busy = 8,
    /// A fault of the relay's own (a panic) while the command was obeyed. The transport that it names has
    /// ended.
    RelayFault = 9,
    /// No process is connected under this name.
    UnknownPort = 10,
}

/// Answer to `Hello`.
#[derive(Clone, PartialEq, Message)]
pub struct Welcome {
    /// Language version of the relay.
    #[prost(uint32, tag = "1")]
    pub version: u32,
    /// New at each start of the process: tells a restart from a reconnect.
    #[prost(uint64, tag = "2")]
    pub boot_id: u64,
    /// SHA-256 over the DER of the relay's DTLS certificate (32 octets), for `a=fingerprint`.
    #[prost(bytes = "vec", tag = "3")]
    pub fingerprint_sha256: Vec<u8>,
    /// Number of shards.
    #[prost(uint32, tag = "4")]
    pub shards: u32,
    /// `uring` or `mmsg`: the back end chosen.
    #[prost(string, tag = "5")]
    pub io_backend: String,
    /// Sequence number of the next event.
    #[prost(uint64, tag = "6")]
    pub next_event_seq: u64,
    /// The highest epoch seen so far, this one included.
    #[prost(uint64, tag = "7")]
    pub epoch: u64,
    /// What a transport may receive that is opened without a limit of its own, in bit/s; 0 = the relay does
    /// not say.
    #[prost(uint64, tag = "8")]
    pub max_receive_bitrate_bps: u64,
    /// A signaling started this process ([`STARTED_BY_SIGNALING`](crate::STARTED_BY_SIGNALING)), so it ends
    /// with signaling; else whoever started it ends it.
    #[prost(bool, tag = "9")]
    pub started_by_signaling: bool,
}

/// An address of a host candidate.
#[derive(Clone, PartialEq, Message)]
pub struct CandidateAddress {
    /// Textual IP address, v4 or v6, without brackets.
    #[prost(string, tag = "1")]
    pub ip: String,
    /// UDP port.
    #[prost(uint32, tag = "2")]
    pub port: u32,
}

/// What goes into the answer: the relay's side of a transport.
#[derive(Clone, PartialEq, Message)]
pub struct TransportOpened {
    /// As in the request.
    #[prost(uint64, tag = "1")]
    pub transport_id: u64,
    /// The shard that it is on.
    #[prost(uint32, tag = "2")]
    pub shard: u32,
    /// The relay's ICE user fragment.
    #[prost(string, tag = "3")]
    pub local_ufrag: String,
    /// The relay's ICE password.
    #[prost(string, tag = "4")]
    pub local_pwd: String,
    /// All host candidates, best first.
    #[prost(message, repeated, tag = "5")]
    pub candidates: Vec<CandidateAddress>,
}

/// Answer to `ProbeTransport`.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct TransportProbed {
    /// As in the request.
    #[prost(uint64, tag = "1")]
    pub transport_id: u64,
    /// Since when nothing authentic came of its peer: no check, no answer to one of ours, no SRTP or SRTCP.
    /// Of one that never came, since the transport was opened.
    #[prost(uint64, tag = "2")]
    pub silent_ms: u64,
}

/// Answer to `AddUpTrack`.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct UpTrackAdded {
    /// As in the request.
    #[prost(uint64, tag = "1")]
    pub track_id: u64,
}

/// Answer to `AddDownTrack`: SSRCs for the `a=ssrc` lines.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct DownTrackAdded {
    /// As in the request.
    #[prost(uint64, tag = "1")]
    pub track_id: u64,
    /// SSRC of the media.
    #[prost(uint32, tag = "2")]
    pub ssrc: u32,
    /// SSRC of its RTX stream; 0 if none was negotiated.
    #[prost(uint32, tag = "3")]
    pub rtx_ssrc: u32,
}

/// An event, which no request asked for.
#[derive(Clone, PartialEq, Message)]
pub struct Event {
    /// Per relay process, without gaps.
    #[prost(uint64, tag = "1")]
    pub seq: u64,
    /// `None`: an event that this version does not know.
    #[prost(oneof = "EventBody", tags = "2,3,4,5,6,7")]
    pub body: Option<EventBody>,
}

/// See [`Event`].
#[derive(Clone, PartialEq, Oneof)]
pub enum EventBody {
    /// A transport went from one state to another.
    #[prost(message, tag = "2")]
    TransportState(TransportStateChanged),
    /// The first authenticated packet of an up-track arrived, or it fell silent.
    #[prost(message, tag = "3")]
    UpTrackActivity(UpTrackActivity),
    /// A newer controller took over; this connection can only read from now on.
    #[prost(message, tag = "4")]
    Superseded(Superseded),
    /// A process connected to a local port, or is gone with all its taps and sources.
    #[prost(message, tag = "5")]
    Port(PortChanged),
    /// A tap or a source ended otherwise than by command or with its process.
    #[prost(message, tag = "6")]
    PortTrackEnded(PortTrackEnded),
    /// Packets of an up-track were discarded because its publisher sends too much; at most every 10 s.
    #[prost(message, tag = "7")]
    UpTrackPoliced(UpTrackPoliced),
}

/// The states of a transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Enumeration)]
#[repr(i32)]
pub enum TransportState {
    /// Opened; no authenticated check has come yet.
    New = 0,
    /// An authenticated check came; DTLS may run.
    IceConnected = 1,
    /// The DTLS handshake is complete; media may flow.
    Connected = 2,
    /// Ended by the relay itself; see the reason.
    Failed = 3,
    /// Ended by command.
    Closed = 4,
}

/// Why a transport failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Enumeration)]
#[repr(i32)]
pub enum FailReason {
    /// It did not fail.
    None = 0,
    /// No authenticated check within the limit (15 s).
    IceTimeout = 1,
    /// Consent expired (RFC 7675, 30 s).
    ConsentExpired = 2,
    /// The peer's certificate is not the announced one.
    DtlsFingerprint = 3,
    /// The handshake failed or did not end within the limit.
    DtlsFailed = 4,
    /// The peer closed the DTLS association.
    DtlsClosed = 5,
    /// A fault of the relay's own (a panic) while its input was handled, or one after which its shard had to
    /// begin anew.
    RelayFault = 6,
}

/// See [`EventBody::TransportState`].
#[derive(Clone, PartialEq, Message)]
pub struct TransportStateChanged {
    /// Its id, as chosen by the controller.
    #[prost(uint64, tag = "1")]
    pub transport_id: u64,
    /// The new state.
    #[prost(enumeration = "TransportState", tag = "2")]
    pub state: i32,
    /// Set with `Failed`.
    #[prost(enumeration = "FailReason", tag = "3")]
    pub reason: i32,
}

/// See [`EventBody::UpTrackActivity`].
#[derive(Clone, Copy, PartialEq, Message)]
pub struct UpTrackActivity {
    /// Its id, as chosen by the controller.
    #[prost(uint64, tag = "1")]
    pub track_id: u64,
    /// True: packets flow. False: none for 2.5 s.
    #[prost(bool, tag = "2")]
    pub active: bool,
}

/// See [`EventBody::UpTrackPoliced`].
#[derive(Clone, Copy, PartialEq, Message)]
pub struct UpTrackPoliced {
    /// Its id, as chosen by the controller.
    #[prost(uint64, tag = "1")]
    pub track_id: u64,
    /// Packets discarded since this was last said of the track.
    #[prost(uint64, tag = "2")]
    pub packets: u64,
    /// What its transport may receive, of all tracks together. Discarded is what is over one and a half times
    /// as much.
    #[prost(uint64, tag = "3")]
    pub max_receive_bitrate_bps: u64,
}

/// See [`EventBody::Superseded`].
#[derive(Clone, Copy, PartialEq, Message)]
pub struct Superseded {
    /// The epoch of the new controller.
    #[prost(uint64, tag = "1")]
    pub epoch: u64,
}

/// See [`EventBody::Port`].
#[derive(Clone, PartialEq, Message)]
pub struct PortChanged {
    /// The name that the process gave itself.
    #[prost(string, tag = "1")]
    pub port: String,
    /// False: it is gone.
    #[prost(bool, tag = "2")]
    pub connected: bool,
}

/// See [`EventBody::PortTrackEnded`].
#[derive(Clone, PartialEq, Message)]
pub struct PortTrackEnded {
    /// The name that the process gave itself.
    #[prost(string, tag = "1")]
    pub port: String,
    /// The up-track.
    #[prost(uint64, tag = "2")]
    pub track_id: u64,
    /// True: it came from the process. False: it went there.
    #[prost(bool, tag = "3")]
    pub source: bool,
}

/// What runs, or a page of it; see [`crate::GetInventory`].
#[derive(Clone, PartialEq, Message)]
pub struct Inventory {
    /// Random, new at each start of the relay.
    #[prost(uint64, tag = "1")]
    pub boot_id: u64,
    /// Transports with their tracks.
    #[prost(message, repeated, tag = "2")]
    pub transports: Vec<TransportInfo>,
    /// Where the next page begins; 0 = this was the last one. A page may be empty and not the last.
    #[prost(uint64, tag = "3")]
    pub next: u64,
    /// Processes at local ports: on the first page.
    #[prost(message, repeated, tag = "4")]
    pub ports: Vec<PortInfo>,
}

/// One process at a local port.
#[derive(Clone, PartialEq, Message)]
pub struct PortInfo {
    /// The name that it gave itself.
    #[prost(string, tag = "1")]
    pub port: String,
    /// Up-tracks that it gets.
    #[prost(uint64, repeated, tag = "2")]
    pub taps: Vec<u64>,
    /// Up-tracks that come from it, as ordered.
    #[prost(message, repeated, tag = "3")]
    pub sources: Vec<crate::AddSource>,
}

/// One transport with its tracks.
#[derive(Clone, PartialEq, Message)]
pub struct TransportInfo {
    /// As in [`crate::OpenTransport`].
    #[prost(uint64, tag = "1")]
    pub transport_id: u64,
    /// As in [`crate::OpenTransport`].
    #[prost(uint64, tag = "2")]
    pub room_id: u64,
    /// The shard that it is on.
    #[prost(uint32, tag = "3")]
    pub shard: u32,
    /// The current [`TransportState`].
    #[prost(enumeration = "TransportState", tag = "4")]
    pub state: i32,
    /// As in [`crate::OpenTransport`] or [`crate::SetLabel`].
    #[prost(bytes = "vec", tag = "5")]
    pub label: Vec<u8>,
    /// The selected pair's remote address; empty before ICE.
    #[prost(string, tag = "6")]
    pub remote_address: String,
    /// For example `DTLS 1.3`; empty before the handshake.
    #[prost(string, tag = "7")]
    pub dtls_version: String,
    /// For example `X25519MLKEM768`.
    #[prost(string, tag = "8")]
    pub dtls_group: String,
    /// For example `AEAD_AES_128_GCM`.
    #[prost(string, tag = "9")]
    pub srtp_profile: String,
    /// Tracks that the peer sends.
    #[prost(message, repeated, tag = "10")]
    pub up_tracks: Vec<UpTrackInfo>,
    /// Tracks that the peer receives.
    #[prost(message, repeated, tag = "11")]
    pub down_tracks: Vec<DownTrackInfo>,
    /// The relay's ICE credentials and candidates, as answered.
    #[prost(message, optional, tag = "12")]
    pub opened: Option<TransportOpened>,
}

/// One track that the peer sends.
#[derive(Clone, PartialEq, Message)]
pub struct UpTrackInfo {
    /// As in the command that added it.
    #[prost(uint64, tag = "1")]
    pub track_id: u64,
    /// As in the command that added it.
    #[prost(message, required, tag = "2")]
    pub rtp: RtpParameters,
    /// Known SSRC; 0 = none yet.
    #[prost(uint32, tag = "3")]
    pub ssrc: u32,
    /// Whether packets flow.
    #[prost(bool, tag = "4")]
    pub active: bool,
    /// Authenticated packets.
    #[prost(uint64, tag = "5")]
    pub packets: u64,
    /// Their payload bytes.
    #[prost(uint64, tag = "6")]
    pub bytes: u64,
    /// Keyframes seen.
    #[prost(uint64, tag = "7")]
    pub keyframes: u64,
    /// Packets never received, after retransmissions.
    #[prost(uint64, tag = "8")]
    pub lost: u64,
    /// As in the command that added it.
    #[prost(enumeration = "Priority", tag = "9")]
    pub priority: i32,
    /// Packets discarded because the publisher sends more than it may.
    #[prost(uint64, tag = "10")]
    pub policed: u64,
}

/// One track that the peer receives.
#[derive(Clone, PartialEq, Message)]
pub struct DownTrackInfo {
    /// As in the command that added it.
    #[prost(uint64, tag = "1")]
    pub track_id: u64,
    /// The up-track that it forwards.
    #[prost(uint64, tag = "2")]
    pub up_track_id: u64,
    /// As in the command that added it.
    #[prost(message, required, tag = "3")]
    pub rtp: RtpParameters,
    /// The relay's SSRC.
    #[prost(uint32, tag = "4")]
    pub ssrc: u32,
    /// The relay's RTX SSRC; 0 = none.
    #[prost(uint32, tag = "5")]
    pub rtx_ssrc: u32,
    /// Sent packets, retransmissions apart.
    #[prost(uint64, tag = "6")]
    pub packets: u64,
    /// Their payload bytes.
    #[prost(uint64, tag = "7")]
    pub bytes: u64,
    /// Retransmissions sent.
    #[prost(uint64, tag = "8")]
    pub retransmissions: u64,
}

/// One named number.
#[derive(Clone, PartialEq, Message)]
pub struct Counter {
    /// For example `drop.unknown_source`.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Counted since the start of the process.
    #[prost(uint64, tag = "2")]
    pub value: u64,
}

/// Counters of one shard.
#[derive(Clone, PartialEq, Message)]
pub struct ShardStats {
    /// Its id, as chosen by the controller.
    #[prost(uint32, tag = "1")]
    pub shard: u32,
    /// All of them, zero or not.
    #[prost(message, repeated, tag = "2")]
    pub counters: Vec<Counter>,
}

/// Counters of the relay.
#[derive(Clone, PartialEq, Message)]
pub struct Stats {
    /// One entry per shard.
    #[prost(message, repeated, tag = "1")]
    pub shards: Vec<ShardStats>,
    /// Counters of the process: control connections, refused commands.
    #[prost(message, repeated, tag = "2")]
    pub process: Vec<Counter>,
}
