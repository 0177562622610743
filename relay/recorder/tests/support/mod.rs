//! Media of FFmpeg as its packetizers write it, and what its tools say of a file.

#![allow(dead_code, reason = "each test uses its part")]

pub(crate) mod bed;

use recorder::depacketize::{Depacketizer, Frame};
use recorder::matroska::{Media, Muxer, Written};
use relay_port::{Codec, MediaTime, Packet};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// A packet of FFmpeg's RTP muxer.
#[derive(Clone, Debug)]
pub(crate) struct Rtp {
    pub(crate) packet: Packet,
    pub(crate) payload: Vec<u8>,
}

/// Encodes what the arguments say, and gives the packets in the order in which they were sent.
pub(crate) fn rtp(arguments: &str) -> Vec<Rtp> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("rtp");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    let url = format!("unix:{}", path.display());
    let mut ffmpeg = Command::new("ffmpeg")
        .args(["-v", "error", "-nostdin"])
        .args(arguments.split(' '))
        .args(["-f", "rtp", "-packetsize", "1200", "-type", "datagram", &url])
        .stdout(Stdio::null())
        .spawn()
        .expect("ffmpeg is installed: `make setup`");
    let (mut packets, mut bytes, mut high) = (Vec::new(), [0; 2_048], (0u64, 0u16));
    socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a timeout");
    loop {
        let Ok(len) = socket.recv(&mut bytes) else {
            match ffmpeg.try_wait().expect("a child") {
                Some(status) => {
                    assert!(status.success(), "ffmpeg {arguments}");
                    return packets;
                }
                None => continue,
            }
        };
        let [_, kind, s0, s1, t0, t1, t2, t3, ..] = bytes;
        // RFC 5761 §4: sender reports.
        if !(192..224).contains(&kind) {
            let seq = u16::from_be_bytes([s0, s1]);
            let step = if packets.is_empty() { 0 } else { seq.wrapping_sub(high.1) };
            high = (high.0 + u64::from(step), seq);
            let packet = Packet {
                seq: high.0,
                timestamp: u32::from_be_bytes([t0, t1, t2, t3]),
                marker: kind & 0x80 != 0,
                ..Packet::default()
            };
            packets.push(Rtp { packet, payload: bytes[12..len].to_vec() });
        }
    }
}

/// Its frames, and their times from `begin` on.
pub(crate) fn frames(codec: Codec, packets: &[Rtp], begin: MediaTime) -> Vec<(MediaTime, Frame)> {
    let (mut depacketizer, first) = (Depacketizer::new(codec), packets[0].packet.timestamp);
    packets.iter().for_each(|rtp| depacketizer.handle_packet(&rtp.packet, &rtp.payload));
    let frames: Vec<Frame> = std::iter::from_fn(|| depacketizer.poll_frame()).collect();
    let counts = depacketizer.counts();
    assert_eq!(
        (counts.packets_framed, counts.packets_decided()),
        (packets.len() as u64, packets.len() as u64)
    );
    let time = |frame: &Frame| {
        let ticks = i64::from(frame.timestamp.wrapping_sub(first));
        MediaTime::from_nanos(begin.as_nanos() + ticks * 1_000_000_000 / rate_hz(codec))
    };
    frames.into_iter().map(|frame| (time(&frame), frame)).collect()
}

pub(crate) fn vp8(seconds: u32, size: &str) -> Vec<Rtp> {
    let source = format!("-f lavfi -i testsrc=size={size}:rate=25 -t {seconds}");
    rtp(&format!("{source} -c:v libvpx -deadline realtime -cpu-used 8 -b:v 400k -g 50"))
}

pub(crate) fn h264(seconds: u32, size: &str) -> Vec<Rtp> {
    let source = format!("-f lavfi -i testsrc=size={size}:rate=25 -t {seconds} -pix_fmt yuv420p");
    rtp(&format!("{source} -c:v libx264 -preset ultrafast -tune zerolatency -b:v 400k -g 50"))
}

pub(crate) fn opus(seconds: u32) -> Vec<Rtp> {
    rtp(&format!("-f lavfi -i sine=frequency=440:sample_rate=48000 -t {seconds} -ac 2 -c:a libopus -b:a 32k"))
}

