//! Elements of EBML (RFC 8794): an id, a length, and octets.

/// Ids (RFC 8794 §11.2, RFC 9559 §5.1).
pub(super) mod id {
    pub(crate) const EBML: u32 = 0x1A45_DFA3;
    pub(crate) const EBML_VERSION: u32 = 0x4286;
    pub(crate) const EBML_READ_VERSION: u32 = 0x42F7;
    pub(crate) const EBML_MAX_ID_LENGTH: u32 = 0x42F2;
    pub(crate) const EBML_MAX_SIZE_LENGTH: u32 = 0x42F3;
    pub(crate) const DOC_TYPE: u32 = 0x4282;
    pub(crate) const DOC_TYPE_VERSION: u32 = 0x4287;
    pub(crate) const DOC_TYPE_READ_VERSION: u32 = 0x4285;
    pub(crate) const VOID: u32 = 0xEC;

    pub(crate) const SEGMENT: u32 = 0x1853_8067;
    pub(crate) const SEEK_HEAD: u32 = 0x114D_9B74;
    pub(crate) const SEEK: u32 = 0x4DBB;
    pub(crate) const SEEK_ID: u32 = 0x53AB;
    pub(crate) const SEEK_POSITION: u32 = 0x53AC;

    pub(crate) const INFO: u32 = 0x1549_A966;
    pub(crate) const TIMESTAMP_SCALE: u32 = 0x2A_D7B1;
    pub(crate) const DURATION: u32 = 0x4489;
    pub(crate) const DATE_UTC: u32 = 0x4461;
    pub(crate) const MUXING_APP: u32 = 0x4D80;
    pub(crate) const WRITING_APP: u32 = 0x5741;

    pub(crate) const TRACKS: u32 = 0x1654_AE6B;
    pub(crate) const TRACK_ENTRY: u32 = 0xAE;
    pub(crate) const TRACK_NUMBER: u32 = 0xD7;
    pub(crate) const TRACK_UID: u32 = 0x73C5;
    pub(crate) const TRACK_TYPE: u32 = 0x83;
    pub(crate) const FLAG_LACING: u32 = 0x9C;
    pub(crate) const NAME: u32 = 0x536E;
    pub(crate) const LANGUAGE: u32 = 0x22_B59C;
    pub(crate) const CODEC_ID: u32 = 0x86;
    pub(crate) const CODEC_PRIVATE: u32 = 0x63A2;
    pub(crate) const CODEC_DELAY: u32 = 0x56AA;
    pub(crate) const SEEK_PRE_ROLL: u32 = 0x56BB;
    pub(crate) const VIDEO: u32 = 0xE0;
    pub(crate) const PIXEL_WIDTH: u32 = 0xB0;
    pub(crate) const PIXEL_HEIGHT: u32 = 0xBA;
    pub(crate) const AUDIO: u32 = 0xE1;
    pub(crate) const SAMPLING_FREQUENCY: u32 = 0xB5;
    pub(crate) const CHANNELS: u32 = 0x9F;
    pub(crate) const BIT_DEPTH: u32 = 0x6264;

    pub(crate) const CLUSTER: u32 = 0x1F43_B675;
    pub(crate) const TIMESTAMP: u32 = 0xE7;
    pub(crate) const SIMPLE_BLOCK: u32 = 0xA3;
    pub(crate) const BLOCK_GROUP: u32 = 0xA0;
    pub(crate) const BLOCK: u32 = 0xA1;
    pub(crate) const REFERENCE_BLOCK: u32 = 0xFB;

    pub(crate) const CUES: u32 = 0x1C53_BB6B;
    pub(crate) const CUE_POINT: u32 = 0xBB;
    pub(crate) const CUE_TIME: u32 = 0xB3;
    pub(crate) const CUE_TRACK_POSITIONS: u32 = 0xB7;
    pub(crate) const CUE_TRACK: u32 = 0xF7;
    pub(crate) const CUE_CLUSTER_POSITION: u32 = 0xF1;
}

/// Lengths of masters and blocks are written in four octets: up to 2^28 - 2.
const SIZE_BYTES: usize = 4;
/// A length that is not known (RFC 8794 §6.2), in eight octets.
pub(super) const SIZE_UNKNOWN: [u8; 8] = [0x01, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];

/// Ids carry their length in themselves.
pub(super) fn push_id(out: &mut Vec<u8>, id: u32) {
    let bytes = id.to_be_bytes();
    out.extend_from_slice(&bytes[(id.leading_zeros() / 8) as usize..]);
}

fn push_size(out: &mut Vec<u8>, len: usize) {
    debug_assert!(len < (1 << 28) - 1, "bounded by what is in it");
    out.extend_from_slice(&(1 << 28 | len as u32).to_be_bytes());
}

/// A length in eight octets, so that it can take the place of [`SIZE_UNKNOWN`].
pub(super) const fn long_size(len: u64) -> [u8; 8] {
    (1 << 56 | len).to_be_bytes()
}

pub(super) fn push_binary(out: &mut Vec<u8>, id: u32, bytes: &[u8]) {
    push_id(out, id);
    push_size(out, bytes.len());
    out.extend_from_slice(bytes);
}

pub(super) fn push_text(out: &mut Vec<u8>, id: u32, text: &str) {
    push_binary(out, id, text.as_bytes());
}

pub(super) fn push_uint(out: &mut Vec<u8>, id: u32, value: u64) {
    let bytes = value.to_be_bytes();
    push_id(out, id);
    let skipped = (value.leading_zeros() / 8).min(7) as usize;
    out.push(0x80 | (bytes.len() - skipped) as u8);
    out.extend_from_slice(&bytes[skipped..]);
}

