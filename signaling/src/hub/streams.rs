//! All streams, by whatever they are asked for.
//!
//! Invariants
//! - A stream is in every table that it belongs to, or in none.
//! - Of a publication and what plays it, each knows the other.

use super::unproved::{Asker, Unproved, UnprovedLimits};
use crate::id::{RoomId, StreamKey};
use crate::life::{Happening, Life, Next};
use crate::refusal::Refusal;
use crate::stream::{Publish, Role, Stream};
use crate::timer::Time;
use std::collections::HashMap;
use std::time::Duration;

#[derive(Default)]
pub(super) struct Streams {
    all: HashMap<StreamKey, Stream>,
    by_session: HashMap<String, StreamKey>,
    /// Publications; a name is unique within its room.
    by_name: HashMap<(RoomId, String), StreamKey>,
    by_track: HashMap<u64, StreamKey>,
    unproved: Unproved,
}

/// What comes of a happening.
pub(super) struct Moved {
    pub(super) next: Next,
    /// It is elsewhere now, where it may stay for so long.
    pub(super) limit: Option<Option<Duration>>,
}

impl Streams {
    pub(super) fn get(&self, key: StreamKey) -> Option<&Stream> {
        self.all.get(&key)
    }

    pub(super) fn get_mut(&mut self, key: StreamKey) -> Option<&mut Stream> {
        self.all.get_mut(&key)
    }

    pub(super) fn publish(&self, key: StreamKey) -> Option<&Publish> {
        self.get(key)?.publish()
    }

    pub(super) fn publish_mut(&mut self, key: StreamKey) -> Option<&mut Publish> {
        self.get_mut(key)?.publish_mut()
    }

    pub(super) fn contains(&self, key: StreamKey) -> bool {
        self.all.contains_key(&key)
    }

    /// With this `mediaSessionId`, or digest of a session's URL.
    pub(super) fn of_session(&self, session: &str) -> Option<(StreamKey, &Stream)> {
        let key = *self.by_session.get(session)?;
        Some((key, self.get(key)?))
    }

    pub(super) fn of_track(&self, track: u64) -> Option<StreamKey> {
        self.by_track.get(&track).copied()
    }

    /// The publication of this name, on the air or not.
    pub(super) fn named(&self, room: RoomId, name: &str) -> Option<StreamKey> {
        self.by_name.get(&(room, name.to_owned())).copied()
    }

    /// The publication of this name that is on the air.
    pub(super) fn published(&self, room: RoomId, name: &str) -> Result<StreamKey, Refusal> {
        let key = self.named(room, name).ok_or(Refusal::StreamNotFound)?;
        if self.is_on_air(key) { Ok(key) } else { Err(Refusal::StreamNotReady) }
    }

    pub(super) fn is_on_air(&self, key: StreamKey) -> bool {
        self.get(key).is_some_and(Stream::is_on_air)
    }

    pub(super) fn keys(&self) -> Vec<StreamKey> {
        self.all.keys().copied().collect()
    }

    /// Those that the relay must have: it has said so.
    pub(super) fn settled(&self) -> impl Iterator<Item = StreamKey> {
        let settled = self.all.iter().filter(|(_, stream)| !matches!(stream.life, Life::Negotiating(_)));
        settled.map(|(key, _)| *key)
    }

    pub(super) fn insert(&mut self, key: StreamKey, stream: Stream) {
        match &stream.role {
            Role::Publish(publish) => {
                self.by_name.insert((stream.room, stream.name.clone()), key);
                self.by_track.extend(publish.tracks.iter().map(|track| (track.id, key)));
            }
            Role::Play { source } => {
                if let Some(publish) = self.publish_mut(*source) {
                    publish.players.push(key);
                }
            }
        }
        self.by_session.insert(stream.session.clone(), key);
        self.all.insert(key, stream);
    }

    pub(super) fn remove(&mut self, key: StreamKey) -> Option<Stream> {
        let stream = self.all.remove(&key)?;
        self.unproved.remove(key);
        self.by_session.remove(&stream.session);
        match &stream.role {
            Role::Publish(publish) => {
                self.by_name.remove(&(stream.room, stream.name.clone()));
                for track in &publish.tracks {
                    self.by_track.remove(&track.id);
                }
            }
            Role::Play { source } => {
                if let Some(publish) = self.publish_mut(*source) {
                    publish.players.retain(|other| *other != key);
                }
            }
        }
        Some(stream)
    }

    /// Moves a stream on.
    pub(super) fn happened(&mut self, key: StreamKey, happening: Happening) -> Option<Moved> {
        let mut stream = self.all.remove(&key)?;
        let before = std::mem::discriminant(&stream.life);
        let next;
        (stream.life, next) = stream.life.after(happening);
        let moved = std::mem::discriminant(&stream.life) != before;
        let limit = moved.then(|| stream.life.limit());
        self.all.insert(key, stream);
        Some(Moved { next, limit })
    }

    /// Whether one more of this asker's may be begun before its client has proved an address.
    pub(super) fn admits(&mut self, now: Time, asker: Asker, limits: UnprovedLimits) -> bool {
        self.unproved.admits(now, asker, limits)
    }

    pub(super) fn note_unproved(&mut self, key: StreamKey, asker: Asker) {
        self.unproved.insert(key, asker);
    }

    pub(super) fn note_proved(&mut self, key: StreamKey) {
        self.unproved.remove(key);
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// Sizes of the tables.
    pub(super) fn ledger(&self) -> [(&'static str, usize); 3] {
        [
            ("streams", self.all.len() + self.by_session.len() + self.by_name.len()),
            ("tracks", self.by_track.len()),
            ("unproved", self.unproved.len()),
        ]
    }
}
