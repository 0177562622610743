//! What a ClientHello must have for an attempt to be spent on it, and a ServerHello to be shown to BoringSSL.
//!
//! Anybody who can write the client's address can write a hello, so one that BoringSSL would refuse at once
//! costs a walk over its octets and no more. What passes here may still be refused there: BoringSSL reads all
//! of it and decides.

use crate::MESSAGE_BYTES_MAX;
use crate::records::{self, Part};
use relay_core::srtp::SrtpProfile;

/// The handshake message (RFC 5246 §7.4).
pub(crate) const CLIENT_HELLO: u8 = 1;

/// Extensions by their numbers (RFC 5764 §4.1, RFC 7627 §5.1, RFC 8446 §4.2.1).
const USE_SRTP: u16 = 14;
const EXTENDED_MASTER_SECRET: u16 = 23;
const SUPPORTED_VERSIONS: u16 = 43;

/// DTLS 1.3 in `supported_versions` (RFC 9147 §5.3).
const DTLS_1_3: [u8; 2] = [0xfe, 0xfc];

/// DTLS 1.2, which both versions say in a hello (RFC 6347 §4.1, RFC 9147 §5.3).
const DTLS_1_2: [u8; 2] = [0xfe, 0xfd];

/// Octets of a session id at most (RFC 5246 §7.4.1.2).
const SESSION_ID_LEN_MAX: usize = 32;

/// Whether a datagram can begin a handshake: it has a part of a first ClientHello, and if that is whole, it
/// is for us.
pub(crate) fn may_begin(datagram: &[u8]) -> bool {
    records::parts(datagram).any(|part| {
        let Part::Fragment(part) = part else { return false };
        let is_of_hello = part.kind == CLIENT_HELLO && part.seq == 0 && !part.body.is_empty();
        let is_whole = part.body.len() == part.message_len;
        is_of_hello && part.message_len <= MESSAGE_BYTES_MAX && (!is_whole || is_for_us(part.body))
    })
}

/// Whether the body of a ClientHello is well formed and asks for something that we have.
pub(crate) fn is_for_us(body: &[u8]) -> bool {
    extensions(body).is_some_and(|all| offers_what_we_need(|wanted| find(all, wanted)))
}

/// A profile of ours, and DTLS 1.3 or the extended master secret: the exported keys of DTLS 1.2 are otherwise
/// not bound to the handshake (RFC 7627; RFC 8827 §6.5 wants it).
pub(crate) fn offers_what_we_need<'a>(extension: impl Fn(u16) -> Option<&'a [u8]>) -> bool {
    let offers_profile = extension(USE_SRTP).is_some_and(offers_our_profile);
    let is_1_3 = extension(SUPPORTED_VERSIONS)
        .and_then(<[u8]>::split_first)
        .is_some_and(|(_, versions)| versions.chunks_exact(2).any(|version| version == DTLS_1_3));
    offers_profile && (is_1_3 || extension(EXTENDED_MASTER_SECRET).is_some())
}

/// RFC 5764 §4.1.1: a length in octets, the profiles, and an MKI that we pass over.
fn offers_our_profile(use_srtp: &[u8]) -> bool {
    let Some((len, rest)) = use_srtp.split_first_chunk::<2>() else { return false };
    let profiles = rest.get(..usize::from(u16::from_be_bytes(*len))).unwrap_or_default();
    profiles
        .as_chunks::<2>()
        .0
        .iter()
        .any(|&profile| SrtpProfile::from_dtls_id(u16::from_be_bytes(profile)).is_some())
}

/// The extensions of a ClientHello (RFC 6347 §4.2.1) in which everything is where it should be.
fn extensions(body: &[u8]) -> Option<&[u8]> {
    // Version and random.
    let rest = body.get(34..)?;
    let (session_id, rest) = vector8(rest)?;
    let (_cookie, rest) = vector8(rest)?;
    let (suites, rest) = vector16(rest)?;
    let (compressions, rest) = vector8(rest)?;
    let (extensions, rest) = vector16(rest)?;
    let is_good = session_id.len() <= SESSION_ID_LEN_MAX
        && !suites.is_empty()
        && suites.len().is_multiple_of(2)
        && compressions.contains(&0)
        && rest.is_empty();
    let mut all = Extensions(extensions);
    let is_whole = all.by_ref().count() > 0 && all.0.is_empty();
    (is_good && is_whole).then_some(extensions)
}

