//! Files of the muxer before FFmpeg's tools: of media that FFmpeg has encoded and packetized.

mod support;

use recorder::depacketize::Frame;
use recorder::matroska::{Block, DocType, HEAD_BYTES, Media, Muxer, Track, Written, finish, scan, walk};
use relay_port::{Codec, MediaTime};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use support::{
    Rtp, decode, duration_ms, frames, g711, h264, media, opus, store, streams, times_ms, times_of_cut_ms, vp8,
};

/// Where all files of these tests begin.
const BEGIN: MediaTime = MediaTime::from_nanos(1_790_000_000_000_000_000);

/// One track's frames, with its name.
struct Input(&'static str, Codec, Vec<(MediaTime, Frame)>);

fn later(seconds: i64) -> MediaTime {
    MediaTime::from_nanos(BEGIN.as_nanos() + seconds * 1_000_000_000)
}

impl Input {
    fn new(name: &'static str, codec: Codec, packets: &[Rtp], begin: MediaTime) -> Self {
        Self(name, codec, frames(codec, packets, begin))
    }

    fn track(&self, uid: u64, first: &Frame) -> Track {
        Track { uid, name: self.0.to_owned(), media: media(self.1, first) }
    }
}

/// Writes all inputs in the order of time; a track is added with its first frame.
fn write(path: &Path, doc_type: DocType, inputs: &[Input]) -> File {
    let file = File::options().read(true).write(true).create(true).truncate(true).open(path).expect("a file");
    let (mut muxer, mut numbers, mut end) =
        (Muxer::new(doc_type, None), vec![None; inputs.len()], HEAD_BYTES as u64);
    let mut all: Vec<(usize, MediaTime, &Frame)> = Vec::new();
    for (input, Input(_, _, frames)) in inputs.iter().enumerate() {
        all.extend(frames.iter().map(|(time, frame)| (input, *time, frame)));
    }
    all.sort_by_key(|(_, time, _)| *time);
    for (input, time, frame) in all {
        let number = *numbers[input].get_or_insert_with(|| {
            muxer.add_track(&inputs[input].track(input as u64 + 1, frame)).expect("room")
        });
        let block = Block { track: number, time, keyframe: frame.keyframe, bytes: frame.bytes.clone() };
        muxer.handle_block(block).expect("times grow");
        store(&mut muxer, &file, &mut end);
    }
    muxer.handle_end();
    store(&mut muxer, &file, &mut end);
    file
}

fn count(input: &Input) -> usize {
    input.2.len()
}

fn in_folder(folder: &tempfile::TempDir, name: &str) -> PathBuf {
    folder.path().join(name)
}

#[test]
fn every_frame_is_decoded_without_a_word() {
    let folder = tempfile::tempdir().expect("a folder");
    let video = || Input::new("camera", Codec::Vp8, &vp8(3, "160x120"), BEGIN);
    let avc = || Input::new("camera", Codec::H264, &h264(3, "162x122"), BEGIN);
    let sound = || Input::new("microphone", Codec::Opus, &opus(3), BEGIN);
    for (name, doc_type, inputs, codecs) in [
        ("vp8.webm", DocType::WebM, vec![video(), sound()], ["vp8", "opus"].as_slice()),
        ("opus.webm", DocType::WebM, vec![sound()], &["opus"]),
        ("h264.mkv", DocType::Matroska, vec![avc(), sound()], &["h264", "opus"]),
        (
            "all.mkv",
            DocType::Matroska,
            vec![
                video(),
                avc(),
                Input::new("telephone", Codec::Pcmu, &g711(3, "mulaw"), BEGIN),
                Input::new("", Codec::Pcma, &g711(3, "alaw"), BEGIN),
            ],
            &["vp8", "h264", "pcm_mulaw", "pcm_alaw"],
        ),
    ] {
        let path = in_folder(&folder, name);
        let file = write(&path, doc_type, &inputs);
        let want: Vec<String> = inputs
            .iter()
            .zip(codecs)
            .map(|(input, codec)| {
                let title = if input.0.is_empty() { String::new() } else { format!(",{}", input.0) };
                format!("{codec},{}{title}", count(input))
            })
            .collect();
        let mut read = streams(&path);
        read.sort_by_key(|line| codecs.iter().position(|codec| line.starts_with(codec)));
        assert_eq!(read, want, "{name}, as it grows");
        decode(&path, "0");
        let scanned = finish(&file).expect("ours");
        assert_eq!(scanned.blocks.iter().sum::<u64>() as usize, inputs.iter().map(count).sum::<usize>());
        assert_eq!(streams(&path).len(), want.len(), "{name}, finished");
        assert!(duration_ms(&path).is_some_and(|duration| (2_950..=3_150).contains(&duration)), "{name}");
        decode(&path, "0");
        decode(&path, "2");
    }
}

#[test]
fn a_track_that_comes_later_is_a_track() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = in_folder(&folder, "room.mkv");
    let inputs = [
        Input::new("alice", Codec::Opus, &opus(4), BEGIN),
        Input::new("bob", Codec::H264, &h264(2, "160x120"), later(1)),
        Input::new("carol", Codec::Vp8, &vp8(1, "160x120"), later(3)),
    ];
    let file = write(&path, DocType::Matroska, &inputs);
    let lines = |name: &str, codec: &str, input: usize| format!("{codec},{},{name}", count(&inputs[input]));
    let want = [lines("alice", "opus", 0), lines("bob", "h264", 1), lines("carol", "vp8", 2)];
    assert_eq!(streams(&path), want);
    for finished in [false, true] {
        for (stream, begin_ms) in [("a:0", -7), ("v:0", 1_000), ("v:1", 3_000)] {
            let times = times_ms(&path, stream);
            assert_eq!(times[0], begin_ms, "{stream} {finished}");
            assert!(times.is_sorted(), "{stream} {finished}: {times:?}");
        }
        finish(&file).expect("ours");
    }
    assert_eq!(streams(&path), want);
    decode(&path, "2.5");
}

