//! Inputs of the micro-benchmarks. `cargo bench -p bench` runs them; figures are only comparable within one run.
//!
//! Groups: the wire formats, SRTP, the queue between shards, and the fan-out of the real shard into an outbox that forgets.

use relay_core::id::{Pt, SeqNo, Ssrc};
use relay_core::wire::rtp::{HeaderFields, write_header};
use relay_core::wire::stun::{IntegrityKey, write_binding_request};

/// Packet sizes that matter: a video packet and an audio packet, in octets of payload.
pub const PAYLOADS: [(&str, usize); 2] = [("video 1200 B", 1_188), ("audio 120 B", 108)];

/// An ICE check as a browser sends it.
#[must_use]
pub fn binding_request(key: &IntegrityKey) -> Vec<u8> {
    let mut out = vec![0; 256];
    let len = write_binding_request(&mut out, [7; 12], b"abcdefgh:remote", 1, 2, true, key);
    out.truncate(len.unwrap_or(0));
    out
}

/// A header of ours with a MID, as the first packets of a stream have.
#[must_use]
pub fn header(seq: u16) -> ([u8; 64], usize) {
    let fields = HeaderFields {
        marker: true,
        padding: false,
        pt: Pt(96),
        seq: SeqNo(seq),
        timestamp: 90_000,
        ssrc: Ssrc(0x1234),
    };
    let mut out = [0; 64];
    let len = write_header(&mut out, &fields, &[(4, b"0")]).unwrap_or(0);
    (out, len)
}
