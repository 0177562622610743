//! Which records get as far as BoringSSL.
//!
//! Protected records all do: BoringSSL drops those whose tag is wrong without a word (RFC 9147 §4.5.2).
//! Records without protection it takes at their word, and many a bad one is fatal to it; yet anybody who can
//! send from the peer's address can send them. So of those only well-formed handshake fragments of a client
//! and ChangeCipherSpec pass, and only while the client may still send them. Unprotected alerts never pass:
//! RFC 9147 §4.5.2 leaves it to us, and a peer that really gave up falls silent anyway.

/// Octets of a record header with an explicit epoch (RFC 6347 §4.1).
const HEADER_LEN: usize = 13;

/// Octets of a handshake fragment's header (RFC 6347 §4.2.2).
const FRAGMENT_HEADER_LEN: usize = 12;

const CHANGE_CIPHER_SPEC: u8 = 20;
const HANDSHAKE: u8 = 22;

/// ClientHello, Certificate, CertificateVerify, ClientKeyExchange: what a client sends without protection.
const CLIENT_MESSAGES: [u8; 4] = [1, 11, 15, 16];

/// Messages a client sends without protection, at most, are numbered 0 to 3; some spare for a second
/// ClientHello.
const MESSAGE_SEQ_MAX: u16 = 7;

/// Which records a server takes now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Accept {
    /// Those of a client in its handshake, part of which has no protection.
    Handshake,
    /// Keys are agreed: no record without protection counts.
    ProtectedOnly,
}

/// Copies the records of `datagram` that may pass to `out`.
pub(crate) fn admit(datagram: &[u8], accept: Accept, message_bytes_max: usize, out: &mut Vec<u8>) {
    for record in Records(datagram).filter(|record| record.may_pass(accept, message_bytes_max)) {
        out.extend_from_slice(record.octets);
    }
}

/// Whether any record of `datagram` may pass.
pub(crate) fn any_may_pass(datagram: &[u8], accept: Accept, message_bytes_max: usize) -> bool {
    Records(datagram).any(|record| record.may_pass(accept, message_bytes_max))
}

/// A fragment of a handshake message (RFC 6347 §4.2.2); it fits the message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fragment<'a> {
    pub(crate) kind: u8,
    pub(crate) seq: u16,
    pub(crate) message_len: usize,
    pub(crate) offset: usize,
    pub(crate) body: &'a [u8],
}

/// Whether a fragment is of a message that a server sends in clear, and worth keeping: ServerHello,
/// HelloVerifyRequest, Certificate, ServerKeyExchange, CertificateRequest, ServerHelloDone.
pub(crate) fn is_of_server(fragment: &Fragment<'_>, message_bytes_max: usize) -> bool {
    const SERVER_MESSAGES: [u8; 6] = [2, 3, 11, 12, 13, 14];
    is_worth(fragment, &SERVER_MESSAGES, message_bytes_max)
}

/// A fragment of nothing, of a message of something, is of no use but to make reassembly work.
fn is_worth(fragment: &Fragment<'_>, kinds: &[u8], message_bytes_max: usize) -> bool {
    let is_useful = !fragment.body.is_empty() || fragment.message_len == 0;
    let is_expected = kinds.contains(&fragment.kind) && fragment.seq <= MESSAGE_SEQ_MAX;
    is_useful && is_expected && fragment.message_len <= message_bytes_max
}

/// A part of a datagram.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Part<'a> {
    /// A whole protected record.
    Protected(&'a [u8]),
    /// A fragment of an unprotected handshake message.
    Fragment(Fragment<'a>),
}

/// Protected records and fragments in clear, in order. Other records in clear are passed over.
pub(crate) fn parts(datagram: &[u8]) -> impl Iterator<Item = Part<'_>> {
    Records(datagram).flat_map(|record| {
        let (protected, fragments) = match record.kind {
            Kind::Protected | Kind::Unified => (Some(Part::Protected(record.octets)), &[][..]),
            Kind::Clear { content_type: HANDSHAKE, body } => (None, body),
            Kind::Clear { .. } => (None, &[][..]),
        };
        protected.into_iter().chain(Fragments(fragments).map(Part::Fragment))
    })
}

