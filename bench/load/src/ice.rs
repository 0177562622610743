//! A controlling ICE agent with one host candidate towards one address (RFC 8445): checks out, answers to the peer's.
//!
//! The peer may be ICE-lite, as the relay is, or a full agent. One that made the offer believes that it controls; it is
//! told otherwise by the rules for such conflicts, so that we nominate whoever the peer is.

use relay_core::wire::stun::{
    IntegrityKey, StunClass, StunMessage, write_binding_error, write_binding_request, write_binding_success,
};
use std::net::SocketAddr;

/// Priority of a host candidate's peer-reflexive twin (RFC 8445 §5.1.2.1, type preference 110).
const PRIORITY: u32 = (110 << 24) | (65_535 << 8) | 255;
/// A full agent that thinks it is controlling as well gives way to the larger number (RFC 8445 §7.3.1.1).
const TIE_BREAKER: u64 = u64::MAX;
/// "Role Conflict" (RFC 8445 §7.3.1.1).
const ROLE_CONFLICT: u16 = 487;

/// A client's own name and secret.
#[derive(Clone, Debug, PartialEq, Eq)]
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
                let reply = if message.ice_controlling().is_some() {
                    write_binding_error(out, id, ROLE_CONFLICT, &[], Some(&self.local_key))
                } else {
                    write_binding_success(out, id, self.remote, &self.local_key)
                };
                reply.map_or(StunOutcome::Ignored, StunOutcome::Reply)
            }
            _ => StunOutcome::Ignored,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_that_believes_to_control_is_told_otherwise() {
        let (own, other) = (Credentials::random(), Credentials::random());
        let remote = "127.0.0.1:1".parse().expect("an address");
        let mut agent = Agent::new(&own, &other.ufrag, &other.pwd, remote);
        let mut peer = Agent::new(&other, &own.ufrag, &own.pwd, remote);
        let (mut check, mut reply) = ([0; 400], [0; 400]);
        // Both control, as everybody here does: a conflict.
        let len = peer.check(&mut check).expect("a check");
        let StunOutcome::Reply(len) = agent.handle(&check[..len], &mut reply) else { panic!("no reply") };
        let answer = StunMessage::parse(&reply[..len]).expect("an answer");
        assert_eq!((answer.class(), answer.error_code()), (StunClass::Error, Some(ROLE_CONFLICT)));
        assert!(answer.verify_integrity(&agent.local_key));
        assert_eq!(peer.handle(&reply[..len], &mut check), StunOutcome::Ignored);
        // A stranger gets no answer.
        let mut stranger = Agent::new(&other, &own.ufrag, "another password, long enough", remote);
        let len = stranger.check(&mut check).expect("a check");
        assert_eq!(agent.handle(&check[..len], &mut reply), StunOutcome::Ignored);
    }
}
