//! Parts of a recording → one stream of blocks for one file.
//!
//! The parts are read twice, cluster by cluster: first to know which tracks there are and where sound is
//! missing, then to write the file in one go.
//!
//! Invariants
//! - What has the same publication, name and codec is one track, in whichever parts it is. Another codec in a
//!   track is another track of the file, as a container has one codec in each.
//! - Blocks keep their times on the room clock, to the millisecond.
//! - Sound has no gap of [`LONG_US`] or more between its first frame and its last, and begins with the file
//!   if that is aligned: what is missing is frames of silence. It has as many samples as time has passed, but
//!   for a frame, so a player that only counts them stays in time too, whatever the publisher's clock.
//! - A picture stands still. H.264 that goes on with other parameter sets brings them in band.
//! - No more than a cluster is in memory, however long the recording.
//!
//! Deliberately absent: rendering, and repairing frames.

use super::black::RATE;
use super::sound::{Gap, Placed, SoundLine};
use crate::depacketize::{in_band, ticks};
use crate::matroska::{Cluster, DocType, Head, Media, ScanError, Track, Writer, walk};
use crate::track::silence;
use relay_port::{Codec, MediaTime};
use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

pub use super::sound::LONG_US;

const MS: i64 = 1_000_000;
/// Longest silence and black that is made up. A clock that was set is not a day without a sound: what follows
/// is put behind what was before.
pub const GAP_MS_MAX: i64 = 24 * 3_600_000;
/// Longest part. What says more is broken: a disk that lost its power.
const PART_MS_MAX: i64 = 366 * 24 * 3_600_000;
/// How far a part may begin before the end of the one before it, whose tracks did not end all at once.
const OVERLAP_MS_MAX: i64 = 2_000;
/// How far a publication's first frame may be before the moment at which its file begins: what is earlier
/// is left out, or shown at once.
const EARLY_MS_MAX: i64 = 10_000;
/// Gaps of all tracks that are filled; each took a part, or a second.
const GAPS_MAX: usize = 1 << 16;

/// What parts have, and what becomes of it.
#[derive(Debug, Default)]
pub struct Plan {
    parts: Vec<Part>,
    tracks: Vec<Planned>,
    /// Where the file begins and ends, on the room clock.
    zero_ms: i64,
    end_ms: Option<i64>,
    is_aligned: bool,
    /// Files that are there, and cannot be read.
    pub unreadable: usize,
    gaps: usize,
}

#[derive(Debug)]
struct Part {
    path: PathBuf,
    bytes: u64,
    /// What is added to its times; 0 as long as nobody sets clocks.
    shift_ms: i64,
    /// By number, from 1 on: which track it is, and of H.264 the configuration in the head.
    places: Vec<Option<(usize, Vec<u8>)>>,
}

/// A track of the file.
#[derive(Debug)]
pub struct Planned {
    /// As it is in the head.
    pub track: Track,
    /// It goes on with another codec what another track began.
    pub follows: Option<usize>,
    /// As the parts have it.
    uid: u64,
    blocks: u64,
    first_ms: i64,
    last_ms: i64,
    step_ms: i64,
    line: SoundLine,
    gaps: VecDeque<Gap>,
    /// Frames that say what is there already.
    doubles: u64,
    /// Black frames in front of it, as they take turns.
    black: Vec<(bool, Vec<u8>)>,
}

/// A block of a part, on the room clock.
struct Found<'a> {
    place: usize,
    at_ms: i64,
    keyframe: bool,
    frame: &'a [u8],
}

