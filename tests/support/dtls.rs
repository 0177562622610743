//! A handshake of one round trip whose keys follow from the peer's fingerprint.

use crate::faults::point;
use relay_core::dtls::{DtlsEngine, DtlsFactory, DtlsStatus, DtlsSummary, Fingerprint};
use relay_core::srtp::{KeyingMaterial, SrtpProfile};
use relay_core::time::Time;

/// First octet of a DTLS handshake record; the fingerprint shown follows.
const HELLO: u8 = 22;
/// What the server answers.
pub const DONE: &[u8] = &[HELLO, 0xfe];

/// What a client sends to show its certificate.
#[must_use]
pub fn hello(fingerprint: &Fingerprint) -> Vec<u8> {
    [&[HELLO][..], fingerprint].concat()
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

impl DtlsFactory for Factory {
    fn accept(&mut self, _: Time, peer: Fingerprint) -> Box<dyn DtlsEngine> {
        point();
        Box::new(Engine {
            profile: self.0,
            peer,
            status: DtlsStatus::Handshaking,
            answer: false,
            summary: None,
        })
    }

    fn fingerprint(&self) -> Fingerprint {
        [0xaa; 32]
    }
}

#[derive(Debug)]
struct Engine {
    profile: SrtpProfile,
    peer: Fingerprint,
    status: DtlsStatus,
    answer: bool,
    summary: Option<DtlsSummary>,
}

impl DtlsEngine for Engine {
    fn handle_datagram(&mut self, _: Time, datagram: &[u8]) -> bool {
        point();
        let Some((&HELLO, shown)) = datagram.split_first() else { return false };
        if shown.len() != self.peer.len() {
            return false;
        }
        if shown != self.peer {
            self.status = DtlsStatus::FingerprintMismatch;
            return true;
        }
        self.answer = true;
        if matches!(self.status, DtlsStatus::Handshaking) {
            self.status = DtlsStatus::Connected;
            let keys = keys(&self.peer, self.profile);
            self.summary = Some(DtlsSummary { keys, version: "simulated", group: "none" });
        }
        true
    }

    fn poll_datagram(&mut self, out: &mut [u8]) -> Option<usize> {
        point();
        std::mem::take(&mut self.answer).then(|| {
            out[..DONE.len()].copy_from_slice(DONE);
            DONE.len()
        })
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
