use relay::mailbox::PipeEnds;
use relay::pipe::{PipeReceiver, pipe};
use relay::ports::{Counts, LocalPorts, ToPorts};
use relay_core::time::Time;
use relay_port::{
    Codec, DecodeError, Decoded, FRAME_BYTES_MAX, Frame, FrameReader, Hello, MediaKind, Message,
    PAYLOAD_BYTES_MAX, PORT_VERSION, PortId, Priority, Track, encode,
};
use std::sync::Arc;

/// A decoded frame, owned.
#[derive(Debug, PartialEq)]
enum Said {
    Frame(Frame, Vec<u8>),
    Unknown(u8),
}

/// Frames of a local process: a stream says the same however it is cut, a refusal is final, nothing is longer
/// than its limit, and what is known survives being written again.
pub fn port_frame(data: &[u8]) {
    let whole = decode([data]);
    let cut = data.first().map_or(0, |octet| usize::from(*octet) * data.len() / 256);
    assert!(decode([&data[..cut], &data[cut..]]) == whole, "cut at {cut}");
    let (said, _) = whole;
    let mut again = Vec::new();
    for frame in &said {
        let Said::Frame(frame, payload) = frame else { continue };
        assert!(payload.len() <= PAYLOAD_BYTES_MAX);
        assert!(encode(frame, payload, &mut again), "it came in a frame: {frame:?}");
    }
    let known: Vec<Said> = said.into_iter().filter(|said| matches!(said, Said::Frame(..))).collect();
    assert!(decode([&again[..]]) == (known, Ok(())));
    local_port(data);
}

/// The tracks that the process sends and taps.
const SOURCE: u64 = 1;
const TAP: u64 = 9;

/// A process that sends this behind its `Hello`: every packet is in a counter, and no shard gets a message
/// about a track that is not the process's.
fn local_port(data: &[u8]) {
    let counts = Arc::<Counts>::default();
    let mut ports = LocalPorts::new(Arc::clone(&counts), 4_000_000);
    let number = ports.connect(Time::ZERO);
    let hello = Frame::Hello(Hello { version: PORT_VERSION, name: "fuzz".into() });
    let mut greeting = Vec::new();
    assert!(encode(&hello, &[], &mut greeting));
    ports.handle_bytes(Time::ZERO, number, &greeting);
    let (to, mut inbox) = pipe(Arc::new(|| {}));
    let (_outbox, from) = pipe(Arc::new(|| {}));
    let shard = PortId::shard(0);
    ports.handle_order(
        Time::ZERO,
        ToPorts::Connect { number, ends: Box::new(PipeEnds { port: shard, to, from }) },
    );
    ports.handle_order(Time::ZERO, ToPorts::Tap { number, track_id: TAP, shard, label: b"a label".to_vec() });
    let (kind, codec, priority) = (MediaKind::Audio, Codec::Opus, Priority::Medium);
    let (room_id, clock_rate_hz, connected, held) = (1, 48_000, true, true);
    let track = Track { room_id, kind, codec, clock_rate_hz, priority, connected, held };
    ports.handle_order(Time::ZERO, ToPorts::Source { ticket: 1, number, track_id: SOURCE, shard, track });
    ports.handle_bytes(Time::ZERO, number, data);
    ports.handle_queues();
    ports.flush();
    let received = read(&mut inbox);
    assert_eq!(received, counts.in_sent.get());
    let dropped =
        counts.dropped_queue_full.get() + counts.dropped_policed.get() + counts.dropped_no_source.get();
    assert_eq!(counts.in_received.get(), received + dropped);
}

/// Packets that a shard would read.
fn read(inbox: &mut PipeReceiver) -> u64 {
    let mut packets = 0;
    while inbox.handle(|entry| match entry.take().0 {
        Message::Packet(packet) => {
            assert_eq!(packet.track_id, SOURCE);
            packets += 1;
        }
        message => assert!(message.track_id().is_some_and(|id| [SOURCE, TAP].contains(&id)), "{message:?}"),
    }) {}
    packets
}

fn decode<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Said>, Result<(), DecodeError>) {
    let (mut reader, mut said) = (FrameReader::default(), Vec::new());
    for part in parts {
        reader.push(part);
        loop {
            match reader.next() {
                Ok(Some(Decoded::Frame(frame, payload))) => said.push(Said::Frame(frame, payload.to_vec())),
                Ok(Some(Decoded::Unknown { kind })) => said.push(Said::Unknown(kind)),
                Ok(None) => break,
                Err(error) => {
                    assert!(!matches!(error, DecodeError::TooLong(len) if len <= FRAME_BYTES_MAX));
                    return (said, Err(error));
                }
            }
        }
    }
    (said, Ok(()))
}
