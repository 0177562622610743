//! What happens when time passes: limits of a transport's phase, feedback that is due, silence, and the end
//! of things.

use super::faults::Input;
use super::{Shard, feedback, keyframes};
use crate::keys::{DownKey, TransportKey, UpKey};
use crate::media::{Event, FailReason, Policed, TransportEvent};
use crate::outbox::Outbox;
use crate::stats::{Count, DropReason};
use crate::time::Time;
use crate::timers::{Deadlines, TimerOwner};
use crate::track::{DownTimer, Source, UpTimer, UpTrack, Ups};
use crate::transport::{Phase, Transport, TransportTimer};
use std::collections::VecDeque;
use std::time::Duration;

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
                        self.on_down_timeout(now, key, outbox);
                    }
                }
            }
            self.input = Input::None;
        }
    }

    fn on_transport_timeout<O: Outbox>(&mut self, now: Time, key: TransportKey, outbox: &mut O) {
        let transport = &mut self.transports[key];
        let timers = &mut transport.timers;
        let due =
            [TransportTimer::Phase, TransportTimer::Dtls, TransportTimer::Feedback, TransportTimer::Report]
                .map(|t| timers.take_due(t, now));
        let [phase, dtls, wants_feedback, report] = due;
        if phase {
            match check_phase_limit(now, transport, self.config.limits.consent) {
                Ok(until) => transport.set_phase_limit(until),
                Err(reason) => return self.fail_transport(key, reason),
            }
        }
        if wants_feedback {
            feedback::send_transport_feedback(now, transport, &mut self.counters, outbox);
        }
        if report {
            feedback::send_report(now, transport, &mut self.tracks.ups, &mut self.counters, outbox);
            say_policed(now, transport, &mut self.tracks.ups, &mut self.events);
        }
        if dtls && transport.is_to_begin() {
            self.begin_again(now, key, outbox);
            return self.transports.arm(key, &mut self.deadlines);
        }
        if dtls {
            // What a record left in the engine may come to light here.
            self.input = Input::Record(key);
            if let Some(engine) = transport.engine() {
                engine.handle_timeout(now);
            }
            // Arms the transport, or ends it.
            return self.drive_dtls(now, key, outbox);
        }
        transport.arm(key, &mut self.deadlines);
    }

    fn on_down_timeout<O: Outbox>(&mut self, now: Time, key: DownKey, outbox: &mut O) {
        let Self { tracks, transports, config, counters, deadlines, .. } = self;
        let timers = &mut tracks.downs[key].timers;
        let [report, keyframe] = [DownTimer::Report, DownTimer::Keyframe].map(|t| timers.take_due(t, now));
        if report {
            feedback::send_sender_report(now, key, tracks, transports, config.ntp, counters, outbox);
        }
        if keyframe {
            keyframes::on_due(now, key, tracks, deadlines, counters);
        }
        tracks.downs[key].arm(key, deadlines);
    }

    fn on_up_timeout<O: Outbox>(&mut self, now: Time, key: UpKey, outbox: &mut O) {
        let Self { tracks, transports, ports, counters, .. } = self;
        let up = &mut tracks.ups[key];
        let timers = &mut up.timers;
        let due = [UpTimer::Nack, UpTimer::PortKeyframe, UpTimer::Keyframe, UpTimer::Silence]
            .map(|t| timers.take_due(t, now));
        let [nack, port_keyframe, keyframe, silence] = due;
        if port_keyframe {
            keyframes::on_port_due(now, up);
        }
        if nack {
            feedback::send_nacks(now, up, transports, counters, outbox);
        }
        if keyframe {
            keyframes::ask_publisher(now, up, transports, ports, counters, outbox);
        }
        if silence {
            match up.source {
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
        let transport = &mut self.transports[key];
        let (downs, ups) = (std::mem::take(&mut transport.downs), std::mem::take(&mut transport.ups));
        for down_key in downs {
            self.tracks.remove_down(down_key);
        }
        for up_key in ups {
            self.remove_up_track(up_key);
        }
        let Some(transport) = self.transports.remove(key) else { return };
        if transport.dtls_waiting > 0 {
            let forgotten = self.handshakes.forget(key);
            self.counters.drop_many(DropReason::DtlsUnexpected, forgotten as u64);
        }
        self.counters.add(Count::TransportsClosed, 1);
    }

    /// Removes an up-track by command.
    pub(super) fn remove_up(&mut self, up_key: UpKey) {
        // What comes by a port ends with it, not by command.
        let Source::Peer(key) = self.tracks.up(up_key).source else { return };
        self.transports[key].forget_up(up_key);
        self.remove_up_track(up_key);
    }

    /// Removes a down-track by command.
    pub(super) fn remove_down(&mut self, down_key: DownKey) {
        let down = self.tracks.remove_down(down_key);
        self.transports[down.transport].forget_down(down_key);
    }

    /// Removes an up-track with what it feeds, here and behind ports.
    pub(super) fn remove_up_track(&mut self, up_key: UpKey) {
        let up = self.tracks.remove_up(up_key, &mut self.transports);
        self.ports.end(&up);
    }
}

/// Tells the controller whose packets were discarded for sending too much.
fn say_policed(now: Time, publisher: &Transport, ups: &mut Ups, events: &mut VecDeque<Event>) {
    let bitrate_bps = publisher.receiving.policer.bitrate_bps();
    for key in &publisher.ups {
        let UpTrack { id: track_id, policed, .. } = &mut ups[*key];
        if let Some(packets) = policed.poll(now) {
            events.push_back(Event::Policed(Policed { track_id: *track_id, packets, bitrate_bps }));
        }
    }
}

/// Until when a phase may last from now on; if it has lasted too long, what that is called.
fn check_phase_limit(now: Time, transport: &Transport, consent: Duration) -> Result<Time, FailReason> {
    match transport.phase {
        Phase::Ice => Err(FailReason::IceTimeout),
        Phase::Dtls(_) => Err(FailReason::DtlsFailed),
        Phase::Connected(_) => transport.consent_left(now, consent).ok_or(FailReason::ConsentExpired),
    }
}
