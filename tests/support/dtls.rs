//! A handshake of one round trip whose keys follow from the peer's fingerprint; or of two, at the end of which the client has
//! shown, as in the real one, that it reads what the server sends.

use crate::faults::point;
use relay_core::dtls::{DtlsEngine, DtlsFactory, DtlsStatus, DtlsSummary, Fingerprint};
use relay_core::srtp::{KeyingMaterial, SrtpProfile};
use relay_core::time::Time;

/// First octet of a DTLS handshake record.
const HELLO: u8 = 22;
/// A record in clear: type, version, epoch 0. The fingerprint shown follows.
const CLEAR: [u8; 5] = [HELLO, 0xfe, 0xfd, 0, 0];
/// Begins the server's first answer; a number follows.
const ASK: [u8; 2] = [HELLO, 0xfd];
/// What the server answers at the end.
pub const DONE: &[u8] = &[HELLO, 0xfe];
/// Octets of the server's number.
const NUMBER_BYTES: usize = 8;

/// What a client sends to show its certificate.
#[must_use]
pub fn hello(fingerprint: &Fingerprint) -> Vec<u8> {
    [&CLEAR[..], fingerprint].concat()
}

/// What a client sends when it has read the server's first answer; `None` if this is none.
#[must_use]
pub fn finish(fingerprint: &Fingerprint, answer: &[u8]) -> Option<Vec<u8>> {
    let number = answer.strip_prefix(&ASK).filter(|number| number.len() == NUMBER_BYTES)?;
    Some([&hello(fingerprint)[..], number].concat())
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

/// Makes engines of one profile.
#[derive(Debug)]
pub struct Factory(pub SrtpProfile);

/// The same for handshakes of two round trips.
#[derive(Debug)]
pub struct CarefulFactory(pub SrtpProfile);

impl DtlsFactory for CarefulFactory {
    fn accept(&mut self, now: Time, peer: Fingerprint) -> Box<dyn DtlsEngine> {
        point();
        let mixed = now.as_nanos().wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ u64::from(peer[3]);
        Box::new(Engine { number: Some(mixed.to_be_bytes()), ..Engine::new(self.0, peer) })
    }

    fn fingerprint(&self) -> Fingerprint {
        [0xaa; 32]
    }
}

impl DtlsFactory for Factory {
    fn accept(&mut self, _: Time, peer: Fingerprint) -> Box<dyn DtlsEngine> {
        point();
        Box::new(Engine::new(self.0, peer))
    }

    fn fingerprint(&self) -> Fingerprint {
        [0xaa; 32]
    }
}

#[derive(Debug)]
struct Engine {
    profile: SrtpProfile,
    peer: Fingerprint,
    /// What the client must have read.
    number: Option<[u8; NUMBER_BYTES]>,
    status: DtlsStatus,
    answer: Vec<u8>,
    summary: Option<DtlsSummary>,
}

impl Engine {
    fn new(profile: SrtpProfile, peer: Fingerprint) -> Self {
        let (status, answer, summary) = (DtlsStatus::Handshaking, Vec::new(), None);
        Self { profile, peer, number: None, status, answer, summary }
    }
}

impl DtlsEngine for Engine {
    fn handle_datagram(&mut self, _: Time, datagram: &[u8]) -> bool {
        point();
        let Some(rest) = datagram.strip_prefix(&CLEAR) else { return false };
        let Some((shown, number)) = rest.split_at_checked(self.peer.len()) else { return false };
        match self.number {
            Some(asked) if number.is_empty() => {
                self.answer = [&ASK[..], &asked].concat();
                return true;
            }
            asked if number != asked.as_ref().map_or(&[][..], |asked| asked) => return false,
            _ => {}
        }
        if shown != self.peer {
            self.status = DtlsStatus::FingerprintMismatch;
            return true;
        }
        self.answer = DONE.to_vec();
        if matches!(self.status, DtlsStatus::Handshaking) {
            self.status = DtlsStatus::Connected;
            let keys = keys(&self.peer, self.profile);
            self.summary = Some(DtlsSummary { keys, version: "simulated", group: "none" });
        }
        true
    }

    fn poll_datagram(&mut self, out: &mut [u8]) -> Option<usize> {
        point();
        let answer = std::mem::take(&mut self.answer);
        out[..answer.len()].copy_from_slice(&answer);
        (!answer.is_empty()).then_some(answer.len())
    }

    fn poll_timeout(&self) -> Option<Time> {
        None
    }

    fn handle_timeout(&mut self, _: Time) {}

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