/// Two megabytes of frames that nobody has to decode, and where the clusters end.
fn two_megabytes() -> (Vec<u8>, Vec<usize>) {
    let mut muxer = Muxer::new(DocType::WebM, Some(BEGIN));
    let media = [Media::Vp8 { width: 640, height: 480 }, Media::Opus];
    for (uid, media) in (1..).zip(media) {
        muxer.add_track(&Track { uid, name: String::new(), media }).expect("room");
    }
    for ms in (0..16_000).step_by(20) {
        let time = MediaTime::from_nanos(BEGIN.as_nanos() + ms * 1_000_000);
        let sound = Block { track: 2, time, keyframe: true, bytes: vec![0xa3; 80] };
        muxer.handle_block(sound).expect("times grow");
        if ms % 40 == 0 {
            let keyframe = ms % 2_000 == 0;
            // Octets that look like clusters.
            let bytes = [0x1f, 0x43, 0xb6, 0x75, 0x10].repeat(if keyframe { 3_000 } else { 900 });
            muxer.handle_block(Block { track: 1, time, keyframe, bytes }).expect("times grow");
        }
    }
    muxer.handle_end();
    let (mut bytes, mut ends) = (vec![0; HEAD_BYTES], vec![HEAD_BYTES]);
    while let Some(written) = muxer.poll_written() {
        match written {
            Written::Head(head) => bytes[..HEAD_BYTES].copy_from_slice(&head),
            Written::Cluster(cluster) => {
                bytes.extend(cluster);
                ends.push(bytes.len());
            }
        }
    }
    assert!(bytes.len() > 1_900_000, "{}", bytes.len());
    (bytes, ends)
}

/// What there is of a file at an offset, as `FileExt::read_at` gives it.
fn reader(file: &[u8]) -> impl FnMut(u64, &mut [u8]) -> std::io::Result<usize> + '_ {
    |at, out| {
        let part = file.get(at as usize..).unwrap_or_default();
        let count = part.len().min(out.len());
        out[..count].copy_from_slice(&part[..count]);
        Ok(count)
    }
}

