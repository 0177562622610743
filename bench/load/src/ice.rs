//! A controlling ICE agent with one host candidate towards one address (RFC 8445): checks out, answers to the peer's.

use relay_core::wire::stun::{
    IntegrityKey, StunClass, StunMessage, write_binding_request, write_binding_success,
};
use std::net::SocketAddr;

/// Priority of a host candidate's peer-reflexive twin (RFC 8445 §5.1.2.1, type preference 110).
const PRIORITY: u32 = (110 << 24) | (65_535 << 8) | 255;
/// A full agent that thinks it is controlling as well gives way to the larger number (RFC 8445 §7.3.1.1).
const TIE_BREAKER: u64 = u64::MAX;

/// A client's own name and secret.
#[derive(Clone, Debug)]
pub(crate) struct Credentials {
    pub(crate) ufrag: String,
    pub(crate) pwd: String,
}

impl Credentials {
    /// Random ones (RFC 8445 §5.3: at least 24 and 128 bits).
    pub(crate) fn random() -> Self {
        let mut octets = [0; 20];
        getrandom::fill(&mut octets).expect("the system has randomness");
        let text: String = octets.iter().map(|octet| format!("{octet:02x}")).collect();
        let (ufrag, pwd) = text.split_at(8);
        Self { ufrag: ufrag.to_owned(), pwd: pwd.to_owned() }
    }
}

/// What a STUN message meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StunOutcome {
    /// The peer answered our check.
    Answered,
    /// Octets of the answer that now stand in the buffer.
    Reply(usize),
    Ignored,
}

/// See the module.
pub(crate) struct Agent {
    username: Vec<u8>,
    remote_key: IntegrityKey,
    local_key: IntegrityKey,
    remote: SocketAddr,
    /// Running number, the upper part of each transaction id.
    transaction: u64,
}

impl Agent {
    pub(crate) fn new(own: &Credentials, ufrag: &str, pwd: &str, remote: SocketAddr) -> Self {
        Self {
            username: format!("{ufrag}:{}", own.ufrag).into_bytes(),
            remote_key: IntegrityKey::new(pwd.as_bytes()),
            local_key: IntegrityKey::new(own.pwd.as_bytes()),
            remote,
            transaction: 0,
        }
    }

    /// Writes a check that nominates (RFC 8445 §8.1.1) and keeps consent (RFC 7675).
    pub(crate) fn check(&mut self, out: &mut [u8]) -> Option<usize> {
        self.transaction += 1;
        let mut id = [0x52; 12];
        id[..8].copy_from_slice(&self.transaction.to_be_bytes());
        write_binding_request(out, id, &self.username, PRIORITY, TIE_BREAKER, true, &self.remote_key)
    }

    /// Takes a STUN message; an answer is written into `out`.
    pub(crate) fn handle(&mut self, bytes: &[u8], out: &mut [u8]) -> StunOutcome {
        let Ok(message) = StunMessage::parse(bytes) else { return StunOutcome::Ignored };
        match message.class() {
            StunClass::Success if message.verify_integrity(&self.remote_key) => StunOutcome::Answered,
            StunClass::Request if message.verify_integrity(&self.local_key) => {
                let id = message.transaction_id();
                write_binding_success(out, id, self.remote, &self.local_key)
                    .map_or(StunOutcome::Ignored, StunOutcome::Reply)
            }
            _ => StunOutcome::Ignored,
        }
    }
}
