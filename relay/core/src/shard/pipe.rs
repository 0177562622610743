//! Both ends of a pipe, as the shard sees them: what it writes for other shards and what it does with their entries.
//!
//! An up-track that comes by a pipe is an [`UpTrack`] like any other, in the same tables, with [`Source::Pipe`] instead
//! of a transport. It has no SSRC, asks nobody for lost packets (its publisher's shard does), and its activity is told to
//! the controller by the publisher's shard alone.

use super::Shard;
use super::faults::Input;
use crate::keys::UpKey;
use crate::outbox::Outbox;
use crate::pipe::{Entry, Load, Message, OpenPipe, PipeSink, PipedPacket, PipedTrack};
use crate::stats::{Count, Counters, Drop};
use crate::time::Time;
use crate::track::{Source, UpTimer, UpTrack};
use crate::up::Accepted;
use relay_control::{CommandError, Done, ErrorCode, MediaKind, ReplyBody};
use std::collections::VecDeque;

/// The way to one other shard.
struct Outlet {
    to: u32,
    sink: Box<dyn PipeSink>,
    /// What must not be lost and found the queue full, oldest first: at most a few entries per pipe.
    overdue: VecDeque<Message>,
    /// The last opening that it told us of.
    seen: u64,
    /// What the queue has room for.
    load: Load,
}

impl Outlet {
    fn set_load(&mut self, load: Load) {
        self.load = load;
        self.sink.make_room(load.entries());
    }

    /// The next free entry, once everything overdue is written.
    fn slot(&mut self) -> Option<&mut Entry> {
        while let Some(message) = self.overdue.pop_front() {
            let Some(entry) = self.sink.slot() else {
                self.overdue.push_front(message);
                return None;
            };
            entry.write(message);
            self.sink.commit();
        }
        self.sink.slot()
    }

    /// Copies a packet into the queue. False: it is full.
    fn try_send(&mut self, packet: PipedPacket, payload: &[u8]) -> bool {
        let Some(entry) = self.slot() else { return false };
        entry.write_packet(packet, payload);
        self.sink.commit();
        true
    }

    /// False: the queue is full.
    fn try_say(&mut self, message: Message) -> bool {
        let Some(entry) = self.slot() else { return false };
        entry.write(message);
        self.sink.commit();
        true
    }

    /// Says what must not be lost.
    fn say(&mut self, message: Message) {
        self.overdue.push_back(message);
        let _ = self.slot();
    }
}

/// The ways to all other shards, as far as there are pipes.
#[derive(Default)]
pub(super) struct Outlets {
    list: Vec<Outlet>,
    openings: u64,
}

impl Outlets {
    fn to(&mut self, shard: u32) -> Option<&mut Outlet> {
        self.list.iter_mut().find(|outlet| outlet.to == shard)
    }

    pub(super) fn leads_to(&self, shard: u32) -> bool {
        self.list.iter().any(|outlet| outlet.to == shard)
    }

    /// Says something that will be said again, or that the next of its kind makes good.
    fn try_say(&mut self, shard: u32, message: Message, counters: &mut Counters) {
        if !self.to(shard).is_some_and(|outlet| outlet.try_say(message)) {
            counters.drop(Drop::PipeControlFull);
        }
    }

    /// What each queue has room for.
    pub(super) fn loads(&self) -> impl Iterator<Item = (u32, Load)> {
        self.list.iter().map(|outlet| (outlet.to, outlet.load))
    }

    fn change_load(&mut self, shard: u32, change: impl FnOnce(&mut Load)) {
        if let Some(outlet) = self.to(shard) {
            let mut load = outlet.load;
            change(&mut load);
            outlet.set_load(load);
        }
    }

    fn leave(&mut self, shard: u32, kind: MediaKind) {
        self.change_load(shard, |load| *load.of(kind) = load.of(kind).saturating_sub(1));
    }

    /// Instead of all that is overdue: this shard begins anew.
    pub(super) fn say_reset(&mut self) {
        for outlet in &mut self.list {
            outlet.overdue.clear();
            outlet.set_load(Load::default());
            outlet.say(Message::Reset { opening: outlet.seen });
        }
    }

