//! All recordings of a process, sans-IO: from what the relay gives, signaling orders, and the disk says, to
//! what is to be written, made, told and removed.
//!
//! Invariants
//! - A recording's id is used once: what comes for one that has ended is counted and not recorded.
//! - What is live is never removed, whatever the limits.
//! - A fault that concerns one recording concerns no other.
//!
//! Deliberately absent: threads, sockets, files and clocks.

use crate::entry::{Entry, Found, Stored};
use crate::finish::{Job, Report};
use crate::folder::{part_path, work_folder};
use crate::lifetime::Present;
use crate::sink::Stores;
use crate::taps::{Taps, all_of, not_in};
use recorder_control::{
    Failure, FailureCode, Notice, Order, RECORDER_CONTROL_VERSION, Recording, State, TapLabel, Wanted,
};
use relay_port::{Frame, MediaTime, Message, TrackId};
use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::time::Duration;

/// Recordings at a time that are not finished.
pub const RECORDINGS_MAX: usize = 4_096;
/// How often it is looked for what is to be removed.
const RETENTION_EVERY: Duration = Duration::from_secs(60);

/// What is to be done.
#[derive(Debug)]
pub enum Action {
    /// The publisher of this track is to send a keyframe.
    Keyframe(TrackId),
    /// What is needed to go on with it is to be on the disk.
    Save(Box<Stored>),
    /// A file is to be made.
    Finish(Box<Job>),
    /// What stands beside its file is to be written anew.
    Describe(Box<Recording>),
    /// Its files are to be removed.
    Remove(Box<Recording>),
    /// Signaling is to hear it.
    Tell(Notice),
}

/// Which finished recordings are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// Not older.
    pub max_age: Option<Duration>,
    /// Of all together.
    pub max_total_bytes: Option<u64>,
}

/// See the module.
pub struct Recorder<S: Stores> {
    stores: S,
    directory: PathBuf,
    retention: Retention,
    taps: Taps,
    /// Those that have no file yet, by id.
    entries: BTreeMap<String, Entry<S::Store>>,
    /// Those that are ready or have failed, by id.
    done: BTreeMap<String, Recording>,
    /// Those that were too many when they were asked for: each that a track goes into, until there is room.
    waiting: BTreeMap<String, Recording>,
    present: Present,
    /// Why nothing may be written.
    low: Option<Failure>,
    retained: Option<Duration>,
    /// Tracks that came for recordings that had ended, or were too many at that moment.
    refused: u64,
    actions: VecDeque<Action>,
}

impl<S: Stores> Recorder<S> {
    /// With what a former process has left: what is not finished, and what is ready.
    #[must_use]
    pub fn new(
        stores: S,
        directory: PathBuf,
        retention: Retention,
        (found, ready): (Vec<Found>, Vec<Recording>),
        now: Duration,
    ) -> Self {
        let done: BTreeMap<String, Recording> =
            ready.into_iter().map(|recording| (recording.id.clone(), recording)).collect();
        let mut recorder = Self {
            stores,
            directory,
            retention,
            taps: Taps::default(),
            entries: BTreeMap::new(),
            done,
            waiting: BTreeMap::new(),
            present: Present::default(),
            low: None,
            retained: None,
            refused: 0,
            actions: VecDeque::new(),
        };
        for Found { stored, parts, bytes } in found {
            let id = stored.wanted.id.clone();
            let why = stored.recording.failure.as_ref().map(|failure| failure.code);
            if stored.recording.state == State::Failed && why == Some(FailureCode::Empty) {
                recorder.done.insert(id, stored.recording);
            } else {
                let store = recorder.stores.store(&id);
                recorder.entries.insert(id, Entry::found(stored, store, parts, bytes, now));
            }
        }
        recorder
    }

    /// Takes what the relay says.
    pub fn handle_frame(&mut self, now: Duration, frame: &Frame, payload: &[u8]) {
        match frame {
            Frame::Label { track_id, label } => {
                if let Some((before, label)) = self.taps.handle_label(*track_id, label) {
                    self.change(*track_id, &before, &label, now);
                }
            }
            Frame::Message(Message::Begin { track_id, track, .. }) => {
                let label = self.taps.handle_begin(*track_id, track);
                if let Some(label) = label {
                    for wanted in all_of(&label) {
                        self.join(*track_id, wanted, &label, now);
                    }
                }
            }
            Frame::Message(Message::Packet(packet)) => {
                self.taps.handle_packet(packet, payload);
                self.pass_on(packet.track_id, now);
            }
            Frame::Message(Message::Clock { track_id, clock }) => self.taps.handle_clock(*track_id, *clock),
            Frame::Message(Message::End { track_id }) => self.end_track(*track_id, now),
            _ => {}
        }
    }

