//! The same bodies, counted in instructions under valgrind: `make bench-gate`.
//!
//! glibc and aws-lc choose their code by the processor's extensions. They are told to do without those that differ from
//! machine to machine; AES, carry-less multiplication and SSSE3 remain. Valgrind itself hides AVX-512, VAES and the SHA
//! instructions, so `relay-gcm` finds itself unsupported here and is left to `make bench`. ARCHITECTURE.md says what else
//! the gate cannot see ("Instructions are the gate").

use bench::control::{decode, encode, inventory, request};
use bench::forwarding::FanOut;
use bench::rtp::Rewriting;
use bench::sdp::{OFFER, answer, relay_side};
use bench::srtp::{Opening, Replaying, Sealing, packets, replayed};
use bench::{PAYLOADS, rtcp, rtp, stun};
use gungraun::main;
use gungraun::prelude::*;
use relay_control::{FromRelay, Request};
use relay_core::srtp::SrtpProfile;
use relay_core::wire::stun::IntegrityKey;
use signaling::sdp::RelaySide;
use std::hint::black_box;

const GCM: SrtpProfile = SrtpProfile::AeadAes128Gcm;
const CM: SrtpProfile = SrtpProfile::Aes128CmHmacSha1_80;
const VIDEO: usize = PAYLOADS[0].1;
const AUDIO: usize = PAYLOADS[1].1;
/// As little as the support's packets hold: what there is besides the cipher shows.
const TINY: usize = 30;

/// Transports in an inventory.
const TRANSPORTS: u64 = 100;

fn check() -> (Vec<u8>, IntegrityKey) {
    let key = stun::integrity_key();
    (stun::request(&key), key)
}

/// Packets of a frame for so many subscribers, the first such frame being past.
fn fan_out(subscribers: u64, packets: usize, len: usize) -> (FanOut, Vec<Vec<u8>>) {
    let mut fan_out = FanOut::new(subscribers);
    let mut first = fan_out.frame(packets, len);
    fan_out.forward(&mut first);
    let frame = fan_out.frame(packets, len);
    (fan_out, frame)
}

/// A sender in the midst of a stream.
fn sealing(profile: SrtpProfile, len: usize) -> Sealing {
    let mut sealing = Sealing::new(profile, len);
    assert!(sealing.seal().is_some());
    sealing
}

/// A receiver in the midst of a stream, and the next packet.
fn opening(profile: SrtpProfile, len: usize) -> (Opening, Vec<u8>) {
    let mut packets = packets(profile, len, 0, 2);
    let mut opening = Opening::new(profile);
    opening.open(&packets[0]).expect("a good packet");
    (opening, packets.remove(1))
}

fn frame<M: prost::Message>(message: &M) -> Vec<u8> {
    let mut out = Vec::new();
    encode(message, &mut out);
    out
}

// What a body was given is returned with what came of it, so that nobody counts its end.

#[library_benchmark]
#[bench::check(check())]
fn parse_stun((request, key): (Vec<u8>, IntegrityKey)) -> (bool, Vec<u8>, IntegrityKey) {
    (stun::parse(black_box(&request)), request, key)
}

#[library_benchmark]
#[bench::check(check())]
fn validate_stun((request, key): (Vec<u8>, IntegrityKey)) -> (bool, Vec<u8>, IntegrityKey) {
    (stun::validate(black_box(&request), &key), request, key)
}

#[library_benchmark]
#[bench::check(check())]
fn answer_stun((request, key): (Vec<u8>, IntegrityKey)) -> (Option<usize>, Vec<u8>, IntegrityKey) {
    (stun::answer(black_box(&request), &key, black_box(&mut [0; 256])), request, key)
}

#[library_benchmark]
#[bench::header(rtp::packet(0))]
fn parse_rtp(packet: Vec<u8>) -> (bool, Vec<u8>) {
    (rtp::parse(black_box(&packet)), packet)
}

#[library_benchmark]
#[bench::header(1)]
fn write_rtp(seq: u16) -> Option<usize> {
    rtp::write(black_box(&mut [0; 64]), black_box(seq))
}

#[library_benchmark]
#[bench::next(Rewriting::default())]
fn renumber_rtp(mut rewriting: Rewriting) -> (Option<usize>, Rewriting) {
    (rewriting.next(black_box(&mut [0; 64])), rewriting)
}

#[library_benchmark]
#[bench::sr_sdes(rtcp::compound(rtcp::sr_sdes))]
#[bench::rr(rtcp::compound(rtcp::rr))]
#[bench::nack(rtcp::compound(rtcp::nack))]
#[bench::pli(rtcp::compound(rtcp::pli))]
#[bench::transport_cc(rtcp::compound(rtcp::transport_cc))]
fn parse_rtcp(compound: Vec<u8>) -> (u64, Vec<u8>) {
    (rtcp::parse(black_box(&compound)), compound)
}

