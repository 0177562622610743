//! DTLS datagrams from validated addresses, when their turn comes, and what a finished handshake changes.

use super::faults::Input;
use super::{Shard, keyframes};
use crate::dtls::{DtlsStatus, DtlsSummary};
use crate::handshakes::{Full, STEPS_PER_TURN, Waiting};
use crate::keys::TransportKey;
use crate::media::{Event, FailReason, TransportEvent};
use crate::outbox::{Outbox, Path};
use crate::srtp::{OpenContext, SealContext};
use crate::stats::{Count, DropReason};
use crate::time::Time;
use crate::transport::{Phase, SrtpSession, TransportTimer};
use std::time::Duration;

/// Octets of a hello of ours: what has to be earned before it is made.
const HELLO_BYTES_MAX: usize = 400;
/// When a hello that found no place in the queue, or has not been earned, is tried again.
const BEGIN_AGAIN: Duration = Duration::from_millis(250);
/// Octets of a challenge at most.
const CHALLENGE_BYTES_MAX: usize = 128;

impl Shard {
    /// Handshakes wait until the turn's media is served; what no engine has a use for does not wait. What
    /// comes after one costs no more than a media packet, so it is done at once, unless that would overtake.
    /// A datagram that several get is `counted` once.
    pub(super) fn on_dtls<O: Outbox>(
        &mut self,
        now: Time,
        key: TransportKey,
        datagram: &[u8],
        counted: bool,
        outbox: &mut O,
    ) -> Result<(), DropReason> {
        self.input = Input::Record(key);
        let transport = &mut self.transports[key];
        if transport.is_connected() && transport.dtls_waiting == 0 {
            let outcome = self.step_dtls(now, key, datagram, outbox);
            self.count_dtls(&outcome, counted);
            return outcome;
        }
        let begins = transport.is_to_begin();
        let (begun, plausible) = match transport.engine() {
            Some(engine) => (true, engine.is_plausible(datagram)),
            // What the peer sends before our hello, a hello of its own for one, answers nothing.
            None if begins => (false, false),
            None => (false, self.dtls.may_begin(datagram)),
        };
        if !plausible {
            return Err(DropReason::DtlsRefused);
        }
        let waiting = Waiting { key, counted, datagram: datagram.into() };
        let pushed = self.handshakes.push(begun, &mut transport.dtls_waiting, waiting);
        pushed.map_err(|Full| DropReason::DtlsBusy)
    }

    /// Has a hello of ours wait for its turn, if the relay is to begin and the peer's address has earned it: it
    /// is proven, or its checks pay for the hello.
    pub(super) fn begin_handshake(&mut self, now: Time, key: TransportKey) {
        let transport = &mut self.transports[key];
        let Some(path) = transport.ice.selected().copied() else { return };
        let waits = transport.dtls_waiting > 0;
        if waits || !transport.is_to_begin() {
            return;
        }
        let waiting = Waiting { key, counted: false, datagram: Box::default() };
        let is_earned = transport.ice.affords(&path, HELLO_BYTES_MAX);
        if !is_earned || self.handshakes.push(false, &mut transport.dtls_waiting, waiting).is_err() {
            transport.timers.set(TransportTimer::Dtls, now + BEGIN_AGAIN);
            self.transports.arm(key, &mut self.deadlines);
        }
    }

    /// Tries again to begin. The challenge may have been lost, and a peer that has its answer may send no more
    /// checks: it is asked again, as long as its checks pay for that.
    pub(super) fn begin_again<O: Outbox>(&mut self, now: Time, key: TransportKey, outbox: &mut O) {
        let Self { transports, rng, counters, .. } = self;
        let ice = &transports[key].ice;
        let path =
            ice.selected().filter(|path| !ice.is_proven(path) && ice.affords(path, CHALLENGE_BYTES_MAX));
        if let Some(path) = path.copied() {
            transports.challenge(now, key, &path, rng, counters, outbox);
        }
        self.begin_handshake(now, key);
    }

    fn count_dtls(&mut self, outcome: &Result<(), DropReason>, counted: bool) {
        if outcome.is_ok() && counted {
            self.counters.add(Count::RxDtls, 1);
        }
    }

