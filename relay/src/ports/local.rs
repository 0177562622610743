//! The local ports of a relay: which packets and messages go from which shard to which process, and back.
//! Sans-IO: `run.rs` has the thread and the sockets.
//!
//! Invariants
//! - A process receives the packets of its taps and no others, and only packets of its sources are taken from
//!   it.
//! - Every packet that a shard wrote for a process is in `port.out.written` or a `port.dropped.*` of that
//!   way; every packet that a process sent is in `port.in.sent` or a `port.dropped.*` of the other way
//!   ([`Counts`]).
//! - A process that does not read loses packets and holds up nobody: the queues from the shards are emptied
//!   all the same.
//! - Messages about a process that is gone, or about a track that has ended, are ignored.

use super::counts::Counts;
use super::process::Process;
use crate::mailbox::PipeEnds;
use crate::pipe::{PipeReceiver, PipeSender};
use relay_core::policer::Policer;
use relay_core::time::Time;
use relay_port::{Decoded, Frame, Message, Packet, PortId, PortWriter, Refusal, Track};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// An order of the control thread.
#[derive(Debug)]
pub enum ToPorts {
    /// Two queues between a process and a shard.
    Connect {
        number: u32,
        /// The ends that belong to the ports' thread; their port is the shard.
        ends: Box<PipeEnds>,
    },
    /// The shard was ordered to send this track to the process.
    Tap {
        number: u32,
        track_id: u64,
        shard: PortId,
        /// For the process; empty: there is none.
        label: Vec<u8>,
    },
    /// The process gets this track, and is to know it under another label. Nothing if the track has ended.
    Label {
        number: u32,
        track_id: u64,
        /// For the process; empty: there is none.
        label: Vec<u8>,
    },
    /// The process is not to get the track any more.
    Untap { number: u32, track_id: u64 },
    /// The process is to send this track to the shard. Answered by [`FromPorts::Answer`].
    Source {
        /// Echoed in [`FromPorts::Answer`].
        ticket: u64,
        number: u32,
        track_id: u64,
        shard: PortId,
        /// The track's description.
        track: Track,
    },
    /// The process is not to send the track any more.
    Unsource { number: u32, track_id: u64 },
}

/// What the control thread is told by the ports' thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FromPorts {
    /// A process has sent its name.
    Connected {
        /// Unique as long as the relay runs.
        number: u32,
        /// Unique among the connected processes.
        name: String,
    },
    /// A process is gone, and its taps and sources with it.
    Gone { number: u32 },
    /// A tap or source of a process has ended without an order.
    Ended {
        number: u32,
        track_id: u64,
        /// A source has ended; false: a tap.
        source: bool,
    },
    /// The answer to [`ToPorts::Source`].
    Answer { ticket: u64, begins: bool },
}

/// The queues between a process and one shard.
#[derive(Debug)]
struct ShardQueues {
    shard: PortId,
    to: PortWriter<PipeSender>,
    from: PipeReceiver,
    openings: u64,
}

/// A track that a process receives.
#[derive(Clone, Debug)]
struct Tap {
    shard: PortId,
    /// What the process is told of it.
    label: Vec<u8>,
    /// The opening number of the last [`Message::Begin`]; `None` before the first.
    opening: Option<u64>,
}

/// A track that a process sends.
#[derive(Clone, Copy, Debug)]
struct Source {
    shard: PortId,
    opening: u64,
    track: Track,
    /// Bounds its payload octets as a publisher's packets are bounded.
    policer: Policer,
}

/// A connected process with its queues, taps and sources.
#[derive(Debug)]
struct Port {
    process: Process,
    shards: Vec<ShardQueues>,
    taps: BTreeMap<u64, Tap>,
    sources: BTreeMap<u64, Source>,
}

#[derive(Debug, Default)]
pub struct LocalPorts {
    ports: BTreeMap<u32, Port>,
    /// Queues to processes that are gone: emptied until the shard drops its end.
    closing: Vec<PipeReceiver>,
    counts: Arc<Counts>,
    /// Payload bit rate that each source may have.
    max_source_bitrate_bps: u64,
    last_number: u32,
    events: VecDeque<FromPorts>,
}

