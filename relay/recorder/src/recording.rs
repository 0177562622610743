//! A recording while it is written: frames of tracks of one clock → files, its parts.
//!
//! Invariants
//! - A part has every track that could be recorded while it lasted; a track that comes later is added to it.
//!   Another part begins only where a file cannot go on: another codec in a track, no room for another track,
//!   and after a pause.
//! - A track begins with a keyframe; frames before it are counted and not written. Where one part follows
//!   another without a pause, its tracks go on, and only the parts together can be decoded.
//! - While a file has room for none but the tracks that go into it, further ones are refused, and the others
//!   go on.
//! - Nothing here waits: a sink takes what it is given at once, or the part ends with the reason and the
//!   recording is paused.
//! - What is held is bounded by the tracks that are there now, and those of the part that is written.
//!
//! Deliberately absent: names of files, threads, and which tracks belong together.

use crate::depacketize::{VideoParams, in_band};
use crate::matroska::{Block, DocType, Media, Muxer, Track, Written};
use crate::sink::{Sink, SinkError, Store};
use crate::track::Sample;
use relay_port::{Codec, MediaTime, TrackId};
use std::collections::{BTreeMap, VecDeque};

/// What a recording says.
#[derive(Debug)]
pub enum Event {
    /// A file has begun.
    PartBegun {
        /// From 1 on.
        part: u32,
    },
    /// A track has its place in a file.
    TrackBegun {
        /// The relay's.
        track_id: TrackId,
        /// When.
        time: MediaTime,
    },
    /// A track is not recorded until another one ends: a file has room for no more.
    NoRoom {
        /// The relay's.
        track_id: TrackId,
    },
    /// It is paused because it could not be written; what was written is kept.
    Failed(SinkError),
}

/// What became of the samples of a recording's tracks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecordingCounts {
    /// In files.
    pub written: u64,
    /// Not decodable from the beginning of the part.
    pub awaiting_keyframe: u64,
    /// Before the beginning of the part.
    pub too_early: u64,
    /// Came while it was paused.
    pub paused: u64,
    /// Of tracks for which there was no room.
    pub no_room: u64,
}

/// A track that goes into it now.
struct Live {
    name: String,
    codec: Codec,
    /// There was no room for it, and no track has ended since.
    is_refused: bool,
}

/// A track in the file that is written now.
#[derive(Clone)]
struct Place {
    number: u8,
    /// As it is in the head.
    track: Track,
    /// Other configurations have been there, so each keyframe brings its own.
    in_band: bool,
    /// What comes can be decoded: a keyframe is in the file, and all since.
    has_begun: bool,
}

struct Part<S> {
    muxer: Muxer,
    sink: S,
    places: BTreeMap<TrackId, Place>,
}

/// See the module.
pub struct Recording<S: Store> {
    store: S,
    tracks: BTreeMap<TrackId, Live>,
    part: Option<Part<S::Sink>>,
    parts: u32,
    is_paused: bool,
    /// Times of the first and the last frame.
    span: Option<(MediaTime, MediaTime)>,
    bytes: u64,
    events: VecDeque<Event>,
    counts: RecordingCounts,
}

impl<S: Store> Recording<S> {
    /// Nothing yet but so many parts of before; the next one begins with the first frame.
    #[must_use]
    pub fn new(store: S, parts: u32) -> Self {
        Self {
            store,
            tracks: BTreeMap::new(),
            part: None,
            parts,
            is_paused: false,
            span: None,
            bytes: 0,
            events: VecDeque::new(),
            counts: RecordingCounts::default(),
        }
    }

    /// A track begins, or is said to begin again. `name` is for people.
    pub fn handle_begin(&mut self, track_id: TrackId, codec: Codec, name: &str) {
        let place = self.part.as_ref().and_then(|part| part.places.get(&track_id));
        if place.is_some_and(|place| place.track.media.codec() != codec) {
            // A player shows the first video of a file: another codec is another file.
            self.tracks.remove(&track_id);
            let (muxer, places) = self.next_part();
            self.end_part();
            if !places.is_empty()
                && let Err(why) = self.begin_part(muxer, places)
            {
                self.fail(why);
            }
        }
        self.tracks.insert(track_id, Live { name: name.to_owned(), codec, is_refused: false });
    }

