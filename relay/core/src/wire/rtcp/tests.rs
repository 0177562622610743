//! Tables for every message, in both directions, and compounds that must be refused as a whole.

use proptest::prelude::*;

use super::*;
use crate::id::SeqNo;

const A: Ssrc = Ssrc(0x0a0b_0c0d);
const B: Ssrc = Ssrc(0x8000_0001);
const HEX_A: &str = "0a0b0c0d";
const HEX_B: &str = "80000001";

fn written(write: impl Fn(&mut [u8]) -> Option<usize>) -> Vec<u8> {
    let mut out = [0xff; 2048];
    let len = write(&mut out).expect("room");
    assert_eq!(len % 4, 0);
    for room in 0..len {
        assert_eq!(write(&mut out[..room]), None, "room {room} of {len}");
    }
    assert_eq!(write(&mut out), Some(len));
    out[..len].to_vec()
}

fn bytes(hex_words: &[&str]) -> Vec<u8> {
    hex::decode(hex_words.concat()).expect("hex")
}

fn only(bytes: &[u8]) -> RtcpPacket<'_> {
    let mut it = parse_compound(bytes).expect("good");
    let packet = it.next().expect("one");
    assert!(it.next().is_none());
    packet
}

fn refused(hex_words: &[&str]) -> WireError {
    parse_compound(&bytes(hex_words)).map(|_| ()).expect_err("must be refused")
}

fn block(cumulative_lost: i32) -> ReportBlock {
    ReportBlock {
        ssrc: B,
        fraction_lost: 64,
        cumulative_lost,
        highest_seq: 0x1_0002,
        jitter: 3,
        lsr: 4,
        dlsr: 5,
    }
}

#[test]
fn reports() {
    let blocks = [block(-1), block(0x7f_ffff), block(-0x80_0000)];
    let sr = written(|out| write_sr(out, A, 0x0102_0304_0506_0708, 9, 10, 11, &blocks));
    assert!(sr.starts_with(&bytes(&[
        "83c80018",
        HEX_A,
        "0102030405060708",
        "00000009",
        "0000000a",
        "0000000b"
    ])));
    assert!(
        sr[28..].starts_with(&bytes(&[HEX_B, "40ffffff", "00010002", "00000003", "00000004", "00000005"]))
    );
    let RtcpPacket::Sr(report) = only(&sr) else { panic!("not a SR") };
    assert_eq!((report.sender_ssrc, report.ntp, report.rtp_timestamp), (A, 0x0102_0304_0506_0708, 9));
    assert_eq!((report.packet_count, report.octet_count), (10, 11));
    assert_eq!(report.blocks().collect::<Vec<_>>(), blocks);

    let rr = written(|out| write_rr(out, A, &blocks));
    let RtcpPacket::Rr(report) = only(&rr) else { panic!("not a RR") };
    assert_eq!(report.sender_ssrc, A);
    assert_eq!(report.blocks().collect::<Vec<_>>(), blocks);

    let clamped = written(|out| write_rr(out, A, &[block(i32::MAX), block(i32::MIN)]));
    let RtcpPacket::Rr(report) = only(&clamped) else { panic!("not a RR") };
    assert_eq!(report.blocks().map(|b| b.cumulative_lost).collect::<Vec<_>>(), [0x7f_ffff, -0x80_0000]);

    assert_eq!(write_rr(&mut [0; 2048], A, &[block(0); 32]), None, "the count has five bits");
    assert!(write_rr(&mut [0; 2048], A, &[block(0); 31]).is_some());
    // A profile-specific extension may follow the blocks.
    assert!(matches!(only(&bytes(&["80c90002", HEX_A, "01020304"])), RtcpPacket::Rr(_)));
    // More blocks than octets.
    assert_eq!(refused(&["81c90001", HEX_A]), WireError::Truncated);
    assert_eq!(refused(&["9fc80006", HEX_A, &"00000000".repeat(5)]), WireError::Truncated);
}

