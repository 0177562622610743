//! A client's handshake messages in clear, put together before BoringSSL sees any of them.
//!
//! BoringSSL reassembles as well, but takes every fragment at its word: one forged before the true ones fixes
//! the message's length or fills a part of it, and the true ones are then a fatal error; a forged record
//! number moves the window in which true ones must lie. Here messages of different lengths are apart,
//! fragments that contradict each other make versions of a message of which each may become complete, and
//! records are numbered by us.

use crate::records::Fragment;

/// Octets held for messages that are not complete, what is kept about each included. A hello with a
/// post-quantum share has 1,700.
const HELD_BYTES_MAX: usize = 64 * 1024;

/// Messages that are not complete. A client's flight has four, each in its [`VERSIONS_MAX`]. Every fragment
/// is compared with all of them, so this bounds its work as well.
const PARTIALS_MAX: usize = 32;

/// Octets of a handshake message's header (RFC 6347 §4.2.2).
const HEADER_LEN: usize = 12;

/// A complete message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) kind: u8,
    pub(crate) seq: u16,
    pub(crate) body: Vec<u8>,
}

impl Message {
    /// As if it had come in one piece, which is how transcripts count it (RFC 6347 §4.2.6).
    pub(crate) fn whole(&self) -> Vec<u8> {
        let len = &(self.body.len() as u32).to_be_bytes()[1..];
        [&[self.kind][..], len, &self.seq.to_be_bytes(), &[0; 3], len, &self.body].concat()
    }

    /// As one unprotected record with this number.
    pub(crate) fn record(&self, number: u64) -> Vec<u8> {
        clear_record(22, number, &self.whole())
    }
}

/// A record without protection (RFC 6347 §4.1).
pub(crate) fn clear_record(content_type: u8, number: u64, body: &[u8]) -> Vec<u8> {
    let mut record = vec![content_type, 0xfe, 0xfd, 0, 0];
    record.extend_from_slice(&number.to_be_bytes()[2..]);
    record.extend_from_slice(&(body.len() as u16).to_be_bytes());
    record.extend_from_slice(body);
    record
}

/// Different versions of one message that are kept; the oldest is dropped for another.
const VERSIONS_MAX: usize = 4;

/// A partly received message.
#[derive(Debug)]
struct Partial {
    kind: u8,
    seq: u16,
    body: Vec<u8>,
    present: Vec<bool>,
}

impl Partial {
    fn is_of(&self, fragment: &Fragment<'_>) -> bool {
        (self.kind, self.seq, self.body.len()) == (fragment.kind, fragment.seq, fragment.message_len)
    }

    /// Whether the fragment says nothing else than what is there.
    fn agrees(&self, fragment: &Fragment<'_>) -> bool {
        let here = self.body.iter().zip(&self.present).skip(fragment.offset);
        here.zip(fragment.body).all(|((old, present), new)| !present || old == new)
    }

    fn put(&mut self, fragment: &Fragment<'_>) {
        let end = fragment.offset + fragment.body.len();
        if let Some(body) = self.body.get_mut(fragment.offset..end) {
            body.copy_from_slice(fragment.body);
            self.present[fragment.offset..end].fill(true);
        }
    }

    fn held_bytes(&self) -> usize {
        size_of::<Self>() + self.body.len() + self.present.len()
    }

    fn is_complete(&self) -> bool {
        self.present.iter().all(|present| *present)
    }
}

/// Messages that are not complete, the oldest first.
#[derive(Debug, Default)]
pub(crate) struct Assembly(Vec<Partial>);

impl Assembly {
    /// Takes a fragment that fits its message; the versions of that which are complete now.
    pub(crate) fn take(&mut self, fragment: &Fragment<'_>) -> Vec<Message> {
        let mut is_known = false;
        for partial in self.0.iter_mut().filter(|partial| partial.is_of(fragment)) {
            if partial.agrees(fragment) {
                partial.put(fragment);
                is_known = true;
            }
        }
        if !is_known {
            let Fragment { kind, seq, message_len, .. } = *fragment;
            let (body, present) = (vec![0; message_len], vec![false; message_len]);
            let mut version = Partial { kind, seq, body, present };
            version.put(fragment);
            self.0.push(version);
        }
        let mut complete = Vec::new();
        self.0.retain_mut(|partial| {
            let done = partial.is_of(fragment) && partial.is_complete();
            if done {
                let body = std::mem::take(&mut partial.body);
                complete.push(Message { kind: partial.kind, seq: partial.seq, body });
            }
            !done
        });
        self.bound(fragment);
        complete
    }