    /// Takes a frame of a track.
    pub fn handle_sample(&mut self, track_id: TrackId, sample: Sample) {
        if self.is_paused {
            self.counts.paused += 1;
            return;
        }
        self.write(track_id, sample);
        self.write_out();
    }

    /// A track has ended.
    pub fn handle_end_of_track(&mut self, track_id: TrackId) {
        self.tracks.remove(&track_id);
        self.tracks.values_mut().for_each(|live| live.is_refused = false);
    }

    /// Tracks that go into it now.
    #[must_use]
    pub fn tracks(&self) -> usize {
        self.tracks.len()
    }

    /// Whether what comes of this track cannot be decoded before there is a keyframe.
    #[must_use]
    pub fn needs_keyframe(&self, track_id: TrackId) -> bool {
        let place = self.part.as_ref().and_then(|part| part.places.get(&track_id));
        let is_taken = self.tracks.get(&track_id).is_some_and(|live| !live.is_refused);
        !self.is_paused && is_taken && !place.is_some_and(|place| place.has_begun)
    }

    /// Writes what has waited; a few times a second.
    pub fn handle_timeout(&mut self, now: MediaTime) {
        if let Some(part) = self.part.as_mut() {
            part.muxer.handle_timeout(now);
        }
        self.write_out();
    }

    /// Writes all that waits: nothing more comes for a while.
    pub fn flush(&mut self) {
        if let Some(part) = self.part.as_mut() {
            part.muxer.handle_end();
        }
        self.write_out();
    }

    /// Nothing more is written until [`Recording::resume`]; what was written is kept.
    pub fn pause(&mut self) {
        self.end_part();
        self.is_paused = true;
    }

    /// Goes on in another part.
    pub fn resume(&mut self) {
        self.is_paused = false;
    }

    /// Whether it is paused.
    #[must_use]
    pub const fn is_paused(&self) -> bool {
        self.is_paused
    }

    /// Ends it: all that was taken is written.
    pub fn handle_end(&mut self) {
        self.tracks.clear();
        self.end_part();
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// What became of the samples of its tracks.
    #[must_use]
    pub const fn counts(&self) -> RecordingCounts {
        self.counts
    }

    /// Files that were begun, those of before included.
    #[must_use]
    pub const fn parts(&self) -> u32 {
        self.parts
    }

    /// Times of its first and its last frame, of those that came since it was made.
    #[must_use]
    pub const fn span(&self) -> Option<(MediaTime, MediaTime)> {
        self.span
    }

    /// Octets that were written since it was made.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    fn write(&mut self, track_id: TrackId, sample: Sample) {
        let Some(known) = self.tracks.get(&track_id) else { return };
        if known.is_refused {
            self.counts.no_room += 1;
            return;
        }
        let is_placed = self.part.as_ref().is_some_and(|part| part.places.contains_key(&track_id));
        if !is_placed {
            let Some(media) = media_of(known.codec, &sample) else {
                self.counts.awaiting_keyframe += 1;
                return;
            };
            let track = Track { uid: track_id.max(1), name: known.name.clone(), media };
            match self.place(track_id, track) {
                Ok(true) => self.events.push_back(Event::TrackBegun { track_id, time: sample.time }),
                Ok(false) => return self.refuse(track_id),
                Err(why) => return self.fail(why),
            }
        }
        let Some(part) = self.part.as_mut() else { return };
        let Some(place) = part.places.get_mut(&track_id) else { return };
        if !sample.keyframe && !place.has_begun {
            self.counts.awaiting_keyframe += 1;
            return;
        }
        let time = sample.time;
        let bytes = place.with_sets(&sample.params, sample.bytes);
        let block = Block { track: place.number, time, keyframe: sample.keyframe, bytes };
        // What needs a frame that was refused cannot be decoded, so it begins anew. It is one of before the
        // file, or of a track that was tapped anew and whose clock is not known as well yet.
        place.has_begun = part.muxer.handle_block(block).is_ok();
        if place.has_begun {
            self.counts.written += 1;
            let (first, last) = self.span.unwrap_or((time, time));
            self.span = Some((first.min(time), last.max(time)));
        } else {
            self.counts.too_early += 1;
        }
    }

