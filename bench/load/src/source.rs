//! Frames as encoders make them, cut into packets as libwebrtc cuts them.

use crate::dice::Dice;
use crate::scenario::{AudioShape, Kind, Shape, VideoShape};
use std::time::Duration;

/// Octets of our VP8 payload descriptor: X, I, and a PictureID of 15 bits (RFC 7741 §4.2).
pub(crate) const DESCRIPTOR_BYTES: usize = 4;
/// A keyframe is this much larger than another frame.
const KEYFRAME_FACTOR: usize = 5;
/// Frames differ by this share of their mean, in percent, either way.
const FRAME_SPREAD: u64 = 25;

/// One packet's payload, as to its shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    /// Octets.
    pub(crate) len: usize,
    /// First of its frame.
    pub(crate) first: bool,
    /// Last of its frame.
    pub(crate) last: bool,
}

/// Sizes of the next frame's packets.
pub(crate) fn frame(shape: &Shape, keyframe: bool, dice: &mut Dice) -> Vec<Piece> {
    let sizes = match shape {
        Shape::Burst(burst) => vec![burst.payload_bytes; burst.packets],
        Shape::Audio(AudioShape { bytes_min, bytes_max, .. }) => {
            vec![bytes_min + dice.below((bytes_max - bytes_min + 1) as u64) as usize]
        }
        Shape::Video(video) => packetize(video_frame_bytes(video, keyframe, dice), video.payload_bytes_max),
    };
    let last = sizes.len() - 1;
    sizes.into_iter().enumerate().map(|(at, len)| Piece { len, first: at == 0, last: at == last }).collect()
}

/// Time from one frame to the next.
pub(crate) fn interval(shape: &Shape) -> Duration {
    match shape {
        Shape::Burst(burst) => burst.interval,
        Shape::Audio(audio) => audio.interval,
        Shape::Video(video) => video.interval,
    }
}

/// Ticks of the RTP clock from one frame to the next.
pub(crate) fn ticks(kind: Kind, shape: &Shape) -> u32 {
    (interval(shape).as_nanos() * u128::from(kind.clock_rate_hz()) / 1_000_000_000) as u32
}

fn video_frame_bytes(video: &VideoShape, keyframe: bool, dice: &mut Dice) -> usize {
    let mean = ((video.bitrate_bps as f64 * video.interval.as_secs_f64() / 8.0) as u64).max(100);
    let spread = mean * FRAME_SPREAD / 100;
    let bytes = (mean - spread + dice.below(2 * spread + 1)) as usize;
    if keyframe { bytes * KEYFRAME_FACTOR } else { bytes }
}

/// Equal sizes, the last ones one octet wider (libwebrtc `rtp_format.cc`, `SplitAboutEqually`), descriptor included.
fn packetize(frame_bytes: usize, payload_bytes_max: usize) -> Vec<usize> {
    let room = payload_bytes_max - DESCRIPTOR_BYTES;
    let count = frame_bytes.div_ceil(room).max(1);
    let (each, wider) = (frame_bytes / count, frame_bytes % count);
    (0..count).map(|at| DESCRIPTOR_BYTES + each + usize::from(at >= count - wider)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_of_a_frame_are_equal_but_for_one_octet() {
        for (frame, max, want) in [
            (100, 1200, vec![104]),
            (1196, 1200, vec![1200]),
            (1197, 1200, vec![602, 603]),
            (2396, 1200, vec![802, 803, 803]),
            (2392, 1200, vec![1200, 1200]),
        ] {
            let got = packetize(frame, max);
            assert_eq!(got, want, "{frame}");
            assert_eq!(got.iter().map(|len| len - DESCRIPTOR_BYTES).sum::<usize>(), frame);
        }
    }

    #[test]
    fn the_mean_rate_is_the_one_asked_for() {
        let video = VideoShape {
            bitrate_bps: 1_500_000,
            interval: Duration::from_secs(1) / 30,
            payload_bytes_max: 1180,
        };
        let (mut dice, shape) = (Dice::new(1), Shape::Video(video));
        let octets: usize =
            (0..3000).flat_map(|_| frame(&shape, false, &mut dice)).map(|p| p.len - DESCRIPTOR_BYTES).sum();
        assert!((octets * 8 / 100).abs_diff(1_500_000) < 30_000, "{octets}");
    }
}
