//! One track of a recording: from what a port says of it to frames on the room clock.
//!
//! Invariants
//! - Times of a track grow, each by a millisecond at least.
//! - Sound has as many samples as time has passed, but for a frame: what is missing is silence, and what
//!   would be heard twice is dropped, so that a player that only counts samples stays in time, however the
//!   publisher's clock drifts. A picture stands still instead.
//!
//! Deliberately absent: files, and other tracks.

use crate::clock::TrackClock;
use crate::depacketize::{Counts, Depacketizer, Frame, VideoParams};
use relay_port::{Clock, Codec, MediaKind, MediaTime, Packet, Track};
use std::collections::VecDeque;

const MS: i64 = 1_000_000;
/// So long after the last sound it is silence that follows, not a late packet.
const IDLE_NANOS: i64 = 1_000 * MS;
/// One frame of silence.
const SILENCE_NANOS: i64 = 20 * MS;
/// Longest silence that is made up at once, after the process stood still; a longer one stays a gap.
const SILENCE_NANOS_MAX: i64 = 60_000 * MS;
/// How often a keyframe is asked for until one comes.
const KEYFRAME_NANOS: i64 = 500 * MS;

/// A frame on the room clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// When it is shown or heard.
    pub time: MediaTime,
    /// Whether a decoder can begin with it.
    pub keyframe: bool,
    /// Of a keyframe of video: what a decoder must know.
    pub params: Option<VideoParams>,
    /// As the codec has it.
    pub bytes: Vec<u8>,
}

/// What became of the frames of a track.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SampleCounts {
    /// Frames that were given a time.
    pub samples: u64,
    /// Frames of silence put into gaps.
    pub silences: u64,
    /// Frames of sound that were dropped because there was sound at their time already.
    pub overlaps: u64,
}

/// See the module.
#[derive(Debug)]
pub struct TrackRecorder {
    codec: Codec,
    kind: MediaKind,
    rate_hz: i64,
    depacketizer: Depacketizer,
    clock: TrackClock,
    last: Option<MediaTime>,
    /// Where the sound that is there ends by the number of its samples, on the room clock.
    sound_end: Option<i64>,
    /// When a keyframe was asked for.
    asked: Option<i64>,
    ready: VecDeque<Sample>,
    counts: SampleCounts,
}

impl TrackRecorder {
    /// A track of which nothing has come yet.
    #[must_use]
    pub fn new(track: &Track) -> Self {
        Self {
            codec: track.codec,
            kind: track.kind,
            rate_hz: i64::from(track.clock_rate_hz.max(1)),
            depacketizer: Depacketizer::new(track.codec),
            clock: TrackClock::new(track.kind, track.clock_rate_hz),
            last: None,
            sound_end: None,
            asked: None,
            ready: VecDeque::new(),
            counts: SampleCounts::default(),
        }
    }

    /// Takes a packet.
    pub fn handle_packet(&mut self, packet: &Packet, payload: &[u8]) {
        self.depacketizer.handle_packet(packet, payload);
        self.place_frames();
    }

    /// Takes what a sender report said.
    pub fn handle_clock(&mut self, clock: Clock) {
        self.clock.handle_report(clock);
    }

    /// Gives up what is missing, and fills the sound that does not come with silence.
    pub fn handle_timeout(&mut self, now: MediaTime) {
        self.depacketizer.handle_timeout(now);
        self.place_frames();
        self.fill(now.as_nanos().saturating_sub(IDLE_NANOS));
    }

