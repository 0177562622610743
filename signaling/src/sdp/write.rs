//! The text of an answer.

use super::answer::{URI_AUDIO_LEVEL, URI_MID, URI_TRANSPORT_CC, URI_VIDEO_ORIENTATION};
use super::attribute::is_token_byte;
use super::codec::description;
use super::plan::{Accepted, AnswerLine, Plan};
use relay_control::{Codec, MediaKind};
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};

/// What the relay and the room have to say for an answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RelaySide {
    pub ufrag: String,
    pub pwd: String,
    /// SHA-256 of the relay's certificate.
    pub fingerprint_sha256: [u8; 32],
    /// Host candidates (UDP), best first.
    pub candidates: Vec<(IpAddr, u16)>,
    /// For `o=`, random; only the lower 62 bits are used (RFC 9429 §5.2.1).
    pub session_id: u64,
    /// Bound on all that a publisher sends together, bit/s; `None` = say nothing.
    pub max_bitrate_bps: Option<u64>,
    /// The same of its video, where operator or client have chosen one. A bound that is only the relay's does
    /// not stand at the m-line: Chromium takes what is there in place of its own bound, which is lower and
    /// follows the picture's size, and so a camera would send as much as it may.
    pub max_video_bitrate_bps: Option<u64>,
    /// Answers to players: what is sent. Without it the answer names no streams and SSRCs.
    pub play: Option<PlaySide>,
}

/// What a player is sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PlaySide {
    /// One media stream for all tracks: browsers play only tracks of one stream together.
    pub stream_id: String,
    pub cname: String,
    /// As many as the plan has tracks, in their order.
    pub ssrcs: Vec<TrackSsrcs>,
}

/// SSRCs of a track, as the relay chose them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TrackSsrcs {
    /// Of the media.
    pub ssrc: u32,
    /// Of its retransmissions; `None` or 0 if there are none.
    pub rtx_ssrc: Option<u32>,
}

/// Longest stream, track and canonical name that is written (RFC 8830 §2: 64 characters).
const NAME_BYTES_MAX: usize = 64;

/// One line with its end. Writing to a `String` cannot fail.
macro_rules! line {
    ($out:expr, $($arg:tt)*) => {{
        let _ = write!($out, $($arg)*);
        $out.push_str("\r\n");
    }};
}

impl Plan {
    pub fn write(&self, relay: &RelaySide) -> String {
        // About what an answer with two m-lines takes.
        let mut out = String::with_capacity(3 * 1024);
        line!(out, "v=0");
        line!(out, "o=- {} 1 IN IP4 127.0.0.1", relay.session_id & (u64::MAX >> 2));
        line!(out, "s=-");
        if let Some(bitrate_bps) = relay.max_bitrate_bps.filter(|_| relay.play.is_none()) {
            write_bandwidth(&mut out, bitrate_bps);
        }
        line!(out, "t=0 0");
        line!(out, "a=ice-lite");
        write_bundle(&mut out, &self.bundle);
        if let Some(play) = &relay.play {
            line!(out, "a=msid-semantic: WMS {}", name(&play.stream_id));
        }
        for (index, answer) in self.lines.iter().enumerate() {
            match &answer.accepted {
                Some(accepted) => {
                    write_media_line(&mut out, answer, accepted, relay);
                    write_transport(&mut out, (relay, self.remote.is_dtls_server), index == self.tagged);
                    write_rtp(&mut out, accepted);
                    self.write_streams(&mut out, accepted, relay);
                }
                None => write_rejected(&mut out, answer, (relay, self.remote.is_dtls_server)),
            }
        }
        out
    }

    /// Stream, CNAME and SSRCs of a track that is sent to a player.
    fn write_streams(&self, out: &mut String, accepted: &Accepted, relay: &RelaySide) {
        let (Some(track), Some(play)) = (accepted.track, &relay.play) else { return };
        debug_assert_eq!(play.ssrcs.len(), self.tracks.len(), "SSRCs for every track");
        let (stream, cname) = (name(&play.stream_id), name(&play.cname));
        // Unique within the stream is enough; the stream's own id makes it unique in the page.
        line!(out, "a=msid:{stream} {}", track_name(&stream, accepted));
        let Some(TrackSsrcs { ssrc, rtx_ssrc }) = play.ssrcs.get(track).copied() else { return };
        match rtx_ssrc.filter(|&rtx| rtx != 0 && accepted.rtp.rtx_payload_type.is_some()) {
            Some(rtx_ssrc) => {
                line!(out, "a=ssrc-group:FID {ssrc} {rtx_ssrc}");
                line!(out, "a=ssrc:{ssrc} cname:{cname}");
                line!(out, "a=ssrc:{rtx_ssrc} cname:{cname}");
            }
            None => line!(out, "a=ssrc:{ssrc} cname:{cname}"),
        }
    }
}

