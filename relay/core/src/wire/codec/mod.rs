//! What must be known about payloads: where a keyframe starts.

pub mod h264;
pub mod vp8;

use crate::media::Codec;

/// Whether a decoder that saw nothing before can start with this packet. Audio has no keyframes: `false`.
#[must_use]
pub fn starts_keyframe(codec: Codec, payload: &[u8]) -> bool {
    match codec {
        Codec::Vp8 => vp8::parse(payload).is_some_and(|descriptor| descriptor.keyframe),
        Codec::H264 => h264::is_keyframe(payload),
        Codec::Opus | Codec::Pcmu | Codec::Pcma => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_codec() {
        for (codec, payload, want) in [
            (Codec::Vp8, &[0x10u8, 0x00, 0, 0][..], true),
            (Codec::Vp8, &[0x10, 0x01, 0, 0], false),
            (Codec::Vp8, &[0x67, 0, 0, 0], false),
            (Codec::H264, &[0x67, 0, 0, 0], true),
            (Codec::H264, &[0x10, 0x00, 0, 0], false),
            (Codec::Opus, &[0x10, 0x00, 0, 0], false),
            (Codec::Pcmu, &[0x67, 0x00, 0, 0], false),
            (Codec::Pcma, &[0x67, 0x00, 0, 0], false),
            (Codec::Vp8, &[], false),
            (Codec::H264, &[], false),
        ] {
            assert_eq!(starts_keyframe(codec, payload), want, "{codec:?} {payload:x?}");
        }
    }
}
