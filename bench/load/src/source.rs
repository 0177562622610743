//! Frames as encoders make them, cut into packets as libwebrtc cuts them.

use crate::scenario::Kind;
use std::time::Duration;

/// Octets of our VP8 payload descriptor: X, I, and a PictureID of 15 bits (RFC 7741 §4.2).
pub(crate) const DESCRIPTOR_BYTES: usize = 4;
/// A keyframe is this much larger than another frame.
const KEYFRAME_FACTOR: usize = 5;
/// Frames differ by this share of their mean, in percent, either way.
const FRAME_SPREAD: u64 = 25;
/// Least mean size of a video frame: it has to hold a mark.
const FRAME_BYTES_MIN: u64 = 100;

/// How a stream's frames look.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Frames {
    /// Of an encoder with a steady rate.
    Video { bytes_mean: u64, payload_bytes_max: usize },
    /// Of a speech encoder: one packet each.
    Audio { bytes_min: usize, bytes_max: usize },
    /// The same number of equal packets.
    Burst { packets: usize, payload_bytes: usize },
}

/// How a stream's frames look, and how often they come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) interval: Duration,
    pub(crate) frames: Frames,
}

impl Shape {
    /// The same frames, `load` times as often.
    pub(crate) fn at_load(self, load: f64) -> Self {
        Self { interval: self.interval.div_f64(load), ..self }
    }

    /// Ticks of the RTP clock from one frame to the next.
    pub(crate) fn ticks(&self, kind: Kind) -> u32 {
        (self.interval.as_nanos() * u128::from(kind.clock_rate_hz()) / 1_000_000_000) as u32
    }

    pub(crate) fn frame(&self, keyframe: bool, dice: &mut Dice) -> Vec<Piece> {
        let sizes = match self.frames {
            Frames::Burst { packets, payload_bytes } => vec![payload_bytes; packets],
            Frames::Audio { bytes_min, bytes_max } => {
                vec![bytes_min + dice.below((bytes_max - bytes_min + 1) as u64) as usize]
            }
            Frames::Video { bytes_mean, payload_bytes_max } => {
                let mean = bytes_mean.max(FRAME_BYTES_MIN);
                let spread = mean * FRAME_SPREAD / 100;
                let bytes = (mean - spread + dice.below(2 * spread + 1)) as usize;
                let bytes = if keyframe { bytes * KEYFRAME_FACTOR } else { bytes };
                packetize(bytes, payload_bytes_max)
            }
        };
        let last = sizes.len() - 1;
        let pieces = sizes.into_iter().enumerate();
        pieces.map(|(at, len)| Piece { len, first: at == 0, last: at == last }).collect()
    }
}

/// One packet's payload, as to its shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) len: usize,
    pub(crate) first: bool,
    pub(crate) last: bool,
}

/// Equal sizes, the last ones one octet wider (libwebrtc `rtp_format.cc`, `SplitAboutEqually`), descriptor included.
fn packetize(frame_bytes: usize, payload_bytes_max: usize) -> Vec<usize> {
    let room = payload_bytes_max - DESCRIPTOR_BYTES;
    let count = frame_bytes.div_ceil(room).max(1);
    let (each, wider) = (frame_bytes / count, frame_bytes % count);
    (0..count).map(|at| DESCRIPTOR_BYTES + each + usize::from(at >= count - wider)).collect()
}

/// Numbers that look random and are the same in every run, so that two runs carry the same frames: a linear congruential
/// generator.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(1))
    }

    /// 0 up to `sides`, not included.
    const fn below(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
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
    fn the_mean_rate_is_the_one_asked_for_at_any_load() {
        let frames = Frames::Video { bytes_mean: 6250, payload_bytes_max: 1180 };
        let shape = Shape { interval: Duration::from_secs(1) / 30, frames }.at_load(2.0);
        assert_eq!((shape.interval, shape.ticks(Kind::Video)), (Duration::from_nanos(16_666_666), 1499));
        let mut dice = Dice::new(1);
        let octets: usize =
            (0..6000).flat_map(|_| shape.frame(false, &mut dice)).map(|p| p.len - DESCRIPTOR_BYTES).sum();
        assert!((octets * 8 / 100).abs_diff(3_000_000) < 60_000, "{octets}");
    }
}
