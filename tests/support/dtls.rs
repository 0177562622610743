//! A handshake of one round trip whose keys follow from the peer's fingerprint; or of two, at the end of
//! which the client has shown, as in the real one, that it reads what the server sends.

use crate::faults::point;
use relay_core::dtls::{DtlsEngine, DtlsFactory, DtlsStatus, DtlsSummary, Fingerprint, Fingerprints};
use relay_core::srtp::{KeyingMaterial, SrtpProfile};
use relay_core::time::Time;
use std::time::Duration;

/// First octet of a DTLS handshake record.
const HELLO: u8 = 22;
/// A record in clear: type, version, epoch 0. The fingerprint shown follows.
const CLEAR: [u8; 5] = [HELLO, 0xfe, 0xfd, 0, 0];
/// Begins the server's first answer; a number follows.
const ASK: [u8; 2] = [HELLO, 0xfd];
/// What the server answers at the end.
pub const DONE: &[u8] = &[HELLO, 0xfe];
/// The relay's certificate.
const RELAY: Fingerprint = [0xaa; 32];
/// Octets of the server's number.
const NUMBER_BYTES: usize = 8;

/// What a client sends to show its certificate.
#[must_use]
pub fn hello(fingerprint: &Fingerprint) -> Vec<u8> {
    [&CLEAR[..], fingerprint].concat()
}

/// Whether a datagram is the server's first answer, which asks for a number.
#[must_use]
pub fn asks(datagram: &[u8]) -> bool {
    datagram.strip_prefix(&ASK).is_some_and(|number| number.len() == NUMBER_BYTES)
}

/// What a client sends when it has read the server's first answer; `None` if this is none.
#[must_use]
pub fn finish(fingerprint: &Fingerprint, answer: &[u8]) -> Option<Vec<u8>> {
    asks(answer).then(|| [&hello(fingerprint)[..], &answer[ASK.len()..]].concat())
}

/// Keys of the association with a peer, seen from the relay.
#[must_use]
pub fn keys(fingerprint: &Fingerprint, profile: SrtpProfile) -> KeyingMaterial {
    let octets = |salt: u8, len: usize| (0..len).map(|i| fingerprint[i % 32] ^ salt ^ i as u8).collect();
    KeyingMaterial {
        profile,
        local_key: octets(1, profile.key_len()),
        local_salt: octets(2, profile.salt_len()),
        remote_key: octets(3, profile.key_len()),
        remote_salt: octets(4, profile.salt_len()),
    }
}

/// Makes engines with one SRTP profile.
#[derive(Debug)]
pub struct Factory(pub SrtpProfile);

/// The same for handshakes of two round trips.
#[derive(Debug)]
pub struct CarefulFactory(pub SrtpProfile);

impl DtlsFactory for CarefulFactory {
    fn accept(&mut self, now: Time, peer: Fingerprints) -> Box<dyn DtlsEngine> {
        point();
        let mixed = now.as_nanos().wrapping_mul(0x9e37_79b9_7f4a_7c15)
            ^ peer.iter().fold(0, |sum, one| sum ^ u64::from(one[3]));
        Box::new(Engine { number: Some(mixed.to_be_bytes()), ..Engine::new(self.0, peer) })
    }

    fn connect(&mut self, now: Time, peer: Fingerprints) -> Box<dyn DtlsEngine> {
        point();
        Box::new(Engine::beginning(now, self.0, peer))
    }

    fn may_begin(&self, datagram: &[u8]) -> bool {
        datagram.starts_with(&CLEAR)
    }

    fn fingerprint(&self) -> Fingerprint {
        RELAY
    }
}

impl DtlsFactory for Factory {
    fn accept(&mut self, _: Time, peer: Fingerprints) -> Box<dyn DtlsEngine> {
        point();
        Box::new(Engine::new(self.0, peer))
    }

    fn connect(&mut self, now: Time, peer: Fingerprints) -> Box<dyn DtlsEngine> {
        point();
        Box::new(Engine::beginning(now, self.0, peer))
    }

    fn may_begin(&self, datagram: &[u8]) -> bool {
        datagram.starts_with(&CLEAR)
    }

    fn fingerprint(&self) -> Fingerprint {
        RELAY
    }
}

#[derive(Debug)]
struct Engine {
    profile: SrtpProfile,
    peer: Fingerprints,
    /// The number that the client must send back.
    number: Option<[u8; NUMBER_BYTES]>,
    /// When the hello goes again, if the relay begins.
    repeat_at: Option<Time>,
    status: DtlsStatus,
    answer: Vec<u8>,
    summary: Option<DtlsSummary>,
}

impl Engine {
    fn new(profile: SrtpProfile, peer: Fingerprints) -> Self {
        let (status, answer, summary) = (DtlsStatus::Handshaking, Vec::new(), None);
        Self { profile, peer, number: None, repeat_at: None, status, answer, summary }
    }

