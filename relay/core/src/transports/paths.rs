//! Whose a path is, when more than one transport has checked along it, and how a peer proves that it is
//! there.
//!
//! A forged source address is cheap, so a check that is good for one transport says nothing about another's
//! path. The owner keeps a path while it is heard of ([`Ice::holds`](crate::ice::Ice::holds)). A claimant is
//! answered and asked to prove itself; it gets what the owner cannot use, sends to the path no more than it
//! paid for, and takes the path over with its proof.
//!
//! Claims are few ([`CLAIMANTS_MAX`](crate::demux::CLAIMANTS_MAX)), and whoever has transports of his own can
//! push an honest one out by forged checks. That costs it nothing: whom an answer to a challenge is of stands
//! in its transaction id, so it is found whether its transport is among the claimants or not, and nobody else
//! can give it, as it is signed with the peer's password. Were the newest claim refused instead of the oldest
//! dropped, three forged checks would keep everybody else out for good. What does depend on a place are peers
//! that answer no challenge and prove themselves by a handshake alone. Keys alone prove nothing where others
//! are as well: who has some of his own can forge a neighbour's address, behind the same NAT.

use super::Transports;
use crate::demux::CLAIMANTS_MAX;
use crate::ice::{CheckOutcome, MediaOutcome, TransactionId};
use crate::keys::TransportKey;
use crate::outbox::{Outbox, Path, Run};
use crate::rng::Rng;
use crate::stats::{Count, Counters, DropReason};
use crate::time::Time;
use crate::wire::stun::{self, IntegrityKey, StunMessage};
use arrayvec::ArrayVec;

/// PRIORITY of our own Binding requests (RFC 8445 §5.1.2.1): a peer-reflexive candidate's; nobody chooses by
/// it.
const PRIORITY: u32 = 110 << 24;

/// Of the transaction id of a challenge: what makes it impossible to guess. The rest says who is asked.
const CHALLENGE_SECRET_BYTES: usize = size_of::<TransactionId>() - size_of::<u32>();

impl Transports {
    /// A new check came along `path`: whose is it now?
    pub fn claim_path(&mut self, now: Time, key: TransportKey, path: &Path, counters: &mut Counters) {
        match self.demux.owner(path) {
            Some(owner) if owner == key => {}
            Some(owner) if self.table[owner].ice.holds(now, path) => {
                counters.add(Count::PathClaims, 1);
                self.demux.claim(*path, key);
            }
            _ => self.give_path(key, path, counters),
        }
    }

    fn give_path(&mut self, key: TransportKey, path: &Path, counters: &mut Counters) {
        if let Some(before) = self.demux.bind(*path, key) {
            counters.add(Count::PathTakeovers, 1);
            self.table[before].ice.forget(path);
        }
    }

    /// A packet of the peer of `key` came along `path`, which is its own. Whether it must be asked to show that
    /// it is there.
    #[inline]
    pub fn on_authentic(
        &mut self,
        now: Time,
        key: TransportKey,
        path: &Path,
        counters: &mut Counters,
    ) -> bool {
        let outcome = self.table[key].ice.on_authentic(now, path);
        if outcome == MediaOutcome::Moved {
            counters.add(Count::PathMoves, 1);
        }
        outcome == MediaOutcome::Asks
    }

    /// The same along a path that several claim: it stays its own if the peer has proved to be there.
    pub fn on_contested(&mut self, now: Time, key: TransportKey, path: &Path, counters: &mut Counters) {
        if self.table[key].ice.is_proven(path) {
            self.on_proof(now, key, path, counters);
        } else {
            self.table[key].ice.hear(now, path);
        }
    }

    /// The peer of `key` has read what was sent along `path`: that is its own now, and the others know it no
    /// more.
    pub fn on_proof(&mut self, now: Time, key: TransportKey, path: &Path, counters: &mut Counters) {
        if !self.table[key].ice.paths().any(|known| known == *path) {
            return;
        }
        for other in self.demux.claimants(path).into_iter().filter(|other| *other != key) {
            self.demux.unbind(path, other);
            self.table[other].ice.forget(path);
        }
        self.give_path(key, path, counters);
        if self.table[key].ice.on_proof(now, path) == CheckOutcome::Moved {
            counters.add(Count::PathMoves, 1);
        }
    }

