//! RTP headers: read, written, renumbered for a subscriber.

use relay_core::down::Rewriter;
use relay_core::id::{Pt, SeqNo, Ssrc};
use relay_core::time::Time;
use relay_core::wire::rtp::{HeaderFields, RtpHeader, write_header};

/// Id of the extension that carries a MID.
const MID: u8 = 4;

/// Writes a header with a MID, as the first packets of a stream have.
pub fn write(out: &mut [u8], seq: u16) -> Option<usize> {
    write_header(out, &fields(SeqNo(seq), 90_000), &[(MID, b"0")])
}

/// Such a header and a payload of `len` octets, in clear.
pub fn packet(len: usize) -> Vec<u8> {
    let mut header = [0; 64];
    let header_len = write(&mut header, 1).expect("64 octets are enough");
    [&header[..header_len], &vec![0x5a; len]].concat()
}

pub fn parse(packet: &[u8]) -> bool {
    RtpHeader::parse(packet).is_ok_and(|header| header.elements(packet).find(MID).is_some())
}

/// Writes the twelve octets that most packets begin with.
pub fn write_bare(out: &mut [u8], seq: SeqNo, timestamp: u32) -> Option<usize> {
    write_header(out, &fields(seq, timestamp), &[])
}

pub const SSRC: Ssrc = Ssrc(0x1234);

fn fields(seq: SeqNo, timestamp: u32) -> HeaderFields {
    HeaderFields { marker: true, padding: false, pt: Pt(96), seq, timestamp, ssrc: SSRC }
}

/// A subscriber's numbers, and the next of the publisher's.
pub struct Rewriting {
    rewriter: Rewriter,
    next: u64,
}

impl Default for Rewriting {
    /// In the midst of a stream.
    fn default() -> Self {
        let mut rewriting = Self { rewriter: Rewriter::new(7, 1_000, 90_000), next: 1 };
        rewriting.next(&mut [0; 64]);
        rewriting
    }
}

impl Rewriting {
    /// Gives the publisher's next packet the subscriber's numbers and writes its header.
    pub fn next(&mut self, out: &mut [u8]) -> Option<usize> {
        let (seq, at) = (self.next, Time::from_nanos(self.next * 1_000_000));
        self.next += 1;
        let own = self.rewriter.rewrite(seq, seq as u32 * 90, at)?;
        write_bare(out, own.seq(), own.timestamp)
    }
}
