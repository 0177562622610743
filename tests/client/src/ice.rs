//! A controlling ICE agent with one host candidate towards one address (RFC 8445): checks out, answers to the
//! peer's.
//!
//! The peer may be ICE-lite, as the relay is, or a full agent. One that made the offer believes that it
//! controls; it is told otherwise by the rules for such conflicts, so that we nominate whoever the peer is.

use crate::Fault;
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
/// Bad Request (RFC 8489 §14.8).
const BAD_REQUEST: u16 = 400;
/// Octets of the longest message that is written here.
const MESSAGE_BYTES_MAX: usize = 640;

/// The ICE credentials of one side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    pub ufrag: String,
    pub pwd: String,
}

impl Credentials {
    /// From a ufrag and a password.
    #[must_use]
    pub fn new(ufrag: &str, pwd: &str) -> Self {
        Self { ufrag: ufrag.to_owned(), pwd: pwd.to_owned() }
    }

    /// From random octets (RFC 8445 §5.3 wants at least 24 and 128 bits).
    #[must_use]
    pub fn from_octets(octets: [u8; 20]) -> Self {
        let text: String = octets.iter().map(|octet| format!("{octet:02x}")).collect();
        let (ufrag, pwd) = text.split_at(8);
        Self::new(ufrag, pwd)
    }
}

/// What a received STUN message was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StunOutcome {
    /// The peer answered a check of ours, and saw it come from this address.
    Answered(SocketAddr),
    /// The peer checks; this is the answer.
    Reply(Vec<u8>),
}

pub struct Agent {
    own_ufrag: String,
    peer_ufrag: String,
    remote_key: IntegrityKey,
    local_key: IntegrityKey,
    remote: SocketAddr,
    /// Last octets of each transaction id, from the first name, so that no two agents of a test share one; a
    /// running number stands in front.
    id_tail: [u8; 4],
    /// Number of the last check.
    checks: u64,
}

impl Agent {
    /// Towards a peer at `remote`.
    #[must_use]
    pub fn new(own: &Credentials, peer: &Credentials, remote: SocketAddr) -> Self {
        Self {
            own_ufrag: own.ufrag.clone(),
            peer_ufrag: peer.ufrag.clone(),
            remote_key: IntegrityKey::new(peer.pwd.as_bytes()),
            local_key: IntegrityKey::new(own.pwd.as_bytes()),
            remote,
            id_tail: own.ufrag.as_bytes().last_chunk().copied().unwrap_or_default(),
            checks: 0,
        }
    }

    /// Goes on under new names and secrets (RFC 8445 §9). Answers to older checks are not signed as it wants
    /// any more.
    pub fn restart(&mut self, own: &Credentials, peer: &Credentials) {
        *self = Self { checks: self.checks, id_tail: self.id_tail, ..Self::new(own, peer, self.remote) };
    }

    /// A check that keeps consent (RFC 7675) and may nominate (RFC 8445 §8.1.1).
    ///
    /// # Panics
    /// If the names are longer than signaling allows.
    #[must_use]
    pub fn check(&mut self, nominates: bool) -> Vec<u8> {
        self.check_as(&self.own_ufrag.clone(), nominates)
    }

    /// The same under another name of our own.
    ///
    /// # Panics
    /// As [`check`](Self::check).
    #[must_use]
    pub fn check_as(&mut self, own_ufrag: &str, nominates: bool) -> Vec<u8> {
        self.checks += 1;
        let (id, username) = (self.transaction(self.checks), format!("{}:{own_ufrag}", self.peer_ufrag));
        let (name, key) = (username.as_bytes(), &self.remote_key);
        write(|out| write_binding_request(out, id, name, PRIORITY, TIE_BREAKER, nominates, key))
    }

