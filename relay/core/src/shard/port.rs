//! The ports of a shard: what it writes for others and what it does with their entries.
//!
//! An up-track that comes by a port is an [`UpTrack`] like any other, in the same tables, with
//! [`Source::Port`] instead of a transport. It has no SSRC, asks nobody for lost packets (its publisher's
//! side does), and its activity is told to the controller by the publisher's shard alone. Whether a port
//! leads to another shard, to a process or to another node makes no difference here: what differs is said by
//! whoever is behind it.

use super::Shard;
use super::faults::Input;
use crate::command::{RefusalCode, Refused};
use crate::keys::{LayerKey, UpKey};
use crate::outbox::Outbox;
use crate::port::{self, OpenPort};
use crate::stats::{Count, Counters, DropReason};
use crate::time::Time;
use crate::track::{Life, Source, UpTimer, UpTrack};
use crate::up::Accepted;
use relay_port::{Entry, Load, MediaKind, Message, Packet, PortId, PortSink, PortWriter, Track};

/// One port that the shard is connected to.
struct Way {
    to: PortId,
    outlet: PortWriter<Box<dyn PortSink>>,
    /// The last opening that we were told of from there.
    seen: u64,
}

/// The ways to all ports that the shard is connected to.
#[derive(Default)]
pub(super) struct Outlets {
    list: Vec<Way>,
    openings: u64,
}

impl Outlets {
    fn way(&mut self, port: PortId) -> Option<&mut Way> {
        self.list.iter_mut().find(|way| way.to == port)
    }

    fn to(&mut self, port: PortId) -> Option<&mut PortWriter<Box<dyn PortSink>>> {
        self.way(port).map(|way| &mut way.outlet)
    }

    pub(super) fn leads_to(&self, port: PortId) -> bool {
        self.list.iter().any(|way| way.to == port)
    }

    /// Says something that will be said again, or that the next of its kind makes good.
    fn try_say(&mut self, port: PortId, message: Message, counters: &mut Counters) {
        if !self.to(port).is_some_and(|outlet| outlet.try_send(message)) {
            counters.drop(DropReason::PipeControlFull);
        }
    }

    /// What each queue has room for.
    pub(super) fn loads(&self) -> impl Iterator<Item = (PortId, Load)> {
        self.list.iter().map(|way| (way.to, way.outlet.load()))
    }

    fn change_load(&mut self, port: PortId, change: impl FnOnce(&mut Load)) {
        if let Some(outlet) = self.to(port) {
            outlet.change_load(change);
        }
    }

    fn leave(&mut self, port: PortId, kind: MediaKind) {
        self.change_load(port, |load| *load.of(kind) = load.of(kind).saturating_sub(1));
    }

    /// Instead of all that is overdue: this shard begins anew.
    pub(super) fn say_reset(&mut self) {
        for way in &mut self.list {
            way.outlet.clear();
            way.outlet.send(Message::Reset { opening: way.seen });
        }
    }

    pub(super) fn say(&mut self, port: PortId, message: Message) {
        if let Some(outlet) = self.to(port) {
            outlet.send(message);
        }
    }

    /// Writes what is overdue, as far as there is room, and wakes whoever was written to. What still waits is
    /// tried again in the next turn: while packets flow at once, else within the second in which every worker
    /// turns.
    fn ring(&mut self) {
        self.list.iter_mut().for_each(|way| way.outlet.flush());
    }
}

impl Shard {
    /// From now on this shard may write to port `to`. Replaces nothing: a port is connected once.
    pub fn connect_port(&mut self, to: PortId, sink: Box<dyn PortSink>) {
        debug_assert!(self.outlets.to(to).is_none(), "connected once");
        self.outlets.list.push(Way { to, outlet: PortWriter::new(sink), seen: 0 });
    }

    /// What is behind a port is gone: so are the tracks that came by it, and nothing is sent there any more.
    pub fn disconnect_port<O: Outbox>(&mut self, port: PortId, outbox: &mut O) {
        self.forward_pending(outbox);
        self.on_reset(port, u64::MAX);
        self.outlets.list.retain(|way| way.to != port);
    }

