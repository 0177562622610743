//! RFC 5769 vectors in both directions, and the messages that must not pass.

use std::net::SocketAddr;

use super::write::message;
use super::*;

const VECTORS: &str = include_str!("../../../../../tests/vectors/rfc5769-stun.json");
/// MD5 of `user:realm:password` of §2.4 (RFC 8489 §9.2.2); short-term credentials are all that ICE uses.
const LONG_TERM_KEY: &str = "e8ca7ad59d5eb0518e312911d2dab2a9";

struct Vector {
    name: String,
    bytes: Vec<u8>,
    key: IntegrityKey,
    json: serde_json::Value,
}

fn vectors() -> Vec<Vector> {
    let file: serde_json::Value = serde_json::from_str(VECTORS).expect("vectors are JSON");
    let password = file["short_term_password"].as_str().expect("password").as_bytes().to_vec();
    let cases = file["cases"].as_array().expect("cases").clone();
    let vectors = cases.into_iter().map(|json| Vector {
        name: json["name"].as_str().expect("name").to_owned(),
        bytes: hex::decode(json["hex"].as_str().expect("hex")).expect("hex"),
        key: match json["key"].as_str() {
            Some("short_term") => IntegrityKey::new(&password),
            _ => IntegrityKey::new(&hex::decode(LONG_TERM_KEY).expect("hex")),
        },
        json,
    });
    vectors.collect()
}

/// What a receiver demands of a message before it believes anything in it.
fn is_trusted(bytes: &[u8], key: &IntegrityKey, wants_fingerprint: bool) -> bool {
    StunMessage::parse(bytes).is_ok_and(|message| {
        message.verify_integrity(key) && message.verify_fingerprint() == wants_fingerprint.then_some(true)
    })
}

#[test]
fn rfc5769_messages_are_read() {
    let vectors = vectors();
    assert_eq!(vectors.len(), 4);
    for Vector { name, bytes, key, json } in vectors {
        let message = StunMessage::parse(&bytes).expect(&name);
        let kind = u16::from_str_radix(json["type"].as_str().expect("type"), 16).expect("type");
        let class = if kind == 0x0101 { StunClass::Success } else { StunClass::Request };
        assert_eq!((message.class(), message.method()), (class, METHOD_BINDING), "{name}");
        assert_eq!(hex::encode(message.transaction_id()), json["transaction_id"].as_str().expect("id"));
        assert_eq!(message.username(), json["username"].as_str().map(str::as_bytes), "{name}");
        assert_eq!(message.priority().map(u64::from), json["priority"].as_u64(), "{name}");
        let controlled = message.ice_controlled().map(|number| format!("{number:016x}"));
        assert_eq!(controlled.as_deref(), json["ice_controlled"].as_str(), "{name}");
        assert_eq!(message.ice_controlling(), None);
        assert!(!message.use_candidate());
        let address = json["xor_mapped_address"].as_str().map(|ip| {
            SocketAddr::new(ip.parse().expect("address"), json["port"].as_u64().expect("port") as u16)
        });
        assert_eq!(message.mapped_address(), address, "{name}");
        assert_eq!(message.unknown_required().count(), 0, "{name}");
        let has_fingerprint = json["fingerprint"].as_bool().expect("fingerprint");
        assert!(is_trusted(&bytes, &key, has_fingerprint), "{name}");
        assert!(!message.verify_integrity(&IntegrityKey::new(b"another")), "{name}");
    }
}

/// The other direction: from the attributes before MESSAGE-INTEGRITY we make the published octets.
#[test]
fn rfc5769_messages_are_made() {
    for Vector { name, bytes, key, json } in vectors() {
        let tail = if json["fingerprint"] == true { 32 } else { 24 };
        let parsed = StunMessage::parse(&bytes).expect(&name);
        let mut out = [0; 256];
        let attributes = &bytes[HEADER_BYTES..bytes.len() - tail];
        let kind = u16::from_be_bytes([bytes[0], bytes[1]]);
        let len =
            message(&mut out, kind, parsed.transaction_id(), Some(&key), |w| w.put(attributes)).expect(&name);
        if json["fingerprint"] == true {
            assert_eq!(hex::encode(&out[..len]), json["hex"].as_str().expect("hex"), "{name}");
        } else {
            assert_eq!(out[4..bytes.len()], bytes[4..], "{name}: we always add a FINGERPRINT");
        }
        if let Some(mapped) = parsed.mapped_address() {
            let len = write_binding_success(&mut out, parsed.transaction_id(), mapped, &key).expect("room");
            let attribute = &out[HEADER_BYTES..len - 32];
            assert!(attributes.ends_with(attribute), "{name}: XOR-MAPPED-ADDRESS");
        }
    }
}

