//! What must hold for whatever a sender, a network or an attacker does.

use super::super::{
    OpenContext, OpenError, RETIRED_MAX, SSRCS_MAX, SealContext, SealFour, SrtpProfile, WINDOW_PACKETS,
};
use super::{header, open};
use crate::id::{SeqNo, Ssrc};
use crate::wire::rtp::RtpHeader;

const SSRC: Ssrc = Ssrc(0xdeca_fbad);

fn pair(profile: SrtpProfile) -> (SealContext, OpenContext) {
    let key: Vec<u8> = (0..profile.key_len() as u8).collect();
    let salt: Vec<u8> = (100..100 + profile.salt_len() as u8).collect();
    (SealContext::new(profile, &key, &salt), OpenContext::new(profile, &key, &salt))
}

fn seal(context: &SealContext, ssrc: Ssrc, index: u64, payload: &[u8]) -> Vec<u8> {
    let mut slot = [0; 1500];
    slot[..12].copy_from_slice(&header(index as u16, ssrc));
    let len = context.seal_rtp(&mut slot, 12, ssrc, index, payload).unwrap();
    slot[..len].to_vec()
}

/// F22: the first packets up to and beyond a wrap are lost; nothing that arrives afterwards may stay shut.
#[test]
fn f22_loss_around_the_wrap() {
    for profile in [SrtpProfile::AeadAes128Gcm, SrtpProfile::Aes128CmHmacSha1_80] {
        let (sender, _) = pair(profile);
        for start in 65_000..=65_535u64 {
            for lost in 0..=300u64 {
                let (_, mut receiver) = pair(profile);
                for index in [start + lost, start + lost + 1] {
                    let (opened, _) =
                        open(&mut receiver, &seal(&sender, SSRC, index, b"")).unwrap_or_else(|error| {
                            panic!("{}: start {start}, lost {lost}, index {index}: {error:?}", profile.name())
                        });
                    assert_eq!(opened.index, index);
                }
            }
        }
    }
}

/// F22: runs lost across each of three wraps.
#[test]
fn f22_three_wraps() {
    for profile in SrtpProfile::ALL {
        let (sender, _) = pair(profile);
        for start in (65_000..=65_535u64).step_by(67) {
            for lost in (0..=300u64).step_by(20) {
                let (_, mut receiver) = pair(profile);
                for round in 0..3 {
                    let before = start + (round << 16);
                    // After the wrap, far steps (all between was lost) until shortly before the next.
                    for index in [before, before + lost + 1, before + 400, before + 30_000, before + 60_000] {
                        let (opened, _) = open(&mut receiver, &seal(&sender, SSRC, index, b"x")).unwrap();
                        assert_eq!(opened.index, index, "{}: start {start}, lost {lost}", profile.name());
                    }
                }
            }
        }
    }
}

/// F22: packets that arrive late across the wrap open as what they are.
#[test]
fn f22_reordered_across_the_wrap() {
    for profile in SrtpProfile::ALL {
        let (sender, mut receiver) = pair(profile);
        for index in [65_530, 65_540, 65_535, 65_536, 65_531, 66_000, 65_534, 65_537] {
            assert_eq!(open(&mut receiver, &seal(&sender, SSRC, index, b"x")).unwrap().0.index, index);
        }
    }
}

/// A retransmission of a packet from before the wrap, in an RTX stream that wraps itself.
#[test]
fn rtx_across_the_wrap() {
    for profile in SrtpProfile::ALL {
        let (sender, mut receiver) = pair(profile);
        for (index, osn) in [(65_534u64, 65_530u16), (65_535, 65_535), (65_536, 0), (65_537, 65_533)] {
            let mut slot = [0; 1500];
            slot[..12].copy_from_slice(&header(index as u16, SSRC));
            let len = sender.seal_rtx(&mut slot, 12, SSRC, index, SeqNo(osn), b"payload").unwrap();
            let (opened, payload) = open(&mut receiver, &slot[..len]).unwrap();
            assert_eq!(opened.index, index);
            assert_eq!(payload, [&osn.to_be_bytes()[..], b"payload"].concat());
        }
    }
}