pub(crate) fn g711(seconds: u32, law: &str) -> Vec<Rtp> {
    rtp(&format!("-f lavfi -i sine=frequency=440:sample_rate=8000 -t {seconds} -c:a pcm_{law}"))
}

fn said(program: &str, arguments: &[&str], file: &Path) -> String {
    let (stdout, stderr) = said_both(program, arguments, file);
    assert_eq!(stderr, "", "{program} {arguments:?}");
    stdout
}

fn said_both(program: &str, arguments: &[&str], file: &Path) -> (String, String) {
    let mut command = Command::new(program);
    let (before, behind) = arguments.split_at(arguments.iter().take_while(|a| **a != "FILE").count());
    command.args(before).arg(file).args(behind.iter().skip(1));
    let output = command.stdin(Stdio::null()).output().expect("ffmpeg is installed: `make setup`");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {stderr}");
    (String::from_utf8_lossy(&output.stdout).into_owned(), stderr.into_owned())
}

/// Each stream by its codec, name and number of decoded frames.
pub(crate) fn streams(file: &Path) -> Vec<String> {
    let show = "stream=codec_name,nb_read_frames:stream_tags=title";
    let stdout = said(
        "ffprobe",
        &["-v", "error", "-count_frames", "-show_entries", show, "-of", "csv=p=0", "FILE"],
        file,
    );
    stdout.lines().map(ToOwned::to_owned).collect()
}

const TIMES: [&str; 7] =
    ["-v", "error", "-show_entries", "packet=pts_time", "-of", "csv=p=0", "-select_streams"];

/// Times of all packets of a stream, in milliseconds, in the order of the file.
pub(crate) fn times_ms(file: &Path, stream: &str) -> Vec<i64> {
    milliseconds(&said("ffprobe", &times_arguments(stream), file))
}

/// The same of a file that is cut, which FFmpeg remarks on.
pub(crate) fn times_of_cut_ms(file: &Path, stream: &str) -> Vec<i64> {
    let (stdout, stderr) = said_both("ffprobe", &times_arguments(stream), file);
    // It says so in two ways, by what is cut: with the place and without.
    assert!(stderr.lines().all(|line| line.contains("File ended prematurely")), "{stderr}");
    milliseconds(&stdout)
}

fn times_arguments(stream: &str) -> Vec<&str> {
    [&TIMES[..], &[stream, "FILE"]].concat()
}

fn milliseconds(seconds: &str) -> Vec<i64> {
    let parse = |text: &str| text.trim_end_matches(',').parse::<f64>().expect("seconds");
    seconds.split_whitespace().map(|text| (parse(text) * 1_000.0).round() as i64).collect()
}

/// How long the file says that it lasts, in milliseconds; `None` if it does not.
pub(crate) fn duration_ms(file: &Path) -> Option<i64> {
    let show = ["-v", "error", "-show_entries", "format=duration", "-of", "csv=p=0", "FILE"];
    said("ffprobe", &show, file).trim().parse::<f64>().ok().map(|seconds| (seconds * 1_000.0).round() as i64)
}

/// Decodes each frame from a moment on, without a word. Times are kept as the file has them: rounded to a
/// frame rate that FFmpeg guessed, two could become the same, and it would complain of its own output.
pub(crate) fn decode(file: &Path, from_seconds: &str) {
    let (input, output) = (["-ss", from_seconds, "-i", "FILE"], ["-enc_time_base", "-1", "-f", "null", "-"]);
    said("ffmpeg", &[&["-v", "error", "-nostdin"], &input[..], &output].concat(), file);
}

/// How long the sound is when it is decoded and its samples are counted, in milliseconds.
pub(crate) fn sound_ms(file: &Path) -> i64 {
    let arguments = [
        "-v", "error", "-nostdin", "-i", "FILE", "-map", "a:0", "-f", "s16le", "-ac", "1", "-ar", "8000", "-",
    ];
    let (before, behind) = arguments.split_at(4);
    let output = Command::new("ffmpeg").args(before).arg(file).args(&behind[1..]).output().expect("ffmpeg");
    assert!(output.status.success() && output.stderr.is_empty());
    output.stdout.len() as i64 / 2 / 8
}

