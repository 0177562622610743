use super::*;
use crate::matroska::{Cluster, HEAD_BYTES, Written, scan};
use relay_port::{MediaKind, Priority};
use std::cell::RefCell;
use std::rc::Rc;

const MS: i64 = 1_000_000;
const BEGIN_MS: i64 = 1_790_000_000_000;
const VP8_KEY: [u8; 12] = [0x10, 0x10, 2, 0, 0x9d, 0x01, 0x2a, 0x40, 0x01, 0xf0, 0x00, 7];
const VP8: [u8; 3] = [0x10, 0x11, 1];

/// A file in memory: its type, its octets, and whether it is finished.
type MemoryBytes = (DocType, Vec<u8>, bool);
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

    fn create(&mut self, part: u32, doc_type: DocType) -> Result<MemoryFile, SinkError> {
        self.files.borrow_mut().push((doc_type, vec![0; HEAD_BYTES], false));
        assert_eq!(part as usize, self.files.borrow().len());
        Ok(MemoryFile(self.clone(), part as usize - 1))
    }
}

impl Sink for MemoryFile {
    fn write(&mut self, written: Written) -> Result<(), SinkError> {
        let (_, bytes, is_finished) = &mut self.0.files.borrow_mut()[self.1];
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
        self.0.files.borrow_mut()[self.1].2 = true;
    }
}

struct World {
    recording: Recording<Memory>,
    memory: Memory,
    seqs: BTreeMap<TrackId, u64>,
}

impl World {
    fn new(container: Container) -> Self {
        let memory = Memory { files: Rc::default(), room: usize::MAX };
        Self { recording: Recording::new(memory.clone(), container), memory, seqs: BTreeMap::new() }
    }

    fn begin(&mut self, track_id: TrackId, codec: Codec) {
        let (kind, clock_rate_hz) = match codec {
            Codec::Opus => (MediaKind::Audio, 48_000),
            Codec::Pcmu | Codec::Pcma => (MediaKind::Audio, 8_000),
            Codec::Vp8 | Codec::H264 => (MediaKind::Video, 90_000),
        };
        let (priority, connected, held) = (Priority::Medium, true, false);
        let track = relay_port::Track { room_id: 1, kind, codec, clock_rate_hz, priority, connected, held };
        self.recording.handle_begin(track_id, 1, &track, &format!("track {track_id}"));
    }

    /// A frame of one packet, captured and received at this moment.
    fn send(&mut self, track_id: TrackId, ms: i64, payload: &[u8]) {
        let seq = self.seqs.entry(track_id).or_default();
        *seq += 1;
        let rate_hz = i64::from(self.recording.tracks[&track_id].track.clock_rate_hz);
        let (timestamp, arrival) = ((ms * rate_hz / 1_000) as u32, at(ms));
        let packet = Packet { track_id, seq: *seq, timestamp, marker: true, arrival, ..Packet::default() };
        self.recording.handle_packet(&packet, payload);
    }

    fn parts(&self) -> Vec<(DocType, Blocks)> {
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
        files.iter().map(|(doc_type, bytes, _)| (*doc_type, blocks(bytes))).collect()
    }

