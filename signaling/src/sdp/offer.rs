//! What an offer says, borrowed from its text.

use super::error::SdpError;
use relay_control::MediaKind;

/// A parsed session description. Also fits answers, which is what tests and test clients use it for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Offer<'a> {
    /// Mids of the first `a=group:BUNDLE`, in its order.
    pub bundle: Vec<&'a str>,
    pub ice_lite: bool,
    /// m-lines in order.
    pub media: Vec<Media<'a>>,
}

/// One m-line with its attributes, what it inherits from the session level included.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Media<'a> {
    /// Line number of `m=`.
    pub line: usize,
    /// `audio` or `video`; `None` for all others, which are never used.
    pub kind: Option<MediaKind>,
    /// The media word: `audio`, `video`, `application`...
    pub name: &'a str,
    /// What is behind the media is not a port and a protocol: the m-line is never used.
    pub malformed: bool,
    /// Port; 0 means rejected unless [`bundle_only`](Self::bundle_only) (RFC 9143 §6).
    pub port: u16,
    /// `UDP/TLS/RTP/SAVPF` and the like.
    pub protocol: &'a str,
    /// Formats as they were written.
    pub format_list: &'a str,
    pub mid: Option<&'a str>,
    /// Direction; none was given means `sendrecv`.
    pub direction: Option<Direction>,
    /// Formats in the order of the m-line. Empty if [`kind`](Self::kind) is `None`.
    pub formats: Vec<Format<'a>>,
    /// What `a=rtcp-fb:*` says; every format's own has it as well.
    pub feedback: Feedback,
    pub extensions: Vec<Extension<'a>>,
    /// SSRCs in order of appearance.
    pub sources: Vec<Source<'a>>,
    /// `a=ssrc-group` lines of two and more SSRCs.
    pub groups: Vec<SourceGroup<'a>>,
    /// The first `a=msid`.
    pub msid: Option<Msid<'a>>,
    /// ICE and DTLS parameters.
    pub transport: TransportAttributes<'a>,
    /// `a=rtcp-mux`, or `a=rtcp-mux-only` (RFC 8858 §3).
    pub rtcp_mux: bool,
    pub rtcp_rsize: bool,
    pub bundle_only: bool,
    pub extmap_allow_mixed: bool,
    /// Number of `a=rid` lines.
    pub rids: usize,
    /// `a=simulcast` was there.
    pub simulcast: bool,
    /// `a=content` says `slides` (RFC 4796 §5).
    pub slides: bool,
    /// Number of `a=candidate` lines; what they say is not used.
    pub candidates: usize,
    pub end_of_candidates: bool,
    /// The first line that says something of the transport which is not understood.
    pub fault: Option<SdpError>,
}

/// ICE and DTLS parameters, at session level or of one m-line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TransportAttributes<'a> {
    /// `a=ice-ufrag`
    pub ufrag: Option<&'a str>,
    /// `a=ice-pwd`
    pub pwd: Option<&'a str>,
    pub ice_options: Option<&'a str>,
    /// The octets of `a=fingerprint:sha-256`, each once. A certificate that any of them is of is the peer's
    /// (RFC 8122 §5). Those of an m-line stand in place of the session level's.
    pub fingerprints_sha256: Vec<[u8; 32]>,
    /// `a=setup`, and the number of its line.
    pub setup: Option<(Setup, usize)>,
}

/// RFC 8866 §6.7
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    SendRecv,
    SendOnly,
    RecvOnly,
    Inactive,
}

/// RFC 4145 §4
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setup {
    /// `a=setup:active`
    Active,
    /// `a=setup:passive`
    Passive,
    /// `a=setup:actpass`
    ActPass,
    /// `a=setup:holdconn`
    HoldConn,
}

/// One payload type of an m-line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Format<'a> {
    /// 0 to 127
    pub payload_type: u8,
    /// Encoding name, clock rate in Hz and channels of `a=rtpmap`.
    pub rtpmap: Option<RtpMap<'a>>,
    /// Values of its `a=fmtp` lines.
    pub fmtp: Vec<&'a str>,
    /// What its `a=rtcp-fb` lines and those for `*` say.
    pub feedback: Feedback,
}

/// Value of `a=rtpmap`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RtpMap<'a> {
    /// Encoding name; compare without case.
    pub name: &'a str,
    /// Clock rate in Hz.
    pub clock_rate_hz: u32,
    /// Channels; 1 if not given.
    pub channels: u8,
}