/// S07: every packet opens once, whatever the order it is replayed in.
#[test]
fn s07_replays_open_once() {
    let count = WINDOW_PACKETS as usize - 24;
    let forwards: Vec<usize> = (0..count).collect();
    let backwards: Vec<usize> = (0..count).rev().collect();
    // 613 is prime and does not divide the count: each once, far from in order.
    let shuffled: Vec<usize> = (0..count).map(|at| at * 613 % count).collect();
    for profile in SrtpProfile::ALL {
        let (sender, _) = pair(profile);
        let packets: Vec<Vec<u8>> =
            (65_000..).take(count).map(|index| seal(&sender, SSRC, index, b"replay")).collect();
        for orders in [
            [&forwards, &backwards, &shuffled],
            [&backwards, &shuffled, &forwards],
            [&shuffled, &forwards, &backwards],
        ] {
            let (_, mut receiver) = pair(profile);
            let mut opened = vec![0; count];
            for &at in orders.into_iter().flatten() {
                match open(&mut receiver, &packets[at]) {
                    Ok(_) => opened[at] += 1,
                    Err(error) => assert_eq!(error, OpenError::Replay),
                }
            }
            assert!(opened.iter().all(|&times| times == 1), "{}: {opened:?}", profile.name());
        }
    }
}

/// S06, S05: what is forged changes nothing, be it new SSRCs, far-away sequence numbers or torn packets.
#[test]
fn s06_only_a_good_tag_moves_the_window() {
    for profile in SrtpProfile::ALL {
        let (sender, mut receiver) = pair(profile);
        open(&mut receiver, &seal(&sender, SSRC, 1000, b"first")).unwrap();
        for far in [1001u16, 1500, 20_000, 33_000, 33_768, 60_000, 999] {
            let mut forged = seal(&sender, SSRC, u64::from(far), b"forged");
            *forged.last_mut().unwrap() ^= 1;
            assert_eq!(open(&mut receiver, &forged).map(drop), Err(OpenError::Auth), "seq {far}");
        }
        for ssrc in 0..1000 {
            let mut forged = seal(&sender, Ssrc(ssrc), 1, b"forged");
            forged[20] ^= 0x80;
            assert_eq!(open(&mut receiver, &forged).map(drop), Err(OpenError::Auth), "ssrc {ssrc}");
        }
        let good = seal(&sender, SSRC, 1001, b"second");
        for len in 0..good.len() {
            assert!(open(&mut receiver, &good[..len]).is_err(), "{len} octets");
        }
        assert_eq!(open(&mut receiver, &good).unwrap().0.index, 1001);
    }
}

#[test]
fn ssrcs_are_limited_and_apart() {
    for profile in SrtpProfile::ALL {
        let (mut sender, mut receiver) = pair(profile);
        for ssrc in 0..SSRCS_MAX as u32 {
            // #1584 of another relay: one roll-over counter for all SSRCs silenced the second.
            for index in [65_535, 65_536 + u64::from(ssrc)] {
                assert_eq!(
                    open(&mut receiver, &seal(&sender, Ssrc(ssrc), index, b"")).unwrap().0.index,
                    index
                );
            }
        }
        assert!(open(&mut receiver, &seal(&sender, Ssrc(3), 65_999, b"")).is_ok(), "known ones go on");
        let all = (SSRCS_MAX + RETIRED_MAX) as u32;
        for ssrc in SSRCS_MAX as u32..all {
            assert!(open(&mut receiver, &seal(&sender, Ssrc(ssrc), 1, b"")).is_ok(), "ssrc {ssrc}");
        }
        let one_more = seal(&sender, Ssrc(all), 1, b"");
        assert_eq!(open(&mut receiver, &one_more).map(drop), Err(OpenError::SsrcLimit));
        assert!(open(&mut receiver, &seal(&sender, Ssrc(3), 66_000, b"")).is_ok(), "known ones go on");

        for ssrc in 0..=all {
            let mut slot = [0; 64];
            slot[..4].copy_from_slice(&[0x80, 201, 0, 1]);
            slot[4..8].copy_from_slice(&ssrc.to_be_bytes());
            let len = sender.seal_rtcp(8, &mut slot).unwrap();
            let want = if ssrc < all { Ok(8) } else { Err(OpenError::SsrcLimit) };
            assert_eq!(receiver.open_rtcp(&mut slot[..len]), want, "ssrc {ssrc}");
        }
    }
}