    fn keyframes_wanted(&mut self) -> Vec<TrackId> {
        let events = std::iter::from_fn(|| self.recording.poll_event());
        events.filter_map(|event| if let Event::Keyframe(id) = event { Some(id) } else { None }).collect()
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
fn a_stream_is_one_file_of_the_common_container() {
    for (container, doc_type) in
        [(Container::Common, DocType::WebM), (Container::Matroska, DocType::Matroska)]
    {
        let mut world = World::new(container);
        world.begin(1, Codec::Opus);
        world.begin(2, Codec::Vp8);
        for ms in (0..1_000).step_by(20) {
            world.send(1, ms, &[0x78, 1]);
            if ms >= 200 && ms % 40 == 0 {
                world.send(2, ms, if ms == 200 { &VP8_KEY } else { &VP8 });
            }
            world.recording.handle_timeout(at(ms));
        }
        world.recording.handle_end();
        let parts = world.parts();
        assert_eq!((parts.len(), parts[0].0), (1, doc_type));
        let times = |track: u8| parts[0].1[&track].iter().map(|(ms, _)| *ms).collect::<Vec<_>>();
        assert_eq!(times(1), (0..1_000).step_by(20).collect::<Vec<_>>());
        assert_eq!(times(2), (200..1_000).step_by(40).collect::<Vec<_>>());
        assert_eq!(world.recording.counts().written, 70);
        assert!(world.memory.files.borrow()[0].2, "finished");
        assert!(world.recording.is_idle());
    }
}

#[test]
fn a_codec_that_the_container_does_not_have_begins_another_part() {
    let mut world = World::new(Container::Common);
    world.begin(1, Codec::Vp8);
    world.send(1, 0, &VP8_KEY);
    world.send(1, 40, &VP8);
    world.begin(2, Codec::Pcmu);
    world.send(2, 60, &[0xff; 160]);
    world.send(1, 80, &VP8);
    world.recording.handle_timeout(at(90));
    assert_eq!(world.keyframes_wanted(), [1], "the new part needs one");
    world.send(1, 120, &VP8_KEY);
    world.recording.handle_end();
    let parts = world.parts();
    assert_eq!(parts[0], (DocType::WebM, [(1, vec![(0, true), (40, false)])].into()));
    assert_eq!(parts[1], (DocType::Matroska, [(1, vec![(60, true)]), (2, vec![(120, true)])].into()));
    assert_eq!((world.recording.parts(), world.recording.counts().awaiting_keyframe), (2, 1));
}

#[test]
fn another_codec_in_a_track_begins_another_part() {
    let mut world = World::new(Container::Common);
    world.begin(1, Codec::Opus);
    world.send(1, 0, &[0x78, 1]);
    world.begin(1, Codec::Pcma);
    world.send(1, 20, &[0xd5; 160]);
    world.recording.handle_end();
    let types: Vec<DocType> = world.parts().into_iter().map(|(doc_type, _)| doc_type).collect();
    assert_eq!(types, [DocType::WebM, DocType::Matroska]);
}

#[test]
fn a_track_opened_anew_goes_on_in_its_place() {
    let mut world = World::new(Container::Matroska);
    world.begin(1, Codec::Opus);
    world.send(1, 0, &[0x78, 1]);
    let track = world.recording.tracks[&1].track;
    world.recording.handle_end_of_track(1);
    assert!(world.recording.is_idle());
    world.recording.handle_begin(1, 2, &track, "the same");
    assert!(!world.recording.is_idle());
    world.seqs.insert(1, 70_000);
    world.send(1, 20, &[0x78, 1]);
    world.recording.handle_end();
    assert_eq!(world.parts(), [(DocType::Matroska, [(1, vec![(0, true), (20, true)])].into())]);
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
    let mut world = World::new(Container::Common);
    world.begin(1, Codec::H264);
    for (ms, pps) in [(0, 0x80), (40, 0x80), (80, 0x81), (120, 0x80)] {
        world.send(1, ms, &keyframe(pps));
    }
    world.recording.handle_end();
    let files = world.memory.files.borrow();
    let mut blocks = Vec::new();
    let mut rest = &files[0].1[HEAD_BYTES..];
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
fn a_disk_that_refuses_ends_it_cleanly() {
    let mut world = World::new(Container::Common);
    world.memory.room = HEAD_BYTES + 3_000;
    world.recording = Recording::new(world.memory.clone(), Container::Common);
    world.begin(1, Codec::Opus);
    for ms in (0..20_000).step_by(20) {
        world.send(1, ms, &[0x78; 20]);
        world.recording.handle_timeout(at(ms));
    }
    world.recording.handle_end();
    let events: Vec<Event> = std::iter::from_fn(|| world.recording.poll_event()).collect();
    let [Event::PartBegun { part: 1 }, Event::Failed(SinkError::Full)] = &events[..] else {
        panic!("{events:?}")
    };
    let (files, counts) = (world.memory.files.borrow(), world.recording.counts());
    assert!(files[0].2, "what was written is finished");
    assert!(scan(|at, out| read(&files[0].1, at, out)).is_ok());
    assert!(counts.written >= 80 && counts.ended > 800, "{counts:?}");
}

/// What is lost with the process is what is not in the file yet: half a second at most, whatever the tracks
/// do.
#[test]
fn no_more_than_half_a_second_waits_in_memory() {
    let mut world = World::new(Container::Common);
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
        world.recording.handle_timeout(at(ms));
        if ms % 100 == 90 {
            let parts = world.parts();
            let written = parts.first().and_then(|(_, tracks)| {
                tracks.values().filter_map(|blocks| blocks.last().map(|(ms, _)| *ms)).max()
            });
            let waits = if ms < 11_000 { ms - written.unwrap_or(0) } else { newest - written.unwrap_or(0) };
            assert!(waits <= 500, "at {ms} ms there is nothing of the last {waits} ms");
            assert!(ms < 11_600 || written >= Some(newest), "all is written when nothing comes");
        }
    }
}
