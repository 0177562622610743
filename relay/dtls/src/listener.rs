//! The server's end until it is known who the client is.
//!
//! Before the client has shown keys, anybody who can write its address can write what a client writes in clear. So a message that
//! is no good ends the attempt that it belongs to and nothing else:
//! - Messages are put together here ([`crate::assembly`]); BoringSSL sees whole ones only, under our record numbers.
//! - Each ClientHello that differs begins an [`Association`] of its own, [`CANDIDATES_MAX`] at a time. A protected record is shown
//!   to all of them; the first that ends its handshake is the one, the others are forgotten.
//! - The rest of a DTLS 1.2 client's flight, also in clear, is shown to BoringSSL only if it is signed over what *we* sent
//!   ([`crate::signature`]).
//! - What ends an association after that was sent by who has its keys, and counts.
//!
//! What nobody finishes, the driver's time limit ends.

use crate::MESSAGE_BYTES_MAX;
use crate::assembly::{Assembly, Message, clear_record};
use crate::association::{Association, INBOUND_BYTES_MAX};
use crate::certificate::fingerprint;
use crate::gate::{self, Part, Stage};
use crate::signature;
use boring::ssl::SslContext;
use boring::x509::X509;
use relay_core::dtls::{DtlsEngine, DtlsStatus, DtlsSummary, Fingerprint};
use relay_core::time::Time;
use std::time::Duration;

/// Attempts that go on beside each other, about 10 KB each. The oldest goes, once it has had its time.
pub(crate) const CANDIDATES_MAX: usize = 8;
/// An attempt is not given up for another before: a client that has our flight already can end no other one. More than a round
/// trip, so hellos that are forged behind a client's do it no harm; who forges them without end keeps new ones out.
const ATTEMPT_LIFE_MIN: Duration = Duration::from_millis(500);
/// Attempts that may be begun at once, each 150 us of work, and the time after which one more may. Signed flights are paid for
/// apart, at the same rate, one for each signature that is looked at.
const ATTEMPTS_AT_ONCE: u32 = 8;
const ATTEMPT_INTERVAL: Duration = Duration::from_millis(31);

/// Handshake messages of a client (RFC 5246 §7.4).
const CLIENT_HELLO: u8 = 1;
const CERTIFICATE: u8 = 11;
const CERTIFICATE_VERIFY: u8 = 15;
const CLIENT_KEY_EXCHANGE: u8 = 16;
/// Content type and body of ChangeCipherSpec.
const CHANGE_CIPHER_SPEC: (u8, &[u8]) = (20, &[1]);

/// The server's end of one handshake, then the association that came of it.
pub struct Listener {
    context: SslContext,
    peer: Fingerprint,
    state: State,
    attempts: Attempts,
    /// Signatures that are looked at.
    verifications: Attempts,
}

enum State {
    Handshaking(Box<Handshake>),
    Decided(Association),
    Closed,
}

/// What is there of a client, or of several that claim to be it.
#[derive(Default)]
struct Handshake {
    assembly: Assembly,
    candidates: Vec<Candidate>,
    /// Last ones of the messages that a DTLS 1.2 client sends in clear.
    certificate: Option<Message>,
    key_exchange: Option<Message>,
    verify: Option<Message>,
}

/// An attempt.
struct Candidate {
    hello: Message,
    association: Association,
    since: Time,
    /// Records in clear it was given.
    records: u64,
}

impl Candidate {
    fn give(&mut self, now: Time, message: &Message) {
        self.association.feed(now, &message.record(self.records));
        self.records += 1;
    }

    /// The client's choice of 32 octets (RFC 8446 §4.1.2), the same in a second hello.
    fn random(&self) -> Option<&[u8]> {
        random(&self.hello)
    }

    fn is_over(&self) -> bool {
        matches!(self.association.status(), DtlsStatus::Failed | DtlsStatus::FingerprintMismatch)
    }
}

fn random(hello: &Message) -> Option<&[u8]> {
    hello.body.get(2..34)
}

/// How many attempts may be begun.
struct Attempts {
    left: u32,
    since: Time,
    begun: u32,
}

impl Attempts {
    fn new(now: Time) -> Self {
        Self { left: ATTEMPTS_AT_ONCE, since: now, begun: 0 }
    }

    fn begin(&mut self, now: Time) -> bool {
        let earned = now.since(self.since).as_nanos() / ATTEMPT_INTERVAL.as_nanos();
        if let earned @ 1.. = u32::try_from(earned).unwrap_or(u32::MAX) {
            self.left = self.left.saturating_add(earned).min(ATTEMPTS_AT_ONCE);
            self.since = now;
        }
        let may = self.left > 0;
        self.left -= u32::from(may);
        self.begun += u32::from(may);
        may
    }
}

