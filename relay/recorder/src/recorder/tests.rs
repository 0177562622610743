use super::*;
use crate::finish::Made;
use crate::matroska::Written;
use crate::sink::{Sink, SinkError, Store};
use recorder_control::Kind;
use relay_port::{Codec, MediaKind, Packet, Priority, Track};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

const MS: i64 = 1_000_000;
const BEGIN_MS: u64 = 1_790_000_000_000;
const STREAM: &str = "00000000000000aa";
const ROOM: &str = "00000000000000bb";

/// Parts in memory: by id and number how many clusters, and whether it is closed.
type Parts = BTreeMap<(String, u32), (u32, bool)>;

/// Where they are, and of whom none are taken.
#[derive(Clone, Default)]
struct Memory {
    parts: Rc<RefCell<Parts>>,
    refused: Rc<RefCell<BTreeSet<String>>>,
}

struct MemoryStore(Memory, String);
struct MemorySink(Memory, (String, u32));

impl Stores for Memory {
    type Store = MemoryStore;

    fn store(&mut self, id: &str) -> MemoryStore {
        MemoryStore(self.clone(), id.to_owned())
    }
}

impl Store for MemoryStore {
    type Sink = MemorySink;

    fn create(&mut self, part: u32) -> Result<MemorySink, SinkError> {
        let key = (self.1.clone(), part);
        assert!(self.0.parts.borrow_mut().insert(key.clone(), (0, false)).is_none(), "no part is made twice");
        Ok(MemorySink(self.0.clone(), key))
    }
}

impl Sink for MemorySink {
    fn write(&mut self, written: Written) -> Result<(), SinkError> {
        if self.0.refused.borrow().contains(&self.1.0) {
            return Err(SinkError::Io(std::io::ErrorKind::StorageFull.into()));
        }
        if let Written::Cluster(_) = written {
            self.0.parts.borrow_mut().get_mut(&self.1).expect("begun").0 += 1;
        }
        Ok(())
    }

    fn finish(self) {
        self.0.parts.borrow_mut().get_mut(&self.1).expect("begun").1 = true;
    }
}

struct World {
    recorder: Recorder<Memory>,
    memory: Memory,
    now_ms: u64,
    /// By track: what it sends.
    tracks: BTreeMap<TrackId, u64>,
    closed: BTreeSet<(String, u32)>,
    stored: BTreeMap<String, Stored>,
    jobs: Vec<Job>,
    removed: Vec<String>,
    told: Vec<Notice>,
    keyframes: usize,
}

impl World {
    fn new() -> Self {
        Self::with(Retention::default(), Vec::new(), Vec::new())
    }

    fn with(retention: Retention, found: Vec<Found>, ready: Vec<Recording>) -> Self {
        let memory = Memory::default();
        let directory = PathBuf::from("/records");
        let recorder = Recorder::new(memory.clone(), directory, retention, (found, ready), Duration::ZERO);
        let (tracks, closed, stored) = (BTreeMap::new(), BTreeSet::new(), BTreeMap::new());
        let (jobs, removed, told) = (Vec::new(), Vec::new(), Vec::new());
        Self { recorder, memory, now_ms: 0, tracks, closed, stored, jobs, removed, told, keyframes: 0 }
    }

    fn now(&self) -> Duration {
        Duration::from_millis(self.now_ms)
    }

    fn connect(&mut self) {
        self.recorder.handle_relay(self.now(), true);
        self.recorder.handle_order(self.now(), &Order::Hello { version: 1 });
    }

    fn label(&mut self, track_id: TrackId, recordings: &[&str]) {
        let label = label(recordings).to_bytes();
        self.recorder.handle_frame(self.now(), &Frame::Label { track_id, label }, &[]);
    }

    fn begin(&mut self, track_id: TrackId, recordings: &[&str]) {
        self.label(track_id, recordings);
        let (kind, codec) =
            if track_id % 2 == 1 { (MediaKind::Audio, Codec::Opus) } else { (MediaKind::Video, Codec::Vp8) };
        let clock_rate_hz = if kind == MediaKind::Audio { 48_000 } else { 90_000 };
        let (priority, connected, held) = (Priority::Medium, true, false);
        let track = Track { room_id: 1, kind, codec, clock_rate_hz, priority, connected, held };
        let begin = Message::Begin { track_id, opening: 1, track };
        self.recorder.handle_frame(self.now(), &Frame::Message(begin), &[]);
        self.tracks.insert(track_id, 0);
    }