#[test]
fn descriptions() {
    for (cname, len) in [("", 12), ("a", 12), ("ab", 16), ("abcdef", 20), (&*"x".repeat(255), 268)] {
        let sdes = written(|out| write_sdes_cname(out, A, cname));
        assert_eq!(sdes.len(), len, "{cname}");
        let RtcpPacket::Sdes(sdes) = only(&sdes) else { panic!("not a SDES") };
        let want = SdesItem { ssrc: A, kind: SDES_CNAME, value: cname.as_bytes() };
        assert_eq!(sdes.items().collect::<Vec<_>>(), [want]);
    }
    assert_eq!(write_sdes_cname(&mut [0; 2048], A, &"x".repeat(256)), None);

    let two = bytes(&["82ca0006", HEX_A, "01026162", "02016300", HEX_B, "00000000", "00000000"]);
    // The second chunk is empty; behind it is a word that belongs to nobody.
    let RtcpPacket::Sdes(sdes) = only(&two) else { panic!("not a SDES") };
    let items: Vec<_> = sdes.items().map(|item| (item.ssrc, item.kind, item.value.to_vec())).collect();
    assert_eq!(items, [(A, 1, b"ab".to_vec()), (A, 2, b"c".to_vec())]);

    for (what, words) in [
        ("no chunk", &["81ca0000"][..]),
        ("no end of the items", &["81ca0001", HEX_A]),
        ("item past the end", &["81ca0002", HEX_A, "01ff6162"]),
        ("item up to the end, no zero", &["81ca0002", HEX_A, "01026162"]),
        ("second chunk missing", &["82ca0002", HEX_A, "00000000"]),
    ] {
        assert_eq!(refused(words), WireError::Truncated, "{what}");
    }
}

#[test]
fn goodbyes() {
    let bye = written(|out| write_bye(out, A));
    assert_eq!(bye, bytes(&["81cb0001", HEX_A]));
    for (words, want) in [
        (&["80cb0000"][..], &[][..]),
        (&["81cb0001", HEX_A], &[A]),
        (&["82cb0002", HEX_A, HEX_B], &[A, B]),
        (&["81cb0003", HEX_A, "05627965", "21210000"], &[A]),
        (&["80cb0001", "00000000"], &[]),
    ] {
        let bytes = bytes(words);
        let RtcpPacket::Bye(bye) = only(&bytes) else { panic!("not a BYE") };
        assert_eq!(bye.ssrcs().collect::<Vec<_>>(), want, "{words:?}");
    }
    assert_eq!(refused(&["82cb0001", HEX_A]), WireError::Truncated);
    assert_eq!(refused(&["81cb0002", HEX_A, "04626262"]), WireError::Truncated);
}

#[test]
fn nacks() {
    let table: [(&[u16], &[&str]); 7] = [
        (&[7], &["00070000"]),
        (&[7, 8, 23], &["00078001"]),
        (&[7, 7, 8], &["00070001"]),
        (&[7, 24], &["00070000", "00180000"]),
        (&[65_535, 0, 15], &["ffff8001"]),
        (&[65_535, 16], &["ffff0000", "00100000"]),
        (&[9, 8], &["00090000", "00080000"]),
    ];
    for (seqs, entries) in table {
        let seqs: Vec<_> = seqs.iter().copied().map(SeqNo).collect();
        let nack = written(|out| write_nack(out, A, B, &seqs));
        assert_eq!(nack[4..], bytes(&[&[HEX_A, HEX_B], entries].concat()), "{seqs:?}");
        let RtcpPacket::Nack(nack) = only(&nack) else { panic!("not a NACK") };
        assert_eq!((nack.sender_ssrc, nack.media_ssrc), (A, B));
        let mut want = seqs.clone();
        want.dedup();
        assert_eq!(nack.seqs().collect::<Vec<_>>(), want);
    }
    assert_eq!(write_nack(&mut [0; 64], A, B, &[]), None);
    let all = bytes(&["81cd0003", HEX_A, HEX_B, "fffeffff"]);
    let RtcpPacket::Nack(nack) = only(&all) else { panic!("not a NACK") };
    assert!(nack.seqs().map(|seq| seq.0).eq((0..17u16).map(|offset| 65_534u16.wrapping_add(offset))));
    assert_eq!(refused(&["81cd0002", HEX_A, HEX_B]), WireError::Truncated);
    assert_eq!(refused(&["81cd0001", HEX_A]), WireError::Truncated);
}

#[test]
fn keyframe_requests() {
    let pli = written(|out| write_pli(out, A, B));
    assert_eq!(pli, bytes(&["81ce0002", HEX_A, HEX_B]));
    let RtcpPacket::Pli(pli) = only(&pli) else { panic!("not a PLI") };
    assert_eq!(pli, Pli { sender_ssrc: A, media_ssrc: B });
    assert_eq!(refused(&["81ce0001", HEX_A]), WireError::Truncated);

    let fir = written(|out| write_fir(out, A, B, 200));
    assert_eq!(fir, bytes(&["84ce0004", HEX_A, "00000000", HEX_B, "c8000000"]));
    let RtcpPacket::Fir(fir) = only(&fir) else { panic!("not a FIR") };
    assert_eq!(fir.sender_ssrc, A);
    assert_eq!(fir.entries().collect::<Vec<_>>(), [FirEntry { ssrc: B, seq_nr: 200 }]);
    assert_eq!(refused(&["84ce0003", HEX_A, HEX_B, HEX_B]), WireError::BadLength);
}

