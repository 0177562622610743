//! What an answer will say, and what the relay is told.

use super::codec::description;
use super::error::Refusal;
use super::h264::H264Format;
use super::offer::Direction;
use relay_control::{Codec, MediaKind, RtpParameters};

/// A published track as a player's offer is compared with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceTrack {
    pub kind: MediaKind,
    pub codec: Codec,
    /// Profile and packetization of H.264; `None` for other codecs.
    pub h264: Option<H264Format>,
}

impl SourceTrack {
    /// A track from what can be stored of it: codec, and what [`fmtp`](Self::fmtp) said. `None` if the latter
    /// is not understood.
    pub fn new(codec: Codec, fmtp: &str) -> Option<Self> {
        let h264 = if codec == Codec::H264 { Some(H264Format::from_fmtp(fmtp)?) } else { None };
        Some(Self { kind: description(codec).0, codec, h264 })
    }

    /// Whether who offers this format to play gets that track.
    pub fn plays(&self, track: &Self) -> bool {
        let fits = match (&self.h264, &track.h264) {
            (Some(format), Some(source)) => format.rank_for(source).is_some(),
            (None, None) => true,
            _ => false,
        };
        self.codec == track.codec && fits
    }

    /// The format parameters a player's offer must match; empty if there are none.
    pub fn fmtp(&self) -> String {
        self.h264.map(|h264| h264.fmtp()).unwrap_or_default()
    }
}

/// The peer's half of the transport.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteSide {
    pub ufrag: String,
    pub pwd: String,
    /// SHA-256 of its certificate: any of these, at least one.
    pub fingerprints_sha256: Vec<[u8; 32]>,
    /// It waits for a hello of ours (`a=setup:passive`).
    pub is_dtls_server: bool,
}

/// One track of a plan: an up-track (publish) or a down-track (play).
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedTrack {
    /// What was negotiated, for the relay.
    pub rtp: RtpParameters,
    /// Publish: SSRC the offer announces, 0 = none. Play: 0, the relay chooses.
    pub ssrc: u32,
    /// Publish: SSRC of its RTX stream, 0 = none announced or RTX not negotiated.
    pub rtx_ssrc: u32,
    /// What this track is to players (publish), or what feeds it (play).
    pub source: SourceTrack,
    /// Play: index of the source in the slice given to [`answer_play`](super::answer_play). Publish: index of
    /// this track.
    pub source_index: usize,
    /// Index of its m-line.
    pub media_index: usize,
}

/// A kind of media whose m-line is rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rejected {
    pub kind: MediaKind,
    pub why: Refusal,
}

impl Rejected {
    /// The media word of its m-line.
    pub fn media(&self) -> &'static str {
        match self.kind {
            MediaKind::Audio => "audio",
            MediaKind::Video => "video",
        }
    }
}

/// What will be answered. Owns everything; the offer is no longer needed.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The peer's half of the transport.
    pub remote: RemoteSide,
    /// Tracks in the order of their m-lines: at least one, at most one a kind.
    pub tracks: Vec<PlannedTrack>,
    /// What the offer wants besides and cannot have, at most one a kind.
    pub rejected: Vec<Rejected>,
    /// Mids of accepted m-lines; the first is the answerer-tagged one (RFC 9143 §7.3.1). Empty if no group is
    /// answered.
    pub(super) bundle: Vec<String>,
    /// Index of the m-line that speaks for the transport.
    pub(super) tagged: usize,
    pub(super) lines: Vec<AnswerLine>,
}

/// One m-line of the answer.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct AnswerLine {
    pub(super) name: String,
    pub(super) protocol: String,
    pub(super) mid: Option<String>,
    /// `None`: rejected.
    pub(super) accepted: Option<Accepted>,
    /// The offer's formats, echoed when rejecting.
    pub(super) format_list: String,
    /// Attributes of the offer, likewise.
    pub(super) offered: Vec<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Accepted {
    pub(super) direction: Direction,
    pub(super) rtp: RtpParameters,
    pub(super) fmtp: String,
    pub(super) rtcp_rsize: bool,
    /// Index in [`Plan::tracks`]; `None` = inactive.
    pub(super) track: Option<usize>,
}
