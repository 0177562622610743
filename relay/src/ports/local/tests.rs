use super::*;
use crate::pipe::pipe;
use relay_port::{Codec, FrameReader, Hello, MediaKind, MediaTime, PORT_VERSION, Priority, encode};

const NOW: Time = Time::from_nanos(1_000_000_000);

const VIDEO: Track = Track {
    room_id: 1,
    kind: MediaKind::Video,
    codec: Codec::Vp8,
    clock_rate_hz: 90_000,
    priority: Priority::Medium,
    connected: true,
    held: true,
};

fn encoded(frame: &Frame, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    assert!(encode(frame, payload, &mut bytes));
    bytes
}

/// A process with queues to shards 0 and 1, and the shards' ends of them.
fn connected(counts: &Arc<Counts>) -> (LocalPorts, u32, [(PortWriter<PipeSender>, PipeReceiver); 2]) {
    let mut ports = LocalPorts::new(Arc::clone(counts), 4_000_000);
    let number = ports.connect(NOW);
    let hello = Hello { version: PORT_VERSION, name: "process".into() };
    ports.handle_bytes(NOW, number, &encoded(&Frame::Hello(hello), &[]));
    let ends = [0, 1].map(|shard| {
        let (to, from_port) = pipe(Arc::new(|| {}));
        let (to_port, from) = pipe(Arc::new(|| {}));
        let ends = Box::new(PipeEnds { port: PortId::shard(shard), to, from });
        ports.handle_order(NOW, ToPorts::Connect { number, ends });
        (PortWriter::new(to_port), from_port)
    });
    (ports, number, ends)
}

#[test]
fn a_tap_that_moves_to_another_shard_leaves_nothing_on_the_first() {
    let (mut ports, number, [(mut shard, mut from_port), _]) = connected(&Arc::default());
    let load = |ports: &LocalPorts| ports.ports[&number].shards[0].to.load();
    let idle = load(&ports);
    sent(&mut ports, number);
    ports.handle_order(NOW, ToPorts::Tap { number, track_id: 1, shard: PortId::shard(0), label: Vec::new() });
    shard.send(Message::Begin { track_id: 1, opening: 5, track: VIDEO });
    ports.handle_queues();
    assert_eq!(load(&ports).back, 1);
    sent(&mut ports, number);

    ports.handle_order(NOW, ToPorts::Tap { number, track_id: 1, shard: PortId::shard(1), label: Vec::new() });
    assert_eq!(load(&ports), idle);
    let end = Frame::Message(Message::End { track_id: 1 });
    assert_eq!(sent(&mut ports, number), [end], "the numbers of the next one are its own");
    let mut received = Vec::new();
    while from_port.handle(|entry| received.push(entry.take().0)) {}
    assert_eq!(received, [Message::Close { track_id: 1, opening: 5 }]);
}

/// The frames that a process has been sent and has not read.
fn sent(ports: &mut LocalPorts, number: u32) -> Vec<Frame> {
    let process = ports.process(number).expect("connected");
    let mut reader = FrameReader::default();
    reader.push(process.unread());
    let mut frames = Vec::new();
    while let Some(Decoded::Frame(frame, _)) = reader.next().expect("frames") {
        frames.push(frame);
    }
    let len = process.unread().len();
    process.wrote(len);
    frames
}

#[test]
fn a_label_is_told_before_the_track_begins_and_when_it_is_another() {
    let (mut ports, number, [(mut shard, _from_port), _]) = connected(&Arc::default());
    let tap =
        |label: &[u8]| ToPorts::Tap { number, track_id: 1, shard: PortId::shard(0), label: label.to_vec() };
    let label = |label: &[u8]| Frame::Label { track_id: 1, label: label.to_vec() };
    let begin = Message::Begin { track_id: 1, opening: 5, track: VIDEO };
    sent(&mut ports, number);
    ports.handle_order(NOW, tap(b"a"));
    assert_eq!(sent(&mut ports, number), [], "there is no track yet");
    ports.handle_order(NOW, tap(b"b"));
    shard.send(begin.clone());
    ports.handle_queues();
    assert_eq!(sent(&mut ports, number), [label(b"b"), Frame::Message(begin.clone())]);
    for (wanted, told) in [(b"b", vec![]), (b"c", vec![label(b"c")])] {
        ports.handle_order(NOW, tap(wanted));
        assert_eq!(sent(&mut ports, number), told);
    }
    // The track is described anew: what was said of the tap holds.
    shard.send(begin.clone());
    ports.handle_queues();
    assert_eq!(sent(&mut ports, number), [Frame::Message(begin)]);
    ports.handle_order(NOW, tap(b""));
    assert_eq!(sent(&mut ports, number), [label(b"")], "what was said holds no longer");
    let other = |label: &[u8]| ToPorts::Label { number, track_id: 1, label: label.to_vec() };
    ports.handle_order(NOW, other(b"d"));
    assert_eq!(sent(&mut ports, number), [label(b"d")]);
    // Its end crosses an order that takes it for sent.
    shard.send(Message::End { track_id: 1 });
    ports.handle_queues();
    sent(&mut ports, number);
    ports.handle_order(NOW, other(b"e"));
    assert!(sent(&mut ports, number).is_empty() && ports.ports[&number].taps.is_empty());
}

#[test]
fn a_source_is_held_to_its_rate_and_the_excess_is_counted() {
    let counts = Arc::<Counts>::default();
    let (mut ports, number, [(_shard, mut from_port), _]) = connected(&counts);
    let (track_id, shard) = (2, PortId::shard(0));
    ports.handle_order(NOW, ToPorts::Source { ticket: 1, number, track_id, shard, track: VIDEO });
    let mut send = |now: Time, count: u64| {
        for seq in 0..count {
            let packet = Packet {
                track_id,
                seq,
                source: 0,
                timestamp: 0,
                arrival: MediaTime::from_nanos(0),
                marker: false,
                keyframe: false,
                audio_level: None,
                video_orientation: None,
            };
            let frame = Frame::Message(Message::Packet(packet));
            ports.handle_bytes(now, number, &encoded(&frame, &[0; 1_000]));
            while from_port.handle(|entry| {
                entry.take();
            }) {}
        }
        (counts.in_sent.get(), counts.dropped_policed.get())
    };
    // 4 Mbit/s with the policer's tolerance are 750 octets a millisecond; half a second of them may come at
    // once.
    assert_eq!(send(NOW, 500), (375, 125));
    assert_eq!(send(NOW + std::time::Duration::from_millis(4), 10), (378, 132));
    assert_eq!(counts.in_received.get(), 510);
}
