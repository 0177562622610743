//! IVF: the container that libvpx and FFmpeg keep VP8 in. A header of 32 octets, then frames behind a header
//! of 12.

const HEADER_BYTES: usize = 32;
const FRAME_HEADER_BYTES: usize = 12;

/// The header of a file with this picture size, whose frames have timestamps of 90 kHz.
pub(crate) fn header((width, height): (u16, u16)) -> Vec<u8> {
    let mut out = b"DKIF\0\0\x20\0VP80".to_vec();
    out.extend_from_slice(&width.to_le_bytes());
    out.extend_from_slice(&height.to_le_bytes());
    out.extend_from_slice(&90_000u32.to_le_bytes());
    out.extend_from_slice(&1u32.to_le_bytes());
    out.resize(HEADER_BYTES, 0);
    out
}

pub(crate) fn push(out: &mut Vec<u8>, timestamp: u64, frame: &[u8]) {
    out.extend_from_slice(&(frame.len() as u32).to_le_bytes());
    out.extend_from_slice(&timestamp.to_le_bytes());
    out.extend_from_slice(frame);
}

/// The frames of a file; what is cut off at its end is left out.
pub(crate) fn frames(file: &[u8]) -> Vec<&[u8]> {
    let mut rest = file.get(HEADER_BYTES..).unwrap_or_default();
    let mut frames = Vec::new();
    while let Some((length, behind)) = rest.split_first_chunk::<4>() {
        let behind = behind.get(FRAME_HEADER_BYTES - 4..).unwrap_or_default();
        let Some((frame, next)) = behind.split_at_checked(u32::from_le_bytes(*length) as usize) else {
            break;
        };
        frames.push(frame);
        rest = next;
    }
    frames
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_back() {
        let mut file = header((640, 480));
        assert_eq!(file.len(), HEADER_BYTES);
        for frame in [&b"one"[..], b"", b"three"] {
            push(&mut file, 7, frame);
        }
        assert_eq!(frames(&file), [&b"one"[..], b"", b"three"]);
        assert_eq!(frames(&file[..file.len() - 1]).len(), 2);
        assert!(frames(b"").is_empty());
    }
}
