//! The server's end until it is known who the client is.
//!
//! Before the client has shown keys, anybody who can write its address can write what a client writes in
//! clear. So a message that is no good ends the attempt that it belongs to and nothing else:
//! - Messages are put together here ([`crate::assembly`]); BoringSSL sees whole ones only, under our record
//!   numbers.
//! - Each ClientHello that differs begins an [`Association`] of its own, [`CANDIDATES_MAX`] at a time. A
//!   protected record is shown to all of them; the first that ends its handshake is the one, the others are
//!   forgotten.
//! - A hello that nobody could answer costs nothing ([`crate::hello`]). Where more are good than may be
//!   begun, the next one is chosen at random ([`crate::admission`]).
//! - The hello that answers a HelloRetryRequest is one of several as well: each that differs has an attempt
//!   of its own.
//! - While there are several attempts, an answer is sent again when its hello is, and not by a timer: a
//!   client that still waits for its own would take another's for it.
//! - The rest of a DTLS 1.2 client's flight, also in clear, is shown to BoringSSL only if it is signed over
//!   what *we* sent ([`crate::signature`]).
//! - What ends an association after that was sent by who has its keys, and counts.
//!
//! What nobody finishes, the driver's time limit ends.
//!
//! What remains possible: BoringSSL's servers have no cookies (RFC 6347 §4.2.1, RFC 9147 §5.1), so nothing
//! tells a client's hello from a good one that is forged before the handshake ends. What we answer to that
//! one goes to the client as well, and a client that waits for its answer takes the first for it, and fails.
//! Hellos that have no answer, but look as if they had, leave the client's the probability of 32 in R to be
//! drawn, where R come a second.

use crate::MESSAGE_BYTES_MAX;
use crate::admission::{Reservoir, TokenBucket};
use crate::assembly::{Assembly, Message, clear_record};
use crate::association::{Association, INBOUND_BYTES_MAX};
use crate::hello::{CLIENT_HELLO, is_for_us};
use crate::records::{self, Accept, Part};
use crate::signature;
use boring::ssl::SslContext;
use relay_core::dtls::{DtlsEngine, DtlsStatus, DtlsSummary, Fingerprints};
use relay_core::time::Time;
use std::time::Duration;

/// Attempts that go on beside each other, about 10 KB each. Where there are more, one has the place of the
/// oldest.
pub(crate) const CANDIDATES_MAX: usize = 8;
/// An attempt is not given up for another before: a client that has our flight already can end no other one.
/// More than a round trip, so hellos that are forged behind a client's do it no harm.
const ATTEMPT_LIFE_MIN: Duration = Duration::from_millis(500);
/// Time between two replacements, so that places become free one by one and each goes to a random hello.
const REPLACEMENT_INTERVAL: Duration = Duration::from_millis(62);
/// Attempts that may be begun at once, each 150 us of work, and the time after which one more may. Signed
/// flights are paid for apart, at the same rate, one for each signature that is looked at.
const ATTEMPTS_AT_ONCE: u32 = 8;
const ATTEMPT_INTERVAL: Duration = Duration::from_millis(31);
/// The same for signatures by a certificate that is not the announced one, with keys of any kind, of which
/// one costs up to 2 ms. They only tell a peer with another certificate that it is refused.
const UNANNOUNCED_AT_ONCE: u32 = 8;
const UNANNOUNCED_INTERVAL: Duration = Duration::from_secs(1);
/// Times that a flight is sent again because its hello was: BoringSSL gives up after 12, and its timers have
/// some of them.
const REPETITIONS_MAX: u8 = 4;

/// A signed flight may be of any attempt, and is looked at for each.
const _: () =
    assert!(ATTEMPTS_AT_ONCE as usize >= CANDIDATES_MAX && UNANNOUNCED_AT_ONCE as usize >= CANDIDATES_MAX);