impl Listener {
    pub(crate) fn new(context: SslContext, now: Time, peer: Fingerprint) -> Self {
        let (attempts, verifications) = (Attempts::new(now), Attempts::new(now));
        Self { context, peer, state: State::Handshaking(Box::default()), attempts, verifications }
    }

    /// Shows each part of a datagram to whom it concerns; whether there was one.
    fn take(&mut self, now: Time, datagram: &[u8]) -> bool {
        let mut admitted = Vec::new();
        gate::admit(datagram, Stage::Clear, MESSAGE_BYTES_MAX, &mut admitted);
        let (mut protected, mut taken) = (Vec::new(), false);
        for part in gate::parts(&admitted) {
            match part {
                Part::Protected(octets) => protected.extend_from_slice(octets),
                Part::Fragment(fragment) => {
                    let State::Handshaking(handshake) = &mut self.state else { return true };
                    if fragment.kind != CLIENT_HELLO && !handshake.awaits_flight() {
                        continue;
                    }
                    taken = true;
                    for message in handshake.assembly.take(&fragment) {
                        self.take_message(now, message);
                    }
                }
            }
        }
        if !protected.is_empty()
            && let State::Handshaking(handshake) = &mut self.state
        {
            handshake.candidates.iter_mut().for_each(|c| c.association.feed(now, &protected));
            self.decide();
        }
        taken || !protected.is_empty()
    }

    fn take_message(&mut self, now: Time, message: Message) {
        let State::Handshaking(handshake) = &mut self.state else { return };
        match message.kind {
            CLIENT_HELLO if message.seq == 0 => self.take_hello(now, message),
            CLIENT_HELLO => handshake.second_hello(now, &message),
            kind => {
                let peer = self.peer;
                match kind {
                    CERTIFICATE => handshake.take_certificate(message, peer),
                    CLIENT_KEY_EXCHANGE => handshake.key_exchange = Some(message),
                    CERTIFICATE_VERIFY => handshake.verify = Some(message),
                    _ => return,
                }
                if handshake.is_flight_there() {
                    handshake.show_signed_flight(now, &mut self.verifications);
                    self.decide();
                }
            }
        }
    }

    /// A hello that is like none before begins an attempt.
    fn take_hello(&mut self, now: Time, hello: Message) {
        let State::Handshaking(handshake) = &mut self.state else { return };
        if let Some(known) = handshake.candidates.iter_mut().find(|c| c.hello == hello) {
            // Sent again: BoringSSL repeats its flight, in DTLS 1.3 by its timer.
            if !known.association.has_sent_unified() {
                known.give(now, &hello);
            }
        } else if handshake.has_room(now) && self.attempts.begin(now) {
            let association = Association::server(&self.context, now, self.peer);
            let mut candidate = Candidate { hello, association, since: now, records: 0 };
            let hello = candidate.hello.clone();
            candidate.give(now, &hello);
            if handshake.candidates.len() == CANDIDATES_MAX {
                handshake.candidates.remove(0);
            }
            handshake.candidates.push(candidate);
        }
        handshake.bury();
    }

    /// What was protected has been shown: an attempt that ended well or badly ended by its client.
    fn decide(&mut self) {
        let State::Handshaking(handshake) = &mut self.state else { return };
        let ended = |c: &Candidate| !matches!(c.association.status(), DtlsStatus::Handshaking);
        if let Some(at) = handshake.candidates.iter().position(ended) {
            let mut association = handshake.candidates.swap_remove(at).association;
            association.forget_flight();
            self.state = State::Decided(association);
        }
    }
}

impl Handshake {
    /// Whether there is room for another attempt, or one that has had its time.
    fn has_room(&self, now: Time) -> bool {
        let oldest = self.candidates.first().filter(|_| self.candidates.len() == CANDIDATES_MAX);
        oldest.is_none_or(|oldest| now.since(oldest.since) >= ATTEMPT_LIFE_MIN)
    }

    /// The hello that answers our HelloRetryRequest goes where the first one went.
    fn second_hello(&mut self, now: Time, hello: &Message) {
        let same = |c: &&mut Candidate| c.random().is_some() && c.random() == random(hello);
        for candidate in self.candidates.iter_mut().filter(same) {
            // A DTLS 1.2 client whose hello was answered has no second one: whoever sends it overheard the first.
            if !candidate.association.has_sent_unified() && candidate.association.flight().is_none() {
                candidate.give(now, hello);
            }
        }
        self.bury();
    }

