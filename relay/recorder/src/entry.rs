//! A recording from when it is asked for until its file is made.
//!
//! ```text
//! Live (recording, paused) ──► Closing ──► Finishing ──► ready or failed
//!                                 ▲             │
//!                                 └─ no room ───┘
//! ```
//!
//! Invariants
//! - What is told of it is what is stored of it, but for octets and length while it is written.
//! - While it is written it is told at most once in [`TOLD_EVERY`], but for changes of its state.
//! - A fault of the disk pauses it and is tried again, each time later, up to [`RETRY_MAX`].
//!
//! Deliberately absent: which tracks go into it, and when it ends ([`crate::lifetime`]).

use crate::lifetime::{Lifetime, Present};
use crate::recording::{Event, Recording};
use crate::sink::Store;
use crate::track::Sample;
use recorder_control::{Failure, FailureCode, Kind, Recorded, State, TOLD_TRACKS_MAX, TapLabel, Wanted};
use relay_port::{Codec, MediaTime, TrackId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// How often what is written is told.
pub const TOLD_EVERY: Duration = Duration::from_secs(1);
/// How long after a fault of the disk it is tried again; each time twice as long, up to [`RETRY_MAX`].
const RETRY: Duration = Duration::from_secs(1);
/// Longest time between two tries.
const RETRY_MAX: Duration = Duration::from_secs(60);
/// After this time without a fault the next one is the first again.
const FAULTLESS: Duration = Duration::from_secs(60);
const MS: i64 = 1_000_000;

/// All that is needed to go on with a recording, or to finish it, after any crash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    /// As it was asked for.
    pub wanted: Wanted,
    /// As it is known.
    pub recording: recorder_control::Recording,
    /// The relay's ids of its tracks.
    #[serde(default)]
    pub track_ids: Vec<TrackId>,
}

impl Stored {
    /// Nothing of it is there yet.
    #[must_use]
    pub fn new(wanted: &Wanted, label: &TapLabel) -> Self {
        let mut stored = Self::unlabelled(wanted);
        stored.recording.room.clone_from(&label.room);
        if wanted.kind == Kind::Stream {
            stored.recording.login = Some(label.login.clone());
            stored.recording.stream = Some(label.stream.clone());
            stored.recording.name.clone_from(&label.name);
        }
        stored
    }

    /// One of which nobody says what it is of.
    #[must_use]
    pub fn unlabelled(wanted: &Wanted) -> Self {
        let Wanted { id, kind, file, started_at_ms, .. } = wanted;
        let recording = recorder_control::Recording::new(id, *kind, file, *started_at_ms);
        Self { wanted: wanted.clone(), recording, track_ids: Vec::new() }
    }
}

/// What a former process has left of a recording that has no file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// As it was stored last.
    pub stored: Stored,
    /// The number of its last part.
    pub parts: u32,
    /// Octets of its parts.
    pub bytes: u64,
}

/// Where it is.
enum Phase<S: Store> {
    Live {
        recording: Box<Recording<S>>,
        lifetime: Lifetime,
    },
    /// It has ended; its file is made when its parts are closed, not before this time.
    Closing {
        parts: u32,
        due: Duration,
    },
    /// Its file is made.
    Finishing {
        parts: u32,
    },
}

/// What a turn has to say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// What is stored has changed.
    pub is_stored: bool,
    /// It is to be told.
    pub is_told: bool,
}

/// See the module.
pub struct Entry<S: Store> {
    stored: Stored,
    phase: Phase<S>,
    /// Tracks of which no frame has come yet.
    joined: BTreeMap<TrackId, Recorded>,
    /// Octets of parts of before.
    bytes_before: u64,
    /// Parts that are not closed yet.
    open: u32,
    /// When a pause that the disk's fault made ends, how many there were, and when it went on last.
    retry: Option<Duration>,
    faults: u32,
    resumed: Duration,
    told: Option<(Duration, recorder_control::Recording)>,
    is_stored: bool,
}

impl<S: Store> Entry<S> {
    /// A recording that was asked for now.
    #[must_use]
    pub fn begin(stored: Stored, store: S, now: Duration) -> Self {
        let recording = Box::new(Recording::new(store, 0));
        let phase = Phase::Live { recording, lifetime: Lifetime::Trackless(now) };
        Self::new(stored, phase, 0, now)
    }

