//! Whose a path is, when more than one transport has checked along it, and how a peer proves that it is there.
//!
//! A forged source address is cheap, so a check that is good for one transport says nothing about another's path. The owner
//! keeps a path while it is heard of ([`Ice::holds`](crate::ice::Ice::holds)). A claimant is answered and asked to prove itself;
//! it gets what the owner cannot use, sends to the path no more than it paid for, and takes the path over with its proof.
//!
//! Claims are few ([`CLAIMANTS_MAX`](crate::demux::CLAIMANTS_MAX)), and whoever has transports of his own can
//! push an honest one out by forged checks. That costs it nothing: whom an answer to a challenge is of stands
//! in its transaction id, so it is found whether its transport is among the claimants or not, and nobody else
//! can give it, as it is signed with the peer's password. Were the newest claim refused instead of the oldest
//! dropped, three forged checks would keep everybody else out for good. What does depend on a place are peers
//! that answer no challenge and prove themselves by SRTCP or a handshake alone.

use super::Shard;
use super::faults::Input;
use crate::ice::{CheckOutcome, TransactionId};
use crate::keys::TransportKey;
use crate::outbox::{DATAGRAM_BYTES_MAX, Outbox, Path, Run};
use crate::stats::{Count, DropReason};
use crate::time::Time;
use crate::wire::stun::{self, IntegrityKey, StunMessage};
use crate::wire::{Protocol, is_protected_dtls};

/// PRIORITY of our own Binding requests (RFC 8445 §5.1.2.1): a peer-reflexive candidate's; nobody chooses by it.
const PRIORITY: u32 = 110 << 24;

/// Of the transaction id of a challenge: what makes it impossible to guess. The rest says who is asked.
const CHALLENGE_SECRET_BYTES: usize = size_of::<TransactionId>() - size_of::<u32>();

impl Shard {
    /// A new check came along `path`: whose is it now?
    pub(super) fn claim_path(&mut self, now: Time, key: TransportKey, path: &Path) {
        match self.demux.owner(path) {
            Some(owner) if owner == key => {}
            Some(owner) if self.transports[owner].ice.holds(now, path) => {
                self.counters.add(Count::PathClaims, 1);
                self.demux.claim(*path, key);
            }
            _ => self.give_path(key, path),
        }
    }

    fn give_path(&mut self, key: TransportKey, path: &Path) {
        if let Some(before) = self.demux.bind(*path, key) {
            self.counters.add(Count::PathTakeovers, 1);
            self.transports[before].ice.forget(path);
        }
    }

    /// Something came along `path` that only the peer of `key` can have sent from there: the path is its own.
    #[inline]
    pub(super) fn on_authentic(&mut self, now: Time, key: TransportKey, path: &Path) {
        if self.transports[key].ice.on_authentic(now, path) == CheckOutcome::Moved {
            self.counters.add(Count::PathMoves, 1);
        }
    }

    /// The same for a transport that may not own the path yet. The others know it no more.
    pub(super) fn on_proof(&mut self, now: Time, key: TransportKey, path: &Path) {
        if !self.transports[key].ice.paths().any(|known| known == *path) {
            return;
        }
        for other in self.demux.claimants(path).into_iter().filter(|other| *other != key) {
            self.demux.unbind(path, other);
            self.transports[other].ice.forget(path);
        }
        self.give_path(key, path);
        self.on_authentic(now, key, path);
    }

    /// Gives a datagram that is no STUN to those whose it may be.
    pub(super) fn dispatch_by_path<O: Outbox>(
        &mut self,
        now: Time,
        path: &Path,
        protocol: Protocol,
        datagram: &mut [u8],
        outbox: &mut O,
    ) -> Result<(), DropReason> {
        let owner = self.demux.owner(path).ok_or(DropReason::TupleNotValidated)?;
        let claimants = self.demux.claimants(path);
        if protocol == Protocol::Dtls {
            return self.dispatch_dtls(now, path, owner, datagram, outbox);
        }
        if claimants.is_empty() {
            self.on_media_datagram(now, owner, protocol, datagram, outbox)?;
            self.on_authentic(now, owner, path);
            return Ok(());
        }
        // Only the keys know: what the owner's do not open may be a claimant's. RTCP is opened in place.
        let mut copy = [0; DATAGRAM_BYTES_MAX];
        let copy = copy.get_mut(..datagram.len()).ok_or(DropReason::Truncated)?;
        copy.copy_from_slice(datagram);
        let refused = match self.on_media_datagram(now, owner, protocol, datagram, outbox) {
            Ok(()) => {
                self.on_proof(now, owner, path);
                return Ok(());
            }
            Err(refused) => refused,
        };
        for key in claimants {
            self.input = Input::Stranger;
            let keyed = self.transports[key].is_connected();
            if keyed && self.on_media_datagram(now, key, protocol, copy, outbox).is_ok() {
                self.on_proof(now, key, path);
                return Ok(());
            }
        }
        Err(refused)
    }

    fn on_media_datagram<O: Outbox>(
        &mut self,
        now: Time,
        key: TransportKey,
        protocol: Protocol,
        datagram: &mut [u8],
        outbox: &mut O,
    ) -> Result<(), DropReason> {
        match protocol {
            Protocol::Rtp => self.on_rtp(now, key, datagram, outbox),
            _ => self.on_rtcp(now, key, datagram, outbox),
        }
    }