    /// To be called after a batch, and after all that may have written to a port: at most one wake-up each.
    pub fn ring_ports(&mut self) {
        self.outlets.ring();
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
            Source::Peer(key) => Some((up_key, self.transports[key].is_connected())),
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
        let opening = self.outlets.openings + 1;
        let begin = begin(up, opening, connected);
        if !self.outlets.to(order.to).is_some_and(|outlet| outlet.try_send(begin)) {
            return Err(Refused::new(RefusalCode::Busy, "the queue to the port is full; retry"));
        }
        self.outlets.openings = opening;
        match up.ports.iter_mut().find(|(port, _)| *port == order.to) {
            Some(port) => port.1 = opening,
            None => {
                up.ports.push((order.to, opening));
                let kind = up.params.kind;
                self.outlets.change_load(order.to, |load| *load.of(kind) += 1);
            }
        }
        self.tell_clock(up_key);
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
                    let reference = port::reference_of(clock, self.room_clock);
                    self.tracks.layer_mut(LayerKey::first(up_key)).stream.set_port_clock(reference);
                    self.tell_clock(up_key);
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
                    self.want_keyframe(now, LayerKey::first(up_key));
                }
            }
            Message::Close { track_id, opening } => {
                if let Some(up_key) = self.tracks.up_key(track_id) {
                    let up = &mut self.tracks.ups[up_key];
                    close_ports(up, &mut self.outlets, |port| *port == (from, opening));
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
            close_ports(up, &mut self.outlets, |(port, opening)| *port == from && *opening <= seen);
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
        if self.tracks.layer(key).sources != packet.source {
            self.forward(key, outbox);
            let layer = self.tracks.layer_mut(key);
            layer.sources = packet.source;
            layer.stream.forget_port_clock();
            self.await_keyframes(key);
        }
        let stream = &mut self.tracks.layer_mut(key).stream;
        let meta = port::meta_of(packet, self.room_clock);
        let accepted = stream.on_port_packet(now, packet.seq, payload, meta).ok_or(DropReason::PipeStale)?;
        self.counters.add(Count::PipeAccepted, 1);
        self.pass_on(now, key, accepted, outbox);
        Ok(())
    }

    fn on_begin(&mut self, now: Time, from: PortId, (track_id, opening): (u64, u64), track: &Track) {
        let life = if track.held { Life::Held } else { Life::Used };
        let source = Source::Port { port: from, opening, life };
        let until = now + self.config.limits.port_idle;
        if let Some(way) = self.outlets.way(from) {
            way.seen = opening;
        }
        let up_key = match self.tracks.up_key(track_id) {
            Some(up_key) if self.tracks.up(up_key).source.is_port(from) => up_key,
            // An id that is in use here: the controller gave it away twice, at the same moment.
            _ if self.tracks.is_used(track_id) => {
                return self.outlets.say(from, Message::Close { track_id, opening });
            }
            _ => {
                let params = port::params_of(track);
                self.outlets.change_load(from, |load| load.back += 1);
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
            self.outlets.say(port, Message::Close { track_id, opening });
        } else {
            up.timers.set(UpTimer::Silence, now + self.config.limits.port_idle);
            self.tracks.ups[up_key].arm(up_key, &mut self.deadlines);
        }
    }

    /// Writes a packet that is in the history once for each port that the track is sent to: of the first layer.
    pub(super) fn send_to_ports(&mut self, key: LayerKey, accepted: &Accepted) {
        let up = &self.tracks.ups[key.up];
        if up.ports.is_empty() || key != LayerKey::first(key.up) {
            return;
        }
        let layer = self.tracks.layer(key);
        let Some(stored) = layer.stream.packet(accepted.seq) else { return };
        let packet = port::packet_of((up.id, accepted.seq, layer.sources), &stored.meta, self.room_clock);
        for &(port, _) in &up.ports {
            self.counters.add(Count::PipeOffered, 1);
            if self.outlets.to(port).is_some_and(|outlet| outlet.try_send_packet(packet, stored.payload)) {
                self.counters.add(Count::PipeSent, 1);
            } else {
                self.counters.drop(DropReason::PipeFull);
            }
        }
    }

    /// Asks the publisher's side for a keyframe, if the merged requests say that it is time.
    pub(super) fn ask_port_for_keyframe(&mut self, now: Time, up_key: UpKey, port: PortId) {
        let track_id = self.tracks.up(up_key).id;
        if self.tracks.layer_mut(LayerKey::first(up_key)).stream.keyframes.poll(now).is_some() {
            self.counters.add(Count::PipeKeyframesAsked, 1);
            self.outlets.try_say(port, Message::Keyframe { track_id }, &mut self.counters);
        }
    }

    /// Tells the ports where an up-track's clock stands, as its publisher reported it.
    pub(super) fn tell_clock(&mut self, up_key: UpKey) {
        let up = &self.tracks.ups[up_key];
        if up.ports.is_empty() {
            return;
        }
        let stream = &self.tracks.layer(LayerKey::first(up_key)).stream;
        let reference = match up.source {
            Source::Peer(key) => stream.reported_reference(&self.transports[key].receiving.clock),
            Source::Port { .. } => stream.port_clock(),
        };
        let Some(reference) = reference else { return };
        let clock = port::clock_of(reference, self.room_clock);
        for &(port, _) in &up.ports {
            self.outlets.try_say(port, Message::Clock { track_id: up.id, clock }, &mut self.counters);
        }
    }

    /// Tells the ports that the publisher of an up-track has keys.
    pub(super) fn begin_at_ports_anew(&mut self, up_key: UpKey) {
        let up = &self.tracks.ups[up_key];
        for &(port, opening) in &up.ports {
            self.outlets.say(port, begin(up, opening, true));
        }
    }

    /// Tells the ports that an up-track is gone, and gives back what it had of the queues.
    pub(super) fn end_at_ports(&mut self, up: &UpTrack) {
        for &(port, _) in &up.ports {
            self.outlets.say(port, Message::End { track_id: up.id });
            self.outlets.leave(port, up.params.kind);
        }
        if let Source::Port { port, .. } = up.source {
            self.outlets.change_load(port, |load| load.back = load.back.saturating_sub(1));
        }
    }

    /// An up-track that comes by this port.
    fn came_by(&self, track_id: u64, from: PortId) -> Option<UpKey> {
        self.tracks.up_key(track_id).filter(|key| self.tracks.up(*key).source.is_port(from))
    }
}

/// Forgets the ports of a track behind which nobody listens any more.
fn close_ports(up: &mut UpTrack, outlets: &mut Outlets, is_closed: impl Fn(&(PortId, u64)) -> bool) {
    let kind = up.params.kind;
    up.ports.retain(|port| {
        let closed = is_closed(port);
        if closed {
            outlets.leave(port.0, kind);
        }
        !closed
    });
}

fn begin(up: &UpTrack, opening: u64, connected: bool) -> Message {
    Message::Begin { track_id: up.id, opening, track: port::track_of(up, connected) }
}