/// The head, and behind it what lies between two offsets.
fn behind_head(
    file: &[u8],
    begin: usize,
    end: usize,
) -> impl FnMut(u64, &mut [u8]) -> std::io::Result<usize> {
    move |at, out| match (at as usize).checked_sub(HEAD_BYTES) {
        None => reader(&file[..HEAD_BYTES])(at, out),
        Some(at) => reader(&file[begin..end])(at as u64, out),
    }
}

#[test]
fn a_file_cut_anywhere_has_all_its_clusters_but_the_last() {
    let (bytes, ends) = two_megabytes();
    let whole = scan(reader(&bytes)).expect("ours");
    assert_eq!((whole.clusters as usize, whole.end as usize), (ends.len() - 1, bytes.len()));
    assert_eq!(whole.blocks, [400, 800]);
    // At every octet. What is read depends on the head and on where the last whole cluster ends, so each
    // cluster is read as if it were the first one: two megabytes a million times over would take a day.
    for (begin, end) in ends.iter().zip(&ends[1..]) {
        for len in *begin..=*end {
            let walked = walk(behind_head(&bytes, *begin, len), |_, _, _| Ok(true)).expect("ours");
            assert_eq!(walked.clusters, u64::from(len == *end), "{len}");
        }
    }
    // The whole file at a few hundred of them, and around the end of each cluster.
    let spread = (0..200).map(|at| HEAD_BYTES + (bytes.len() - HEAD_BYTES) * at / 199);
    let around = ends.iter().skip(1).flat_map(|end| [end - 1, *end, end + 1, end + 11]);
    for len in spread.chain(around.filter(|len| *len <= bytes.len())) {
        let scanned = scan(reader(&bytes[..len])).expect("ours");
        assert_eq!(scanned.clusters as usize + 1, ends.partition_point(|end| *end <= len), "{len}");
        assert_eq!(scanned.end as usize, ends[scanned.clusters as usize]);
    }
    assert!(scan(reader(&bytes[..HEAD_BYTES - 1])).is_err());
}

#[test]
fn a_cut_file_plays_and_is_finished() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = in_folder(&folder, "cut.webm");
    let inputs = [
        Input::new("camera", Codec::Vp8, &vp8(4, "160x120"), BEGIN),
        Input::new("microphone", Codec::Opus, &opus(4), BEGIN),
    ];
    write(&path, DocType::WebM, &inputs);
    let bytes = std::fs::read(&path).expect("readable");
    for part in 1..4 {
        let len = HEAD_BYTES + (bytes.len() - HEAD_BYTES) * part / 4 + 100 * part;
        std::fs::write(&path, &bytes[..len]).expect("written");
        let whole = scan(reader(&bytes[..len])).expect("ours");
        assert!(whole.end < len as u64);
        // The last frame may be cut; all that is in whole clusters is read.
        let read = times_of_cut_ms(&path, "v:0").len() as u64;
        assert!(
            (whole.blocks[0]..whole.blocks[0] + 8).contains(&read),
            "{part}: {read} of {:?}",
            whole.blocks
        );
        let file = File::options().read(true).write(true).open(&path).expect("there");
        assert_eq!(finish(&file).expect("ours"), whole);
        let finished = std::fs::read(&path).expect("readable");
        decode(&path, "0");
        assert_eq!(times_ms(&path, "v:0").len() as u64, whole.blocks[0]);
        assert!(duration_ms(&path).is_some_and(|ms| ms.abs_diff(whole.duration_ms as i64) < 10), "{part}");
        // Again, and after a crash between the index and the head.
        finish(&file).expect("ours");
        assert!(std::fs::read(&path).expect("readable") == finished);
        file.write_all_at(&bytes[..HEAD_BYTES], 0).expect("written");
        finish(&file).expect("ours");
        assert!(std::fs::read(&path).expect("readable") == finished);
    }
}
