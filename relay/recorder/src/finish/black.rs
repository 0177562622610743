//! Black pictures for the beginning of an aligned file, in the codec and the size of what follows.

use super::ffmpeg::{Ffmpeg, FfmpegError};
use crate::depacketize::{free_set_id, with_sets};
use crate::matroska::Media;
use std::fs;

/// Frames a second. Programs take the rate of a file from its beginning: with a black picture now and then
/// only, FFmpeg would round the times of all that follows to it.
pub(super) const RATE: i64 = 30;
/// Frames that take turns, with a keyframe each second: two of H.264 in a row differ in a number (ITU-T H.264
/// §7.4.3, `idr_pic_id`). Those between cost a few octets.
const FRAMES: usize = 60;
const FILE: &str = "black";
/// No frames that are not shown, and none left out.
const VP8: &str = "-c:v libvpx -deadline realtime -cpu-used 4 -auto-alt-ref 0 -lag-in-frames 0 -g 30 \
                   -drop-threshold 0 -f ivf";

/// See the module.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Black {
    /// Whether it is a keyframe, and what it is; the first is one.
    pub(super) frames: Vec<(bool, Vec<u8>)>,
    /// Of H.264: the decoder configuration of what follows with the sets of these frames, which have ids of
    /// their own.
    pub(super) config: Option<Vec<u8>>,
}

/// Has FFmpeg encode them, in the folder that it has.
pub(super) fn black(media: &Media, ffmpeg: &Ffmpeg<'_>) -> Result<Black, FfmpegError> {
    let (encode, width, height, config) = match media {
        Media::Vp8 { width, height } => (VP8.to_owned(), width, height, None),
        Media::H264 { width, height, config } => {
            let id =
                free_set_id(config).ok_or_else(|| failed("the recording has used all parameter sets"))?;
            // One slice, as nothing is gained by more; without the encoder's own words.
            let encode = format!(
                "-c:v libx264 -preset veryfast -profile:v baseline -g {RATE} -threads 1 \
                 -x264-params sps-id={id}:scenecut=0 -bsf:v filter_units=remove_types=6 -f h264"
            );
            (encode, width, height, Some(config))
        }
        Media::Opus | Media::Pcmu | Media::Pcma => return Ok(Black::default()),
    };
    // Without chroma that is shared by pixels, so that odd sides stay.
    let source = format!("color=black:size={width}x{height}:rate={RATE},format=yuv444p");
    let count = FRAMES.to_string();
    let mut arguments = vec!["-y", "-f", "lavfi", "-i", &source, "-pix_fmt", "yuv420p", "-frames:v", &count];
    arguments.extend(encode.split_whitespace());
    arguments.push(FILE);
    ffmpeg.run(&arguments, &|_| {})?;
    let path = ffmpeg.directory.join(FILE);
    let bytes = fs::read(&path).map_err(|why| failed(&why.to_string()))?;
    // It is small, and goes with the folder otherwise.
    let _ = fs::remove_file(path);
    let black = match config {
        None => ivf(&bytes).map(|frames| Black { frames, config: None }),
        Some(config) => annex_b(&bytes, config),
    };
    let is_good = |black: &Black| black.frames.len() == FRAMES && black.frames[0].0;
    black.filter(is_good).ok_or_else(|| failed("it made no black picture"))
}

fn failed(words: &str) -> FfmpegError {
    FfmpegError::Failed(words.to_owned())
}

/// The frames of an IVF file: a head of 32 octets, then frames behind heads of 12, of which the first four
/// are the length.
fn ivf(bytes: &[u8]) -> Option<Vec<(bool, Vec<u8>)>> {
    let (mut frames, mut rest) = (Vec::new(), bytes.get(32..)?);
    while let Some((len, behind)) = rest.split_first_chunk() {
        let (frame, behind) = behind.get(8..)?.split_at_checked(u32::from_le_bytes(*len) as usize)?;
        // RFC 6386 §9.1
        frames.push((frame.first()? & 1 == 0, frame.to_vec()));
        rest = behind;
    }
    Some(frames)
}

