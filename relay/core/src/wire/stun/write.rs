//! Writers. No SOFTWARE attribute and no reason phrases: an answer must stay shorter than its question.

use std::net::{IpAddr, SocketAddr};

use super::{
    FINGERPRINT_XOR, HEADER_BYTES, INTEGRITY_BYTES, IntegrityKey, MAGIC_COOKIE, USERNAME_BYTES_MAX, attr,
    crc, xor_mask,
};
use crate::wire::cursor::Writer;

/// Binding request, success and error (RFC 8489 §5).
const REQUEST: u16 = 0x0001;
const SUCCESS: u16 = 0x0101;
const ERROR: u16 = 0x0111;

/// Ours as the controlled agent: the least that is one, so that a peer which takes itself for the controlled
/// one as well becomes the controlling one (RFC 8445 §7.3.1.1). To libjuice 0 is an attribute that is not
/// there, and a request without one is refused.
const TIE_BREAKER: u64 = 1;

/// A success answer: XOR-MAPPED-ADDRESS, MESSAGE-INTEGRITY, FINGERPRINT (RFC 8445 §7.3.1.2); 64 octets for
/// IPv4, 76 for IPv6. Returns the length, `None` if it does not fit.
#[must_use]
pub fn write_binding_success(
    out: &mut [u8],
    transaction_id: [u8; 12],
    mapped: SocketAddr,
    key: &IntegrityKey,
) -> Option<usize> {
    message(out, SUCCESS, transaction_id, Some(key), |w| {
        let port = mapped.port() ^ (MAGIC_COOKIE >> 16) as u16;
        match mapped.ip().to_canonical() {
            IpAddr::V4(ip) => {
                head(w, attr::XOR_MAPPED_ADDRESS, 8)?;
                w.u16(1)?;
                w.u16(port)?;
                w.u32(ip.to_bits() ^ MAGIC_COOKIE)
            }
            IpAddr::V6(ip) => {
                head(w, attr::XOR_MAPPED_ADDRESS, 20)?;
                w.u16(2)?;
                w.u16(port)?;
                w.put(&(ip.to_bits() ^ xor_mask(&transaction_id)).to_be_bytes())
            }
        }
    })
}

/// An error answer with `code` (300 to 699) and, if there are any, the `unknown` attributes of a 420. A 400
/// or 401 has no `key` (RFC 8489 §9.1.3). Returns the length (36 octets at least), `None` if it does not fit;
/// whether it is longer than the request is for the caller to check.
#[must_use]
pub fn write_binding_error(
    out: &mut [u8],
    transaction_id: [u8; 12],
    code: u16,
    unknown: &[u16],
    key: Option<&IntegrityKey>,
) -> Option<usize> {
    if !(300..=699).contains(&code) {
        return None;
    }
    message(out, ERROR, transaction_id, key, |w| {
        head(w, attr::ERROR_CODE, 4)?;
        w.u16(0)?;
        w.u8((code / 100) as u8)?;
        w.u8((code % 100) as u8)?;
        if !unknown.is_empty() {
            head(w, attr::UNKNOWN_ATTRIBUTES, unknown.len().checked_mul(2)?)?;
            for kind in unknown {
                w.u16(*kind)?;
            }
            w.align4()?;
        }
        Some(())
    })
}

/// A connectivity check of a controlling agent (RFC 8445 §7.2.2): what a browser sends us, for peers in tests
/// and benchmarks; ICE-lite sends none. Returns the length, `None` if it does not fit or `username` is longer
/// than 508.
#[must_use]
pub fn write_binding_request(
    out: &mut [u8],
    transaction_id: [u8; 12],
    username: &[u8],
    priority: u32,
    tie_breaker: u64,
    use_candidate: bool,
    key: &IntegrityKey,
) -> Option<usize> {
    message(out, REQUEST, transaction_id, Some(key), |w| {
        from_whom(w, username, priority)?;
        head(w, attr::ICE_CONTROLLING, 8)?;
        w.u64(tie_breaker)?;
        if use_candidate {
            head(w, attr::USE_CANDIDATE, 0)?;
        }
        Some(())
    })
}

/// A Binding request of a controlled agent that asks its peer to show itself: nothing is nominated. Returns
/// the length, `None` if it does not fit or `username` is longer than 508.
#[must_use]
pub fn write_path_challenge(
    out: &mut [u8],
    transaction_id: [u8; 12],
    username: &[u8],
    priority: u32,
    key: &IntegrityKey,
) -> Option<usize> {
    message(out, REQUEST, transaction_id, Some(key), |w| {
        from_whom(w, username, priority)?;
        head(w, attr::ICE_CONTROLLED, 8)?;
        w.u64(TIE_BREAKER)
    })
}

/// What every check says of its sender (RFC 8445 §7.1); `None` if `username` is too long.
fn from_whom(w: &mut Writer<'_>, username: &[u8], priority: u32) -> Option<()> {
    if username.len() > USERNAME_BYTES_MAX {
        return None;
    }
    head(w, attr::USERNAME, username.len())?;
    w.put(username)?;
    w.align4()?;
    head(w, attr::PRIORITY, 4)?;
    w.u32(priority)
}

/// Header, `body`, MESSAGE-INTEGRITY if there is a key, FINGERPRINT.
pub(super) fn message(
    out: &mut [u8],
    kind: u16,
    transaction_id: [u8; 12],
    key: Option<&IntegrityKey>,
    body: impl FnOnce(&mut Writer<'_>) -> Option<()>,
) -> Option<usize> {
    let mut w = Writer::new(out);
    w.u16(kind)?;
    w.u16(0)?;
    w.u32(MAGIC_COOKIE)?;
    w.put(&transaction_id)?;
    body(&mut w)?;
    if let Some(key) = key {
        let tag = key.tag(w.written())?;
        head(&mut w, attr::MESSAGE_INTEGRITY, INTEGRITY_BYTES)?;
        w.put(tag.as_ref())?;
    }
    // RFC 8489 §14.7: the length already counts FINGERPRINT when the CRC is taken.
    let length = u16::try_from(w.len() - HEADER_BYTES + 8).ok()?;
    w.patch(2, &length.to_be_bytes())?;
    let crc = crc::crc32(w.written()) ^ FINGERPRINT_XOR;
    head(&mut w, attr::FINGERPRINT, 4)?;
    w.u32(crc)?;
    Some(w.len())
}

fn head(w: &mut Writer<'_>, kind: u16, len: usize) -> Option<()> {
    w.u16(kind)?;
    w.u16(u16::try_from(len).ok()?)
}