#[library_benchmark]
#[bench::sr_sdes(rtcp::sr_sdes)]
#[bench::rr(rtcp::rr)]
#[bench::nack(rtcp::nack)]
#[bench::pli(rtcp::pli)]
#[bench::transport_cc(rtcp::transport_cc)]
fn write_rtcp(write: rtcp::Write) -> Option<usize> {
    black_box(write)(black_box(&mut [0; 256]))
}

#[library_benchmark]
#[bench::gcm_1200(sealing(GCM, VIDEO))]
#[bench::gcm_120(sealing(GCM, AUDIO))]
#[bench::cm_1200(sealing(CM, VIDEO))]
#[bench::cm_120(sealing(CM, AUDIO))]
fn protect(mut sealing: Sealing) -> (Option<usize>, Sealing) {
    (black_box(&mut sealing).seal(), sealing)
}

#[library_benchmark]
#[bench::gcm_1200(opening(GCM, VIDEO))]
#[bench::gcm_120(opening(GCM, AUDIO))]
#[bench::cm_1200(opening(CM, VIDEO))]
#[bench::cm_120(opening(CM, AUDIO))]
fn unprotect((mut opening, packet): (Opening, Vec<u8>)) -> (bool, Opening, Vec<u8>) {
    (black_box(&mut opening).open(black_box(&packet)).is_ok(), opening, packet)
}

#[library_benchmark]
#[bench::repeated(replayed(GCM))]
fn refuse((mut opening, packet): (Opening, Vec<u8>)) -> (bool, Opening, Vec<u8>) {
    (black_box(&mut opening).open(black_box(&packet)).is_err(), opening, packet)
}

#[library_benchmark]
#[bench::next(Replaying::default(), 0)]
#[bench::after_100_lost(Replaying::default(), 100)]
fn note_in_window(mut replaying: Replaying, lost: u64) -> (bool, Replaying) {
    (black_box(&mut replaying).after_a_gap(black_box(lost)), replaying)
}

#[library_benchmark]
#[bench::video_to_1(fan_out(1, 1, VIDEO))]
#[bench::video_to_50(fan_out(50, 1, VIDEO))]
#[bench::video_8_to_10(fan_out(10, 8, VIDEO))]
#[bench::video_8_to_50(fan_out(50, 8, VIDEO))]
#[bench::audio_to_50(fan_out(50, 1, AUDIO))]
#[bench::audio_to_200(fan_out(200, 1, AUDIO))]
#[bench::tiny_to_50(fan_out(50, 1, TINY))]
#[bench::tiny_8_to_50(fan_out(50, 8, TINY))]
fn forward((mut fan_out, mut frame): (FanOut, Vec<Vec<u8>>)) -> (FanOut, Vec<Vec<u8>>) {
    black_box(&mut fan_out).forward(black_box(&mut frame));
    (fan_out, frame)
}

#[library_benchmark]
#[bench::add_down_track(frame(&request()))]
fn decode_request(frame: Vec<u8>) -> (Option<Request>, Vec<u8>) {
    (decode(black_box(&frame)), frame)
}

#[library_benchmark]
#[bench::inventory(frame(&inventory(TRANSPORTS)))]
fn decode_reply(frame: Vec<u8>) -> (Option<FromRelay>, Vec<u8>) {
    (decode(black_box(&frame)), frame)
}

#[library_benchmark]
#[bench::add_down_track(request(), Vec::with_capacity(1 << 10))]
fn encode_request(request: Request, mut out: Vec<u8>) -> (usize, Request, Vec<u8>) {
    (encode(black_box(&request), &mut out), request, out)
}

#[library_benchmark]
#[bench::inventory(inventory(TRANSPORTS), Vec::with_capacity(1 << 20))]
fn encode_reply(reply: FromRelay, mut out: Vec<u8>) -> (usize, FromRelay, Vec<u8>) {
    (encode(black_box(&reply), &mut out), reply, out)
}

#[library_benchmark]
#[bench::chromium(relay_side())]
fn answer_sdp(relay: RelaySide) -> (Option<String>, RelaySide) {
    (answer(black_box(OFFER), &relay), relay)
}

library_benchmark_group!(
    name = wire,
    benchmarks =
        [parse_stun, validate_stun, answer_stun, parse_rtp, write_rtp, renumber_rtp, parse_rtcp, write_rtcp]
);
library_benchmark_group!(name = srtp, benchmarks = [protect, unprotect, refuse, note_in_window]);
library_benchmark_group!(name = forwarding, benchmarks = [forward]);
library_benchmark_group!(
    name = control,
    benchmarks = [decode_request, decode_reply, encode_request, encode_reply, answer_sdp]
);

main!(
    config = LibraryBenchmarkConfig::default()
        .env(
            "GLIBC_TUNABLES",
            "glibc.cpu.hwcaps=-AVX2,-AVX,-ERMS,-FSRM,-SSE4_2,-AVX_Fast_Unaligned_Load,-Fast_Unaligned_Copy"
        )
        .env("OPENSSL_ia32cap", "~0x1000000000000000:~0xffffffffffffffff"),
    library_benchmark_groups = [wire, srtp, forwarding, control]
);
