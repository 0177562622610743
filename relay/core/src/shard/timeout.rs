//! What happens when time passes: limits of a transport's phase, feedback that is due, silence, and the end of things.

use super::Shard;
use super::dtls::engine;
use super::faults::Input;
use crate::keys::{DownKey, TransportKey, UpKey};
use crate::media::{Event, FailReason, TransportEvent};
use crate::outbox::Outbox;
use crate::stats::{Count, DropReason};
use crate::time::Time;
use crate::timers::{Deadlines, TimerOwner};
use crate::track::{DownTimer, Source, UpTimer};
use crate::transport::{Phase, TransportTimer};

impl Shard {
    /// Does everything that is due, and some of the handshakes that wait.
    pub fn handle_timeout<O: Outbox>(&mut self, now: Time, outbox: &mut O) {
        self.handle_handshakes(now, outbox);
        self.handle_deadlines(now, outbox);
    }

    /// The handshakes of [`Shard::handle_timeout`] alone, for those who take the time of them.
    pub fn handle_handshakes<O: Outbox>(&mut self, now: Time, outbox: &mut O) {
        self.forward_pending(outbox);
        self.step_handshakes(now, outbox);
    }

    /// What else [`Shard::handle_timeout`] does.
    pub fn handle_deadlines<O: Outbox>(&mut self, now: Time, outbox: &mut O) {
        self.forward_pending(outbox);
        while let Some((at, owner)) = self.deadlines.pop_due(now) {
            self.input = match owner {
                TimerOwner::Transport(key) => Input::Transport(key),
                TimerOwner::Up(key) => Input::Up(key),
                TimerOwner::Down(key) => {
                    self.tracks.downs.get(key).map_or(Input::None, |down| Input::Transport(down.transport))
                }
            };
            match owner {
                TimerOwner::Transport(key) => {
                    if let Some(transport) = self.transports.get_mut(key)
                        && Deadlines::<TimerOwner>::fired(at, &mut transport.timers)
                    {
                        self.on_transport_timeout(now, key, outbox);
                    }
                }
                TimerOwner::Up(key) => {
                    if let Some(up) = self.tracks.ups.get_mut(key)
                        && Deadlines::<TimerOwner>::fired(at, &mut up.timers)
                    {
                        self.on_up_timeout(now, key, outbox);
                    }
                }
                TimerOwner::Down(key) => {
                    if let Some(down) = self.tracks.downs.get_mut(key)
                        && Deadlines::<TimerOwner>::fired(at, &mut down.timers)
                    {
                        if down.timers.take_due(DownTimer::Report, now) {
                            self.send_sender_report(now, key, outbox);
                        }
                        self.tracks.downs[key].arm(key, &mut self.deadlines);
                    }
                }
            }
            self.input = Input::None;
        }
    }

    fn on_transport_timeout<O: Outbox>(&mut self, now: Time, key: TransportKey, outbox: &mut O) {
        let timers = &mut self.transports[key].timers;
        let due =
            [TransportTimer::Phase, TransportTimer::Dtls, TransportTimer::Feedback, TransportTimer::Report]
                .map(|t| timers.take_due(t, now));
        let [phase, dtls, feedback, report] = due;
        if phase && let Some(reason) = self.check_phase_limit(now, key) {
            return self.fail_transport(key, reason);
        }
        if feedback {
            self.send_transport_feedback(now, key, outbox);
        }
        if report {
            self.send_report(now, key, outbox);
        }
        if dtls {
            // What a record left in the engine may come to light here.
            self.input = Input::Record(key);
            if let Some(engine) = engine(&mut self.transports[key].phase) {
                engine.handle_timeout(now);
            }
            // Arms the transport, or ends it.
            return self.drive_dtls(now, key, None, outbox);
        }
        self.arm_transport(key);
    }

