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
    /// A line is longer than [`LINE_BYTES_MAX`](super::limits::LINE_BYTES_MAX).
    LineTooLong,
    /// NUL, a lone carriage return or another control character.
    ControlCharacter,
    /// Not of the form `x=value`.
    NotALine,
    /// The text does not start with `v=0`.
    NoVersion,
    /// There is no m-line.
    NoMedia,
    /// The m-line does not have a media, a port, a protocol and formats.
    BadMediaLine,
    /// A payload type is no number from 0 to 127.
    BadPayloadType,
    /// The value of this attribute cannot be understood.
    BadAttribute(&'static str),
    /// ICE user fragment: 4 to 256 visible characters (RFC 8839 §5.4).
    BadUfrag,
    /// ICE password: 22 to 256 visible characters (RFC 8839 §5.4).
    BadPassword,
    /// A SHA-256 fingerprint is not 32 octets in hexadecimal with colons (RFC 8122 §5).
    BadFingerprint,
    /// A header-extension id is not from 1 to 255 (RFC 8285 §5).
    BadExtensionId,
    /// Two m-lines (or two lines of one) name the same mid (RFC 9143 §5).
    DuplicateMid,
    /// One m-line uses a header-extension id twice.
    DuplicateExtension,
    /// More of these than the limit; both are named.
    TooMany(&'static str, usize),
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
            Kind::LineTooLong => write!(f, "line longer than {} bytes", super::limits::LINE_BYTES_MAX),
            Kind::ControlCharacter => f.write_str("control character (NUL, lone CR, ...)"),
            Kind::NotALine => f.write_str("not of the form <letter>=<value>"),
            Kind::NoVersion => f.write_str("does not start with v=0"),
            Kind::NoMedia => f.write_str("no m-line"),
            Kind::BadMediaLine => f.write_str("m-line without media, port, protocol and formats"),
            Kind::BadPayloadType => f.write_str("payload type is not 0 to 127"),
            Kind::BadAttribute(name) => write!(f, "value of a={name} is not understood"),
            Kind::BadUfrag => f.write_str("ice-ufrag is not 4 to 256 visible characters"),
            Kind::BadPassword => f.write_str("ice-pwd is not 22 to 256 visible characters"),
            Kind::BadFingerprint => f.write_str("sha-256 fingerprint is not 32 octets"),
            Kind::BadExtensionId => f.write_str("extmap id is not 1 to 255"),
            Kind::DuplicateMid => f.write_str("mid is used twice"),
            Kind::DuplicateExtension => f.write_str("extmap id is used twice"),
            Kind::TooMany(what, max) => write!(f, "more than {max} {what}"),
        }
    }
}

impl std::error::Error for SdpError {}

/// Why a well-formed offer gets no answer. None of these goes away by trying the same offer again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// A kind that is sent and wanted has no codec in common.
    NoCommonCodecs,
    /// Nothing of the offer could be sent or received.
    NoUsableMedia,
    /// Several m-lines, but not in one BUNDLE group with mids: there is one transport only.
    NoBundle,
    /// An m-line without `a=rtcp-mux`.
    NoRtcpMux,
    /// No `a=ice-ufrag` or no `a=ice-pwd`.
    NoIceCredentials,
    /// No `a=fingerprint:sha-256`.
    NoSha256Fingerprint,
    /// `a=setup` does not let us be the passive side.
    SetupNotActive,
    /// The offerer is ICE-lite as we are, so nobody would check.
    BothIceLite,
    /// Two bundled m-lines use one payload type (RFC 9143 §9.1: it must mean the same in all of them).
    PayloadTypeConflict,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            // The WCS constant; pages compare it.
            Self::NoCommonCodecs => "No common codecs",
            Self::NoUsableMedia => "No usable m-line in the offer",
            Self::NoBundle => "The offer does not BUNDLE its m-lines",
            Self::NoRtcpMux => "The offer has no rtcp-mux",
            Self::NoIceCredentials => "The offer has no ice-ufrag and ice-pwd",
            Self::NoSha256Fingerprint => "The offer has no sha-256 fingerprint",
            Self::SetupNotActive => "The offer's setup is neither actpass nor active",
            Self::BothIceLite => "The offer is ice-lite, and so are we",
            Self::PayloadTypeConflict => "The offer uses one payload type for two codecs",
        })
    }
}

impl std::error::Error for Refusal {}
