//! Mixed files before FFmpeg's tools: pictures flash and beeps sound on each second of the room's clock, so
//! that what is when and where can be measured.

mod support;

use recorder::depacketize::Frame;
use recorder::matroska::{Block, DocType, HEAD_BYTES, Muxer, Track, finish};
use recorder::mix::{MixSettings, mix};
use relay_port::{Codec, MediaTime};
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use support::{Rtp, decode, duration_ms, frames, media, rtp, sound_ms, store, streams};

const MS: i64 = 1_000_000;
const RED: [u8; 3] = [200, 0, 0];
const GREEN: [u8; 3] = [0, 150, 0];
const BLUE: [u8; 3] = [0, 0, 220];
const BACKGROUND: [u8; 3] = [0x10, 0x12, 0x16];

/// A track of somebody, from a moment on.
struct Input(&'static str, Codec, Vec<(MediaTime, Frame)>);

fn input(name: &'static str, codec: Codec, packets: &[Rtp], begin_ms: i64) -> Input {
    Input(name, codec, frames(codec, packets, MediaTime::from_nanos(begin_ms * MS)))
}

/// A colour, white for the first 200 ms of each second of the room's clock.
fn flashes(codec: Codec, [red, green, blue]: [u8; 3], begin_ms: i64, seconds: f64) -> Vec<Rtp> {
    let colour = format!("0x{red:02x}{green:02x}{blue:02x}");
    let since = begin_ms as f64 / 1_000.0;
    let source = format!(
        "-f lavfi -i color=c={colour}:s=320x180:r=25,drawbox=c=white:t=fill:\
         enable='lt(mod(t+{since}+0.0005\\,1)\\,0.2)' -t {seconds} -pix_fmt yuv420p"
    );
    match codec {
        Codec::Vp8 => rtp(&format!("{source} -c:v libvpx -deadline realtime -cpu-used 8 -b:v 500k -g 50")),
        _ => rtp(&format!("{source} -c:v libx264 -preset ultrafast -tune zerolatency -g 50")),
    }
}

/// A tone for the first 100 ms of each second of the room's clock.
fn beeps(codec: Codec, hz: u32, begin_ms: i64, seconds: f64) -> Vec<Rtp> {
    let since = begin_ms as f64 / 1_000.0;
    let tone = format!("0.3*sin(2*PI*{hz}*t)*lt(mod(t+{since}\\,1)\\,0.1)");
    match codec {
        Codec::Opus => rtp(&format!(
            "-f lavfi -i aevalsrc=exprs='{tone}':s=48000 -t {seconds} -ac 2 -c:a libopus -b:a 64k"
        )),
        _ => rtp(&format!("-f lavfi -i aevalsrc=exprs='{tone}':s=8000 -t {seconds} -c:a pcm_mulaw")),
    }
}

/// Writes a room's file, as the recorder does it.
fn write(path: &Path, inputs: &[Input]) {
    let file = File::options().read(true).write(true).create_new(true).open(path).expect("a file");
    let mut muxer = Muxer::new(DocType::Matroska, Some(MediaTime::from_nanos(0)));
    let (mut numbers, mut end) = (vec![None; inputs.len()], HEAD_BYTES as u64);
    let all = inputs.iter().enumerate();
    let mut all: Vec<_> = all.flat_map(|(n, input)| input.2.iter().map(move |(t, f)| (n, *t, f))).collect();
    all.sort_by_key(|(_, time, _)| *time);
    for (n, time, frame) in all {
        let number = *numbers[n].get_or_insert_with(|| {
            let media = media(inputs[n].1, frame);
            let track = Track { uid: n as u64 + 1, name: inputs[n].0.to_owned(), media };
            muxer.add_track(&track).expect("room")
        });
        let bytes = frame.bytes.clone();
        let block = Block { track: number, time, keyframe: frame.keyframe, bytes };
        muxer.handle_block(block).expect("times grow");
        store(&mut muxer, &file, &mut end);
    }
    muxer.handle_end();
    store(&mut muxer, &file, &mut end);
    finish(&file).expect("ours");
}

fn small() -> MixSettings {
    MixSettings { width: 640, height: 360, shows_names: false, ..Default::default() }
}

fn mixed(folder: &tempfile::TempDir, inputs: &[Input], settings: &MixSettings) -> PathBuf {
    let (room, output) = (folder.path().join("room.mkv"), folder.path().join("room.mp4"));
    let _ = fs::remove_file(&room);
    write(&room, inputs);
    let mut shown = Vec::new();
    mix(&room, &output, settings, Path::new("ffmpeg"), &mut |percent| shown.push(percent)).expect("mixed");
    assert!(shown.is_sorted() && shown.first() == Some(&0) && shown.last() == Some(&100), "{shown:?}");
    decode(&output, "0");
    assert_eq!(fs::metadata(&output).expect("there").permissions().mode() & 0o777, 0o640);
    let left = fs::read_dir(folder.path()).expect("readable").count();
    assert_eq!(left, 2, "nothing but both files");
    output
}

/// What FFmpeg makes of it, without a word.
fn decoded(file: &Path, raw: &[&str]) -> Vec<u8> {
    let mut command = Command::new("ffmpeg");
    command.args(["-v", "error", "-nostdin", "-i"]).arg(file).args(raw);
    let output = command.output().expect("ffmpeg is installed: `make setup`");
    assert!(output.status.success() && output.stderr.is_empty(), "{command:?}");
    output.stdout
}

/// All pictures of a file, in RGB.
struct Pictures {
    width: usize,
    height: usize,
    bytes: Vec<u8>,
}

impl Pictures {
    fn of(file: &Path, width: usize, height: usize) -> Self {
        let raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-fps_mode", "passthrough", "-"];
        Self { width, height, bytes: decoded(file, &raw) }
    }

    fn count(&self) -> usize {
        self.bytes.len() / (self.width * self.height * 3)
    }

    fn at(&self, picture: usize, x: usize, y: usize) -> [u8; 3] {
        let at = ((picture * self.height + y) * self.width + x) * 3;
        [self.bytes[at], self.bytes[at + 1], self.bytes[at + 2]]
    }

    fn assert_at(&self, ms: usize, (x, y): (usize, usize), want: [u8; 3]) {
        let found = self.at(ms / 40, x, y);
        let near = found.iter().zip(want).all(|(a, b)| a.abs_diff(b) < 40);
        assert!(near, "at {ms} ms and {x},{y} {found:?} and not {want:?}");
    }

    /// When a pixel became white.
    fn flashes_ms(&self, x: usize, y: usize) -> Vec<i64> {
        let is_white = |picture: usize| self.at(picture, x, y).iter().all(|c| *c > 180);
        let begins = (0..self.count()).filter(|p| is_white(*p) && (*p == 0 || !is_white(p - 1)));
        begins.map(|picture| picture as i64 * 40).collect()
    }
}

/// When a tone began, to 5 ms.
fn beeps_ms(file: &Path, hz: f64) -> Vec<i64> {
    const HOP: usize = 240;
    let bytes = decoded(file, &["-f", "s16le", "-ac", "1", "-ar", "48000", "-"]);
    let samples: Vec<f64> = bytes.as_chunks().0.iter().map(|s| i16::from_le_bytes(*s).into()).collect();
    // The share of this frequency in each hop.
    let is_there: Vec<bool> = (samples.chunks(HOP))
        .map(|hop| {
            let (mut re, mut im) = (0.0, 0.0);
            for (n, sample) in hop.iter().enumerate() {
                let angle = 2.0 * std::f64::consts::PI * hz * n as f64 / 48_000.0;
                re += sample * angle.cos();
                im += sample * angle.sin();
            }
            (re * re + im * im).sqrt() / HOP as f64 > 1_000.0
        })
        .collect();
    let begins = (0..is_there.len()).filter(|at| is_there[*at] && (*at == 0 || !is_there[at - 1]));
    begins.map(|at| at as i64 * 5).collect()
}

fn assert_on_seconds(what: &str, found: &[i64], seconds: std::ops::RangeInclusive<i64>) {
    let want: Vec<i64> = seconds.map(|s| s * 1_000).collect();
    let near = |(a, b): (&i64, &i64)| (a - b).abs() <= 20;
    assert!(
        found.len() == want.len() && found.iter().zip(&want).all(near),
        "{what}: {found:?}, not {want:?}"
    );
}

/// Three who come at odd moments, with two codecs of pictures and two of sound; one goes before the others.
#[test]
fn everybody_is_at_the_same_moment_and_in_their_place() {
    let folder = tempfile::tempdir().expect("a folder");
    let inputs = [
        input("anna/camera", Codec::Vp8, &flashes(Codec::Vp8, RED, 0, 8.0), 0),
        input("anna/camera", Codec::Opus, &beeps(Codec::Opus, 1_000, 0, 8.0), 0),
        input("bert/camera", Codec::H264, &flashes(Codec::H264, GREEN, 2_370, 4.0), 2_370),
        input("bert/camera", Codec::Opus, &beeps(Codec::Opus, 2_000, 2_330, 4.0), 2_330),
        input("carl/camera", Codec::Vp8, &flashes(Codec::Vp8, BLUE, 4_130, 3.87), 4_130),
        input("carl/camera", Codec::Pcmu, &beeps(Codec::Pcmu, 3_000, 4_130, 3.87), 4_130),
    ];
    let file = mixed(&folder, &inputs, &small());
    assert_eq!(streams(&file).len(), 2);
    assert!(duration_ms(&file).is_some_and(|ms| (7_950..=8_100).contains(&ms)));
    assert!((sound_ms(&file) - 8_000).abs() < 60, "{}", sound_ms(&file));
    let pictures = Pictures::of(&file, 640, 360);
    for (ms, at, colour) in [
        (1_500, (320, 180), RED),
        (1_500, (20, 20), RED),
        // Two beside each other.
        (3_500, (160, 180), RED),
        (3_500, (480, 180), GREEN),
        (3_500, (320, 20), BACKGROUND),
        // Two above, one below.
        (4_600, (160, 90), RED),
        (4_600, (480, 90), GREEN),
        (4_600, (320, 270), BLUE),
        (4_600, (20, 270), BACKGROUND),
        (7_500, (160, 180), RED),
        (7_500, (480, 180), BLUE),
    ] {
        pictures.assert_at(ms, at, colour);
    }
    // Anna's place is at all times around this point; of the others only while it was theirs.
    assert_on_seconds("anna's flashes", &pictures.flashes_ms(200, 140), 0..=7);
    let within = |found: Vec<i64>, from: i64, to: i64| -> Vec<i64> {
        found.into_iter().filter(|ms| (from..to).contains(ms)).collect()
    };
    assert_on_seconds("bert's flashes", &within(pictures.flashes_ms(440, 140), 2_500, 6_300), 3..=6);
    assert_on_seconds("carl's flashes", &within(pictures.flashes_ms(320, 270), 4_300, 6_300), 5..=6);
    assert_on_seconds("anna's beeps", &beeps_ms(&file, 1_000.0), 0..=7);
    assert_on_seconds("bert's beeps", &beeps_ms(&file, 2_000.0), 3..=6);
    assert_on_seconds("carl's beeps", &beeps_ms(&file, 3_000.0), 5..=7);
}

/// A picture that begins without a keyframe, grows and turns, stops for a while and comes back; and a screen.
/// The file is cut.
#[test]
fn a_bad_day_is_mixed() {
    let folder = tempfile::tempdir().expect("a folder");
    let encode = |size: &str, colour: &str| {
        let source = format!("-f lavfi -i color=c={colour}:s={size}:r=25 -t 1 -pix_fmt yuv420p");
        rtp(&format!("{source} -c:v libvpx -deadline realtime -cpu-used 8 -b:v 300k -g 100"))
    };
    let mut anna = input("anna/camera", Codec::Vp8, &encode("320x180", "red"), 0);
    // Of this one the first frames have been lost.
    anna.2.drain(..10);
    for (packets, begin_ms) in [(encode("320x180", "red"), 1_000), (encode("180x320", "red"), 2_000)] {
        anna.2.extend(input("", Codec::Vp8, &packets, begin_ms).2);
    }
    // Longer than a picture stays.
    anna.2.extend(input("", Codec::Vp8, &encode("640x360", "red"), 7_000).2);
    let screen = input("anna/screenShare-1", Codec::H264, &flashes(Codec::H264, GREEN, 1_500, 1.5), 1_500);
    let sound = input("anna/camera", Codec::Opus, &beeps(Codec::Opus, 1_000, 0, 9.0), 0);
    let (room, output) = (folder.path().join("room.mkv"), folder.path().join("mixed.mp4"));
    write(&room, &[anna, screen, sound]);
    let len = fs::metadata(&room).expect("there").len();
    File::options().write(true).open(&room).expect("there").set_len(len - 3_000).expect("cut");
    mix(&room, &output, &small(), Path::new("ffmpeg"), &mut |_| {}).expect("mixed");
    decode(&output, "0");
    let pictures = Pictures::of(&output, 640, 360);
    let tile = [0x2c, 0x30, 0x38];
    for (ms, at, colour) in [
        // Heard and not seen yet.
        (500, (100, 100), tile),
        (1_240, (320, 180), RED_FULL),
        // The screen is large, she is beside it.
        (1_900, (256, 180), GREEN),
        (1_900, (576, 36), RED_FULL),
        (1_900, (576, 200), BACKGROUND),
        // Upright now.
        (2_640, (576, 36), RED_FULL),
        (2_640, (540, 36), BACKGROUND),
        (3_600, (320, 100), tile),
        (6_800, (320, 100), tile),
        (7_500, (20, 20), RED_FULL),
    ] {
        pictures.assert_at(ms, at, colour);
    }
    assert_on_seconds("beeps", &beeps_ms(&output, 1_000.0)[..8], 0..=7);
    assert!((sound_ms(&output) - pictures.count() as i64 * 40).abs() < 60);
}

const RED_FULL: [u8; 3] = [255, 0, 0];

/// People who come and go all day: a decoder at a time, and a place for each.
#[test]
fn many_come_and_go() {
    let folder = tempfile::tempdir().expect("a folder");
    let video = rtp("-f lavfi -i color=c=red:s=160x90:r=25 -t 0.76 -pix_fmt yuv420p -c:v libvpx -b:v 100k");
    let sound = beeps(Codec::Opus, 1_000, 0, 0.5);
    let names: Vec<&'static str> = (0..12).map(|n| &*format!("guest {n}/camera").leak()).collect();
    let mut inputs = Vec::new();
    for (name, begin_ms) in names.iter().zip((0..).step_by(1_000)) {
        inputs.push(input(name, Codec::Vp8, &video, begin_ms));
        inputs.push(input(name, Codec::Opus, &sound, begin_ms));
    }
    let settings = MixSettings { width: 320, height: 180, ..small() };
    let file = mixed(&folder, &inputs, &settings);
    let pictures = Pictures::of(&file, 320, 180);
    for second in 0..11 {
        pictures.assert_at(second * 1_000 + 600, (160, 90), RED_FULL);
        pictures.assert_at(second * 1_000 + 900, (160, 90), BACKGROUND);
    }
    assert_on_seconds("beeps", &beeps_ms(&file, 1_000.0), 0..=11);
}

/// A voice over the seam of two windows of sound, in one that lasts: no click, and nothing is missing.
#[test]
fn a_voice_goes_on_through_all_windows() {
    let folder = tempfile::tempdir().expect("a folder");
    let sine = "-f lavfi -i sine=frequency=500:sample_rate=48000 -t 62 -ac 2 -c:a libopus -b:a 48k";
    let inputs = [input("anna/c", Codec::Opus, &rtp(sine), 0)];
    let settings = MixSettings { has_video: false, ..small() };
    let file = mixed(&folder, &inputs, &settings);
    let bytes = decoded(&file, &["-f", "s16le", "-ac", "1", "-ar", "48000", "-"]);
    let samples: Vec<i32> = bytes.as_chunks().0.iter().map(|s| i16::from_le_bytes(*s).into()).collect();
    assert!(samples.len().abs_diff(62 * 48_000) < 4_800, "{}", samples.len());
    // A tone of 500 Hz never changes its step by more than a little from one sample to the next.
    let steps = samples.windows(3).map(|s| (s[2] - 2 * s[1] + s[0]).abs()).collect::<Vec<_>>();
    let (inner, usual) = (&steps[4_800..steps.len() - 9_600], steps[48_000..96_000].iter().max());
    let most = inner.iter().max();
    assert!(most <= usual.map(|usual| usual * 2).as_ref(), "{most:?} {usual:?}");
    let loudness = |second: usize| samples[second * 48_000..][..48_000].iter().map(|s| s.abs()).sum::<i32>();
    let first = loudness(1);
    assert!((2..60).all(|second| (loudness(second) - first).abs() < first / 20));
}

/// Names of users do nothing but stand there, and stand where they should.
#[test]
fn names_are_shown_and_nothing_more() {
    let folder = tempfile::tempdir().expect("a folder");
    let video = |begin_ms| flashes(Codec::Vp8, RED, begin_ms, 1.0);
    let canary = folder.path().join("canary");
    let command = &*format!("$(touch {0});`touch {0}`", canary.display()).leak();
    let inputs = [
        input("':textfile=/etc/passwd:x='/c", Codec::Vp8, &video(0), 0),
        input("%{e\\:1/0}\n\\,[x]", Codec::Vp8, &video(0), 0),
        input(command, Codec::Vp8, &video(0), 0),
        input("שלום 😀\u{202e}", Codec::Vp8, &video(0), 0),
    ];
    let mut settings = small();
    let without = Pictures::of(&mixed(&folder, &inputs, &settings), 640, 360);
    settings.shows_names = true;
    fs::remove_file(folder.path().join("room.mp4")).expect("there");
    let with = Pictures::of(&mixed(&folder, &inputs, &settings), 640, 360);
    for (x, y) in [(0, 0), (320, 0), (0, 180), (320, 180)] {
        let differs = |y: usize, rows: usize| {
            let pixels = (y..y + rows).flat_map(|y| (x..x + 320).map(move |x| (x, y)));
            pixels.filter(|(x, y)| with.at(15, *x, *y)[1].abs_diff(without.at(15, *x, *y)[1]) > 60).count()
        };
        // At the lower edge, and nowhere else.
        assert!(differs(y + 158, 22) > 20, "{x} {y}");
        assert_eq!(differs(y, 150), 0, "{x} {y}");
    }
    assert!(!canary.exists());
}

/// The program and the script that the recorder starts, with a file whose name is a trap.
#[test]
fn the_script_mixes_whatever_the_file_is_called() {
    let folder = tempfile::tempdir().expect("a folder");
    let programs = folder.path().join("programs");
    fs::create_dir(&programs).expect("made");
    let script = programs.join("on_multiple_record_hook.sh");
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/on_multiple_record_hook.sh");
    fs::copy(own, &script).expect("copied");
    fs::copy(env!("CARGO_BIN_EXE_ringvox-recorder"), programs.join("ringvox-recorder")).expect("copied");
    fs::write(programs.join("offline_mixer.json"), r#"{"hasVideo": "false", "x": 1}"#).expect("written");
    let sound = [input("anna/c", Codec::Opus, &beeps(Codec::Opus, 1_000, 0, 0.5), 0)];
    for name in ["-o", "a b;touch canary", "$(touch canary)", "'\"\n", "room"] {
        let room = format!("{name}.mkv");
        write(&folder.path().join(&room), &sound);
        let output = Command::new(&script).arg(&room).current_dir(folder.path()).output().expect("started");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.contains("x means nothing here"), "{name}: {said}");
        let lines = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(lines.starts_with("0%\n") && lines.ends_with("100%\n"), "{lines}");
        let file = folder.path().join(format!("{name}.mp4"));
        assert_eq!(streams(&file).len(), 1, "{name}");
    }
    assert!(!folder.path().join("canary").exists());
    for arguments in [&[][..], &["nothing.mkv"]] {
        let output = Command::new(&script).args(arguments).current_dir(folder.path()).output();
        assert_eq!(output.expect("started").status.code(), Some(64));
    }
}

/// Killed in the middle there is no file; the next one makes it, and nothing is left of the first.
#[test]
fn killed_it_leaves_no_half_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let (room, output) = (folder.path().join("room.mkv"), folder.path().join("room.mp4"));
    write(&room, &[input("anna/c", Codec::Vp8, &flashes(Codec::Vp8, RED, 0, 4.0), 0)]);
    let start = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringvox-recorder"));
        command.arg("mix").arg(&room).stdout(Stdio::piped()).spawn().expect("started")
    };
    let mut killed = start();
    let mut line = String::new();
    let mut lines = BufReader::new(killed.stdout.take().expect("piped"));
    while !line.starts_with("20%") {
        line.clear();
        assert!(lines.read_line(&mut line).expect("readable") > 0, "it goes on");
    }
    let other = Command::new(env!("CARGO_BIN_EXE_ringvox-recorder")).arg("mix").arg(&room).output();
    assert!(String::from_utf8_lossy(&other.expect("run").stderr).contains("is being mixed already"));
    killed.kill().expect("alive");
    killed.wait().expect("a child");
    assert!(!output.exists() && folder.path().join(".room.mp4.mixing").exists());
    assert!(start().wait_with_output().expect("a child").status.success());
    decode(&output, "0");
    assert_eq!(fs::read_dir(folder.path()).expect("readable").count(), 2);
}

