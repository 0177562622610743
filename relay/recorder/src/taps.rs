//! Tracks that the relay gives, each depacketized once, whatever recordings it goes into.
//!
//! Invariants
//! - A track goes into the recordings that its latest good label names, one of each kind at most.
//! - At most [`TAPS_MAX`] tracks are known.
//!
//! Deliberately absent: recordings.

use crate::track::{Sample, TrackRecorder};
use recorder_control::{TapLabel, Wanted};
use relay_port::{Clock, Codec, MediaTime, Packet, Track, TrackId};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Tracks at a time; the relay gives a process no more.
pub const TAPS_MAX: usize = 4_096;

/// What was not taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TapCounts {
    /// Labels that are none, or name what may be none of ours.
    pub bad_labels: u64,
    /// Tracks that began without a label.
    pub unlabelled: u64,
    /// Tracks beyond [`TAPS_MAX`].
    pub too_many: u64,
}

/// A track that has begun.
struct Begun {
    track: Track,
    recorder: TrackRecorder,
}

/// A track of the relay.
#[derive(Default)]
struct Tap {
    label: Option<TapLabel>,
    /// The ids of the recordings that it goes into.
    into: Arc<[String]>,
    begun: Option<Begun>,
}

/// See the module.
#[derive(Default)]
pub struct Taps {
    taps: BTreeMap<TrackId, Tap>,
    counts: TapCounts,
}

impl Taps {
    /// Takes a label. If the track has begun, the label of before and the new one.
    pub fn handle_label(&mut self, track_id: TrackId, bytes: &[u8]) -> Option<(TapLabel, TapLabel)> {
        let Some(label) = TapLabel::read(bytes) else {
            self.counts.bad_labels += 1;
            tracing::error!("the label of track {track_id:x} cannot be read: it is passed over");
            return None;
        };
        if !self.taps.contains_key(&track_id) && self.taps.len() >= TAPS_MAX {
            self.counts.too_many += 1;
            return None;
        }
        let tap = self.taps.entry(track_id).or_default();
        tap.into = all_of(&label).into_iter().map(|wanted| wanted.id.clone()).collect();
        let before = tap.label.replace(label.clone());
        before.filter(|_| tap.begun.is_some()).map(|before| (before, label))
    }

    /// A track begins, or is said to begin again: then its numbers go on, and so does what is held of it. Its
    /// label; `None`: it goes nowhere.
    pub fn handle_begin(&mut self, track_id: TrackId, track: &Track) -> Option<TapLabel> {
        let Some(tap) = self.taps.get_mut(&track_id) else {
            self.counts.unlabelled += 1;
            if self.counts.unlabelled == 1 {
                tracing::warn!("track {track_id:x} has no label: it and others like it are not recorded");
            }
            return None;
        };
        let same =
            |before: &Track| before.codec == track.codec && before.clock_rate_hz == track.clock_rate_hz;
        if !tap.begun.as_ref().is_some_and(|begun| same(&begun.track)) {
            tap.begun = Some(Begun { track: *track, recorder: TrackRecorder::new(track) });
        }
        tap.label.clone()
    }

    /// Takes a packet; its frames come out by [`Taps::poll_sample`].
    pub fn handle_packet(&mut self, packet: &Packet, payload: &[u8]) {
        if let Some(begun) = self.begun(packet.track_id) {
            begun.recorder.handle_packet(packet, payload);
        }
    }

    /// Takes what a sender report of a track said.
    pub fn handle_clock(&mut self, track_id: TrackId, clock: Clock) {
        if let Some(begun) = self.begun(track_id) {
            begun.recorder.handle_clock(clock);
        }
    }

    /// Gives up what is missing of a track.
    pub fn handle_timeout(&mut self, track_id: TrackId, now: MediaTime) {
        if let Some(begun) = self.begun(track_id) {
            begun.recorder.handle_timeout(now);
        }
    }

    /// What is held of a track comes out.
    pub fn handle_end(&mut self, track_id: TrackId) {
        if let Some(begun) = self.begun(track_id) {
            begun.recorder.handle_end();
        }
    }

    /// The next frame of a track.
    pub fn poll_sample(&mut self, track_id: TrackId) -> Option<Sample> {
        self.begun(track_id)?.recorder.poll_sample()
    }

