//! What was negotiated for one m-line.

use crate::id::{Mid, Pt};
use relay_control::{Codec, ExtensionIds, MediaKind, RtpParameters};

/// Negotiated numbers of one m-line, checked.
#[derive(Clone, Copy, Debug)]
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
    /// Header-extension ids, each 0 (none) or 1 to 14.
    pub extensions: ExtensionIds,
    /// Generic NACK.
    pub nack: bool,
    /// Picture loss indication.
    pub pli: bool,
    /// Full intra request.
    pub fir: bool,
    /// Receiver-estimated maximum bitrate.
    pub remb: bool,
}

impl Params {
    /// Takes the negotiated numbers apart.
    ///
    /// # Errors
    /// What of them cannot be on the wire.
    pub fn check(rtp: &RtpParameters) -> Result<Self, &'static str> {
        let kind = MediaKind::try_from(rtp.kind).map_err(|_| "kind is neither audio nor video")?;
        let codec = Codec::try_from(rtp.codec).map_err(|_| "codec is none of those passed through")?;
        let pt = check_pt(rtp.payload_type)?;
        let rtx_pt = rtp.rtx_payload_type.map(check_pt).transpose()?;
        if rtx_pt == Some(pt) {
            return Err("rtx_payload_type equals payload_type");
        }
        if rtp.clock_rate_hz == 0 {
            return Err("clock_rate_hz is zero");
        }
        let mid = Mid::from(&rtp.mid).map_err(|_| "mid has more than 16 octets")?;
        let e = &rtp.extensions;
        // RFC 8285 §4.2: 1 to 14 in the one-byte form, the only one the relay writes.
        if [e.mid, e.transport_cc, e.abs_send_time, e.audio_level, e.video_orientation]
            .iter()
            .any(|id| *id > 14)
        {
            return Err("a header-extension id is above 14");
        }
        Ok(Self {
            kind,
            codec,
            clock_rate_hz: rtp.clock_rate_hz,
            pt,
            rtx_pt,
            mid,
            extensions: *e,
            nack: rtp.nack,
            pli: rtp.pli,
            fir: rtp.fir,
            remb: rtp.remb,
        })
    }
}

/// RFC 5761 §4: with RTP and RTCP on one port, 64 to 95 would look like RTCP.
fn check_pt(pt: u32) -> Result<Pt, &'static str> {
    match u8::try_from(pt) {
        Ok(pt @ (0..=63 | 96..=127)) => Ok(Pt(pt)),
        _ => Err("a payload type is not in 0..=63 or 96..=127"),
    }
}
