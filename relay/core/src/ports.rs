//! The ports that a shard is connected to, and what it says to them.

use crate::down::KeyframeBudget;
use crate::port;
use crate::stats::{Count, Counters, DropReason};
use crate::time::{RoomClock, Time};
use crate::track::{Listener, Source, UpTrack};
use crate::transports::Transports;
use crate::up::Accepted;
use relay_port::{Load, MediaKind, Message, PortId, PortSink, PortWriter};

struct Connected {
    port: PortId,
    writer: PortWriter<Box<dyn PortSink>>,
    /// The last opening that we were told of from there.
    seen: u64,
}

pub(crate) struct Ports {
    connected: Vec<Connected>,
    /// How often a track was opened at one of them.
    openings: u64,
    clock: RoomClock,
}

impl Ports {
    pub(crate) const fn new(clock: RoomClock) -> Self {
        Self { connected: Vec::new(), openings: 0, clock }
    }

    /// From now on the shard may write to a port, which it was not connected to.
    pub(crate) fn connect(&mut self, port: PortId, sink: Box<dyn PortSink>) {
        debug_assert!(!self.is_connected(port), "connected once");
        self.connected.push(Connected { port, writer: PortWriter::new(sink), seen: 0 });
    }

    /// Nothing is written there any more.
    pub(crate) fn disconnect(&mut self, port: PortId) {
        self.connected.retain(|connected| connected.port != port);
    }

    /// What all of them go by.
    pub(crate) const fn clock(&self) -> RoomClock {
        self.clock
    }

    /// Begins to send an up-track to a port, or says anew that it does. False: its queue is full.
    pub(crate) fn open(&mut self, up: &mut UpTrack, to: PortId, is_publishing: bool) -> bool {
        let opening = self.openings + 1;
        let begin = begin(up, opening, is_publishing);
        if !self.writer(to).is_some_and(|writer| writer.try_send(begin)) {
            return false;
        }
        self.openings = opening;
        match up.ports.iter_mut().find(|listener| listener.port == to) {
            Some(listener) => listener.opening = opening,
            None => {
                up.ports.push(Listener { port: to, opening, keyframes: KeyframeBudget::default() });
                self.change_load(to, |load| *load.of(up.params.kind) += 1);
            }
        }
        true
    }

    /// A port says that a track begins.
    pub(crate) fn note_begin(&mut self, from: PortId, opening: u64) {
        if let Some(connected) = self.find(from) {
            connected.seen = opening;
        }
    }

    /// One more track comes by a port, about which something may have to be said there.
    pub(crate) fn make_room_for_source(&mut self, from: PortId) {
        self.change_load(from, |load| load.back += 1);
    }

    fn find(&mut self, port: PortId) -> Option<&mut Connected> {
        self.connected.iter_mut().find(|connected| connected.port == port)
    }

    fn writer(&mut self, port: PortId) -> Option<&mut PortWriter<Box<dyn PortSink>>> {
        self.find(port).map(|connected| &mut connected.writer)
    }

    pub(crate) fn is_connected(&self, port: PortId) -> bool {
        self.connected.iter().any(|connected| connected.port == port)
    }

    /// Says something that will be said again, or that the next of its kind makes good.
    fn try_say(&mut self, port: PortId, message: Message, counters: &mut Counters) {
        if !self.writer(port).is_some_and(|writer| writer.try_send(message)) {
            counters.drop(DropReason::PipeControlFull);
        }
    }

    /// What each queue has room for.
    pub(crate) fn loads(&self) -> impl Iterator<Item = (PortId, Load)> {
        self.connected.iter().map(|connected| (connected.port, connected.writer.load()))
    }

    fn change_load(&mut self, port: PortId, change: impl FnOnce(&mut Load)) {
        if let Some(writer) = self.writer(port) {
            writer.change_load(change);
        }
    }

    fn leave(&mut self, port: PortId, kind: MediaKind) {
        self.change_load(port, |load| *load.of(kind) = load.of(kind).saturating_sub(1));
    }

