//! A publisher's bad day before FFmpeg's tools: what comes out plays, and its times are true.

mod support;

use recorder::matroska::{HEAD_BYTES, Written, finish};
use recorder::recording::Recording;
use recorder::sink::{Sink, SinkError, Store};
use recorder::track::TrackRecorder;
use relay_port::{Clock, Codec, MediaKind, MediaTime, Packet, Priority, Track, TrackId};
use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use support::{Rtp, decode, duration_ms, h264, opus, sound_ms, streams, times_ms, vp8};

const MS: i64 = 1_000_000;
const BEGIN_MS: i64 = 1_790_000_000_000;
/// From capture to arrival.
const WAY_MS: i64 = 30;

fn at(ms: i64) -> MediaTime {
    MediaTime::from_nanos((BEGIN_MS + ms) * MS)
}

/// Files of this folder, written at once.
struct Folder(PathBuf);

struct Direct(File, u64);

impl Store for Folder {
    type Sink = Direct;

    fn create(&mut self, part: u32) -> Result<Direct, SinkError> {
        let path = self.0.join(format!("{part}.mkv"));
        Ok(Direct(File::options().read(true).write(true).create_new(true).open(path)?, HEAD_BYTES as u64))
    }
}

impl Sink for Direct {
    fn write(&mut self, written: Written) -> Result<(), SinkError> {
        match written {
            Written::Head(bytes) => self.0.write_all_at(&bytes, 0)?,
            Written::Cluster(bytes) => {
                self.0.write_all_at(&bytes, self.1)?;
                self.1 += bytes.len() as u64;
            }
        }
        Ok(())
    }

    fn finish(self) {
        finish(&self.0).expect("ours");
    }
}

/// One packet on its way.
struct Sent {
    arrival_ms: i64,
    packet: Packet,
    payload: Vec<u8>,
}

/// Packets of a track with the times at which they arrive, captured from `begin_ms` on.
fn on_the_way(track_id: TrackId, rate_hz: i64, packets: Vec<Rtp>, begin_ms: i64) -> Vec<Sent> {
    let first = packets[0].packet.timestamp;
    let sent = packets.into_iter().map(|Rtp { packet, payload }| {
        let captured_ms = begin_ms + i64::from(packet.timestamp.wrapping_sub(first)) * 1_000 / rate_hz;
        let arrival_ms = captured_ms + WAY_MS;
        Sent { arrival_ms, packet: Packet { track_id, arrival: at(arrival_ms), ..packet }, payload }
    });
    sent.collect()
}

/// A recording, and its tracks.
struct Bed {
    recording: Recording<Folder>,
    tracks: BTreeMap<TrackId, TrackRecorder>,
}

impl Bed {
    fn new(folder: &Path) -> Self {
        Self { recording: Recording::new(Folder(folder.into()), 0), tracks: BTreeMap::new() }
    }

    fn begin(&mut self, track_id: TrackId, codec: Codec, name: &str) {
        let (kind, clock_rate_hz) = match codec {
            Codec::Vp8 | Codec::H264 => (MediaKind::Video, 90_000),
            _ => (MediaKind::Audio, 48_000),
        };
        let (priority, connected, held) = (Priority::Medium, true, false);
        let track = Track { room_id: 1, kind, codec, clock_rate_hz, priority, connected, held };
        self.tracks.insert(track_id, TrackRecorder::new(&track));
        self.recording.handle_begin(track_id, codec, name);
    }

    fn of(&mut self, track_id: TrackId) -> &mut TrackRecorder {
        self.tracks.get_mut(&track_id).expect("begun")
    }

    fn pass_on(&mut self) {
        for (track_id, track) in &mut self.tracks {
            while let Some(sample) = track.poll_sample() {
                self.recording.handle_sample(*track_id, sample);
            }
        }
    }

    /// Everything in the order of its arrival, with the time that passes meanwhile.
    fn run(&mut self, mut sent: Vec<Sent>) {
        sent.sort_by_key(|sent| sent.arrival_ms);
        let mut now_ms = 0;
        for Sent { arrival_ms, packet, payload } in sent {
            while now_ms < arrival_ms {
                now_ms += 20;
                self.tracks.values_mut().for_each(|track| track.handle_timeout(at(now_ms)));
                self.pass_on();
                self.recording.handle_timeout(at(now_ms));
            }
            self.of(packet.track_id).handle_packet(&packet, &payload);
            self.pass_on();
        }
        self.tracks.values_mut().for_each(TrackRecorder::handle_end);
        self.pass_on();
        self.recording.handle_end();
    }
}

