//! ICE checks: read, verify, answer.

use relay_core::wire::stun::{IntegrityKey, StunMessage, write_binding_request, write_binding_success};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// The password that checks are made with.
pub const PASSWORD: &str = "a password of 24 letters";
/// Where a check came from: what its answer tells.
pub const PEER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7)), 50_000);

/// The same password, prepared once, as a transport keeps it.
pub fn integrity_key() -> IntegrityKey {
    IntegrityKey::new(PASSWORD.as_bytes())
}

/// An ICE check as a browser sends it.
pub fn request(key: &IntegrityKey) -> Vec<u8> {
    let mut out = vec![0; 256];
    let len = write_binding_request(&mut out, [7; 12], b"abcdefgh:remote", 1, 2, true, key);
    out.truncate(len.expect("256 octets are enough"));
    out
}

pub fn parse(request: &[u8]) -> bool {
    StunMessage::parse(request).is_ok_and(|message| message.use_candidate())
}

pub fn validate(request: &[u8], key: &IntegrityKey) -> bool {
    valid(request, key).is_some()
}

/// Reads, verifies and answers a check; the answer's length.
pub fn answer(request: &[u8], key: &IntegrityKey, out: &mut [u8]) -> Option<usize> {
    write_binding_success(out, valid(request, key)?.transaction_id(), PEER, key)
}

fn valid<'a>(request: &'a [u8], key: &IntegrityKey) -> Option<StunMessage<'a>> {
    let message = StunMessage::parse(request).ok()?;
    (message.verify_integrity(key) && message.verify_fingerprint() == Some(true)).then_some(message)
}
