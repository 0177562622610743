//! One place of the queue between the two sides of a port, and the trait of its writing end.
//!
//! The entries of a queue are allocated when a track begins, as many as its kind needs, and given back when
//! it ends ([`Load`]); no packet allocates. That a track ends or is closed, by whichever side's fault, is
//! never lost: it waits with who says it until there is room, and nothing for that port overtakes it. A track
//! that finds no room to begin is refused.

use crate::message::{MediaKind, Message, Packet};
use std::collections::VecDeque;

/// Longest payload of a packet: that of a whole datagram.
pub const PAYLOAD_BYTES_MAX: usize = 1500;

/// One entry of a queue.
#[derive(Debug)]
pub struct Entry {
    message: Message,
    len: usize,
    payload: [u8; PAYLOAD_BYTES_MAX],
}

impl Default for Entry {
    fn default() -> Self {
        Self { message: Message::Empty, len: 0, payload: [0; PAYLOAD_BYTES_MAX] }
    }
}

impl Entry {
    /// Writes a message without payload.
    pub fn write(&mut self, message: Message) {
        (self.message, self.len) = (message, 0);
    }

    /// Writes a packet.
    ///
    /// # Panics
    /// If the payload is longer than [`PAYLOAD_BYTES_MAX`], which that of a datagram never is.
    pub fn write_packet(&mut self, packet: Packet, payload: &[u8]) {
        self.message = Message::Packet(packet);
        self.len = payload.len();
        self.payload[..payload.len()].copy_from_slice(payload);
    }

    /// Takes the message out and lends the payload, which is empty for all but packets.
    pub fn take(&mut self) -> (Message, &[u8]) {
        (std::mem::take(&mut self.message), &self.payload[..self.len])
    }
}

/// Entries of a queue that no track uses: so much can be said at once of those that begin.
const ENTRIES_IDLE: usize = 16;
/// Entries for a video: a keyframe of a hundred packets, and as long again that the other side may be late.
const ENTRIES_VIDEO: usize = 256;
/// Entries for an audio: 50 packets a second, and a reader that is late by more than half a second.
const ENTRIES_AUDIO: usize = 32;
/// Entries for a track that comes from the other side: a keyframe is asked for, and the track is closed.
const ENTRIES_BACK: usize = 2;

/// What a queue carries one way, and so how many entries it needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Video tracks sent this way.
    pub videos: usize,
    /// Audio tracks sent this way.
    pub audios: usize,
    /// Tracks sent the other way; keyframe requests and closings for them go this way.
    pub back: usize,
}

impl Load {
    /// Entries for all of it; the queue itself is bounded.
    #[must_use]
    pub const fn entries(self) -> usize {
        ENTRIES_IDLE + ENTRIES_VIDEO * self.videos + ENTRIES_AUDIO * self.audios + ENTRIES_BACK * self.back
    }

    /// How many tracks of a kind.
    pub const fn of(&mut self, kind: MediaKind) -> &mut usize {
        match kind {
            MediaKind::Audio => &mut self.audios,
            MediaKind::Video => &mut self.videos,
        }
    }
}

/// The writing end of a queue.
pub trait PortSink {
    /// Lends the next free entry; `None` if the queue is full. Lent and not committed, it is lent again.
    fn slot(&mut self) -> Option<&mut Entry>;

    /// Sends the entry lent last. Called exactly once per lent entry that is to be sent.
    fn commit(&mut self);

    /// Makes room for so many entries in all, or for as many as the queue may have; what is beyond is given
    /// back, as soon as it is free. Called when a track begins or ends, never for a packet.
    fn set_capacity(&mut self, entries: usize);

    /// Called after a batch: wakes the other side if anything was committed since the last call.
    fn wake(&mut self);
}

impl<S: PortSink + ?Sized> PortSink for Box<S> {
    fn slot(&mut self) -> Option<&mut Entry> {
        (**self).slot()
    }

    fn commit(&mut self) {
        (**self).commit();
    }

    fn set_capacity(&mut self, entries: usize) {
        (**self).set_capacity(entries);
    }

    fn wake(&mut self) {
        (**self).wake();
    }
}

/// A writing end with what must not be lost, and the room that its tracks need.
#[derive(Debug)]
pub struct PortWriter<S> {
    sink: S,
    /// What found the queue full, oldest first: at most a few messages per track.
    overdue: VecDeque<Message>,
    load: Load,
}

impl<S: PortSink> PortWriter<S> {
    /// Writes to a queue that no track uses yet.
    pub fn new(mut sink: S) -> Self {
        let load = Load::default();
        sink.set_capacity(load.entries());
        Self { sink, overdue: VecDeque::new(), load }
    }

    /// The tracks that the queue has entries for.
    #[must_use]
    pub const fn load(&self) -> Load {
        self.load
    }

    /// Changes the load, and the queue's entries with it.
    pub fn change_load(&mut self, change: impl FnOnce(&mut Load)) {
        change(&mut self.load);
        self.sink.set_capacity(self.load.entries());
    }

    /// All tracks went, and what was not said of them yet.
    pub fn clear(&mut self) {
        self.overdue.clear();
        self.change_load(|load| *load = Load::default());
    }

    /// Copies a packet into the queue. False: it is full.
    pub fn try_send_packet(&mut self, packet: Packet, payload: &[u8]) -> bool {
        let Some(entry) = self.slot() else { return false };
        entry.write_packet(packet, payload);
        self.sink.commit();
        true
    }

    /// Says what will be said again, or what the next of its kind makes good. False: the queue is full.
    pub fn try_send(&mut self, message: Message) -> bool {
        let Some(entry) = self.slot() else { return false };
        entry.write(message);
        self.sink.commit();
        true
    }

    /// Says what must not be lost. Nothing overtakes it.
    pub fn send(&mut self, message: Message) {
        self.overdue.push_back(message);
        self.write_overdue();
    }

    /// Writes what is overdue, as far as there is room, and wakes the other side if anything was written.
    pub fn flush(&mut self) {
        self.write_overdue();
        self.sink.wake();
    }

    /// The next free entry, once everything overdue is written.
    fn slot(&mut self) -> Option<&mut Entry> {
        self.write_overdue();
        if self.overdue.is_empty() { self.sink.slot() } else { None }
    }

    fn write_overdue(&mut self) {
        while let Some(message) = self.overdue.pop_front() {
            let Some(entry) = self.sink.slot() else { return self.overdue.push_front(message) };
            entry.write(message);
            self.sink.commit();
        }
    }
}
