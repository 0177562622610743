//! Finished files before FFmpeg's tools: flashes and beeps on the second say where picture and sound are.

mod support;

use recorder::config::{Mp4Audio, Recording as Settings};
use recorder::depacketize::Frame;
use recorder::finish::join::Plan;
use recorder::finish::{Job, make};
use recorder::matroska::{Block, DocType, HEAD_BYTES, Muxer, Track, scan};
use recorder_control::{FailureCode, Kind, Recording, State};
use relay_port::{Codec, MediaTime};
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use support::{Rtp, beeps_ms, decode, duration_ms, flashes_ms, frames, media, rtp, store, streams, times_ms};

const MS: i64 = 1_000_000;
/// A whole second of the room clock.
const BEGIN_MS: i64 = 1_790_000_000_000;
/// How far anything may be off.
const NEAR_MS: i64 = 40;

fn at(ms: i64) -> MediaTime {
    MediaTime::from_nanos((BEGIN_MS + ms) * MS)
}

/// White for two frames of each second, black otherwise.
fn flashing(seconds: u32, size: &str, codec: &str) -> Vec<Rtp> {
    let source = format!("color=black:s={size}:r=25,drawbox=color=white:t=fill:enable='lt(mod(t,1),0.08)'");
    rtp(&format!("-f lavfi -i {source} -t {seconds} -pix_fmt yuv420p {codec} -b:v 200k -g 50"))
}

fn vp8(seconds: u32, size: &str) -> Vec<Rtp> {
    flashing(seconds, size, "-c:v libvpx -deadline realtime -cpu-used 8")
}

fn h264(seconds: u32, size: &str) -> Vec<Rtp> {
    flashing(seconds, size, "-c:v libx264 -preset ultrafast -tune zerolatency -profile:v baseline")
}

/// A tone for the first 80 ms of each second, silence otherwise.
fn beeping(seconds: u32, rate_hz: u32, codec: &str) -> Vec<Rtp> {
    let source = format!("aevalsrc='if(lt(mod(t,1),0.08),0.5*sin(6283*t),0)':s={rate_hz}");
    rtp(&format!("-f lavfi -i {source} -t {seconds} {codec}"))
}

fn opus(seconds: u32) -> Vec<Rtp> {
    beeping(seconds, 48_000, "-ac 2 -c:a libopus -b:a 32k")
}

fn pcmu(seconds: u32) -> Vec<Rtp> {
    beeping(seconds, 8_000, "-c:a pcm_mulaw")
}

/// A track from a moment on.
struct Input {
    uid: u64,
    codec: Codec,
    frames: Vec<(MediaTime, Frame)>,
}

fn input(uid: u64, codec: Codec, packets: &[Rtp], begin_ms: i64) -> Input {
    Input { uid, codec, frames: frames(codec, packets, at(begin_ms)) }
}

fn track(input: &Input) -> Track {
    let media = media(input.codec, &input.frames[0].1);
    Track { uid: input.uid, name: format!("track {}", input.uid), media }
}

/// The folder of a recording and its parts.
struct World {
    folder: tempfile::TempDir,
    job: Job,
    settings: Settings,
}