impl LocalPorts {
    #[must_use]
    pub fn new(counts: Arc<Counts>, max_source_bitrate_bps: u64) -> Self {
        Self { counts, max_source_bitrate_bps, ..Self::default() }
    }

    /// A process has connected; returns its number.
    pub fn connect(&mut self, now: Time) -> u32 {
        self.last_number += 1;
        self.counts.connections.add(1);
        let (shards, taps, sources) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
        let port = Port { process: Process::new(now), shards, taps, sources };
        self.ports.insert(self.last_number, port);
        self.last_number
    }

    /// Processes that are connected, named or not.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ports.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ports.is_empty()
    }

    /// The next event for the control thread.
    pub fn poll(&mut self) -> Option<FromPorts> {
        self.events.pop_front()
    }

    /// The frames of a process, for its socket.
    pub fn process(&mut self, number: u32) -> Option<&mut Process> {
        self.ports.get_mut(&number).map(|port| &mut port.process)
    }

    /// The earliest deadline for a process to send its name.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        self.ports.values().filter_map(|port| port.process.hello_deadline()).min()
    }

    /// Handles octets that a process has sent.
    pub fn handle_bytes(&mut self, now: Time, number: u32, bytes: &[u8]) {
        let Some(port) = self.ports.get_mut(&number) else { return };
        port.process.push(bytes);
        loop {
            let Some(port) = self.ports.get_mut(&number) else { return };
            let Port { process, shards, taps, sources } = port;
            let mut inbound = Inbound {
                now,
                number,
                shards,
                taps,
                sources,
                counts: &self.counts,
                events: &mut self.events,
            };
            let before = process.name().is_some();
            let Some(hello) = process.next(|decoded| inbound.take(before, decoded)) else { break };
            if let Some(name) = hello {
                self.accept_hello(number, &name);
            }
        }
    }

    /// A process has sent its `Hello`.
    fn accept_hello(&mut self, number: u32, name: &str) {
        let taken = self.ports.values().any(|port| port.process.name() == Some(name));
        let Some(port) = self.ports.get_mut(&number) else { return };
        if taken {
            self.counts.refused_name.add(1);
            return port.process.refuse(Refusal::NameTaken);
        }
        port.process.accept_hello(name);
        self.events.push_back(FromPorts::Connected { number, name: name.to_owned() });
    }

    /// Carries out an order. One about a process that is gone is answered, and changes nothing.
    pub fn handle_order(&mut self, now: Time, order: ToPorts) {
        match order {
            ToPorts::Connect { number, ends } => {
                let PipeEnds { port: shard, to, from } = *ends;
                match self.ports.get_mut(&number) {
                    Some(port) => {
                        port.shards.push(ShardQueues { shard, to: PortWriter::new(to), from, openings: 0 })
                    }
                    None => self.closing.push(from),
                }
            }
            ToPorts::Tap { number, track_id, shard, label } => {
                if let Some(port) = self.ports.get_mut(&number) {
                    port.tap(track_id, shard, label);
                }
            }
            ToPorts::Label { number, track_id, label } => {
                if let Some(port) = self.ports.get_mut(&number) {
                    port.label(track_id, label);
                }
            }
            ToPorts::Untap { number, track_id } => {
                if let Some(port) = self.ports.get_mut(&number) {
                    port.untap(track_id);
                    port.process.send(&Message::End { track_id });
                }
            }
            ToPorts::Source { ticket, number, track_id, shard, track } => {
                let port = self.ports.get_mut(&number);
                let policer = Policer::new(self.max_source_bitrate_bps, now);
                let begins = port.is_some_and(|port| port.begin(track_id, shard, track, policer));
                self.events.push_back(FromPorts::Answer { ticket, begins });
            }
            ToPorts::Unsource { number, track_id } => {
                if let Some(port) = self.ports.get_mut(&number) {
                    port.unsource(track_id);
                }
            }
        }
    }

    /// Handles the entries that the shards have written up to now. How many waited in the fullest queue.
    pub fn handle_queues(&mut self) -> usize {
        let mut most = 0;
        for (number, port) in &mut self.ports {
            port.process.set_taps(port.taps.len());
            for queues in 0..port.shards.len() {
                let waiting = port.shards[queues].from.waiting();
                most = most.max(waiting);
                for _ in 0..waiting {
                    port.take_entry(queues, *number, &self.counts, &mut self.events);
                }
            }
        }
        let counts = &self.counts;
        self.closing.retain_mut(|from| {
            // A shard drops its end after its last entry, so what is read after this check is all.
            let let_go = from.is_abandoned();
            while from.handle(|entry| count_unread(entry.take().0, counts)) {}
            !let_go
        });
        most
    }

    /// Disconnects all processes.
    pub fn disconnect_all(&mut self) {
        self.ports.values_mut().for_each(|port| port.process.disconnect());
    }

    /// Wakes the shards that were written to.
    pub fn flush(&mut self) {
        let shards = self.ports.values_mut().flat_map(|port| &mut port.shards);
        shards.for_each(|queues| queues.to.flush());
    }

    /// Disconnects processes that did not send their name in time, and removes those that are to be
    /// disconnected; returns their numbers.
    pub fn reap(&mut self, now: Time) -> Vec<u32> {
        let Self { ports, closing, counts, events, .. } = self;
        let mut gone = Vec::new();
        ports.retain(|number, port| {
            port.process.handle_timeout(now);
            let Some(why) = port.process.close_reason() else { return true };
            counts.count_end(why);
            gone.push(*number);
            if port.process.name().is_some() {
                events.push_back(FromPorts::Gone { number: *number });
            }
            closing.extend(port.shards.drain(..).map(|queues| queues.from));
            false
        });
        gone
    }
}

