use relay_port::{DecodeError, Decoded, FRAME_BYTES_MAX, Frame, FrameReader, PAYLOAD_BYTES_MAX, encode};

/// What a frame said, without its borrow.
#[derive(Debug, PartialEq)]
enum Said {
    Frame(Frame, Vec<u8>),
    Unknown(u8),
}

/// Frames of a local process: a stream says the same however it is cut, a refusal is final, nothing is longer
/// than its limit, and what is known survives being written again.
pub fn port_frame(data: &[u8]) {
    let whole = decode([data]);
    let cut = data.first().map_or(0, |octet| usize::from(*octet) * data.len() / 256);
    assert!(decode([&data[..cut], &data[cut..]]) == whole, "cut at {cut}");
    let (said, _) = whole;
    let mut again = Vec::new();
    for frame in &said {
        let Said::Frame(frame, payload) = frame else { continue };
        assert!(payload.len() <= PAYLOAD_BYTES_MAX);
        assert!(encode(frame, payload, &mut again), "it came in a frame: {frame:?}");
    }
    let known: Vec<Said> = said.into_iter().filter(|said| matches!(said, Said::Frame(..))).collect();
    assert!(decode([&again[..]]) == (known, Ok(())));
}

fn decode<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Said>, Result<(), DecodeError>) {
    let (mut reader, mut said) = (FrameReader::default(), Vec::new());
    for part in parts {
        reader.push(part);
        loop {
            match reader.next() {
                Ok(Some(Decoded::Frame(frame, payload))) => said.push(Said::Frame(frame, payload.to_vec())),
                Ok(Some(Decoded::Unknown { kind })) => said.push(Said::Unknown(kind)),
                Ok(None) => break,
                Err(error) => {
                    assert!(!matches!(error, DecodeError::TooLong(len) if len <= FRAME_BYTES_MAX));
                    return (said, Err(error));
                }
            }
        }
    }
    (said, Ok(()))
}
