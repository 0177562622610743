//! One peer: its ICE, its DTLS association or the keys that came of it, and the tracks on it.
//!
//! A transport lives on one shard for life. Its phase only goes forward: Ice → Dtls → Connected; ending it
//! means removing it from the shard.

use crate::dtls::{DtlsEngine, DtlsRole, Fingerprints};
use crate::ice::Ice;
use crate::id::Ssrc;
use crate::keys::{DownKey, LayerKey, TransportKey, UpKey};
use crate::outbox::{Outbox, Path, Run};
use crate::policer::Policer;
use crate::srtp::{OpenContext, RTCP_OVERHEAD_MAX, SealContext, SrtpProfile};
use crate::stats::{Count, Counters, DropReason};
use crate::time::Time;
use crate::timers::{Deadlines, TimerOwner, TimerTable, timers};
use crate::up::{RembEstimator, SenderClock, TransportFeedback};
use arrayvec::ArrayVec;
use std::time::Duration;

/// SSRCs of one peer that are known at a time. Where a track continues under another one, the one before it
/// gives way.
pub const SSRCS_MAX: usize = 16;

timers! {
    /// The timers of a transport.
    pub enum TransportTimer {
        /// The phase's own limit: ICE, then DTLS, then consent.
        Phase,
        /// Retransmission of a DTLS flight.
        Dtls,
        /// Transport-wide feedback.
        Feedback,
        /// Receiver reports and REMB.
        Report,
    }
}

/// What the controller said of the peer.
#[derive(Debug)]
pub struct Identity {
    /// The controller's id.
    pub id: u64,
    /// Tracks are subscribed within a room only.
    pub room_id: u64,
    /// Opaque.
    pub label: Vec<u8>,
    /// Of the certificate the peer must show.
    pub fingerprints: Fingerprints,
    /// Who begins the handshake.
    pub role: DtlsRole,
    /// Kept to tell a repeated `RestartIce` from a new one.
    pub remote_pwd: String,
}

/// Keys, and what they were agreed with.
pub struct SrtpSession {
    /// For what the peer sends.
    pub open: OpenContext,
    /// For what we send.
    pub seal: SealContext,
    /// Kept: it answers a repeated last flight and sees close_notify. `None` after a panic in it: the keys do
    /// without.
    pub engine: Option<Box<dyn DtlsEngine>>,
    /// For the inventory.
    pub profile: SrtpProfile,
    /// For the inventory.
    pub version: &'static str,
    /// For the inventory.
    pub group: &'static str,
}

/// How far a transport has come.
pub enum Phase {
    /// No authenticated check yet.
    Ice,
    /// The engine is made when the first DTLS datagram comes from a validated address; if the relay begins,
    /// when an address has earned its hello.
    Dtls(Option<Box<dyn DtlsEngine>>),
    /// Media may flow.
    Connected(Box<SrtpSession>),
}

/// What a received SSRC is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SsrcUse {
    /// Media of this layer.
    Media(LayerKey),
    /// Retransmissions of this layer (RFC 4588).
    Rtx(LayerKey),
}

impl SsrcUse {
    /// The layer that it feeds.
    #[must_use]
    pub const fn layer(self) -> LayerKey {
        match self {
            Self::Media(layer) | Self::Rtx(layer) => layer,
        }
    }
}

/// What concerns the packets the peer sends.
#[derive(Debug)]
pub struct Receiving {
    /// Known SSRCs.
    pub ssrcs: ArrayVec<(Ssrc, SsrcUse), SSRCS_MAX>,
    /// Rate limit before decryption.
    pub policer: Policer,
    /// Transport-wide feedback, if an up-track negotiated it.
    pub feedback: Option<TransportFeedback>,
    /// What REMB says.
    pub remb: RembEstimator,
    /// The peer's wallclock on our time: keeps audio and video of one peer together.
    pub clock: SenderClock,
    /// Counts the FIRs sent (RFC 5104 §4.3.1).
    pub fir_seq: u8,
}

