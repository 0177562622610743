//! The client's end, for a peer that is the passive side (`a=setup:passive`, RFC 5763 §5).
//!
//! Before the server has shown keys, anybody who can write its address can write what a server writes in
//! clear. So BoringSSL sees of that only what it cannot do without:
//! - Messages are put together here ([`crate::assembly`]) and given whole, in order, under our record
//!   numbers. Alerts, hellos of a client and whatever else a server has no reason to send never pass.
//! - A ServerHello must choose something that we have ([`crate::hello`]).
//! - A flight of DTLS 1.2 passes as a whole, and only if its ServerKeyExchange signs the randoms of our hello
//!   and of its own ([`crate::signature`]): of several ServerHellos and certificates the signed ones count.
//!   A certificate that is not the announced one costs a bounded number of signatures.
//! - ChangeCipherSpec is ours to say, when the first protected record comes.
//! - What ends an association after that was sent by who has its keys, and counts.
//!
//! What nobody finishes, the driver's time limit ends.
//!
//! What remains possible: nothing in a ServerHello of DTLS 1.3, in a HelloRetryRequest or in a
//! HelloVerifyRequest shows that its sender has read our hello, and BoringSSL goes on with the first. Who
//! forges one with the peer's address, in the one round trip before the true one comes, ends that handshake,
//! and no other: no key of his is ever taken, for he has not the announced certificate.

use crate::MESSAGE_BYTES_MAX;
use crate::admission::TokenBucket;
use crate::assembly::{Assembly, Message, clear_record};
use crate::association::{Association, INBOUND_BYTES_MAX};
use crate::hello::{self, Answer};
use crate::records::{self, Accept, Fragment, Part};
use crate::signature;
use boring::ssl::SslContext;
use relay_core::dtls::{DtlsEngine, DtlsStatus, DtlsSummary, Fingerprints};
use relay_core::time::Time;
use std::collections::VecDeque;
use std::time::Duration;

/// Signatures that may be looked at at once, and the time after which one more may: each is 100 us of work.
const VERIFICATIONS_AT_ONCE: u32 = 8;
const VERIFICATION_INTERVAL: Duration = Duration::from_millis(31);
/// The same of certificates that are not announced, with keys of any kind, of which one costs up to 2 ms.
const UNANNOUNCED_AT_ONCE: u32 = 8;
const UNANNOUNCED_INTERVAL: Duration = Duration::from_secs(1);
/// Different versions of one message that are kept; the oldest gives way.
const VERSIONS_MAX: usize = 4;

/// Handshake messages of a server (RFC 5246 §7.4, RFC 6347 §4.2.2).
const SERVER_HELLO: u8 = 2;
const HELLO_VERIFY_REQUEST: u8 = 3;
const CERTIFICATE: u8 = 11;
const SERVER_KEY_EXCHANGE: u8 = 12;
const CERTIFICATE_REQUEST: u8 = 13;
const SERVER_HELLO_DONE: u8 = 14;

/// The client's end of one handshake, then the association that came of it.
pub struct Dialer {
    association: Association,
    /// Until the handshake is over.
    handshake: Option<Box<Handshake>>,
    peer: Fingerprints,
    verifications: TokenBucket,
    unannounced: TokenBucket,
    /// Datagrams of the association, which are looked at before they are sent.
    out: VecDeque<Vec<u8>>,
}

/// What has come of the server.
#[derive(Default)]
struct Handshake {
    assembly: Assembly,
    /// Of our hello; a second one has the same (RFC 8446 §4.1.2, RFC 6347 §4.2.1).
    random: Vec<u8>,
    stage: Stage,
    /// Number of the next message that BoringSSL reads.
    next: u16,
    /// A second hello was asked for: once is all that either version has.
    asked_again: bool,
    /// Unprotected records fed so far.
    records: u64,
    /// Messages of a flight of DTLS 1.2.
    flight: VecDeque<Message>,
}

/// What a server may say next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    /// Its answer to our hello.
    #[default]
    Answer,
    /// ChangeCipherSpec, which has not been shown: DTLS 1.2.
    Change,
    /// What is protected alone.
    Protected,
}

