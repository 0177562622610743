//! What was negotiated for one m-line.

use crate::id::{Mid, Pt};
use crate::media::{Codec, ExtensionIds, MediaKind};

/// Negotiated numbers of one m-line; see [`Params::check`].
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

impl Params {
    /// Of a track of which nothing was negotiated but this: no payload types, extensions or feedback.
    pub(crate) const fn bare(kind: MediaKind, codec: Codec, clock_rate_hz: u32) -> Self {
        Self {
            kind,
            codec,
            clock_rate_hz,
            pt: Pt(0),
            rtx_pt: None,
            mid: Mid::new_const(),
            extensions: ExtensionIds {
                mid: 0,
                transport_cc: 0,
                abs_send_time: 0,
                audio_level: 0,
                video_orientation: 0,
            },
            nack: false,
            pli: false,
            fir: false,
            remb: false,
            transport_cc: false,
        }
    }

    /// Whether they can be on the wire.
    ///
    /// # Errors
    /// What of them cannot.
    pub fn check(&self) -> Result<(), &'static str> {
        // RFC 5761 §4: with RTP and RTCP on one port, 64 to 95 would look like RTCP.
        let is_rtp = |pt: Pt| matches!(pt.0, 0..=63 | 96..=127);
        if !is_rtp(self.pt) || !self.rtx_pt.is_none_or(is_rtp) {
            return Err("a payload type is not in 0..=63 or 96..=127");
        }
        if self.rtx_pt == Some(self.pt) {
            return Err("rtx_payload_type equals payload_type");
        }
        if self.clock_rate_hz == 0 {
            return Err("clock_rate_hz is zero");
        }
        let ExtensionIds { mid, transport_cc, abs_send_time, audio_level, video_orientation } =
            self.extensions;
        // RFC 8285 §4.2: 1 to 14 in the one-byte form, the only one the relay writes.
        if [mid, transport_cc, abs_send_time, audio_level, video_orientation].iter().any(|id| *id > 14) {
            return Err("a header-extension id is above 14");
        }
        Ok(())
    }
}
