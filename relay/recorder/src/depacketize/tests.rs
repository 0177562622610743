use super::*;

/// A VP8 keyframe of 320x240, and its size.
const VP8_KEY: [u8; 11] = [0x10, 2, 0, 0x9d, 0x01, 0x2a, 0x40, 0x01, 0xf0, 0x00, 7];
const SPS: [u8; 23] = [
    0x67, 0x42, 0xc0, 0x0d, 0xd9, 0x01, 0x41, 0xfb, 0x01, 0x10, 0, 0, 3, 0, 0x10, 0, 0, 3, 0x03, 0x20, 0xf1,
    0x42, 0xa4,
];
const PPS: [u8; 4] = [0x68, 0xce, 0x38, 0x80];

/// What a packet of a table has: frame (its timestamp), marker, payload.
type Sent<'a> = (u32, bool, &'a [u8]);

struct Run {
    depacketizer: Depacketizer,
    packets: u64,
    frames: Vec<Frame>,
}

impl Run {
    fn new(codec: Codec) -> Self {
        Self { depacketizer: Depacketizer::new(codec), packets: 0, frames: Vec::new() }
    }

    fn packet(&mut self, source: u32, seq: u64, (timestamp, marker, payload): Sent<'_>) {
        let arrival = MediaTime::from_nanos(i64::from(timestamp) * 1_000_000);
        let packet = Packet { seq, source, timestamp, marker, arrival, ..Packet::default() };
        self.depacketizer.handle_packet(&packet, payload);
        self.packets += 1;
        self.poll();
    }

    fn poll(&mut self) {
        self.frames.extend(std::iter::from_fn(|| self.depacketizer.poll_frame()));
        let counts = self.depacketizer.counts();
        assert_eq!(counts.packets_decided() + self.depacketizer.pending(), self.packets, "{counts:?}");
    }

    /// All that comes, in order, but for some indices; then all that is waited for is given up.
    fn all(codec: Codec, sent: &[Sent<'_>], lost: &[usize]) -> Self {
        let mut run = Self::new(codec);
        for (at, sent) in sent.iter().enumerate().filter(|(at, _)| !lost.contains(at)) {
            run.packet(0, 100 + at as u64, *sent);
        }
        run.depacketizer.handle_timeout(MediaTime::from_nanos(i64::MAX));
        run.poll();
        run
    }

    fn timestamps(&self) -> Vec<u32> {
        self.frames.iter().map(|frame| frame.timestamp).collect()
    }
}

/// A payload of VP8 with a PictureID of 7 bits.
fn vp8(head: u8, id: u8, part: &[u8]) -> Vec<u8> {
    [&[0x80 | head, 0x80, id][..], part].concat()
}

fn unit(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u32).to_be_bytes(), bytes].concat()
}

fn stap_a(units: &[&[u8]]) -> Vec<u8> {
    let units = units.iter().flat_map(|unit| [&(unit.len() as u16).to_be_bytes(), *unit].concat());
    std::iter::once(0x78).chain(units).collect()
}

const BEGINS: u8 = 0x10;
const DISPOSABLE: u8 = 0x20;
const P: [u8; 3] = [0x11, 1, 1];

#[test]
fn vp8_frames_are_put_together() {
    let sent = [
        (0, false, &[&[0x10][..], &VP8_KEY[..6]].concat()[..]),
        (0, false, &[&[0x00][..], &VP8_KEY[6..]].concat()),
        // A second partition.
        (0, true, &[0x11, 8, 9]),
        (3_000, true, &[0x10, 0x11, 1]),
        // Without a marker.
        (6_000, false, &[0x10, 0x11, 2]),
        (9_000, true, &[0x10, 0x11, 3]),
    ];
    let run = Run::all(Codec::Vp8, &sent, &[]);
    assert_eq!(run.timestamps(), [0, 3_000, 6_000, 9_000]);
    let first = &run.frames[0];
    assert_eq!(first.bytes, [&VP8_KEY[..], &[8, 9]].concat());
    assert_eq!(first.params, Some(VideoParams { width: 320, height: 240, config: Vec::new() }));
    assert!(first.keyframe);
    assert!(run.frames[1..].iter().all(|frame| !frame.keyframe && frame.params.is_none()));
}

