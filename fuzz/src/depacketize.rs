use recorder::depacketize::{Depacketizer, FRAME_BYTES_MAX, Frame, HELD_PACKETS_MAX, in_band};
use relay_port::{Codec, MediaTime, Packet};

/// Packets of a publisher, in any order: the first octet chooses the codec; each packet is four octets (step
/// of the number, flags, step of the timestamp, length) and its payload.
///
/// Every packet is in one counter or held, what is held is bounded, video begins with a keyframe that says
/// its size, and the units of an H.264 frame fill it.
pub fn depacketize(data: &[u8]) {
    let Some((codec, mut rest)) = data.split_first() else { return };
    let codec = Codec::ALL[usize::from(*codec) % Codec::ALL.len()];
    let mut depacketizer = Depacketizer::new(codec);
    let mut packet = Packet { seq: 1 << 20, ..Packet::default() };
    let (mut now, mut packets, mut source, mut begun) = (0i64, 0u64, None, false);
    while let Some(([step, flags, ticks, len], behind)) = rest.split_first_chunk::<4>() {
        let (payload, behind) = behind.split_at(usize::from(*len).min(behind.len()));
        rest = behind;
        now += i64::from(flags >> 2) * 1_000_000;
        packet.seq = packet.seq.wrapping_add_signed(i64::from(step.cast_signed()));
        packet.timestamp = packet.timestamp.wrapping_add(u32::from(*ticks) << 6);
        packet.marker = flags & 1 != 0;
        packet.source = packet.source.wrapping_add(u32::from(flags & 3 == 2 && *step == 0));
        packet.arrival = MediaTime::from_nanos(now);
        depacketizer.handle_packet(&packet, payload);
        packets += 1;
        depacketizer.handle_timeout(packet.arrival);
        check(&mut depacketizer, codec, packets, &mut source, &mut begun);
        assert!(depacketizer.pending() <= packets);
        assert!(depacketizer.poll_timeout().is_none_or(|at| at.as_nanos() > now));
    }
    depacketizer.handle_end();
    check(&mut depacketizer, codec, packets, &mut source, &mut begun);
    assert_eq!(depacketizer.pending(), 0);
}

fn check(
    depacketizer: &mut Depacketizer,
    codec: Codec,
    packets: u64,
    source: &mut Option<u32>,
    begun: &mut bool,
) {
    while let Some(frame) = depacketizer.poll_frame() {
        assert!(!frame.bytes.is_empty() && frame.bytes.len() <= FRAME_BYTES_MAX + HELD_PACKETS_MAX * 1024);
        if source.replace(frame.source) != Some(frame.source) {
            *begun = false;
        }
        *begun |= frame.keyframe;
        assert!(*begun, "a frame before the first keyframe");
        match codec {
            Codec::Vp8 | Codec::H264 => check_video(codec, &frame),
            Codec::Opus | Codec::Pcmu | Codec::Pcma => {
                assert!(frame.ticks > 0 && frame.keyframe && frame.params.is_none());
            }
        }
    }
    let counts = depacketizer.counts();
    assert_eq!(counts.packets_decided() + depacketizer.pending(), packets, "{counts:?}");
}

fn check_video(codec: Codec, frame: &Frame) {
    assert_eq!((frame.ticks, frame.keyframe), (0, frame.params.is_some()));
    if let Some(params) = &frame.params {
        assert!(params.width > 0 && params.height > 0);
        assert_eq!(params.config.is_empty(), codec == Codec::Vp8);
        if codec == Codec::H264 {
            check_units(&in_band(&params.config));
        }
    }
    if codec == Codec::H264 {
        check_units(&frame.bytes);
    }
}

fn check_units(mut rest: &[u8]) {
    while !rest.is_empty() {
        let (len, behind) = rest.split_first_chunk::<4>().expect("a length");
        let (unit, behind) = behind.split_at(u32::from_be_bytes(*len) as usize);
        assert!(!unit.is_empty());
        rest = behind;
    }
}