    /// An owner with keys has no use for what is in clear, and cannot tell whose a protected record is. One that has no keys,
    /// but whose peer has shown that it is there or was just asked to, gets what is in clear alone: others' engines would answer, too, and the
    /// client cannot tell whose answer is its own. It is paid for once and counted once, however many get it.
    fn dispatch_dtls<O: Outbox>(
        &mut self,
        now: Time,
        path: &Path,
        owner: TransportKey,
        datagram: &[u8],
        outbox: &mut O,
    ) -> Result<(), DropReason> {
        let claimants = self.demux.claimants(path);
        let keyed = |shard: &Self, key: TransportKey| shard.transports[key].is_connected();
        // Whose handshake it may be: the owner's comes before that of anybody who only says that he is there.
        let mut in_turn = [owner].into_iter().chain(claimants.iter().rev().copied());
        let paid = in_turn.find(|key| !keyed(self, *key)).unwrap_or(owner);
        self.transports[paid].ice.earn(path, datagram.len());
        let is_clear = !is_protected_dtls(datagram);
        let owner_alone =
            is_clear && !keyed(self, owner) && self.transports[owner].ice.is_believed(now, path);
        if claimants.is_empty() || owner_alone {
            return self.on_dtls(now, owner, (path, datagram), true, outbox);
        }
        let mut outcome = None;
        if !keyed(self, owner) || !is_clear {
            outcome = Some(self.on_dtls(now, owner, (path, datagram), true, outbox));
        }
        for key in claimants {
            if self.transports.get(key).is_some() && !keyed(self, key) {
                let is_first = outcome.is_none();
                let taken = self.on_dtls(now, key, (path, datagram), is_first, outbox);
                outcome.get_or_insert(taken);
            }
        }
        outcome.unwrap_or(Err(DropReason::DtlsUnexpected))
    }

    /// Asks the peer of `key` to show that it is at the other end of `path`: it alone gets the request, and it alone can sign
    /// the answer (RFC 8489 §9.1.3). A lite agent sends no checks to find a path (RFC 8445 §2.5); this one only confirms
    /// what the peer itself has begun.
    pub(super) fn challenge<O: Outbox>(&mut self, now: Time, key: TransportKey, path: &Path, outbox: &mut O) {
        let outstanding = self.transports[key].ice.outstanding(now, path);
        let id = outstanding.unwrap_or_else(|| self.challenge_id(key));
        let transport = &mut self.transports[key];
        let username = [&transport.ice.remote_ufrag[..], b":", &transport.ice.local.ufrag].concat();
        let signed = IntegrityKey::new(transport.identity.remote_pwd.as_bytes());
        let Ok(slot) = outbox.slot() else { return self.counters.drop(DropReason::ControlOutboxFull) };
        let Some(len) = stun::write_path_challenge(slot, id, &username, PRIORITY, &signed) else { return };
        if !transport.ice.pay(path, len) {
            return self.counters.drop(DropReason::PathCredit);
        }
        transport.ice.set_challenge(now, path, id);
        outbox.commit(path, Run::single(len));
        self.counters.add(Count::PathChallenges, 1);
        self.counters.sent(Count::TxStun, len);
    }

    /// 64 bits that nobody can guess (RFC 8489 §5 has 96, but an answer is signed as well), and which
    /// transport is asked. That is masked: how many transports there are is nobody's business.
    fn challenge_id(&mut self, key: TransportKey) -> TransactionId {
        let mut id = TransactionId::default();
        let (random, asked) = id.split_at_mut(CHALLENGE_SECRET_BYTES);
        self.rng.fill(random);
        asked.copy_from_slice(&(key.index() ^ self.challenge_mask).to_be_bytes());
        id
    }

    /// The transport that is asked by the request with this id, if it is one of ours.
    fn asked_by(&self, id: &TransactionId, path: &Path) -> Option<TransportKey> {
        let asked = u32::from_be_bytes(*id.last_chunk()?) ^ self.challenge_mask;
        let key = self.transports.key_at(asked)?;
        self.transports[key].ice.is_challenge(path, id).then_some(key)
    }

    /// An owner that has not proved itself is asked to when another one's check comes: then what is in clear is its alone.
    pub(super) fn challenge_owner<O: Outbox>(
        &mut self,
        now: Time,
        claimant: TransportKey,
        path: &Path,
        outbox: &mut O,
    ) {
        let owner = self.demux.owner(path).filter(|owner| *owner != claimant);
        if let Some(owner) = owner.filter(|owner| !self.transports[*owner].ice.is_proven(path)) {
            self.challenge(now, owner, path, outbox);
        }
    }

    /// An answer to a Binding request: good if it is to one of ours, and signed by the peer that was asked.
    pub(super) fn on_challenge_answer(
        &mut self,
        now: Time,
        path: &Path,
        message: &StunMessage<'_>,
    ) -> Result<(), DropReason> {
        let key = self.asked_by(&message.transaction_id(), path).ok_or(DropReason::StunUnexpected)?;
        let signed = IntegrityKey::new(self.transports[key].identity.remote_pwd.as_bytes());
        if !message.verify_integrity(&signed) || message.verify_fingerprint() == Some(false) {
            return Err(DropReason::StunBadIntegrity);
        }
        self.input = Input::Transport(key);
        self.counters.add(Count::RxStun, 1);
        self.on_proof(now, key, path);
        Ok(())
    }
}
