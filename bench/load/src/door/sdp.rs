//! Session descriptions of our own, and what a server's say: by WHIP and WHEP our offers and its answers, with Janus its
//! offers to subscribers as well.
//!
//! Signaling's parser reads; what it leaves out is read here. One transport: BUNDLE, rtcp-mux, all candidates at once.

use super::{Down, Grant, Up, nearest};
use crate::scenario::Kind;
use crate::sending::TRANSPORT_SEQ_ID;
use relay_control::MediaKind;
use ringvox_client::Credentials;
use signaling::sdp::{self, Direction, Format, Media, Setup};
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

/// Id of the MID extension, the same as in [`super::ControlDoor`].
pub(super) const MID_ID: u8 = 4;

const URI_MID: &str = "urn:ietf:params:rtp-hdrext:sdes:mid";
const URI_TRANSPORT_SEQ: &str = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01";

/// Priority of the only candidate (RFC 8445 §5.1.2.1, type preference 126).
const PRIORITY: u32 = (126 << 24) | (65_535 << 8) | 255;

/// One m-line of one stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) mid: String,
    pub(super) kind: Kind,
    pub(super) direction: Direction,
    pub(super) payload_type: u8,
    /// Payload type of retransmissions.
    pub(super) rtx_payload_type: Option<u8>,
    /// Ids of header extensions, if they are used.
    pub(super) mid_id: Option<u8>,
    pub(super) transport_seq_id: Option<u8>,
    /// SSRCs of the describing side; 0: it sends nothing, or does not say.
    pub(super) ssrc: u32,
    pub(super) rtx_ssrc: u32,
}

impl Line {
    /// What we offer for a stream of this kind; `ssrcs` are ours, if we send it.
    pub(super) fn offered(at: usize, kind: Kind, ssrcs: Option<(u32, u32)>) -> Self {
        let (ssrc, rtx_ssrc) = ssrcs.unwrap_or_default();
        let rtx_payload_type = kind.rtx_payload_type();
        Self {
            mid: at.to_string(),
            kind,
            direction: if ssrcs.is_some() { Direction::SendOnly } else { Direction::RecvOnly },
            payload_type: kind.payload_type(),
            rtx_payload_type,
            mid_id: Some(MID_ID),
            transport_seq_id: ssrcs.map(|_| TRANSPORT_SEQ_ID),
            ssrc,
            rtx_ssrc: rtx_payload_type.map_or(0, |_| rtx_ssrc),
        }
    }

    /// The answer to a line of an offer: received as it is offered.
    pub(super) fn received(&self) -> Self {
        let line = self.clone();
        Self { direction: Direction::RecvOnly, transport_seq_id: None, ssrc: 0, rtx_ssrc: 0, ..line }
    }

    /// What a server's line says of a stream that we send.
    pub(super) const fn up(&self) -> Up {
        Up {
            payload_type: self.payload_type,
            rtx_payload_type: self.rtx_payload_type,
            transport_seq_id: self.transport_seq_id,
        }
    }

    /// What a server's line says of a stream that it sends: every packet is judged by its SSRC.
    pub(super) fn down(&self, stream: u32) -> Result<Down, String> {
        if self.ssrc == 0 {
            return Err(format!("the server does not say the SSRC of m-line {}", self.mid));
        }
        Ok(Down::new(stream, self.kind, self.up(), (self.ssrc, self.rtx_ssrc)))
    }
}

/// Our side of a transport.
pub(super) struct Side<'a> {
    pub(super) credentials: &'a Credentials,
    pub(super) fingerprint: [u8; 32],
    pub(super) local: SocketAddr,
    pub(super) setup: Setup,
}

/// A description as it goes into an offer or an answer.
pub(super) fn write(side: &Side<'_>, lines: &[Line]) -> String {
    let mut out = String::with_capacity(512 + 1024 * lines.len());
    // Writing to a `String` cannot fail; the same below.
    let _ = out.write_str("v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE");
    lines.iter().for_each(|line| {
        let _ = write!(out, " {}", line.mid);
    });
    out.push_str("\r\n");
    lines.iter().for_each(|line| write_line(&mut out, side, line));
    out
}

