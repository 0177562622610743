//! What was negotiated for one m-line.

use crate::id::{Mid, Pt};
use crate::media::{Codec, ExtensionIds, MediaKind};

/// Negotiated numbers of one m-line, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Params {
    /// Audio or video.
    pub kind: MediaKind,
    /// The one codec.
    pub codec: Codec,
    /// RTP clock rate in Hz.
    pub clock_rate_hz: u32,
    /// Of the codec.
    pub pt: Pt,
    /// Of its RTX format.
    pub rtx_pt: Option<Pt>,
    /// Of the m-line.
    pub mid: Mid,
    /// Header-extension ids.
    pub extensions: ExtensionIds,
    /// Generic NACK.
    pub nack: bool,
    /// Picture loss indication.
    pub pli: bool,
    /// Full intra request.
    pub fir: bool,
    /// Receiver-estimated maximum bitrate.
    pub remb: bool,
    /// Transport-wide feedback.
    pub transport_cc: bool,
}
