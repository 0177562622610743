use relay_core::wire::rtcp::{
    RtcpPacket, SDES_CNAME, TransportCc, parse_compound, write_bye, write_fir, write_nack, write_pli,
    write_remb, write_rr, write_sdes_cname, write_sr, write_transport_cc,
};

/// RTCP compounds: the work is bounded by the octets, and what we write of a packet says the same again.
pub fn rtcp(data: &[u8]) {
    let Ok(packets) = parse_compound(data) else { return };
    assert!(!data.is_empty() && data.len().is_multiple_of(4));
    let mut count = 0;
    for packet in packets {
        count += 1;
        writes_back(&packet, data.len());
    }
    assert!((1..=data.len() / 4).contains(&count));
}

/// Reads the one packet that `write` makes.
fn again<T>(
    write: impl FnOnce(&mut [u8]) -> Option<usize>,
    read: impl FnOnce(RtcpPacket<'_>) -> Option<T>,
) -> Option<T> {
    let mut out = vec![0; 4 << 16];
    let len = write(&mut out)?;
    let mut packets = parse_compound(&out[..len]).expect("our own");
    let packet = packets.next().expect("one packet");
    assert!(packets.next().is_none());
    Some(read(packet).expect("the same kind"))
}

fn writes_back(packet: &RtcpPacket<'_>, octets: usize) {
    match packet {
        RtcpPacket::Sr(sr) => {
            let blocks: Vec<_> = sr.blocks().collect();
            let write = |out: &mut [u8]| {
                write_sr(
                    out,
                    sr.sender_ssrc,
                    sr.ntp,
                    sr.rtp_timestamp,
                    sr.packet_count,
                    sr.octet_count,
                    &blocks,
                )
            };
            again(write, |packet| {
                let RtcpPacket::Sr(read) = packet else { return None };
                assert_eq!(
                    (read.sender_ssrc, read.ntp, read.rtp_timestamp),
                    (sr.sender_ssrc, sr.ntp, sr.rtp_timestamp)
                );
                assert_eq!((read.packet_count, read.octet_count), (sr.packet_count, sr.octet_count));
                assert!(read.blocks().eq(blocks.iter().copied()));
                Some(())
            })
            .expect("at most 31 blocks");
        }
        RtcpPacket::Rr(rr) => {
            let blocks: Vec<_> = rr.blocks().collect();
            again(
                |out| write_rr(out, rr.sender_ssrc, &blocks),
                |packet| {
                    let RtcpPacket::Rr(read) = packet else { return None };
                    assert_eq!(read.sender_ssrc, rr.sender_ssrc);
                    assert!(read.blocks().eq(blocks.iter().copied()));
                    Some(())
                },
            )
            .expect("at most 31 blocks");
        }
        RtcpPacket::Sdes(sdes) => sdes_items(sdes, octets),
        RtcpPacket::Bye(bye) => {
            assert!(bye.ssrcs().count() <= 31);
            for ssrc in bye.ssrcs() {
                again(
                    |out| write_bye(out, ssrc),
                    |packet| {
                        let RtcpPacket::Bye(read) = packet else { return None };
                        assert!(read.ssrcs().eq([ssrc]));
                        Some(())
                    },
                )
                .expect("one source");
            }
        }
        RtcpPacket::TransportCc(cc) => transport_cc(cc, octets),
        _ => feedback(packet, octets),
    }
}

fn sdes_items(sdes: &relay_core::wire::rtcp::Sdes<'_>, octets: usize) {
    let mut told = 0;
    for item in sdes.items() {
        told += 2 + item.value.len();
        assert!(told <= octets);
        assert_ne!(item.kind, 0);
        let Ok(text) = str::from_utf8(item.value) else { continue };
        again(
            |out| write_sdes_cname(out, item.ssrc, text),
            |packet| {
                let RtcpPacket::Sdes(read) = packet else { return None };
                let read: Vec<_> = read.items().collect();
                assert_eq!(read.len(), 1);
                assert_eq!((read[0].ssrc, read[0].kind, read[0].value), (item.ssrc, SDES_CNAME, item.value));
                Some(())
            },
        )
        .expect("at most 255 octets");
    }
}

fn feedback(packet: &RtcpPacket<'_>, octets: usize) {
    match packet {
        RtcpPacket::Nack(nack) => {
            let seqs: Vec<_> = nack.seqs().collect();
            assert!(!seqs.is_empty() && seqs.len() <= octets / 4 * 17);
            let mut sorted = seqs.clone();
            sorted.sort_unstable_by_key(|seq| seq.0);
            sorted.dedup();
            let read = again(
                |out| write_nack(out, nack.sender_ssrc, nack.media_ssrc, &sorted),
                |packet| match packet {
                    RtcpPacket::Nack(read) => Some(read.seqs().collect::<Vec<_>>()),
                    _ => None,
                },
            );
            assert_eq!(read, Some(sorted));
        }
        RtcpPacket::Pli(pli) => {
            let read = again(
                |out| write_pli(out, pli.sender_ssrc, pli.media_ssrc),
                |packet| if let RtcpPacket::Pli(read) = packet { Some(read) } else { None },
            );
            assert_eq!(read, Some(*pli));
        }
        RtcpPacket::Fir(fir) => {
            assert!(fir.entries().count() <= octets / 8);
            for entry in fir.entries() {
                let read = again(
                    |out| write_fir(out, fir.sender_ssrc, entry.ssrc, entry.seq_nr),
                    |packet| if let RtcpPacket::Fir(read) = packet { read.entries().next() } else { None },
                );
                assert_eq!(read, Some(entry));
            }
        }
        RtcpPacket::Remb(remb) => {
            let ssrcs: Vec<_> = remb.ssrcs().collect();
            assert!(ssrcs.len() <= 255);
            let read = again(
                |out| write_remb(out, remb.sender_ssrc, remb.bitrate_bps, &ssrcs),
                |packet| match packet {
                    RtcpPacket::Remb(read) => Some((read.bitrate_bps, read.ssrcs().collect::<Vec<_>>())),
                    _ => None,
                },
            )
            .expect("at most 255 sources");
            assert_eq!(read.1, ssrcs);
            assert!(read.0 == remb.bitrate_bps || remb.bitrate_bps == u64::MAX, "eighteen bits survive");
        }
        _ => {}
    }
}

fn transport_cc(cc: &TransportCc<'_>, octets: usize) {
    let statuses: Vec<_> = cc.statuses().collect();
    assert_eq!(statuses.len(), usize::from(cc.status_count));
    assert!(
        statuses.iter().map(|(seq, _)| *seq).eq((0..cc.status_count).map(|i| cc.base_seq.wrapping_add(i)))
    );
    let arrived = statuses.iter().filter_map(|(seq, delta)| Some((*seq, (*delta)?)));
    assert!(cc.received().eq(arrived));
    assert!(cc.received().count() <= octets);
    let deltas: Vec<_> = statuses.iter().map(|(_, delta)| *delta).collect();
    let write = |out: &mut [u8]| {
        let time = cc.reference_time_64ms;
        write_transport_cc(out, cc.sender_ssrc, cc.media_ssrc, cc.base_seq, cc.fb_count, time, &deltas)
    };
    // What is over the 1,200 octets that we would send is refused, so there may be nothing to read back.
    let _ = again(write, |packet| {
        let RtcpPacket::TransportCc(read) = packet else { return None };
        assert_eq!(
            (read.base_seq, read.status_count, read.fb_count),
            (cc.base_seq, cc.status_count, cc.fb_count)
        );
        assert_eq!((read.sender_ssrc, read.media_ssrc), (cc.sender_ssrc, cc.media_ssrc));
        assert_eq!(read.reference_time_64ms, cc.reference_time_64ms);
        assert!(read.statuses().eq(statuses.iter().copied()));
        Some(())
    });
}
