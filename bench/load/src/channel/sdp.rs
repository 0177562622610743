//! Session descriptions of our own, and what a server's say: by WHIP and WHEP our offers and its answers, with Janus its
//! offers to subscribers as well.
//!
//! Signaling's parser reads; what it leaves out is read here. One transport: BUNDLE, rtcp-mux, all candidates at once.

use super::{Down, JoinAnswer, JoinRequest, Up, nearest};
use crate::scenario::{Kind, Stream};
use relay_control::MediaKind;
use ringvox_client::Credentials;
use signaling::sdp::{self, Format, Media, Setup};
use std::net::{IpAddr, SocketAddr};

/// Id of the MID extension, the same as in [`super::ControlChannel`].
pub(super) const MID_ID: u8 = 4;

const URI_MID: &str = "urn:ietf:params:rtp-hdrext:sdes:mid";
const URI_TRANSPORT_SEQ: &str = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01";

/// Priority of the only candidate (RFC 8445 §5.1.2.1, type preference 126).
const PRIORITY: u32 = (126 << 24) | (65_535 << 8) | 255;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) mid: String,
    pub(super) kind: Kind,
    pub(super) up: Up,
    /// Id of the MID extension, if it is used.
    pub(super) mid_id: Option<u8>,
    /// SSRCs of the describing side, media and retransmissions; 0: it sends nothing, or does not say.
    pub(super) ssrcs: (u32, u32),
}

impl Line {
    /// What a client offers for the stream that its m-line `at` carries.
    fn offered(at: usize, stream: &Stream, publishes: bool) -> Self {
        let mut up = Up::offered(stream.kind);
        let mut ssrcs = (0, 0);
        if publishes {
            ssrcs = (stream.ssrc(), up.rtx_payload_type.map_or(0, |_| stream.rtx_ssrc()));
        } else {
            up.transport_seq_id = None;
        }
        Self { mid: at.to_string(), kind: stream.kind, up, mid_id: Some(MID_ID), ssrcs }
    }

    /// What a server's line says of a stream that it sends: every packet is judged by its SSRC.
    pub(super) fn down(&self, stream: u32) -> Result<Down, String> {
        if self.ssrcs.0 == 0 {
            return Err(format!("the server does not say the SSRC of m-line {}", self.mid));
        }
        Ok(Down::new(stream, self.kind, self.up, self.ssrcs))
    }
}

/// A client's offer; `setup`: its side of DTLS (RFC 8842 §5.2).
pub(super) fn offer(request: &JoinRequest, setup: &str) -> String {
    let streams = request.streams.iter().enumerate();
    let lines: Vec<Line> = streams.map(|(at, stream)| Line::offered(at, stream, request.publishes)).collect();
    write(request, setup, &lines)
}

/// A client's answer to the lines of an offer: each is received as it is offered.
pub(super) fn answer(request: &JoinRequest, offered: &[Line]) -> String {
    let received = |line: &Line| {
        let up = Up { transport_seq_id: None, ..line.up };
        Line { up, ssrcs: (0, 0), ..line.clone() }
    };
    let lines: Vec<Line> = offered.iter().map(received).collect();
    write(request, "active", &lines)
}

fn write(request: &JoinRequest, setup: &str, lines: &[Line]) -> String {
    let mids: String = lines.iter().map(|line| format!(" {}", line.mid)).collect();
    let transport = transport(request, setup);
    let media: String = lines.iter().map(|line| media(line, &transport)).collect();
    let text = format!("v=0\no=- 1 1 IN IP4 127.0.0.1\ns=-\nt=0 0\na=group:BUNDLE{mids}\n{media}");
    // RFC 8866 §5: a line ends with CRLF.
    text.replace('\n', "\r\n")
}

fn transport(request: &JoinRequest, setup: &str) -> String {
    let Credentials { ufrag, pwd } = &request.credentials;
    let octets: Vec<String> = request.fingerprint.iter().map(|octet| format!("{octet:02X}")).collect();
    let (ip, port) = (request.local.ip(), request.local.port());
    format!(
        "a=ice-ufrag:{ufrag}\na=ice-pwd:{pwd}\na=setup:{setup}\na=fingerprint:sha-256 {}\n\
         a=candidate:1 1 udp {PRIORITY} {ip} {port} typ host\na=end-of-candidates\n",
        octets.join(":"),
    )
}