impl Plan {
    /// Reads the parts. What is missing, empty or not ours is passed over.
    ///
    /// # Errors
    /// If reading fails.
    pub fn new(parts: &[PathBuf], aligned_at_ms: Option<u64>) -> io::Result<Self> {
        let mut plan = Self::default();
        for path in parts {
            let file = match File::open(path) {
                Err(why) if why.kind() == ErrorKind::NotFound => continue,
                opened => opened?,
            };
            let bytes = file.metadata()?.len();
            let mut part = Part { path: path.clone(), bytes, shift_ms: 0, places: Vec::new() };
            let mut is_first = true;
            let walked = walk(
                |at, bytes| file.read_at(bytes, at),
                |head, _, cluster| {
                    if std::mem::take(&mut is_first) {
                        plan.begin_part(&mut part, head, cluster, aligned_at_ms);
                    }
                    part.blocks(head, cluster).for_each(|found| plan.take(&found));
                    Ok(true)
                },
            );
            match walked {
                Ok(walked) if walked.clusters > 0 => plan.parts.push(part),
                Ok(_) => {}
                Err(ScanError::Io(why)) => return Err(why),
                // It was cut in its head, or is not ours.
                Err(ScanError::NotOurs) if bytes == 0 => {}
                Err(why @ ScanError::NotOurs) => {
                    tracing::error!("{}: {why}; it is left out", path.display());
                    plan.unreadable += 1;
                }
            }
        }
        plan.forget_silent();
        if !plan.is_aligned {
            plan.zero_ms = plan.tracks().map(|planned| planned.first_ms).min().unwrap_or_default();
        }
        Ok(plan)
    }

