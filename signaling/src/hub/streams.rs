//! All streams, by whatever they are asked for.
//!
//! Invariants
//! - A stream is in every table that it belongs to, or in none.
//! - Of a publication and what plays it, each knows the other.

use super::context::Context;
use super::unproved::{Requester, Unproved};
use crate::id::{Held, RelayId, RoomId, StreamKey};
use crate::message::StreamEventType;
use crate::record::{Running, StreamRecord};
use crate::refusal::Refusal;
use crate::stream::{Flow, Muted, Play, Publish, Role, Stopped, Stream};
use crate::stream_state::{Action, Trigger};
use crate::timer::Timer;
use std::collections::HashMap;

#[derive(Default)]
pub(super) struct Streams {
    all: HashMap<StreamKey, Stream>,
    by_media_session_id: HashMap<String, StreamKey>,
    /// Publications; a name is unique within its room.
    by_name: HashMap<(RoomId, String), StreamKey>,
    by_track: HashMap<u64, StreamKey>,
    /// Those that are recorded by themselves.
    by_recording: HashMap<String, StreamKey>,
    unproved: Unproved,
}

impl Streams {
    pub(super) fn get(&self, key: StreamKey) -> Option<&Stream> {
        self.all.get(&key)
    }

    pub(super) fn publish(&self, key: StreamKey) -> Option<&Publish> {
        self.get(key)?.publish()
    }

    /// The publication whose media flows in this stream.
    pub(super) fn source_of<'a>(&'a self, stream: &'a Stream) -> Option<&'a Publish> {
        match &stream.role {
            Role::Publish(publish) => Some(publish),
            Role::Play(play) => self.publish(play.source),
        }
    }

    pub(super) fn contains(&self, key: StreamKey) -> bool {
        self.all.contains_key(&key)
    }