/// What a ServerHello says (RFC 5246 §7.4.1.3, RFC 8446 §4.1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Of DTLS 1.3, or a request for another hello.
    V13 {
        /// Whether it asks for another hello (HelloRetryRequest).
        retry: bool,
    },
    /// Of DTLS 1.2.
    V12,
}

/// Random of a HelloRetryRequest (RFC 8446 §4.1.3).
const RETRY_RANDOM: [u8; 32] = [
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91, 0xc2,
    0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
];

/// What the body of a ServerHello answers to our hello; `None` if it is malformed or chooses what we do not
/// have. In DTLS 1.2 that is an association without SRTP, or one whose exported keys are not bound to its
/// handshake (RFC 7627).
pub(crate) fn answer(body: &[u8]) -> Option<Answer> {
    let (version, rest) = body.split_first_chunk::<2>()?;
    let (random, rest) = rest.split_first_chunk::<32>()?;
    let (session_id, rest) = vector8(rest)?;
    let ([_, _, compression], rest) = rest.split_first_chunk::<3>()?;
    let (extensions, rest) = vector16(rest)?;
    let mut all = Extensions(extensions);
    let is_whole = all.by_ref().count() > 0 && all.0.is_empty() && rest.is_empty();
    if *version != DTLS_1_2 || *compression != 0 || !is_whole || session_id.len() > SESSION_ID_LEN_MAX {
        return None;
    }
    if let Some(chosen) = find(extensions, SUPPORTED_VERSIONS) {
        // RFC 9147 §5.3: no session id comes back.
        let is_good = chosen == DTLS_1_3 && session_id.is_empty();
        return is_good.then_some(Answer::V13 { retry: *random == RETRY_RANDOM });
    }
    let has_profile = find(extensions, USE_SRTP).is_some_and(offers_our_profile);
    let is_bound = find(extensions, EXTENDED_MASTER_SECRET).is_some();
    (has_profile && is_bound).then_some(Answer::V12)
}

/// The random of a hello, a client's or a server's.
pub(crate) fn random(body: &[u8]) -> Option<&[u8]> {
    body.get(2..34)
}

fn find(extensions: &[u8], wanted: u16) -> Option<&[u8]> {
    Extensions(extensions).find(|(id, _)| *id == wanted).map(|(_, body)| body)
}

/// The extensions, up to the first that is malformed.
struct Extensions<'a>(&'a [u8]);

impl<'a> Iterator for Extensions<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (id, rest) = self.0.split_first_chunk::<2>()?;
        let (body, rest) = vector16(rest)?;
        self.0 = rest;
        Some((u16::from_be_bytes(*id), body))
    }
}

fn vector8(octets: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = octets.split_first()?;
    rest.split_at_checked(usize::from(*len))
}