/// Whatever the order of SSRCs and indices, no packet is opened twice, and an SSRC that comes back goes on
/// (RFC 3711 §3.3.2).
#[test]
fn no_packet_is_opened_twice_however_many_ssrcs_were_used_meanwhile() {
    let (sender, mut receiver) = pair(SrtpProfile::AeadAes128Gcm);
    let (mut opened, mut highest) = (std::collections::BTreeSet::new(), [0u64; 40]);
    let mut state = 1u64;
    let mut random = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    for _ in 0..40_000 {
        // Some are heard often, most seldom, so that places change all the time.
        let ssrc = if random(2) == 0 { random(8) } else { random(40) };
        let last = &mut highest[ssrc as usize];
        let index = (*last + random(1_500)).saturating_sub(500);
        let packet = seal(&sender, Ssrc(ssrc as u32), index, b"");
        match open(&mut receiver, &packet) {
            Ok((done, _)) => {
                assert_eq!(done.index, index);
                assert!(opened.insert((ssrc, index)), "{index} of {ssrc} twice");
            }
            Err(why) => {
                assert_eq!(why, OpenError::Replay, "{index} of {ssrc}");
                assert!(index <= *last, "{index} of {ssrc} is new");
            }
        }
        *last = index.max(*last);
    }
    assert!(highest.iter().all(|last| *last > 65_536), "{highest:?}");
}

#[test]
fn who_gave_its_place_away_keeps_its_counter() {
    let (sender, mut receiver) = pair(SrtpProfile::Aes128CmHmacSha1_80);
    for index in (0..=400_000).step_by(20_000) {
        assert!(open(&mut receiver, &seal(&sender, SSRC, index, b"")).is_ok());
    }
    for ssrc in 0..SSRCS_MAX as u32 {
        assert!(open(&mut receiver, &seal(&sender, Ssrc(ssrc), 7, b"")).is_ok());
    }
    for (index, want) in [
        (399_999, Err(OpenError::Replay)), // late, but it cannot be told from one that was seen
        (400_000, Err(OpenError::Replay)),
        (400_003, Ok(400_003)),
        (400_001, Ok(400_001)),
        (400_001, Err(OpenError::Replay)),
        (399_500, Err(OpenError::Replay)),
        (400_004, Ok(400_004)),
    ] {
        let outcome = open(&mut receiver, &seal(&sender, SSRC, index, b"")).map(|(opened, _)| opened.index);
        assert_eq!(outcome, want, "{index}");
    }
}

#[test]
fn rtcp_survives_reordering_and_forgery() {
    for profile in SrtpProfile::ALL {
        let (mut sender, mut receiver) = pair(profile);
        let mut packets: Vec<Vec<u8>> = (0..50u8)
            .map(|n| {
                let mut slot = [0; 64];
                slot[..12].copy_from_slice(&[0x81, 206, 0, 2, 0, 0, 0, 7, 0, 0, 0, n]);
                let len = sender.seal_rtcp(12, &mut slot).unwrap();
                slot[..len].to_vec()
            })
            .collect();
        packets.reverse();
        for packet in &packets {
            for len in 0..packet.len() {
                assert!(receiver.open_rtcp(&mut packet[..len].to_vec()).is_err());
            }
            assert_eq!(receiver.open_rtcp(&mut packet.clone()), Ok(12));
            assert_eq!(receiver.open_rtcp(&mut packet.clone()), Err(OpenError::Replay));
        }
    }
}

#[test]
fn short_buffers_are_refused() {
    for profile in SrtpProfile::ALL {
        let (mut sender, mut receiver) = pair(profile);
        let tag = profile.rtp_tag_len();
        for room in 0..22 + tag {
            let mut slot = vec![0; room.max(12)];
            slot[..12].copy_from_slice(&header(9, SSRC));
            assert_eq!(
                sender.seal_rtp(&mut slot[..room.max(12)], 12, SSRC, 9, &[7; 10]),
                None,
                "{room} octets"
            );
            assert_eq!(sender.seal_rtx(&mut slot, 12, SSRC, 9, SeqNo(1), &[7; 8]), None, "{room} octets");
        }
        let mut rtcp = [0; 8 + super::super::RTCP_OVERHEAD_MAX];
        assert_eq!(sender.seal_rtcp(8, &mut rtcp[..8 + profile.rtcp_trailer_len() - 1]), None);
        assert_eq!(sender.seal_rtcp(7, &mut rtcp), None, "no sender SSRC");
        assert_eq!(sender.seal_rtcp(8, &mut rtcp), Some(8 + profile.rtcp_trailer_len()));

        let packet = seal(&sender, SSRC, 1, &[1; 10]);
        let header = RtpHeader::parse(&packet).unwrap();
        assert_eq!(receiver.open_rtp(&header, &packet, &mut [0; 9]), Err(OpenError::NoRoom));
        assert!(receiver.open_rtp(&header, &packet, &mut [0; 10]).is_ok());
    }
}