/// The RTCP feedback messages we know (RFC 4585 §4.2, RFC 5104 §7.1).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Feedback {
    pub nack: bool,
    /// `nack pli`
    pub pli: bool,
    /// `ccm fir`
    pub fir: bool,
    /// `goog-remb`
    pub remb: bool,
    pub transport_cc: bool,
}

/// `a=extmap` (RFC 8285 §5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extension<'a> {
    /// 1 to 255; only 1 to 14 fit the one-byte form.
    pub id: u8,
    /// The offerer's direction.
    pub direction: Direction,
    pub uri: &'a str,
}

/// `a=ssrc` lines of one SSRC (RFC 5576 §4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Source<'a> {
    pub ssrc: u32,
    pub cname: Option<&'a str>,
    pub msid: Option<Msid<'a>>,
}

/// `a=ssrc-group` (RFC 5576 §4.2): what it means, and the first two of its SSRCs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceGroup<'a> {
    /// `FID`, `SIM`, `FEC-FR`...
    pub semantics: &'a str,
    /// First SSRC: of the media in `FID`, of the lowest layer in `SIM`.
    pub first: u32,
    /// Second SSRC: of the retransmissions in `FID`.
    pub second: u32,
}

/// `a=msid` (RFC 8830 §2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Msid<'a> {
    /// Media stream; `-` = none.
    pub stream: &'a str,
    /// Track, if given.
    pub track: Option<&'a str>,
}

impl Direction {
    /// The describing side sends.
    pub fn sends(self) -> bool {
        matches!(self, Self::SendRecv | Self::SendOnly)
    }

    /// The describing side receives.
    pub fn receives(self) -> bool {
        matches!(self, Self::SendRecv | Self::RecvOnly)
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::SendRecv => "sendrecv",
            Self::SendOnly => "sendonly",
            Self::RecvOnly => "recvonly",
            Self::Inactive => "inactive",
        }
    }

    /// The direction with this attribute name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::SendRecv, Self::SendOnly, Self::RecvOnly, Self::Inactive]
            .into_iter()
            .find(|direction| name.eq_ignore_ascii_case(direction.name()))
    }
}

impl Feedback {
    /// What either of the two allows.
    pub fn union(self, other: Self) -> Self {
        Self {
            nack: self.nack || other.nack,
            pli: self.pli || other.pli,
            fir: self.fir || other.fir,
            remb: self.remb || other.remb,
            transport_cc: self.transport_cc || other.transport_cc,
        }
    }
}

impl Offer<'_> {
    /// Whether it offers to send a screen, as far as it says so.
    pub fn shows_slides(&self) -> bool {
        self.media
            .iter()
            .any(|media| media.kind == Some(MediaKind::Video) && media.slides && media.direction().sends())
    }
}

impl<'a> Media<'a> {
    /// The direction in force.
    pub fn direction(&self) -> Direction {
        self.direction.unwrap_or(Direction::SendRecv)
    }

    /// Rejected by its own author (port 0 and not `bundle-only`, RFC 3264 §6, RFC 9143 §6).
    pub fn is_rejected(&self) -> bool {
        self.port == 0 && !self.bundle_only
    }

    /// The format with this payload type.
    pub fn format(&self, payload_type: u8) -> Option<&Format<'a>> {
        self.formats.iter().find(|format| format.payload_type == payload_type)
    }

    /// Id of the extension with this URI, if it fits the one-byte form (RFC 8285 §4.2: 1 to 14) and the
    /// offerer may use it in the direction that is asked for.
    pub fn extension_id(&self, uri: &str, usable: impl Fn(Direction) -> bool) -> Option<u8> {
        self.extensions
            .iter()
            .find(|extension| {
                extension.uri == uri && (1..=14).contains(&extension.id) && usable(extension.direction)
            })
            .map(|extension| extension.id)
    }
}

impl<'a> Format<'a> {
    /// Value of a parameter of `a=fmtp`, which are separated by semicolons; names have no case.
    pub fn parameter(&self, name: &str) -> Option<&'a str> {
        self.fmtp.iter().flat_map(|line| line.split(';')).find_map(|parameter| {
            let (key, value) = parameter.split_once('=')?;
            key.trim().eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }
}