    /// One that a former process has left, with so many parts and octets: it may go on, or ends.
    #[must_use]
    pub fn found(mut stored: Stored, store: S, parts: u32, bytes: u64, now: Duration) -> Self {
        let phase = match stored.recording.state {
            State::Recording | State::Paused => {
                stored.recording.interruptions = stored.recording.interruptions.saturating_add(1);
                stored.recording.state = State::Recording;
                stored.recording.failure = None;
                let recording = Box::new(Recording::new(store, parts));
                Phase::Live { recording, lifetime: Lifetime::Returning(now) }
            }
            // What failed is tried once more: what was missing may be there now.
            _ => {
                stored.recording.state = State::Finishing;
                stored.recording.failure = None;
                Phase::Closing { parts, due: now }
            }
        };
        stored.recording.bytes = bytes;
        Self::new(stored, phase, bytes, now)
    }

    fn new(stored: Stored, phase: Phase<S>, bytes_before: u64, now: Duration) -> Self {
        let (open, retry, faults, told) = (0, None, 0, None);
        let joined = BTreeMap::new();
        Self { stored, phase, joined, bytes_before, open, retry, faults, resumed: now, told, is_stored: true }
    }

    /// What is stored of it.
    #[must_use]
    pub const fn stored(&self) -> &Stored {
        &self.stored
    }

    /// Whether tracks may go into it.
    #[must_use]
    pub const fn is_live(&self) -> bool {
        matches!(self.phase, Phase::Live { .. })
    }

    /// A track begins in it. `false`: it has ended already.
    pub fn join(&mut self, track_id: TrackId, codec: Codec, label: &TapLabel) -> bool {
        let Phase::Live { recording, lifetime } = &mut self.phase else { return false };
        *lifetime = Lifetime::Live;
        let (login, stream, screen) = (label.login.clone(), named(label).to_owned(), label.screen);
        recording.handle_begin(track_id, codec, &format!("{login}/{stream}"));
        let (kind, codec) = names(codec);
        let (kind, codec) = (kind.to_owned(), codec.to_owned());
        self.joined.insert(track_id, Recorded { login, stream, kind, codec, screen, begins_ms: 0 });
        true
    }

    /// A track goes into it no longer.
    pub fn leave(&mut self, track_id: TrackId, now: Duration) {
        let Phase::Live { recording, lifetime } = &mut self.phase else { return };
        recording.handle_end_of_track(track_id);
        self.joined.remove(&track_id);
        if recording.tracks() == 0 && *lifetime == Lifetime::Live {
            *lifetime = Lifetime::Trackless(now);
        }
    }

    /// All tracks are gone with the relay's connection.
    pub fn handle_relay_gone(&mut self, now: Duration) {
        if let Phase::Live { recording, lifetime } = &mut self.phase {
            *lifetime = lifetime.without_relay(self.stored.wanted.kind, now);
            // The room clock stands still until there is another relay.
            recording.flush();
            self.take_events(now);
        }
    }

    /// Takes a frame of a track. Whether the first part has begun with it, so that what it is must be stored
    /// beside it.
    pub fn handle_sample(&mut self, track_id: TrackId, sample: Sample, now: Duration) -> bool {
        let Phase::Live { recording, .. } = &mut self.phase else { return false };
        let before = recording.parts();
        recording.handle_sample(track_id, sample);
        let is_first = before == 0 && recording.parts() > 0;
        self.take_events(now);
        is_first
    }

    /// Whether what comes of this track cannot be decoded before there is a keyframe.
    #[must_use]
    pub fn needs_keyframe(&self, track_id: TrackId) -> bool {
        matches!(&self.phase, Phase::Live { recording, .. } if recording.needs_keyframe(track_id))
    }