fn write_line(out: &mut String, side: &Side<'_>, line: &Line) {
    let (kind, map) = match line.kind {
        Kind::Audio => ("audio", "opus/48000/2"),
        Kind::Video => ("video", "VP8/90000"),
    };
    let pt = line.payload_type;
    let rtx = line.rtx_payload_type.map_or_else(String::new, |rtx| format!(" {rtx}"));
    let _ =
        write!(out, "m={kind} 9 UDP/TLS/RTP/SAVPF {pt}{rtx}\r\nc=IN IP4 0.0.0.0\r\na=mid:{}\r\n", line.mid);
    let _ = write!(out, "a={}\r\na=rtcp-mux\r\na=rtcp-rsize\r\n", line.direction.name());
    write_transport(out, side);
    for (id, uri) in [(line.mid_id, URI_MID), (line.transport_seq_id, URI_TRANSPORT_SEQ)] {
        if let Some(id) = id {
            let _ = write!(out, "a=extmap:{id} {uri}\r\n");
        }
    }
    let _ = write!(out, "a=rtpmap:{pt} {map}\r\n");
    if line.transport_seq_id.is_some() {
        let _ = write!(out, "a=rtcp-fb:{pt} transport-cc\r\n");
    }
    match line.kind {
        Kind::Audio => drop(write!(out, "a=fmtp:{pt} minptime=10;useinbandfec=1\r\n")),
        Kind::Video => {
            for feedback in ["ccm fir", "nack", "nack pli"] {
                let _ = write!(out, "a=rtcp-fb:{pt} {feedback}\r\n");
            }
        }
    }
    if let Some(rtx) = line.rtx_payload_type {
        let _ = write!(out, "a=rtpmap:{rtx} rtx/90000\r\na=fmtp:{rtx} apt={pt}\r\n");
    }
    if line.ssrc != 0 {
        write_sources(out, line);
    }
}

fn write_transport(out: &mut String, side: &Side<'_>) {
    let Credentials { ufrag, pwd } = side.credentials;
    let setup = match side.setup {
        Setup::Active => "active",
        Setup::Passive => "passive",
        Setup::ActPass => "actpass",
        Setup::HoldConn => "holdconn",
    };
    let octets: Vec<String> = side.fingerprint.iter().map(|octet| format!("{octet:02X}")).collect();
    let _ = write!(out, "a=ice-ufrag:{ufrag}\r\na=ice-pwd:{pwd}\r\na=setup:{setup}\r\n");
    let _ = write!(out, "a=fingerprint:sha-256 {}\r\n", octets.join(":"));
    let (ip, port) = (side.local.ip(), side.local.port());
    let _ = write!(out, "a=candidate:1 1 udp {PRIORITY} {ip} {port} typ host\r\na=end-of-candidates\r\n");
}

fn write_sources(out: &mut String, line: &Line) {
    let (ssrc, rtx) = (line.ssrc, line.rtx_ssrc);
    let _ = write!(out, "a=msid:load track{}\r\n", line.mid);
    if rtx != 0 {
        let _ = write!(out, "a=ssrc-group:FID {ssrc} {rtx}\r\n");
    }
    for ssrc in [ssrc, rtx].into_iter().filter(|ssrc| *ssrc != 0) {
        let _ = write!(out, "a=ssrc:{ssrc} cname:load\r\n");
    }
}

/// What a server says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Described {
    pub(super) credentials: Credentials,
    pub(super) fingerprint: [u8; 32],
    /// Host candidates over UDP.
    pub(super) candidates: Vec<SocketAddr>,
    pub(super) lines: Vec<Line>,
}

