//! What the core does with a packet between its receive buffer and the send slots.

use bench::PAYLOADS;
use bench::forwarding::FanOut;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use relay_core::id::Ssrc;
use relay_core::media::MediaKind;
use relay_core::time::Time;
use relay_core::up::{PacketMeta, UpStream, UpStreamConfig};
use relay_port::{Message, Packet, PortSink};
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Time per packet that a subscriber gets, with its share of what is done once: receiving, opening, routing.
fn fan_out(c: &mut Criterion) {
    let mut group = c.benchmark_group("fan-out, to so many");
    for subscribers in [1, 10, 50, 200, 1_000] {
        let mut fan_out = FanOut::new(subscribers);
        for (name, size) in PAYLOADS {
            for burst in [1, 8] {
                group.throughput(Throughput::Elements(subscribers * burst as u64));
                let id = BenchmarkId::new(format!("{name}, {burst} at a time"), subscribers);
                group.bench_function(id, |b| {
                    b.iter_custom(|rounds| {
                        let mut spent = Duration::ZERO;
                        for _ in 0..rounds {
                            let mut frame = fan_out.frame(burst, size);
                            let start = Instant::now();
                            fan_out.forward(black_box(&mut frame));
                            spent += start.elapsed();
                        }
                        spent
                    });
                });
            }
        }
    }
    group.finish();
}

/// What a packet costs for each other shard: into the queue, out of it, into that shard's history. On one thread, so
/// without the cache lines that go from core to core.
fn pipe(c: &mut Criterion) {
    const BATCH: u64 = 16;
    let mut group = c.benchmark_group("pipe");
    let (mut sender, mut receiver) = relay::pipe::pipe(Arc::new(|| {}));
    sender.set_capacity(relay::pipe::PIPE_ENTRIES);
    for (name, size) in PAYLOADS {
        group.throughput(Throughput::Elements(BATCH));
        let mut stream = UpStream::new(&UpStreamConfig {
            ssrc: Ssrc(1),
            kind: MediaKind::Video,
            clock_rate_hz: 90_000,
            nack: false,
        });
        stream.prepare();
        let payload = vec![0x5a; size];
        let mut next = 0;
        group.bench_function(BenchmarkId::new("batch of 16", name), |b| {
            b.iter(|| {
                for _ in 0..BATCH {
                    let packet = Packet { track_id: 1, seq: next, ..Packet::default() };
                    next += 1;
                    if let Some(entry) = sender.slot() {
                        entry.write_packet(packet, black_box(&payload));
                        sender.commit();
                    }
                }
                sender.wake();
                while receiver.handle(|entry| {
                    let (message, payload) = entry.take();
                    if let Message::Packet(packet) = message {
                        let meta = PacketMeta { timestamp: packet.timestamp, ..PacketMeta::default() };
                        black_box(stream.on_port_packet(Time::ZERO, packet.seq, payload, meta));
                    }
                }) {}
            });
        });
    }
    group.finish();
}

criterion_group!(benches, pipe, fan_out);
criterion_main!(benches);