/// Counts a packet for a process that is gone.
fn count_unread(message: Message, counts: &Counts) {
    if matches!(message, Message::Packet(_)) {
        counts.out_received.add(1);
        counts.dropped_gone.add(1);
    }
}

impl Port {
    /// Begins a source. False: there are no queues to that shard.
    fn begin(&mut self, track_id: u64, shard: PortId, track: Track, policer: Policer) -> bool {
        let Some(queues) = self.shards.iter_mut().find(|queues| queues.shard == shard) else { return false };
        queues.openings += 1;
        let opening = queues.openings;
        queues.to.change_load(|load| *load.of(track.kind) += 1);
        queues.to.send(Message::Begin { track_id, opening, track });
        self.sources.insert(track_id, Source { shard, opening, track, policer });
        self.process.send_frame(&Frame::Want { track_id, track });
        true
    }

    /// Notes a tap, or another label of one.
    fn tap(&mut self, track_id: u64, shard: PortId, label: Vec<u8>) {
        // The id is a new track's, on another shard, and the end of the one before is under way. The process
        // hears of it here, as it must not take the new one's numbers for that one's.
        if let Some(before) = self.taps.get(&track_id).filter(|tap| tap.shard != shard) {
            if before.opening.is_some() {
                self.process.send(&Message::End { track_id });
            }
            self.untap(track_id);
        }
        self.taps.entry(track_id).or_insert(Tap { shard, label: Vec::new(), opening: None });
        self.label(track_id, label);
    }

    /// Tells the process the label of a tap, if it is another.
    fn label(&mut self, track_id: u64, label: Vec<u8>) {
        let Some(tap) = self.taps.get_mut(&track_id).filter(|tap| tap.label != label) else { return };
        tap.label = label;
        if tap.opening.is_some() {
            let label = tap.label.clone();
            self.process.send_frame(&Frame::Label { track_id, label });
        }
    }

    /// Ends a tap and tells the shard.
    fn untap(&mut self, track_id: u64) {
        untap(&mut self.shards, &mut self.taps, track_id);
    }

    /// Ends a source and tells both sides.
    fn unsource(&mut self, track_id: u64) {
        let Some(opening) = unsource(&mut self.shards, &mut self.sources, track_id) else { return };
        self.process.send(&Message::Close { track_id, opening });
    }

