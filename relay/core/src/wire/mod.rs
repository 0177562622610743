//! Borrowed views over datagrams, and writers into slots lent by the caller.
//!
//! Invariants
//! - A view exists only if its bytes were good; it borrows them. Nothing here panics, whatever the bytes.
//! - No state, no clock, no allocation.
//! - The work done for a packet is bounded by its length, not by a count that it claims.
//!
//! Deliberately absent: retries, error strings, logging. A bad packet is a count of the caller
//! (`crate::stats::DropReason`), and [`WireError`] only says what to call it.

#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::unreachable,
        clippy::string_slice
    )
)]

pub mod codec;
mod cursor;
pub mod rtcp;
pub mod rtp;
pub mod rtp_ext;
pub mod stun;

/// Why bytes are not what they claim to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WireError {
    /// A field or a promised part lies beyond the end.
    Truncated,
    /// Not version 2 of RTP or RTCP.
    BadVersion,
    /// A length field disagrees with the datagram or with the field's own size.
    BadLength,
    /// A message, packet or attribute type that cannot stand here.
    BadType,
    /// Not the STUN magic cookie (RFC 8489 §5).
    BadCookie,
    /// The padding count is zero, no multiple of the unit, or larger than what it pads.
    BadPadding,
    /// STUN attributes in an order that RFC 8489 §14.5 to §14.7 forbid, or an integrity attribute twice.
    BadOrder,
    /// A field holds a value that its definition excludes.
    BadValue,
}

impl std::fmt::Display for WireError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Truncated => "truncated",
            Self::BadVersion => "not version 2",
            Self::BadLength => "length does not match",
            Self::BadType => "type not allowed here",
            Self::BadCookie => "no STUN magic cookie",
            Self::BadPadding => "bad padding",
            Self::BadOrder => "attributes in a forbidden order",
            Self::BadValue => "value out of range",
        })
    }
}

impl std::error::Error for WireError {}

/// What shares our one UDP port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// RFC 8489
    Stun,
    /// RFC 9147, RFC 6347
    Dtls,
    /// (S)RTP, RFC 3550
    Rtp,
    /// (S)RTCP, RFC 3550
    Rtcp,
}

/// RTCP packet types on a multiplexed port (RFC 5761 §4).
const RTCP_TYPES: std::ops::RangeInclusive<u8> = 192..=223;

/// Tells the protocols apart by the first octet (RFC 7983 §7), and RTP from RTCP by the second (RFC 5761 §4).
/// `None` is for ZRTP, TURN channels, QUIC (RFC 9443) and whatever else we do not speak, and for media of one
/// octet.
#[must_use]
pub fn classify(datagram: &[u8]) -> Option<Protocol> {
    match *datagram.first()? {
        0..=3 => Some(Protocol::Stun),
        20..=63 => Some(Protocol::Dtls),
        128..=191 if RTCP_TYPES.contains(datagram.get(1)?) => Some(Protocol::Rtcp),
        128..=191 => Some(Protocol::Rtp),
        _ => None,
    }
}

/// Whether a DTLS datagram begins with a protected record: of DTLS 1.3 (RFC 9147 §4), or of an epoch that has
/// keys.
#[must_use]
pub fn is_protected_dtls(datagram: &[u8]) -> bool {
    match (datagram.first(), datagram.get(3..5)) {
        (Some(0x20..=0x3f), _) => true,
        (_, Some(epoch)) => epoch != [0, 0],
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7983 §7, every first octet with every short length and every second octet: exactly one class, no
    /// panic in the parser of that class.
    #[test]
    fn every_first_octet_has_one_class() {
        for first in 0..=255u8 {
            for len in 0..64usize {
                for second in [0u8, 96, 191, 192, 200, 206, 223, 224, 255] {
                    let mut datagram = vec![0u8; len];
                    datagram.iter_mut().take(1).for_each(|b| *b = first);
                    datagram.iter_mut().skip(1).take(1).for_each(|b| *b = second);
                    let want = match (first, len) {
                        (_, 0) => None,
                        (0..=3, _) => Some(Protocol::Stun),
                        (20..=63, _) => Some(Protocol::Dtls),
                        (128..=191, 2..) if (192..=223).contains(&second) => Some(Protocol::Rtcp),
                        (128..=191, 2..) => Some(Protocol::Rtp),
                        _ => None,
                    };
                    assert_eq!(classify(&datagram), want, "{first} {second} {len}");
                    let _ = stun::StunMessage::parse(&datagram);
                    let _ = rtp::RtpHeader::parse(&datagram);
                    let _ = rtcp::parse_compound(&datagram);
                }
            }
        }
    }
}