    /// The transports whose engines get a datagram of DTLS that came along `path`, of which the first counts
    /// it.
    ///
    /// An owner with keys has no use for what is in clear, and cannot tell whose a protected record is. One
    /// that has no keys, but whose peer has shown that it is there or was just asked to, gets what is in
    /// clear alone: others' engines would answer, too, and the client cannot tell whose answer is its own.
    #[must_use]
    pub fn receivers_of_dtls(
        &self,
        now: Time,
        path: &Path,
        owner: TransportKey,
        is_clear: bool,
    ) -> ArrayVec<TransportKey, { CLAIMANTS_MAX + 1 }> {
        let mut receivers = ArrayVec::new();
        let claimants = self.claimants(path);
        let owner_has_keys = self.is_connected(owner);
        if claimants.is_empty() || !owner_has_keys || !is_clear {
            receivers.push(owner);
        }
        let owner_alone = is_clear && !owner_has_keys && self.table[owner].ice.is_believed(now, path);
        if !owner_alone {
            receivers.extend(claimants.into_iter().filter(|key| !self.is_connected(*key)));
        }
        receivers
    }

    /// Credits what came along `path` once, however many get it: to one whose handshake it may be. The owner
    /// comes before anybody who only says that he is there.
    pub fn earn(&mut self, path: &Path, owner: TransportKey, octets: usize) {
        let claimants = self.claimants(path);
        let mut in_turn = [owner].into_iter().chain(claimants.iter().rev().copied());
        let paid = in_turn.find(|key| !self.is_connected(*key)).unwrap_or(owner);
        self.table[paid].ice.earn(path, octets);
    }

    /// Asks the peer of `key` to show that it is at the other end of `path`: it alone gets the request, and
    /// it alone can sign the answer (RFC 8489 §9.1.3). A lite agent sends no checks to find a path (RFC 8445
    /// §2.5); this one only confirms what the peer itself has begun.
    pub fn challenge<O: Outbox>(
        &mut self,
        now: Time,
        key: TransportKey,
        path: &Path,
        rng: &mut Rng,
        counters: &mut Counters,
        outbox: &mut O,
    ) {
        let outstanding = self.table[key].ice.outstanding(now, path);
        let id = outstanding.unwrap_or_else(|| self.challenge_id(key, rng));
        let transport = &mut self.table[key];
        let username = [&transport.ice.remote_ufrag[..], b":", &transport.ice.local.ufrag].concat();
        let signed = IntegrityKey::new(transport.identity.remote_pwd.as_bytes());
        let Ok(slot) = outbox.slot() else { return counters.drop(DropReason::ControlOutboxFull) };
        let Some(len) = stun::write_path_challenge(slot, id, &username, PRIORITY, &signed) else { return };
        if !transport.ice.pay(path, len) {
            return counters.drop(DropReason::PathCredit);
        }
        transport.ice.set_challenge(now, path, id);
        outbox.commit(path, Run::single(len));
        counters.add(Count::PathChallenges, 1);
        counters.sent(Count::TxStun, len);
    }

    /// 64 bits that nobody can guess (RFC 8489 §5 has 96, but an answer is signed as well), and which
    /// transport is asked. That is masked: how many transports there are is nobody's business.
    fn challenge_id(&self, key: TransportKey, rng: &mut Rng) -> TransactionId {
        let mut id = TransactionId::default();
        let (random, asked) = id.split_at_mut(CHALLENGE_SECRET_BYTES);
        rng.fill(random);
        asked.copy_from_slice(&(key.index() ^ self.challenge_mask).to_be_bytes());
        id
    }

    /// The transport that is asked by the request with this id, if it is one of ours.
    fn asked_by(&self, id: &TransactionId, path: &Path) -> Option<TransportKey> {
        let asked = u32::from_be_bytes(*id.last_chunk()?) ^ self.challenge_mask;
        let key = self.table.key_at(asked)?;
        self.table[key].ice.is_challenge(path, id).then_some(key)
    }

    /// The owner of a path along which another one's check came, if it has not proved itself. It is asked to:
    /// then what is in clear is its alone.
    #[must_use]
    pub fn unproven_owner(&self, path: &Path, claimant: TransportKey) -> Option<TransportKey> {
        let owner = self.demux.owner(path).filter(|owner| *owner != claimant);
        owner.filter(|owner| !self.table[*owner].ice.is_proven(path))
    }

    /// Who has answered a challenge: the answer is good if it is to one of ours, and signed by the peer that
    /// was asked.
    ///
    /// # Errors
    /// Why it is not.
    pub fn check_challenge_answer(
        &self,
        path: &Path,
        message: &StunMessage<'_>,
    ) -> Result<TransportKey, DropReason> {
        let key = self.asked_by(&message.transaction_id(), path).ok_or(DropReason::StunUnexpected)?;
        let signed = IntegrityKey::new(self.table[key].identity.remote_pwd.as_bytes());
        if !message.verify_integrity(&signed) || message.verify_fingerprint() == Some(false) {
            return Err(DropReason::StunBadIntegrity);
        }
        Ok(key)
    }
}