impl Described {
    /// What it grants a client at `local`, its streams aside.
    pub(super) fn grant(&self, local: SocketAddr) -> Result<Grant, String> {
        Ok(Grant {
            credentials: self.credentials.clone(),
            remote: nearest(local, &self.candidates)?,
            fingerprint: self.fingerprint,
            ups: Vec::new(),
            downs: Vec::new(),
        })
    }
}

/// Reads a server's offer or answer.
pub(super) fn read(text: &str) -> Result<Described, String> {
    let parsed = sdp::parse(text).map_err(|why| format!("the server's {why}"))?;
    let lines: Result<Vec<Line>, String> =
        parsed.media.iter().enumerate().map(|(at, media)| read_line(at, media)).collect();
    let all = || parsed.media.iter().map(|media| media.transport);
    if all().any(|transport| transport.setup == Some(Setup::Active)) {
        // That is our role.
        return Err("the server says a=setup:active, but our clients begin the DTLS handshake".to_owned());
    }
    let ufrag = all().find_map(|transport| transport.ufrag).ok_or("the server's SDP has no ice-ufrag")?;
    let pwd = all().find_map(|transport| transport.pwd).ok_or("the server's SDP has no ice-pwd")?;
    Ok(Described {
        credentials: Credentials { ufrag: ufrag.to_owned(), pwd: pwd.to_owned() },
        fingerprint: all()
            .find_map(|transport| transport.fingerprint_sha256)
            .ok_or("the server's SDP has no SHA-256 fingerprint")?,
        candidates: candidates(text),
        lines: lines?,
    })
}