    fn end(&mut self, track_id: TrackId) {
        self.tracks.remove(&track_id);
        self.recorder.handle_frame(self.now(), &Frame::Message(Message::End { track_id }), &[]);
    }

    /// All tracks send; each fourth of a second a picture is a keyframe.
    fn run(&mut self, ms: u64) {
        for _ in 0..ms / 20 {
            for (track_id, seq) in self.tracks.clone() {
                let is_video = track_id % 2 == 0;
                let (rate, payload) = match (is_video, seq % 12) {
                    (false, _) => (48, &[0x78, 1][..]),
                    (true, 0) => (90, &[0x10, 0x10, 2, 0, 0x9d, 0x01, 0x2a, 0x40, 0x01, 0xf0, 0x00, 7][..]),
                    (true, _) => (90, &[0x10, 0x11, 1][..]),
                };
                let packet = Packet {
                    track_id,
                    seq,
                    timestamp: (self.now_ms * rate) as u32,
                    arrival: self.media(),
                    marker: true,
                    ..Packet::default()
                };
                self.tracks.insert(track_id, seq + 1);
                self.recorder.handle_frame(self.now(), &Frame::Message(Message::Packet(packet)), payload);
            }
            self.pass(20);
        }
    }

    fn media(&self) -> MediaTime {
        MediaTime::from_nanos((BEGIN_MS + self.now_ms) as i64 * MS)
    }

    /// So much time passes at once.
    fn pass(&mut self, ms: u64) {
        self.now_ms += ms;
        let closed: Vec<(String, u32)> = {
            let parts = self.memory.parts.borrow();
            let closed =
                parts.iter().filter(|(key, (_, is_closed))| *is_closed && !self.closed.contains(*key));
            closed.map(|(key, _)| key.clone()).collect()
        };
        for key in closed {
            self.recorder.handle_closed(&key.0);
            self.closed.insert(key);
        }
        self.recorder.handle_timeout(self.now(), Some(self.media()), BEGIN_MS + self.now_ms);
        while let Some(action) = self.recorder.poll_action() {
            match action {
                Action::Keyframe(_) => self.keyframes += 1,
                Action::Save(stored) => drop(self.stored.insert(stored.wanted.id.clone(), *stored)),
                Action::Finish(job) => self.jobs.push(*job),
                Action::Remove(recording) => self.removed.push(recording.id),
                Action::Tell(notice) => self.told.push(notice),
                Action::Describe(_) => {}
            }
        }
    }

    fn of(&self, id: &str) -> Recording {
        let all = self.recorder.inventory();
        let mut of = all.into_iter().filter_map(|notice| match notice {
            Notice::Recording(one) if one.id == id => Some(*one),
            _ => None,
        });
        of.next_back().expect("known")
    }

    fn clusters(&self, id: &str, part: u32) -> u32 {
        self.memory.parts.borrow().get(&(id.to_owned(), part)).map_or(0, |(clusters, _)| *clusters)
    }

    /// What finishes it says that it is done.
    fn make(&mut self, at: usize) {
        let Made { duration_ms } = Made { duration_ms: 1_000 };
        let recording = self.jobs[at].recording.clone();
        let ready = Recording { state: State::Ready, bytes: 100, duration_ms, ..recording };
        self.recorder.handle_report(self.now(), Report::Ready(Box::new(ready)));
        self.pass(20);
    }
}

fn wanted(id: &str) -> Wanted {
    let (kind, ending) = if id == ROOM { (Kind::Room, "mkv") } else { (Kind::Stream, "webm") };
    let (file, started_at_ms) = (format!("file-{id}.{ending}"), BEGIN_MS - 500);
    Wanted { id: id.to_owned(), kind, file, started_at_ms, aligned_at_ms: None }
}

fn label(recordings: &[&str]) -> TapLabel {
    let [room, login, stream] = ["lobby", "alice", "camera"].map(ToOwned::to_owned);
    let recordings = recordings.iter().map(|id| wanted(id)).collect();
    TapLabel { room, login, stream, name: None, publication: 7, screen: false, recordings }
}