    /// When [`TrackRecorder::handle_timeout`] has something to do.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<MediaTime> {
        let idle = self.sound_end.map(|end| end.saturating_add(IDLE_NANOS + SILENCE_NANOS));
        let idle = idle.map(MediaTime::from_nanos);
        [self.depacketizer.poll_timeout(), idle].into_iter().flatten().min()
    }

    /// The track ends: what is held comes out.
    pub fn handle_end(&mut self) {
        self.depacketizer.handle_end();
        self.place_frames();
        self.clock.begin_anew();
    }

    /// The next frame.
    pub fn poll_sample(&mut self) -> Option<Sample> {
        self.ready.pop_front()
    }

    /// Whether to ask for a keyframe now: frames are dropped until one comes, or whoever reads them needs
    /// one.
    pub fn poll_keyframe(&mut self, now: MediaTime, is_needed: bool) -> bool {
        if self.kind != MediaKind::Video || !(is_needed || self.depacketizer.awaits_keyframe()) {
            self.asked = None;
            return false;
        }
        let now = now.as_nanos();
        let is_due = self.asked.is_none_or(|asked| now.saturating_sub(asked) >= KEYFRAME_NANOS);
        if is_due {
            self.asked = Some(now);
        }
        is_due
    }

    /// What became of its packets.
    #[must_use]
    pub const fn packet_counts(&self) -> Counts {
        self.depacketizer.counts()
    }

    /// What became of its frames.
    #[must_use]
    pub const fn counts(&self) -> SampleCounts {
        self.counts
    }

    fn place_frames(&mut self) {
        while let Some(frame) = self.depacketizer.poll_frame() {
            let time = self.clock.time_of(frame.source, frame.timestamp, frame.arrival);
            match self.kind {
                MediaKind::Video => self.push(time, frame),
                MediaKind::Audio => self.place_sound(time, frame),
            }
        }
    }

    fn place_sound(&mut self, time: MediaTime, frame: Frame) {
        let lasts = (i64::from(frame.ticks) * 1_000_000_000) / self.rate_hz;
        if let Some(end) = self.sound_end
            && time.as_nanos().saturating_add(lasts.max(SILENCE_NANOS)) <= end
        {
            self.counts.overlaps += 1;
            return;
        }
        self.fill(time.as_nanos());
        // Counted by samples: what a publisher's clock drifts adds up to a frame, which is made good then.
        let begin = self.sound_end.unwrap_or(time.as_nanos());
        self.sound_end = Some(begin.saturating_add(lasts));
        self.push(time, frame);
    }

    fn push(&mut self, time: MediaTime, frame: Frame) {
        self.counts.samples += 1;
        let Frame { keyframe, params, bytes, .. } = frame;
        self.push_sample(time, keyframe, params, bytes);
    }

    fn push_sample(&mut self, time: MediaTime, keyframe: bool, params: Option<VideoParams>, bytes: Vec<u8>) {
        let earliest = self.last.map(|last| MediaTime::from_nanos(last.as_nanos().saturating_add(MS)));
        let time = earliest.map_or(time, |earliest| time.max(earliest));
        self.last = Some(time);
        self.ready.push_back(Sample { time, keyframe, params, bytes });
    }

    /// Whole frames of silence from the end of the sound up to this moment.
    fn fill(&mut self, until: i64) {
        let Some(mut end) = self.sound_end else { return };
        if until.saturating_sub(end) > SILENCE_NANOS_MAX {
            self.sound_end = None;
            return;
        }
        while end.saturating_add(SILENCE_NANOS) <= until {
            self.counts.silences += 1;
            self.push_sample(MediaTime::from_nanos(end), true, None, silence(self.codec, true));
            end += SILENCE_NANOS;
        }
        self.sound_end = Some(end);
    }
}

/// [`SILENCE_NANOS`] of it, or an eighth of that.
pub(crate) fn silence(codec: Codec, is_long: bool) -> Vec<u8> {
    /// Octets of 20 ms of G.711.
    const G711_BYTES: usize = 160;
    let bytes = if is_long { G711_BYTES } else { G711_BYTES / 8 };
    match codec {
        // RFC 6716 §3.1: one CELT frame at full band, of 20 ms or 2.5. Its first bit, with a probability of
        // 1 in 32,768, says that it is silent (§4.3).
        Codec::Opus => vec![if is_long { 0xf8 } else { 0xe0 }, 0xff, 0xfe],
        // ITU-T G.711: the smallest value.
        Codec::Pcmu => vec![0xff; bytes],
        Codec::Pcma => vec![0xd5; bytes],
        Codec::Vp8 | Codec::H264 => Vec::new(),
    }
}

#[cfg(test)]
mod tests;