impl World {
    fn new(file: &str, aligned_ms: Option<i64>) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let work = folder.path().join(".work");
        fs::create_dir(&work).expect("made");
        let kind = if file.ends_with(".mkv") { Kind::Room } else { Kind::Stream };
        let one = Recording::new("0123456789abcdef", kind, file, 0);
        let recording = Recording { state: State::Finishing, room: "lobby".into(), ..one };
        let aligned_at_ms = aligned_ms.map(|ms| (BEGIN_MS + ms).unsigned_abs());
        let directory = folder.path().to_owned();
        let job = Job { recording, aligned_at_ms, directory, work, parts: Vec::new() };
        Self { folder, job, settings: Settings::default() }
    }

    /// A part, whose last octets are missing.
    fn part(&mut self, inputs: &[Input], missing: u64) {
        let path = self.job.work.join(format!("part-{}.mkv", self.job.parts.len() + 1));
        let file = File::create(&path).expect("made");
        let (mut muxer, mut end) = (Muxer::new(DocType::Matroska, None), HEAD_BYTES as u64);
        let mut numbers = vec![None; inputs.len()];
        let each = |(number, input): (usize, &'_ Input)| {
            input.frames.iter().map(move |(time, frame)| (*time, number, frame.clone())).collect::<Vec<_>>()
        };
        let mut all: Vec<(MediaTime, usize, Frame)> = inputs.iter().enumerate().flat_map(each).collect();
        all.sort_by_key(|(time, ..)| *time);
        for (time, input, frame) in all {
            let number =
                *numbers[input].get_or_insert_with(|| muxer.add_track(&track(&inputs[input])).expect("room"));
            let block = Block { track: number, time, keyframe: frame.keyframe, bytes: frame.bytes };
            muxer.handle_block(block).expect("times grow");
        }
        muxer.handle_end();
        store(&mut muxer, &file, &mut end);
        file.set_len(end - missing).expect("cut");
        self.job.parts.push(path);
    }

    /// The finished file, with the ending that it shall have.
    fn finish(&self) -> PathBuf {
        let percents = std::cell::RefCell::new(Vec::new());
        let made = make(&self.job, &self.settings, &|percent| percents.borrow_mut().push(percent));
        let made = made.expect("made");
        let percents = percents.into_inner();
        assert!(percents.is_sorted() && percents.last() == Some(&100), "{percents:?}");
        let out = self.job.out();
        assert_eq!(fs::metadata(&out).expect("there").permissions().mode() & 0o777, 0o640);
        // Again, after a crash: the same.
        assert_eq!(make(&self.job, &self.settings, &|_| {}), Ok(made));
        let path = self.folder.path().join(&self.job.recording.file);
        fs::rename(out, &path).expect("renamed");
        let said_ms = duration_ms(&path).expect("it says so");
        assert!(said_ms.abs_diff(made.duration_ms as i64) < 50, "{said_ms} {}", made.duration_ms);
        decode(&path, "0");
        path
    }
}

fn assert_near(found: &[i64], want: &[i64], what: &str) {
    assert_eq!(found.len(), want.len(), "{what}: {found:?}, not {want:?}");
    for (found_ms, want_ms) in found.iter().zip(want) {
        assert!((found_ms - want_ms).abs() <= NEAR_MS, "{what}: {found:?}, not {want:?}");
    }
    println!("{what}: {found:?}, not {want:?}");
}

/// Beeps by their timestamps and by the samples alone, and flashes.
fn assert_on_the_second(path: &Path, beeps: &[i64], flashes: &[i64]) {
    if !beeps.is_empty() {
        assert_near(&beeps_ms(path, true), beeps, "beeps by time");
        assert_near(&beeps_ms(path, false), beeps, "beeps by samples");
    }
    if !flashes.is_empty() {
        assert_near(&flashes_ms(path), flashes, "flashes");
    }
}

/// Codecs of the streams.
fn codecs(path: &Path) -> Vec<String> {
    streams(path).iter().map(|line| line.split(',').next().unwrap_or_default().to_owned()).collect()
}

#[test]
fn parts_are_one_file_and_what_is_missing_is_silence() {
    let mut world = World::new("a.webm", None);
    world.part(&[input(1, Codec::Vp8, &vp8(3, "160x120"), 0), input(2, Codec::Opus, &opus(3), 0)], 0);
    // One of a process that was killed, one in which nothing is, one that is not ours, one that is gone.
    world.part(&[input(2, Codec::Opus, &opus(3), 5_000), input(1, Codec::Vp8, &vp8(3, "240x180"), 5_000)], 5);
    for (name, bytes) in [("part-8.mkv", Vec::new()), ("part-9.mkv", vec![7; 100_000])] {
        fs::write(world.job.work.join(name), bytes).expect("written");
        world.job.parts.push(world.job.work.join(name));
    }
    world.job.parts.push(world.job.work.join("part-10.mkv"));
    let path = world.finish();
    assert_eq!(codecs(&path), ["vp8", "opus"]);
    assert_on_the_second(
        &path,
        &[0, 1_000, 2_000, 5_000, 6_000, 7_000],
        &[0, 1_000, 2_000, 5_000, 6_000, 7_000],
    );
    let head = fs::read(&path).expect("there");
    assert!(head[..64].windows(4).any(|window| window == b"webm"));
}

#[test]
fn one_part_is_not_copied() {
    let mut world = World::new("a.webm", None);
    world.part(&[input(1, Codec::Vp8, &vp8(2, "160x120"), 0), input(2, Codec::Opus, &opus(2), 0)], 0);
    fs::set_permissions(&world.job.parts[0], fs::Permissions::from_mode(0o640)).expect("set");
    let inode = |path: &Path| std::os::unix::fs::MetadataExt::ino(&fs::metadata(path).expect("there"));
    let before = inode(&world.job.parts[0]);
    let path = world.finish();
    assert_eq!(inode(&path), before);
    assert_on_the_second(&path, &[0, 1_000], &[0, 1_000]);
}