fn media(line: &Line, transport: &str) -> String {
    let Line { mid, up, ssrcs: (ssrc, rtx_ssrc), .. } = line;
    let pt = up.payload_type;
    let (kind, codec) = match line.kind {
        Kind::Audio => ("audio", format!("opus/48000/2\na=fmtp:{pt} minptime=10;useinbandfec=1")),
        Kind::Video => (
            "video",
            format!("VP8/90000\na=rtcp-fb:{pt} ccm fir\na=rtcp-fb:{pt} nack\na=rtcp-fb:{pt} nack pli"),
        ),
    };
    let direction = if *ssrc == 0 { "recvonly" } else { "sendonly" };
    let rtx_format = up.rtx_payload_type.map_or_else(String::new, |rtx| format!(" {rtx}"));
    let mut out = format!(
        "m={kind} 9 UDP/TLS/RTP/SAVPF {pt}{rtx_format}\nc=IN IP4 0.0.0.0\na=mid:{mid}\na={direction}\n\
         a=rtcp-mux\na=rtcp-rsize\n{transport}a=rtpmap:{pt} {codec}\n",
    );
    if let Some(id) = line.mid_id {
        out += &format!("a=extmap:{id} {URI_MID}\n");
    }
    if let Some(id) = up.transport_seq_id {
        out += &format!("a=extmap:{id} {URI_TRANSPORT_SEQ}\na=rtcp-fb:{pt} transport-cc\n");
    }
    if let Some(rtx) = up.rtx_payload_type {
        out += &format!("a=rtpmap:{rtx} rtx/90000\na=fmtp:{rtx} apt={pt}\n");
    }
    if *ssrc != 0 {
        out += &format!("a=msid:load track{mid}\na=ssrc:{ssrc} cname:load\n");
    }
    if *rtx_ssrc != 0 {
        out += &format!("a=ssrc-group:FID {ssrc} {rtx_ssrc}\na=ssrc:{rtx_ssrc} cname:load\n");
    }
    out
}

/// Reads a server's offer or answer: what it is to a client at `local`, its streams aside, and its m-lines.
pub(super) fn read(text: &str, local: SocketAddr) -> Result<(JoinAnswer, Vec<Line>), String> {
    let parsed = sdp::parse(text).map_err(|why| format!("the server's {why}"))?;
    let lines: Result<Vec<Line>, String> =
        parsed.media.iter().enumerate().map(|(at, media)| read_line(at, media)).collect();
    let all = || parsed.media.iter().map(|media| &media.transport);
    if all().any(|transport| transport.setup.is_some_and(|(setup, _)| setup == Setup::Active)) {
        // That is our role.
        return Err("the server says a=setup:active, but our clients begin the DTLS handshake".to_owned());
    }
    let ufrag = all().find_map(|transport| transport.ufrag).ok_or("the server's SDP has no ice-ufrag")?;
    let pwd = all().find_map(|transport| transport.pwd).ok_or("the server's SDP has no ice-pwd")?;
    let fingerprint = all().find_map(|transport| transport.fingerprints_sha256.first().copied());
    let candidates: Vec<SocketAddr> = text.lines().filter_map(candidate).collect();
    let answer = JoinAnswer {
        credentials: Credentials::new(ufrag, pwd),
        remote: nearest(local, &candidates)?,
        fingerprint: fingerprint.ok_or("the server's SDP has no SHA-256 fingerprint")?,
        ups: Vec::new(),
        downs: Vec::new(),
    };
    Ok((answer, lines?))
}

/// Reads the answer to an offer, which has one m-line for each stream.
pub(super) fn read_answer(text: &str, request: &JoinRequest) -> Result<(JoinAnswer, Vec<Line>), String> {
    let (answer, lines) = read(text, request.local)?;
    match (lines.len(), request.streams.len()) {
        (got, asked) if got == asked => Ok((answer, lines)),
        (got, asked) => Err(format!("the server answers {asked} m-lines with {got}")),
    }
}

fn read_line(at: usize, media: &Media<'_>) -> Result<Line, String> {
    if media.is_rejected() {
        return Err(format!("the server refuses m-line {at}: it needs Opus and VP8"));
    }
    let no_codec = || format!("the server's m-line {at} has neither Opus nor VP8");
    let (kind, codec) = match media.kind {
        Some(MediaKind::Audio) => (Kind::Audio, "opus"),
        Some(MediaKind::Video) => (Kind::Video, "VP8"),
        None => return Err(no_codec()),
    };
    let is = |format: &Format<'_>, name: &str| {
        format.rtpmap.is_some_and(|map| map.name.eq_ignore_ascii_case(name))
    };
    let format = media.formats.iter().find(|format| is(format, codec)).ok_or_else(no_codec)?;
    let apt = format.payload_type.to_string();
    let rtx = media.formats.iter().find(|f| is(f, "rtx") && f.parameter("apt") == Some(&apt));
    let fid = media.groups.iter().find(|group| group.semantics == "FID");
    let ssrc = fid.map(|group| group.first).or_else(|| Some(media.sources.first()?.ssrc));
    let rtx_ssrc = fid.filter(|_| rtx.is_some()).map(|group| group.second);
    let extension = |uri| media.extension_id(uri, |_| true);
    Ok(Line {
        mid: media.mid.unwrap_or_default().to_owned(),
        kind,
        up: Up {
            payload_type: format.payload_type,
            rtx_payload_type: rtx.map(|rtx| rtx.payload_type),
            transport_seq_id: extension(URI_TRANSPORT_SEQ),
        },
        mid_id: extension(URI_MID),
        ssrcs: (ssrc.unwrap_or(0), rtx_ssrc.unwrap_or(0)),
    })
}