    /// Goes on with the handshakes that have waited longest, as far as a turn may.
    pub(super) fn step_handshakes<O: Outbox>(&mut self, now: Time, outbox: &mut O) {
        for _ in 0..STEPS_PER_TURN {
            let Some(Waiting { key, counted, datagram }) = self.handshakes.pop() else { return };
            self.input = Input::Record(key);
            self.transports[key].dtls_waiting -= 1;
            let outcome = self.step_dtls(now, key, &datagram, outbox);
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
        datagram: &[u8],
        outbox: &mut O,
    ) -> Result<(), DropReason> {
        // It may end the transport: what came before goes out first.
        self.forward_pending(outbox);
        let transport = &mut self.transports[key];
        let is_begun = transport.is_to_begin();
        if let (Phase::Dtls(engine), true) = (&mut transport.phase, is_begun) {
            *engine = Some(self.dtls.connect(now, transport.identity.fingerprints.clone()));
        }
        let engine = match &mut transport.phase {
            Phase::Ice => return Err(DropReason::DtlsUnexpected),
            Phase::Dtls(engine) => {
                engine.get_or_insert_with(|| self.dtls.accept(now, transport.identity.fingerprints.clone()))
            }
            Phase::Connected(session) => session.engine.as_mut().ok_or(DropReason::DtlsUnexpected)?,
        };
        let consumed = is_begun || engine.handle_datagram(now, datagram);
        self.drive_dtls(now, key, outbox);
        if consumed { Ok(()) } else { Err(DropReason::DtlsRefused) }
    }

    /// Sends what the engine has to say, arms its timer and follows its status.
    pub(super) fn drive_dtls<O: Outbox>(&mut self, now: Time, key: TransportKey, outbox: &mut O) {
        if let Phase::Dtls(Some(engine)) = &self.transports[key].phase
            && !matches!(engine.status(), DtlsStatus::Handshaking)
        {
            // Only who has its keys ends a handshake.
            self.input = Input::Transport(key);
        }
        let transport = &mut self.transports[key];
        // Not what is sent now: nobody has read that yet.
        let read_along = transport.ice.read_along();
        transport.send_dtls(&mut self.scratch[..], &mut self.counters, outbox);
        let Some(engine) = transport.engine() else { return };
        self.counters.add(Count::DtlsRestarts, engine.take_restarts().into());
        let due = engine.poll_timeout();
        transport.timers.set(TransportTimer::Dtls, due.unwrap_or(Time::MAX));
        let connected = transport.is_connected();
        let Some(engine) = transport.engine() else { return };
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
                    self.prove_by_handshake(now, key, read_along, outbox);
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
        self.transports.arm(key, &mut self.deadlines);
    }

    /// Who has ended a handshake has read our flights, wherever he says to be: that proves the path which they
    /// went along. If that is none, as the pair moved meanwhile, the peer is asked.
    fn prove_by_handshake<O: Outbox>(
        &mut self,
        now: Time,
        key: TransportKey,
        read_along: Option<Path>,
        outbox: &mut O,
    ) {
        let Self { transports, rng, counters, .. } = self;
        if let Some(path) = read_along {
            transports.on_proof(now, key, &path, counters);
        }
        let ice = &transports[key].ice;
        if let (None, Some(path)) = (ice.proven(), ice.selected().copied()) {
            transports.challenge(now, key, &path, rng, counters, outbox);
        }
    }

    /// Something authentic came from where nobody has proved to be: its octets pay for asking.
    pub(super) fn ask_for_proof<O: Outbox>(
        &mut self,
        now: Time,
        key: TransportKey,
        (path, octets): (&Path, usize),
        outbox: &mut O,
    ) {
        let Self { transports, rng, counters, .. } = self;
        transports[key].ice.earn(path, octets);
        if transports[key].ice.affords(path, CHALLENGE_BYTES_MAX) {
            transports.challenge(now, key, path, rng, counters, outbox);
        }
    }

    fn on_keys(&mut self, now: Time, key: TransportKey, summary: DtlsSummary) {
        let transport = &mut self.transports[key];
        let limit = transport.consent_left(now, self.config.limits.consent).unwrap_or(now);
        transport.set_phase_limit(limit);
        transport.timers.set(TransportTimer::Report, now);
        let id = transport.identity.id;
        let Phase::Dtls(Some(engine)) = std::mem::replace(&mut transport.phase, Phase::Ice) else {
            unreachable!("keys come from the engine of the DTLS phase");
        };
        let keys = &summary.keys;
        let seal = SealContext::new(keys.profile, &keys.local_key, &keys.local_salt);
        let seal =
            if self.config.four_lanes { seal.with_lane(&keys.local_key, &keys.local_salt) } else { seal };
        let session = SrtpSession {
            open: OpenContext::new(keys.profile, &keys.remote_key, &keys.remote_salt),
            seal,
            engine: Some(engine),
            profile: keys.profile,
            version: summary.version,
            group: summary.group,
        };
        self.transports.connect(key, session);
        self.counters.add(Count::TransportsConnected, 1);
        self.events.push_back(Event::Transport(id, TransportEvent::Connected));
        self.prepare_tracks(key);
        let Self { transports, tracks, deadlines, counters, .. } = self;
        keyframes::want_all(now, &transports[key], tracks, deadlines, counters);
    }

    /// Media may come and go: allocates what the tracks of a transport need for it. Before, nobody has proved
    /// anything.
    fn prepare_tracks(&mut self, key: TransportKey) {
        let transport = &mut self.transports[key];
        for index in 0..transport.ups.len() {
            let up = &mut self.tracks.ups[transport.ups[index]];
            up.prepare_with(transport);
            self.ports.begin_anew(up);
        }
        for &down_key in &transport.downs {
            self.tracks.downs[down_key].stream.prepare();
        }
    }
}