    /// The relay's port is connected, or no longer; then all tracks are gone.
    pub fn handle_relay(&mut self, now: Duration, is_connected: bool) {
        self.present.relay = is_connected.then_some(now);
        if !is_connected {
            for track_id in self.taps.ids() {
                self.taps.handle_end(track_id);
                self.pass_on(track_id, now);
            }
            for entry in self.entries.values_mut() {
                entry.handle_relay_gone(now);
            }
            for track_id in self.taps.ids() {
                self.end_track(track_id, now);
            }
            self.taps = Taps::default();
        }
    }

    /// A signaling that has said Hello is there, or no longer.
    pub fn handle_signaling(&mut self, now: Duration, is_there: bool) {
        self.present.signaling = is_there.then(|| self.present.signaling.unwrap_or(now));
    }

    /// Takes an order.
    pub fn handle_order(&mut self, now: Duration, order: &Order) {
        match order {
            Order::Hello { .. } => self.handle_signaling(now, true),
            Order::End { id } => {
                if self.waiting.remove(id).is_some() {
                    self.actions.push_back(Action::Tell(Notice::Deleted { id: id.clone() }));
                }
                if let Some(entry) = self.entries.get_mut(id) {
                    entry.end(now);
                }
            }
            Order::Rooms { ids } => {
                for (id, entry) in &mut self.entries {
                    if !ids.contains(id) && entry.end_if_abandoned(now) {
                        tracing::info!("recording {id} ends: no room goes on with it");
                    }
                }
            }
            Order::Delete { id } => self.remove(id),
        }
    }

    /// Why nothing may be written, or that it may.
    pub fn handle_space(&mut self, low: Option<Failure>) {
        match (&self.low, &low) {
            (None, Some(why)) => tracing::error!("nothing is recorded: {}", why.info),
            (Some(_), None) => tracing::info!("there is room on the disk: recordings go on"),
            _ => {}
        }
        self.low = low;
    }

    /// A part of a recording is closed.
    pub fn handle_closed(&mut self, id: &str) {
        if let Some(entry) = self.entries.get_mut(id) {
            entry.handle_closed();
        }
    }

    /// What has become of a file that is made.
    pub fn handle_report(&mut self, now: Duration, report: Report) {
        match report {
            Report::Progress { id, percent } => {
                if let Some(entry) = self.entries.get_mut(&id) {
                    entry.handle_progress(percent);
                }
            }
            Report::Ready(ready) => {
                tracing::info!("recording {} is ready: {}", ready.id, ready.file);
                self.entries.remove(&ready.id);
                self.put(*ready);
            }
            Report::Failed { id, failure } => {
                let Some(entry) = self.entries.get_mut(&id) else { return };
                tracing::error!("recording {id} has no file: {}", failure.info);
                if let Some(failed) = entry.handle_failed(failure, now) {
                    let entry = self.entries.remove(&id);
                    if let Some(entry) = entry {
                        self.actions.push_back(Action::Save(Box::new(entry.stored().clone())));
                    }
                    self.put(failed);
                }
            }
            // Of one that was removed meanwhile the mix went with it.
            Report::Mixed { id, file, bytes } => {
                if let Some(done) = self.done.get_mut(&id) {
                    (done.mixed, done.mixed_bytes) = (Some(file), bytes);
                    let done = done.clone();
                    self.actions.push_back(Action::Describe(Box::new(done.clone())));
                    self.put(done);
                }
            }
        }
    }

    /// A few times a second. `media`: the room clock, where it is known; `unix_ms`: the wall clock.
    pub fn handle_timeout(&mut self, now: Duration, media: Option<MediaTime>, unix_ms: u64) {
        if let Some(media) = media {
            for track_id in self.taps.ids() {
                self.taps.handle_timeout(track_id, media);
                self.pass_on(track_id, now);
                let recordings = self.taps.recordings(track_id);
                let needs =
                    |id: &String| self.entries.get(id).is_some_and(|one| one.needs_keyframe(track_id));
                let is_needed = recordings.iter().any(needs);
                if self.taps.poll_keyframe(track_id, media, is_needed) {
                    self.actions.push_back(Action::Keyframe(track_id));
                }
            }
        }
        self.admit(now);
        let mut ended = Vec::new();
        for (id, entry) in &mut self.entries {
            entry.handle_timeout(now, media, self.present, self.low.as_ref());
            if let Some(parts) = entry.poll_finish(now, self.low.as_ref()) {
                ended.push((id.clone(), parts));
            }
        }
        // What is stored comes first: nothing of it is written behind the end of its folder.
        self.tell(now);
        ended.into_iter().for_each(|(id, parts)| self.finish(&id, parts, now));
        if self.retained.is_none_or(|retained| now >= retained + RETENTION_EVERY) {
            self.retained = Some(now);
            self.retain(unix_ms);
        }
    }