/// `a=candidate:<foundation> 1 udp <priority> <address> <port> typ host ...` (RFC 8839 §5.1).
fn candidate(line: &str) -> Option<SocketAddr> {
    let words: Vec<&str> = line.strip_prefix("a=candidate:")?.split_whitespace().collect();
    let [_, "1", transport, _, ip, port, "typ", "host", ..] = words[..] else { return None };
    let address = SocketAddr::new(ip.parse::<IpAddr>().ok()?, port.parse().ok()?);
    transport.eq_ignore_ascii_case("udp").then_some(address)
}

#[cfg(test)]
mod tests {
    use super::super::tests::request;
    use super::*;

    const JANUS_ANSWER: &str = include_str!("janus-answer.sdp");

    fn address(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn a_servers_answer_is_read() {
        for (local, want) in [("192.0.2.9:1", "192.0.2.2:31502"), ("[fd00::9]:1", "[fd00::2]:32900")] {
            let (answer, _) = read(JANUS_ANSWER, address(local)).expect("a good answer");
            assert_eq!(answer.remote, address(want));
        }
        let (answer, lines) = read(JANUS_ANSWER, address("192.0.2.9:1")).expect("a good answer");
        assert_eq!((answer.credentials.ufrag.as_str(), answer.credentials.pwd.len()), ("sNsZ", 22));
        assert_eq!((answer.fingerprint[0], answer.fingerprint[31]), (0x95, 0xd2));
        let line = |mid: &str, kind, numbers, ssrcs| {
            let (payload_type, rtx_payload_type, transport_seq_id) = numbers;
            let up = Up { payload_type, rtx_payload_type, transport_seq_id };
            Line { mid: mid.to_owned(), kind, up, mid_id: None, ssrcs }
        };
        let audio = line("0", Kind::Audio, (111, None, None), (0, 0));
        assert_eq!(lines, [audio, line("1", Kind::Video, (96, Some(97), Some(3)), (7, 8))]);
    }

    #[test]
    fn answers_of_no_use_say_why() {
        for (from, to, want) in [
            ("v=0\r\n", "", "the server's SDP line 1: does not start with v=0"),
            ("m=video 9 ", "m=video 0 ", "the server refuses m-line 1: it needs Opus and VP8"),
            ("VP8/90000", "H264/90000", "the server's m-line 1 has neither Opus nor VP8"),
            ("a=ice-pwd:eN2pp0U7qR1yLW3v3BgxxA\r\n", "", "the server's SDP has no ice-pwd"),
            ("a=fingerprint:sha-256", "a=fingerprint:sha-1", "the server's SDP has no SHA-256 fingerprint"),
            (
                "a=setup:passive",
                "a=setup:active",
                "the server says a=setup:active, but our clients begin the DTLS handshake",
            ),
        ] {
            let why = read(&JANUS_ANSWER.replace(from, to), address("192.0.2.9:1")).expect_err(want);
            assert_eq!(why, want);
        }
        let why =
            read_answer(JANUS_ANSWER, &request(true, &[(Kind::Audio, 7); 3])).expect_err("one is missing");
        assert_eq!(why, "the server answers 3 m-lines with 2");
    }

    #[test]
    fn what_is_written_is_read_back_and_answered_by_signaling() {
        for publishes in [true, false] {
            let request = request(publishes, &[(Kind::Audio, 7), (Kind::Video, 7)]);
            let text = offer(&request, "actpass");
            let (got, lines) = read(&text, request.local).expect("a good description");
            assert_eq!((&got.credentials, got.fingerprint), (&request.credentials, request.fingerprint));
            assert_eq!(got.remote, request.local);
            let streams = request.streams.iter().enumerate();
            let wanted: Vec<Line> = streams.map(|(at, s)| Line::offered(at, s, publishes)).collect();
            assert_eq!(lines, wanted);
            let parsed = sdp::parse(&text).expect("a good offer");
            let preferences = sdp::CodecPreferences::default();
            if publishes {
                let plan = sdp::answer_publish(&parsed, &preferences).expect("an answer");
                let ssrcs: Vec<_> = plan.tracks.iter().map(|track| (track.ssrc, track.rtx_ssrc)).collect();
                assert_eq!(ssrcs, [(0x1000_0000, 0), (0x1000_0002, 0x1000_0003)]);
            }
        }
    }
}