/// Frames of two packets each, a second keyframe among them.
#[test]
fn a_vp8_frame_with_a_lost_packet_goes_and_those_up_to_the_next_keyframe() {
    let (key, p) = (vp8(BEGINS, 0, &VP8_KEY), vp8(BEGINS, 0, &P));
    let rest = vp8(0, 0, &[5]);
    let sent: Vec<Sent<'_>> = [(1, &key), (2, &p), (3, &p), (4, &key), (5, &p)]
        .into_iter()
        .flat_map(|(timestamp, begin)| [(timestamp, false, &begin[..]), (timestamp, true, &rest[..])])
        .collect();
    for (lost, want, [damaged, awaiting]) in [
        (&[][..], &[1, 2, 3, 4, 5][..], [0, 0]),
        (&[0], &[4, 5], [1, 2]),
        (&[1], &[4, 5], [1, 2]),
        (&[2], &[1, 4, 5], [1, 1]),
        (&[3], &[1, 4, 5], [1, 1]),
        (&[2, 3], &[1, 4, 5], [0, 1]),
        (&[3, 4], &[1, 4, 5], [2, 0]),
        (&[4], &[1, 2, 4, 5], [1, 0]),
        (&[6], &[1, 2, 3], [1, 1]),
        (&[8, 9], &[1, 2, 3, 4], [0, 0]),
    ] {
        let run = Run::all(Codec::Vp8, &sent, lost);
        let counts = run.depacketizer.counts();
        assert_eq!(run.timestamps(), want, "{lost:?}");
        assert_eq!([counts.frames_damaged, counts.frames_awaiting_keyframe], [damaged, awaiting], "{lost:?}");
        assert_eq!(counts.frames, want.len() as u64);
    }
}

#[test]
fn a_vp8_frame_that_nothing_refers_to_goes_alone() {
    let frames = |disposable: u8| {
        [
            (1, false, vp8(BEGINS, 126, &VP8_KEY)),
            (1, true, vp8(0, 126, &[5])),
            (2, false, vp8(BEGINS | disposable, 127, &P)),
            (2, false, vp8(disposable, 127, &[5])),
            (2, true, vp8(disposable, 127, &[6])),
            (3, true, vp8(BEGINS, 0, &P)),
        ]
    };
    for (what, disposable, lost, want) in [
        ("its middle", DISPOSABLE, &[3][..], &[1, 3][..]),
        ("its end", DISPOSABLE, &[4], &[1, 3]),
        ("its begin", DISPOSABLE, &[2], &[1, 3]),
        ("all of it", DISPOSABLE, &[2, 3, 4], &[1]),
        ("its middle, but others refer to it", 0, &[3], &[1]),
    ] {
        let sent = frames(disposable);
        let sent: Vec<Sent<'_>> = sent.iter().map(|(at, marker, bytes)| (*at, *marker, &bytes[..])).collect();
        assert_eq!(Run::all(Codec::Vp8, &sent, lost).timestamps(), want, "{what}");
    }
}

#[test]
fn h264_units_come_out_behind_their_lengths() {
    let (idr, slice, sei) = ([0x65, 1, 2, 3], [0x41, 4, 5, 6], [0x06, 9]);
    let aggregate = stap_a(&[&SPS, &PPS, &sei]);
    let sent: Vec<Sent<'_>> = vec![
        (1, false, &aggregate),
        (1, true, &idr),
        // A delimiter is left out; a fragmented unit.
        (2, false, &[0x09, 0xf0]),
        (2, false, &[0x5c, 0x81, 4]),
        (2, false, &[0x5c, 0x01, 5]),
        (2, true, &[0x5c, 0x41, 6]),
        // Parameter sets with markers of their own.
        (3, true, &SPS),
        (3, true, &PPS),
        (3, true, &idr),
    ];
    let run = Run::all(Codec::H264, &sent, &[]);
    assert_eq!(run.timestamps(), [1, 2, 3]);
    assert_eq!(run.frames[0].bytes, [unit(&sei), unit(&idr)].concat());
    assert_eq!(run.frames[1].bytes, unit(&slice));
    assert_eq!(run.frames[2].bytes, unit(&idr));
    let keyframes: Vec<bool> = run.frames.iter().map(|frame| frame.keyframe).collect();
    assert_eq!(keyframes, [true, false, true]);
    let params = run.frames[0].params.as_ref().expect("a keyframe's");
    assert_eq!((params.width, params.height), (320, 240));
    assert_eq!(in_band(&params.config), [unit(&SPS), unit(&PPS)].concat());
}