    /// A few times a second: writes what waits, pauses and goes on, and ends. `low`: why nothing may be
    /// written.
    pub fn handle_timeout(
        &mut self,
        now: Duration,
        media: Option<MediaTime>,
        present: Present,
        low: Option<&Failure>,
    ) {
        let Phase::Live { recording, lifetime } = &mut self.phase else { return };
        if let Some(media) = media {
            recording.handle_timeout(media);
        }
        let has_ended = lifetime.has_ended(self.stored.wanted.kind, now, present);
        self.take_events(now);
        if has_ended {
            return self.end(now);
        }
        let Phase::Live { recording, .. } = &mut self.phase else { return };
        match low {
            Some(why) if !recording.is_paused() => {
                recording.pause();
                self.pause(why.clone());
            }
            // While a part before is not closed, what waits for it is held, and the disk stands still.
            None if recording.is_paused()
                && self.open == 0
                && self.retry.is_none_or(|retry| now >= retry) =>
            {
                recording.resume();
                (self.retry, self.resumed) = (None, now);
                self.set(State::Recording, None);
            }
            _ => {}
        }
        if !self.is_paused() && now >= self.resumed + FAULTLESS {
            self.faults = 0;
        }
        self.measure();
    }

    fn is_paused(&self) -> bool {
        self.stored.recording.state == State::Paused
    }

    fn pause(&mut self, why: Failure) {
        let interruptions = &mut self.stored.recording.interruptions;
        *interruptions = interruptions.saturating_add(1);
        self.set(State::Paused, Some(why));
    }

    fn set(&mut self, state: State, failure: Option<Failure>) {
        (self.stored.recording.state, self.stored.recording.failure) = (state, failure);
        self.is_stored = true;
    }

    /// Nothing more comes: its file is to be made.
    pub fn end(&mut self, now: Duration) {
        let Phase::Live { recording, .. } = &mut self.phase else { return };
        recording.handle_end();
        self.take_events(now);
        self.measure();
        let Phase::Live { recording, .. } = &self.phase else { return };
        let parts = recording.parts();
        if let Some((_, last)) = recording.span() {
            self.stored.recording.ended_at_ms = Some(unix_ms(last));
        }
        self.phase = Phase::Closing { parts, due: now };
        self.set(State::Finishing, None);
    }

    /// Ends the recording of a room into which nothing goes. Whether it did.
    pub fn end_if_abandoned(&mut self, now: Duration) -> bool {
        let is_trackless = |recording: &Recording<S>| recording.tracks() == 0;
        let ends = self.stored.wanted.kind == Kind::Room
            && matches!(&self.phase, Phase::Live { recording, .. } if is_trackless(recording));
        if ends {
            self.end(now);
        }
        ends
    }

    /// Our process ends, and the next one goes on: all that was taken is written.
    pub fn handle_stop(&mut self, now: Duration) {
        if let Phase::Live { recording, .. } = &mut self.phase {
            recording.handle_end();
            self.take_events(now);
        }
    }

    /// A part is closed: nobody writes to it any more.
    pub fn handle_closed(&mut self) {
        self.open = self.open.saturating_sub(1);
    }

    /// Whether its file is to be made now, and of how many parts.
    pub fn poll_finish(&mut self, now: Duration, low: Option<&Failure>) -> Option<u32> {
        match self.phase {
            Phase::Closing { parts, due } if self.open == 0 && now >= due && low.is_none() => {
                self.phase = Phase::Finishing { parts };
                Some(parts)
            }
            _ => None,
        }
    }

    /// How far its file is.
    pub fn handle_progress(&mut self, percent: u8) {
        if matches!(self.phase, Phase::Finishing { .. }) {
            self.stored.recording.percent = Some(percent);
        }
    }

    /// Its file could not be made. `None`: it is tried again when there is room. Else it has failed.
    pub fn handle_failed(&mut self, failure: Failure, now: Duration) -> Option<recorder_control::Recording> {
        match self.phase {
            Phase::Finishing { parts } if failure.code == FailureCode::DiskFull => {
                self.phase = Phase::Closing { parts, due: now + self.next_retry() };
                self.stored.recording.failure = Some(failure);
                None
            }
            _ => {
                self.stored.recording.percent = None;
                self.set(State::Failed, Some(failure));
                Some(self.stored.recording.clone())
            }
        }
    }

