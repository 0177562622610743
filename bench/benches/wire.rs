//! What it costs to read and write the formats.
//!
//! stun_codec's `parse` verifies the fingerprint and keeps what the integrity covers, which ours does not before it is
//! asked to. Its integrity takes the password each time, ours a key prepared once, as the relay keeps it.

use bench::stun::{PASSWORD, PEER};
use bench::{rtcp, rtp, stun};
use bytecodec::{DecodeExt, EncodeExt};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use std::hint::black_box;
use stun_codec::rfc5245::attributes::{IceControlling, Priority, UseCandidate};
use stun_codec::rfc5389::attributes::{Fingerprint, MessageIntegrity, Username, XorMappedAddress};
use stun_codec::rfc5389::methods::BINDING;
use stun_codec::{Message, MessageClass, MessageDecoder, MessageEncoder, define_attribute_enums};

define_attribute_enums!(
    Attribute,
    AttributeDecoder,
    AttributeEncoder,
    [Username, MessageIntegrity, Fingerprint, Priority, UseCandidate, IceControlling, XorMappedAddress]
);

fn stun_ours(c: &mut Criterion) {
    let mut group = c.benchmark_group("STUN");
    let key = stun::integrity_key();
    let request = stun::request(&key);
    let mut out = [0; 256];
    assert!(stun::answer(&request, &key, &mut out).is_some());
    group.bench_function("parse", |b| b.iter(|| stun::parse(black_box(&request))));
    group.bench_function("parse, validate", |b| b.iter(|| stun::validate(black_box(&request), &key)));
    group.bench_function("parse, validate, answer", |b| {
        b.iter(|| stun::answer(black_box(&request), &key, black_box(&mut out)));
    });
    group.finish();
}

fn stun_theirs(c: &mut Criterion) {
    let mut group = c.benchmark_group("STUN");
    let request = stun::request(&stun::integrity_key());
    let parse = |request: &[u8]| -> Option<Message<Attribute>> {
        MessageDecoder::new().decode_from_bytes(request).ok()?.ok()
    };
    let validate = |request: &[u8]| {
        let message = parse(request)?;
        message.get_attribute::<MessageIntegrity>()?.check_short_term_credential(PASSWORD).ok()?;
        Some(message)
    };
    let answer = |request: &[u8]| {
        let request = validate(request)?;
        let id = request.transaction_id();
        let mut answer = Message::<Attribute>::new(MessageClass::SuccessResponse, BINDING, id);
        answer.add_attribute(Attribute::from(XorMappedAddress::new(PEER)));
        let integrity = MessageIntegrity::new_short_term_credential(&answer, PASSWORD).ok()?;
        answer.add_attribute(Attribute::from(integrity));
        let fingerprint = Fingerprint::new(&answer).ok()?;
        answer.add_attribute(Attribute::from(fingerprint));
        MessageEncoder::new().encode_into_bytes(answer).ok()
    };
    same_answer(&request, &answer(&request).expect("a good request"));
    group.bench_function("parse, by stun_codec", |b| b.iter(|| parse(black_box(&request))));
    group.bench_function("parse, validate, by stun_codec", |b| b.iter(|| validate(black_box(&request))));
    group.bench_function("parse, validate, answer, by stun_codec", |b| {
        b.iter(|| answer(black_box(&request)));
    });
    group.finish();
}

/// Who does other work is no measure.
fn same_answer(request: &[u8], theirs: &[u8]) {
    let mut ours = [0; 256];
    let len = stun::answer(request, &stun::integrity_key(), &mut ours).expect("a good request");
    assert_eq!(theirs, &ours[..len], "stun_codec answers something else");
}

fn rtp_headers(c: &mut Criterion) {
    let mut group = c.benchmark_group("RTP");
    let packet = rtp::packet(0);
    let mut out = [0; 64];
    assert!(rtp::parse(&packet));
    group.bench_function("parse", |b| b.iter(|| rtp::parse(black_box(&packet))));
    group.bench_function("write", |b| b.iter(|| rtp::write(black_box(&mut out), black_box(1))));
    let mut rewriting = rtp::Rewriting::default();
    group.bench_function("renumber and write", |b| b.iter(|| rewriting.next(black_box(&mut out))));
    group.finish();
}

fn rtcp_compounds(c: &mut Criterion) {
    let mut group = c.benchmark_group("RTCP");
    let mut out = [0; 256];
    for (name, write) in rtcp::COMPOUNDS {
        let compound = rtcp::compound(write);
        assert_ne!(rtcp::parse(&compound), 0, "{name}");
        group.bench_function(BenchmarkId::new("parse", name), |b| {
            b.iter(|| rtcp::parse(black_box(&compound)));
        });
        group.bench_function(BenchmarkId::new("write", name), |b| {
            b.iter(|| black_box(write)(black_box(&mut out)));
        });
    }
    group.finish();
}

criterion_group!(benches, stun_ours, stun_theirs, rtp_headers, rtcp_compounds);
criterion_main!(benches);