#[test]
fn an_mp4_has_the_picture_as_it_was_and_sound_in_time() {
    // One begins later than the other; then the picture has another size, and another configuration.
    for (mp4_audio, want, video_ms, audio_ms) in
        [(Mp4Audio::Aac, "aac", 0, 1_000), (Mp4Audio::Opus, "opus", 1_000, 0)]
    {
        let mut world = World::new("a.mp4", None);
        world.settings.mp4_audio = mp4_audio;
        let video = |size: &str, from_ms| input(1, Codec::H264, &h264(2, size), from_ms);
        let audio = |from_ms| input(2, Codec::Opus, &opus(2), from_ms);
        world.part(&[video("160x120", video_ms), audio(audio_ms)], 0);
        world.part(&[video("240x176", 4_000), audio(4_000)], 0);
        let path = world.finish();
        let mut found = codecs(&path);
        found.sort();
        let mut wanted = vec![want.to_owned(), "h264".into()];
        wanted.sort();
        assert_eq!(found, wanted);
        let on = |from_ms: i64| [from_ms, from_ms + 1_000, 4_000, 5_000];
        // The first picture is shown from the beginning on.
        assert_on_the_second(&path, &on(audio_ms), &[0, video_ms + 1_000, 4_000, 5_000]);
        // What is fetched first says where everything is.
        let bytes = fs::read(&path).expect("there");
        let find = |name: &[u8]| bytes.windows(4).position(|window| window == name);
        assert!(find(b"moov") < find(b"mdat"));
    }
}

#[test]
fn g711_becomes_opus_or_aac() {
    let mut world = World::new("a.webm", None);
    world.part(&[input(1, Codec::Vp8, &vp8(3, "160x120"), 0), input(2, Codec::Pcmu, &pcmu(3), 0)], 0);
    let path = world.finish();
    assert_eq!(codecs(&path), ["vp8", "opus"]);
    assert_on_the_second(&path, &[0, 1_000, 2_000], &[0, 1_000, 2_000]);
    let mut world = World::new("a.webm", None);
    world.part(&[input(2, Codec::Pcmu, &pcmu(2), 0)], 0);
    assert_eq!(codecs(&world.finish()), ["opus"]);
    // H.264 was negotiated, and never came.
    let mut world = World::new("a.mp4", Some(-2_000));
    world.part(&[input(2, Codec::Pcmu, &pcmu(2), 0)], 0);
    let path = world.finish();
    assert_eq!(codecs(&path), ["aac"]);
    assert_on_the_second(&path, &[2_000, 3_000], &[]);
    let mut world = World::new("a.mp4", None);
    world.part(&[input(1, Codec::H264, &h264(2, "160x120"), 0)], 0);
    let path = world.finish();
    assert_eq!(codecs(&path), ["h264"]);
    assert_on_the_second(&path, &[], &[0, 1_000]);
}

/// What a publisher's reports correct: the first second is 5 % too fast.
#[test]
fn sound_that_begins_late_and_is_corrected_stays_with_the_picture() {
    for (file, video, codec, audio) in [
        ("a.mp4", (Codec::H264, h264(5, "160x120")), Codec::Opus, opus(4)),
        ("a.webm", (Codec::Vp8, vp8(5, "160x120")), Codec::Pcmu, pcmu(4)),
    ] {
        let mut sound = input(2, codec, &audio, 1_000);
        let begins_ns = at(1_000).as_nanos();
        for (time, _) in &mut sound.frames {
            let since_ns = time.as_nanos() - begins_ns;
            *time = MediaTime::from_nanos(time.as_nanos() - since_ns.min(1_000 * MS) / 20);
        }
        let mut world = World::new(file, None);
        world.part(&[input(1, video.0, &video.1, 0), sound], 0);
        let path = world.finish();
        assert_on_the_second(&path, &[1_000, 1_950, 2_950, 3_950], &[0, 1_000, 2_000, 3_000, 4_000]);
    }
}

/// What an empty edit at the beginning tells is passed over by Firefox.
#[test]
fn a_picture_that_begins_late_is_shown_from_the_beginning_of_an_mp4() {
    let mut world = World::new("a.mp4", None);
    world.part(&[input(1, Codec::H264, &h264(3, "160x120"), 1_000), input(2, Codec::Opus, &opus(4), 0)], 0);
    let times = times_ms(&world.finish(), "v:0");
    // All others are where they belong.
    assert_eq!(times[0], 0);
    assert!((1_000..1_100).contains(&times[1]) && times.is_sorted(), "{times:?}");
}