/// The fragments of a record's body, up to the first that is none.
struct Fragments<'a>(&'a [u8]);

impl<'a> Iterator for Fragments<'a> {
    type Item = Fragment<'a>;

    fn next(&mut self) -> Option<Fragment<'a>> {
        let (header, rest) = self.0.split_first_chunk::<FRAGMENT_HEADER_LEN>()?;
        let [kind, m0, m1, m2, s0, s1, o0, o1, o2, f0, f1, f2] = *header;
        let [message_len, offset, len] = [[m0, m1, m2], [o0, o1, o2], [f0, f1, f2]].map(u24);
        let (body, rest) = rest.split_at_checked(len)?;
        if offset + len > message_len {
            return None;
        }
        self.0 = rest;
        Some(Fragment { kind, seq: u16::from_be_bytes([s0, s1]), message_len, offset, body })
    }
}

/// Whether `datagram` has a record of DTLS 1.3 with protection.
pub(crate) fn has_unified_record(datagram: &[u8]) -> bool {
    Records(datagram).any(|record| record.kind == Kind::Unified)
}

/// One or more whole fragments of messages that a client may send in clear.
fn is_client_flight(body: &[u8], message_bytes_max: usize) -> bool {
    let mut fragments = Fragments(body);
    let all_good =
        fragments.by_ref().all(|fragment| is_worth(&fragment, &CLIENT_MESSAGES, message_bytes_max));
    !body.is_empty() && all_good && fragments.0.is_empty()
}

fn u24([a, b, c]: [u8; 3]) -> usize {
    usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind<'a> {
    /// An unprotected record (epoch 0).
    Clear { content_type: u8, body: &'a [u8] },
    /// A protected record of DTLS 1.2.
    Protected,
    /// A protected record of DTLS 1.3, with the unified header (RFC 9147 §4).
    Unified,
}

struct Record<'a> {
    kind: Kind<'a>,
    octets: &'a [u8],
}

impl Record<'_> {
    fn may_pass(&self, accept: Accept, message_bytes_max: usize) -> bool {
        match self.kind {
            Kind::Protected | Kind::Unified => true,
            Kind::Clear { .. } if accept == Accept::ProtectedOnly => false,
            Kind::Clear { content_type: HANDSHAKE, body } => is_client_flight(body, message_bytes_max),
            Kind::Clear { content_type, body } => content_type == CHANGE_CIPHER_SPEC && body == [1],
        }
    }
}

/// The records of a datagram, up to the first that is none.
struct Records<'a>(&'a [u8]);

impl<'a> Iterator for Records<'a> {
    type Item = Record<'a>;

    fn next(&mut self) -> Option<Record<'a>> {
        let first = *self.0.first()?;
        let (kind, len) = match first {
            0x20..=0x3f => (Kind::Unified, unified_len(first, self.0)?),
            20..=26 => clear_or_protected(self.0)?,
            _ => return None,
        };
        let (octets, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(Record { kind, octets })
    }
}

/// Length of a record with the header 0b001CSLEE. No connection ids here; without a length it takes the whole
/// datagram.
fn unified_len(first: u8, octets: &[u8]) -> Option<usize> {
    let (has_cid, long_seq, has_len) = (first & 0x10 != 0, first & 0x08 != 0, first & 0x04 != 0);
    let len_at = if long_seq { 3 } else { 2 };
    match (has_cid, has_len) {
        (true, _) => None,
        (false, false) => Some(octets.len()),
        (false, true) => {
            let len = octets.get(len_at..)?.first_chunk::<2>()?;
            Some(len_at + 2 + usize::from(u16::from_be_bytes(*len)))
        }
    }
}