fn vector16(octets: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = octets.split_first_chunk::<2>()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*len)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_our_profiles_in_a_hello() {
        for (use_srtp, want) in [
            (&[0, 2, 0, 7, 0][..], true),
            (&[0, 4, 0, 2, 0, 1, 0], true),
            (&[0, 2, 0, 2, 0], false),
            (&[0, 4, 0, 5, 0, 6, 0], false),
            (&[0, 0, 0], false),
            (&[0, 9, 0, 7, 0], false),
            (&[0], false),
            (&[], false),
        ] {
            assert_eq!(offers_our_profile(use_srtp), want, "{use_srtp:?}");
        }
    }

    fn hello(suites: &[u8], compressions: &[u8], extensions: &[&[u8]]) -> Vec<u8> {
        let extensions = extensions.concat();
        let mut body = vec![0xfe, 0xfd];
        body.extend_from_slice(&[7; 32]);
        body.extend_from_slice(&[0, 0, 0, suites.len() as u8]);
        body.extend_from_slice(suites);
        body.push(compressions.len() as u8);
        body.extend_from_slice(compressions);
        body.extend_from_slice(&(extensions.len() as u16).to_be_bytes());
        body.extend_from_slice(&extensions);
        body
    }

    #[test]
    fn a_hello_is_for_us_or_costs_nothing() {
        let srtp: &[u8] = &[0, 14, 0, 5, 0, 2, 0, 7, 0];
        let versions: &[u8] = &[0, 43, 0, 5, 4, 0xfe, 0xfc, 0xfe, 0xfd];
        let old: &[u8] = &[0, 43, 0, 3, 2, 0xfe, 0xfd];
        let secret: &[u8] = &[0, 23, 0, 0];
        for (name, hello, want) in [
            ("1.3", hello(&[0x13, 1], &[0], &[srtp, versions]), true),
            ("1.2", hello(&[0xc0, 0x2b], &[1, 0], &[secret, srtp]), true),
            ("1.2 that is not bound", hello(&[0xc0, 0x2b], &[0], &[srtp, old]), false),
            ("no SRTP", hello(&[0x13, 1], &[0], &[versions, secret]), false),
            ("no suite", hello(&[], &[0], &[srtp, versions]), false),
            ("half a suite", hello(&[0x13], &[0], &[srtp, versions]), false),
            ("compression only", hello(&[0x13, 1], &[1], &[srtp, versions]), false),
            ("no extension", hello(&[0x13, 1], &[0], &[]), false),
            ("a torn one", hello(&[0x13, 1], &[0], &[srtp, versions, &[0, 23, 0, 9, 0]]), false),
            ("more behind", [hello(&[0x13, 1], &[0], &[srtp, versions]), vec![0]].concat(), false),
            ("junk", vec![0x5a; 60], false),
        ] {
            assert_eq!(is_for_us(&hello), want, "{name}");
        }
        let whole = hello(&[0x13, 1], &[0], &[srtp, versions]);
        (0..whole.len()).for_each(|len| assert!(!is_for_us(&whole[..len]), "{len} octets"));
    }

    /// A record of DTLS 1.2 with one fragment of a handshake message, of so many octets in all.
    fn record(epoch: u8, (kind, seq): (u8, u8), message_len: usize, body: &[u8]) -> Vec<u8> {
        let len = |len: usize| (len as u32).to_be_bytes()[1..].to_vec();
        let fragment = [&[kind][..], &len(message_len), &[0, seq], &[0; 3], &len(body.len()), body].concat();
        let header =
            [&[22, 0xfe, 0xfd, 0, epoch][..], &[0; 6], &(fragment.len() as u16).to_be_bytes()].concat();
        [header, fragment].concat()
    }

    #[test]
    fn a_datagram_can_begin_a_handshake_or_takes_no_place() {
        let (srtp, versions): (&[u8], &[u8]) = (&[0, 14, 0, 5, 0, 2, 0, 7, 0], &[0, 43, 0, 3, 2, 0xfe, 0xfc]);
        let good = hello(&[0x13, 1], &[0], &[srtp, versions]);
        let bad = hello(&[0x13, 1], &[0], &[versions]);
        let (first, whole) = ((CLIENT_HELLO, 0), good.len());
        for (name, datagram, want) in [
            ("a hello", record(0, first, whole, &good), true),
            ("its first half", record(0, first, whole, &good[..40]), true),
            (
                "behind another",
                [record(0, (11, 1), 9, &[0; 9]), record(0, first, whole, &good)].concat(),
                true,
            ),
            ("one that is not for us", record(0, first, bad.len(), &bad), false),
            ("none of it", record(0, first, whole, &[]), false),
            ("one too long", record(0, first, MESSAGE_BYTES_MAX + 1, &good), false),
            ("a second hello", record(0, (CLIENT_HELLO, 1), whole, &good), false),
            ("a certificate", record(0, (11, 0), 9, &[0; 9]), false),
            ("what is protected", record(1, first, whole, &good), false),
            ("the same of 1.3", [&[0x2f, 1, 2][..], &[0x5a; 60]].concat(), false),
            ("junk", vec![22; 60], false),
            ("nothing", Vec::new(), false),
        ] {
            assert_eq!(may_begin(&datagram), want, "{name}");
        }
    }
}
