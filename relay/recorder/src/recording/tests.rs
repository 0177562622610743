use super::*;
use crate::matroska::{Cluster, HEAD_BYTES, TRACKS_MAX, Written, scan};
use crate::track::TrackRecorder;
use relay_port::{MediaKind, Packet, Priority};
use std::cell::RefCell;
use std::rc::Rc;

const MS: i64 = 1_000_000;
const BEGIN_MS: i64 = 1_790_000_000_000;
const VP8_KEY: [u8; 12] = [0x10, 0x10, 2, 0, 0x9d, 0x01, 0x2a, 0x40, 0x01, 0xf0, 0x00, 7];
const VP8: [u8; 3] = [0x10, 0x11, 1];

/// A file in memory: its octets, and whether it is finished.
type MemoryBytes = (Vec<u8>, bool);
/// By track the times of its blocks, in milliseconds, and which are keyframes.
type Blocks = BTreeMap<u8, Vec<(i64, bool)>>;

/// Files in memory; room for so many octets in each.
#[derive(Clone)]
struct Memory {
    files: Rc<RefCell<Vec<MemoryBytes>>>,
    room: usize,
}

struct MemoryFile(Memory, usize);

impl Store for Memory {
    type Sink = MemoryFile;

    fn create(&mut self, part: u32) -> Result<MemoryFile, SinkError> {
        self.files.borrow_mut().push((vec![0; HEAD_BYTES], false));
        assert_eq!(part as usize, self.files.borrow().len());
        Ok(MemoryFile(self.clone(), part as usize - 1))
    }
}

impl Sink for MemoryFile {
    fn write(&mut self, written: Written) -> Result<(), SinkError> {
        let (bytes, is_finished) = &mut self.0.files.borrow_mut()[self.1];
        assert!(!*is_finished);
        match written {
            Written::Head(head) => bytes[..HEAD_BYTES].copy_from_slice(&head),
            Written::Cluster(cluster) if bytes.len() + cluster.len() > self.0.room => {
                return Err(SinkError::Full);
            }
            Written::Cluster(cluster) => bytes.extend(cluster),
        }
        Ok(())
    }

    fn finish(self) {
        self.0.files.borrow_mut()[self.1].1 = true;
    }
}

struct World {
    recording: Recording<Memory>,
    memory: Memory,
    tracks: BTreeMap<TrackId, (relay_port::Track, TrackRecorder)>,
    seqs: BTreeMap<TrackId, u64>,
}

impl World {
    fn new() -> Self {
        Self::with_room(usize::MAX)
    }

    fn with_room(room: usize) -> Self {
        let memory = Memory { files: Rc::default(), room };
        let (tracks, seqs) = (BTreeMap::new(), BTreeMap::new());
        Self { recording: Recording::new(memory.clone(), 0), memory, tracks, seqs }
    }

    fn begin(&mut self, track_id: TrackId, codec: Codec) {
        let (kind, clock_rate_hz) = match codec {
            Codec::Opus => (MediaKind::Audio, 48_000),
            Codec::Pcmu | Codec::Pcma => (MediaKind::Audio, 8_000),
            Codec::Vp8 | Codec::H264 => (MediaKind::Video, 90_000),
        };
        let (priority, connected, held) = (Priority::Medium, true, false);
        let track = relay_port::Track { room_id: 1, kind, codec, clock_rate_hz, priority, connected, held };
        self.tracks.insert(track_id, (track, TrackRecorder::new(&track)));
        self.recording.handle_begin(track_id, codec, &format!("track {track_id}"));
    }

    /// What a track's frames are by now goes into the recording.
    fn pass_on(&mut self, track_id: TrackId) {
        let (_, recorder) = self.tracks.get_mut(&track_id).expect("begun");
        while let Some(sample) = recorder.poll_sample() {
            self.recording.handle_sample(track_id, sample);
        }
    }

    fn tick(&mut self, ms: i64) {
        for track_id in self.tracks.keys().copied().collect::<Vec<_>>() {
            self.tracks.get_mut(&track_id).expect("begun").1.handle_timeout(at(ms));
            self.pass_on(track_id);
        }
        self.recording.handle_timeout(at(ms));
    }

    fn end(&mut self) {
        for track_id in self.tracks.keys().copied().collect::<Vec<_>>() {
            self.tracks.get_mut(&track_id).expect("begun").1.handle_end();
            self.pass_on(track_id);
        }
        self.recording.handle_end();
    }

    /// A frame of one packet, captured and received at this moment.
    fn send(&mut self, track_id: TrackId, ms: i64, payload: &[u8]) {
        let seq = self.seqs.entry(track_id).or_default();
        *seq += 1;
        let rate_hz = i64::from(self.tracks[&track_id].0.clock_rate_hz);
        let (timestamp, arrival) = ((ms * rate_hz / 1_000) as u32, at(ms));
        let packet = Packet { track_id, seq: *seq, timestamp, marker: true, arrival, ..Packet::default() };
        self.tracks.get_mut(&track_id).expect("begun").1.handle_packet(&packet, payload);
        self.pass_on(track_id);
    }