#[test]
fn what_cannot_be_mixed_is_said() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    fs::write(path("text.mkv"), "text").expect("written");
    write(&path("sound.mkv"), &[input("a/b", Codec::Opus, &beeps(Codec::Opus, 1_000, 0, 0.1), 0)]);
    let mute = MixSettings { has_audio: false, ..small() };
    for (file, ffmpeg, output, want) in [
        ("missing.mkv", "ffmpeg", "x.mp4", "missing.mkv: No such file"),
        ("text.mkv", "ffmpeg", "x.mp4", "does not begin as a recording of ours"),
        ("sound.mkv", "ffmpeg", "sound.mkv", "would be written over"),
        ("sound.mkv", "no-ffmpeg", "x.mp4", "no-ffmpeg cannot be started"),
    ] {
        let refused = mix(&path(file), &path(output), &small(), Path::new(ffmpeg), &mut |_| {});
        let refused = refused.expect_err(file);
        assert!(refused.contains(want), "{file}: {refused}");
    }
    // Somebody who is only heard is a name in a picture without sound.
    mix(&path("sound.mkv"), &path("x.mp4"), &mute, Path::new("ffmpeg"), &mut |_| {}).expect("mixed");
    assert_eq!(streams(&path("x.mp4")).len(), 1);
}