    /// Whether to ask for a keyframe now.
    pub fn poll_keyframe(&mut self, track_id: TrackId, now: MediaTime, is_needed: bool) -> bool {
        self.begun(track_id).is_some_and(|begun| begun.recorder.poll_keyframe(now, is_needed))
    }

    /// Into which recordings a track goes: their ids.
    #[must_use]
    pub fn recordings(&self, track_id: TrackId) -> Arc<[String]> {
        self.taps.get(&track_id).map(|tap| Arc::clone(&tap.into)).unwrap_or_default()
    }

    /// What is said of a track.
    #[must_use]
    pub fn label(&self, track_id: TrackId) -> Option<&TapLabel> {
        self.taps.get(&track_id)?.label.as_ref()
    }

    /// How a track is encoded, when it has begun.
    #[must_use]
    pub fn codec(&self, track_id: TrackId) -> Option<Codec> {
        Some(self.taps.get(&track_id)?.begun.as_ref()?.track.codec)
    }

    /// A track is gone.
    pub fn remove(&mut self, track_id: TrackId) {
        self.taps.remove(&track_id);
    }

    /// All tracks that have begun.
    #[must_use]
    pub fn ids(&self) -> Vec<TrackId> {
        self.taps.iter().filter(|(_, tap)| tap.begun.is_some()).map(|(track_id, _)| *track_id).collect()
    }

    /// What was not taken.
    #[must_use]
    pub const fn counts(&self) -> TapCounts {
        self.counts
    }

    fn begun(&mut self, track_id: TrackId) -> Option<&mut Begun> {
        self.taps.get_mut(&track_id)?.begun.as_mut()
    }
}

/// Recordings of a label: one of each kind.
#[must_use]
pub fn all_of(label: &TapLabel) -> Vec<&Wanted> {
    let mut all: Vec<&Wanted> = Vec::new();
    for one in &label.recordings {
        if all.iter().all(|other| other.kind != one.kind) {
            all.push(one);
        }
    }
    all
}

/// Recordings of `label` that `other` does not name.
#[must_use]
pub fn not_in<'a>(label: &'a TapLabel, other: &TapLabel) -> Vec<&'a Wanted> {
    let others = all_of(other);
    let is_new = |one: &&Wanted| others.iter().all(|other| other.id != one.id);
    all_of(label).into_iter().filter(is_new).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use relay_port::{MediaKind, Priority};

    const TRACK: Track = Track {
        room_id: 1,
        kind: MediaKind::Video,
        codec: Codec::Vp8,
        clock_rate_hz: 90_000,
        priority: Priority::Medium,
        connected: true,
        held: false,
    };

    /// A signaling that is started again may have the relay open the port once more.
    #[test]
    fn a_track_that_is_said_to_begin_again_in_the_midst_of_a_frame_loses_nothing() {
        let label = br#"{"room":"lobby","login":"alice","stream":"camera","publication":7,"recordings":[]}"#;
        let mut taps = Taps::default();
        assert!(taps.handle_label(1, label).is_none() && taps.handle_begin(1, &TRACK).is_some());
        let send = |taps: &mut Taps, seq: u64, payload: &[u8]| {
            let (timestamp, marker) = ((seq / 2) as u32 * 6_000, seq % 2 == 1);
            let packet = Packet { track_id: 1, seq, timestamp, marker, ..Packet::default() };
            taps.handle_packet(&packet, payload);
            std::iter::from_fn(|| taps.poll_sample(1)).map(|sample| sample.bytes).collect::<Vec<_>>()
        };
        let key = [0x10, 2, 0, 0x9d, 0x01, 0x2a, 0x40, 0x01, 0xf0, 0x00];
        assert!(send(&mut taps, 0, &[&[0x10][..], &key].concat()).is_empty());
        assert_eq!(send(&mut taps, 1, &[0x00, 7]), [[&key[..], &[7]].concat()]);
        assert!(send(&mut taps, 2, &[0x10, 0x11, 1]).is_empty());
        assert!(taps.handle_begin(1, &TRACK).is_some());
        assert_eq!(send(&mut taps, 3, &[0x00, 2]), [[0x11, 1, 2]]);
        assert!(!taps.poll_keyframe(1, MediaTime::from_nanos(1), false), "nothing is missing");
    }
}