impl Receiving {
    /// What an SSRC is, if known.
    #[must_use]
    pub fn ssrc_use(&self, ssrc: Ssrc) -> Option<SsrcUse> {
        self.ssrcs.iter().find(|(s, _)| *s == ssrc).map(|(_, u)| *u)
    }

    /// Forgets the SSRCs of a track that goes.
    pub fn forget(&mut self, up: UpKey) {
        self.ssrcs.retain(|(_, used)| used.layer().up != up);
    }

    /// Those of a layer's retransmissions, latest last.
    pub fn rtx_ssrcs(&self, layer: LayerKey) -> impl Iterator<Item = Ssrc> + '_ {
        self.ssrcs.iter().filter(move |(_, used)| *used == SsrcUse::Rtx(layer)).map(|(ssrc, _)| *ssrc)
    }

    /// The number of the next FIR.
    pub fn next_fir_seq(&mut self) -> u8 {
        self.fir_seq = self.fir_seq.wrapping_add(1);
        self.fir_seq
    }
}

/// One peer.
pub struct Transport {
    /// Who it is.
    pub identity: Identity,
    /// How to reach it.
    pub ice: Ice,
    /// How far it has come.
    pub phase: Phase,
    /// Its datagrams in [`crate::handshakes::Handshakes`].
    pub dtls_waiting: u8,
    /// When it wants to be looked at.
    pub timers: TimerTable<TransportTimer>,
    /// What it sends.
    pub receiving: Receiving,
    /// Tracks it sends.
    pub ups: Vec<UpKey>,
    /// Tracks it receives.
    pub downs: Vec<DownKey>,
    /// Sender SSRC of our RTCP towards it.
    pub rtcp_ssrc: Ssrc,
}

/// RTCP packets written one behind the other; ends at the first that does not fit.
#[derive(Debug)]
pub struct Compound<'a> {
    buffer: &'a mut [u8],
    len: usize,
}

impl Compound<'_> {
    /// Appends what `write` writes.
    pub fn push(&mut self, write: impl FnOnce(&mut [u8]) -> Option<usize>) {
        let rest = self.buffer.get_mut(self.len..).unwrap_or_default();
        self.len += write(rest).unwrap_or(0);
    }
}

impl Transport {
    /// Nothing is known of the peer but what the controller said.
    #[must_use]
    pub fn new(identity: Identity, ice: Ice, bitrate_bps: u64, rtcp_ssrc: Ssrc, now: Time) -> Self {
        Self {
            identity,
            ice,
            phase: Phase::Ice,
            dtls_waiting: 0,
            timers: TimerTable::default(),
            receiving: Receiving {
                ssrcs: ArrayVec::new(),
                policer: Policer::new(bitrate_bps, now),
                feedback: None,
                remb: RembEstimator::new(bitrate_bps),
                clock: SenderClock::new(),
                fir_seq: 0,
            },
            ups: Vec::new(),
            downs: Vec::new(),
            rtcp_ssrc,
        }
    }

    /// Whether it has keys.
    #[must_use]
    pub const fn is_connected(&self) -> bool {
        matches!(self.phase, Phase::Connected(_))
    }

    /// Whether the peer waits for the relay to begin, or will when its first check has come.
    #[must_use]
    pub fn waits_for_our_hello(&self) -> bool {
        self.identity.role == DtlsRole::Client && matches!(self.phase, Phase::Ice | Phase::Dtls(None))
    }

    /// Whether the relay is to begin the handshake and has not.
    #[must_use]
    pub fn is_to_begin(&self) -> bool {
        self.identity.role == DtlsRole::Client && matches!(self.phase, Phase::Dtls(None))
    }

    /// The engine of its handshake or of its association, if there is one.
    #[must_use]
    pub fn engine(&mut self) -> Option<&mut Box<dyn DtlsEngine>> {
        match &mut self.phase {
            Phase::Ice => None,
            Phase::Dtls(engine) => engine.as_mut(),
            Phase::Connected(session) => session.engine.as_mut(),
        }
    }

