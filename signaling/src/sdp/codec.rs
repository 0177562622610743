//! Which formats of an m-line are codecs that we pass through.

use super::h264::H264Format;
use super::offer::{Format, Media};
use relay_control::{Codec, MediaKind};

/// Payload types that look like RTCP when RTP and RTCP share a port (RFC 5761 §4); never chosen.
const RTCP_PAYLOAD_TYPES: std::ops::RangeInclusive<u8> = 64..=95;

/// Kind, encoding name, clock rate in Hz and channels of a codec.
pub(super) fn description(codec: Codec) -> (MediaKind, &'static str, u32, u8) {
    match codec {
        Codec::Opus => (MediaKind::Audio, "opus", 48_000, 2),
        Codec::Pcmu => (MediaKind::Audio, "PCMU", 8_000, 1),
        Codec::Pcma => (MediaKind::Audio, "PCMA", 8_000, 1),
        Codec::Vp8 => (MediaKind::Video, "VP8", 90_000, 1),
        Codec::H264 => (MediaKind::Video, "H264", 90_000, 1),
    }
}

/// The codec of a format, if it is one of ours and its payload type can be used.
pub(super) fn codec_of(format: &Format<'_>) -> Option<Codec> {
    if RTCP_PAYLOAD_TYPES.contains(&format.payload_type) {
        return None;
    }
    let Some(rtpmap) = format.rtpmap else {
        // RFC 3551 §6: these two need no rtpmap.
        return match format.payload_type {
            0 => Some(Codec::Pcmu),
            8 => Some(Codec::Pcma),
            _ => None,
        };
    };
    [Codec::Opus, Codec::Pcmu, Codec::Pcma, Codec::Vp8, Codec::H264].into_iter().find(|&codec| {
        let (_, name, clock_rate_hz, channels) = description(codec);
        // RFC 7587 §7 wants two channels of all Opus, mono included; some say what they send. Video has none.
        let channels_fit = match codec {
            Codec::Pcmu | Codec::Pcma => rtpmap.channels == channels,
            Codec::Opus => rtpmap.channels <= channels,
            Codec::Vp8 | Codec::H264 => true,
        };
        rtpmap.name.eq_ignore_ascii_case(name) && rtpmap.clock_rate_hz == clock_rate_hz && channels_fit
    })
}

/// The best format for a codec whose payload type is free: the first, or for H.264 the one with the lowest
/// rank (`None` = unusable).
pub(super) fn best_format<'m, 'a, R: Ord>(
    media: &'m Media<'a>,
    codec: Codec,
    is_free: impl Fn(u8) -> bool,
    h264_rank: impl Fn(&H264Format) -> Option<R>,
) -> Option<&'m Format<'a>> {
    let fits = |format: &&Format<'_>| codec_of(format) == Some(codec) && is_free(format.payload_type);
    let mut formats = media.formats.iter().filter(fits);
    if codec != Codec::H264 {
        return formats.next();
    }
    formats
        .filter_map(|format| Some((h264_rank(&H264Format::of(format)?)?, format)))
        // The first of equals: `min_by` keeps it, and the offer is in order of preference.
        .min_by(|(a, _), (b, _)| a.cmp(b))
        .map(|(_, format)| format)
}

/// The payload type of a format's retransmissions (RFC 4588 §8.6).
pub(super) fn rtx_of(media: &Media<'_>, payload_type: u8, clock_rate_hz: u32) -> Option<u8> {
    media
        .formats
        .iter()
        .find(|format| {
            let is_rtx = format.rtpmap.is_some_and(|rtpmap| {
                rtpmap.name.eq_ignore_ascii_case("rtx") && rtpmap.clock_rate_hz == clock_rate_hz
            });
            let apt = format.parameter("apt").and_then(super::attribute::payload_type);
            is_rtx && apt == Some(payload_type) && !RTCP_PAYLOAD_TYPES.contains(&format.payload_type)
        })
        .map(|format| format.payload_type)
}