fn found(id: &str, state: State) -> Found {
    let mut stored = Stored::new(&wanted(id), &label(&[id]));
    stored.recording.state = state;
    stored.track_ids = vec![1];
    Found { stored, parts: 1, bytes: 1_000 }
}

fn ready(number: u64) -> Recording {
    let mut recording = Stored::new(&wanted(STREAM), &label(&[])).recording;
    recording.id = format!("{number:016x}");
    recording.state = State::Ready;
    recording.ended_at_ms = Some(BEGIN_MS - 3_600_000 * (10 - number));
    recording.bytes = 100;
    recording
}

#[test]
fn a_track_goes_into_its_streams_recording_and_its_rooms() {
    let mut world = World::new();
    world.connect();
    world.begin(1, &[STREAM]);
    world.begin(2, &[STREAM]);
    world.run(1_000);
    // The room's begins while the stream's goes on.
    world.label(1, &[STREAM, ROOM]);
    world.label(2, &[STREAM, ROOM]);
    world.run(1_000);
    world.label(1, &[ROOM]);
    world.label(2, &[ROOM]);
    world.run(2_100);
    assert_eq!((world.of(STREAM).state, world.of(ROOM).state), (State::Finishing, State::Recording));
    assert!(world.clusters(STREAM, 1) >= 9 && world.clusters(ROOM, 1) >= 13);
    let stream = world.of(STREAM);
    let names = [&stream.login, &stream.stream].map(|name| name.clone().unwrap_or_default());
    assert_eq!(names, ["alice", "camera"]);
    assert_eq!((stream.started_at_ms, stream.tracks.len()), (BEGIN_MS, 2));
    assert_eq!((stream.duration_ms, stream.ended_at_ms), (1_980, Some(BEGIN_MS + 1_980)));
    assert_eq!(world.of(ROOM).tracks[0].codec, "opus");
    let job = &world.jobs[0];
    assert_eq!(job.parts, [PathBuf::from(format!("/records/.work/{STREAM}/part-1.mkv"))]);
    world.make(0);
    assert_eq!(world.of(STREAM).state, State::Ready);
    assert_eq!(world.stored[ROOM].recording.state, State::Recording);
}

#[test]
fn another_publication_goes_into_the_same_recording_while_it_lasts() {
    let mut world = World::new();
    world.connect();
    world.begin(1, &[ROOM]);
    world.run(500);
    world.end(1);
    // Rooms go on without tracks, until signaling says otherwise.
    world.pass(3_600_000);
    world.begin(3, &[ROOM]);
    world.run(500);
    assert_eq!((world.of(ROOM).state, world.of(ROOM).tracks.len()), (State::Recording, 2));
    world.recorder.handle_order(world.now(), &Order::End { id: ROOM.into() });
    world.run(100);
    assert_eq!((world.of(ROOM).state, world.jobs.len()), (State::Finishing, 1));
    // What comes for it later is refused.
    world.begin(5, &[ROOM]);
    world.run(100);
    assert_eq!((world.recorder.refused(), world.jobs[0].parts.len()), (1, 1));
}

#[test]
fn a_room_that_everybody_has_left_ends_at_last() {
    let mut world = World::new();
    world.connect();
    world.begin(1, &[ROOM]);
    world.run(500);
    world.end(1);
    world.recorder.handle_signaling(world.now(), false);
    world.pass(14 * 60_000);
    assert_eq!(world.of(ROOM).state, State::Recording);
    world.pass(60_000);
    world.pass(20);
    assert_eq!(world.of(ROOM).state, State::Finishing);
}

/// A stop that was lost with both processes: signaling names what goes on.
#[test]
fn a_room_that_nobody_names_ends_when_nothing_goes_into_it() {
    let mut world = World::with(Retention::default(), vec![found(ROOM, State::Recording)], Vec::new());
    world.connect();
    let rooms = |world: &mut World, ids: &[&str]| {
        let ids = ids.iter().map(|id| (*id).to_owned()).collect();
        world.recorder.handle_order(world.now(), &Order::Rooms { ids });
        world.pass(20);
        world.of(ROOM).state
    };
    assert_eq!(rooms(&mut world, &[STREAM, ROOM]), State::Recording);
    world.begin(1, &[ROOM, STREAM]);
    world.run(500);
    assert_eq!(rooms(&mut world, &[]), State::Recording, "a track goes into it");
    world.label(1, &[STREAM]);
    world.run(500);
    assert_eq!(rooms(&mut world, &[ROOM]), State::Recording, "it goes on");
    assert_eq!(rooms(&mut world, &[]), State::Finishing);
    assert_eq!(world.of(STREAM).state, State::Recording, "a stream's end is that of its tracks");
}

