//! DTLS datagrams from validated addresses, when their turn comes, and what a finished handshake changes.

use super::Shard;
use super::faults::Input;
use crate::dtls::{DtlsEngine, DtlsStatus, DtlsSummary};
use crate::handshakes::{Full, STEPS_PER_TURN, Waiting};
use crate::keys::{TransportKey, UpKey};
use crate::media::{Event, FailReason, TransportEvent};
use crate::outbox::{Outbox, Path, Run};
use crate::srtp::{OpenContext, SealContext};
use crate::stats::{Count, DropReason};
use crate::time::Time;
use crate::transport::{Phase, Session, TransportTimer};

impl Shard {
    /// Handshakes wait until the turn's media is served. What comes after one costs no more than a media packet, so
    /// it is done at once, unless that would overtake. A datagram that several get is `counted` once.
    pub(super) fn on_dtls<O: Outbox>(
        &mut self,
        now: Time,
        key: TransportKey,
        (path, datagram): (&Path, &[u8]),
        counted: bool,
        outbox: &mut O,
    ) -> Result<(), DropReason> {
        self.input = Input::Record(key);
        let transport = &mut self.transports[key];
        if transport.is_connected() && transport.dtls_waiting == 0 {
            let outcome = self.step_dtls(now, key, (path, datagram), outbox);
            self.count_dtls(&outcome, counted);
            return outcome;
        }
        let begun = matches!(transport.phase, Phase::Dtls(Some(_)));
        let waiting = Waiting { key, path: *path, counted, datagram: datagram.into() };
        let pushed = self.handshakes.push(begun, &mut transport.dtls_waiting, waiting);
        pushed.map_err(|Full| DropReason::DtlsBusy)
    }

    fn count_dtls(&mut self, outcome: &Result<(), DropReason>, counted: bool) {
        if outcome.is_ok() && counted {
            self.counters.add(Count::RxDtls, 1);
        }
    }

    /// Goes on with the handshakes that have waited longest, as far as a turn may.
    pub(super) fn step_handshakes<O: Outbox>(&mut self, now: Time, outbox: &mut O) {
        for _ in 0..STEPS_PER_TURN {
            let Some(Waiting { key, path, counted, datagram }) = self.handshakes.pop() else { return };
            self.input = Input::Record(key);
            self.transports[key].dtls_waiting -= 1;
            let outcome = self.step_dtls(now, key, (&path, &datagram), outbox);
            self.count_dtls(&outcome, counted);
            if let (Err(reason), true) = (outcome, counted) {
                self.counters.drop(reason);
            }
            self.input = Input::None;
        }
    }

    /// Gives a datagram to the transport's engine and follows what comes of it.
    fn step_dtls<O: Outbox>(
        &mut self,
        now: Time,
        key: TransportKey,
        (path, datagram): (&Path, &[u8]),
        outbox: &mut O,
    ) -> Result<(), DropReason> {
        // It may end the transport: what came before goes out first.
        self.forward_pending(outbox);
        let transport = &mut self.transports[key];
        let engine = match &mut transport.phase {
            Phase::Ice => return Err(DropReason::DtlsUnexpected),
            Phase::Dtls(engine) => {
                engine.get_or_insert_with(|| self.dtls.accept(now, transport.identity.fingerprint))
            }
            Phase::Connected(session) => session.engine.as_mut().ok_or(DropReason::DtlsUnexpected)?,
        };
        let consumed = engine.handle_datagram(now, datagram);
        self.drive_dtls(now, key, Some(path), outbox);
        if consumed { Ok(()) } else { Err(DropReason::DtlsRefused) }
    }