    /// The announced certificate is not replaced by another.
    fn take_certificate(&mut self, message: Message, peer: Fingerprint) {
        let is_announced = |message: &Message| {
            let shown = signature::first_certificate(message).and_then(|der| X509::from_der(der).ok());
            shown.as_deref().and_then(fingerprint) == Some(peer)
        };
        if !self.certificate.as_ref().is_some_and(is_announced) || is_announced(&message) {
            self.certificate = Some(message);
        }
    }

    /// Whether an attempt is one of DTLS 1.2, in which a client has more to say in clear.
    fn awaits_flight(&self) -> bool {
        self.candidates.iter().any(|c| c.association.flight().is_some())
    }

    fn is_flight_there(&self) -> bool {
        self.certificate.is_some() && self.key_exchange.is_some() && self.verify.is_some()
    }

    /// Shows the flight to the attempt whose messages it signs.
    fn show_signed_flight(&mut self, now: Time, verifications: &mut Attempts) {
        let flight = (&self.certificate, &self.key_exchange, &self.verify);
        let (Some(certificate), Some(key_exchange), Some(verify)) = flight else { return };
        for candidate in &mut self.candidates {
            let hello = candidate.hello.whole();
            let Some(server) = candidate.association.flight() else { continue };
            if !verifications.begin(now) {
                return;
            }
            if signature::is_signed(&[&hello, server], certificate, key_exchange, verify) {
                for message in [certificate, key_exchange, verify] {
                    candidate.give(now, message);
                }
                let (kind, body) = CHANGE_CIPHER_SPEC;
                candidate.association.feed(now, &clear_record(kind, candidate.records, body));
                candidate.records += 1;
            }
        }
    }

    /// Forgets attempts that are over because of something in clear, and the alerts they would send: the true client would take
    /// one for the answer to its own hello.
    fn bury(&mut self) {
        self.candidates.retain(|c| !c.is_over());
    }
}

impl DtlsEngine for Listener {
    fn handle_datagram(&mut self, now: Time, datagram: &[u8]) -> bool {
        match &mut self.state {
            State::Decided(association) => association.handle_datagram(now, datagram),
            State::Handshaking(_) if datagram.len() <= INBOUND_BYTES_MAX => {
                let taken = self.take(now, datagram);
                taken && !matches!(self.status(), DtlsStatus::FingerprintMismatch | DtlsStatus::Failed)
            }
            State::Handshaking(_) | State::Closed => false,
        }
    }

    fn poll_datagram(&mut self, out: &mut [u8]) -> Option<usize> {
        let datagram = match &mut self.state {
            State::Decided(association) => return association.poll_datagram(out),
            State::Handshaking(handshake) => {
                handshake.candidates.iter_mut().find_map(|c| c.association.pop())?
            }
            State::Closed => return None,
        };
        out.get_mut(..datagram.len())?.copy_from_slice(&datagram);
        Some(datagram.len())
    }

    fn poll_timeout(&self) -> Option<Time> {
        match &self.state {
            State::Decided(association) => association.poll_timeout(),
            State::Handshaking(handshake) => {
                handshake.candidates.iter().filter_map(|c| c.association.poll_timeout()).min()
            }
            State::Closed => None,
        }
    }

    fn handle_timeout(&mut self, now: Time) {
        match &mut self.state {
            State::Decided(association) => association.handle_timeout(now),
            State::Handshaking(handshake) => {
                handshake.candidates.iter_mut().for_each(|c| c.association.handle_timeout(now));
                handshake.bury();
            }
            State::Closed => {}
        }
    }

    fn status(&self) -> DtlsStatus {
        match &self.state {
            State::Decided(association) => association.status(),
            State::Handshaking(_) => DtlsStatus::Handshaking,
            State::Closed => DtlsStatus::Closed,
        }
    }

    fn take_summary(&mut self) -> Option<DtlsSummary> {
        match &mut self.state {
            State::Decided(association) => association.take_summary(),
            State::Handshaking(_) | State::Closed => None,
        }
    }

    fn take_restarts(&mut self) -> u32 {
        let restarts = self.attempts.begun.saturating_sub(1);
        self.attempts.begun = self.attempts.begun.min(1);
        restarts
    }

    fn close(&mut self) {
        match &mut self.state {
            State::Decided(association) => association.close(),
            state => *state = State::Closed,
        }
    }
}

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listener").field("status", &self.status()).finish_non_exhaustive()
    }
}