    pub(super) fn say(&mut self, shard: u32, message: Message) {
        if let Some(outlet) = self.to(shard) {
            outlet.say(message);
        }
    }

    /// Writes what is overdue, as far as there is room, and wakes whoever was written to. What still waits is tried again in
    /// the next turn: while packets flow at once, else within the second in which every worker turns.
    fn ring(&mut self) {
        for outlet in &mut self.list {
            if !outlet.overdue.is_empty() {
                let _ = outlet.slot();
            }
            outlet.sink.ring();
        }
    }
}

impl Shard {
    /// From now on this shard may write to shard `to`. Replaces nothing: a pair of shards is connected once.
    pub fn connect_pipe(&mut self, to: u32, sink: Box<dyn PipeSink>) {
        debug_assert!(self.outlets.to(to).is_none(), "connected once");
        let mut outlet = Outlet { to, sink, overdue: VecDeque::new(), seen: 0, load: Load::default() };
        outlet.set_load(Load::default());
        self.outlets.list.push(outlet);
    }

    /// To be called after a batch, and after all that may have written to another shard: at most one wake-up each.
    pub fn ring_pipes(&mut self) {
        self.outlets.ring();
    }

    /// Begins to pipe an up-track to another shard, or keeps on doing so. When it is done, the other shard reads of the
    /// track before anything that is told to it later on another way.
    pub fn open_pipe(&mut self, order: OpenPipe) -> ReplyBody {
        self.input = Input::Track(order.track_id);
        let opened = self.try_open_pipe(order);
        self.input = Input::None;
        match opened {
            Ok(()) => ReplyBody::Done(Done {}),
            Err((code, message)) => {
                let message = message.to_owned();
                ReplyBody::Error(CommandError { code: code.into(), message, highest_epoch: 0 })
            }
        }
    }

    fn try_open_pipe(&mut self, order: OpenPipe) -> Result<(), (ErrorCode, &'static str)> {
        let source = |up_key| match self.tracks.up(up_key).source {
            Source::Peer(key) => Some((up_key, key)),
            Source::Pipe { .. } => None,
        };
        let (up_key, key) = (self.tracks.up_key(order.track_id).and_then(source))
            .ok_or((ErrorCode::UnknownTrack, "up_track_id is no up-track of this shard"))?;
        let up = &mut self.tracks.ups[up_key];
        if up.room_id != order.room_id {
            return Err((ErrorCode::Mismatch, "the up-track belongs to another room"));
        }
        let opening = self.outlets.openings + 1;
        let begin = begin(up, opening, self.transports[key].is_connected());
        if !self.outlets.to(order.to).is_some_and(|outlet| outlet.try_say(begin)) {
            return Err((ErrorCode::Busy, "the queue between the two shards is full; retry"));
        }
        self.outlets.openings = opening;
        match up.pipes.iter_mut().find(|(shard, _)| *shard == order.to) {
            Some(pipe) => pipe.1 = opening,
            None => {
                up.pipes.push((order.to, opening));
                let kind = up.params.kind;
                self.outlets.change_load(order.to, |load| *load.of(kind) += 1);
            }
        }
        self.tell_clock(up_key);
        Ok(())
    }

    /// Takes one entry of the queue from shard `from`. Packets wait for [`Shard::forward_pending`], as received ones do.
    pub fn handle_piped<O: Outbox>(&mut self, now: Time, from: u32, entry: &mut Entry, outbox: &mut O) {
        let (message, payload) = entry.take();
        self.input = message.track_id().map_or(Input::None, Input::Track);
        match message {
            Message::Empty => debug_assert!(false, "nothing is committed unwritten"),
            Message::Packet(packet) => {
                self.counters.add(Count::PipeReceived, 1);
                if let Err(reason) = self.on_piped_packet(now, from, (&packet, payload), outbox) {
                    self.counters.drop(reason);
                }
            }
            Message::Begin { track_id, opening, track } => {
                self.on_begin(now, from, (track_id, opening), *track)
            }
            Message::Clock { track_id, reference } => {
                if let Some(up_key) = self.piped(track_id, from) {
                    self.tracks.ups[up_key].stream.set_piped_clock(reference);
                }
            }
            Message::End { track_id } => {
                if let Some(up_key) = self.piped(track_id, from) {
                    self.forward_pending(outbox);
                    self.remove_up_track(up_key);
                }
            }
            Message::Keyframe { track_id } => {
                if let Some(up_key) = self.tracks.up_key(track_id) {
                    self.want_keyframe(now, up_key);
                }
            }
            Message::Close { track_id, opening } => {
                if let Some(up_key) = self.tracks.up_key(track_id) {
                    let up = &mut self.tracks.ups[up_key];
                    close_pipes(up, &mut self.outlets, |pipe| *pipe == (from, opening));
                }
            }
            Message::Fault { track_id } => self.end_publisher(track_id),
            Message::Reset { opening } => {
                self.forward_pending(outbox);
                self.on_reset(from, opening);
            }
        }
        self.input = Input::None;
    }