    /// Takes a STUN message.
    ///
    /// # Errors
    /// [`Fault`] if it is none, not signed by the peer, or no answer to a check of ours.
    pub fn handle(&self, bytes: &[u8]) -> Result<StunOutcome, Fault> {
        let message = StunMessage::parse(bytes).map_err(Fault::Malformed)?;
        let id = message.transaction_id();
        match message.class() {
            StunClass::Success => {
                if !message.verify_integrity(&self.remote_key) {
                    return Err(Fault::Unsigned);
                }
                if !self.is_ours(id) {
                    return Err(Fault::Unasked);
                }
                message.mapped_address().map(StunOutcome::Answered).ok_or(Fault::NoAddress)
            }
            StunClass::Request if message.username() != Some(self.expected_name().as_bytes()) => {
                Err(Fault::Misnamed)
            }
            StunClass::Request if message.verify_integrity(&self.local_key) => {
                let key = &self.local_key;
                if message.ice_controlling().is_some() {
                    let reply = write(|out| write_binding_error(out, id, ROLE_CONFLICT, &[], Some(key)));
                    return Ok(StunOutcome::Reply(reply));
                }
                // As libjuice: who names no role, or 0 as its tie breaker, is no agent.
                if message.ice_controlled().unwrap_or(0) == 0 {
                    let reply = write(|out| write_binding_error(out, id, BAD_REQUEST, &[], None));
                    return Ok(StunOutcome::Reply(reply));
                }
                if message.use_candidate() {
                    return Err(Fault::Nominates);
                }
                Ok(StunOutcome::Reply(write(|out| write_binding_success(out, id, self.remote, key))))
            }
            StunClass::Error => Err(Fault::Refused(message.error_code())),
            StunClass::Request | StunClass::Indication => Err(Fault::Unsigned),
        }
    }

    /// How the peer's checks must call us (RFC 8445 §7.2.2).
    fn expected_name(&self) -> String {
        format!("{}:{}", self.own_ufrag, self.peer_ufrag)
    }

    /// The id of the check with this number.
    fn transaction(&self, number: u64) -> [u8; 12] {
        let mut id = [0; 12];
        id[..8].copy_from_slice(&number.to_be_bytes());
        id[8..].copy_from_slice(&self.id_tail);
        id
    }

    /// Whether a check with this id was sent.
    fn is_ours(&self, id: [u8; 12]) -> bool {
        (1..=self.checks).contains(&number(id)) && id == self.transaction(number(id))
    }
}

impl std::fmt::Debug for Agent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Agent").field("remote", &self.remote).finish_non_exhaustive()
    }
}

/// The number of the check with this id.
fn number(id: [u8; 12]) -> u64 {
    id.first_chunk().map_or(0, |number| u64::from_be_bytes(*number))
}

/// A message, as `write` writes it.
fn write(write: impl FnOnce(&mut [u8]) -> Option<usize>) -> Vec<u8> {
    let mut out = vec![0; MESSAGE_BYTES_MAX];
    let len = write(&mut out).expect("a message fits");
    out.truncate(len);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remote() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 1))
    }

    fn pair() -> (Agent, Agent, Credentials) {
        let (own, other) = (Credentials::from_octets([1; 20]), Credentials::from_octets([2; 20]));
        (Agent::new(&own, &other, remote()), Agent::new(&other, &own, remote()), own)
    }

    #[test]
    fn a_peer_that_believes_to_control_is_told_otherwise() {
        let (agent, mut peer, own) = pair();
        // Both control, as everybody here does: a conflict.
        let Ok(StunOutcome::Reply(reply)) = agent.handle(&peer.check(true)) else { panic!("no reply") };
        let answer = StunMessage::parse(&reply).expect("an answer");
        assert_eq!((answer.class(), answer.error_code()), (StunClass::Error, Some(ROLE_CONFLICT)));
        assert!(answer.verify_integrity(&agent.local_key));
        assert_eq!(peer.handle(&reply), Err(Fault::Refused(Some(ROLE_CONFLICT))));
        // A check with another username gets no response.
        let wrong = Credentials::new(&own.ufrag, "another password, long enough");
        let mut stranger = Agent::new(&Credentials::from_octets([2; 20]), &wrong, remote());
        assert_eq!(agent.handle(&stranger.check(true)), Err(Fault::Unsigned));
        assert_eq!(agent.handle(&peer.check_as("else", true)), Err(Fault::Misnamed));
    }

    #[test]
    fn only_the_peers_answer_to_a_check_of_ours_counts() {
        let (mut agent, _, _) = pair();
        let seen = SocketAddr::from(([192, 0, 2, 1], 7));
        let other = IntegrityKey::new(b"another password, long enough");
        let answer =
            |id, signed_by: &IntegrityKey| write(|out| write_binding_success(out, id, seen, signed_by));
        assert_eq!(agent.handle(&answer(agent.transaction(1), &agent.remote_key)), Err(Fault::Unasked));
        let check = agent.check(true);
        let id = StunMessage::parse(&check).expect("a check").transaction_id();
        assert_eq!(agent.handle(&answer(id, &agent.remote_key)), Ok(StunOutcome::Answered(seen)));
        assert_eq!(agent.handle(&answer([7; 12], &agent.remote_key)), Err(Fault::Unasked));
        assert_eq!(agent.handle(&answer(id, &other)), Err(Fault::Unsigned));
        assert!(matches!(agent.handle(b"no STUN at all, though long enough"), Err(Fault::Malformed(_))));
    }
}
