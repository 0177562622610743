//! A recording: tracks of one clock → files, its parts.
//!
//! Invariants
//! - A part has every track that could be recorded while it lasted; a track that comes later is added to it.
//!   Another part begins only where a file cannot go on: a codec that its container does not have, another
//!   codec in a track, no room for another track.
//! - A track begins in each part with a keyframe; frames before it are counted and not written.
//! - Nothing here waits: a sink takes what it is given at once, or the recording ends with the reason.
//!
//! Deliberately absent: names of files, threads, and which tracks belong together.

use crate::depacketize::{VideoParams, in_band};
use crate::matroska::{Block, DocType, HeadFull, Media, Muxer, Track};
use crate::sink::{Sink, SinkError, Store};
use crate::track::{Sample, TrackRecorder};
use relay_port::{Clock, Codec, MediaTime, Packet, TrackId};
use std::collections::{BTreeMap, VecDeque};

/// Which containers a recording may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Container {
    /// WebM where the codecs allow it, else Matroska: for players in browsers.
    Common,
    /// Matroska always: it takes whatever comes later.
    Matroska,
}

/// What a recording says.
#[derive(Debug)]
pub enum Event {
    /// The publisher of this track is to send a keyframe.
    Keyframe(TrackId),
    /// A file has begun.
    PartBegun {
        /// From 1 on.
        part: u32,
    },
    /// The recording has ended because it could not be written; what was written is finished.
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
    /// Came when the recording had ended already.
    pub ended: u64,
}

struct Recorded {
    name: String,
    /// As the relay counts its openings; another one has numbers of its own.
    opening: u64,
    track: relay_port::Track,
    recorder: TrackRecorder,
    is_ended: bool,
}

/// A track in the file that is written now.
struct Place {
    number: u8,
    /// Of H.264: the decoder configuration in the head.
    config: Vec<u8>,
    /// Other configurations have been there, so each keyframe brings its own.
    in_band: bool,
    /// A keyframe is in the file.
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
    container: Container,
    tracks: BTreeMap<TrackId, Recorded>,
    part: Option<Part<S::Sink>>,
    parts: u32,
    has_ended: bool,
    events: VecDeque<Event>,
    counts: RecordingCounts,
}

impl<S: Store> Recording<S> {
    /// Nothing yet; the first file begins with the first frame.
    #[must_use]
    pub fn new(store: S, container: Container) -> Self {
        Self {
            store,
            container,
            tracks: BTreeMap::new(),
            part: None,
            parts: 0,
            has_ended: false,
            events: VecDeque::new(),
            counts: RecordingCounts::default(),
        }
    }

    /// A track begins, or is said to begin again.
    pub fn handle_begin(&mut self, track_id: TrackId, opening: u64, track: &relay_port::Track, name: &str) {
        if let Some(known) = self.tracks.get_mut(&track_id)
            && known.track.codec == track.codec
            && known.track.clock_rate_hz == track.clock_rate_hz
        {
            known.is_ended = false;
            if std::mem::replace(&mut known.opening, opening) != opening {
                known.recorder.handle_end();
                self.write_samples(track_id);
            }
            return;
        }
        if self.tracks.contains_key(&track_id) {
            self.handle_end_of_track(track_id);
            // A player shows the first video of a file: another codec is another file.
            self.end_part();
        }
        let (name, recorder) = (name.to_owned(), TrackRecorder::new(track));
        let recorded = Recorded { name, opening, track: *track, recorder, is_ended: false };
        self.tracks.insert(track_id, recorded);
    }

    /// Takes a packet of a track.
    pub fn handle_packet(&mut self, packet: &Packet, payload: &[u8]) {
        let Some(known) = self.tracks.get_mut(&packet.track_id) else { return };
        known.recorder.handle_packet(packet, payload);
        self.write_samples(packet.track_id);
    }

    /// Takes what a sender report of a track said.
    pub fn handle_clock(&mut self, track_id: TrackId, clock: Clock) {
        if let Some(known) = self.tracks.get_mut(&track_id) {
            known.recorder.handle_clock(clock);
        }
    }

    /// A track has ended.
    pub fn handle_end_of_track(&mut self, track_id: TrackId) {
        let Some(known) = self.tracks.get_mut(&track_id) else { return };
        known.recorder.handle_end();
        known.is_ended = true;
        self.write_samples(track_id);
    }