/// Who may be given up is, before the next one may.
const _: () =
    assert!(REPLACEMENT_INTERVAL.as_millis() * CANDIDATES_MAX as u128 <= ATTEMPT_LIFE_MIN.as_millis());

/// Handshake messages of a client beside its hello (RFC 5246 §7.4).
const CERTIFICATE: u8 = 11;
const CERTIFICATE_VERIFY: u8 = 15;
const CLIENT_KEY_EXCHANGE: u8 = 16;
/// Content type and body of ChangeCipherSpec.
const CHANGE_CIPHER_SPEC: (u8, &[u8]) = (20, &[1]);

/// The server's end of one handshake, then the association that came of it.
pub struct Listener {
    context: SslContext,
    peer: Fingerprints,
    state: State,
    attempts: TokenBucket,
    /// Bounds the verification of signatures by the announced certificate.
    verifications: TokenBucket,
    /// The same of certificates that are not announced.
    unannounced: TokenBucket,
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
    /// When an attempt was last replaced by another.
    replaced: Option<Time>,
    draw: Reservoir,
    /// A protected record came: the client is beyond its hello.
    received_protected: bool,
    /// Last ones of the messages that a DTLS 1.2 client sends in clear.
    certificate: Option<Message>,
    key_exchange: Option<Message>,
    verify: Option<Message>,
}

/// One attempted handshake, for one ClientHello.
struct Candidate {
    hello: Message,
    /// The ClientHello that answered our HelloRetryRequest.
    second: Option<Message>,
    association: Association,
    since: Time,
    /// Unprotected records fed to BoringSSL so far.
    records: u64,
    repetitions: u8,
}

impl Candidate {
    fn new(now: Time, association: Association, hello: Message) -> Self {
        let mut candidate = Self { hello, second: None, association, since: now, records: 0, repetitions: 0 };
        let hello = candidate.hello.clone();
        candidate.give(now, &hello);
        candidate
    }

    fn give(&mut self, now: Time, message: &Message) {
        self.association.feed(now, &message.record(self.records));
        self.records += 1;
    }

    fn give_second(&mut self, now: Time, hello: &Message) {
        self.give(now, hello);
        self.second = Some(hello.clone());
    }

    /// Its hello came again, so its answer goes again.
    fn repeat(&mut self, now: Time) {
        if self.repetitions < REPETITIONS_MAX {
            self.repetitions += 1;
            self.association.repeat_flight(now);
        }
    }

    /// The client's choice of 32 octets (RFC 8446 §4.1.2), the same in a second hello.
    fn random(&self) -> Option<&[u8]> {
        random(&self.hello)
    }

    /// Whether its hello was answered with a HelloRetryRequest. One of DTLS 1.2 that was answered has no
    /// second one: whoever sends it overheard the first.
    fn was_asked_again(&self) -> bool {
        let is_answered = self.association.has_sent_unified() || self.association.flight().is_some();
        self.second.is_some() || !is_answered
    }

    fn is_over(&self) -> bool {
        matches!(self.association.status(), DtlsStatus::Failed | DtlsStatus::FingerprintMismatch)
    }
}

/// A cryptographically random number.
fn random_u32() -> u32 {
    let mut octets = [0; 4];
    boring::rand::rand_bytes(&mut octets).expect("random numbers");
    u32::from_ne_bytes(octets)
}

fn random(hello: &Message) -> Option<&[u8]> {
    hello.body.get(2..34)
}

impl Listener {
    /// The server's end, for a client whose certificate has one of these fingerprints.
    #[must_use]
    pub fn new(context: SslContext, now: Time, peer: Fingerprints) -> Self {
        let attempts = || TokenBucket::new(now, ATTEMPTS_AT_ONCE, ATTEMPT_INTERVAL);
        Self {
            context,
            peer,
            state: State::Handshaking(Box::default()),
            attempts: attempts(),
            verifications: attempts(),
            unannounced: TokenBucket::new(now, UNANNOUNCED_AT_ONCE, UNANNOUNCED_INTERVAL),
        }
    }

