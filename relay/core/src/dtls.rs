//! The DTLS engine as the core sees it: datagrams in, datagrams out, a timeout, and at the end keys.
//!
//! Invariants
//! - The relay is the DTLS server (`a=setup:passive`) unless the peer can only be that.
//! - The engine compares the SHA-256 of the peer's certificate with the announced fingerprints before it lets
//!   the handshake finish; keys of a peer that is not the announced one never leave the engine.
//! - An engine never sends to an address: whoever drives it gives its datagrams to a validated 5-tuple only.

use crate::srtp::KeyingMaterial;
use crate::time::Time;
use std::sync::Arc;

/// SHA-256 of a certificate in DER (RFC 8122).
pub type Fingerprint = [u8; 32];

/// What a peer announces of its certificate: one fingerprint, or several of which any is enough (RFC 8122
/// §5). They are few: who gives the command bounds them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprints(Announced);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Announced {
    /// Nearly always; it costs no allocation.
    One(Fingerprint),
    Several(Arc<[Fingerprint]>),
}

impl Fingerprints {
    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Fingerprint> {
        self.as_slice().iter()
    }

    /// Whether a certificate with this fingerprint is the peer's.
    pub fn has(&self, shown: &Fingerprint) -> bool {
        self.as_slice().contains(shown)
    }

    fn as_slice(&self) -> &[Fingerprint] {
        match &self.0 {
            Announced::One(one) => std::slice::from_ref(one),
            Announced::Several(all) => all,
        }
    }
}

impl From<Fingerprint> for Fingerprints {
    fn from(one: Fingerprint) -> Self {
        Self(Announced::One(one))
    }
}

impl FromIterator<Fingerprint> for Fingerprints {
    fn from_iter<I: IntoIterator<Item = Fingerprint>>(all: I) -> Self {
        let all: Vec<Fingerprint> = all.into_iter().collect();
        match all[..] {
            [one] => one.into(),
            _ => Self(Announced::Several(all.into())),
        }
    }
}

/// What an engine has come to.
#[derive(Clone, Debug)]
pub enum DtlsStatus {
    /// More datagrams or a timeout are needed.
    Handshaking,
    /// Finished; `take_keys` gives the keys once.
    Connected,
    /// The peer sent close_notify.
    Closed,
    /// The peer's certificate is not the announced one.
    FingerprintMismatch,
    /// Anything else that ends a handshake.
    Failed,
}

/// What a finished handshake agreed on.
#[derive(Clone, Debug)]
pub struct DtlsSummary {
    /// SRTP keys and profile.
    pub keys: KeyingMaterial,
    /// `DTLS 1.2` or `DTLS 1.3`.
    pub version: &'static str,
    /// Key-exchange group as IANA names it, for example `X25519MLKEM768`.
    pub group: &'static str,
}

/// The relay's end of an association (RFC 5763 §5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DtlsRole {
    /// The peer begins: `a=setup:passive` in our answer.
    #[default]
    Server,
    /// The relay begins: `a=setup:active` in our answer.
    Client,
}

/// One DTLS association, either end.
pub trait DtlsEngine: Send {
    /// Takes a datagram from the peer. A datagram that is no good is ignored by the engine (RFC 9147 §4.5.2);
    /// returns whether it was consumed without complaint.
    fn handle_datagram(&mut self, now: Time, datagram: &[u8]) -> bool;

    /// Writes the next datagram to send into `out` and returns its length, `None` when there is none.
    fn poll_datagram(&mut self, out: &mut [u8]) -> Option<usize>;

    /// Whether [`DtlsEngine::handle_datagram`] has a use for a datagram, as far as can be seen at no cost:
    /// anybody who can write the peer's address can send some, and none may take a place from the peer's.
    fn is_plausible(&self, _datagram: &[u8]) -> bool {
        true
    }

    /// When `handle_timeout` wants to be called.
    fn poll_timeout(&self) -> Option<Time>;

    /// Retransmits a flight whose timer ran out.
    fn handle_timeout(&mut self, now: Time);

    /// Where it stands.
    fn status(&self) -> DtlsStatus;

    /// The result of the handshake, once.
    fn take_summary(&mut self) -> Option<DtlsSummary>;

    /// Attempts begun since the last call, without the first: hellos that differ from those before, and
    /// flights that had to be looked at. Bounded in time by the engine.
    fn take_restarts(&mut self) -> u32 {
        0
    }

    /// Queues a close_notify.
    fn close(&mut self);
}

/// Makes engines that share one certificate.
pub trait DtlsFactory: Send {
    /// A new server-side engine that will accept only a peer whose certificate has one of these fingerprints.
    fn accept(&mut self, now: Time, peer: Fingerprints) -> Box<dyn DtlsEngine>;

    /// The same for a client, whose hello waits to be sent. It is a small one: what is not paid for may not
    /// go to a path that is not proven.
    fn connect(&mut self, now: Time, peer: Fingerprints) -> Box<dyn DtlsEngine>;

    /// As [`DtlsEngine::is_plausible`], of the first datagram for a new engine.
    fn may_begin(&self, _datagram: &[u8]) -> bool {
        true
    }

    /// Fingerprint of our own certificate.
    fn fingerprint(&self) -> Fingerprint;
}