    /// Another shard has begun anew: what came from it is gone, and what was piped to it goes nowhere.
    fn on_reset(&mut self, from: u32, seen: u64) {
        let piped = self.tracks.ups.iter().filter(|(_, up)| up.source.is_pipe_from(from));
        let piped: Vec<UpKey> = piped.map(|(key, _)| key).collect();
        piped.into_iter().for_each(|up_key| self.remove_up_track(up_key));
        for up in self.tracks.ups.values_mut() {
            close_pipes(up, &mut self.outlets, |(shard, opening)| *shard == from && *opening <= seen);
        }
    }

    /// The same walk as a packet of this shard's own, but that its payload is copied into the history instead of decrypted.
    fn on_piped_packet<O: Outbox>(
        &mut self,
        now: Time,
        from: u32,
        (packet, payload): (&PipedPacket, &[u8]),
        outbox: &mut O,
    ) -> Result<(), Drop> {
        let up_key = self.piped(packet.track_id, from).ok_or(Drop::PipeStale)?;
        if self.tracks.up(up_key).sources != packet.source {
            self.forward(up_key, outbox);
            let up = &mut self.tracks.ups[up_key];
            up.sources = packet.source;
            up.stream.forget_piped_clock();
            self.await_keyframes(up_key);
        }
        let stream = &mut self.tracks.ups[up_key].stream;
        let accepted = stream.on_piped(now, packet.seq, payload, packet.meta).ok_or(Drop::PipeStale)?;
        self.counters.add(Count::PipeAccepted, 1);
        self.pass_on(now, up_key, accepted, outbox);
        Ok(())
    }

    fn on_begin(&mut self, now: Time, from: u32, (track_id, opening): (u64, u64), track: PipedTrack) {
        let connected = track.connected;
        let until = now + self.config.limits.pipe_idle;
        if let Some(outlet) = self.outlets.to(from) {
            outlet.seen = opening;
        }
        let up_key = match self.tracks.up_key(track_id) {
            Some(up_key) if self.tracks.up(up_key).source.is_pipe_from(from) => up_key,
            // An id that is in use here: the controller gave it away twice, at the same moment.
            _ if self.tracks.is_used(track_id) => {
                return self.outlets.say(from, Message::Close { track_id, opening });
            }
            _ => {
                let PipedTrack { room_id, params, rtp, priority, .. } = track;
                let source = Source::Pipe { shard: from, opening, idle: false };
                self.outlets.change_load(from, |load| load.back += 1);
                self.tracks.insert_up(UpTrack::new(track_id, source, room_id, params, rtp, priority, now))
            }
        };
        let up = &mut self.tracks.ups[up_key];
        up.source = Source::Pipe { shard: from, opening, idle: false };
        if connected {
            up.stream.prepare();
        }
        up.timers.set(UpTimer::Silence, until);
        self.tracks.ups[up_key].arm(up_key, &mut self.deadlines);
    }