    fn parts(&self) -> Vec<Blocks> {
        let files = self.memory.files.borrow();
        let blocks = |bytes: &[u8]| {
            let mut by_track = Blocks::new();
            if let Ok(scanned) = scan(|at, out| read(bytes, at, out)) {
                let zero = scanned.head.zero.as_nanos() / MS - BEGIN_MS;
                let mut rest = &bytes[HEAD_BYTES..];
                while let Some((head, _)) = rest.split_first_chunk::<8>() {
                    let len = u32::from_be_bytes([head[4] & 0x0f, head[5], head[6], head[7]]) as usize;
                    for (track, ms, keyframe, _) in Cluster::parse(&rest[8..8 + len]).expect("ours").blocks()
                    {
                        by_track.entry(track).or_default().push((zero + ms as i64, keyframe));
                    }
                    rest = &rest[8 + len..];
                }
            }
            by_track
        };
        files.iter().map(|(bytes, _)| blocks(bytes)).collect()
    }
}

fn read(bytes: &[u8], at: u64, out: &mut [u8]) -> std::io::Result<usize> {
    let part = bytes.get(at as usize..).unwrap_or_default();
    let count = part.len().min(out.len());
    out[..count].copy_from_slice(&part[..count]);
    Ok(count)
}

fn at(ms: i64) -> MediaTime {
    MediaTime::from_nanos((BEGIN_MS + ms) * MS)
}

#[test]
fn tracks_that_come_one_after_the_other_are_in_one_file() {
    let mut world = World::new();
    world.begin(1, Codec::Opus);
    world.begin(2, Codec::Vp8);
    for ms in (0..1_000).step_by(20) {
        world.send(1, ms, &[0x78, 1]);
        if ms >= 200 && ms % 40 == 0 {
            world.send(2, ms, if ms == 200 { &VP8_KEY } else { &VP8 });
        }
        world.tick(ms);
    }
    world.end();
    let parts = world.parts();
    assert_eq!(parts.len(), 1);
    let times = |track: u8| parts[0][&track].iter().map(|(ms, _)| *ms).collect::<Vec<_>>();
    assert_eq!(times(1), (0..1_000).step_by(20).collect::<Vec<_>>());
    assert_eq!(times(2), (200..1_000).step_by(40).collect::<Vec<_>>());
    assert_eq!(world.recording.counts().written, 70);
    assert_eq!(world.recording.span(), Some((at(0), at(980))));
    assert!(world.memory.files.borrow()[0].1, "finished");
    assert_eq!(world.recording.tracks(), 0);
}

#[test]
fn another_codec_in_a_track_begins_another_part() {
    let mut world = World::new();
    world.begin(1, Codec::Opus);
    world.send(1, 0, &[0x78, 1]);
    world.begin(1, Codec::Pcma);
    world.send(1, 20, &[0xd5; 160]);
    world.end();
    assert_eq!(world.parts(), [[(1, vec![(0, true)])].into(), [(1, vec![(20, true)])].into()]);
}

#[test]
fn a_track_that_comes_back_goes_on_in_its_place() {
    let mut world = World::new();
    world.begin(1, Codec::Opus);
    world.send(1, 0, &[0x78, 1]);
    world.recording.handle_end_of_track(1);
    assert_eq!(world.recording.tracks(), 0);
    world.begin(1, Codec::Opus);
    world.seqs.insert(1, 70_000);
    world.send(1, 20, &[0x78, 1]);
    world.end();
    assert_eq!(world.parts(), [[(1, vec![(0, true), (20, true)])].into()]);
}

/// A room for days: who comes and goes leaves nothing behind.
#[test]
fn tracks_that_have_ended_are_not_held() {
    let mut world = World::new();
    for track_id in 1..1_000 {
        world.begin(track_id, Codec::Opus);
        world.send(track_id, 20 * track_id as i64, &[0x78, 1]);
        world.recording.handle_end_of_track(track_id);
        world.tracks.remove(&track_id);
        let places = world.recording.part.as_ref().map_or(0, |part| part.places.len());
        assert!(world.recording.tracks() == 0 && places <= TRACKS_MAX, "{places}");
    }
    world.end();
    assert_eq!(world.recording.parts() as usize, 999usize.div_ceil(TRACKS_MAX));
    assert_eq!(world.parts().iter().map(|tracks| tracks.len()).sum::<usize>(), 999);
}