impl Dialer {
    pub(crate) fn new(context: &SslContext, now: Time, peer: Fingerprints) -> Self {
        let mut dialer = Self {
            association: Association::dialing(context, now, peer.clone()),
            handshake: Some(Box::default()),
            peer,
            verifications: TokenBucket::new(now, VERIFICATIONS_AT_ONCE, VERIFICATION_INTERVAL),
            unannounced: TokenBucket::new(now, UNANNOUNCED_AT_ONCE, UNANNOUNCED_INTERVAL),
            out: VecDeque::new(),
        };
        dialer.note_random();
        dialer
    }

    /// Our hello waits to be sent: what a server signs is in it.
    fn note_random(&mut self) {
        self.out.extend(std::iter::from_fn(|| self.association.pop()));
        let Some(handshake) = &mut self.handshake else { return };
        let first =
            self.out.iter().flat_map(|datagram| records::parts(datagram)).find_map(|part| match part {
                Part::Fragment(part) if part.kind == hello::CLIENT_HELLO => hello::random(part.body),
                _ => None,
            });
        handshake.random = first.unwrap_or_default().to_vec();
    }

    /// Shows BoringSSL each part of a datagram that may pass; whether there was one.
    fn take(&mut self, now: Time, datagram: &[u8]) -> bool {
        let mut taken = false;
        for part in records::parts(datagram) {
            match part {
                Part::Fragment(fragment) => taken |= self.take_fragment(now, &fragment),
                Part::Protected(record) => {
                    self.show_change(now);
                    self.association.feed(now, record);
                    taken = true;
                }
            }
            if !matches!(self.association.status(), DtlsStatus::Handshaking) {
                self.handshake = None;
            }
        }
        taken
    }

    fn take_fragment(&mut self, now: Time, fragment: &Fragment<'_>) -> bool {
        let Some(handshake) = &mut self.handshake else { return false };
        if !handshake.wants(fragment) {
            return false;
        }
        for message in handshake.assembly.take(fragment) {
            self.take_message(now, message);
        }
        true
    }

    fn take_message(&mut self, now: Time, message: Message) {
        let Some(handshake) = &mut self.handshake else { return };
        if handshake.stage != Stage::Answer || message.seq < handshake.next {
            return;
        }
        let (kind, is_next) = (message.kind, message.seq == handshake.next);
        match (kind, hello::answer(&message.body)) {
            (SERVER_HELLO, Some(Answer::V13 { retry })) if is_next => {
                if retry && handshake.asked_again {
                    return;
                }
                handshake.asked_again |= retry;
                if !retry {
                    handshake.stage = Stage::Protected;
                }
                self.give(now, &message);
            }
            (HELLO_VERIFY_REQUEST, _)
                if is_next && !handshake.asked_again && is_verify_request(&message.body) =>
            {
                handshake.asked_again = true;
                self.give(now, &message);
            }
            (SERVER_HELLO, Some(Answer::V12)) | (CERTIFICATE..=SERVER_HELLO_DONE, _) => {
                handshake.keep(message);
                self.show_signed_flight(now);
            }
            _ => {}
        }
    }

    fn give(&mut self, now: Time, message: &Message) {
        let Some(handshake) = &mut self.handshake else { return };
        handshake.next = message.seq + 1;
        handshake.records += 1;
        self.association.feed(now, &message.record(handshake.records - 1));
    }

    /// Shows a flight of DTLS 1.2, once it is whole and signed for our hello.
    fn show_signed_flight(&mut self, now: Time) {
        let Some(handshake) = &mut self.handshake else { return };
        let Some(rest) = handshake.rest() else { return };
        let at = |kind, after| handshake.versions(kind, handshake.next + after);
        let (mut signed, announced) =
            (None, |certificate: &&Message| signature::shows(certificate, &self.peer));
        'looking: for certificate in at(CERTIFICATE, 1) {
            let paid = if announced(&certificate) { &mut self.verifications } else { &mut self.unannounced };
            for (server_hello, exchange) in
                at(SERVER_HELLO, 0).flat_map(|hello| at(SERVER_KEY_EXCHANGE, 2).map(move |e| (hello, e)))
            {
                if !paid.begin(now) {
                    break;
                }
                let randoms = [&handshake.random[..], hello::random(&server_hello.body).unwrap_or_default()];
                if signature::is_exchange_signed(randoms, certificate, exchange) {
                    signed = Some([server_hello, certificate, exchange].map(Clone::clone));
                    break 'looking;
                }
            }
        }
        let Some(signed) = signed else { return };
        handshake.stage = Stage::Change;
        handshake.flight = VecDeque::new();
        signed.iter().chain(&rest).for_each(|message| self.give(now, message));
    }

    /// Says ChangeCipherSpec for the server, as what is protected comes behind that.
    fn show_change(&mut self, now: Time) {
        let Some(handshake) = self.handshake.as_mut().filter(|h| h.stage == Stage::Change) else { return };
        handshake.stage = Stage::Protected;
        self.association.feed(now, &clear_record(20, handshake.records, &[1]));
    }
}

