//! Payloads that say where they come from: a VP8-like packet with the room, the sender and a running number.

/// What a fake payload says.
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
/// What a payload is filled up with.
const FILL: u8 = 0x5a;

impl Payload {
    /// As octets, filled up to `len`.
    #[must_use]
    pub fn write(&self, len: usize) -> Vec<u8> {
        let mut out = vec![DESCRIPTOR, if self.keyframe { 0 } else { INTERFRAME }];
        out.extend_from_slice(&self.room.to_be_bytes());
        out.extend_from_slice(&self.sender.to_be_bytes());
        out.extend_from_slice(&self.number.to_be_bytes());
        out.resize(len.max(out.len()), FILL);
        out
    }

    /// From octets; `None` if they are no payload of ours.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let (&[descriptor, frame], rest) = bytes.split_first_chunk::<2>()?;
        let (room, rest) = rest.split_first_chunk::<8>()?;
        let (sender, rest) = rest.split_first_chunk::<4>()?;
        let (number, fill) = rest.split_first_chunk::<4>()?;
        let whole = descriptor == DESCRIPTOR && fill.iter().all(|octet| *octet == FILL);
        whole.then_some(Self {
            room: u64::from_be_bytes(*room),
            sender: u32::from_be_bytes(*sender),
            number: u32::from_be_bytes(*number),
            keyframe: frame & 1 == 0,
        })
    }
}