/// Of those that stay, nothing is missing between two parts: no picture waits for a keyframe.
#[test]
fn a_full_file_goes_on_in_another() {
    let mut world = World::new();
    world.begin(1, Codec::Vp8);
    let last = 2 * TRACKS_MAX as u64;
    for track_id in 2..=last {
        let ms = 20 * track_id as i64;
        world.send(1, ms, if track_id == 2 { &VP8_KEY } else { &VP8 });
        world.begin(track_id, Codec::Opus);
        world.send(track_id, ms, &[0x78, 1]);
        world.recording.handle_end_of_track(track_id);
        world.tracks.remove(&track_id);
        world.tick(ms);
    }
    world.end();
    let parts = world.parts();
    assert_eq!((parts.len(), parts[1].len()), (3, TRACKS_MAX));
    let pictures: Vec<(i64, bool)> =
        parts.iter().flat_map(|part| part.get(&1).cloned().unwrap_or_default()).collect();
    let sent: Vec<(i64, bool)> = (2..=last).map(|track_id| (20 * track_id as i64, track_id == 2)).collect();
    assert_eq!(pictures, sent);
}

#[test]
fn another_codec_in_one_track_costs_the_others_nothing() {
    let mut world = World::new();
    world.begin(1, Codec::Opus);
    world.begin(2, Codec::Vp8);
    world.send(1, 0, &[0x78, 1]);
    world.send(2, 0, &VP8_KEY);
    world.begin(1, Codec::Pcma);
    for ms in (20..200).step_by(20) {
        world.send(1, ms, &[0xd5; 160]);
        world.send(2, ms, &VP8);
    }
    world.end();
    let parts = world.parts();
    assert_eq!(parts.len(), 2);
    assert_eq!(parts[1].values().map(Vec::len).collect::<Vec<_>>(), [9, 9]);
    assert!(!world.recording.needs_keyframe(2) && world.recording.counts().awaiting_keyframe == 0);
}

#[test]
fn who_finds_no_room_in_a_file_waits_until_another_leaves() {
    let mut world = World::new();
    let all = TRACKS_MAX as u64 + 2;
    for track_id in 1..=all {
        world.begin(track_id, Codec::Opus);
    }
    let send = |world: &mut World, ms: std::ops::Range<i64>| {
        for ms in ms.step_by(20) {
            let there: Vec<TrackId> = world.tracks.keys().copied().collect();
            there.into_iter().for_each(|track_id| world.send(track_id, ms, &[0x78, 1]));
        }
    };
    send(&mut world, 0..200);
    assert_eq!((world.recording.parts(), world.recording.counts().no_room), (1, 20));
    assert!(!world.recording.needs_keyframe(all), "it would be for nothing");
    world.recording.handle_end_of_track(1);
    world.tracks.remove(&1);
    send(&mut world, 200..400);
    world.end();
    let events = std::iter::from_fn(|| world.recording.poll_event());
    let refused: Vec<TrackId> = events
        .filter_map(|event| match event {
            Event::NoRoom { track_id } => Some(track_id),
            _ => None,
        })
        .collect();
    assert_eq!(refused, [all - 1, all, all]);
    let parts = world.parts();
    assert_eq!(parts.iter().map(BTreeMap::len).collect::<Vec<_>>(), [TRACKS_MAX; 2]);
    let blocks: usize = parts.iter().flat_map(BTreeMap::values).map(Vec::len).sum();
    assert_eq!(blocks, 20 * TRACKS_MAX, "of all that have a place");
    assert_eq!(world.recording.counts().no_room, 30);
}

#[test]
fn what_was_paused_goes_on_in_another_part_with_a_keyframe() {
    let mut world = World::new();
    world.begin(1, Codec::Vp8);
    assert!(world.recording.needs_keyframe(1));
    world.send(1, 0, &VP8_KEY);
    world.send(1, 40, &VP8);
    assert!(!world.recording.needs_keyframe(1));
    world.recording.pause();
    assert!(world.memory.files.borrow()[0].1, "its part is closed");
    world.send(1, 80, &VP8);
    assert!(!world.recording.needs_keyframe(1), "there is nothing that it would be for");
    world.recording.resume();
    assert!(world.recording.needs_keyframe(1));
    world.send(1, 120, &VP8);
    world.send(1, 160, &VP8_KEY);
    world.end();
    assert_eq!(world.parts(), [[(1, vec![(0, true), (40, false)])].into(), [(1, vec![(160, true)])].into()]);
    let counts = world.recording.counts();
    assert_eq!((counts.written, counts.paused, counts.awaiting_keyframe), (3, 1, 1));
}

