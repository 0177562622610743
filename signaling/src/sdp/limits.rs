//! What an offer may hold at most, and what is read of it: of longer lists, what comes first.

/// Longest text. A browser's offer with audio and video has 3 to 6 KiB; with ten tracks each way about 50.
pub const SDP_BYTES_MAX: usize = 64 * 1024;
/// Most m-lines. One publish has two.
pub const MEDIA_MAX: usize = 64;
/// Formats of an m-line. Chromium's video has 40.
pub const FORMATS_MAX: usize = 64;
/// `a=fmtp` lines of a format.
pub const FMTP_LINES_MAX: usize = 4;
/// Header extensions of an m-line. Chromium's video has 11; ids of the one-byte form end at 14.
pub const EXTENSIONS_MAX: usize = 32;
/// SSRCs of an m-line. Three simulcast layers with retransmission and FEC make nine.
pub const SOURCES_MAX: usize = 32;
/// `a=ssrc-group` lines of an m-line.
pub const SOURCE_GROUPS_MAX: usize = 32;
/// Longest mid that packets can carry, in the one-byte header extension (RFC 9143 §15, RFC 8285 §4.2).
pub const MID_BYTES_MAX: usize = 16;
/// `a=fingerprint:sha-256` lines of an m-line, or of the session level.
pub const FINGERPRINTS_MAX: usize = relay_control::FINGERPRINTS_MAX;
/// Lengths of an ICE user fragment (RFC 8839 §5.4).
pub const UFRAG_BYTES: std::ops::RangeInclusive<usize> = 4..=256;
/// Lengths of an ICE password (RFC 8839 §5.4).
pub const PWD_BYTES: std::ops::RangeInclusive<usize> = 22..=256;
