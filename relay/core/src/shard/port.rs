//! What comes by the ports of a shard, and the orders about them. What it says to them is [`crate::ports`].
//!
//! An up-track that comes by a port is an [`UpTrack`] like any other, in the same tables, with
//! [`Source::Port`] instead of a transport. It has no SSRC, asks nobody for lost packets (its publisher's
//! side does), and its activity is told to the controller by the publisher's shard alone. Whether a port
//! leads to another shard, to a process or to another node makes no difference here: what differs is said by
//! whoever is behind it.

use super::faults::Input;
use super::{Shard, keyframes};
use crate::command::{RefusalCode, Refused};
use crate::keys::{LayerKey, UpKey};
use crate::outbox::Outbox;
use crate::port::{self, OpenPort};
use crate::stats::{Count, DropReason};
use crate::time::Time;
use crate::track::{Life, Source, UpTimer, UpTrack};
use relay_port::{Entry, Message, Packet, PortId, PortSink, Track};

impl Shard {
    /// From now on this shard may write to port `to`. Replaces nothing: a port is connected once.
    pub fn connect_port(&mut self, to: PortId, sink: Box<dyn PortSink>) {
        self.ports.connect(to, sink);
    }

    /// What is behind a port is gone: so are the tracks that came by it, and nothing is sent there any more.
    pub fn disconnect_port<O: Outbox>(&mut self, port: PortId, outbox: &mut O) {
        self.forward_pending(outbox);
        self.on_reset(port, u64::MAX);
        self.ports.disconnect(port);
    }

    /// To be called after a batch, and after all that may have written to a port: at most one wake-up each.
    pub fn ring_ports(&mut self) {
        self.ports.flush();
    }

    /// Begins to send an up-track to a port, or keeps on doing so. When it is done, whoever is behind the
    /// port reads of the track before anything that is told to him later on another way.
    ///
    /// # Errors
    /// Why it does not; then nothing has changed.
    pub fn open_port(&mut self, order: OpenPort) -> Result<(), Refused> {
        self.input = Input::Track(order.track_id);
        let opened = self.try_open_port(order);
        self.input = Input::None;
        opened
    }

    fn try_open_port(&mut self, order: OpenPort) -> Result<(), Refused> {
        let connected = |up_key| match self.tracks.up(up_key).source {
            Source::Peer(key) => Some((up_key, self.transports.is_connected(key))),
            Source::Port { life: Life::Held, .. } => Some((up_key, true)),
            // Its home is elsewhere.
            Source::Port { .. } => None,
        };
        let (up_key, connected) =
            (self.tracks.up_key(order.track_id).and_then(connected)).ok_or_else(|| {
                Refused::new(RefusalCode::UnknownTrack, "up_track_id is no up-track of this shard")
            })?;
        let up = &mut self.tracks.ups[up_key];
        if order.room_id.is_some_and(|room_id| room_id != up.room_id) {
            return Err(Refused::new(RefusalCode::Mismatch, "the up-track belongs to another room"));
        }
        if !self.ports.open(up, order.to, connected) {
            return Err(Refused::new(RefusalCode::Busy, "the queue to the port is full; retry"));
        }
        self.ports.tell_clock(up, &self.transports, &mut self.counters);
        Ok(())
    }

    /// Takes one entry of the queue from port `from`. Packets wait for [`Shard::forward_pending`], as
    /// received ones do.
    pub fn handle_entry<O: Outbox>(&mut self, now: Time, from: PortId, entry: &mut Entry, outbox: &mut O) {
        let (message, payload) = entry.take();
        self.input = message.track_id().map_or(Input::None, Input::Track);
        match message {
            Message::Empty => debug_assert!(false, "nothing is committed unwritten"),
            Message::Packet(packet) => {
                self.counters.add(Count::PipeReceived, 1);
                if let Err(reason) = self.on_port_packet(now, from, (&packet, payload), outbox) {
                    self.counters.drop(reason);
                }
            }
            Message::Begin { track_id, opening, track } => {
                self.on_begin(now, from, (track_id, opening), &track)
            }
            Message::Clock { track_id, clock } => {
                if let Some(up_key) = self.came_by(track_id, from) {
                    let reference = port::reference_of(clock, self.ports.clock());
                    self.tracks.layer_mut(LayerKey::first(up_key)).stream.set_port_clock(reference);
                    self.ports.tell_clock(self.tracks.up(up_key), &self.transports, &mut self.counters);
                }
            }
            Message::End { track_id } => {
                if let Some(up_key) = self.came_by(track_id, from) {
                    self.forward_pending(outbox);
                    self.remove_up_track(up_key);
                }
            }
            Message::Keyframe { track_id } => {
                if let Some(up_key) = self.tracks.up_key(track_id) {
                    let Self { tracks, deadlines, counters, .. } = self;
                    keyframes::on_port_request(now, from, up_key, tracks, deadlines, counters);
                }
            }
            Message::Close { track_id, opening } => {
                if let Some(up_key) = self.tracks.up_key(track_id) {
                    let up = &mut self.tracks.ups[up_key];
                    self.ports.close(up, |at| (at.port, at.opening) == (from, opening));
                }
            }
            Message::Fault { track_id } => {
                self.forward_pending(outbox);
                self.end_publisher(track_id);
            }
            Message::Reset { opening } => {
                self.forward_pending(outbox);
                self.on_reset(from, opening);
            }
        }
        self.input = Input::None;
    }