    /// Ends nothing: the next process goes on. What was taken is written.
    pub fn handle_stop(&mut self, now: Duration) {
        self.handle_relay(now, false);
        for entry in self.entries.values_mut() {
            entry.handle_stop(now);
        }
    }

    /// What a signaling that has just connected hears: all that there is.
    #[must_use]
    pub fn inventory(&self) -> Vec<Notice> {
        let directory = self.directory.display().to_string();
        let hello = Notice::Hello { version: RECORDER_CONTROL_VERSION, directory };
        let live = self.entries.values().map(|entry| &entry.stored().recording);
        let all = live
            .chain(self.waiting.values())
            .chain(self.done.values())
            .map(|one| Notice::Recording(Box::new(one.clone())));
        [hello].into_iter().chain(all).chain([Notice::Synced]).collect()
    }

    /// What is to be done next.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Tracks that came for recordings that had ended, or were too many at that moment.
    #[must_use]
    pub const fn refused(&self) -> u64 {
        self.refused
    }

    /// The label of a track that has begun has changed.
    fn change(&mut self, track_id: TrackId, before: &TapLabel, label: &TapLabel, now: Duration) {
        for wanted in not_in(before, label) {
            if let Some(entry) = self.entries.get_mut(&wanted.id) {
                entry.leave(track_id, now);
            }
        }
        for wanted in not_in(label, before) {
            self.join(track_id, wanted, label, now);
        }
    }

    fn join(&mut self, track_id: TrackId, wanted: &Wanted, label: &TapLabel, now: Duration) {
        let Some(codec) = self.taps.codec(track_id) else { return };
        let id = &wanted.id;
        if !self.entries.contains_key(id) && !self.done.contains_key(id) {
            if self.room() == 0 {
                return self.wait(wanted, label);
            }
            self.waiting.remove(id);
            tracing::debug!("recording {id} waits for its first frame");
            let store = self.stores.store(id);
            self.entries.insert(id.clone(), Entry::begin(Stored::new(wanted, label), store, now));
        }
        let entry = self.entries.get_mut(id);
        if !entry.is_some_and(|entry| entry.join(track_id, codec, label)) {
            self.refused += 1;
            tracing::error!("track {track_id:x} is not recorded: recording {id} has ended");
        }
        self.tell(now);
    }

    /// How many more may be recorded. Those that wait for their files do not count: they could be kept
    /// waiting.
    fn room(&self) -> usize {
        RECORDINGS_MAX.saturating_sub(self.entries.values().filter(|entry| entry.is_live()).count())
    }

    /// It is told as one that is paused.
    fn wait(&mut self, wanted: &Wanted, label: &TapLabel) {
        self.refused += 1;
        if self.waiting.contains_key(&wanted.id) {
            return;
        }
        let info = format!("{RECORDINGS_MAX} are recorded; it begins when one of them ends");
        tracing::error!("recording {} does not begin: {info}", wanted.id);
        let mut recording = Stored::new(wanted, label).recording;
        recording.state = State::Paused;
        recording.failure = Some(Failure { code: FailureCode::TooMany, info });
        self.actions.push_back(Action::Tell(Notice::Recording(Box::new(recording.clone()))));
        self.waiting.insert(wanted.id.clone(), recording);
    }

    /// Begins those that waited, as far as there is room, and forgets those into which no track goes.
    fn admit(&mut self, now: Duration) {
        if self.waiting.is_empty() {
            return;
        }
        let mut room = self.room();
        let tracks = self.taps.ids();
        let mut wanted = BTreeMap::<String, Vec<TrackId>>::new();
        for track_id in tracks {
            for id in self.taps.recordings(track_id).iter().filter(|id| self.waiting.contains_key(*id)) {
                wanted.entry(id.clone()).or_default().push(track_id);
            }
        }
        for id in self.waiting.keys().filter(|id| !wanted.contains_key(*id)) {
            self.actions.push_back(Action::Tell(Notice::Deleted { id: id.clone() }));
        }
        self.waiting.retain(|id, _| wanted.contains_key(id));
        for (id, tracks) in wanted {
            if room == 0 {
                return;
            }
            room -= 1;
            for track_id in tracks {
                let Some(label) = self.taps.label(track_id).cloned() else { continue };
                if let Some(wanted) = all_of(&label).into_iter().find(|wanted| wanted.id == id) {
                    self.join(track_id, wanted, &label, now);
                }
            }
        }
    }

    fn end_track(&mut self, track_id: TrackId, now: Duration) {
        self.taps.handle_end(track_id);
        self.pass_on(track_id, now);
        for id in self.taps.recordings(track_id).iter() {
            if let Some(entry) = self.entries.get_mut(id) {
                entry.leave(track_id, now);
            }
        }
        self.taps.remove(track_id);
    }