    /// Whether all tracks have ended.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.tracks.values().all(|known| known.is_ended)
    }

    /// Gives up what is missing, writes what has waited, and asks for keyframes; a few times a second.
    pub fn handle_timeout(&mut self, now: MediaTime) {
        let live: Vec<TrackId> =
            self.tracks.iter().filter(|(_, known)| !known.is_ended).map(|(track_id, _)| *track_id).collect();
        for track_id in live {
            if let Some(known) = self.tracks.get_mut(&track_id) {
                known.recorder.handle_timeout(now);
            }
            self.write_samples(track_id);
            let has_begun =
                |part: &Part<S::Sink>| part.places.get(&track_id).is_some_and(|place| place.has_begun);
            let is_needed = !self.part.as_ref().is_some_and(has_begun);
            let known = self.tracks.get_mut(&track_id).filter(|_| !self.has_ended);
            if known.is_some_and(|known| known.recorder.poll_keyframe(now, is_needed)) {
                self.events.push_back(Event::Keyframe(track_id));
            }
        }
        if let Some(part) = self.part.as_mut() {
            part.muxer.handle_timeout(now);
        }
        self.write_out();
    }

    /// Ends it: all that was taken is written, and the last file is finished.
    pub fn handle_end(&mut self) {
        let tracks: Vec<TrackId> = self.tracks.keys().copied().collect();
        tracks.into_iter().for_each(|track_id| self.handle_end_of_track(track_id));
        self.end_part();
        self.has_ended = true;
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

    /// Files that were begun.
    #[must_use]
    pub const fn parts(&self) -> u32 {
        self.parts
    }

    fn write_samples(&mut self, track_id: TrackId) {
        while let Some(sample) = self.tracks.get_mut(&track_id).and_then(|known| known.recorder.poll_sample())
        {
            if self.has_ended {
                self.counts.ended += 1;
            } else {
                self.write(track_id, sample);
            }
        }
        self.write_out();
    }

    fn write(&mut self, track_id: TrackId, sample: Sample) {
        let Some(known) = self.tracks.get(&track_id) else { return };
        let is_placed = self.part.as_ref().is_some_and(|part| part.places.contains_key(&track_id));
        if !is_placed {
            let Some(media) = media_of(known.track.codec, &sample) else {
                self.counts.awaiting_keyframe += 1;
                return;
            };
            let track = Track { uid: track_id.max(1), name: known.name.clone(), media };
            if let Err(why) = self.place(track_id, &track) {
                return self.fail(why);
            }
        }
        let Some(part) = self.part.as_mut() else { return };
        let Some(place) = part.places.get_mut(&track_id) else { return };
        if !sample.keyframe && !place.has_begun {
            self.counts.awaiting_keyframe += 1;
            return;
        }
        let bytes = place.with_sets(&sample.params, sample.bytes);
        let block = Block { track: place.number, time: sample.time, keyframe: sample.keyframe, bytes };
        place.has_begun = part.muxer.handle_block(block).is_ok();
        if place.has_begun {
            self.counts.written += 1;
        } else {
            self.counts.too_early += 1;
        }
    }

    /// Gives the track a place in the part, or in a new one.
    fn place(&mut self, track_id: TrackId, track: &Track) -> Result<(), SinkError> {
        let config = match &track.media {
            Media::H264 { config, .. } => config.clone(),
            _ => Vec::new(),
        };
        let fits = |part: &mut Part<S::Sink>| match part.muxer.doc_type() {
            DocType::WebM if !track.media.is_webm() => Err(HeadFull),
            _ => part.muxer.add_track(track),
        };
        let number = match self.part.as_mut().map(fits) {
            Some(Ok(number)) => number,
            _ => {
                self.end_part();
                let part = self.begin_part(&track.media)?;
                // The first of a file always has room.
                part.muxer.add_track(track).map_err(|HeadFull| SinkError::Full)?
            }
        };
        if let Some(part) = self.part.as_mut() {
            part.places.insert(track_id, Place { number, config, in_band: false, has_begun: false });
        }
        Ok(())
    }

    fn begin_part(&mut self, first: &Media) -> Result<&mut Part<S::Sink>, SinkError> {
        let mut live = self.tracks.values().filter(|known| !known.is_ended);
        let is_webm = |known: &Recorded| matches!(known.track.codec, Codec::Vp8 | Codec::Opus);
        let is_webm = self.container == Container::Common && first.is_webm() && live.all(is_webm);
        let doc_type = if is_webm { DocType::WebM } else { DocType::Matroska };
        let sink = self.store.create(self.parts + 1, doc_type)?;
        self.parts += 1;
        self.events.push_back(Event::PartBegun { part: self.parts });
        let (muxer, places) = (Muxer::new(doc_type, None), BTreeMap::new());
        Ok(self.part.insert(Part { muxer, sink, places }))
    }

    fn end_part(&mut self) {
        if let Some(part) = self.part.as_mut() {
            part.muxer.handle_end();
        }
        self.write_out();
        if let Some(part) = self.part.take() {
            part.sink.finish();
        }
    }

    fn write_out(&mut self) {
        let Some(part) = self.part.as_mut() else { return };
        while let Some(written) = part.muxer.poll_written() {
            if let Err(why) = part.sink.write(written) {
                return self.fail(why);
            }
        }
    }

    /// Ends it with what was written so far.
    fn fail(&mut self, why: SinkError) {
        self.has_ended = true;
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
        self.in_band |= params.config != self.config;
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