#[test]
fn bitrates() {
    for (bitrate_bps, want) in [
        (0, 0),
        (1, 1),
        (0x3_ffff, 0x3_ffff),
        (0x4_0001, 0x4_0000),
        (2_500_000, 2_500_000),
        (u64::MAX, 0xffff_c000_0000_0000),
    ] {
        let remb = written(|out| write_remb(out, A, bitrate_bps, &[A, B]));
        let RtcpPacket::Remb(remb) = only(&remb) else { panic!("not a REMB") };
        assert_eq!((remb.sender_ssrc, remb.bitrate_bps), (A, want), "{bitrate_bps}");
        assert_eq!(remb.ssrcs().collect::<Vec<_>>(), [A, B]);
    }
    // draft-alvestrand-rmcat-remb-03 §2.2: mantissa times two to the exponent, whatever a peer puts there.
    let huge = bytes(&["8fce0004", HEX_A, "00000000", "52454d42", "00ffffff"]);
    let RtcpPacket::Remb(remb) = only(&huge) else { panic!("not a REMB") };
    assert_eq!(remb.bitrate_bps, u64::MAX);
    assert_eq!(refused(&["8fce0004", HEX_A, "00000000", "52454d42", "01000001"]), WireError::BadLength);
    assert_eq!(refused(&["8fce0003", HEX_A, "00000000", "52454d42"]), WireError::Truncated);
    let other = bytes(&["8fce0003", HEX_A, "00000000", "58595a20"]);
    assert!(matches!(only(&other), RtcpPacket::Other { pt: 206, count: 15 }));
    assert_eq!(write_remb(&mut [0; 2048], A, 1, &[A; 256]), None);
}

#[test]
fn compounds_stand_or_fall_as_a_whole() {
    let rr = &["80c90001", HEX_A].concat();
    let bye = &["81cb0001", HEX_A].concat();
    let xr = "80cf0000";
    let pads = ["a0c90002", HEX_A, "00000004"].concat();
    for (what, words, want) in [
        ("two", &[&**rr, bye][..], Ok(2)),
        ("reduced size", &[bye], Ok(1)),
        ("unknown type", &[rr, xr, bye], Ok(3)),
        ("padding", &[rr, &pads], Ok(2)),
        ("padding in the middle", &[&pads, rr], Ok(2)),
        ("empty", &[], Err(WireError::Truncated)),
        ("cut in a header", &[rr, "81cb"], Err(WireError::Truncated)),
        ("second one too long", &[rr, "81cb0002", HEX_A], Err(WireError::Truncated)),
        ("second one bad inside", &[rr, "83cb0001", HEX_A], Err(WireError::Truncated)),
        ("version 1", &[rr, "41cb0001", HEX_A], Err(WireError::BadVersion)),
        ("version 0 behind", &[rr, "00000000"], Err(WireError::BadVersion)),
        ("type of RTP", &[rr, "80600000"], Err(WireError::BadType)),
        ("padding of nothing", &["a0c90000"], Err(WireError::BadPadding)),
        ("padding of zero", &["a0c90002", HEX_A, "00000000"], Err(WireError::BadPadding)),
        ("padding of three", &["a0c90002", HEX_A, "00000003"], Err(WireError::BadPadding)),
        ("padding over the packet", &["a0c90002", HEX_A, "0000000c"], Err(WireError::BadPadding)),
        ("padding over the body", &["a0c90002", HEX_A, "00000008"], Err(WireError::Truncated)),
    ] {
        let bytes = bytes(words);
        let count = parse_compound(&bytes).map(|packets| packets.count());
        assert_eq!(count, want, "{what}");
    }
}

fn feedback(base_seq: u16, reference_time: i32, deltas: &[Option<i16>]) -> Vec<u8> {
    let mut out = [0xff; TRANSPORT_CC_BYTES_MAX + 8];
    let len = write_transport_cc(&mut out, A, B, base_seq, 9, reference_time, deltas).expect("room");
    assert!(len <= TRANSPORT_CC_BYTES_MAX);
    out[..len].to_vec()
}

fn check_feedback(base_seq: u16, reference_time: i32, deltas: &[Option<i16>]) {
    let bytes = feedback(base_seq, reference_time, deltas);
    let RtcpPacket::TransportCc(cc) = only(&bytes) else { panic!("not a transport-cc") };
    assert_eq!((cc.sender_ssrc, cc.media_ssrc, cc.fb_count), (A, B, 9));
    assert_eq!((cc.base_seq, cc.reference_time_64ms), (base_seq, reference_time));
    assert_eq!(usize::from(cc.status_count), deltas.len());
    let want: Vec<_> = (0..).map(|i| base_seq.wrapping_add(i)).zip(deltas.iter().copied()).collect();
    assert_eq!(cc.statuses().collect::<Vec<_>>(), want);
    let arrived: Vec<_> = want.iter().filter_map(|(seq, delta)| Some((*seq, (*delta)?))).collect();
    assert_eq!(cc.received().collect::<Vec<_>>(), arrived);
}