fn recorded(folder: &Path) -> PathBuf {
    assert!(!folder.join("2.mkv").exists(), "one part");
    folder.join("1.mkv")
}

/// A twentieth of the pictures' packets is lost, another comes late; the sound rests for a second.
#[test]
fn losses_and_a_pause_leave_a_file_that_plays_in_time() {
    for codec in [Codec::Vp8, Codec::H264] {
        let folder = tempfile::tempdir().expect("a folder");
        let mut bed = Bed::new(folder.path());
        bed.begin(1, codec, "camera");
        bed.begin(2, Codec::Opus, "microphone");
        let video = if codec == Codec::Vp8 { vp8(4, "320x240") } else { h264(4, "320x240") };
        let mut sent = on_the_way(1, 90_000, video, 0);
        for (at, sent) in sent.iter_mut().enumerate() {
            sent.arrival_ms += if at % 20 == 7 { 90 } else { 0 };
        }
        let mut at = 0;
        sent.retain(|_| {
            at += 1;
            // The first picture comes.
            at < 20 || at % 20 != 13
        });
        let mut sound = on_the_way(2, 48_000, opus(4), 0);
        let frames = sound.len();
        sound.retain(|sent| !(1_500..2_500).contains(&sent.arrival_ms));
        sent.extend(sound);
        // Reports say how long the way was.
        for (track_id, sent) in [(1, &sent[0]), (2, sent.last().expect("sound"))] {
            let time = MediaTime::from_nanos(sent.packet.arrival.as_nanos() - WAY_MS * MS);
            bed.of(track_id).handle_clock(Clock { time, timestamp: sent.packet.timestamp });
        }
        bed.run(sent);
        let path = recorded(folder.path());
        decode(&path, "0");
        let sound = times_ms(&path, "a:0");
        assert!(sound.windows(2).all(|pair| (19..=21).contains(&(pair[1] - pair[0]))), "{sound:?}");
        assert_eq!(sound.len(), frames, "what did not come is silence");
        // A player that only counts samples is in time too.
        let lasts_ms = 20 * frames as i64;
        assert!((sound_ms(&path) - lasts_ms).abs() <= 10, "{} {lasts_ms}", sound_ms(&path));
        let pictures = times_ms(&path, "v:0");
        assert!(
            pictures.len() > 10 && pictures[0] < 100 && pictures.iter().all(|ms| ms % 40 <= 1),
            "{pictures:?}"
        );
    }
}

#[test]
fn a_picture_that_changes_its_size_goes_on() {
    for codec in [Codec::Vp8, Codec::H264] {
        let folder = tempfile::tempdir().expect("a folder");
        let mut bed = Bed::new(folder.path());
        bed.begin(1, codec, "camera");
        let encode = |size: &str| if codec == Codec::Vp8 { vp8(1, size) } else { h264(1, size) };
        let mut sent = on_the_way(1, 90_000, encode("320x240"), 0);
        let (last_seq, timestamp) = (sent.last().expect("some").packet.seq, sent[0].packet.timestamp);
        let mut second = on_the_way(1, 90_000, encode("640x360"), 1_000);
        let second_begin = second[0].packet.timestamp;
        for sent in &mut second {
            // The same source goes on.
            sent.packet.seq += last_seq + 1;
            let since = sent.packet.timestamp.wrapping_sub(second_begin);
            sent.packet.timestamp = timestamp.wrapping_add(90_000).wrapping_add(since);
        }
        sent.extend(second);
        bed.run(sent);
        let path = recorded(folder.path());
        let name = if codec == Codec::Vp8 { "vp8" } else { "h264" };
        assert_eq!(streams(&path), [format!("{name},50,camera")]);
        decode(&path, "0");
        decode(&path, "1.5");
        assert!(duration_ms(&path).is_some_and(|ms| (1_950..=2_050).contains(&ms)));
    }
}