    /// Whether there is nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tracks.is_empty()
    }

    /// The tracks of the file; their numbers are from 1 on.
    pub fn tracks(&self) -> impl Iterator<Item = &Planned> {
        self.tracks.iter()
    }

    /// From the file's beginning to its end.
    #[must_use]
    pub fn duration_ms(&self) -> u64 {
        let end_ms = self.end_ms.unwrap_or(self.zero_ms);
        end_ms.saturating_sub(self.zero_ms).max(0).unsigned_abs()
    }

    /// The part that has it all as it shall be, if there is such a one.
    #[must_use]
    pub fn whole(&self) -> Option<&Path> {
        let [part] = self.parts.as_slice() else { return None };
        let is_whole = |planned: &Planned| planned.gaps.is_empty() && planned.doubles == 0;
        let is_whole = part.places.iter().all(Option::is_some) && self.tracks.iter().all(is_whole);
        (is_whole && !self.is_aligned).then_some(&part.path)
    }

    /// Tracks in front of which a black picture is wanted, by place.
    pub fn without_picture(&self) -> impl Iterator<Item = (usize, &Planned)> {
        let wants = |planned: &Planned| {
            self.is_aligned && planned.is_first_picture() && planned.first_ms > self.zero_ms
        };
        self.tracks.iter().enumerate().filter(move |(_, planned)| wants(planned))
    }

    /// Black frames that are shown in front of a track, in turns; of H.264 with the configuration that has
    /// their parameter sets too.
    pub fn set_black(&mut self, place: usize, frames: Vec<(bool, Vec<u8>)>, config: Option<Vec<u8>>) {
        let Some(planned) = self.tracks.get_mut(place) else { return };
        planned.black = frames;
        if let (Media::H264 { config: own, .. }, Some(config)) = (&mut planned.track.media, config) {
            *own = config;
        }
    }

    /// Writes the file, and waits until it is on the disk.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn write(mut self, out: File, doc_type: DocType, percent: &dyn Fn(u8)) -> io::Result<()> {
        if self.is_aligned {
            self.begin_late_sound(0);
        }
        let (duration_ms, parts) = (self.duration_ms(), std::mem::take(&mut self.parts));
        let tracks: Vec<Track> = self.tracks.iter().map(|planned| planned.track.clone()).collect();
        let zero = MediaTime::from_nanos(self.zero_ms.saturating_mul(MS));
        let writer = Writer::new(out, doc_type, zero, &tracks)?;
        // What the first part of each says.
        let configs = parts.iter().rev().flat_map(|part| part.places.iter().flatten());
        let configs = configs.map(|(place, config)| (*place, config.clone())).collect();
        let mut join = Join { plan: self, writer, configs, states: Vec::new(), made_up_ms: i64::MIN };
        join.states.resize_with(tracks.len(), State::default);
        let all = parts.iter().map(|part| part.bytes).sum::<u64>().max(1);
        let mut done = 0;
        for part in &parts {
            let file = File::open(&part.path)?;
            let walked = walk(
                |at, bytes| file.read_at(bytes, at),
                |head, at, cluster| {
                    part.blocks(head, cluster).try_for_each(|found| join.take(&found, part))?;
                    percent(((done + at) * 100 / all).min(99) as u8);
                    Ok(true)
                },
            );
            match walked {
                Err(ScanError::Io(why)) => return Err(why),
                Err(why @ ScanError::NotOurs) => return Err(io::Error::other(why)),
                Ok(_) => done += part.bytes,
            }
        }
        join.writer.end(duration_ms)
    }

    /// Silence from the file's beginning to that of sound which begins later than this.
    pub fn begin_late_sound(&mut self, late_ms: u64) {
        let zero_ms = self.zero_ms;
        let late_ms = i64::try_from(late_ms).unwrap_or(i64::MAX);
        let begins = |planned: &&mut Planned| !planned.track.media.is_video() && planned.follows.is_none();
        for planned in self.tracks.iter_mut().filter(begins) {
            let has_it = planned.gaps.front().is_some_and(|gap| gap.after == 0);
            if !has_it && planned.first_ms - zero_ms > late_ms {
                planned.gaps.push_front(Gap::new(0, zero_ms * 1_000, planned.first_ms * 1_000));
            }
        }
    }

    /// Tracks of which nothing came are none.
    fn forget_silent(&mut self) {
        let mut kept = 0;
        let mut place_of = |planned: &Planned| {
            kept += usize::from(planned.blocks > 0);
            (planned.blocks > 0).then(|| kept - 1)
        };
        let places: Vec<Option<usize>> = self.tracks.iter().map(&mut place_of).collect();
        self.tracks.retain(|planned| planned.blocks > 0);
        for planned in &mut self.tracks {
            planned.follows = planned.follows.and_then(|place| places[place]);
            planned.line = SoundLine::default();
        }
        for place in self.parts.iter_mut().flat_map(|part| &mut part.places) {
            *place = place.take().and_then(|(place, config)| Some((places[place]?, config)));
        }
    }

    /// Finds the part's tracks among the file's, and where its times are.
    fn begin_part(&mut self, part: &mut Part, head: &Head, first: &Cluster<'_>, aligned_at_ms: Option<u64>) {
        part.places = head.list().map(|track| track.map(|track| self.place(track))).collect();
        let Some(first_ms) = part.blocks(head, first).map(|found| found.at_ms).min() else { return };
        match self.end_ms {
            None => {
                let aligned_ms = aligned_at_ms.and_then(|ms| i64::try_from(ms).ok());
                let is_near = |ms: &i64| (-EARLY_MS_MAX..=GAP_MS_MAX).contains(&first_ms.saturating_sub(*ms));
                self.is_aligned = aligned_ms.is_some_and(|ms| is_near(&ms));
                if let Some(ms) = aligned_ms.filter(|ms| !is_near(ms)) {
                    tracing::error!("{}: it begins at {first_ms}, too far from {ms}", part.path.display());
                }
                self.zero_ms = aligned_ms.filter(is_near).unwrap_or(i64::MIN);
            }
            Some(end_ms) => {
                let behind = first_ms.saturating_sub(end_ms);
                if !(-OVERLAP_MS_MAX..=GAP_MS_MAX).contains(&behind) {
                    tracing::error!("{}: the clock was set by {behind} ms", part.path.display());
                    part.shift_ms = -behind;
                }
            }
        }
    }

    fn place(&mut self, track: Track) -> (usize, Vec<u8>) {
        let config = config_of(&track).to_vec();
        let codec = track.media.codec();
        let is_same = |planned: &Planned| {
            (planned.uid, planned.track.name.as_str()) == (track.uid, track.name.as_str())
                && planned.track.media.is_video() == track.media.is_video()
        };
        // Whoever goes back to a codec goes on behind what came meanwhile.
        let latest = self.tracks.iter().rposition(is_same);
        if let Some(place) = latest.filter(|place| self.tracks[*place].track.media.codec() == codec) {
            return (place, config);
        }
        let follows = self.tracks.iter().position(is_same);
        let uid = if follows.is_some() { self.free_uid() } else { track.uid };
        self.tracks.push(Planned::new(track.uid, Track { uid, ..track }, follows));
        (self.tracks.len() - 1, config)
    }

    /// No two tracks of a file have one.
    fn free_uid(&self) -> u64 {
        self.tracks.iter().map(|planned| planned.track.uid).max().unwrap_or(0).saturating_add(1)
    }

    fn take(&mut self, found: &Found<'_>) {
        let Some(planned) = self.tracks.get_mut(found.place) else { return };
        let Some(at_ms) = planned.time(found, self.zero_ms) else { return };
        let lasts_us = planned.lasts_us(found.frame);
        match planned.place_sound(at_ms, lasts_us) {
            Placed::Twice => {
                planned.doubles += 1;
                return;
            }
            Placed::Behind(from_us, until_us)
                if self.gaps < GAPS_MAX && until_us - from_us <= GAP_MS_MAX * 1_000 =>
            {
                self.gaps += 1;
                planned.gaps.push_back(Gap::new(planned.blocks, from_us, until_us));
            }
            Placed::Behind(..) | Placed::Fits => {}
        }
        if planned.blocks == 0 {
            planned.first_ms = at_ms;
        } else {
            planned.step_ms = at_ms.saturating_sub(planned.last_ms);
        }
        planned.last_ms = at_ms;
        planned.blocks += 1;
        let lasts_ms = if lasts_us > 0 { (lasts_us + 500) / 1_000 } else { planned.step_ms };
        let end_ms = at_ms.saturating_add(lasts_ms);
        self.end_ms = Some(self.end_ms.map_or(end_ms, |known| known.max(end_ms)));
    }
}