#[test]
fn transport_feedback_by_hand() {
    let mut mixed = vec![Some(0); 8];
    mixed.extend([None, Some(255), Some(256), Some(-1), Some(i16::MIN), None]);
    for deltas in [
        &[][..],
        &[Some(0)],
        &[None],
        &[Some(-1)],
        &[None; 8191],
        &[None; 8192],
        &[Some(4); 900],
        &[Some(4), None, Some(4)],
        &[Some(4), None, Some(400)],
        &mixed,
    ] {
        check_feedback(65_530, -0x80_0000, deltas);
        check_feedback(0, 0x7f_ffff, deltas);
    }
    let mut gap = vec![None; 65_535];
    gap[65_534] = Some(1);
    check_feedback(3, 0, &gap);
    // Seven words of header and counts, one run-length chunk, one delta, one octet of padding.
    assert_eq!(
        feedback(1, 2, &[Some(3)]),
        bytes(&["8fcd0005", HEX_A, HEX_B, "00010001", "00000209", "20010300"])
    );
    let too_many = [Some(4); 1300];
    assert_eq!(write_transport_cc(&mut [0; 4096], A, B, 0, 0, 0, &too_many), None, "over 1,200 octets");
    assert_eq!(write_transport_cc(&mut [0; 4096], A, B, 0, 0, 0, &vec![None; 65_536]), None);
}

/// Counts that lie (attack S23): a claim needs chunks and deltas behind it, and the work follows the octets.
#[test]
fn transport_feedback_that_lies() {
    let cc = |words: u8, count: &str, tail: &str| {
        bytes(&[&format!("8fcd00{words:02x}"), HEX_A, HEX_B, "0000", count, "00000000", tail])
    };
    for (what, words, count, tail, want) in [
        ("no statuses, no chunks", 4, "0000", "", Ok(())),
        ("statuses, no chunks", 4, "0001", "", Err(WireError::Truncated)),
        ("one chunk for 65,535", 5, "ffff", "1fff0000", Err(WireError::Truncated)),
        ("run of nothing, for ever", 5, "0001", "00000000", Err(WireError::Truncated)),
        ("run of received without deltas", 5, "1fff", "3fff0000", Err(WireError::Truncated)),
        ("run of the reserved symbol", 5, "0001", "60010000", Err(WireError::BadValue)),
        ("reserved symbol in a vector", 5, "0001", "f0000000", Err(WireError::BadValue)),
        ("reserved symbol behind the count", 5, "0001", "c0030000", Ok(())),
        ("run cut to the count", 5, "0001", "3fff0400", Ok(())),
        ("vector cut to the count", 5, "0001", "bfff0400", Ok(())),
        ("large delta cut", 5, "0002", "40020102", Err(WireError::Truncated)),
        ("65,535 lost in nine runs", 9, "ffff", "1fff1fff1fff1fff1fff1fff1fff1fff1fff0000", Ok(())),
    ] {
        let bytes = cc(words, count, tail);
        assert_eq!(parse_compound(&bytes).map(|_| ()), want, "{what}");
    }
    let bytes = cc(9, "ffff", "1fff1fff1fff1fff1fff1fff1fff1fff1fff0000");
    let RtcpPacket::TransportCc(cc) = only(&bytes) else { panic!("not a transport-cc") };
    assert_eq!(cc.received().count(), 0);
    assert_eq!(cc.statuses().count(), 65_535);
}

proptest! {
    #[test]
    fn transport_feedback_survives(
        base_seq: u16,
        reference_time in -0x80_0000..0x80_0000i32,
        runs in prop::collection::vec((0..4u8, 1..40usize, any::<i16>()), 0..12),
    ) {
        let mut deltas = Vec::new();
        for (kind, count, delta) in runs {
            deltas.extend(std::iter::repeat_n((kind > 0).then_some(if kind == 3 { delta } else { delta & 0x3f }), count));
        }
        check_feedback(base_seq, reference_time, &deltas);
    }

    #[test]
    fn any_octets_are_survived(mut bytes in prop::collection::vec(any::<u8>(), 4..200), pt in 200..208u8) {
        bytes[0] = (bytes[0] & 0x3f) | 0x80;
        bytes[1] = pt;
        let words = (bytes.len() / 4 - 1) as u16;
        bytes[2..4].copy_from_slice(&words.to_be_bytes());
        let whole = bytes.len() / 4 * 4;
        if let Ok(packets) = parse_compound(&bytes[..whole]) {
            prop_assert_eq!(packets.count(), 1);
        }
    }
}
