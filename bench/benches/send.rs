//! Sending over loopback to 64 sockets that nobody reads: relay-io's two back ends beside tokio-uring.
//!
//! The kernel's work for a datagram, up to the full buffer of its receiver, is in each figure and is most of it.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use futures_util::future::join_all;
use relay_io::{Io, IoOptions, Route, Run, Setting, choose, socket};
use std::net::{SocketAddr, UdpSocket};
use std::time::Instant;

/// Datagrams of one batch.
const BATCH: usize = 64;
/// Octets of each: a video packet as it leaves.
const SIZE: usize = 1_228;

const GROUP: &str = "send, 64 datagrams of 1228 B";

fn receivers() -> (Vec<UdpSocket>, Vec<SocketAddr>) {
    let sockets: Vec<_> = (0..BATCH).map(|_| UdpSocket::bind("127.0.0.1:0").expect("a port")).collect();
    let addresses = sockets.iter().map(|s| s.local_addr().expect("bound")).collect();
    (sockets, addresses)
}

fn relay_io(c: &mut Criterion) {
    let mut group = c.benchmark_group(GROUP);
    group.throughput(Throughput::Elements(BATCH as u64));
    let (_sockets, addresses) = receivers();
    for (name, setting) in [("io_uring", Setting::Uring), ("sendmmsg", Setting::Mmsg)] {
        let Ok(choice) = choose(setting) else {
            println!("{name}: not to be had here");
            continue;
        };
        let options = socket::SocketOptions::new("127.0.0.1:0".parse().expect("an address"));
        let bound = socket::bind(&options).expect("a port");
        let mut io = Io::new(choice.backend, vec![bound], &IoOptions::default()).expect("a back end");
        group.bench_function(name, |b| {
            b.iter(|| {
                for remote in &addresses {
                    let outbox = io.send_queue();
                    let region = outbox.lend(SIZE).expect("room: all was flushed");
                    region[0] = 0x80;
                    outbox.commit(&Route { remote: *remote, local: None }, Run::single(SIZE));
                }
                io.flush();
            });
        });
        let counters = io.counters();
        assert_eq!(counters.tx_sent, counters.tx_committed, "{name}");
    }
    group.finish();
}

fn tokio_uring(c: &mut Criterion) {
    let mut group = c.benchmark_group(GROUP);
    group.throughput(Throughput::Elements(BATCH as u64));
    let (_sockets, addresses) = receivers();
    group.bench_function("io_uring, by tokio-uring", |b| {
        b.iter_custom(|rounds| {
            tokio_uring::start(async {
                let socket = tokio_uring::net::UdpSocket::bind("127.0.0.1:0".parse().expect("an address"));
                let socket = socket.await.expect("a port");
                let mut buffers = vec![vec![0x80; SIZE]; BATCH];
                let start = Instant::now();
                for _ in 0..rounds {
                    let sends = buffers.drain(..).zip(&addresses).map(|(b, to)| socket.send_to(b, *to));
                    buffers = join_all(sends.collect::<Vec<_>>())
                        .await
                        .into_iter()
                        .map(|(sent, buffer)| {
                            assert_eq!(sent.expect("sent"), SIZE);
                            buffer
                        })
                        .collect();
                }
                start.elapsed()
            })
        });
    });
    group.finish();
}

criterion_group!(benches, relay_io, tokio_uring);
criterion_main!(benches);
