//! Sound in RTP: a packet is a frame (RFC 7587 §4.2; RFC 3551 §4.5.14 for G.711).

use relay_port::Codec;

/// Longest packet of Opus, in ticks of its clock: 120 ms (RFC 6716 §3.2.5).
const OPUS_TICKS_MAX: u32 = 5_760;

/// How long a payload lasts, in ticks of its clock; `None` if it is not one of this codec.
pub(crate) fn ticks(codec: Codec, payload: &[u8]) -> Option<u32> {
    match codec {
        Codec::Opus => opus_ticks(payload),
        // An octet is a sample.
        Codec::Pcmu | Codec::Pcma => u32::try_from(payload.len()).ok().filter(|ticks| *ticks > 0),
        Codec::Vp8 | Codec::H264 => None,
    }
}

/// RFC 6716 §3.1: the first octet has the length of a frame and how many there are.
fn opus_ticks(packet: &[u8]) -> Option<u32> {
    let toc = *packet.first()?;
    let config = toc >> 3;
    // 48 kHz, whatever the codec's own rate (RFC 7587 §4.1).
    let frame = match config {
        // SILK: 10, 20, 40, 60 ms
        0..12 => [480, 960, 1_920, 2_880][usize::from(config & 3)],
        // Hybrid: 10, 20 ms
        12..16 => [480, 960][usize::from(config & 1)],
        // CELT: 2.5, 5, 10, 20 ms
        _ => [120, 240, 480, 960][usize::from(config & 3)],
    };
    let frames = match toc & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => u32::from(packet.get(1)? & 0x3f),
    };
    Some(frame * frames).filter(|ticks| (1..=OPUS_TICKS_MAX).contains(ticks))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (codec, payload, want) in [
            (Codec::Opus, &[][..], None),
            (Codec::Opus, &[0x00], Some(480)),
            (Codec::Opus, &[0x08], Some(960)),
            (Codec::Opus, &[0x10], Some(1_920)),
            (Codec::Opus, &[0x18], Some(2_880)),
            (Codec::Opus, &[0x58], Some(2_880)),
            (Codec::Opus, &[0x60], Some(480)),
            (Codec::Opus, &[0x78], Some(960)),
            (Codec::Opus, &[0x80], Some(120)),
            (Codec::Opus, &[0xf8, 0xff, 0xfe], Some(960)),
            (Codec::Opus, &[0xfc, 1], Some(960)),
            (Codec::Opus, &[0xf9, 1], Some(1_920)),
            (Codec::Opus, &[0xfa, 1], Some(1_920)),
            (Codec::Opus, &[0xfb], None),
            (Codec::Opus, &[0xfb, 0x00], None),
            (Codec::Opus, &[0xfb, 0x06], Some(5_760)),
            (Codec::Opus, &[0xfb, 0x07], None),
            // Three frames of 60 ms.
            (Codec::Opus, &[0x1b, 0x03], None),
            (Codec::Pcmu, &[0xff; 160], Some(160)),
            (Codec::Pcma, &[], None),
            (Codec::Vp8, &[1], None),
        ] {
            assert_eq!(ticks(codec, payload), want, "{codec:?} {payload:02x?}");
        }
    }
}