pub(super) fn push_float(out: &mut Vec<u8>, id: u32, value: f64) {
    push_binary(out, id, &value.to_be_bytes());
}

/// An element that has others.
pub(super) fn push_master(out: &mut Vec<u8>, id: u32, write: impl FnOnce(&mut Vec<u8>)) {
    push_id(out, id);
    let at = out.len();
    out.extend_from_slice(&[0; SIZE_BYTES]);
    write(out);
    let len = out.len() - at - SIZE_BYTES;
    debug_assert!(len < (1 << 28) - 1, "bounded by what is in it");
    out[at..at + SIZE_BYTES].copy_from_slice(&(1 << 28 | len as u32).to_be_bytes());
}

/// Octets without meaning, at least two, up to this length of the whole.
pub(super) fn push_void(out: &mut Vec<u8>, until: usize) {
    debug_assert!(out.len() + VOID_BYTES_MIN <= until, "there was room for it");
    push_id(out, id::VOID);
    out.extend_from_slice(&long_size((until - out.len() - 8) as u64));
    out.resize(until, 0);
}

/// What the head of a void of ours takes.
pub(super) const VOID_BYTES_MIN: usize = 9;

/// The head of an element: its id, the length of what is in it (`None`: unknown), and how long the head is.
/// `None` if there are not enough octets, or it is none.
pub(super) fn head(bytes: &[u8]) -> Option<(u32, Option<u64>, usize)> {
    let (id, id_len) = vint(bytes, 4, false)?;
    let (size, size_len) = vint(bytes.get(id_len..)?, 8, true)?;
    let unknown = (1u64 << (7 * size_len)) - 1;
    let id = u32::try_from(id).ok()?;
    Some((id, (size != unknown).then_some(size), id_len + size_len))
}

/// RFC 8794 §4: a number of up to `max` octets, with its marker or without, and how many it takes.
pub(super) fn vint(bytes: &[u8], max: usize, unmarked: bool) -> Option<(u64, usize)> {
    let first = *bytes.first()?;
    let len = first.leading_zeros() as usize + 1;
    if len > max {
        return None;
    }
    let value = bytes.get(..len)?.iter().fold(0, |value, octet| value << 8 | u64::from(*octet));
    Some((if unmarked { value & !(1 << (7 * len)) } else { value }, len))
}

/// Walks over the elements in `bytes`, as id and octets; ends at one that is cut or of unknown length.
pub(super) fn elements(mut bytes: &[u8]) -> impl Iterator<Item = (u32, &[u8])> {
    std::iter::from_fn(move || {
        let (id, size, head_len) = head(bytes)?;
        let (content, rest) = bytes.get(head_len..)?.split_at_checked(usize::try_from(size?).ok()?)?;
        bytes = rest;
        Some((id, content))
    })
}

/// An unsigned integer (RFC 8794 §7.2); `None` if it is too long.
pub(super) fn uint(content: &[u8]) -> Option<u64> {
    (content.len() <= 8).then(|| content.iter().fold(0, |value, octet| value << 8 | u64::from(*octet)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_come_back() {
        let mut out = Vec::new();
        push_master(&mut out, id::CLUSTER, |out| {
            push_uint(out, id::TIMESTAMP, 0);
            push_uint(out, id::TIMESTAMP, 0x1_0000);
            push_uint(out, id::TIMESTAMP, u64::MAX);
            push_text(out, id::NAME, "é");
            push_float(out, id::DURATION, 1.5);
        });
        push_void(&mut out, 200);
        assert_eq!(out.len(), 200);
        let whole: Vec<(u32, &[u8])> = elements(&out).collect();
        assert_eq!(whole.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [id::CLUSTER, id::VOID]);
        let inner: Vec<(u32, &[u8])> = elements(whole[0].1).collect();
        let numbers: Vec<Option<u64>> = inner[..3].iter().map(|(_, content)| uint(content)).collect();
        assert_eq!(numbers, [Some(0), Some(0x1_0000), Some(u64::MAX)]);
        assert_eq!(inner[0].1.len(), 1);
        assert_eq!(inner[3], (id::NAME, "é".as_bytes()));
        assert_eq!(inner[4], (id::DURATION, &1.5f64.to_be_bytes()[..]));
    }

    #[test]
    fn heads() {
        for (bytes, want) in [
            (&[][..], None),
            (&[0xa3], None),
            (&[0xa3, 0x81], Some((0xa3, Some(1), 2))),
            (&[0xa3, 0xff], Some((0xa3, None, 2))),
            (&[0xa3, 0x40, 0x02], Some((0xa3, Some(2), 3))),
            (&[0x1f, 0x43, 0xb6, 0x75, 0x10, 0, 0, 5], Some((id::CLUSTER, Some(5), 8))),
            (
                &[0x18, 0x53, 0x80, 0x67, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
                Some((id::SEGMENT, None, 12)),
            ),
            // Five octets of id, nine of length.
            (&[0x08, 0, 0, 0, 0, 0x81], None),
            (&[0xa3, 0x00, 0, 0, 0, 0, 0, 0, 0, 0], None),
        ] {
            assert_eq!(head(bytes), want, "{bytes:02x?}");
        }
        assert_eq!(head(&[&[0xa3][..], &SIZE_UNKNOWN].concat()), Some((0xa3, None, 9)));
        assert_eq!(head(&[&[0xa3][..], &long_size(7)].concat()), Some((0xa3, Some(7), 9)));
    }
}