impl Handshake {
    fn wants(&self, fragment: &Fragment<'_>) -> bool {
        let is_due = self.stage == Stage::Answer && fragment.seq >= self.next;
        is_due && records::is_of_server(fragment, MESSAGE_BYTES_MAX)
    }

    /// Keeps a version of a message, the latest last.
    fn keep(&mut self, message: Message) {
        if self.flight.contains(&message) {
            return;
        }
        let same = |other: &Message| (other.kind, other.seq) == (message.kind, message.seq);
        if self.flight.iter().filter(|other| same(other)).count() >= VERSIONS_MAX {
            let oldest = self.flight.iter().position(same);
            oldest.map(|at| self.flight.remove(at));
        }
        // Five messages at two places each.
        if self.flight.len() >= 10 * VERSIONS_MAX {
            self.flight.pop_front();
        }
        self.flight.push_back(message);
    }

    fn versions(&self, kind: u8, seq: u16) -> impl Iterator<Item = &Message> + Clone {
        self.flight.iter().filter(move |message| (message.kind, message.seq) == (kind, seq))
    }

    /// What follows the signed part of a flight: a request for our certificate, or none, and the end.
    fn rest(&self) -> Option<Vec<Message>> {
        let done = |after: u16| self.versions(SERVER_HELLO_DONE, self.next + after).next().cloned();
        let request = self.versions(CERTIFICATE_REQUEST, self.next + 3).next().cloned();
        match (request, done(4), done(3)) {
            (Some(request), Some(done), _) => Some(vec![request, done]),
            (_, _, Some(done)) => Some(vec![done]),
            _ => None,
        }
    }
}

/// A version and a cookie (RFC 6347 §4.2.1).
fn is_verify_request(body: &[u8]) -> bool {
    matches!(body, [0xfe, _, len, cookie @ ..] if cookie.len() == usize::from(*len))
}

impl DtlsEngine for Dialer {
    fn handle_datagram(&mut self, now: Time, datagram: &[u8]) -> bool {
        if datagram.len() > INBOUND_BYTES_MAX {
            return false;
        }
        if self.handshake.is_none() {
            let mut admitted = Vec::new();
            records::admit(datagram, Accept::ProtectedOnly, MESSAGE_BYTES_MAX, &mut admitted);
            return !admitted.is_empty() && self.association.handle_datagram(now, &admitted);
        }
        let taken = self.take(now, datagram);
        taken && !matches!(self.status(), DtlsStatus::FingerprintMismatch | DtlsStatus::Failed)
    }

    fn is_plausible(&self, datagram: &[u8]) -> bool {
        records::parts(datagram).any(|part| match part {
            Part::Protected(_) => true,
            Part::Fragment(fragment) => self.handshake.as_ref().is_some_and(|h| h.wants(&fragment)),
        })
    }

    fn poll_datagram(&mut self, out: &mut [u8]) -> Option<usize> {
        let datagram = self.out.pop_front().or_else(|| self.association.pop())?;
        out.get_mut(..datagram.len())?.copy_from_slice(&datagram);
        Some(datagram.len())
    }

    fn poll_timeout(&self) -> Option<Time> {
        self.association.poll_timeout()
    }

    fn handle_timeout(&mut self, now: Time) {
        self.association.handle_timeout(now);
    }

    fn status(&self) -> DtlsStatus {
        self.association.status()
    }

    fn take_summary(&mut self) -> Option<DtlsSummary> {
        self.association.take_summary()
    }

    fn close(&mut self) {
        self.association.close();
    }
}

impl std::fmt::Debug for Dialer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dialer").field("status", &self.status()).finish_non_exhaustive()
    }
}