/// What FFmpeg writes of a file to its standard output.
fn output(file: &Path, before: &[&str], behind: &[&str]) -> Vec<u8> {
    let mut command = Command::new("ffmpeg");
    command
        .args(["-v", "error", "-nostdin", "-copyts"])
        .args(before)
        .arg("-i")
        .arg(file)
        .args(behind)
        .arg("-");
    let output = command.output().expect("ffmpeg is installed: `make setup`");
    assert!(output.status.success() && output.stderr.is_empty(), "{command:?}: {output:?}");
    output.stdout
}

/// When tones begin that follow half a second of silence, in milliseconds: where timestamps say, or by the
/// number of samples alone, as many players have it.
pub(crate) fn beeps_ms(file: &Path, by_time: bool) -> Vec<i64> {
    const RATE_HZ: i64 = 8_000;
    const LOUD: u16 = 2_000;
    let filter = if by_time { "aresample=async=1:first_pts=0" } else { "anull" };
    let behind = ["-map", "a:0", "-af", filter, "-f", "s16le", "-ac", "1", "-ar", "8000"];
    let bytes = output(file, &[], &behind);
    let samples = bytes.chunks_exact(2).map(|sample| i16::from_le_bytes([sample[0], sample[1]]));
    let (mut begins, mut last) = (Vec::new(), -RATE_HZ);
    for (at, _) in (0..).zip(samples).filter(|(_, sample)| sample.unsigned_abs() > LOUD) {
        if at - last > RATE_HZ / 2 {
            begins.push(at * 1_000 / RATE_HZ);
        }
        last = at;
    }
    begins
}

/// When a white picture follows a black one, in milliseconds.
pub(crate) fn flashes_ms(file: &Path) -> Vec<i64> {
    flashes_of_ms(file, "")
}

/// The same of what these filters make of it.
pub(crate) fn flashes_of_ms(file: &Path, filters: &str) -> Vec<i64> {
    let filter = format!("{filters}scale=1:1:flags=area,format=gray");
    let behind = ["-map", "v:0", "-vf", &filter, "-vsync", "passthrough", "-f", "rawvideo"];
    let (grays, mut times) = (output(file, &[], &behind), times_ms(file, "v:0"));
    // The order of the file is that of decoding.
    times.sort_unstable();
    assert_eq!(grays.len(), times.len(), "a time for each picture");
    let mut was_white = false;
    let mut begins = Vec::new();
    for (gray, at_ms) in grays.into_iter().zip(times) {
        let is_white = gray > 128;
        if is_white && !std::mem::replace(&mut was_white, is_white) {
            begins.push(at_ms);
        }
        was_white = is_white;
    }
    begins
}

/// Ticks of the RTP clock in a second.
const fn rate_hz(codec: Codec) -> i64 {
    match codec {
        Codec::Opus => 48_000,
        Codec::Pcmu | Codec::Pcma => 8_000,
        Codec::Vp8 | Codec::H264 => 90_000,
    }
}

/// What a track is that begins with this frame.
pub(crate) fn media(codec: Codec, first: &Frame) -> Media {
    match (codec, first.params.clone()) {
        (Codec::H264, Some(params)) => {
            Media::H264 { width: params.width, height: params.height, config: params.config }
        }
        (Codec::Vp8, Some(params)) => Media::Vp8 { width: params.width, height: params.height },
        // It does not begin with a keyframe.
        (Codec::Vp8 | Codec::H264, None) => Media::Vp8 { width: 320, height: 180 },
        (Codec::Opus, _) => Media::Opus,
        (Codec::Pcmu, _) => Media::Pcmu,
        (Codec::Pcma, _) => Media::Pcma,
    }
}

/// Writes what a muxer has ready; `end`: where the next cluster goes.
pub(crate) fn store(muxer: &mut Muxer, file: &File, end: &mut u64) {
    while let Some(written) = muxer.poll_written() {
        match written {
            Written::Head(bytes) => file.write_all_at(&bytes, 0).expect("written"),
            Written::Cluster(bytes) => {
                file.write_all_at(&bytes, *end).expect("written");
                *end += bytes.len() as u64;
            }
        }
    }
}