#[test]
fn an_h264_frame_with_a_lost_packet_goes_and_those_up_to_the_next_keyframe() {
    let sets = stap_a(&[&SPS, &PPS]);
    let (idr, slice, disposable) = ([0x65, 1], [0x41, 1], [0x01, 1]);
    let sent: Vec<Sent<'_>> = vec![
        (1, false, &sets),
        (1, true, &idr),
        (2, false, &slice),
        (2, true, &slice),
        (3, false, &disposable),
        (3, false, &disposable),
        (3, true, &disposable),
        (4, true, &slice),
        (5, false, &sets),
        (5, true, &idr),
        (6, true, &slice),
    ];
    for (lost, want) in [
        (&[][..], &[1, 2, 3, 4, 5, 6][..]),
        (&[0], &[5, 6]),
        (&[1], &[5, 6]),
        (&[2], &[1, 5, 6]),
        (&[3], &[1, 5, 6]),
        // Nothing refers to the third, and what is missing is in its middle.
        (&[5], &[1, 2, 4, 5, 6]),
        // Here the begin of the next may be missing too.
        (&[6], &[1, 2, 5, 6]),
        (&[7], &[1, 2, 3, 5, 6]),
        (&[8], &[1, 2, 3, 4]),
        (&[9], &[1, 2, 3, 4]),
    ] {
        assert_eq!(Run::all(Codec::H264, &sent, lost).timestamps(), want, "{lost:?}");
    }
}

#[test]
fn h264_parameter_sets_that_change_within_are_kept_in_their_frame() {
    let (idr, slice, other) = ([0x65, 1], [0x41, 1], [0x68, 0xce, 0x38, 0x81]);
    let sets = stap_a(&[&SPS, &PPS]);
    let sent: Vec<Sent<'_>> = vec![
        (1, false, &sets),
        (1, true, &idr),
        (2, false, &other),
        (2, true, &slice),
        (3, false, &other),
        (3, true, &slice),
    ];
    let run = Run::all(Codec::H264, &sent, &[]);
    assert_eq!(run.frames[1].bytes, [unit(&other), unit(&slice)].concat());
    assert_eq!(run.frames[2].bytes, unit(&slice), "it is known now");
}

#[test]
fn what_is_malformed_damages_its_frame() {
    let sets = stap_a(&[&SPS, &PPS]);
    let key = [&[0x10][..], &VP8_KEY].concat();
    for (what, codec, bad) in [
        ("a fragment without a start", Codec::H264, &[0x5c, 0x01, 1][..]),
        ("a fragment without an end", Codec::H264, &[0x5c, 0x81, 1]),
        ("a fragment of no type", Codec::H264, &[0x5c]),
        ("a STAP-A with a size too large", Codec::H264, &[0x78, 0, 9, 0x41]),
        ("a STAP-A within a STAP-A", Codec::H264, &[0x78, 0, 1, 0x78]),
        ("a STAP-A with an empty unit", Codec::H264, &[0x78, 0, 0]),
        ("FU-B", Codec::H264, &[0x5d, 0x81, 0, 0, 1]),
        ("a unit of type 0", Codec::H264, &[0x40, 1]),
        ("an SPS cut short", Codec::H264, &[0x67, 0x42]),
        ("a descriptor cut short", Codec::Vp8, &[0x90]),
        ("no begin", Codec::Vp8, &[0x00, 1]),
        ("a keyframe without a start code", Codec::Vp8, &[0x10, 0x10, 0, 0, 0, 0, 0, 1, 0, 1, 0]),
    ] {
        let begin: &[Sent<'_>] = if codec == Codec::Vp8 {
            &[(1, true, &key)]
        } else {
            &[(1, false, &sets), (1, true, &[0x65, 1])]
        };
        let run = Run::all(codec, &[begin, &[(2, true, bad)]].concat(), &[]);
        assert_eq!(run.timestamps(), [1], "{what}");
        assert_eq!(run.depacketizer.counts().frames_damaged, 1, "{what}");
        assert!(run.depacketizer.awaits_keyframe(), "{what}");
    }
}