impl Part {
    /// The blocks of a cluster whose tracks are ours.
    fn blocks<'a>(&'a self, head: &Head, cluster: &Cluster<'a>) -> impl Iterator<Item = Found<'a>> {
        let zero_ms = head.zero.as_nanos().div_euclid(MS).saturating_add(self.shift_ms);
        cluster.blocks().filter_map(move |(number, at_ms, keyframe, frame)| {
            let (place, _) = self.places.get(usize::from(number).wrapping_sub(1))?.as_ref()?;
            let at_ms = i64::try_from(at_ms).ok().filter(|at_ms| *at_ms <= PART_MS_MAX)?;
            let at_ms = zero_ms.saturating_add(at_ms);
            Some(Found { place: *place, at_ms, keyframe, frame })
        })
    }
}

impl Planned {
    fn new(uid: u64, track: Track, follows: Option<usize>) -> Self {
        Self {
            uid,
            track,
            follows,
            blocks: 0,
            first_ms: 0,
            last_ms: 0,
            step_ms: 0,
            line: SoundLine::default(),
            gaps: VecDeque::new(),
            doubles: 0,
            black: Vec::new(),
        }
    }

    fn is_first_picture(&self) -> bool {
        self.track.media.is_video() && self.follows.is_none() && self.blocks > 0
    }

    /// When a block is shown or heard. Before the file begins there is no sound, and a picture on which
    /// others build is shown with its beginning.
    fn time(&self, found: &Found<'_>, zero_ms: i64) -> Option<i64> {
        let is_early = found.at_ms < zero_ms;
        (!is_early || self.track.media.is_video()).then_some(found.at_ms.max(zero_ms))
    }

    /// How long a frame of sound is; 0 of a picture.
    fn lasts_us(&self, frame: &[u8]) -> i64 {
        let codec = self.track.media.codec();
        let rate_hz = if codec == Codec::Opus { 48_000 } else { 8_000 };
        ticks(codec, frame).map_or(0, |ticks| i64::from(ticks) * 1_000_000 / rate_hz)
    }

    fn place_sound(&mut self, at_ms: i64, lasts_us: i64) -> Placed {
        if self.track.media.is_video() { Placed::Fits } else { self.line.place(at_ms * 1_000, lasts_us) }
    }
}

fn config_of(track: &Track) -> &[u8] {
    match &track.media {
        Media::H264 { config, .. } => config,
        _ => &[],
    }
}

/// The second reading.
struct Join {
    plan: Plan,
    writer: Writer,
    /// By place: the configuration in the head, without that of black frames.
    configs: BTreeMap<usize, Vec<u8>>,
    states: Vec<State>,
    /// Before this moment nothing is made up.
    made_up_ms: i64,
}

/// What was written of a track.
#[derive(Debug, Default)]
struct State {
    blocks: u64,
    black: usize,
    /// Of H.264: keyframes bring their parameter sets.
    in_band: bool,
}

