//! Media of FFmpeg as its packetizers write it, and what its tools say of a file.

#![allow(dead_code, reason = "each test uses its part")]

pub(crate) mod bed;

use recorder::depacketize::{Depacketizer, Frame};
use relay_port::{Codec, MediaTime, Packet};
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
pub(crate) fn frames(
    codec: Codec,
    rate_hz: i64,
    packets: &[Rtp],
    begin: MediaTime,
) -> Vec<(MediaTime, Frame)> {
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
        MediaTime::from_nanos(begin.as_nanos() + ticks * 1_000_000_000 / rate_hz)
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

/// Decodes each frame from a moment on, without a word.
pub(crate) fn decode(file: &Path, from_seconds: &str) {
    said("ffmpeg", &["-v", "error", "-nostdin", "-ss", from_seconds, "-i", "FILE", "-f", "null", "-"], file);
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