pub(super) fn write_bundle(out: &mut String, bundle: &[String]) {
    if !bundle.is_empty() {
        line!(out, "a=group:BUNDLE {}", bundle.join(" "));
    }
}

/// `m=`, `c=`, `b=` and `a=mid`.
fn write_media_line(out: &mut String, answer: &AnswerLine, accepted: &Accepted, relay: &RelaySide) {
    let rtp = &accepted.rtp;
    // RFC 9429 §5.3.1: without candidates the port is 9 and the address 0.0.0.0.
    let (address, port) = relay.candidates.first().copied().unwrap_or((IpAddr::V4(Ipv4Addr::UNSPECIFIED), 9));
    let _ = write!(out, "m={} {port} {} {}", answer.name, answer.protocol, rtp.payload_type);
    if let Some(rtx) = rtp.rtx_payload_type {
        let _ = write!(out, " {rtx}");
    }
    out.push_str("\r\n");
    line!(out, "c=IN {} {address}", if address.is_ipv4() { "IP4" } else { "IP6" });
    let is_video = rtp.kind() == MediaKind::Video;
    if let Some(bitrate_bps) = relay.max_video_bitrate_bps.filter(|_| is_video && relay.play.is_none()) {
        write_bandwidth(out, bitrate_bps);
    }
    if let Some(mid) = &answer.mid {
        line!(out, "a=mid:{mid}");
    }
}

/// A bound on media as RFC 3890 says it, without the headers of RTP, UDP and IP, and for who does not know
/// that, in kbit/s with them: as much as RFC 9429 §5.9 subtracts again. The relay's own tolerance is larger
/// than all headers.
fn write_bandwidth(out: &mut String, bitrate_bps: u64) {
    const HEADERS_BPS: u64 = 50 * 40 * 8;
    line!(out, "b=AS:{}", bitrate_bps.saturating_add(HEADERS_BPS).div_ceil(950));
    line!(out, "b=TIAS:{bitrate_bps}");
}

/// ICE and DTLS. Every m-line repeats them, as browsers' own answers do; only the tagged one has the
/// candidates.
fn write_transport(out: &mut String, (relay, begins): (&RelaySide, bool), tagged: bool) {
    write_ice(out, relay, tagged);
    out.push_str("a=fingerprint:sha-256 ");
    for (index, octet) in relay.fingerprint_sha256.iter().enumerate() {
        let _ = write!(out, "{}{octet:02X}", if index == 0 { "" } else { ":" });
    }
    out.push_str("\r\n");
    // RFC 5763 §5: who may choose waits, as ICE-lite does.
    line!(out, "a=setup:{}", if begins { "active" } else { "passive" });
}

/// Credentials, and candidates for the tagged m-line.
pub(super) fn write_ice(out: &mut String, relay: &RelaySide, tagged: bool) {
    line!(out, "a=ice-ufrag:{}", relay.ufrag);
    line!(out, "a=ice-pwd:{}", relay.pwd);
    if !tagged {
        return;
    }
    for (index, (address, port)) in relay.candidates.iter().enumerate() {
        // RFC 8445 §5.1.1.3: one foundation per type and base address.
        let same = relay.candidates.iter().position(|(other, _)| other == address);
        let foundation = same.unwrap_or(index) + 1;
        let priority = host_priority(index);
        line!(out, "a=candidate:{foundation} 1 udp {priority} {address} {port} typ host");
    }
    line!(out, "a=end-of-candidates");
}

/// RFC 8445 §5.1.2.1: type preference 126 for host, local preference by order, component 1.
fn host_priority(index: usize) -> u32 {
    let local_preference = 65_535 - u32::try_from(index.min(65_535)).unwrap_or(65_535);
    (126 << 24) + (local_preference << 8) + 255
}