    /// Looks whether anybody listens to a piped track. If nobody did at two looks in a row, the pipe is closed: a
    /// subscriber that was just announced has that long to come, and one that comes back soon finds it open.
    pub(super) fn check_use(&mut self, now: Time, up_key: UpKey) {
        let up = &mut self.tracks.ups[up_key];
        let Source::Pipe { shard, opening, idle } = &mut up.source else { return };
        let (shard, opening, was_idle) = (*shard, *opening, *idle);
        *idle = up.subscribers.is_empty();
        if *idle && was_idle {
            let track_id = up.id;
            self.remove_up_track(up_key);
            self.outlets.say(shard, Message::Close { track_id, opening });
        } else {
            up.timers.set(UpTimer::Silence, now + self.config.limits.pipe_idle);
            self.tracks.ups[up_key].arm(up_key, &mut self.deadlines);
        }
    }

    /// Writes a packet that is in the history once for each other shard that has subscribers.
    pub(super) fn pipe(&mut self, up_key: UpKey, accepted: &Accepted) {
        let up = &self.tracks.ups[up_key];
        if up.pipes.is_empty() {
            return;
        }
        let Some(stored) = up.stream.packet(accepted.seq) else { return };
        let packet =
            PipedPacket { track_id: up.id, seq: accepted.seq, source: up.sources, meta: stored.meta };
        for &(shard, _) in &up.pipes {
            self.counters.add(Count::PipeOffered, 1);
            if self.outlets.to(shard).is_some_and(|outlet| outlet.try_send(packet, stored.payload)) {
                self.counters.add(Count::PipeSent, 1);
            } else {
                self.counters.drop(Drop::PipeFull);
            }
        }
    }

    /// Asks the publisher's shard for a keyframe, if the merged requests say that it is time.
    pub(super) fn pipe_keyframe_request(&mut self, now: Time, up_key: UpKey, shard: u32) {
        let up = &mut self.tracks.ups[up_key];
        if up.stream.keyframes.poll(now).is_some() {
            self.counters.add(Count::PipeKeyframesAsked, 1);
            self.outlets.try_say(shard, Message::Keyframe { track_id: up.id }, &mut self.counters);
        }
    }

    /// Tells the other shards where an up-track's clock stands, as its publisher reported it.
    pub(super) fn tell_clock(&mut self, up_key: UpKey) {
        let up = &self.tracks.ups[up_key];
        if up.pipes.is_empty() {
            return;
        }
        let Source::Peer(key) = up.source else { return };
        let clock = &self.transports[key].receiving.clock;
        let Some(reference) = up.stream.reported_reference(clock) else { return };
        for &(shard, _) in &up.pipes {
            self.outlets.try_say(shard, Message::Clock { track_id: up.id, reference }, &mut self.counters);
        }
    }

    /// Tells the other shards that the publisher of an up-track has keys.
    pub(super) fn begin_pipes_anew(&mut self, up_key: UpKey) {
        let up = &self.tracks.ups[up_key];
        for &(shard, opening) in &up.pipes {
            self.outlets.say(shard, begin(up, opening, true));
        }
    }

    /// Tells the other shards that an up-track is gone, and gives back what it had of the queues.
    pub(super) fn end_pipes(&mut self, up: &UpTrack) {
        for &(shard, _) in &up.pipes {
            self.outlets.say(shard, Message::End { track_id: up.id });
            self.outlets.leave(shard, up.params.kind);
        }
        if let Source::Pipe { shard, .. } = up.source {
            self.outlets.change_load(shard, |load| load.back = load.back.saturating_sub(1));
        }
    }

    /// An up-track that comes by a pipe from this shard.
    fn piped(&self, track_id: u64, from: u32) -> Option<UpKey> {
        self.tracks.up_key(track_id).filter(|key| self.tracks.up(*key).source.is_pipe_from(from))
    }
}

/// Forgets the pipes of a track that nobody reads any more.
fn close_pipes(up: &mut UpTrack, outlets: &mut Outlets, is_closed: impl Fn(&(u32, u64)) -> bool) {
    let kind = up.params.kind;
    up.pipes.retain(|pipe| {
        let closed = is_closed(pipe);
        if closed {
            outlets.leave(pipe.0, kind);
        }
        !closed
    });
}

fn begin(up: &UpTrack, opening: u64, connected: bool) -> Message {
    let UpTrack { room_id, params, ref rtp, priority, .. } = *up;
    let track = PipedTrack { room_id, params, rtp: rtp.clone(), priority, connected };
    Message::Begin { track_id: up.id, opening, track: Box::new(track) }
}