/// ITU-T H.264 annex B: units behind 0, 0, 1.
fn annex_b(bytes: &[u8], config: &[u8]) -> Option<Black> {
    let (mut sps, mut pps, mut frames) = (None, None, Vec::new());
    for unit in units(bytes) {
        match unit.first()? & 0x1f {
            7 => sps = Some(unit),
            8 => pps = Some(unit),
            kind @ (1 | 5) => {
                frames.push((kind == 5, [&(unit.len() as u32).to_be_bytes()[..], unit].concat()));
            }
            _ => {}
        }
    }
    let config = with_sets(config, sps?, pps?)?;
    Some(Black { frames, config: Some(config) })
}

fn units(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    const CODE: [u8; 3] = [0, 0, 1];
    let find = |bytes: &[u8]| bytes.windows(3).position(|window| window == CODE);
    let mut rest = find(bytes).map(|at| &bytes[at + 3..]);
    std::iter::from_fn(move || {
        let bytes = rest?;
        let end = find(bytes);
        rest = end.map(|end| &bytes[end + 3..]);
        let unit = &bytes[..end.unwrap_or(bytes.len())];
        // §7.4.1: no unit ends with a zero; what is there belongs to the next code.
        let zeros = unit.iter().rev().take_while(|octet| **octet == 0).count();
        Some(&unit[..unit.len() - zeros])
    })
    .filter(|unit| !unit.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;
    use std::sync::atomic::AtomicBool;
    use std::time::Duration;

    fn made(media: &Media) -> Result<Black, FfmpegError> {
        let (folder, stops) = (tempfile::tempdir().expect("a folder"), AtomicBool::new(false));
        let limit = Duration::from_secs(60);
        let program = Path::new("ffmpeg");
        black(media, &Ffmpeg { program, directory: folder.path(), duration_ms: 0, limit, stops: &stops })
    }

    #[test]
    fn black_has_the_size_and_the_codec_of_what_follows() {
        let vp8 = made(&Media::Vp8 { width: 641, height: 359 }).expect("made");
        // RFC 6386 §9.1: a keyframe, and its size.
        let frame = &vp8.frames[0].1;
        assert_eq!((frame[0] & 1, &frame[3..10]), (0, &[0x9d, 0x01, 0x2a, 0x81, 0x02, 0x67, 0x01][..]));
        let a_second = |black: &Black| black.frames[..30].iter().map(|frame| frame.1.len()).sum::<usize>();
        assert!(a_second(&vp8) < 2_000, "{}", a_second(&vp8));
        let sps = [0x67, 0x42, 0xc0, 0x1f, 0xd9, 0x00, 0xa0, 0x5b, 0x20];
        let config = [&[1, 0x42, 0xc0, 0x1f, 0xff, 0xe1, 0, 9][..], &sps, &[1, 0, 4, 0x68, 0xce, 0x38, 0x80]];
        let h264 = made(&Media::H264 { width: 320, height: 240, config: config.concat() }).expect("made");
        assert_ne!(h264.frames[0], h264.frames[30]);
        for black in [&vp8, &h264] {
            let keyframes: Vec<usize> = (0..FRAMES).filter(|at| black.frames[*at].0).collect();
            assert_eq!(keyframes, [0, 30]);
        }
        assert!(a_second(&h264) < 2_000, "{}", a_second(&h264));
        let config = h264.config.expect("of H.264");
        assert_eq!((config[..5].to_vec(), config[5]), (vec![1, 0x42, 0xc0, 0x1f, 0xff], 0xe2));
        assert_eq!(free_set_id(&config), Some(30));
        assert_eq!(made(&Media::Opus).expect("nothing to make"), Black::default());
        assert!(made(&Media::H264 { width: 320, height: 240, config: vec![1] }).is_err());
    }

    #[test]
    fn units_between_their_codes() {
        let bytes = [9, 0, 0, 0, 1, 0x67, 1, 0, 0, 1, 0x68, 2, 0, 0, 0, 1, 0x65, 0, 3, 0];
        let found: Vec<&[u8]> = units(&bytes).collect();
        assert_eq!(found, [&[0x67, 1][..], &[0x68, 2], &[0x65, 0, 3]]);
        assert_eq!(units(&[1, 2]).count(), 0);
        let one = [&[0; 32][..], &[2, 0, 0, 0], &[0; 8], &[1, 7]].concat();
        assert_eq!((ivf(&[0; 31]), ivf(&one)), (None, Some(vec![(false, vec![1, 7])])));
        assert_eq!(ivf(&one[..one.len() - 1]), None);
    }
}
