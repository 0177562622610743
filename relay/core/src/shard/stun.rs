//! Binding requests: the only datagrams that are heard from an address nobody knows.

use super::Shard;
use super::faults::Input;
use crate::ice::{CheckOutcome, Ice, IdUse};
use crate::keys::TransportKey;
use crate::media::{Event, TransportEvent};
use crate::outbox::{Outbox, Path, Run};
use crate::stats::{Count, Counters, DropReason};
use crate::time::Time;
use crate::transport::Phase;
use crate::wire::stun::{self, IntegrityKey, METHOD_BINDING, StunClass, StunMessage};
use arrayvec::ArrayVec;

/// Octets of the longest answer to a good check, to an IPv6 address.
const ANSWER_BYTES_MAX: usize = 76;
/// Unknown attributes named in a 420 response at most.
const UNKNOWN_NAMED_MAX: usize = 8;

/// Limits STUN error responses per second, so that a flood of bad checks is not answered by a flood.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ErrorBudget {
    second: u64,
    spent: u32,
}

impl ErrorBudget {
    fn take(&mut self, now: Time, per_second: u32) -> bool {
        let second = now.as_nanos() / 1_000_000_000;
        if second != self.second {
            *self = Self { second, spent: 0 };
        }
        self.spent += u32::from(self.spent < per_second);
        self.spent < per_second
    }
}

/// A Binding request for a transport of ours, not yet believed.
struct Check<'a> {
    now: Time,
    key: TransportKey,
    path: &'a Path,
    message: StunMessage<'a>,
    /// Octets that came in: an answer is never longer.
    len: usize,
}

/// A refused check: the counter, and the error code to answer with, if any.
struct Refusal {
    reason: DropReason,
    code: u16,
}

impl Shard {
    pub(super) fn on_stun<O: Outbox>(
        &mut self,
        now: Time,
        path: &Path,
        datagram: &[u8],
        outbox: &mut O,
    ) -> Result<(), DropReason> {
        let message = StunMessage::parse(datagram).map_err(|_| DropReason::StunMalformed)?;
        match (message.method(), message.class()) {
            (METHOD_BINDING, StunClass::Request) => {}
            (METHOD_BINDING, StunClass::Success) => {
                let key = self.transports.check_challenge_answer(path, &message)?;
                self.input = Input::Transport(key);
                self.counters.add(Count::RxStun, 1);
                self.transports.on_proof(now, key, path, &mut self.counters);
                self.transports[key].ice.answered(path);
                self.begin_handshake(now, key);
                return Ok(());
            }
            _ => return Err(DropReason::StunUnexpected),
        }
        let username = message.username().ok_or(DropReason::StunUnknownUfrag)?;
        let key = self.transports.by_username(username).ok_or(DropReason::StunUnknownUfrag)?;
        let check = Check { now, key, path, message, len: datagram.len() };
        match check_credentials(&self.transports[key].ice, &check.message, username) {
            Ok(current) => {
                self.input = Input::Transport(key);
                self.accept_check(&check, current, outbox)
            }
            Err(refusal) => {
                self.refuse_check(&check, &refusal, outbox);
                Err(refusal.reason)
            }
        }
    }

    fn accept_check<O: Outbox>(
        &mut self,
        check: &Check<'_>,
        current: bool,
        outbox: &mut O,
    ) -> Result<(), DropReason> {
        let (ice, id) = (&mut self.transports[check.key].ice, check.message.transaction_id());
        let used = ice.id_use(&id, check.path);
        if used == IdUse::Elsewhere {
            return Err(DropReason::StunReplayed);
        }
        let signed = &ice.previous.as_ref().filter(|_| !current).unwrap_or(&ice.local).key;
        let mut answer = [0; ANSWER_BYTES_MAX];
        let written = stun::write_binding_success(&mut answer, id, check.path.remote, signed);
        let answer = written.and_then(|len| answer.get(..len)).filter(|answer| answer.len() <= check.len);
        let octets = answer.map_or(0, <[u8]>::len);
        let paid = match used {
            IdUse::New => self.note_check(check, current, octets, outbox),
            IdUse::Repeated | IdUse::Elsewhere => credit_check(ice, check, octets),
        };
        self.counters.add(Count::RxStun, 1);
        match (answer, outbox.slot()) {
            (Some(answer), Ok(slot)) if paid => {
                let written = slot.get_mut(..octets).map(|slot| slot.copy_from_slice(answer));
                commit_stun(check, written.map(|()| octets), &mut self.counters, outbox);
            }
            (_, Ok(_)) => {}
            (_, Err(_)) => self.counters.drop(DropReason::ControlOutboxFull),
        }
        Ok(())
    }