#[test]
fn every_flipped_bit_and_every_cut_is_noticed() {
    for Vector { name, bytes, key, json } in vectors() {
        let has_fingerprint = json["fingerprint"] == true;
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(!is_trusted(&flipped, &key, has_fingerprint), "{name}, bit {bit}");
        }
        for len in 0..bytes.len() {
            assert!(StunMessage::parse(&bytes[..len]).is_err(), "{name}, cut at {len}");
        }
    }
}

const ID: [u8; 12] = *b"transaction!";

/// A message of raw attributes; `None` as a value stands for an integrity made right there.
fn raw(key: &IntegrityKey, attributes: &[(u16, Option<&[u8]>)]) -> Vec<u8> {
    let mut bytes = vec![0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42];
    bytes.extend(ID);
    for (kind, value) in attributes {
        let made = match (*kind, value) {
            (attr::MESSAGE_INTEGRITY, None) => key.tag(&bytes).expect("short").as_ref().to_vec(),
            (attr::FINGERPRINT, None) => {
                let length = (bytes.len() - HEADER_BYTES + 8) as u16;
                bytes[2..4].copy_from_slice(&length.to_be_bytes());
                (crc::crc32(&bytes) ^ FINGERPRINT_XOR).to_be_bytes().to_vec()
            }
            (_, value) => value.unwrap_or_default().to_vec(),
        };
        bytes.extend(kind.to_be_bytes());
        bytes.extend((made.len() as u16).to_be_bytes());
        bytes.extend(&made);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    let length = (bytes.len() - HEADER_BYTES) as u16;
    bytes[2..4].copy_from_slice(&length.to_be_bytes());
    bytes
}

const USER: (u16, Option<&[u8]>) = (attr::USERNAME, Some(b"aaaa:bbbb"));
const MI: (u16, Option<&[u8]>) = (attr::MESSAGE_INTEGRITY, None);
const FP: (u16, Option<&[u8]>) = (attr::FINGERPRINT, None);
const USE: (u16, Option<&[u8]>) = (attr::USE_CANDIDATE, Some(b""));

/// The credentials matrix of attack S03, and broken values: what is well formed, and what of that is trusted.
#[test]
fn what_is_well_formed_and_what_is_trusted() {
    let key = IntegrityKey::new(b"a password of 22 octets");
    let wrong = &[0u8; 20][..];
    let sha256 = (0x001c, Some(&[0u8; 32][..]));
    for (what, attributes, parses, trusted) in [
        ("as it should be", &[USER, USE, MI, FP][..], Ok(()), true),
        ("nothing at all", &[], Ok(()), false),
        ("no integrity", &[USER, USE, FP], Ok(()), false),
        ("wrong integrity", &[USER, (attr::MESSAGE_INTEGRITY, Some(wrong)), FP], Ok(()), false),
        ("no fingerprint", &[USER, MI], Ok(()), false),
        ("wrong fingerprint", &[USER, MI, (attr::FINGERPRINT, Some(&[0; 4]))], Ok(()), false),
        ("integrity after fingerprint", &[USER, FP, MI], Err(WireError::BadOrder), false),
        (
            "something after fingerprint",
            &[USER, MI, FP, (0x8022, Some(b"x"))],
            Err(WireError::BadOrder),
            false,
        ),
        ("two integrities", &[USER, MI, MI, FP], Err(WireError::BadOrder), false),
        ("two fingerprints", &[USER, MI, FP, FP], Err(WireError::BadOrder), false),
        ("only SHA-256 integrity", &[USER, sha256, FP], Ok(()), false),
        (
            "integrity of 19 octets",
            &[(attr::MESSAGE_INTEGRITY, Some(&[0; 19]))],
            Err(WireError::BadLength),
            false,
        ),
        ("fingerprint of 3 octets", &[(attr::FINGERPRINT, Some(&[0; 3]))], Err(WireError::Truncated), false),
        ("fingerprint of 5 octets", &[(attr::FINGERPRINT, Some(&[0; 5]))], Err(WireError::BadLength), false),
        ("priority of 3 octets", &[(attr::PRIORITY, Some(&[0; 3]))], Err(WireError::Truncated), false),
        (
            "tie breaker of 9 octets",
            &[(attr::ICE_CONTROLLING, Some(&[0; 9]))],
            Err(WireError::BadLength),
            false,
        ),
        (
            "USE-CANDIDATE with a value",
            &[(attr::USE_CANDIDATE, Some(&[0; 4]))],
            Err(WireError::BadLength),
            false,
        ),
        ("longest user name", &[(attr::USERNAME, Some(&[b'u'; 508])), MI, FP], Ok(()), true),
        (
            "too long a user name",
            &[(attr::USERNAME, Some(&[b'u'; 509])), MI, FP],
            Err(WireError::BadLength),
            false,
        ),
        (
            "address of no family",
            &[(attr::XOR_MAPPED_ADDRESS, Some(&[0; 8]))],
            Err(WireError::BadValue),
            false,
        ),
        ("error class 2", &[(attr::ERROR_CODE, Some(&[0, 0, 2, 0]))], Err(WireError::BadValue), false),
    ] {
        let bytes = raw(&key, attributes);
        assert_eq!(StunMessage::parse(&bytes).map(|_| ()), parses, "{what}");
        assert_eq!(is_trusted(&bytes, &key, true), trusted, "{what}");
    }
}

#[test]
fn what_follows_the_integrity_is_not_believed() {
    let key = IntegrityKey::new(b"a password of 22 octets");
    let late = [USER, MI, USE, (attr::PRIORITY, Some(&[1; 4])), (0x7777, Some(b"")), FP];
    let bytes = raw(&key, &late);
    let message = StunMessage::parse(&bytes).expect("well formed");
    assert!(message.has_integrity() && message.verify_integrity(&key));
    assert!(!message.use_candidate());
    assert_eq!(message.priority(), None);
    assert_eq!(message.unknown_required().count(), 0);
}

/// RFC 8489 §14.5: the length in the header must count up to the integrity while the HMAC is made.
#[test]
fn integrity_over_a_wrong_length_fails() {
    let key = IntegrityKey::new(b"a password of 22 octets");
    let right = raw(&key, &[USER, MI, FP]);
    for wrong_length in [0u16, 36, 44, 48] {
        let mut covered = right[..right.len() - 32].to_vec();
        covered[2..4].copy_from_slice(&wrong_length.to_be_bytes());
        let hmac_key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, b"a password of 22 octets");
        let tag = hmac::sign(&hmac_key, &covered);
        let bytes = raw(&key, &[USER, (attr::MESSAGE_INTEGRITY, Some(tag.as_ref())), FP]);
        let is_right = usize::from(wrong_length) == right.len() - HEADER_BYTES - 8;
        assert_eq!(is_trusted(&bytes, &key, true), is_right, "length {wrong_length}");
    }
}