#[test]
fn another_codec_goes_on_in_the_same_picture() {
    for file in ["a.mp4", "a.webm"] {
        let mut world = World::new(file, None);
        world.part(&[input(1, Codec::H264, &h264(2, "160x120"), 0), input(2, Codec::Opus, &opus(2), 0)], 0);
        world.part(
            &[input(1, Codec::Vp8, &vp8(2, "120x160"), 2_000), input(2, Codec::Pcmu, &pcmu(2), 2_000)],
            0,
        );
        world.part(
            &[input(1, Codec::H264, &h264(2, "160x120"), 4_000), input(2, Codec::Opus, &opus(2), 4_000)],
            0,
        );
        let path = world.finish();
        assert_eq!(codecs(&path).len(), 2);
        let want = [0, 1_000, 2_000, 3_000, 4_000, 5_000];
        assert_on_the_second(&path, &want, &want);
    }
    // In the file of a room it is another track.
    let mut world = World::new("a.mkv", None);
    world.part(&[input(1, Codec::H264, &h264(1, "160x120"), 0)], 0);
    world.part(&[input(1, Codec::Vp8, &vp8(1, "160x120"), 1_000)], 0);
    assert_eq!(codecs(&world.finish()), ["h264", "vp8"]);
}

#[test]
fn aligned_files_are_at_the_same_moment() {
    type Video = fn(u32, &str) -> Vec<Rtp>;
    let kinds: [(Codec, Video, &str, &str); 2] =
        [(Codec::H264, h264, "1.mp4", "2.mp4"), (Codec::Vp8, vp8, "1.webm", "2.webm")];
    for (codec, video, first, second) in kinds {
        let file = |name: &str, begin_ms: i64, seconds: u32| {
            let mut world = World::new(name, Some(-600));
            // The publisher's first frames are never on the second; flashes and beeps are.
            world.part(
                &[
                    input(1, codec, &video(seconds, "160x120"), begin_ms + 2_000),
                    input(2, Codec::Opus, &opus(seconds), begin_ms + 1_000),
                ],
                0,
            );
            let path = world.finish();
            let seconds = i64::from(seconds);
            let on = |from: i64| (from..from + seconds).map(|at| at * 1_000 + begin_ms + 600).collect();
            let (beeps, flashes): (Vec<i64>, Vec<i64>) = (on(1), on(2));
            assert_on_the_second(&path, &beeps, &flashes);
            (world, path)
        };
        let (one, two) = (file(first, 0, 5), file(second, 2_000, 3));
        let out = one.0.folder.path().join("output.mp4");
        let filter = "[0:v]pad=iw*2:ih[int];[int][1:v]overlay=W/2:0[vid];[0:a][1:a]amerge[a]";
        let status = Command::new("ffmpeg")
            .args(["-v", "error", "-nostdin", "-i"])
            .arg(&one.1)
            .arg("-i")
            .arg(&two.1)
            .args(["-filter_complex", filter, "-map", "[vid]", "-map", "[a]", "-ac", "2", "-strict", "-2"])
            .args("-c:v libx264 -crf 23 -preset veryfast".split(' '))
            .arg(&out)
            .output()
            .expect("ffmpeg");
        assert!(status.status.success() && status.stderr.is_empty(), "{status:?}");
        let both = [4_600, 5_600, 6_600];
        let crop = |left: &str| support::flashes_of_ms(&out, &format!("crop=160:120:{left}:0,"));
        assert_near(&crop("0"), &[&[2_600, 3_600][..], &both].concat(), "left");
        assert_near(&crop("160"), &both, "right");
        // The sum of both, and what one has.
        assert_near(&beeps_ms(&out, true), &[1_600, 2_600, 3_600, 4_600, 5_600], "sum");
    }
}

#[test]
fn a_room_of_many_who_come_and_go_is_one_file() {
    let mut world = World::new("a.mkv", None);
    let (sound, each) = (opus(1), 50);
    for part in 0..3 {
        let inputs: Vec<Input> = (0..each)
            .map(|member| input(part as u64 * each + member + 1, Codec::Opus, &sound, part * 1_000))
            .collect();
        world.part(&inputs, 0);
    }
    let path = world.finish();
    let streams = streams(&path);
    assert_eq!(streams.len(), 150);
    let last = streams.last().expect("many");
    assert!(last.starts_with("opus,5") && last.ends_with(",track 150"), "{last}");
}