/// A frame from before the file is refused, and what needs it is not written; its track begins with the next
/// keyframe.
#[test]
fn what_needs_a_refused_frame_is_not_written() {
    let mut world = World::new();
    world.begin(1, Codec::Opus);
    world.begin(2, Codec::Vp8);
    (1_000..2_000).step_by(20).for_each(|ms| world.send(1, ms, &[0x78, 1]));
    world.tick(2_000);
    world.send(2, 500, &VP8_KEY);
    world.send(2, 1_980, &VP8);
    assert!(world.recording.needs_keyframe(2));
    world.send(2, 2_000, &VP8_KEY);
    world.end();
    assert_eq!(world.parts()[0][&2], [(2_000, true)]);
    let counts = world.recording.counts();
    assert_eq!((counts.too_early, counts.awaiting_keyframe), (1, 1));
}

#[test]
fn parameter_sets_that_change_come_with_their_keyframe() {
    let sps = [
        0x67, 0x42, 0xc0, 0x0d, 0xd9, 0x01, 0x41, 0xfb, 0x01, 0x10, 0, 0, 3, 0, 0x10, 0, 0, 3, 3, 0x20, 0xf1,
    ];
    let keyframe = |pps: u8| {
        let sets = [&[0x78, 0, sps.len() as u8][..], &sps, &[0, 4, 0x68, 0xce, 0x38, pps], &[0, 2, 0x65, 9]];
        sets.concat()
    };
    let mut world = World::new();
    world.begin(1, Codec::H264);
    for (ms, pps) in [(0, 0x80), (40, 0x80), (80, 0x81), (120, 0x80)] {
        world.send(1, ms, &keyframe(pps));
    }
    world.end();
    let files = world.memory.files.borrow();
    let mut blocks = Vec::new();
    let mut rest = &files[0].0[HEAD_BYTES..];
    while let Some((head, _)) = rest.split_first_chunk::<8>() {
        let len = u32::from_be_bytes([head[4] & 0x0f, head[5], head[6], head[7]]) as usize;
        blocks.extend(
            Cluster::parse(&rest[8..8 + len]).expect("ours").blocks().map(|(.., frame)| frame.to_vec()),
        );
        rest = &rest[8 + len..];
    }
    let idr = [0, 0, 0, 2, 0x65, 9];
    let sets =
        |pps: u8| [&[0, 0, 0, sps.len() as u8][..], &sps, &[0, 0, 0, 4, 0x68, 0xce, 0x38, pps]].concat();
    let want =
        [idr.to_vec(), idr.to_vec(), [&sets(0x81)[..], &idr].concat(), [&sets(0x80)[..], &idr].concat()];
    assert_eq!(blocks, want);
}

#[test]
fn a_disk_that_refuses_pauses_it_cleanly() {
    let mut world = World::with_room(HEAD_BYTES + 3_000);
    world.begin(1, Codec::Opus);
    for ms in (0..20_000).step_by(20) {
        world.send(1, ms, &[0x78; 20]);
        world.tick(ms);
    }
    world.end();
    let events: Vec<Event> = std::iter::from_fn(|| world.recording.poll_event()).collect();
    let [Event::PartBegun { part: 1 }, Event::TrackBegun { track_id: 1, .. }, Event::Failed(SinkError::Full)] =
        &events[..]
    else {
        panic!("{events:?}")
    };
    let (files, counts) = (world.memory.files.borrow(), world.recording.counts());
    assert!(files[0].1 && world.recording.is_paused(), "what was written is finished");
    assert!(scan(|at, out| read(&files[0].0, at, out)).is_ok());
    assert!(counts.written >= 80 && counts.paused > 800, "{counts:?}");
}

/// What is lost with the process is what is not in the file yet: half a second at most, whatever the tracks
/// do.
#[test]
fn no_more_than_half_a_second_waits_in_memory() {
    let mut world = World::new();
    world.begin(1, Codec::Opus);
    world.begin(2, Codec::Vp8);
    let mut newest = 0;
    for ms in (0..12_000).step_by(10) {
        // Sound rests from the third second to the fifth, the picture from the seventh to the ninth, both
        // after the eleventh.
        if ms % 20 == 0 && !(3_000..5_000).contains(&ms) && ms < 11_000 {
            world.send(1, ms, &[0x78, 1]);
            newest = ms;
        }
        if ms % 40 == 0 && !(7_000..9_000).contains(&ms) && ms < 11_000 {
            world.send(2, ms, if ms % 2_000 == 0 { &VP8_KEY } else { &VP8 });
            newest = ms;
        }
        world.tick(ms);
        if ms % 100 == 90 {
            let parts = world.parts();
            let written = parts.first().and_then(|tracks| {
                tracks.values().filter_map(|blocks| blocks.last().map(|(ms, _)| *ms)).max()
            });
            let waits = if ms < 11_000 { ms - written.unwrap_or(0) } else { newest - written.unwrap_or(0) };
            assert!(waits <= 500, "at {ms} ms there is nothing of the last {waits} ms");
            assert!(ms < 11_600 || written >= Some(newest), "all is written when nothing comes");
        }
    }
}