    /// Shows each part of a datagram to whom it concerns; whether there was one.
    fn take(&mut self, now: Time, datagram: &[u8]) -> bool {
        let mut admitted = Vec::new();
        records::admit(datagram, Accept::Handshake, MESSAGE_BYTES_MAX, &mut admitted);
        let (mut protected, mut taken) = (Vec::new(), false);
        for part in records::parts(&admitted) {
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
            handshake.received_protected = true;
            handshake.candidates.iter_mut().for_each(|c| c.association.feed(now, &protected));
            self.decide();
        }
        taken || !protected.is_empty()
    }

    fn take_message(&mut self, now: Time, message: Message) {
        let State::Handshaking(handshake) = &mut self.state else { return };
        match message.kind {
            CLIENT_HELLO if message.seq == 0 => self.take_hello(now, message),
            CLIENT_HELLO if message.seq == 1 => self.second_hello(now, message),
            CLIENT_HELLO => {}
            kind => {
                let peer = &self.peer;
                match kind {
                    CERTIFICATE => handshake.take_certificate(message, peer),
                    CLIENT_KEY_EXCHANGE => handshake.key_exchange = Some(message),
                    CERTIFICATE_VERIFY => handshake.verify = Some(message),
                    _ => return,
                }
                if handshake.has_whole_flight() {
                    let is_announced = handshake.has_announced(peer);
                    let paid = if is_announced { &mut self.verifications } else { &mut self.unannounced };
                    handshake.show_signed_flight(now, paid);
                    self.decide();
                }
            }
        }
    }

    /// A hello that differs from all before begins an attempt, or is a candidate for the next one.
    fn take_hello(&mut self, now: Time, hello: Message) {
        let Self { context, peer, state: State::Handshaking(handshake), attempts, .. } = self else { return };
        if handshake.knows(now, |known| known.hello == hello) || !is_for_us(&hello.body) {
            return;
        }
        let begin = |handshake: &mut Handshake, hello| {
            let association = Association::server(context, now, peer.clone());
            handshake.push(now, Candidate::new(now, association, hello));
        };
        // Who waits is the next.
        if !handshake.draw.is_empty() && handshake.has_room(now) && attempts.begin(now) {
            let drawn = handshake.draw.take();
            let was_this = drawn.as_ref() == Some(&hello);
            drawn.into_iter().for_each(|drawn| begin(handshake, drawn));
            if was_this {
                return;
            }
        }
        if handshake.draw.is_empty() && handshake.has_room(now) && attempts.begin(now) {
            begin(handshake, hello);
        } else {
            handshake.draw.put(hello, random_u32());
        }
    }

    /// The hello that answers our HelloRetryRequest goes to each first one that it may belong to.
    fn second_hello(&mut self, now: Time, hello: Message) {
        let State::Handshaking(handshake) = &mut self.state else { return };
        let mut firsts: Vec<Message> = Vec::new();
        for candidate in handshake.candidates.iter().filter(|c| c.was_asked_again()) {
            let is_of = candidate.random().is_some() && candidate.random() == random(&hello);
            if is_of && !firsts.contains(&candidate.hello) {
                firsts.push(candidate.hello.clone());
            }
        }
        for first in firsts {
            self.answer_retry(now, first, &hello);
        }
    }