    /// Whether a phase has lasted too long, and what that is called.
    fn check_phase_limit(&mut self, now: Time, key: TransportKey) -> Option<FailReason> {
        match self.transports[key].phase {
            Phase::Ice => Some(FailReason::IceTimeout),
            Phase::Dtls(_) => Some(FailReason::DtlsFailed),
            Phase::Connected(_) => match self.consent_left(key, now) {
                Some(until) => {
                    self.transports[key].set_phase_limit(until);
                    None
                }
                None => Some(FailReason::ConsentExpired),
            },
        }
    }

    fn on_up_timeout<O: Outbox>(&mut self, now: Time, key: UpKey, outbox: &mut O) {
        let timers = &mut self.tracks.ups[key].timers;
        let due = [UpTimer::Nack, UpTimer::Keyframe, UpTimer::Silence].map(|t| timers.take_due(t, now));
        let [nack, keyframe, silence] = due;
        if nack {
            self.send_nacks(now, key, outbox);
        }
        if keyframe {
            self.send_keyframe_request(now, key, outbox);
        }
        if silence {
            match self.tracks.up(key).source {
                Source::Peer(_) => self.check_silence(now, key),
                // Arms it, or ends it.
                Source::Port { .. } => return self.check_use(now, key),
            }
        }
        self.tracks.ups[key].arm(key, &mut self.deadlines);
    }

    fn check_silence(&mut self, now: Time, key: UpKey) {
        let up = &mut self.tracks.ups[key];
        let until = up.last_packet() + self.config.limits.silence;
        if until > now {
            up.timers.set(UpTimer::Silence, until);
        } else {
            up.active = false;
            self.events.push_back(Event::Activity(up.id, false));
        }
    }

    /// Ends a transport on the relay's own account.
    pub(super) fn fail_transport(&mut self, key: TransportKey, reason: FailReason) {
        let id = self.transports[key].identity.id;
        self.remove_transport(key);
        self.events.push_back(Event::Transport(id, TransportEvent::Failed(reason)));
    }

    /// Forgets a transport: its addresses, its ufrags, its tracks.
    pub(super) fn remove_transport(&mut self, key: TransportKey) {
        for down_key in std::mem::take(&mut self.transports[key].downs) {
            self.tracks.remove_down(down_key);
        }
        for up_key in std::mem::take(&mut self.transports[key].ups) {
            self.remove_up_track(up_key);
        }
        let Some(transport) = self.transports.remove(key) else { return };
        if transport.dtls_waiting > 0 {
            let forgotten = self.handshakes.forget(key);
            self.counters.drop_many(DropReason::DtlsUnexpected, forgotten as u64);
        }
        self.demux.remove_ufrag(&transport.ice.local.ufrag);
        if let Some(previous) = &transport.ice.previous {
            self.demux.remove_ufrag(&previous.ufrag);
        }
        for path in transport.ice.paths() {
            self.demux.unbind(&path, key);
        }
        self.counters.add(Count::TransportsClosed, 1);
    }

    /// Removes an up-track by command.
    pub(super) fn remove_up(&mut self, up_key: UpKey) {
        // What comes by a port ends with it, not by command.
        let Source::Peer(key) = self.tracks.up(up_key).source else { return };
        self.transports[key].ups.retain(|k| *k != up_key);
        self.transports[key].receiving.forget(up_key);
        self.remove_up_track(up_key);
    }

    /// Removes a down-track by command.
    pub(super) fn remove_down(&mut self, down_key: DownKey) {
        let down = self.tracks.remove_down(down_key);
        self.transports[down.transport].downs.retain(|k| *k != down_key);
    }

    /// Removes an up-track with what it feeds, here and behind ports.
    pub(super) fn remove_up_track(&mut self, up_key: UpKey) {
        // Taken whole: looked up one by one, the end of a large audience would be quadratic.
        let layers = &mut self.tracks.ups[up_key].layers;
        let subscribers: Vec<Vec<DownKey>> =
            layers.iter_mut().map(|l| std::mem::take(&mut l.subscribers)).collect();
        for down_key in subscribers.into_iter().flatten() {
            self.remove_down(down_key);
        }
        let up = self.tracks.remove_up(up_key);
        self.end_at_ports(&up);
    }
}
