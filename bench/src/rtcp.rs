//! RTCP, a kind of compound a body. A body that reads looks at everything a compound tells, as the relay does: the
//! views of `relay_core` are lazy.

use relay_core::id::{SeqNo, Ssrc};
use relay_core::wire::rtcp::{
    ReportBlock, ReportBlocks, RtcpPacket, parse_compound, write_nack, write_pli, write_rr, write_sdes_cname,
    write_sr, write_transport_cc,
};

/// Writes a compound into a slot; its length.
pub type Write = fn(&mut [u8]) -> Option<usize>;

/// What is read and written.
pub const COMPOUNDS: [(&str, Write); 5] = [
    ("SR, SDES", sr_sdes),
    ("RR of 1 block", rr),
    ("NACK of 3 numbers", nack),
    ("PLI", pli),
    ("transport-cc of 64 packets", transport_cc),
];

const SENDER: Ssrc = Ssrc(1);
const MEDIA: Ssrc = Ssrc(2);
/// One packet each 5 ms, every eighth lost: vectors and runs, small deltas.
const DELTAS: [Option<i16>; 64] = {
    let mut deltas = [Some(20); 64];
    let mut lost = 7;
    while lost < deltas.len() {
        deltas[lost] = None;
        lost += 8;
    }
    deltas
};

pub fn sr_sdes(out: &mut [u8]) -> Option<usize> {
    let len = write_sr(out, SENDER, 1 << 40, 90_000, 1_000, 1_200_000, &[])?;
    Some(len + write_sdes_cname(out.get_mut(len..)?, SENDER, "a name as browsers make them")?)
}

pub fn rr(out: &mut [u8]) -> Option<usize> {
    let block = ReportBlock { ssrc: MEDIA, highest_seq: 70_000, jitter: 90, ..ReportBlock::default() };
    write_rr(out, SENDER, &[block])
}

pub fn nack(out: &mut [u8]) -> Option<usize> {
    write_nack(out, SENDER, MEDIA, &[SeqNo(10), SeqNo(12), SeqNo(40)])
}

pub fn pli(out: &mut [u8]) -> Option<usize> {
    write_pli(out, SENDER, MEDIA)
}

pub fn transport_cc(out: &mut [u8]) -> Option<usize> {
    write_transport_cc(out, SENDER, MEDIA, 1_000, 1, 5, &DELTAS)
}

/// A compound, made once.
pub fn compound(write: Write) -> Vec<u8> {
    let mut out = vec![0; 256];
    let len = write(&mut out).expect("256 octets are enough");
    out.truncate(len);
    out
}

/// Reads a compound; a sum over what it tells, 0 if it is none.
pub fn parse(compound: &[u8]) -> u64 {
    parse_compound(compound).map_or(0, |packets| packets.map(|packet| sum(&packet)).sum())
}

fn sum(packet: &RtcpPacket<'_>) -> u64 {
    let blocks = |blocks: ReportBlocks<'_>| blocks.map(|b| u64::from(b.highest_seq)).sum::<u64>();
    match packet {
        RtcpPacket::Sr(sr) => sr.ntp.wrapping_add(blocks(sr.blocks())),
        RtcpPacket::Rr(rr) => blocks(rr.blocks()),
        RtcpPacket::Sdes(sdes) => sdes.items().count() as u64,
        RtcpPacket::Nack(nack) => nack.seqs().map(|seq| u64::from(seq.0)).sum(),
        RtcpPacket::TransportCc(feedback) => feedback.received().map(|(seq, _)| u64::from(seq)).sum(),
        RtcpPacket::Pli(pli) => u64::from(pli.media_ssrc.0),
        _ => 0,
    }
}