#[test]
fn what_a_killed_process_left_goes_on_or_is_finished() {
    let left = vec![found(STREAM, State::Recording), found(ROOM, State::Paused)];
    let mut world = World::with(Retention::default(), left, Vec::new());
    world.pass(5_000);
    world.connect();
    world.begin(1, &[STREAM]);
    world.run(9_000);
    assert!(world.clusters(STREAM, 2) > 10, "in the next part");
    let stream = world.of(STREAM);
    assert_eq!((stream.state, stream.interruptions, stream.tracks.len()), (State::Recording, 1, 0));
    assert_eq!((world.of(ROOM).state, world.of(ROOM).interruptions), (State::Recording, 1));
    world.run(1_100);
    assert_eq!(world.of(ROOM).state, State::Finishing, "nobody came");
    assert_eq!(world.jobs[0].parts.len(), 1);
    assert_eq!(world.of(STREAM).state, State::Recording);
}

#[test]
fn what_was_being_finished_is_finished_and_what_failed_is_tried_again() {
    for (code, is_tried) in
        [(FailureCode::Finishing, true), (FailureCode::Disk, true), (FailureCode::Empty, false)]
    {
        let mut room = found(ROOM, State::Failed);
        room.stored.recording.failure = Some(Failure { code, info: "why".into() });
        let left = vec![found(STREAM, State::Finishing), room];
        let mut world = World::with(Retention::default(), left, Vec::new());
        world.pass(20);
        let is_ordered = |id: &str| world.jobs.iter().any(|job| job.recording.id == id);
        assert_eq!((is_ordered(STREAM), is_ordered(ROOM)), (true, is_tried));
        let want = if is_tried { State::Finishing } else { State::Failed };
        assert_eq!((world.of(STREAM).interruptions, world.of(ROOM).state), (0, want));
        assert_eq!(world.of(ROOM).failure.is_none(), is_tried);
    }
}

/// The relay dies, and with it the publications: the stream's recording ends, the room's goes on.
#[test]
fn without_a_relay_a_stream_ends_and_a_room_goes_on() {
    let mut world = World::new();
    world.connect();
    world.begin(1, &[STREAM, ROOM]);
    world.run(1_000);
    world.recorder.handle_relay(world.now(), false);
    world.tracks.clear();
    assert_eq!(world.clusters(ROOM, 1), 5, "nothing of it waits");
    world.pass(3_000);
    world.recorder.handle_relay(world.now(), true);
    world.pass(9_000);
    assert_eq!(world.of(STREAM).state, State::Recording, "its tap may come back");
    world.begin(3, &[ROOM]);
    world.run(1_020);
    assert_eq!((world.of(STREAM).state, world.of(ROOM).state), (State::Finishing, State::Recording));
    assert_eq!(world.of(STREAM).ended_at_ms, Some(BEGIN_MS + 980));
}

#[test]
fn a_full_disk_pauses_all_until_there_is_room() {
    let mut world = World::new();
    world.connect();
    world.begin(1, &[STREAM, ROOM]);
    world.begin(2, &[STREAM, ROOM]);
    world.run(1_000);
    let low = Failure { code: FailureCode::DiskFull, info: "full".into() };
    world.recorder.handle_space(Some(low.clone()));
    world.run(20);
    let told = world.told.iter().filter(|notice| {
        matches!(notice, Notice::Recording(one) if one.state == State::Paused && one.failure == Some(low.clone()))
    });
    assert_eq!(told.count(), 2, "at once");
    let written = world.clusters(STREAM, 1);
    world.run(3_040);
    // One ends meanwhile; its file is made when there is room.
    world.recorder.handle_order(world.now(), &Order::End { id: ROOM.into() });
    world.run(1_000);
    assert!(world.clusters(STREAM, 1) == written && world.jobs.is_empty());
    let asked = world.keyframes;
    world.recorder.handle_space(None);
    world.run(1_000);
    assert!(world.clusters(STREAM, 2) > 1);
    assert!(world.keyframes > asked, "{asked}");
    let stream = world.of(STREAM);
    assert_eq!((stream.state, stream.interruptions, stream.failure), (State::Recording, 1, None));
    assert_eq!(world.jobs.len(), 1);
}

