//! What a packet costs in each of its stages.

use bench::{PAYLOADS, binding_request, header};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use relay_control::MediaKind;
use relay_core::id::Ssrc;
use relay_core::outbox::{NullOutbox, Path};
use relay_core::pipe::{Message, PipeSink, PipedPacket};
use relay_core::srtp::{OpenContext, SealContext, SrtpProfile};
use relay_core::time::Time;
use relay_core::up::{PacketMeta, UpStream, UpStreamConfig};
use relay_core::wire::rtp::RtpHeader;
use relay_core::wire::stun::{IntegrityKey, StunMessage};
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tests::World;

fn wire(c: &mut Criterion) {
    let mut group = c.benchmark_group("wire");
    let key = IntegrityKey::new(b"a password of 24 letters");
    let request = binding_request(&key);
    group.bench_function("STUN parse", |b| b.iter(|| StunMessage::parse(black_box(&request)).is_ok()));
    group.bench_function("STUN parse and verify", |b| {
        b.iter(|| StunMessage::parse(black_box(&request)).is_ok_and(|m| m.verify_integrity(&key)));
    });
    let (packet, len) = header(1);
    group.bench_function("RTP header parse", |b| {
        b.iter(|| RtpHeader::parse(black_box(&packet[..len])).is_ok())
    });
    group.bench_function("RTP header write", |b| b.iter(|| black_box(header(black_box(1)))));
    group.finish();
}

fn srtp(c: &mut Criterion) {
    let mut group = c.benchmark_group("srtp");
    for profile in SrtpProfile::ALL {
        let (key, salt) = (vec![1; profile.key_len()], vec![2; profile.salt_len()]);
        for (name, size) in PAYLOADS {
            group.throughput(Throughput::Bytes(size as u64));
            let payload = vec![0x5a; size];
            let seal = SealContext::new(profile, &key, &salt);
            let mut slot = [0; 1_500];
            let mut index = 0u64;
            group.bench_function(BenchmarkId::new(format!("seal {}", profile.name()), name), |b| {
                b.iter(|| {
                    index += 1;
                    let (bytes, len) = header(index as u16);
                    slot[..len].copy_from_slice(&bytes[..len]);
                    seal.seal_rtp(&mut slot, len, Ssrc(0x1234), index, black_box(&payload))
                });
            });
            group.bench_function(BenchmarkId::new(format!("open {}", profile.name()), name), |b| {
                b.iter_custom(|rounds| open(profile, (&key, &salt), &payload, rounds));
            });
        }
    }
    group.finish();
}

/// Opens `rounds` packets, sealed beforehand in groups; only the opening is timed.
fn open(profile: SrtpProfile, (key, salt): (&[u8], &[u8]), payload: &[u8], rounds: u64) -> Duration {
    const GROUP: u64 = 256;
    let seal = SealContext::new(profile, key, salt);
    let mut context = OpenContext::new(profile, key, salt);
    let mut out = [0; 1_500];
    let (mut spent, mut index) = (Duration::ZERO, 0u64);
    while index < rounds {
        let packets: Vec<Vec<u8>> = (index..rounds.min(index + GROUP))
            .map(|i| {
                let (bytes, len) = header(i as u16);
                let mut slot = vec![0; 1_500];
                slot[..len].copy_from_slice(&bytes[..len]);
                let total = seal.seal_rtp(&mut slot, len, Ssrc(0x1234), i, payload).expect("fits");
                slot.truncate(total);
                slot
            })
            .collect();
        index += packets.len() as u64;
        let start = Instant::now();
        for packet in &packets {
            let header = RtpHeader::parse(packet).expect("ours");
            context.open_rtp(&header, packet, &mut out).expect("opens");
        }
        spent += start.elapsed();
    }
    spent
}

/// One packet of a publisher to N subscribers: everything of the core, nothing of the kernel.
fn fan_out(c: &mut Criterion) {
    let mut group = c.benchmark_group("fan-out");
    for subscribers in [1u64, 10, 50, 200, 1_000] {
        group.throughput(Throughput::Elements(subscribers));
        group.bench_function(BenchmarkId::from_parameter(subscribers), |b| {
            let mut world = World::new(1);
            let publisher = world.join(1);
            world.publish(publisher, 1);
            for _ in 0..subscribers {
                let subscriber = world.join(1);
                world.subscribe(subscriber, publisher);
            }
            world.run(Duration::from_secs(2));
            let path = Path { remote: world.peers[publisher as usize].address, local: None };
            let mut outbox = NullOutbox::default();
            let mut now = world.now;
            b.iter_custom(|rounds| {
                let mut spent = Duration::ZERO;
                for _ in 0..rounds {
                    now += Duration::from_millis(1);
                    let peer = &mut world.peers[publisher as usize];
                    peer.send_frame(now);
                    let mut packets = peer.take_out();
                    let start = Instant::now();
                    for packet in &mut packets {
                        world.shard.handle_datagram(now, &path, packet, &mut outbox);
                    }
                    world.shard.forward_pending(&mut outbox);
                    spent += start.elapsed();
                }
                spent
            });
        });
    }
    group.finish();
}

/// What a packet costs for each other shard: into the queue, out of it, into that shard's history. On one thread, so
/// without the cache lines that go from core to core.
fn pipe(c: &mut Criterion) {
    const BATCH: u64 = 16;
    let mut group = c.benchmark_group("pipe");
    let (mut sender, mut receiver) = relay::pipe::pipe(Arc::new(|| {}));
    for (name, size) in PAYLOADS {
        group.throughput(Throughput::Elements(BATCH));
        let mut stream = UpStream::new(&UpStreamConfig {
            ssrc: Ssrc(1),
            rtx_ssrc: None,
            kind: MediaKind::Video,
            clock_rate_hz: 90_000,
            nack: false,
        });
        let payload = vec![0x5a; size];
        let mut next = 0;
        group.bench_function(BenchmarkId::new("batch of 16", name), |b| {
            b.iter(|| {
                for _ in 0..BATCH {
                    let meta = PacketMeta::default();
                    let packet = PipedPacket { track_id: 1, seq: next, source: 0, meta };
                    next += 1;
                    if let Some(entry) = sender.slot() {
                        entry.write_packet(packet, black_box(&payload));
                        sender.commit();
                    }
                }
                sender.ring();
                while receiver.handle(|entry| {
                    let (message, payload) = entry.take();
                    if let Message::Packet(packet) = message {
                        black_box(stream.on_piped(Time::ZERO, packet.seq, payload, packet.meta));
                    }
                }) {}
            });
        });
    }
    group.finish();
}

criterion_group!(benches, wire, srtp, pipe, fan_out);
criterion_main!(benches);