#[test]
fn indices_end() {
    let (sender, _) = pair(SrtpProfile::AeadAes128Gcm);
    let mut slot = [0; 64];
    slot[..12].copy_from_slice(&header(0, SSRC));
    assert_eq!(sender.seal_rtp(&mut slot, 12, SSRC, 1 << 48, b""), None);
    slot[..12].copy_from_slice(&header(0xffff, SSRC));
    assert!(sender.seal_rtp(&mut slot, 12, SSRC, (1 << 48) - 1, b"").is_some());
}

#[test]
fn secrets_stay_out_of_debug() {
    let (sender, receiver) = pair(SrtpProfile::AeadAes128Gcm);
    assert_eq!(format!("{sender:?}"), "SealContext { profile: AeadAes128Gcm, .. }");
    assert_eq!(format!("{receiver:?}"), "OpenContext { profile: AeadAes128Gcm, .. }");
}

/// Four contexts at once give the octets that each gives alone, for any length; whoever cannot be one of four
/// says so.
#[test]
fn four_at_once_are_sealed_as_each_alone() {
    let keys = |n: u8| ([n; 16], [n ^ 0x5a; 12]);
    let contexts = [1, 2, 3, 4].map(|n| {
        let (key, salt) = keys(n);
        SealContext::new(SrtpProfile::AeadAes128Gcm, &key, &salt).with_lane(&key, &salt)
    });
    let [a, b, c, d] = &contexts;
    let Some(four) = SealFour::new([a, b, c, d]) else {
        assert!(!relay_gcm::is_supported());
        return;
    };
    for (payload_len, header_len) in [(0, 12), (1, 12), (108, 20), (1_188, 12), (1_440, 32)] {
        let payload: Vec<u8> = (0..payload_len).map(|i| i as u8).collect();
        let at = [1u16, 2, 0xffff, 4].map(|n| (Ssrc(u32::from(n)), (1 << 20) | u64::from(n)));
        let mut slots = at.map(|(ssrc, index)| {
            let mut slot = [0x90; 1_500];
            slot[2..4].copy_from_slice(&(index as u16).to_be_bytes());
            slot[8..12].copy_from_slice(&ssrc.0.to_be_bytes());
            slot
        });
        let mut alone = slots;
        let len = four.seal_rtp(slots.each_mut().map(|slot| &mut slot[..]), header_len, at, &payload);
        for ((slot, context), (ssrc, index)) in alone.iter_mut().zip(&contexts).zip(at) {
            assert_eq!(context.seal_rtp(slot, header_len, ssrc, index, &payload), len);
        }
        assert!(slots == alone, "{payload_len} octets behind {header_len}");
    }
    let mut short = [[0; 40]; 4];
    let at = [(Ssrc(0), 0); 4];
    assert_eq!(four.seal_rtp(short.each_mut().map(|slot| &mut slot[..]), 12, at, &[0; 13]), None, "no room");
    let end = [(Ssrc(0), 0), (Ssrc(0), 0), (Ssrc(0), 1 << 48), (Ssrc(0), 0)];
    assert_eq!(four.seal_rtp(short.each_mut().map(|slot| &mut slot[..]), 12, end, &[]), None, "no index");

    let (key, salt) = keys(1);
    let plain = SealContext::new(SrtpProfile::AeadAes128Gcm, &key, &salt);
    assert!(SealFour::new([a, b, c, &plain]).is_none());
    let other = SealContext::new(SrtpProfile::Aes128CmHmacSha1_80, &key, &[0; 14]).with_lane(&key, &[0; 14]);
    assert!(SealFour::new([a, b, c, &other]).is_none());
}