    /// The client's: its hello waits to be sent, and the peer answers it with its own.
    fn beginning(now: Time, profile: SrtpProfile, peer: Fingerprints) -> Self {
        Self { repeat_at: Some(now + REPEAT), answer: hello(&RELAY), ..Self::new(profile, peer) }
    }
}

impl DtlsEngine for Engine {
    fn handle_datagram(&mut self, _: Time, datagram: &[u8]) -> bool {
        point();
        let Some(rest) = datagram.strip_prefix(&CLEAR) else { return false };
        let Some((shown, number)) = rest.split_first_chunk() else { return false };
        match self.number {
            Some(asked) if number.is_empty() => {
                self.answer = [&ASK[..], &asked].concat();
                return true;
            }
            asked if number != asked.as_ref().map_or(&[][..], |asked| asked) => return false,
            _ => {}
        }
        if !self.peer.has(shown) {
            self.status = DtlsStatus::FingerprintMismatch;
            return true;
        }
        self.answer = DONE.to_vec();
        if matches!(self.status, DtlsStatus::Handshaking) {
            self.status = DtlsStatus::Connected;
            self.repeat_at = None;
            let keys = keys(shown, self.profile);
            self.summary = Some(DtlsSummary { keys, version: "simulated", group: "none" });
        }
        true
    }

    fn is_plausible(&self, datagram: &[u8]) -> bool {
        datagram.starts_with(&CLEAR)
    }

    fn poll_datagram(&mut self, out: &mut [u8]) -> Option<usize> {
        point();
        let answer = std::mem::take(&mut self.answer);
        out[..answer.len()].copy_from_slice(&answer);
        (!answer.is_empty()).then_some(answer.len())
    }

    fn poll_timeout(&self) -> Option<Time> {
        self.repeat_at
    }

    fn handle_timeout(&mut self, now: Time) {
        if self.repeat_at.is_some_and(|at| now >= at) {
            self.answer = hello(&RELAY);
            self.repeat_at = Some(now + REPEAT);
        }
    }

    fn status(&self) -> DtlsStatus {
        point();
        self.status.clone()
    }

    fn take_summary(&mut self) -> Option<DtlsSummary> {
        point();
        self.summary.take()
    }

    fn close(&mut self) {}
}

/// Time after which a client repeats its hello.
const REPEAT: Duration = Duration::from_millis(100);

/// The client's end.
#[derive(Debug)]
pub struct ClientEngine {
    fingerprint: Fingerprint,
    profile: SrtpProfile,
    out: Vec<Vec<u8>>,
    repeat_at: Time,
    is_done: bool,
}

impl ClientEngine {
    /// Its hello waits to be sent.
    #[must_use]
    pub fn new(now: Time, fingerprint: Fingerprint, profile: SrtpProfile) -> Self {
        let out = vec![hello(&fingerprint)];
        Self { fingerprint, profile, out, repeat_at: now + REPEAT, is_done: false }
    }

    /// Of a peer that is the passive side: it says nothing before the relay's hello.
    #[must_use]
    pub fn waiting(fingerprint: Fingerprint, profile: SrtpProfile) -> Self {
        Self { fingerprint, profile, out: Vec::new(), repeat_at: Time::MAX, is_done: false }
    }
}

impl DtlsEngine for ClientEngine {
    fn handle_datagram(&mut self, now: Time, datagram: &[u8]) -> bool {
        if datagram.starts_with(&CLEAR) {
            assert_eq!(datagram, hello(&RELAY));
            self.handle_timeout(now);
            return true;
        }
        match finish(&self.fingerprint, datagram) {
            Some(finish) if !self.is_done => self.out.push(finish),
            Some(_) => {}
            None => {
                assert_eq!(datagram, DONE);
                self.is_done = true;
            }
        }
        true
    }

    fn poll_datagram(&mut self, out: &mut [u8]) -> Option<usize> {
        let datagram = self.out.pop()?;
        out[..datagram.len()].copy_from_slice(&datagram);
        Some(datagram.len())
    }

    fn poll_timeout(&self) -> Option<Time> {
        (!self.is_done).then_some(self.repeat_at)
    }

    fn handle_timeout(&mut self, now: Time) {
        self.out.push(hello(&self.fingerprint));
        self.repeat_at = now + REPEAT;
    }

    fn status(&self) -> DtlsStatus {
        if self.is_done { DtlsStatus::Connected } else { DtlsStatus::Handshaking }
    }

    fn take_summary(&mut self) -> Option<DtlsSummary> {
        // The relay's local keys are the client's remote ones.
        let mut keys = keys(&self.fingerprint, self.profile);
        let KeyingMaterial { local_key, local_salt, remote_key, remote_salt, .. } = &mut keys;
        std::mem::swap(local_key, remote_key);
        std::mem::swap(local_salt, remote_salt);
        Some(DtlsSummary { keys, version: "simulated", group: "none" })
    }

    fn close(&mut self) {}
}
