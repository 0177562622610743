use super::*;
use proptest::prelude::*;

fn track() -> impl Strategy<Value = Track> {
    let kinds = prop::sample::select(vec![MediaKind::Audio, MediaKind::Video]);
    let codecs = prop::sample::select(Codec::ALL.to_vec());
    let priorities = prop::sample::select(Priority::ALL.to_vec());
    (any::<(u64, u32, bool, bool)>(), kinds, codecs, priorities).prop_map(
        |((room_id, clock_rate_hz, connected, held), kind, codec, priority)| Track {
            room_id,
            kind,
            codec,
            clock_rate_hz,
            priority,
            connected,
            held,
        },
    )
}

fn packet() -> impl Strategy<Value = Packet> {
    let numbers = any::<(u64, u64, u32, u32, i64)>();
    let rest = any::<(bool, bool, Option<u8>, Option<u8>)>();
    (numbers, rest).prop_map(|((track_id, seq, source, timestamp, nanos), rest)| Packet {
        track_id,
        seq,
        source,
        timestamp,
        arrival: MediaTime::from_nanos(nanos),
        marker: rest.0,
        keyframe: rest.1,
        audio_level: rest.2,
        video_orientation: rest.3,
    })
}

fn message() -> impl Strategy<Value = Message> {
    prop_oneof![
        (any::<(u64, u64)>(), track()).prop_map(|((track_id, opening), track)| Message::Begin {
            track_id,
            opening,
            track
        }),
        packet().prop_map(Message::Packet),
        any::<(u64, i64, u32)>().prop_map(|(track_id, nanos, timestamp)| {
            let clock = Clock { time: MediaTime::from_nanos(nanos), timestamp };
            Message::Clock { track_id, clock }
        }),
        any::<u64>().prop_map(|track_id| Message::End { track_id }),
        any::<u64>().prop_map(|track_id| Message::Keyframe { track_id }),
        any::<u64>().prop_map(|track_id| Message::Fault { track_id }),
        any::<u64>().prop_map(|opening| Message::Reset { opening }),
        any::<(u64, u64)>().prop_map(|(track_id, opening)| Message::Close { track_id, opening }),
    ]
}

fn frame() -> impl Strategy<Value = Frame> {
    prop_oneof![
        (any::<u32>(), "[A-Za-z0-9._-]{1,64}")
            .prop_map(|(version, name)| Frame::Hello(Hello { version, name })),
        prop::sample::select(Refusal::ALL.to_vec()).prop_map(Frame::Refused),
        (any::<u64>(), track()).prop_map(|(track_id, track)| Frame::Want { track_id, track }),
        (any::<u64>(), octets(LABEL_BYTES_MAX))
            .prop_map(|(track_id, label)| Frame::Label { track_id, label }),
        message().prop_map(Frame::Message),
    ]
}

fn octets(max: usize) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..=max)
}

fn is_packet(frame: &Frame) -> bool {
    matches!(frame, Frame::Message(Message::Packet(_)))
}

fn encoded(frame: &Frame, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    assert!(encode(frame, payload, &mut bytes), "{frame:?}");
    bytes
}

/// Puts octets behind the fields of a frame, as a later version would.
fn with_later_fields(bytes: &[u8], later: &[u8]) -> Vec<u8> {
    let fields = usize::from(u16::from_be_bytes([bytes[5], bytes[6]]));
    let len = (bytes.len() - LENGTH_BYTES + later.len()) as u32;
    let longer = (fields + later.len()) as u16;
    let (head, payload) = bytes[7..].split_at(fields);
    let front = [&len.to_be_bytes()[..], &bytes[4..5], &longer.to_be_bytes()].concat();
    [&front[..], head, later, payload].concat()
}