#[test]
fn padding_is_no_frame_and_does_not_hide_what_is_missing() {
    let key = [&[0x10][..], &VP8_KEY].concat();
    let sent: Vec<Sent<'_>> = vec![
        (1, true, &key),
        (1, false, &[]),
        (2, true, &[0x10, 0x11, 1]),
        (3, true, &[0x10, 0x11, 1]),
        (3, false, &[]),
        (4, true, &[0x10, 0x11, 1]),
    ];
    assert_eq!(Run::all(Codec::Vp8, &sent, &[]).timestamps(), [1, 2, 3, 4]);
    assert_eq!(Run::all(Codec::Vp8, &sent, &[3]).timestamps(), [1, 2]);
}

#[test]
fn another_source_begins_with_a_keyframe() {
    let key = [&[0x10][..], &VP8_KEY].concat();
    let mut run = Run::new(Codec::Vp8);
    run.packet(0, 10, (1, true, &key));
    // Behind a hole, which the change of the source ends.
    run.packet(0, 12, (3, true, &key));
    run.packet(1, 5, (1_000, true, &[0x10, 0x11, 1]));
    run.packet(1, 6, (2_000, true, &key));
    run.packet(0, 11, (2, true, &key));
    assert_eq!(
        run.frames.iter().map(|frame| (frame.source, frame.timestamp)).collect::<Vec<_>>(),
        [(0, 1), (0, 3), (1, 2_000)]
    );
    let counts = run.depacketizer.counts();
    assert_eq!((counts.packets_left_source, counts.frames_awaiting_keyframe), (1, 1));
    run.depacketizer.handle_end();
    assert!(run.depacketizer.awaits_keyframe());
}

#[test]
fn a_frame_that_is_too_long_is_dropped() {
    let (head, part) = ([0x5c, 0x81, 0], [&[0x5c, 0x01][..], &[0; 60_000]].concat());
    let mut run = Run::new(Codec::H264);
    for seq in 0..200 {
        run.packet(0, seq, (1, false, if seq == 0 { &head } else { &part }));
    }
    run.packet(0, 200, (1, true, &[0x5c, 0x41, 0]));
    assert_eq!(run.frames, []);
    assert_eq!(run.depacketizer.counts().packets_damaged, 201);
}

#[test]
fn sound_is_a_frame_a_packet_and_a_loss_is_a_gap() {
    let sent: Vec<Sent<'_>> =
        vec![(0, true, &[0x78, 1]), (960, false, &[0x78, 2]), (1_920, false, &[]), (1_920, false, &[0xfb])];
    let run = Run::all(Codec::Opus, &sent, &[1]);
    assert_eq!(run.frames.iter().map(|frame| (frame.timestamp, frame.ticks)).collect::<Vec<_>>(), [(0, 960)]);
    assert!(run.frames[0].keyframe && !run.depacketizer.awaits_keyframe());
    let counts = run.depacketizer.counts();
    assert_eq!((counts.packets_empty, counts.packets_damaged, counts.packets_missing), (1, 1, 1));
    let run = Run::all(Codec::Pcmu, &[(0, false, &[0xff; 160])], &[]);
    assert_eq!(run.frames[0].ticks, 160);
}