    /// Sends what the engine has to say, arms its timer and follows its status. `path`: along which a datagram came, if one did.
    pub(super) fn drive_dtls<O: Outbox>(
        &mut self,
        now: Time,
        key: TransportKey,
        path: Option<&Path>,
        outbox: &mut O,
    ) {
        if let Phase::Dtls(Some(engine)) = &self.transports[key].phase
            && !matches!(engine.status(), DtlsStatus::Handshaking)
        {
            // Only who has its keys ends a handshake.
            self.input = Input::Transport(key);
        }
        self.send_dtls(key, outbox);
        let transport = &mut self.transports[key];
        let Some(engine) = engine(&mut transport.phase) else { return };
        self.counters.add(Count::DtlsRestarts, engine.take_restarts().into());
        match engine.poll_timeout() {
            Some(at) => transport.timers.set(TransportTimer::Dtls, at),
            None => transport.timers.clear(TransportTimer::Dtls),
        }
        let connected = transport.is_connected();
        let Some(engine) = self::engine(&mut transport.phase) else { return };
        match engine.status() {
            DtlsStatus::Closed => {
                // Nobody else can say so.
                self.input = Input::Transport(key);
                return self.fail_transport(key, FailReason::DtlsClosed);
            }
            // SRTP needs no living association: what goes wrong in it after the keys are there ends nothing.
            _ if connected => {}
            DtlsStatus::Handshaking => {}
            DtlsStatus::Connected => {
                if let Some(summary) = engine.take_summary() {
                    self.on_keys(now, key, summary);
                    // Who ended the handshake has read what we sent along this path.
                    if let Some(path) = path {
                        self.on_proof(now, key, path);
                    }
                }
            }
            DtlsStatus::FingerprintMismatch => {
                self.counters.add(Count::FingerprintMismatches, 1);
                return self.fail_transport(key, FailReason::DtlsFingerprint);
            }
            DtlsStatus::Failed => {
                self.counters.add(Count::DtlsFailures, 1);
                return self.fail_transport(key, FailReason::DtlsFailed);
            }
        }
        self.arm_transport(key);
    }

    pub(super) fn send_dtls<O: Outbox>(&mut self, key: TransportKey, outbox: &mut O) {
        let transport = &mut self.transports[key];
        let Some(path) = transport.ice.selected().copied() else { return };
        let Some(engine) = engine(&mut transport.phase) else { return };
        // Bounded: a flight is a handful of datagrams, and the engine makes no new one while it is polled.
        while let Some(len) = engine.poll_datagram(&mut self.scratch[..]) {
            let Some(datagram) = self.scratch.get(..len) else { break };
            // RFC 9000 §8.1: what the peer sends again adds to it, so this delays a handshake at most.
            if !transport.ice.pay(&path, len) {
                self.counters.drop(DropReason::PathCredit);
                continue;
            }
            let Ok(slot) = outbox.slot() else {
                self.counters.drop(DropReason::ControlOutboxFull);
                break;
            };
            let Some(slot) = slot.get_mut(..len) else { break };
            slot.copy_from_slice(datagram);
            outbox.commit(&path, Run::single(len));
            self.counters.sent(Count::TxDtls, len);
        }
    }

    fn on_keys(&mut self, now: Time, key: TransportKey, summary: DtlsSummary) {
        let limit = self.consent_left(key, now).unwrap_or(now);
        let transport = &mut self.transports[key];
        let Phase::Dtls(Some(engine)) = std::mem::replace(&mut transport.phase, Phase::Ice) else {
            unreachable!("keys come from the engine of the DTLS phase");
        };
        let keys = &summary.keys;
        let seal = SealContext::new(keys.profile, &keys.local_key, &keys.local_salt);
        let seal =
            if self.config.four_lanes { seal.with_lane(&keys.local_key, &keys.local_salt) } else { seal };
        let session = Session {
            open: OpenContext::new(keys.profile, &keys.remote_key, &keys.remote_salt),
            seal,
            engine: Some(engine),
            profile: keys.profile,
            version: summary.version,
            group: summary.group,
        };
        self.transports.connect(key, session);
        let transport = &mut self.transports[key];
        transport.set_phase_limit(limit);
        transport.timers.set(TransportTimer::Report, now);
        let id = transport.identity.id;
        self.counters.add(Count::TransportsConnected, 1);
        self.events.push_back(Event::Transport(id, TransportEvent::Connected));
        self.prepare_tracks(key);
        self.ask_keyframes_for(now, key);
    }

    /// Media may come and go: allocates what the tracks of a transport need for it. Before, nobody has proved anything.
    fn prepare_tracks(&mut self, key: TransportKey) {
        for index in 0..self.transports[key].ups.len() {
            let up_key = self.transports[key].ups[index];
            self.prepare_up(key, up_key);
            self.begin_at_ports_anew(up_key);
        }
        for &down_key in &self.transports[key].downs {
            self.tracks.downs[down_key].stream.prepare();
        }
    }

    pub(super) fn prepare_up(&mut self, key: TransportKey, up_key: UpKey) {
        let up = &mut self.tracks.ups[up_key];
        up.prepare();
        if up.wants_transport_cc() {
            self.transports[key].receiving.feedback.get_or_insert_default();
        }
    }
}

/// The engine of a transport, if it has one.
pub(super) fn engine(phase: &mut Phase) -> Option<&mut Box<dyn DtlsEngine>> {
    match phase {
        Phase::Ice => None,
        Phase::Dtls(engine) => engine.as_mut(),
        Phase::Connected(session) => session.engine.as_mut(),
    }
}