/// Reads the answer to an offer of `count` m-lines.
pub(super) fn read_answer(text: &str, count: usize) -> Result<Described, String> {
    let described = read(text)?;
    match described.lines.len() {
        lines if lines == count => Ok(described),
        lines => Err(format!("the server answers {count} m-lines with {lines}")),
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
    let first = media.sources.first().map_or(0, |source| source.ssrc);
    let direction = media.direction();
    let extension = |uri| media.extension_id(uri, |_| true);
    Ok(Line {
        mid: media.mid.unwrap_or_default().to_owned(),
        kind,
        direction,
        payload_type: format.payload_type,
        rtx_payload_type: rtx.map(|rtx| rtx.payload_type),
        mid_id: extension(URI_MID),
        transport_seq_id: extension(URI_TRANSPORT_SEQ),
        ssrc: fid.map_or(first, |group| group.first),
        rtx_ssrc: fid.filter(|_| rtx.is_some()).map_or(0, |group| group.second),
    })
}

/// Each once, though bundled m-lines repeat them.
fn candidates(text: &str) -> Vec<SocketAddr> {
    let mut found = Vec::new();
    for address in text.lines().filter_map(candidate) {
        if !found.contains(&address) {
            found.push(address);
        }
    }
    found
}

/// `a=candidate:<foundation> 1 udp <priority> <address> <port> typ host ...` (RFC 8839 §5.1).
fn candidate(line: &str) -> Option<SocketAddr> {
    let mut words = line.trim_end().strip_prefix("a=candidate:")?.split(' ').skip(1);
    let (component, transport) = (words.next()?, words.next()?);
    let mut words = words.skip(1);
    let ip: IpAddr = words.next()?.parse().ok()?;
    let port = words.next()?.parse().ok()?;
    let host = words.next()? == "typ" && words.next()? == "host";
    (component == "1" && transport.eq_ignore_ascii_case("udp") && host).then_some(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    const JANUS_ANSWER: &str = "v=0\r\no=- 1 1 IN IP4 192.0.2.2\r\ns=VideoRoom 1\r\nt=0 0\r\na=group:BUNDLE 0 1\r\n\
        a=ice-options:trickle\r\na=fingerprint:sha-256 \
        95:A2:18:CC:67:42:D5:E2:39:93:3A:F7:A9:1D:E6:C0:78:DE:75:26:9F:DF:9C:AD:85:E8:E6:B9:49:1C:85:D2\r\n\
        m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=recvonly\r\na=mid:0\r\na=rtcp-mux\r\na=ice-ufrag:sNsZ\r\n\
        a=ice-pwd:eN2pp0U7qR1yLW3v3BgxxA\r\na=setup:passive\r\na=rtpmap:111 opus/48000/2\r\n\
        m=video 9 UDP/TLS/RTP/SAVPF 96 97\r\na=recvonly\r\na=mid:1\r\na=rtcp-mux\r\na=ice-ufrag:sNsZ\r\n\
        a=ice-pwd:eN2pp0U7qR1yLW3v3BgxxA\r\na=setup:passive\r\na=rtpmap:96 VP8/90000\r\n\
        a=extmap:3 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01\r\n\
        a=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\na=ssrc-group:FID 7 8\r\na=ssrc:7 cname:janus\r\n\
        a=candidate:1 1 udp 2015363327 192.0.2.2 31502 typ host\r\n\
        a=candidate:2 1 udp 2015363583 fd00::2 32900 typ host\r\n\
        a=candidate:3 1 tcp 2015363583 192.0.2.2 9 typ host\r\n\
        a=candidate:4 1 udp 1015363583 192.0.2.3 9 typ srflx raddr 192.0.2.2 rport 1\r\na=end-of-candidates\r\n";

    #[test]
    fn a_servers_answer_is_read() {
        let got = read_answer(JANUS_ANSWER, 2).expect("a good answer");
        assert_eq!((got.credentials.ufrag.as_str(), got.credentials.pwd.len()), ("sNsZ", 22));
        assert_eq!((got.fingerprint[0], got.fingerprint[31]), (0x95, 0xd2));
        let want: Vec<SocketAddr> =
            ["192.0.2.2:31502", "[fd00::2]:32900"].map(|text| text.parse().expect("an address")).into();
        assert_eq!(got.candidates, want);
        let line = |at: usize| {
            let line = &got.lines[at];
            (line.mid.as_str(), line.kind, line.payload_type, line.rtx_payload_type, line.transport_seq_id)
        };
        assert_eq!(line(0), ("0", Kind::Audio, 111, None, None));
        assert_eq!(line(1), ("1", Kind::Video, 96, Some(97), Some(3)));
        assert_eq!((got.lines[1].ssrc, got.lines[1].rtx_ssrc), (7, 8));
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
            let why = read(&JANUS_ANSWER.replace(from, to)).expect_err(want);
            assert_eq!(why, want);
        }
        assert_eq!(read_answer(JANUS_ANSWER, 3), Err("the server answers 3 m-lines with 2".to_owned()));
    }

    #[test]
    fn what_is_written_is_read_back_and_answered_by_signaling() {
        let credentials = Credentials::from_octets([9; 20]);
        let local = "127.0.0.1:4000".parse().expect("an address");
        let side = Side { credentials: &credentials, fingerprint: [7; 32], local, setup: Setup::ActPass };
        for publishes in [true, false] {
            let ssrcs = |kind: Kind| publishes.then_some(if kind == Kind::Audio { (1, 2) } else { (3, 4) });
            let lines: Vec<Line> = [Kind::Audio, Kind::Video]
                .into_iter()
                .enumerate()
                .map(|(at, kind)| Line::offered(at, kind, ssrcs(kind)))
                .collect();
            let text = write(&side, &lines);
            let got = read(&text).expect("a good description");
            assert_eq!(got.credentials, credentials);
            assert_eq!((got.fingerprint, got.candidates), ([7; 32], vec![local]));
            assert_eq!(got.lines, lines);
            let offer = sdp::parse(&text).expect("a good offer");
            let preferences = sdp::CodecPreferences::default();
            if publishes {
                let plan = sdp::answer_publish(&offer, &preferences).expect("an answer");
                let ssrcs: Vec<_> = plan.tracks.iter().map(|track| (track.ssrc, track.rtx_ssrc)).collect();
                assert_eq!(ssrcs, [(1, 0), (3, 4)]);
            }
        }
    }
}