#[test]
fn unknown_and_repeated_attributes() {
    let key = IntegrityKey::new(b"pw");
    let two = [
        USER,
        (attr::USERNAME, Some(&b"other"[..])),
        (0x7fff, Some(b"abc")),
        (0x001c, Some(b"")),
        (0x8000, None),
    ];
    let bytes = raw(&key, &two);
    let message = StunMessage::parse(&bytes).expect("well formed");
    assert_eq!(message.username(), Some(&b"aaaa:bbbb"[..]), "the first counts");
    assert_eq!(message.unknown_required().collect::<Vec<_>>(), [0x7fff, 0x001c]);
}

#[test]
fn headers_that_are_refused() {
    let good = raw(&IntegrityKey::new(b"pw"), &[USER]);
    for (what, at, value, want) in [
        ("first two bits", 0, 0x40, WireError::BadType),
        ("first two bits", 0, 0x80, WireError::BadType),
        ("classic STUN", 4, 0x00, WireError::BadCookie),
        ("length not a multiple of four", 3, 15, WireError::BadLength),
        ("length too short", 3, 12, WireError::BadLength),
        ("length too long", 3, 20, WireError::BadLength),
        ("attribute past the end", 23, 13, WireError::Truncated),
    ] {
        let mut bytes = good.clone();
        bytes[at] = value;
        assert_eq!(StunMessage::parse(&bytes).map(|_| ()), Err(want), "{what}");
    }
}