    /// Gives a second hello to the attempt that waits for it, or, if another has gone there, to one of its
    /// own.
    fn answer_retry(&mut self, now: Time, first: Message, hello: &Message) {
        let Self { context, peer, state: State::Handshaking(handshake), attempts, .. } = self else { return };
        if handshake.knows(now, |c| c.hello == first && c.second.as_ref() == Some(hello)) {
            return;
        }
        let waits = |c: &Candidate| c.hello == first && c.second.is_none();
        let at = handshake.candidates.iter().position(waits);
        if !(at.is_some() || handshake.has_room(now)) || !attempts.begin(now) {
            return;
        }
        let fresh = || {
            let mut candidate = Candidate::new(now, Association::server(context, now, peer.clone()), first);
            // The client has this answer.
            while candidate.association.pop().is_some() {}
            candidate
        };
        if let Some(candidate) = at.and_then(|at| handshake.candidates.get_mut(at)) {
            candidate.give_second(now, hello);
            if candidate.is_over() {
                *candidate = Candidate { since: candidate.since, ..fresh() };
            }
        } else {
            let mut candidate = fresh();
            candidate.give_second(now, hello);
            handshake.push(now, candidate);
        }
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
        let is_due = self.replaced.is_none_or(|at| now.since(at) >= REPLACEMENT_INTERVAL);
        oldest.is_none_or(|oldest| is_due && now.since(oldest.since) >= ATTEMPT_LIFE_MIN)
    }

    fn push(&mut self, now: Time, candidate: Candidate) {
        if self.candidates.len() == CANDIDATES_MAX {
            self.candidates.remove(0);
            self.replaced = Some(now);
        }
        self.candidates.push(candidate);
        self.remove_failed();
    }

    /// Whether there is an attempt of a hello that came again. It is answered again if there are others; else
    /// a timer sees to it.
    fn knows(&mut self, now: Time, is_it: impl Fn(&Candidate) -> bool) -> bool {
        let is_alone = self.candidates.len() == 1;
        let mut is_known = false;
        for known in self.candidates.iter_mut().filter(|c| is_it(c)) {
            is_known = true;
            if !is_alone {
                known.repeat(now);
            }
        }
        self.remove_failed();
        is_known
    }

    /// Whether flights are sent again by timers.
    fn has_timers(&self) -> bool {
        self.received_protected || self.candidates.len() == 1
    }

    /// The announced certificate is not replaced by another.
    fn take_certificate(&mut self, message: Message, peer: &Fingerprints) {
        if !self.has_announced(peer) || signature::shows(&message, peer) {
            self.certificate = Some(message);
        }
    }

    fn has_announced(&self, peer: &Fingerprints) -> bool {
        self.certificate.as_ref().is_some_and(|certificate| signature::shows(certificate, peer))
    }

    /// Whether an attempt is one of DTLS 1.2, in which a client has more to say in clear.
    fn awaits_flight(&self) -> bool {
        self.candidates.iter().any(|c| c.association.flight().is_some())
    }

    fn has_whole_flight(&self) -> bool {
        self.certificate.is_some() && self.key_exchange.is_some() && self.verify.is_some()
    }

    /// Shows the flight to the attempt whose messages it signs.
    fn show_signed_flight(&mut self, now: Time, verifications: &mut TokenBucket) {
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

    /// Forgets attempts that are over because of something in clear, and the alerts they would send: the true
    /// client would take one for the answer to its own hello.
    fn remove_failed(&mut self) {
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

    fn is_plausible(&self, datagram: &[u8]) -> bool {
        let accept = match &self.state {
            State::Handshaking(_) => Accept::Handshake,
            State::Decided(_) => Accept::ProtectedOnly,
            State::Closed => return false,
        };
        records::any_may_pass(datagram, accept, MESSAGE_BYTES_MAX)
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
            State::Handshaking(handshake) if handshake.has_timers() => {
                handshake.candidates.iter().filter_map(|c| c.association.poll_timeout()).min()
            }
            State::Handshaking(_) => None,
            State::Closed => None,
        }
    }

    fn handle_timeout(&mut self, now: Time) {
        match &mut self.state {
            State::Decided(association) => association.handle_timeout(now),
            State::Handshaking(handshake) if handshake.has_timers() => {
                handshake.candidates.iter_mut().for_each(|c| c.association.handle_timeout(now));
                handshake.remove_failed();
            }
            State::Handshaking(_) | State::Closed => {}
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
        self.attempts.take_restarts()
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