    /// What a check that was not seen before changes. Whether its `answer`, of so many octets, is paid for.
    fn note_check<O: Outbox>(
        &mut self,
        check: &Check<'_>,
        current: bool,
        answer: usize,
        outbox: &mut O,
    ) -> bool {
        let (now, key, path) = (check.now, check.key, check.path);
        let noted = (check.message.transaction_id(), check.message.use_candidate());
        let Self { transports, rng, counters, .. } = self;
        let outcome = transports.on_check(now, key, path, noted, current);
        let paid = credit_check(&mut transports[key].ice, check, answer);
        transports.claim_path(now, key, path, counters);
        let lacks_any = transports.is_connected(key) && transports[key].ice.proven().is_none();
        let need = lacks_any || !transports.claimants(path).is_empty();
        // Our hello is dearer than an answer: who shows that he reads what goes there has it at once. With the
        // first check: FFmpeg sends no second one.
        let begins = transports[key].waits_for_our_hello() && !transports[key].ice.is_proven(path);
        if begins || transports[key].ice.should_challenge(now, path, need) {
            // Before the answer: the peer's handshake begins with that, and by then the path should be its
            // own.
            transports.challenge(now, key, path, rng, counters, outbox);
        }
        if let Some(owner) = transports.unproven_owner(path, key) {
            transports.challenge(now, owner, path, rng, counters, outbox);
        }
        match outcome {
            CheckOutcome::Selected if matches!(transports[key].phase, Phase::Ice) => {
                self.on_ice_connected(now, key);
            }
            CheckOutcome::Moved => counters.add(Count::PathMoves, 1),
            CheckOutcome::Selected | CheckOutcome::Unchanged => {}
        }
        self.begin_handshake(now, key);
        paid
    }

    fn refuse_check<O: Outbox>(&mut self, check: &Check<'_>, refusal: &Refusal, outbox: &mut O) {
        if !self.stun_errors.take(check.now, self.config.limits.stun_errors_per_s) {
            return;
        }
        let unknown: ArrayVec<u16, UNKNOWN_NAMED_MAX> =
            check.message.unknown_required().take(UNKNOWN_NAMED_MAX).collect();
        // RFC 8489 §9.1.3: a 400 or 401 carries no MESSAGE-INTEGRITY.
        let signed: Option<&IntegrityKey> =
            matches!(refusal.code, 420 | 487).then_some(&self.transports[check.key].ice.local.key);
        let Ok(slot) = outbox.slot() else { return };
        let id = check.message.transaction_id();
        let written = stun::write_binding_error(slot, id, refusal.code, &unknown, signed);
        commit_stun(check, written, &mut self.counters, outbox);
    }

    fn on_ice_connected(&mut self, now: Time, key: TransportKey) {
        let transport = &mut self.transports[key];
        transport.phase = Phase::Dtls(None);
        transport.ice.local.key.prepare();
        transport.set_phase_limit(now + self.config.limits.dtls_timeout);
        let id = transport.identity.id;
        transport.arm(key, &mut self.deadlines);
        self.events.push_back(Event::Transport(id, TransportEvent::IceConnected));
    }
}

/// RFC 8489 §9.1.3 for short-term credentials, then RFC 8445 §7.3. Returns whether the current credentials
/// were used.
fn check_credentials(ice: &Ice, message: &StunMessage<'_>, username: &[u8]) -> Result<bool, Refusal> {
    let bad = |code| Refusal { reason: DropReason::StunBadIntegrity, code };
    if !message.has_integrity() {
        return Err(bad(400));
    }
    let credentials = ice.credentials_for(username).ok_or_else(|| bad(401))?;
    if !message.verify_integrity(&credentials.key) || message.verify_fingerprint() == Some(false) {
        return Err(bad(401));
    }
    if message.unknown_required().next().is_some() {
        return Err(Refusal { reason: DropReason::StunUnknownAttribute, code: 420 });
    }
    // RFC 8445 §7.3.1.1: both sides think they are controlled; a lite agent cannot become controlling.
    if message.ice_controlled().is_some() {
        return Err(Refusal { reason: DropReason::StunUnexpected, code: 487 });
    }
    Ok(credentials.ufrag == ice.local.ufrag)
}

/// What came with a check may go back, and so many octets of it are for its answer: they are set aside
/// before anything else is sent for them, so that all of it together is no more than RFC 9000 §8.1
/// allows.
fn credit_check(ice: &mut Ice, check: &Check<'_>, answer: usize) -> bool {
    ice.earn(check.path, check.len);
    ice.pay(check.path, answer)
}

/// Never more octets out than came in: no amplification, whoever asked. So a refusal needs no credit, and
/// what is refused brings none.
fn commit_stun<O: Outbox>(
    check: &Check<'_>,
    written: Option<usize>,
    counters: &mut Counters,
    outbox: &mut O,
) {
    if let Some(len) = written.filter(|len| *len <= check.len) {
        outbox.commit(check.path, Run::single(len));
        counters.sent(Count::TxStun, len);
    }
}