/// A program that says so and fails.
fn failing(world: &World, words: &str) -> PathBuf {
    let path = world.folder.path().join("failing");
    fs::write(&path, format!("#!/bin/sh\necho half >a; echo '{words}' >&2; exit 1\n")).expect("written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("set");
    path
}

#[test]
fn a_try_that_failed_loses_nothing() {
    let mut world = World::new("a.mp4", Some(-1_000));
    world.part(&[input(1, Codec::H264, &h264(2, "160x120"), 0)], 0);
    world.part(&[input(1, Codec::H264, &h264(1, "160x120"), 2_000)], 0);
    let read = |world: &World| -> Vec<Vec<u8>> {
        world.job.parts.iter().map(|part| fs::read(part).expect("there")).collect()
    };
    let before = read(&world);
    for (says, code, words) in [
        (Some("a: No space left on device"), FailureCode::DiskFull, "no room on the disk"),
        (Some("something is odd"), FailureCode::Finishing, "FFmpeg failed: something is odd"),
        (None, FailureCode::Finishing, "there is no program /nonexistent/ffmpeg"),
    ] {
        let missing = || PathBuf::from("/nonexistent/ffmpeg");
        world.settings.ffmpeg = says.map_or_else(missing, |says| failing(&world, says));
        let failure = make(&world.job, &world.settings, &|_| {}).expect_err("it fails");
        assert_eq!(failure.code, code, "{failure:?}");
        assert!(failure.info.contains(words), "{failure:?}");
        assert!(!world.job.out().exists());
        assert!(read(&world) == before);
    }
    world.settings.ffmpeg = "ffmpeg".into();
    let path = world.finish();
    assert_on_the_second(&path, &[], &[1_000, 2_000, 3_000]);
}

#[test]
fn parts_that_are_cut_anywhere_are_joined() {
    let mut world = World::new("a.mkv", None);
    world.part(&[input(1, Codec::Vp8, &vp8(3, "320x240"), 0), input(2, Codec::Opus, &opus(3), 0)], 0);
    world.part(&[input(1, Codec::Vp8, &vp8(1, "320x240"), 4_000), input(2, Codec::Opus, &opus(1), 4_000)], 0);
    let whole = fs::read(&world.job.parts[0]).expect("there");
    let joined = world.job.work.join("joined.mkv");
    for cut in 0..60 {
        let len = whole.len() * cut / 59;
        fs::write(&world.job.parts[0], &whole[..len]).expect("written");
        let read_at = |file: &File| scan(|at, bytes| file.read_at(bytes, at)).expect("ours");
        let first = if len < HEAD_BYTES {
            [0; 2]
        } else {
            let blocks = read_at(&File::open(&world.job.parts[0]).expect("there")).blocks;
            [blocks[0], blocks[1]]
        };
        let plan = Plan::new(&world.job.parts, None).expect("read");
        let file = File::options().read(true).write(true).create(true).truncate(true).open(&joined);
        let file = file.expect("made");
        plan.write(file.try_clone().expect("one more"), DocType::WebM, &|_| {}).expect("written");
        let scanned = read_at(&file);
        assert_eq!(scanned.blocks[0], first[0] + 25, "{len}");
        // What is missing of the sound is silence.
        assert!(scanned.blocks[1] >= first[1] + 50, "{len}");
        if first[1] > 0 {
            assert!(scanned.blocks[1].abs_diff(250) <= 8, "{len} {:?}", scanned.blocks);
        }
    }
}

#[test]
fn broken_parts_are_read_as_far_as_they_go() {
    let mut world = World::new("a.mkv", None);
    world.part(&[input(1, Codec::H264, &h264(1, "160x120"), 0), input(2, Codec::Opus, &opus(1), 0)], 0);
    let whole = fs::read(&world.job.parts[0]).expect("there");
    let joined = world.job.work.join("joined.mkv");
    // One octet each: of the head, where it is not empty, and of all the rest.
    let places = (0..700).step_by(5).chain((HEAD_BYTES..whole.len()).step_by(97));
    for (turn, place) in places.enumerate() {
        let mut broken = whole.clone();
        broken[place] ^= [0xff, 0x80, 0x01, 0x10][turn % 4];
        fs::write(&world.job.parts[0], &broken).expect("written");
        let plan = Plan::new(&world.job.parts, Some(BEGIN_MS.unsigned_abs() - 500)).expect("read");
        if !plan.is_empty() {
            plan.write(File::create(&joined).expect("made"), DocType::Matroska, &|_| {}).expect("written");
            assert!(fs::metadata(&joined).expect("there").len() < 10 * whole.len() as u64, "{place}");
        }
    }
}