    /// With this `mediaSessionId`, or digest of a session's URL.
    pub(super) fn with_id(&self, id: &str) -> Option<(StreamKey, &Stream)> {
        let key = *self.by_media_session_id.get(id)?;
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

    pub(super) fn is_on(&self, key: StreamKey, relay: RelayId) -> bool {
        self.get(key).is_some_and(|stream| stream.relay == relay)
    }

    /// Those whose transports are on this relay.
    pub(super) fn on_relay(&self, relay: RelayId) -> impl Iterator<Item = (StreamKey, &Stream)> {
        self.all.iter().filter(move |(_, stream)| stream.relay == relay).map(|(key, stream)| (*key, stream))
    }

    pub(super) fn insert(&mut self, cx: &mut Context, key: StreamKey, stream: Stream) {
        match &stream.role {
            Role::Publish(publish) => {
                self.by_name.insert((stream.room, stream.name.clone()), key);
                self.by_track.extend(publish.tracks.iter().map(|track| (track.id, key)));
                let recording = publish.record.running.as_ref().map(|running| running.wanted.id.clone());
                self.by_recording.extend(recording.map(|id| (id, key)));
            }
            Role::Play(Play { source, .. }) => {
                if let Some(publish) = self.publish_mut(*source) {
                    publish.players.insert(stream.number, key);
                }
            }
        }
        if let Some(limit) = stream.state.limit() {
            cx.timers.set(Timer::Stream(key), cx.now + limit);
        }
        self.by_media_session_id.insert(stream.media_session_id.clone(), key);
        self.all.insert(key, stream);
    }

    pub(super) fn remove(&mut self, cx: &mut Context, key: StreamKey) -> Option<Stream> {
        let stream = self.all.remove(&key)?;
        cx.timers.clear(Timer::Stream(key));
        cx.timers.clear(Timer::Media(key));
        cx.timers.clear(Timer::Taps(key));
        self.unproved.remove(key);
        self.by_media_session_id.remove(&stream.media_session_id);
        match &stream.role {
            Role::Publish(publish) => {
                self.by_name.remove(&(stream.room, stream.name.clone()));
                cx.note_freed(Held::StreamName(key));
                for track in &publish.tracks {
                    self.by_track.remove(&track.id);
                }
                if let Some(running) = &publish.record.running {
                    self.by_recording.remove(&running.wanted.id);
                }
            }
            Role::Play(Play { source, .. }) => {
                if let Some(publish) = self.publish_mut(*source) {
                    publish.players.remove(&stream.number);
                }
            }
        }
        Some(stream)
    }

    /// Takes a stream to the state that follows, with the timer of that. What is to be done is the caller's.
    pub(super) fn advance(&mut self, cx: &mut Context, key: StreamKey, trigger: Trigger) -> Option<Action> {
        let mut stream = self.all.remove(&key)?;
        let before = std::mem::discriminant(&stream.state);
        let action;
        (stream.state, action) = stream.state.on(trigger);
        if std::mem::discriminant(&stream.state) != before {
            match stream.state.limit() {
                Some(limit) => cx.timers.set(Timer::Stream(key), cx.now + limit),
                None => cx.timers.clear(Timer::Stream(key)),
            }
        }
        self.all.insert(key, stream);
        Some(action)
    }

    /// Its answer was written with this user fragment of the relay, or ICE restarted with it.
    pub(super) fn set_local_ufrag(&mut self, key: StreamKey, ufrag: &str) {
        if let Some(stream) = self.all.get_mut(&key).filter(|stream| stream.local_ufrag != ufrag) {
            let before = std::mem::replace(&mut stream.local_ufrag, ufrag.to_owned());
            stream.ufrag_before = Some(before).filter(|before| !before.is_empty());
        }
    }

    /// What a client that asks again is told again.
    pub(super) fn set_answer(&mut self, key: StreamKey, sdp: &str) {
        if let Some(stream) = self.all.get_mut(&key) {
            stream.answer = Some(sdp.to_owned());
        }
    }

    /// Its client has restarted ICE.
    pub(super) fn set_remote_ice(&mut self, key: StreamKey, ufrag: &str, pwd: &str) {
        if let Some(plan) = self.all.get_mut(&key).and_then(|stream| stream.plan.as_mut()) {
            ufrag.clone_into(&mut plan.remote.ufrag);
            pwd.clone_into(&mut plan.remote.pwd);
        }
    }

    /// Packets of a publisher's track come, or come no longer. What had stopped of it before, and has now.
    pub(super) fn set_flowing(
        &mut self,
        key: StreamKey,
        track_id: u64,
        flows: bool,
    ) -> Option<(Stopped, Stopped)> {
        let publish = self.publish_mut(key)?;
        let before = publish.stopped();
        publish.has_sent |= flows;
        if let Some(track) = publish.tracks.iter_mut().find(|track| track.id == track_id) {
            track.flow = match track.flow {
                _ if flows => Flow::Flows,
                Flow::Awaited => Flow::Awaited,
                Flow::Flows | Flow::Stopped => Flow::Stopped,
            };
        }
        Some((before, publish.stopped()))
    }

    /// What never came of a publisher's media by now has stopped.
    pub(super) fn give_up_awaited(&mut self, key: StreamKey) -> Option<(Stopped, Stopped)> {
        let publish = self.publish_mut(key)?;
        let before = publish.stopped();
        let awaited = publish.tracks.iter_mut().filter(|track| track.flow == Flow::Awaited);
        awaited.for_each(|track| track.flow = Flow::Stopped);
        Some((before, publish.stopped()))
    }

    /// What a publisher says of its devices. True: that was not known.
    pub(super) fn set_muted(&mut self, key: StreamKey, event: StreamEventType) -> bool {
        let Some(Publish { muted, .. }) = self.publish_mut(key) else { return false };
        let before = *muted;
        match event {
            StreamEventType::AudioMuted => muted.audio = true,
            StreamEventType::AudioUnmuted => muted.audio = false,
            StreamEventType::VideoMuted => muted.video = true,
            StreamEventType::VideoUnmuted => muted.video = false,
            _ => {}
        }
        *muted != before
    }

    /// A player is not told of a mute now.
    pub(super) fn withhold_notes(&mut self, player: StreamKey) {
        if let Some(Role::Play(play)) = self.all.get_mut(&player).map(|stream| &mut stream.role) {
            play.missed_notes = true;
        }
    }

    /// How the publisher's devices are, if the player was not told of a change.
    pub(super) fn take_missed_notes(&mut self, player: StreamKey) -> Option<Muted> {
        let Role::Play(play) = &mut self.all.get_mut(&player)?.role else { return None };
        let source = std::mem::take(&mut play.missed_notes).then_some(play.source)?;
        Some(self.publish(source)?.muted)
    }

    /// The stream of which this is the recording.
    pub(super) fn of_recording(&self, id: &str) -> Option<StreamKey> {
        self.by_recording.get(id).copied()
    }

    /// It is recorded from now on, or no longer. Gives what ran before.
    pub(super) fn set_recording(&mut self, key: StreamKey, running: Option<Running>) -> Option<Running> {
        let record = &mut self.all.get_mut(&key)?.publish_mut()?.record;
        if let Some(running) = &running {
            record.file = Some(running.wanted.file.clone());
            self.by_recording.insert(running.wanted.id.clone(), key);
        }
        let before = std::mem::replace(&mut record.running, running);
        if let Some(before) = &before {
            self.by_recording.remove(&before.wanted.id);
        }
        before
    }

    /// What the file of a recording that ran is called at last; `None`: it has none.
    pub(super) fn set_recorded_file(&mut self, key: StreamKey, file: Option<&String>) {
        if let Some(record) = self.record_mut(key) {
            record.file = file.cloned();
        }
    }

    /// The recorder can write its recording, or not. True: that is new.
    pub(super) fn set_paused(&mut self, key: StreamKey, paused: bool) -> bool {
        let running = self.record_mut(key).and_then(|record| record.running.as_mut());
        running.is_some_and(|running| std::mem::replace(&mut running.paused, paused) != paused)
    }

    pub(super) fn record_mut(&mut self, key: StreamKey) -> Option<&mut StreamRecord> {
        self.publish_mut(key).map(|publish| &mut publish.record)
    }

    fn publish_mut(&mut self, key: StreamKey) -> Option<&mut Publish> {
        self.all.get_mut(&key)?.publish_mut()
    }

    /// Whether one more of this requester's may be begun before its client has proved an address.
    pub(super) fn admits_unproved(&mut self, cx: &Context, requester: Requester) -> bool {
        self.unproved.admits(cx.now, requester, &cx.config.signaling)
    }

    pub(super) fn note_unproved(&mut self, key: StreamKey, requester: Requester) {
        self.unproved.insert(key, requester);
    }

    /// True: that was not known.
    pub(super) fn note_proved(&mut self, key: StreamKey) -> bool {
        self.unproved.remove(key)
    }

    /// Whether its client has keys, so that it has shown an address and that it means to send.
    pub(super) fn is_proved(&self, key: StreamKey) -> bool {
        !self.unproved.contains(key)
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// Sizes of the tables.
    pub(super) fn ledger(&self) -> [(&'static str, usize); 5] {
        let missed = |stream: &&Stream| matches!(&stream.role, Role::Play(play) if play.missed_notes);
        [
            ("streams", self.all.len() + self.by_media_session_id.len() + self.by_name.len()),
            ("tracks", self.by_track.len()),
            ("recordings of streams", self.by_recording.len()),
            ("unproved", self.unproved.len()),
            ("missed notes", self.all.values().filter(missed).count()),
        ]
    }
}