    fn bound(&mut self, fragment: &Fragment<'_>) {
        while self.0.iter().filter(|partial| partial.is_of(fragment)).count() > VERSIONS_MAX {
            let oldest = self.0.iter().position(|partial| partial.is_of(fragment));
            self.0.remove(oldest.unwrap_or(0));
        }
        let mut held: usize = self.0.iter().map(Partial::held_bytes).sum();
        while held > HELD_BYTES_MAX || self.0.len() > PARTIALS_MAX {
            held -= self.0.remove(0).held_bytes();
        }
    }
}

/// The server's messages in clear, in order and whole, up to ServerHelloDone: with the client's they are what
/// a client of DTLS 1.2 signs.
#[derive(Debug, Default)]
pub(crate) struct Flight {
    octets: Vec<u8>,
    is_complete: bool,
}

/// The message that ends a server's first flight (RFC 5246 §7.4.5).
const SERVER_HELLO_DONE: u8 = 14;

impl Flight {
    /// Takes note of a fragment that was written. They are written in order; what is written after the last
    /// is a repetition.
    pub(crate) fn note(&mut self, fragment: &Fragment<'_>) {
        if self.is_complete {
            return;
        }
        let Fragment { kind, seq, message_len, offset, body } = *fragment;
        if offset == 0 {
            let head = Message { kind, seq, body: vec![] }.whole();
            let len = &(message_len as u32).to_be_bytes()[1..];
            self.octets.extend_from_slice(&head[..HEADER_LEN]);
            let at = self.octets.len() - HEADER_LEN;
            self.octets[at + 1..at + 4].copy_from_slice(len);
            self.octets[at + 9..at + 12].copy_from_slice(len);
        }
        self.octets.extend_from_slice(body);
        self.is_complete = kind == SERVER_HELLO_DONE;
    }

    /// The whole flight, once it is complete.
    pub(crate) fn octets(&self) -> Option<&[u8]> {
        self.is_complete.then_some(&self.octets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fragment(seq: u16, message_len: usize, offset: usize, body: &[u8]) -> Fragment<'_> {
        Fragment { kind: 1, seq, message_len, offset, body }
    }

    #[test]
    fn crumbs_of_many_messages_are_few() {
        let mut assembly = Assembly::default();
        for round in 0..4u8 {
            for (seq, len) in (0..8).flat_map(|seq| (2..46).map(move |len| (seq, len))) {
                assert!(assembly.take(&fragment(seq, len, 0, &[round])).is_empty());
                assert!(assembly.0.len() <= PARTIALS_MAX);
            }
        }
        let whole = Message { kind: 1, seq: 0, body: b"abcd".to_vec() };
        assert!(assembly.take(&fragment(0, 4, 0, b"ab")).is_empty());
        assert_eq!(assembly.take(&fragment(0, 4, 2, b"cd")), [whole], "who comes in between is put together");
        let _ = assembly.take(&fragment(1, 20_000, 0, b"a"));
        let _ = assembly.take(&fragment(2, 20_000, 0, b"a"));
        assert!(assembly.0.iter().map(Partial::held_bytes).sum::<usize>() <= HELD_BYTES_MAX);
    }

    #[test]
    fn a_forged_fragment_spoils_nothing() {
        let whole = Message { kind: 1, seq: 0, body: b"abcdefgh".to_vec() };
        for forged in [
            fragment(0, 9, 0, b"zzzz"),
            fragment(0, 8, 0, b"zzzz"),
            fragment(0, 8, 3, b"zzzzz"),
            fragment(0, 8, 2, b"zz"),
            fragment(1, 8, 0, b"zzzz"),
        ] {
            for (before, between) in [(true, false), (false, true), (true, true)] {
                let mut assembly = Assembly::default();
                let mut complete = Vec::new();
                // The client sends all of it again if nothing comes back.
                for _ in 0..2 {
                    for (fragment, comes) in [
                        (forged, before),
                        (fragment(0, 8, 0, b"abcd"), true),
                        (forged, between),
                        (fragment(0, 8, 4, b"efgh"), true),
                    ] {
                        complete.extend(comes.then(|| assembly.take(&fragment)).into_iter().flatten());
                    }
                }
                assert!(complete.contains(&whole), "{forged:?} {before} {between}: {complete:?}");
            }
        }
    }

    #[test]
    fn holds_a_bounded_number_of_octets() {
        let mut assembly = Assembly::default();
        for seq in 0..1_000 {
            assert_eq!(assembly.take(&fragment(seq, 10_000, 0, b"part")), []);
        }
        assert!(assembly.0.len() <= 3);
        for n in 0..1_000u32 {
            assembly.take(&fragment(7, 100, 3, &n.to_be_bytes()));
        }
        assert!(assembly.0.len() <= 3 + VERSIONS_MAX);
        assert_eq!(assembly.take(&fragment(7, 0, 0, b"")).len(), 1, "of no octets");
    }
}
