//! All recordings of a port: which tracks go into which.

use crate::disk::{Disk, DiskStore};
use crate::recording::{Container, Event, Recording};
use relay_port::{MediaTime, Message, TrackId};
use std::collections::BTreeMap;

/// What goes into one recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// Each track into its own.
    Track,
    /// All tracks of a room into one, in Matroska.
    Room,
}

/// See the module.
pub struct Groups {
    by: By,
    disk: Disk,
    recordings: BTreeMap<u64, Recording<DiskStore>>,
    /// In which recording a track is.
    tracks: BTreeMap<TrackId, u64>,
    /// Tracks whose publisher is to send a keyframe.
    keyframes: Vec<TrackId>,
}

impl Groups {
    /// No recordings yet.
    #[must_use]
    pub const fn new(by: By, disk: Disk) -> Self {
        Self { by, disk, recordings: BTreeMap::new(), tracks: BTreeMap::new(), keyframes: Vec::new() }
    }

    /// Takes what the relay says. `unix_ms`: the wall clock, for the names of files.
    pub fn handle_message(&mut self, unix_ms: u128, message: &Message, payload: &[u8]) {
        match message {
            Message::Begin { track_id, opening, track } => {
                let key = if self.by == By::Track { *track_id } else { track.room_id };
                if !self.recordings.contains_key(&key) {
                    let (kind, container) = match self.by {
                        By::Track => ("track", Container::Common),
                        By::Room => ("room", Container::Matroska),
                    };
                    let name = format!("{kind}-{key}-{unix_ms}");
                    tracing::info!("{name} begins");
                    self.recordings.insert(key, Recording::new(self.disk.store(&name), container));
                }
                self.tracks.insert(*track_id, key);
                if let Some(recording) = self.recordings.get_mut(&key) {
                    recording.handle_begin(*track_id, *opening, track, &format!("track {track_id}"));
                }
            }
            Message::Packet(packet) => {
                if let Some(recording) = self.of(packet.track_id) {
                    recording.handle_packet(packet, payload);
                }
            }
            Message::Clock { track_id, clock } => {
                if let Some(recording) = self.of(*track_id) {
                    recording.handle_clock(*track_id, *clock);
                }
            }
            Message::End { track_id } => self.end_track(*track_id),
            Message::Empty
            | Message::Keyframe { .. }
            | Message::Fault { .. }
            | Message::Reset { .. }
            | Message::Close { .. } => {}
        }
    }

    /// A few times a second, at this moment of the room clock.
    pub fn handle_timeout(&mut self, now: MediaTime) {
        self.recordings.values_mut().for_each(|recording| recording.handle_timeout(now));
        self.take_events();
    }

    /// The next track whose publisher is to send a keyframe.
    pub fn poll_keyframe(&mut self) -> Option<TrackId> {
        self.keyframes.pop()
    }

    /// The relay is gone, and its tracks with it: all recordings end.
    pub fn handle_end(&mut self) {
        self.recordings.values_mut().for_each(Recording::handle_end);
        self.take_events();
        self.recordings.clear();
        self.tracks.clear();
    }

    /// Ends all, and waits until all files are finished.
    pub fn end(mut self) {
        self.handle_end();
        self.disk.end();
    }

    fn of(&mut self, track_id: TrackId) -> Option<&mut Recording<DiskStore>> {
        self.recordings.get_mut(self.tracks.get(&track_id)?)
    }

    fn end_track(&mut self, track_id: TrackId) {
        let Some(key) = self.tracks.remove(&track_id) else { return };
        let Some(recording) = self.recordings.get_mut(&key) else { return };
        recording.handle_end_of_track(track_id);
        if recording.is_idle() {
            recording.handle_end();
            self.take_events();
            self.recordings.remove(&key);
        }
    }

    fn take_events(&mut self) {
        for (key, recording) in &mut self.recordings {
            while let Some(event) = recording.poll_event() {
                match event {
                    Event::Keyframe(track_id) => self.keyframes.push(track_id),
                    Event::PartBegun { part } => tracing::info!("recording {key}: part {part} begins"),
                    Event::Failed(why) => tracing::error!("recording {key} has ended: {why}"),
                }
            }
        }
    }
}