    /// Frames of a track into its recordings.
    fn pass_on(&mut self, track_id: TrackId, now: Duration) {
        let Some(mut sample) = self.taps.poll_sample(track_id) else { return };
        let recordings = self.taps.recordings(track_id);
        let mut has_begun = false;
        loop {
            if let Some((last, others)) = recordings.split_last() {
                for id in others {
                    if let Some(entry) = self.entries.get_mut(id) {
                        has_begun |= entry.handle_sample(track_id, sample.clone(), now);
                    }
                }
                if let Some(entry) = self.entries.get_mut(last) {
                    has_begun |= entry.handle_sample(track_id, sample, now);
                }
            }
            match self.taps.poll_sample(track_id) {
                Some(next) => sample = next,
                None => break,
            }
        }
        if has_begun {
            self.tell(now);
        }
    }

    fn finish(&mut self, id: &str, parts: u32, now: Duration) {
        let Some(entry) = self.entries.get(id) else { return };
        let Stored { wanted, recording, .. } = entry.stored();
        if parts == 0 {
            let info = "nothing came that could be recorded".to_owned();
            let failure = Failure { code: FailureCode::Empty, info };
            return self.drop_empty(id, failure, now);
        }
        let work = work_folder(&self.directory, id);
        let parts = (1..=parts).map(|part| part_path(&self.directory, id, part)).collect();
        let (aligned_at_ms, directory) = (wanted.aligned_at_ms, self.directory.clone());
        let job = Job { recording: recording.clone(), aligned_at_ms, directory, work, parts };
        self.actions.push_back(Action::Finish(Box::new(job)));
    }

    /// One of which nothing was written is told, and not kept: members could fill the list with such.
    fn drop_empty(&mut self, id: &str, failure: Failure, now: Duration) {
        let Some(mut entry) = self.entries.remove(id) else { return };
        tracing::debug!("recording {id} is dropped: {}", failure.info);
        if let Some(failed) = entry.handle_failed(failure, now) {
            self.actions.push_back(Action::Tell(Notice::Recording(Box::new(failed.clone()))));
            self.actions.push_back(Action::Remove(Box::new(failed)));
            self.actions.push_back(Action::Tell(Notice::Deleted { id: id.to_owned() }));
        }
    }

    fn tell(&mut self, now: Duration) {
        for entry in self.entries.values_mut() {
            let changes = entry.poll_changes(now);
            let stored = entry.stored();
            if changes.is_stored {
                self.actions.push_back(Action::Save(Box::new(stored.clone())));
            }
            if changes.is_told {
                let recording = Box::new(stored.recording.clone());
                self.actions.push_back(Action::Tell(Notice::Recording(recording)));
            }
        }
    }

    /// A recording that is ready or has failed.
    fn put(&mut self, recording: Recording) {
        self.actions.push_back(Action::Tell(Notice::Recording(Box::new(recording.clone()))));
        self.done.insert(recording.id.clone(), recording);
        // There is one more.
        self.retained = None;
    }

    /// Removes what is too old or too much, the oldest first.
    fn retain(&mut self, unix_ms: u64) {
        if self.retention.max_age.is_none() && self.retention.max_total_bytes.is_none() {
            return;
        }
        let mut oldest: Vec<(u64, u64, String)> = self
            .done
            .values()
            .map(|one| (one.ended_at_ms.unwrap_or(one.started_at_ms), bytes_of(one), one.id.clone()))
            .collect();
        oldest.sort_unstable();
        let mut total: u64 = oldest.iter().map(|(_, bytes, _)| bytes).sum();
        for (ended_at_ms, bytes, id) in oldest {
            let age = Duration::from_millis(unix_ms.saturating_sub(ended_at_ms));
            let is_old = self.retention.max_age.is_some_and(|max| age > max);
            let is_much = self.retention.max_total_bytes.is_some_and(|max| total > max);
            if !is_old && !is_much {
                continue;
            }
            let why = if is_old { "recording.max_age_hours" } else { "recording.max_total_bytes" };
            tracing::info!("recording {id} is removed: {why}");
            total = total.saturating_sub(bytes);
            self.remove(&id);
        }
    }

    fn remove(&mut self, id: &str) {
        if let Some(recording) = self.done.remove(id) {
            self.actions.push_back(Action::Remove(Box::new(recording)));
            self.actions.push_back(Action::Tell(Notice::Deleted { id: id.to_owned() }));
        }
    }
}

/// On the disk.
const fn bytes_of(done: &Recording) -> u64 {
    done.bytes.saturating_add(done.mixed_bytes)
}

#[cfg(test)]
mod tests;
