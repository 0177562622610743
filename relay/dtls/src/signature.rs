//! The signature in a flight of DTLS 1.2 in clear, looked at before BoringSSL is shown the flight: a client's
//! CertificateVerify (RFC 5246 §7.4.8), and a server's ServerKeyExchange (RFC 8422 §5.4).
//!
//! It covers the random of our hello, so only who has read that can have made it. What is signed well is
//! shown to BoringSSL, which judges it for itself; anything else is a forgery and must not spoil what
//! BoringSSL cannot take back.

use crate::assembly::Message;
use boring::error::ErrorStack;
use boring::hash::MessageDigest;
use boring::rsa::Padding;
use boring::sha::sha256;
use boring::sign::{RsaPssSaltlen, Verifier};
use boring::x509::X509;
use relay_core::dtls::Fingerprints;

/// Whether `verify` signs `transcript` and the two messages before it, with the key of `certificate`.
pub(crate) fn is_signed(
    transcript: &[&[u8]],
    certificate: &Message,
    key_exchange: &Message,
    verify: &Message,
) -> bool {
    let signed = [transcript, &[&certificate.whole(), &key_exchange.whole()]].concat().concat();
    let good = check(certificate, verify, &signed).unwrap_or(false);
    // What BoringSSL has to say about it would else be taken for the next connection's error.
    drop(ErrorStack::get());
    good
}

/// Whether a certificate message shows the certificate with one of these fingerprints (RFC 8122 §5). Nothing
/// of it is read for that.
pub(crate) fn shows(certificate: &Message, peer: &Fingerprints) -> bool {
    first_certificate(certificate).is_some_and(|der| peer.has(&sha256(der)))
}

/// The first certificate of a list, in DER (RFC 5246 §7.4.2).
fn first_certificate(certificate: &Message) -> Option<&[u8]> {
    let [_, _, _, l0, l1, l2, rest @ ..] = &certificate.body[..] else { return None };
    rest.get(..usize::from(*l0) << 16 | usize::from(*l1) << 8 | usize::from(*l2))
}

fn check(certificate: &Message, verify: &Message, signed: &[u8]) -> Option<bool> {
    let [s0, s1, _, _, signature @ ..] = &verify.body[..] else { return None };
    verify_signature(certificate, [*s0, *s1], signature, signed)
}

/// Whether `key_exchange` is signed for the randoms of both hellos, with the key of `certificate`.
pub(crate) fn is_exchange_signed(randoms: [&[u8]; 2], certificate: &Message, key_exchange: &Message) -> bool {
    let good = check_exchange(randoms, certificate, &key_exchange.body).unwrap_or(false);
    // As above.
    drop(ErrorStack::get());
    good
}

fn check_exchange(randoms: [&[u8]; 2], certificate: &Message, exchange: &[u8]) -> Option<bool> {
    // A named curve, its number and the share; then scheme, length and signature.
    let params = exchange.get(..4 + usize::from(*exchange.get(3)?))?;
    let [s0, s1, l0, l1, signature @ ..] = exchange.get(params.len()..)? else { return None };
    let is_whole = signature.len() == usize::from(u16::from_be_bytes([*l0, *l1]));
    let signed = [randoms[0], randoms[1], params].concat();
    if is_whole { verify_signature(certificate, [*s0, *s1], signature, &signed) } else { None }
}

fn verify_signature(certificate: &Message, scheme: [u8; 2], signature: &[u8], signed: &[u8]) -> Option<bool> {
    let key = X509::from_der(first_certificate(certificate)?).ok()?.public_key().ok()?;
    // Signature schemes by their numbers (RFC 8446 §4.2.3); RFC 5246's pairs of hash and signature are among
    // them.
    let (digest, is_pss) = match (scheme[0], scheme[1]) {
        (2, 1 | 3) => (MessageDigest::sha1(), false),
        (4, 1 | 3) => (MessageDigest::sha256(), false),
        (5, 1 | 3) => (MessageDigest::sha384(), false),
        (6, 1 | 3) => (MessageDigest::sha512(), false),
        (8, 4) => (MessageDigest::sha256(), true),
        (8, 5) => (MessageDigest::sha384(), true),
        (8, 6) => (MessageDigest::sha512(), true),
        _ => return None,
    };
    let mut verifier = Verifier::new(digest, &key).ok()?;
    if is_pss {
        verifier.set_rsa_padding(Padding::PKCS1_PSS).ok()?;
        verifier.set_rsa_pss_saltlen(RsaPssSaltlen::DIGEST_LENGTH).ok()?;
    }
    verifier.verify_oneshot(signature, signed).ok()
}