    /// Handles one entry that a shard has written.
    fn take_entry(&mut self, queues: usize, number: u32, counts: &Counts, events: &mut VecDeque<FromPorts>) {
        let Self { process, shards, taps, sources } = self;
        let ShardQueues { shard, to, from, .. } = &mut shards[queues];
        let shard = *shard;
        let mut ended = |track_id, source| events.push_back(FromPorts::Ended { number, track_id, source });
        from.handle(|entry| {
            let (message, payload) = entry.take();
            let tap = message.track_id().and_then(|id| taps.get_mut(&id)).filter(|tap| tap.shard == shard);
            match message {
                Message::Packet(packet) => {
                    counts.out_received.add(1);
                    match tap {
                        None => counts.dropped_untapped.add(1),
                        Some(_) if process.send_packet(&packet, payload) => counts.out_written.add(1),
                        Some(_) => counts.dropped_slow.add(1),
                    }
                }
                Message::Begin { track_id, opening, .. } => match tap {
                    Some(tap) => {
                        if tap.opening.replace(opening).is_none() {
                            to.change_load(|load| load.back += 1);
                            let label = tap.label.clone();
                            if !label.is_empty() {
                                process.send_frame(&Frame::Label { track_id, label });
                            }
                        }
                        process.send(&message);
                    }
                    // The tap was removed before the track began.
                    None => to.send(Message::Close { track_id, opening }),
                },
                Message::Clock { .. } if tap.is_some() => process.send_if_room(&message),
                Message::End { track_id } if tap.is_some() => {
                    forget_tap(to, taps.remove(&track_id).as_ref());
                    process.send(&message);
                    ended(track_id, false);
                }
                Message::Keyframe { track_id } if sources.contains_key(&track_id) => {
                    process.send_if_room(&message)
                }
                // The shard refuses it, as its id is in use.
                Message::Close { track_id, opening }
                    if sources.get(&track_id).is_some_and(|source| source.opening == opening) =>
                {
                    forget_source(to, sources.remove(&track_id));
                    process.send(&message);
                    ended(track_id, true);
                }
                // Its packets made the shard panic.
                Message::Fault { track_id } if sources.contains_key(&track_id) => process.end_for_fault(),
                Message::Reset { opening } => {
                    for (message, source) in reset(taps, sources, to, (shard, opening)) {
                        process.send(&message);
                        message.track_id().into_iter().for_each(|track_id| ended(track_id, source));
                    }
                }
                _ => {}
            }
        });
    }
}

/// A shard was reset, and has seen no opening after `seen`. Returns the end of each lost track, for the
/// process, and whether the track is a source.
fn reset(
    taps: &mut BTreeMap<u64, Tap>,
    sources: &mut BTreeMap<u64, Source>,
    to: &mut PortWriter<PipeSender>,
    (shard, seen): (PortId, u64),
) -> Vec<(Message, bool)> {
    let mut lost = Vec::new();
    taps.retain(|track_id, tap| {
        let is_lost = tap.shard == shard;
        if is_lost {
            forget_tap(to, Some(tap));
            lost.push((Message::End { track_id: *track_id }, false));
        }
        !is_lost
    });
    sources.retain(|track_id, source| {
        let is_lost = source.shard == shard && source.opening <= seen;
        if is_lost {
            forget_source(to, Some(*source));
            lost.push((Message::Close { track_id: *track_id, opening: source.opening }, true));
        }
        !is_lost
    });
    lost
}

fn forget_tap(to: &mut PortWriter<PipeSender>, tap: Option<&Tap>) {
    if tap.is_some_and(|tap| tap.opening.is_some()) {
        to.change_load(|load| load.back = load.back.saturating_sub(1));
    }
}

fn forget_source(to: &mut PortWriter<PipeSender>, source: Option<Source>) {
    if let Some(source) = source {
        to.change_load(|load| *load.of(source.track.kind) = load.of(source.track.kind).saturating_sub(1));
    }
}

