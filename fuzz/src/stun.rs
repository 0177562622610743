use std::net::SocketAddr;

use relay_core::wire::stun::{
    IntegrityKey, StunClass, StunMessage, write_binding_error, write_binding_request, write_binding_success,
};
use relay_core::wire::{Protocol, classify};

/// The password of RFC 5769, so that seeds made from its messages get past the integrity.
const PASSWORD: &[u8] = b"VOkJxbRl1RmTxUk/WvJxBt";

/// STUN messages: what parses is bounded by its octets, and what we answer can be read back.
pub fn stun(data: &[u8]) {
    requests_read_back(data);
    let Ok(message) = StunMessage::parse(data) else { return };
    // RFC 7983 §7 leaves STUN the methods up to 0x0ff where other protocols share the port.
    assert_eq!(classify(data) == Some(Protocol::Stun), message.method() <= 0xff);
    assert!(data.len() >= 20 && data.len().is_multiple_of(4));
    assert!(message.method() <= 0xfff);
    assert!(message.username().is_none_or(|name| name.len() + 24 <= data.len()));
    assert!(message.unknown_required().count() * 4 <= data.len());
    assert!(message.unknown_required().all(|kind| kind < 0x8000));
    let key = IntegrityKey::new(PASSWORD);
    if message.verify_integrity(&key) {
        assert!(message.has_integrity());
        assert!(!message.verify_integrity(&IntegrityKey::new(b"another")));
    }
    answers_read_back(&message, &key);
    flips_are_noticed(data, &message, &key);
}

fn answers_read_back(request: &StunMessage<'_>, key: &IntegrityKey) {
    let id = request.transaction_id();
    let mapped = request.mapped_address().unwrap_or_else(|| SocketAddr::from(([192, 0, 2, 1], 1)));
    let mut out = [0; 512];
    let len = write_binding_success(&mut out, id, mapped, key).expect("fits");
    let success = StunMessage::parse(&out[..len]).expect("our own");
    assert_eq!((success.class(), success.transaction_id()), (StunClass::Success, id));
    let canonical = SocketAddr::new(mapped.ip().to_canonical(), mapped.port());
    assert_eq!(success.mapped_address(), Some(canonical));
    assert!(success.verify_integrity(key) && success.verify_fingerprint() == Some(true));

    let unknown: Vec<_> = request.unknown_required().take(64).collect();
    let len = write_binding_error(&mut out, id, 420, &unknown, Some(key)).expect("fits");
    let error = StunMessage::parse(&out[..len]).expect("our own");
    assert_eq!((error.class(), error.error_code()), (StunClass::Error, Some(420)));
    assert!(error.unknown_listed().eq(unknown));
    assert!(error.verify_integrity(key) && error.verify_fingerprint() == Some(true));
}

/// A fingerprint that was right is wrong once a bit of what it covers is another.
fn flips_are_noticed(data: &[u8], message: &StunMessage<'_>, key: &IntegrityKey) {
    if message.verify_fingerprint() != Some(true) {
        return;
    }
    let bit = data.iter().fold(0usize, |sum, octet| sum.wrapping_mul(31).wrapping_add(usize::from(*octet)));
    let bit = bit % (data.len() * 8);
    let mut flipped = data.to_vec();
    flipped[bit / 8] ^= 1 << (bit % 8);
    if let Ok(flipped) = StunMessage::parse(&flipped) {
        let trusted = flipped.verify_integrity(key) && flipped.verify_fingerprint() == Some(true);
        assert!(!trusted, "bit {bit}");
    }
}

/// Any bytes as the fields of a request.
fn requests_read_back(data: &[u8]) {
    let Some((fields, username)) = data.split_first_chunk::<25>() else { return };
    let [use_candidate, p0, p1, p2, p3, t0, t1, t2, t3, t4, t5, t6, t7, id @ ..] = *fields;
    let priority = u32::from_be_bytes([p0, p1, p2, p3]);
    let tie_breaker = u64::from_be_bytes([t0, t1, t2, t3, t4, t5, t6, t7]);
    let use_candidate = use_candidate & 1 != 0;
    let key = IntegrityKey::new(username);
    let mut out = [0; 640];
    let written = write_binding_request(&mut out, id, username, priority, tie_breaker, use_candidate, &key);
    assert_eq!(written.is_some(), username.len() <= 508);
    let Some(len) = written else { return };
    let request = StunMessage::parse(&out[..len]).expect("our own");
    assert_eq!((request.class(), request.method(), request.transaction_id()), (StunClass::Request, 1, id));
    assert_eq!(request.username(), Some(username));
    assert_eq!((request.priority(), request.ice_controlling()), (Some(priority), Some(tie_breaker)));
    assert_eq!((request.use_candidate(), request.ice_controlled()), (use_candidate, None));
    assert_eq!(request.unknown_required().count(), 0);
    assert!(request.verify_integrity(&key) && request.verify_fingerprint() == Some(true));
}
