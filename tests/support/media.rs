//! Payloads that say where they come from: VP8 in front, behind it a mark with the room, the sender and a
//! running number.

use ringvox_client::mark::{Filling, MARK_BYTES, Mark};
use std::sync::LazyLock;

/// The contents of a test payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Payload {
    /// Room of the sender.
    pub room: u64,
    /// The sender's index in the world.
    pub sender: u32,
    /// 0 for the first packet of the track, then one more each.
    pub number: u32,
    /// First packet of a keyframe.
    pub keyframe: bool,
}

/// VP8 payload descriptor with S set, partition 0 (RFC 7741 §4.2).
const DESCRIPTOR: u8 = 0x10;
/// First octet of the VP8 payload header: its lowest bit is clear in a keyframe (RFC 7741 §4.3).
const INTERFRAME: u8 = 1;

static FILLING: LazyLock<Filling> = LazyLock::new(Filling::default);

impl Payload {
    /// Its octets, padded to `len`.
    #[must_use]
    pub fn write(&self, len: usize) -> Vec<u8> {
        let mut out = vec![DESCRIPTOR; len.max(2 + MARK_BYTES)];
        out[1] = if self.keyframe { 0 } else { INTERFRAME };
        let room = u32::try_from(self.room).expect("few rooms");
        let mark = Mark { room, stream: self.sender, number: self.number.into(), sent_ns: 0 };
        FILLING.write(&mark, &mut out[2..]);
        out
    }

    /// From octets; `None` if they are no payload of ours.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let (&[descriptor, frame], rest) = bytes.split_first_chunk::<2>()?;
        let mark = FILLING.read(rest).filter(|_| descriptor == DESCRIPTOR)?;
        let number = mark.number.try_into().ok()?;
        Some(Self { room: mark.room.into(), sender: mark.stream, number, keyframe: frame & INTERFRAME == 0 })
    }
}