/// Direction, formats, feedback and header extensions.
fn write_rtp(out: &mut String, accepted: &Accepted) {
    let rtp = &accepted.rtp;
    let payload_type = rtp.payload_type;
    line!(out, "a={}", accepted.direction.name());
    line!(out, "a=rtcp-mux");
    if accepted.rtcp_rsize {
        line!(out, "a=rtcp-rsize");
    }
    for (id, uri) in [
        (rtp.extensions.mid, URI_MID),
        (rtp.extensions.transport_cc, URI_TRANSPORT_CC),
        (rtp.extensions.audio_level, URI_AUDIO_LEVEL),
        (rtp.extensions.video_orientation, URI_VIDEO_ORIENTATION),
    ] {
        if id != 0 {
            line!(out, "a=extmap:{id} {uri}");
        }
    }
    let (_, encoding, clock_rate_hz, channels) = description(rtp.codec());
    let channels = if rtp.codec() == Codec::Opus { format!("/{channels}") } else { String::new() };
    line!(out, "a=rtpmap:{payload_type} {encoding}/{clock_rate_hz}{channels}");
    for (negotiated, feedback) in [
        (rtp.remb, "goog-remb"),
        (rtp.transport_cc, "transport-cc"),
        (rtp.fir, "ccm fir"),
        (rtp.nack, "nack"),
        (rtp.pli, "nack pli"),
    ] {
        if negotiated {
            line!(out, "a=rtcp-fb:{payload_type} {feedback}");
        }
    }
    if !accepted.fmtp.is_empty() {
        line!(out, "a=fmtp:{payload_type} {}", accepted.fmtp);
    }
    if let Some(rtx) = rtp.rtx_payload_type {
        line!(out, "a=rtpmap:{rtx} rtx/{clock_rate_hz}");
        line!(out, "a=fmtp:{rtx} apt={payload_type}");
    }
}

/// RFC 3264 §6: port 0, and at least one format of the offer, here all of them as they were. GStreamer's
/// webrtcbin takes no answer in which an m-line has no ICE credentials, fingerprint and role, rejected or not,
/// and aiortc waits for candidates of each before it goes on to the next.
fn write_rejected(out: &mut String, answer: &AnswerLine, relay: (&RelaySide, bool)) {
    line!(out, "m={} 0 {} {}", answer.name, answer.protocol, answer.format_list);
    line!(out, "c=IN IP4 0.0.0.0");
    if let Some(mid) = &answer.mid {
        line!(out, "a=mid:{mid}");
    }
    write_transport(out, relay, false);
    line!(out, "a=end-of-candidates");
    line!(out, "a=inactive");
    for attribute in &answer.offered {
        line!(out, "a={attribute}");
    }
}

fn track_name(stream: &str, accepted: &Accepted) -> String {
    let kind = if accepted.rtp.kind() == MediaKind::Audio { "audio" } else { "video" };
    format!("{}-{kind}", stream.get(..stream.len().min(NAME_BYTES_MAX - 6)).unwrap_or(stream))
}

/// A name made fit for a line: other characters than those of a token become `_`. Rooms and logins may be any
/// text, and none of it may end the line.
fn name(text: &str) -> String {
    let name: String = text
        .chars()
        .take(NAME_BYTES_MAX)
        .map(|c| if u8::try_from(c).is_ok_and(is_token_byte) { c } else { '_' })
        .collect();
    // `-` would mean "no stream" (RFC 8830 §3.1).
    if name.is_empty() || name == "-" { "_".to_owned() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_break_out_of_their_line() {
        for (given, expected) in [
            ("room-1", "room-1"),
            ("{a}", "{a}"),
            ("a b\r\na=ice-lite", "a_b__a_ice-lite"),
            ("комната", "_______"),
            ("", "_"),
            ("-", "_"),
        ] {
            assert_eq!(name(given), expected);
        }
        assert_eq!(name(&"x".repeat(100)).len(), 64);
    }

    #[test]
    fn priorities_fall_with_the_order() {
        assert_eq!(host_priority(0), 2_130_706_431);
        assert!(host_priority(0) > host_priority(1));
        assert!(host_priority(usize::MAX) > 0);
    }
}