impl Join {
    fn take(&mut self, found: &Found<'_>, part: &Part) -> io::Result<()> {
        let place = found.place;
        let zero_ms = self.plan.zero_ms;
        let Some(planned) = self.plan.tracks.get_mut(place) else { return Ok(()) };
        let Some(at_ms) = planned.time(found, zero_ms) else { return Ok(()) };
        let lasts_us = planned.lasts_us(found.frame);
        if planned.place_sound(at_ms, lasts_us) == Placed::Twice {
            return Ok(());
        }
        if at_ms >= self.made_up_ms {
            self.make_up(at_ms)?;
        }
        // What is missing in front of this very block.
        while let Some((gap_ms, frame)) = self.silence_of(place, i64::MAX) {
            self.write(place, gap_ms, true, &frame)?;
        }
        let frame = self.with_sets(found, part);
        self.write(place, at_ms, found.keyframe, &frame)?;
        self.states[place].blocks += 1;
        Ok(())
    }

    fn write(&mut self, place: usize, at_ms: i64, keyframe: bool, frame: &[u8]) -> io::Result<()> {
        let at_ms = at_ms.saturating_sub(self.plan.zero_ms).max(0).unsigned_abs();
        self.writer.write(place as u16 + 1, at_ms, keyframe, frame)
    }

    /// Black and silence of all tracks up to this moment, in the order of time.
    fn make_up(&mut self, until_ms: i64) -> io::Result<()> {
        loop {
            let places = 0..self.plan.tracks.len();
            let dues = places.filter_map(|place| self.due(place).map(|at_ms| (at_ms, place)));
            let ready = |(at_ms, place): &(i64, usize)| *at_ms <= until_ms && self.is_ready(*place);
            let (mut first, mut next_ms) = (None, i64::MAX);
            for next in dues {
                next_ms = next_ms.min(next.0);
                if ready(&next) && first.is_none_or(|first| next < first) {
                    first = Some(next);
                }
            }
            let Some((at_ms, place)) = first else {
                self.made_up_ms = next_ms;
                return Ok(());
            };
            if let Some((at_ms, frame)) = self.silence_of(place, until_ms) {
                self.write(place, at_ms, true, &frame)?;
            } else {
                let (black, state) = (&self.plan.tracks[place].black, &mut self.states[place]);
                let (keyframe, frame) = black[state.black % black.len()].clone();
                state.black += 1;
                self.write(place, at_ms, keyframe, &frame)?;
            }
        }
    }

    /// When silence or black of a track is due next.
    fn due(&self, place: usize) -> Option<i64> {
        let (planned, count) = (&self.plan.tracks[place], self.states[place].black as i64);
        let black_ms = self.plan.zero_ms + (count * 1_000 + RATE / 2) / RATE;
        let has_black = !planned.black.is_empty() && black_ms < planned.first_ms;
        planned.gaps.front().map(Gap::next_ms).or(has_black.then_some(black_ms))
    }

    /// Whether what stands in front of its gap is written.
    fn is_ready(&self, place: usize) -> bool {
        let gap = self.plan.tracks[place].gaps.front();
        gap.is_none_or(|gap| gap.after <= self.states[place].blocks)
    }

    /// The next silence of a track up to this moment.
    fn silence_of(&mut self, place: usize, until_ms: i64) -> Option<(i64, Vec<u8>)> {
        if !self.is_ready(place) {
            return None;
        }
        let planned = &mut self.plan.tracks[place];
        let gap = planned.gaps.front_mut().filter(|gap| gap.next_ms() <= until_ms)?;
        let (at_ms, is_long) = gap.take();
        if gap.is_over() {
            planned.gaps.pop_front();
        }
        Some((at_ms, silence(planned.track.media.codec(), is_long)))
    }

    /// A keyframe with the parameter sets that the head does not have.
    fn with_sets<'a>(&mut self, found: &Found<'a>, part: &Part) -> Cow<'a, [u8]> {
        /// Of a NAL unit that is a sequence parameter set (ITU-T H.264 table 7-1).
        const SPS: u8 = 7;
        let frame = Cow::Borrowed(found.frame);
        let own = part.places.iter().flatten().find(|(place, _)| *place == found.place);
        let Some((_, config)) = own.filter(|(_, config)| found.keyframe && !config.is_empty()) else {
            return frame;
        };
        let brings = found.frame.get(4).is_some_and(|head| head & 0x1f == SPS);
        let state = &mut self.states[found.place];
        state.in_band |= brings || self.configs.get(&found.place) != Some(config);
        if state.in_band && !brings {
            Cow::Owned([in_band(config), frame.into_owned()].concat())
        } else {
            frame
        }
    }
}
