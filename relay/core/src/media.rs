//! What a track is: the words that the core shares with its ports.

pub use relay_port::{Codec, MediaKind, Priority};

/// Header-extension ids of one m-line (RFC 8285), each 1 to 14; 0 where none was negotiated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExtensionIds {
    /// `urn:ietf:params:rtp-hdrext:sdes:mid`
    pub mid: u8,
    /// `http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01`
    pub transport_cc: u8,
    /// `http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time`
    pub abs_send_time: u8,
    /// RFC 6464
    pub audio_level: u8,
    /// 3GPP TS 26.114 §7.4.5
    pub video_orientation: u8,
}

/// Why a transport ends on the relay's own account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailReason {
    /// No authenticated check in time.
    IceTimeout,
    /// RFC 7675 §5.1
    ConsentExpired,
    /// Another certificate than was announced.
    DtlsFingerprint,
    /// The handshake failed, or did not end in time.
    DtlsFailed,
    /// The peer's close_notify.
    DtlsClosed,
    /// A panic over its input, or one after which its shard began anew.
    RelayFault,
}

/// How far a transport has come, as its controller is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransportEvent {
    /// An authenticated check came.
    IceConnected,
    /// Media may flow.
    Connected,
    /// It has ended.
    Failed(FailReason),
}

/// What a shard has to tell its controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A transport, by the controller's id.
    Transport(u64, TransportEvent),
    /// Packets of an up-track, by the controller's id, begin or cease to flow.
    Activity(u64, bool),
    /// Packets of an up-track were discarded because its publisher sends more than it was told it may.
    Policed(Policed),
}

/// See [`Event::Policed`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policed {
    /// The controller's id.
    pub track_id: u64,
    /// Packets discarded since this was last said of the track.
    pub packets: u64,
    /// What the publisher was told, for all of its tracks together.
    pub bitrate_bps: u64,
}