#[test]
fn a_fault_of_one_is_tried_again_later_and_later_and_is_nobody_elses() {
    let mut world = World::new();
    world.connect();
    world.begin(1, &[STREAM, ROOM]);
    world.memory.refused.borrow_mut().insert(ROOM.into());
    world.run(20_000);
    let room = world.of(ROOM);
    assert_eq!(room.failure.map(|failure| failure.code), Some(FailureCode::DiskFull));
    // After 1, 2, 4 and 8 s.
    assert!((4..=5).contains(&room.interruptions), "{}", room.interruptions);
    assert_eq!((world.of(STREAM).interruptions, world.of(STREAM).state), (0, State::Recording));
    assert!(world.clusters(STREAM, 1) > 95);
    world.memory.refused.borrow_mut().clear();
    world.run(20_000);
    assert_eq!((world.of(ROOM).state, world.of(ROOM).failure), (State::Recording, None));
}

#[test]
fn a_file_that_finds_no_room_is_made_later() {
    let mut world = World::new();
    world.connect();
    world.begin(1, &[STREAM]);
    world.run(500);
    world.end(1);
    world.run(2_100);
    let failure = |code| Failure { code, info: "why".into() };
    let failed = Report::Failed { id: STREAM.into(), failure: failure(FailureCode::DiskFull) };
    world.recorder.handle_report(world.now(), failed);
    world.run(1_100);
    assert_eq!((world.jobs.len(), world.of(STREAM).state), (2, State::Finishing));
    let failed = Report::Failed { id: STREAM.into(), failure: failure(FailureCode::Finishing) };
    world.recorder.handle_report(world.now(), failed);
    world.run(100_000);
    assert_eq!((world.jobs.len(), world.of(STREAM).state), (2, State::Failed));
    assert_eq!(world.stored[STREAM].recording.state, State::Failed);
}

#[test]
fn nothing_recorded_is_a_failure_and_is_not_kept() {
    let mut world = World::new();
    world.connect();
    // A picture without a keyframe: nothing comes.
    world.label(2, &[STREAM]);
    world.begin(2, &[STREAM]);
    world.end(2);
    world.run(2_100);
    assert!(world.stored.is_empty(), "the disk has nothing to do with it");
    let told: Vec<&Notice> = world.told.iter().rev().take(2).collect();
    let [Notice::Deleted { id }, Notice::Recording(failed)] = told[..] else { panic!("{told:?}") };
    assert_eq!((id.as_str(), failed.state), (STREAM, State::Failed));
    assert_eq!(failed.failure.as_ref().map(|failure| failure.code), Some(FailureCode::Empty));
    assert_eq!((world.removed.as_slice(), world.recorder.inventory().len()), (&[STREAM.to_owned()][..], 2));
    assert!(world.jobs.is_empty());
}

#[test]
fn the_oldest_are_removed_and_what_is_live_is_not() {
    for (retention, left) in [
        (Retention { max_age: Some(Duration::from_secs(6 * 3_600 + 60)), max_total_bytes: None }, 4..9),
        (Retention { max_age: None, max_total_bytes: Some(250) }, 7..9),
        (Retention::default(), 0..9),
    ] {
        let mut world =
            World::with(retention, vec![found(ROOM, State::Recording)], (0..9).map(ready).collect());
        world.pass(20);
        let removed: Vec<String> = (0..left.start).map(|number| format!("{number:016x}")).collect();
        assert_eq!(world.removed, removed);
        let told: Vec<&Notice> =
            world.told.iter().filter(|notice| matches!(notice, Notice::Deleted { .. })).collect();
        assert_eq!(told.len(), removed.len());
        for id in [ROOM, "0000000000000008"] {
            world.recorder.handle_order(world.now(), &Order::Delete { id: id.into() });
        }
        world.pass(20);
        assert_eq!(world.removed.last().map(String::as_str), Some("0000000000000008"));
        assert_eq!(world.of(ROOM).state, State::Recording);
    }
}