/// A record with an explicit epoch, and its length.
fn clear_or_protected(octets: &[u8]) -> Option<(Kind<'_>, usize)> {
    let (header, rest) = octets.split_first_chunk::<HEADER_LEN>()?;
    let [content_type, major, _, e0, e1, .., l0, l1] = *header;
    let body = rest.get(..usize::from(u16::from_be_bytes([l0, l1])))?;
    let kind = if [e0, e1] == [0, 0] { Kind::Clear { content_type, body } } else { Kind::Protected };
    (major == 0xfe).then_some((kind, HEADER_LEN + body.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(content_type: u8, epoch: u8, body: &[u8]) -> Vec<u8> {
        let mut record = vec![content_type, 0xfe, 0xfd, 0, epoch, 0, 0, 0, 0, 0, 9];
        record.extend_from_slice(&(body.len() as u16).to_be_bytes());
        record.extend_from_slice(body);
        record
    }

    fn fragment(kind: u8, message: u32, seq: u16, offset: u32, len: u32, present: usize) -> Vec<u8> {
        let mut fragment = vec![kind];
        fragment.extend_from_slice(&message.to_be_bytes()[1..]);
        fragment.extend_from_slice(&seq.to_be_bytes());
        fragment.extend_from_slice(&offset.to_be_bytes()[1..]);
        fragment.extend_from_slice(&len.to_be_bytes()[1..]);
        fragment.resize(FRAGMENT_HEADER_LEN + present, 7);
        fragment
    }

    fn admitted(datagram: &[u8], accept: Accept) -> Vec<u8> {
        let mut out = Vec::new();
        admit(datagram, accept, 1 << 14, &mut out);
        out
    }

    #[test]
    fn clear_records_pass_only_if_a_client_may_send_them() {
        for (name, record, passes) in [
            ("hello", record(22, 0, &fragment(1, 20, 0, 0, 20, 20)), true),
            ("first part", record(22, 0, &fragment(1, 40, 0, 0, 20, 20)), true),
            ("last part", record(22, 0, &fragment(1, 40, 0, 20, 20, 20)), true),
            ("beyond the end", record(22, 0, &fragment(1, 40, 0, 21, 20, 20)), false),
            ("torn", record(22, 0, &fragment(1, 40, 0, 0, 20, 19)), false),
            ("nothing of something", record(22, 0, &fragment(1, 40, 0, 0, 0, 0)), false),
            ("16 MiB", record(22, 0, &fragment(11, (1 << 24) - 1, 1, 0, 20, 20)), false),
            ("far ahead", record(22, 0, &fragment(11, 20, 9, 0, 20, 20)), false),
            ("a server's message", record(22, 0, &fragment(2, 20, 0, 0, 20, 20)), false),
            ("no header", record(22, 0, &[1, 0, 0]), false),
            ("empty", record(22, 0, &[]), false),
            ("alert", record(21, 0, &[2, 40]), false),
            ("change cipher spec", record(20, 0, &[1]), true),
            ("a bad one", record(20, 0, &[2]), false),
            ("application data", record(23, 0, b"data"), false),
            ("acknowledgement", record(26, 0, &[0, 0]), false),
            ("protected", record(23, 1, b"sealed"), true),
        ] {
            let want = if passes { record.clone() } else { vec![] };
            assert_eq!(admitted(&record, Accept::Handshake), want, "{name}");
        }
    }

    #[test]
    fn nothing_clear_passes_once_there_are_keys() {
        let hello = record(22, 0, &fragment(1, 20, 0, 0, 20, 20));
        let sealed = record(22, 1, b"sealed");
        let unified = [0x2f, 1, 2, 0, 3, 9, 9, 9];
        let mixed = [&hello[..], &sealed, &unified].concat();
        assert_eq!(admitted(&hello, Accept::ProtectedOnly), []);
        assert_eq!(admitted(&mixed, Accept::ProtectedOnly), [&sealed[..], &unified].concat());
    }

    #[test]
    fn good_records_survive_their_company() {
        let hello = record(22, 0, &fragment(1, 20, 0, 0, 20, 20));
        let alert = record(21, 0, &[2, 40]);
        assert_eq!(admitted(&[&alert[..], &hello, &alert, b"\x16\xfe"].concat(), Accept::Handshake), hello);
    }

    #[test]
    fn no_datagram_panics() {
        let hello = record(22, 0, &fragment(1, 20, 0, 0, 20, 20));
        for len in 0..hello.len() {
            assert_eq!(admitted(&hello[..len], Accept::Handshake), []);
        }
        for first in 0..=255 {
            for rest in 0..20 {
                admitted(&[&[first][..], &vec![0xff; rest]].concat(), Accept::Handshake);
            }
        }
    }
}
