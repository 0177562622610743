//! What an offer may hold at most.

/// Longest text. A browser's offer with audio and video has 3 to 6 KiB; with ten tracks each way about 50.
pub const SDP_BYTES_MAX: usize = 64 * 1024;
/// Longest line. The longest of a browser is an m-line of some 150 bytes.
pub const LINE_BYTES_MAX: usize = 4 * 1024;
/// Most m-lines. One publish has two.
pub const MEDIA_MAX: usize = 64;
/// Most formats of an m-line. Chromium's video has 40.
pub const FORMATS_MAX: usize = 64;
/// Most `a=fmtp` lines of a format.
pub const FMTP_LINES_MAX: usize = 4;
/// Most header extensions of an m-line. Chromium's video has 11; ids of the one-byte form end at 14.
pub const EXTENSIONS_MAX: usize = 32;
/// Most candidates of an m-line. A machine with several interfaces and relays has about a dozen.
pub const CANDIDATES_MAX: usize = 32;
/// Most SSRCs of an m-line. Three simulcast layers with retransmission and FEC make nine.
pub const SOURCES_MAX: usize = 32;
/// Most `a=ssrc-group` lines of an m-line.
pub const SOURCE_GROUPS_MAX: usize = 32;
/// Most fingerprints of a section: one a hash function and certificate.
pub const FINGERPRINTS_MAX: usize = 16;
/// Most `a=rid` lines of an m-line.
pub const RIDS_MAX: usize = 16;
/// Longest mid: what the one-byte header extension can carry (RFC 9143 §15, RFC 8285 §4.2).
pub const MID_BYTES_MAX: usize = 16;
/// Lengths of an ICE user fragment (RFC 8839 §5.4).
pub const UFRAG_BYTES: std::ops::RangeInclusive<usize> = 4..=256;
/// Lengths of an ICE password (RFC 8839 §5.4).
pub const PWD_BYTES: std::ops::RangeInclusive<usize> = 22..=256;

const _: () = assert!(LINE_BYTES_MAX < SDP_BYTES_MAX);
