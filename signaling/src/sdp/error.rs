//! What can be wrong with an SDP, and why an offer that is right may still be refused.

use std::fmt;

/// A line that could not be accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SdpError {
    /// Line number, from 1; 0 if it concerns the whole text.
    pub line: usize,
    pub kind: SdpErrorKind,
}

/// What was wrong with a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SdpErrorKind {
    /// The text is longer than [`SDP_BYTES_MAX`](super::limits::SDP_BYTES_MAX).
    TooLong,
    /// The text does not start with `v=0`.
    NoVersion,
    /// There is no m-line.
    NoMedia,
    /// The m-line does not have a media, a port and a protocol. It costs the others nothing, unless the media
    /// is missing or odd: an answer repeats it.
    BadMediaLine,
    /// There are more than [`MEDIA_MAX`](super::limits::MEDIA_MAX) m-lines.
    TooManyMediaLines,
    /// The value of this attribute cannot be understood.
    BadAttribute(&'static str),
    /// ICE user fragment: 4 to 256 visible characters (RFC 8839 §5.4).
    BadUfrag,
    /// ICE password: 22 to 256 visible characters (RFC 8839 §5.4).
    BadPassword,
    /// A SHA-256 fingerprint is not 32 octets in hexadecimal with colons (RFC 8122 §5).
    BadFingerprint,
}

impl fmt::Display for SdpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use SdpErrorKind as Kind;
        if self.line > 0 {
            write!(f, "SDP line {}: ", self.line)?;
        } else {
            f.write_str("SDP: ")?;
        }
        match self.kind {
            Kind::TooLong => write!(f, "longer than {} bytes", super::limits::SDP_BYTES_MAX),
            Kind::NoVersion => f.write_str("does not start with v=0"),
            Kind::NoMedia => f.write_str("no m-line"),
            Kind::BadMediaLine => f.write_str("m-line without media, port, protocol and formats"),
            Kind::TooManyMediaLines => write!(f, "more than {} m-lines", super::limits::MEDIA_MAX),
            Kind::BadAttribute(name) => write!(f, "value of a={name} is not understood"),
            Kind::BadUfrag => f.write_str("ice-ufrag is not 4 to 256 visible characters"),
            Kind::BadPassword => f.write_str("ice-pwd is not 22 to 256 visible characters"),
            Kind::BadFingerprint => f.write_str("sha-256 fingerprint is not 32 octets"),
        }
    }
}

impl std::error::Error for SdpError {}

/// Why a well-formed offer gets no answer. None of these goes away by trying the same offer again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Nothing that is sent or wanted has a codec in common.
    NoCommonCodecs,
    /// Nothing of the offer could be sent or received.
    NoUsableMedia,
    /// The m-line is not of the BUNDLE group, or not the first where there is none: there is one transport
    /// only.
    NoBundle,
    /// The m-line has no `a=rtcp-mux`.
    NoRtcpMux,
    /// What is needed stands in this line, which is not understood.
    BadLine(SdpError),
    /// No `a=ice-ufrag` or no `a=ice-pwd`.
    NoIceCredentials,
    /// No `a=fingerprint:sha-256`.
    NoSha256Fingerprint,
    /// `a=setup` in this line puts the connection off (RFC 4145 §4), and nothing would ever come.
    SetupHoldConn(usize),
    /// The offerer is ICE-lite as we are, so nobody would check.
    BothIceLite,
    /// An m-line before it has the one track of its kind that a stream has.
    OneOfAKind,
    /// A bundled m-line before it uses the payload type (RFC 9143 §9.1: it must mean the same in all of
    /// them).
    PayloadTypeConflict,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BadLine(error) => return error.fmt(f),
            Self::SetupHoldConn(line) => {
                return write!(f, "SDP line {line}: setup is holdconn, not actpass, active or passive");
            }
            // The WCS constant; pages compare it.
            Self::NoCommonCodecs => "No common codecs",
            Self::NoUsableMedia => "No usable m-line in the offer",
            Self::NoBundle => "The offer does not BUNDLE its m-lines",
            Self::NoRtcpMux => "The offer has no rtcp-mux",
            Self::NoIceCredentials => "The offer has no ice-ufrag and ice-pwd",
            Self::NoSha256Fingerprint => "The offer has no sha-256 fingerprint",
            Self::BothIceLite => "The offer is ice-lite, and so are we",
            Self::OneOfAKind => "Only one m-line of a kind is taken",
            Self::PayloadTypeConflict => "The offer uses one payload type for two codecs",
        })
    }
}

impl std::error::Error for Refusal {}