    /// What has changed since it was asked last.
    pub fn poll_changes(&mut self, now: Duration) -> Changes {
        let recording = &self.stored.recording;
        let is_told = self.told.as_ref().is_none_or(|(at, told)| {
            told.state != recording.state || (now >= *at + TOLD_EVERY && told != recording)
        });
        if is_told {
            self.told = Some((now, recording.clone()));
        }
        // Of one without a frame nothing is kept: whoever sends none costs the disk nothing.
        let is_stored = self.parts() > 0 && std::mem::take(&mut self.is_stored);
        Changes { is_stored, is_told }
    }

    fn parts(&self) -> u32 {
        match &self.phase {
            Phase::Live { recording, .. } => recording.parts(),
            Phase::Closing { parts, .. } | Phase::Finishing { parts } => *parts,
        }
    }

    fn next_retry(&mut self) -> Duration {
        let wait = RETRY.saturating_mul(1 << self.faults.min(16)).min(RETRY_MAX);
        self.faults = self.faults.saturating_add(1);
        wait
    }

    fn take_events(&mut self, now: Duration) {
        while let Phase::Live { recording, .. } = &mut self.phase
            && let Some(event) = recording.poll_event()
        {
            match event {
                Event::PartBegun { part } => {
                    self.open += 1;
                    let recorder_control::Recording { id, room, login, stream, file, .. } =
                        &self.stored.recording;
                    if part == 1 {
                        tracing::info!(id, room, login, stream, file, "a recording is written");
                    } else {
                        tracing::info!("recording {id}: part {part} begins");
                    }
                }
                Event::TrackBegun { track_id, time } => self.note_track(track_id, time),
                Event::NoRoom { track_id } => {
                    let id = &self.stored.wanted.id;
                    tracing::error!("recording {id}: no file has room for track {track_id:x} too");
                }
                Event::Failed(why) => {
                    let wait = self.next_retry();
                    let info = format!("{why}; it is tried again in {} s", wait.as_secs());
                    tracing::error!("recording {} is paused: {info}", self.stored.wanted.id);
                    self.retry = Some(now + wait);
                    self.pause(Failure { code: why.code(), info });
                }
            }
        }
    }

    /// A track has its place in a file, for the first time or in another part.
    fn note_track(&mut self, track_id: TrackId, time: MediaTime) {
        let at_ms = unix_ms(time);
        let Stored { wanted, recording, track_ids } = &mut self.stored;
        if track_ids.is_empty() {
            recording.started_at_ms = at_ms;
        }
        let begin = wanted.aligned_at_ms.unwrap_or(recording.started_at_ms);
        let Some(mut track) = self.joined.remove(&track_id) else { return };
        if !track_ids.contains(&track_id) && track_ids.len() < TOLD_TRACKS_MAX {
            track.begins_ms = at_ms.saturating_sub(begin);
            track_ids.push(track_id);
            recording.tracks.push(track);
            self.is_stored = true;
        }
    }

    /// Octets and length as far as it is written.
    fn measure(&mut self) {
        let Phase::Live { recording, .. } = &self.phase else { return };
        let begin = self.stored.wanted.aligned_at_ms.unwrap_or(self.stored.recording.started_at_ms);
        self.stored.recording.bytes = self.bytes_before + recording.bytes();
        if let Some((_, last)) = recording.span() {
            self.stored.recording.duration_ms = unix_ms(last).saturating_sub(begin);
        }
    }
}

/// What a track's stream is called. A screen of which nobody says how it is called has another name than the
/// camera of the same publisher.
fn named(label: &TapLabel) -> &str {
    let is_nameless = label.name.is_some() && matches!(label.stream.as_str(), "video" | "audio");
    if label.screen && is_nameless { "screen" } else { &label.stream }
}

fn unix_ms(time: MediaTime) -> u64 {
    u64::try_from(time.as_nanos() / MS).unwrap_or(0)
}

/// Of a track: its kind and its codec.
const fn names(codec: Codec) -> (&'static str, &'static str) {
    match codec {
        Codec::Opus => ("audio", "opus"),
        Codec::Pcmu => ("audio", "pcmu"),
        Codec::Pcma => ("audio", "pcma"),
        Codec::Vp8 => ("video", "vp8"),
        Codec::H264 => ("video", "h264"),
    }
}