fn untap(shards: &mut [ShardQueues], taps: &mut BTreeMap<u64, Tap>, track_id: u64) -> bool {
    let Some(tap) = taps.remove(&track_id) else { return false };
    if let (Some(queues), Some(opening)) =
        (shards.iter_mut().find(|queues| queues.shard == tap.shard), tap.opening)
    {
        queues.to.send(Message::Close { track_id, opening });
        forget_tap(&mut queues.to, Some(&tap));
    }
    true
}

fn unsource(shards: &mut [ShardQueues], sources: &mut BTreeMap<u64, Source>, track_id: u64) -> Option<u64> {
    let source = sources.remove(&track_id)?;
    if let Some(queues) = shards.iter_mut().find(|queues| queues.shard == source.shard) {
        queues.to.send(Message::End { track_id });
        forget_source(&mut queues.to, Some(source));
    }
    Some(source.opening)
}

/// What a frame of one process may act on.
struct Inbound<'a> {
    now: Time,
    number: u32,
    shards: &'a mut [ShardQueues],
    taps: &'a mut BTreeMap<u64, Tap>,
    sources: &'a mut BTreeMap<u64, Source>,
    counts: &'a Counts,
    events: &'a mut VecDeque<FromPorts>,
}

impl Inbound<'_> {
    /// Handles a frame. `Some`: it is a `Hello` with this name. Before one, every other frame is refused.
    fn take(&mut self, named: bool, decoded: Decoded<'_>) -> Result<Option<String>, Refusal> {
        match decoded {
            Decoded::Frame(Frame::Hello(hello), _) if !named && hello.version > 0 => Ok(Some(hello.name)),
            _ if !named => Err(Refusal::BadHello),
            Decoded::Unknown { .. } => {
                self.counts.unknown_frames.add(1);
                Ok(None)
            }
            Decoded::Frame(Frame::Message(Message::Packet(packet)), payload) => {
                self.packet(packet, payload);
                Ok(None)
            }
            Decoded::Frame(frame, _) => {
                if !self.message(&frame) {
                    self.counts.refused_messages.add(1);
                }
                Ok(None)
            }
        }
    }

    fn packet(&mut self, packet: Packet, payload: &[u8]) {
        self.counts.in_received.add(1);
        let Some(source) = self.sources.get_mut(&packet.track_id) else {
            return self.counts.dropped_no_source.add(1);
        };
        if !source.policer.admits(self.now) {
            return self.counts.dropped_policed.add(1);
        }
        source.policer.charge(payload.len());
        let queues = self.shards.iter_mut().find(|queues| queues.shard == source.shard);
        if queues.is_some_and(|queues| queues.to.try_send_packet(packet, payload)) {
            self.counts.in_sent.add(1);
        } else {
            self.counts.dropped_queue_full.add(1);
        }
    }

    /// Handles a message. False: it is about none of the process's tracks, or the shard's queue is full.
    fn message(&mut self, frame: &Frame) -> bool {
        let Frame::Message(message) = frame else { return false };
        let number = self.number;
        let shard = message.track_id().and_then(|id| {
            self.sources.get(&id).map(|source| source.shard).or(self.taps.get(&id).map(|tap| tap.shard))
        });
        let queues = self.shards.iter_mut().find(|queues| Some(queues.shard) == shard);
        match message {
            Message::Clock { track_id, .. } if self.sources.contains_key(track_id) => {
                queues.is_some_and(|queues| queues.to.try_send(message.clone()))
            }
            Message::Keyframe { track_id } if self.taps.contains_key(track_id) => {
                queues.is_some_and(|queues| queues.to.try_send(message.clone()))
            }
            Message::End { track_id } if self.sources.contains_key(track_id) => {
                unsource(self.shards, self.sources, *track_id);
                self.events.push_back(FromPorts::Ended { number, track_id: *track_id, source: true });
                true
            }
            Message::Close { track_id, .. } if untap(self.shards, self.taps, *track_id) => {
                self.events.push_back(FromPorts::Ended { number, track_id: *track_id, source: false });
                true
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests;
