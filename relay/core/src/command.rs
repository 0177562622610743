//! What a shard can be told to do, and what it answers: in the core's own types.
//!
//! What a controller writes is put into them where the relay meets its controllers, in
//! `relay/src/convert.rs`. A type here says what shape a value has (a fingerprint has 32 octets, a codec is
//! one that is known); whether the value is good is for the shard to check.
//!
//! Deliberately absent: what is for the process and not for a shard (`Hello`, counters, taps).

use crate::dtls::{DtlsRole, Fingerprints};
use crate::id::{Cname, Ssrc};
use crate::media::Priority;
use crate::track::Params;
use std::borrow::Cow;
use std::net::SocketAddr;
use std::time::Duration;

/// Longest label of a transport, in octets.
pub const LABEL_BYTES_MAX: usize = 4096;

/// An order to a shard. Ids are the controller's. The same order twice has the effect of one, and the same
/// answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Answer: [`Reply::TransportOpened`].
    OpenTransport(OpenTransport),
    /// Answer: [`Reply::TransportOpened`].
    RestartIce {
        /// Which transport.
        transport_id: u64,
        /// The peer's new ones.
        remote: RemoteCredentials,
    },
    /// Ends a transport and all its tracks. It is no error if there is none.
    CloseTransport {
        /// Which transport.
        transport_id: u64,
    },
    /// Answer: [`Reply::UpTrackAdded`].
    AddUpTrack(AddUpTrack),
    /// Answer: [`Reply::DownTrackAdded`].
    AddDownTrack(AddDownTrack),
    /// Ends an up-track with what it feeds, or a down-track. It is no error if there is none.
    RemoveTrack {
        /// Which track, of either direction.
        track_id: u64,
    },
    /// Asks the publisher for a keyframe, merged with what subscribers ask for.
    RequestKeyframe {
        /// The up-track.
        track_id: u64,
    },
    /// Asks the peer for a sign of life. Answer: [`Reply::TransportProbed`].
    ProbeTransport {
        /// Which transport.
        transport_id: u64,
    },
    /// Replaces the label of a transport.
    SetLabel {
        /// Which transport.
        transport_id: u64,
        /// Opaque, [`LABEL_BYTES_MAX`] octets at most.
        label: Vec<u8>,
    },
}

/// ICE credentials of the peer (RFC 8839 §5.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteCredentials {
    /// 4 to 256 characters.
    pub ufrag: String,
    /// 22 to 256 characters.
    pub pwd: String,
}

/// Makes a transport.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenTransport {
    /// Of the new transport.
    pub transport_id: u64,
    /// Tracks are subscribed within a room only.
    pub room_id: u64,
    /// What the peer signs with.
    pub remote: RemoteCredentials,
    /// Of the certificate that the peer must show.
    pub fingerprints: Fingerprints,
    /// Who begins the handshake.
    pub role: DtlsRole,
    /// Opaque, [`LABEL_BYTES_MAX`] octets at most.
    pub label: Vec<u8>,
    /// What the peer may send, in bit/s; `None` is the default of the shard's configuration.
    pub max_receive_bitrate_bps: Option<u64>,
}

/// A track that the peer will send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddUpTrack {
    /// The publisher's transport.
    pub transport_id: u64,
    /// Of the new track.
    pub track_id: u64,
    /// As negotiated.
    pub params: Params,
    /// Of the media, if the offer named it.
    pub ssrc: Option<Ssrc>,
    /// Of the retransmissions, if the offer named it.
    pub rtx_ssrc: Option<Ssrc>,
    /// How late its video is withheld.
    pub priority: Priority,
}

/// A track that the peer will receive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddDownTrack {
    /// The subscriber's transport.
    pub transport_id: u64,
    /// Of the new track.
    pub track_id: u64,
    /// What feeds it: of the same room, kind and codec.
    pub up_track_id: u64,
    /// As negotiated.
    pub params: Params,
    /// Not empty.
    pub cname: Cname,
}

/// What came of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// There is no more to say.
    Done,
    /// A transport is there, or has new ICE credentials.
    TransportOpened(TransportOpened),
    /// The peer is asked for a sign of life.
    TransportProbed {
        /// As ordered.
        transport_id: u64,
        /// How long nothing authentic has come of it.
        silence: Duration,
    },
    /// The peer may send.
    UpTrackAdded {
        /// As ordered.
        track_id: u64,
    },
    /// The peer is being sent to.
    DownTrackAdded {
        /// As ordered.
        track_id: u64,
        /// Of the media.
        ssrc: Ssrc,
        /// Of the retransmissions, if they were negotiated.
        rtx_ssrc: Option<Ssrc>,
    },
}

/// The relay's side of a transport.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransportOpened {
    /// As ordered.
    pub transport_id: u64,
    /// Where it lives.
    pub shard: u32,
    /// ICE user fragment of the relay.
    pub local_ufrag: String,
    /// ICE password of the relay.
    pub local_pwd: String,
    /// Addresses of host candidates, best first.
    pub candidates: Vec<SocketAddr>,
}

/// Why a command was not obeyed; it has changed nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// For programs.
    pub code: RefusalCode,
    /// For people.
    pub message: Cow<'static, str>,
}

impl Refused {
    /// With these words.
    pub fn new(code: RefusalCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, message: message.into() }
    }
}

/// See [`Refused`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalCode {
    /// A value is out of range or too long.
    BadRequest,
    /// There is no such transport.
    UnknownTransport,
    /// There is no such track.
    UnknownTrack,
    /// The id is in use for something else.
    IdInUse,
    /// The up-track is of another room, kind or codec.
    Mismatch,
    /// To be tried again later, or elsewhere.
    LimitReached,
    /// To be tried again at once.
    Busy,
}