proptest! {
    #[test]
    fn frames_come_back_whatever_the_cut(
        sent in prop::collection::vec((frame(), octets(PAYLOAD_BYTES_MAX)), 0..8),
        cuts in prop::collection::vec(1..4000usize, 0..16),
    ) {
        let stream: Vec<u8> = sent.iter().flat_map(|(frame, payload)| encoded(frame, payload)).collect();
        let (mut reader, mut rest, mut cuts) = (FrameReader::default(), &stream[..], cuts.into_iter());
        let mut got = Vec::new();
        while !rest.is_empty() {
            let (part, behind) = rest.split_at(cuts.next().unwrap_or(rest.len()).min(rest.len()));
            (rest, _) = (behind, reader.push(part));
            while let Some(decoded) = reader.next().expect("our own") {
                let Decoded::Frame(frame, payload) = decoded else { panic!("our own") };
                got.push((frame, payload.to_vec()));
            }
        }
        let only = |(frame, payload): (Frame, Vec<u8>)| {
            let payload = if is_packet(&frame) { payload } else { Vec::new() };
            (frame, payload)
        };
        prop_assert_eq!(got, sent.into_iter().map(only).collect::<Vec<_>>());
    }

    #[test]
    fn an_older_reader_skips_later_fields(frame in frame(), later in octets(200)) {
        let payload: &[u8] = if is_packet(&frame) { b"payload" } else { &[] };
        let bytes = with_later_fields(&encoded(&frame, payload), &later);
        prop_assert_eq!(decode(&bytes), Ok(Some((Decoded::Frame(frame, payload), bytes.len()))));
    }

    #[test]
    fn any_octets_end_in_frames_or_an_error(bytes in octets(200), len in 0..150u8) {
        let _ = decode(&bytes);
        let framed = [&[0, 0, 0, len][..], &bytes].concat();
        if let Ok(Some((_, consumed))) = decode(&framed) {
            prop_assert_eq!(consumed, LENGTH_BYTES + usize::from(len));
        }
    }
}

#[test]
fn an_older_reader_skips_later_kinds_and_values() {
    let later = [0, 0, 0, 5, 99, 0, 1, 7, 7];
    assert_eq!(decode(&later), Ok(Some((Decoded::Unknown { kind: 99 }, 9))));
    let track = Track {
        room_id: 1,
        kind: MediaKind::Video,
        codec: Codec::Vp8,
        clock_rate_hz: 90_000,
        priority: Priority::Medium,
        connected: true,
        held: false,
    };
    let begin = encoded(&Frame::Message(Message::Begin { track_id: 1, opening: 1, track }), &[]);
    // Kind, codec and priority of the track.
    for at in [7 + 24, 7 + 25, 7 + 30] {
        let mut bytes = begin.clone();
        bytes[at] = 200;
        assert_eq!(decode(&bytes), Ok(Some((Decoded::Unknown { kind: 16 }, bytes.len()))), "octet {at}");
    }
}

#[test]
fn bad_input_has_its_error() {
    let long = (FRAME_BYTES_MAX as u32 + 1).to_be_bytes();
    let frame = |fields: u16, body: &[u8]| {
        let len = (HEAD_BYTES + body.len()) as u32;
        [&len.to_be_bytes()[..], &[kind::END], &fields.to_be_bytes(), body].concat()
    };
    let name = [&[0, 0, 0, 12, kind::HELLO, 0, 9, 0, 0, 0, 1, 4][..], b"a b/"].concat();
    let packet = Packet {
        track_id: 1,
        seq: 2,
        source: 3,
        timestamp: 4,
        arrival: MediaTime::from_nanos(5),
        marker: false,
        keyframe: false,
        audio_level: None,
        video_orientation: None,
    };
    let packet = Frame::Message(Message::Packet(packet));
    let mut payload = encoded(&packet, &[0; PAYLOAD_BYTES_MAX]);
    payload.push(0);
    let longer = (payload.len() - LENGTH_BYTES) as u32;
    payload[..LENGTH_BYTES].copy_from_slice(&longer.to_be_bytes());
    for (bytes, error) in [
        (long.to_vec(), DecodeError::TooLong(FRAME_BYTES_MAX + 1)),
        (vec![0, 0, 0, 2], DecodeError::TooShort(2)),
        (frame(9, &[0; 8]), DecodeError::FieldsLength(9)),
        (
            frame(FIELDS_BYTES_MAX as u16 + 1, &[0; FIELDS_BYTES_MAX + 1]),
            DecodeError::FieldsLength(FIELDS_BYTES_MAX + 1),
        ),
        (frame(7, &[0; 8]), DecodeError::Fields(kind::END)),
        (payload, DecodeError::PayloadLength(PAYLOAD_BYTES_MAX + 1)),
        (name, DecodeError::Name),
    ] {
        assert_eq!(decode(&bytes), Err(error));
    }
    let mut out = Vec::new();
    assert!(!encode(&packet, &[0; PAYLOAD_BYTES_MAX + 1], &mut out));
    assert!(!encode(&Frame::Message(Message::Empty), &[], &mut out));
    for name in ["", "a b", "ä", "../x", &"x".repeat(NAME_BYTES_MAX + 1)] {
        let hello = Hello { version: PORT_VERSION, name: name.to_owned() };
        assert!(!encode(&Frame::Hello(hello), &[], &mut out));
    }
    let label = vec![0; LABEL_BYTES_MAX + 1];
    assert!(!encode(&Frame::Label { track_id: 1, label }, &[], &mut out));
    assert!(out.is_empty());
}