    /// Who is behind a port has begun anew: what came from there is gone, and what was sent there goes
    /// nowhere.
    fn on_reset(&mut self, from: PortId, seen: u64) {
        let came = self.tracks.ups.iter().filter(|(_, up)| up.source.is_port(from));
        let came: Vec<UpKey> = came.map(|(key, _)| key).collect();
        came.into_iter().for_each(|up_key| self.remove_up_track(up_key));
        for up in self.tracks.ups.values_mut() {
            self.ports.close(up, |at| at.port == from && at.opening <= seen);
        }
    }

    /// The same walk as a packet of this shard's own, but that its payload is copied into the history instead
    /// of decrypted.
    fn on_port_packet<O: Outbox>(
        &mut self,
        now: Time,
        from: PortId,
        (packet, payload): (&Packet, &[u8]),
        outbox: &mut O,
    ) -> Result<(), DropReason> {
        let up_key = self.came_by(packet.track_id, from).ok_or(DropReason::PipeStale)?;
        let key = LayerKey::first(up_key);
        if self.tracks.layer(key).changes != packet.source {
            self.forward(key, outbox);
            let layer = self.tracks.layer_mut(key);
            layer.changes = packet.source;
            layer.stream.forget_port_clock();
            keyframes::await_from(key, &mut self.tracks);
        }
        let stream = &mut self.tracks.layer_mut(key).stream;
        let meta = port::meta_of(packet, self.ports.clock());
        let accepted = stream.on_port_packet(now, packet.seq, payload, meta).ok_or(DropReason::PipeStale)?;
        self.counters.add(Count::PipeAccepted, 1);
        self.pass_on(now, key, accepted, outbox);
        Ok(())
    }

    fn on_begin(&mut self, now: Time, from: PortId, (track_id, opening): (u64, u64), track: &Track) {
        let life = if track.held { Life::Held } else { Life::Used };
        let source = Source::Port { port: from, opening, life };
        let until = now + self.config.limits.port_idle;
        self.ports.note_begin(from, opening);
        let up_key = match self.tracks.up_key(track_id) {
            Some(up_key) if self.tracks.up(up_key).source.is_port(from) => up_key,
            // An id that is in use here: the controller gave it away twice, at the same moment.
            _ if self.tracks.is_used(track_id) => {
                return self.ports.say(from, Message::Close { track_id, opening });
            }
            _ => {
                let params = port::params_of(track);
                self.ports.make_room_for_source(from);
                let room_id = track.room_id;
                self.tracks.insert_up(UpTrack::new(track_id, source, room_id, params, track.priority, now))
            }
        };
        let up = &mut self.tracks.ups[up_key];
        up.source = source;
        if track.connected {
            up.prepare();
        }
        up.timers.set(UpTimer::Silence, until);
        self.tracks.ups[up_key].arm(up_key, &mut self.deadlines);
    }

    /// Looks whether anybody listens to a track that is not held here. If nobody did at two looks in a row,
    /// it is closed: a subscriber that was just announced has that long to come, and one that comes back soon
    /// finds it open.
    pub(super) fn check_use(&mut self, now: Time, up_key: UpKey) {
        let up = &mut self.tracks.ups[up_key];
        let wanted = up.is_wanted();
        let Source::Port { port, opening, life } = &mut up.source else { return };
        let (port, opening, before) = (*port, *opening, *life);
        *life = match before {
            Life::Held => return self.tracks.ups[up_key].arm(up_key, &mut self.deadlines),
            _ if wanted => Life::Used,
            _ => Life::Idle,
        };
        if before == Life::Idle && !wanted {
            let track_id = up.id;
            self.remove_up_track(up_key);
            self.ports.say(port, Message::Close { track_id, opening });
        } else {
            up.timers.set(UpTimer::Silence, now + self.config.limits.port_idle);
            self.tracks.ups[up_key].arm(up_key, &mut self.deadlines);
        }
    }

    /// An up-track that comes by this port.
    fn came_by(&self, track_id: u64, from: PortId) -> Option<UpKey> {
        self.tracks.up_key(track_id).filter(|key| self.tracks.up(*key).source.is_port(from))
    }
}