#[test]
fn a_mix_counts_to_what_its_room_takes() {
    let retention = Retention { max_total_bytes: Some(350), ..Retention::default() };
    let mut world = World::with(retention, Vec::new(), vec![ready(0), ready(1)]);
    world.pass(20);
    let mixed = |id: &str| Report::Mixed { id: id.into(), file: "a.mp4".into(), bytes: 100 };
    let [older, newer] = [0, 1].map(|number| ready(number).id);
    world.recorder.handle_report(world.now(), mixed(&newer));
    world.pass(20);
    assert_eq!((world.of(&newer).mixed_bytes, world.removed.len()), (100, 0));
    world.recorder.handle_report(world.now(), mixed(&older));
    world.pass(20);
    assert_eq!(world.removed, std::slice::from_ref(&older));
    // It was removed while it was mixed.
    let told = world.told.len();
    world.recorder.handle_report(world.now(), mixed(&older));
    world.pass(20);
    assert_eq!(world.told.len(), told);
}

#[test]
fn what_is_written_is_told_once_a_second() {
    let mut world = World::new();
    world.connect();
    world.begin(1, &[STREAM]);
    world.run(10_000);
    let told: Vec<u64> = world
        .told
        .iter()
        .filter_map(|notice| match notice {
            Notice::Recording(one) => Some(one.duration_ms),
            _ => None,
        })
        .collect();
    assert!((10..=11).contains(&told.len()), "{told:?}");
    assert!(told.is_sorted());
    let all = world.recorder.inventory();
    assert!(matches!(all[..], [Notice::Hello { .. }, Notice::Recording(_), Notice::Synced]));
}

#[test]
fn bad_labels_and_unlabelled_tracks_are_counted() {
    let mut world = World::new();
    world.connect();
    let label = b"{}".to_vec();
    world.recorder.handle_frame(world.now(), &Frame::Label { track_id: 1, label }, &[]);
    let (kind, codec, clock_rate_hz) = (MediaKind::Audio, Codec::Opus, 48_000);
    let (priority, connected, held) = (Priority::Medium, true, false);
    let track = Track { room_id: 1, kind, codec, clock_rate_hz, priority, connected, held };
    let begin = Message::Begin { track_id: 1, opening: 1, track };
    world.recorder.handle_frame(world.now(), &Frame::Message(begin), &[]);
    let counts = world.recorder.taps.counts();
    assert_eq!((counts.bad_labels, counts.unlabelled), (1, 1));
    assert!(world.memory.parts.borrow().is_empty());
}

#[test]
fn one_too_many_is_told_as_paused_and_begins_when_there_is_room() {
    let id = |number: u64| format!("{number:016x}");
    let most = RECORDINGS_MAX as u64;
    let left = (1..=most).map(|number| found(&id(number), State::Recording)).collect();
    let mut world = World::with(Retention::default(), left, Vec::new());
    world.connect();
    let all = most + 3;
    for number in most + 1..=all {
        world.begin(2 * number + 1, &[&id(number)]);
    }
    world.pass(20);
    let states = |world: &World| {
        [all - 2, all - 1, all].map(|number| {
            let inventory = world.recorder.inventory();
            inventory.into_iter().find_map(|notice| match notice {
                Notice::Recording(one) if one.id == id(number) => {
                    Some((one.state, one.failure.map(|why| why.code)))
                }
                _ => None,
            })
        })
    };
    let too_many = Some((State::Paused, Some(FailureCode::TooMany)));
    assert_eq!(states(&world), [too_many; 3]);
    let told = |notice: &&Notice| matches!(notice, Notice::Recording(one) if one.state == State::Paused);
    assert_eq!((world.told.iter().filter(told).count(), world.recorder.refused()), (3, 3));
    // Of the first that waits nothing comes any more, and one of the others ends.
    world.end(2 * (all - 2) + 1);
    world.recorder.handle_order(world.now(), &Order::End { id: id(1) });
    world.pass(20);
    world.pass(20);
    assert!(world.told.contains(&Notice::Deleted { id: id(all - 2) }));
    assert_eq!(states(&world), [None, Some((State::Recording, None)), too_many]);
    // Signaling ends the one that still waits.
    world.recorder.handle_order(world.now(), &Order::End { id: id(all) });
    world.recorder.handle_order(world.now(), &Order::End { id: id(2) });
    world.pass(20);
    assert_eq!(states(&world)[2], None);
}
