//! What signaling's side of a join costs: frames of the control socket, and the answer to an offer.

use bench::control::{decode, encode, inventory, request};
use bench::sdp::{OFFER, answer, relay_side};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use relay_control::{FromRelay, Request};
use std::hint::black_box;

/// Transports in an inventory.
const TRANSPORTS: u64 = 100;

fn frames(c: &mut Criterion) {
    let mut group = c.benchmark_group("control frame");
    let (command, reply) = (request(), inventory(TRANSPORTS));
    let mut out = Vec::new();
    encode(&command, &mut out);
    group.bench_function(BenchmarkId::new("decode", "AddDownTrack"), |b| {
        b.iter(|| decode::<Request>(black_box(&out)));
    });
    encode(&reply, &mut out);
    group.bench_function(BenchmarkId::new("decode", "inventory of 100"), |b| {
        b.iter(|| decode::<FromRelay>(black_box(&out)));
    });
    group.bench_function(BenchmarkId::new("encode", "AddDownTrack"), |b| {
        b.iter(|| encode(black_box(&command), &mut out));
    });
    group.bench_function(BenchmarkId::new("encode", "inventory of 100"), |b| {
        b.iter(|| encode(black_box(&reply), &mut out));
    });
    group.finish();
}

fn sdp(c: &mut Criterion) {
    let relay = relay_side();
    assert!(answer(OFFER, &relay).is_some());
    let mut group = c.benchmark_group("SDP");
    group.bench_function("answer to Chromium's offer", |b| b.iter(|| answer(black_box(OFFER), &relay)));
    group.finish();
}

criterion_group!(benches, frames, sdp);
criterion_main!(benches);