    /// Gives the track a place in the part, or in a new one. False: neither has room.
    fn place(&mut self, track_id: TrackId, track: Track) -> Result<bool, SinkError> {
        let begin = |number, track| Place { number, track, in_band: false, has_begun: false };
        if let Some(part) = self.part.as_mut()
            && let Ok(number) = part.muxer.add_track(&track)
        {
            part.places.insert(track_id, begin(number, track));
            return Ok(true);
        }
        let (mut muxer, mut places) = self.next_part();
        let Ok(number) = muxer.add_track(&track) else { return Ok(false) };
        places.insert(track_id, begin(number, track));
        self.end_part();
        self.begin_part(muxer, places)?;
        Ok(true)
    }

    fn refuse(&mut self, track_id: TrackId) {
        if let Some(live) = self.tracks.get_mut(&track_id) {
            live.is_refused = true;
        }
        self.counts.no_room += 1;
        self.events.push_back(Event::NoRoom { track_id });
    }

    /// What another part begins with: the tracks of this one that go on, with all that was said of them.
    fn next_part(&self) -> (Muxer, BTreeMap<TrackId, Place>) {
        let (mut muxer, mut places) = (Muxer::new(DocType::Matroska, None), BTreeMap::new());
        for (track_id, place) in self.part.iter().flat_map(|part| &part.places) {
            if self.tracks.contains_key(track_id)
                && let Ok(number) = muxer.add_track(&place.track)
            {
                places.insert(*track_id, Place { number, ..place.clone() });
            }
        }
        (muxer, places)
    }

    fn begin_part(&mut self, muxer: Muxer, places: BTreeMap<TrackId, Place>) -> Result<(), SinkError> {
        let sink = self.store.create(self.parts + 1)?;
        self.parts += 1;
        self.events.push_back(Event::PartBegun { part: self.parts });
        self.part = Some(Part { muxer, sink, places });
        Ok(())
    }

    fn end_part(&mut self) {
        self.flush();
        if let Some(part) = self.part.take() {
            part.sink.finish();
        }
    }

    fn write_out(&mut self) {
        let Some(part) = self.part.as_mut() else { return };
        while let Some(written) = part.muxer.poll_written() {
            if let Written::Cluster(bytes) = &written {
                self.bytes += bytes.len() as u64;
            }
            if let Err(why) = part.sink.write(written) {
                return self.fail(why);
            }
        }
    }

    /// Ends the part with what was written so far.
    fn fail(&mut self, why: SinkError) {
        self.is_paused = true;
        self.events.push_back(Event::Failed(why));
        if let Some(part) = self.part.take() {
            part.sink.finish();
        }
    }
}

impl Place {
    /// A keyframe with the parameter sets that the head does not have.
    fn with_sets(&mut self, params: &Option<VideoParams>, bytes: Vec<u8>) -> Vec<u8> {
        let Some(params) = params.as_ref().filter(|params| !params.config.is_empty()) else { return bytes };
        self.in_band |= !matches!(&self.track.media, Media::H264 { config, .. } if *config == params.config);
        if self.in_band { [in_band(&params.config), bytes].concat() } else { bytes }
    }
}

/// What the head says of a track that begins with this sample; `None` if it cannot begin with it.
fn media_of(codec: Codec, sample: &Sample) -> Option<Media> {
    let params = sample.params.as_ref();
    Some(match codec {
        Codec::Opus => Media::Opus,
        Codec::Pcmu => Media::Pcmu,
        Codec::Pcma => Media::Pcma,
        Codec::Vp8 => params.map(|params| Media::Vp8 { width: params.width, height: params.height })?,
        Codec::H264 => params.map(|params| Media::H264 {
            width: params.width,
            height: params.height,
            config: params.config.clone(),
        })?,
    })
}

#[cfg(test)]
mod tests;