    /// Instead of all that is overdue: this shard begins anew.
    pub(crate) fn say_reset(&mut self) {
        for Connected { writer, seen, .. } in &mut self.connected {
            writer.clear();
            writer.send(Message::Reset { opening: *seen });
        }
    }

    pub(crate) fn say(&mut self, port: PortId, message: Message) {
        if let Some(writer) = self.writer(port) {
            writer.send(message);
        }
    }

    /// Writes what is overdue, as far as there is room, and wakes whoever was written to. What still waits is
    /// tried again in the next turn: while packets flow at once, else within the second in which every worker
    /// turns.
    pub(crate) fn flush(&mut self) {
        self.connected.iter_mut().for_each(|connected| connected.writer.flush());
    }

    /// Writes a packet that is in the history once for each port that the track is sent to: of the first
    /// layer.
    pub(crate) fn send(&mut self, up: &UpTrack, layer: u8, accepted: &Accepted, counters: &mut Counters) {
        if up.ports.is_empty() || layer != 0 {
            return;
        }
        let Some(layer) = up.layers.first() else { return };
        let Some(stored) = layer.stream.packet(accepted.seq) else { return };
        let packet = port::packet_of((up.id, accepted.seq, layer.changes), &stored.meta, self.clock);
        for &Listener { port, .. } in &up.ports {
            counters.add(Count::PipeOffered, 1);
            if self.writer(port).is_some_and(|writer| writer.try_send_packet(packet, stored.payload)) {
                counters.add(Count::PipeSent, 1);
            } else {
                counters.drop(DropReason::PipeFull);
            }
        }
    }

    /// Asks the publisher's side for a keyframe, if the merged requests say that it is time.
    pub(crate) fn ask_for_keyframe(
        &mut self,
        now: Time,
        up: &mut UpTrack,
        port: PortId,
        counters: &mut Counters,
    ) {
        let asks = up.layers.first_mut().is_some_and(|layer| layer.stream.poll_keyframe(now).is_some());
        if asks {
            counters.add(Count::PipeKeyframesAsked, 1);
            self.try_say(port, Message::Keyframe { track_id: up.id }, counters);
        }
    }

    /// Tells the ports where an up-track's clock stands, as its publisher reported it.
    pub(crate) fn tell_clock(&mut self, up: &UpTrack, transports: &Transports, counters: &mut Counters) {
        if up.ports.is_empty() {
            return;
        }
        let Some(reference) = up.reported_clock(transports) else { return };
        let clock = port::clock_of(reference, self.clock);
        for &Listener { port, .. } in &up.ports {
            self.try_say(port, Message::Clock { track_id: up.id, clock }, counters);
        }
    }

    /// Tells the ports that the publisher of an up-track has keys.
    pub(crate) fn begin_anew(&mut self, up: &UpTrack) {
        for &Listener { port, opening, .. } in &up.ports {
            self.say(port, begin(up, opening, true));
        }
    }

    /// Tells the ports that an up-track is gone, and gives back what it had of the queues.
    pub(crate) fn end(&mut self, up: &UpTrack) {
        for &Listener { port, .. } in &up.ports {
            self.say(port, Message::End { track_id: up.id });
            self.leave(port, up.params.kind);
        }
        if let Source::Port { port, .. } = up.source {
            self.change_load(port, |load| load.back = load.back.saturating_sub(1));
        }
    }

    /// Forgets the ports of a track behind which nobody listens any more.
    pub(crate) fn close(&mut self, up: &mut UpTrack, is_closed: impl Fn(&Listener) -> bool) {
        let kind = up.params.kind;
        up.ports.retain(|listener| {
            let closed = is_closed(listener);
            if closed {
                self.leave(listener.port, kind);
            }
            !closed
        });
    }
}

fn begin(up: &UpTrack, opening: u64, connected: bool) -> Message {
    Message::Begin { track_id: up.id, opening, track: port::track_of(up, connected) }
}
