//! SRTP beside what others take for it.
//!
//! What is not the same: to protect, theirs parses a header and allocates the packet, ours writes a header and encrypts from
//! the payload into a slot. To unprotect, both parse the header and ask the replay window (theirs only if it is asked for:
//! it is here); theirs allocates the packet, ours writes the payload into memory that it is lent.

use bench::PAYLOADS;
use bench::srtp::{Opening, Replaying, Sealing, SealingFour, master, packets, replayed};
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use relay_core::id::SeqNo;
use relay_core::srtp::{SrtpProfile, WINDOW_PACKETS};
use rtc_crypto::RTCCryptoProvider;
use rtc_crypto::providers::AwsLcRsProvider;
use std::hint::black_box;
use std::time::{Duration, Instant};

/// How far everybody's replay window looks back.
const WINDOW: usize = WINDOW_PACKETS as usize;

type Group<'a> = BenchmarkGroup<'a, WallTime>;

/// Times `open` over protected packets, made beforehand in groups.
fn time_open(profile: SrtpProfile, len: usize, rounds: u64, mut open: impl FnMut(&[u8]) -> bool) -> Duration {
    const GROUP: u64 = 256;
    let (mut spent, mut first) = (Duration::ZERO, 0);
    while first < rounds {
        let packets = packets(profile, len, first, GROUP.min(rounds - first));
        first += packets.len() as u64;
        let start = Instant::now();
        let all = packets.iter().all(|packet| open(black_box(packet)));
        spent += start.elapsed();
        assert!(all, "a packet was refused");
    }
    spent
}

fn ours(group: &mut Group<'_>, profile: SrtpProfile, name: &str, len: usize) {
    let mut sealing = Sealing::new(profile, len);
    group.bench_function(BenchmarkId::new("protect", name), |b| b.iter(|| sealing.seal()));
    group.bench_function(BenchmarkId::new("unprotect", name), |b| {
        b.iter_custom(|rounds| {
            let mut opening = Opening::new(profile);
            time_open(profile, len, rounds, |packet| opening.open(packet).is_ok())
        });
    });
}

/// Measures webrtc-srtp or rtc-srtp, whose interfaces are the same but for what tells the latter its cipher library.
macro_rules! theirs {
    ($function:ident, $name:literal, $crate_name:ident $(, $crypto:expr)?) => {
        fn $function(group: &mut Group<'_>, profile: SrtpProfile, name: &str, len: usize) {
            use $crate_name::{context::Context, option, protection_profile::ProtectionProfile};
            let theirs = match profile {
                SrtpProfile::AeadAes128Gcm => ProtectionProfile::AeadAes128Gcm,
                SrtpProfile::AeadAes256Gcm => ProtectionProfile::AeadAes256Gcm,
                SrtpProfile::Aes128CmHmacSha1_80 => ProtectionProfile::Aes128CmHmacSha1_80,
            };
            let (key, salt) = master(profile);
            let context = || {
                let window = option::srtp_replay_protection(WINDOW);
                let context = Context::new(&key, &salt, theirs, Some(window), None $(, $crypto)?);
                context.expect("keys of the right length")
            };
            let plain = plain(len);
            let mut sealing = context();
            assert_eq!(sealing.encrypt_rtp(&plain).expect("sealed"), packets(profile, len, 0, 1)[0]);
            group.bench_function(BenchmarkId::new(concat!("protect, by ", $name), name), |b| {
                b.iter(|| sealing.encrypt_rtp(black_box(&plain)));
            });
            group.bench_function(BenchmarkId::new(concat!("unprotect, by ", $name), name), |b| {
                b.iter_custom(|rounds| {
                    let mut opening = context();
                    time_open(profile, len, rounds, |packet| opening.decrypt_rtp(packet).is_ok())
                });
            });
        }
    };
}

theirs!(webrtc, "webrtc-srtp", webrtc_srtp);
theirs!(rtc, "rtc-srtp", rtc_srtp, AwsLcRsProvider::new().crypto());

/// A packet in clear. The same again and again: the senders do not mind.
fn plain(len: usize) -> Vec<u8> {
    let mut packet = vec![0x5a; 12 + len];
    bench::rtp::write_bare(&mut packet, SeqNo(1), 90_000).expect("room for a header");
    packet
}

fn profiles(c: &mut Criterion) {
    for profile in [SrtpProfile::AeadAes128Gcm, SrtpProfile::Aes128CmHmacSha1_80] {
        let mut group = c.benchmark_group(format!("SRTP {}", profile.name()));
        group.throughput(Throughput::Elements(1));
        for (name, len) in PAYLOADS {
            ours(&mut group, profile, name, len);
            webrtc(&mut group, profile, name, len);
            rtc(&mut group, profile, name, len);
        }
        group.finish();
    }
}

/// Time per packet; lay four keys side by side, write four headers, seal four times.
fn four(c: &mut Criterion) {
    let mut group = c.benchmark_group("SRTP AEAD_AES_128_GCM for four");
    group.throughput(Throughput::Elements(4));
    for (name, len) in PAYLOADS {
        if let Some(mut sealing) = SealingFour::new(len) {
            group.bench_function(BenchmarkId::new("protect", name), |b| b.iter(|| sealing.seal()));
        } else {
            println!("no AVX-512, VAES or VPCLMULQDQ here: four are not sealed at once");
        }
    }
    group.finish();
}

/// The window by itself, and what a repeated packet costs in all: the window is asked before the cipher.
fn replay(c: &mut Criterion) {
    let mut group = c.benchmark_group("replay window");
    for (name, lost) in [("next packet", 0), ("after 100 lost", 100)] {
        let mut replaying = Replaying::default();
        group.bench_function(name, |b| b.iter(|| black_box(&mut replaying).after_a_gap(black_box(lost))));
    }
    let mut replaying = Replaying::default();
    group.throughput(Throughput::Elements(2));
    group.bench_function("two swapped packets", |b| b.iter(|| black_box(&mut replaying).swapped()));
    group.throughput(Throughput::Elements(1));
    group.bench_function("repeated packet", |b| b.iter(|| black_box(&replaying).repeated()));
    let (mut opening, packet) = replayed(SrtpProfile::AeadAes128Gcm);
    group.bench_function("repeated packet, header parsed", |b| b.iter(|| opening.open(black_box(&packet))));
    group.finish();
}

criterion_group!(benches, profiles, four, replay);
criterion_main!(benches);