    /// Until when its peer's consent lasts, `None` if it has expired: `consent` after the peer was last heard
    /// along the path that we send along (RFC 7675 §5.1). Who gets no media may be heard along any: he is sent
    /// reports at most, and may go on publishing from where he answers no Binding request.
    #[must_use]
    pub fn consent_left(&self, now: Time, consent: Duration) -> Option<Time> {
        let gets_media = !self.downs.is_empty();
        let heard = if gets_media { self.ice.last_consent() } else { self.ice.last_heard() };
        let until = heard + consent;
        (until > now).then_some(until)
    }

    /// Sends what its engine has to say, by way of `scratch`: what is not paid for takes no send memory.
    pub fn send_dtls<O: Outbox>(&mut self, scratch: &mut [u8], counters: &mut Counters, outbox: &mut O) {
        let Some(path) = self.ice.selected().copied() else { return };
        // Bounded: a flight is a handful of datagrams, and the engine makes no new one while it is polled.
        while let Some(len) = self.engine().and_then(|engine| engine.poll_datagram(scratch)) {
            let Some(datagram) = scratch.get(..len) else { break };
            // RFC 9000 §8.1: what the peer sends again adds to it, so this delays a handshake at most.
            if !self.ice.pay(&path, len) {
                counters.drop(DropReason::PathCredit);
                continue;
            }
            let Ok(slot) = outbox.slot() else {
                counters.drop(DropReason::ControlOutboxFull);
                break;
            };
            let Some(slot) = slot.get_mut(..len) else { break };
            slot.copy_from_slice(datagram);
            outbox.commit(&path, Run::single(len));
            self.ice.note_flight(&path);
            counters.sent(Count::TxDtls, len);
        }
    }

    /// Keys and engine, once connected.
    #[must_use]
    pub fn session(&mut self) -> Option<&mut SrtpSession> {
        match &mut self.phase {
            Phase::Connected(session) => Some(session),
            _ => None,
        }
    }

    /// Address and key for media, if it can be sent to.
    #[inline]
    #[must_use]
    pub fn ready(&self) -> Option<(&Path, &SealContext)> {
        match (&self.phase, self.ice.proven()) {
            (Phase::Connected(session), Some(path)) => Some((path, &session.seal)),
            _ => None,
        }
    }

    /// Seals, sends and counts one RTCP compound; nothing if there are no keys or no address, or `fill` wrote
    /// nothing.
    pub fn send_rtcp<O: Outbox>(
        &mut self,
        counters: &mut Counters,
        outbox: &mut O,
        fill: impl FnOnce(&mut Compound<'_>),
    ) {
        let (Some(path), Phase::Connected(session)) = (self.ice.proven(), &mut self.phase) else { return };
        let Ok(slot) = outbox.slot() else { return counters.drop(DropReason::ControlOutboxFull) };
        let room = slot.len().saturating_sub(RTCP_OVERHEAD_MAX);
        let Some(buffer) = slot.get_mut(..room) else { return };
        let mut compound = Compound { buffer, len: 0 };
        fill(&mut compound);
        let len = compound.len;
        if len == 0 {
            return;
        }
        if let Some(total) = session.seal.seal_rtcp(len, slot) {
            outbox.commit(path, Run::single(total));
            counters.sent(Count::TxRtcp, total);
        }
    }

    /// Forgets an up-track of its peer that goes.
    pub fn forget_up(&mut self, up: UpKey) {
        self.ups.retain(|key| *key != up);
        self.receiving.forget(up);
    }

    /// Forgets a down-track of its peer that goes.
    pub fn forget_down(&mut self, down: DownKey) {
        self.downs.retain(|key| *key != down);
    }

    /// Arms the phase's limit.
    pub fn set_phase_limit(&mut self, at: Time) {
        self.timers.set(TransportTimer::Phase, at);
    }

    /// Makes sure that its timers are looked at.
    pub fn arm(&mut self, key: TransportKey, deadlines: &mut Deadlines<TimerOwner>) {
        deadlines.arm(TimerOwner::Transport(key), &mut self.timers);
    }
}