#[test]
fn classes_and_methods() {
    for (kind, class, method) in [
        (0x0001, StunClass::Request, 1),
        (0x0011, StunClass::Indication, 1),
        (0x0101, StunClass::Success, 1),
        (0x0111, StunClass::Error, 1),
        (0x3eef, StunClass::Request, 0xfff),
        (0x0020, StunClass::Request, 0x010),
        (0x0200, StunClass::Request, 0x080),
    ] {
        let mut bytes = raw(&IntegrityKey::new(b"pw"), &[]);
        bytes[..2].copy_from_slice(&u16::to_be_bytes(kind));
        let message = StunMessage::parse(&bytes).expect("well formed");
        assert_eq!((message.class(), message.method()), (class, method), "{kind:#06x}");
    }
}

#[test]
fn answers_are_read_back() {
    let key = IntegrityKey::new(b"a password of 22 octets");
    for (address, len) in [("192.0.2.7:4242", 64), ("[2001:db8::1]:1", 76), ("[::ffff:192.0.2.7]:65535", 64)]
    {
        let mapped: SocketAddr = address.parse().expect("address");
        let mut out = [0xff; 128];
        assert_eq!(write_binding_success(&mut out, ID, mapped, &key), Some(len));
        assert!(is_trusted(&out[..len], &key, true));
        let message = StunMessage::parse(&out[..len]).expect("our own");
        assert_eq!((message.class(), message.transaction_id()), (StunClass::Success, ID));
        let canonical = SocketAddr::new(mapped.ip().to_canonical(), mapped.port());
        assert_eq!(message.mapped_address(), Some(canonical));
        assert!((0..len).all(|room| write_binding_success(&mut out[..room], ID, mapped, &key).is_none()));
    }
    for (code, unknown, signed, len) in [
        (400, &[][..], false, Some(36)),
        (401, &[], false, Some(36)),
        (420, &[0x7777u16, 0x001c, 0x0030], true, Some(72)),
        (487, &[], true, Some(60)),
        (299, &[], false, None),
        (700, &[], false, None),
    ] {
        let mut out = [0xff; 128];
        assert_eq!(write_binding_error(&mut out, ID, code, unknown, signed.then_some(&key)), len, "{code}");
        let Some(len) = len else { continue };
        let message = StunMessage::parse(&out[..len]).expect("our own");
        assert_eq!((message.class(), message.error_code()), (StunClass::Error, Some(code)));
        assert_eq!(message.unknown_listed().collect::<Vec<_>>(), unknown);
        assert_eq!((message.verify_integrity(&key), message.verify_fingerprint()), (signed, Some(true)));
    }
}

#[test]
fn requests_are_read_back_and_longer_than_their_answers() {
    let key = IntegrityKey::new(b"a password of 22 octets");
    for use_candidate in [false, true] {
        let mut out = [0xff; 256];
        let len =
            write_binding_request(&mut out, ID, b"abcd:efgh", 42, 7, use_candidate, &key).expect("room");
        assert!(is_trusted(&out[..len], &key, true));
        let message = StunMessage::parse(&out[..len]).expect("our own");
        assert_eq!((message.class(), message.method()), (StunClass::Request, METHOD_BINDING));
        assert_eq!(message.username(), Some(&b"abcd:efgh"[..]));
        assert_eq!((message.priority(), message.ice_controlling()), (Some(42), Some(7)));
        assert_eq!(message.use_candidate(), use_candidate);
        assert!(len >= 76, "an answer to it reflects no more than it got: {len}");
        assert!((0..len).all(|room| {
            write_binding_request(&mut out[..room], ID, b"abcd:efgh", 42, 7, use_candidate, &key).is_none()
        }));
    }
    assert_eq!(write_binding_request(&mut [0; 900], ID, &[b'u'; 509], 42, 7, false, &key), None);
}
